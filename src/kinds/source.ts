/** Where the texts of templates and manifests come from: a directory and, in front of it, texts from ConfigMaps. */
import * as fs from "node:fs";
import { basename, dirname, join } from "node:path";

import { Failure, isSystemError, systemFailure } from "../errors.ts";
import { readFile, SIZE_LIMITS } from "../system/read.ts";
import { visible } from "../system/text.ts";
import { didYouMean } from "./missing-source.ts";

/** Texts by the names of their assets. A name in it wins over a file of the directory. */
export interface Texts {
  /** `from`: `ConfigMap kube-system/templates`. `isFinal`: it is written as it is, even if it looks like a template. */
  byName: ReadonlyMap<string, { text: string; from: string; isFinal?: true }>;
  /** Everything that was looked at, even if it has no text. */
  from: readonly string[];
}

/** So many names fit into a message. */
const MOST_NAMES = 20;

/** The sources of one kind. */
export class Source {
  readonly #directory: string;
  readonly #texts: Texts;

  constructor(directory: string, texts: Texts = { byName: new Map(), from: [] }) {
    this.#directory = directory;
    this.#texts = texts;
  }

  /** What a text is called for people: `/etc/cni/net.d/a.conflist`, `ConfigMap kube-system/templates: a.conflist`. */
  nameOf(name: string): string {
    const from = this.#texts.byName.get(name)?.from;
    return from === undefined ? join(this.#directory, name) : `${from}: ${name}`;
  }

  has(name: string): boolean {
    return this.#texts.byName.has(name) || fs.existsSync(join(this.#directory, name));
  }

  /** Is this text to be written as it is? */
  isFinal(name: string): boolean {
    return this.#texts.byName.get(name)?.isFinal === true;
  }

  /** @param readPath reads the file, if it is one. Errors are its own. */
  read(name: string, limit: number, readPath: (path: string) => Buffer): Buffer {
    const text = this.#texts.byName.get(name)?.text;
    const bytes = text === undefined ? readPath(join(this.#directory, name)) : Buffer.from(text);
    if (text === undefined || bytes.length <= limit) return bytes;
    throw new Failure({
      code: "file-too-large",
      subject: this.nameOf(name),
      problem: `it is larger than ${limit / 1024 / 1024} MiB`,
    });
  }

  /**
   * `source-missing`, with what to do about it.
   *
   * @param holds what the source holds, in the plural. @param option the option that names the directory.
   */
  missing(name: string, problem: string, holds: string, option: string): Failure {
    const subject = this.nameOf(name);
    return new Failure({ code: "source-missing", subject, problem, hint: this.#hint(name, holds, option) });
  }

  #hint(name: string, holds: string, option: string): string {
    const path = join(this.#directory, name);
    const files = fileNames(dirname(path));
    const { from, byName } = this.#texts;
    const texts = from.map((one) => {
      const names = [...byName].filter(([, text]) => text.from === one).map(([key]) => key);
      return `${one} has ${listed(names.toSorted())}`;
    });
    if (files.length === 0 && texts.length === 0) return `mount the ${holds} and name their directory with ${option}`;
    const meant = didYouMean([basename(path)], [...files, ...byName.keys()]);
    const there = [...texts, `${dirname(path)} has ${listed(files)}`].join(", ");
    return `${meant}${there}; ${option} names another directory`;
  }
}

/**
 * Reads a template.
 *
 * @throws Failure `source-missing`, `not-text`, `not-a-file`, `file-too-large`, and errors of the system.
 */
export function readTemplate(source: Source, name: string): string {
  const path = source.nameOf(name);
  const options = { attempt: "the template cannot be read" };
  try {
    const limit = SIZE_LIMITS.template;
    return decoded(
      path,
      source.read(name, limit, (file) => readFile(file, limit, options)),
    );
  } catch (error) {
    if (isSystemError(error, "ENOENT", "ENOTDIR", "ELOOP")) {
      throw source.missing(name, "there is no such template", "templates", "--config-source");
    }
    throw systemFailure(path, "the template cannot be read", error);
  }
}

/** @param path for messages. @throws Failure `not-text`. */
export function decoded(path: string, bytes: Buffer): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    throw new Failure({ code: "not-text", subject: path, problem: "is not UTF-8 text", cause: error });
  }
}

function listed(names: readonly string[]): string {
  if (names.length === 0) return "none";
  const more = names.length > MOST_NAMES ? ` and ${names.length - MOST_NAMES} more` : "";
  return `${names.slice(0, MOST_NAMES).join(", ")}${more}`;
}

function fileNames(directory: string): string[] {
  try {
    const entries = fs.readdirSync(directory, { withFileTypes: true });
    const files = entries.filter((entry) => !entry.isDirectory() && !entry.name.startsWith("."));
    return files.map(({ name }) => visible(name)).toSorted();
  } catch {
    return [];
  }
}
