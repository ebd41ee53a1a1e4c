/** How the API is reached, without one: what a kubeconfig comes to. The ways to a real one are in test/e2e. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import { createServer, connect, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, suite, test } from "node:test";

import { findAccess, type Access } from "../../src/cluster/access.ts";
import { Api } from "../../src/cluster/request.ts";
import { Deadline } from "../../src/system/deadline.ts";
import { cannotSign, CertificateAuthority } from "./pki.ts";
import { HostileApi } from "./hostile.ts";

const V1 = "client.authentication.k8s.io/v1";
const never = new AbortController().signal;

suite("access by a kubeconfig", { skip: cannotSign }, () => {
  let directory: string;
  before(() => {
    directory = fs.mkdtempSync(join(fs.realpathSync(tmpdir()), "cni-node-access-"));
  });
  after(() => fs.rmSync(directory, { recursive: true }));

  function accessOf(parts: { cluster?: object; user?: object }, env: NodeJS.ProcessEnv = {}): Access {
    const path = join(directory, "kubeconfig");
    const config = {
      clusters: [
        { name: "c", cluster: { server: "https://127.0.0.1:1", "insecure-skip-tls-verify": true, ...parts.cluster } },
      ],
      users: [{ name: "u", user: parts.user ?? {} }],
      contexts: [{ name: "x", context: { cluster: "c", user: "u" } }],
      "current-context": "x",
    };
    fs.writeFileSync(path, JSON.stringify(config, null, "\t"));
    return findAccess({ kubeconfig: path, env: { PATH: process.env["PATH"], ...env } });
  }

  /** A program that writes down what it is given, and answers what is in a file. */
  function program(status: object, apiVersion = V1): string {
    fs.writeFileSync(join(directory, "answer"), JSON.stringify({ kind: "ExecCredential", apiVersion, status }));
    fs.writeFileSync(
      join(directory, "program"),
      `#!/bin/sh\nenv > ${directory}/env\necho "$*" >> ${directory}/calls\ncat ${directory}/answer\n`,
      { mode: 0o700 },
    );
    fs.writeFileSync(join(directory, "calls"), "");
    return "./program";
  }

  const calls = (): string[] => fs.readFileSync(join(directory, "calls"), "utf8").split("\n").slice(0, -1);
  const given = (name: string): string | undefined =>
    fs
      .readFileSync(join(directory, "env"), "utf8")
      .split("\n")
      .find((line) => line.startsWith(`${name}=`))
      ?.slice(name.length + 1);

  test("M6: a program gets its arguments, its environment and KUBERNETES_EXEC_INFO, and its path starts at the file", async () => {
    for (const apiVersion of [V1, `${V1}beta1`]) {
      const command = program({ token: "t" }, apiVersion);
      const env = [{ name: "OWN", value: "1" }];
      const access = accessOf(
        { user: { exec: { apiVersion, command, args: ["a b", "c"], env } } },
        { OURS: "2", OWN: "0" },
      );
      assert.equal((await access.credentials(never)).headers["Authorization"], "Bearer t");
      assert.deepEqual(calls(), ["a b c"]);
      assert.deepEqual([given("OWN"), given("OURS")], ["1", "2"]);
      const info = { kind: "ExecCredential", apiVersion, spec: { interactive: false } };
      assert.deepEqual(JSON.parse(given("KUBERNETES_EXEC_INFO") ?? ""), info);
    }
  });

  test("M6: provideClusterInfo tells the program of the cluster, and what is meant for it", async () => {
    const authority = await CertificateAuthority.make(join(directory, "pki-info"));
    const command = program({ token: "t" });
    const cluster = {
      "certificate-authority": "pki-info/" + authority.certificate.split("/").at(-1),
      "insecure-skip-tls-verify": null,
      "tls-server-name": "api",
      "proxy-url": "http://proxy",
      extensions: [
        { name: "client.authentication.k8s.io/exec", extension: { audience: 1, deep: [true] } },
        { name: "other" },
      ],
    };
    await accessOf({ cluster, user: { exec: { apiVersion: V1, command, provideClusterInfo: true } } }).credentials(
      never,
    );
    const { spec } = JSON.parse(given("KUBERNETES_EXEC_INFO") ?? "") as { spec: { cluster: object } };
    assert.deepEqual(spec.cluster, {
      server: "https://127.0.0.1:1",
      "tls-server-name": "api",
      "certificate-authority-data": fs.readFileSync(authority.certificate).toString("base64"),
      "proxy-url": "http://proxy",
      config: { audience: 1, deep: [true] },
    });
  });

  test("M6: what a program gave is kept until it expires or is refused", async () => {
    const later = new Date(Date.now() + 3_600_000).toISOString();
    for (const [expirationTimestamp, expected] of [
      [undefined, 1],
      [later, 1],
      ["2000-01-01T00:00:00Z", 3],
    ] as const) {
      const command = program({ token: "t", expirationTimestamp });
      const access = accessOf({ user: { exec: { apiVersion: V1, command } } });
      for (let time = 0; time < 3; time++) await access.credentials(never);
      assert.equal(calls().length, expected);
      access.refused();
      await access.credentials(never);
      assert.equal(calls().length, expected + 1);
    }
  });

  test("M6: a program may give a client certificate", async () => {
    const authority = await CertificateAuthority.make(join(directory, "pki-exec"));
    const { certificate, key } = await authority.client("exec", { user: "exec" });
    const [clientCertificateData, clientKeyData] = [certificate, key].map((path) => fs.readFileSync(path, "utf8"));
    const command = program({ clientCertificateData, clientKeyData });
    const { route, headers } = await accessOf({ user: { exec: { apiVersion: V1, command } } }).credentials(never);
    assert.ok(route.tls?.context);
    assert.deepEqual(headers, {});
  });

  test("M6: the hint for a program that is not there is the kubeconfig's own", async () => {
    const exec = { apiVersion: V1, command: "no-such-program", installHint: "get it\nfrom us" };
    await assert.rejects(
      accessOf({ user: { exec } }).credentials(never),
      (error: { hint?: string; message: string }) => {
        assert.equal(error.hint, "get it\\u000afrom us");
        assert.doesNotMatch(error.message, /no-such-program/u);
        return true;
      },
    );
  });

  test("whom to be instead (as) is said in full", async () => {
    const user = { token: "t", as: "a", "as-uid": "1", "as-groups": ["g", "h"], "as-user-extra": { "x/y": ["1"] } };
    const { headers } = await accessOf({ user }).credentials(never);
    assert.deepEqual(headers, {
      Authorization: "Bearer t",
      "Impersonate-User": "a",
      "Impersonate-Uid": "1",
      "Impersonate-Group": ["g", "h"],
      "Impersonate-Extra-x%2Fy": ["1"],
    });
  });

  test("texts that look like numbers, booleans or nothing are read as kubectl does", async () => {
    const path = join(directory, "numbers.yaml");
    fs.writeFileSync(
      path,
      'apiVersion: v1\nkind: Config\npreferences: {}\nclusters:\n- name: 1\n  cluster:\n    server: "http://127.0.0.1:1"\n' +
        "users: null\ncontexts:\n- name: true\n  context: {cluster: 1, user: ~, namespace: 12}\ncurrent-context: true\n",
    );
    const access = findAccess({ kubeconfig: path, env: {} });
    assert.equal(access.namespace, "12");
    assert.deepEqual((await access.credentials(never)).headers, {});
  });

  test("credentials are not sent to a server without TLS", () => {
    const cluster = { server: "http://127.0.0.1:1" };
    assert.throws(() => accessOf({ cluster, user: { token: "t" } }), /line \d+, column \d+: the server has no TLS/u);
    assert.doesNotThrow(() => accessOf({ cluster, user: {} }));
  });

  async function statusOf(path: string, env: NodeJS.ProcessEnv = {}): Promise<number> {
    const api = new Api(findAccess({ kubeconfig: path, env }), new Deadline(5000), never);
    return (await api.request({ method: "GET", path: "/api/v1" })).status;
  }

  test("M17: without a CA the system's counts, as Go finds it, and nobody advises flags of Node.js", async () => {
    await using api = await HostileApi.start();
    const path = api.kubeconfig({ token: "t" }, { "certificate-authority-data": "" });
    const own = join(api.directory, "pki", "ca.crt");
    const store = fs.mkdtempSync(join(directory, "store-"));
    await assert.rejects(statusOf(path, { SSL_CERT_FILE: "/nowhere", SSL_CERT_DIR: store }), (error: Error) => {
      assert.match(error.message, /its certificate is signed by an authority that is not trusted/u);
      assert.doesNotMatch(error.message, /--use|Node|NODE_/u);
      return true;
    });
    assert.equal(await statusOf(path, { SSL_CERT_FILE: own, SSL_CERT_DIR: store }), 200);
    fs.copyFileSync(own, join(store, "ours.pem"));
    spawnSync("mkfifo", [join(store, "fifo")]);
    assert.equal(await statusOf(path, { SSL_CERT_FILE: "/nowhere", SSL_CERT_DIR: `/nowhere:${store}` }), 200);
  });

  test("a server is known by tls-server-name, and refused under another", async () => {
    await using api = await HostileApi.start();
    const server = `https://localhost:${api.port}`;
    assert.equal(await statusOf(api.kubeconfig({}, { server, "tls-server-name": "kubernetes.default.svc" })), 200);
    assert.equal(await statusOf(api.kubeconfig({}, { server, "tls-server-name": "127.0.0.1" })), 200);
    await assert.rejects(statusOf(api.kubeconfig({}, { server, "tls-server-name": "other" })), /altnames/u);
  });

  test("M1: by a proxy of SOCKS, with a name that only the proxy knows", async () => {
    await using api = await HostileApi.start();
    const asked: string[] = [];
    const proxy = createServer((socket) => {
      socket.once("data", () => {
        socket.write(Buffer.from([5, 0]));
        socket.once("data", (request: Buffer) => {
          asked.push(request.subarray(5, 5 + (request[4] ?? 0)).toString());
          const upstream = connect(api.port, "127.0.0.1", () => {
            socket.write(Buffer.from([5, 0, 0, 1, 0, 0, 0, 0, 0, 0]));
            upstream.pipe(socket).pipe(upstream);
          });
          for (const end of [socket, upstream]) end.on("error", () => [socket.destroy(), upstream.destroy()]);
        });
      });
    }).listen(0, "127.0.0.1");
    await new Promise((resolve) => proxy.once("listening", resolve));
    const cluster = {
      server: "https://kubernetes.default.svc",
      "proxy-url": `socks5://127.0.0.1:${(proxy.address() as AddressInfo).port}`,
    };
    try {
      assert.equal(await statusOf(api.kubeconfig({ token: "t" }, cluster)), 200);
      assert.deepEqual(asked, ["kubernetes.default.svc"]);
    } finally {
      proxy.close();
    }
  });
});
