/** A record on the node that somebody else has written must not make cni-node delete what it has not applied. */
import assert from "node:assert/strict";
import * as fs from "node:fs";
import { join } from "node:path";
import { after, before, suite, test } from "node:test";

import { cannotStart, startCluster, type Cluster } from "../cluster/cluster.ts";
import { cannotMount, Namespace } from "../helpers/namespace.ts";
import { TestNode } from "../helpers/node.ts";

let cluster: Cluster;

suite("objects that only the record names", { skip: cannotStart }, () => {
  before(async () => {
    cluster = await startCluster();
    for (const name of ["victim", "lease-of-node-1"]) {
      const body = { apiVersion: "v1", kind: "ConfigMap", metadata: { name }, data: { a: "b" } };
      const { status } = await cluster.request("POST", "/api/v1/namespaces/default/configmaps", body);
      assert.equal(status, 201);
    }
  });
  after(async () => cluster.stop());

  /** A node that has applied one object, and whose record then names others as well. */
  async function forged(): Promise<TestNode> {
    const node = new TestNode();
    node.manifest("a.yaml", '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"own-node-1"}}');
    const ran = await node.run(["install", "--manifests=a.yaml", `--kubeconfig=${cluster.adminKubeconfig}`]);
    assert.equal(ran.exitCode, 0, ran.stderr);
    const path = join(node.netd, ".cni-node/record.json");
    const record = JSON.parse(fs.readFileSync(path, "utf8")) as { assets: { objects: object[] }[] };
    for (const name of ["victim", "lease-of-node-1"]) {
      record.assets[0]?.objects.push({ apiVersion: "v1", kind: "ConfigMap", namespace: "default", name });
    }
    fs.writeFileSync(path, JSON.stringify(record));
    return node;
  }

  async function isThere(name: string): Promise<boolean> {
    return (await cluster.request("GET", `/api/v1/namespaces/default/configmaps/${name}`)).status === 200;
  }

  for (const [what, argv, isOwnLeft] of [
    ["an uninstall of the manifest", ["uninstall", "--manifests=a.yaml"], false],
    ["an install with --prune", ["apply", "--manifests=a.yaml", "--prune", "--owner=cni-node"], true],
  ] as const) {
    test(`stay after ${what}, and the report says why`, async () => {
      using node = await forged();
      const ran = await node.run([...argv, "--node-name=node-1", `--kubeconfig=${cluster.adminKubeconfig}`]);
      assert.equal(ran.exitCode, 0, ran.stderr);
      const left = await Promise.all(["victim", "lease-of-node-1", "own-node-1"].map(isThere));
      assert.deepEqual(left, [true, true, isOwnLeft], ran.stdout);
      assert.match(
        ran.stdout,
        argv[0] === "uninstall"
          ? /ConfigMap default\/victim: only the record on the node says that cni-node has written it/u
          : /ConfigMap default\/lease-of-node-1: only the record/u,
      );
    });
  }

  test(
    "A19: manifests are installed and uninstalled where the record's directory is read-only",
    { skip: cannotMount },
    async () => {
      using node = new TestNode();
      node.manifest("a.yaml", '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"read-only"}}');
      const mount = `mount --bind ${node.netd} ${node.netd}; mount -o remount,bind,ro ${node.netd}`;
      await using namespace = await Namespace.make(mount);
      const words = ["--manifests=a.yaml", `--kubeconfig=${cluster.adminKubeconfig}`, ...node.places];
      for (const [verb, outcome, isLeft] of [
        ["install", "created", true],
        ["install", "unchanged", true],
        ["uninstall", "deleted", false],
      ] as const) {
        const ran = await namespace.bundle([verb, ...words]);
        assert.equal(ran.exitCode, 0, ran.stderr);
        assert.match(ran.stdout, new RegExp(`^${outcome} `, "u"));
        assert.equal(await isThere("read-only"), isLeft);
        if (verb === "install")
          assert.match(ran.stderr, /warning: .*net\.d: cannot be written to, so that the record/u);
      }
      assert.deepEqual(fs.readdirSync(node.netd), []);
    },
  );
});
