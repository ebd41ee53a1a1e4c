/** When a directory must be looked at again: real directories, mounts and limits of the kernel. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { DirectoryWatch } from "../../src/system/watch.ts";
import { endOf, until } from "../helpers/node.ts";

/** A directory to be watched, in a temporary one. */
class Scene implements Disposable {
  readonly root = fs.mkdtempSync(join(fs.realpathSync(tmpdir()), "cni-node-watch-"));
  readonly path: string;
  readonly watch: DirectoryWatch;
  changes = 0;

  constructor(prepare: (path: string) => void = (path) => fs.mkdirSync(path, { recursive: true }), check = 100_000) {
    this.path = join(this.root, "etc/cni/net.d");
    prepare(this.path);
    this.watch = new DirectoryWatch(this.path, () => this.changes++, { check });
  }

  at(name: string): string {
    return join(this.path, name);
  }

  /** Does something, and waits until it is noticed and quiet again. */
  async notices(what: string, action: () => void): Promise<void> {
    await this.quiet();
    const before = this.changes;
    action();
    const patience = setTimeout(() => assert.fail(`${what} is not noticed`), 60_000);
    await until(() => this.changes > before);
    clearTimeout(patience);
  }

  /** All that has been done has been noticed. */
  async quiet(): Promise<void> {
    await until(async () => {
      const before = this.changes;
      await sleep(30);
      return this.changes === before;
    });
  }

  [Symbol.dispose](): void {
    this.watch[Symbol.dispose]();
    fs.rmSync(this.root, { recursive: true, force: true });
  }
}

/** Publishes files as the kubelet does: links to a directory that is swapped by one rename. */
function publish(volume: string, files: Record<string, string>): void {
  const data = fs.mkdtempSync(join(volume, "..2026_11_28_"));
  for (const [name, text] of Object.entries(files)) fs.writeFileSync(join(data, name), text);
  fs.symlinkSync(data.slice(volume.length + 1), join(volume, "..data_tmp"));
  const before = fs.existsSync(join(volume, "..data")) ? fs.readlinkSync(join(volume, "..data")) : undefined;
  fs.renameSync(join(volume, "..data_tmp"), join(volume, "..data"));
  for (const name of Object.keys(files)) {
    if (!fs.existsSync(join(volume, name))) fs.symlinkSync(join("..data", name), join(volume, name));
  }
  if (before !== undefined) fs.rmSync(join(volume, before), { recursive: true });
}

function replace(path: string, text: string): void {
  fs.writeFileSync(`${path}.new`, text);
  fs.renameSync(`${path}.new`, path);
}

suite("a directory that is watched", () => {
  test("stories 3, 13: a file that is made, replaced, written in place, renamed or deleted is noticed each time", async () => {
    using s = new Scene();
    const file = s.at("10-calico.conflist");
    for (let round = 1; round <= 3; round++) {
      await s.notices("a new file", () => fs.writeFileSync(file, "1"));
      await s.notices("a replaced file", () => replace(file, "2"));
      await s.notices("a file written in place", () => fs.writeFileSync(file, "3"));
      await s.notices("an emptied file", () => fs.truncateSync(file));
      await s.notices("a mode", () => fs.chmodSync(file, 0o600 + round));
      await s.notices("a renamed file (story 14)", () => fs.renameSync(file, `${file}.cilium_bak`));
      await s.notices("a file that came back", () => fs.renameSync(`${file}.cilium_bak`, file));
      await s.notices("a deleted file", () => fs.unlinkSync(file));
    }
  });

  test("a mounted ConfigMap that changes is noticed, as often as it does", async () => {
    using s = new Scene((path) => {
      fs.mkdirSync(path, { recursive: true });
      publish(path, { plugins: "bridge" });
    });
    for (let round = 1; round <= 5; round++) {
      await s.notices(`swap ${round}`, () => publish(s.path, { plugins: `bridge${round}` }));
    }
  });

  test("story 25: a directory that is emptied, deleted, made again or replaced is found again, at once", async () => {
    using s = new Scene();
    for (let round = 1; round <= 5; round++) {
      fs.writeFileSync(s.at("bridge"), "1");
      await s.notices("an emptied directory", () => fs.rmSync(s.at("bridge")));
      await s.notices("a deleted directory", () => fs.rmdirSync(s.path));
      await s.notices("a directory made again", () => fs.mkdirSync(s.path));
      await s.notices("a file in it", () => fs.writeFileSync(s.at("bridge"), "2"));
      await s.notices("deleted and made again at once", () => {
        fs.rmSync(s.path, { recursive: true });
        fs.mkdirSync(s.path);
      });
      await s.notices("a file in it", () => fs.writeFileSync(s.at("bridge"), "3"));
      await s.notices("the directory above replaced", () => {
        fs.renameSync(join(s.root, "etc/cni"), join(s.root, `etc/old${round}`));
        fs.mkdirSync(s.path, { recursive: true });
        // What is renamed is the directory above; of that the directory itself hears nothing.
        fs.writeFileSync(join(s.root, `etc/old${round}/net.d/x`), "");
      });
      await s.notices("a file in the new one", () => fs.writeFileSync(s.at("bridge"), "4"));
    }
  });

  test("a directory that does not exist is found when it is made, whatever was missing above it", async () => {
    using s = new Scene(() => undefined);
    await sleep(20);
    assert.equal(s.changes, 0);
    await s.notices("a directory", () => fs.mkdirSync(s.path, { recursive: true }));
    await s.notices("a file in it", () => fs.writeFileSync(s.at("x"), ""));
    await s.notices("all of it deleted", () => fs.rmSync(join(s.root, "etc"), { recursive: true }));
    fs.mkdirSync(join(s.root, "etc"));
    await sleep(20);
    fs.mkdirSync(join(s.root, "etc/cni"));
    await s.notices("a directory made step by step", () => fs.mkdirSync(s.path));
    await s.notices("a file in it", () => fs.writeFileSync(s.at("x"), ""));
  });

  test("what happens beside it does not count, nor does what cni-node writes for itself (story 15)", async () => {
    using s = new Scene();
    fs.writeFileSync(join(s.root, "etc/cni/other"), "");
    fs.mkdirSync(join(s.root, "etc/cni/net"));
    fs.mkdirSync(s.at(".cni-node"));
    fs.writeFileSync(s.at(".cni-node/record.json"), "{}");
    fs.writeFileSync(s.at(".cni-node.tmp"), "");
    fs.unlinkSync(s.at(".cni-node.tmp"));
    await sleep(100);
    assert.equal(s.changes, 0);
  });

  test("a link that leads elsewhere is followed to where it leads now", async () => {
    using s = new Scene((path) => {
      fs.mkdirSync(join(path, "../a"), { recursive: true });
      fs.mkdirSync(join(path, "../b"));
      fs.symlinkSync("a", path);
    }, 50);
    await s.notices("a file behind the link", () => fs.writeFileSync(s.at("x"), "1"));
    await s.notices("another target", () => {
      fs.symlinkSync("b", `${s.path}.new`);
      fs.renameSync(`${s.path}.new`, s.path);
    });
    await s.notices("a file behind the new target", () => fs.writeFileSync(s.at("x"), "2"));
  });

  test("ten thousand changes are noticed, and the last one is", async () => {
    using s = new Scene();
    for (let index = 0; index < 10_000; index++) fs.writeFileSync(s.at(`file-${index % 50}`), `${index}`);
    await s.notices("a change after them", () => fs.unlinkSync(s.at("file-0")));
  });
});

/** A script with a `watch` of `path` that counts its `changes`, in namespaces of its own. */
function script(path: string, body: string): string {
  return `
    import * as fs from "node:fs";
    import assert from "node:assert/strict";
    import { execFileSync } from "node:child_process";
    import { setTimeout as sleep } from "node:timers/promises";
    import { DirectoryWatch } from ${JSON.stringify(new URL("../../src/system/watch.ts", import.meta.url).href)};
    const path = ${JSON.stringify(path)};
    let changes = 0;
    const notices = async (what, action) => {
      const end = performance.now() + 60_000;
      let before = -1;
      for (; changes !== before; await sleep(200)) {
        if (performance.now() > end) assert.fail("before " + what + ", it is never quiet");
        before = changes;
      }
      action();
      for (; changes === before; await sleep(5)) {
        if (performance.now() > end) assert.fail(what + " is not noticed");
      }
    };
    const watch = new DirectoryWatch(path, () => changes++, { check: 50, retry: 100 });
    ${body}
    watch[Symbol.dispose]();`;
}

const cannotMount = process.getuid?.() !== 0 || spawnSync("unshare", ["--mount", "true"]).status !== 0;
const cannotLimit =
  spawnSync("unshare", ["-Ur", "sh", "-c", "echo 1 > /proc/sys/user/max_inotify_instances"]).status !== 0;

async function inNamespaces(options: readonly string[], command: string, text: string): Promise<void> {
  const words = [...options, "sh", "-c", command, "sh", process.execPath, text];
  const ran = await endOf(spawn("unshare", words));
  assert.deepEqual(ran, { exitCode: 0, stdout: "", stderr: "" });
}

suite("a directory that is watched in a container", () => {
  const skip = cannotMount && process.env["CI"] !== "true" ? "needs root and mount namespaces" : false;

  test("what is mounted over it, or unmounted, is found", { skip }, async () => {
    const directory = fs.mkdtempSync(join(fs.realpathSync(tmpdir()), "cni-node-mount-"));
    fs.mkdirSync(join(directory, "net.d"));
    const body = `
      for (let round = 0; round < 3; round++) {
        await notices("a file", () => fs.writeFileSync(path + "/below", String(round)));
        await notices("a mount", () => execFileSync("mount", ["-t", "tmpfs", "none", path]));
        await notices("a file in what is mounted", () => fs.writeFileSync(path + "/x", "1"));
        await notices("an unmount", () => execFileSync("umount", [path]));
      }`;
    await inNamespaces(["--mount"], 'exec "$1" --input-type=module -e "$2"', script(join(directory, "net.d"), body));
    fs.rmSync(directory, { recursive: true });
  });

  const limits = cannotLimit && process.env["CI"] !== "true" ? "needs user namespaces" : false;
  for (const [limit, message] of [
    ["max_inotify_instances", "no instance of inotify is left"],
    ["max_inotify_watches", "no watch of inotify is left"],
  ] as const) {
    test(
      `story 17: without ${limit} it is looked at every two seconds, says so, and is watched when it can be`,
      { skip: limits },
      async () => {
        const directory = fs.mkdtempSync(join(fs.realpathSync(tmpdir()), "cni-node-limit-"));
        fs.chmodSync(directory, 0o777);
        const body = `
        const all = async () => {
          await notices("a new file", () => fs.writeFileSync(path + "/x", "1"));
          await notices("a file written in place", () => fs.writeFileSync(path + "/x", "2"));
          await notices("a replaced file", () => { fs.writeFileSync(path + "/.y", "2"); fs.renameSync(path + "/.y", path + "/x"); });
          await notices("a deleted file", () => fs.unlinkSync(path + "/x"));
          await notices("a deleted directory", () => fs.rmdirSync(path));
          await notices("a directory made again", () => fs.mkdirSync(path));
        };
        assert.equal(watch.finding?.code, "inotify-exhausted");
        assert.match(watch.finding.message, /^cannot be watched \\(${message}\\): it is checked every 0.05 seconds/u);
        await all();
        assert.equal(watch.finding?.code, "inotify-exhausted");
        fs.writeFileSync("/proc/sys/user/${limit}", "100");
        for (const end = performance.now() + 30_000; watch.finding !== undefined; await sleep(5)) {
          if (performance.now() > end) assert.fail("polls for ever");
        }
        await all();`;
        const command = `echo 0 > /proc/sys/user/${limit} && exec "$1" --input-type=module -e "$2"`;
        await inNamespaces(["-Ur"], command, script(join(directory, "net.d"), `fs.mkdirSync(path); ${body}`));
        fs.rmSync(directory, { recursive: true });
      },
    );
  }
});
