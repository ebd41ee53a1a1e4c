/** Packets between network namespaces. */
import { spawnSync } from "node:child_process";
import { once } from "node:events";

import type { Namespace } from "./namespace.ts";

/** Runs a command in a namespace. */
export function inside(
  { entrance }: Pick<Namespace, "entrance">,
  ...words: string[]
): { status: number | null; stdout: string; stderr: string } {
  return spawnSync("nsenter", [...entrance, ...words], { encoding: "utf8" });
}

const SERVE = `const server = require("node:net").createServer((socket) => socket.end(socket.remoteAddress));
  server.listen(5000, process.argv[1], () => console.log("listening"))`;
const ASK = `require("node:net").connect(5000, process.argv[1]).setTimeout(5000, () => process.exit(1)).pipe(process.stdout)`;

/** The address that a server sees a client with; empty: they do not reach each other. @param address where it serves. */
export async function seenAs(
  client: Pick<Namespace, "entrance">,
  server: Pick<Namespace, "spawn">,
  address: string,
): Promise<string> {
  const serving = server.spawn([process.execPath, "-e", SERVE, address]);
  try {
    await once(serving.stdout ?? serving, "data");
    return inside(client, process.execPath, "-e", ASK, address).stdout;
  } finally {
    serving.kill();
    await once(serving, "exit");
  }
}
