/** Random changes in the cluster and on the node while `cni-node watch` runs: in the end the node is as desired. */
import * as fs from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { readRecord } from "../../src/host/record.ts";
import { WatchServer } from "../cluster/watch-server.ts";
import { conflist, until } from "../helpers/node.ts";
import { Random, SEED } from "../helpers/random.ts";
import { replace, Watched } from "../helpers/watched.ts";

/** What was done, and what was not as it must be. */
export interface Kept {
  changes: number;
  restarts: number;
  outages: number;
  /** Plugins that stayed because the directory was wiped amid a run, with its record: they count as somebody else's. */
  leftBehind: number;
  /** KiB that the process had in memory after a tenth of the changes, and in the end; of a process that has not ended. */
  memory: [number, number] | undefined;
  violations: string[];
}

const PLUGINS = ["alpha", "beta", "delta", "gamma"];
const CONFIGS = ["05-wrap.conflist", "20-other.conflist"];
const PRIMARY = "10-primary.conflist";

/** So many changes lie between two looks at whether the node becomes as desired. */
const BETWEEN_LOOKS = 25;

/**
 * @param restart may the process be ended and started again?
 * @param look called whenever the node was compared with what is desired, with the changes until then.
 */
export async function keeping(
  changes: number,
  restart: boolean,
  look?: (done: number, kept: Kept, kib: number) => void,
): Promise<Kept> {
  await using scene = await Scene.make();
  const kept: Kept = { changes, restarts: 0, outages: 0, leftBehind: 0, memory: undefined, violations: [] };
  let early = 0;
  for (let count = 1; count <= changes; count++) {
    await scene.change(kept, restart);
    if (count % BETWEEN_LOOKS === 0 || count === changes) {
      const difference = await scene.settle(kept);
      if (difference !== undefined) kept.violations.push(`after ${count} changes: ${difference}`);
      if (early === 0 && count >= changes / 10) early = scene.memory;
      look?.(count, kept, scene.memory);
    }
  }
  if (!restart) kept.memory = [early, scene.memory];
  if (scene.watched.stderr.includes(".cjs:")) kept.violations.push("an error of the program is in its log");
  return kept;
}

/** Is it a plugin of the image, and not what a change of the soak has put in its place? */
function isOurs(text: string | undefined): text is string {
  return text?.includes("supportedVersions") === true;
}

/** A node, a server, and what the node should have. */
class Scene implements AsyncDisposable {
  readonly watched: Watched;
  readonly #server: WatchServer;
  readonly #port: number;
  readonly #random = new Random(SEED);
  readonly #argv: string[];
  #lists: { plugins: string[]; configs: string[] } = { plugins: [], configs: [] };
  #primary = "one";
  #version = 0;
  #isAway = false;
  /** Was the directory of plugins wiped since the node was as desired? */
  #isWiped = false;
  /** The contents of plugins that were left behind, by their names. */
  readonly #leftBehind = new Map<string, string>();

  private constructor(watched: Watched, server: WatchServer) {
    this.watched = watched;
    this.#server = server;
    this.#port = server.port;
    this.#argv = ["--configmap=default/cni", `--kubeconfig=${server.kubeconfig()}`, "--allow-no-network"];
  }

  static async make(): Promise<Scene> {
    const scene = new Scene(new Watched(), await WatchServer.start("h2"));
    const { node } = scene.watched;
    for (const name of PLUGINS) node.plugin(name, "1");
    for (const name of CONFIGS) {
      const text = `{"cniVersion":"1.0.0","name":"${name}","plugins":[{"type":"multus","delegates":[__${PRIMARY}__]}]}\n`;
      node.template(name, text);
    }
    replace(join(node.netd, PRIMARY), conflist("one", "bridge"));
    scene.#server.put("cni", { plugins: "", configs: "" });
    scene.watched.start(...scene.#argv);
    return scene;
  }

  /** KiB. */
  get memory(): number {
    return this.watched.memory;
  }

  /** Changes something at random. */
  async change(kept: Kept, restart: boolean): Promise<void> {
    const random = this.#random;
    const { node } = this.watched;
    const deeds: (() => Promise<void> | void)[] = [
      () => this.#desire({ plugins: random.some(PLUGINS), configs: random.some(CONFIGS) }),
      () => this.#desire({ ...this.#lists, plugins: random.some(PLUGINS) }),
      () => this.#server.put("cni", { plugins: "alpha,no-such-plugin", configs: "" }),
      () => this.#server.delete("cni"),
      () => this.#server.breakConnections(),
      () => this.#server.goAway(),
      () => fs.rmSync(join(node.bin, random.pick(PLUGINS)), { force: true }),
      () => this.#overwrite(join(node.bin, random.pick(PLUGINS))),
      () => fs.rmSync(join(node.netd, random.pick(CONFIGS)), { force: true }),
      () => replace(join(node.netd, random.pick(CONFIGS)), "{"),
      () => this.#rename(),
      () => this.#changePrimary(),
      () => node.plugin(random.pick(PLUGINS), String(++this.#version)),
      () => this.#wipe(),
    ];
    if (this.#isAway) deeds.push(async () => this.#comeBack());
    else if (random.once(10)) deeds.push(async () => this.#leave(kept));
    if (restart && random.once(8)) deeds.push(async () => this.#restart(kept));
    await random.pick(deeds)();
    if (random.once(2)) await sleep(random.int(60));
  }

  /** Returns what differs from what is desired, if that stays so. */
  async settle(kept: Kept): Promise<string | undefined> {
    if (this.#isAway) await this.#comeBack();
    // A list that was refused, or a ConfigMap that is gone, leaves what was desired before: the model knows only this.
    this.#desire(this.#lists);
    try {
      await until(() => this.#difference() === undefined);
    } catch {
      kept.leftBehind += this.#findLeftBehind();
    }
    this.#isWiped = false;
    return this.#difference();
  }

  /**
   * What a run had put in place when the directory was wiped with its record is not held by anybody, so that nothing
   * removes it: the next run that wants it keeps it for the uninstall.
   */
  #findLeftBehind(): number {
    if (!this.#isWiped) return 0;
    const left = PLUGINS.filter((name) => !this.#lists.plugins.includes(name) && !this.#isHeld(name));
    const found = left.flatMap((name) => {
      const text = this.watched.plugin(name);
      return isOurs(text) && this.#leftBehind.get(name) !== text ? [[name, text] as const] : [];
    });
    for (const [name, text] of found) this.#leftBehind.set(name, text);
    return found.length;
  }

  #isHeld(name: string): boolean {
    const record = readRecord(this.watched.node.bin);
    const assets = [...(record?.assets ?? []), ...(record?.pending?.assets ?? [])];
    return assets.some((asset) => asset.name === name && asset.owners.length > 0);
  }

  #difference(): string | undefined {
    const { node } = this.watched;
    const wanted = this.#lists;
    for (const name of PLUGINS) {
      const source = fs.readFileSync(join(node.plugins, name), "utf8");
      const text = this.watched.plugin(name);
      // What somebody else put where nothing is desired is not ours to remove.
      const isLeft = isOurs(text) && text !== this.#leftBehind.get(name);
      if (wanted.plugins.includes(name) ? text !== source : isLeft) return `plugin ${name}: ${text ?? "none"}`;
    }
    for (const name of CONFIGS) {
      const text = this.watched.config(name);
      const isRight = text?.includes(`"${this.#primary}"`) === true && text.includes(`"${name}"`);
      if (wanted.configs.includes(name) ? !isRight : isRight) return `config ${name}: ${text ?? "none"}`;
    }
    return undefined;
  }

  #desire(lists: { plugins: string[]; configs: string[] }): void {
    this.#lists = lists;
    this.#server.put("cni", { plugins: lists.plugins.join("\n"), configs: lists.configs.join(",") });
  }

  #overwrite(path: string): void {
    if (fs.existsSync(dirname(path))) fs.writeFileSync(path, "x");
  }

  #rename(): void {
    const path = join(this.watched.node.netd, this.#random.pick(CONFIGS));
    if (fs.existsSync(path)) fs.renameSync(path, `${path}.bak`);
  }

  #changePrimary(): void {
    const path = join(this.watched.node.netd, PRIMARY);
    this.#primary = `net${++this.#version}`;
    const text = conflist(this.#primary, "bridge");
    if (this.#random.once(3)) fs.rmSync(path, { force: true });
    if (this.#random.once(2)) fs.writeFileSync(path, text);
    else replace(path, text);
  }

  #wipe(): void {
    this.#isWiped = true;
    fs.rmSync(this.watched.node.bin, { recursive: true, force: true, maxRetries: 10 });
    if (this.#random.once(2)) fs.mkdirSync(this.watched.node.bin, { recursive: true });
  }

  async #leave(kept: Kept): Promise<void> {
    kept.outages++;
    this.#isAway = true;
    await this.#server.close();
  }

  async #comeBack(): Promise<void> {
    this.#isAway = false;
    await this.#server.listen(this.#port);
  }

  async #restart(kept: Kept): Promise<void> {
    kept.restarts++;
    await this.watched.stop(this.#random.pick(["SIGTERM", "SIGKILL", "SIGINT"]));
    this.watched.start(...this.#argv);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.watched[Symbol.asyncDispose]();
    await this.#server[Symbol.asyncDispose]();
  }
}
