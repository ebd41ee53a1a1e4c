/**
 * A machine of a test's own for container engines: its mounts, processes, sockets and interfaces end with it and are
 * seen nowhere else; its /opt and /run are empty, and what is written to its /etc, /usr/bin, /var/lib and /var/log is seen there
 * only. That is for this machine's own engine, too: a second dockerd would remove its bridge.
 */
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { Namespace } from "../helpers/namespace.ts";
import { endOf, until, type Ran } from "../helpers/node.ts";

/** What engines want on machines that are containers themselves. */
const LIMITS = { nofile: 1024, nproc: 1024 };
/** What a machine has changed, over what this one has. */
const CHANGED = ["/etc", "/usr/bin", "/var/lib", "/var/log"];

export class Machine implements AsyncDisposable {
  readonly namespace: Namespace;
  /** Outside of what is the machine's own: the same path here and there. */
  readonly directory: string;
  /** Where scripts run; also HOME. */
  readonly work: string;
  /** The machine's files as this process can reach them. */
  readonly host: string;
  readonly env: NodeJS.ProcessEnv;

  private constructor(namespace: Namespace, directory: string) {
    this.namespace = namespace;
    this.directory = directory;
    this.work = join(directory, "work");
    this.host = namespace.root;
    this.env = {
      HOME: this.work,
      PATH: `${join(directory, "bin")}:${process.env["PATH"]}`,
    };
  }

  static async make(): Promise<Machine> {
    const directory = fs.mkdtempSync(join(fs.realpathSync(tmpdir()), "cni-node-test-"));
    for (const name of ["bin", "work"]) fs.mkdirSync(join(directory, name));
    const overlays = CHANGED.map((path, index) => {
      const [upper, work] = [join(directory, `upper-${index}`), join(directory, `layer-${index}`)];
      for (const made of [upper, work]) fs.mkdirSync(made);
      return `mount -t overlay overlay -o lowerdir=${path},upperdir=${upper},workdir=${work} ${path}`;
    });
    const script = [
      ...["/opt", "/run", "/dev/shm"].map((path) => `mount -t tmpfs tmpfs ${path}`),
      ...overlays,
      "rm -rf /etc/cni /etc/docker /etc/containers/oci /etc/kubernetes /var/lib/cni",
      // crun refuses both versions of cgroups at once.
      "if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi",
    ].join("\n");
    return new Machine(await Namespace.make(script, { pid: true, net: true }), directory);
  }

  /** Starts a program there. */
  spawn(command: readonly string[]): ChildProcess {
    return this.namespace.spawn(command, this.env);
  }

  /** Runs a shell script in the working directory, to its end. */
  async sh(script: string): Promise<Ran> {
    return endOf(this.spawn(["sh", "-c", `cd ${this.work}\n${script}`]));
  }

  /** What a script prints that must succeed. */
  async output(script: string): Promise<string> {
    const { exitCode, stdout, stderr } = await this.sh(script);
    if (exitCode !== 0) throw new Error(`${script} ended with ${exitCode}: ${stdout}${stderr}`);
    return stdout;
  }

  /** Waits until a script succeeds. @throws after two minutes, with what it says last. */
  async until(script: string): Promise<string> {
    const end = Date.now() + 120_000;
    for (;;) {
      const { exitCode, stdout, stderr } = await this.sh(script);
      if (exitCode === 0) return stdout;
      if (Date.now() > end) throw new Error(`${script} ends with ${exitCode} all the time: ${stdout}${stderr}`);
      await sleep(50);
    }
  }

  /** Kills the process whose command line begins with one text and has another. */
  async kill(program: string, word: string): Promise<void> {
    const pids = fs.readdirSync(join(this.host, "proc")).filter((name) => /^\d+$/u.test(name));
    const found = pids.filter((pid) => {
      const words = fs.readFileSync(join(this.host, "proc", pid, "cmdline"), "utf8");
      return words.startsWith(program) && words.includes(word);
    });
    await this.output(`kill -KILL ${found.join(" ")}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.namespace[Symbol.asyncDispose]();
    fs.rmSync(this.directory, { recursive: true, force: true, maxRetries: 10, retryDelay: 200 });
  }
}

interface DockerOptions {
  /** The daemon. */
  daemon?: string;
  /** The command line; otherwise the first `docker` in PATH. */
  client?: string;
  /** Docker's own network, the bridge docker0. */
  hasBridge?: boolean;
  /** What daemon.json has beside what tests need. */
  settings?: object;
}

/** A dockerd on a machine; the machine's scripts call it `docker`. */
export class Docker {
  readonly machine: Machine;
  readonly pidFile: string;
  readonly #program: string;
  readonly #log: string;
  #daemon: ChildProcess | undefined;

  private constructor(machine: Machine, program: string) {
    this.machine = machine;
    this.pidFile = "/run/docker.pid";
    this.#program = program;
    this.#log = join(machine.directory, "dockerd.log");
  }

  static async start(machine: Machine, options: DockerOptions = {}): Promise<Docker> {
    const docker = new Docker(machine, options.daemon ?? "dockerd");
    const { directory, env } = machine;
    if (options.client !== undefined) fs.symlinkSync(options.client, join(directory, "bin/docker"));
    env["DOCKER_HOST"] = `unix://${directory}/docker.sock`;
    const all = {
      "data-root": join(directory, "data"),
      "exec-root": "/run/docker",
      pidfile: docker.pidFile,
      hosts: [env["DOCKER_HOST"]],
      iptables: false,
      ip6tables: false,
      ...(options.hasBridge === true ? {} : { bridge: "none" }),
      "default-ulimits": Object.fromEntries(
        Object.entries(LIMITS).map(([name, limit]) => [name, { Name: name, Hard: limit, Soft: limit }]),
      ),
      ...options.settings,
    };
    fs.mkdirSync(join(machine.host, "etc/docker"), { recursive: true });
    fs.writeFileSync(join(machine.host, "etc/docker/daemon.json"), `${JSON.stringify(all, undefined, 2)}\n`);
    await docker.begin();
    return docker;
  }

  /** Starts the daemon (again), and waits until it answers. */
  async begin(): Promise<void> {
    const script = `exec ${this.#program} --config-file /etc/docker/daemon.json >>${this.#log} 2>&1`;
    const daemon = this.machine.spawn(["sh", "-c", script]);
    this.#daemon = daemon;
    await until(async () => {
      if ((await this.machine.sh("docker version")).exitCode === 0) return true;
      if (daemon.exitCode !== null || daemon.signalCode !== null) throw new Error(this.log().slice(-4000));
      return false;
    });
  }

  /** Changes daemon.json, and has the daemon read it. */
  async configure(settings: object): Promise<void> {
    const path = join(this.machine.host, "etc/docker/daemon.json");
    const former = JSON.parse(fs.readFileSync(path, "utf8")) as object;
    fs.writeFileSync(path, `${JSON.stringify({ ...former, ...settings }, undefined, 2)}\n`);
    const times = (): number => this.log().split("Reloaded configuration").length;
    const before = times();
    await this.machine.output(`kill -HUP $(cat ${this.pidFile})`);
    await until(() => times() > before);
  }

  /** Ends the daemon by a signal. */
  async end(signal: "TERM" | "KILL"): Promise<void> {
    const daemon = this.#daemon;
    if (daemon === undefined) return;
    const ended = once(daemon, "exit");
    await this.machine.output(`kill -${signal} $(cat ${this.pidFile})`);
    await ended;
  }

  /** Ends every process on the machine at once, and loses what a reboot loses; then the daemon starts again. */
  async reboot(): Promise<void> {
    const ended = this.#daemon && once(this.#daemon, "exit");
    await this.machine.sh("kill -KILL -1");
    await ended;
    const lost = [
      `while read -r _ path _; do case $path in /run/?*|${this.machine.directory}/*) umount -l "$path";; esac; done </proc/mounts`,
      "rm -rf /run/*",
      "ip -o link show type bridge | while IFS=' :' read -r _ name _; do ip link del $name; done",
    ];
    await this.machine.output(lost.join("\n"));
    await this.begin();
  }

  log(): string {
    return fs.readFileSync(this.#log, "utf8");
  }
}

/** Gives a machine Podman; it has no daemon. @param command what its scripts call it. */
export function usePodman(machine: Machine, command = "docker"): void {
  const places = { root: "images", runroot: "run", tmpdir: "tmp", "network-config-dir": "networks" };
  const own = Object.entries(places).map(([name, path]) => `--${name}=${join(machine.directory, path)}`);
  const podman = ["/usr/bin/podman", ...own, "--cgroup-manager=cgroupfs", "--events-backend=file"];
  const limits = Object.entries(LIMITS).map(([name, limit]) => `--ulimit=${name}=${limit}:${limit}`);
  // To run is the only command that wants options of its own. Where scripts say docker, it names the runtime.
  const script = [
    "#!/bin/sh",
    "runtime=runc",
    'if [ "$1" = --runtime ]; then runtime=$2; shift 2; fi',
    "verb=$1; shift",
    'if [ "$verb" = run ]; then',
    "  network=--network=none",
    "  for word; do",
    "    shift",
    "    case $word in",
    "      --runtime=*) runtime=${word#*=}; continue ;;",
    "      --net | --network | --net=* | --network=*) network= ;;",
    "    esac",
    '    set -- "$@" "$word"',
    "  done",
    `  set -- $network ${limits.join(" ")} "$@"`,
    "fi",
    `exec ${podman.join(" ")} --runtime="$runtime" "$verb" "$@"`,
  ];
  fs.writeFileSync(join(machine.directory, "bin", command), `${script.join("\n")}\n`, { mode: 0o755 });
}
