/**
 * What lies on a node, and what an API server answers, made up at random from what cni-node itself would write: after
 * each run nothing outside the target directories has changed, and nothing of a file's content has been printed.
 */
import * as fs from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

import * as fc from "fast-check";

import { Failure } from "../../src/errors.ts";
import { resolveTarget } from "../../src/network/target.ts";
import { conflist, TestNode, type Ran } from "../helpers/node.ts";
import { ABSENT, RESOURCES } from "../helpers/api-answers.ts";
import { SEED } from "../helpers/random.ts";
import { differencesOf, snapshotOf } from "../helpers/state.ts";

/** What must not be printed: it is the content of files that nobody has given to cni-node. */
const SECRET = "s3cr3t-c0nt3nt";

/** What is printed on purpose, by its key: names of assets, networks and containers, owners, plugins, CNI versions. */
const PRINTED = new Set(
  "name kind owners type types cniVersion networkName containerId ifName netns sandbox cniArgs".split(" "),
);

/** Stands for nesting that is deeper than the stack. */
const NESTED = "nested without end";
const DEPTH = 50_000;

/** Values that somebody would try. */
const HOSTILE: fc.Arbitrary<unknown> = fc.oneof(
  fc.constantFrom(
    "../../important/f",
    "../../../../etc/important/f",
    "/etc/passwd",
    "..",
    ".",
    "",
    ".cni-node",
    "a\0b",
    "a\ncni-node: forged",
    "\u202egnp.conf",
    "x".repeat(300),
    "x".repeat(100_000),
    "0123456789abcdef",
    "__10-net.conflist__",
    "$(touch important/f)",
    SECRET,
    -1,
    0,
    1e308,
    2 ** 53,
    null,
    true,
    [],
    {},
    [[[[[[]]]]]],
  ),
  fc.jsonValue({ maxDepth: 3 }),
  fc.constant(NESTED),
);

/** A change to a value: at a node of it, counted in the order in which it is written. */
interface Mutation {
  at: number;
  how: "replace" | "remove" | "double" | "rename";
  value: unknown;
}

const MUTATIONS: fc.Arbitrary<Mutation[]> = fc.array(
  fc.record({
    at: fc.nat(200),
    how: fc.constantFrom(
      "replace" as const,
      "replace" as const,
      "remove" as const,
      "double" as const,
      "rename" as const,
    ),
    value: HOSTILE,
  }),
  { minLength: 1, maxLength: 4 },
);

/** What is done to the text, after its value has been changed. */
const DAMAGE = fc.oneof(
  { weight: 6, arbitrary: fc.constant("none" as const) },
  { weight: 1, arbitrary: fc.constantFrom("cut" as const, "bytes" as const, "secret" as const, "empty" as const) },
);

function mutate(value: unknown, mutations: readonly Mutation[]): unknown {
  const root: Record<string, unknown> = { value: structuredClone(value) };
  for (const { at, how, value: hostile } of mutations) {
    const places: { holder: Record<string, unknown>; key: string; isPrinted: boolean }[] = [];
    /** @param name the key of the list that it is in. */
    const visit = (holder: Record<string, unknown>, depth: number, name = ""): void => {
      for (const key of Object.keys(holder)) {
        const named = Array.isArray(holder) ? name : key;
        places.push({ holder, key, isPrinted: PRINTED.has(named) });
        const part = holder[key];
        if (typeof part !== "object" || part === null || depth >= 50) continue;
        visit(part as Record<string, unknown>, depth + 1, named);
      }
    };
    visit(root, 0);
    const { holder, key, isPrinted } = places[at % places.length] ?? { holder: root, key: "value", isPrinted: false };
    // A copy: a later mutation inside it must not change, or close a circle in, the constant that all trials share.
    if (how === "replace") holder[key] = hostile === SECRET && isPrinted ? "printed" : structuredClone(hostile);
    // Keys are no content: a finding may name one.
    else if (how === "rename")
      holder[typeof hostile === "string" && hostile !== SECRET ? hostile : "later"] = holder[key];
    else if (how === "remove" && holder !== root && !Array.isArray(holder)) Reflect.deleteProperty(holder, key);
    else if (Array.isArray(holder)) holder.push(structuredClone(holder[Number(key)]));
  }
  return root["value"];
}

function textOf(value: unknown): string {
  const text = (JSON.stringify(value) as string | undefined) ?? "null";
  return text.replaceAll(JSON.stringify(NESTED), `${"[".repeat(DEPTH)}"${SECRET}"${"]".repeat(DEPTH)}`);
}

function damaged(text: string, damage: string): string | Buffer {
  if (damage === "cut") return text.slice(0, text.length / 2);
  if (damage === "bytes")
    return Buffer.concat([Buffer.from(text.slice(0, 20)), Buffer.from([0xff, 0, 0xfe]), Buffer.from(text.slice(20))]);
  if (damage === "secret") return `root:${SECRET}:0:0\n`;
  return damage === "empty" ? "" : text;
}

const COMMANDS = [
  ["install", "--plugins=bridge,ptp", "--configs=10-net.conflist"],
  ["install", "--plugins=ptp", "--configs=20-more.conflist", "--owner=other"],
  ["uninstall", "--plugins=bridge,ptp", "--configs=10-net.conflist"],
  ["apply", "--plugins=ptp", "--configs=20-more.conflist", "--prune", "--owner=cni-node"],
  ["plan", "--plugins=bridge", "--configs=10-net.conflist"],
  ["status"],
] as const;

/** A node with files on it, and things outside its target directories that nobody may touch. */
class FuzzedNode implements Disposable {
  readonly node = new TestNode();
  #before: Record<string, string> = {};

  private constructor() {
    const { node } = this;
    const outside = join(node.host, "etc/important");
    fs.mkdirSync(outside);
    fs.writeFileSync(join(outside, "f"), SECRET, { mode: 0o600 });
    fs.writeFileSync(join(node.bin, "bridge"), "#!/bin/sh\n: foreign\n", { mode: 0o755 });
    for (const name of ["bridge", "ptp"]) node.plugin(name);
    node.template("10-net.conflist", conflist("net", "bridge"));
    node.template("20-more.conflist", conflist("more", "ptp"));
  }

  /** From here on nothing outside may change. */
  begin(): void {
    this.#before = this.#outside();
  }

  static async make(): Promise<FuzzedNode> {
    const fuzzed = new FuzzedNode();
    const ran = await fuzzed.node.run(["install", "--plugins=bridge", "--configs=10-net.conflist"]);
    if (ran.exitCode !== 0) throw new Error(ran.stderr);
    return fuzzed;
  }

  #outside(): Record<string, string> {
    const names = Object.entries(snapshotOf(this.node.root));
    return Object.fromEntries(
      names.filter(([name]) => !/^\.\/host\/(?:opt\/cni\/bin|etc\/cni\/net\.d)(?:\/|$)/u.test(name)),
    );
  }

  async run(argv: readonly string[]): Promise<Ran> {
    const words = argv[0] === "status" ? [...argv, `--host-root=${this.node.host}`] : argv;
    return this.node.run(
      [...words, "--lock-timeout=1s", "--timeout=1s"].filter(
        (word) => argv[0] !== "status" || !/^--(?:lock-)?timeout/u.test(word),
      ),
    );
  }

  /**
   * @param isShown the content is what the run is about: a configuration that a plan changes, an answer of the API.
   * @throws when a promise is broken.
   */
  judge({ exitCode, stdout, stderr }: Ran, isShown = false): void {
    const changed = differencesOf(this.#before, this.#outside());
    if (changed.length > 0) throw new Error(`changed outside: ${changed.join("; ")}`);
    if (![0, 1, 3, 4].includes(exitCode)) throw new Error(`ended with ${exitCode}: ${stderr}`);
    if (stderr.includes("this is a defect")) throw new Error(stderr);
    if (!isShown && `${stdout}${stderr}`.includes(SECRET)) throw new Error(`content in output: ${stdout}${stderr}`);
    if (/^cni-node: forged/mu.test(stderr)) throw new Error(`a forged line: ${stderr}`);
  }

  [Symbol.dispose](): void {
    this.node[Symbol.dispose]();
  }
}

/** A file whose content is made up from a model. */
const FILES: Record<string, (node: TestNode) => { path: string; model: unknown }> = {
  record: (node) => modelOf(join(node.netd, ".cni-node/record.json")),
  "record of plugins": (node) => modelOf(join(node.bin, ".cni-node/record.json")),
  journal: (node) => {
    const { path, model } = modelOf(join(node.netd, ".cni-node/record.json"));
    const { directory, assets } = model as { directory: string; assets: { name: string }[] };
    const changes = [{ name: assets[0]?.name, phase: "add", before: null, after: "0123456789abcdef" }];
    const directories = [{ id: directory, path: node.netd }];
    return {
      path,
      model: { ...(model as object), pending: { run: "0123456789abcdef", directories, changes, assets } },
    };
  },
  "attachment of a runtime": (node) => ({
    path: join(node.host, "var/lib/cni/results/net-0123-eth0"),
    model: {
      kind: "cniCacheV1",
      containerId: "0123",
      config: Buffer.from(conflist("net", "bridge")).toString("base64"),
      ifName: "eth0",
      networkName: "net",
      netns: "/run/netns/gone",
      cniArgs: [["K8S_POD_NAME", "a"]],
      capabilityArgs: { portMappings: [] },
      result: { cniVersion: "1.0.0", interfaces: [{ name: "eth0", sandbox: "/run/netns/gone" }], ips: [] },
    },
  }),
  "attachment of Multus": (node) => ({
    path: join(node.host, "var/lib/cni/multus/0123"),
    model: [{ Conf: { type: "bridge", name: "net" }, ConfList: { plugins: [{ type: "ptp" }] } }],
  }),
  configuration: (node) => modelOf(join(node.netd, "10-net.conflist")),
};

function modelOf(path: string): { path: string; model: unknown } {
  return { path, model: JSON.parse(fs.readFileSync(path, "utf8")) as unknown };
}

/**
 * Makes up files on a node.
 *
 * @throws with the seed and the smallest example when a promise is broken.
 */
export async function fuzzFiles(runs: number): Promise<void> {
  const trial = fc.asyncProperty(
    fc.constantFrom(...Object.keys(FILES)),
    MUTATIONS,
    DAMAGE,
    fc.array(fc.constantFrom(...COMMANDS), { minLength: 1, maxLength: 2 }),
    async (file, mutations, damage, commands) => {
      using fuzzed = await FuzzedNode.make();
      const { path, model } = FILES[file]?.(fuzzed.node) ?? { path: "", model: {} };
      fs.mkdirSync(dirname(path), { recursive: true });
      fs.writeFileSync(path, damaged(textOf(mutate(model, mutations)), damage), { mode: 0o600 });
      fuzzed.begin();
      for (const command of commands) {
        fuzzed.judge(await fuzzed.run(command), file === "configuration" && command[0] === "plan");
      }
    },
  );
  await fc.assert(trial, { numRuns: runs, seed: SEED });
}

const MANIFEST = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {k: v}\n";
const OBJECT = {
  apiVersion: "v1",
  kind: "ConfigMap",
  metadata: {
    name: "a",
    namespace: "default",
    uid: "1-2-3",
    resourceVersion: "1",
    managedFields: [
      { manager: "cni-node", operation: "Apply", apiVersion: "v1", fieldsV1: { "f:data": { "f:k": {} } } },
    ],
  },
  data: { k: "old" },
};
interface Answer {
  status: number;
  mutations: Mutation[];
  damage: string;
  retryAfter: string | undefined;
}

/**
 * Makes up the answers of an API server.
 *
 * @throws with the seed and the smallest example when a promise is broken.
 */
export async function fuzzAnswers(runs: number): Promise<void> {
  const answer: fc.Arbitrary<Answer> = fc.record({
    status: fc.constantFrom(200, 200, 200, 201, 404, 409, 403, 422, 429, 500, 301, 101, 999),
    mutations: fc.oneof(fc.constant<Mutation[]>([]), MUTATIONS),
    damage: DAMAGE,
    retryAfter: fc.constantFrom(undefined, undefined, "-1", "0", "1e9", "soon"),
  });
  const trial = fc.asyncProperty(
    fc.array(answer, { minLength: 1, maxLength: 6 }),
    fc.constantFrom("install", "uninstall"),
    async (answers, verb) => {
      using fuzzed = await FuzzedNode.make();
      const { node } = fuzzed;
      node.manifest("a.yaml", MANIFEST);
      const server = await serve(answers);
      try {
        const kubeconfig = join(node.root, "kubeconfig");
        const cluster = { server: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
        fs.writeFileSync(
          kubeconfig,
          JSON.stringify({
            clusters: [{ name: "a", cluster }],
            contexts: [{ name: "a", context: { cluster: "a", user: "" } }],
            "current-context": "a",
          }),
        );
        fuzzed.begin();
        const lists = ["--manifests=a.yaml", "--configs=20-more.conflist", "--plugins=ptp"];
        fuzzed.judge(await fuzzed.run([verb, ...lists, `--kubeconfig=${kubeconfig}`]), true);
      } finally {
        server.closeAllConnections();
        server.close();
      }
    },
  );
  await fc.assert(trial, { numRuns: runs, seed: SEED });
}

/** Answers one after the other, and begins again. */
async function serve(answers: readonly Answer[]): Promise<Server> {
  let count = 0;
  const server = createServer((request, response) => {
    request.resume();
    const { status, mutations, damage, retryAfter } = answers[count++ % answers.length] as Answer;
    const isDiscovery = /^\/apis?(?:\/[^/]+)?(?:\/v1)?(?:\?|$)/u.test(request.url ?? "");
    const model = status >= 400 ? ABSENT : isDiscovery ? RESOURCES : OBJECT;
    try {
      response.writeHead(status, {
        "Content-Type": "application/json",
        ...(retryAfter && { "Retry-After": retryAfter }),
      });
      response.end(damaged(textOf(mutate(model, mutations)), damage));
    } catch {
      response.destroy();
    }
  });
  server.listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  return server;
}

const ID = "0123456789abcdef";

/** The files in which container runtimes keep their containers, and the TARGET that is looked up in them. */
const STATES: readonly { target: string; path: string; model: unknown }[] = [
  {
    target: "docker:web",
    path: `var/lib/docker/containers/${ID}/config.v2.json`,
    model: { ID, Name: "/web", State: { Running: true, Pid: 1 } },
  },
  { target: "docker:web", path: "etc/docker/daemon.json", model: { "data-root": "/var/lib/docker" } },
  {
    target: "podman:web",
    path: "var/lib/containers/storage/overlay-containers/containers.json",
    model: [{ id: ID, names: ["web"] }],
  },
  {
    target: "runc:web",
    path: "run/runc/web/state.json",
    model: { id: "web", init_process_pid: 1, init_process_start: 1 },
  },
  { target: "runc:web", path: "run/crun/web/status", model: { pid: 1, "process-start-time": 1 } },
];

/**
 * Makes up the state files of container runtimes.
 *
 * @throws with the seed and the smallest example when a promise is broken.
 */
export function fuzzStates(runs: number): void {
  const trial = fc.property(fc.constantFrom(...STATES), MUTATIONS, DAMAGE, (state, mutations, damage) => {
    const root = fs.mkdtempSync(join(tmpdir(), "cni-node-test-"));
    try {
      const path = join(root, state.path);
      fs.mkdirSync(dirname(path), { recursive: true });
      fs.writeFileSync(path, damaged(textOf(mutate(state.model, mutations)), damage));
      const before = snapshotOf(root);
      lookUp(state.target, root);
      const changed = differencesOf(before, snapshotOf(root));
      if (changed.length > 0) throw new Error(`changed: ${changed.join("; ")}`);
    } finally {
      fs.rmSync(root, { recursive: true });
    }
  });
  fc.assert(trial, { numRuns: runs, seed: SEED });
}

/** A container is found, or it is said why not. */
function lookUp(target: string, root: string): void {
  try {
    const { netns, containerId } = resolveTarget(target, { root, wrapper: [] }, join(root, "var/lib/cni"));
    if (!/^\/proc\/\d+\/ns\/net$/u.test(netns)) throw new Error(`a namespace at ${netns}`);
    if (!/^[A-Za-z0-9][A-Za-z0-9_.-]*$/u.test(containerId)) throw new Error(`a container called ${containerId}`);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    if (`${error.message}${error.hint ?? ""}`.includes(SECRET))
      throw new Error(`content in ${error.message}`, { cause: error });
  }
}
