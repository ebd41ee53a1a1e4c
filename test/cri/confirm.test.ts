/** What is asked of a container runtime, and what becomes of the answers. Real runtimes are in test/e2e/cri.test.ts. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import * as fs from "node:fs";
import { createServer as createHttpServer } from "node:http";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";

import { confirmNetwork } from "../../src/cri/confirm.ts";
import { askRuntime, type RuntimeStatus } from "../../src/cri/status.ts";
import type { Failure } from "../../src/errors.ts";
import { endOf } from "../helpers/node.ts";
import { SimulatedRuntime, type Answers } from "../helpers/simulated-runtime.ts";

const NEVER = new AbortController().signal;
let directory: string;

before(() => {
  directory = fs.mkdtempSync(join(fs.realpathSync(tmpdir()), "cni-node-test-"));
});
after(() => fs.rmSync(directory, { recursive: true }));

async function ask(socket: string, timeout = 10_000, signal = NEVER): Promise<RuntimeStatus> {
  return askRuntime(socket, { timeout, signal });
}

/** A server that a test makes of its own, on a socket of this name. */
async function listen(name: string, server: Server): Promise<Disposable & { socket: string }> {
  const socket = join(directory, name);
  const connections = new Set<Socket>();
  server.on("connection", (connection) => connections.add(connection));
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  const stop = (): void => {
    for (const connection of connections) connection.destroy();
    server.close();
  };
  return { socket, [Symbol.dispose]: stop };
}

/** What CRI-O 1.36.3 answered, as far as it matters: a real one cannot be installed here. */
const CRIO: Answers = {
  name: "cri-o",
  version: "1.36.3",
  network: true,
  info: {
    config: JSON.stringify({
      crio: { NoPivot: false, DefaultRuntime: "runc" },
      sandboxImage: "registry.k8s.io/pause:3.10",
    }),
  },
  http: {
    "/config": `[crio]
  root = "/var/lib/containers/storage"
  [crio.api]
    listen = "/var/run/crio/crio.sock"
    grpc_max_send_msg_size = 83886080
  [crio.runtime]
    default_capabilities = ["CHOWN", "DAC_OVERRIDE"]
    [crio.runtime.runtimes]
      [crio.runtime.runtimes.runc]
        runtime_path = "/usr/sbin/runc"
  [crio.network]
    cni_default_network = ""
    network_dir = "/etc/cni/net.d/"
    plugin_dirs = ["/opt/cni/bin/", "/usr/libexec/cni"]
    cni_status_grace_period = "0s"
  [crio.metrics]
    enable_metrics = false
    metrics_port = 9090
`,
  },
};
const CRIO_HAS_NONE = "no CNI configuration file in /etc/cni/net.d/. Has your network provider started?";

describe("a socket that cannot be asked is refused with what to do about it", () => {
  const cases: { name: string; server?: () => Server; make?: (path: string) => void; code: string; hint: RegExp }[] = [
    { name: "missing", code: "cri-socket-missing", hint: /mount the directory/u },
    { name: "file", make: (path) => fs.writeFileSync(path, ""), code: "cri-socket-invalid", hint: /socket itself/u },
    { name: "directory", make: (path) => fs.mkdirSync(path), code: "cri-socket-invalid", hint: /socket itself/u },
    { name: "silent", server: () => createServer(), code: "cri-timeout", hint: /log/u },
    { name: "closing", server: closing, code: "cri-unavailable", hint: /socket of a container runtime/u },
    { name: "docker", server: () => createHttpServer(), code: "cri-unavailable", hint: /not Docker's/u },
  ];
  for (const { name, server, make, code, hint } of cases) {
    test(name, async () => {
      make?.(join(directory, name));
      using listening = server === undefined ? undefined : await listen(name, server());
      const socket = listening?.socket ?? join(directory, name);
      await assert.rejects(ask(socket, 500), (failure: Failure) => {
        assert.equal(failure.code, code);
        assert.ok(failure.message.startsWith(`${socket}: `), failure.message);
        assert.match(failure.hint ?? "", hint);
        return true;
      });
    });
  }

  function closing(): Server {
    return createServer((socket) => socket.on("error", () => undefined).destroy());
  }

  test("nobody listens any more", async () => {
    const socket = join(directory, "left");
    const script = `require("node:net").createServer().listen(${JSON.stringify(socket)}, () => process.kill(process.pid, "SIGKILL"))`;
    await endOf(spawn(process.execPath, ["--eval", script]));
    await assert.rejects(ask(socket), { code: "cri-refused", hint: /mount the directory of the socket/u });
  });

  test("without the rights", { skip: process.getuid?.() !== 0 && "needs root" }, async () => {
    using listening = await listen("denied", createServer());
    const script =
      "import(process.argv[1]).then((m) => m.askRuntime(process.argv[2], { timeout: 500, signal: AbortSignal.timeout(9e5) })).catch((e) => console.log(e.code))";
    const module = fileURLToPath(new URL("../../src/cri/status.ts", import.meta.url));
    fs.chmodSync(directory, 0o755);
    const user = { uid: 65534, gid: 65534 };
    const { stdout, stderr } = await endOf(spawn(process.execPath, ["--eval", script, module, listening.socket], user));
    assert.equal(stdout, "cri-socket-denied\n", stderr);
  });

  test("a signal ends the asking", { timeout: 30_000 }, async () => {
    const server = createServer();
    using listening = await listen("waiting", server);
    const controller = new AbortController();
    const asked = ask(listening.socket, 60_000, controller.signal);
    await once(server, "connection");
    controller.abort("SIGTERM");
    await assert.rejects(asked, { name: "Interrupted", reason: "SIGTERM" });
    await assert.rejects(ask(listening.socket, 60_000, controller.signal), { name: "Interrupted" });
  });
});

test("a socket may be named as kubelets name it, and in any characters", async () => {
  const odd = join(directory, "an odd:name?#%41[]");
  fs.mkdirSync(odd);
  await using runtime = await SimulatedRuntime.start(odd, CRIO);
  assert.equal((await ask(runtime.socket)).name, "cri-o");
  assert.equal((await ask(`unix://${runtime.socket}`)).name, "cri-o");
});

describe("simulated CRI-O", () => {
  test("it tells its directories by HTTP, and of its network only whether it is ready", async () => {
    await using runtime = await SimulatedRuntime.start(directory, { ...CRIO, network: CRIO_HAS_NONE });
    assert.deepEqual(await ask(runtime.socket), {
      name: "cri-o",
      version: "1.36.3",
      networkReady: false,
      reason: "NetworkPluginNotReady",
      message: `Network plugin returns error: ${CRIO_HAS_NONE}`,
      configDir: "/etc/cni/net.d",
      pluginDirs: ["/opt/cni/bin", "/usr/libexec/cni"],
      maxConfigs: undefined,
      defaultNetwork: undefined,
      loadError: undefined,
      networks: undefined,
      handlers: [],
    });
  });

  test("the network that it is told to use is known", async () => {
    const config = CRIO.http?.["/config"]?.replace('cni_default_network = ""', 'cni_default_network = "main"') ?? "";
    await using runtime = await SimulatedRuntime.start(directory, { ...CRIO, http: { "/config": config } });
    assert.equal((await ask(runtime.socket)).defaultNetwork, "main");
  });

  for (const [what, http] of Object.entries({
    "it does not tell": {},
    "it is not a TOML": { "/config": "<html>" },
    "the directories are missing": { "/config": "[crio]\n[crio.network]\n" },
    "it is endless": { "/config": "#".repeat(2 * 1024 * 1024) },
  })) {
    test(`the directories are not known where ${what}`, async () => {
      await using runtime = await SimulatedRuntime.start(directory, { ...CRIO, http });
      const { networkReady, configDir, pluginDirs } = await ask(runtime.socket);
      assert.deepEqual([networkReady, configDir, pluginDirs], [true, undefined, undefined]);
    });
  }

  test("that it has got a network is confirmed; later it always says yes, which confirms nothing", async () => {
    await using runtime = await SimulatedRuntime.start(directory, { ...CRIO, network: CRIO_HAS_NONE });
    const without = await ask(runtime.socket);
    const limits = (): { timeout: number; signal: AbortSignal } => ({
      timeout: 60_000,
      signal: NEVER,
    });
    const confirmed = confirmNetwork(runtime.socket, without, { name: "a", plugins: [] }, limits());
    await runtime.isAsked();
    runtime.answers = CRIO;
    assert.deepEqual(await confirmed, { verdict: "confirmed" });
    const ready = await ask(runtime.socket);
    assert.deepEqual(await confirmNetwork(runtime.socket, ready, undefined, limits()), { verdict: "untold" });
  });
});

test("a runtime that tells nothing, or nonsense, is asked no more than whether its network is ready", async () => {
  const nonsense = { cniconfig: "{", config: '{"containerd":{"runtimes":[]}}', lastCNILoadStatus: "OK" };
  const nowhere = {
    cniconfig: '{"PluginConfDir":"","PluginDirs":["bin"],"PluginMaxConfNum":1}',
    lastCNILoadStatus: "OK",
  };
  for (const info of [{}, nonsense, { cniconfig: '{"Networks":[{}]}' }, nowhere]) {
    await using runtime = await SimulatedRuntime.start(directory, {
      name: "containerd",
      version: "9",
      network: true,
      info,
    });
    const said = await ask(runtime.socket);
    assert.deepEqual([said.networkReady, said.loadError, said.handlers], [true, undefined, []]);
    assert.deepEqual([said.configDir, said.pluginDirs, said.maxConfigs, said.networks], Array(4).fill(undefined));
  }
});

/** What a containerd answers that holds these networks, or whose load has failed. */
function containerd(networks: readonly string[], network: Answers["network"] = true, load = "OK"): Answers {
  const Networks = networks.map((Name) => ({
    IFName: "eth0",
    Config: { Name, CNIVersion: "1.0.0", Plugins: [{ Source: '{"type":"bridge"}' }] },
  }));
  const cniconfig = { PluginDirs: ["/opt/cni/bin"], PluginConfDir: "/etc/cni/net.d", PluginMaxConfNum: 1, Networks };
  const info = { cniconfig: JSON.stringify(cniconfig), lastCNILoadStatus: load };
  return { name: "containerd", version: "v2.4.2", network, info };
}
const BROKEN = containerd([], "cni plugin not initialized", "failed to load CNI config list file");

describe("simulated containerd", { concurrency: true }, () => {
  const first = { name: "first", plugins: [{ type: "bridge" }] };
  const cases: { name: string; changes: Answers[]; verdict: string; expected?: typeof first; from?: Answers }[] = [
    { name: "what looks as before is not believed at once", changes: [containerd(["first"]), BROKEN], verdict: "lost" },
    { name: "a failed load is followed by a good one", changes: [BROKEN, containerd(["first"])], verdict: "confirmed" },
    {
      name: "another network is followed by the expected one",
      changes: [containerd(["second"]), containerd(["second", "first"])],
      verdict: "confirmed",
    },
    {
      name: "the same plugins under another name are another network",
      changes: [containerd(["second"])],
      verdict: "unconfirmed",
    },
    {
      name: "the same name with other plugins is another network",
      changes: [containerd(["first", "second"])],
      expected: { name: "first", plugins: [{ type: "ptp" }] },
      verdict: "unconfirmed",
    },
    {
      name: "a network that was not ready may become so",
      from: BROKEN,
      changes: [BROKEN, containerd(["first"])],
      verdict: "confirmed",
    },
    { name: "a network that was not ready is not lost", from: BROKEN, changes: [BROKEN], verdict: "unconfirmed" },
  ];
  for (const { name, from = containerd(["first"]), changes, expected = first, verdict } of cases) {
    test(name, async () => {
      await using runtime = await SimulatedRuntime.start(fs.mkdtempSync(join(directory, "own-")), from);
      const said = await ask(runtime.socket);
      const limits = { timeout: 60_000, signal: NEVER };
      runtime.answers = changes[0] ?? from;
      const confirmation = confirmNetwork(runtime.socket, said, expected, limits);
      await runtime.isAsked();
      runtime.answers = changes.at(-1) ?? from;
      assert.equal((await confirmation).verdict, verdict);
    });
  }

  test("passwords that are in its answer are in nothing that is made of it", async () => {
    const config = {
      registry: { configs: { example: { auth: { password: "secret" } } } },
      containerd: { runtimes: {} },
    };
    const answers = containerd(["first"]);
    const info = { ...answers.info, config: JSON.stringify(config) };
    await using runtime = await SimulatedRuntime.start(fs.mkdtempSync(join(directory, "own-")), { ...answers, info });
    assert.doesNotMatch(JSON.stringify(await ask(runtime.socket)), /secret/u);
  });
});

describe("waiting for a runtime", () => {
  test("one that is started again is waited for", async () => {
    await using runtime = await SimulatedRuntime.start(directory, { ...CRIO, network: CRIO_HAS_NONE });
    const said = await ask(runtime.socket);
    await runtime.stop();
    const limits = { timeout: 60_000, signal: NEVER };
    const confirmed = confirmNetwork(runtime.socket, said, undefined, limits);
    const starting = createServer((socket) => socket.destroy()).listen(runtime.socket);
    await once(starting, "connection");
    starting.close();
    await once(starting, "close");
    runtime.answers = CRIO;
    await runtime.listen();
    assert.deepEqual(await confirmed, { verdict: "confirmed" });
  });

  test("one that does not come back has lost nothing that is known of", async () => {
    const runtime = await SimulatedRuntime.start(directory, CRIO);
    const said = await ask(runtime.socket);
    await runtime.stop();
    const confirmation = await confirmNetwork(runtime.socket, said, undefined, {
      timeout: 0,
      signal: NEVER,
    });
    assert.deepEqual(confirmation, { verdict: "unconfirmed", why: `${runtime.socket}: there is no such socket` });
  });

  test("a signal ends it", { timeout: 30_000 }, async () => {
    await using runtime = await SimulatedRuntime.start(directory, { ...CRIO, network: CRIO_HAS_NONE });
    const controller = new AbortController();
    const limits = { timeout: 60_000, signal: controller.signal };
    const confirmed = confirmNetwork(runtime.socket, await ask(runtime.socket), undefined, limits);
    await runtime.isAsked();
    controller.abort("SIGINT");
    await assert.rejects(confirmed, { name: "Interrupted", reason: "SIGINT" });
  });
});

test("bundled, it works without node_modules, in a chunk of its own that nothing else loads", async () => {
  const bundled = fs.mkdtempSync(join(directory, "bundle-"));
  const root = fileURLToPath(new URL("../..", import.meta.url));
  const words = ["scripts/bundle.ts", "test/helpers/ask-runtime.ts", bundled];
  const built = await endOf(spawn(process.execPath, words, { cwd: root }));
  assert.equal(built.exitCode, 0, built.stderr);
  const program = join(bundled, "ask-runtime.cjs");
  assert.equal(loadedAtOnce(program).some(isClient), false);
  assert.equal(
    fs
      .readdirSync(join(bundled, "lib"))
      .map((name) => join(bundled, "lib", name))
      .some(isClient),
    true,
  );
  await using runtime = await SimulatedRuntime.start(directory, CRIO);
  const { stdout, stderr } = await endOf(spawn(process.execPath, [program, runtime.socket]));
  assert.equal(stderr, "");
  assert.deepEqual((JSON.parse(stdout) as RuntimeStatus).pluginDirs, ["/opt/cni/bin", "/usr/libexec/cni"]);
});

/** A file of a bundle, and those that it loads before it begins. */
function loadedAtOnce(path: string): string[] {
  const text = fs.readFileSync(path, "utf8");
  const names = Array.from(text.matchAll(/(?:import|from)\s*"(\.[^"]+)"/gu), ([, name]) => name ?? "");
  return [path, ...names.flatMap((name) => loadedAtOnce(join(path, "..", name)))];
}

function isClient(path: string): boolean {
  return fs.readFileSync(path, "utf8").includes("runtime.v1.RuntimeService");
}
