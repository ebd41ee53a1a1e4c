/** A host of a test's own for networks: its links, process numbers and /run are seen nowhere else. */
import { spawnSync, type ChildProcess } from "node:child_process";
import * as fs from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { Namespace } from "./namespace.ts";
import { BUNDLE, endOf, type Ran } from "./node.ts";
import { Recorder } from "./recorder.ts";

/** Where the reference plugins are built. */
export const REFERENCE_PLUGINS = fileURLToPath(
  new URL(`../../build/plugins/linux-${process.arch === "x64" ? "amd64" : process.arch}`, import.meta.url),
);

/** A host with a recording plugin, and the bundle to be run on it. */
export class NetworkHost implements AsyncDisposable {
  readonly namespace: Namespace;
  readonly plugins: Recorder;
  readonly netd: string;
  readonly cacheDir: string;

  private constructor(namespace: Namespace, plugins: Recorder) {
    this.namespace = namespace;
    this.plugins = plugins;
    this.netd = join(plugins.root, "net.d");
    this.cacheDir = plugins.cacheDir;
    fs.mkdirSync(this.netd);
  }

  /** @param plugins the names of the recording plugin. */
  static async make(...plugins: string[]): Promise<NetworkHost> {
    await using begun = new AsyncDisposableStack();
    const recorder = begun.use(new Recorder(plugins));
    const script = "mount -t tmpfs none /run\nmkdir /run/netns\nip link set lo up";
    const made = new NetworkHost(begun.use(await Namespace.make(script, { pid: true, net: true })), recorder);
    begun.move();
    return made;
  }

  /** Writes a network configuration list. */
  network(name: string, ...plugins: object[]): void {
    this.configure(`10-${name}.conflist`, { cniVersion: "1.1.0", name, plugins });
  }

  /** Writes any configuration. */
  configure(file: string, value: object): void {
    fs.writeFileSync(join(this.netd, file), JSON.stringify(value));
  }

  /** Makes a named network namespace. */
  target(name: string): string {
    this.namespace.sh(`ip netns add ${name}`);
    return name;
  }

  /** What a command prints that must succeed. */
  sh(script: string): string {
    const { status, stdout, stderr } = spawnSync("nsenter", [...this.namespace.entrance, "sh", "-ec", script], {
      encoding: "utf8",
    });
    if (status !== 0) throw new Error(`${script}: ${stdout}${stderr}`);
    return stdout;
  }

  /** Starts `cni-node network` there. @param wrapper the words before it. */
  start(words: readonly string[], env: NodeJS.ProcessEnv = {}, wrapper: readonly string[] = []): ChildProcess {
    return this.namespace.spawn([...wrapper, process.execPath, BUNDLE, "network", ...words], {
      CNI_NODE_HOST_ROOT: "/",
      CNI_NODE_CONFIG_DIR: this.netd,
      CNI_NODE_CACHE_DIR: this.cacheDir,
      CNI_NODE_PLUGIN_DIR: `${this.plugins.bin}:${REFERENCE_PLUGINS}`,
      ...env,
    });
  }

  /** Runs `cni-node network` there, to its end. */
  async run(...words: string[]): Promise<Ran> {
    return this.runWith({}, ...words);
  }

  /** The same, with standard input or more environment. */
  async runWith(
    { stdin = "", env = {} }: { stdin?: string; env?: NodeJS.ProcessEnv },
    ...words: string[]
  ): Promise<Ran> {
    const child = this.start(words, env);
    child.stdin?.end(stdin);
    return endOf(child);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.namespace[Symbol.asyncDispose]();
    this.plugins[Symbol.dispose]();
  }
}
