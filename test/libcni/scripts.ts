/** Generates scripts on which libcni and src/cni do the same, but for the requests of plugins. */
import { Random } from "../helpers/random.ts";
import type { Attachment, Step } from "./run.ts";

/** A script, and the plugins that it needs. */
export interface Script {
  plugins: string[];
  steps: Step[];
}

export const VERSIONS = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

const PLUGINS = ["p0", "p1", "p2"];
const CAPABILITIES = ["portMappings", "mac", "ips"];

/** No plugin prints it. */
export const PREV_RESULT_OF_CONFIG = { cniVersion: "1.0.0", dns: { domain: "config" } };

/** Keys that plugins of the world have, and those that only the runtime may set. */
const KEYS: Record<string, unknown> = {
  bridge: "cni0",
  nothing: null,
  nested: { list: [1, "é < & > \u2028", null, { a: [] }], big: 1.5e300 },
  ipam: { type: "host-local", ranges: [[{ subnet: "10.1.0.0/16" }]], nothing: null },
  dns: { nameservers: ["10.1.0.1"] },
  args: { cni: { ips: ["10.1.0.9"] } },
  runtimeConfig: { own: true },
  name: "other",
  cniVersion: "0.3.1",
  prevResult: PREV_RESULT_OF_CONFIG,
  "cni.dev/own": { a: 1 },
};

/** A list of the generator: its text is what both read. */
interface List {
  name: string;
  cniVersion: string;
  disableCheck: boolean;
  disableGC: boolean;
  types: string[];
  text: string;
}

/** An attachment that is in the cache, by the file of it. */
interface Attached extends Attachment {
  network: string;
  /** It is the bare result of an old libcni. */
  isBare?: boolean;
}

export function generateScript(seed: number): Script {
  return new Generator(new Random(seed)).script();
}

class Generator {
  readonly #random: Random;
  readonly #steps: Step[] = [];
  readonly #installed: string[];
  readonly #lists: List[];
  #attached: Attached[] = [];
  /** The commands that fail, as `PLUGIN COMMAND`. */
  readonly #failing = new Set<string>();

  constructor(random: Random) {
    this.#random = random;
    this.#installed = random.once(8) ? PLUGINS.slice(0, 2) : PLUGINS;
    this.#lists = [this.#list("net"), this.#list("a.b_c")];
  }

  script(): Script {
    const count = 6 + this.#random.int(6);
    while (this.#steps.length < count) this.#step();
    return { plugins: this.#installed, steps: this.#steps };
  }

  #list(name: string): List {
    const random = this.#random;
    const cniVersion = random.pick([...VERSIONS, "1.1.0", "1.1.0", "1.0.0"]);
    const types = PLUGINS.slice(0, 1 + random.int(3)).sort(() => random.int(3) - 1);
    const [disableCheck, disableGC] = [random.once(6), random.once(6)];
    const plugins = types.map((type) => ({
      type,
      ...Object.fromEntries(random.some(Object.keys(KEYS)).map((key) => [key, KEYS[key]])),
      ...(random.once(2) ? { capabilities: Object.fromEntries(CAPABILITIES.map((one) => [one, random.once(2)])) } : {}),
    }));
    const older = VERSIONS.filter((version) => version <= cniVersion);
    const list = {
      name,
      ...(random.once(4) ? { cniVersion: random.pick(older), cniVersions: [...older, "9.0.0"] } : { cniVersion }),
      ...(disableCheck ? { disableCheck: random.pick([true, "true", "TRUE"]) } : {}),
      ...(disableGC ? { disableGC: random.pick([true, "True"]) } : {}),
      plugins,
    };
    return { name, cniVersion, disableCheck, disableGC, types, text: JSON.stringify(list, null, random.int(3)) };
  }

  #step(): void {
    const random = this.#random;
    const list = random.pick(this.#lists);
    switch (random.int(12)) {
      case 0:
      case 1:
        this.#behave(random.pick(PLUGINS), random.pick(["ADD", "ADD", "CHECK", "DEL", "DEL", "GC", "STATUS"]), list);
        break;
      case 2:
      case 3:
      case 4:
        this.#add(list);
        break;
      case 5:
        this.#check(list);
        break;
      case 6:
      case 7:
        this.#del(list);
        break;
      case 8:
        this.#gc(list);
        break;
      case 9:
        this.#status(list);
        break;
      case 10:
        this.#version(list);
        break;
      default:
        this.#cache(list);
    }
  }

  #behave(plugin: string, command: string, list: List): void {
    const random = this.#random;
    const fails = random.once(2);
    if (fails) this.#failing.add(`${plugin} ${command}`);
    else this.#failing.delete(`${plugin} ${command}`);
    const output = random.pick(command === "ADD" ? this.#results(list) : ["", "ignored", "{}"]);
    const bad = command === "ADD" ? [...FAILURES, ...NO_RESULTS.map(print)] : FAILURES;
    this.#write(
      `record/${plugin}.${command}`,
      `${random.once(5) ? "echo log >&2; " : ""}${fails ? random.pick(bad) : print(output)}`,
    );
  }

  /** What a plugin may print, in the version of the list or another one. */
  #results(list: List): string[] {
    const { cniVersion } = list;
    const other = this.#random.pick(VERSIONS);
    return [
      "{}",
      "null",
      '{"cniVersion":""}',
      ...[cniVersion, cniVersion, other].map((version) => resultText(this.#random, version)),
    ];
  }

  #add(list: List): void {
    const attachment = this.#attachment();
    const isTaken = this.#attached.some(
      (one) => one.containerId === attachment.containerId && one.ifName === attachment.ifName,
    );
    if (isTaken) return;
    this.#steps.push({ do: "add", list: list.text, ...attachment });
    if (this.#succeeds(list, "ADD")) this.#attached.push({ ...attachment, network: list.name });
  }

  #check(list: List): void {
    const attached = this.#random.pick([undefined, ...this.#attachedTo(list)]);
    const isAsked = list.cniVersion >= "0.4.0" && !list.disableCheck;
    if (attached === undefined && isAsked) return;
    this.#steps.push({ do: "check", list: list.text, ...this.#known(attached) });
  }

  #del(list: List): void {
    const attached = this.#random.pick([undefined, ...this.#attachedTo(list), ...this.#attachedTo(list)]);
    const attachment = this.#known(attached);
    // A random one may be attached, and then its parameters count.
    const isOther = attached === undefined && this.#attachedTo(list).some((one) => isSame(one, attachment));
    if (isOther) return;
    const netns = this.#random.once(3) ? "" : attachment.netns;
    this.#steps.push({ do: "del", list: list.text, ...attachment, netns });
    if (this.#succeeds(list, "DEL")) this.#forget(list, attachment);
  }

  #gc(list: List): void {
    const random = this.#random;
    if (random.once(2)) this.#behave(random.pick(list.types), random.pick(["DEL", "GC"]), list);
    const all = this.#attachedTo(list);
    const valid = random.some(all).map(({ containerId, ifName }) => ({ containerID: containerId, ifname: ifName }));
    if (random.once(3)) valid.push({ containerID: "elsewhere", ifname: "eth0" });
    this.#steps.push({ do: "gc", list: list.text, valid });
    if (list.disableGC || !this.#succeeds(list, "DEL")) return;
    for (const one of all) {
      const isValid = valid.some(({ containerID, ifname }) => containerID === one.containerId && ifname === one.ifName);
      if (!isValid && one.isBare !== true) this.#forget(list, one);
    }
  }

  #status(list: List): void {
    if (this.#random.once(2)) this.#behave(this.#random.pick(list.types), "STATUS", list);
    this.#steps.push({ do: "status", list: list.text });
  }

  #version(list: List): void {
    const random = this.#random;
    for (const type of list.types) this.#write(`record/${type}.VERSION`, random.pick(VERSION_ANSWERS));
    this.#steps.push({ do: "version", list: list.text });
  }

  /** What else may be in the cache. */
  #cache(list: List): void {
    const attachment = this.#attachment();
    const isTaken = this.#attached.some(
      (one) => one.containerId === attachment.containerId && one.ifName === attachment.ifName,
    );
    if (isTaken) return;
    const path = `cache/results/${list.name}-${attachment.containerId}-${attachment.ifName}`;
    const random = this.#random;
    if (random.once(3)) {
      if (list.disableGC || !this.#succeeds(list, "DEL")) return;
      const { containerId, netns, ifName, args, capabilityArgs } = attachment;
      const config = Buffer.from(list.text).toString("base64");
      const known = { containerId, config, ifName, networkName: list.name, netns, cniArgs: args, capabilityArgs };
      const result = random.pick([{ cniVersion: "9.9.9" }, { cniVersion: "1.0.0", ips: {} }]);
      this.#write(path, JSON.stringify({ kind: "cniCacheV1", ...known, result }));
      if (random.once(2)) {
        this.#steps.push({ do: "del", list: list.text, ...attachment });
      } else {
        const valid = this.#attachedTo(list).map((one) => ({ containerID: one.containerId, ifname: one.ifName }));
        this.#steps.push({ do: "gc", list: list.text, valid });
      }
    } else if (random.once(2)) {
      this.#write(
        path,
        random.pick(["", "{", "[]", "text", '{"cniVersion":"9.9.9"}', '{"cniVersion":"1.0.0","ips":{}}']),
      );
      this.#steps.push({ do: "check", list: list.text, ...attachment });
      if (random.once(2)) this.#write(path, "left");
      this.#steps.push({ do: "del", list: list.text, ...attachment });
    } else {
      this.#write(path, resultText(random, random.pick(VERSIONS)));
      this.#attached.push({ ...attachment, network: list.name, isBare: true });
    }
  }

  #attachment(): Attachment {
    const random = this.#random;
    const containerId = random.pick(["c1", "C.2_3-4"]);
    return {
      containerId,
      netns: random.pick([`/run/netns/${containerId}`, "/proc/1/ns/net"]),
      ifName: random.pick(["eth0", "net1", "a.1-b_c"]),
      args: random.some([
        ["IgnoreUnknown", "1"],
        ["K8S_POD_NAME", "é=1"],
        ["EMPTY", ""],
      ]),
      capabilityArgs: Object.fromEntries(
        random.some([
          ["portMappings", [{ hostPort: 80, containerPort: 8080, protocol: "tcp" }]],
          ["mac", "00:11:22:33:44:66"],
          ["ips", []],
          ["unknown", { a: null }],
        ]),
      ),
    };
  }

  /** What an attachment was added with, or any. */
  #known(attached: Attached | undefined): Attachment {
    if (attached === undefined) return this.#attachment();
    const { network: _network, isBare, ...attachment } = attached;
    if (isBare !== true) return attachment;
    const { containerId, ifName } = attachment;
    return { ...this.#attachment(), containerId, ifName };
  }

  #attachedTo({ name }: List): Attached[] {
    return this.#attached.filter(({ network }) => network === name);
  }

  #forget({ name }: List, attachment: Attachment): void {
    this.#attached = this.#attached.filter((one) => !(one.network === name && isSame(one, attachment)));
  }

  #succeeds({ types }: List, command: string): boolean {
    return types.every((type) => this.#installed.includes(type) && !this.#failing.has(`${type} ${command}`));
  }

  #write(path: string, text: string): void {
    this.#steps.push({ do: "write", path, text });
  }
}

function isSame(a: Attachment, b: Attachment): boolean {
  return a.containerId === b.containerId && a.ifName === b.ifName;
}

function print(text: string): string {
  return `printf '%s' '${text}'`;
}

/** The ways of a plugin to fail. */
const FAILURES = [
  `printf '{"cniVersion":"1.0.0","code":11,"msg":"busy","details":"lease"}'; exit 1`,
  `printf '{"code":7,"msg":"bad"}'; exit 2`,
  `printf '{"code":8}'; exit 1`,
  `printf '{"code":3,"msg":"no such container"}'; exit 1`,
  `printf '{"code":100,"msg":"own","details":""}'; exit 1`,
  "echo text; exit 1",
  "echo text >&2; exit 1",
  "exit 255",
  "kill -9 $$",
];

/** What a plugin may print that is not a result. */
const NO_RESULTS = [
  "",
  "text",
  "[]",
  "1",
  '"text"',
  "{",
  '{"cniVersion":"9.9.9"}',
  '{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.1"}]}',
  '{"cniVersion":"1.0.0","ips":{}}',
  '{"cniVersion":"0.4.0","interfaces":[{"name":1}]}',
  '{"cniVersion":"0.2.0","ip4":{"ip":"x"}}',
  '{"cniVersion":"1.0.0","routes":[{"dst":"0.0.0.0/0","gw":"x"}]}',
  '{"cniVersion":"1.0.0","dns":{"search":"a"}}',
];

const VERSION_ANSWERS = [
  ...[
    '{"cniVersion":"1.1.0","supportedVersions":["0.4.0","1.0.0"]}',
    '{"cniVersion":"0.2.0"}',
    '{"cniVersion":"0.3.0"}',
  ].map(print),
  ...["", "text", "[]", '{"supportedVersions":["1.0.0"]}', '{"cniVersion":"1.0.0","supportedVersions":[1]}'].map(print),
  `printf '{"code":100,"msg":"unknown CNI_COMMAND: VERSION"}'; exit 1`,
  `printf '{"code":4,"msg":"unknown CNI_COMMAND: VERSION","details":"more"}'; exit 1`,
  "exit 1",
];

/** A result of a version, with one address at least, and with all that there can be. */
export function resultText(random: Random, cniVersion: string): string {
  const route = (): object => ({
    dst: random.pick(["0.0.0.0/0", "10.9.0.7/16", "::/0", "2001:DB8::1/32"]),
    ...(random.once(2) ? { gw: random.pick(["10.1.0.1", "2001:db8:0:0::1", "", "::ffff:10.1.0.1"]) } : {}),
    ...(random.once(4) ? { mtu: random.pick([0, 1400]), advmss: 1360, priority: 0 } : {}),
    ...(random.once(4) ? { table: random.pick([0, 100]), scope: random.pick([0, 253]), unknown: 1 } : {}),
  });
  const routes = (): object[] => Array.from({ length: random.int(3) }, route);
  const dns = random.pick([
    undefined,
    {},
    { nameservers: [] },
    { nameservers: ["10.1.0.1"], domain: "", search: ["a"], options: null },
  ]);
  const gateway = (): object => (random.once(2) ? { gateway: random.pick(["10.1.0.1", "", "fe80::1"]) } : {});
  if (cniVersion < "0.3") {
    const ip4 = { ip: "10.1.0.5/16", ...gateway(), routes: routes() };
    const ip6 = { ip: "2001:DB8:0::5/64", ...gateway(), routes: routes() };
    return JSON.stringify({ cniVersion, ...random.pick([{ ip4 }, { ip6 }, { ip4, ip6 }]), dns });
  }
  const ips = Array.from({ length: 1 + random.int(3) }, () => {
    const address = random.pick(["10.1.0.5/16", "10.1.0.6/32", "2001:db8::0005/064", "::ffff:10.0.0.1/120"]);
    const isV4 = !address.includes(":") || address.includes(".");
    return {
      ...(cniVersion < "1" ? { version: isV4 ? "4" : "6" } : {}),
      address,
      ...gateway(),
      ...(random.once(2) ? { interface: random.int(2) } : {}),
    };
  });
  const interfaces = Array.from({ length: random.int(3) }, (_, index) => ({
    name: `eth${index}`,
    ...(random.once(2) ? { mac: "00:11:22:33:44:55", sandbox: "/run/netns/a" } : { mac: "", sandbox: null }),
    ...(random.once(2) ? { mtu: random.pick([0, 1500]), socketPath: "/run/s", pciID: "0000:00:1f.6" } : {}),
  }));
  return JSON.stringify({ cniVersion, interfaces, ips, routes: routes(), dns, unknown: { a: 1 } });
}
