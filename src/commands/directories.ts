/** Where the options say that the node's directories are. */
import * as fs from "node:fs";
import { join, resolve } from "node:path";

import { ofRuntime, type DirectoryRequest, type FileKind } from "../node/directory.ts";
import { runtimeDirectories, type RuntimeDirectories } from "../node/runtime.ts";
import { textOf, type OptionName, type OptionTexts } from "../options.ts";

const BELOW = { plugin: "opt/cni/bin", config: "etc/cni/net.d" };

/** How long the container runtime may take to say where it looks, milliseconds. */
const ANSWER_MS = 5000;

/** The path that an option names, absolute: a name alone would be looked for in PATH where it is run. */
export function pathOf(texts: OptionTexts, name: OptionName): string {
  return resolve(textOf(texts, name));
}

/** The directory of the node that holds assets of this kind. */
export function directoryOf(kind: FileKind, texts: OptionTexts): DirectoryRequest {
  const hostRoot = pathOf(texts, "host-root");
  const name = `${kind}-dir` as const;
  const auto = texts[name] === "auto";
  const named = texts[name] !== undefined && !auto;
  return {
    holds: `${kind}s`,
    path: named ? pathOf(texts, name) : join(hostRoot, BELOW[kind]),
    option: `--${name}`,
    named,
    auto,
    hostRoot,
    // Who names the default says no more than who names nothing.
    hostRootNamed: hostRoot !== pathOf({}, "host-root"),
  };
}

/** The directories to install to, and where the container runtime looks as far as that is known. */
export interface NodeDirectories {
  directories: Record<FileKind, DirectoryRequest>;
  looks: RuntimeDirectories;
}

/**
 * Finds out where to install: the runtime is asked only if its directories are to be taken.
 *
 * @throws Failure `runtime-directory-unknown`, those of a runtime that does not answer; Interrupted.
 */
export async function directoriesOf(texts: OptionTexts, signal: AbortSignal): Promise<NodeDirectories> {
  const [plugin, config] = [directoryOf("plugin", texts), directoryOf("config", texts)];
  const { hostRoot } = config;
  const realRoot = fs.existsSync(hostRoot) ? fs.realpathSync(hostRoot) : hostRoot;
  const socket = texts["cri-socket"];
  const isAsked = (plugin.auto || config.auto) && socket !== undefined;
  const said = isAsked
    ? await (await import("../cri/status.ts")).askRuntime(socket, { timeout: ANSWER_MS, signal })
    : undefined;
  const looks = await runtimeDirectories(realRoot, said);
  const placed = (request: DirectoryRequest, kind: FileKind): DirectoryRequest =>
    request.auto ? ofRuntime(request, realRoot, looks[kind]) : request;
  return { directories: { plugin: placed(plugin, "plugin"), config: placed(config, "config") }, looks };
}
