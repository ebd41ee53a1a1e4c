/** How the Kubernetes API is reached: a kubeconfig, or the service account of the pod. */
import * as fs from "node:fs";
import * as https from "node:https";
import { isIPv6 } from "node:net";
import { delimiter, join } from "node:path";

import { KubeConfig } from "@kubernetes/client-node";

import { Failure, reasonOf, systemFailure } from "../errors.ts";

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
  const config = kubeconfig === undefined ? inCluster(env, serviceAccount) : fromFiles(kubeconfig);
  const tokenFile = kubeconfig === undefined ? join(serviceAccount, "token") : undefined;
  if (context !== undefined) chooseContext(config, context);
  allowPlainHttp(config);
  const cluster = config.getCurrentCluster();
  if (cluster === null) throw invalid(kubeconfig ?? "kubeconfig", "its current context names no cluster");
  const namespace = config.getContextObject(config.getCurrentContext())?.namespace?.trim() ?? "";
  return {
    server: new URL(cluster.server),
    namespace: namespace === "" ? "default" : namespace,
    async options() {
      const options: https.RequestOptions = {};
      await config.applyToHTTPSOptions(options);
      if (tokenFile !== undefined) options.headers = { Authorization: `Bearer ${readToken(tokenFile)}` };
      return { ...options, ...withProxy(options.agent, env) };
    },
  };
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

/** client-node keeps a token for a minute, also one that has been replaced. */
function readToken(file: string): string {
  try {
    return fs.readFileSync(file, "utf8").trim();
  } catch (error) {
    throw systemFailure(file, "the token of the service account cannot be read", error);
  }
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

function fromFiles(paths: string): KubeConfig {
  const files = paths.split(delimiter).filter((path) => path !== "");
  const configs = files.map((file) => {
    const config = new KubeConfig();
    try {
      config.loadFromFile(file);
    } catch (error) {
      throw invalid(file, reasonOf(error), error);
    }
    return config;
  });
  const [first, ...more] = configs;
  if (first === undefined) throw invalid("kubeconfig", "no file is named");
  for (const config of more) first.mergeConfig(config, true);
  return first;
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

function inCluster(env: AccessRequest["env"], serviceAccount: string): KubeConfig {
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
  return config;
}
