/**
 * Nodes that are namespaces on one bridge, each with its Node in a real API server, files of its own, and what the
 * containers of manifests/pod-network run. Pods are namespaces that the real plugins are called for.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import * as fs from "node:fs";
import { connect, createServer, type Server } from "node:net";
import { join } from "node:path";

import { parseAllDocuments } from "yaml";

import { type Cluster, startCluster } from "../cluster/cluster.ts";
import { writeKubeconfig } from "../cluster/kubeconfig.ts";
import { Namespace } from "./namespace.ts";
import { REFERENCE_PLUGINS } from "./network.ts";
import { BUNDLE, endOf, type Ran, until } from "./node.ts";
import { inside } from "./traffic.ts";

const MANIFEST = new URL("../../manifests/pod-network/pod-network.yaml", import.meta.url);
const ACCOUNT = "pod-network-node";

/** Listens in the namespace of a node where the API server does, and passes on what comes. */
const FORWARD = `const net = require("node:net");
  const [, port, path] = process.argv;
  const server = net.createServer({ noDelay: true }, (from) => {
    const to = net.connect(path);
    from.pipe(to).pipe(from);
    from.on("error", () => to.destroy());
    to.on("error", () => from.destroy());
  });
  server.listen(Number(port), "127.0.0.1", () => console.log("listening"));`;

interface ManifestObject {
  kind: string;
  data?: Record<string, string>;
  spec?: { template: { spec: { containers: { name: string; args: string[] }[] } } };
}

const objects = parseAllDocuments(fs.readFileSync(MANIFEST, "utf8")).map((one) => one.toJS() as ManifestObject);
/** The templates in the manifest, by file name. */
const TEMPLATES = objects.find(({ kind }) => kind === "ConfigMap")?.data ?? {};
const CONTAINERS = objects.find(({ kind }) => kind === "DaemonSet")?.spec?.template.spec.containers ?? [];

/** What outlives a restart of the node is below one directory. */
function machineScript(directory: string): string {
  return [
    "mount -t tmpfs none /run",
    "mkdir -p /run/netns /run/bin /run/upper /run/work",
    "mount -t overlay overlay -o lowerdir=/etc,upperdir=/run/upper,workdir=/run/work /etc",
    ...["/etc/cni", "/opt/cni", "/var/lib/cni"].flatMap((path) => [
      `mkdir -p ${path} ${directory}${path}`,
      `mount --bind ${directory}${path} ${path}`,
    ]),
    "mkdir -p /etc/cni/net.d /opt/cni/bin",
    `printf '#!/bin/sh\\nexec ${process.execPath} ${BUNDLE} "$@"\\n' >/run/bin/cni-node`,
    "chmod +x /run/bin/cni-node",
    "echo 1 >/proc/sys/net/ipv4/ip_forward",
    "echo 1 >/proc/sys/net/ipv6/conf/all/forwarding",
  ].join("\n");
}

/** The cluster, the bridge, and what is outside. */
export class PodNetwork implements AsyncDisposable {
  readonly cluster: Cluster;
  /** It has addresses outside the cluster, 198.51.100.1 and 2001:db8:ffff::1, and knows no pods. */
  readonly outside: Namespace;
  readonly templates: string;
  readonly kubeconfig: string;
  readonly socket: string;
  readonly #forward: Server;
  readonly #stack = new AsyncDisposableStack();

  private constructor(cluster: Cluster, outside: Namespace) {
    this.cluster = this.#stack.use(cluster);
    this.outside = this.#stack.use(outside);
    this.templates = join(cluster.directory, "templates");
    this.kubeconfig = join(cluster.directory, "pod-network.kubeconfig");
    this.socket = join(cluster.directory, "api.sock");
    fs.mkdirSync(this.templates);
    for (const [name, text] of Object.entries(TEMPLATES)) fs.writeFileSync(join(this.templates, name), text);
    const port = Number(new URL(cluster.server).port);
    this.#forward = createServer((from) => {
      const to = connect({ port, host: "127.0.0.1", noDelay: true });
      from.pipe(to).pipe(from);
      from.on("error", () => to.destroy());
      to.on("error", () => from.destroy());
    });
  }

  static async start(): Promise<PodNetwork> {
    await using begun = new AsyncDisposableStack();
    const cluster = begun.use(await startCluster());
    const hub = `ip link add br0 type bridge
      ip addr add 192.0.2.254/24 dev br0
      ip link set br0 up
      ip -6 addr add 2001:db8::fe/64 dev br0 nodad
      ip addr add 198.51.100.1/32 dev lo
      ip -6 addr add 2001:db8:ffff::1/128 dev lo nodad`;
    const network = new PodNetwork(cluster, begun.use(await Namespace.make(hub, { net: true })));
    begun.defer(() => void network.#forward.close());
    network.#forward.listen(network.socket);
    await once(network.#forward, "listening");
    // The account and the rights are those of the manifest.
    const { exitCode, stderr } = await cluster.kubectl(["apply", "-f", "-"], fs.readFileSync(MANIFEST, "utf8"));
    if (exitCode !== 0) throw new Error(stderr);
    const { server, ca } = cluster;
    const token = await cluster.tokenFor(ACCOUNT, "kube-system");
    writeKubeconfig(network.kubeconfig, { server, ca, credentials: { token } });
    begun.move();
    return network;
  }

  /** Creates a Node as the kubelet and the controller manager do. @param status more of its status. */
  async createNode(
    name: string,
    podCidrs: readonly string[],
    internalIps: readonly string[],
    status: object = {},
  ): Promise<void> {
    const spec = { podCIDR: podCidrs[0], podCIDRs: podCidrs };
    await this.#sent("POST", "/api/v1/nodes", { metadata: { name }, spec });
    const addresses = internalIps.map((address) => ({ type: "InternalIP", address }));
    await this.#sent("PATCH", `/api/v1/nodes/${name}/status`, { status: { ...status, addresses } });
  }

  async deleteNode(name: string): Promise<void> {
    await this.#sent("DELETE", `/api/v1/nodes/${name}`);
  }

  /** Starts the machine of a node: its link, its files, and its way to the API. */
  async startMachine(number: number): Promise<Machine> {
    const directory = join(this.cluster.directory, `n${number}`);
    const made = this.#stack.use(await Machine.make(this, number, machineScript(directory)));
    // The link of a machine that has ended goes some time after its namespace.
    this.outside.sh(`ip link delete v${number} 2>/dev/null || :
      ip link add v${number} type veth peer name eth0 netns ${made.pid}
      ip link set v${number} master br0 up`);
    made.namespace.sh(`ip link set eth0 up
      ip addr add 192.0.2.${number}/24 dev eth0
      ip -6 addr add 2001:db8::${number}/64 dev eth0 nodad
      ip route add default via 192.0.2.254
      ip -6 route add default via 2001:db8::fe`);
    return made;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
    this.#forward.close();
  }

  async #sent(method: string, path: string, body?: object): Promise<void> {
    const { status, text } = await this.cluster.request(method, path, body);
    if (status >= 300) throw new Error(`${method} ${path}: ${text}`);
  }
}

/** The networks of the pods of a node, of both families. */
export function podCidrsOf(number: number): string[] {
  return [`10.244.${number}.0/24`, `fd00:244:${number}::/64`];
}

/** The machine of a node. */
export class Machine implements AsyncDisposable {
  readonly namespace: Namespace;
  readonly #network: PodNetwork;
  readonly #number: number;
  #containers: ChildProcess[] = [];
  #forward: ChildProcess | undefined;

  private constructor(network: PodNetwork, number: number, namespace: Namespace) {
    this.#network = network;
    this.#number = number;
    this.namespace = namespace;
  }

  static async make(network: PodNetwork, number: number, script: string): Promise<Machine> {
    const namespace = await Namespace.make(script, { net: true });
    const machine = new Machine(network, number, namespace);
    const port = new URL(network.cluster.server).port;
    machine.#forward = namespace.spawn([process.execPath, "-e", FORWARD, port, network.socket]);
    await once(machine.#forward.stdout ?? machine.#forward, "data");
    return machine;
  }

  get pid(): string {
    return (/--target=(\d+)/u.exec(this.namespace.entrance.join(" ")) ?? [])[1] ?? "";
  }

  get #env(): NodeJS.ProcessEnv {
    return {
      PATH: `/run/bin:${process.env["PATH"] ?? ""}`,
      NODE_NAME: `n${this.#number}`,
      KUBECONFIG: this.#network.kubeconfig,
      CNI_NODE_HOST_ROOT: "/",
      CNI_NODE_PLUGIN_SOURCE: REFERENCE_PLUGINS,
      CNI_NODE_CONFIG_SOURCE: this.#network.templates,
    };
  }

  /** Runs a shell script as root does. */
  async sh(script: string, cwd?: string): Promise<Ran> {
    const words = [...this.namespace.entrance, "sh", "-ec", cwd === undefined ? script : `cd ${cwd}\n${script}`];
    return endOf(spawn("nsenter", words, { env: this.#env }));
  }

  /** Starts what the containers of the DaemonSet run, with the words that they have there. */
  begin(): void {
    this.#containers = CONTAINERS.map(({ args }) => {
      // The networks of pods are those of this cluster.
      const words = args.map((word) => (word.startsWith("--pod-cidrs=") ? `${word},fd00:244::/32` : word));
      const container = this.namespace.spawn(["cni-node", ...words], this.#env);
      container.stdout?.resume();
      container.stderr?.resume();
      return container;
    });
  }

  async end(signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
    const running = this.#containers.filter(({ exitCode, signalCode }) => exitCode === null && signalCode === null);
    const ended = running.map(async (container) => once(container, "exit"));
    for (const container of running) container.kill(signal);
    await Promise.all(ended);
    this.#containers = [];
  }

  /** Waits until the configuration is there, with these networks. */
  async configured(podCidrs: readonly string[] = podCidrsOf(this.#number)): Promise<void> {
    const path = join(this.namespace.root, "etc/cni/net.d/10-pod-network.conflist");
    await until(() => fs.existsSync(path) && podCidrs.every((cidr) => fs.readFileSync(path, "utf8").includes(cidr)));
  }

  /** Starts a pod. */
  async pod(name: string): Promise<Pod> {
    const { exitCode, stdout, stderr } = await this.sh(`cni-node network add pod-network ${name} --new`);
    if (exitCode !== 0) throw new Error(stderr);
    const { ips } = JSON.parse(stdout) as { ips: { address: string }[] };
    const addresses = ips.map(({ address }) => address.slice(0, address.indexOf("/")));
    const entrance = [...this.namespace.entrance, "ip", "netns", "exec", name];
    return new Pod(entrance, addresses, (command) => this.namespace.spawn(["ip", "netns", "exec", name, ...command]));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#forward === undefined) return;
    await this.end("SIGKILL");
    this.#forward.kill("SIGKILL");
    this.#forward = undefined;
    await this.namespace[Symbol.asyncDispose]();
  }
}

/** A pod, as a namespace with what the plugins gave it. */
export class Pod {
  readonly entrance: readonly string[];
  /** One of each family. */
  readonly addresses: readonly string[];
  readonly spawn: (command: readonly string[]) => ChildProcess;

  constructor(entrance: readonly string[], addresses: readonly string[], spawnIn: Pod["spawn"]) {
    this.entrance = entrance;
    this.addresses = addresses;
    this.spawn = spawnIn;
  }

  /** Does it reach all addresses of another one? */
  reaches({ addresses }: Pick<Pod, "addresses">): boolean {
    return addresses.every((address) => inside(this, "ping", "-c1", "-W2", address).status === 0);
  }
}
