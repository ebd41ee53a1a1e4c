/** The directories on the node that cni-node writes to. */
import * as fs from "node:fs";
import { dirname, join, relative, resolve } from "node:path";

import { byFileKind, FILE_KINDS, type FileKind } from "../asset.ts";
import type { RuntimeStatus } from "../cri/status.ts";
import { Failure, isSystemError, systemFailure } from "../errors.ts";
import { mountOf } from "../host/mounts.ts";
import { followBelow, hostPath, isBelow, pathOnNode, realPathOf, seenBelow, shownAs } from "../system/below.ts";
import { firstNamesIn } from "../system/entries.ts";
import { shellWord } from "../system/text.ts";
import { runtimeDirectories, runtimeUnknown, type LookedInto, type RuntimeDirectories } from "./runtime.ts";

/** Where a directory of the node is looked for. */
export interface DirectoryRequest {
  /** What it holds, in the plural: `plugins`. */
  holds: string;
  path: string;
  /** The option that names it. */
  option: string;
  /** It was named by the user and so must exist; else it lies below the host root and is made when it is absent. */
  named: boolean;
  /** It is to be the one that the container runtime uses: `auto`. */
  auto: boolean;
  /** Others that were named with it, in which plugins count, too. */
  more: readonly string[];
  hostRoot: string;
  hostRootNamed: boolean;
}

/**
 * Finds a target directory, without changing anything. Links below the host root are followed as the node does: an
 * absolute one begins at the host root.
 *
 * @returns its real path; where there is nothing yet, the path at which it may be made.
 * @throws Failure `mount-missing` when files put there would not reach the node, `not-a-directory`, `dangling-link`,
 * `outside-host-root`, `mount-misplaced`.
 */
export function findDirectory(request: DirectoryRequest): string {
  const { path, named, hostRoot } = request;
  const root = realDirectory(hostRoot);
  if (root === undefined) return findNamed(request);
  if (!named) refuseMisplacedMount(request, root);
  const onNode = pathOnNode(hostRoot, path);
  const here = onNode && seenBelow(root, onNode);
  const found = here === undefined ? undefined : realDirectory(here);
  if (found !== undefined) return found;
  if (named) return findNamed(request);
  refuseLostLink(request, root);
  if (here === undefined) throw mountMissing(request);
  if (!request.hostRootNamed && isOnRootMount(hostRoot, here)) throw mountMissing(request);
  return here;
}

/** The same; undefined: it cannot be used now, and why does not matter. */
export function findDirectoryIfUsable(request: DirectoryRequest): string | undefined {
  try {
    return findDirectory(request);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return undefined;
  }
}

/** Where a run installs, and where the container runtime looks as far as that is known. */
export interface NodeDirectories {
  directories: Record<FileKind, DirectoryRequest>;
  looks: RuntimeDirectories;
}

/** How long the container runtime may take to say where it looks, milliseconds. */
const ANSWER_MS = 5000;

/**
 * Finds out where to install. The runtime is asked only if its directories are to be taken.
 *
 * @param socket of the runtime, if it may be asked.
 * @throws Failure `runtime-directory-unknown`, `usage`, those of a runtime that does not answer; Interrupted.
 */
export async function resolveDirectories(
  directories: NodeDirectories["directories"],
  socket: string | undefined,
  signal: AbortSignal,
): Promise<NodeDirectories> {
  const isAsked = FILE_KINDS.some((kind) => directories[kind].auto);
  return followRuntime(directories, isAsked ? await askWhere(socket, signal) : undefined, "auto");
}

/**
 * Asks the runtime where it looks. Undefined: it may not be asked.
 *
 * @throws Failure of a runtime that does not answer; Interrupted.
 */
export async function askWhere(socket: string | undefined, signal: AbortSignal): Promise<RuntimeStatus | undefined> {
  if (socket === undefined) return undefined;
  const { askRuntime } = await import("../cri/status.ts");
  return askRuntime(socket, { timeout: ANSWER_MS, signal });
}

/**
 * The same for a runtime that was asked before, or is not to be asked.
 *
 * @param said what it says; undefined: it was not asked, and its distribution or its configuration may say where it looks.
 * @param which directories are those of the runtime, if they are not named.
 * @throws Failure `runtime-directory-unknown`, `usage`.
 */
export async function followRuntime(
  directories: NodeDirectories["directories"],
  said: RuntimeStatus | undefined,
  which: "auto" | "all",
): Promise<NodeDirectories> {
  const hostRoot = realHostRoot(directories);
  const looks = withNamed(directories.plugin, await runtimeDirectories(hostRoot, said));
  const followed = byFileKind((kind) => {
    const request = directories[kind];
    return request.auto || which === "all" ? ofRuntime(request, hostRoot, looks[kind]) : request;
  });
  return { directories: followed, looks };
}

/** The host root of target directories. They are real paths; below a root that is a link they would not be recognised. */
export function realHostRoot({ config: { hostRoot } }: NodeDirectories["directories"]): string {
  return fs.existsSync(hostRoot) ? realPathOf(hostRoot) : hostRoot;
}

/** Who names several directories of plugins says where the runtime looks. @throws Failure `usage` */
function withNamed(plugin: DirectoryRequest, looks: RuntimeDirectories): RuntimeDirectories {
  const { path, more, option, hostRoot } = plugin;
  if (more.length === 0) return looks;
  const paths = more.map((one) => {
    const onNode = pathOnNode(hostRoot, one);
    if (onNode !== undefined) return onNode;
    throw new Failure({
      code: "usage",
      subject: option,
      problem: `${one} is not below the host root ${hostRoot}`,
      hint: "only the first directory, to which plugins are installed, may be elsewhere",
      exitCode: 2,
    });
  });
  return { ...looks, plugin: { by: option, paths: [pathOnNode(hostRoot, path) ?? [], paths].flat() } };
}

/**
 * The same for the directory that the runtime itself uses, unless another one is named: the first that is there.
 *
 * @param hostRoot its real path. @param looked undefined: it is not known.
 * @throws Failure `runtime-directory-unknown` where it has to be the runtime's.
 */
function ofRuntime(request: DirectoryRequest, hostRoot: string, looked: LookedInto | undefined): DirectoryRequest {
  if (request.named) return request;
  if (looked === undefined && request.auto) {
    throw runtimeUnknown(request.option, request.holds, request.hostRoot, "ask the runtime: --cri-socket");
  }
  const paths = looked?.paths.map((path) => join(request.hostRoot, path)) ?? [];
  if (paths.includes(request.path)) return request;
  const there = looked?.paths.findIndex((path) => fs.existsSync(seenBelow(hostRoot, path) ?? "")) ?? -1;
  return { ...request, path: paths[there] ?? (request.auto ? paths[0] : undefined) ?? request.path };
}

/** Whoever mounts a target directory at the host root itself (`docker run -v /opt/cni/bin:/host`) forgot the prefix. */
function refuseMisplacedMount({ holds, path, option, hostRoot }: DirectoryRequest, root: string): void {
  const sign = root === "/" || isRootOfSystem(root) ? undefined : signOfTarget(root);
  if (sign === undefined) return;
  throw new Failure({
    code: "mount-misplaced",
    subject: hostRoot,
    problem: `is not the root of a node: ${sign}, so that ${holds} would be put into ${path}, where nothing looks for them`,
    hint: `mount each directory at its own path below ${hostRoot}: docker run -v ${shellWord(`${shownAs(hostRoot, path)}:${path}`)}; or name the mounted one with ${option}`,
  });
}

/** Every Linux has one of these; a scratch directory that stands for a node need not. */
function isRootOfSystem(root: string): boolean {
  return ["usr", "sbin", "lib"].some((name) => fs.existsSync(join(root, name)));
}

/** Plugins that are on almost every node. No scratch directory has them at its top. */
const COMMON_PLUGINS = new Set(["bridge", "host-local", "loopback", "portmap"]);
/** Where plugins and configurations would lie if the mounted directory were one of these or one above. */
const BELOW_TARGETS = ["", "bin", "net.d", "cni/bin", "cni/net.d"];

/** What shows that this is a target directory, or one above. */
function signOfTarget(root: string): string | undefined {
  const mount = mountOf(root);
  if (mount.point === root && /\/(?:opt|etc)\/cni(?:\/|$)|\/cni\/(?:bin|net\.d)$|^\/(?:opt|etc)$/u.test(mount.root)) {
    return `${mount.root} is mounted there`;
  }
  for (const below of BELOW_TARGETS.filter((one) => fs.existsSync(join(root, one)))) {
    const isSign = (name: string): boolean => COMMON_PLUGINS.has(name) || name.endsWith(".conflist");
    const [name] = firstNamesIn(join(root, below), 1, isSign);
    if (name !== undefined) return `it holds ${join(below, name)}`;
  }
  return undefined;
}

/** What is named may be a link that leads anywhere. */
function findNamed(request: DirectoryRequest): string {
  const { path, named } = request;
  const found = named ? realDirectory(path) : undefined;
  if (found !== undefined) return found;
  throw named && isLink(path) ? leadsNowhere(request, path) : mountMissing(request);
}

/** A link on the way to a directory that is not there yet must lead to what is there, below the host root. */
function refuseLostLink(request: DirectoryRequest, root: string): void {
  const { path, option, hostRoot } = request;
  const link = linksOnTheWay(root, relative(hostRoot, path)).find(
    ({ target }) => target === undefined || !fs.existsSync(target),
  );
  if (link === undefined) return;
  const here = join(hostRoot, relative(root, link.path));
  const real = fs.existsSync(link.path) ? fs.realpathSync(link.path) : undefined;
  if (real === undefined || isBelow(real, root)) throw leadsNowhere(request, here);
  throw new Failure({
    code: "outside-host-root",
    subject: path,
    problem: `${here === path ? "is a link that leads" : `is reached by ${here}, a link that leads`} to ${real}, out of the host root ${hostRoot}`,
    hint: `mount the directory that is meant and name it with ${option}`,
  });
}

/** The links among a path and the directories above it, and where the node sees each of them lead; undefined: a loop. */
function linksOnTheWay(root: string, way: string): { path: string; target: string | undefined }[] {
  const names = way.split("/");
  return names.flatMap((name, index) => {
    const above = seenBelow(root, hostPath(join("/", ...names.slice(0, index))));
    const path = join(above ?? root, name);
    return isLink(path) ? [{ path, target: followBelow(root, path) }] : [];
  });
}

function isLink(path: string): boolean {
  return fs.lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() === true;
}

function leadsNowhere({ option, hostRoot }: DirectoryRequest, link: string): Failure {
  const target = fs.readlinkSync(link);
  const mount = target.startsWith("/") ? ` (docker run -v ${shellWord(`${target}:${join(hostRoot, target)}`)})` : "";
  return new Failure({
    code: "dangling-link",
    subject: link,
    problem: `is a link that leads nowhere (${target}) below the host root ${hostRoot}`,
    hint: `make or mount the directory that it leads to${mount}, or name another with ${option}`,
  });
}

function mountMissing({ holds, path, option, hostRoot }: DirectoryRequest): Failure {
  const onNode = pathOnNode(hostRoot, path) ?? "/the/directory/of/the/node";
  return new Failure({
    code: "mount-missing",
    subject: path,
    problem: `${holds} cannot be looked up or written there: no directory of the node is mounted at this path`,
    hint: `mount it, for example with docker run -v ${shellWord(`${onNode}:${resolve(path)}`)} or a hostPath volume, or name another with ${option}`,
  });
}

/** Undefined: there is nothing. */
function realDirectory(path: string): string | undefined {
  try {
    if (fs.statSync(path).isDirectory()) return realPathOf(path);
  } catch (error) {
    if (isSystemError(error, "ENOENT")) return undefined;
    throw systemFailure(path, "cannot be examined", error);
  }
  throw new Failure({ code: "not-a-directory", subject: path, problem: "is not a directory" });
}

/** May this process write there? Root may everywhere but on what is read-only or immutable. */
export function isWritable(path: string): boolean {
  try {
    fs.accessSync(path, fs.constants.W_OK);
    return true;
  } catch (error) {
    // What is not there yet can be made; if not, that is said when it is tried.
    return !isSystemError(error, "EROFS", "EACCES", "EPERM");
  }
}

/** In a container without the mount, the path would be made in the container's own file system and be lost with it. */
function isOnRootMount(hostRoot: string, path: string): boolean {
  if (resolve(hostRoot) === "/") return false;
  let existing = resolve(path);
  while (!fs.existsSync(existing)) existing = dirname(existing);
  return mountOf(fs.realpathSync(existing)).point === "/";
}
