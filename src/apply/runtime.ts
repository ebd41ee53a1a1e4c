/** The container runtime's own word: where it looks for CNI, and whether it still has a network after a change. */
import * as fs from "node:fs";

import { isConfigName } from "../cni/config.ts";
import type { RuntimeDirectories } from "../node/runtime.ts";
import { pathOnNode, seenBelow, type HostPath } from "../system/below.ts";
import { readDirectoryListing } from "../cni/load.ts";
import { selectForContainerd } from "../cni/selection.ts";
import type { Confirmation } from "../cri/confirm.ts";
import type { RuntimeStatus } from "../cri/status.ts";
import { Failure } from "../errors.ts";
import { warning, type Finding } from "../finding.ts";
import type { Prepared } from "./prepare.ts";

/** How to ask it. */
export interface RuntimeOptions {
  /** The path of its CRI socket as it is seen from here. */
  socket: string;
  /** Wait for its word after a change of configurations, and undo the change if it has lost its network. */
  confirm: boolean;
}

/** How long it may take to answer a question, milliseconds. */
const ANSWER_MS = 5_000;
/** How long it may take to have loaded a change and to be ready with it; plugins' agents may have to start. */
const CONFIRM_MS = 30_000;

/** A container runtime that was asked before a change. */
export class Runtime {
  readonly #options: RuntimeOptions;
  readonly #before: RuntimeStatus;

  private constructor(options: RuntimeOptions, before: RuntimeStatus) {
    this.#options = options;
    this.#before = before;
  }

  /** @throws Failure when it does not answer, Interrupted. */
  static async ask(options: RuntimeOptions, signal: AbortSignal): Promise<Runtime> {
    const { askRuntime } = await import("../cri/status.ts");
    return new Runtime(options, await askRuntime(options.socket, { timeout: ANSWER_MS, signal }));
  }

  /** Where it looks for plugins, as the node sees it. */
  get pluginDirs(): readonly HostPath[] | undefined {
    return this.#before.pluginDirs;
  }

  /** The same, by its name. What it says of configurations counts once they have changed. */
  get looks(): RuntimeDirectories {
    const { name: by, pluginDirs: paths } = this.#before;
    return paths === undefined ? {} : { plugin: { by, paths } };
  }

  /**
   * Once the changes are live: does the runtime still have a network? It is asked only if configurations have changed
   * that it reads.
   *
   * @returns what is not known for sure.
   * @throws Failure `network-lost`.
   */
  async confirm(
    { changes }: Prepared,
    { hostRoot, configDirectory }: { hostRoot: string; configDirectory: string | undefined },
  ): Promise<Finding[]> {
    const isTouched = changes.configs?.changed.some(isConfigName) === true;
    if (!isTouched || configDirectory === undefined) return [];
    const { name, configDir } = this.#before;
    // A directory that was named may be anywhere.
    const onNode = pathOnNode(hostRoot, configDirectory);
    if (
      configDir !== undefined &&
      onNode !== undefined &&
      realPath(seenBelow(hostRoot, configDir)) !== configDirectory
    ) {
      const message = `${name} does not read this directory, but ${configDir}`;
      return [warning("runtime-directory", onNode, message, "name it with --config-dir, or use --config-dir=auto")];
    }
    return this.#options.confirm ? this.#confirmIn(configDirectory) : [];
  }

  async #confirmIn(configDirectory: string): Promise<Finding[]> {
    const { maxConfigs = 1 } = this.#before;
    const selection = selectForContainerd(readDirectoryListing(configDirectory), { maxConfNum: maxConfigs });
    // Whoever removes the last one by name has been told what it means.
    if (selection.error?.code === "no-file") return [];
    const confirmation = await this.#wait(this.#before, selection.chosen?.list);
    if (confirmation.verdict === "confirmed" || confirmation.verdict === "untold") return [];
    if (confirmation.verdict === "unconfirmed") {
      const message = `does not confirm the change: ${confirmation.why}`;
      return [warning("network-unconfirmed", this.#before.name, message)];
    }
    throw new Failure({
      code: "network-lost",
      subject: this.#before.name,
      problem: `it has lost its network by this change: ${confirmation.why}`,
      hint: "see what is wrong with the configuration or its plugins; --no-confirm makes the change anyway",
    });
  }

  /** Waits for its network after a change was undone. Returns a warning where it does not come back. */
  async afterUndoing(): Promise<string | undefined> {
    const { networks: _networks, loadError: _error, ...rest } = this.#before;
    const lost: RuntimeStatus = { ...rest, networkReady: false, networks: undefined, loadError: undefined };
    const confirmation = await this.#wait(lost, undefined);
    return confirmation.verdict === "confirmed" ? undefined : `${this.#before.name} has not got its network back yet`;
  }

  async #wait(before: RuntimeStatus, expected: Parameters<Confirm>[2]): Promise<Confirmation> {
    const { confirmNetwork } = await import("../cri/confirm.ts");
    // The change is live: it is not left half judged because of a signal.
    const { signal } = new AbortController();
    return confirmNetwork(this.#options.socket, before, expected, { timeout: CONFIRM_MS, signal });
  }
}

function realPath(path: string | undefined): string | undefined {
  return path !== undefined && fs.existsSync(path) ? fs.realpathSync(path) : path;
}

type Confirm = (typeof import("../cri/confirm.ts"))["confirmNetwork"];
