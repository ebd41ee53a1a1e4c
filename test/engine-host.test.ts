/** engine commands on the files of a host that has no engine: what they write, share, and take back. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { writeAttachment } from "../src/cni/cache.ts";
import { BUNDLE, conflist, contentsOf, endOf, type Ran } from "./helpers/node.ts";
import { Random, SEED } from "./helpers/random.ts";
import { reportOf } from "./helpers/report.ts";

const DIRECTORIES = ["etc/docker", "etc/cni/net.d", "etc/containers", "etc/cdi", "opt", "var/lib"];

/** A host's root directory, and a program of a size that a test has time for. */
class Host implements Disposable {
  readonly root = fs.mkdtempSync(join(fs.realpathSync(tmpdir()), "cni-node-test-"));
  readonly program = join(this.root, "own/cni-node.cjs");
  readonly path = join(this.root, "host");

  constructor() {
    for (const name of DIRECTORIES) fs.mkdirSync(join(this.path, name), { recursive: true });
    fs.cpSync(dirname(BUNDLE), dirname(this.program), { recursive: true });
  }

  spawn(...words: string[]): ReturnType<typeof spawn> {
    const argv = [this.program, "engine", ...words, `--host-root=${this.path}`];
    return spawn(process.execPath, argv, { env: { PATH: process.env["PATH"] } });
  }

  async run(...words: string[]): Promise<Ran> {
    return endOf(this.spawn(...words));
  }

  async done(...words: string[]): Promise<Ran> {
    const ran = await this.run(...words);
    assert.equal(ran.exitCode, 0, ran.stderr);
    return ran;
  }

  write(path: string, text: string): void {
    fs.mkdirSync(dirname(join(this.path, path)), { recursive: true });
    fs.writeFileSync(join(this.path, path), text);
  }

  read(path: string): string {
    return fs.readFileSync(join(this.path, path), "utf8");
  }

  /** Remembers an attachment. @param note undefined: a container runtime has added it. */
  attach(cacheDir: string, containerId: string, note: Record<string, unknown> | undefined): void {
    const names = { networkName: "net", containerId, ifName: "eth0" };
    const result = { cniVersion: "1.0.0", interfaces: [], ips: [] };
    writeAttachment(join(this.path, cacheDir), {
      ...names,
      config: "{}",
      netns: "",
      args: [],
      capabilityArgs: {},
      result,
      note,
    });
  }

  /** Stores a container as dockerd does. */
  store(id: string, hostConfig: object, config: object, dataRoot = "var/lib/docker"): void {
    this.write(`${dataRoot}/containers/${id}/hostconfig.json`, JSON.stringify(hostConfig));
    this.write(`${dataRoot}/containers/${id}/config.v2.json`, JSON.stringify(config));
  }

  isThere(path: string): boolean {
    return fs.existsSync(join(this.path, path));
  }

  /** Every file with its inode, but for the parts of the program. */
  files(): Record<string, string> {
    return Object.fromEntries(
      Object.entries(contentsOf(this.path))
        .filter(([path]) => !path.startsWith("opt/cni-node/lib/"))
        .map(([path, text]) => [path, path.startsWith("opt/") ? String(text.length) : text]),
    );
  }

  [Symbol.dispose](): void {
    fs.rmSync(this.root, { recursive: true, force: true });
  }
}

const FRONT = "/opt/cni-node/oci.sh";
const MARK = { target: "oci:ours", identity: "4026532000", since: "1", boot: "b" };
const DAEMON = '{\n  "debug": true\n}\n';

describe("engine commands", { concurrency: 2 }, () => {
  test("put the program on the host once for all that needs it, and remove it with the last", async () => {
    using host = new Host();
    host.write("etc/docker/daemon.json", DAEMON);
    host.write("etc/cni/net.d/10-a.conflist", conflist("a", "bridge"));
    const before = host.files();
    const enabled = await host.done("enable", "docker");
    assert.match(enabled.stderr, /warning: \/etc\/docker\/daemon\.json: dockerd does not run, or cannot be reached/u);
    assert.deepEqual(JSON.parse(host.read("etc/docker/daemon.json")), {
      debug: true,
      runtimes: { "barrel-cni": { path: FRONT } },
    });
    await host.done("enable", "podman");
    await host.done("cdi");
    await host.done("hooks");
    assert.match(
      host.read("etc/containers/containers.conf.d/50-cni-node-barrel-cni.conf"),
      /^"barrel-cni" = \["\/opt\/cni-node\/oci\.sh"\]$/mu,
    );
    const called = JSON.stringify([
      JSON.parse(host.read("etc/cdi/cni-node.json")),
      JSON.parse(host.read("etc/containers/oci/hooks.d/10-cni-node-add.json")),
    ]);
    assert.equal(called.split(`"path":"${FRONT}"`).length - 1, 3);
    // What is on the host is a whole program.
    const version = spawn(join(host.path, "opt/cni-node/node"), [
      join(host.path, "opt/cni-node/cni-node.cjs"),
      "list",
      "--plugin-source=/",
    ]);
    assert.equal((await endOf(version)).exitCode, 0);

    const after = host.files();
    const inode = fs.statSync(join(host.path, "opt/cni-node/node")).ino;
    for (const words of [["enable", "docker"], ["enable", "podman"], ["cdi"], ["hooks"]]) await host.done(...words);
    assert.deepEqual(host.files(), after);
    assert.equal(fs.statSync(join(host.path, "opt/cni-node/node")).ino, inode);
    const status = reportOf(await host.run("status", "--output=json"));
    assert.deepEqual(
      (status["ways"] as { way: string; state: string }[]).map(({ way, state }) => `${way} ${state}`),
      ["docker enabled", "podman enabled", "cdi enabled", "hooks enabled"],
    );

    await host.done("hooks", "--remove");
    await host.done("disable", "docker");
    await host.done("cdi", "--remove");
    assert.ok(host.isThere("opt/cni-node/node"));
    const last = reportOf(await host.done("disable", "podman", "--output=json"));
    assert.ok((last["files"] as { outcome: string }[]).some(({ outcome }) => outcome === "deleted"));
    assert.deepEqual(host.files(), before);
    assert.ok(!host.isThere("opt/cni-node"));
  });

  test("keep the program as long as a container is attached", async () => {
    using host = new Host();
    const early = await host.done("enable", "podman", "--oci-config=/etc/docker/cni.yaml");
    assert.match(early.stderr, /no container was tried: .*cni\.yaml: .*no such file/u);
    await host.done("disable", "podman", "--oci-config=/etc/docker/cni.yaml");
    assert.ok(!host.isThere("opt/cni-node"));
    host.write("etc/docker/cni.yaml", "cni_cache_dir: /var/lib/own\n");
    await host.done("enable", "podman", "--oci-config=/etc/docker/cni.yaml");
    host.attach("var/lib/own", "pod", undefined);
    host.attach("var/lib/own", "ours", MARK);
    const kept = await host.done("disable", "podman", "--oci-config=/etc/docker/cni.yaml");
    assert.match(kept.stdout, /^kept .*opt\/cni-node\/oci\.sh +containers that are attached may still need it$/mu);
    assert.ok(!host.isThere("etc/containers/containers.conf.d/50-cni-node-barrel-cni.conf"));
    assert.match(
      host.read("opt/cni-node/runtimes/barrel-cni"),
      /^exec \/opt\/cni-node\/oci\.sh oci --config \/etc\/docker\/cni\.yaml -- "\$@"$/mu,
    );
    fs.rmSync(join(host.path, "var/lib/own/results/net-ours-eth0"));
    host.write("var/lib/own/results/net-damaged-eth0", "{");
    const damaged = await host.done("disable", "podman", "--oci-config=/etc/docker/cni.yaml");
    assert.match(damaged.stdout, /^kept .*oci\.sh +containers may still need it: .*net-damaged-eth0/mu);
    fs.rmSync(join(host.path, "var/lib/own/results/net-damaged-eth0"));
    await host.done("disable", "podman", "--oci-config=/etc/docker/cni.yaml");
    assert.ok(!host.isThere("opt/cni-node"), "what container runtimes have attached does not need it");
  });

  test("ask what dockerd has stored where it cannot be asked", async () => {
    using host = new Host();
    await host.done("enable", "docker");
    host.store("one", { Runtime: "barrel-cni" }, { Name: "/db", State: { Running: true } });
    host.store("two", { Runtime: "runc" }, { Name: "/web", State: { Running: true } });
    const refused = await host.run("disable", "docker");
    assert.deepEqual(
      [refused.exitCode, /barrel-cni: is needed to stop 1 container: db$/mu.test(refused.stderr)],
      [1, true],
    );
    assert.match(host.read("etc/docker/daemon.json"), /barrel-cni/u);
    host.store("more", { Runtime: "barrel-cni" }, { Name: "/more", State: { Running: true } });
    assert.match((await host.run("disable", "docker")).stderr, /is needed to stop 2 containers: \w+, \w+$/mu);
    fs.rmSync(join(host.path, "var/lib/docker/containers/more"), { recursive: true });
    const forced = await host.done("disable", "docker", "--force");
    assert.match(forced.stdout, /^kept .*oci\.sh +containers that have the runtime need it$/mu);
    assert.ok(!host.isThere("etc/docker/daemon.json"));

    host.store("one", { Runtime: "barrel-cni" }, { Name: "/db", State: { Running: false } });
    host.write("var/lib/docker/containers/three/hostconfig.json", "{");
    const doubtful = await host.done("disable", "docker");
    assert.match(doubtful.stdout, /^kept .*oci\.sh +it is not known whether containers need it$/mu);
    assert.match(doubtful.stderr, /warning: barrel-cni: is needed to start 1 stopped container: db/u);
    assert.match(
      doubtful.stderr,
      /not known which containers .*dockerd cannot be asked, and what it .* of three cannot/u,
    );
    fs.rmSync(join(host.path, "var/lib/docker/containers/three"), { recursive: true });
    await host.done("disable", "docker");
    assert.ok(!host.isThere("opt/cni-node"));
  });

  test("find what dockerd has stored where its configuration says, and keep the program if there is nothing", async () => {
    using host = new Host();
    host.write("etc/docker/daemon.json", '{"data-root": "/data"}');
    host.write("run/docker.sock", "");
    fs.symlinkSync("/run", join(host.path, "var/run"));
    await host.done("enable", "docker");
    const unknown = await host.done("disable", "docker");
    assert.match(unknown.stderr, /so the program stays: dockerd cannot be asked/u);
    assert.ok(host.isThere("opt/cni-node/oci.sh"));
    await host.done("enable", "docker");
    host.store("one", { Runtime: "barrel-cni" }, { Name: "/db", State: { Running: true } }, "data");
    assert.equal((await host.run("disable", "docker")).exitCode, 1);
  });

  test("do not disable the runtime that Podman has for all containers", async () => {
    using host = new Host();
    host.write("etc/docker/cni.yaml", "log_level: info\n");
    const words = ["podman", "--oci-config=/etc/docker/cni.yaml"];
    await host.done("enable", ...words);
    const own = "/opt/cni-node/runtimes/barrel-cni";
    for (const [path, text] of [
      ["etc/containers/containers.conf", '[containers]\ninit = true\n[engine]\nruntime = "barrel-cni" # ours\n'],
      ["etc/containers/containers.conf.d/90-own.conf", "engine.runtime = 'barrel-cni'\n"],
      ["usr/share/containers/containers.conf", `[engine]\nruntime = "${own}"\n`],
    ] as const) {
      host.write(path, text);
      const before = host.files();
      const { error } = reportOf(await host.run("disable", ...words, "--force", "--output=json"));
      const { code, message } = error as { code: string; message: string };
      assert.deepEqual([code, message.startsWith(`/${path}: `)], ["runtime-is-default", true], message);
      assert.deepEqual(host.files(), before);
      fs.rmSync(join(host.path, path));
    }
    host.write("etc/containers/containers.conf", '[engine]\n#runtime = "barrel-cni"\nruntime = "crun"\n');
    await host.done("disable", ...words);
  });

  test("keep the program where Podman may have containers and cannot be asked", async () => {
    using host = new Host();
    await host.done("enable", "podman");
    fs.mkdirSync(join(host.path, "var/lib/containers/storage"), { recursive: true });
    const kept = await host.done("disable", "podman");
    assert.match(kept.stdout, /^deleted .*50-cni-node-barrel-cni\.conf$/mu);
    assert.match(kept.stdout, /^kept .*oci\.sh +it is not known whether containers need it$/mu);
    assert.match(kept.stderr, /so the program stays: Podman cannot be called from here/u);
  });

  for (const [title, files, words] of [
    [
      "in its unit",
      { "lib/systemd/system/docker.service": "ExecStart=/usr/bin/dockerd -H fd:// \\\n  --add-runtime a=/b\n" },
    ],
    [
      "in a file beside its unit",
      {
        "usr/lib/systemd/system/docker.service": "ExecStart=/usr/bin/dockerd -H fd://\n",
        "usr/lib/systemd/system/docker.service.d/a.conf": "[Service]\nExecStart=\nExecStart=/usr/bin/dockerd\n",
        "etc/systemd/system/docker.service.d/own.conf":
          "[Service]\nExecStart=\nExecStart=/usr/bin/dockerd --add-runtime=a=/b\n",
      },
    ],
    [
      "in a file that its unit names",
      {
        "lib/systemd/system/docker.service":
          "EnvironmentFile=/gone\nEnvironmentFile=\nEnvironmentFile=-/etc/none\nEnvironmentFile=/etc/sysconfig/docker\nExecStart=/usr/bin/dockerd -H fd:// ${A} $B\n",
        "etc/sysconfig/docker": "# --x\nA='--debug'\nB=\"--tls \\\n --add-runtime a=/b\"\n",
      },
    ],
    [
      "in a variable of its unit",
      {
        "lib/systemd/system/docker.service":
          "Environment=\"A=--debug\" 'B=--add-runtime a=/b'\nExecStart=/usr/bin/dockerd $C $B\n",
      },
    ],
    ["for a start script", { "etc/default/docker": '#DOCKER_OPTS=""\nDOCKER_OPTS="--debug --add-runtime=a=/b"\n' }],
    [
      "that has a key of its file, too",
      {
        "etc/default/docker": "DOCKER_OPTS=--default-runtime=a\n",
        "etc/docker/daemon.json": '{"default-runtime": "a"}\n',
      },
      /with --default-runtime/u,
    ],
  ] as const) {
    test(`refuse what dockerd would not start with: a flag ${title}`, async () => {
      using host = new Host();
      for (const [path, text] of Object.entries(files)) host.write(path, text);
      const before = host.files();
      const refused = reportOf(await host.run("enable", "docker", "--output=json"));
      const { code, message } = refused["error"] as { code: string; message: string };
      assert.equal(code, "daemon-flags");
      assert.match(message, words ?? /is started with --add-runtime/u);
      assert.deepEqual(host.files(), before);
    });
  }

  test("say where nothing is known of the flags of dockerd, and do not disable the default one among them", async () => {
    using host = new Host();
    assert.match(
      (await host.done("enable", "docker")).stderr,
      /cannot be reached from here, and its flags are not known/u,
    );
    host.write("etc/default/docker", "DOCKER_OPTS=--default-runtime=barrel-cni\n");
    assert.doesNotMatch((await host.done("enable", "docker")).stderr, /flags/u);
    const refused = reportOf(await host.run("disable", "docker", "--force", "--output=json"));
    assert.equal((refused["error"] as { code: string }).code, "runtime-is-default");
  });

  for (const [title, text, mode, isKnown] of [
    ["a file that sets no flag", "EnvironmentFile=/etc/own\nExecStart=/usr/bin/dockerd $OPTIONS $MORE\n", 0o644, true],
    ["a file that is not there and need not be", "EnvironmentFile=-/gone\nExecStart=/bin/dockerd $MORE\n", 0o644, true],
    ["a file that is not there", "EnvironmentFile=/gone\nExecStart=/bin/dockerd $OPTIONS\n", 0o644, false],
    ["files of a pattern", "EnvironmentFile=/etc/o*\nExecStart=/bin/dockerd $OPTIONS\n", 0o644, false],
    ["a file that others can write to", "EnvironmentFile=/etc/own\nExecStart=/bin/dockerd $OPTIONS\n", 0o666, false],
    ["systemd's environment", "ExecStart=/bin/dockerd $OPTIONS\n", 0o644, false],
  ] as const) {
    test(`say whether the flags of dockerd are known that are in ${title}`, async () => {
      using host = new Host();
      host.write("lib/systemd/system/docker.service", text);
      host.write("etc/own", "OPTIONS=--debug\n");
      fs.chmodSync(join(host.path, "etc/own"), mode);
      const { stderr } = await host.done("enable", "docker");
      assert.equal(!/its flags are not known \(systemctl cat docker\)/u.test(stderr), isKnown, stderr);
    });
  }

  test("say that the host was not asked to run the program", async () => {
    using host = new Host();
    const untried = /warning: \/opt\/cni-node\/node: was not tried: .*; run with --pid=host and --privileged, or/u;
    assert.match((await host.done("hooks")).stderr, untried);
    assert.doesNotMatch((await host.done("hooks")).stderr, untried);
  });

  test("replace a program by another version, and remove its old parts when no hook can need them", async () => {
    using host = new Host();
    await host.done("hooks");
    fs.writeFileSync(join(dirname(host.program), "lib/new-ABCDEFGH.cjs"), "");
    const old = fs.readdirSync(join(dirname(host.program), "lib")).find((name) => name.startsWith("watch-")) ?? "";
    fs.rmSync(join(dirname(host.program), "lib", old));
    fs.appendFileSync(host.program, "\n");
    await host.done("enable", "podman");
    assert.ok(host.isThere("opt/cni-node/lib/new-ABCDEFGH.cjs"));
    assert.ok(host.isThere(`opt/cni-node/lib/${old}`));
    await host.done("enable", "podman");
    assert.ok(host.isThere(`opt/cni-node/lib/${old}`), "a hook that was called a moment ago may run");
    const hourAgo = new Date(Date.now() - 3_600_000);
    fs.utimesSync(join(host.path, "opt/cni-node/cni-node.cjs"), hourAgo, hourAgo);
    await host.done("hooks");
    assert.ok(!host.isThere(`opt/cni-node/lib/${old}`));
    assert.ok(host.isThere("opt/cni-node/lib/new-ABCDEFGH.cjs"));
  });

  test("change dockerd's configuration where a link leads, and make one where there is none", async () => {
    using host = new Host();
    host.write("etc/managed/daemon.json", DAEMON);
    fs.symlinkSync("/etc/managed/daemon.json", join(host.path, "etc/docker/daemon.json"));
    await host.done("enable", "docker");
    assert.match(host.read("etc/managed/daemon.json"), /barrel-cni/u);
    assert.ok(fs.lstatSync(join(host.path, "etc/docker/daemon.json")).isSymbolicLink());
    await host.done("disable", "docker");
    assert.equal(host.read("etc/managed/daemon.json"), DAEMON);

    fs.rmSync(join(host.path, "etc/docker/daemon.json"));
    await host.done("enable", "docker", "--runtime-name=one");
    await host.done("enable", "docker", "--runtime-name=two");
    assert.deepEqual(Object.keys((JSON.parse(host.read("etc/docker/daemon.json")) as { runtimes: object }).runtimes), [
      "one",
      "two",
    ]);
    await host.done("disable", "docker", "--runtime-name=one");
    await host.done("disable", "docker", "--runtime-name=two");
    assert.ok(!host.isThere("etc/docker/daemon.json"));
  });

  test("keep mode and owner of dockerd's configuration, and what others have changed in it", async () => {
    using host = new Host();
    host.write("etc/docker/daemon.json", DAEMON);
    fs.chmodSync(join(host.path, "etc/docker/daemon.json"), 0o600);
    await host.done("enable", "docker");
    assert.equal(fs.statSync(join(host.path, "etc/docker/daemon.json")).mode & 0o777, 0o600);
    host.write("etc/docker/daemon.json", host.read("etc/docker/daemon.json").replace("true", "false"));
    await host.done("disable", "docker");
    assert.equal(host.read("etc/docker/daemon.json"), DAEMON.replace("true", "false"));
    assert.ok(!host.isThere("etc/docker/.cni-node"));
  });

  test("replace a runtime of others only if they are told to, and bring it back", async () => {
    using host = new Host();
    const text = '{"runtimes": {"barrel-cni": {"path": "/usr/bin/eru-barrel-cni"}}}';
    host.write("etc/docker/daemon.json", text);
    const refused = reportOf(await host.run("enable", "docker", "--output=json"));
    assert.equal((refused["error"] as { code: string }).code, "runtime-exists");
    assert.ok(!host.isThere("opt/cni-node"), "nothing at all was done");
    const foreign = reportOf(await host.run("disable", "docker", "--output=json"));
    assert.equal((foreign["error"] as { code: string }).code, "runtime-foreign");
    await host.done("enable", "docker", "--take-over");
    assert.match(host.read("etc/docker/daemon.json"), /oci\.sh/u);
    await host.done("disable", "docker");
    assert.equal(host.read("etc/docker/daemon.json"), text);
  });

  for (const first of ["barrel-cni", "two"]) {
    test(`bring back a runtime of others that came after one of ours; ${first} is disabled first`, async () => {
      using host = new Host();
      const runtimes = (): unknown =>
        (JSON.parse(host.read("etc/docker/daemon.json")) as { runtimes: unknown }).runtimes;
      const theirs = {
        path: "/usr/bin/eru-barrel-cni",
        runtimeArgs: ["oci", "--config", "/etc/docker/cni.yaml", "--"],
      };
      const text = '{"debug": true}\n';
      host.write("etc/docker/daemon.json", text);
      await host.done("enable", "docker", "--runtime-name=two");
      host.write(
        "etc/docker/daemon.json",
        JSON.stringify({ debug: true, runtimes: { two: { path: FRONT }, "barrel-cni": theirs } }),
      );
      assert.equal((await host.run("enable", "docker")).exitCode, 1);
      await host.done("enable", "docker", "--take-over");
      assert.deepEqual(runtimes(), { two: { path: FRONT }, "barrel-cni": { path: FRONT } });
      await host.done("disable", "docker", `--runtime-name=${first}`);
      assert.deepEqual(
        runtimes(),
        first === "two" ? { "barrel-cni": { path: FRONT } } : { two: { path: FRONT }, "barrel-cni": theirs },
      );
      await host.done("disable", "docker", `--runtime-name=${first === "two" ? "barrel-cni" : "two"}`);
      assert.deepEqual(JSON.parse(host.read("etc/docker/daemon.json")), {
        debug: true,
        runtimes: { "barrel-cni": theirs },
      });
      assert.ok(!host.isThere("opt/cni-node") && !host.isThere("etc/docker/.cni-node"));
    });
  }

  test("know a runtime of others by its path, even if ours had its name", async () => {
    using host = new Host();
    await host.done("enable", "docker");
    const theirs = '{"runtimes": {"barrel-cni": {"path": "/usr/bin/theirs"}}}';
    host.write("etc/docker/daemon.json", theirs);
    const refused = reportOf(await host.run("enable", "docker", "--output=json"));
    assert.equal((refused["error"] as { code: string }).code, "runtime-exists");
    const released = await host.done("disable", "docker");
    assert.match(
      released.stdout,
      /^unchanged .*daemon\.json +the runtime of that name now belongs to another program$/mu,
    );
    assert.equal(host.read("etc/docker/daemon.json"), theirs);
    assert.ok(!host.isThere("opt/cni-node") && !host.isThere("etc/docker/.cni-node"));
  });

  test("report a runtime of ours as enabled in whatever order its keys are", async () => {
    using host = new Host();
    host.write("etc/docker/cni.yaml", "log_level: info\n");
    const option = "--oci-config=/etc/docker/cni.yaml";
    await host.done("enable", "docker", option);
    const { runtimes } = JSON.parse(host.read("etc/docker/daemon.json")) as { runtimes: Record<string, object> };
    const reversed = Object.fromEntries(Object.entries(runtimes["barrel-cni"] ?? {}).toReversed());
    assert.deepEqual(Object.keys(reversed), ["runtimeArgs", "path"]);
    host.write("etc/docker/daemon.json", JSON.stringify({ runtimes: { "barrel-cni": reversed } }));
    assert.match((await host.run("status", "docker", option)).stdout, /^docker +enabled /mu);
  });

  test("replace a runtime of ours whose program was elsewhere", async () => {
    using host = new Host();
    await host.done("enable", "docker", "--program-dir=/opt/former");
    await host.done("enable", "docker", "--program-dir=/opt/now");
    assert.match(host.read("etc/docker/daemon.json"), /"\/opt\/now\/oci\.sh"/u);
  });

  test("refuse what would keep dockerd from starting", async () => {
    using host = new Host();
    host.write("etc/docker/daemon.json", "{ # comment\n}");
    const invalid = reportOf(await host.run("enable", "docker", "--output=json"));
    assert.equal((invalid["error"] as { code: string }).code, "daemon-config-invalid");
    host.write("etc/docker/daemon.json", DAEMON);
    const unquotable = await host.run("enable", "docker", "--oci-config=/etc/a b.yaml");
    assert.match(unquotable.stderr, /dockerd does not quote the path of a runtime/u);
    assert.deepEqual(fs.readdirSync(join(host.path, "opt")), []);
    await host.done("enable", "docker");
    const now = JSON.parse(host.read("etc/docker/daemon.json")) as object;
    host.write("etc/docker/daemon.json", JSON.stringify({ ...now, "default-runtime": "barrel-cni" }));
    const used = reportOf(await host.run("disable", "docker", "--output=json"));
    assert.equal((used["error"] as { code: string }).code, "runtime-is-default");
  });

  test("refuse a configuration that others can write to: root runs what it names", async () => {
    using host = new Host();
    host.write("etc/docker/cni.yaml", "cni_conf_dir: /etc/own\n");
    fs.chmodSync(join(host.path, "etc/docker/cni.yaml"), 0o646);
    const before = host.files();
    for (const words of [["enable", "docker"], ["enable", "podman"], ["cdi"], ["hooks"]]) {
      const refused = reportOf(await host.run(...words, "--output=json"));
      assert.equal((refused["error"] as { code: string }).code, "oci-config-untrusted");
    }
    fs.chmodSync(join(host.path, "etc/docker/cni.yaml"), 0o644);
    fs.chownSync(join(host.path, "etc/docker"), 1000, 1000);
    assert.match((await host.run("hooks")).stderr, /etc\/docker: belongs to user 1000, and root runs the programs/u);
    assert.deepEqual(host.files(), before);
  });

  test("refuse to copy the program where others can replace it", async () => {
    using host = new Host();
    const ways = [["enable", "docker"], ["enable", "podman"], ["cdi"], ["hooks"]];
    const refused = async (words: string[], path: string): Promise<void> => {
      const { error } = reportOf(await host.run(...words, "--output=json")) as { error?: Record<string, string> };
      assert.equal(error?.["code"], "program-untrusted", words.join(" "));
      assert.ok(error["message"]?.startsWith(join(host.path, path)), error["message"]);
    };
    fs.chownSync(join(host.path, "opt"), 1000, 1000);
    for (const words of ways) await refused(words, "opt");
    assert.deepEqual(fs.readdirSync(join(host.path, "opt")), []);
    fs.chownSync(join(host.path, "opt"), 0, 0);
    for (const name of ["cni-node", "cni-node/lib", "cni-node/runtimes"]) {
      const directory = join(host.path, "opt", name);
      fs.mkdirSync(directory);
      fs.chmodSync(directory, 0o777);
      await refused(["hooks"], `opt/${name}`);
      fs.chmodSync(directory, 0o755);
    }
    await host.done("hooks");
  });

  test("replace files of the program that belong to somebody else", async () => {
    using host = new Host();
    host.write("etc/docker/cni.yaml", "log_level: info\n");
    const words = ["enable", "podman", "--oci-config=/etc/docker/cni.yaml"];
    await host.done(...words);
    await host.done("hooks");
    const files = ["opt/cni-node/oci.sh", "opt/cni-node/cni-node.cjs", "opt/cni-node/runtimes/barrel-cni"];
    const hook = "etc/containers/oci/hooks.d/10-cni-node-add.json";
    for (const path of [...files, hook]) fs.chownSync(join(host.path, path), 1000, 1000);
    await host.done(...words);
    await host.done("hooks");
    for (const path of [...files, hook]) assert.equal(fs.statSync(join(host.path, path)).uid, 0, path);
  });

  test("refuse a program of which others can write a part, where it is called where it is", async () => {
    using host = new Host();
    const directory = dirname(host.program);
    const [part = ""] = fs.readdirSync(join(directory, "lib"));
    for (const path of ["cni-node.cjs", "oci.sh", `lib/${part}`, "lib"]) {
      const { mode } = fs.statSync(join(directory, path));
      fs.chmodSync(join(directory, path), 0o777);
      const argv = [host.program, "engine", "hooks", "--host-root=/", `--hooks-dir=${join(host.path, "etc")}`];
      const ran = await endOf(spawn(process.execPath, [...argv, "--dry-run", "--output=json"]));
      const { code, message } = reportOf(ran)["error"] as { code: string; message: string };
      assert.deepEqual([code, message.startsWith(join(directory, path))], ["program-untrusted", true], message);
      fs.chmodSync(join(directory, path), mode);
    }
  });

  test("keep the program for attachments in the directory that a damaged configuration still names", async () => {
    using host = new Host();
    host.write("etc/docker/cni.yaml", "cni_cache_dir: /var/lib/own\n");
    await host.done("hooks");
    host.attach("var/lib/own", "ours", MARK);
    host.write("etc/docker/cni.yaml", "cni_cache_dir: /var/lib/own\nlog_level: [\n");
    const kept = await host.done("hooks", "--remove");
    assert.match(kept.stdout, /^kept .*oci\.sh +containers that are attached may still need it$/mu);
  });

  test("name networks that cannot be devices, and write devices of the others", async () => {
    using host = new Host();
    host.write("etc/docker/cni.yaml", "cni_conf_dir: /etc/own\n");
    host.write("etc/own/10-a.conflist", conflist("a", "bridge"));
    host.write("etc/own/20-b.conflist", conflist("b.", "bridge"));
    host.write("etc/own/30-c.conflist", "{");
    const { stderr } = await host.done("cdi");
    assert.match(stderr, /\/etc\/own\/20-b\.conflist: has no device: no CDI device can be called b\./u);
    assert.match(stderr, /\/etc\/own\/30-c\.conflist: has no device/u);
    const { devices } = JSON.parse(host.read("etc/cdi/cni-node.json")) as { devices: { name: string }[] };
    assert.deepEqual(
      devices.map(({ name }) => name),
      ["a"],
    );
    host.write("etc/own/40-d.conflist", conflist("d", "bridge"));
    assert.match((await host.run("status")).stdout, /^cdi +outdated/mu);
  });

  test("only say what they would do with --dry-run", async () => {
    using host = new Host();
    host.write("etc/docker/daemon.json", DAEMON);
    const before = host.files();
    for (const words of [["enable", "docker"], ["enable", "podman"], ["cdi"], ["hooks"], ["disable", "docker"]]) {
      await host.done(...words, "--dry-run");
    }
    assert.deepEqual(host.files(), before);
  });

  for (const [title, words] of [
    ["no engine", ["enable"]],
    ["an unknown engine", ["enable", "dockr"]],
    ["a name that is a path", ["enable", "docker", "--runtime-name=../a"]],
  ] as const) {
    test(`are used wrongly: ${title}`, async () => {
      using host = new Host();
      assert.equal((await host.run(...words)).exitCode, 2);
      assert.ok(!host.isThere("opt/cni-node"));
    });
  }

  test(`are done or not done when they are killed, and the next run goes on (seed ${SEED})`, async () => {
    const random = new Random(SEED);
    using host = new Host();
    host.write("etc/docker/daemon.json", DAEMON);
    await host.done("enable", "docker");
    const enabled = host.read("etc/docker/daemon.json");
    await host.done("disable", "docker");
    for (let trial = 0; trial < 6; trial++) {
      const isEnabled = trial % 2 === 0;
      const child = host.spawn(isEnabled ? "enable" : "disable", "docker");
      const ended = once(child, "exit");
      await sleep(100 + random.int(700));
      child.kill("SIGKILL");
      await ended;
      const text = host.read("etc/docker/daemon.json");
      assert.ok([enabled, DAEMON].includes(text), text);
      if (text === enabled)
        for (const name of ["node", "oci.sh", "cni-node.cjs"]) assert.ok(host.isThere(`opt/cni-node/${name}`), name);
      await host.done(isEnabled ? "enable" : "disable", "docker");
      assert.equal(host.read("etc/docker/daemon.json"), isEnabled ? enabled : DAEMON);
    }
    assert.ok(!host.isThere("opt/cni-node") && !host.isThere("etc/docker/.cni-node"));
  });
});
