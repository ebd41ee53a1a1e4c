/**
 * Docker and Podman of a test's own, with the image loaded. They live in namespaces that end with the test: their
 * mounts, processes, sockets and interfaces are seen nowhere else, and /opt and /etc of this machine are not what they
 * mount. That is for the machine's own engine, too: a second dockerd would remove its bridge.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import * as fs from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { Namespace } from "../helpers/namespace.ts";
import { endOf, type Ran } from "../helpers/node.ts";
import { findImage } from "./build.ts";

/** Why engines cannot be started here; false: they can. Never a reason in CI, where starting one fails instead. */
export const cannotStart: string | false = process.env["CI"] === "true" ? false : whyNot();

/** CAP_SYS_RESOURCE is what machines that are containers themselves lack most often. */
const LACKS_RESOURCE = !hasCapability(24);

/** What `--privileged` means on this machine: Docker insists on every capability that the kernel knows. */
export const PRIVILEGED = LACKS_RESOURCE
  ? "--cap-add=ALL --cap-drop=SYS_RESOURCE --security-opt=seccomp=unconfined --security-opt=apparmor=unconfined"
  : "--privileged";

function hasCapability(number: number): boolean {
  const [, bounding = "0"] = /^CapBnd:\t(\w+)$/mu.exec(fs.readFileSync("/proc/self/status", "utf8")) ?? [];
  return (BigInt(`0x${bounding}`) & (1n << BigInt(number))) !== 0n;
}

/** What both engines want on machines that are containers themselves. */
const LIMITS = { nofile: 1024, nproc: 1024 };

/** A container engine. */
export interface Engine extends AsyncDisposable {
  /** The files of the machine as the engine sees it: `/opt` is empty, what is written to `/etc` and `/var/lib` is seen here only. */
  host: string;
  /** A directory of the test's own, here and there; also HOME. */
  work: string;
  /** Runs a shell script in that directory. There `docker` is this engine. */
  sh(script: string): Promise<Ran>;
  /** `docker run --rm`, or the same of another engine. */
  run(options: readonly string[], ...args: string[]): Promise<Ran>;
  /** Waits until a container has written it. @throws when it ends without. */
  logged(container: string, expected: RegExp): Promise<void>;
  /** Lets containers in the host's network reach a port of the test's own loopback interface under the same number. */
  reach(port: number): Promise<void>;
}

/** What listens in an engine's network, and hands each connection on to a socket in the file system. */
const FORWARD = `
  const { connect, createServer } = require("node:net");
  const [path, port] = process.argv.slice(1);
  const join = (a, b) => { a.pipe(b).on("error", () => a.destroy()); };
  createServer((there) => { const here = connect(path); join(there, here); join(here, there); })
    .listen(Number(port), "127.0.0.1", () => console.log("listens"));`;

/** Starts dockerd, and loads the image. */
export async function startDocker(): Promise<Engine> {
  const directory = makeDirectory();
  const socket = `unix://${directory}/docker.sock`;
  const settings = {
    "data-root": join(directory, "data"),
    "exec-root": join(directory, "exec"),
    pidfile: join(directory, "docker.pid"),
    hosts: [socket],
    // No test wants a network of Docker's.
    iptables: false,
    ip6tables: false,
    bridge: "none",
    "default-ulimits": Object.fromEntries(
      Object.entries(LIMITS).map(([name, limit]) => [name, { Name: name, Hard: limit, Soft: limit }]),
    ),
  };
  fs.writeFileSync(join(directory, "daemon.json"), JSON.stringify(settings));
  const namespace = await Namespace.make(ownMachine(directory), { pid: true, net: true });
  const log = join(directory, "dockerd.log");
  const daemon = namespace.spawn(["sh", "-c", `exec dockerd --config-file ${directory}/daemon.json >${log} 2>&1`]);
  const env = { DOCKER_HOST: socket, DOCKER_CONFIG: join(directory, "config"), HOME: join(directory, "work") };
  const engine = engineOf(directory, namespace, env);
  const ended = new Promise<never>((_, reject) => {
    daemon.on("exit", () => reject(new Error(fs.existsSync(log) ? fs.readFileSync(log, "utf8").slice(-4000) : "")));
  });
  ended.catch(() => undefined);
  return started(engine, async () => {
    while ((await Promise.race([engine.sh("docker version"), ended])).exitCode !== 0) await sleep(50);
  });
}

/** Has Podman load the image; it has no daemon. */
export async function startPodman(): Promise<Engine> {
  const directory = makeDirectory();
  const namespace = await Namespace.make(ownMachine(directory), { pid: true, net: true });
  const places = { root: "data", runroot: "run", tmpdir: "tmp", "network-config-dir": "networks" };
  const options = Object.entries(places).map(([name, path]) => `--${name}=${join(directory, path)}`);
  const podman = ["podman", ...options, "--cgroup-manager=cgroupfs", "--runtime=runc", "--events-backend=file"];
  const limits = Object.entries(LIMITS).map(([name, limit]) => `--ulimit=${name}=${limit}:${limit}`);
  // The scripts say docker; to run is the only command that wants options of its own.
  const script = [
    "#!/bin/sh",
    'verb=$1; shift; [ "$verb" != run ] || set -- '.concat(limits.join(" "), ' --network=none "$@"'),
    `exec ${podman.join(" ")} "$verb" "$@"`,
  ];
  fs.writeFileSync(join(directory, "bin/docker"), `${script.join("\n")}\n`, { mode: 0o755 });
  return started(engineOf(directory, namespace, { HOME: join(directory, "work") }), async () => undefined);
}

/** Waits until an engine runs, and loads the image. One that fails leaves nothing for which the test would wait. */
async function started(engine: Engine, untilItRuns: () => Promise<void>): Promise<Engine> {
  try {
    await untilItRuns();
    const { exitCode, stderr } = await engine.sh(`docker load --quiet --input ${findImage()}`);
    if (exitCode !== 0) throw new Error(`the engine cannot load the image: ${stderr}`);
    return engine;
  } catch (error) {
    await engine[Symbol.asyncDispose]();
    throw error;
  }
}

/**
 * Stops containers some seconds after they were started, and holds that each ends by that: with 0 or the signal's 143,
 * not with the 137 of a kill, which comes when a long time is over.
 *
 * @param images what follows the options of `docker run`: an image with the words that lead to cni-node's own.
 */
export async function assertStops(engine: Engine, images: readonly string[], delays: readonly string[]): Promise<void> {
  fs.mkdirSync(join(engine.host, "opt/cni/bin"), { recursive: true });
  for (const image of images) {
    for (const delay of delays) {
      const script = [
        `docker run --detach --name stopped -v /opt/cni/bin:/host/opt/cni/bin ${image} install --plugins=vlan --pause`,
        `sleep ${delay}`,
        "docker stop -t 20 stopped",
        "docker inspect --format 'ended with {{.State.ExitCode}}' stopped",
      ];
      const { stdout, stderr } = await engine.sh(script.join("\n"));
      await engine.sh("docker rm --force stopped");
      assert.match(stdout, /^ended with (?:0|143)$/mu, `${image}, after ${delay} s: ${stdout}${stderr}`);
    }
  }
}

function makeDirectory(): string {
  const directory = fs.mkdtempSync(join(fs.realpathSync(tmpdir()), "cni-node-test-"));
  for (const name of ["bin", "config", "etc", "etc-work", "lib", "lib-work", "work"])
    fs.mkdirSync(join(directory, name));
  return directory;
}

/** What makes a namespace a machine of its own, as far as engines and the README's examples reach. */
function ownMachine(directory: string): string {
  return [
    "mount -t tmpfs tmpfs /opt",
    "mount -t tmpfs tmpfs /run",
    "mount -t tmpfs tmpfs /dev/shm",
    `mount -t overlay overlay -o lowerdir=/etc,upperdir=${directory}/etc,workdir=${directory}/etc-work /etc`,
    `mount -t overlay overlay -o lowerdir=/var/lib,upperdir=${directory}/lib,workdir=${directory}/lib-work /var/lib`,
    "rm -rf /etc/cni /etc/kubernetes /var/lib/cni",
  ].join("\n");
}

function engineOf(directory: string, namespace: Namespace, settings: NodeJS.ProcessEnv): Engine {
  const env = { ...settings, PATH: `${join(directory, "bin")}:${process.env["PATH"]}` };
  const work = join(directory, "work");
  const inside = async (command: readonly string[]): Promise<Ran> => endOf(namespace.spawn(command, env));
  const forwards: Server[] = [];
  return {
    host: namespace.root,
    work,
    sh: async (script) => inside(["sh", "-c", `cd ${work}\n${script}`]),
    run: async (options, ...args) => inside(["docker", "run", "--rm", ...options, "cni-node", ...args]),
    async logged(container, expected) {
      for (;;) {
        const state = await inside(["docker", "inspect", "--format", "{{.State.Running}}", container]);
        const { stdout, stderr } = await inside(["docker", "logs", container]);
        if (expected.test(stdout + stderr)) return;
        if (state.stdout !== "true\n") throw new Error(`${container} has ended: ${state.stderr}${stdout}${stderr}`);
      }
    },
    async reach(port) {
      const path = join(directory, `${port}.sock`);
      const server = createServer((there) => {
        const here = connect(port, "127.0.0.1");
        pipe(there, here);
        pipe(here, there);
      }).listen(path);
      forwards.push(server);
      await once(server, "listening");
      const listener = namespace.spawn([process.execPath, "-e", FORWARD, path, String(port)]);
      if (listener.stdout) await once(listener.stdout, "data");
    },
    async [Symbol.asyncDispose]() {
      for (const server of forwards) server.close();
      await inside(["sh", "-c", "docker ps --all --quiet | xargs --no-run-if-empty docker rm --force"]);
      await namespace[Symbol.asyncDispose]();
      fs.rmSync(directory, { recursive: true, force: true, maxRetries: 10, retryDelay: 200 });
    },
  };
}

function pipe(from: Socket, to: Socket): void {
  from.pipe(to).on("error", () => from.destroy());
}

function whyNot(): string | false {
  if (process.getuid?.() !== 0) return "needs root";
  const missing = ["dockerd", "docker", "podman", "runc"].find((tool) => spawnSync(tool, ["--version"]).error);
  if (missing !== undefined) return `${missing} is missing`;
  try {
    findImage();
    return false;
  } catch (error) {
    return (error as Error).message;
  }
}
