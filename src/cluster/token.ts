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

const Claims = v.object({
  exp: v.number(),
  iat: v.optional(v.number()),
  sub: v.optional(v.string()),
  "kubernetes.io": v.optional(v.object({ node: v.optional(v.object({ name: v.string(), uid: v.string() })) })),
});

/** There is no later date in JavaScript; whoever means "never" may write a later one. */
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

/**
 * Why a token is to be replaced by a new one; undefined: it need not. A clock that is far ahead of the server's must
 * not have a token replaced each time that somebody looks.
 */
export function objectionToToken(token: string, demand: TokenDemand): string | undefined {
  const { subject, node, now, written, isKept } = demand;
  const facts = factsOf(token);
  if (facts === undefined) return "its token does not say how long it is good";
  if (facts.subject !== subject) return "its token is of another account";
  if (node !== undefined && facts.node !== undefined && facts.node.name !== node) return "its token is of another node";
  const { issued, expires } = facts;
  const isYoung = written <= now && now - written < (expires - (issued ?? expires - SHORTEST_LIFE)) / 3;
  const isDue = isKept ? now >= renewalOf(token, facts) : lifeLeft(facts, now) <= LEAST_LIFE;
  if (!isDue || isYoung) return undefined;
  return `its token ${expires <= now ? "expired" : "expires"} at ${shownTime(expires)}`;
}

/** `2026-11-28T17:00:00Z` */
function shownTime(milliseconds: number): string {
  return new Date(milliseconds).toISOString().replace(/\.\d+Z$/u, "Z");
}

/** How much of its life is left, from 0 to 1. A clock of the node that is behind the server's takes nothing away. */
function lifeLeft({ issued, expires }: TokenFacts, now: number): number {
  const life = Math.max(1, issued === undefined ? SHORTEST_LIFE : expires - issued);
  return Math.max(0, Math.min(1, (expires - now) / life));
}

/** The part of a token's life after which `watch` replaces it, and how much earlier that may be. */
const RENEWED_AFTER = 2 / 3;
const SPREAD = 1 / 10;

/**
 * When a token is to be replaced, milliseconds since the epoch. Tokens that many nodes got together come due at
 * different times: their signatures differ.
 */
export function renewalOf(token: string, { issued, expires }: TokenFacts): number {
  const life = Math.max(0, issued === undefined ? SHORTEST_LIFE : expires - issued);
  const last = Buffer.from(token.slice(-6)).reduce((sum, byte) => (sum * 31 + byte) % 1009, 7) / 1009;
  return expires - life * (1 - RENEWED_AFTER + SPREAD * last);
}
