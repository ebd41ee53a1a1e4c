/** CNI plugins for tests: scripts in a temporary directory, and what becomes of their processes. */
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A directory of plugins that goes with the test. */
export class PluginDir implements Disposable {
  readonly path: string = fs.mkdtempSync(join(fs.realpathSync(tmpdir()), "cni-node-test-"));

  /** Writes a plugin. @param script for sh. @returns its path. */
  write(name: string, script: string): string {
    return this.file(name, `#!/bin/sh\n${script}\n`);
  }

  /** Writes an executable file, whatever it is. @returns its path. */
  file(name: string, content: string | Buffer, mode = 0o755): string {
    const path = join(this.path, name);
    fs.writeFileSync(path, content, { mode });
    return path;
  }

  [Symbol.dispose](): void {
    fs.rmSync(this.path, { recursive: true, force: true });
  }
}

/** A process that has ended, and that nobody has asked for yet, is not alive. */
export function isAlive(pid: number): boolean {
  try {
    return !/^\d+ \(.*\) Z/u.test(fs.readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
}
