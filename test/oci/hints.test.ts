/** Hints of hooks. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { CniError, ERROR_CODES } from "../../src/cni/error.ts";
import { PluginError } from "../../src/cni/invoke.ts";
import { Failure } from "../../src/errors.ts";
import { requirePlugins } from "../../src/network/attach.ts";
import { operationFailure } from "../../src/network/failure.ts";
import { forHooks, inWordsOfHooks } from "../../src/oci/hints.ts";

test("hints name no option that a hook does not have", () => {
  const plugin = { plugin: "p", path: "/p", command: "ADD" as const, stdout: "", stderr: "" };
  const failed = { code: 100, msg: "x" };
  const errors = [
    new CniError({ code: ERROR_CODES.invalidEnvironment, msg: "in use" }),
    new CniError({ code: ERROR_CODES.ioFailure, msg: "x" }),
    new CniError({ code: ERROR_CODES.unknown, msg: "x" }),
    new PluginError("exit", plugin, failed),
    new PluginError("timeout", plugin, failed),
    new PluginError("start", plugin, failed),
  ];
  const failures = errors.map((error) => operationFailure("a", "it cannot be added", error));
  const network = {
    cniVersion: "1.0.0",
    name: "a",
    disableCheck: false,
    disableGC: false,
    loadOnlyInlinedPlugins: true,
    text: "",
  };
  assert.throws(
    () => {
      requirePlugins(
        { ...network, plugins: [{ type: "nowhere" }] },
        {
          caller: { pluginDirs: ["/nowhere"], cacheDir: "/nowhere" },
          pluginSource: "/nowhere",
        },
      );
    },
    (error) => error instanceof Failure && failures.push(error) > 0,
  );
  for (const failure of failures) {
    const { hint = "", message, code } = forHooks(failure);
    assert.deepEqual([message, code], [failure.message, failure.code]);
    assert.notEqual(hint, "");
    assert.doesNotMatch(hint.replaceAll(/cni-node (?:network probe NETWORK --trace|install --plugins=)/gu, ""), /--/u);
  }
  assert.equal(inWordsOfHooks("others (--lock-timeout)"), "others");
});
