/** Containers of the real runc and crun, with networks of the reference plugins, through the front and the hooks. */
import assert from "node:assert/strict";
import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { cannotMount, Namespace } from "./helpers/namespace.ts";
import { REFERENCE_PLUGINS } from "./helpers/network.ts";
import { BUNDLE, endOf, until } from "./helpers/node.ts";

const FRONT = join(dirname(BUNDLE), "oci.sh");

/** What a program printed and how it ended. */
interface Output {
  status: number | null;
  stdout: string;
  stderr: string;
}

/** What a container is made of, beside what all have. */
interface Shape {
  env?: string[];
  args?: string[];
  annotations?: Record<string, string>;
  namespaces?: object[];
  more?: string;
}

/** A host with an OCI runtime, two networks, and a bundle. */
class Host implements AsyncDisposable {
  readonly root = fs.mkdtempSync(join(fs.realpathSync(tmpdir()), "cni-node-oci-"));
  readonly netd = join(this.root, "net.d");
  readonly cache = join(this.root, "cache");
  readonly config = join(this.root, "cni.yaml");
  readonly bundle = join(this.root, "bundle");
  readonly spec = join(this.bundle, "config.json");
  readonly runtime: string;
  /** Words of the engine before the command. */
  readonly #globals: string[];
  readonly #namespace: Namespace;

  private constructor(runtime: string, isContainerds: boolean, namespace: Namespace) {
    this.runtime = runtime;
    const log = ["--log", join(this.bundle, "log.json"), "--log-format", "json"];
    this.#globals = ["--root", join(this.root, "run"), ...(isContainerds ? log : [])];
    this.#namespace = namespace;
    const bin = join(this.bundle, "rootfs/bin");
    for (const directory of [
      this.netd,
      bin,
      ...["etc", "proc", "dev"].map((one) => join(this.bundle, "rootfs", one)),
    ]) {
      fs.mkdirSync(directory, { recursive: true });
    }
    fs.copyFileSync("/bin/busybox", join(bin, "busybox"));
    for (const name of ["sh", "ip", "cat", "sleep"]) fs.symlinkSync("busybox", join(bin, name));
    this.network("10-a", "a", "10.77.1.0/24", { nameservers: ["10.77.1.1"], search: ["a.test"] });
    this.network("20-b", "b", "10.77.2.0/24");
    const lines = {
      oci_bin: runtime,
      cni_conf_dir: this.netd,
      cni_bin_dir: REFERENCE_PLUGINS,
      cni_cache_dir: this.cache,
      cni_log: join(this.root, "cni.log"),
      log_driver: `file://${join(this.root, "oci.log")}`,
      log_level: "debug",
      cni_env: "true",
    };
    fs.writeFileSync(
      this.config,
      Object.entries(lines)
        .map(([key, value]) => `${key}: ${value}\n`)
        .join(""),
    );
  }

  /** @param isContainerds its log is in the bundle. */
  static async make(runtime: string, isContainerds = false): Promise<Host> {
    await using begun = new AsyncDisposableStack();
    // crun does not take control groups of both versions.
    const script = "umount /sys/fs/cgroup/unified 2>/dev/null || :\nmount -t tmpfs tmpfs /run";
    const namespace = begun.use(await Namespace.make(script, { net: true, pid: true }));
    const made = new Host(runtime, isContainerds, namespace);
    begun.move();
    return made;
  }

  network(file: string, name: string, subnet: string, dns?: object): void {
    const routes = name === "a" ? [{ dst: "0.0.0.0/0" }] : [];
    const ipam = { type: "host-local", dataDir: join(this.root, "ipam"), ranges: [[{ subnet }]], routes };
    const bridge = { type: "bridge", bridge: `br-${name}`, isGateway: true, capabilities: { mac: true }, ipam, dns };
    const list = { cniVersion: "1.0.0", name, plugins: [bridge] };
    fs.writeFileSync(join(this.netd, `${file}.conflist`), JSON.stringify(list));
  }

  /** Writes config.json as engines do: on one line. */
  make({
    env = [],
    args = ["sh", "-c", "ip addr; ip route; cat /etc/resolv.conf"],
    annotations = {},
    namespaces,
    more = "",
  }: Shape = {}): string {
    const kinds = namespaces ?? ["pid", "network", "mount"].map((type) => ({ type }));
    const text = JSON.stringify({
      ociVersion: "1.0.2",
      process: { user: { uid: 0, gid: 0 }, args, env: ["PATH=/bin", ...env], cwd: "/" },
      root: { path: "rootfs", readonly: true },
      mounts: [{ destination: "/proc", type: "proc", source: "proc" }],
      annotations,
      linux: { namespaces: kinds },
    });
    const whole = `${text.slice(0, -1)}${more}}`;
    fs.writeFileSync(this.spec, whole);
    return whole;
  }

  /**
   * Adds a network whose plugin keeps a file for each interface. While `kill` is there, ADD ends its caller at once, and
   * while `jam` is there, DEL fails.
   */
  fickleNetwork(more: object = {}): { kill: string; jam: string; kept: () => string[]; stdin: string } {
    const directory = join(this.root, "fickle");
    const [kill, jam, plugins] = ["kill", "jam", "bin"].map((one) => join(directory, one)) as [string, string, string];
    fs.mkdirSync(join(directory, "kept"), { recursive: true });
    fs.mkdirSync(plugins);
    for (const name of fs.readdirSync(REFERENCE_PLUGINS)) {
      fs.symlinkSync(join(REFERENCE_PLUGINS, name), join(plugins, name));
    }
    const script = `#!/bin/sh
kept=${directory}/kept/$CNI_CONTAINERID-$CNI_IFNAME
case $CNI_COMMAND in
  ADD)
    : >$kept
    [ ! -e ${kill} ] || { kill -9 $PPID; sleep 1; }
    cat >${directory}/stdin
    echo '{"cniVersion":"1.0.0","interfaces":[],"ips":[]}'
    ;;
  DEL)
    [ ! -e ${jam} ] || { echo '{"cniVersion":"1.0.0","code":100,"msg":"the drawer jams"}'; exit 1; }
    rm -f $kept
    ;;
esac
`;
    fs.writeFileSync(join(plugins, "fickle"), script, { mode: 0o755 });
    const list = { cniVersion: "1.0.0", name: "f", plugins: [{ type: "fickle", ...more }] };
    fs.writeFileSync(join(this.netd, "30-f.conflist"), JSON.stringify(list));
    fs.writeFileSync(this.config, fs.readFileSync(this.config, "utf8").replace(REFERENCE_PLUGINS, plugins));
    return { kill, jam, kept: () => fs.readdirSync(join(directory, "kept")), stdin: join(directory, "stdin") };
  }

  exec(words: readonly string[], input = ""): Output {
    const rest = [...this.#namespace.entrance, ...words];
    const { NODE_EXTRA_CA_CERTS: _certs, ...env } = process.env;
    return spawnSync("nsenter", rest, { encoding: "utf8", cwd: this.bundle, env, input, timeout: 120_000 });
  }

  /** Calls the runtime through the front. */
  oci(...words: string[]): Output {
    return this.exec([FRONT, "oci", "--config", this.config, "--", ...this.#globals, ...words]);
  }

  done(...words: string[]): string {
    const { status, stdout, stderr } = this.oci(...words);
    assert.equal(status, 0, stderr);
    return stdout;
  }

  /** Creates containers beside each other, each with a bundle of its own, whose output nobody reads. */
  async createAll(...ids: string[]): Promise<void> {
    const commands = ids.map((id) => {
      const bundle = join(this.root, `bundle-${id}`);
      fs.mkdirSync(bundle);
      const spec = fs.readFileSync(this.spec, "utf8").replace('"path":"rootfs"', `"path":"${this.bundle}/rootfs"`);
      fs.writeFileSync(join(bundle, "config.json"), spec);
      return this.#creating(id, bundle);
    });
    const ends = commands.map(async ([program = "", ...words]) => endOf(spawn(program, words, { stdio: "ignore" })));
    for (const { exitCode } of await Promise.all(ends)) assert.equal(exitCode, 0);
  }

  #creating(id: string, bundle = this.bundle): string[] {
    const globals = this.#globals.map((word) => word.replace(this.bundle, bundle));
    const words = ["oci", "--config", this.config, "--", ...globals, "create", "--bundle", bundle, id];
    return ["nsenter", ...this.#namespace.entrance, FRONT, ...words];
  }

  /** Creates a container, whose output nobody reads. */
  create(id: string): void {
    const log = fs.openSync(join(this.root, "out"), "a");
    const [program = "", ...words] = this.#creating(id);
    const { status } = spawnSync(program, words, { stdio: ["ignore", log, log], timeout: 120_000 });
    fs.closeSync(log);
    assert.equal(status, 0, fs.readFileSync(join(this.root, "out"), "utf8"));
  }

  /** Calls a hook as a runtime does. */
  hook(command: string, state: object, ...more: string[]): Output {
    return this.exec([FRONT, "cni", "--config", this.config, "--command", command, ...more], JSON.stringify(state));
  }

  /** Calls the ADD hook for a process that sleeps in a network namespace of its own. */
  inNamespace(id: string, ...more: string[]): Output {
    const hook = [FRONT, "cni", "--config", this.config, "--command", "add", ...more].join(" ");
    const script = `unshare --net sleep 600 & pid=$!
while [ $(readlink /proc/$pid/ns/net) = $(readlink /proc/self/ns/net) ]; do sleep 0.05; done
echo '{"id":"${id}","bundle":"${this.bundle}","pid":'$pid'}' | ${hook}; status=$?; kill $pid; exit $status`;
    return this.exec(["sh", "-c", script]);
  }

  /** Garbage collection as the configuration says, which names other directories than the usual ones. */
  gc(): Output {
    return this.exec([process.execPath, BUNDLE, "network", "gc", "--host-root=/", `--oci-config=${this.config}`]);
  }

  stateOf(id: string): { id: string; pid: number; bundle: string } {
    return JSON.parse(this.done("state", id)) as { id: string; pid: number; bundle: string };
  }

  /** The addresses of a container, by its interfaces. */
  addressesOf(id: string): string[] {
    const { stdout } = this.exec([
      "nsenter",
      `--net=/proc/${this.stateOf(id).pid}/ns/net`,
      "--",
      "ip",
      "-o",
      "-4",
      "addr",
    ]);
    return Array.from(
      stdout.matchAll(/^\d+: (\S+)\s+inet (\S+)/gmu),
      ([, name = "", address = ""]) => `${name} ${address}`,
    )
      .filter((one) => !one.startsWith("lo "))
      .toSorted();
  }

  /** What is remembered, and the addresses that are reserved. */
  left(): { attachments: string[]; reserved: string[] } {
    const names = (directory: string): string[] => (fs.existsSync(directory) ? fs.readdirSync(directory) : []);
    const ipam = join(this.root, "ipam");
    return {
      attachments: names(join(this.cache, "results")).filter((name) => name !== ".cni-node"),
      reserved: names(ipam).flatMap((one) => names(join(ipam, one)).filter((name) => /^\d/u.test(name))),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#namespace[Symbol.asyncDispose]();
    fs.rmSync(this.root, { recursive: true });
  }
}

const NOTHING = { attachments: [], reserved: [] };

for (const [runtime, isContainerds] of [
  ["/usr/sbin/runc", false],
  ["/usr/bin/crun", false],
  // The program stands by for the hooks of create and delete.
  ["/usr/sbin/runc", true],
] as const) {
  const skip = cannotMount !== false ? cannotMount : fs.existsSync(runtime) ? false : `needs ${runtime}`;
  describe(`with ${runtime}${isContainerds ? ", called by containerd" : ""}`, { skip }, () => {
    test("a container gets its network, with DNS, and gives it back", async () => {
      await using host = await Host.make(runtime, isContainerds);
      host.make();
      const stdout = host.done("run", "--bundle", host.bundle, "c1");
      assert.match(stdout, /inet 10\.77\.1\.2\/24 .* eth0/u);
      assert.match(stdout, /^default via 10\.77\.1\.1 dev eth0/mu);
      assert.match(stdout, /^nameserver 10\.77\.1\.1\nsearch a\.test\n/mu);
      assert.deepEqual(host.left(), NOTHING);
      const log = fs.readFileSync(join(host.root, "oci.log"), "utf8");
      assert.match(log, /level=info msg="\[hook\] container c1: eth0 of network a was added: 10\.77\.1\.2\/24"/u);
      assert.match(fs.readFileSync(join(host.root, "cni.log"), "utf8"), /"address":"10\.77\.1\.2\/24"/u);
    });

    test("create, start, exec, kill and delete; the second time it is another address", async () => {
      await using host = await Host.make(runtime, isContainerds);
      host.make({ args: ["sleep", "600"] });
      for (const address of ["10.77.1.2/24", "10.77.1.3/24"]) {
        host.create("c1");
        assert.deepEqual(host.addressesOf("c1"), [`eth0 ${address}`]);
        host.done("start", "c1");
        assert.match(host.done("exec", "c1", "ip", "addr"), new RegExp(address, "u"));
        assert.equal(host.hook("check", host.stateOf("c1")).status, 0);
        host.done("delete", "--force", "c1");
        assert.deepEqual(host.left(), NOTHING);
      }
    });

    test("networks by name, an address and a hardware address, by environment and annotation", async () => {
      await using host = await Host.make(runtime, isContainerds);
      fs.appendFileSync(host.config, "cni_annotations: true\n");
      host.make({
        args: ["sleep", "600"],
        env: ["CNI_NETWORK=b@net7,a", "IPV4=10.77.2.77", "CNI_MAC=02:42:0a:4d:02:4d"],
      });
      host.create("c1");
      assert.deepEqual(host.addressesOf("c1"), ["eth0 10.77.1.2/24", "net7 10.77.2.77/24"]);
      const links = host.exec([
        "nsenter",
        `--net=/proc/${host.stateOf("c1").pid}/ns/net`,
        "--",
        "ip",
        "link",
        "show",
        "net7",
      ]);
      assert.match(links.stdout, /02:42:0a:4d:02:4d/u);
      host.done("delete", "--force", "c1");
      host.make({ args: ["sleep", "600"], env: ["CNI_NETWORK=a"], annotations: { "io.cni-node.network": "b" } });
      host.create("c2");
      assert.deepEqual(host.addressesOf("c2"), ["eth0 10.77.2.78/24"]);
      host.done("delete", "--force", "c2");
      assert.deepEqual(host.left(), NOTHING);
    });

    test("a container that joins a network, or has the host's, is left as it is", async () => {
      await using host = await Host.make(runtime, isContainerds);
      for (const network of [[], [{ type: "network", path: "/proc/self/ns/net" }]]) {
        const text = host.make({
          namespaces: [{ type: "pid" }, { type: "mount" }, ...network],
          args: ["sh", "-c", ":"],
        });
        host.done("run", "--bundle", host.bundle, "c1");
        assert.equal(fs.readFileSync(host.spec, "utf8"), text);
        assert.deepEqual(host.left(), NOTHING);
      }
    });

    test("what config.json has beside the hooks stays byte for byte", async () => {
      await using host = await Host.make(runtime, isContainerds);
      for (const more of [',"x":{"y":18446744073709551615,"z":1.0}', ',"hooks":{"poststart":[]}', ',"hooks":{}\n']) {
        const text = host.make({ more, args: ["sh", "-c", ":"] });
        host.done("run", "--bundle", host.bundle, "c1");
        const spliced = fs.readFileSync(host.spec, "utf8");
        const hooks = /"createRuntime":\[.*?\],"poststop":\[.*?\}\]/u.exec(spliced)?.[0] ?? "";
        const without = spliced
          .replace(hooks, "")
          .replace(/"hooks":\{\},(?="ociVersion")/u, "")
          .replace("[],}", "[]}");
        assert.equal(without, text);
        host.done("run", "--bundle", host.bundle, "c1");
        assert.equal(fs.readFileSync(host.spec, "utf8"), spliced, "the hooks are there once");
      }
    });

    test("a network that is not there: who starts the container reads why, and nothing is left", async () => {
      await using host = await Host.make(runtime, isContainerds);
      host.make({ env: ["CNI_NETWORK=a,nowhere"] });
      const log = join(host.root, "log.json");
      const { status, stderr } = host.oci(
        "--log",
        log,
        "--log-format",
        "json",
        "create",
        "--bundle",
        host.bundle,
        "c1",
      );
      assert.notEqual(status, 0);
      const said = stderr + fs.readFileSync(log, "utf8");
      assert.match(said, /there is no network configuration with the name/u);
      assert.deepEqual(host.left(), NOTHING);
    });

    test("an address that an image asks for counts only where the IPAM plugin decides whether it is free", async () => {
      await using host = await Host.make(runtime, isContainerds);
      fs.writeFileSync(host.config, fs.readFileSync(host.config, "utf8").replace("cni_env: true\n", ""));
      const asking = { args: ["sleep", "600"], env: ["IPV4=10.77.1.77"] };
      host.make(asking);
      host.create("c1");
      assert.deepEqual(host.addressesOf("c1"), ["eth0 10.77.1.77/24"]);
      host.done("delete", "--force", "c1");
      const ipam = { type: "static", addresses: [{ address: "10.77.1.5/24" }] };
      const bridge = { type: "bridge", bridge: "br-a", capabilities: { ips: true }, ipam };
      const list = { cniVersion: "1.0.0", name: "a", plugins: [bridge] };
      fs.writeFileSync(join(host.netd, "10-a.conflist"), JSON.stringify(list));
      host.make(asking);
      host.create("c2");
      assert.deepEqual(host.addressesOf("c2"), ["eth0 10.77.1.5/24"]);
      const log = fs.readFileSync(join(host.root, "oci.log"), "utf8");
      assert.match(log, /container c2: IPV4 of its environment does not count: the IPAM plugin of network a does not/u);
      host.done("delete", "--force", "c2");
    });

    test("the second network fails: the first one is taken back", async () => {
      await using host = await Host.make(runtime, isContainerds);
      fs.writeFileSync(
        join(host.netd, "30-c.conflist"),
        JSON.stringify({
          cniVersion: "1.0.0",
          name: "c",
          plugins: [{ type: "bridge", bridge: "br-c", ipam: { type: "static" } }],
        }),
      );
      host.make({ env: ["CNI_NETWORK=a,c"] });
      assert.notEqual(host.oci("create", "--bundle", host.bundle, "c1").status, 0);
      assert.deepEqual(host.left(), NOTHING);
      assert.match(
        fs.readFileSync(join(host.root, "oci.log"), "utf8"),
        /network c: container c1 cannot be added as eth1/u,
      );
    });

    test("ADD is killed at the second network: nothing is left of either", async () => {
      await using host = await Host.make(runtime, isContainerds);
      const { kill, kept } = host.fickleNetwork();
      fs.writeFileSync(kill, "");
      host.make({ env: ["CNI_NETWORK=a,f"], args: ["sleep", "600"] });
      const { status, stderr } = host.oci("create", "--bundle", host.bundle, "c1");
      assert.notEqual(status, 0);
      // It was the program that stood by.
      if (isContainerds) assert.match(stderr, /cni-node: the hook was killed/u);
      assert.deepEqual([host.left(), kept()], [NOTHING, []]);
    });

    test("what cannot be deleted after ADD was killed is said, and the next create or network gc deletes it", async () => {
      await using host = await Host.make(runtime, isContainerds);
      const { kill, jam, kept } = host.fickleNetwork();
      host.make({ env: ["CNI_NETWORK=f,a"], args: ["sleep", "600"] });
      const failing = (id: string): Output => {
        for (const path of [kill, jam]) fs.writeFileSync(path, "");
        const created = host.oci("create", "--bundle", host.bundle, id);
        assert.notEqual(created.status, 0);
        assert.deepEqual(host.left(), { attachments: [`f-${id}-eth0`], reserved: [] });
        fs.rmSync(kill);
        return created;
      };
      failing("c1");
      const again = host.oci("create", "--bundle", host.bundle, "c1");
      assert.notEqual(again.status, 0, "its former interface is still there");
      assert.match(
        fs.readFileSync(join(host.root, "cni.log"), "utf8"),
        /eth0 of container c1 cannot be deleted: .*jams/u,
      );
      fs.rmSync(jam);
      host.create("c1");
      assert.deepEqual(host.left(), { attachments: ["a-c1-eth1", "f-c1-eth0"], reserved: ["10.77.1.2"] });
      host.done("delete", "--force", "c1");
      assert.deepEqual([host.left(), kept()], [NOTHING, []]);

      failing("c2");
      fs.rmSync(jam);
      assert.match(host.gc().stdout, /^deleted +f +c2 +eth0$/mu);
      assert.deepEqual([host.left(), kept()], [NOTHING, []]);
    });

    test("what could not be taken back is said with what to do, and is released later", async () => {
      await using host = await Host.make(runtime, isContainerds);
      const { jam, kept } = host.fickleNetwork();
      const broken = { cniVersion: "1.0.0", name: "c", plugins: [{ type: "bridge", ipam: { type: "static" } }] };
      fs.writeFileSync(join(host.netd, "40-c.conflist"), JSON.stringify(broken));
      fs.writeFileSync(jam, "");
      host.make({ env: ["CNI_NETWORK=f,c"] });
      const log = join(host.root, "log.json");
      const { status, stderr } = host.oci("--log", log, "--log-format=json", "create", "--bundle", host.bundle, "c1");
      assert.notEqual(status, 0);
      const said = stderr + fs.readFileSync(log, "utf8");
      assert.match(
        said,
        /container c1 cannot be added as eth1: .*; eth0 of network f could not be taken back: .*jams/u,
      );
      assert.match(said, /fix it, then release what is left: cni-node network gc --oci-config=/u);
      assert.deepEqual(host.left().attachments, ["f-c1-eth0"]);
      fs.rmSync(jam);
      host.gc();
      assert.deepEqual([host.left(), kept()], [NOTHING, []]);
    });

    test("a hook that was killed is called again in the same container", async () => {
      await using host = await Host.make(runtime, isContainerds);
      const { kill, kept } = host.fickleNetwork();
      host.make({ args: ["sleep", "600"] });
      host.create("c1");
      fs.writeFileSync(kill, "");
      assert.notEqual(host.hook("add", host.stateOf("c1"), "--network", "f").status, 0);
      assert.deepEqual(kept(), ["c1-eth1"]);
      fs.rmSync(kill);
      assert.equal(host.hook("add", host.stateOf("c1"), "--network", "f").status, 0);
      assert.deepEqual(host.left().attachments, ["a-c1-eth0", "f-c1-eth1"]);
      host.done("delete", "--force", "c1");
      assert.deepEqual([host.left(), kept()], [NOTHING, []]);
    });

    test("the container fails after it was added: nothing is left, and one of the same ID that runs is left alone", async () => {
      await using host = await Host.make(runtime, isContainerds);
      host.make({ args: ["no-such-program"] });
      // The second time the hooks are there already.
      for (const id of ["c0", "c1"]) {
        assert.notEqual(host.oci("create", "--bundle", host.bundle, id).status, 0);
        assert.deepEqual(host.left(), NOTHING);
      }
      // As Docker does, a hook of its own has the namespace mounted.
      const [mount, held] = [join(host.root, "mount.sh"), join(host.root, "held")];
      fs.writeFileSync(held, "");
      const script = `#!/bin/sh\npid=$(sed 's/.*"pid": *\\([0-9]*\\).*/\\1/')\nmount --bind /proc/$pid/ns/net ${held}\n`;
      fs.writeFileSync(mount, script, { mode: 0o755 });
      const more = `,"hooks":{"prestart":[{"path":"${mount}"}]}`;
      host.make({ args: ["no-such-program"], more });
      assert.notEqual(host.oci("create", "--bundle", host.bundle, "c2").status, 0);
      assert.equal(host.exec(["umount", held]).status, 0, "the namespace was mounted");
      assert.deepEqual(host.left(), NOTHING);
      host.make({ args: ["sleep", "600"] });
      host.create("c1");
      host.make({ args: ["sleep", "600"] });
      assert.notEqual(host.oci("create", "--bundle", host.bundle, "c1").status, 0);
      assert.deepEqual(host.addressesOf("c1"), ["eth0 10.77.1.5/24"]);
      assert.deepEqual(host.left(), { attachments: ["a-c1-eth0"], reserved: ["10.77.1.5"] });
      host.done("delete", "--force", "c1");
    });

    test("configurations that are gone or broken do not keep an address", async () => {
      await using host = await Host.make(runtime, isContainerds);
      host.make({ args: ["sleep", "600"], env: ["CNI_NETWORK=a,b"] });
      host.create("c1");
      fs.writeFileSync(join(host.netd, "10-a.conflist"), "{");
      fs.rmSync(join(host.netd, "20-b.conflist"));
      host.done("delete", "--force", "c1");
      assert.deepEqual(host.left(), NOTHING);
    });

    test("a container that comes back after a reboot nobody saw loses its stale attachment first", async () => {
      await using host = await Host.make(runtime, isContainerds);
      host.make({ args: ["sleep", "600"] });
      host.create("c1");
      const path = join(host.cache, "results/a-c1-eth0");
      const stale = fs.readFileSync(path, "utf8").replace(/"boot":"[^"]*"/u, '"boot":"earlier"');
      host.done("delete", "--force", "c1");
      fs.writeFileSync(path, stale, { mode: 0o600 });
      fs.writeFileSync(join(host.root, "ipam/a/10.77.1.2"), "c1\r\neth0");
      host.create("c1");
      assert.deepEqual(host.addressesOf("c1"), ["eth0 10.77.1.3/24"]);
      assert.deepEqual(host.left(), { attachments: ["a-c1-eth0"], reserved: ["10.77.1.3"] });
      host.done("delete", "--force", "c1");
      assert.deepEqual(host.left(), NOTHING);
    });

    test("an ADD again changes nothing", async () => {
      await using host = await Host.make(runtime, isContainerds);
      host.make({ args: ["sleep", "600"] });
      host.create("c1");
      const before = [host.addressesOf("c1"), host.left()];
      const { status, stderr } = host.hook("add", host.stateOf("c1"));
      assert.deepEqual([status, stderr], [0, ""]);
      assert.deepEqual([host.addressesOf("c1"), host.left()], before);
      // Another hook, as that of a second device.
      assert.equal(host.hook("add", host.stateOf("c1"), "--network", "b").status, 0);
      assert.deepEqual(host.addressesOf("c1"), ["eth0 10.77.1.2/24", "eth1 10.77.2.2/24"]);
      assert.equal(host.hook("del", { ...host.stateOf("c1"), pid: 0 }, "--network", "a").status, 0);
      assert.deepEqual(host.left().attachments, ["b-c1-eth1"]);
      assert.equal(host.hook("add", host.stateOf("c1"), "--network", "a@net5").status, 0);
      assert.equal(host.hook("del", { ...host.stateOf("c1"), pid: 0 }, "--network", "a@net5").status, 0);
      assert.deepEqual(host.left().attachments, ["b-c1-eth1"]);
      host.done("delete", "--force", "c1");
      assert.deepEqual(host.left(), NOTHING);
    });

    test("an address of which nothing is remembered is released as well", async () => {
      await using host = await Host.make(runtime, isContainerds);
      host.make({ args: ["sleep", "600"] });
      host.create("c1");
      fs.rmSync(join(host.cache, "results/a-c1-eth0"));
      host.done("delete", "--force", "c1");
      assert.deepEqual(host.left(), NOTHING);
    });

    test("network gc releases what a container has left that was never deleted, and nothing else", async () => {
      await using host = await Host.make(runtime, isContainerds);
      host.make({ args: ["sleep", "600"] });
      host.create("c1");
      host.create("c2");
      assert.match(host.gc().stdout, /^kept +a +c1 .*\nkept +a +c2 /u);
      const { pid } = host.stateOf("c1");
      host.exec(["sh", "-c", `kill -9 ${pid}; while [ -e /proc/${pid}/ns/net ]; do sleep 0.1; done`]);
      assert.match(host.gc().stdout, /^deleted +a +c1 +eth0\nkept +a +c2 /u);
      assert.deepEqual(host.left().attachments, ["a-c2-eth0"]);
      host.done("delete", "--force", "c1");
      assert.deepEqual(host.left().attachments, ["a-c2-eth0"]);
      host.done("delete", "--force", "c2");
      assert.deepEqual(host.left(), NOTHING);
    });
  });
}

// One of them waits for a minute.
describe("the program that stands by for hooks", { skip: cannotMount, concurrency: true }, () => {
  const running = (host: Host): string => host.exec(["pgrep", "-f", "cni-node.cjs standby"]).stdout;
  const roomsOf = (host: Host): string => host.exec(["ls", "/run/cni-node"]).stdout;

  test("is one for all containers, and ends when it is not wanted any more, with all that it has made", async () => {
    await using host = await Host.make("/usr/sbin/runc", true);
    host.make({ args: ["sleep", "600"] });
    host.create("c1");
    const first = running(host);
    assert.match(first, /^\d+\n$/u);
    host.create("c2");
    for (const id of ["c1", "c2"]) host.done("delete", "--force", id);
    assert.deepEqual(host.left(), NOTHING);
    assert.equal(running(host), first);
    host.exec(["sh", "-c", "rm /run/cni-node/*/calls"]);
    await until(() => running(host) === "");
    assert.equal(roomsOf(host), "");
  });

  test(
    "ends when there was no hook for a minute",
    { skip: process.env["CI"] !== "true" && "takes a minute" },
    async () => {
      await using host = await Host.make("/usr/sbin/runc", true);
      host.make({ args: ["sleep", "600"] });
      host.create("c1");
      for (const end = Date.now() + 90_000; running(host) !== "" && Date.now() < end;) await sleep(1000);
      host.done("delete", "--force", "c1");
      assert.deepEqual([host.left(), roomsOf(host)], [NOTHING, ""]);
    },
  );

  test("serves hooks beside each other", async () => {
    await using host = await Host.make("/usr/sbin/runc", true);
    const { jam } = host.fickleNetwork();
    // An ADD waits for the other one.
    const plugin = join(dirname(jam), "bin/fickle");
    const meeting = `echo $PPID >>${host.root}/parents; : >${host.root}/met-$CNI_CONTAINERID; until [ -e ${host.root}/met-c1 ] && [ -e ${host.root}/met-c2 ]; do sleep 0.05; done`;
    fs.writeFileSync(plugin, fs.readFileSync(plugin, "utf8").replace("  ADD)", `  ADD)\n    ${meeting}`));
    host.make({ args: ["sleep", "600"] });
    host.create("c0");
    host.make({ args: ["sleep", "600"], env: ["CNI_NETWORK=f"] });
    await host.createAll("c1", "c2");
    assert.equal(fs.readFileSync(join(host.root, "parents"), "utf8"), running(host).repeat(2));
    assert.deepEqual(host.left().attachments.toSorted(), ["a-c0-eth0", "f-c1-eth0", "f-c2-eth0"]);
    for (const id of ["c0", "c1", "c2"]) host.done("delete", "--force", id);
    assert.deepEqual(host.left(), NOTHING);
  });

  /** A room, and a mount namespace whose /run it is in. */
  class Stage implements AsyncDisposable {
    readonly root: string;
    readonly room: string;
    readonly calls: number;
    readonly slot: number;
    readonly #namespace: Namespace;
    readonly #children: ChildProcess[] = [];

    private constructor(root: string, namespace: Namespace) {
      this.root = root;
      this.#namespace = namespace;
      this.room = join(root, "cni-node/1");
      const fifos = ["calls", ...Array.from({ length: 16 }, (_, index) => String(index + 1))];
      fs.mkdirSync(this.room, { recursive: true, mode: 0o700 });
      spawnSync("mkfifo", fifos, { cwd: this.room });
      const open = (name: string): number =>
        fs.openSync(join(this.room, name), fs.constants.O_RDWR | fs.constants.O_NONBLOCK);
      [this.calls, this.slot] = [open("calls"), open("1")];
    }

    static async make(): Promise<Stage> {
      const root = fs.mkdtempSync(join(tmpdir(), "cni-node-run-"));
      await using begun = new AsyncDisposableStack();
      const made = new Stage(root, begun.use(await Namespace.make(`mount --bind ${root} /run`)));
      begun.move();
      return made;
    }

    /** Starts a command there. */
    start(words: readonly string[], ...stdio: ("ignore" | number)[]): ChildProcess {
      const child = spawn("nsenter", [...this.#namespace.entrance, ...words], { stdio });
      this.#children.push(child);
      return child;
    }

    /** Starts the program, as the front does. */
    standBy(program = BUNDLE): ChildProcess {
      const started = this.start(
        [process.execPath, program, "standby", "/run/cni-node/1"],
        this.calls,
        "ignore",
        "ignore",
      );
      this.sign(started);
      return started;
    }

    /** Says who stands by there. */
    sign({ pid }: ChildProcess): void {
      fs.writeFileSync(join(this.room, "../standby"), `${pid} /run/cni-node/1\n`);
    }

    /** A hook that has gone has this slot. */
    claim(slot: number): string {
      const path = join(this.room, `${slot}.lock`);
      fs.writeFileSync(path, `${spawnSync("true").pid}\n`);
      return path;
    }

    /** What is said in the slot; empty: nothing. */
    said(): string {
      const said = Buffer.alloc(4096);
      try {
        return said.toString("utf8", 0, fs.readSync(this.slot, said));
      } catch {
        return "";
      }
    }

    async [Symbol.asyncDispose](): Promise<void> {
      for (const child of this.#children) child.kill("SIGKILL");
      await this.#namespace[Symbol.asyncDispose]();
      for (const file of [this.calls, this.slot]) fs.closeSync(file);
      fs.rmSync(this.root, { recursive: true });
    }
  }

  test("takes a hook from a shell that is still printing its number, and whose output is another as long", async () => {
    await using stage = await Stage.make();
    // Full, so that the shell stays where it is.
    assert.throws(() => {
      for (;;) fs.writeSync(stage.calls, "\n".repeat(4096));
    }, /EAGAIN/u);
    const program = fs.openSync(BUNDLE, "r");
    const holder = stage.start(["sleep", "600"], stage.calls, "ignore", "ignore", program);
    fs.closeSync(program);
    stage.sign(holder);
    await until(() => fs.readFileSync(`/proc/${holder.pid}/comm`, "utf8") === "sleep\n");
    // Runtimes give a pipe; Node.js would give a socket.
    const words = 'exec /bin/sh "$0" cni --command add < <(echo nonsense)';
    const hook = stage.start(["bash", "-c", words, FRONT], "ignore", "ignore", "ignore");
    await until(() => fs.readlinkSync(`/proc/${hook.pid}/fd/1`).includes("calls"));
    hook.kill("SIGSTOP");
    stage.standBy();
    let said = "";
    await until(() => {
      try {
        fs.writeSync(stage.calls, `1 ${hook.pid}\n`);
      } catch {
        // It is still full.
      }
      said ||= stage.said();
      return said !== "";
    });
    assert.match(said, new RegExp(`^${hook.pid} taken\n`, "u"));
  });

  test("gives back the slot of a hook that has gone, without an answer that it has not read", async () => {
    await using stage = await Stage.make();
    const lock = stage.claim(1);
    fs.writeSync(stage.slot, "1 0\n");
    stage.standBy();
    await until(() => !fs.existsSync(lock));
    assert.equal(stage.said(), "");
  });

  test("goes on whatever lies in its room or is said to it", async () => {
    await using stage = await Stage.make();
    fs.mkdirSync(join(stage.room, "1.lock"));
    const lock = stage.claim(2);
    fs.writeSync(stage.calls, `\0\xff\n0 1\n17 1\n1 99999999999999999999\n2 ${process.pid}\n${"1".repeat(10_000)}\n`);
    const program = stage.standBy();
    await until(() => !fs.existsSync(lock));
    await until(() => stage.said().endsWith("99999999999999999999 \n"));
    assert.equal(program.exitCode, null);
  });

  test("ends when the program is changed or replaced, or another one has been started", async () => {
    const copy = fs.mkdtempSync(join(tmpdir(), "cni-node-copy-"));
    try {
      fs.cpSync(dirname(BUNDLE), copy, { recursive: true });
      const program = join(copy, "cni-node.cjs");
      for (const end of [
        () => fs.appendFileSync(program, "\n"),
        () => {
          fs.copyFileSync(program, `${program}.new`);
          fs.renameSync(`${program}.new`, program);
        },
        (stage: Stage) => stage.sign({ pid: 1 } as ChildProcess),
      ]) {
        await using stage = await Stage.make();
        const started = stage.standBy(program);
        const lock = stage.claim(1);
        await until(() => !fs.existsSync(lock));
        const ended = endOf(started);
        end(stage);
        assert.equal((await ended).exitCode, 0);
        assert.equal(fs.existsSync(stage.room), false);
      }
    } finally {
      fs.rmSync(copy, { recursive: true });
    }
  });

  test("serves the hooks of containers that are made at once", async () => {
    await using host = await Host.make("/usr/sbin/runc", true);
    host.make({ args: ["sleep", "600"] });
    const ids = ["c1", "c2", "c3", "c4", "c5", "c6"];
    await host.createAll(...ids);
    // Which of several fronts has started one is not known; others have ended.
    await until(() => /^\d+\n$/u.test(running(host)));
    assert.equal(host.exec(["sh", "-c", "cut -d' ' -f1 /run/cni-node/standby"]).stdout, running(host));
    for (const id of ids) host.done("delete", "--force", id);
    assert.deepEqual(host.left(), NOTHING);
  });

  test("keeps nothing open of hooks that fail early", async () => {
    await using host = await Host.make("/usr/sbin/runc", true);
    host.make({ args: ["sleep", "600"] });
    host.create("c1");
    const pid = running(host).trim();
    const open = (): string => host.exec(["sh", "-c", `ls /proc/${pid}/fd | wc -l`]).stdout;
    const fail = (): void => {
      const words = `${FRONT} cni --config ${host.config} --command nonsense >/dev/null 2>&1`;
      assert.equal(host.exec(["sh", "-c", `echo | ${words}`]).status, 2);
    };
    fail();
    const before = open();
    for (let count = 0; count < 5; count++) fail();
    assert.equal(open(), before);
    host.done("delete", "--force", "c1");
  });

  test("makes no hook wait that it has been killed under, and its room goes with the next one's start", async () => {
    await using host = await Host.make("/usr/sbin/runc", true);
    host.make({ args: ["sleep", "600"] });
    host.create("c1");
    const room = roomsOf(host);
    assert.equal(host.exec(["pkill", "-KILL", "-f", "cni-node.cjs standby"]).status, 0);
    host.done("delete", "--force", "c1");
    assert.deepEqual([host.left(), roomsOf(host)], [NOTHING, room]);
    host.exec(["sh", "-c", "touch -d '1 minute ago' /run/cni-node/[0-9]*"]);
    host.make({ args: ["sleep", "600"] });
    host.create("c2");
    assert.match(running(host), /^\d+\n$/u);
    await until(() => /^\d+\nstandby\n$/u.test(roomsOf(host)) && roomsOf(host) !== room);
    host.done("delete", "--force", "c2");
  });

  test("leaves a hook to Node.js that has another mount namespace", async () => {
    await using host = await Host.make("/usr/sbin/runc", true);
    host.make({ args: ["sleep", "600"] });
    host.create("c1");
    const elsewhere = join(host.root, "elsewhere");
    fs.mkdirSync(elsewhere);
    const { pid } = host.stateOf("c1");
    host.exec(["sh", "-c", `kill -9 ${pid}; while [ -e /proc/${pid}/ns/net ]; do sleep 0.1; done`]);
    const state = JSON.stringify({ id: "c1", bundle: host.bundle });
    // The program takes pipes, and no sockets.
    const words = `echo '${state}' | ${FRONT} cni --config ${host.config} --command del >/dev/null 2>&1`;
    // Its cache is another there: it finds nothing to delete.
    const inside = `mount --bind ${elsewhere} ${host.cache} && ${words}`;
    assert.equal(host.exec(["unshare", "--mount", "sh", "-c", inside]).status, 0);
    assert.deepEqual(host.left().attachments, ["a-c1-eth0"]);
    assert.equal(host.exec(["sh", "-c", words]).status, 0);
    assert.deepEqual(host.left(), NOTHING);
    host.done("delete", "--force", "c1");
  });
});

describe("a container of Docker", { skip: cannotMount }, () => {
  /** Calls the hook for it. */
  async function adding(
    hostConfig: object,
    shape: Shape,
    network?: string,
    settings = "",
  ): Promise<Output & { given: unknown }> {
    await using host = await Host.make("/usr/sbin/runc");
    fs.appendFileSync(host.config, settings);
    const { stdin } = host.fickleNetwork({ capabilities: { portMappings: true } });
    const directory = join(host.root, "containers/c1");
    fs.mkdirSync(directory, { recursive: true });
    fs.writeFileSync(join(directory, "resolv.conf"), "");
    fs.writeFileSync(join(directory, "hostconfig.json"), JSON.stringify(hostConfig));
    const mounts = [
      { destination: "/proc", type: "proc", source: "proc" },
      { destination: "/etc/resolv.conf", type: "bind", source: join(directory, "resolv.conf"), options: ["rbind"] },
    ];
    const text = host.make({ args: ["sleep", "600"], namespaces: [{ type: "network" }], ...shape });
    const spec = { ...(JSON.parse(text) as object), mounts };
    fs.writeFileSync(host.spec, JSON.stringify(spec));
    const added = host.inNamespace("c1", ...(network === undefined ? [] : ["--network", network]));
    const log = fs.readFileSync(join(host.root, "oci.log"), "utf8");
    const input = fs.existsSync(stdin) ? (JSON.parse(fs.readFileSync(stdin, "utf8")) as object) : {};
    const { runtimeConfig = {} } = input as { runtimeConfig?: { portMappings?: unknown } };
    return { ...added, stderr: added.stderr + log, given: runtimeConfig.portMappings };
  }
  const [eighty, any] = [
    { PortBindings: { "80/tcp": [{ HostIp: "", HostPort: "8080" }] } },
    { PortBindings: { "80/tcp": [{ HostIp: "", HostPort: "" }] } },
  ];
  const mapped = [{ hostPort: 8080, containerPort: 80, protocol: "tcp" }];
  const onF = { env: ["CNI_NETWORK=f"] };

  test("with a network of Docker's is left alone", async () => {
    for (const NetworkMode of ["default", "bridge", "own"]) {
      const { status, stdout, stderr, given } = await adding({ NetworkMode, ...eighty }, { env: ["IPV4=nonsense"] });
      assert.deepEqual([status, stdout, given], [0, "", undefined], stderr);
      assert.doesNotMatch(stderr, /warning|was added/u);
      assert.match(stderr, /level=debug msg="\[hook\] container c1 is left alone: it has a network of Docker's"/u);
    }
    assert.match((await adding({ NetworkMode: "none" }, {})).stderr, /eth0 of network a was added/u);
  });

  test("with a network of Docker's that asks for one by name does not start", async () => {
    const asking: [Shape, string?][] = [[onF], [{ annotations: { "io.cni-node.network": "f" } }], [{}, "f"]];
    for (const [shape, network] of asking) {
      const { status, stderr, given } = await adding({ NetworkMode: "bridge" }, shape, network);
      assert.deepEqual([status, given], [1, undefined]);
      assert.match(stderr, /by name, and has a network of Docker's\n {2}hint: start it with --network none/u);
    }
  });

  test("has what its annotations ask for, which Docker takes from no image, unless the configuration says that they do not count", async () => {
    const shape = { annotations: { "io.cni-node.network": "f" } };
    assert.equal((await adding({}, shape)).status, 0);
    const { status, stderr } = await adding({}, shape, undefined, "cni_annotations: false\n");
    assert.equal(status, 1);
    assert.match(stderr, /io\.cni-node\.network: annotations do not count here: they may be those of the image\n/u);
  });

  test("has its published ports mapped by a network that can", async () => {
    const { status, stderr, given } = await adding(eighty, onF);
    assert.equal(status, 0, stderr);
    assert.deepEqual(given, mapped);
    assert.doesNotMatch(stderr, /warning/u);
  });

  test("has a warning for published ports if no network can, for docker run --net none says nothing of them either", async () => {
    for (const [config, what] of [
      [eighty, "80/tcp"],
      [any, "80/tcp"],
      [{ PublishAllPorts: true }, "all ports"],
    ] as const) {
      const { status, stderr } = await adding(config, {});
      assert.equal(status, 0, stderr);
      assert.match(
        stderr,
        new RegExp(`warning: container c1: ${what} cannot be published: no plugin of network a`, "u"),
      );
      assert.match(stderr, /level=warning msg="\[hook\] container c1: .* cannot be published/u);
    }
  });

  test("does not start if Docker would choose a port of the host", async () => {
    const { status, stderr, given } = await adding(any, onF);
    assert.notEqual(status, 0);
    assert.match(stderr, /--publish 80\/tcp: Docker would choose the port of the host.*\n.*--publish HOSTPORT:PORT/u);
    assert.equal(given, undefined);
    const all = await adding({ PublishAllPorts: true }, onF);
    assert.equal(all.status, 0);
    assert.match(all.stderr, /warning: container c1: --publish-all publishes nothing here/u);
  });

  test("does not start if it asks for ports by its settings and no network can", async () => {
    const { status, stderr } = await adding({}, { env: ["CNI_PORTS=8080:80"] });
    assert.notEqual(status, 0);
    assert.match(stderr, /CNI_PORTS.*no plugin of network a has the capability portMappings/u);
    const named = await adding({}, { annotations: { "io.cni-node.ports": "8080:80" } }, "a");
    assert.notEqual(named.status, 0);
    const alias = await adding({}, { annotations: { "io.cni-node.aliases": "web" } }, "a");
    assert.match(alias.stderr, /no plugin of network a has the capability aliases/u);
  });

  test("has its ports mapped by the network of another device", async () => {
    const hook = (name: string): object => ({ path: "/x", args: ["/x", "cni", "--command", "add", "--network", name] });
    const more = `,"hooks":{"createRuntime":[${JSON.stringify(hook("a"))},${JSON.stringify(hook("f"))}]}`;
    for (const shape of [{ more }, { more, annotations: { "io.cni-node.ports": "8080:80" } }]) {
      const config = "annotations" in shape ? {} : eighty;
      const first = await adding(config, shape, "a");
      assert.equal(first.status, 0, first.stderr);
      assert.doesNotMatch(first.stderr, /warning/u);
      assert.deepEqual((await adding(config, shape, "f")).given, mapped);
    }
  });
});

describe("a container of another engine", { skip: cannotMount }, () => {
  test("does not start with annotations that may be those of its image, unless the configuration says that they count", async () => {
    await using host = await Host.make("/usr/sbin/runc");
    const add = (annotations: Record<string, string>): Output => {
      host.make({ args: ["sleep", "600"], annotations });
      return host.inNamespace("c1");
    };
    assert.equal(add({ "io.cni-node.network": "", "io.cni-node.ip": "" }).status, 0, "they ask for nothing");
    const refused = add({ "io.cni-node.network": "b", "io.cni-node.ports": "80:80" });
    assert.equal(refused.status, 1);
    assert.match(refused.stderr, /io\.cni-node\.network, io\.cni-node\.ports: annotations do not count here/u);
    assert.match(refused.stderr, /hint: .*cni_annotations: true into \S+\/cni\.yaml/u);
    fs.appendFileSync(host.config, "cni_annotations: true\n");
    const added = add({ "io.cni-node.network": "b" });
    assert.equal(added.status, 0, added.stderr);
    assert.match(fs.readFileSync(join(host.root, "oci.log"), "utf8"), /eth\d of network b was added/u);
  });
});

describe("a root file system elsewhere", { skip: cannotMount }, () => {
  test("gets the DNS if it is an overlay, which has a layer of its own, and no other does", async () => {
    await using host = await Host.make("/usr/sbin/runc");
    const [tmpfs, merged] = [join(host.root, "layers"), join(host.root, "layers/merged")];
    const mounted = host.exec([
      "sh",
      "-ec",
      `mkdir ${tmpfs}; mount -t tmpfs none ${tmpfs}; cd ${tmpfs}; mkdir upper work merged
       mount -t overlay -o lowerdir=${host.bundle}/rootfs,upperdir=upper,workdir=work none merged`,
    ]);
    assert.equal(mounted.status, 0, mounted.stderr);
    const run = (root: string): string => {
      const text = host.make({ args: ["sh", "-c", "cat /etc/resolv.conf || :"] });
      fs.writeFileSync(host.spec, text.replace('"path":"rootfs"', `"path":${JSON.stringify(root)}`));
      return host.done("run", "--bundle", host.bundle, "c1");
    };
    assert.equal(run(merged), "nameserver 10.77.1.1\nsearch a.test\n");
    assert.equal(fs.existsSync(join(host.bundle, "rootfs/etc/resolv.conf")), false);
    fs.cpSync(join(host.bundle, "rootfs"), join(host.root, "shared"), { recursive: true, verbatimSymlinks: true });
    assert.equal(run(join(host.root, "shared")), "");
    assert.match(fs.readFileSync(join(host.root, "oci.log"), "utf8"), /resolv\.conf of the container is not its own/u);
  });
});

describe("the program without its front", { skip: cannotMount }, () => {
  const RUNC = "/usr/sbin/runc";
  const program = (host: Host, ...words: string[]): Output =>
    host.exec([
      process.execPath,
      BUNDLE,
      "oci",
      "--config",
      host.config,
      "--",
      "--root",
      join(host.root, "run"),
      ...words,
    ]);

  test("does the same", async () => {
    await using host = await Host.make(RUNC);
    host.make();
    const { stdout, stderr, status } = program(host, "run", "--bundle", host.bundle, "c1");
    assert.equal(status, 0, stderr);
    assert.match(stdout, /inet 10\.77\.1\.2\/24 .* eth0/u);
    assert.deepEqual(host.left(), NOTHING);
    assert.match(program(host, "--version").stdout, /^runc version/u);
    host.make({ args: ["sh", "-c", "exit 7"] });
    assert.equal(program(host, "run", "--bundle", host.bundle, "c1").status, 7);
  });

  test("says in the runtime's log what it objects to", async () => {
    await using host = await Host.make(RUNC);
    host.make();
    const log = join(host.root, "log.json");
    const said = (): string => {
      const { status } = host.oci("--log", log, "--log-format", "json", "create", "--bundle", host.bundle, "c1");
      assert.equal(status, 1);
      const { level, msg, time } = JSON.parse(fs.readFileSync(log, "utf8")) as Record<string, string>;
      assert.deepEqual([level, Number.isNaN(Date.parse(time ?? ""))], ["error", false]);
      fs.rmSync(log);
      return msg ?? "";
    };
    const config = fs.readFileSync(host.config, "utf8");
    fs.writeFileSync(host.config, config.replace(RUNC, "/nowhere/runc"));
    assert.match(said(), /\/nowhere\/runc: there is no such program \(hint: name the OCI runtime with oci_bin/u);
    fs.symlinkSync(FRONT, join(host.root, "runc"));
    fs.writeFileSync(host.config, config.replace(RUNC, join(host.root, "runc")));
    assert.match(said(), /runc: it is cni-node itself, which would call itself for ever/u);
    fs.writeFileSync(host.config, `${config}nonsense: 1\n`);
    assert.match(said(), /unknown key "nonsense"/u);
    fs.writeFileSync(host.config, config);
    fs.writeFileSync(host.spec, '{"linux":{"namespaces":[{"type":"network"}]},"hooks":7}');
    assert.match(said(), /config\.json: .* a key hooks that is not an object/u);
  });

  test("a hook says what it objects to", async () => {
    await using host = await Host.make(RUNC);
    host.make({ namespaces: [], annotations: { "io.cni-node.network": "a" } });
    const state = { id: "c1", bundle: host.bundle, pid: process.pid };
    const said = (...given: Parameters<Host["hook"]>): string => {
      const { status, stderr } = host.hook(...given);
      assert.notEqual(status, 0);
      return stderr;
    };
    assert.match(
      said("add", state),
      /container c1: it asks for a CNI network by name.*\n {2}hint: start it with --network none/u,
    );
    assert.match(said("add", { ...state, id: "../x" }), /the ID of the container is "\.\.\/x"/u);
    assert.match(said("add", {}), /no state of a container/u);
    assert.match(said("add", { ...state, bundle: "/nowhere" }), /\/nowhere\/config\.json: .*no such file/u);
    assert.match(said("gc", state), /--command: is not add, del or check/u);
    host.make();
    assert.match(said("add", { ...state, pid: undefined }), /not in a network namespace of its own/u);
    assert.deepEqual(host.left(), NOTHING);
  });
});
