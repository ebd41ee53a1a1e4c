/** The contents of credentials: kubeconfigs for plugins, and tokens, which are asked for when they are written. */
import { createHash } from "node:crypto";
import { join } from "node:path";

import { findAccess, type Access } from "../cluster/access.ts";
import { Api } from "../cluster/request.ts";
import { objectionToToken } from "../cluster/token.ts";
import { requestToken, reviewToken, subjectOf } from "../cluster/token-request.ts";
import { Failure } from "../errors.ts";
import { warning, type Finding } from "../finding.ts";
import type { Live } from "../host/inspect.ts";
import type { HeldAsset } from "../host/record.ts";
import { Deadline } from "../system/deadline.ts";
import { createFile } from "../system/disk.ts";
import { readTextIfPossible, SIZE_LIMITS } from "../system/read.ts";
import type { ObjectName } from "../system/name.ts";
import type { Content } from "./content.ts";
import { TOKEN } from "./credentials.ts";
import { heldAs, type Desired, type Directory, type Wanted } from "./kind.ts";
import { describeAccount, isTokenFile, tokenFileOf, type Lists } from "./lists.ts";

/** What holds a token is for root only. */
const MODE = 0o600;

/** So long a token that was tried counts as good, milliseconds: less than the time between two looks of `watch`. */
const REVIEW_COUNTS_MS = 480_000;

/** If the API did not say, it is asked again after this, milliseconds. */
const ASKED_AGAIN_MS = 30_000;

/** What all credentials of a run have in common. */
interface About {
  wanted: Wanted;
  access: Access;
  directory: Directory;
  signal: AbortSignal;
  /** What is to be said once tokens have been given. */
  notes: Finding[];
}

/**
 * The contents of these files. Nothing is asked of the API but whether live tokens are good.
 *
 * @throws Failure `no-cluster`, `kubeconfig-invalid`, `credentials-own`.
 */
export function readCredentials(
  names: readonly string[],
  wanted: Wanted,
  directory: Directory,
  signal: AbortSignal,
): Desired {
  const access = findAccess(wanted.manifests);
  const about: About = { wanted, access, directory, signal, notes: [] };
  const { accounts = {}, desired = [] } = wanted.lists.credentials ?? {};
  const contents = new Map<string, Content>();
  for (const name of names) {
    refuseOwn(name, about);
    const kubeconfig = isTokenFile(name) ? (desired.find((one) => tokenFileOf(one) === name) ?? name) : name;
    const account = { namespace: access.namespace, ...accountOf(kubeconfig, accounts) };
    contents.set(name, contentOf(name, kubeconfig, account, about));
  }
  return { contents, warnings: [], said: () => about.notes };
}

/** A name of a list may be one that every object has. */
function accountOf(name: string, accounts: NonNullable<Lists["accounts"]>): ObjectName {
  return (Object.hasOwn(accounts, name) ? accounts[name] : undefined) ?? { name };
}

/** Whoever uses a token to get the next one gets none once it has expired. */
function refuseOwn(name: string, { wanted: { manifests }, directory }: About): void {
  if (manifests.kubeconfig !== join(directory.path, name)) return;
  throw new Failure({
    code: "credentials-own",
    subject: manifests.kubeconfig,
    problem: "is the kubeconfig by which its own token would be asked for: it could not be renewed once it has expired",
    hint: "name another kubeconfig with --kubeconfig, or run in a pod with a service account",
  });
}

function contentOf(name: string, kubeconfig: string, account: Required<ObjectName>, about: About): Content {
  const { form } = about.wanted.credentials;
  if (isTokenFile(name)) return new TokenFile(name, account, about, (token) => `${token}\n`);
  const render = (user: string): string => kubeconfigFor(account, user, about);
  if (form === "inline")
    return new TokenFile(name, account, about, (token) => render(`token: ${JSON.stringify(token)}`));
  const path = join(about.wanted.credentials.directory, tokenFileOf(kubeconfig));
  return new TokenFile(name, account, about, () => render(`tokenFile: ${JSON.stringify(path)}`));
}

/** As client-go reads it. A text in quotes of JSON is one of YAML, too. */
function kubeconfigFor(
  account: Required<ObjectName>,
  user: string,
  { access, wanted: { credentials } }: Pick<About, "access" | "wanted">,
): string {
  const { authority, insecure, name } = access.trust();
  const server = credentials.server ?? access.server.href.replace(/\/$/u, "");
  const encoded = authority === undefined ? undefined : Buffer.from(authority).toString("base64");
  const lines = [
    "# Written by cni-node, which replaces it: see docs/credentials.md.",
    "apiVersion: v1",
    "kind: Config",
    "clusters:",
    "- name: cluster",
    "  cluster:",
    `    server: ${JSON.stringify(server)}`,
    ...(encoded === undefined || insecure ? [] : [`    certificate-authority-data: ${JSON.stringify(encoded)}`]),
    ...(insecure ? ["    insecure-skip-tls-verify: true"] : []),
    ...(name === undefined ? [] : [`    tls-server-name: ${JSON.stringify(name)}`]),
    "users:",
    `- name: ${JSON.stringify(describeAccount(account))}`,
    "  user:",
    `    ${user}`,
    "contexts:",
    "- name: cluster",
    "  context:",
    "    cluster: cluster",
    `    user: ${JSON.stringify(describeAccount(account))}`,
    `    namespace: ${JSON.stringify(account.namespace)}`,
    "current-context: cluster",
  ];
  return `${lines.join("\n")}\n`;
}

/** What is written around a token stands for it in texts that have none. */
const PLACEHOLDER = "a.b.c";

/**
 * A file with a token, or a kubeconfig that names one. It is current if it is what would be written with the token that
 * it has, and if that token is good.
 */
class TokenFile implements Content {
  readonly #name: string;
  readonly #account: Required<ObjectName>;
  readonly #about: About;
  readonly #render: (token: string) => string;
  /** Of the live file, if it is good. */
  #token: string | undefined;
  #digest: string | undefined;
  #renewal: string | undefined;

  constructor(name: string, account: Required<ObjectName>, about: About, render: (token: string) => string) {
    this.#name = name;
    this.#account = account;
    this.#about = about;
    this.#render = render;
  }

  /** A token can be had only once manifests of the same run have made its account. */
  readonly isLate = true;

  mode(): number {
    return MODE;
  }

  async digest(): Promise<string> {
    return Promise.resolve(this.#digest ?? "");
  }

  async isCurrent(path: string, live: Live): Promise<boolean> {
    const text = live.type === "file" ? readTextIfPossible(path, SIZE_LIMITS.credentials) : undefined;
    if (text === undefined) return false;
    const token = this.#tokenIn(text);
    const digest = digestOf(text);
    const isOurs = this.#held?.digest === digest;
    if (token === undefined) {
      // Somebody else has changed it, or what it says of the API is no longer so.
      if (isOurs) this.#renewal = "the server, its certificate authority, the account or the form differs";
      return false;
    }
    const objection = this.#hasToken ? await this.#objectionTo(token, Number(live.stat?.mtimeMs ?? 0n)) : undefined;
    if (objection === undefined) {
      this.#token = token;
      this.#digest = digest;
    } else this.#renewal = objection;
    return objection === undefined;
  }

  renewal(): string | undefined {
    return this.#renewal;
  }

  isHeld(held: HeldAsset): boolean {
    return this.#digest === undefined && held.account === describeAccount(this.#account);
  }

  recorded(): Partial<Pick<HeldAsset, "account">> {
    return { account: describeAccount(this.#account) };
  }

  async stage(path: string): Promise<string> {
    const text = this.#render(this.#token ?? (this.#hasToken ? await this.#newToken() : PLACEHOLDER));
    await createFile(path, Buffer.from(text), { mode: MODE });
    return digestOf(text);
  }

  get #held(): HeldAsset | undefined {
    return heldAs(this.#about.directory.record?.assets ?? [], { kind: "credentials", name: this.#name });
  }

  get #hasToken(): boolean {
    return this.#render(PLACEHOLDER).includes(PLACEHOLDER);
  }

  /** The token of a text that is what would be written with it. */
  #tokenIn(text: string): string | undefined {
    if (!this.#hasToken) return text === this.#render("") ? PLACEHOLDER : undefined;
    const start = this.#render(PLACEHOLDER).indexOf(PLACEHOLDER);
    const token = TOKEN.exec(text.slice(start))?.[0];
    return token !== undefined && this.#render(token) === text ? token : undefined;
  }

  async #objectionTo(token: string, written: number): Promise<string | undefined> {
    const { wanted, access, signal } = this.#about;
    const { isKept, reviews } = wanted.credentials;
    const now = Date.now();
    const demand = { subject: subjectOf(this.#account), node: wanted.manifests.nodeName, now, written, isKept };
    const objection = objectionToToken(token, demand);
    const key = digestOf(token);
    if (objection !== undefined || now - (reviews.get(key) ?? 0) < REVIEW_COUNTS_MS) return objection;
    const isTaken = await reviewToken(access, token, signal);
    // An API that is away is not asked by each of many looks.
    const counts = isTaken === undefined ? now - REVIEW_COUNTS_MS + ASKED_AGAIN_MS : now;
    if (isTaken === false) return "the API no longer accepts its token";
    reviews.set(key, counts);
    return undefined;
  }

  async #newToken(): Promise<string> {
    const { wanted, access, signal, notes } = this.#about;
    const { nodeName: node, timeout } = wanted.manifests;
    const { lifetime } = wanted.credentials;
    const api = new Api(access, new Deadline(timeout), signal);
    const { token, unbound } = await requestToken(api, { ...this.#account, lifetime, node });
    if (unbound !== undefined) notes.push(unboundWarning(this.#name, unbound));
    return token;
  }
}

function unboundWarning(name: string, why: string): Finding {
  const message = `its token is not bound to this node, so it stays valid if the Node is deleted: ${why}`;
  return warning("credentials-unbound", name, message, "a token that is bound to the Node ends with it");
}

function digestOf(text: string): string {
  return `sha256:${createHash("sha256").update(text).digest("hex")}`;
}
