/** The image as its users run it, by a real dockerd: first the documents' own examples, then what goes wrong. */
import assert from "node:assert/strict";
import { hash } from "node:crypto";
import * as fs from "node:fs";
import { join } from "node:path";
import { after, before, suite, test } from "node:test";
import { fileURLToPath } from "node:url";

import { cannotStart as noCluster, startCluster } from "../cluster/cluster.ts";
import { conflist, type Ran } from "../helpers/node.ts";
import { problemsOf } from "../helpers/state.ts";
import { assertStops, cannotStart, PRIVILEGED, startDocker, type Engine } from "../image/engines.ts";
import { blockWith, EXAMPLES } from "../image/examples.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const MOUNT_PLUGINS = ["-v", "/opt/cni/bin:/host/opt/cni/bin"];
const MOUNT_CONFIGS = ["-v", "/etc/cni/net.d:/host/etc/cni/net.d"];
const MOUNTS = [...MOUNT_PLUGINS, ...MOUNT_CONFIGS];

suite("the image, run by Docker", { skip: cannotStart }, () => {
  let engine: Engine;
  let bin: string;
  let netd: string;
  const tried = new Set<string>();

  before(async () => {
    engine = await startDocker();
    bin = join(engine.host, "opt/cni/bin");
    netd = join(engine.host, "etc/cni/net.d");
  });
  after(async () => engine[Symbol.asyncDispose]());

  /** Runs the example of the documents that has these words. */
  async function example(words: string): Promise<Ran> {
    const found = EXAMPLES.filter((line) => line.endsWith(words));
    assert.equal(found.length, 1, `one example of ${words}`);
    tried.add(found[0] ?? "");
    return engine.sh((found[0] ?? "").replace("--privileged", PRIVILEGED));
  }

  /** A directory for files to be mounted. */
  function folder(name: string): string {
    const path = join(engine.work, name);
    fs.mkdirSync(path, { recursive: true });
    return path;
  }

  /** A node without anything of CNI. */
  function emptyNode(): void {
    for (const directory of [bin, netd]) {
      fs.rmSync(directory, { recursive: true, force: true });
      fs.mkdirSync(directory, { recursive: true });
    }
  }

  suite("by the examples of README.md, docs/install.md and docs/troubleshooting.md", () => {
    before(emptyNode);

    test("prints its help, and without arguments its usage, and ends with 2", async () => {
      const help = await example(" cni-node --help");
      assert.deepEqual([help.exitCode, help.stderr], [0, ""]);
      assert.match(help.stdout, /^Usage: cni-node COMMAND/u);
      const { exitCode, stdout, stderr } = await engine.run([]);
      assert.deepEqual([exitCode, stdout], [2, ""]);
      assert.match(stderr, /Usage: cni-node COMMAND/u);
    });

    test("N5: installs to a directory, with nothing but the commands that the README shows", async () => {
      const ran = await engine.sh(blockWith("<<END\n"));
      assert.equal(ran.exitCode, 0, ran.stderr);
      const [, printed] =
        /<<END\n[^]*?```text\n([^]*?)```/u.exec(fs.readFileSync(join(ROOT, "README.md"), "utf8")) ?? [];
      assert.equal(ran.stdout, printed);
      assert.deepEqual(fs.readdirSync(join(engine.work, "scratch/bin")), [".cni-node", "bridge", "host-local"]);
      assert.deepEqual(fs.readdirSync(join(engine.work, "scratch/net.d")), [".cni-node", "10-mynet.conflist"]);
      tried.add(EXAMPLES.find((line) => line.endsWith("--configs=10-mynet.conflist")) ?? "");
    });

    test("list prints the plugins in the image, those of the ancestor among them", async () => {
      const { exitCode, stdout } = await example("cni-node list");
      assert.equal(exitCode, 0);
      const names = stdout.split("\n").slice(0, -1);
      for (const name of ["bridge", "flannel", "loopback", "multus", "multus-cni", "whereabouts"]) {
        assert.ok(names.includes(name), name);
      }
      const { plugins } = await catalogue(engine);
      assert.deepEqual(names, [...plugins.keys()]);
    });

    test("installs plugins into the mounted directory, executable and to the last bit", async () => {
      const ran = await example("install --plugins=flannel,ipvlan");
      assert.deepEqual(ran, {
        exitCode: 0,
        stdout: "created     plugin    flannel\ncreated     plugin    ipvlan\n",
        stderr: "",
      });
      assert.deepEqual(fs.readdirSync(bin), [".cni-node", "flannel", "ipvlan"]);
      const { plugins } = await catalogue(engine);
      for (const name of ["flannel", "ipvlan"]) {
        assert.equal(fs.statSync(join(bin, name)).mode & 0o7777, 0o755);
        assert.equal(hash("sha256", fs.readFileSync(join(bin, name))), plugins.get(name));
      }
    });

    test("installs configurations that are rendered from mounted templates and the node's own file", async () => {
      const calico = conflist("calico", "calico");
      fs.writeFileSync(join(netd, "10-calico.conflist"), calico);
      const multus = '{"name":"multus","type":"multus-cni","delegates":[\n__10-calico.conflist__\n]}\n';
      const ipvlan = '{"cniVersion":"1.0.0","name":"ipvlan","type":"ipvlan"}\n';
      fs.writeFileSync(join(engine.work, "multus.conf"), multus);
      fs.writeFileSync(join(engine.work, "ipvlan.conf"), ipvlan);
      const ran = await example("install --configs=05-multus.conf,10-ipvlan.conf");
      assert.equal(ran.exitCode, 0, ran.stderr);
      assert.equal(
        fs.readFileSync(join(netd, "05-multus.conf"), "utf8"),
        multus.replace("__10-calico.conflist__\n", calico),
      );
      assert.equal(fs.readFileSync(join(netd, "10-ipvlan.conf"), "utf8"), ipvlan);
      assert.equal(fs.readFileSync(join(netd, "10-calico.conflist"), "utf8"), calico);
    });

    test("tries a network by a real container on the host before it goes live, and leaves nothing of it", async () => {
      const plugin = {
        type: "bridge",
        bridge: "cni9",
        isGateway: true,
        ipam: { type: "host-local", subnet: "10.9.0.0/24" },
      };
      const write = (more: object): void => {
        const list = { cniVersion: "1.0.0", name: "net", plugins: [{ ...plugin, ...more }] };
        fs.writeFileSync(join(engine.work, "bridge.conflist"), JSON.stringify(list));
      };
      const words = "install --plugins=bridge,host-local --configs=20-bridge.conflist --probe";
      write({ isGateway: false });
      const refused = await example(words);
      assert.equal(refused.exitCode, 1, refused.stdout + refused.stderr);
      assert.match(
        refused.stderr,
        /20-bridge\.conflist: network net does not work: PING: 10\.9\.0\.1 does not answer/u,
      );
      write({});
      const { exitCode, stdout, stderr } = await example(words);
      assert.equal(exitCode, 0, stderr);
      assert.match(stdout, /^probed .* add eth0 10\.9\.0\.\d, check, ping 10\.9\.0\.1 answers, del$/mu);
      const left = await engine.sh("find /var/lib/cni -name '10.*' -o -name '*-eth0'; ip -o link show type veth");
      assert.deepEqual([left.stdout, left.exitCode], ["", 0]);
      const removed = await engine.run(
        MOUNTS,
        "uninstall",
        "--plugins=bridge,host-local",
        "--configs=20-bridge.conflist",
      );
      assert.equal(removed.exitCode, 0, removed.stderr);
    });

    test("applies manifests to a real API server, with a mounted kubeconfig", { skip: noCluster }, async () => {
      await using cluster = await startCluster();
      await engine.reach(Number(new URL(cluster.server).port));
      fs.copyFileSync(cluster.adminKubeconfig, join(folder(".kube"), "config"));
      const subject = "{kind: ServiceAccount, name: multus, namespace: default}";
      const role = "{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}";
      fs.writeFileSync(
        join(engine.work, "crb.yaml"),
        `apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {name: multus}\nroleRef: ${role}\nsubjects: [${subject}]\n`,
      );
      fs.writeFileSync(
        join(engine.work, "sa.yaml"),
        "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: multus, namespace: default}\n",
      );
      const ran = await example("install --manifests=crb.yaml,sa.yaml");
      assert.equal(ran.exitCode, 0, ran.stderr);
      assert.match(ran.stdout, /^created {5}manifest {2}crb\.yaml.*\ncreated {5}manifest {2}sa\.yaml.*\n$/u);
      const paths = [
        "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/multus",
        "/api/v1/namespaces/default/serviceaccounts/multus",
      ];
      for (const path of paths) assert.equal((await cluster.request("GET", path)).status, 200);
    });

    test("goes from one set of plugins to another, and does not touch what is in both", async () => {
      for (const name of ["host-device", "multus-cni"]) fs.writeFileSync(join(bin, name), name, { mode: 0o755 });
      const former = fs.statSync(join(bin, "multus-cni"), { bigint: true });
      const ran = await example("apply --plugins=multus-cni,ipvlan,macvlan:host-device,multus-cni,ipvlan");
      assert.equal(ran.exitCode, 0, ran.stderr);
      assert.deepEqual(fs.readdirSync(bin), [".cni-node", "flannel", "ipvlan", "macvlan", "multus-cni"]);
      const now = fs.statSync(join(bin, "multus-cni"), { bigint: true });
      assert.deepEqual([now.ino, now.ctimeNs], [former.ino, former.ctimeNs]);
    });

    test("takes all of it away, and leaves what is not its own", async () => {
      const ran = await example("--plugins=multus-cni,macvlan,ipvlan,flannel --configs=05-multus.conf,10-ipvlan.conf");
      assert.equal(ran.exitCode, 0, ran.stderr);
      assert.deepEqual(fs.readdirSync(bin), []);
      assert.deepEqual(
        fs.readdirSync(netd).filter((name) => name !== ".cni-node"),
        ["10-calico.conflist"],
      );
    });

    test("N5: status looks at the whole node, which it may only read", async () => {
      const { exitCode, stdout, stderr } = await example("-v /:/host:ro cni-node status");
      assert.ok([0, 3].includes(exitCode), stderr);
      assert.match(stdout, /^files in \/etc\/cni\/net\.d$[^]*^ +10-calico\.conflist /mu);
    });

    test("[R2] with --pause stays, and ends with 0 as soon as docker stop asks it to, time and again", async () => {
      for (const outcome of ["created", "unchanged"]) {
        const started = await example("install --plugins=bridge --pause");
        assert.equal(started.exitCode, 0, started.stderr);
        await engine.logged("cni", new RegExp(`${outcome} +plugin {4}bridge`, "u"));
        const state = "docker inspect --format '{{.State.Status}} {{.State.ExitCode}}' cni";
        assert.equal((await engine.sh(state)).stdout, "running 0\n");
        // Docker kills what has not ended in ten seconds: 137.
        assert.equal((await example("docker stop cni")).exitCode, 0);
        assert.equal((await engine.sh(state)).stdout, "exited 0\n");
        assert.equal((await example("docker rm cni")).exitCode, 0);
      }
    });

    test("every example is tried here", () => {
      assert.deepEqual(
        EXAMPLES.filter((line) => !tried.has(line)),
        [],
      );
    });
  });

  suite("by the alias of docs/by-hand.md", () => {
    before(emptyNode);

    test("installs, says what is wrong, and adds a network to a namespace of the host", async () => {
      const [, words = ""] =
        /^alias cni-node='(.*)'$/mu.exec(fs.readFileSync(join(ROOT, "docs/by-hand.md"), "utf8")) ?? [];
      assert.notEqual(words, "");
      const run = async (line: string): Promise<Ran> =>
        engine.sh(`${words.replace("--privileged", PRIVILEGED)} ${line}`);
      const installed = await run("install --plugins=loopback");
      assert.equal(installed.exitCode, 0, installed.stderr);
      assert.ok([0, 3].includes((await run("status")).exitCode));
      const lo = '{"cniVersion": "1.0.0", "name": "lo", "type": "loopback"}';
      fs.writeFileSync(join(netd, "10-lo.conf"), lo);
      const added = await run("network add lo alias --new --ifname=lo --output=text");
      assert.equal(added.exitCode, 0, added.stderr);
      const deleted = await run("network del lo alias --delete-netns");
      assert.equal(deleted.exitCode, 0, deleted.stderr);
      assert.match(deleted.stdout, /^deleted +lo /mu);
    });
  });

  suite("with little", () => {
    before(emptyNode);

    test("needs no writable root, no capability, no network, no home, no name: what it writes is mounted", async () => {
      const bare = ["--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--network=none"];
      const odd = ["--env=HOME=", "--hostname=x-1.example.org", "--workdir=/"];
      fs.writeFileSync(join(netd, "10-a.conf"), '{"cniVersion":"1.0.0","name":"a","type":"bridge"}\n');
      const templates = folder("templates");
      fs.writeFileSync(
        join(templates, "05-b.conf"),
        '{"cniVersion":"1.0.0","name":"b","type":"vlan","delegates":[__10-a.conf__]}\n',
      );
      const options = [...bare, ...odd, ...MOUNTS, "-v", `${templates}:/etc/cni/net.d:ro`];
      const ran = await engine.run(options, "install", "--plugins=vlan,multus", "--configs=05-b.conf");
      assert.equal(ran.exitCode, 0, ran.stderr);
      // It was so before, and is not an affair of this run.
      assert.match(ran.stderr, /^cni-node: warning: \S*05-b\.conf: needs the plugin bridge, which is not in .*\n$/u);
      assert.deepEqual(fs.readdirSync(bin), [".cni-node", "multus", "vlan"]);
      const again = await engine.run(options, "install", "--plugins=vlan,multus", "--configs=05-b.conf");
      assert.equal(again.stdout.match(/unchanged/gu)?.length, 3);
      const away = await engine.run(options, "uninstall", "--plugins=vlan,multus", "--configs=05-b.conf");
      assert.equal(away.exitCode, 0, away.stderr);
      assert.deepEqual(fs.readdirSync(bin), []);
    });

    test("with one of the two directories does what that one is for, and names the other when it is needed", async () => {
      assert.equal((await engine.run(MOUNT_PLUGINS, "install", "--plugins=vlan")).exitCode, 0);
      const templates = folder("templates");
      const mountTemplates = ["-v", `${templates}:/etc/cni/net.d`];
      fs.writeFileSync(join(templates, "05-c.conf"), '{"cniVersion":"1.0.0","name":"c","type":"vlan"}\n');
      const configs = await engine.run([...MOUNT_CONFIGS, ...mountTemplates], "install", "--configs=05-c.conf");
      assert.equal(configs.exitCode, 0, configs.stderr);
      const both = ["install", "--plugins=bridge", "--configs=05-c.conf"];
      for (const [mounted, missing] of [
        [MOUNT_PLUGINS, "/etc/cni/net.d"],
        [MOUNT_CONFIGS, "/opt/cni/bin"],
      ] as const) {
        for (const hostRoot of ["", "/host", "/host/"]) {
          const options = [...mounted, ...mountTemplates, `--env=CNI_NODE_HOST_ROOT=${hostRoot}`];
          const ran = await engine.run(options, ...both);
          assert.deepEqual([ran.exitCode, ran.stdout], [1, ""]);
          assert.match(
            ran.stderr,
            new RegExp(`^cni-node: /host${missing}: .*no directory of the node is mounted`, "u"),
          );
          assert.match(ran.stderr, new RegExp(`hint: mount it, for example with docker run -v ${missing}:/host`, "u"));
        }
      }
      assert.deepEqual(fs.readdirSync(bin), [".cni-node", "vlan"]);
    });

    test("with no directory of the node says which to mount", async () => {
      const ran = await engine.run([], "install", "--plugins=bridge");
      assert.deepEqual([ran.exitCode, ran.stdout], [1, ""]);
      assert.match(ran.stderr, /^cni-node: \/host\/opt\/cni\/bin: .*\n {2}hint: mount it, .*-v \/opt\/cni\/bin:/u);
    });

    test("a file to be mounted that does not exist, of which Docker makes a directory, is told from a bad one", async () => {
      const mount = ["-v", `${folder("none")}/05-x.conf:/etc/cni/net.d/05-x.conf`];
      const ran = await engine.run([...MOUNT_CONFIGS, ...mount], "install", "--configs=05-x.conf");
      assert.deepEqual([ran.exitCode, ran.stdout], [1, ""]);
      assert.match(
        ran.stderr,
        /^cni-node: \/etc\/cni\/net\.d\/05-x\.conf: .*not a regular file\n {2}hint: .*does not exist/u,
      );
    });

    test("as a user who may not write says so, and can list", async () => {
      emptyNode();
      assert.equal((await engine.run(["--user=65534"], "list")).exitCode, 0);
      const ran = await engine.run(["--user=65534", ...MOUNTS], "install", "--plugins=bridge");
      assert.deepEqual([ran.exitCode, ran.stdout], [1, ""]);
      assert.match(ran.stderr, /^cni-node: \/host\/opt\/cni\/bin[^:]*: .*permission denied\n {2}hint: run as root/u);
      assert.deepEqual(fs.readdirSync(bin), []);
      fs.chownSync(bin, 65534, 65534);
      assert.equal((await engine.run(["--user=65534", ...MOUNTS], "install", "--plugins=bridge")).exitCode, 0);
    });

    test("with a directory that is mounted read-only says so", async () => {
      emptyNode();
      const ran = await engine.run(["-v", "/opt/cni/bin:/host/opt/cni/bin:ro"], "install", "--plugins=bridge");
      assert.deepEqual([ran.exitCode, ran.stdout], [1, ""]);
      assert.match(ran.stderr, /read-only file system\n {2}hint: .*mount it writable/u);
    });
  });

  suite("interrupted and at once", () => {
    before(emptyNode);

    test("what a killed container has half done is finished by the next one", async () => {
      // The run stops before the second plugin goes live, for the kill to find it there.
      const preload = fileURLToPath(new URL("../helpers/signal-at.mjs", import.meta.url));
      const hold = ["-e", "NODE_OPTIONS=--import=/hold.mjs", "-e", "TEST_SIGNAL=HOLD", "-e", "TEST_AT=1"];
      const options = [...MOUNTS, "-v", `${preload}:/hold.mjs:ro`, ...hold, "-e", "TEST_TO=/vlan$"];
      const words = [...options, "cni-node", "install", "--plugins=bridge,vlan"].join(" ");
      await engine.sh(`docker run --detach --name killed ${words}`);
      await engine.logged("killed", /held/u);
      await engine.sh("docker kill killed");
      const ended = await engine.sh("docker wait killed");
      assert.equal(ended.stdout, "137\n");
      assert.deepEqual(
        fs.readdirSync(bin).filter((name) => !name.startsWith(".")),
        ["bridge"],
      );
      const next = await engine.run(MOUNTS, "install", "--plugins=macvlan");
      assert.equal(next.exitCode, 0, next.stderr);
      assert.deepEqual(fs.readdirSync(bin), [".cni-node", "bridge", "macvlan", "vlan"]);
      assert.deepEqual(problemsOf(bin), []);
    });

    test("two containers at once do one after the other what each is asked for", async () => {
      emptyNode();
      const sets = ["bridge,vlan,macvlan,multus", "vlan,multus,ipvlan", "ptp,bridge,ipvlan"];
      const ran = await Promise.all(sets.map(async (names) => engine.run(MOUNTS, "install", `--plugins=${names}`)));
      assert.deepEqual(
        ran.map(({ exitCode, stderr }) => [exitCode, stderr]),
        sets.map(() => [0, ""]),
      );
      assert.deepEqual(fs.readdirSync(bin), [".cni-node", "bridge", "ipvlan", "macvlan", "multus", "ptp", "vlan"]);
      assert.deepEqual(problemsOf(bin), []);
    });

    test("stopped while it waits it ends at once by the signal, having changed nothing", async () => {
      emptyNode();
      const templates = folder("templates");
      fs.writeFileSync(join(templates, "05-w.conf"), '{"name":"w","type":"vlan","delegates":[__gone.conf__]}\n');
      const options = [...MOUNTS, "-v", `${templates}:/etc/cni/net.d`].join(" ");
      await engine.sh(`docker run --detach --name waits ${options} cni-node install --configs=05-w.conf --wait=10m`);
      await engine.logged("waits", /waiting for/u);
      assert.equal((await engine.sh("docker stop -t 60 waits")).exitCode, 0);
      assert.match((await engine.sh("docker wait waits")).stdout, /^143\n$/u);
      assert.deepEqual(fs.readdirSync(netd), []);
    });
  });

  suite("as process 1 and beside others", () => {
    test("[R2] stopped at once, before Node.js has started, it ends by the signal", async () => {
      await assertStops(engine, ["cni-node"], ["0", "0.02", "0.05", "0.1"]);
      // The manifests of openvnf/cni-node name the program in the place of the entry point.
      await assertStops(engine, ["--entrypoint=cni-node cni-node"], ["0", "0.05"]);
      await assertStops(engine, ["--entrypoint=sh cni-node -c 'exec cni-node \"$@\"' sh"], ["0", "0.05"]);
    });

    test("[R2] exit codes, input and both outputs are its own, under each name, and nothing is added to them", async () => {
      const usage = await engine.run([], "list", "--no-such-option");
      assert.deepEqual([usage.exitCode, usage.stdout], [2, ""]);
      assert.match(usage.stderr, /^cni-node: /u);
      const tool = await engine.sh("docker run --rm --entrypoint=cnitool cni-node");
      assert.equal(tool.exitCode, 2);
      assert.match(tool.stderr, /^Usage: cni-node network COMMAND/mu);
      const piped = await engine.sh("echo '{' | docker run --rm --interactive cni-node network show --file=-");
      assert.equal(piped.exitCode, 1, piped.stdout + piped.stderr);
    });

    test("[R2] with another process 1 it is what that one starts, and says nothing of it", async () => {
      const names = (await engine.run([], "list")).stdout;
      for (const option of ["--init", "--pid=host", "--entrypoint=/usr/bin/tini"]) {
        const words = option.startsWith("--entrypoint") ? ["cni-node", "list"] : ["list"];
        assert.deepEqual(await engine.run([option], ...words), { exitCode: 0, stdout: names, stderr: "" }, option);
      }
    });

    test("[R2] the program is the only child of process 1, and a second one in the container is not one", async () => {
      await engine.sh(`docker run --detach --name tree ${MOUNTS.join(" ")} cni-node install --plugins=vlan --pause`);
      await engine.logged("tree", /plugin {4}vlan/u);
      const inside = await engine.sh("docker exec tree sh -c 'cat /proc/1/comm; cat /proc/1/task/1/children | wc -w'");
      assert.deepEqual(inside, { exitCode: 0, stdout: "tini\n1\n", stderr: "" });
      const hook = await engine.sh("docker exec tree cni-node uninstall --plugins=vlan");
      assert.equal(hook.exitCode, 0, hook.stderr);
      assert.match(hook.stdout, /^deleted {5}plugin {4}vlan/mu);
      assert.equal((await engine.sh("docker stop -t 60 tree && docker wait tree")).stdout, "tree\n0\n");
    });
  });

  suite("as a process that watches", () => {
    test("without rights it repairs the node, answers probes, is shown by status, and stands down for an uninstall", async () => {
      emptyNode();
      const bare = "--read-only --cap-drop=ALL --security-opt=no-new-privileges --network=host";
      const watch = "watch --owner=w --plugins=vlan,tuning --listen=127.0.0.1:19153";
      const started = await engine.sh(`docker run --detach --name watch ${bare} ${MOUNTS.join(" ")} cni-node ${watch}`);
      assert.equal(started.exitCode, 0, started.stderr);
      await engine.logged("watch", /created plugin vlan/u);
      fs.rmSync(join(bin, "vlan"));
      await engine.logged("watch", /\n\S+ created plugin vlan \(/u);
      const script = 'fetch("http://127.0.0.1:19153/readyz").then(async (answer) => console.log(await answer.text()))';
      assert.equal((await engine.sh(`${process.execPath} -e '${script}'`)).stdout, "ok\n");
      const status = await engine.run(MOUNTS, "status");
      assert.match(status.stdout, /kept right by cni-node watch\n {2}owner w, since /u, status.stderr);
      const hook = await engine.sh("docker exec watch cni-node uninstall --owner=w --plugins=vlan,tuning");
      assert.equal(hook.exitCode, 0, hook.stderr);
      assert.match((await engine.run(MOUNTS, "status")).stdout, /stands down for an uninstall/u);
      assert.equal((await engine.sh("docker stop -t 60 watch && docker wait watch")).stdout, "watch\n143\n");
      assert.deepEqual(fs.readdirSync(bin), []);
    });
  });

  suite("as a base of other images", () => {
    test("a program that is mounted over /usr/local/bin is found first, by scripts with #!/bin/sh", async () => {
      const local = folder("local");
      const script = "#!/bin/sh\nset -e\necho mine: $(cni-node list | head -n 1)\nip link show lo >/dev/null\n";
      fs.writeFileSync(join(local, "kube-watch"), script, { mode: 0o755 });
      const mounted = `-v ${local}:/usr/local/bin --entrypoint=kube-watch`;
      assert.equal((await engine.sh(`docker run --rm ${mounted} cni-node`)).stdout, "mine: bandwidth\n");
    });

    test("an added plugin is listed with all that is known of it and installed, as docs/image.md says", async () => {
      emptyNode();
      const derived = folder("derived");
      const text = fs.readFileSync(new URL("../../docs/image.md", import.meta.url), "utf8");
      const [, dockerfile = ""] = /```dockerfile\n([^]*?)```/u.exec(text) ?? [];
      fs.writeFileSync(join(derived, "Dockerfile"), dockerfile);
      const plugin = `#!/bin/sh\necho '{"cniVersion":"1.0.0","supportedVersions":["0.4.0","1.0.0"]}'\n`;
      fs.writeFileSync(join(derived, "my-plugin"), plugin, { mode: 0o755 });
      const built = await engine.sh("cd derived && DOCKER_BUILDKIT=0 docker build --tag derived .");
      assert.equal(built.exitCode, 0, built.stderr);
      const listed = await engine.sh("docker run --rm derived list --output=json");
      const { plugins } = JSON.parse(listed.stdout) as { plugins: { name: string }[] };
      const sha256 = hash("sha256", plugin);
      assert.deepEqual(
        plugins.find(({ name }) => name === "my-plugin"),
        { name: "my-plugin", size: plugin.length, sha256, cniVersions: ["0.4.0", "1.0.0"] },
      );
      const { plugins: inherited } = await catalogue(engine);
      assert.equal(plugins.length, inherited.size + 1);
      const ran = await engine.sh(`docker run --rm ${MOUNTS.join(" ")} derived install --plugins=my-plugin,bridge`);
      assert.equal(ran.exitCode, 0, ran.stderr);
      assert.equal(fs.readFileSync(join(bin, "my-plugin"), "utf8"), plugin);
    });

    test("a binary that was replaced without that is refused, naming what fixes it", async () => {
      const other = "--entrypoint=sh cni-node -c 'echo >>/opt/cni/bin/bridge; cni-node install --plugins=bridge'";
      const ran = await engine.sh(`docker run --rm ${MOUNTS.join(" ")} ${other}`);
      assert.equal(ran.exitCode, 1);
      assert.match(ran.stderr, /bridge: is not the binary .*\n {2}hint: .*cni-node catalogue/u);
    });
  });
});

/** The digests of the image's plugins. */
async function catalogue(engine: Engine): Promise<{ plugins: Map<string, string> }> {
  const { stdout } = await engine.run([], "list", "--output=json");
  const { plugins } = JSON.parse(stdout) as { plugins: { name: string; sha256: string }[] };
  return { plugins: new Map(plugins.map(({ name, sha256 }) => [name, sha256])) };
}
