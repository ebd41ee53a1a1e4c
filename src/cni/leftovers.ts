/**
 * Ends a program with all that it has started. Its process group is not all: a child may have a session of its own
 * (setsid), or have lost its parent (a double fork), and go on to change the network after the call was given up.
 *
 * They are found by a mark in their environment, which children inherit, and by their parents. Node cannot make itself
 * the reaper of orphans (PR_SET_CHILD_SUBREAPER), and a control group of our own is none of a guest's business: it is
 * mounted read-only in containers, and systemd's on hosts. What has both lost its parent and cleared its environment
 * is not found. What was started by an earlier call, or by anybody else, does not have the mark: daemons live on.
 */
import { readdirSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

import { Deadline } from "../system/deadline.ts";
import { readTextIfPossible, SIZE_LIMITS } from "../system/read.ts";

/** The variable that marks a call. It is not a parameter of CNI, and no option of cni-node. */
const MARK = "CNINODE_CALL";
/** Each round finds what was started during the one before; what is found is stopped, and starts no more. */
const MAX_ROUNDS = 20;
/** So long it is waited for the end of what was killed: the kernel may be busy with it. */
const GONE_MS = 2000;

/** The environment of a program that can be ended with all that it has started. @param id of no other call. */
export function marked(env: Readonly<Record<string, string | undefined>>, id: string): NodeJS.ProcessEnv {
  return { ...env, [MARK]: id };
}

/**
 * Asks a program to end with all that it has started in its process group, and ends what is left after the grace.
 *
 * @param pid of the leader of its process group. @param grace milliseconds.
 */
export async function endGently(pid: number, id: string, grace: number): Promise<void> {
  signal(-pid, "SIGTERM");
  const deadline = new Deadline(grace);
  while (
    !deadline.isOver &&
    belongings(new Set([pid]), id)
      .concat(pid)
      .some(isRunning)
  )
    await sleep(20);
  await endWhole(pid, id);
}

/** Ends a program, and waits a moment until nothing of it runs. @param pid of the leader of its process group. */
export async function endWhole(pid: number, id: string): Promise<void> {
  const found = new Set([pid]);
  signal(-pid, "SIGSTOP");
  for (let round = 0; round < MAX_ROUNDS; round++) {
    const more = belongings(found, id).filter((one) => !found.has(one));
    if (more.length === 0) break;
    for (const one of more) {
      found.add(one);
      signal(one, "SIGSTOP");
    }
  }
  for (const one of [-pid, ...found]) signal(one, "SIGKILL");
  const deadline = new Deadline(GONE_MS);
  while ([...found].some(isRunning) && !deadline.isOver) await sleep(5);
}

/** What has the mark, and what one of those has started. */
function belongings(parents: ReadonlySet<number>, id: string): number[] {
  return processes().filter((pid) => {
    return pid !== process.pid && (parents.has(Number(fieldsOf(pid)[1])) || hasMark(pid, id));
  });
}

function processes(): number[] {
  try {
    return readdirSync("/proc").map(Number).filter(Number.isInteger);
  } catch {
    return [];
  }
}

function hasMark(pid: number, id: string): boolean {
  const environment = readTextIfPossible(`/proc/${pid}/environ`, SIZE_LIMITS.proc) ?? "";
  return environment.split("\0").includes(`${MARK}=${id}`);
}

function isRunning(pid: number): boolean {
  const [state = "Z"] = fieldsOf(pid);
  return state !== "Z" && state !== "X";
}

/** The fields of `stat` from the third on: state, parent. None of what has ended. */
function fieldsOf(pid: number): string[] {
  // The second one is a name in brackets, which may have anything in it.
  const text = readTextIfPossible(`/proc/${pid}/stat`, SIZE_LIMITS.proc);
  return text?.split(") ").at(-1)?.split(" ") ?? [];
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // It has ended, or has become another user.
  }
}
