/** How the Kubernetes API is reached: a kubeconfig, or the service account of the pod. */
import * as fs from "node:fs";
import type { OutgoingHttpHeaders } from "node:http";
import { isIPv6 } from "node:net";
import { delimiter, join } from "node:path";
import * as tls from "node:tls";

import { Failure, Interrupted, isAbsence, reasonOf } from "../errors.ts";
import { readText, SIZE_LIMITS } from "../system/read.ts";
import { visible, shellWord } from "../system/text.ts";
import type { ServerRoute } from "./connection.ts";
import { CredentialProgram, type ExecCredentials } from "./exec.ts";
import {
  Kubeconfig,
  kubeconfigFailure,
  Kubeconfigs,
  lacksBrackets,
  type ClusterEntry,
  type KubeconfigEntry,
  type UserEntry,
} from "./kubeconfig.ts";
import { parseProxy, proxyFromEnvironment } from "./proxy.ts";
import { hasCertificate, systemAuthorities } from "./trust.ts";

/** Where the API is, and who we are to it. */
export interface Access {
  server: URL;
  /** Of objects that name none, as with kubectl. */
  namespace: string;
  /**
   * TLS and credentials of one request; read anew, so that a token that has been replaced is noticed.
   *
   * @param signal ends a program that gives credentials.
   * @throws Failure `kubeconfig-invalid`, `credentials-failed`; Interrupted.
   */
  credentials(signal: AbortSignal): Promise<Credentials>;
  /** The API does not accept the credentials: a program that gave them is asked again. */
  refused(): void;
  /**
   * What others need to trust the same API; read anew.
   *
   * @throws Failure `kubeconfig-invalid`.
   */
  trust(): Trust;
  /** How one request is sent with a token of somebody else, and with nothing of ours. @throws as `trust`. */
  withToken(token: string): Credentials;
}

/** By what a server of the API is recognised. */
export interface Trust {
  /** PEM; undefined: one of the system's authorities. */
  authority?: string | undefined;
  insecure: boolean;
  /** The name in its certificate, if it is not the one in the address. */
  name?: string | undefined;
}

/** How and as whom one request is sent. */
export interface Credentials {
  route: ServerRoute;
  headers: OutgoingHttpHeaders;
  /** What must not be shown, even if the API says it. */
  secrets: string[];
}

export interface AccessRequest {
  /** Paths of kubeconfigs, separated as in PATH; the first that has something wins, as with kubectl. */
  kubeconfig: string | undefined;
  /** A context of the kubeconfig; undefined: its current one. */
  context?: string | undefined;
  env: Readonly<Record<string, string | undefined>>;
  serviceAccount?: string;
}

/** Where a pod has its service account. */
export const SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount";
const HINT = "look at the user and the cluster in the kubeconfig, and at the files that they name";

/**
 * Finds the API: the kubeconfig that is named, else the one of the pod.
 *
 * @throws Failure `kubeconfig-invalid`, `no-cluster`; `not-a-file`, `file-too-large`.
 */
export function findAccess({ kubeconfig, context, env, serviceAccount = SERVICE_ACCOUNT }: AccessRequest): Access {
  return kubeconfig === undefined ? inCluster(env, serviceAccount) : fromFiles(kubeconfig, context, env);
}

/** Of several files those that are not there do not count. */
function fromFiles(paths: string, context: string | undefined, env: AccessRequest["env"]): Access {
  const files = paths.split(delimiter).filter((path) => path !== "");
  const present = files.filter((file) => fs.existsSync(file));
  const configs = new Kubeconfigs((present.length === 0 ? files : present).map((file) => new Kubeconfig(file)));
  const [first] = configs.files;
  if (first === undefined) throw kubeconfigFailure("kubeconfig", "no file is named");
  const chosen = chooseContext(configs, first, context);
  const cluster = configs.cluster(chosen.value.cluster);
  const hint = "name a context that has a cluster and a user with --context, or correct the kubeconfig";
  if (cluster === undefined)
    throw chosen.from.objection("the context names a cluster that is not there", [...chosen.path, "cluster"], hint);
  const user = chosen.value.user === "" ? undefined : configs.user(chosen.value.user);
  if (user === undefined && chosen.value.user !== "") {
    throw chosen.from.objection("the context names a user that is not there", [...chosen.path, "user"], hint);
  }
  return new FileAccess(cluster, user, chosen.value.namespace, env);
}

function chooseContext(
  configs: Kubeconfigs,
  first: Kubeconfig,
  name: string | undefined,
): NonNullable<ReturnType<Kubeconfigs["context"]>> {
  const known = `those there are: ${configs.contextNames.map(visible).join(", ") || "none"}`;
  if (name !== undefined) {
    const found = configs.context(name);
    if (found !== undefined) return found;
    throw kubeconfigFailure("--context", `the kubeconfig has no context ${JSON.stringify(name)}`, known);
  }
  const { currentContext: current } = configs;
  if (current === undefined)
    throw first.objection("the current-context is missing", [], `name one with --context; ${known}`);
  const found = configs.context(current.value);
  if (found === undefined) throw current.from.objection("the current-context is not there", current.path, known);
  return found;
}

/** The access by a kubeconfig. */
class FileAccess implements Access {
  readonly server: URL;
  readonly namespace: string;
  readonly #cluster: KubeconfigEntry<ClusterEntry>;
  readonly #user: KubeconfigEntry<UserEntry> | undefined;
  readonly #env: AccessRequest["env"];
  readonly #proxy: URL | undefined;
  readonly #program: CredentialProgram | undefined;

  constructor(
    cluster: KubeconfigEntry<ClusterEntry>,
    user: KubeconfigEntry<UserEntry> | undefined,
    namespace: string,
    env: AccessRequest["env"],
  ) {
    this.#cluster = cluster;
    this.#user = user;
    this.#env = env;
    this.namespace = namespace.trim() || "default";
    this.server = this.#findServer();
    this.#proxy = this.#findProxy();
    this.#program = this.#findProgram();
    this.#refuseOldProvider();
  }

  refused(): void {
    this.#program?.forget();
  }

  async credentials(signal: AbortSignal): Promise<Credentials> {
    const given = (await this.#program?.credentials(signal)) ?? {};
    const token = given.token ?? this.#token();
    const { username = "", password = "" } = this.#user?.value ?? {};
    const pair = Buffer.from(`${username}:${password}`).toString("base64");
    const authorization = token ? `Bearer ${token}` : username === "" ? undefined : `Basic ${pair}`;
    return {
      route: { proxy: this.#proxy, tls: this.#tls(given) },
      headers: { ...(authorization && { Authorization: authorization }), ...this.#impersonation() },
      secrets: [token ?? "", password, username === "" ? "" : pair],
    };
  }

  trust(): Trust {
    const { "tls-server-name": name, "insecure-skip-tls-verify": insecure } = this.#cluster.value;
    return { authority: this.#trusted(), insecure, name: name || undefined };
  }

  withToken(token: string): Credentials {
    const route = { proxy: this.#proxy, tls: this.#tls({}, true) };
    return { route, headers: { Authorization: `Bearer ${token}` }, secrets: [token] };
  }

  #findServer(): URL {
    const refuse = (problem: string): never => {
      throw this.#objection(problem, "server", "write it as https://HOST:PORT");
    };
    const text = this.#cluster.value.server;
    if (text === "") return refuse("the cluster has no server");
    const authority = /^https?:\/\/(?:[^/@]*@)?([^/?#]*)/u.exec(text)?.[1] ?? "";
    if (lacksBrackets(authority)) return refuse("the IPv6 address of the server needs brackets");
    const server = URL.parse(text);
    if (server === null || !/^https?:$/u.test(server.protocol) || server.hostname === "") {
      return refuse("the server is not an address that begins with https://");
    }
    if (server.protocol === "http:" && this.#hasCredentials()) {
      return refuse("the server has no TLS, and credentials are not sent without");
    }
    server.username = "";
    server.password = "";
    return server;
  }

  #hasCredentials(): boolean {
    const { as: _, "as-uid": _uid, "as-groups": _groups, "as-user-extra": _extra, ...given } = this.#user?.value ?? {};
    return Object.values(given).some((value) => value !== undefined && value !== "");
  }

  #findProxy(): URL | undefined {
    const { "proxy-url": text } = this.#cluster.value;
    if (text === "") return proxyFromEnvironment(this.server, this.#env);
    const proxy = parseProxy(text);
    if (proxy !== undefined) return proxy;
    throw this.#objection("the proxy is not an address that begins with http://, https:// or socks5://", "proxy-url");
  }

  #findProgram(): CredentialProgram | undefined {
    const exec = this.#user?.value.exec;
    if (this.#user === undefined || exec === undefined) return undefined;
    const entry = { ...this.#user, value: exec, path: [...this.#user.path, "exec"] };
    return new CredentialProgram(entry, () => this.#described(), this.#env);
  }

  /** kubectl has no other providers than programs any more, but for OpenID Connect. */
  #refuseOldProvider(): void {
    const { name } = this.#user?.value["auth-provider"] ?? {};
    if (name === undefined || name === "oidc") return;
    const hint = "kubectl does not support it any more either: have the kubeconfig written with exec";
    throw this.#userObjection("this auth-provider is not supported", ["auth-provider", "name"], hint);
  }

  /** The cluster, as a program is told of it (provideClusterInfo). */
  #described(): object {
    const { value, from, path } = this.#cluster;
    const authority = this.#authority();
    const extensions = from.dataAt([...path, "extensions"]);
    const config = (Array.isArray(extensions) ? extensions : []).find(
      (one: { name?: unknown } | null) => one?.name === "client.authentication.k8s.io/exec",
    ) as { extension?: unknown } | undefined;
    return {
      server: value.server,
      ...(value["tls-server-name"] && { "tls-server-name": value["tls-server-name"] }),
      ...(value["insecure-skip-tls-verify"] && { "insecure-skip-tls-verify": true }),
      ...(authority !== undefined && { "certificate-authority-data": Buffer.from(authority).toString("base64") }),
      ...(value["proxy-url"] && { "proxy-url": value["proxy-url"] }),
      ...(value["disable-compression"] && { "disable-compression": true }),
      ...(config?.extension !== undefined && { config: config.extension }),
    };
  }

  /** @param isAnonymous without a client certificate of ours. */
  #tls({ certificate, key }: ExecCredentials, isAnonymous = false): ServerRoute["tls"] {
    if (this.server.protocol === "http:") return undefined;
    const { authority, insecure, name } = this.trust();
    const own = isAnonymous
      ? {}
      : {
          cert: certificate ?? this.#read(this.#user, "client-certificate"),
          key: key ?? this.#read(this.#user, "client-key"),
        };
    const ca = authority ?? (insecure ? [] : systemAuthorities(this.#env));
    try {
      return { context: tls.createSecureContext({ ca, ...own }), insecure, name };
    } catch {
      const problem = "the client certificate and its key are not PEM, or do not belong together";
      throw this.#unusable(this.#user, "client-certificate", problem);
    }
  }

  #unusable(
    entry: KubeconfigEntry<ClusterEntry> | KubeconfigEntry<UserEntry> = this.#cluster,
    key: string,
    problem: string,
  ): Failure {
    const hasData = ((entry.value as Record<string, unknown>)[`${key}-data`] ?? "") !== "";
    return entry.from.objection(problem, [...entry.path, hasData ? `${key}-data` : key], HINT);
  }

  #authority(): string | undefined {
    return this.#read(this.#cluster, "certificate-authority");
  }

  #trusted(): string | undefined {
    const authority = this.#authority();
    if (authority === undefined || hasCertificate(authority)) return authority;
    throw this.#unusable(this.#cluster, "certificate-authority", "this holds no certificate as PEM");
  }

  #token(): string | undefined {
    const { token = "", tokenFile = "", "auth-provider": provider } = this.#user?.value ?? {};
    if (this.#user !== undefined && tokenFile !== "") {
      return readCredential(this.#user.from.resolve(tokenFile)).trim();
    }
    return token.trim() || (provider === undefined ? undefined : this.#idToken(provider.config["id-token"] ?? ""));
  }

  /** Of OpenID Connect, which is not renewed: the new refresh token would have to be written to the kubeconfig. */
  #idToken(token: string): string {
    const hint = "run kubectl, which renews it, or use exec";
    const path = ["auth-provider", "config", "id-token"];
    if (token === "") throw this.#userObjection("the id-token is missing", path, hint);
    if (expiryOf(token) <= Date.now()) throw this.#userObjection("the id-token has expired", path, hint);
    return token;
  }

  /** The data in the kubeconfig, which counts more, or the file. */
  #read(
    entry: KubeconfigEntry<ClusterEntry> | KubeconfigEntry<UserEntry> | undefined,
    key: string,
  ): string | undefined {
    const value = (entry?.value ?? {}) as Record<string, string | undefined>;
    const data = value[`${key}-data`] ?? "";
    const file = value[key] ?? "";
    if (entry === undefined || (data === "" && file === "")) return undefined;
    if (data === "") return readCredential(entry.from.resolve(file));
    if (!/^[A-Za-z0-9+/\s]+={0,2}\s*$/u.test(data))
      throw entry.from.objection("this is not base64", [...entry.path, `${key}-data`], HINT);
    return Buffer.from(data, "base64").toString("utf8");
  }

  #impersonation(): OutgoingHttpHeaders {
    const {
      as = "",
      "as-uid": uid = "",
      "as-groups": groups = [],
      "as-user-extra": extra = {},
    } = this.#user?.value ?? {};
    if (as === "") return {};
    const more = Object.entries(extra).map(
      ([key, values]) => [`Impersonate-Extra-${encodeURIComponent(key)}`, values] as const,
    );
    return {
      "Impersonate-User": as,
      ...(uid === "" ? {} : { "Impersonate-Uid": uid }),
      ...(groups.length === 0 ? {} : { "Impersonate-Group": groups }),
      ...Object.fromEntries(more),
    };
  }

  #objection(problem: string, key: string, hint?: string): Failure {
    const { from, path } = this.#cluster;
    return from.objection(problem, [...path, key], hint);
  }

  #userObjection(problem: string, below: readonly string[], hint: string): Failure {
    const { from, path } = this.#user as KubeconfigEntry<UserEntry>;
    return from.objection(problem, [...path, ...below], hint);
  }
}

/** When a token says that it expires, milliseconds since the epoch; one that does not say never does. */
function expiryOf(token: string): number {
  try {
    const { exp } = JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString()) as { exp?: unknown };
    return typeof exp === "number" ? exp * 1000 : Number.POSITIVE_INFINITY;
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}

function readCredential(file: string): string {
  const attempt = "the credentials cannot be read";
  try {
    return readText(file, SIZE_LIMITS.credentials, { attempt });
  } catch (error) {
    if (error instanceof Failure || error instanceof Interrupted) throw error;
    throw kubeconfigFailure(file, `${attempt}: ${reasonOf(error)}`, HINT);
  }
}

/** The service account of a pod. */
function inCluster(env: AccessRequest["env"], serviceAccount: string): Access {
  const host = env["KUBERNETES_SERVICE_HOST"];
  const tokenFile = join(serviceAccount, "token");
  if (!host || !fs.existsSync(tokenFile)) {
    throw new Failure({
      code: "no-cluster",
      subject: "Kubernetes API",
      problem: "manifests and credentials need it, but there is neither a kubeconfig nor a service account of a pod",
      hint: "run in a pod with a service account, or name a kubeconfig with --kubeconfig or KUBECONFIG",
    });
  }
  const server = URL.parse(`https://${isIPv6(host) ? `[${host}]` : host}:${env["KUBERNETES_SERVICE_PORT"] || "443"}`);
  if (server === null) {
    const problem = "do not name an address of the Kubernetes API";
    throw kubeconfigFailure(
      "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT",
      problem,
      "leave them as the kubelet sets them",
    );
  }
  const file = join(serviceAccount, "ca.crt");
  const withToken = (token: string): Credentials => ({
    route: {
      proxy: proxyFromEnvironment(server, env),
      tls: { context: podContext(readCredential(file), file), insecure: false, name: undefined },
    },
    headers: { Authorization: `Bearer ${token}` },
    secrets: [token],
  });
  return {
    server,
    namespace: readNamespace(join(serviceAccount, "namespace")),
    refused: () => undefined,
    credentials: async () => Promise.resolve().then(() => withToken(readCredential(tokenFile).trim())),
    trust: () => ({ authority: readCredential(file), insecure: false }),
    withToken,
  };
}

function podContext(ca: string, file: string): tls.SecureContext {
  if (hasCertificate(ca)) return tls.createSecureContext({ ca });
  throw kubeconfigFailure(
    file,
    "holds no certificate as PEM",
    `see what is mounted there: head -n 1 ${shellWord(file)}`,
  );
}

function readNamespace(file: string): string {
  try {
    return readText(file, SIZE_LIMITS.credentials).trim() || "default";
  } catch (error) {
    if (isAbsence(error)) return "default";
    throw error instanceof Failure ? error : kubeconfigFailure(file, `cannot be read: ${reasonOf(error)}`);
  }
}
