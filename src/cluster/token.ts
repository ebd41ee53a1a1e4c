/** What the token of a service account says of itself. It is decoded, not verified: nothing is granted for it. Pure. */
import * as v from "valibot";

/** Whose token it is, and how long it is good; times in milliseconds since the epoch. */
export interface TokenFacts {
  /** `system:serviceaccount:NAMESPACE:NAME` */
  subject?: string | undefined;
  issued?: number | undefined;
  expires: number;
  /** The Node that it is bound to: it ends with it. */
  node?: { name: string; uid: string } | undefined;
}

/** What failures to get a token are about: `ServiceAccount kube-system/multus`. */
export const SUBJECT = "ServiceAccount ";

const Claims = v.object({
  exp: v.number(),
  iat: v.optional(v.number()),
  sub: v.optional(v.string()),
  "kubernetes.io": v.optional(v.object({ node: v.optional(v.object({ name: v.string(), uid: v.string() })) })),
});

/** The last date of JavaScript: a token that is meant never to expire may name a later one. */
const LAST_DATE = 8.64e15;

/** Undefined: it does not say how long it is good, as the tokens in Secrets. */
export function factsOf(token: string): TokenFacts | undefined {
  const payload = Buffer.from(token.trim().split(".")[1] ?? "", "base64url").toString();
  const claims = v.safeParse(v.pipe(v.string(), v.parseJson(), Claims), payload);
  if (!claims.success) return undefined;
  const { exp, iat, sub, "kubernetes.io": more } = claims.output;
  return {
    expires: dateOf(exp),
    ...(iat !== undefined && { issued: dateOf(iat) }),
    ...(sub !== undefined && { subject: sub }),
    ...(more?.node !== undefined && { node: more.node }),
  };
}

function dateOf(seconds: number): number {
  return Math.max(-LAST_DATE, Math.min(seconds * 1000, LAST_DATE));
}

/** Where a token does not say since when it is good: the shortest life that a server gives. */
const SHORTEST_LIFE = 600_000;

/** What a token is judged by. */
export interface TokenDemand {
  subject: string;
  /** The name of this Node; undefined: it is not known. */
  node: string | undefined;
  /** Now, and when the token was written, milliseconds since the epoch by the clock of this node. */
  now: number;
  written: number;
  /** Is it replaced in time, or only when it is nearly over? */
  isKept: boolean;
}

/** Where nobody keeps a token fresh, so much of its life must be left. */
const LEAST_LIFE = 0.2;

/** Why a token is to be replaced by a new one; undefined: it need not. */
export function objectionToToken(
  token: string,
  { subject, node, now, written, isKept }: TokenDemand,
): string | undefined {
  const facts = factsOf(token);
  if (facts === undefined) return "its token has no expiration time";
  if (facts.subject !== subject) return "its token is of another account";
  if (node !== undefined && facts.node !== undefined && facts.node.name !== node) return "its token is of another node";
  if (now < renewalOf(token, facts, { written, now }, isKept)) return undefined;
  return `its token ${facts.expires <= now ? "expired" : "expires"} at ${shownTime(facts.expires)}`;
}

/** `2026-11-28T17:00:00Z` */
export function shownTime(milliseconds: number): string {
  return new Date(milliseconds).toISOString().replace(/\.\d+Z$/u, "Z");
}

/** How much of a token's life is left, from 0 to 1. A clock that is behind the server's takes nothing away. */
export function lifeLeft(facts: TokenFacts, now: number): number {
  return Math.max(0, Math.min(1, (facts.expires - now) / lifeOf(facts)));
}

function lifeOf({ issued, expires }: TokenFacts): number {
  return Math.max(1, issued === undefined ? SHORTEST_LIFE : expires - issued);
}

/** The part of a token's life that is left when `watch` replaces it, and by how much more that may be. */
const PART_KEPT = 1 / 3;
const SPREAD = 1 / 10;

/**
 * When a token is to be replaced, milliseconds since the epoch. Tokens that many nodes got together come due at
 * different times: their signatures differ. A clock that is far ahead of the server's must not have a token replaced
 * each time that somebody looks, so that one is left alone for a third of its life after it was written.
 *
 * @param isKept a process replaces it in time; else it is replaced when it is nearly over.
 */
export function renewalOf(
  token: string,
  facts: TokenFacts,
  { written, now }: Pick<TokenDemand, "written" | "now">,
  isKept = true,
): number {
  const life = lifeOf(facts);
  const part = Buffer.from(token.slice(-6)).reduce((sum, byte) => (sum * 31 + byte) % 1009, 7) / 1009;
  const due = facts.expires - life * (isKept ? PART_KEPT + SPREAD * part : LEAST_LIFE);
  return written > now ? due : Math.max(due, written + life / 3);
}
