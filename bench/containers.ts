/** What is measured of containers that get their network from CNI. */
import * as fs from "node:fs";
import { dirname, join } from "node:path";

import { findEnginePrograms } from "../test/engine/build.ts";
import { cannotRun, RUNTIMES, startContainers } from "../test/engine/containers.ts";
import { Docker, type Machine } from "../test/engine/machine.ts";
import { BUNDLE } from "../test/helpers/node.ts";
import { findDockerCni } from "./docker-cni/build.ts";
import type { Command, Row, Way } from "./measure.ts";

const FRONT = join(dirname(BUNDLE), "oci.sh");
const WITHOUT = "without a network";

/** The rows, if containers can be run here. */
export function containerRows(root: string): Row[] {
  return cannotRun === false ? [...callRows(root), runRow()] : [];
}

/** One call of the runtime, which does nothing. */
function callRows(root: string): Row[] {
  const prepared = (name: string, words: readonly string[]): readonly Way[] => {
    const bundle = join(root, name);
    fs.mkdirSync(bundle);
    const config = join(bundle, "cni.yaml");
    const settings = { oci_bin: "/bin/true", cni_conf_dir: "/etc/cni/net.d", cni_bin_dir: "/opt/cni/bin" };
    const more = { cni_ifname: "eth0", cni_log: "/dev/null", log_driver: "file:///dev/null", log_level: "info" };
    const lines = Object.entries({ ...settings, ...more }).map(([key, value]) => `${key}: ${value}\n`);
    fs.writeFileSync(config, lines.join(""));
    // As Docker writes it, in small.
    const linux = { namespaces: [{ type: "mount" }, { type: "network" }, { type: "pid" }] };
    const text = JSON.stringify({ ociVersion: "1.2.1", process: { args: ["sh"], cwd: "/" }, linux });
    const prepare = (): void => fs.writeFileSync(join(bundle, "config.json"), text);
    const globals = ["--root", bundle, "--log", join(bundle, "log.json"), "--log-format", "json"];
    const call = (program: string): Command[] => [[program, "oci", "--config", config, "--", ...globals, ...words]];
    return [
      { name: "cni-node", prepare, run: call(FRONT) },
      { name: "docker-cni", prepare, run: call(join(findDockerCni(), "docker-cni")) },
      { name: "true", run: [["/bin/true"]] },
    ];
  };
  return [
    {
      name: "oci-state",
      work: "a call of the OCI runtime other than `create`, without the runtime's own time",
      ways: () => prepared("state", ["state", "one"]),
      limit: "the start of sh",
      runs: 100,
    },
    {
      name: "oci-create",
      work: "`create`, without the runtime's own time",
      ways: () => prepared("create", ["create", "--bundle", join(root, "create"), "one"]),
      limit: "the start of sh, cp, sed and mv",
      runs: 100,
    },
  ];
}

/** Whole containers of a current Docker. */
function runRow(): Row {
  let machine: Machine | undefined;
  const ways = async (): Promise<Way[]> => {
    const programs = findEnginePrograms();
    machine = await startContainers(async (made) => {
      const original = { path: join(findDockerCni(), "docker-cni"), runtimeArgs: RUNTIMES["barrel-cni"].runtimeArgs };
      await made.output("cni-node engine cdi");
      await Docker.start(made, {
        daemon: join(programs, "dockerd"),
        client: join(programs, "docker"),
        settings: { runtimes: { ...RUNTIMES, original } },
      });
    });
    const { entrance } = machine.namespace;
    const env = machine.env as Record<string, string>;
    const way = (name: string, ...options: string[]): Way => {
      const words = ["docker", "run", "--rm", "--net", "none", ...options, "bb:1", "true"];
      return { name, run: [["nsenter", ...entrance, ...words]], env };
    };
    const made = machine;
    // Nobody stands by for its hooks.
    const first = {
      ...way("cni-node, runtime, the first container in a minute", "--runtime", "barrel-cni"),
      prepare: async () => void (await made.sh("pkill -KILL -f 'cni-node[.]cjs standby'")),
    };
    return [
      way("cni-node, runtime", "--runtime", "barrel-cni"),
      first,
      way("cni-node, CDI device", "--device", "cni-node.io/net=first"),
      way("docker-cni", "--runtime", "original"),
      way(WITHOUT),
    ];
  };
  return {
    name: "docker-run",
    work: "`docker run --rm` of a container with a bridge and an address of host-local",
    ways,
    limit: "Docker and runc; the plugins; the start of Node.js beside runc, for the first container",
    over: WITHOUT,
    runs: 20,
    end: async () => machine?.[Symbol.asyncDispose](),
  };
}
