/** The image of this repository on a real node: kubelet, containerd, the control plane, real pods and packets. */
import assert from "node:assert/strict";
import * as fs from "node:fs";
import { join } from "node:path";
import { after, before, suite, test } from "node:test";
import { fileURLToPath } from "node:url";

import { cannotStart, IMAGES, KubernetesNode, NODE, type ComponentName } from "../cluster/node.ts";
import { Churn } from "../cluster/churn.ts";
import { blocksOf } from "../helpers/documents.ts";
import { OBJECT, TEMPLATES } from "../kube-watch/templates.ts";

/** So many pods come and go in each part of an upgrade: more in the long form. */
const SOME = process.env["CNI_NODE_TEST_LONG"] === "1" ? 40 : 5;

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

  /** The primary, which is not cni-node's. */
  function otherPrimary(): void {
    writeConfig("10-default.conflist", bridgeNetwork("10.244.0.0/24"));
  }

  /** The network of the example, without its pods. */
  async function macvlanNetwork(): Promise<void> {
    await node.apply(shipped("manifests/macvlan-example.yaml").split("---")[0] ?? "");
  }

  function filesIn(directory: string): string[] {
    return fs.readdirSync(join(node.root, directory)).toSorted();
  }

  /** Starts a pod, and gives its address. */
  async function started(name: string, annotations?: string): Promise<string> {
    await node.apply(pod(name, annotations));
    const waited = await node.kubectl(["wait", "--for=condition=Ready", `pod/${name}`, "--timeout=120s"]);
    assert.equal(waited.exitCode, 0, `${waited.stderr}${await node.ask("describe", "pod", name)}`);
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

  /** Puts the kubelet's kubeconfig where kubeadm has it. */
  async function kubeletConf(): Promise<void> {
    fs.mkdirSync(join(node.root, "etc/kubernetes"), { recursive: true });
    await node.sh('cp "${KUBECONFIG%/*}/kubelet.kubeconfig" /etc/kubernetes/kubelet.conf');
  }

  async function rolledOut(name: string): Promise<void> {
    await node.ask("-n", "kube-system", "rollout", "status", `daemonset/${name}`, "--timeout=180s");
  }

  /** Runs the kubectl commands of a document, in order, with the shipped manifests. @param steps what is done before some. */
  async function follow(document: string, steps: Record<string, () => Promise<void>> = {}): Promise<void> {
    const lines = blocksOf(fs.readFileSync(join(ROOT, document), "utf8")).split("\n");
    // A terminal is tried with docs/troubleshooting.md.
    for (const line of lines.filter((one) => one.startsWith("kubectl ") && !one.includes(" -it "))) {
      for (const [words, act] of Object.entries(steps)) if (line.includes(words)) await act();
      const [, path] = / -f (\S+)/u.exec(line) ?? [];
      const command = line
        .replace(/ -f \S+/u, " -f -")
        .replace(" edit ", " get ")
        .replace("--from-file=kubeconfig", "--from-file=kubeconfig=/etc/kubernetes/plain.kubeconfig")
        .replace("--patch-file=", `--patch-file=${ROOT}`);
      const { exitCode, stdout, stderr } = await node.kubectl(
        wordsOf(command),
        path === undefined ? "" : shipped(path),
      );
      assert.equal(exitCode, 0, `${line}: ${stdout}${stderr}`);
    }
  }

  /** Deletes what a shipped manifest has. */
  async function withdraw(path: string): Promise<void> {
    const { exitCode, stderr } = await node.kubectl(
      ["delete", "--ignore-not-found", "--wait", "-f", "-"],
      shipped(path),
    );
    assert.equal(exitCode, 0, stderr);
  }

  /** Waits until a file of net.d is there, or gone. */
  async function untilConfig(name: string, isThere: boolean): Promise<void> {
    await node.until(`test ${isThere ? "" : "! "}-e /etc/cni/net.d/${name}`);
  }

  async function reasons(): Promise<string> {
    return node.ask(
      "get",
      "events.events.k8s.io",
      "-n",
      "default",
      "-o",
      'jsonpath={range .items[?(@.reportingController=="cni-node.io/watch")]}{.reason}: {.note}{"\\n"}{end}',
    );
  }

  async function restarted(...components: ComponentName[]): Promise<void> {
    await node.kill(...components);
    node.begin(...components);
    await node.untilApi();
  }

  test("becomes Ready by manifests/pod-network, and pods reach each other, by the commands of docs/pod-network.md", async () => {
    const ready = ["get", "node", NODE, "-o", "jsonpath={.status.conditions[?(@.type=='Ready')].status}"];
    assert.notEqual(await node.ask(...ready), "True");
    const tryPods = async (): Promise<void> => {
      const [one, two] = [await started("pod-one"), await started("pod-two")];
      await pings("pod-one", two);
      await pings("pod-two", one);
      await remove("pod-one", "pod-two");
    };
    let tries = 0;
    await follow("docs/pod-network.md", {
      "create configmap pod-network-api": async () => {
        assert.equal(await node.ask(...ready), "True");
        await tryPods();
        await node.until(
          `iptables-save -t nat | grep -q '^-A POSTROUTING -s 10.244.0.0/24 .* -j CNI-NODE-MASQUERADE$'`,
        );
        // The same API, at http:// without credentials.
        await node.sh("kubectl proxy --address=10.99.0.1 --port=8080 --accept-hosts=.* >/dev/null 2>&1 &");
        fs.mkdirSync(join(node.root, "etc/kubernetes"), { recursive: true });
        fs.writeFileSync(join(node.root, "etc/kubernetes/plain.kubeconfig"), PLAIN);
        tries++;
      },
      "kubectl delete -f manifests/pod-network/pod-network.yaml": async () => {
        // By the API without credentials, too.
        await node.until(
          "kubectl -n kube-system logs daemonset/pod-network -c routes | grep -q '10.244.0.0/24 *masquerade'",
        );
        await tryPods();
        tries++;
      },
      "kubectl apply -f manifests/pod-network/uninstall.yaml": async () => {
        await started("still");
        await remove("still");
        tries++;
      },
    });
    assert.equal(tries, 3);
    assert.deepEqual(filesIn("etc/cni/net.d"), []);
    assert.equal((await node.sh("iptables-save -t nat")).stdout.includes("CNI-NODE"), false);
    await node.sh("ip link delete cni0");
  });

  test("becomes Ready by a hardened DaemonSet that runs install --pause, and keeps its network through upgrades while pods come and go", async (t) => {
    await node.apply(HARDENED(IMAGES.first));
    await node.until(`kubectl wait --for=condition=Ready node/${NODE} --timeout=1s`);
    await rolledOut("cni");
    const other = await started("other");
    await started("one");
    await pings("one", other);
    await using churn = new Churn(node, IMAGES.busybox);
    for (const image of [IMAGES.second, IMAGES.first, IMAGES.second]) {
      await churn.until(SOME);
      await node.ask("-n", "kube-system", "set", "image", "daemonset/cni", `install=${image}`);
      await rolledOut("cni");
    }
    await churn.until(2 * SOME);
    const { pods, failures } = await churn.end();
    t.diagnostic(`${pods} pods started and ended during 3 upgrades; failures: ${failures.join("; ") || "none"}`);
    assert.deepEqual(failures, []);
    await pings("one", other);
    await remove("one");
    await node.ask("-n", "kube-system", "delete", "daemonset", "cni", "--cascade=foreground", "--wait");
    assert.ok(filesIn("etc/cni/net.d").includes("10-bridge.conflist"), "--on-stop=keep is the default");
    // From now on the primary is another agent's.
    otherPrimary();
    await node.apply(shipped("examples/uninstall/cni.yaml").replace("multus-cni", "cni-node"));
    await rolledOut("cni-uninstall");
    await node.ask("-n", "kube-system", "delete", "daemonset", "cni-uninstall", "--cascade=foreground", "--wait");
    assert.deepEqual(filesIn("etc/cni/net.d"), ["10-default.conflist"]);
  });

  test("tells what is wrong with it to kubectl debug, as docs/troubleshooting.md says", async (t) => {
    otherPrimary();
    await started("other");
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

  test("runs the ancestor's simple example, with no more changes than removed APIs force", async () => {
    otherPrimary();
    await kubeletConf();
    await node.apply(ANCESTOR);
    await rolledOut("multus-cni-node");
    await untilConfig("05-multus-cni.conf", true);
    await started("by-ancestor");
    await pings("by-ancestor", "10.244.0.1");
    const events = await node.ask("get", "events", "--field-selector=reason=AddedInterface", "-o", "name");
    assert.notEqual(events, "", "Multus made the interface");
    await node.ask("-n", "kube-system", "delete", "daemonset", "multus-cni-node", "--wait", "--cascade=foreground");
    await untilConfig("05-multus-cni.conf", false);
    await remove("by-ancestor");
    await node.ask("-n", "kube-system", "delete", "configmap", "multus-cni-configs");
  });

  test("prints what kube-watch's templates make of an object as kube-watch does", async () => {
    const template = TEMPLATES.map(([one]) => one).join("\n--\n");
    const words = ["label", "--local", "--overwrite", "-f", "-", "a=1", "-o", `jsonpath=${template}`];
    const { stdout } = await node.kubectl(words, JSON.stringify(OBJECT));
    assert.deepEqual(
      stdout.split("\n--\n"),
      TEMPLATES.map(([, text]) => text),
    );
  });

  test("runs the ancestor's watching manifests: four containers of kube-watch with handlers follow the lists and the primary", async () => {
    otherPrimary();
    await kubeletConf();
    await node.apply(WATCHING);
    await rolledOut("multus-cni-node");
    await untilConfig("05-multus-cni.conf", true);
    await node.until(`kubectl get clusterrolebinding multus-cni-${NODE}`);
    await started("by-kube-watch");
    // The lists and the primary are followed.
    const list = async (data: object): Promise<string> =>
      node.ask("-n", "kube-system", "patch", "configmap", "multus-cni", "-p", JSON.stringify({ data }));
    await list({ plugins: "multus-cni,vlan" });
    await node.until("test -e /opt/cni/bin/vlan && ! test -e /opt/cni/bin/ipvlan");
    await list({ configs: "05-multus-cni.conf,99-vlan.conf" });
    await untilConfig("99-vlan.conf", true);
    await list({ configs: "05-multus-cni.conf", manifests: "" });
    await untilConfig("99-vlan.conf", false);
    await node.until(`! kubectl get clusterrolebinding multus-cni-${NODE}`);
    await list({ manifests: "multus-cni-crb.yaml" });
    await node.until(`kubectl get clusterrolebinding multus-cni-${NODE}`);
    writeConfig(
      "10-default.conflist",
      bridgeNetwork("10.244.0.0/24").replace('"hairpinMode": true', '"hairpinMode": false'),
    );
    await node.until("grep -q 'hairpinMode\": false' /etc/cni/net.d/05-multus-cni.conf");
    await remove("by-kube-watch");
    // The preStop scripts uninstall.
    await node.ask("-n", "kube-system", "delete", "daemonset", "multus-cni-node", "--cascade=foreground", "--wait");
    await untilConfig("05-multus-cni.conf", false);
    await node.until(`! test -e /opt/cni/bin/vlan && ! kubectl get clusterrolebinding multus-cni-${NODE}`);
    const { exitCode, stderr } = await node.kubectl(["delete", "--ignore-not-found", "--wait", "-f", "-"], WATCHING);
    assert.equal(exitCode, 0, stderr);
  });

  test("gets Multus and a second interface by the commands of docs/multus.md, and loses both without a trace", async (t) => {
    otherPrimary();
    let isTried = false;
    await follow("docs/multus.md", {
      "delete -f manifests/macvlan-example.yaml": async () => {
        const [a, b] = [await addressOf("macvlan-a", "net1"), await addressOf("macvlan-b", "net1")];
        await pings("macvlan-a", b);
        await pings("macvlan-b", a);
        t.diagnostic(`net1: ${a} and ${b}, packets both ways`);
        isTried = true;
      },
      "apply -f manifests/multus-cni-config.yaml": async () => {
        await untilConfig("00-multus-cni.conflist", false);
        assert.deepEqual(filesIn("etc/cni/net.d"), ["10-default.conflist"], "by a pointer, and gone again");
        assert.equal(fs.existsSync(join(node.root, "etc/cni/credentials/multus-cni.kubeconfig")), false);
      },
    });
    assert.ok(isTried);
    await rolledOut("multus-cni-node");
    await rolledOut("whereabouts-node");
    await untilConfig("00-multus.conflist", true);
  });

  test("keeps Multus around the primary, whatever happens to it, and pods start all the time", async (t) => {
    await macvlanNetwork();
    await node.apply(WHEREABOUTS_NETWORK);
    await started("w", '{ "k8s.v1.cni.cncf.io/networks": "whereabouts-net" }');
    assert.match(await addressOf("w", "net1"), /^192\.168\.78\./u);
    await remove("w");
    await using churn = new Churn(node, IMAGES.busybox, { "k8s.v1.cni.cncf.io/networks": "macvlan" }, async () => {
      const status = await node.ask(
        "get",
        "pods",
        "-o",
        'jsonpath={range .items[*]}{.metadata.name} {.metadata.annotations}{"\\n"}{end}',
      );
      const without = status.split("\n").filter((line) => line.startsWith("churn-") && !line.includes("net1"));
      assert.deepEqual(without, [], "every pod has net1");
    });
    await churn.until(2 * SOME);
    for (const image of [IMAGES.second, IMAGES.first]) {
      await node.ask("-n", "kube-system", "set", "image", "daemonset/multus-cni-node", `cni-node=${image}`);
      await rolledOut("multus-cni-node");
      await churn.until(2 * SOME);
    }
    // The primary changes.
    writeConfig(
      "10-default.conflist",
      bridgeNetwork("10.244.0.0/24").replace('"hairpinMode": true', '"hairpinMode": false'),
    );
    await node.until("grep -q '\"hairpinMode\": false' /etc/cni/net.d/00-multus.conflist");
    // A bad list is refused, and an Event says why.
    const lists = (plugins: string): string => JSON.stringify({ data: { plugins } });
    await node.ask("-n", "kube-system", "patch", "configmap", "multus-cni", "-p", lists("multus-cni,macvlan,nothing"));
    await node.until("kubectl get events.events.k8s.io -n default | grep -q RefusedToApply");
    await churn.until(SOME);
    await node.ask(
      "-n",
      "kube-system",
      "patch",
      "configmap",
      "multus-cni",
      "-p",
      lists("multus-cni,macvlan,host-local,vlan"),
    );
    await node.until("test -e /opt/cni/bin/vlan");
    await follow("docs/operations.md");
    t.diagnostic(await reasons());
    const { pods, failures } = await churn.end();
    t.diagnostic(`${pods} pods started with net1 and ended; failures: ${failures.join("; ") || "none"}`);
    assert.deepEqual(failures, []);
    // A package upgrade wipes the directory of plugins, but for the primary's own.
    await node.sh("cd /opt/cni/bin && rm -f multus-cni macvlan vlan");
    await node.until("cd /opt/cni/bin && test -x multus-cni && test -x macvlan && test -x vlan");
    await started("after-wipe", '{ "k8s.v1.cni.cncf.io/networks": "macvlan" }');
    await addressOf("after-wipe", "net1");
    await remove("after-wipe");
  });

  test("comes back after kubelet, containerd and the API server were killed, and after the power was cut with the API late", async (t) => {
    await macvlanNetwork();
    for (const component of ["kubelet", "containerd", "kube-apiserver"] as const) {
      await restarted(component);
      await node.until(`kubectl wait --for=condition=Ready node/${NODE} --timeout=1s`);
      await started(`after-${component}`, '{ "k8s.v1.cni.cncf.io/networks": "macvlan" }');
      await addressOf(`after-${component}`, "net1");
      await remove(`after-${component}`);
    }
    // The account of Multus is deleted and made again: its token is no longer good.
    await node.ask("-n", "kube-system", "delete", "serviceaccount", "multus-cni");
    // The server remembers for ten seconds that it was good.
    await node.until("! kubectl --kubeconfig=/etc/cni/credentials/multus-cni.kubeconfig auth whoami");
    await node.apply(shipped("manifests/multus-cni-rbac.yaml"));
    await node.ask("-n", "kube-system", "delete", "pod", "-l", "app=multus-cni-node", "--wait");
    await rolledOut("multus-cni-node");
    await started("after-revocation", '{ "k8s.v1.cni.cncf.io/networks": "macvlan" }');
    await node.crash();
    const since = Date.now();
    await node.boot(["kube-apiserver"]);
    await node.until("crictl version >/dev/null 2>&1 || ctr version");
    await new Promise((resolve) => setTimeout(resolve, 5000));
    node.begin("kube-apiserver");
    await node.untilApi();
    await node.until(`kubectl wait --for=condition=Ready node/${NODE} --timeout=1s`);
    await node.until("kubectl -n kube-system rollout status daemonset/multus-cni-node --timeout=1s");
    // What the API says of it may be of before.
    await node.until("kubectl exec after-revocation -- ip -4 address show net1 | grep -q 192.168.77.");
    t.diagnostic(
      `${Math.round((Date.now() - since) / 1000)} s after the power cut, 5 of them without an API, the pod runs again`,
    );
    await remove("after-revocation");
  });

  test("has two owners side by side, and an earlier file of another agent is taken for the primary", async () => {
    await node.apply(shipped("examples/watch/cni.yaml").replace('"master": "eth0"', '"master": "up0"'));
    await rolledOut("cni-node");
    await node.until("test -e /etc/cni/net.d/20-macvlan.conflist");
    writeConfig("05-other.conflist", bridgeNetwork("10.244.0.0/24").replace("default-net", "other-net"));
    await node.until("grep -q other-net /etc/cni/net.d/00-multus.conflist");
    await node.sh("rm /etc/cni/net.d/05-other.conflist");
    await node.until("grep -q default-net /etc/cni/net.d/00-multus.conflist");
    await withdraw("examples/watch/cni.yaml");
    await untilConfig("20-macvlan.conflist", false);
    assert.ok(filesIn("opt/cni/bin").includes("macvlan"), "the other owner needs it");
  });

  test("loses Multus when its rights and its DaemonSet are deleted, rights first, and pods from before end", async () => {
    await macvlanNetwork();
    await started("before", '{ "k8s.v1.cni.cncf.io/networks": "macvlan" }');
    await withdraw("manifests/multus-cni-rbac.yaml");
    await withdraw("manifests/multus-cni.yaml");
    await untilConfig("00-multus.conflist", false);
    await started("afterwards");
    await pings("afterwards", "10.244.0.1");
    await remove("before", "afterwards");
    await withdraw("manifests/whereabouts.yaml");
    await node.until("! test -e /opt/cni/bin/whereabouts");
  });

  test("tries a network in a pod before it is installed (install --probe)", async (t) => {
    await node.apply(PROBING);
    await node.until("kubectl -n kube-system wait --for=jsonpath={.status.phase}=Succeeded pod/probing --timeout=1s");
    const log = await node.ask("-n", "kube-system", "logs", "probing");
    t.diagnostic(log);
    assert.match(log, /probed +network +probed-net .*ping .* answers/u);
    assert.ok(filesIn("etc/cni/net.d").includes("20-probed.conflist"));
  });
});

/** What the commands of docs/troubleshooting.md print. */
const DEBUGGED: Record<string, RegExp> = {
  "cni-node status": /default-net/u,
  "cni-node network probe": /default-net/u,
  "cni-node network list --attachments": /default-net +eth0/u,
};

/** A kubeconfig for an API at http:// without credentials. */
const PLAIN = JSON.stringify({
  apiVersion: "v1",
  kind: "Config",
  clusters: [{ name: "a", cluster: { server: "http://10.99.0.1:8080" } }],
  contexts: [{ name: "a", context: { cluster: "a" } }],
  "current-context": "a",
});

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

/** The words of a command line as a shell takes it apart, as far as the documents need it. */
function wordsOf(command: string): string[] {
  return Array.from(command.matchAll(/'([^']*)'|(\S+)/gu), ([, quoted, word]) => quoted ?? word ?? "").slice(1);
}

/** openvnf/cni-node's multus-cni-simple.yaml: apps/v1, a selector, and the name of the primary are what is new. */
const ANCESTOR = `
apiVersion: v1
kind: ConfigMap
metadata: { name: multus-cni-configs, namespace: kube-system }
data:
  05-multus-cni.conf: |
    {
      "cniVersion": "0.3.1",
      "name": "multus",
      "type": "multus-cni",
      "kubeconfig": "/etc/kubernetes/kubelet.conf",
      "delegates": [
        __10-default.conflist__
      ]
    }
---
apiVersion: apps/v1
kind: DaemonSet
metadata: { name: multus-cni-node, namespace: kube-system, labels: { app: multus-cni-node } }
spec:
  selector: { matchLabels: { app: multus-cni-node } }
  template:
    metadata: { labels: { app: multus-cni-node } }
    spec:
      tolerations: [{ key: node.kubernetes.io/not-ready, operator: Exists, effect: NoSchedule }]
      containers:
        - name: multus-cni
          image: ${IMAGES.first}
          imagePullPolicy: Never
          command: [cni-node, install, "--plugins=multus-cni,macvlan", --configs=05-multus-cni.conf, --pause]
          lifecycle:
            preStop:
              exec: { command: [cni-node, uninstall, "--plugins=multus-cni,macvlan", --configs=05-multus-cni.conf] }
          volumeMounts:
            - { name: plugins, mountPath: /host/opt/cni/bin }
            - { name: configs, mountPath: /host/etc/cni/net.d }
            - { name: templates, mountPath: /etc/cni/net.d }
      volumes:
        - { name: plugins, hostPath: { path: /opt/cni/bin } }
        - { name: configs, hostPath: { path: /etc/cni/net.d } }
        - { name: templates, configMap: { name: multus-cni-configs } }
`;

/** A network whose addresses whereabouts gives. */
const WHEREABOUTS_NETWORK = `
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: { name: whereabouts-net }
spec:
  config: |
    {
      "cniVersion": "1.0.0", "name": "whereabouts-net", "type": "macvlan", "master": "up0", "mode": "bridge",
      "ipam": {
        "type": "whereabouts", "range": "192.168.78.0/24",
        "configuration_path": "/etc/cni/net.d/whereabouts.ipam"
      }
    }
`;

/** What docs/network.md says of a pod that probes. */
const PROBING = `
apiVersion: v1
kind: ConfigMap
metadata: { name: probed, namespace: kube-system }
data:
  20-probed.conflist: |
${bridgeNetwork("10.245.0.0/24").replace("default-net", "probed-net").replace("cni0", "probed0").replaceAll(/^/gmu, "    ")}
---
apiVersion: v1
kind: Pod
metadata: { name: probing, namespace: kube-system }
spec:
  restartPolicy: Never
  hostNetwork: true
  hostPID: true
  tolerations: [{ operator: Exists }]
  containers:
    - name: install
      image: ${IMAGES.first}
      imagePullPolicy: Never
      args: [install, --configs=20-probed.conflist, --probe]
      securityContext: { privileged: true }
      volumeMounts:
        - { name: plugins, mountPath: /host/opt/cni/bin }
        - { name: configs, mountPath: /host/etc/cni/net.d }
        - { name: cache, mountPath: /host/var/lib/cni }
        - { name: templates, mountPath: /etc/cni/net.d }
  volumes:
    - { name: plugins, hostPath: { path: /opt/cni/bin } }
    - { name: configs, hostPath: { path: /etc/cni/net.d } }
    - { name: cache, hostPath: { path: /var/lib/cni } }
    - { name: templates, configMap: { name: probed } }
`;

/** A container of the ancestor's watching manifests. */
function watching(key: string, script: string, stop: string, mounts: string): string {
  return `
        - name: ${key}
          image: ${IMAGES.first}
          imagePullPolicy: Never
          command: [${script}]
          env:
            - { name: NODE_HOSTNAME, valueFrom: { fieldRef: { fieldPath: spec.nodeName } } }
          ${stop === "" ? "" : `lifecycle: { preStop: { exec: { command: [${stop}] } } }`}
          volumeMounts:
            - { name: scripts, mountPath: /usr/local/bin }
            - { name: kubectl, mountPath: /bin/kubectl }
            ${mounts}`;
}

/**
 * openvnf/cni-node's multus-cni-config.yaml, multus-cni-rbac.yaml and multus-cni.yaml: today's API versions, the right
 * to patch what is applied, and the name of the primary are what is new.
 */
const WATCHING = `
apiVersion: v1
kind: ConfigMap
metadata: { name: multus-cni, namespace: kube-system }
data:
  plugins: multus-cni,macvlan,ipvlan
  configs: 05-multus-cni.conf
  manifests: multus-cni-crb.yaml
---
apiVersion: v1
kind: ConfigMap
metadata: { name: multus-cni-configs, namespace: kube-system }
data:
  05-multus-cni.conf: |
    {
      "cniVersion": "0.3.1",
      "name": "multus",
      "type": "multus-cni",
      "kubeconfig": "/etc/kubernetes/kubelet.conf",
      "delegates": [
        __10-default.conflist__
      ]
    }
  99-vlan.conf: |
    { "cniVersion": "1.0.0", "name": "vlan", "type": "vlan", "master": "eth0", "vlanId": 5 }
---
apiVersion: v1
kind: ConfigMap
metadata: { name: multus-cni-manifests, namespace: kube-system }
data:
  multus-cni-crb.yaml: |
    apiVersion: rbac.authorization.k8s.io/v1
    kind: ClusterRoleBinding
    metadata: { name: "multus-cni-\${NODE_HOSTNAME}" }
    roleRef: { apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: multus-cni-crd }
    subjects: [{ kind: User, apiGroup: rbac.authorization.k8s.io, name: "system:node:\${NODE_HOSTNAME}" }]
---
apiVersion: v1
kind: ConfigMap
metadata: { name: multus-cni-scripts, namespace: kube-system }
data:
  kube-watch-configmap-multus-cni: |
    #!/bin/sh
    exec kube-watch object configmap multus-cni --jsonpath="{.data.$1}" --handler="cni-node-apply-$1"
  kube-watch-10-default: |
    #!/bin/sh
    exec kube-watch file /host/etc/cni/net.d/10-default.conflist --handler=cni-node-apply-05-multus-cni
  cni-node-apply-plugins: |
    #!/bin/sh
    exec cni-node apply --plugins="$2:$3"
  cni-node-apply-configs: |
    #!/bin/sh
    exec cni-node apply --configs="$2:$3"
  cni-node-apply-manifests: |
    #!/bin/sh
    exec cni-node apply --manifests="$2:$3"
  cni-node-apply-05-multus-cni: |
    #!/bin/sh
    exec cni-node install --configs=05-multus-cni.conf
  cni-node-uninstall: |
    #!/bin/sh
    exec cni-node uninstall --"$1"="$(kubectl -n kube-system get configmap multus-cni -o "jsonpath={.data.$1}")"
---
apiVersion: v1
kind: ServiceAccount
metadata: { name: multus-cni, namespace: kube-system }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: { name: multus-cni-crd }
rules:
  - { apiGroups: [k8s.cni.cncf.io], resources: ["*"], verbs: ["*"] }
  - { apiGroups: [""], resources: [pods, pods/status], verbs: [get, update] }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: { name: multus-cni }
rules:
  - { apiGroups: [rbac.authorization.k8s.io], resources: [clusterroles, clusterrolebindings], verbs: [get, create, patch, delete] }
  - { apiGroups: [k8s.cni.cncf.io], resources: ["*"], verbs: ["*"] }
  - { apiGroups: [""], resources: [pods, pods/status], verbs: [get, update] }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: { name: multus-cni }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: multus-cni }
subjects: [{ kind: ServiceAccount, name: multus-cni, namespace: kube-system }]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: { name: multus-cni, namespace: kube-system }
rules:
  - { apiGroups: [""], resources: [configmaps], resourceNames: [multus-cni], verbs: [get, watch] }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: { name: multus-cni, namespace: kube-system }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: Role, name: multus-cni }
subjects: [{ kind: ServiceAccount, name: multus-cni, namespace: kube-system }]
---
apiVersion: apps/v1
kind: DaemonSet
metadata: { name: multus-cni-node, namespace: kube-system, labels: { app: multus-cni-node } }
spec:
  selector: { matchLabels: { app: multus-cni-node } }
  template:
    metadata: { labels: { app: multus-cni-node } }
    spec:
      serviceAccountName: multus-cni
      tolerations: [{ key: node.kubernetes.io/not-ready, operator: Exists, effect: NoSchedule }]
      containers:${watching("plugins", "kube-watch-configmap-multus-cni, plugins", "cni-node-uninstall, plugins", "- { name: plugins, mountPath: /host/opt/cni/bin }")}${watching("configs", "kube-watch-configmap-multus-cni, configs", "cni-node-uninstall, configs", "- { name: configs, mountPath: /host/etc/cni/net.d }\n            - { name: templates, mountPath: /etc/cni/net.d }")}${watching("manifests", "kube-watch-configmap-multus-cni, manifests", "cni-node-uninstall, manifests", "- { name: manifests, mountPath: /etc/kubernetes/manifests }")}${watching("calico", "kube-watch-10-default", "", "- { name: configs, mountPath: /host/etc/cni/net.d }\n            - { name: templates, mountPath: /etc/cni/net.d }")}
      volumes:
        - { name: scripts, configMap: { name: multus-cni-scripts, defaultMode: 0744 } }
        - { name: kubectl, hostPath: { path: /usr/bin/kubectl, type: File } }
        - { name: plugins, hostPath: { path: /opt/cni/bin } }
        - { name: configs, hostPath: { path: /etc/cni/net.d } }
        - { name: templates, configMap: { name: multus-cni-configs } }
        - { name: manifests, configMap: { name: multus-cni-manifests } }
`;
