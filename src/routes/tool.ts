/** Programs that read and change the network: ip, iptables, nft. */
import { runProgram, type End } from "../cni/process.ts";

/** How they are run. */
export interface Running {
  env: Readonly<Record<string, string | undefined>>;
  /** Ends the program; undefined: it is not to be interrupted. */
  signal: AbortSignal | undefined;
  stdin?: string;
  timeoutMs: number;
}

/** Runs one of them, as it is found where root has them: not every PATH has these directories. */
export async function runTool(
  name: string,
  words: readonly string[],
  { env, signal, stdin = "", timeoutMs }: Running,
): Promise<End> {
  // In the image, ip of busybox comes before that of iproute2 in PATH.
  const PATH = ["/usr/sbin:/sbin", env["PATH"] ?? []].flat().join(":");
  const program = { file: name, argv0: name, words, env: { ...env, PATH }, stdin };
  return runProgram(program, { timeoutMs, signal });
}
