/** The tokens that are live on a node: whose they are, and how long they are good. */
import { join } from "node:path";

import { inspect } from "../host/inspect.ts";
import { factsOf, lifeLeft, renewalOf, type TokenFacts } from "../cluster/token.ts";
import { tokenIn } from "../kinds/credentials.ts";
import { tokenFileOf } from "../kinds/lists.ts";

/** The token of one kubeconfig. It is not in here itself. */
export interface LiveToken {
  name: string;
  /** `NAMESPACE/NAME` */
  account: string;
  facts: TokenFacts;
  /** When it is due to be replaced, milliseconds since the epoch. */
  renewal: number;
}

/** Less of a life is left only if its renewal has failed for long. */
const LAST_PART = 0.1;

/** Will plugins be refused soon? */
export function isRunningOut({ facts }: LiveToken, now: number): boolean {
  return lifeLeft(facts, now) < LAST_PART;
}

/** Reads the tokens of these kubeconfigs, as far as they are there. */
export function liveTokens(directory: string, names: readonly string[], now: number): LiveToken[] {
  return names.flatMap((name) => {
    const files = [name, tokenFileOf(name)].map((file) => ({ file, token: tokenIn(join(directory, file)) }));
    const { file = "", token } = files.find((one) => one.token !== undefined) ?? {};
    const facts = token === undefined ? undefined : factsOf(token);
    if (token === undefined || facts === undefined) return [];
    const account = (facts.subject ?? "").replace(/^system:serviceaccount:([^:]*):/u, "$1/");
    const written = Number(inspect(directory, file).stat?.mtimeMs ?? 0n);
    return [{ name, account, facts, renewal: renewalOf(token, facts, { written, now }) }];
  });
}
