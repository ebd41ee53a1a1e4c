/** buildah with a store of its own, so that the machine's other images neither help nor harm. */
import { spawnSync } from "node:child_process";
import { join } from "node:path";

/** A container in which an image is made. */
interface Working {
  copy(from: string, to: string): void;
  /** Runs a shell script in it. */
  run(script: string): void;
  /** An option of `buildah config`. */
  set(option: string, value: string): void;
}

/** Images in one directory. */
export class Builder {
  readonly #store: readonly string[];

  /** @param directory where the images are. */
  constructor(directory: string) {
    this.#store = ["--root", join(directory, "store"), "--runroot", join(directory, "run")];
  }

  /** Runs buildah with its messages going to ours; gives what it prints. */
  buildah(args: readonly string[], env: NodeJS.ProcessEnv = {}): string {
    // What it mounts and leaves mounted, its store among it, ends with the namespace. The test machine may be a container,
    // in which no other container can be started by an OCI runtime.
    const words = ["--mount", "--propagation=private", "buildah", ...this.#store, ...args];
    return output("unshare", words, { BUILDAH_ISOLATION: "chroot", ...env });
  }

  /** Makes an image from another one. */
  make(name: string, from: string, fill: (working: Working) => void): void {
    const container = this.buildah(["from", "--pull-never", from]).trim();
    try {
      fill({
        copy: (source, target) => void this.buildah(["copy", "--quiet", container, source, target]),
        run: (script) => void this.buildah(["run", container, "sh", "-ec", script]),
        set: (option, value) => void this.buildah(["config", option, value, container]),
      });
      this.buildah(["commit", "--quiet", container, name]);
    } finally {
      this.buildah(["rm", container]);
    }
  }
}

/** Runs a program to its end. @throws with what it said when it fails. */
export function run(program: string, args: readonly string[]): void {
  output(program, args);
}

/** The same, and gives what it printed. */
export function output(program: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): string {
  const { error, status, signal, stdout, stderr } = spawnSync(program, args, {
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "pipe"],
    encoding: "utf8",
    maxBuffer: 1 << 28,
  });
  if (error) throw error;
  if (status === 0) return stdout;
  const said = `${stdout}${stderr}`.slice(-8000);
  throw new Error(`${program} ${args.join(" ")} ended with ${signal ?? status}:\n${said}`);
}
