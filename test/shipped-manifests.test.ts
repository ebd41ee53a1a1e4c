/** The manifests that users apply (manifests/, examples/): each command line is one, and each pod is hardened. */
import assert from "node:assert/strict";
import * as fs from "node:fs";
import { basename, dirname, join } from "node:path";
import { suite, test } from "node:test";

import { parseAllDocuments } from "yaml";

import { readLine } from "../src/cli.ts";
import { COMMANDS, type CommandSpec } from "../src/commands.ts";
import { valuesOf } from "../src/options.ts";

const ROOT = join(import.meta.dirname, "..");
const FILES = fs
  .globSync(["manifests/*.yaml", "manifests/*/*.yaml", "examples/*/*.yaml"], {
    cwd: ROOT,
    exclude: ["**/*-patch.yaml"],
  })
  .toSorted();

interface Container {
  name: string;
  image: string;
  command?: string[];
  args?: string[];
  env?: { name: string }[];
  resources?: { requests?: object; limits?: object };
  securityContext?: { readOnlyRootFilesystem?: boolean; allowPrivilegeEscalation?: boolean; capabilities?: object };
  livenessProbe?: object;
  readinessProbe?: object;
  volumeMounts?: { name: string; mountPath: string }[];
}

interface Pod {
  serviceAccountName?: string;
  priorityClassName?: string;
  hostNetwork?: boolean;
  tolerations?: { operator?: string }[];
  securityContext?: { seccompProfile?: { type: string } };
  initContainers?: Container[];
  containers: Container[];
  volumes?: { name: string; hostPath?: { path: string } }[];
}

interface Manifest {
  apiVersion: string;
  kind: string;
  metadata: { name: string; namespace?: string };
  spec?: { template?: { spec: Pod }; updateStrategy?: { rollingUpdate?: { maxUnavailable?: string } } };
  rules?: { apiGroups: string[]; resources: string[]; resourceNames?: string[]; verbs: string[] }[];
  data?: Record<string, string>;
}

function objectsOf(file: string): Manifest[] {
  return parseAllDocuments(fs.readFileSync(join(ROOT, file), "utf8")).map((one) => one.toJS() as Manifest);
}

const all = FILES.flatMap((file) => objectsOf(file).map((object) => ({ file, object })));
const workloads = all.flatMap(({ file, object }) => {
  const pod = object.spec?.template?.spec;
  return pod === undefined ? [] : [{ file, object, pod }];
});
const ours = workloads.flatMap(({ pod, ...rest }) =>
  [...(pod.initContainers ?? []), ...pod.containers]
    .filter(({ image }) => image === "cni-node")
    .map((container) => ({ ...rest, pod, container })),
);

suite("the manifests that users apply", () => {
  test("have the names of the ancestor's, and there are containers of cni-node in them", () => {
    assert.deepEqual(
      FILES.filter((file) => dirname(file) === "manifests").map((file) => basename(file)),
      ["macvlan-example", "multus-cni-config", "multus-cni-rbac", "multus-cni-simple", "multus-cni", "whereabouts"].map(
        (name) => `${name}.yaml`,
      ),
    );
    assert.ok(ours.length >= 4);
  });

  for (const { file, container, pod } of ours) {
    test(`${file}: each option of ${container.name} is one of its command, with a value that it takes`, () => {
      const { words, options } = readLine(container.args ?? []);
      const command = words.join(" ");
      assert.ok(Object.hasOwn(COMMANDS, command), command);
      const known = (COMMANDS as Record<string, CommandSpec>)[command]?.options ?? {};
      for (const { name } of options) assert.ok(Object.hasOwn(known, name), `${command} --${name}`);
      valuesOf(known, options, {});
      const containers = [...(pod.initContainers ?? []), ...pod.containers];
      const mounts = new Set(containers.flatMap(({ volumeMounts = [] }) => volumeMounts.map(({ name }) => name)));
      assert.deepEqual(
        (pod.volumes ?? []).map(({ name }) => name).filter((name) => !mounts.has(name)),
        [],
        "what is mounted nowhere",
      );
    });

    test(`${file}: ${container.name} may do what it needs, and no more`, () => {
      assert.deepEqual(container.securityContext, {
        readOnlyRootFilesystem: true,
        allowPrivilegeEscalation: false,
        capabilities: { drop: ["ALL"], ...(container.args?.[0] === "routes" && { add: ["NET_ADMIN"] }) },
      });
      assert.equal(pod.hostNetwork, true, "the node's network may not work");
      assert.ok(pod.tolerations?.some(({ operator }) => operator === "Exists"));
      assert.equal(pod.priorityClassName, "system-node-critical");
      for (const { mountPath } of container.volumeMounts ?? []) {
        assert.match(mountPath, /^\/(?:host\/|etc\/cni\/net\.d$)/u);
      }
    });
  }

  const watching = ours.filter(({ file, container }) => {
    return file.startsWith("manifests/") && container.args?.[0] === "watch";
  });
  for (const { file, object, container, pod } of watching) {
    test(`${file}: the DaemonSet is the one that --daemonset names, and is killed last and replaced slowly`, () => {
      assert.equal(object.kind, "DaemonSet");
      const { args = [] } = container;
      if (file === "manifests/pod-network/pod-network.yaml") {
        assert.ok(!args.some((word) => word.startsWith("--on-stop")), "pods keep their network");
      } else {
        assert.ok(args.includes(`--daemonset=${object.metadata.name}`));
        assert.ok(args.includes("--on-stop=auto"));
      }
      assert.deepEqual(container.resources?.requests, container.resources?.limits, "Guaranteed quality of service");
      assert.equal(pod.securityContext?.seccompProfile?.type, "RuntimeDefault");
      assert.equal(object.spec?.updateStrategy?.rollingUpdate?.maxUnavailable, "10%");
      assert.ok(container.livenessProbe !== undefined && container.readinessProbe !== undefined);
    });
  }

  test("listen at ports that differ, for all are in the node's network, and are asked there", () => {
    const ports = new Map<string, string>();
    for (const { file, object, container } of ours) {
      const { args = [], livenessProbe, readinessProbe } = container;
      const [port] = args.flatMap((word) => /^--listen=127\.0\.0\.1:(\d+)$/u.exec(word)?.[1] ?? []);
      if (port === undefined) continue;
      for (const probe of [livenessProbe, readinessProbe]) {
        assert.match(JSON.stringify(probe), new RegExp(`"port":${port},`, "u"), file);
      }
      const name = `${object.metadata.name}/${container.name}`;
      assert.equal(ports.get(port) ?? name, name, `${file}: ${port}`);
      ports.set(port, name);
    }
    assert.ok(ports.size >= 4);
  });

  test("give cni-node's accounts no right but by name, save to read nodes and to write Events", () => {
    const roles = all.filter(
      ({ object: { kind, metadata } }) => kind.endsWith("Role") && /-node(?:-events)?$/u.test(metadata.name),
    );
    assert.ok(roles.length >= 6);
    for (const { file, object } of roles) {
      for (const { resources, resourceNames, verbs } of object.rules ?? []) {
        const what = `${file}: ${object.metadata.name}: ${resources.join()}`;
        assert.ok(!verbs.includes("*") && !resources.includes("*"), what);
        if (resources.join() === "events") assert.deepEqual(verbs, ["create", "patch"], what);
        else if (file.startsWith("manifests/pod-network/")) assert.deepEqual(verbs, ["get", "list", "watch"], what);
        else if (resources.join() === "nodes") assert.deepEqual(verbs, ["get"], what);
        else assert.ok((resourceNames ?? []).length > 0, what);
      }
    }
  });

  test("the simple manifest and the others describe the same kinds, accounts and rights", () => {
    const keyOf = ({ kind, metadata }: Manifest): string => `${kind} ${metadata.name}`;
    const simple = new Map(objectsOf("manifests/multus-cni-simple.yaml").map((one) => [keyOf(one), one]));
    const shared = objectsOf("manifests/multus-cni-rbac.yaml").filter((one) => simple.has(keyOf(one)));
    assert.ok(shared.length >= 11);
    for (const object of shared) {
      // The simple one follows no ConfigMap.
      const rules = object.rules?.filter(({ resources }) => resources.join() !== "configmaps");
      assert.deepEqual(rules === undefined ? object : { ...object, rules }, simple.get(keyOf(object)));
    }
  });
});
