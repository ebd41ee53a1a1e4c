/** Prints what the container runtime says, or the code of the failure: a program to bundle, whose client is loaded lazily. */
const socket = process.argv[2];
if (socket !== undefined) void ask(socket);

async function ask(path: string): Promise<void> {
  const { askRuntime } = await import("../../src/cri/status.ts");
  const limits = { timeout: 10_000, signal: new AbortController().signal };
  const said = await askRuntime(path, limits).catch((error: Error & { code?: string }) => error.code);
  process.stdout.write(JSON.stringify(said));
}
