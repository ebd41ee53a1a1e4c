/** A real containerd that serves CRI, in namespaces of a test's own: nothing of it is seen elsewhere, or outlives it. */
import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import * as fs from "node:fs";
import { basename, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

import protobuf from "protobufjs/light.js";

import type { Failure } from "../../src/errors.ts";
import { RuntimeService } from "../../src/cri/service.ts";
import { Processes } from "../cluster/processes.ts";
import { cannotMount, childrenOf } from "../helpers/namespace.ts";
import { endOf } from "../helpers/node.ts";
import { findRuntimePrograms } from "./build.ts";
import { writeImage } from "./image.ts";

/** Where the reference plugins are built. */
export const PLUGINS = fileURLToPath(
  new URL(`../../build/plugins/linux-${process.arch === "x64" ? "amd64" : process.arch}`, import.meta.url),
);

/** Why no container runtime can be started here; false: one can. Never a reason in CI, where starting one fails. */
export const cannotStart: string | false = process.env["CI"] === "true" ? false : whyNot();

/** Debian's own (1.6 in bookworm), and a newer one that is built from Go modules. */
export type Release = "debian" | "2";

interface Options {
  release?: Release;
  /**
   * The node's files as cni-node sees them: etc/cni, opt/cni and var/lib/cni below it are the runtime's. If not given,
   * they are in a place of its own, with the reference plugins.
   */
  host?: string;
  /** Serves CRI: yes, if not said otherwise. */
  cri?: boolean;
}

/** A pod that has its network. */
export interface Pod {
  id: string;
  ip: string;
}

/** What pods need to start, of k8s.io/cri-api v0.36.3, pkg/apis/runtime/v1/api.proto. */
const MESSAGES = protobuf.Root.fromJSON({
  nested: {
    RunPodSandboxRequest: { fields: { config: { type: "PodSandboxConfig", id: 1 } } },
    PodSandboxConfig: {
      fields: {
        metadata: { type: "PodSandboxMetadata", id: 1 },
        logDirectory: { type: "string", id: 3 },
        linux: { type: "LinuxPodSandboxConfig", id: 8 },
      },
    },
    PodSandboxMetadata: {
      fields: {
        name: { type: "string", id: 1 },
        uid: { type: "string", id: 2 },
        namespace: { type: "string", id: 3 },
      },
    },
    LinuxPodSandboxConfig: { fields: { cgroupParent: { type: "string", id: 1 } } },
    RunPodSandboxResponse: { fields: { podSandboxId: { type: "string", id: 1 } } },
    PodSandboxStatusRequest: { fields: { podSandboxId: { type: "string", id: 1 } } },
    PodSandboxStatusResponse: { fields: { status: { type: "PodSandboxStatus", id: 1 } } },
    PodSandboxStatus: { fields: { network: { type: "PodSandboxNetworkStatus", id: 5 } } },
    PodSandboxNetworkStatus: { fields: { ip: { type: "string", id: 1 } } },
    StopPodSandboxRequest: { fields: { podSandboxId: { type: "string", id: 1 } } },
    StopPodSandboxResponse: { fields: {} },
    RemovePodSandboxRequest: { fields: { podSandboxId: { type: "string", id: 1 } } },
    RemovePodSandboxResponse: { fields: {} },
  },
});

const PAUSE_IMAGE = "localhost/pause:1";
/** The part of containerd's configuration that is about CRI. Two handlers, of which one has a directory of its own. */
const CRI = {
  debian: `
    [plugins."io.containerd.grpc.v1.cri"]
    sandbox_image = "${PAUSE_IMAGE}"
    restrict_oom_score_adj = true
    disable_apparmor = true
    [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/opt/cni/bin"
    conf_dir = "/etc/cni/net.d"
    [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.other]
    runtime_type = "io.containerd.runc.v2"
    cni_conf_dir = "/etc/cni/other.d"`,
  "2": `
    [plugins."io.containerd.cri.v1.images"]
    snapshotter = "native"
    [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "${PAUSE_IMAGE}"
    [plugins."io.containerd.cri.v1.runtime"]
    restrict_oom_score_adj = true
    disable_apparmor = true
    [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["/opt/cni/bin", "/usr/lib/cni"]
    conf_dir = "/etc/cni/net.d"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.other]
    runtime_type = "io.containerd.runc.v2"
    cni_conf_dir = "/etc/cni/other.d"`,
} as const;

/** Only a machine that is stuck takes so long. */
const PATIENCE = 60_000;

/** Pods' cgroups are the one thing that the namespaces do not hold. */
const REMOVE_CGROUPS =
  'find /sys/fs/cgroup -depth -type d -path "*/${0##*/}*" -exec rmdir {} + 2>/dev/null; ' +
  '! find /sys/fs/cgroup -type d -path "*/${0##*/}*" | grep -q .';

/**
 * What the first process in the namespaces does: `$1` is the directory of the test, `$2` the node's files, `$3` the
 * program. Layers in memory are put over what the machine has in /etc, /opt and /var/lib.
 */
const INIT = `
  mount -t proc proc /proc
  mkdir "$1/layers"
  mount -t tmpfs none "$1/layers"
  for at in etc opt var/lib; do
    mkdir -p "$1/layers/$at/upper" "$1/layers/$at/work"
    mount -t overlay overlay -o "lowerdir=/$at,upperdir=$1/layers/$at/upper,workdir=$1/layers/$at/work" "/$at"
  done
  for at in etc/cni opt/cni var/lib/cni; do
    mkdir -p "/$at" "$2/$at"
    mount --bind "$2/$at" "/$at"
  done
  mount -t tmpfs none /run
  PATH="\${3%/*}:$PATH" exec "$3" --config "$1/config.toml"`;

/** Starts containerd. It has no network configuration yet. */
export async function startContainerd({ release = "debian", host, cri = true }: Options = {}): Promise<Containerd> {
  const processes = new Processes("cni-node-test-runtime-", REMOVE_CGROUPS);
  try {
    const containerd = new Containerd(processes, release, host ?? join(processes.directory, "host"));
    for (const directory of [containerd.netd, containerd.bin]) fs.mkdirSync(directory, { recursive: true });
    if (host === undefined) {
      const names = fs.readdirSync(PLUGINS).filter((name) => !name.startsWith("."));
      for (const name of names) fs.copyFileSync(join(PLUGINS, name), join(containerd.bin, name));
    }
    await containerd.start(cri);
    return containerd;
  } catch (error) {
    await processes.stop();
    throw error;
  }
}

/** A started containerd. */
export class Containerd implements AsyncDisposable {
  readonly socket: string;
  /** The root of the node's files, and in it what the runtime knows as /etc/cni/net.d and /opt/cni/bin. */
  readonly host: string;
  readonly netd: string;
  readonly bin: string;
  readonly #processes: Processes;
  readonly #release: Release;
  readonly #service: RuntimeService;
  #log: () => string = () => "";
  #pid = 0;
  #pods = 0;

  constructor(processes: Processes, release: Release, host: string) {
    this.#processes = processes;
    this.#release = release;
    this.host = host;
    this.netd = join(host, "etc/cni/net.d");
    this.bin = join(host, "opt/cni/bin");
    this.socket = join(processes.directory, "containerd.sock");
    this.#service = new RuntimeService(this.socket, MESSAGES);
  }

  /** Starts it, and waits until it serves, CRI or all else. */
  async start(cri: boolean): Promise<void> {
    const { directory } = this.#processes;
    fs.writeFileSync(
      join(directory, "config.toml"),
      configuration(directory, this.socket, cri ? this.#release : undefined),
    );
    const namespaces = ["--mount", "--net", "--pid", "--uts", "--ipc", "--fork", "--kill-child=KILL"];
    const init = ["sh", "-ec", INIT, "sh", directory, this.host, program(this.#release)];
    const { ended, pid, printed } = this.#processes.start("unshare", [...namespaces, ...init]);
    this.#log = printed;
    const lost = ended.then((): never => {
      throw new Error(`containerd ended: ${printed().slice(-4000)}`);
    });
    lost.catch(() => undefined);
    await Promise.race([lost, this.#serving()]);
    this.#pid = childrenOf(pid)[0] ?? 0;
    if (!cri) return;
    const image = writeImage(directory, PAUSE_IMAGE, join(findRuntimePrograms(), "pause"));
    const ctr = ["ctr", `--address=${this.socket}`, "--namespace=k8s.io", "images", "import", "--snapshotter=native"];
    const imported = await endOf(this.spawn([...ctr, image]));
    if (imported.exitCode !== 0) throw new Error(imported.stderr);
  }

  /** What it has logged so far. */
  get log(): string {
    return this.#log();
  }

  /** Starts a command in its namespaces, where the node's files are at /etc/cni/net.d and so on. */
  spawn(command: readonly string[]): ChildProcess {
    return spawn("nsenter", ["--mount", "--net", "--pid", `--target=${this.#pid}`, "--", ...command]);
  }

  /** Sends containerd a signal. */
  kill(signal: NodeJS.Signals): void {
    process.kill(this.#pid, signal);
  }

  /** Makes a file in net.d as installers do: under another name, then renamed. */
  configure(name: string, text: string): void {
    const temporary = join(this.netd, ".configure");
    fs.writeFileSync(temporary, text);
    fs.renameSync(temporary, join(this.netd, name));
  }

  /** Starts a pod: only what holds its network. @throws Failure `cri-failed` */
  async runPod(): Promise<Pod> {
    const name = `pod-${(this.#pods += 1)}`;
    const { podSandboxId } = await this.#call<{ podSandboxId: string }>("RunPodSandbox", {
      config: {
        metadata: { name, uid: name, namespace: "default" },
        logDirectory: join(this.#processes.directory, "logs"),
        linux: { cgroupParent: `/${basename(this.#processes.directory)}` },
      },
    });
    const { status } = await this.#call<{ status: { network: { ip: string } } }>("PodSandboxStatus", { podSandboxId });
    return { id: podSandboxId, ip: status.network.ip };
  }

  /** Stops a pod, which takes its network away, and removes it. @throws Failure `cri-failed` */
  async removePod({ id }: Pod): Promise<void> {
    await this.#call("StopPodSandbox", { podSandboxId: id });
    await this.#call("RemovePodSandbox", { podSandboxId: id });
  }

  /** Kills all of it, and removes its directory. */
  async stop(): Promise<void> {
    this.#service[Symbol.dispose]();
    await this.#processes.stop();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async #call<Response>(method: string, request: object): Promise<Response> {
    return this.#service.call(method, request, { timeout: PATIENCE, signal: new AbortController().signal });
  }

  async #serving(): Promise<void> {
    for (const end = Date.now() + PATIENCE; Date.now() < end; await sleep(20)) {
      const isServing = await this.#call("PodSandboxStatus", { podSandboxId: "none" }).then(
        () => true,
        (error: Failure) =>
          error.code === "cri-unsupported" || (error.code === "cri-failed" && error.message.includes("not found")),
      );
      if (isServing) return;
    }
    throw new Error(`containerd does not serve: ${this.log.slice(-4000)}`);
  }
}

function configuration(directory: string, socket: string, cri: Release | undefined): string {
  const disabled = ["nri.v1.nri", "internal.v1.tracing", ...(cri === undefined ? ["grpc.v1.cri"] : [])];
  return `
    version = ${cri === "2" ? 3 : 2}
    root = "${directory}/containerd"
    state = "/run/containerd"
    oom_score = 0
    disabled_plugins = [${disabled.map((plugin) => `"io.containerd.${plugin}"`).join()}]
    [grpc]
    address = "${socket}"
    [debug]
    level = "debug"
    ${cri === undefined ? "" : CRI[cri]}`;
}

function program(release: Release): string {
  return release === "2" ? join(findRuntimePrograms(), "containerd") : "/usr/bin/containerd";
}

function whyNot(): string | false {
  if (cannotMount !== false) return cannotMount;
  const missing = ["/usr/bin/containerd", "/usr/sbin/runc", PLUGINS].find((path) => !fs.existsSync(path));
  if (missing !== undefined) return `${missing} is missing`;
  const tool = ["setpriv", "tar"].find((name) => spawnSync(name, ["--help"]).error);
  if (tool !== undefined) return `${tool} is missing`;
  try {
    findRuntimePrograms();
    return false;
  } catch (error) {
    return (error as Error).message;
  }
}
