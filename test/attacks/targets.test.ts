/** What container runtimes have left on the disk, what is in a namespace's place, and sockets that never answer. */
import assert from "node:assert/strict";
import { once } from "node:events";
import * as fs from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";

import { askRuntime } from "../../src/cri/status.ts";
import { cannotMount } from "../helpers/namespace.ts";
import { NetworkHost } from "../helpers/network.ts";
import { BUNDLE, endOf } from "../helpers/node.ts";
import { spawn } from "node:child_process";

const skip = cannotMount;
const SECRET = "s3cr3t-of-another";
const ID = "0123456789abcdef";

/** A host with a network, and with directories of its own for the state of runtimes. */
async function makeHost(): Promise<NetworkHost> {
  const host = await NetworkHost.make("first");
  host.network("net", { type: "first" });
  host.sh("mount -t tmpfs none /var/lib; mkdir -p /var/lib/docker/containers /var/lib/containers/storage");
  return host;
}

/** A file of the host, which only its own processes see. */
function write(host: NetworkHost, path: string, content: unknown): void {
  const at = `${host.namespace.root}${path}`;
  fs.mkdirSync(join(at, ".."), { recursive: true });
  fs.writeFileSync(at, typeof content === "string" ? content : JSON.stringify(content));
}

/** Starts a process in a network namespace of its own, below one that names the container. Returns its number there. */
function startContainer(host: NetworkHost, id: string): string {
  const keep = `unshare --net sh -c 'echo $$ > /run/pid; exec sleep 1000' & wait`;
  host.sh(
    `rm -f /run/pid; setsid sh -c "${keep.replaceAll("$", String.raw`\$`)}" shim ${id} >/dev/null 2>&1 </dev/null &`,
  );
  return host.sh("until [ -s /run/pid ]; do sleep 0.01; done; cat /run/pid").trim();
}

describe("the state of a runtime is not believed blindly", { skip }, () => {
  test("what has another form is passed over, in Podman's state: the others are found", async () => {
    await using host = await makeHost();
    const pid = startContainer(host, ID);
    write(host, "/var/lib/containers/storage/overlay-containers/containers.json", [
      { id: 1, names: ["web"] },
      { id: { toString: 1 }, names: ["web"] },
      { id: "../../../../etc", names: ["web"] },
      { id: "a\0b", names: ["web"] },
      { id: "x".repeat(300), names: ["web"] },
      null,
      { id: ID, names: [{ toString: 1 }, "web"] },
    ]);
    write(host, `/run/containers/storage/overlay-containers/${ID}/userdata/pidfile`, pid);
    const { exitCode, stderr } = await host.run("add", "net", "podman:web");
    assert.equal(exitCode, 0, stderr);
    assert.deepEqual(
      host.plugins.take().map(({ containerId, netns }) => [containerId, netns]),
      [[ID, `/proc/${pid}/ns/net`]],
    );
  });

  test("and in Docker's", async () => {
    await using host = await makeHost();
    const pid = startContainer(host, ID);
    for (const [name, state] of [
      ["a", { Name: { toString: 1 }, State: 1 }],
      ["b", { Name: "/web", State: { Running: "yes", Pid: "1" } }],
      ["c", `{"Name":"${SECRET}`],
      ["d", "[".repeat(100_000)],
      [ID, { Name: "/web2", State: { Running: true, Pid: Number(pid) } }],
    ] as const) {
      write(host, `/var/lib/docker/containers/${name}/config.v2.json`, state);
    }
    host.sh("mkdir /var/lib/docker/containers/e; mkfifo /var/lib/docker/containers/e/config.v2.json");
    host.sh("mkdir /var/lib/docker/containers/f; truncate -s 100G /var/lib/docker/containers/f/config.v2.json");
    const { exitCode, stderr } = await host.run("add", "net", "docker:web2");
    assert.equal(exitCode, 0, stderr);
    const other = await host.run("add", "net", "docker:web");
    assert.match(other.stderr, /there is no such container, or it is not running/u);
    assert.ok(!other.stderr.includes(SECRET));
  });

  for (const [kind, path] of [
    ["docker", `/var/lib/docker/containers/${ID}/config.v2.json`],
    ["podman", "/var/lib/containers/storage/overlay-containers/containers.json"],
    ["runc", `/run/runc/${ID}/state.json`],
    ["runc", `/run/crun/${ID}/status`],
  ] as const) {
    for (const [what, make] of [
      ["a FIFO", "mkfifo"],
      ["a file of 100 GB", "truncate -s 100G"],
      ["a device that never ends", "cp -a /dev/zero"],
      ["a link to the secret of another", `printf %s ${SECRET} > /run/secret; ln -s /run/secret`],
    ] as const) {
      test(`${what} in the place of ${path} is as good as absent`, async () => {
        await using host = await makeHost();
        host.sh(`mkdir -p $(dirname ${path}); ${make} ${path}`);
        const { exitCode, stderr } = await host.run("add", "net", `${kind}:${ID}`);
        assert.equal(exitCode, 1);
        assert.match(stderr, /there is no such container/u);
        assert.ok(!stderr.includes(SECRET));
      });
    }
  }

  test("a process that has the number of a container's, and is none of it, is not taken for it", async () => {
    await using host = await makeHost();
    const pid = startContainer(host, "another");
    write(host, `/var/lib/docker/containers/${ID}/config.v2.json`, {
      Name: "/web",
      State: { Running: true, Pid: Number(pid) },
    });
    write(host, "/var/lib/containers/storage/overlay-containers/containers.json", [{ id: ID, names: ["web"] }]);
    write(host, `/run/containers/storage/overlay-containers/${ID}/userdata/pidfile`, pid);
    write(host, `/run/runc/${ID}/state.json`, { init_process_pid: Number(pid), init_process_start: 1 });
    for (const target of ["docker:web", "podman:web", `runc:${ID}`]) {
      const { exitCode, stderr } = await host.run("add", "net", target);
      assert.equal(exitCode, 1, target);
      assert.match(stderr, /there is no such container, or it is not running/u);
    }
    assert.deepEqual(host.plugins.takeNames(), []);
  });

  test("names that no file can have are refused", async () => {
    await using host = await makeHost();
    for (const target of [
      `runc:${"x".repeat(5000)}`,
      `docker:${"x".repeat(5000)}`,
      "runc:../../etc",
      "x".repeat(5000),
    ]) {
      const { exitCode, stderr } = await host.run("add", "net", target);
      assert.equal(exitCode, 1);
      assert.doesNotMatch(stderr, /defect/u);
    }
  });
});

describe("what is not a network namespace is refused without waiting for it", { skip }, () => {
  test("a FIFO, a device, a socket, a directory, a file", async () => {
    await using host = await makeHost();
    host.sh("cd /run; mkfifo fifo; cp -a /dev/zero device; mkdir directory; : > file; ln -s loop loop");
    for (const name of ["fifo", "device", "directory", "file", "loop", "absent"]) {
      for (const verb of ["add", "check", "del"]) {
        const { exitCode, stderr } = await host.run(verb, "net", `/run/${name}`);
        assert.equal(exitCode, verb === "del" ? 0 : verb === "add" ? 1 : exitCode, stderr);
        assert.doesNotMatch(stderr, /defect/u);
      }
    }
  });

  test("a stray file in /run/netns is told as what it is, by both ways (N10)", async () => {
    await using host = await makeHost();
    host.sh(": > /run/netns/s");
    for (const words of [[], ["--new"]]) {
      const { exitCode, stderr } = await host.run("add", "net", "s", ...words);
      assert.equal(exitCode, 1);
      assert.match(stderr, /hint: .*ip netns delete s/u);
    }
    host.sh("ip netns delete s");
    assert.equal((await host.run("add", "net", "s", "--new")).exitCode, 0);
  });
});

describe("a container runtime's socket that never answers", () => {
  test("is given up in time, whatever the clock says", async (t) => {
    await using silent = await listenSilently();
    const { signal } = new AbortController();
    const asking = askRuntime(silent.socket, { timeout: 500, signal });
    t.mock.method(Date, "now", () => 0);
    await assert.rejects(asking, { code: "cri-timeout" });
  });

  test("is given up by a signal", async () => {
    await using silent = await listenSilently();
    const root = join(silent.socket, "..");
    const words = [BUNDLE, "status", `--host-root=${root}`, `--cri-socket=${silent.socket}`];
    const child = spawn(process.execPath, words);
    await silent.connected;
    child.kill("SIGTERM");
    assert.equal((await endOf(child)).signal, "SIGTERM");
  });
});

async function listenSilently(): Promise<AsyncDisposable & { socket: string; connected: Promise<unknown> }> {
  const directory = fs.mkdtempSync(join(fs.realpathSync(tmpdir()), "cni-node-test-"));
  const socket = join(directory, "socket");
  const server = createServer();
  const connected = once(server, "connection");
  const sockets: { destroy(): unknown }[] = [];
  server.on("connection", (one) => sockets.push(one.on("error", () => undefined)));
  server.listen(socket);
  await once(server, "listening");
  return {
    socket,
    connected,
    [Symbol.asyncDispose]: async () => {
      for (const one of sockets) one.destroy();
      await new Promise((resolve) => server.close(resolve));
      fs.rmSync(directory, { recursive: true });
    },
  };
}

describe("with few file descriptors", { skip }, () => {
  for (const limit of [23, 25, 27, 30]) {
    test(`${limit}: every command works, or says that they are missing`, async () => {
      await using host = await makeHost();
      host.target("a");
      host.plugins.prints("first", "VERSION", { cniVersion: "1.1.0", supportedVersions: ["1.1.0"] });
      fs.mkdirSync(join(host.cacheDir, "results"), { recursive: true, mode: 0o700 });
      const path = host.plugins.cached("net-c1-eth0");
      fs.writeFileSync(
        path,
        JSON.stringify({ kind: "cniCacheV1", containerId: "c1", ifName: "eth0", networkName: "net" }),
      );
      for (const words of [
        ["list"],
        ["list", "--attachments"],
        ["show", "net"],
        ["status", "net"],
        ["version", "net"],
        ["probe", "net", "--add"],
        ["add", "net", "a"],
        ["add", "net", "docker:web"],
        ["check", "net", "a"],
        ["gc"],
        ["gc", "net", "--valid=c1/eth0"],
        ["del", "net", "a"],
      ]) {
        const child = host.start(words, {}, ["prlimit", `--nofile=${limit}`]);
        child.stdin?.end();
        const { stdout, stderr } = await endOf(child);
        const said = `${words.join(" ")}: ${stdout}${stderr}`;
        assert.doesNotMatch(said, /defect|run as root|for this machine|remove it|fix it|bad file descriptor/iu);
      }
      assert.ok(fs.existsSync(path), "it was taken for damaged");
    });
  }
});
