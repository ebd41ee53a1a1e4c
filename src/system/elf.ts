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

/**
 * Is it a script that names its interpreter, or an executable, and for which machine? An ELF file that the kernel
 * refuses is `none`: the C library would have a shell interpret it.
 */
export function programFormatOf(path: string): ProgramFormat {
  const { format } = lookAt(path);
  return format;
}

/** Is it an executable for this machine that needs no loader and no libraries? */
export function isStatic(path: string): boolean {
  return lookAt(path).segments?.includes(PT_INTERP) === false;
}

/** `segments`: their types, if it is an executable for this machine. */
function lookAt(path: string): { format: ProgramFormat; segments?: number[] } {
  try {
    const descriptor = fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
    try {
      return lookInto((at, size) => {
        const bytes = Buffer.alloc(size);
        return bytes.subarray(0, fs.readSync(descriptor, bytes, 0, size, at));
      });
    } finally {
      fs.closeSync(descriptor);
    }
  } catch (error) {
    if (!(error instanceof Error && "syscall" in error)) throw error;
    return { format: "unknown" };
  }
}

function lookInto(read: Read): ReturnType<typeof lookAt> {
  const header = read(0, HEADER_SIZE);
  if (header.toString("latin1", 0, 2) === "#!") return { format: "script" };
  if (header.length < HEADER_SIZE_32 || header.toString("latin1", 0, 4) !== "\x7fELF") return { format: "none" };
  const machine = numberIn(header, 18, 2);
  if (NATIVE[process.arch]?.includes(machine) === false) {
    return { format: { foreign: MACHINES[machine] ?? `ELF machine ${machine}` } };
  }
  const segments = segmentsIn(header, read);
  return segments === undefined ? { format: "none" } : { format: "native", segments };
}

const HEADER_SIZE = 64;
const HEADER_SIZE_32 = 52;
/** ET_EXEC, ET_DYN. */
const EXECUTABLE = new Set([2, 3]);
/** What the kernel reads of segments, in bytes. */
const MOST_SEGMENTS = 1 << 16;
/** The segment that names the loader. */
const PT_INTERP = 3;

/** Reads so many bytes at an offset, or fewer at the end. */
type Read = (at: number, size: number) => Buffer;

/** The types of its segments; undefined: the kernel does not take it for a program (fs/binfmt_elf.c, load_elf_phdrs). */
function segmentsIn(header: Buffer, read: Read): number[] | undefined {
  const is64 = header[4] === 2;
  if (header.length < (is64 ? HEADER_SIZE : HEADER_SIZE_32)) return undefined;
  const [table, size, count] = is64
    ? [numberIn(header, 32, 6), numberIn(header, 54, 2), numberIn(header, 56, 2)]
    : [numberIn(header, 28, 4), numberIn(header, 42, 2), numberIn(header, 44, 2)];
  const isValid = EXECUTABLE.has(numberIn(header, 16, 2)) && size === (is64 ? 56 : 32) && count > 0;
  if (!isValid || size * count > MOST_SEGMENTS) return undefined;
  const segments = read(table, size * count);
  if (segments.length < size * count) return undefined;
  return Array.from({ length: count }, (_, index) => numberIn(segments, index * size, 4, header));
}

/** A number in the byte order that the header names. */
function numberIn(bytes: Buffer, at: number, size: number, header = bytes): number {
  return header[5] === BIG_ENDIAN ? bytes.readUIntBE(at, size) : bytes.readUIntLE(at, size);
}
