/** Docker and Podman on machines of a test's own, with the image loaded. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import * as fs from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";

import { Docker, Machine, usePodman } from "../engine/machine.ts";
import { endOf, until, type Ran } from "../helpers/node.ts";
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
  const machine = await Machine.make();
  return started(machine, async () => Docker.start(machine));
}

/** Has Podman load the image. */
export async function startPodman(): Promise<Engine> {
  const machine = await Machine.make();
  return started(machine, () => usePodman(machine));
}

/** Loads the image as soon as an engine runs. One that fails leaves nothing for which the test would wait. */
async function started(machine: Machine, start: () => unknown): Promise<Engine> {
  try {
    await start();
    await machine.output(`docker load --quiet --input ${findImage()}`);
    return engineOf(machine);
  } catch (error) {
    await machine[Symbol.asyncDispose]();
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

function engineOf(machine: Machine): Engine {
  const forwards: Server[] = [];
  return {
    host: machine.host,
    work: machine.work,
    sh: async (script) => machine.sh(script),
    run: async (options, ...args) => endOf(machine.spawn(["docker", "run", "--rm", ...options, "cni-node", ...args])),
    async logged(container, expected) {
      await until(async () => {
        const state = await machine.sh(`docker inspect --format '{{.State.Running}}' ${container}`);
        const { stdout, stderr } = await machine.sh(`docker logs ${container}`);
        if (expected.test(stdout + stderr)) return true;
        if (state.stdout !== "true\n") throw new Error(`${container} has ended: ${state.stderr}${stdout}${stderr}`);
        return false;
      });
    },
    async reach(port) {
      const path = join(machine.directory, `${port}.sock`);
      const server = createServer((there) => {
        const here = connect(port, "127.0.0.1");
        pipe(there, here);
        pipe(here, there);
      }).listen(path);
      forwards.push(server);
      await once(server, "listening");
      const listener = machine.spawn([process.execPath, "-e", FORWARD, path, String(port)]);
      if (listener.stdout) await once(listener.stdout, "data");
    },
    async [Symbol.asyncDispose]() {
      for (const server of forwards) server.close();
      await machine.sh("docker ps --all --quiet | xargs --no-run-if-empty docker rm --force");
      await machine[Symbol.asyncDispose]();
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
