/** The DNS of a result in a container's resolv.conf. */
import assert from "node:assert/strict";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";

import { hasDns, mergeResolvConf, writeResolvConf } from "../../src/oci/resolv.ts";
import type { Container } from "../../src/oci/container.ts";

const DNS = { nameservers: ["10.1.0.1", "fd00::1"], search: ["a.test", "b.test"] };
const TEXT = "nameserver 10.1.0.1\nnameserver fd00::1\nsearch a.test b.test\n";

describe("the text", () => {
  const CASES: [name: string, text: string, dns: Parameters<typeof mergeResolvConf>[1], merged: string][] = [
    ["is that of the result", "", DNS, TEXT],
    ["loses its own lines of the same kind", "# engine\nnameserver 1.1.1.1\ndomain x\n", DNS, `${TEXT}# engine\n`],
    [
      "keeps what the result does not say",
      "nameserver 1.1.1.1\noptions ndots:2\n",
      { domain: "d" },
      "search d\nnameserver 1.1.1.1\noptions ndots:2\n",
    ],
    ["gets options", "options ndots:2", { options: ["ndots:5", "rotate"] }, "options ndots:5 rotate\n"],
  ];
  for (const [name, text, dns, merged] of CASES) {
    test(name, () => {
      assert.equal(mergeResolvConf(text, dns), merged);
    });
  }

  test("a result need not have any", () => {
    assert.deepEqual([{}, { nameservers: [] }, { domain: "d" }, DNS].map(hasDns), [false, false, true, true]);
  });
});

/** A bundle with a root file system. */
class Bundle implements Disposable {
  readonly path = fs.mkdtempSync(join(fs.realpathSync(tmpdir()), "cni-node-oci-"));

  constructor() {
    fs.mkdirSync(join(this.path, "rootfs/etc"), { recursive: true });
  }

  container(mounts: Record<string, string> = {}, root = "rootfs"): Container {
    const maps = { env: new Map<string, string>(), annotations: new Map<string, string>() };
    const spec = { ...maps, network: "own" as const, mounts: new Map(Object.entries(mounts)), hooked: [], root };
    return { id: "c1", pid: 1, bundle: this.path, spec };
  }

  [Symbol.dispose](): void {
    fs.rmSync(this.path, { recursive: true });
  }
}

describe("the file", () => {
  test("is the engine's own for this container, and stays the same file", () => {
    using bundle = new Bundle();
    fs.mkdirSync(join(bundle.path, "c1"));
    const path = join(bundle.path, "c1/resolv.conf");
    fs.writeFileSync(path, "nameserver 1.1.1.1\n# a longer text than before\n".repeat(10));
    const { ino } = fs.statSync(path);
    assert.equal(writeResolvConf(bundle.container({ "/etc/resolv.conf": path }), DNS), undefined);
    assert.equal(fs.readFileSync(path, "utf8").split("#")[0], TEXT);
    assert.equal(fs.statSync(path).ino, ino);
  });

  test("is never that of the host, which a volume can be", () => {
    using bundle = new Bundle();
    for (const source of ["resolv.conf", "c1/hosts", "c10/resolv.conf"]) {
      const path = join(bundle.path, source);
      fs.mkdirSync(join(path, ".."), { recursive: true });
      fs.writeFileSync(path, "theirs");
      assert.match(writeResolvConf(bundle.container({ "/etc/resolv.conf": path }), DNS) ?? "", /is not its own/u);
      assert.equal(fs.readFileSync(path, "utf8"), "theirs");
    }
    assert.match(writeResolvConf(bundle.container({ "/etc": "/etc" }), DNS) ?? "", /is not its own/u);
  });

  test("is that of a root file system in the bundle, where links lead as in the container", () => {
    using bundle = new Bundle();
    const etc = join(bundle.path, "rootfs/etc");
    assert.equal(writeResolvConf(bundle.container(), DNS), undefined);
    assert.equal(fs.readFileSync(join(etc, "resolv.conf"), "utf8"), TEXT);
    fs.rmSync(join(etc, "resolv.conf"));
    fs.writeFileSync(join(bundle.path, "host"), "theirs");
    fs.symlinkSync("../../../../host", join(etc, "resolv.conf"));
    assert.equal(writeResolvConf(bundle.container(), DNS), undefined);
    assert.equal(fs.readFileSync(join(bundle.path, "rootfs/host"), "utf8"), TEXT);
    assert.equal(fs.readFileSync(join(bundle.path, "host"), "utf8"), "theirs");
  });

  test("is never one of the host, wherever the links of the image lead", () => {
    using bundle = new Bundle();
    const etc = join(bundle.path, "rootfs/etc");
    fs.writeFileSync(join(bundle.path, "shadow"), "theirs");
    fs.mkdirSync(join(bundle.path, "rootfs/proc/1"), { recursive: true });
    fs.symlinkSync(bundle.path, join(bundle.path, "rootfs/proc/1/x"));
    for (const name of ["shadow", "new"]) {
      fs.symlinkSync(`/proc/1/x/${name}`, join(etc, "resolv.conf"));
      assert.match(writeResolvConf(bundle.container(), DNS) ?? "", /is not its own/u);
      fs.rmSync(join(etc, "resolv.conf"));
    }
    assert.equal(fs.readFileSync(join(bundle.path, "shadow"), "utf8"), "theirs");
    assert.ok(!fs.existsSync(join(bundle.path, "new")));
  });

  test("is not one that others have, too", () => {
    using bundle = new Bundle();
    fs.writeFileSync(join(bundle.path, "host"), "theirs");
    fs.linkSync(join(bundle.path, "host"), join(bundle.path, "rootfs/etc/resolv.conf"));
    assert.match(writeResolvConf(bundle.container(), DNS) ?? "", /with one name/u);
    fs.mkdirSync(join(bundle.path, "out"));
    assert.match(writeResolvConf(bundle.container({}, "/"), DNS) ?? "", /is not its own/u);
    fs.symlinkSync("/", join(bundle.path, "link"));
    assert.match(writeResolvConf(bundle.container({}, "link"), DNS) ?? "", /is not its own/u);
    assert.equal(fs.readFileSync(join(bundle.path, "host"), "utf8"), "theirs");
  });

  test("gets no words that would be lines of their own", () => {
    using bundle = new Bundle();
    assert.match(writeResolvConf(bundle.container(), { search: ["a\nnameserver 6.6.6.6"] }) ?? "", /words/u);
  });
});
