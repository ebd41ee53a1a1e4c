import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import { ALL_KINDS } from "../src/asset.ts";

const source = fileURLToPath(new URL("../src", import.meta.url));

/** From the edge to the core (docs/architecture.md). A file imports from its own folder and from later layers only. */
const LAYERS = [
  ["launch.ts"],
  ["main.ts"],
  ["cnitool.ts", "kube-watch.ts", "oci.ts"],
  ["kube-watch/"],
  ["cli.ts"],
  ["help.ts", "commands/"],
  ["commands.ts", "trace.ts"],
  ["watch/"],
  ["report.ts", "diff.ts", "options.ts"],
  ["option-types.ts"],
  ["status/", "apply/", "engine/", "routes/"],
  ["serve/", "kinds/"],
  ["oci/"],
  ["network/"],
  ["node/"],
  ["host/", "template/", "cni/", "cluster/", "cri/"],
  ["secrets.ts"],
  ["secrets/"],
  ["system/"],
  ["errors.ts", "world.ts"],
  ["finding.ts"],
  ["codes.ts", "asset.ts"],
];

/** Modules that decide and never touch a file: pure core, effects at the edge. */
const PURE = [
  "asset.ts",
  "apply/plan.ts",
  "kinds/kind.ts",
  "kinds/lists.ts",
  "kinds/owners.ts",
  "kinds/missing-source.ts",
  "kinds/manifest-results.ts",
  "template/pointer.ts",
  "template/variables.ts",
  "cluster/json.ts",
  "cluster/manifest.ts",
  "cluster/yaml.ts",
  "cluster/object.ts",
  "cluster/managed-fields.ts",
  "cluster/unsettled.ts",
  "node/merge-chain.ts",
  "node/chain-edit.ts",
  "cni/command.ts",
  "cni/config.ts",
  "cni/references.ts",
  "cni/error.ts",
  "cni/ip.ts",
  "cni/request.ts",
  "cni/result.ts",
  "cni/plugin-keys.ts",
  "cni/reference-plugins.ts",
  "cni/json.ts",
  "cni/version.ts",
  "cni/listing.ts",
  "cni/selection.ts",
  "status/text.ts",
  "network/precheck.ts",
  "engine/hooks.ts",
  "oci/call.ts",
  "oci/hints.ts",
  "oci/request.ts",
  "oci/spec.ts",
  "routes/plan.ts",
  "routes/prefix.ts",
  "diff.ts",
  "trace.ts",
  "secrets.ts",
  "secrets/names.ts",
  "secrets/prose.ts",
  "secrets/tree.ts",
  "commands.ts",
  "help.ts",
  "options.ts",
  "system/json.ts",
  "system/path.ts",
  "system/text-position.ts",
  "system/style.ts",
  "system/text.ts",
  "system/owner.ts",
  "system/yaml.ts",
  "system/search.ts",
];

const files = readdirSync(source, { recursive: true, encoding: "utf8" }).filter((path) => path.endsWith(".ts"));

interface Import {
  name: string;
  typeOnly: boolean;
  /** Loaded when it is needed only. */
  lazy: boolean;
}

function importsOf(file: string): Import[] {
  const text = readFileSync(join(source, file), "utf8");
  const found = text.matchAll(/(?:^|\n)(?:import|export)\s+(type\s)?[^;]*?from\s+"([^"]+)"|import\("([^"]+)"\)/gu);
  return Array.from(found, ([, type, from, lazily]) => ({
    name: from ?? lazily ?? "",
    typeOnly: type !== undefined,
    lazy: lazily !== undefined,
  }));
}

function layerOf(file: string): number {
  return LAYERS.findIndex((names) =>
    names.some((name) => file === name || (name.endsWith("/") && file.startsWith(name))),
  );
}

function folderOf(file: string): string {
  return dirname(file) === "." ? file : (file.split("/")[0] ?? "");
}

test("every source file belongs to a layer", () => {
  assert.deepEqual(
    files.filter((file) => layerOf(file) === -1),
    [],
  );
});

test("imports point from the edge to the core, and never across from one folder of a layer to another", () => {
  const wrong = files.flatMap((file) =>
    importsOf(file)
      .filter(({ name }) => name.startsWith("."))
      .map(({ name }) => normalize(join(dirname(file), name)))
      .filter((imported) => folderOf(imported) !== folderOf(file) && layerOf(imported) <= layerOf(file))
      .map((imported) => `${file} imports ${imported}`),
  );
  assert.deepEqual(wrong, []);
});

test("the pure modules import no file system, process or network", () => {
  const allowed = new Set(["jsonc-parser", "diff", "valibot", "yaml"]);
  const wrong = PURE.flatMap((file) =>
    importsOf(file)
      .filter(({ name, typeOnly }) => !typeOnly && !name.startsWith(".") && !allowed.has(name))
      .map(({ name }) => `${file} imports ${name}`),
  );
  assert.deepEqual(wrong, []);
});

test("what depends on a kind of assets is a property of the kind: no other module compares with its name", () => {
  const names = ALL_KINDS.join("|");
  const comparison = new RegExp(`(?:[!=]==|case) "(?:${names})"`, "u");
  const found = files.filter((file) => !file.startsWith("kinds/"));
  assert.deepEqual(
    found.filter((file) => comparison.test(readFileSync(join(source, file), "utf8"))),
    [],
  );
});

test("cni is a library of its own: it imports nothing of ours but errors and the ground floor", () => {
  const wrong = files
    .filter((file) => file.startsWith("cni/"))
    .flatMap((file) => importsOf(file).map(({ name }) => name))
    .filter((name) => name.startsWith("../") && name !== "../errors.ts" && !name.startsWith("../system/"));
  assert.deepEqual(wrong, []);
});

test("the client of container runtimes is loaded only where one is asked", () => {
  const wrong = files
    .filter((file) => folderOf(file) !== "cri")
    .flatMap((file) =>
      importsOf(file)
        .filter(({ typeOnly, lazy }) => !typeOnly && !lazy)
        .filter(({ name }) => name.includes("/cri/") || name.startsWith("@grpc/") || name.startsWith("protobufjs"))
        .map(({ name }) => `${file} imports ${name}`),
    );
  assert.deepEqual(wrong, []);
});
