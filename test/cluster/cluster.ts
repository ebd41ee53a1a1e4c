/** A Kubernetes API server of a test's own: the real etcd and kube-apiserver, on the loopback interface. */
import { spawn, spawnSync } from "node:child_process";
import * as fs from "node:fs";
import { Agent } from "node:https";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { endOf, type Ran } from "../helpers/node.ts";
import { findClusterPrograms } from "./build.ts";
import { freePort, startApiserver, startControllers, startEtcd, type Component, type Place } from "./components.ts";
import { writeKubeconfig } from "./kubeconfig.ts";
import { CertificateAuthority, type Identity } from "./pki.ts";
import { Processes } from "./processes.ts";
import { send, type Answer } from "./request.ts";

/** Why no cluster can be started here; false: one can. Never a reason in CI, where starting one fails instead. */
export const cannotStart: string | false = process.env["CI"] === "true" ? false : whyNot();

interface ClusterOptions {
  /**
   * What kube-controller-manager is started with, by its names of controllers: `namespace-controller` finishes the
   * deletion of namespaces (it takes five seconds), `serviceaccount-controller` makes the ServiceAccount `default` of
   * each namespace, `garbage-collector-controller` deletes what deleted objects owned.
   */
  controllers?: readonly string[];
  /** More options of kube-apiserver. */
  apiserver?: readonly string[];
}

/** Whom a kubeconfig is for, and what RBAC lets them do. */
export interface Subject {
  name: string;
  /** A ServiceAccount (the default) is known by a token, a User by a client certificate. */
  kind?: "ServiceAccount" | "User";
  /** Where the ServiceAccount and the Role are, and what the kubeconfig names; `default` if not given. It must exist. */
  namespace?: string;
  /** What they may do in that namespace. */
  rules?: readonly Rule[];
  /** What they may do in the whole cluster. */
  clusterRules?: readonly Rule[];
}

/** A rule of a Role or ClusterRole. */
export interface Rule {
  verbs: readonly string[];
  apiGroups?: readonly string[];
  resources?: readonly string[];
  resourceNames?: readonly string[];
  nonResourceURLs?: readonly string[];
}

interface Parts {
  place: Place;
  authority: CertificateAuthority;
  identities: { server: Identity; admin: Identity; frontProxy: Identity };
  port: number;
  server: { component: Component; start: () => Component };
}

const RBAC = "/apis/rbac.authorization.k8s.io/v1";
const FRONT_PROXY = "front-proxy";
/** Only a machine that is stuck takes so long. */
const PATIENCE = 120_000;

/**
 * Starts etcd and kube-apiserver, and nothing else. RBAC decides; the default admission plugins are on. What other
 * components do does not happen:
 *
 * - A deleted namespace stays Terminating, and a new one has no ServiceAccount `default`, so that Pods are refused in
 *   it, and no ConfigMap `kube-root-ca.crt`: see `controllers`.
 * - What a deleted object owned stays, and foreground deletion waits for ever: there is no garbage collector.
 * - A Secret of type `kubernetes.io/service-account-token` gets no token: use {@link Cluster.tokenFor}.
 * - The ClusterRoles `admin`, `edit` and `view` are empty: bind rules of your own.
 * - A DaemonSet makes no Pods and its status stays empty; there are no Nodes but those that a test creates.
 */
export async function startCluster({ controllers = [], apiserver = [] }: ClusterOptions = {}): Promise<Cluster> {
  const place = { programs: findClusterPrograms(), processes: new Processes("cni-node-cluster-") };
  try {
    const etcd = startEtcd(place);
    const authority = await CertificateAuthority.make(join(place.processes.directory, "pki"));
    const [server, admin, frontProxy] = await Promise.all([
      authority.server("apiserver"),
      authority.client("admin", { user: "admin", group: "system:masters" }),
      authority.client(FRONT_PROXY, { user: FRONT_PROXY }),
    ]);
    const trust = { ca: authority.certificate, server, frontProxy: FRONT_PROXY, tokens: authority.keyPair("tokens") };
    const identities = { server, admin, frontProxy };
    for (;;) {
      const port = await freePort();
      const start = (): Component => startApiserver(place, trust, port, apiserver);
      const running = { component: start(), start };
      const cluster = new Cluster({ place, authority, identities, port, server: running });
      const components = [etcd, running.component];
      if (!(await isServing(cluster, components))) continue;
      if (controllers.length > 0) {
        const manager = startControllers(place, trust, cluster.adminKubeconfig, controllers);
        await until(() => manager.printed().includes("Caches are synced"), [...components, manager]);
      }
      return cluster;
    }
  } catch (error) {
    await place.processes.stop();
    throw error;
  }
}

/** A started cluster. It ends with this process at the latest. */
export class Cluster implements AsyncDisposable {
  /** `https://127.0.0.1:PORT` */
  readonly server: string;
  /** The path of the certificate authority's certificate. */
  readonly ca: string;
  /** The path of the kubeconfig of a user who may do everything. */
  readonly adminKubeconfig: string;
  /** Where all its files are; tests may put theirs there. */
  readonly directory: string;
  readonly #parts: Parts;
  readonly #agent: Agent;

  constructor(parts: Parts) {
    const { place, authority, identities, port } = parts;
    this.#parts = parts;
    this.server = `https://127.0.0.1:${port}`;
    this.ca = authority.certificate;
    this.directory = place.processes.directory;
    this.adminKubeconfig = join(this.directory, "admin.kubeconfig");
    writeKubeconfig(this.adminKubeconfig, { server: this.server, ca: this.ca, credentials: identities.admin });
    this.#agent = new Agent({ ...this.#read(identities.admin), keepAlive: true });
  }

  /** What a proxy needs to stand in front of it: a server's certificate, and one to say with who asks. */
  get proxyIdentities(): Record<"server" | "frontProxy", { ca: Buffer; cert: Buffer; key: Buffer }> {
    const { server, frontProxy } = this.#parts.identities;
    return { server: this.#read(server), frontProxy: this.#read(frontProxy) };
  }

  /**
   * Sends a request as the administrator.
   *
   * @param path with the query.
   * @param body an object, or text that is sent as it is.
   * @param contentType JSON if not given, for PATCH a merge patch.
   */
  async request(method: string, path: string, body?: unknown, contentType?: string): Promise<Answer> {
    return send({ agent: this.#agent, method, url: this.server + path, body, contentType });
  }

  /** The path of kubectl. */
  get kubectlPath(): string {
    return join(this.#parts.place.programs, "kubectl");
  }

  /** Runs kubectl as the administrator. It keeps what it has learned of the API in the cluster's directory. */
  async kubectl(args: readonly string[], stdin = ""): Promise<Ran> {
    const env = { PATH: process.env["PATH"], HOME: this.directory, KUBECONFIG: this.adminKubeconfig };
    const child = spawn(this.kubectlPath, args, { env });
    // It may end without having read everything.
    child.stdin.on("error", () => undefined);
    child.stdin.end(stdin);
    return endOf(child);
  }

  /** Makes a ServiceAccount or a User with the given rights, which hold on return. Gives the path of a kubeconfig. */
  async kubeconfigFor(subject: Subject): Promise<string> {
    const { name, kind = "ServiceAccount", namespace = "default" } = subject;
    if (kind === "ServiceAccount") {
      await this.#create(`/api/v1/namespaces/${namespace}/serviceaccounts`, { metadata: { name } });
    }
    await this.#grant(subject);
    const credentials =
      kind === "ServiceAccount"
        ? { token: await this.tokenFor(name, namespace) }
        : await this.#parts.authority.client(`user-${namespace}-${name}`, { user: name });
    const path = join(this.directory, `${kind}-${namespace}-${name}.kubeconfig`);
    writeKubeconfig(path, { server: this.server, ca: this.ca, credentials, namespace });
    return path;
  }

  /** A new token of a ServiceAccount. The API server gives none for less than ten minutes. */
  async tokenFor(name: string, namespace = "default", expirationSeconds = 3600): Promise<string> {
    const path = `/api/v1/namespaces/${namespace}/serviceaccounts/${name}/token`;
    const { status } = await this.#create(path, { spec: { expirationSeconds } });
    return (status as { token: string }).token;
  }

  /** Whether it answers, and has its first namespaces. */
  async isReady(): Promise<boolean> {
    for (const path of ["/readyz", "/api/v1/namespaces/default"]) {
      const status = await this.request("GET", path).then(
        (answer) => answer.status,
        () => undefined,
      );
      if (status !== 200) return false;
    }
    return true;
  }

  /** Kills the API server. */
  async killServer(): Promise<void> {
    await this.#parts.server.component.kill();
  }

  /** Starts it again. */
  async startServer(): Promise<void> {
    const { server } = this.#parts;
    server.component = server.start();
    await until(async () => this.isReady(), [server.component]);
  }

  /** Kills its processes and removes its directory. */
  async stop(): Promise<void> {
    this.#agent.destroy();
    await this.#parts.place.processes.stop();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  #read({ certificate, key }: Identity): { ca: Buffer; cert: Buffer; key: Buffer } {
    return { ca: fs.readFileSync(this.ca), cert: fs.readFileSync(certificate), key: fs.readFileSync(key) };
  }

  async #create(path: string, object: object): Promise<Answer["body"]> {
    const { status, text, body } = await this.request("POST", path, object);
    if (status !== 201) throw new Error(`POST ${path}: ${text}`);
    return body;
  }

  /** Binds the rules, and waits until the API server goes by them. */
  async #grant(subject: Subject): Promise<void> {
    const { name, namespace = "default", rules = [], clusterRules = [] } = subject;
    for (const [kind, given, base] of [
      ["Role", rules, `${RBAC}/namespaces/${namespace}`],
      ["ClusterRole", clusterRules, RBAC],
    ] as const) {
      const [first] = given;
      if (first === undefined) continue;
      const metadata = { name: kind === "Role" ? name : `${namespace}:${name}` };
      const roleRef = { apiGroup: "rbac.authorization.k8s.io", kind, name: metadata.name };
      await this.#create(`${base}/${kind.toLowerCase()}s`, { metadata, rules: given });
      await this.#create(`${base}/${kind.toLowerCase()}bindings`, { metadata, roleRef, subjects: [bound(subject)] });
      const review = { spec: { user: userOf(subject), ...attributesOf(first, kind === "Role" ? namespace : "") } };
      await until(async () => this.#isAllowed(review));
    }
  }

  async #isAllowed(review: object): Promise<boolean> {
    const { status } = await this.#create("/apis/authorization.k8s.io/v1/subjectaccessreviews", review);
    return (status as { allowed: boolean }).allowed;
  }
}

function whyNot(): string | false {
  try {
    findClusterPrograms();
    const missing = ["openssl", "setpriv"].find((tool) => spawnSync(tool, ["--help"]).error);
    return missing === undefined ? false : `${missing} is missing`;
  } catch (error) {
    return (error as Error).message;
  }
}

/** False: another process was faster to take the port. */
async function isServing(cluster: Cluster, components: readonly Component[]): Promise<boolean> {
  try {
    await until(async () => cluster.isReady(), components);
    return true;
  } catch (error) {
    if ((error as Error).message.includes("address already in use")) return false;
    throw error;
  }
}

/** Waits until it is so, and fails as soon as one of the components ends. */
async function until(
  condition: () => boolean | Promise<boolean>,
  components: readonly Component[] = [],
): Promise<void> {
  const stop = new AbortController();
  const signal = AbortSignal.any([stop.signal, AbortSignal.timeout(PATIENCE)]);
  const wait = async (): Promise<void> => {
    while (!(await condition())) await sleep(20, undefined, { signal });
  };
  try {
    await Promise.race([wait(), ...components.map(async ({ lost }) => lost)]);
  } finally {
    stop.abort();
  }
}

/** A subject as bindings have it. */
function bound({ name, kind = "ServiceAccount", namespace = "default" }: Subject): object {
  return kind === "User" ? { kind, name, apiGroup: "rbac.authorization.k8s.io" } : { kind, name, namespace };
}

/** A subject's name when it asks. */
function userOf({ name, kind = "ServiceAccount", namespace = "default" }: Subject): string {
  return kind === "User" ? name : `system:serviceaccount:${namespace}:${name}`;
}

/** One of the things that a rule allows. */
function attributesOf(rule: Rule, namespace: string): object {
  const verb = rule.verbs[0];
  if (rule.nonResourceURLs !== undefined) return { nonResourceAttributes: { verb, path: rule.nonResourceURLs[0] } };
  const [resource, subresource] = (rule.resources?.[0] ?? "").split("/");
  const name = rule.resourceNames?.[0];
  return { resourceAttributes: { verb, namespace, group: rule.apiGroups?.[0], resource, subresource, name } };
}
