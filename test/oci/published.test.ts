/** What Docker was asked for: the ports to publish, and the network. */
import assert from "node:assert/strict";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { hasDockersNetwork, publishedPorts, type Published } from "../../src/oci/published.ts";
import type { Container } from "../../src/oci/container.ts";
import { readSpec } from "../../src/oci/spec.ts";

interface Kept {
  /** The directory in which Docker keeps the files of the container. */
  name?: string;
  /** What is mounted from there. */
  file?: string;
  mode?: number;
}

/** What is read of a container whose files Docker keeps. */
function kept<T>(hostConfig: unknown, read: (container: Container) => T, more: Kept = {}): T {
  const { name = "c1", file = "resolv.conf", mode = 0o600 } = more;
  const root = fs.mkdtempSync(join(tmpdir(), "cni-node-published-"));
  const directory = join(root, name);
  fs.mkdirSync(directory);
  const text = typeof hostConfig === "string" ? hostConfig : JSON.stringify(hostConfig);
  fs.writeFileSync(join(directory, "hostconfig.json"), text);
  fs.chmodSync(join(directory, "hostconfig.json"), mode);
  const mounts = [{ destination: `/etc/${file}`, source: join(directory, file) }];
  try {
    return read({ id: "c1", pid: undefined, bundle: root, spec: readSpec(JSON.stringify({ mounts }), "x") });
  } finally {
    fs.rmSync(root, { recursive: true });
  }
}

function published(hostConfig: unknown, name = "c1"): Published {
  return kept(hostConfig, publishedPorts, { name });
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

test("whether Docker gives the container a network, as far as a file of root's says so", () => {
  const has = (hostConfig: unknown, more?: Kept): boolean => kept(hostConfig, hasDockersNetwork, more);
  for (const NetworkMode of ["default", "bridge", "own", "host", "container:c2"]) {
    assert.equal(has({ NetworkMode }), true, NetworkMode);
  }
  for (const config of [{ NetworkMode: "none" }, {}, { NetworkMode: 7 }, "{", "[]"]) assert.equal(has(config), false);
  const bridge = { NetworkMode: "bridge" };
  for (const file of ["hostname", "hosts"]) assert.equal(has(bridge, { file }), true, "--volume has taken the others");
  assert.equal(has(bridge, { file: "other" }), false);
  assert.equal(has(bridge, { name: "c2" }), false);
  assert.equal(has(bridge, { mode: 0o666 }), false);
});
