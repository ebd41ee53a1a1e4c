import assert from "node:assert/strict";
import { test } from "node:test";

import { cdiSpecification, hookFiles, isDeviceName } from "../../src/engine/hooks.ts";

const PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

test("a CDI specification has a device for each network, which adds and deletes it", () => {
  const text = cdiSpecification({ front: "/opt/cni-node/oci.sh", config: "/etc/docker/cni.yaml" }, ["a"]);
  const hook = (hookName: string, command: string): object => ({
    hookName,
    path: "/opt/cni-node/oci.sh",
    args: ["/opt/cni-node/oci.sh", "cni", "--config", "/etc/docker/cni.yaml", "--command", command, "--network", "a"],
    env: [PATH],
  });
  const devices = [{ name: "a", containerEdits: { hooks: [hook("createRuntime", "add"), hook("poststop", "del")] } }];
  assert.deepEqual(JSON.parse(text), { cdiVersion: "0.5.0", kind: "cni-node.io/net", devices });
});

test("hooks.d files act on containers with the annotation, and name no configuration if there is none", () => {
  const files = Array.from(hookFiles({ front: "/f", config: undefined }), ([name, text]) => [name, JSON.parse(text)]);
  const when = { annotations: { "^io\\.cni-node\\.network$": ".+" } };
  const file = (command: string, stage: string): object => ({
    version: "1.0.0",
    hook: { path: "/f", args: ["/f", "cni", "--command", command], env: [PATH] },
    when,
    stages: [stage],
  });
  assert.deepEqual(files, [
    ["10-cni-node-add.json", file("add", "createRuntime")],
    ["10-cni-node-del.json", file("del", "poststop")],
  ]);
});

test("names of networks that no device can have", () => {
  const all = ["a", "net.1", "a-b_c", "1", "a.", "a-", "-a", "", "a b", "ä"];
  assert.deepEqual(all.filter(isDeviceName), ["a", "net.1", "a-b_c", "1"]);
});
