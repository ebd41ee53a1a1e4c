/** Credentials: kubeconfigs for plugins, with tokens of service accounts. What asks for them is loaded if there are any. */
import { join } from "node:path";

import { usage } from "../errors.ts";
import { readTextIfPossible, SIZE_LIMITS } from "../system/read.ts";
import type { FileAssets } from "./kind.ts";
import { isTokenFile, tokenFileOf, withTokenFiles } from "./lists.ts";
import { keepNamed } from "./policies.ts";

/** How credentials are written, and kept. */
export interface CredentialsOptions {
  /** Is the token in the kubeconfig, or in a file beside it? */
  form: "inline" | "token-file";
  /** The address of the API for plugins; undefined: the one that is used here. */
  server?: string | undefined;
  /** How long tokens are to be good, milliseconds. */
  lifetime: number;
  /** The directory of the kubeconfigs, as plugins see it. */
  directory: string;
  /** This process renews tokens in time: each after two thirds of its life, not only when it is nearly over. */
  isKept: boolean;
  /** When tokens were last tried and taken, milliseconds, by their digest. */
  reviews: Map<string, number>;
}

/** What a token of a service account looks like. */
export const TOKEN = /[\w-]+\.[\w-]+\.[\w-]+/u;

/** The token in a file of ours, or in a kubeconfig of ours; undefined: it has none, or is not there. */
export function tokenIn(path: string): string | undefined {
  const text = readTextIfPossible(path, SIZE_LIMITS.credentials) ?? "";
  const found = /^\s*token: "([^"]*)"$/mu.exec(text)?.[1] ?? text.trim();
  return TOKEN.exec(found)?.[0] === found ? found : undefined;
}

/** Kubeconfigs, and the files of their tokens. */
export const credentials: FileAssets = {
  read: async (names, wanted, directory, objections, signal) => {
    const nothing = { contents: new Map(), warnings: [] };
    if (names.length === 0 || directory === undefined) return nothing;
    const { readCredentials } = await import("./credential-files.ts");
    return objections.catch(() => readCredentials(names, wanted, directory, signal)) ?? nothing;
  },
  listed: (lists, held, { credentials: { form } }) => withTokenFiles(lists, held, form === "token-file"),
  // What is gone after the next boot is missed by the plugins of the first pods, the installer's own among them.
  refuseDirectory: (path, shown, option) => {
    if (!/^\/(?:var\/)?run(?:\/|$)/u.test(shown)) return;
    const problem = "is emptied when the node starts: plugins would find no credentials before cni-node runs again";
    throw usage(path, problem, `name a directory that stays with ${option}`);
  },
  isShown: false,
  keep: keepNamed,
  changes: (files, { wanted }) => {
    const pathOf = (name: string): string => join(wanted.credentials.directory, name);
    return { files: new Map(files.map(({ step, file }) => [pathOf(step.name), file?.effect !== "remove"])) };
  },
  lossMeans: "the plugins that use it fail for every new pod",
  isKubeconfig: (name) => !isTokenFile(name),
  cure: ({ name, account }, held) => {
    // The token of a kubeconfig comes with it.
    const names = held.map((one) => one.name);
    const kubeconfig = isTokenFile(name)
      ? (names.find((one) => tokenFileOf(one) === name && one !== name) ?? name)
      : name;
    return { name: kubeconfig, account, ...(names.includes(tokenFileOf(kubeconfig)) && { form: "token-file" }) };
  },
};
