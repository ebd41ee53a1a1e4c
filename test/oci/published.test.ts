/** The ports that Docker was asked to publish. */
import assert from "node:assert/strict";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { publishedPorts, type Published } from "../../src/oci/published.ts";
import { readSpec } from "../../src/oci/spec.ts";

/** Of a container whose files Docker keeps in the directory of that name. */
function published(hostConfig: unknown, name = "c1"): Published {
  const root = fs.mkdtempSync(join(tmpdir(), "cni-node-published-"));
  const directory = join(root, name);
  fs.mkdirSync(directory);
  const text = typeof hostConfig === "string" ? hostConfig : JSON.stringify(hostConfig);
  fs.writeFileSync(join(directory, "hostconfig.json"), text);
  const mounts = [{ destination: "/etc/resolv.conf", source: join(directory, "resolv.conf") }];
  try {
    return publishedPorts({ id: "c1", pid: undefined, bundle: root, spec: readSpec(JSON.stringify({ mounts }), "x") });
  } finally {
    fs.rmSync(root, { recursive: true });
  }
}

const NONE: Published = { ports: [], unchosen: [], isAll: false };

test("ports of the host that are given, and those that Docker would choose", () => {
  const PortBindings = {
    "80/tcp": [
      { HostIp: "", HostPort: "8080" },
      { HostIp: "127.0.0.1", HostPort: "8081" },
    ],
    "53/udp": [{ HostIp: "::1", HostPort: "53" }],
    "1/tcp": [{ HostIp: "", HostPort: "" }],
    "2/tcp": [{ HostIp: "", HostPort: "0" }],
    "3/sctp": [{ HostIp: "", HostPort: "8000-8010" }],
    "4/tcp": [],
    "5/tcp": null,
    "6/tcp": [{ HostPort: "70000" }],
  };
  assert.deepEqual(published({ PortBindings }), {
    ports: [
      { hostPort: 8080, containerPort: 80, protocol: "tcp" },
      { hostPort: 8081, containerPort: 80, protocol: "tcp", hostIP: "127.0.0.1" },
      { hostPort: 53, containerPort: 53, protocol: "udp", hostIP: "::1" },
    ],
    unchosen: ["1/tcp", "2/tcp", "3/sctp (8000-8010)", "4/tcp", "5/tcp", "6/tcp (70000)"],
    isAll: false,
  });
  assert.deepEqual(published({ PublishAllPorts: true }), { ...NONE, isAll: true });
});

test("nothing of what is not told, or not the container's", () => {
  for (const config of [{}, { PortBindings: null }, { PortBindings: [] }, { PortBindings: { x: [{}] } }, "{", "[]"]) {
    assert.deepEqual(published(config), NONE);
  }
  const PortBindings = { "80/tcp": [{ HostIp: "", HostPort: "8080" }] };
  assert.deepEqual(published({ PortBindings }, "other"), NONE);
});
