/** The image of this repository on a real node: kubelet, containerd, the control plane, real pods and packets. */
import assert from "node:assert/strict";
import * as fs from "node:fs";
import { join } from "node:path";
import { after, before, suite, test, type TestContext } from "node:test";
import { fileURLToPath } from "node:url";

import { cannotStart, IMAGES, KubernetesNode, NODE } from "../cluster/node.ts";
import { Churn } from "../cluster/churn.ts";
import { blocksOf } from "../helpers/documents.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** A shipped manifest with an image that the node has. */
function shipped(path: string, image = IMAGES.first): string {
  const text = fs.readFileSync(join(ROOT, path), "utf8");
  return text
    .replaceAll("image: cni-node", `image: ${image}\n          imagePullPolicy: Never`)
    .replaceAll("image: busybox", `image: ${IMAGES.busybox}\n      imagePullPolicy: Never`)
    .replaceAll('"master": "eth0"', '"master": "up0"');
}

/** The pods' network, as an agent that is not cni-node makes it. */
function bridgeNetwork(subnet: string): string {
  const ipam = { type: "host-local", ranges: [[{ subnet }]], routes: [{ dst: "0.0.0.0/0" }] };
  const bridge = { type: "bridge", bridge: "cni0", isGateway: true, ipMasq: true, hairpinMode: true, ipam };
  const plugins = [bridge, { type: "portmap", capabilities: { portMappings: true } }];
  return JSON.stringify({ cniVersion: "1.0.0", name: "default-net", plugins }, null, 2);
}

/** A pod that sleeps. */
function pod(name: string, annotations = "{}"): string {
  return `
apiVersion: v1
kind: Pod
metadata: { name: ${name}, annotations: ${annotations} }
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - { name: main, image: "${IMAGES.busybox}", imagePullPolicy: Never, command: [sleep, "100000"] }
`;
}

suite("a real node", { skip: cannotStart }, () => {
  let node: KubernetesNode;
  before(async () => {
    node = await KubernetesNode.start();
  });
  after(async () => node[Symbol.asyncDispose]());

  /** Writes a file in net.d as other agents do. */
  function writeConfig(name: string, text: string): void {
    const netd = join(node.root, "etc/cni/net.d");
    fs.writeFileSync(join(netd, ".other"), text);
    fs.renameSync(join(netd, ".other"), join(netd, name));
  }

  function filesIn(directory: string): string[] {
    return fs.readdirSync(join(node.root, directory)).toSorted();
  }

  /** Starts a pod, and gives its address. */
  async function started(name: string, annotations?: string): Promise<string> {
    await node.apply(pod(name, annotations));
    await node.ask("wait", "--for=condition=Ready", `pod/${name}`, "--timeout=120s");
    return node.ask("get", "pod", name, "-o", "jsonpath={.status.podIP}");
  }

  async function remove(...names: string[]): Promise<void> {
    await node.ask("delete", "pod", ...names, "--ignore-not-found", "--force", "--grace-period=0");
    for (const name of names) await node.until(`! kubectl get pod ${name}`);
  }

  async function addressOf(name: string, ifName: string): Promise<string> {
    const text = await node.ask("exec", name, "--", "ip", "-4", "address", "show", ifName);
    return /inet ([\d.]+)\//u.exec(text)?.[1] ?? assert.fail(`${name} has no ${ifName}: ${text}`);
  }

  async function pings(from: string, to: string): Promise<void> {
    const { exitCode, stdout, stderr } = await node.kubectl(["exec", from, "--", "ping", "-c", "2", "-W", "5", to]);
    assert.equal(exitCode, 0, `${from} does not reach ${to}: ${stdout}${stderr}`);
  }

  async function rolledOut(name: string): Promise<void> {
    await node.ask("-n", "kube-system", "rollout", "status", `daemonset/${name}`, "--timeout=180s");
  }

  /** Applies a shipped manifest, and removes it at the end of the test. */
  async function withManifests(t: TestContext, ...paths: string[]): Promise<void> {
    for (const path of paths) await node.apply(shipped(path));
    t.after(async () => {
      for (const path of paths.toReversed()) {
        await node.kubectl(["delete", "--ignore-not-found", "--wait", "-f", "-"], shipped(path));
      }
    });
  }

  test("becomes Ready by a hardened DaemonSet that runs install --pause, and keeps its network through upgrades while pods come and go", async (t) => {
    await node.apply(HARDENED(IMAGES.first));
    await node.until(`kubectl wait --for=condition=Ready node/${NODE} --timeout=1s`);
    await rolledOut("cni");
    const other = await started("other");
    await started("one");
    await pings("one", other);
    await using churn = new Churn(node, IMAGES.busybox);
    for (const image of [IMAGES.second, IMAGES.first, IMAGES.second]) {
      await churn.until(16);
      await node.ask("-n", "kube-system", "set", "image", "daemonset/cni", `install=${image}`);
      await rolledOut("cni");
    }
    await churn.until(16);
    const { pods, failures } = await churn.end();
    t.diagnostic(`${pods} pods started and ended during 3 upgrades; failures: ${failures.join("; ") || "none"}`);
    assert.deepEqual(failures, []);
    await pings("one", other);
    await remove("one");
    await node.ask("-n", "kube-system", "delete", "daemonset", "cni", "--wait");
    assert.ok(filesIn("etc/cni/net.d").includes("10-bridge.conflist"), "--on-stop=keep is the default");
    const uninstalled = await node.kubectl(
      ["apply", "-f", "-"],
      shipped("examples/uninstall/cni.yaml").replace("multus-cni", "cni-node"),
    );
    assert.equal(uninstalled.exitCode, 0, uninstalled.stderr);
    await rolledOut("cni-uninstall");
    await node.ask("-n", "kube-system", "delete", "daemonset", "cni-uninstall", "--wait");
    assert.deepEqual(filesIn("etc/cni/net.d"), [".cni-node", "10-bridge.conflist"], "the last network stays");
  });

  test("tells what is wrong with it to kubectl debug, as docs/troubleshooting.md says", async (t) => {
    const commands = blocksOf(fs.readFileSync(join(ROOT, "docs/troubleshooting.md"), "utf8"))
      .split("\n")
      .filter((line) => line.startsWith("kubectl debug "));
    assert.ok(commands.length >= 3, "status, probe, and attachments");
    for (const command of commands) {
      const { stdout, stderr, exitCode } = await node.sh(
        command
          .replace("NODE", NODE)
          .replace("IMAGE", IMAGES.first)
          .replace(" -it ", " --attach=true --image-pull-policy=Never "),
      );
      t.diagnostic(`${command}\n${stdout}${stderr}`);
      assert.match(stdout + stderr, DEBUGGED[command.replace(/^.* -- /u, "")] ?? /^$/u, command);
      assert.equal(exitCode === 0 || /terminated/u.test(stderr), true, `${command}: ${stderr}`);
    }
    await node.sh("kubectl get pods -o name | grep node-debugger | xargs --no-run-if-empty kubectl delete");
  });
});

/** What the commands of docs/troubleshooting.md print. */
const DEBUGGED: Record<string, RegExp> = {
  "cni-node status": /default-net/u,
  "cni-node network probe": /default-net/u,
  "cni-node network list --attachments": /default-net +\S+ +eth0/u,
};

/** A DaemonSet as one would write it by hand for `install --pause`. */
function HARDENED(image: string): string {
  return `
apiVersion: v1
kind: ConfigMap
metadata: { name: cni-templates, namespace: kube-system }
data:
  10-bridge.conflist: |
${bridgeNetwork("10.244.0.0/24").replaceAll(/^/gmu, "    ")}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: { name: cni, namespace: kube-system }
spec:
  selector: { matchLabels: { app: cni } }
  template:
    metadata: { labels: { app: cni } }
    spec:
      automountServiceAccountToken: false
      hostNetwork: true
      priorityClassName: system-node-critical
      tolerations: [{ operator: Exists }]
      securityContext: { seccompProfile: { type: RuntimeDefault } }
      containers:
        - name: install
          image: ${image}
          imagePullPolicy: Never
          args: [install, "--plugins=bridge,host-local,portmap,loopback", --configs=10-bridge.conflist, --pause]
          resources: { requests: { cpu: 100m, memory: 128Mi }, limits: { cpu: 500m, memory: 128Mi } }
          securityContext:
            readOnlyRootFilesystem: true
            allowPrivilegeEscalation: false
            capabilities: { drop: [ALL] }
          volumeMounts:
            - { name: plugins, mountPath: /host/opt/cni/bin }
            - { name: configs, mountPath: /host/etc/cni/net.d }
            - { name: templates, mountPath: /etc/cni/net.d, readOnly: true }
      volumes:
        - { name: plugins, hostPath: { path: /opt/cni/bin } }
        - { name: configs, hostPath: { path: /etc/cni/net.d } }
        - { name: templates, configMap: { name: cni-templates } }
`;
}
