/** What a run with `--output=json` printed, held to the schema. */
import assert from "node:assert/strict";
import * as fs from "node:fs";

import { Ajv2020 } from "ajv/dist/2020.js";

import type { Ran } from "./node.ts";

const SCHEMA = JSON.parse(
  fs.readFileSync(new URL("../../docs/schemas/report.json", import.meta.url), "utf8"),
) as object;

/** The schema lets later versions add fields; what is printed now has only those that it names. */
const isReport = new Ajv2020({ strict: true }).compile(closed(SCHEMA) as object);

function closed(schema: unknown): unknown {
  if (typeof schema !== "object" || schema === null) return schema;
  if (Array.isArray(schema)) return schema.map(closed);
  const parts = Object.fromEntries(Object.entries(schema).map(([key, part]) => [key, closed(part)]));
  return "properties" in schema ? { ...parts, additionalProperties: false } : parts;
}

/** What a run printed, which must be one object that the schema allows and that tells the exit code. */
export function reportOf({ stdout, exitCode }: Ran): Record<string, unknown> {
  assert.match(stdout, /^\{.*\}\n$/u, "one object on one line");
  const report = JSON.parse(stdout) as Record<string, unknown>;
  assert.ok(isReport(report), `${JSON.stringify(isReport.errors)}\n${stdout}`);
  assert.equal(report["exitCode"], exitCode);
  return report;
}
