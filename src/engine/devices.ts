/** CDI devices and hooks.d files on the host: written, or taken back. */
import { listNetworks } from "../cni/load.ts";
import { warning, type Finding } from "../finding.ts";
import type { Surrounding } from "../host/transaction.ts";
import type { EngineResult } from "./docker.ts";
import { changeFiles, fileToRemove, fileToWrite, type RunOptions, type WantedFile } from "./files.ts";
import { CDI_FILE, cdiSpecification, HOOK_FILES, hookFiles, isDeviceName } from "./hooks.ts";
import type { EnginePaths } from "./paths.ts";
import { podmanConfigs } from "./podman.ts";
import { programFiles, proveProgram, unneededProgram, type Own } from "./program.ts";

/** Writes a CDI specification with a device for each network of the host. @throws Failure */
export async function writeCdi(paths: EnginePaths, own: Own, options: RunOptions): Promise<EngineResult> {
  const owner = "cdi";
  const { names, findings } = deviceNames(paths);
  const file = { directory: paths.directory("cdi"), name: CDI_FILE, kind: "config", owner } as const;
  const text = cdiSpecification(paths.call, names);
  const files = [...programFiles(paths, own, owner), fileToWrite(file, { text, mode: 0o644 })];
  const done = await changeFiles(files, paths.all, options, provingProgram(paths, options));
  return { ...done, findings: [...findings, ...done.findings, ...afterRestart(paths, done)] };
}

/** Removes it. @throws Failure */
export async function removeCdi(paths: EnginePaths, options: RunOptions): Promise<EngineResult> {
  const owner = "cdi";
  const file = fileToRemove({ directory: paths.directory("cdi"), name: CDI_FILE, kind: "config", owner });
  const done = await changeFiles([file, ...unneededProgram(paths, owner)], paths.all, options);
  if (!options.dryRun) paths.removeEmpty();
  return { ...done, findings: [...done.findings, ...afterRestart(paths, done)] };
}

/** Podman reads specifications at each start of a container, dockerd when it starts. */
function afterRestart(paths: EnginePaths, { results }: EngineResult): Finding[] {
  const changed = results.find(({ path, outcome }) => path.endsWith(CDI_FILE) && isChange(outcome));
  if (changed === undefined) return [];
  const message = "counts at once for Podman, and for Docker (25 or newer) at the next restart of dockerd";
  const hint = 'before Docker 28.3, daemon.json also needs "features": {"cdi": true}';
  return [warning("engine-restart", paths.onHost(changed.path), message, hint)];
}

function isChange(outcome: string): boolean {
  return ["created", "configured", "deleted"].includes(outcome);
}

/** The networks of the host that can be devices. */
export function deviceNames(paths: EnginePaths): { names: string[]; findings: Finding[] } {
  const directory = paths.ociConfig.confDir;
  const findings: Finding[] = [];
  const names = new Set<string>();
  for (const loaded of listNetworks(paths.pathHere(directory))) {
    if ("objection" in loaded) {
      findings.push(
        warning("engine-device-name", `${directory}/${loaded.file}`, `has no device: ${loaded.objection.message}`),
      );
      continue;
    }
    const { name } = loaded.network.list;
    if (isDeviceName(name)) names.add(name);
    else
      findings.push(
        warning(
          "engine-device-name",
          `${directory}/${loaded.file}`,
          `has no device: no CDI device can be called ${name}`,
        ),
      );
  }
  if (names.size === 0)
    findings.push(warning("engine-unconfigured", directory, "has no network, so there is no device"));
  return { names: [...names], findings };
}

/** Writes the files of hooks.d. @throws Failure */
export async function writeHooks(paths: EnginePaths, own: Own, options: RunOptions): Promise<EngineResult> {
  const owner = "hooks";
  const files = Array.from(hookFiles(paths.call), ([name, text]) =>
    fileToWrite({ directory: paths.directory("hooks"), name, kind: "config", owner }, { text, mode: 0o644 }),
  );
  const all = [...programFiles(paths, own, owner), ...files];
  const done = await changeFiles(all, paths.all, options, provingProgram(paths, options));
  return { ...done, findings: [...done.findings, ...unreadHooks(paths), ...untrustedAnnotations(paths)] };
}

function provingProgram(paths: EnginePaths, { signal }: RunOptions): Surrounding {
  return { prove: async (stagedAs) => proveProgram(paths, stagedAs, signal) };
}

/** Podman 4 reads the hooks of a distribution only, unless its configuration says more. */
function unreadHooks(paths: EnginePaths): Finding[] {
  const directory = paths.onHost(paths.directory("hooks"));
  if (podmanConfigs(paths).some(({ text }) => /^[ \t]*hooks_dir\b/mu.test(text) && text.includes(directory))) return [];
  const message = "no configuration of Podman names this directory, and most versions of Podman read it only then";
  const hint = "name it in hooks_dir of /etc/containers/containers.conf (docs/docker.md), or with podman --hooks-dir";
  return [warning("engine-hooks-unread", directory, message, hint)];
}

/** An annotation calls the hooks. */
function untrustedAnnotations(paths: EnginePaths): Finding[] {
  if (paths.ociConfig.isAnnotationTrusted === true) return [];
  const path = paths.onHost(paths.ociConfigFile);
  const message =
    "annotations of Podman's containers do not count, so a container with io.cni-node.network does not start";
  const hint = `if all images are trusted, write cni_annotations: true into ${path}; otherwise use CDI devices (docs/docker.md)`;
  return [warning("engine-annotations-untrusted", path, message, hint)];
}

/** Removes them. @throws Failure */
export async function removeHooks(paths: EnginePaths, options: RunOptions): Promise<EngineResult> {
  const owner = "hooks";
  const files: WantedFile[] = Object.values(HOOK_FILES).map((name) =>
    fileToRemove({ directory: paths.directory("hooks"), name, kind: "config", owner }),
  );
  const done = await changeFiles([...files, ...unneededProgram(paths, owner)], paths.all, options);
  if (!options.dryRun) paths.removeEmpty();
  return done;
}
