/** When a token is good enough, and when it is due. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { factsOf, lifeLeft, objectionToToken, renewalOf, type TokenDemand } from "../../src/cluster/token.ts";

const NOW = Date.parse("2026-11-28T12:00:00Z");
const HOUR = 3_600_000;
const SUBJECT = "system:serviceaccount:kube-system:multus";

/** A token of 24 hours that was given so many hours ago. */
function tokenOf(age = 0, claims: object = {}, signature = "sssssss"): string {
  const iat = (NOW - age * HOUR) / 1000;
  const payload = { iat, exp: iat + 24 * 3600, sub: SUBJECT, ...claims };
  return `h.${Buffer.from(JSON.stringify(payload)).toString("base64url")}.${signature}`;
}

function objectionTo(token: string, more: Partial<TokenDemand> = {}): string | undefined {
  return objectionToToken(token, { subject: SUBJECT, node: "a", now: NOW, written: 0, isKept: false, ...more });
}

test("a token is good by its account, its Node and the life that is left", () => {
  for (const [what, token, more, expected] of [
    ["a new one", tokenOf(), {}, undefined],
    ["with more than a fifth of its life", tokenOf(19), {}, undefined],
    ["with less", tokenOf(20), {}, /^its token expires at 2026-11-28T16:00:00Z$/u],
    ["an expired one", tokenOf(25), {}, /^its token expired at 2026-11-28T11:00:00Z$/u],
    ["one that is kept, before two thirds", tokenOf(13), { isKept: true }, undefined],
    ["one that is kept, after two thirds", tokenOf(16), { isKept: true }, /expires/u],
    ["of another account", tokenOf(0, { sub: "system:serviceaccount:x:multus" }), {}, /another account/u],
    ["of this Node", tokenOf(0, { "kubernetes.io": { node: { name: "a", uid: "1" } } }), {}, undefined],
    ["of another Node", tokenOf(0, { "kubernetes.io": { node: { name: "b", uid: "1" } } }), {}, /another node/u],
    [
      "of a Node, this one is not known",
      tokenOf(0, { "kubernetes.io": { node: { name: "b", uid: "1" } } }),
      { node: undefined },
      undefined,
    ],
    ["from a server whose clock is an hour ahead", tokenOf(-1), { isKept: true }, undefined],
    [
      "just written, by a clock that is days behind ours",
      tokenOf(72),
      { written: NOW - HOUR, isKept: true },
      undefined,
    ],
    ["the same after a third of its life", tokenOf(72), { written: NOW - 9 * HOUR, isKept: true }, /expired/u],
    ["written in the future", tokenOf(25), { written: NOW + HOUR }, /expired/u],
    ["no token", "a.b.c", {}, /has no expiration time/u],
    ["no token at all", "", {}, /has no expiration time/u],
    ["one that never expires", tokenOf(0, { exp: undefined }), {}, /has no expiration time/u],
    ["one whose expiry is no date", tokenOf(0, { exp: 1e300 }), {}, undefined],
    [
      "a payload that is not an object",
      `h.${Buffer.from("[1]").toString("base64url")}.s`,
      {},
      /has no expiration time/u,
    ],
  ] as const) {
    const objection = objectionTo(token, more);
    if (expected === undefined) assert.equal(objection, undefined, what);
    else assert.match(objection ?? "", expected, what);
  }
});

test("tokens of one moment come due at different times, all between a half and two thirds of their life", () => {
  const dues = Array.from({ length: 200 }, (_, index) => {
    const token = tokenOf(0, {}, `sig${Math.imul(index + 1, 2_654_435_761).toString(36)}`);
    const facts = factsOf(token) ?? assert.fail();
    return (renewalOf(token, facts, { written: 0, now: NOW }) - NOW) / (24 * HOUR);
  });
  assert.ok(Math.min(...dues) > 0.5 && Math.max(...dues) < 0.667, `${Math.min(...dues)} ${Math.max(...dues)}`);
  assert.ok(new Set(dues.map((due) => due.toFixed(4))).size > 100);
});

test("what is left of a life is between 0 and 1, whatever the clocks say", () => {
  const facts = { issued: NOW, expires: NOW + HOUR };
  const left = [-HOUR, 0, HOUR / 2, HOUR, 2 * HOUR].map((after) => lifeLeft(facts, NOW + after));
  assert.deepEqual(left, [1, 1, 0.5, 0, 0]);
  assert.equal(lifeLeft({ expires: NOW + 300_000 }, NOW), 0.5);
});
