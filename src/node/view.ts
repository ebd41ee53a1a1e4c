/** What of the node can be seen from here that configurations rely on: plugins, each run once, and files. */
import * as fs from "node:fs";
import { dirname, join, relative } from "node:path";

import { askVersion, PluginError, VERSION_LIMIT_MS } from "../cni/invoke.ts";
import { Failure, hintFor, isExhaustion, isSystemError, throwIfInterrupted } from "../errors.ts";
import type { Finding } from "../finding.ts";
import { isMountedNoexec } from "../host/mounts.ts";
import { mask } from "../secrets.ts";
import { followBelow, hostPath, isBelow, pathOnNode, seenBelow, type HostPath } from "../system/below.ts";
import { programFormatOf } from "../system/elf.ts";
import { shellWord } from "../system/text.ts";
import { Turns } from "../system/turns.ts";
import { answerOf, asked } from "./answers.ts";
import { USUAL } from "./runtime.ts";

/** Where container runtimes of all kinds look for plugins. */
const PLUGIN_PATHS = [USUAL.plugin, ...["/usr/libexec/cni", "/usr/lib/cni"].map(hostPath)];

/** What file systems take of a name, and the system of a path, in bytes. */
const LONGEST_NAME = 255;
const LONGEST_PATH = 4096;

/** What is wrong with a plugin, without its path. */
export type PluginObjection = Omit<Finding, "path">;

/** What is known of a plugin. */
export type PluginView =
  /** Its file as it is seen from here, and the versions of the specification that it supports. */
  | { path: string; versions: readonly string[] }
  /** It does not run, or that cannot be judged from here. */
  | { path: string; objection: PluginObjection }
  /** It is in none of the runtime's directories. */
  | { missing: string }
  /** It is in none of those that can be seen. */
  | { unseen: string };

/** The paths of a node as they are seen from here. */
export interface NodePaths {
  /** Where the node's file system is. */
  hostRoot: string;
  /** Where plugins are installed, if it is there. */
  pluginDirectory: string | undefined;
  /** Where configurations are, if it is there. */
  configDirectory: string | undefined;
  /** Where the runtime itself says that it looks for plugins, as the node sees it. */
  runtimePluginDirs?: readonly HostPath[] | undefined;
  /** How long a plugin may take to answer VERSION, milliseconds. */
  versionLimit?: number | undefined;
}

/** So many names of plugins, and of other files, are looked for: no node has as many, and each look takes its time. */
const MOST_NAMES = 500;

/** What was looked at already; the same for a node as it is and as it will be. */
interface Looks {
  plugins: Set<string>;
  files: Map<string, boolean | undefined>;
}

/** Looks at a node, or at what it will be. */
export class NodeView {
  readonly paths: NodePaths;
  readonly signal: AbortSignal;
  readonly #turns: Turns;
  readonly #looks: Looks;
  /** New plugins by name, and where they are now; `undefined`: it will be gone. */
  readonly #changes: ReadonlyMap<string, string | undefined>;
  /** Other files that change, by their paths on the node. */
  readonly #files: ReadonlyMap<string, boolean>;
  readonly #asked: Map<string, Promise<PluginView>>;

  constructor(
    paths: NodePaths,
    signal: AbortSignal,
    changes: ReadonlyMap<string, string | undefined> = new Map(),
    files: ReadonlyMap<string, boolean> = new Map(),
    asked = new Map<string, Promise<PluginView>>(),
    looks: Looks = { plugins: new Set(), files: new Map() },
  ) {
    this.paths = paths;
    this.signal = signal;
    this.#turns = new Turns(signal);
    this.#looks = looks;
    this.#changes = changes;
    this.#files = files;
    this.#asked = asked;
  }

  /** The same node as it will be. @param files by their paths on the node: will they be there? */
  after(changes: ReadonlyMap<string, string | undefined>, files: ReadonlyMap<string, boolean>): NodeView {
    return new NodeView(this.paths, this.signal, changes, files, this.#asked, this.#looks);
  }

  /** Will a new file be there? What is in it is not known yet. */
  isComing(path: string): boolean {
    return this.#files.get(path) === true;
  }

  /** The directories of plugins, as this process sees them. */
  pluginPaths(): string[] {
    return this.#pluginDirectories().map(({ directory, root }) => join(root, directory));
  }

  /** @throws Interrupted */
  async plugin(type: string): Promise<PluginView> {
    await this.#turns.pause();
    // libcni looks for no such name, and the system knows none.
    if (/[/\0]/u.test(type) || Buffer.byteLength(type) > LONGEST_NAME) return this.#nowhere(type);
    const changed = this.#changes.get(type);
    if (changed !== undefined) return this.#ask(type, changed);
    const { plugins: known } = this.#looks;
    if (known.size >= MOST_NAMES && !known.has(type)) return { unseen: `more than ${MOST_NAMES} plugins are named` };
    known.add(type);
    const { pluginDirectory } = this.paths;
    const without = this.#changes.has(type) ? pluginDirectory : undefined;
    // Runtimes look on in the other directories.
    let first: PluginView | undefined;
    for (const { directory, root } of this.#pluginDirectories()) {
      if (join(root, directory) === without) continue;
      const path = seenBelow(root, hostPath(join(directory, type)));
      if (path !== undefined && isFile(path)) return this.#ask(type, path);
      if (isDenied(join(root, directory, type)))
        return { unseen: `${directory} may not be looked into: permission denied` };
      const unfit = unfitFor(join(root, directory, type), path, root);
      if (unfit === "hidden") {
        const target = readLink(join(root, directory, type));
        return { unseen: `${join(directory, type)} is a link to ${target}, which is not mounted` };
      }
      if (unfit !== undefined) first ??= { path: join(root, directory, type), objection: unfit };
    }
    return first ?? this.#nowhere(type);
  }

  /**
   * The same of several, so many at a time: each is a process with memory of its own, and may take 5 seconds.
   *
   * @throws Interrupted
   */
  async plugins(types: readonly string[], atOnce: number): Promise<[type: string, plugin: PluginView][]> {
    const answers: [string, PluginView][] = [];
    for (let first = 0; first < types.length; first += atOnce) {
      const some = types.slice(first, first + atOnce);
      const views = await Promise.all(some.map(async (type) => this.plugin(type)));
      answers.push(...views.map((view, index): [string, PluginView] => [some[index] ?? "", view]));
    }
    return answers;
  }

  /** Takes it as known which versions the plugin at that path supports: it need not be asked. */
  believe(path: string, versions: readonly string[]): void {
    this.#asked.set(path, Promise.resolve({ path, versions }));
  }

  /** Is there such a file on the node? Undefined: that cannot be seen from here. */
  hasFile(path: string): boolean | undefined {
    const { files: known } = this.#looks;
    if (path.length > LONGEST_PATH) return false;
    const changed = this.#files.get(path);
    if (changed !== undefined) return changed;
    if (known.has(path)) return known.get(path);
    if (known.size >= MOST_NAMES) return undefined;
    const isThere = this.#lookForFile(path);
    known.set(path, isThere);
    return isThere;
  }

  #lookForFile(path: string): boolean | undefined {
    const { hostRoot } = this.paths;
    if (this.fileAt(path) !== undefined) return true;
    const here = this.#pathHere(path);
    if (here !== undefined && isDenied(here)) return undefined;
    if (this.#isConfig(path)) return false;
    const directory = seenBelow(hostRoot, hostPath(dirname(path)));
    return directory !== undefined && fs.existsSync(directory) ? false : hostRoot === "/" ? false : undefined;
  }

  /** Where a file of the node is seen from here; undefined: it is not there, or cannot be seen. */
  fileAt(path: string): string | undefined {
    if (this.#files.get(path) === false) return undefined;
    const here = this.#pathHere(path);
    return here !== undefined && isFile(here) ? here : undefined;
  }

  #pathHere(path: string): string | undefined {
    if (path.length > LONGEST_PATH) return undefined;
    const { hostRoot, configDirectory = "" } = this.paths;
    if (!this.#isConfig(path)) return seenBelow(hostRoot, hostPath(path));
    return followBelow(hostRoot, join(configDirectory, relative(USUAL.config, path)));
  }

  #isConfig(path: string): boolean {
    return isBelow(path, USUAL.config) && this.paths.configDirectory !== undefined;
  }

  /** Those that are there, as paths below a root. */
  #pluginDirectories(): { directory: HostPath; root: string }[] {
    const { hostRoot, pluginDirectory, runtimePluginDirs = PLUGIN_PATHS } = this.paths;
    const others = runtimePluginDirs
      .map((directory) => ({ directory, root: hostRoot }))
      .filter(({ directory }) => seenBelow(hostRoot, directory) !== pluginDirectory)
      .filter(({ directory }) => isDirectory(seenBelow(hostRoot, directory)));
    if (pluginDirectory === undefined) return others;
    const directory = pathOnNode(hostRoot, pluginDirectory);
    const own =
      directory === undefined ? { directory: hostPath(pluginDirectory), root: "/" } : { directory, root: hostRoot };
    return [own, ...others];
  }

  #nowhere(type: string): PluginView {
    const { hostRoot, runtimePluginDirs = [] } = this.paths;
    const visible = this.#pluginDirectories().map(({ directory }) => directory);
    const hidden = runtimePluginDirs.filter((path) => !isDirectory(seenBelow(hostRoot, path)));
    if (hostRoot !== "/" && hidden.length > 0) return { unseen: `${hidden.join(", ")} is not mounted` };
    if (visible.length === 0 && hostRoot !== "/") return { unseen: "no directory of plugins is mounted" };
    const others = this.paths.runtimePluginDirs === undefined ? [] : PLUGIN_PATHS;
    const elsewhere = others.filter(
      (path) => !visible.includes(path) && isIn(seenBelow(hostRoot, hostPath(join(path, type)))),
    );
    const but = elsewhere.length === 0 ? "" : `, but in ${elsewhere.join(" and ")}, where the runtime does not look`;
    return { missing: `${visible.join(" or ") || USUAL.plugin}${but}` };
  }

  async #ask(type: string, path: string): Promise<PluginView> {
    const known = this.#asked.get(path);
    const asked = known ?? examinePlugin(type, path, this.paths, this.signal);
    this.#asked.set(path, asked);
    return asked;
  }
}

/**
 * Asks a plugin for its versions, and finds out why it does not tell them.
 *
 * @throws Failure when no program can be started. Interrupted.
 */
async function examinePlugin(
  type: string,
  path: string,
  { hostRoot, versionLimit = VERSION_LIMIT_MS }: NodePaths,
  signal: AbortSignal,
): Promise<PluginView & { path: string }> {
  throwIfInterrupted(signal);
  const format = programFormatOf(path);
  if (typeof format === "object") {
    const message = `is built for another processor (${format.foreign}; this node has ${process.arch})`;
    const hint = "install the binary for this node's architecture";
    return { path, objection: { code: "plugin-architecture", severity: "error", message, hint } };
  }
  try {
    const ask = async (): Promise<string[]> => askVersion({ plugin: type, path }, { signal, timeoutMs: versionLimit });
    return { path, versions: answerOf(path) ?? (await asked(path, ask)) };
  } catch (error) {
    if (!(error instanceof PluginError)) throw error;
    throwIfInterrupted(signal);
    if (isExhaustion(error)) throw cannotTry(type, error);
    return { path, objection: await objectionOf(error, hostRoot === "/", versionLimit) };
  }
}

/** Nothing is known of the plugin, which must not go live untried. */
function cannotTry(type: string, { systemCode = "" }: PluginError): Failure {
  const hint = hintFor({ code: systemCode });
  return new Failure({
    code: `system-${systemCode.toLowerCase()}`,
    subject: `plugin ${type}`,
    problem: `cannot be tried: this process can start no program (${systemCode})`,
    ...(hint === undefined ? {} : { hint }),
  });
}

/** @param isNative this process sees the node's own file system: what is missing here is missing there. */
async function objectionOf(error: PluginError, isNative: boolean, versionLimit: number): Promise<PluginObjection> {
  const { reason, systemCode, exitCode, signal, stderr, path, message } = error;
  if (reason === "timeout") {
    const problem = `does not answer VERSION within ${versionLimit / 1000} seconds`;
    return broken("plugin-silent", problem, "run it by hand and see what it does");
  }
  if (systemCode === "ENOEXEC") {
    return broken("plugin-no-program", "is not a program: neither ELF nor a script", "put the right file in its place");
  }
  if (systemCode === "EACCES" && isMountedNoexec(path)) {
    const hint = "mount the file system of the plugins without noexec, or use another directory (--plugin-dir)";
    return broken("plugin-noexec", "cannot be run: its file system is mounted noexec", hint);
  }
  if (systemCode === "EACCES" && !isExecutable(path)) {
    return broken("plugin-mode", "is not executable", "chmod 755");
  }
  if (systemCode === "EACCES" || systemCode === "EPERM") {
    return {
      code: "plugin-denied",
      severity: "warning",
      message: "cannot be run from here: a security module (SELinux, AppArmor) or seccomp denies it",
      hint: "look into the audit log; the container runtime may be allowed what this process is not",
    };
  }
  const isLoader = systemCode === "ENOENT" || (exitCode === 127 && /shared librar/iu.test(stderr));
  if (isLoader) {
    const what = systemCode === "ENOENT" ? "the loader or interpreter that it names is" : "a library that it needs is";
    return {
      code: "plugin-loader",
      severity: isNative ? "error" : "warning",
      message: isNative ? `cannot be run: ${what} not there` : `cannot be run from here: ${what} not in this container`,
      hint: isNative ? "install what it needs, or a statically linked binary" : "cni-node status on the host shows it",
    };
  }
  if (reason === "start") return { code: "plugin-unasked", severity: "warning", message };
  const how = signal === "SIGILL" ? ", so it is built for a newer processor" : "";
  return broken(
    "plugin-broken",
    `does not answer VERSION: ${mask(error.msg.replaceAll(/\s+/gu, " ").trim())}${how}`,
    "install a binary that works",
  );
}

function broken(code: PluginObjection["code"], message: string, hint: string): PluginObjection {
  return { code, severity: "error", message, hint };
}

function isExecutable(path: string): boolean {
  try {
    return (fs.statSync(path).mode & 0o111) !== 0;
  } catch {
    return false;
  }
}

function isFile(path: string): boolean {
  try {
    return fs.statSync(path).isFile();
  } catch {
    return false;
  }
}

function isDirectory(path: string | undefined): boolean {
  try {
    return path !== undefined && fs.statSync(path).isDirectory();
  } catch {
    return false;
  }
}

/** May this process not know whether it is there? */
function isDenied(path: string): boolean {
  try {
    fs.statSync(path);
    return false;
  } catch (error) {
    return isSystemError(error, "EACCES", "EPERM");
  }
}

/**
 * Why what has the name of a plugin is none. Undefined: nothing has it; hidden: it is a link whose target could be on
 * the node all the same.
 */
function unfitFor(path: string, target: string | undefined, root: string): PluginObjection | "hidden" | undefined {
  const stat = statOf(path);
  const end = target === undefined ? undefined : statOf(target);
  if (stat === undefined) return undefined;
  if (end !== undefined) {
    const message = end.isDirectory() ? "is a directory" : "is not a file";
    const hint = `look at ${shellWord(path)}, and remove it: a mount of a file that was not there makes a directory (docker run -v, hostPath); then have the plugin's installer install it again`;
    return broken("plugin-no-file", message, hint);
  }
  if (root !== "/" && target !== undefined && !fs.existsSync(dirname(target))) return "hidden";
  const message = `is a link to ${readLink(path)}, which is not there`;
  return broken(
    "plugin-missing",
    message,
    "have its installer install the file that the link leads to, or remove the link",
  );
}

function statOf(path: string): fs.Stats | undefined {
  try {
    return fs.lstatSync(path);
  } catch {
    return undefined;
  }
}

/** It may have been replaced a moment ago. */
function readLink(path: string): string {
  try {
    return fs.readlinkSync(path);
  } catch {
    return "nowhere";
  }
}

function isIn(path: string | undefined): boolean {
  return path !== undefined && isFile(path);
}
