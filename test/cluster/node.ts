/**
 * A whole Kubernetes node of a test's own: etcd, the control plane, containerd, kubelet and kube-proxy, all of them real.
 * It lives in namespaces, so that its mounts, processes, interfaces and rules are seen nowhere else and end with the
 * test; only cgroups are outside, under a name of its own.
 */
import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import { basename, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { cannotMount, Namespace } from "../helpers/namespace.ts";
import { endOf, type Ran } from "../helpers/node.ts";
import { findImage } from "../image/build.ts";
import { findRuntimePrograms } from "../runtime/build.ts";
import { PLUGINS } from "../runtime/containerd.ts";
import { writeImage } from "../runtime/image.ts";
import { findClusterPrograms } from "./build.ts";
import { writeKubeconfig } from "./kubeconfig.ts";
import { CertificateAuthority, type Identity } from "./pki.ts";
import { Processes } from "./processes.ts";

/** Why no node can be started here; false: one can. Never a reason in CI, where starting one fails instead. */
export const cannotStart: string | false = process.env["CI"] === "true" ? false : whyNot();

/** The images that are on the node: cni-node under two tags, for upgrades, and one with a shell and its tools. */
export const IMAGES = { first: "localhost/cni-node:1", second: "localhost/cni-node:2", busybox: "localhost/busybox:1" };
const PAUSE = "localhost/pause:1";

/** The addresses of the node and of the Service `kubernetes`, both in the node's own network. */
const [NODE_IP, SERVICE_IP] = ["10.99.0.1", "10.96.0.1"];
const API = `https://${NODE_IP}:6443`;
export const NODE = "node1";

/** What the kubelet sets for the whole machine: it finds files that have it already. */
const SYSCTLS = {
  "vm/overcommit_memory": 1,
  "vm/panic_on_oom": 0,
  "kernel/panic": 10,
  "kernel/panic_on_oops": 1,
  "kernel/keys/root_maxkeys": 1_000_000,
  "kernel/keys/root_maxbytes": 25_000_000,
};

/** What outlives the node's crash, by its place on the node. */
const DISK = ["opt/cni", "etc/cni", "var/lib/cni", "var/lib/kubelet", "var/lib/containerd", "var/log/pods"];

/** `$1` in it is the directory of the test, `$2` the name of its cgroup. `up0` is an interface with a peer, as of a network card. */
const INIT = `
  set -- DIRECTORY NAME
  mkdir -p "$1/cgroups"
  mount --rbind /sys/fs/cgroup "$1/cgroups"
  mount -t sysfs sysfs /sys
  mount --rbind "$1/cgroups" /sys/fs/cgroup
  umount --recursive --lazy "$1/cgroups"
  mkdir -p "$1/layers"
  mount -t tmpfs none "$1/layers"
  for at in etc opt var/lib var/log; do
    mkdir -p "$1/layers/$at/upper" "$1/layers/$at/work"
    mount -t overlay overlay -o "lowerdir=/$at,upperdir=$1/layers/$at/upper,workdir=$1/layers/$at/work" "/$at"
  done
  for at in ${DISK.join(" ")}; do
    mkdir -p "/$at" "$1/disk/$at"
    mount --bind "$1/disk/$at" "/$at"
  done
  mount -t tmpfs -o mode=755 none /run
  mkdir -p /var/log/containers
  for set in ${Object.entries(SYSCTLS)
    .map(([name, value]) => `${name}=${value}`)
    .join(" ")}; do
    value="/run/sysctl-$(echo "\${set%=*}" | tr / -)"
    echo "\${set#*=}" >"$value"
    [ ! -e "/proc/sys/\${set%=*}" ] || mount --bind "$value" "/proc/sys/\${set%=*}"
  done
  for hierarchy in /sys/fs/cgroup/*/; do [ ! -w "$hierarchy" ] || mkdir -p "$hierarchy/$2" 2>/dev/null || true; done
  mount --make-rshared /
  ip link add node0 type veth peer name node0p
  ip address add ${NODE_IP}/24 dev node0
  for name in node0 node0p; do ip link set "$name" up; done
  ip link add up0 type veth peer name up0p
  ip address add 192.168.77.254/24 dev up0p
  for name in up0 up0p; do ip link set "$name" up; done
  ip route add default via 10.99.0.254 dev node0
  echo 1 >/proc/sys/net/ipv4/ip_forward`;

/** The same of pods: what the node's processes have made. */
const REMOVE_CGROUPS =
  'find /sys/fs/cgroup -depth -type d -path "*/${0##*/}*" -exec rmdir {} + 2>/dev/null; ' +
  '! find /sys/fs/cgroup -type d -path "*/${0##*/}*" | grep -q .';

const CONTAINERD = `
  version = 2
  root = "/var/lib/containerd"
  state = "/run/containerd"
  oom_score = 0
  disabled_plugins = ["io.containerd.internal.v1.tracing"]
  [plugins."io.containerd.grpc.v1.cri"]
    sandbox_image = "${PAUSE}"
    restrict_oom_score_adj = true
    disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/opt/cni/bin"
    conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"`;

/** Only a machine that is stuck takes so long, milliseconds. */
const PATIENCE = 120_000;

/** What the node consists of, in the order in which it starts. */
const COMPONENTS = [
  "containerd",
  "etcd",
  "kube-apiserver",
  "kube-controller-manager",
  "kube-scheduler",
  "kubelet",
  "kube-proxy",
] as const;
export type ComponentName = (typeof COMPONENTS)[number];

/** A node that runs, or that has been killed and can be started again. */
export class KubernetesNode implements AsyncDisposable {
  readonly #processes: Processes;
  readonly #commands: Record<ComponentName, readonly string[]>;
  #namespace: Namespace;
  /** The node's files, as this process reaches them. */
  get root(): string {
    return this.#namespace.root;
  }

  private constructor(processes: Processes, commands: Record<ComponentName, readonly string[]>, namespace: Namespace) {
    this.#processes = processes;
    this.#commands = commands;
    this.#namespace = namespace;
  }

  /** Starts it. It has no network configuration, and the plugins that every node has. */
  static async start(): Promise<KubernetesNode> {
    // Images are too large for a file system in memory.
    const processes = new Processes("cni-node-kube-", REMOVE_CGROUPS, "/var/tmp");
    const { directory } = processes;
    try {
      const commands = await prepare(directory);
      for (const path of DISK) fs.mkdirSync(join(directory, "disk", path), { recursive: true });
      const bin = join(directory, "disk/opt/cni/bin");
      fs.mkdirSync(bin);
      fs.mkdirSync(join(directory, "disk/etc/cni/net.d"));
      for (const name of ["bridge", "host-local", "loopback", "portmap"]) {
        fs.copyFileSync(join(PLUGINS, name), join(bin, name));
      }
      const node = new KubernetesNode(processes, commands, await makeNamespace(directory));
      await node.#begin();
      await node.#importImages(directory);
      return node;
    } catch (error) {
      await processes.stop();
      throw error;
    }
  }

  /** Runs kubectl as the administrator. */
  async kubectl(args: readonly string[], stdin = ""): Promise<Ran> {
    const { directory } = this.#processes;
    const child = this.#namespace.spawn([join(findClusterPrograms(), "kubectl"), ...args], {
      HOME: directory,
      KUBECONFIG: join(directory, "admin.kubeconfig"),
    });
    child.stdin?.on("error", () => undefined);
    child.stdin?.end(stdin);
    return endOf(child);
  }

  /** Runs kubectl, and gives what it prints. @throws if it fails. */
  async ask(...args: string[]): Promise<string> {
    const { exitCode, stdout, stderr } = await this.kubectl(args);
    if (exitCode !== 0) throw new Error(`kubectl ${args.join(" ")}: ${stderr}${stdout}`);
    return stdout.trim();
  }

  /** Applies objects. @throws if it fails. */
  async apply(yaml: string): Promise<string> {
    const { exitCode, stdout, stderr } = await this.kubectl(["apply", "--validate=strict", "-f", "-"], yaml);
    if (exitCode !== 0) throw new Error(stderr);
    return stdout;
  }

  /** Runs a shell script on the node, where kubectl is the administrator's. */
  async sh(script: string): Promise<Ran> {
    const { directory } = this.#processes;
    const PATH = `${findClusterPrograms()}:${process.env["PATH"]}`;
    return endOf(
      this.#namespace.spawn(["sh", "-c", script], {
        PATH,
        HOME: directory,
        KUBECONFIG: join(directory, "admin.kubeconfig"),
      }),
    );
  }

  /** Waits until a script ends with 0, and gives what it printed then. @throws with what it printed last. */
  async until(script: string, patience = PATIENCE): Promise<string> {
    for (const end = Date.now() + patience; ; await sleep(250)) {
      const { exitCode, stdout, stderr } = await this.sh(script);
      if (exitCode === 0) return stdout.trim();
      if (Date.now() > end)
        throw new Error(
          `after ${patience / 1000} s it is not so: ${script}\n${stdout}${stderr}\n${await this.report()}`,
        );
    }
  }

  /** Kills some of the node's components, as a crash does. */
  async kill(...names: ComponentName[]): Promise<void> {
    // It has its ports until it is gone.
    const untilGone = 'for try in $(seq 200); do kill -0 "$pid" 2>/dev/null || break; sleep 0.05; done';
    for (const name of names) await this.sh(`pid=$(cat /run/${name}.pid); kill -9 "$pid"; ${untilGone}`);
  }

  /** Starts some again, or for the first time. */
  begin(...names: ComponentName[]): void {
    const { directory } = this.#processes;
    for (const name of names) {
      const script = `echo $$ >/run/${name}.pid; exec "$@" >>${directory}/${name}.log 2>&1`;
      const PATH = `${findClusterPrograms()}:/usr/sbin:/usr/bin:/sbin:/bin`;
      this.#namespace.spawn(["sh", "-c", script, "sh", ...this.#commands[name]], { PATH, HOME: directory });
    }
  }

  /** The power is cut. Disks stay as they are, /run is lost. */
  async crash(): Promise<void> {
    await this.#namespace[Symbol.asyncDispose]();
  }

  /** The machine starts again. @param late components that are started by hand later. */
  async boot(late: readonly ComponentName[] = []): Promise<void> {
    this.#namespace = await makeNamespace(this.#processes.directory);
    this.begin(...COMPONENTS.filter((name) => !late.includes(name)));
  }

  /** Waits until the API server answers. */
  async untilApi(): Promise<void> {
    await this.until("kubectl get --raw /readyz");
  }

  /** What there is to see of it when something fails. */
  async report(): Promise<string> {
    const { stdout, stderr } = await this.sh(
      [
        "kubectl get nodes,pods --all-namespaces -o wide",
        "kubectl get events --all-namespaces --sort-by=.lastTimestamp | tail -30",
        "ls -la /etc/cni/net.d /opt/cni/bin",
        `tail -n 15 ${this.#processes.directory}/kubelet.log`,
      ].join("\n"),
    );
    return `${stdout}${stderr}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#namespace[Symbol.asyncDispose]();
    await this.#processes.stop();
  }

  async #begin(): Promise<void> {
    this.begin("containerd", "etcd", "kube-apiserver");
    await this.untilApi();
    this.begin("kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy");
    await this.until(`kubectl get node ${NODE}`);
    await this.until("kubectl get serviceaccount default");
  }

  async #importImages(directory: string): Promise<void> {
    const archives = join(directory, "images");
    fs.mkdirSync(archives);
    const busybox = writeImage(archives, IMAGES.busybox, "/usr/bin/busybox", TOOLS);
    await this.#import(busybox);
    await this.#import(writeImage(archives, PAUSE, join(findRuntimePrograms(), "pause")));
    await this.#import(findImage());
    const tags = [IMAGES.first, IMAGES.second].map((tag) => `ctr -n k8s.io images tag $name ${tag}`).join(" && ");
    const { exitCode, stderr } = await this.sh(
      `name=$(ctr -n k8s.io images list -q | grep -m 1 "/cni-node:latest") && ${tags}`,
    );
    if (exitCode !== 0) throw new Error(stderr);
    fs.rmSync(archives, { recursive: true });
  }

  async #import(archive: string): Promise<void> {
    const { exitCode, stderr } = await this.sh(
      `until ctr version >/dev/null 2>&1; do sleep 0.1; done; ctr -n k8s.io images import ${archive}`,
    );
    if (exitCode !== 0) throw new Error(stderr);
  }
}

/** What pods call by name. */
const TOOLS = ["sh", "sleep", "ip", "ping", "wget", "cat", "ls"];

async function makeNamespace(directory: string): Promise<Namespace> {
  const script = INIT.replace("DIRECTORY", directory).replace("NAME", basename(directory));
  return Namespace.make(script, { pid: true, net: true });
}

/** Writes keys, kubeconfigs and configurations. @returns the command line of each component. */
async function prepare(directory: string): Promise<Record<ComponentName, readonly string[]>> {
  const programs = findClusterPrograms();
  const authority = await CertificateAuthority.make(join(directory, "pki"));
  const ca = authority.certificate;
  const tokens = authority.keyPair("tokens");
  const server = await authority.server("apiserver", [NODE_IP, SERVICE_IP]);
  const masters = "system:masters";
  const clients: Record<string, Identity> = {
    admin: await authority.client("admin", { user: "admin", group: masters }),
    kubelet: await authority.client("kubelet", { user: `system:node:${NODE}`, group: "system:nodes" }),
    "kube-controller-manager": await authority.client("kcm", { user: "system:kube-controller-manager" }),
    "kube-scheduler": await authority.client("scheduler", { user: "system:kube-scheduler" }),
    "kube-proxy": await authority.client("proxy", { user: "system:kube-proxy" }),
  };
  const toKubelet = await authority.client("to-kubelet", { user: "apiserver", group: masters });
  for (const [name, credentials] of Object.entries(clients)) {
    writeKubeconfig(join(directory, `${name}.kubeconfig`), { server: API, ca, credentials });
  }
  const kubeconfigOf = (name: string): string => `--kubeconfig=${join(directory, `${name}.kubeconfig`)}`;
  fs.writeFileSync(join(directory, "containerd.toml"), CONTAINERD);
  fs.writeFileSync(join(directory, "kubelet.yaml"), JSON.stringify(kubeletConfiguration(directory, ca), null, 2));
  const program = (name: string): string => join(programs, name);
  return {
    containerd: ["/usr/bin/containerd", "--config", join(directory, "containerd.toml")],
    etcd: [
      program("etcd"),
      `--data-dir=${join(directory, "etcd")}`,
      "--listen-client-urls=http://127.0.0.1:2379",
      "--advertise-client-urls=http://127.0.0.1:2379",
      "--listen-peer-urls=http://127.0.0.1:2380",
      "--unsafe-no-fsync",
      "--log-level=warn",
    ],
    "kube-apiserver": [
      program("kube-apiserver"),
      "--etcd-servers=http://127.0.0.1:2379",
      `--advertise-address=${NODE_IP}`,
      "--bind-address=0.0.0.0",
      "--secure-port=6443",
      `--tls-cert-file=${server.certificate}`,
      `--tls-private-key-file=${server.key}`,
      `--client-ca-file=${ca}`,
      "--service-account-issuer=https://kubernetes.default.svc",
      `--service-account-key-file=${tokens.publicKey}`,
      `--service-account-signing-key-file=${tokens.privateKey}`,
      "--service-cluster-ip-range=10.96.0.0/16",
      "--authorization-mode=Node,RBAC",
      "--enable-admission-plugins=NodeRestriction",
      "--allow-privileged=true",
      "--kubelet-preferred-address-types=InternalIP",
      `--kubelet-client-certificate=${toKubelet.certificate}`,
      `--kubelet-client-key=${toKubelet.key}`,
    ],
    "kube-controller-manager": [
      program("kube-controller-manager"),
      kubeconfigOf("kube-controller-manager"),
      "--leader-elect=false",
      "--use-service-account-credentials",
      `--service-account-private-key-file=${tokens.privateKey}`,
      `--root-ca-file=${ca}`,
      "--bind-address=127.0.0.1",
      "--allocate-node-cidrs",
      "--cluster-cidr=10.244.0.0/16",
    ],
    "kube-scheduler": [
      program("kube-scheduler"),
      kubeconfigOf("kube-scheduler"),
      "--leader-elect=false",
      "--bind-address=127.0.0.1",
    ],
    kubelet: [
      program("kubelet"),
      kubeconfigOf("kubelet"),
      `--config=${join(directory, "kubelet.yaml")}`,
      `--hostname-override=${NODE}`,
      `--node-ip=${NODE_IP}`,
    ],
    "kube-proxy": [
      program("kube-proxy"),
      kubeconfigOf("kube-proxy"),
      `--hostname-override=${NODE}`,
      "--proxy-mode=iptables",
      "--cluster-cidr=10.244.0.0/16",
      "--conntrack-max-per-core=0",
    ],
  };
}

function kubeletConfiguration(directory: string, clientCAFile: string): object {
  return {
    apiVersion: "kubelet.config.k8s.io/v1beta1",
    kind: "KubeletConfiguration",
    failCgroupV1: false,
    cgroupDriver: "cgroupfs",
    cgroupRoot: `/${basename(directory)}`,
    cgroupsPerQOS: true,
    enforceNodeAllocatable: [],
    failSwapOn: false,
    oomScoreAdj: 0,
    maxOpenFiles: 20_000,
    containerRuntimeEndpoint: "unix:///run/containerd/containerd.sock",
    authentication: { anonymous: { enabled: false }, webhook: { enabled: true }, x509: { clientCAFile } },
    authorization: { mode: "Webhook" },
    clusterDomain: "cluster.local",
    clusterDNS: [],
    resolvConf: "",
    imageGCHighThresholdPercent: 100,
    imageGCLowThresholdPercent: 99,
    evictionHard: {
      "nodefs.available": "0%",
      "imagefs.available": "0%",
      "nodefs.inodesFree": "0%",
      "memory.available": "50Mi",
    },
  };
}

function whyNot(): string | false {
  if (cannotMount !== false) return cannotMount;
  if (fs.existsSync("/sys/fs/cgroup/cgroup.controllers"))
    return "needs cgroups of version 1: nobody has tried it with 2";
  const missing = ["/usr/bin/containerd", "/usr/sbin/runc", "/usr/bin/busybox", PLUGINS].find(
    (path) => !fs.existsSync(path),
  );
  if (missing !== undefined) return `${missing} is missing`;
  const tool = ["setpriv", "tar", "openssl", "iptables"].find((name) => spawnSync(name, ["--help"]).error);
  if (tool !== undefined) return `${tool} is missing`;
  try {
    findRuntimePrograms();
    findClusterPrograms();
    findImage();
    return false;
  } catch (error) {
    return (error as Error).message;
  }
}
