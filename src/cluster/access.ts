/** How the Kubernetes API is reached: a kubeconfig, or the service account of the pod. */
import * as fs from "node:fs";
import type * as http from "node:http";
import * as https from "node:https";
import { isIPv6 } from "node:net";
import { delimiter, dirname, join, resolve } from "node:path";

import { KubeConfig } from "@kubernetes/client-node";
import { parse } from "yaml";

import { Failure, reasonOf } from "../errors.ts";

/** Where the API is, and who we are to it. */
export interface Access {
  server: URL;
  /** Of objects that name none, as with kubectl. */
  namespace: string;
  /** TLS and credentials of one request; read anew, so that a token that has been replaced is noticed. */
  options(): Promise<https.RequestOptions>;
}

export interface AccessRequest {
  /** Paths of kubeconfigs, separated as in PATH; the first that has something wins, as with kubectl. */
  kubeconfig: string | undefined;
  /** A context of the kubeconfig; undefined: its current one. */
  context?: string | undefined;
  env: Readonly<Record<string, string | undefined>>;
  serviceAccount?: string;
}

const SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount";

/**
 * Finds the API: the kubeconfig that is named, else the one of the pod.
 *
 * @throws Failure `kubeconfig-invalid`, `no-cluster`.
 */
export function findAccess({ kubeconfig, context, env, serviceAccount = SERVICE_ACCOUNT }: AccessRequest): Access {
  const source = kubeconfig ?? serviceAccount;
  const { config, tokenFiles } = kubeconfig === undefined ? inCluster(env, serviceAccount) : fromFiles(kubeconfig);
  if (context !== undefined) chooseContext(config, context);
  allowPlainHttp(config);
  const cluster = config.getCurrentCluster();
  if (cluster === null) throw invalid(source, "its current context names no cluster");
  const server = URL.parse(cluster.server);
  if (server === null || !/^https?:$/u.test(server.protocol)) {
    throw invalid(source, `its server ${JSON.stringify(cluster.server)} is no address that begins with https://`);
  }
  const { user = "", namespace = "" } = config.getContextObject(config.getCurrentContext()) ?? {};
  if (user !== "" && config.getCurrentUser() === null) {
    throw invalid(source, `its current context names the user ${JSON.stringify(user)}, which it does not have`);
  }
  const tokenFile = tokenFiles.get(user);
  return {
    server,
    namespace: namespace.trim() || "default",
    async options() {
      const options: https.RequestOptions = {};
      try {
        await config.applyToHTTPSOptions(options);
        if (tokenFile !== undefined) options.headers = withToken(options.headers, tokenFile);
      } catch (error) {
        throw noCredentials(config, source, error);
      }
      return { ...options, ...withProxy(options.agent, env) };
    },
  };
}

/** client-node knows no tokenFile of a kubeconfig, and keeps a pod's token for a minute, also one that was replaced. */
function withToken(headers: https.RequestOptions["headers"], file: string): http.OutgoingHttpHeaders {
  const token = fs.readFileSync(file, "utf8").trim();
  return { ...(headers as http.OutgoingHttpHeaders), Authorization: `Bearer ${token}` };
}

/** A program's answer is not told: it holds the credentials. */
function noCredentials(config: KubeConfig, source: string, error: unknown): Failure {
  const { exec } = (config.getCurrentUser() ?? {}) as { exec?: { command?: string } };
  const isAnswer = error instanceof SyntaxError || error instanceof TypeError;
  const { path = "" } = error as NodeJS.ErrnoException;
  const why = isAnswer ? "it printed no ExecCredential with a status" : reasonOf(error).trim();
  return new Failure({
    code: "kubeconfig-invalid",
    subject: source,
    problem:
      exec === undefined
        ? `the credentials cannot be read: ${path === "" ? "" : `${path}: `}${why}`
        : `the program ${exec.command ?? ""} gives no credentials: ${why}`,
    hint: "look at the user and the cluster in the kubeconfig, and at what they name",
    cause: error,
  });
}

function chooseContext(config: KubeConfig, name: string): void {
  if (config.getContextObject(name) === null) {
    throw new Failure({
      code: "kubeconfig-invalid",
      subject: "--context",
      problem: `the kubeconfig has no context ${JSON.stringify(name)}, but ${config
        .getContexts()
        .map((context) => context.name)
        .join(", ")}`,
    });
  }
  config.setCurrentContext(name);
}

/** A server without TLS, such as that of `kubectl proxy`; never with credentials, which anybody could read. */
function allowPlainHttp(config: KubeConfig): void {
  if (config.getCurrentUser() !== null) return;
  config.clusters = config.clusters.map((cluster) =>
    cluster.server.startsWith("http:") ? { ...cluster, skipTLSVerify: true } : cluster,
  );
}

/** The standard proxy variables count where the kubeconfig names no proxy of its own. */
function withProxy(agent: https.RequestOptions["agent"], env: AccessRequest["env"]): https.RequestOptions {
  if (!(agent instanceof https.Agent) || agent.constructor !== https.Agent) return {};
  if (env["HTTPS_PROXY"] === undefined && env["https_proxy"] === undefined) return {};
  return { agent: new https.Agent({ ...agent.options, proxyEnv: { ...env } }) };
}

/** A kubeconfig, and the files of tokens by their users. */
interface Loaded {
  config: KubeConfig;
  tokenFiles: ReadonlyMap<string, string>;
}

/** Of several files those that are not there do not count, and of entries with one name the first, as with kubectl. */
function fromFiles(paths: string): Loaded {
  const files = paths.split(delimiter).filter((path) => path !== "");
  const present = files.filter((file) => fs.existsSync(file));
  const [first, ...more] = (present.length === 0 ? files : present).map(fromFile);
  if (first === undefined) throw invalid("kubeconfig", "no file is named");
  const { config } = first;
  const tokenFiles = new Map(first.tokenFiles);
  for (const { config: other, tokenFiles: others } of more) {
    config.currentContext ||= other.currentContext;
    config.clusters.push(...other.clusters.filter(({ name }) => config.getCluster(name) === null));
    for (const user of other.users.filter(({ name }) => config.getUser(name) === null)) {
      config.users.push(user);
      const file = others.get(user.name);
      if (file !== undefined) tokenFiles.set(user.name, file);
    }
    config.contexts.push(...other.contexts.filter(({ name }) => config.getContextObject(name) === null));
  }
  return { config, tokenFiles };
}

function fromFile(file: string): Loaded {
  const config = new KubeConfig();
  try {
    const text = fs.readFileSync(file, "utf8");
    config.loadFromString(text);
    config.makePathsAbsolute(dirname(file));
    return { config, tokenFiles: tokenFilesOf(text, dirname(file)) };
  } catch (error) {
    throw invalid(file, reasonOf(error), error);
  }
}

function tokenFilesOf(text: string, directory: string): ReadonlyMap<string, string> {
  const { users } = parse(text) as {
    users?: { name: string; user?: { tokenFile?: string } }[];
  };
  const named = (users ?? []).flatMap(({ name, user }) => (user?.tokenFile ? [[name, user.tokenFile] as const] : []));
  return new Map(named.map(([name, tokenFile]) => [name, resolve(directory, tokenFile)]));
}

function invalid(subject: string, why: string, cause?: unknown): Failure {
  return new Failure({
    code: "kubeconfig-invalid",
    subject,
    problem: `cannot be used as kubeconfig: ${why}`,
    hint: "name a kubeconfig with --kubeconfig or KUBECONFIG",
    cause,
  });
}

function inCluster(env: AccessRequest["env"], serviceAccount: string): Loaded {
  const host = env["KUBERNETES_SERVICE_HOST"];
  const tokenFile = join(serviceAccount, "token");
  if (!host || !fs.existsSync(tokenFile)) {
    throw new Failure({
      code: "no-cluster",
      subject: "Kubernetes API",
      problem: "manifests need it, but there is neither a kubeconfig nor a service account of a pod",
      hint: "run in a pod with a service account, or name a kubeconfig with --kubeconfig or KUBECONFIG",
    });
  }
  const namespaceFile = join(serviceAccount, "namespace");
  const server = `https://${isIPv6(host) ? `[${host}]` : host}:${env["KUBERNETES_SERVICE_PORT"] || "443"}`;
  const config = new KubeConfig();
  config.loadFromOptions({
    clusters: [{ name: "pod", server, caFile: join(serviceAccount, "ca.crt"), skipTLSVerify: false }],
    users: [{ name: "pod" }],
    contexts: [
      {
        name: "pod",
        cluster: "pod",
        user: "pod",
        ...(fs.existsSync(namespaceFile) ? { namespace: fs.readFileSync(namespaceFile, "utf8") } : {}),
      },
    ],
    currentContext: "pod",
  });
  return { config, tokenFiles: new Map([["pod", tokenFile]]) };
}
