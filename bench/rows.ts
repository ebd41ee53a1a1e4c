/** What is measured. */
import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { cannotStart } from "../test/cluster/cluster.ts";
import { cannotMount, Namespace } from "../test/helpers/namespace.ts";
import { REFERENCE_PLUGINS } from "../test/helpers/network.ts";
import { BUNDLE } from "../test/helpers/node.ts";
import { ApiServer } from "./api-server.ts";
import { findCnitool } from "./cnitool/build.ts";
import { containerRows } from "./containers.ts";
import { ManyNodes } from "./nodes.ts";
import { Watched, WITH_DELEGATE } from "./watch.ts";
import { execute, peakOf, scratch, type Command, type Row, type Way } from "./measure.ts";

const ORIGINAL = join(import.meta.dirname, "original.sh");
const FEW = ["bridge", "host-local", "loopback", "portmap", "tuning"];
const NODE = process.execPath;
const NOTHING: Way = { name: "node -e 0", run: [[NODE, "-e", "0"]] };
const MILLION = 1e6;
const STARTS = "the start of Node.js";

/** All rows; nothing is prepared before a row is measured. */
export function makeRows(): { rows: Row[]; notes: string[] } {
  const root = scratch(tmpdir());
  const all = fs.readdirSync(REFERENCE_PLUGINS).filter((name) => !name.startsWith("."));
  const notes = [`Files are on ${execFileSync("stat", ["-fc%T", root], { encoding: "utf8" }).trim()}.`];
  if (cannotMount !== false) notes.push(`The rows network and routes ${cannotMount}.`);
  const rows = [
    ...startRows(),
    ...pluginRows(root, all),
    configRow(root),
    ...(cannotMount === false ? [networkRow(root)] : []),
    ...growthRows(root),
    statusRow(root),
    ...manifestRows(root),
    memoryRow(root, all),
    ...watchRows(root),
    ...containerRows(root),
    ...(cannotMount === false && cannotStart === false ? routesRows() : []),
  ];
  return { rows, notes };
}

/** The directories of a node, empty. */
class Place {
  readonly host: string;
  readonly bin: string;
  readonly netd: string;
  readonly templates: string;
  readonly plugins: string;

  constructor(root: string, name: string) {
    this.host = join(root, name);
    this.bin = join(this.host, "opt/cni/bin");
    this.netd = join(this.host, "etc/cni/net.d");
    this.templates = join(this.host, "image/templates");
    this.plugins = join(this.host, "image/plugins");
    for (const directory of [this.bin, this.netd, this.templates, this.plugins]) {
      fs.mkdirSync(directory, { recursive: true });
    }
  }

  /** A command line of ours on it. @param source of the plugins; its own if not given. */
  command(words: Command, source = this.plugins): Command {
    const places = [`--plugin-source=${source}`, `--config-source=${this.templates}`, `--host-root=${this.host}`];
    return [NODE, BUNDLE, ...words, ...places];
  }

  /** Makes plugins that are scripts. */
  scripts(directory: string, names: readonly string[]): void {
    const answer = '{"cniVersion":"1.0.0","supportedVersions":["0.4.0","1.0.0"]}';
    for (const name of names) {
      fs.writeFileSync(join(directory, name), `#!/bin/sh\n# ${name}\necho '${answer}'\n`, { mode: 0o755 });
    }
  }
}

function emptied(directory: string): void {
  fs.rmSync(directory, { recursive: true });
  fs.mkdirSync(directory);
}

function startRows(): Row[] {
  const limit = `${STARTS}, then finding and compiling our files`;
  const source = `--plugin-source=${REFERENCE_PLUGINS}`;
  return [
    { name: "method", work: "measuring", ways: () => [{ name: "true", run: [["true"]] }], limit: "starting a process" },
    { name: "version", work: "`version`", ways: () => [ours("version"), NOTHING], limit },
    { name: "help", work: "`--help`", ways: () => [ours("--help"), NOTHING], limit },
    {
      name: "list",
      work: "`list` of the plugins in the image",
      ways: () => [ours("list", source), NOTHING, { name: "original", run: [[ORIGINAL, "list", REFERENCE_PLUGINS]] }],
      limit,
    },
  ];
}

function ours(...words: string[]): Way {
  return { name: "cni-node", run: [[NODE, BUNDLE, ...words]] };
}

function pluginRows(root: string, all: readonly string[]): Row[] {
  const again = (name = "again"): { place: Place; install: Command } => {
    const place = new Place(root, name);
    const install = place.command(["install", `--plugins=${all.join()}`], REFERENCE_PLUGINS);
    execFileSync(install[0] ?? "", install.slice(1), { stdio: "ignore" });
    return { place, install };
  };
  return [
    firstRow(root, "plugins-first", all),
    firstRow(root, "plugins-first-few", FEW),
    {
      name: "plugins-again",
      work: `install of ${all.length} plugins with nothing to do`,
      ways: () => {
        // The original writes all files again: on a node of its own.
        const theirs = original(again("original").place, "plugins", REFERENCE_PLUGINS, all);
        return [{ name: "cni-node", run: [again().install] }, NOTHING, theirs];
      },
      limit: `${STARTS}, our files, looking at the record and each file`,
    },
    {
      name: "plugins-rewritten",
      work: "the same after all files were written again with equal content",
      ways: () => {
        const { place, install } = again();
        const rewrite = (): void => {
          for (const name of all) {
            fs.copyFileSync(join(REFERENCE_PLUGINS, name), join(place.bin, ".new"));
            fs.renameSync(join(place.bin, ".new"), join(place.bin, name));
          }
        };
        const rewriteAndRun = async (): Promise<void> => {
          rewrite();
          await execute(install);
        };
        const files = all.map((name) => join(place.bin, name));
        return [
          { name: "the first run", prepare: rewrite, run: [install] },
          { name: "the second run", prepare: rewriteAndRun, run: [install] },
          { name: "sha256sum", run: [["sha256sum", ...files]] },
        ];
      },
      limit: "reading the files once",
    },
  ];
}

function firstRow(root: string, name: string, plugins: readonly string[]): Row {
  const sources = plugins.map((plugin) => join(REFERENCE_PLUGINS, plugin));
  const size = sources.reduce((sum, path) => sum + fs.statSync(path).size, 0);
  return {
    name,
    work: `first install of ${plugins.length} plugins, ${(size / MILLION).toFixed(0)} MB`,
    ways: () => {
      const place = new Place(root, name);
      const prepare = (): void => emptied(place.bin);
      const copy: Command = ["cp", ...sources, place.bin];
      const sync: Command = ["sync", "-f", place.bin];
      const sum: Command = ["sha256sum", ...plugins.map((plugin) => join(place.bin, plugin))];
      const install = place.command(["install", `--plugins=${plugins.join()}`], REFERENCE_PLUGINS);
      return [
        { name: "cni-node", prepare, run: [install] },
        { name: "cp, sync, sha256sum", prepare, run: [copy, sync, sum] },
        { name: "cp, sync", prepare, run: [copy, sync] },
        { ...original(place, "plugins", REFERENCE_PLUGINS, plugins), prepare },
        NOTHING,
      ];
    },
    limit: "copying, hashing, syncing, and running what the proof runs",
  };
}

function original(place: Place, what: "plugins" | "configs", source: string, names: readonly string[]): Way {
  const target = what === "plugins" ? place.bin : place.netd;
  return { name: "original", run: [["bash", ORIGINAL, what, source, target, ...names]] };
}

function configRow(root: string): Row {
  const names = ["05-a.conf", "06-b.conf", "07-c.conf"];
  return {
    name: "configs",
    work: "first install of 3 configs with pointers",
    ways: () => {
      const place = new Place(root, "configs");
      place.scripts(place.bin, ["bridge", "host-local", "multus-cni"]);
      const primary = join(place.netd, "10-calico.conf");
      fs.writeFileSync(primary, JSON.stringify(networkOf("calico")));
      for (const name of names) {
        const text = `{"cniVersion": "1.0.0", "name": "${name}", "type": "multus-cni", "delegates": [\n  __10-calico.conf__\n]}\n`;
        fs.writeFileSync(join(place.templates, name), text);
      }
      const prepare = (): void => {
        fs.rmSync(join(place.netd, ".cni-node"), { recursive: true, force: true });
        for (const name of names) fs.rmSync(join(place.netd, name), { force: true });
      };
      return [
        { name: "cni-node", prepare, run: [place.command(["install", `--configs=${names.join()}`])] },
        { ...original(place, "configs", place.templates, names), prepare },
        NOTHING,
      ];
    },
    limit: `${STARTS}, our files, asking the plugins for their versions, syncing`,
  };
}

function networkOf(name: string): object {
  return { cniVersion: "1.0.0", name, type: "bridge", ipam: { type: "host-local", subnet: "10.9.0.0/24" } };
}

function networkRow(root: string): Row {
  return {
    name: "network",
    work: "`network add` and `network del` of bridge with host-local",
    ways: async () => {
      const place = new Place(root, "network");
      const { cniVersion, name, ...plugin } = { ...networkOf("net"), cniVersion: "1.0.0", name: "net" };
      fs.writeFileSync(join(place.netd, "10-net.conflist"), JSON.stringify({ cniVersion, name, plugins: [plugin] }));
      const script = "mount -t tmpfs none /run\nmount -t tmpfs none /var/lib\nmkdir /run/netns\nip netns add one";
      const host = await Namespace.make(script, { pid: true, net: true });
      const there = (...command: string[]): Command => ["nsenter", ...host.entrance, ...command];
      const options = ["--host-root=/", `--config-dir=${place.netd}`, `--plugin-dir=${REFERENCE_PLUGINS}`];
      const own = (verb: string): Command => there(NODE, BUNDLE, "network", verb, "net", "one", ...options);
      const cnitool = join(findCnitool(), "cnitool");
      const env = { CNI_PATH: REFERENCE_PLUGINS, NETCONFPATH: place.netd };
      const tool = (verb: string): Command => there(cnitool, verb, "net", "/run/netns/one");
      const nothing = there(NODE, "-e", "0");
      return [
        { name: "cni-node", run: [own("add"), own("del")] },
        { name: "cnitool", run: [tool("add"), tool("del")], env },
        { name: "node -e 0, twice", run: [nothing, nothing] },
      ];
    },
    limit: `${STARTS} and our files, twice; the plugins`,
  };
}

function growthRows(root: string): Row[] {
  const limit = "what grows: each file is read and judged, each plugin is hashed and asked";
  const configs = (count: number): Way => {
    const place = new Place(root, `configs-${count}`);
    place.scripts(place.bin, ["bridge", "host-local"]);
    for (let index = 0; index < count; index++) {
      const name = `${String(index).padStart(5, "0")}.conf`;
      fs.writeFileSync(join(place.netd, name), JSON.stringify(networkOf(`n${index}`)));
    }
    fs.writeFileSync(join(place.templates, "99-new.conf"), JSON.stringify(networkOf("new")));
    return { name: String(count), run: [place.command(["plan", "--configs=99-new.conf"])] };
  };
  const plugins = (count: number): Way => {
    const place = new Place(root, `plugins-${count}`);
    const names = Array.from({ length: count }, (_, index) => `plugin-${index}`);
    place.scripts(place.plugins, names);
    return { name: String(count), run: [place.command(["plan", `--plugins=${names.join()}`])] };
  };
  return [
    {
      name: "plan-configs",
      work: "`plan` beside 10,000 files in net.d; 1,000; 100; 1",
      ways: () => [10_000, 1000, 100, 1].map(configs),
      limit,
      runs: 5,
    },
    {
      name: "plan-plugins",
      work: "`plan` of 200 plugins (scripts); 20; 1",
      ways: () => [200, 20, 1].map(plugins),
      limit,
      runs: 5,
    },
  ];
}

function withAttachments(root: string, count: number): Place {
  const place = new Place(root, `attachments-${count}`);
  const results = join(place.host, "var/lib/cni/results");
  fs.mkdirSync(results, { recursive: true });
  const config = Buffer.from(JSON.stringify(networkOf("net"))).toString("base64");
  const common = { kind: "cniCacheV1", config, ifName: "eth0", networkName: "net" };
  for (let index = 0; index < count; index++) {
    const value = { ...common, containerId: `c${index}`, netns: `/run/netns/c${index}` };
    fs.writeFileSync(join(results, `net-c${index}-eth0`), JSON.stringify(value));
  }
  return place;
}

function statusRow(root: string): Row {
  return {
    name: "status",
    work: "`status` of a node with 10,000 attachments",
    ways: () => {
      const [many, few] = [withAttachments(root, 10_000), withAttachments(root, 100)];
      const cat = `cat ${join(many.host, "var/lib/cni/results")}/*`;
      return [
        { name: "cni-node", run: [[NODE, ...statusOf(many)]], exitCode: 3 },
        { name: "100 attachments", run: [[NODE, ...statusOf(few)]], exitCode: 3 },
        { name: "cat of all", run: [["sh", "-c", cat]] },
      ];
    },
    limit: "reading and parsing each attachment",
    runs: 5,
  };
}

function manifestRows(root: string): Row[] {
  const count = 100;
  const prepared = async (name: string): Promise<{ server: ApiServer; install: Command; empty: () => void }> => {
    const place = new Place(root, name);
    const server = await ApiServer.start();
    const objects = Array.from({ length: count }, (_, index) => {
      const metadata = { name: `object-${index}`, namespace: "default" };
      return JSON.stringify({ apiVersion: "v1", kind: "ConfigMap", metadata, data: { key: String(index) } });
    });
    const manifest = join(place.templates, "objects.yaml");
    fs.writeFileSync(manifest, objects.map((object) => `---\n${object}\n`).join(""));
    const kubeconfig = join(place.host, "kubeconfig");
    const contexts = [{ name: "a", context: { cluster: "a", user: "" } }];
    const clusters = [{ name: "a", cluster: { server: server.url } }];
    fs.writeFileSync(kubeconfig, JSON.stringify({ clusters, contexts, "current-context": "a" }));
    const words = ["install", "--manifests=objects.yaml", `--manifest-source=${place.templates}`];
    const install = place.command([...words, `--kubeconfig=${kubeconfig}`]);
    const empty = (): void => {
      server.objects.clear();
      fs.rmSync(join(place.netd, ".cni-node"), { recursive: true, force: true });
    };
    return { server, install, empty };
  };
  return [
    {
      name: "manifests",
      work: `first install of a manifest of ${count} objects, and with nothing to do`,
      ways: async () => {
        const { server, install, empty } = await prepared("manifests");
        const script = `(async () => { for (let i = 0; i < 400; i++) await (await fetch("${server.url}/api/v1")).text(); })()`;
        return [
          { name: "cni-node", prepare: empty, run: [install] },
          { name: "nothing to do", run: [install] },
          { name: "400 requests one after the other", run: [[NODE, "-e", script]] },
          NOTHING,
        ];
      },
      limit: "four requests for each object, two if it is right already",
    },
    {
      name: "manifests-requests",
      work: "requests of the same",
      ways: async () => {
        const { server, install, empty } = await prepared("requests");
        const counted = async (): Promise<number> => {
          server.requests = 0;
          await execute(install);
          return server.requests;
        };
        return [
          { name: "cni-node", prepare: empty, run: counted },
          { name: "nothing to do", run: counted },
        ];
      },
      limit: "the API: look, try, look again, apply; look, try",
      unit: "requests",
      runs: 1,
    },
  ];
}

/** Rows that share a cluster, which takes a minute to make. */
function routesRows(): Row[] {
  const count = 5000;
  let started: Promise<ManyNodes> | undefined;
  const start = async (): Promise<ManyNodes> => (started ??= ManyNodes.start(count));
  const limit = "the API server, and the size of a Node: 9 KB";
  return [
    {
      name: "routes",
      work: `\`routes sync --masquerade\` with ${count} Nodes in kube-apiserver`,
      ways: async () => {
        const nodes = await start();
        return [
          { name: "cni-node", prepare: async () => nodes.remove(), run: [nodes.sync] },
          { name: "nothing to do", run: [nodes.sync] },
          { name: "kubectl get nodes -o json", run: [nodes.kubectl] },
        ];
      },
      limit,
      runs: 3,
    },
    {
      name: "routes-memory",
      work: "peak memory (RSS) of the same",
      ways: async () => {
        const nodes = await start();
        return [
          { name: "cni-node", run: async () => nodes.peak() },
          { name: "node -e 0", run: () => peakOf(["-e", "0"]) },
        ];
      },
      limit: "Node.js, and what is kept of each Node",
      unit: "MiB",
      runs: 3,
    },
    {
      name: "routes-requests",
      work: "requests of the same",
      ways: async () => {
        const nodes = await start();
        return [{ name: "cni-node", run: async () => nodes.requests() }];
      },
      limit: "the list is the beginning of one watch",
      unit: "requests",
      runs: 1,
    },
  ];
}

function statusOf({ host }: Place): Command {
  return [BUNDLE, "status", `--host-root=${host}`];
}

function peak(name: string, words: Command, exitCode = 0): Way {
  return { name, run: () => peakOf(words, exitCode) };
}

function memoryRow(root: string, all: readonly string[]): Row {
  return {
    name: "memory",
    work: `peak memory (RSS) of the first install of ${all.length} plugins`,
    ways: () => {
      const place = new Place(root, "memory");
      const [, ...install] = place.command(["install", `--plugins=${all.join()}`], REFERENCE_PLUGINS);
      const many = withAttachments(root, 10_000);
      return [
        { ...peak("cni-node", install), prepare: () => emptied(place.bin) },
        peak("nothing to do", install),
        peak("version", [BUNDLE, "version"]),
        peak("status, 10,000 attachments", statusOf(many), 3),
        peak("node -e 0", ["-e", "0"]),
      ];
    },
    limit: "Node.js; buffers of the copies; the attachments",
    unit: "MiB",
    runs: 3,
  };
}

/** Changes of a run of the watch rows; of which the median is one value, and the slowest one another. */
const CHANGES = 20;
/** Changes on the node are answered once a second when there are many. */
const BETWEEN = 1100;
/** So long after the last change it has nothing to do any more: it gives memory back after 5 seconds. */
const REST = 7000;

/** The times of so many changes, the shortest first. */
async function changes(change: () => Promise<number>, pause: number): Promise<number[]> {
  const values: number[] = [];
  for (let count = 0; count < CHANGES; count++) {
    await sleep(pause);
    values.push(await change());
  }
  return values.toSorted((a, b) => a - b);
}

function watchRows(root: string): Row[] {
  const start = async (name: string, ...more: string[]): Promise<Watched> => {
    const place = new Place(root, name);
    for (const plugin of ["bridge", "multus"]) {
      fs.copyFileSync(join(REFERENCE_PLUGINS, "bridge"), join(place.bin, plugin));
    }
    const watched = await Watched.start(place, place.command(["watch"]), more);
    process.prependListener("exit", () => watched[Symbol.dispose]());
    return watched;
  };
  const latency = (
    name: string,
    work: string,
    limit: string,
    pause: number,
    change: "changeObject" | "changeTarget" | "changeDelegate",
    ...more: string[]
  ): Row => ({
    name,
    work,
    ways: async () => {
      const watched = await start(name, ...more);
      let values: number[] = [];
      const run = async (): Promise<number> => {
        values = await changes(async () => watched[change](), pause);
        return values[CHANGES / 2] ?? 0;
      };
      return [
        { name: "median", run },
        { name: `slowest of ${CHANGES}`, run: () => values.at(-1) ?? 0 },
      ];
    },
    limit,
  });
  return [
    latency(
      "watch-object",
      "`watch`: from the API server's event to the live file",
      "the run of apply",
      50,
      "changeObject",
    ),
    {
      ...latency(
        "watch-target",
        "`watch`: from the rename of a pointer's target to the live file",
        "20 ms of quiet, then the run of apply",
        BETWEEN,
        "changeTarget",
      ),
      runs: 5,
    },
    {
      ...latency(
        "watch-delegate",
        "`watch --delegate=auto`: from the rename of the primary to the live configuration of Multus",
        "20 ms of quiet, then the run of apply",
        BETWEEN,
        "changeDelegate",
        ...WITH_DELEGATE,
      ),
      runs: 5,
    },
    {
      name: "watch-memory",
      work: "`watch`: memory (RSS) at rest, and after 10,000 events",
      ways: async () => {
        const watched = await start("watch-memory");
        const run = async (events: number): Promise<number> => {
          await watched.events(events);
          await sleep(REST);
          return watched.memory;
        };
        return [
          { name: "at rest", run: async () => run(0) },
          { name: "after 10,000 more events", run: async () => run(10_000) },
          peak("node -e 0", ["-e", "0"]),
        ];
      },
      limit: "Node.js, the program, TLS",
      unit: "MiB",
      runs: 1,
    },
    {
      name: "watch-rest",
      work: "`watch`: processor time of 20 seconds at rest",
      ways: async () => {
        const watched = await start("watch-rest");
        const run = async (): Promise<number> => {
          await sleep(BETWEEN);
          const before = watched.processorTime;
          await sleep(20_000);
          return watched.processorTime - before;
        };
        return [{ name: "cni-node", run }];
      },
      limit: "a look at five directories every 2 seconds; the kernel counts in 10 ms",
      runs: 1,
    },
  ];
}
