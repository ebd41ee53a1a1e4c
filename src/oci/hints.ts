/** Hints for who reads the errors of hooks: there are no options there, but keys of cni.yaml. Pure. */
import type { Failure } from "../errors.ts";

/** What hints of `cni-node network` say, and what says the same here. */
const REPLACED: readonly [RegExp, string][] = [
  [/^--plugin-timeout gives plugins more time; /u, ""],
  [
    /--trace shows what .*$/u,
    "cni-node network probe NETWORK --trace shows what plugins are given and what they answer",
  ],
  [/^choose another one with --ifname or --container-id; /u, "choose another interface: NETWORK@INTERFACE; "],
  [/--cache-dir\b/gu, "cni_cache_dir in cni.yaml"],
  [/--plugin-dir\b/gu, "cni_bin_dir in cni.yaml"],
  [/ \(--lock-timeout\)/gu, ""],
];

/** A text without the options that hooks do not have. */
export function inWordsOfHooks(text: string): string {
  return REPLACED.reduce((said, [words, others]) => said.replace(words, others), text);
}

/** The failure with its hints in the words of hooks. */
export function forHooks(failure: Failure): Failure {
  return failure.extendedBy("", failure.hints.map(inWordsOfHooks));
}
