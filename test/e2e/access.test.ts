/** The ways to the Kubernetes API, each with a real one at its end. */
import assert from "node:assert/strict";
import * as fs from "node:fs";
import { createServer, type Server } from "node:http";
import { connect, type AddressInfo } from "node:net";
import { join } from "node:path";
import { after, before, suite, test } from "node:test";

import { cannotStart, startCluster, type Cluster } from "../cluster/cluster.ts";
import { TestNode, type Ran } from "../helpers/node.ts";

interface Kubeconfig {
  clusters: { name: string; cluster: Record<string, unknown> }[];
  users: { name: string; user: Record<string, unknown> }[];
  contexts: { name: string; context: Record<string, unknown> }[];
  "current-context": string;
}

suite("access", { skip: cannotStart }, () => {
  let cluster: Cluster;
  before(async () => {
    cluster = await startCluster();
  });
  after(async () => cluster.stop());

  const rules = [{ verbs: ["get", "create", "patch"], apiGroups: [""], resources: ["configmaps"] }];

  function read(path: string): Kubeconfig {
    return JSON.parse(fs.readFileSync(path, "utf8")) as Kubeconfig;
  }

  function write(name: string, config: unknown): string {
    const path = join(cluster.directory, name);
    fs.writeFileSync(path, JSON.stringify(config), { mode: 0o600 });
    return path;
  }

  async function install(name: string, options: string[], env: NodeJS.ProcessEnv = {}): Promise<Ran> {
    using node = new TestNode();
    node.manifest("a.yaml", `apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: ${name}\n`);
    return await node.run(["install", "--manifests=a.yaml", "--timeout=5s", ...options], { env });
  }

  async function isThere(name: string): Promise<boolean> {
    return (await cluster.request("GET", `/api/v1/namespaces/default/configmaps/${name}`)).status === 200;
  }

  test("a client certificate, by KUBECONFIG", async () => {
    const kubeconfig = await cluster.kubeconfigFor({ name: "certified", kind: "User", rules });
    const ran = await install("by-certificate", [], { KUBECONFIG: kubeconfig });
    assert.equal(ran.exitCode, 0, ran.stderr);
    assert.ok(await isThere("by-certificate"));
  });

  test("a program that gives the credentials (exec)", async () => {
    const config = read(await cluster.kubeconfigFor({ name: "executed", rules }));
    const answer = {
      apiVersion: "client.authentication.k8s.io/v1",
      kind: "ExecCredential",
      status: { token: config.users[0]?.user["token"] },
    };
    const program = join(cluster.directory, "credentials");
    fs.writeFileSync(program, `#!/bin/sh\necho '${JSON.stringify(answer)}'\n`, { mode: 0o700 });
    const exec = { apiVersion: "client.authentication.k8s.io/v1", command: program, interactiveMode: "Never" };
    const kubeconfig = write("exec.json", { ...config, users: [{ name: "test", user: { exec } }] });
    const ran = await install("by-exec", [`--kubeconfig=${kubeconfig}`]);
    assert.equal(ran.exitCode, 0, ran.stderr);
    assert.ok(await isThere("by-exec"));
  });

  test("--context chooses another context than the current one, and names those there are", async () => {
    const config = read(await cluster.kubeconfigFor({ name: "chosen", rules }));
    const wrong = { name: "wrong", context: { cluster: "nowhere", user: "test" } };
    const nowhere = { name: "nowhere", cluster: { server: "https://127.0.0.1:1" } };
    const kubeconfig = write("contexts.json", {
      ...config,
      clusters: [...config.clusters, nowhere],
      contexts: [wrong, ...config.contexts],
      "current-context": "wrong",
    });
    const ran = await install("by-context", [`--kubeconfig=${kubeconfig}`, "--context=test"]);
    assert.equal(ran.exitCode, 0, ran.stderr);
    assert.ok(await isThere("by-context"));
    const refused = await install("by-context", [`--kubeconfig=${kubeconfig}`, "--context=other"]);
    assert.equal(refused.exitCode, 1);
    assert.match(
      refused.stderr,
      /--context: the kubeconfig has no context "other"\n {2}hint: those there are: wrong, test\n/u,
    );
  });

  test("several files in KUBECONFIG are one kubeconfig, the first wins", async () => {
    const config = read(await cluster.kubeconfigFor({ name: "merged", rules }));
    const first = write("first.json", { ...config, users: [] });
    const second = write("second.json", { ...config, "current-context": "none", clusters: [], contexts: [] });
    const ran = await install("by-merged", [], { KUBECONFIG: `${first}:${second}` });
    assert.equal(ran.exitCode, 0, ran.stderr);
    assert.ok(await isThere("by-merged"));
  });

  test("of several files those that are not there do not count, and a name that is there twice is the first's", async () => {
    const config = read(await cluster.kubeconfigFor({ name: "several", rules }));
    const empty = write("empty.json", { apiVersion: "v1", kind: "Config" });
    const whole = write("whole.json", config);
    const clusters = [{ name: "test", cluster: { server: "https://127.0.0.1:1" } }];
    const other = write("other.json", { ...config, clusters });
    const ran = await install("by-several", [], { KUBECONFIG: `/nowhere/config:${empty}:${whole}:${other}` });
    assert.equal(ran.exitCode, 0, ran.stderr);
    assert.ok(await isThere("by-several"));
  });

  test("a token in a file, by its path from the kubeconfig", async () => {
    const config = read(await cluster.kubeconfigFor({ name: "filed", rules }));
    fs.writeFileSync(join(cluster.directory, "filed.token"), String(config.users[0]?.user["token"]));
    const kubeconfig = write("token-file.json", {
      ...config,
      users: [{ name: "test", user: { tokenFile: "filed.token" } }],
    });
    const ran = await install("by-token-file", [`--kubeconfig=${kubeconfig}`]);
    assert.equal(ran.exitCode, 0, ran.stderr);
    assert.ok(await isThere("by-token-file"));
  });

  const executed = (script: string): object => ({
    exec: { apiVersion: "client.authentication.k8s.io/v1", command: "sh", args: ["-c", script] },
  });
  const unusable: [about: string, change: { server?: string; user?: object; named?: string }, message: RegExp][] = [
    ["a server that is not an address", { server: "10.0.0.1:6443" }, /column \d+: the server is not an address that/u],
    ["a server of another kind", { server: "localhost:6443" }, /column \d+: the server is not an address that/u],
    ["a user that is not there", { named: "nobody" }, /column \d+: the context names a user that is not there/u],
    [
      "a token file that is not there",
      { user: { tokenFile: "/nowhere/t" } },
      /\/nowhere\/t: the credentials cannot be read: no such file/u,
    ],
    [
      "a certificate that is not there",
      { user: { "client-certificate": "/nowhere/c" } },
      /\/nowhere\/c: the credentials cannot be read: no such file/u,
    ],
    [
      "a program that fails",
      { user: executed("echo S3CRET >&2; exit 1") },
      /credential program failed with exit code 1/u,
    ],
    ["a program that prints anything", { user: executed("echo S3CRET") }, /credential program did not print JSON/u],
    ["a program that prints no status", { user: executed("echo {}") }, /credential program printed no ExecCredential/u],
  ];
  for (const [about, { server = "https://127.0.0.1:1", user = { token: "t" }, named = "test" }, message] of unusable) {
    test(`${about} is told at once`, async () => {
      const kubeconfig = write("unusable.json", {
        apiVersion: "v1",
        kind: "Config",
        clusters: [{ name: "test", cluster: { server, "insecure-skip-tls-verify": true } }],
        users: [{ name: "test", user }],
        contexts: [{ name: "test", context: { cluster: "test", user: named } }],
        "current-context": "test",
      });
      const ran = await install("unusable", [`--kubeconfig=${kubeconfig}`, "--timeout=1h"]);
      assert.equal(ran.exitCode, 1);
      assert.match(ran.stderr, message);
      assert.match(ran.stderr, /\n {2}hint: /u);
      assert.doesNotMatch(ran.stderr, /S3CRET|please report/u);
    });
  }

  // This machine is never reached by a proxy of the environment: there the API has a name that only the proxy knows.
  const named = { server: "https://api.invalid", "tls-server-name": "kubernetes.default.svc" };
  for (const [way, wayOptions] of [
    ["HTTPS_PROXY", (url: string) => ({ env: { HTTPS_PROXY: url }, cluster: named })],
    ["https_proxy", (url: string) => ({ env: { https_proxy: url, NO_PROXY: "10.96.0.0/12,.svc" }, cluster: named })],
    ["proxy-url of the kubeconfig", (url: string) => ({ env: { NO_PROXY: "*" }, cluster: { "proxy-url": url } })],
  ] as const) {
    test(`M1: a proxy, by ${way}`, async () => {
      const config = read(await cluster.kubeconfigFor({ name: `proxied-${way.length}-${way.startsWith("H")}`, rules }));
      const { server, seen } = await connectProxy(new URL(cluster.server).host);
      try {
        const options = wayOptions(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
        const clusters = config.clusters.map((entry) => ({
          ...entry,
          cluster: { ...entry.cluster, ...options.cluster },
        }));
        const kubeconfig = write("proxied.json", { ...config, clusters });
        const name = `by-${way.length}-${way.startsWith("H")}`;
        const ran = await install(name, [`--kubeconfig=${kubeconfig}`], options.env);
        assert.equal(ran.exitCode, 0, ran.stderr);
        assert.ok(await isThere(name));
        assert.notEqual(seen.length, 0, "it went through the proxy");
      } finally {
        server.closeAllConnections();
        server.close();
      }
    });
  }

  for (const NO_PROXY of [undefined, "127.0.0.0/8"]) {
    test(`M1: this machine is reached without the proxy of the environment, NO_PROXY=${NO_PROXY ?? ""}`, async () => {
      const kubeconfig = await cluster.kubeconfigFor({ name: `direct-${NO_PROXY === undefined}`, rules });
      const env = { HTTPS_PROXY: "http://127.0.0.1:1", NO_PROXY };
      const ran = await install(`direct-${NO_PROXY === undefined}`, [`--kubeconfig=${kubeconfig}`], env);
      assert.equal(ran.exitCode, 0, ran.stderr);
    });
  }

  test("a certificate that is not trusted is told at once, not tried until the time is over", async () => {
    const config = read(await cluster.kubeconfigFor({ name: "untrusting", rules }));
    const clusters = config.clusters.map(({ name, cluster: { server } }) => ({ name, cluster: { server } }));
    const kubeconfig = write("untrusted.json", { ...config, clusters });
    const ran = await install("untrusted", [`--kubeconfig=${kubeconfig}`, "--timeout=1h"]);
    assert.equal(ran.exitCode, 1);
    assert.match(ran.stderr, /the Kubernetes API cannot be reached: .*certificate/u);
  });

  test("what a role forbids is told as verb, resource and user, with the rule that would allow it", async () => {
    const kubeconfig = await cluster.kubeconfigFor({ name: "poor", rules: [{ ...rules[0]!, verbs: ["create"] }] });
    const ran = await install("forbidden", [`--kubeconfig=${kubeconfig}`]);
    assert.equal(ran.exitCode, 1);
    assert.match(ran.stderr, /User "system:serviceaccount:default:poor" cannot get resource "configmaps"/u);
    assert.match(
      ran.stderr,
      /hint: add to its Role or ClusterRole the rule \{apiGroups: \[""\], resources: \["configmaps"\], verbs: \["get"\]\}/u,
    );
  });

  test("that objects may not be deleted is found out before anything is touched", async () => {
    const kubeconfig = await cluster.kubeconfigFor({ name: "keeper", rules });
    using node = new TestNode();
    node.plugin("bridge");
    node.manifest("a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: keeper\n");
    const lists = ["--plugins=bridge", "--manifests=a.yaml", `--kubeconfig=${kubeconfig}`];
    assert.equal((await node.run(["install", ...lists])).exitCode, 0);
    const ran = await node.run(["uninstall", ...lists]);
    assert.equal(ran.exitCode, 1);
    assert.match(ran.stderr, /ConfigMap default\/keeper: cannot be deleted: .*\n {2}hint: add .* verbs: \["delete"\]/u);
    assert.ok(fs.existsSync(join(node.bin, "bridge")));
  });
});

/** A proxy as companies have it: it sees no more than where to. It connects to one place only, whatever its name. */
async function connectProxy(target: string): Promise<{ server: Server; seen: string[] }> {
  const seen: string[] = [];
  const server = createServer();
  server.on("connect", ({ url = "" }, socket) => {
    seen.push(url);
    const { hostname, port } = new URL(`https://${target}`);
    const upstream = connect(Number(port), hostname, () => {
      socket.write("HTTP/1.1 200 Connection Established\r\n\r\n");
      upstream.pipe(socket).pipe(upstream);
    });
    for (const end of [socket, upstream]) end.on("error", () => [socket.destroy(), upstream.destroy()]);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { server, seen };
}
