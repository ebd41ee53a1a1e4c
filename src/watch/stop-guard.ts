/** Looks at the DaemonSet of this process, to know what stopping means (`--on-stop=auto`). */
import { setTimeout as sleep } from "node:timers/promises";

import type { Channel } from "../cluster/channel.ts";
import { isAbsent, NODES, pathOf } from "../cluster/resource.ts";
import { Failure } from "../errors.ts";
import { selects } from "./node-selection.ts";
import { DAEMON_SETS, decideStop, type StopDecision, type OwnDaemonSet, type DaemonSetLook } from "./on-stop.ts";

/** Milliseconds. All of it fits well into the 30 seconds that Kubernetes gives a pod. */
const TIMING = { request: 2500, pause: 2500, tries: 3, firstRetry: 1000, longestRetry: 300_000 };

/** Looks at the DaemonSet at the start, until that has worked once, and when the process stops. */
export class StopGuard {
  readonly #channel: Channel;
  readonly #own: OwnDaemonSet;
  readonly #say: (text: string, hint: string) => void;
  #wasSeen = false;

  /** @param say says that the DaemonSet cannot be read, while that can still be fixed. */
  constructor(channel: Channel, own: OwnDaemonSet, say: (text: string, hint: string) => void) {
    this.#channel = channel;
    this.#own = own;
    this.#say = say;
  }

  /** Reads the DaemonSet until that has worked once: who could and no longer can has been deleted. */
  async begin(signal: AbortSignal): Promise<void> {
    for (let pause = TIMING.firstRetry; ; pause = Math.min(TIMING.longestRetry, pause * 2)) {
      const look = await this.#look(signal);
      if (look.status === 200) this.#wasSeen = true;
      if (this.#wasSeen || signal.aborted) return;
      if ((look.status === 403 || look.isAbsent === true) && pause === TIMING.firstRetry) {
        const { because, hint = "" } = decideStop(look, this.#own, false);
        this.#say(`--on-stop=auto: ${because}`, hint);
      }
      try {
        await sleep(pause * (0.75 + Math.random() / 2), undefined, { signal, ref: false });
      } catch {
        return;
      }
    }
  }

  /** Looks again, a few times if the answer may be of a moment. */
  async decide(): Promise<StopDecision> {
    for (let tries = 1; ; tries++) {
      const look = await this.#look(AbortSignal.timeout(TIMING.request));
      const isFinal = look.status === 200 || (look.status === 404 && look.isAbsent === true);
      if (isFinal || tries === TIMING.tries) return decideStop(look, this.#own, this.#wasSeen);
      // The account may have a new token by now.
      if (look.status === 401) this.#channel.reset();
      await sleep(TIMING.pause);
    }
  }

  async #look(signal: AbortSignal): Promise<DaemonSetLook> {
    const { namespace, name, node } = this.#own;
    try {
      const answer = await this.#channel.get(
        pathOf({ apiVersion: "apps/v1", kind: "DaemonSet", namespace, name }, DAEMON_SETS),
        signal,
      );
      if (answer.status !== 200) return { status: answer.status, isAbsent: isAbsent(answer) };
      const { spec } = answer.body as { spec?: unknown };
      const found = { status: 200, object: answer.body };
      if (selects(spec, node, undefined) !== undefined) return found;
      const ofNode = await this.#channel.get(
        pathOf({ apiVersion: "v1", kind: "Node", namespace: "", name: node }, NODES),
        signal,
      );
      return ofNode.status === 200 ? { ...found, node: ofNode.body } : found;
    } catch (error) {
      if (error instanceof Failure) return { status: undefined, reason: error.message };
      if (signal.aborted) return { status: undefined, reason: "the API does not answer" };
      throw error;
    }
  }
}
