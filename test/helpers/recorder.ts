/** A recording plugin under any names, and a place for what it records and for a runtime's cache. */
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const SCRIPT = fileURLToPath(new URL("../fixtures/recorder.sh", import.meta.url));

/** One call of the plugin. */
export interface RecordedCall {
  plugin: string;
  command: string;
  containerId: string;
  netns: string;
  ifName: string;
  args: string;
  path: string;
  /** As text; `request` is what it means. */
  stdin: string;
  request: Record<string, unknown>;
}

const LINES_PER_CALL = 9;

/** A directory that goes with the test: plugins in bin, what they do and record in record. */
export class Recorder implements Disposable {
  readonly root: string;
  readonly bin: string;
  readonly cacheDir: string;

  /** @param plugins their names. @param root default: a temporary directory. */
  constructor(plugins: readonly string[] = [], root?: string) {
    this.root = root ?? fs.mkdtempSync(join(fs.realpathSync(tmpdir()), "cni-node-test-"));
    this.bin = join(this.root, "bin");
    this.cacheDir = join(this.root, "cache");
    for (const name of ["bin", "record"]) fs.mkdirSync(join(this.root, name), { recursive: true });
    for (const name of plugins) this.install(name);
  }

  install(name: string): void {
    fs.copyFileSync(SCRIPT, join(this.bin, name));
    fs.chmodSync(join(this.bin, name), 0o755);
  }

  /** What the plugin does from now on. @param script for sh, after the call has been recorded. */
  does(plugin: string, command: string, script: string): void {
    fs.writeFileSync(join(this.root, "record", `${plugin}.${command}`), `${script}\n`);
  }

  /** The plugin prints this from now on, and succeeds. */
  prints(plugin: string, command: string, output: unknown): void {
    this.does(plugin, command, `printf '%s' '${typeof output === "string" ? output : JSON.stringify(output)}'`);
  }

  /** The plugin fails with this error from now on. */
  fails(plugin: string, command: string, error: { code: number; msg: string; details?: string }): void {
    this.does(plugin, command, `printf '%s' '${JSON.stringify(error)}'; exit 1`);
  }

  /** The calls since the last time that this was asked. */
  take(): RecordedCall[] {
    const file = join(this.root, "record/calls");
    if (!fs.existsSync(file)) return [];
    const text = fs.readFileSync(file, "utf8");
    fs.rmSync(file);
    return callsOf(text);
  }

  /** The same, as `NAME COMMAND`. */
  takeNames(): string[] {
    return this.take().map(({ plugin, command }) => `${plugin} ${command}`);
  }

  /** The file of an attachment in the cache. */
  cached(name: string): string {
    return join(this.cacheDir, "results", name);
  }

  [Symbol.dispose](): void {
    fs.rmSync(this.root, { recursive: true, force: true });
  }
}

/** Reads what the plugin has recorded. */
export function callsOf(text: string): RecordedCall[] {
  const lines = text.split("\n").slice(0, -1);
  return Array.from({ length: lines.length / LINES_PER_CALL }, (_, index) =>
    callOf(lines.slice(index * LINES_PER_CALL, (index + 1) * LINES_PER_CALL)),
  );
}

function callOf(lines: readonly string[]): RecordedCall {
  const [plugin, command, containerId, netns, ifName, args, path, stdin, more] = lines as [
    ...[string, string, string, string, string, string, string, string, string],
  ];
  if (more !== "") throw new Error(`the request of ${plugin} ${command} has line breaks: ${stdin}`);
  const request = JSON.parse(stdin) as Record<string, unknown>;
  return { plugin, command, containerId, netns, ifName, args, path, stdin, request };
}
