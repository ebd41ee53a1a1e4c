/** Containers of Docker and Podman that get their network from CNI: real engines, runtimes and plugins. */
import assert from "node:assert/strict";
import * as fs from "node:fs";
import { join } from "node:path";
import { after, before, suite, test } from "node:test";

import { parseTree } from "jsonc-parser";

import { findEnginePrograms } from "../engine/build.ts";
import {
  addNetwork,
  addressIn,
  cannotRun,
  heldBy,
  ranIn,
  RUNTIMES,
  Sleeper,
  startContainers,
} from "../engine/containers.ts";
import { Docker, usePodman, type Machine } from "../engine/machine.ts";

/** The wrapper, as the reference's documentation has it. */
const WRAPPER = "--runtime=barrel-cni --net none";
/** Options of `docker run` for a network. */
type Way = (network: string) => string;
const wrapper: Way = (network) => `${WRAPPER}${network === "first" ? "" : ` --env CNI_NETWORK=${network}`}`;
const crun: Way = (network) => wrapper(network).replace("barrel-cni", "barrel-crun");
const device: Way = (network) => `--device cni-node.io/net=${network} --net none`;
const hook: Way = (network) => `--annotation io.cni-node.network=${network}`;
const MANY = 50;

suite("containers get their network from CNI", { skip: cannotRun }, () => {
  suite("Debian's Docker", () => dockerTests("dockerd", false));
  suite("a current Docker", () => dockerTests("current", true));
  suite("Podman", podmanTests);
  for (const name of ["dockerd", "current"] as const) {
    test(`as the default runtime of a Docker that has networks of its own: ${name}`, async () => {
      const programs = findEnginePrograms();
      await using machine = await startContainers(async (made) => {
        await Docker.start(made, {
          daemon: name === "current" ? join(programs, "dockerd") : name,
          client: join(programs, "docker"),
          hasBridge: true,
          settings: { runtimes: RUNTIMES, "default-runtime": "barrel-cni" },
        });
      });
      const plain = await ranIn(machine, "", "sh -c 'ip -4 -o addr show eth0; ping -c 1 -w 5 172.17.0.1'");
      assert.deepEqual([plain.exitCode, plain.stderr], [0, ""], plain.stdout);
      assert.match(plain.stdout, /inet 172\.17\.0\.\d+\/16 /u);
      await machine.output("docker network create --subnet 172.30.0.0/24 own");
      const own = await ranIn(machine, "--network own", "ip -4 -o addr show eth0");
      assert.deepEqual([own.exitCode, own.stderr], [0, ""]);
      assert.match(own.stdout, /inet 172\.30\.0\.\d+\/24 /u);
      const none = await ranIn(machine, "--network none", "ip -4 -o addr show eth0");
      assert.match(addressIn(none.stdout), /^10\.213\.0\./u, none.stderr);
      const both = await ranIn(machine, "--env CNI_NETWORK=second", "true");
      assert.notEqual(both.exitCode, 0);
      assert.match(both.stderr, /has a network of Docker's.*start it with --network none/su);
      assert.deepEqual(await heldBy(machine), []);
    });
  }
});

function dockerTests(daemon: "dockerd" | "current", isCurrent: boolean): void {
  let machine: Machine;
  let docker: Docker;

  before(async () => {
    const programs = findEnginePrograms();
    machine = await startContainers(async (made) => {
      docker = await Docker.start(made, {
        daemon: isCurrent ? join(programs, "dockerd") : daemon,
        client: join(programs, "docker"),
        settings: { runtimes: RUNTIMES },
      });
    });
  });
  after(async () => machine[Symbol.asyncDispose]());

  suite("with the wrapper", { concurrency: 3 }, () => {
    lives(() => machine, wrapper);

    test("what a container asks for in its environment", async () => {
      const address = await ranIn(machine, `${WRAPPER} --env IPV4=10.213.0.200`, "ip -4 -o addr show eth0");
      assert.equal(addressIn(address.stdout), "10.213.0.200", address.stderr);
      const mac = await ranIn(machine, `${WRAPPER} --env CNI_MAC=02:00:00:00:01:02`, "ip link show eth0");
      assert.match(mac.stdout, /link\/ether 02:00:00:00:01:02 /u, mac.stderr);
      const pool = await ranIn(machine, `${WRAPPER} --env IPPOOL=pool-2`, "true");
      assert.notEqual(pool.exitCode, 0);
      assert.match(pool.stderr, /IPPOOL/u);
    });

    test("networks by name, each with an interface", async () => {
      const one = await Sleeper.run(machine, `${WRAPPER} --env CNI_NETWORK=second`);
      await one.assertHolds("second");
      const two = await Sleeper.run(machine, `${WRAPPER} --env CNI_NETWORK=second@net7,first`);
      assert.deepEqual(await two.links(), ["lo", "net7", "eth0"]);
      assert.match(await two.address("net7"), /^10\.214\./u);
      assert.match(await two.address(), /^10\.213\./u);
      assert.equal((await two.held()).length, 4);
      await two.remove();
      await one.remove();
      const none = await ranIn(machine, `${WRAPPER} --env CNI_NETWORK=third`, "true");
      assert.notEqual(none.exitCode, 0);
      assert.match(none.stderr, /third/u);
    });

    for (const [how, port] of [
      ["--env CNI_PORTS=8080:80/tcp", 8080],
      ["--publish 8081:80", 8081],
    ] as const)
      test(`ports published by ${how} reach it from the host, and are closed with it`, async () => {
        const script = "while :; do echo hello | nc -l -p 80; done";
        const options = `${WRAPPER} ${how}`;
        const id = (await machine.output(`docker run --detach ${options} bb:1 sh -c '${script}'`)).trim();
        const address = addressIn(await machine.output(`docker exec ${id} ip -4 -o addr show eth0`));
        assert.equal(await machine.until(`busybox nc -w 5 10.213.0.1 ${port} </dev/null`), "hello\n");
        assert.match(await machine.output("iptables-save -t nat"), new RegExp(`--to-destination ${address}:80$`, "mu"));
        await machine.output(`docker rm --force ${id}`);
        assert.doesNotMatch(await machine.output("iptables-save -t nat"), new RegExp(`${address}:80`, "u"));
      });

    test("ports that cannot be published: an error if the network publishes others, else as without a network", async () => {
      const open = await ranIn(machine, `${WRAPPER} --publish 80`, "true");
      assert.notEqual(open.exitCode, 0);
      assert.match(open.stderr, /--publish 80\/tcp: Docker would choose the port of the host/u);
      const range = await ranIn(machine, `${WRAPPER} --publish 8090-8095:80`, "true");
      assert.match(range.stderr, /--publish 80\/tcp \(8090-8095\)/u);
      const other = await ranIn(machine, `${WRAPPER} --publish 8080:80 --env CNI_NETWORK=second`, "true");
      assert.equal(other.exitCode, 0, other.stderr);
      const log = fs.readFileSync(join(machine.host, "run/docker-cni.log"), "utf8");
      assert.match(log, /80\/tcp cannot be published: no plugin of network second/u);
    });

    test("a network that is not its own passes untouched", async () => {
      const host = await ranIn(machine, "--runtime=barrel-cni --net host", "ip -o link");
      assert.equal(host.exitCode, 0, host.stderr);
      assert.match(host.stdout, /: first0: /u);
      const owner = await Sleeper.run(machine, WRAPPER);
      const address = await owner.assertHolds();
      const guest = await ranIn(machine, `--runtime=barrel-cni --net container:${owner.id}`, "ip -4 -o addr show eth0");
      assert.equal(addressIn(guest.stdout), address, guest.stderr);
      assert.equal(await owner.assertHolds(), address);
      await owner.remove();
    });

    test("seccomp: clone3 is not there, as Docker's profile says", async () => {
      const expected = { exitCode: 0, stdout: "38\n", stderr: "" };
      assert.deepEqual(await ranIn(machine, "--net none", "probe"), expected);
      assert.deepEqual(await ranIn(machine, WRAPPER, "probe"), expected);
    });

    test("config.json is the engine's to the last byte, but for the hooks", async () => {
      const ran = await ranIn(machine, "--runtime=recorded --net none", "ip -4 -o addr show eth0");
      assert.match(addressIn(ran.stdout), /^10\.213\./u, ran.stderr);
      const read = (name: string): string => fs.readFileSync(join(machine.host, `opt/${name}.json`), "utf8");
      const [given, made] = [read("before"), read("after")];
      assert.ok(withoutHooks(made) === withoutHooks(given));
      const { hooks: former = {} } = JSON.parse(given) as Spec;
      const { createRuntime = [], poststop = [], ...others } = (JSON.parse(made) as Spec).hooks ?? {};
      assert.deepEqual([createRuntime.length, poststop.length], [1, 1]);
      assert.deepEqual(others, former);
    });
  });

  // Debian's crun does not know the version of config.json that a current Docker writes.
  if (!isCurrent) suite("with the wrapper and crun", { concurrency: 3 }, () => lives(() => machine, crun, true));

  if (isCurrent) {
    suite("with a CDI device", { concurrency: 3 }, () => {
      before(async () => {
        await machine.output("cni-node engine cdi --oci-config=/etc/docker/cni.yaml");
        await docker.end("TERM");
        await docker.begin();
      });
      lives(() => machine, device);
    });

    test(`${MANY} containers at once: each has an address of its own, and gives it back`, async () => {
      const each = `docker run --detach --stop-signal KILL --label many ${WRAPPER} bb:1 sleep 10000`;
      const ids = (await machine.output(`seq ${MANY} | xargs -P ${MANY} -I{} ${each}`)).trim().split("\n");
      assert.equal(ids.length, MANY);
      const files = (await heldBy(machine)).filter((path) => path.startsWith("/var/lib/cni/networks/first/"));
      const owners = files.map((path) => fs.readFileSync(join(machine.host, path), "utf8").split(/\s/u)[0] ?? "");
      assert.deepEqual(owners.filter((id) => ids.includes(id)).toSorted(), ids.toSorted());
      // Docker waits some seconds only for the end of each, and removes it before its hooks have ended.
      await machine.until("docker ps --all --quiet --filter label=many | xargs --no-run-if-empty docker rm --force");
      await machine.until(`! grep -rqE '${ids.join("|")}' /var/lib/cni/networks /var/lib/cni/results`);
    });

    test("an annotation chooses networks, as the environment does", async () => {
      const options = `${WRAPPER} --annotation io.cni-node.network=second,first@net9`;
      const sleeper = await Sleeper.run(machine, options);
      assert.deepEqual(await sleeper.links(), ["lo", "eth0", "net9"]);
      await sleeper.remove();
    });
  }

  suite("when something ends that should not", () => {
    test("the configuration file is gone before the container", async () => {
      const path = addNetwork(machine, "gone", 220);
      const sleeper = await Sleeper.run(machine, `${WRAPPER} --env CNI_NETWORK=gone`);
      await sleeper.assertHolds("gone");
      fs.rmSync(path);
      await sleeper.remove();
    });

    test("the shim is killed: the address is given back", async () => {
      const sleeper = await Sleeper.run(machine, WRAPPER);
      await sleeper.assertHolds();
      await machine.kill("/usr/bin/containerd-shim", sleeper.id);
      await machine.until(`! grep -rq ${sleeper.id} /var/lib/cni`);
      await sleeper.do("rm --force");
    });

    test("the engine is killed and starts again", async () => {
      const sleeper = await Sleeper.run(machine, WRAPPER);
      await sleeper.assertHolds();
      await docker.end("KILL");
      await docker.begin();
      assert.equal(await machine.output(`docker inspect --format '{{.State.Running}}' ${sleeper.id}`), "false\n");
      assert.deepEqual(await sleeper.held(), []);
      await sleeper.do("start");
      await sleeper.assertHolds();
      await sleeper.remove();
    });

    test("with live-restore, the container keeps its address, and later gives it back", async () => {
      await docker.configure({ "live-restore": true });
      const sleeper = await Sleeper.run(machine, WRAPPER);
      const address = await sleeper.assertHolds();
      for (const signal of ["KILL", "TERM"] as const) {
        await docker.end(signal);
        await docker.begin();
        assert.equal(await sleeper.assertHolds(), address);
      }
      await sleeper.do("restart");
      await sleeper.assertHolds();
      await sleeper.remove();
      await docker.configure({ "live-restore": false });
    });

    test("the host reboots uncleanly: what restarts has one address, what does not is released by network gc", async () => {
      const always = await Sleeper.run(machine, `--restart always ${WRAPPER}`);
      const never = await Sleeper.run(machine, WRAPPER);
      const lost = await Sleeper.run(machine, WRAPPER);
      for (const one of [always, never, lost]) await one.assertHolds();
      await docker.reboot();
      await machine.until(`docker exec ${always.id} true`);
      await always.assertHolds();
      assert.equal((await never.held()).length, 2);
      const ran = await machine.sh("cni-node network gc");
      assert.equal(ran.exitCode, 0, ran.stderr);
      assert.deepEqual([await never.held(), await lost.held()], [[], []]);
      await always.assertHolds();
      await never.do("start");
      await never.assertHolds();
      for (const one of [always, never]) await one.remove();
      await lost.do("rm");
    });

    test("as the default runtime it answers what the engine asks the runtime", async () => {
      const format = "docker info --format '{{.RuncCommit.ID}} {{.DefaultRuntime}}'";
      const former = await machine.output(format);
      await docker.configure({ "default-runtime": "barrel-cni" });
      await machine.until(`${format} | grep barrel-cni`);
      assert.equal(await machine.output(format), former.replace(/ runc$/mu, " barrel-cni"));
      const ran = await ranIn(machine, "--net none", "ip -4 -o addr show eth0");
      assert.match(addressIn(ran.stdout), /^10\.213\./u, ran.stderr);
    });

    test("nothing is left", async () => {
      assert.equal(await machine.output("docker ps --all --quiet"), "");
      assert.deepEqual(await heldBy(machine), []);
      assert.equal(await machine.output("ip -o link show type veth"), "");
    });
  });
}

function podmanTests(): void {
  let machine: Machine;

  before(async () => {
    machine = await startContainers((made) => usePodman(made));
    await machine.output("cni-node engine cdi --oci-config=/etc/docker/cni.yaml");
    await machine.output("cni-node engine hooks --oci-config=/etc/docker/cni.yaml");
  });
  after(async () => machine[Symbol.asyncDispose]());

  for (const [name, way] of Object.entries({ hook, device, wrapper, crun })) {
    const isBrief = way === wrapper || way === crun;
    suite(`by ${name}`, { concurrency: 3 }, () => lives(() => machine, way, isBrief));
  }

  test("in a user namespace", async () => {
    const options = `${hook("first")} --uidmap 0:100000:65536`;
    const ran = await ranIn(machine, options, "sh -c 'cat /proc/self/uid_map; ip -4 -o addr show eth0; route -n'");
    assert.match(ran.stdout, /^ +0 +100000 +65536$/mu, ran.stderr);
    assert.match(addressIn(ran.stdout), /^10\.213\./u);
  });

  test("nothing is left", async () => {
    assert.equal(await machine.output("docker ps --all --quiet"), "");
    assert.deepEqual(await heldBy(machine), []);
    assert.equal(await machine.output("ip -o link show type veth"), "");
  });
}

/** What every way must do. @param isBrief the same with another runtime, or another engine, is tried elsewhere. */
function lives(on: () => Machine, way: Way, isBrief = false): void {
  const options = way("first");

  test("run: it has an interface, an address, a route and a name server, and gives the address back", async () => {
    const script = "sh -c 'ip -4 -o addr show eth0; route -n; cat /etc/resolv.conf'";
    const ran = await ranIn(on(), `--read-only ${options}`, script);
    assert.equal(ran.exitCode, 0, ran.stderr);
    assert.match(addressIn(ran.stdout), /^10\.213\.0\./u);
    assert.match(ran.stdout, /^0\.0\.0\.0 +10\.213\.0\.1 /mu);
    assert.match(ran.stdout, /^nameserver 10\.213\.0\.53\nsearch a\.example first\.example$/mu);
  });

  test("a network that fails: the person who typed it reads why, and nothing is left", async () => {
    const ran = await ranIn(on(), way("broken"), "true");
    assert.notEqual(ran.exitCode, 0);
    assert.match(ran.stderr, /the cable is cut/u);
    assert.deepEqual(await heldBy(on(), "/networks/broken/"), []);
  });

  test("a command that fails, and one that is not there", async () => {
    assert.equal((await ranIn(on(), options, "sh -c 'exit 7'")).exitCode, 7);
    // After a create that failed, Podman runs no poststop hook of hooks.d.
    const ran = await ranIn(on(), options, "no-such-command", way === hook ? "cni-node network gc" : undefined);
    assert.notEqual(ran.exitCode, 0);
    assert.match(ran.stderr, /no-such-command.*not found|not found.*no-such-command/u);
  });
  if (isBrief) return;

  test("run -it", async () => {
    const ran = await on().sh(`script -qec "docker run -it --rm ${options} bb:1 ip -4 -o addr show eth0" /dev/null`);
    assert.match(addressIn(ran.stdout), /^10\.213\.0\./u);
  });

  test("pause, stop, start, restart, kill: one address at a time; rm gives it back", async () => {
    const sleeper = await Sleeper.run(on(), options);
    const address = await sleeper.assertHolds();
    assert.equal(addressIn(await sleeper.do("exec", "ip -4 -o addr show eth0")), address);
    await sleeper.do("pause");
    await sleeper.do("unpause");
    assert.equal(await sleeper.assertHolds(), address);
    await sleeper.do("stop");
    assert.deepEqual(await sleeper.held(), []);
    await sleeper.do("start");
    await sleeper.assertHolds();
    await sleeper.do("restart");
    await sleeper.assertHolds();
    await sleeper.do("kill");
    await on().until(`! grep -rq ${sleeper.id} /var/lib/cni`);
    await sleeper.do("start");
    await sleeper.assertHolds();
    await sleeper.remove();
  });
}

/** config.json, as far as hooks go. */
interface Spec {
  hooks?: Record<string, unknown[]>;
}

/** The text of a config.json without its hooks. */
function withoutHooks(text: string): string {
  const hooks = parseTree(text)?.children?.find((property) => property.children?.[0]?.value === "hooks");
  if (hooks === undefined) return text;
  const [head, tail] = [text.slice(0, hooks.offset), text.slice(hooks.offset + hooks.length)];
  return head.endsWith(",") ? head.slice(0, -1) + tail : head + tail.replace(/^,/u, "");
}
