/** The completion scripts, in the shells that they are for. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

import { BUNDLE, TestNode } from "./helpers/node.ts";

/** What is typed, `|` between the words, the last of them begun; and what is offered. */
const CASES: readonly [typed: string, offered: readonly string[]][] = [
  ["in", ["install"]],
  ["network|ad", ["add"]],
  ["engine|di", ["disable"]],
  ["routes|s", ["sync"]],
  ["routes|--outp", ["--output"]],
  ["routes|sync|--fo", ["--follow"]],
  ["completion|", ["bash", "fish", "zsh"]],
  ["install|--pl", ["--plugin-dir", "--plugin-source", "--plugins"]],
  ["install|--dry-run|--o", ["--on-stop", "--output", "--owner"]],
  ["network|probe|--pl", ["--plugin-dir", "--plugin-timeout"]],
  ["install|--plugins|b", ["bond", "bridge"]],
  ["install|--plugins|vlan,b", ["vlan,bond", "vlan,bridge"]],
  ["install|--plugins=b", ["--plugins=bond", "--plugins=bridge"]],
  ["plan|--output|j", ["json"]],
  ["network|map|--output=s", ["--output=svg"]],
  ["status|--host-root|/et", ["/etc"]],
  ["plan|--kubeconfig|/etc/passw", ["/etc/passwd"]],
  ["install|--wait|", []],
];

/** Prints what the script of the shell offers for each line of words on stdin. */
const SHELLS = {
  bash: `source <(cni-node completion bash)
    while IFS= read -r line; do
      # As readline does, where = is a word of its own.
      IFS='|' read -ra COMP_WORDS <<<"cni-node|\${line//=/|=|}"
      case $line in *'|') COMP_WORDS+=("");; esac
      COMP_CWORD=$((\${#COMP_WORDS[@]} - 1))
      _cni_node
      lead=; case $line in *=*) lead=\${line##*|}; lead=\${lead%%=*}=;; esac
      echo "\${COMPREPLY[@]/#/$lead}"
    done`,
  // What does not fit is left out by zsh itself.
  zsh: `source <(cni-node completion zsh)
    while IFS= read -r line; do
      COMP_WORDS=(cni-node "\${(@s:|:)line}")
      COMP_CWORD=$((\${#COMP_WORDS} - 1))
      found=("\${(@f)$(compgen -F _cni_node -- "\${COMP_WORDS[-1]}")}")
      echo \${(M)found:#\${COMP_WORDS[-1]}*}
    done`,
  fish: `cni-node completion fish | source
    while read line
      echo (complete -C "cni-node "(string replace -a "|" " " -- $line) | string split -f1 \\t)
    end`,
};

for (const [shell, script] of Object.entries(SHELLS)) {
  test(`${shell} completes commands, options, plugins, words and paths`, (context) => {
    if (spawnSync(shell, ["-c", ":"]).error !== undefined) return context.skip(`needs ${shell}`);
    using node = new TestNode();
    for (const name of ["bridge", "bond", "vlan", "b$(touch hacked)"]) node.plugin(name);
    fs.writeFileSync(join(node.root, "cni-node"), `#!/bin/sh\nexec ${process.execPath} ${BUNDLE} "$@"\n`, {
      mode: 0o755,
    });
    const { stdout, stderr } = spawnSync(shell, ["-c", script], {
      cwd: node.root,
      encoding: "utf8",
      env: {
        PATH: `${node.root}:${process.env["PATH"] ?? ""}`,
        HOME: node.root,
        CNI_NODE_PLUGIN_SOURCE: node.plugins,
      },
      input: CASES.map(([typed]) => `${typed}\n`).join(""),
    });
    assert.equal(stderr, "");
    const said = stdout.split("\n");
    for (const [index, [typed, offered]] of CASES.entries()) {
      // fish quotes what it puts into the command line, and shows directories as such.
      const words = said[index]?.split(" ").filter((word) => word !== "" && !/[$()]|hacked/u.test(word)) ?? [];
      const found = words.map((word) => word.replace(/\/$/u, "")).toSorted();
      assert.deepEqual(
        found,
        typed.endsWith("passw") ? found.filter((word) => word.startsWith("/etc/passwd")) : offered,
        typed,
      );
    }
    assert.equal(fs.existsSync(join(node.root, "hacked")), false);
  });
}

test("another shell is refused, with those that there are", async () => {
  using node = new TestNode();
  const none = await node.run(["completion"]);
  assert.deepEqual(
    [none.exitCode, none.stderr],
    [2, "cni-node: completion: no shell given\n  hint: the shells are bash, zsh, fish\n"],
  );
  const near = await node.run(["completion", "bahs"]);
  assert.match(near.stderr, /unknown shell 'bahs'\n {2}hint: did you mean bash\?/u);
});
