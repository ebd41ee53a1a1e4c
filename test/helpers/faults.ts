/**
 * Faults in front of the real file system: the process dies, or an operation fails, before or after any change to a
 * file. Works on whatever this process does through node:fs, so that the program has no seam for it.
 */
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";

/** One change to a file, as the program made it. */
export interface Operation {
  /** Counted from 1. */
  number: number;
  name: string;
  path: string;
}

/** What happens at an operation: `before` it is executed and `after` that. Throwing there is the fault. */
export interface FaultPolicy {
  before?(operation: Operation): void;
  after?(operation: Operation): void;
}

/** The process has been killed: nothing that it does from now on reaches the disk. */
export class Killed extends Error {
  override readonly name = "Killed";
}

/** Kills before or after the operation of that number. */
export function killAt(number: number, when: "before" | "after"): FaultPolicy {
  let dead = false;
  return {
    before(operation) {
      if (dead || (when === "before" && operation.number === number)) {
        dead = true;
        throw new Killed();
      }
    },
    after(operation) {
      if (when === "after" && operation.number === number) {
        dead = true;
        throw new Killed();
      }
    },
  };
}

/** Lets operations of these numbers fail with an error of the system. */
export function failAt(numbers: readonly number[], code: "EIO" | "ENOSPC" = "EIO"): FaultPolicy {
  const errno = { EIO: -5, ENOSPC: -28 }[code];
  return {
    before({ number, name, path }) {
      if (numbers.includes(number)) {
        throw Object.assign(new Error(`${code}: fault, ${name} '${path}'`), { code, errno, syscall: name, path });
      }
    },
  };
}

/** The functions of node:fs that change files, and in front of which faults are put. */
export const SYNC = [
  "linkSync",
  "renameSync",
  "unlinkSync",
  "rmdirSync",
  "rmSync",
  "mkdirSync",
  "symlinkSync",
  "openSync",
  "fchmodSync",
  "fsyncSync",
  "writeFileSync",
];
/** Of file handles. */
export const HANDLE = ["writeFile", "chmod", "utimes", "chown", "sync"];
/** Of node:fs/promises. */
export const PROMISES = ["copyFile", "open"];

type AnyFunction = (...args: unknown[]) => unknown;

/** Runs `body` under a policy, and returns the operations that it tried. */
export async function withFaults(policy: FaultPolicy, body: () => Promise<unknown>): Promise<Operation[]> {
  const operations: Operation[] = [];
  const undo: (() => void)[] = [];

  function begin(name: string, path: unknown): Operation {
    const operation = { number: operations.length + 1, name, path: String(path) };
    operations.push(operation);
    policy.before?.(operation);
    return operation;
  }

  function patch(target: object, name: string, make: (original: AnyFunction) => AnyFunction): void {
    const holder = target as Record<string, AnyFunction>;
    const original = holder[name] as AnyFunction;
    holder[name] = make(original);
    undo.push(() => (holder[name] = original));
  }

  function wrapHandle(handle: object, path: unknown): object {
    for (const name of HANDLE) {
      patch(handle, name, (original) => async (...args) => {
        const operation = begin(`handle.${name}`, path);
        const result = await original.apply(handle, args);
        policy.after?.(operation);
        return result;
      });
    }
    return handle;
  }

  for (const name of SYNC) {
    patch(fs, name, (original) => (...args) => {
      if (name === "openSync" && isReading(args[1])) return original(...args);
      const operation = begin(name, args[0]);
      const result = original(...args);
      policy.after?.(operation);
      return result;
    });
  }
  patch(fs.promises, "copyFile", (original) => async (...args) => {
    const operation = begin("copyFile", args[1]);
    await original(...args);
    policy.after?.(operation);
  });
  patch(fs.promises, "open", (original) => async (...args) => {
    const operation = isReading(args[1]) ? undefined : begin("open", args[0]);
    const handle = (await original(...args)) as object;
    if (operation !== undefined) policy.after?.(operation);
    return wrapHandle(handle, args[0]);
  });
  syncBuiltinESMExports();
  try {
    await body();
  } finally {
    for (const restore of undo.toReversed()) restore();
    syncBuiltinESMExports();
  }
  return operations;
}

/** Directories are opened for reading, to be synced. */
function isReading(flags: unknown): boolean {
  if (typeof flags === "string") return flags === "r";
  return (
    typeof flags !== "number" || (flags & (fs.constants.O_WRONLY | fs.constants.O_RDWR | fs.constants.O_CREAT)) === 0
  );
}
