/** The two logs of docker-cni's configuration. Nothing fails because a log cannot be written. */
import * as fs from "node:fs";

import { reasonOf } from "../errors.ts";
import { mask } from "../secrets.ts";
import { isLogged, type Level, type OciConfig } from "./config.ts";

export interface OciLog {
  /** A line of the log of `log_driver`. */
  say: (level: Level, text: string) => void;
  /** What `cni_log` is for: all that a hook prints. */
  print: (text: string) => void;
}

/** @param part `oci` or `hook`. @param onProblem is told why a log cannot be written, once each. */
export function openOciLog(
  { log, level: limit, hookLog }: Pick<OciConfig, "log" | "level" | "hookLog">,
  part: "oci" | "hook",
  onProblem: (problem: string) => void,
): OciLog {
  const broken = new Set<string>();
  const append = (path: string | undefined, line: string): void => {
    if (path === undefined || broken.has(path)) return;
    try {
      appendTo(path, line);
    } catch (error) {
      broken.add(path);
      onProblem(`${path}: the log cannot be written: ${reasonOf(error)}`);
    }
  };
  return {
    say: (level, text) => {
      if (isLogged(level, limit)) append(log, `${lineOf(level, `[${part}] ${mask(text)}`)}\n`);
    },
    print: (text) => {
      append(hookLog, text.endsWith("\n") ? text : `${text}\n`);
    },
  };
}

/** As logrus writes it into files. */
export function lineOf(level: Level, text: string): string {
  return `time=${JSON.stringify(timestamp())} level=${level} msg=${JSON.stringify(text)}`;
}

/** RFC 3339, without fractions of a second. */
export function timestamp(): string {
  return new Date().toISOString().replace(/\.\d+Z$/u, "Z");
}

/** Opening a FIFO that nobody reads would wait. */
function appendTo(path: string, text: string): void {
  const { O_WRONLY, O_APPEND, O_CREAT, O_NONBLOCK, O_NOCTTY } = fs.constants;
  const descriptor = fs.openSync(path, O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK | O_NOCTTY, 0o600);
  try {
    fs.writeSync(descriptor, text);
  } finally {
    fs.closeSync(descriptor);
  }
}
