/** A node's directories in a temporary place, and cni-node run on them: in this process, or as the bundle. */
import { spawn, type ChildProcess } from "node:child_process";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

import { run } from "../../src/cli.ts";
import type { Ending } from "../../src/world.ts";

/** What a run printed and how it ended. */
export interface Ran extends Ending {
  stdout: string;
  stderr: string;
}

/** What happens at all happens within so many milliseconds, however busy the machine is. */
const PATIENCE = 120_000;

/** The bundle; `make test` builds it first. */
export const BUNDLE = fileURLToPath(new URL("../../dist/cni-node.cjs", import.meta.url));

/** Where a node has the plugins that cni-node does not install: the second directory of CRI-O. */
const OTHERS_DIRECTORY = "usr/libexec/cni";
/** They are there unless a test names its own. `status` runs each of them, so that its tests name those they need. */
const OTHERS = (
  "bandwidth bridge calico calico-ipam flannel host-local ipvlan loopback macvlan multus portmap ptp tuning vlan " +
  "a b before c d foreign newer t x y"
).split(" ");

/** A plugin: a script that answers VERSION. */
function pluginScript(supportedVersions: readonly string[], version: string): string {
  return `#!/bin/sh\necho '${JSON.stringify({ cniVersion: "1.0.0", supportedVersions, version })}'\nexit 0\n`;
}

/** Those that they answer. */
export const VERSIONS = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0"];

/** The directories of a node and of an image, in one temporary directory. */
export class TestNode implements Disposable {
  readonly root: string;
  readonly host: string;
  readonly bin: string;
  readonly netd: string;
  readonly plugins: string;
  readonly templates: string;
  readonly manifests: string;

  /** @param others plugins that the node has already. @param base where the temporary directory is made. */
  constructor(others: readonly string[] = OTHERS, base: string = tmpdir()) {
    this.root = fs.mkdtempSync(join(fs.realpathSync(base), "cni-node-test-"));
    this.host = join(this.root, "host");
    this.bin = join(this.host, "opt/cni/bin");
    this.netd = join(this.host, "etc/cni/net.d");
    this.plugins = join(this.root, "image/opt/cni/bin");
    this.templates = join(this.root, "image/etc/cni/net.d");
    this.manifests = join(this.root, "image/etc/kubernetes/manifests");
    const cache = join(this.host, "var/lib/cni");
    const directoryOfOthers = join(this.host, OTHERS_DIRECTORY);
    for (const directory of [
      this.bin,
      this.netd,
      cache,
      directoryOfOthers,
      this.plugins,
      this.templates,
      this.manifests,
    ]) {
      fs.mkdirSync(directory, { recursive: true });
    }
    const [first = "", ...more] = others.map((name) => join(directoryOfOthers, name));
    if (first !== "") fs.writeFileSync(first, pluginScript(VERSIONS, "1"), { mode: 0o755 });
    for (const path of more) fs.linkSync(first, path);
  }

  /** The options that say where everything is. */
  get places(): string[] {
    return [
      `--plugin-source=${this.plugins}`,
      `--config-source=${this.templates}`,
      `--manifest-source=${this.manifests}`,
      `--host-root=${this.host}`,
    ];
  }

  /** Puts a plugin in the image: a script that answers VERSION, of a size of your choice. */
  plugin(name: string, version = "1", size = 0): void {
    const script = pluginScript(VERSIONS, version).padEnd(size, "#");
    fs.writeFileSync(join(this.plugins, name), script, { mode: 0o644 });
  }

  /** Puts a template in the image. */
  template(name: string, text: string): void {
    fs.writeFileSync(join(this.templates, name), text);
  }

  /** Puts a manifest in the image. */
  manifest(name: string, text: string): void {
    fs.writeFileSync(join(this.manifests, name), text);
  }

  /** Runs cni-node in this process. `world.signal` may be given, and what hears of stderr while it runs. */
  async run(
    argv: readonly string[],
    options: {
      env?: NodeJS.ProcessEnv;
      signal?: AbortSignal;
      stdin?: string;
      versionLimit?: number | undefined;
      onStderr?: (text: string) => void;
    } = {},
  ): Promise<Ran> {
    let stdout = "";
    let stderr = "";
    const words = argv.length > 0 && takesPlaces(argv) ? [...argv, ...this.places] : [...argv];
    const ending = await run(words, {
      env: options.env ?? {},
      stdin: async () => Promise.resolve(options.stdin ?? ""),
      stdout: (text) => (stdout += text),
      stderr: (text) => {
        stderr += text;
        options.onStderr?.(text);
      },
      signal: options.signal ?? new AbortController().signal,
      versionLimit: options.versionLimit,
    });
    return { ...ending, stdout, stderr };
  }

  /** Starts the bundle. */
  start(argv: readonly string[], env: NodeJS.ProcessEnv = {}): ChildProcess {
    const words = takesPlaces(argv) ? [...argv, ...this.places] : argv;
    return spawn(process.execPath, [BUNDLE, ...words], { env: { PATH: process.env["PATH"], ...env } });
  }

  /** Runs the bundle to its end. */
  async bundle(argv: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Ran> {
    return endOf(this.start(argv, env));
  }

  [Symbol.dispose](): void {
    fs.rmSync(this.root, { recursive: true, force: true });
  }
}

function takesPlaces(argv: readonly string[]): boolean {
  return argv.some((word) => ["install", "uninstall", "apply", "plan", "watch"].includes(word));
}

/** Waits for a process, and collects what it printed. A signal that ended it gives exit code -1. */
export async function endOf(child: ChildProcess): Promise<Ran> {
  let stdout = "";
  let stderr = "";
  child.stdout?.setEncoding("utf8").on("data", (text: string) => (stdout += text));
  child.stderr?.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code, signal) => {
      resolve({ exitCode: code ?? -1, ...(signal === null ? {} : { signal }), stdout, stderr });
    });
  });
}

/** Tests may change the clock. */
const now = performance.now.bind(performance);

/** Waits until it is so. @throws when that takes longer than any machine needs. */
export async function until(condition: () => boolean | Promise<boolean>, patience = PATIENCE): Promise<void> {
  for (const end = now() + patience; !(await condition()); await sleep(5)) {
    if (now() > end) throw new Error(`after ${patience / 1000} seconds it is not so: ${String(condition)}`);
  }
}

/** A minimal network configuration list, as text. */
export function conflist(name: string, ...types: string[]): string {
  const capabilities: Record<string, object> = { portmap: { portMappings: true }, bandwidth: { bandwidth: true } };
  const plugins = types.map((type) => (type in capabilities ? { type, capabilities: capabilities[type] } : { type }));
  return `${JSON.stringify({ cniVersion: "1.0.0", name, plugins })}\n`;
}

/** Every file below a directory with its content, `.cni-node` and plugins of others left out; links as `-> target`. */
export function contentsOf(directory: string): Record<string, string> {
  const entries = fs.readdirSync(directory, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => !entry.isDirectory()).map((entry) => join(entry.parentPath, entry.name));
  return Object.fromEntries(
    files
      .map((path) => path.slice(directory.length + 1))
      .filter((path) => !path.split("/").includes(".cni-node") && !path.startsWith(OTHERS_DIRECTORY))
      .toSorted()
      .map((path) => [path, textOf(join(directory, path))]),
  );
}

function textOf(path: string): string {
  return fs.lstatSync(path).isSymbolicLink() ? `-> ${fs.readlinkSync(path)}` : fs.readFileSync(path, "utf8");
}

/** What a run has said on stderr beside what it waits for, which depends on how busy the machine is. */
export function withoutWaits(stderr: string): string {
  return stderr.replaceAll(/^cni-node: waiting for .*\n/gmu, "");
}
