/** Tokens of service accounts, asked for and tried. */
import * as v from "valibot";

import { Failure } from "../errors.ts";
import type { Access } from "./access.ts";
import { Api } from "./request.ts";
import { apiFailure, isAbsent, messageOf, NODES, pathOf, ruleFor, type Resource } from "./resource.ts";
import { factsOf, SUBJECT, type TokenFacts } from "./token.ts";
import { Deadline } from "../system/deadline.ts";

/** Whose token is wanted. */
export interface TokenRequest {
  namespace: string;
  name: string;
  /** How long it is to be good, milliseconds; the server may give another time. */
  lifetime: number;
  /** The Node that it is to end with; undefined: its name is not known. */
  node: string | undefined;
}

/** A token, and why it is not bound to the Node. */
export interface GivenToken {
  token: string;
  facts: TokenFacts;
  unbound?: string;
}

const ACCOUNTS: Resource = { group: "", name: "serviceaccounts", namespaced: true };
const TOKENS: Resource = { ...ACCOUNTS, name: "serviceaccounts/token" };

/** The server takes no shorter time. */
const SHORTEST_LIFETIME_S = 600;

const Answer = v.object({ status: v.object({ token: v.pipe(v.string(), v.regex(/^[\w-]+\.[\w-]+\.[\w-]+$/u)) }) });
const Node = v.object({ metadata: v.object({ uid: v.string() }) });

/**
 * Asks for a token, bound to the Node where the server allows it.
 *
 * @throws Failure `account-missing`, `api-forbidden`, `api-refused`, `answer-invalid` and those of `Api.request`.
 */
export async function requestToken(api: Api, request: TokenRequest): Promise<GivenToken> {
  const node = await readNode(api, request.node);
  if ("unbound" in node) return { ...(await ask(api, request)), unbound: node.unbound };
  try {
    return await ask(api, request, node);
  } catch (error) {
    // Before Kubernetes 1.31, a server binds to Pods and Secrets only.
    if (!(error instanceof Unbindable)) throw error;
    return { ...(await ask(api, request)), unbound: error.message };
  }
}

/** The server does not bind tokens to Nodes. */
class Unbindable extends Error {}

interface FoundNode {
  name: string;
  uid: string;
}

async function readNode(api: Api, name: string | undefined): Promise<FoundNode | { unbound: string }> {
  if (name === undefined) return { unbound: "the name of the node is not known: --node-name or NODE_NAME" };
  const path = pathOf({ apiVersion: "v1", kind: "Node", name }, NODES);
  const response = await api.request({ method: "GET", path });
  const { output } = v.safeParse(Node, response.body) as { output?: v.InferOutput<typeof Node> };
  if (response.status === 200 && output?.metadata !== undefined) return { name, uid: output.metadata.uid };
  const said = messageOf(response.body) ?? `HTTP status ${response.status}`;
  const rule = response.status === 403 ? `; ${ruleFor(["get"], NODES)}` : "";
  return { unbound: `Node ${name} cannot be read: ${said}${rule}` };
}

async function ask(api: Api, request: TokenRequest, node?: FoundNode): Promise<Omit<GivenToken, "unbound">> {
  const { namespace, name, lifetime } = request;
  const subject = `${SUBJECT}${namespace}/${name}`;
  const path = pathOf({ apiVersion: "v1", kind: "ServiceAccount", namespace, name }, ACCOUNTS);
  const response = await api.request({
    method: "POST",
    // A token that nobody has read ends by itself.
    isHarmless: true,
    path: `${path}/token`,
    body: {
      apiVersion: "authentication.k8s.io/v1",
      kind: "TokenRequest",
      metadata: {},
      spec: {
        expirationSeconds: Math.max(SHORTEST_LIFETIME_S, Math.round(lifetime / 1000)),
        ...(node !== undefined && { boundObjectRef: { apiVersion: "v1", kind: "Node", ...node } }),
      },
    },
  });
  const { status, body } = response;
  if (isAbsent(response)) {
    throw new Failure({
      code: "account-missing",
      subject,
      problem: "does not exist, so there is no token for it",
      hint: "create it, or have it made by a manifest of the same run (--manifests)",
    });
  }
  if (node !== undefined && (status === 400 || status === 422)) {
    throw new Unbindable(messageOf(body) ?? "the server does not bind tokens to Nodes");
  }
  if (status !== 200 && status !== 201) {
    const hint = status === 403 ? `${ruleFor(["create"], TOKENS, name)} in the namespace ${namespace}` : undefined;
    throw apiFailure(subject, "no token was given", response, hint);
  }
  const parsed = v.safeParse(Answer, body);
  const token = parsed.success ? parsed.output.status.token : "";
  const facts = factsOf(token);
  if (facts?.subject === subjectOf(request)) return { token, facts };
  throw new Failure({
    code: "answer-invalid",
    subject,
    problem: "the answer of the API is not a token of this service account that expires",
    hint: "see which server has the address of the API: a Kubernetes API server does not answer like this",
  });
}

/** Who has the token of an account, to the API. */
export function subjectOf({ namespace, name }: { namespace: string; name: string }): string {
  return `system:serviceaccount:${namespace}:${name}`;
}

/** How long a token may take to be tried, milliseconds: it is in use already, and most likely good. */
const REVIEW_MS = 5000;
const REVIEWS = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

/**
 * Does the API take this token? Every authenticated user may ask who it is. Undefined: it did not say.
 *
 * @throws Interrupted
 */
export async function reviewToken(access: Access, token: string, signal: AbortSignal): Promise<boolean | undefined> {
  const { server, namespace } = access;
  const theirs: Access = {
    server,
    namespace,
    trust: () => access.trust(),
    withToken: (other) => access.withToken(other),
    refused: () => undefined,
    credentials: async () => Promise.resolve().then(() => access.withToken(token)),
  };
  const body = { apiVersion: "authentication.k8s.io/v1", kind: "SelfSubjectReview", metadata: {} };
  // Nothing is made by it, and a signal ends it: as for a dry run.
  const request = { method: "POST", path: REVIEWS, body, query: { dryRun: "All" } } as const;
  try {
    const { status } = await new Api(theirs, new Deadline(REVIEW_MS), signal).request(request);
    return status === 401 ? false : status < 300 ? true : undefined;
  } catch (error) {
    if (error instanceof Failure) return undefined;
    throw error;
  }
}
