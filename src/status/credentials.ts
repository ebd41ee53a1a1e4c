/** The kubeconfigs that plugins on a node use: whether they will be let in with them. Secrets are read, never shown. */
import { X509Certificate } from "node:crypto";
import * as fs from "node:fs";

import * as v from "valibot";
import { parse } from "yaml";

import { objectionToKubeconfig } from "../cluster/kubeconfig-check.ts";
import { factsOf, shownTime } from "../cluster/token.ts";
import { Failure } from "../errors.ts";
import type { Finding } from "../finding.ts";
import { countValues } from "../system/json.ts";
import { readText } from "../system/read.ts";
import { modeFindings } from "./files.ts";
import { Notes, type Noted } from "./notes.ts";

const User = v.object({
  name: v.string(),
  user: v.nullish(
    v.object({
      token: v.optional(v.string()),
      tokenFile: v.optional(v.string()),
      "client-certificate": v.optional(v.string()),
      "client-certificate-data": v.optional(v.string()),
    }),
  ),
});

const Kubeconfig = v.object({
  "current-context": v.optional(v.string()),
  contexts: v.nullish(v.array(v.object({ name: v.string(), context: v.nullish(v.object({ user: v.string() })) })), []),
  users: v.nullish(v.array(User), []),
});

/** Until when a credential is good, in milliseconds since the epoch. */
interface Validity {
  what: "token" | "client certificate";
  from: number | undefined;
  until: number;
}

/** Whoever renews a credential does so long before so little of its life is left. */
const LAST_PART = 0.1;
/** Where it does not say since when it is good. */
const LAST_HOUR = 3_600_000;

/** A kubeconfig has a few KiB; its parser takes some hundred bytes for each value. */
const MAX_SIZE = 256 * 1024;
const MAX_VALUES = 10_000;

/**
 * Looks at a kubeconfig.
 *
 * @param here where it is seen from here. @param path as the node sees it.
 * @param fileAt where a path of the node is seen from here; undefined: it is not.
 * @param now milliseconds since the epoch. @param isThere whether the node has a file; undefined: that cannot be seen.
 */
export function lookAtKubeconfig(
  here: string,
  path: string,
  fileAt: (path: string) => string | undefined,
  now: number,
  isThere: (path: string) => boolean | undefined = () => undefined,
): Noted {
  const notes = new Notes();
  const invalid = (problem: string): Finding => ({
    code: "kubeconfig-invalid",
    severity: "error",
    path,
    message: `${problem}: its plugin fails for every new pod`,
    hint: "have its agent write it again",
  });
  try {
    const stat = fs.statSync(here, { throwIfNoEntry: false });
    if (stat === undefined) return notes.noted;
    notes.add(...modeFindings(stat, path, "kubeconfig"));
    const text = read(here);
    const objection = objectionToKubeconfig(here, isThere);
    if (objection !== undefined) {
      notes.add(invalid(objection));
      return notes.noted;
    }
    const validities = validitiesOf(text, fileAt);
    notes.add(...validities.flatMap((one) => objectionTo(one, path, now)));
  } catch (error) {
    const isKnown = error instanceof Failure || (error as NodeJS.ErrnoException).errno !== undefined;
    if (isKnown) notes.addFailure(error, path, invalid);
    // The message of a parser would quote the text.
    else notes.add(invalid("is not a kubeconfig"));
  }
  return notes.noted;
}

/** @throws Failure, errors of the system. */
function read(here: string): string {
  const text = readText(here, MAX_SIZE);
  if (countValues(text) <= MAX_VALUES) return text;
  throw new Failure({ code: "kubeconfig-invalid", subject: here, problem: `has more than ${MAX_VALUES} values` });
}

function validitiesOf(text: string, fileAt: (path: string) => string | undefined): Validity[] {
  // What the parser warns of would quote the text.
  const { contexts, users, "current-context": current } = v.parse(Kubeconfig, parse(text, { logLevel: "error" }));
  const context = contexts.find((one) => one.name === current)?.context ?? undefined;
  if (context === undefined) throw new Error("it has no current context: client-go takes it for an empty one");
  const user = users.find((one) => one.name === context.user)?.user;
  const token = user?.token ?? readNamed(user?.tokenFile, fileAt);
  const data = user?.["client-certificate-data"];
  const certificate =
    data === undefined ? readNamed(user?.["client-certificate"], fileAt) : Buffer.from(data, "base64");
  return [tokenValidity(token), certificateValidity(certificate)].filter((one) => one !== undefined);
}

function readNamed(path: string | undefined, fileAt: (path: string) => string | undefined): string | undefined {
  const here = path === undefined ? undefined : fileAt(path);
  return here === undefined ? undefined : read(here);
}

/** Undefined: it does not say, as the tokens in Secrets. */
function tokenValidity(token: string | undefined): Validity | undefined {
  const facts = token === undefined ? undefined : factsOf(token);
  return facts && { what: "token", from: facts.issued, until: facts.expires };
}

function certificateValidity(pem: string | Buffer | undefined): Validity | undefined {
  if (pem === undefined) return undefined;
  const { validFromDate, validToDate } = new X509Certificate(pem);
  return { what: "client certificate", from: validFromDate.getTime(), until: validToDate.getTime() };
}

function objectionTo({ what, from, until }: Validity, path: string, now: number): Finding[] {
  const hint = "the agent that writes it must renew it: see its log, or restart its pod on this node";
  const when = shownTime(until);
  if (until <= now) {
    const message = `has a ${what} that expired at ${when}: the API refuses its plugin (Unauthorized) for every new pod`;
    return [{ code: "credentials-expired", severity: "error", path, message, hint }];
  }
  if (until - now > (from === undefined ? LAST_HOUR : (until - from) * LAST_PART)) return [];
  const message = `has a ${what} that expires at ${when}, and that was not renewed for nine tenths of its life`;
  return [{ code: "credentials-expire", severity: "warning", path, message, hint }];
}
