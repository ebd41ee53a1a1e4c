/** What the kernel makes of a file that is to be run, by its first bytes. */
import * as fs from "node:fs";

/** `unknown`: it cannot be read, and running it will tell why. `foreign` names another processor. */
export type ProgramFormat = "script" | "native" | "none" | "unknown" | { foreign: string };

/** How the header of an ELF file names processors. */
const MACHINES: Record<number, string> = {
  3: "x86",
  8: "mips",
  21: "ppc64",
  22: "s390",
  40: "arm",
  62: "x86-64",
  183: "aarch64",
  243: "riscv",
};

/** What the kernel of a machine (Node's name of it) runs: its own, and its 32-bit form. */
const NATIVE: Partial<Record<NodeJS.Architecture, readonly number[]>> = { x64: [62, 3], arm64: [183, 40] };

const BIG_ENDIAN = 2;

/** Is it a script that names its interpreter, or an executable, and for which machine? */
export function programFormatOf(path: string): ProgramFormat {
  const header = readHeader(path);
  if (header === undefined) return "unknown";
  if (header.toString("latin1", 0, 2) === "#!") return "script";
  if (header.length < HEADER_SIZE || header.toString("latin1", 0, 4) !== "\x7fELF") return "none";
  const machine = header[5] === BIG_ENDIAN ? header.readUInt16BE(18) : header.readUInt16LE(18);
  const isNative = NATIVE[process.arch]?.includes(machine) ?? true;
  return isNative ? "native" : { foreign: MACHINES[machine] ?? `ELF machine ${machine}` };
}

/** Is it an executable for this machine that needs no loader and no libraries? */
export function isStatic(path: string): boolean {
  if (programFormatOf(path) !== "native") return false;
  // Tables of programs follow the header immediately, except in files that were edited.
  const header = readHeader(path, 4096) ?? Buffer.alloc(0);
  const [is64, isBig] = [header[4] === 2, header[5] === BIG_ENDIAN];
  const number = (at: number, size: number): number =>
    isBig ? header.readUIntBE(at, size) : header.readUIntLE(at, size);
  try {
    const [table, size, count] = is64
      ? [number(32, 6), number(54, 2), number(56, 2)]
      : [number(28, 4), number(42, 2), number(44, 2)];
    const types = Array.from({ length: count }, (_, index) => number(table + index * size, 4));
    return count > 0 && !types.includes(PT_INTERP);
  } catch (error) {
    if (error instanceof RangeError) return false;
    throw error;
  }
}

const HEADER_SIZE = 20;
/** The segment that names the loader. */
const PT_INTERP = 3;

/** Undefined: it cannot be read. */
function readHeader(path: string, size = HEADER_SIZE): Buffer | undefined {
  const header = Buffer.alloc(size);
  try {
    const descriptor = fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
    try {
      return header.subarray(0, fs.readSync(descriptor, header, 0, size, 0));
    } finally {
      fs.closeSync(descriptor);
    }
  } catch {
    return undefined;
  }
}
