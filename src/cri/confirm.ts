/** After a change: has the runtime taken it, and has it a network still? Its own word, not ours. */
import { setTimeout as sleep } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";

import { Failure, throwIfInterrupted } from "../errors.ts";
import { askRuntime, type RuntimeStatus } from "./status.ts";
import { Deadline } from "../system/deadline.ts";

/** The network that the runtime should load, as far as it can be recognised by: a `NetworkList` is one. */
export interface ExpectedNetwork {
  name: string;
  /** The configurations of its plugins, as they stand in the files. */
  plugins: readonly object[];
}

/** What the runtime says of a change. */
export type Confirmation =
  /** Its network is ready, and it is the expected one; of a runtime that does not tell which: it has become ready. */
  | { verdict: "confirmed" }
  /** Its network was ready and is ready, and it never tells more (CRI-O). */
  | { verdict: "untold" }
  /** Its network was not ready before either, or it still uses another one, or it does not answer. */
  | { verdict: "unconfirmed"; why: string }
  /** Its network was ready before the change, and is not any more. */
  | { verdict: "lost"; why: string };

export interface ConfirmLimits {
  /** Milliseconds, a second at least. Only a runtime that does not say yes takes so long. */
  timeout: number;
  signal: AbortSignal;
}

/** containerd has loaded a change within 10 ms, on a busy node in a quarter of a second. Asked too often, it could be kept from it. */
const FIRST_PAUSE_MS = 10;
const LONGEST_PAUSE_MS = 250;
/** What looks as it did before is believed after this only: the runtime may not have noticed the change yet. */
const QUIET_MS = 500;
/** How long a load that did something else than it should is given to be followed by another one. */
const SETTLE_MS = 1_000;
/** How long a runtime is waited for that had no network before: what keeps it from having one may be no affair of ours. */
const LATE_MS = 3_000;
/** How long it may take to answer once: it runs a plugin (STATUS) for an answer. */
const ANSWER_MS = 5_000;

/** containerd 1 watches the directory that was there when it started. */
const UNNOTICED = " as before; if the configuration directory itself was ever replaced, only a restart of it helps";

/**
 * Waits until the runtime has loaded what has just gone live, by asking it again and again.
 *
 * That it has loaded since is seen where the networks which it holds, or the error of its load, are not those of before.
 * That its network is ready is its own word, for which containerd runs the plugins' STATUS where the network's cniVersion has it.
 *
 * @param before what it said before the change.
 * @param expected `undefined`: not known which; then any network that is ready will do.
 * @throws Interrupted
 */
export async function confirmNetwork(
  socket: string,
  before: RuntimeStatus,
  expected: ExpectedNetwork | undefined,
  { timeout, signal }: ConfirmLimits,
): Promise<Confirmation> {
  const deadline = new Deadline(Math.max(timeout, SETTLE_MS));
  let last: { opinion: Opinion; since: number } | undefined;
  for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(LONGEST_PAUSE_MS, pause * 2)) {
    const answer = await ask(socket, deadline, signal);
    const opinion = answer instanceof Failure ? unanswered(answer) : judge(before, answer, expected);
    if (last === undefined || !isDeepStrictEqual(opinion, last.opinion)) last = { opinion, since: performance.now() };
    if (performance.now() - last.since >= opinion.patience || deadline.isOver) return opinion.confirmation;
    await sleep(Math.min(pause, deadline.left), undefined, { signal }).catch(() => undefined);
    throwIfInterrupted(signal);
  }
}

/** What an answer comes to, once it has been the same for so many milliseconds. */
interface Opinion {
  confirmation: Confirmation;
  patience: number;
}

async function ask(socket: string, deadline: Deadline, signal: AbortSignal): Promise<RuntimeStatus | Failure> {
  // At the deadline it is asked once more, with time to answer.
  const timeout = Math.min(ANSWER_MS, Math.max(1_000, deadline.left));
  try {
    return await askRuntime(socket, { timeout, signal });
  } catch (error) {
    if (error instanceof Failure) return error;
    throw error;
  }
}

function unanswered({ message }: Failure): Opinion {
  return { confirmation: { verdict: "unconfirmed", why: message }, patience: Infinity };
}

function judge(before: RuntimeStatus, now: RuntimeStatus, expected: ExpectedNetwork | undefined): Opinion {
  const hasLoaded = !isDeepStrictEqual([now.networks, now.loadError], [before.networks, before.loadError]);
  const isExpected = expected === undefined || now.networks === undefined || holds(now, expected);
  if (now.networkReady && isExpected) {
    if (now.networks === undefined && before.networkReady)
      return { confirmation: { verdict: "untold" }, patience: QUIET_MS };
    return { confirmation: { verdict: "confirmed" }, patience: hasLoaded || !before.networkReady ? 0 : QUIET_MS };
  }
  const why = now.networkReady ? otherNetwork(now, hasLoaded) : notReady(now, hasLoaded);
  if (!before.networkReady && !now.networkReady) {
    return { confirmation: { verdict: "unconfirmed", why }, patience: LATE_MS };
  }
  // What has not been loaded yet will be; and a plugin's STATUS may wait for its agent, which is about to start.
  const mayCome = !hasLoaded || (isExpected && now.loadError === undefined);
  const verdict = now.networkReady ? "unconfirmed" : "lost";
  return { confirmation: { verdict, why }, patience: mayCome ? Infinity : SETTLE_MS };
}

function holds({ networks = [] }: RuntimeStatus, expected: ExpectedNetwork): boolean {
  const plugins = plain(expected.plugins);
  return networks.some(
    (network) => network.name === expected.name && isDeepStrictEqual(plain(network.plugins), plugins),
  );
}

/** JSON's own view of values: what prototypes they have does not matter. */
function plain(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value));
}

function notReady({ name, loadError, message, reason }: RuntimeStatus, hasLoaded: boolean): string {
  const why = loadError ?? (message || reason || "it gives no reason");
  return `${name} says that its network is not ready: ${why}${hasLoaded || loadError === undefined ? "" : UNNOTICED}`;
}

function otherNetwork({ name, networks = [] }: RuntimeStatus, hasLoaded: boolean): string {
  const held = networks.map((network) => network.name).join(", ");
  return hasLoaded
    ? `${name} has loaded the network ${held} instead`
    : `${name} still uses the network ${held}${UNNOTICED}`;
}
