/** Machines whose containers get their network from CNI. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import * as fs from "node:fs";
import { dirname, join } from "node:path";

import { cannotMount } from "../helpers/namespace.ts";
import { REFERENCE_PLUGINS } from "../helpers/network.ts";
import { BUNDLE, type Ran } from "../helpers/node.ts";
import { findEnginePrograms } from "./build.ts";
import { Machine } from "./machine.ts";

/** Why containers cannot be run here; false: they can. Never a reason in CI, where running one fails instead. */
export const cannotRun: string | false = process.env["CI"] === "true" ? false : whyNot();

/** The program by the name that the reference's daemon.json has. */
const FRONT = "/usr/bin/eru-barrel-cni";
/** As a file of docker-cni has it, in the words of its documentation; its images are trusted. */
const SETTINGS = `oci_bin: /usr/sbin/runc

cni_conf_dir: /etc/cni/net.d/
cni_bin_dir: /opt/cni/bin:/opt/cni/other
cni_ifname: eth0
cni_log: /var/log/cni.log

log_driver: file:///run/docker-cni.log
log_level: debug
cni_env: true
cni_annotations: true
`;
/** What the reference adds to daemon.json; the same with crun, and with what keeps config.json before and after. */
export const RUNTIMES = {
  "barrel-cni": { path: FRONT, runtimeArgs: ["oci", "--config", "/etc/docker/cni.yaml", "--"] },
  "barrel-crun": { path: FRONT, runtimeArgs: ["oci", "--config", "/etc/docker/crun.yaml", "--"] },
  recorded: { path: "/opt/record-before" },
};
/** The same for Podman, whose runtimes have no arguments. */
const CONTAINERS_CONF = `[engine]
hooks_dir = ["/etc/containers/oci/hooks.d"]
[engine.runtimes]
barrel-cni = ["/opt/barrel-cni"]
barrel-crun = ["/opt/barrel-crun"]
`;
/** Fails to add, after others have added. */
const BROKEN = `#!/bin/sh
[ "$CNI_COMMAND" != ADD ] || { echo '{"cniVersion":"1.0.0","code":100,"msg":"the cable is cut"}'; exit 1; }
`;

/** The subnet of a bridge's network, and its gateway. */
const bridge = (name: string, net: number, more: object = {}): object => ({
  type: "bridge",
  bridge: name,
  isGateway: true,
  ipam: {
    type: "host-local",
    ranges: [[{ subnet: `10.${net}.0.0/24` }]],
    ...(net === 213 ? { routes: [{ dst: "0.0.0.0/0" }] } : {}),
  },
  ...more,
});

/** Networks by name; the first one is that of containers which name none. */
const NETWORKS: Record<string, object[]> = {
  first: [
    bridge("first0", 213, {
      capabilities: { ips: true, mac: true },
      dns: { nameservers: ["10.213.0.53"], domain: "first.example", search: ["a.example", "first.example"] },
    }),
    { type: "portmap", capabilities: { portMappings: true } },
  ],
  second: [bridge("second0", 214)],
  broken: [bridge("broken0", 215), { type: "broken" }],
};

/** Makes a machine with plugins, networks and cni-node, and an engine that `start` starts. */
export async function startContainers(start: (machine: Machine) => unknown): Promise<Machine> {
  const machine = await Machine.make();
  // It looks like a container to who looks for its marks, but is the host to its engines.
  machine.env["CNI_NODE_HOST_ROOT"] = "/";
  try {
    await prepare(machine);
    await start(machine);
    await machine.output("tar -C rootfs -c . | docker import - bb:1");
    return machine;
  } catch (error) {
    await machine[Symbol.asyncDispose]();
    throw error;
  }
}

async function prepare(machine: Machine): Promise<void> {
  await machine.output(
    [
      "mkdir -p /etc/docker /etc/containers/containers.conf.d /etc/cni/net.d /opt/cni/bin /opt/cni/other rootfs/bin rootfs/tmp rootfs/etc",
      `mount --bind ${REFERENCE_PLUGINS} /opt/cni/bin`,
      `ln -sf ${join(dirname(BUNDLE), "oci.sh")} ${FRONT}`,
      "cp $(which busybox) rootfs/bin/busybox",
      `cp ${join(findEnginePrograms(), "probe")} rootfs/bin/probe`,
      `printf '#!/bin/sh\\nexec ${process.execPath} ${BUNDLE} "$@"\\n' >/usr/bin/cni-node; chmod 755 /usr/bin/cni-node`,
      "for name in cat echo env grep ip kill ls nc ping route sh sleep tail true; do ln -s busybox rootfs/bin/$name; done",
    ].join("\n"),
  );
  const written: Record<string, string> = {
    "etc/docker/cni.yaml": SETTINGS,
    "etc/docker/crun.yaml": SETTINGS.replace("/usr/sbin/runc", "/usr/bin/crun"),
    "etc/docker/recorded.yaml": SETTINGS.replace("/usr/sbin/runc", "/opt/record-after"),
    "etc/containers/containers.conf.d/cni.conf": CONTAINERS_CONF,
    "opt/cni/other/broken": BROKEN,
    "opt/barrel-cni": `#!/bin/sh\nexec ${FRONT} oci --config /etc/docker/cni.yaml -- "$@"\n`,
    "opt/barrel-crun": `#!/bin/sh\nexec ${FRONT} oci --config /etc/docker/crun.yaml -- "$@"\n`,
    "opt/record-before": `${recorder("before")}exec ${FRONT} oci --config /etc/docker/recorded.yaml -- "$@"\n`,
    "opt/record-after": `${recorder("after")}exec runc "$@"\n`,
  };
  for (const [index, [name, plugins]] of Object.entries(NETWORKS).entries()) {
    written[`etc/cni/net.d/${index}0-${name}.conflist`] = listOf(name, plugins);
  }
  for (const [path, text] of Object.entries(written)) fs.writeFileSync(join(machine.host, path), text, { mode: 0o755 });
}

/** A script that keeps what config.json is at this moment. */
function recorder(name: string): string {
  return `#!/bin/sh
bundle=
for word; do
  [ "$bundle" != next ] || bundle=$word
  [ "$word" != --bundle ] || bundle=next
done
[ -z "$bundle" ] || cp "$bundle/config.json" /opt/${name}.json
`;
}

function listOf(name: string, plugins: object[]): string {
  return JSON.stringify({ cniVersion: "1.0.0", name, plugins });
}

/** Adds a network of a bridge to a machine. @returns the path of its file. */
export function addNetwork(machine: Machine, name: string, net: number): string {
  const path = join(machine.host, `etc/cni/net.d/90-${name}.conflist`);
  fs.writeFileSync(path, listOf(name, [bridge(`${name}0`, net)]));
  return path;
}

/** What containers hold: addresses of host-local and cached results, of one or of all. */
export async function heldBy(machine: Machine, id = ""): Promise<string[]> {
  const script = [
    "mkdir -p /var/lib/cni/networks /var/lib/cni/results",
    `grep -rl '${id || "."}' /var/lib/cni/networks --include='10.*'`,
    `ls /var/lib/cni/results | grep -F -e '${id}'`,
    "true",
  ];
  return (await machine.output(script.join("\n"))).split("\n").filter(Boolean);
}

/** A container that sleeps. */
export class Sleeper {
  readonly machine: Machine;
  readonly id: string;

  private constructor(machine: Machine, id: string) {
    this.machine = machine;
    this.id = id;
  }

  static async run(machine: Machine, options: string): Promise<Sleeper> {
    const id = await machine.output(`docker run --detach --stop-signal KILL ${options} bb:1 sleep 10000`);
    return new Sleeper(machine, id.trim());
  }

  /** `docker VERB CONTAINER`, which must succeed. */
  async do(verb: string, ...more: string[]): Promise<string> {
    return this.machine.output(["docker", verb, this.id, ...more].join(" "));
  }

  /** What a script prints in its network. */
  async inside(script: string): Promise<string> {
    const pid = await this.do("inspect", "--format '{{.State.Pid}}'");
    return this.machine.output(`nsenter --net --target ${pid.trim()} ${script}`);
  }

  /** Its address on an interface. */
  async address(ifName = "eth0"): Promise<string> {
    return addressIn(await this.inside(`ip -4 -o addr show ${ifName}`));
  }

  /** The interfaces that it has. */
  async links(): Promise<string[]> {
    return Array.from((await this.inside("ip -o link")).matchAll(/^\d+: ([^:@]+)/gmu), ([, name = ""]) => name);
  }

  async held(): Promise<string[]> {
    return heldBy(this.machine, this.id);
  }

  /** It holds one address, the one that it has, and one result. */
  async assertHolds(network = "first"): Promise<string> {
    const address = await this.address();
    assert.deepEqual(await this.held(), [`/var/lib/cni/networks/${network}/${address}`, `${network}-${this.id}-eth0`]);
    return address;
  }

  async remove(): Promise<void> {
    await this.do("rm --force");
    assert.deepEqual(await this.held(), []);
  }
}

/** The address in what `ip addr` prints. */
export function addressIn(text: string): string {
  const [, address] = /inet (10\.\d+\.\d+\.\d+)\/24 /u.exec(text) ?? [];
  assert.ok(address, `an address in ${text}`);
  return address;
}

/**
 * Runs a container to its end, and waits until it holds nothing.
 *
 * @param releaser the script without which that could last.
 */
export async function ranIn(machine: Machine, options: string, command: string, releaser = "true"): Promise<Ran> {
  const file = join(machine.work, `id-${randomUUID()}`);
  const ran = await machine.sh(`docker run --rm --cidfile ${file} ${options} bb:1 ${command}`);
  const id = fs.existsSync(file) ? fs.readFileSync(file, "utf8").trim() : "";
  if (id !== "") await machine.until(`${releaser}; ! grep -rq ${id} /var/lib/cni`);
  return ran;
}

function whyNot(): string | false {
  if (cannotMount !== false) return cannotMount;
  const missing = ["dockerd", "podman", "runc", "crun"].find((tool) => spawnSync(tool, ["--version"]).error);
  if (missing !== undefined) return `${missing} is missing`;
  try {
    findEnginePrograms();
    return false;
  } catch (error) {
    return (error as Error).message;
  }
}
