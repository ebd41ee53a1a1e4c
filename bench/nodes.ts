/** A node that needs a route to each of 5,000 others: their Nodes are in a real API server. */
import { spawn } from "node:child_process";

import { BUNDLE, endOf } from "../test/helpers/node.ts";
import { type Machine, PodNetwork } from "../test/helpers/pod-network.ts";
import { WITH_PEAK, type Command } from "./measure.ts";

/** How many Nodes are created at a time. */
const AT_ONCE = 50;
/** What a kubelet says of itself, as far as it is large: a Node has about 9 KB. */
const IMAGES = Array.from({ length: 50 }, (_, index) => ({
  names: [
    `registry.example/team/image-${index}@sha256:${"ab".repeat(32)}`,
    `registry.example/team/image-${index}:1.2.3`,
  ],
  sizeBytes: 100_000_000 + index,
}));

export class ManyNodes {
  readonly #network: PodNetwork;
  readonly #machine: Machine;

  private constructor(network: PodNetwork, machine: Machine) {
    this.#network = network;
    this.#machine = machine;
  }

  /** @param count of Nodes, beside that of this node. */
  static async start(count: number): Promise<ManyNodes> {
    const network = await PodNetwork.start();
    const create = async (index: number): Promise<void> => {
      const [high, low] = [index >> 8, index & 255];
      const address = `172.16.${high}.${low}`;
      await network.createNode(`m${index}`, [`10.${128 + high}.${low}.0/24`], [address], { images: IMAGES });
    };
    for (let index = 1; index <= count + 1; index += AT_ONCE) {
      const some = Array.from({ length: Math.min(AT_ONCE, count + 2 - index) }, (_, offset) => index + offset);
      await Promise.all(some.map(create));
    }
    const machine = await network.startMachine(1);
    machine.namespace.sh("ip addr add 172.16.0.1/12 dev eth0");
    return new ManyNodes(network, machine);
  }

  /** `routes sync` on this node. */
  get sync(): Command {
    return this.#inside(process.execPath, BUNDLE, "routes", "sync", "--masquerade", ...this.#words);
  }

  /** Removes what it has set. */
  async remove(): Promise<void> {
    await this.#run(this.#inside(process.execPath, BUNDLE, "routes", "remove"));
  }

  /** `kubectl get nodes`, which needs more of each Node. */
  get kubectl(): Command {
    return [
      this.#network.cluster.kubectlPath,
      `--kubeconfig=${this.#network.kubeconfig}`,
      "get",
      "nodes",
      "--output=json",
    ];
  }

  /** The most memory that `routes sync` used, MiB. */
  async peak(): Promise<number> {
    const words = [...WITH_PEAK, BUNDLE, "routes", "sync", ...this.#words];
    const stderr = await this.#run(this.#inside(process.execPath, ...words));
    return Number(stderr.trim().split("\n").at(-1)) / 1024;
  }

  /** How many requests for Nodes a run sends. */
  async requests(): Promise<number> {
    const before = await this.#count();
    await this.#run(this.sync);
    return (await this.#count()) - before;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#network[Symbol.asyncDispose]();
  }

  get #words(): string[] {
    return ["--node-name=m1", "--timeout=5m", `--kubeconfig=${this.#network.kubeconfig}`];
  }

  #inside(...command: string[]): string[] {
    return ["nsenter", ...this.#machine.namespace.entrance, ...command];
  }

  /** @returns what it prints on stderr. This process passes on its requests meanwhile. */
  async #run([file = "", ...words]: Command): Promise<string> {
    const { exitCode, stderr } = await endOf(spawn(file, words));
    if (exitCode !== 0) throw new Error(`${words.join(" ")}: ${stderr}`);
    return stderr;
  }

  async #count(): Promise<number> {
    const { text } = await this.#network.cluster.request("GET", "/metrics");
    const lines = text.split("\n").filter((line) => line.startsWith("apiserver_request_total{"));
    const ofNodes = lines.filter(
      (line) => line.includes('resource="nodes"') && /verb="(?:LIST|WATCH|GET)"/u.test(line),
    );
    return ofNodes.reduce((sum, line) => sum + Number(line.split(" ").at(-1)), 0);
  }
}
