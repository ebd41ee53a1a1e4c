/** Variables in templates: the facts of the node and its cluster, and the published templates of others. */
import assert from "node:assert/strict";
import * as fs from "node:fs";
import { createServer, type Server } from "node:http";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { suite, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { VARIABLES } from "../src/template/values.ts";
import { cannotMount, Namespace } from "./helpers/namespace.ts";
import { TestNode, until, type Ran } from "./helpers/node.ts";

/** An API server without TLS and credentials, as that of the course's cluster. */
class PlainApi implements AsyncDisposable {
  readonly #server: Server;
  readonly paths: string[] = [];
  /** Answers by path. */
  readonly objects = new Map<string, object>();

  constructor() {
    this.#server = createServer(({ url = "" }, response) => {
      this.paths.push(url);
      const found = this.objects.get(url);
      response.writeHead(found === undefined ? 404 : 200, { "Content-Type": "application/json" });
      const missing = { kind: "Status", apiVersion: "v1", status: "Failure", message: `${url} not found`, code: 404 };
      response.end(JSON.stringify(found ?? missing));
    });
  }

  static async start(node?: object): Promise<PlainApi> {
    const api = new PlainApi();
    api.#server.listen(0, "127.0.0.1");
    await once(api.#server, "listening");
    if (node !== undefined) api.put(node);
    return api;
  }

  /** Puts the Node that is called `n1`. */
  put(node: object): void {
    const metadata = { name: "n1", uid: "u" };
    this.objects.set("/api/v1/nodes/n1", { apiVersion: "v1", kind: "Node", metadata, ...node });
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** The path of a kubeconfig for it. @param port where nobody listens, if another one. */
  kubeconfig(node: TestNode, port = this.port): string {
    const path = join(node.root, "kubeconfig");
    const config = {
      apiVersion: "v1",
      kind: "Config",
      clusters: [{ name: "a", cluster: { server: `http://127.0.0.1:${port}` } }],
      contexts: [{ name: "a", context: { cluster: "a" } }],
      "current-context": "a",
    };
    fs.writeFileSync(path, JSON.stringify(config));
    return path;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#server.listening) await this.close();
  }
}

/** A Node with networks of both families. */
const NODE = {
  spec: { podCIDR: "10.244.3.0/24", podCIDRs: ["10.244.3.0/24", "fd00:10:244:3::/64"] },
  status: {
    addresses: [
      { type: "Hostname", address: "n1" },
      { type: "InternalIP", address: "192.0.2.7" },
    ],
  },
};

function configIn(node: TestNode, name: string): unknown {
  return JSON.parse(fs.readFileSync(join(node.netd, name), "utf8"));
}

/** Installs a template that is published by others, and gives what it has become. */
async function rendered(api: PlainApi, template: string, ...options: string[]): Promise<{ config: unknown; ran: Ran }> {
  using node = new TestNode();
  node.template("10-net.conflist", template);
  const ran = await node.run([
    "install",
    "--configs=10-net.conflist",
    "--node-name=n1",
    `--kubeconfig=${api.kubeconfig(node)}`,
    "--validate=warn",
    ...options,
  ]);
  assert.equal(ran.exitCode, 0, ran.stderr);
  return { config: configIn(node, "10-net.conflist"), ran };
}

suite("a variable in a template", () => {
  test("stands for what the Node and the API say: in a string as text, alone as JSON", async () => {
    await using api = await PlainApi.start(NODE);
    api.objects.set("/api/v1/namespaces/kube-system/configmaps/kubeadm-config", {
      data: { ClusterConfiguration: "kind: ClusterConfiguration\nnetworking:\n  podSubnet: 10.244.0.0/16\n" },
    });
    const { config } = await rendered(
      api,
      `{ "cniVersion": "1.0.0", "name": "net-__NODE_NAME__", "plugins": [{ "type": "x",
        "name": __NODE_NAME__, "ip": "__NODE_IP__", "cidr": "__POD_CIDR__", "cidrs": __POD_CIDRS__, "text": "__POD_CIDRS__",
        "v4": __POD_CIDR_V4__, "v6": __POD_CIDR_V6__, "cluster": __CLUSTER_CIDR__,
        "url": "http://__SERVICE_HOST__:__SERVICE_PORT__", "port": __SERVICE_PORT__ }] }`,
    );
    const [v4, v6] = NODE.spec.podCIDRs;
    assert.deepEqual(config, {
      cniVersion: "1.0.0",
      name: "net-n1",
      plugins: [
        {
          type: "x",
          name: "n1",
          ip: "192.0.2.7",
          cidr: v4,
          cidrs: [v4, v6],
          text: `${v4},${v6}`,
          v4,
          v6,
          cluster: "10.244.0.0/16",
          url: `http://127.0.0.1:${api.port}`,
          port: api.port,
        },
      ],
    });
  });

  test("is asked of the API only if it is used, and once for all templates of a look", async () => {
    await using api = await PlainApi.start(NODE);
    await rendered(api, '{ "cniVersion": "1.0.0", "name": "net-__NODE_NAME__", "plugins": [{ "type": "x" }] }');
    assert.deepEqual(api.paths, []);
    await rendered(
      api,
      '{ "cniVersion": "1.0.0", "name": "net", "plugins": [{ "type": "x", "a": "__POD_CIDR__", "b": "__NODE_IP__" }] }',
    );
    assert.deepEqual(api.paths, ["/api/v1/nodes/n1"]);
  });

  test("that is not there yet blocks with --wait, and never becomes nothing", async () => {
    await using api = await PlainApi.start();
    using node = new TestNode();
    node.template("a.conf", '{ "cniVersion": "1.0.0", "name": "a", "type": "x", "cidr": "__POD_CIDR__" }');
    const argv = ["install", "--configs=a.conf", "--node-name=n1", `--kubeconfig=${api.kubeconfig(node)}`];
    const missing = await node.run(argv);
    assert.equal(missing.exitCode, 1);
    assert.match(missing.stderr, /a\.conf: line 1, column \d+: __POD_CIDR__ has no value: Node n1: does not exist/u);
    const waiting = node.run([...argv, "--wait=60s"]);
    await until(() => api.paths.length > 2);
    api.put({ spec: {} });
    await until(() => api.paths.length > 4);
    assert.deepEqual(fs.readdirSync(node.netd), []);
    api.put(NODE);
    const { exitCode, stderr } = await waiting;
    assert.equal(exitCode, 0, stderr);
    assert.match(stderr, /waiting for the node to change \(--wait\): .*Node n1 has no podCIDR/u);
    assert.equal((configIn(node, "a.conf") as { cidr: string }).cidr, "10.244.3.0/24");
  });

  test("of a cluster that gives nodes no podCIDR says so when the wait is over", async () => {
    await using api = await PlainApi.start({ spec: {} });
    using node = new TestNode();
    node.template("a.conf", '{ "cniVersion": "1.0.0", "name": "a", "type": "x", "cidr": "__POD_CIDR__" }');
    const kubeconfig = `--kubeconfig=${api.kubeconfig(node)}`;
    const ran = await node.run(["install", "--configs=a.conf", "--node-name=n1", kubeconfig, "--wait=1ms"]);
    assert.equal(ran.exitCode, 1);
    assert.match(
      ran.stderr,
      /Node n1 has no podCIDR; waited 0\.001 s for it \(--wait\)\n {2}hint: .*--allocate-node-cidrs/u,
    );
  });

  test("is not taken from the name of the host, and other words are refused with what is known", async () => {
    using node = new TestNode();
    node.template("a.conf", '{ "cniVersion": "1.0.0", "name": "__NODE_NAME__", "type": "x" }');
    const unnamed = await node.run(["install", "--configs=a.conf"], { env: { HOSTNAME: "pod-7" } });
    assert.equal(unnamed.exitCode, 1);
    assert.match(
      unnamed.stderr,
      /__NODE_NAME__ has no value: the name of this node is not known\n {2}hint: give it with --node-name/u,
    );
    node.template("b.conf", '{ "cniVersion": "1.0.0", "name": "a", "type": "x", "site": "__MY_SITE__" }');
    const unknown = await node.run(["install", "--configs=b.conf"], { env: { MY_SITE: "fra1" } });
    assert.equal(unknown.exitCode, 1);
    for (const name of Object.keys(VARIABLES)) assert.match(unknown.stderr, new RegExp(`\\b${name}\\b`, "u"));
    assert.match(unknown.stderr, /--variables='\$MY_SITE'/u);
    const named = await node.run(["install", "--configs=b.conf", "--variables=$MY_SITE"], { env: { MY_SITE: "fra1" } });
    assert.equal(named.exitCode, 0, named.stderr);
    assert.equal((configIn(node, "b.conf") as { site: string }).site, "fra1");
    const empty = await node.run(["install", "--configs=b.conf", "--variables=$MY_SITE"], { env: { MY_SITE: "" } });
    assert.match(empty.stderr, /__MY_SITE__ has no value: the environment variable is empty/u);
    const unset = await node.run(["install", "--configs=b.conf", "--variables=$MY_SITE"]);
    assert.match(unset.stderr, /__MY_SITE__ has no value: the environment variable is not set/u);
  });

  test("names the API that cannot be reached", async () => {
    await using api = await PlainApi.start();
    using node = new TestNode();
    node.template("a.conf", '{ "cniVersion": "1.0.0", "name": "a", "type": "x", "ip": "__NODE_IP__" }');
    const kubeconfig = `--kubeconfig=${api.kubeconfig(node, 1)}`;
    const ran = await node.run(["install", "--configs=a.conf", "--node-name=n1", kubeconfig, "--timeout=100ms"]);
    assert.equal(ran.exitCode, 1);
    assert.match(ran.stderr, /__NODE_IP__ has no value: .*127\.0\.0\.1:1/u);
  });

  test("__KUBECONFIG__ without credentials in the same run says how to get them", async () => {
    using node = new TestNode();
    node.template("a.conf", '{ "cniVersion": "1.0.0", "name": "a", "type": "x", "kubeconfig": "__KUBECONFIG__" }');
    const ran = await node.run(["install", "--configs=a.conf"]);
    assert.equal(ran.exitCode, 1);
    assert.match(ran.stderr, /this run installs no kubeconfig\n {2}hint: .*--credentials/u);
  });

  test(
    "__MTU__ is that of the default route's interface, and __MTU.NAME__ that of another",
    { skip: cannotMount },
    async () => {
      using node = new TestNode();
      const interfaces = `
mount -t sysfs sysfs /sys
ip link add up0 mtu 8942 type veth peer name other mtu 1280
ip address add 192.0.2.1/24 dev up0
ip link set up0 up
ip link set other up
ip route add default via 192.0.2.2`;
      await using namespace = await Namespace.make(interfaces, { net: true, pid: true });
      const template = { cniVersion: "1.0.0", name: "a", type: "bridge", mtu: "MTU", other: "__MTU.other__" };
      node.template("a.conf", JSON.stringify(template).replace('"MTU"', "__MTU__"));
      node.plugin("bridge");
      const onNode = ["--host-root=/", `--config-dir=${node.netd}`, `--plugin-dir=${node.bin}`];
      const argv = ["install", "--plugins=bridge", "--configs=a.conf", ...node.places.slice(0, -1)];
      const hidden = await namespace.bundle([...argv, `--host-root=${node.host}`]);
      assert.match(
        hidden.stderr,
        /__MTU__ has no value: nothing tells that the network that cni-node sees is the node's/u,
      );
      const installed = await namespace.bundle([...argv, ...onNode]);
      assert.equal(installed.exitCode, 0, installed.stderr);
      const { mtu, other } = configIn(node, "a.conf") as { mtu: number; other: string };
      assert.deepEqual([mtu, other], [8942, "1280"]);
      namespace.sh("ip route del default; ip route add unreachable default metric 9");
      const refused = await namespace.bundle([...argv, ...onNode]);
      assert.match(refused.stderr, /__MTU__ has no value: the node has no default route/u);
      namespace.sh("ip -6 address add 2001:db8::1/64 dev other nodad; ip -6 route add default via 2001:db8::2");
      await namespace.bundle([...argv, ...onNode]);
      assert.equal((configIn(node, "a.conf") as { mtu: number }).mtu, 1280, "without IPv4, that of IPv6 counts");
    },
  );
});

suite("--inject-pod-cidr", () => {
  const KUBE_ROUTER = {
    cniVersion: "0.3.0",
    name: "mynet",
    plugins: [
      {
        name: "kubernetes",
        type: "bridge",
        bridge: "kube-bridge",
        isDefaultGateway: true,
        ipam: { type: "host-local", subnet: "10.1.0.0/16" },
      },
    ],
  };

  test("puts the podCIDRs of the Node where kube-router does, and proves the result", async () => {
    await using api = await PlainApi.start(NODE);
    const { config } = await rendered(api, JSON.stringify(KUBE_ROUTER), "--inject-pod-cidr");
    const [plugin] = KUBE_ROUTER.plugins;
    const ranges = NODE.spec.podCIDRs.map((subnet) => [{ subnet }]);
    assert.deepEqual(config, { ...KUBE_ROUTER, plugins: [{ ...plugin, ipam: { type: "host-local", ranges } }] });
  });

  test("waits for the podCIDR, and refuses configurations that have no place for it", async () => {
    await using api = await PlainApi.start({ spec: {} });
    using node = new TestNode();
    node.template("a.conflist", JSON.stringify(KUBE_ROUTER));
    node.template("b.conf", '{ "cniVersion": "1.0.0", "name": "b", "type": "calico" }');
    const options = ["--node-name=n1", `--kubeconfig=${api.kubeconfig(node)}`, "--inject-pod-cidr"];
    const missing = await node.run(["install", "--configs=a.conflist", ...options]);
    assert.match(missing.stderr, /--inject-pod-cidr: Node n1 has no podCIDR\n {2}hint: .*--allocate-node-cidrs/u);
    assert.deepEqual([missing.exitCode, fs.readdirSync(node.netd)], [1, []]);
    const waiting = node.run(["install", "--configs=a.conflist", "--wait=60s", ...options]);
    await until(() => api.paths.length > 1);
    api.put(NODE);
    assert.equal((await waiting).exitCode, 0);
    const placeless = await node.run(["install", "--configs=b.conf", ...options]);
    assert.match(placeless.stderr, /--inject-pod-cidr: b\.conf: has no plugin of type bridge/u);
    assert.equal(placeless.exitCode, 1);
    node.template(
      "c.conf",
      '{ "cniVersion": "1.0.0", "name": "c", "type": "bridge", "ipam": { "type": "host-local" } }',
    );
    const twice = await node.run(["install", "--configs=a.conflist,c.conf", ...options]);
    assert.match(twice.stderr, /--inject-pod-cidr: a\.conflist, c\.conf: each has a bridge plugin/u);
    assert.equal(twice.exitCode, 1);
  });

  test("of a node with another podCIDR replaces the old one, and nothing is written if it is right", async () => {
    await using api = await PlainApi.start(NODE);
    using node = new TestNode();
    node.template("a.conflist", JSON.stringify(KUBE_ROUTER));
    const argv = ["install", "--configs=a.conflist", "--node-name=n1", `--kubeconfig=${api.kubeconfig(node)}`];
    await node.run([...argv, "--inject-pod-cidr"]);
    assert.match((await node.run([...argv, "--inject-pod-cidr"])).stdout, /unchanged/u);
    await sleep(1100);
    api.put({ spec: { podCIDR: "10.244.9.0/24" } });
    assert.match((await node.run([...argv, "--inject-pod-cidr"])).stdout, /configured/u);
    assert.deepEqual(JSON.stringify(configIn(node, "a.conflist")).match(/10\.244\.\d+/gu), ["10.244.9"]);
  });
});

/** As the projects publish them, retold; what each would have written on this node. */
suite("a published template becomes what its project would have written", () => {
  const [v4, v6] = NODE.spec.podCIDRs;

  test("kindnet: ranges and routes of both families", async () => {
    await using api = await PlainApi.start(NODE);
    const ipam = (ranges: unknown): object => ({
      type: "host-local",
      dataDir: "/run/cni-ipam-state",
      routes: [{ dst: "0.0.0.0/0" }, { dst: "::/0" }],
      ranges,
    });
    const whole = (ranges: unknown): object => ({
      cniVersion: "0.3.1",
      name: "kindnet",
      plugins: [
        { type: "ptp", ipMasq: false, ipam: ipam(ranges) },
        { type: "portmap", capabilities: { portMappings: true } },
      ],
    });
    const template = whole([[{ subnet: "__POD_CIDR_V4__" }], [{ subnet: "__POD_CIDR_V6__" }]]);
    const { config } = await rendered(api, JSON.stringify(template));
    assert.deepEqual(config, whole([[{ subnet: v4 }], [{ subnet: v6 }]]));
  });

  test("kube-router: the podCIDR in the ranges of the bridge", async () => {
    await using api = await PlainApi.start({ spec: { podCIDR: v4 } });
    const whole = (subnet: string | undefined): object => ({
      cniVersion: "0.3.0",
      name: "mynet",
      plugins: [
        {
          name: "kubernetes",
          type: "bridge",
          bridge: "kube-bridge",
          isDefaultGateway: true,
          ipam: { type: "host-local", ranges: [[{ subnet }]] },
        },
      ],
    });
    const { config } = await rendered(api, JSON.stringify(whole("__POD_CIDR__")));
    assert.deepEqual(config, whole(v4));
  });

  test("flannel: nothing, for its plugin reads the file of its daemon", async () => {
    await using api = await PlainApi.start();
    const template = {
      cniVersion: "0.3.1",
      name: "cbr0",
      plugins: [
        { type: "flannel", delegate: { hairpinMode: true, isDefaultGateway: true } },
        { type: "portmap", capabilities: { portMappings: true } },
      ],
    };
    const { config } = await rendered(api, JSON.stringify(template));
    assert.deepEqual(config, template);
  });

  test("Calico: node, MTU, kubeconfig, and the defaults of its installer", async () => {
    await using api = await PlainApi.start();
    const template = `{
  "name": "k8s-pod-network",
  "cniVersion": "1.0.0",
  "plugins": [
    {
      "type": "calico",
      "log_level": "__LOG_LEVEL__",
      "log_file_path": "__LOG_FILE_PATH__",
      "log_file_max_size": __LOG_FILE_MAX_SIZE__,
      "datastore_type": "__DATASTORE_TYPE__",
      "nodename": "__KUBERNETES_NODE_NAME__",
      "mtu": __CNI_MTU__,
      "ipam": { "type": "calico-ipam" },
      "kubernetes": { "kubeconfig": "__KUBECONFIG_FILEPATH__", "k8s_api_root": "https://__KUBERNETES_SERVICE_HOST__:__KUBERNETES_SERVICE_PORT__" }
    },
    { "type": "portmap", "snat": true, "capabilities": { "portMappings": true } }
  ]
}`;
    using node = new TestNode();
    node.template("10-calico.conflist", template);
    // Calico's installer takes the path and the MTU from its environment, too.
    const ran = await node.run(
      [
        "install",
        "--configs=10-calico.conflist",
        "--node-name=n1",
        `--kubeconfig=${api.kubeconfig(node)}`,
        "--variables=$CNI_MTU $KUBECONFIG_FILEPATH",
        "--validate=warn",
      ],
      { env: { CNI_MTU: "1440", KUBECONFIG_FILEPATH: "/etc/cni/net.d/calico-kubeconfig" } },
    );
    assert.equal(ran.exitCode, 0, ran.stderr);
    assert.deepEqual(configIn(node, "10-calico.conflist"), {
      name: "k8s-pod-network",
      cniVersion: "1.0.0",
      plugins: [
        {
          type: "calico",
          log_level: "info",
          log_file_path: "/var/log/calico/cni/cni.log",
          log_file_max_size: 100,
          datastore_type: "kubernetes",
          nodename: "n1",
          mtu: 1440,
          ipam: { type: "calico-ipam" },
          kubernetes: {
            kubeconfig: "/etc/cni/net.d/calico-kubeconfig",
            k8s_api_root: `https://127.0.0.1:${api.port}`,
          },
        },
        { type: "portmap", snat: true, capabilities: { portMappings: true } },
      ],
    });
  });

  test("AWS VPC CNI: the defaults of its installer, and the node's address", async () => {
    await using api = await PlainApi.start(NODE);
    const template = {
      cniVersion: "0.4.0",
      name: "aws-cni",
      plugins: [
        {
          name: "aws-cni",
          type: "aws-cni",
          vethPrefix: "__VETHPREFIX__",
          mtu: "__MTU__",
          podSGEnforcingMode: "__PODSGENFORCINGMODE__",
          pluginLogFile: "__PLUGINLOGFILE__",
          pluginLogLevel: "__PLUGINLOGLEVEL__",
          nodeIP: "__NODEIP__",
        },
        {
          name: "egress-cni",
          type: "egress-cni",
          mtu: "__MTU__",
          enabled: "__EGRESSPLUGINENABLED__",
          randomizeSNAT: "__RANDOMIZESNAT__",
          nodeIP: "__NODEIP__",
          ipam: {
            type: "host-local",
            ranges: [[{ subnet: "__EGRESSPLUGINIPAMSUBNET__" }]],
            routes: [{ dst: "__EGRESSPLUGINIPAMDST__" }],
            dataDir: "__EGRESSPLUGINIPAMDATADIR__",
          },
          pluginLogFile: "__EGRESSPLUGINLOGFILE__",
          pluginLogLevel: "__PLUGINLOGLEVEL__",
        },
      ],
    };
    using node = new TestNode();
    node.template("10-aws.conflist", JSON.stringify(template));
    const ran = await node.run(
      [
        "install",
        "--configs=10-aws.conflist",
        "--node-name=n1",
        `--kubeconfig=${api.kubeconfig(node)}`,
        "--variables=$MTU",
        "--validate=warn",
      ],
      { env: { MTU: "9001" } },
    );
    assert.equal(ran.exitCode, 0, ran.stderr);
    const { plugins } = configIn(node, "10-aws.conflist") as { plugins: object[] };
    assert.deepEqual(plugins[0], {
      name: "aws-cni",
      type: "aws-cni",
      vethPrefix: "eni",
      mtu: "9001",
      podSGEnforcingMode: "strict",
      pluginLogFile: "/var/log/aws-routed-eni/plugin.log",
      pluginLogLevel: "Debug",
      nodeIP: "192.0.2.7",
    });
    // AWS leaves nodeIP of this plugin empty while it is not enabled.
    assert.deepEqual(plugins[1], {
      name: "egress-cni",
      type: "egress-cni",
      mtu: "9001",
      enabled: "false",
      randomizeSNAT: "prng",
      nodeIP: "192.0.2.7",
      ipam: {
        type: "host-local",
        ranges: [[{ subnet: "fd00::ac:00/118" }]],
        routes: [{ dst: "::/0" }],
        dataDir: "/run/cni/v4pd/egress-v6-ipam",
      },
      pluginLogFile: "/var/log/aws-routed-eni/egress-v6-plugin.log",
      pluginLogLevel: "Debug",
    });
  });
});

suite("watch with variables in its templates", () => {
  test("repairs plugins at once when it is started while the API is away", async () => {
    await using api = await PlainApi.start(NODE);
    using node = new TestNode();
    node.plugin("bridge");
    node.template("a.conf", '{ "cniVersion": "1.0.0", "name": "a", "type": "bridge", "cidr": "__POD_CIDR__" }');
    const options = ["--plugins=bridge", "--configs=a.conf", "--owner=o", "--node-name=n1", "--timeout=1s"];
    const kubeconfig = `--kubeconfig=${api.kubeconfig(node)}`;
    assert.equal((await node.run(["install", ...options, kubeconfig])).exitCode, 0);
    await api.close();
    fs.unlinkSync(join(node.bin, "bridge"));
    const child = node.start(["watch", ...options, kubeconfig, "--events=false"]);
    try {
      await until(() => fs.existsSync(join(node.bin, "bridge")));
      assert.ok(fs.existsSync(join(node.netd, "a.conf")));
    } finally {
      child.kill("SIGTERM");
      await new Promise((resolve) => child.once("close", resolve));
    }
  });

  test("keeps everything else right while a value is missing, and takes it when it is there", async () => {
    await using api = await PlainApi.start({ spec: {} });
    using node = new TestNode();
    node.plugin("bridge");
    node.template("a.conf", '{ "cniVersion": "1.0.0", "name": "a", "type": "bridge", "cidr": "__POD_CIDR__" }');
    const argv = ["watch", "--plugins=bridge", "--configs=a.conf", "--owner=o", "--node-name=n1", "--events=false"];
    const child = node.start([...argv, `--kubeconfig=${api.kubeconfig(node)}`]);
    try {
      await until(() => fs.existsSync(join(node.bin, "bridge")));
      assert.deepEqual(
        fs.readdirSync(node.netd).filter((name) => name.endsWith(".conf")),
        [],
      );
      api.put(NODE);
      await until(() => fs.existsSync(join(node.netd, "a.conf")));
      // What was known counts while the API is away.
      await api.close();
      await sleep(1500);
      fs.unlinkSync(join(node.netd, "a.conf"));
      await until(() => fs.existsSync(join(node.netd, "a.conf")));
    } finally {
      child.kill("SIGTERM");
      await new Promise((resolve) => child.once("close", resolve));
    }
  });
});
