/** Kubeconfigs and what they name: nothing of them is shown, whatever they are, and nothing of them keeps a run. */
import assert from "node:assert/strict";
import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import * as fs from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite, test } from "node:test";
import { fileURLToPath } from "node:url";

import { cannotSign } from "../cluster/pki.ts";
import { HostileApi } from "../cluster/hostile.ts";
import { endOf, TestNode, until, type Ran } from "../helpers/node.ts";

const SECRET = "S3CRET";
const ACCESS = fileURLToPath(new URL("../../src/cluster/access.ts", import.meta.url));
/** Only a run that hangs takes so long. */
const PATIENCE = 60_000;

interface Config {
  cluster?: object;
  user?: object;
}

function kubeconfigOf({ cluster = {}, user = {} }: Config): string {
  const server = { server: "https://127.0.0.1:1", "insecure-skip-tls-verify": true };
  return JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name: "c", cluster: { ...server, ...cluster } }],
    users: [{ name: "u", user }],
    contexts: [{ name: "x", context: { cluster: "c", user: "u" } }],
    "current-context": "x",
  });
}

/** An install of one manifest by a process of its own, which is killed if it hangs. */
function start(node: TestNode, kubeconfig: string, more: string[] = []): { child: ChildProcess; ended: Promise<Ran> } {
  node.manifest("a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n");
  const child = node.start(["install", "--manifests=a.yaml", `--kubeconfig=${kubeconfig}`, ...more]);
  const killer = setTimeout(() => child.kill("SIGKILL"), PATIENCE);
  const ended = endOf(child).finally(() => clearTimeout(killer));
  return { child, ended };
}

async function install(node: TestNode, text: string, more: string[] = []): Promise<Ran> {
  const path = join(node.root, "kubeconfig");
  fs.writeFileSync(path, text);
  node.manifest("a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n");
  return node.run(["install", "--manifests=a.yaml", `--kubeconfig=${path}`, "--timeout=1ms", ...more], {
    env: { PATH: process.env["PATH"] },
  });
}

const exec = (script: string, more: object = {}): Config => ({
  user: { exec: { apiVersion: "client.authentication.k8s.io/v1", command: "sh", args: ["-c", script], ...more } },
});

const yaml = (user: string): string =>
  `apiVersion: v1\nclusters:\n- name: c\n  cluster: {server: "https://127.0.0.1:1"}\nusers:\n- name: u\n  user:\n    ${user}\n` +
  "contexts:\n- name: x\n  context: {cluster: c, user: u}\ncurrent-context: x\n";

suite("a kubeconfig that is of no use is told by its place, without a word of it:", () => {
  const texts: Record<string, string> = {
    "a token behind a tab": yaml(`token:\t- ${SECRET}: x: y`),
    "a token with a colon": yaml(`token: ${SECRET}: x`),
    "quotes that are not closed": yaml(`token: "${SECRET}`),
    "a key that is there twice": yaml(`token: ${SECRET}\n    token: ${SECRET}`),
    "an alias of nothing": yaml(`token: *${SECRET}`),
    "aliases of aliases": `a: &a [${SECRET}]\n${"bcdefghij".replaceAll(/./gu, (name) => `${name}: &${name} [${`*${String.fromCharCode(name.charCodeAt(0) - 1)},`.repeat(10)}]\n`)}`,
    "a tag that nobody knows": yaml(`token: !!${SECRET} x`),
    "too deep": `${"[".repeat(50_000)}${SECRET}`,
    "JSON that is cut off": kubeconfigOf({ user: { token: SECRET } }).slice(0, -60),
    "a list where a text belongs": kubeconfigOf({ user: { token: [SECRET] } }),
    "a text where a map belongs": kubeconfigOf({ user: { exec: SECRET } }),
    "no kubeconfig at all": `root:${SECRET}:19000:0:99999:7:::\nbin:*:19000\n`,
    "bytes that are no text": `\u0000\u0001${SECRET}\u0007`,
    "a server that is none": kubeconfigOf({ cluster: { server: SECRET } }),
    "a server with a password": kubeconfigOf({ cluster: { server: `ftp://root:${SECRET}@h` } }),
    "an IPv6 address without brackets": kubeconfigOf({ cluster: { server: `https://x:${SECRET}@fd00:10:96::1:443` } }),
    "a placeholder": kubeconfigOf({ cluster: { server: `__${SECRET}__` } }),
    "a proxy that is none": kubeconfigOf({ cluster: { "proxy-url": `ftp://x:${SECRET}@p` } }),
    "a flag that is none": kubeconfigOf({ cluster: { "insecure-skip-tls-verify": SECRET } }),
    "an authority that is not base64": kubeconfigOf({ cluster: { "certificate-authority-data": `-${SECRET}-` } }),
    "an authority that is not a certificate": kubeconfigOf({
      cluster: {
        "certificate-authority-data": btoa(`-----BEGIN CERTIFICATE-----\n${SECRET}\n-----END CERTIFICATE-----\n`),
      },
    }),
    "a client certificate that is none": kubeconfigOf({
      user: { "client-certificate-data": btoa(SECRET), "client-key-data": btoa(SECRET) },
    }),
    "an old provider": kubeconfigOf({
      user: { "auth-provider": { name: SECRET, config: { "access-token": SECRET } } },
    }),
    "an id-token that has expired": kubeconfigOf({
      user: { "auth-provider": { name: "oidc", config: { "id-token": `${SECRET}.${btoa('{"exp":1}')}.x` } } },
    }),
    "a user that is not there": kubeconfigOf({}).replace('"user":"u"', `"user":"${SECRET}"`),
    "a cluster that is not there": kubeconfigOf({}).replace('"cluster":"c"', `"cluster":"${SECRET}"`),
    "a context that is not there": kubeconfigOf({}).replace('"current-context":"x"', `"current-context":"${SECRET}"`),
    "a program of an old version": kubeconfigOf(exec("true", { apiVersion: `client.authentication.k8s.io/${SECRET}` })),
    "a program that asks": kubeconfigOf(exec("true", { interactiveMode: "Always", args: [SECRET] })),
    "a program that fails": kubeconfigOf(exec(`echo ${SECRET}; echo ${SECRET} >&2; exit 3`)),
    "a program that prints anything": kubeconfigOf(exec(`echo ${SECRET}`)),
    "a program that prints too much": kubeconfigOf(exec(`yes ${SECRET}`)),
    "a program that gives nothing": kubeconfigOf(
      exec(`echo '{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1","status":{"${SECRET}":1}}'`),
    ),
    "a program that answers in another version": kubeconfigOf(
      exec(`echo '{"kind":"ExecCredential","apiVersion":"${SECRET}","status":{"token":"${SECRET}"}}'`),
    ),
    "a program that gives a certificate only": kubeconfigOf(
      exec(
        `echo '{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1","status":{"clientCertificateData":"${SECRET}"}}'`,
      ),
    ),
    "a program that is not there": kubeconfigOf({
      user: { exec: { apiVersion: "client.authentication.k8s.io/v1", command: `/nowhere/${SECRET}` } },
    }),
    "a program with a NUL": kubeconfigOf(exec(`echo \0${SECRET}`)),
    "a program with too much environment": kubeconfigOf(
      exec("true", { env: [{ name: "A", value: SECRET.repeat(50_000) }] }),
    ),
  };
  for (const [about, text] of Object.entries(texts)) {
    test(about, async () => {
      using node = new TestNode();
      const ran = await install(node, text, about.includes("too much") ? ["--timeout=1m"] : []);
      assert.equal(ran.exitCode, 1, ran.stderr);
      assert.match(ran.stderr, /kubeconfig: line \d+, column \d+: \w/u);
      assert.match(ran.stderr, /\n {2}hint: /u);
      assert.doesNotMatch(ran.stderr, /S3CRET|defect/u);
    });
  }

  test("a token that cannot be sent", async () => {
    using node = new TestNode();
    const ran = await install(node, kubeconfigOf({ user: { token: `${SECRET}\nx\u1234` } }));
    assert.equal(ran.exitCode, 1, ran.stderr);
    assert.doesNotMatch(ran.stderr, /S3CRET|defect/u);
  });
});

suite("what is named in a kubeconfig is read with a bound, and is a file:", { concurrency: 2 }, () => {
  const unusual: [about: string, make: (path: string) => void, message: RegExp][] = [
    ["a FIFO", (path) => void spawnSync("mkfifo", [path]), /it is not a regular file/u],
    ["a device without end", (path) => fs.symlinkSync("/dev/zero", path), /it is not a regular file/u],
    ["a directory", (path) => fs.mkdirSync(path), /it is not a regular file/u],
    [
      "a sparse file of 100 GB",
      (path) => (fs.writeFileSync(path, ""), fs.truncateSync(path, 1e11)),
      /larger than 1 MiB/u,
    ],
  ];
  const places: Record<string, (path: string) => Config> = {
    tokenFile: (path) => ({ user: { tokenFile: path } }),
    "certificate-authority": (path) => ({
      user: { token: "t" },
      cluster: { "insecure-skip-tls-verify": false, "certificate-authority": path },
    }),
    "client-certificate": (path) => ({ user: { "client-certificate": path, "client-key": "/dev/null" } }),
    "client-key": (path) => ({ user: { "client-certificate-data": btoa("x"), "client-key": path } }),
  };
  for (const [about, make, message] of unusual) {
    test(`${about} in the place of a kubeconfig`, async () => {
      using node = new TestNode();
      const path = join(node.root, "special");
      make(path);
      const { ended } = start(node, path);
      const { exitCode, stderr } = await ended;
      assert.equal(exitCode, 1, stderr);
      assert.match(stderr, message);
    });
    for (const [place, config] of Object.entries(places)) {
      test(`${about} as ${place}`, async () => {
        using node = new TestNode();
        const path = join(node.root, "special");
        make(path);
        fs.writeFileSync(join(node.root, "kubeconfig"), kubeconfigOf(config(path)));
        const { exitCode, stderr } = await start(node, join(node.root, "kubeconfig")).ended;
        assert.equal(exitCode, 1, stderr);
        assert.match(stderr, message);
        assert.match(stderr, new RegExp(path, "u"));
      });
    }
    for (const name of ["namespace", "token", "ca.crt"]) {
      test(`${about} as ${name} of a service account`, async () => {
        const directory = fs.mkdtempSync(join(tmpdir(), "cni-node-account-"));
        for (const other of ["namespace", "token"]) if (other !== name) fs.writeFileSync(join(directory, other), "x");
        make(join(directory, name));
        const env = { KUBERNETES_SERVICE_HOST: "127.0.0.1", PATH: process.env["PATH"] };
        const script = `import { findAccess } from ${JSON.stringify(ACCESS)};
          const access = findAccess({ kubeconfig: undefined, env: process.env, serviceAccount: process.argv[1] });
          await access.credentials(new AbortController().signal);`;
        const child = spawn(process.execPath, ["--input-type=module", "-e", script, directory], { env });
        const killer = setTimeout(() => child.kill("SIGKILL"), PATIENCE);
        const { exitCode, stderr } = await endOf(child);
        clearTimeout(killer);
        fs.rmSync(directory, { recursive: true });
        assert.equal(exitCode, 1, stderr);
        assert.match(stderr, message);
      });
    }
  }
});

suite("what a kubeconfig waits for can be ended:", { skip: cannotSign, concurrency: 2 }, () => {
  /** A program that hangs, and a child of it; their process numbers are in a file. */
  function hanging(node: TestNode): { kubeconfig: string; pids: () => number[] } {
    const file = join(node.root, "pids");
    const kubeconfig = join(node.root, "kubeconfig");
    fs.writeFileSync(
      kubeconfig,
      kubeconfigOf(exec(`sleep 1000 & echo $$ $! > ${file}.new; mv ${file}.new ${file}; wait`)),
    );
    return {
      kubeconfig,
      pids: () => (fs.existsSync(file) ? fs.readFileSync(file, "utf8").trim().split(" ").map(Number) : []),
    };
  }

  function isAlive(pid: number): boolean {
    return fs.existsSync(`/proc/${pid}`) && !/^State:\s+[ZX]/mu.test(fs.readFileSync(`/proc/${pid}/status`, "utf8"));
  }

  test("M6: a program that hangs, by --timeout", async () => {
    using node = new TestNode();
    const { kubeconfig, pids } = hanging(node);
    const { exitCode, stderr } = await start(node, kubeconfig, ["--timeout=1s"]).ended;
    assert.equal(exitCode, 1, stderr);
    assert.match(stderr, /kubeconfig: line 1, column \d+: the credential program did not answer in time/u);
    await until(() => !pids().some(isAlive));
  });

  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    test(`M6: a program that hangs, by ${signal}`, async () => {
      using node = new TestNode();
      const { kubeconfig, pids } = hanging(node);
      const { child, ended } = start(node, kubeconfig, ["--timeout=1h"]);
      await until(() => pids().length === 2);
      child.kill(signal);
      assert.equal((await ended).signal, signal);
      await until(() => !pids().some(isAlive));
    });
  }

  test("a program that leaves a process which holds its output", async () => {
    await using api = await HostileApi.start();
    using node = new TestNode();
    const answer = '{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1","status":{"token":"t"}}';
    const { user } = exec(`echo '${answer}'; setsid sleep 30 &`);
    const { exitCode, stderr } = await start(node, api.kubeconfig(user ?? {})).ended;
    assert.equal(exitCode, 0, stderr);
    assert.equal(api.requests[0]?.headers.authorization, "Bearer t");
  });

  for (const scheme of ["http", "socks5"]) {
    for (const way of ["--timeout", "SIGTERM"]) {
      test(`a proxy of ${scheme} that never answers, by ${way}`, async () => {
        using node = new TestNode();
        let connections = 0;
        const proxy = createServer(() => void connections++).listen(0, "127.0.0.1");
        await until(() => proxy.listening);
        try {
          const url = `${scheme}://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
          fs.writeFileSync(
            join(node.root, "kubeconfig"),
            kubeconfigOf({ user: { token: "t" }, cluster: { "proxy-url": url } }),
          );
          const timeout = way === "--timeout" ? "1s" : "1h";
          const { child, ended } = start(node, join(node.root, "kubeconfig"), [`--timeout=${timeout}`]);
          await until(() => connections > 0);
          if (way === "SIGTERM") child.kill("SIGTERM");
          const { exitCode, signal, stderr } = await ended;
          if (way === "SIGTERM") assert.equal(signal, "SIGTERM");
          else assert.equal(exitCode, 1, stderr);
        } finally {
          proxy.close();
        }
      });
    }
  }
});
