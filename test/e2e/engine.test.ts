/** engine enable and disable on real engines: what they write, what they undo, and containers that run with it. */
import assert from "node:assert/strict";
import * as fs from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";

import { findEnginePrograms } from "../engine/build.ts";
import { addNetwork, cannotRun, heldBy, ranIn, Sleeper, startContainers } from "../engine/containers.ts";
import { Docker, usePodman, type Machine } from "../engine/machine.ts";

const CNI_NODE = "cni-node engine";
const HERE = "--host-root=/ --oci-config=/etc/docker/cni.yaml";

const read = (machine: Machine, path: string): string => fs.readFileSync(join(machine.host, path), "utf8");
const isThere = (machine: Machine, path: string): boolean => fs.existsSync(join(machine.host, path));

async function startCurrent(machine: Machine): Promise<void> {
  const programs = findEnginePrograms();
  fs.symlinkSync(join(programs, "dockerd"), join(machine.directory, "bin/dockerd"));
  await Docker.start(machine, { client: join(programs, "docker"), settings: { labels: ["first=1"], debug: true } });
}

function usePodmanAlone(machine: Machine): void {
  usePodman(machine);
  fs.symlinkSync("docker", join(machine.directory, "bin/podman"));
}

/** @param inspected what `docker inspect` prints of a container. */
function assertHarmless(inspected: string): void {
  const [seen] = JSON.parse(inspected) as [{ HostConfig: Record<string, unknown>; Config: { Env: string[] } }];
  const { CapDrop, SecurityOpt, ReadonlyRootfs, NetworkMode, Privileged } = seen.HostConfig;
  assert.deepEqual(
    { CapDrop, SecurityOpt, ReadonlyRootfs, NetworkMode, Privileged },
    {
      CapDrop: ["ALL"],
      SecurityOpt: ["no-new-privileges"],
      ReadonlyRootfs: true,
      NetworkMode: "none",
      Privileged: false,
    },
  );
  for (const name of ["IPV4", "IPPOOL", "CNI_NETWORK", "CNI_MAC", "CNI_ALIASES", "CNI_PORTS"]) {
    assert.ok(seen.Config.Env.includes(`${name}=`), name);
  }
}

/** The runtimes that dockerd has loaded. */
async function runtimes(machine: Machine): Promise<string> {
  return machine.output("docker info --format '{{range $name, $_ := .Runtimes}}{{$name}} {{end}}'");
}

describe("cni-node engine", { skip: cannotRun, concurrency: true }, () => {
  for (const [title, start] of [
    ["Docker 28", startCurrent],
    ["Docker 20.10", async (machine: Machine) => Docker.start(machine)],
  ] as const) {
    test(`${title}: enabled without a restart, tried, in use, and taken back to the byte`, async () => {
      await using machine = await startContainers(start);
      const before = read(machine, "etc/docker/daemon.json");
      const pid = read(machine, "run/docker.pid");

      const enabled = await machine.sh(`${CNI_NODE} enable docker ${HERE}`);
      assert.deepEqual([enabled.exitCode, enabled.stderr], [0, ""], enabled.stdout);
      assert.match(enabled.stdout, /^configured +\S*\/etc\/docker\/daemon\.json/mu);
      assert.match(await runtimes(machine), /\bbarrel-cni\b/u);
      assert.deepEqual(await heldBy(machine), [], "the container of the proof has given back its address");
      assert.equal(await machine.output("docker ps --all --quiet"), "");
      assert.equal(read(machine, "run/docker.pid"), pid);
      assert.match(await machine.output(`${CNI_NODE} status docker ${HERE}`), /^docker +enabled .* loaded/mu);
      assert.match((await machine.sh(`${CNI_NODE} enable docker ${HERE}`)).stdout, /^unchanged .*daemon\.json\n$/u);

      const sleeper = await Sleeper.run(machine, "--runtime barrel-cni --network none");
      assert.match(await sleeper.address(), /^10\.213\.0\./u);
      const refused = await machine.sh(`${CNI_NODE} disable docker ${HERE}`);
      assert.deepEqual(
        [refused.exitCode, /needed to stop 1 container: /u.test(refused.stderr)],
        [1, true],
        refused.stderr,
      );
      await sleeper.do("rm", "--force");

      await machine.output(`${CNI_NODE} disable docker ${HERE}`);
      assert.equal(read(machine, "etc/docker/daemon.json"), before);
      assert.ok(!isThere(machine, "etc/docker/.cni-node"));
      assert.doesNotMatch(await runtimes(machine), /barrel-cni/u);
    });
  }

  test("Docker: a runtime with which no container starts is not enabled", async () => {
    await using machine = await startContainers(startCurrent);
    const before = read(machine, "etc/docker/daemon.json");
    await machine.output("rm /etc/cni/net.d/00-first.conflist /etc/cni/net.d/10-second.conflist");
    const { exitCode, stderr } = await machine.sh(`${CNI_NODE} enable docker ${HERE}`);
    assert.equal(exitCode, 1);
    assert.match(stderr, /a container cannot be started: .*the cable is cut/su);
    assert.equal(read(machine, "etc/docker/daemon.json"), before);
    assert.doesNotMatch(await runtimes(machine), /barrel-cni/u);

    await machine.output("rm /etc/cni/net.d/*");
    const unproved = await machine.sh(`${CNI_NODE} enable docker ${HERE}`);
    assert.equal(unproved.exitCode, 0);
    assert.match(unproved.stderr, /no container was tried: \/etc\/cni\/net\.d has no network/u);
    assert.match(await runtimes(machine), /barrel-cni/u);
  });

  test("Docker: what dockerd would not start with is not written", async () => {
    await using machine = await startContainers(startCurrent);
    const path = join(machine.host, "etc/docker/daemon.json");
    const wrong = fs.readFileSync(path, "utf8").replace('"debug": true', '"debug": true, "no-such-key": 1');
    fs.writeFileSync(path, wrong);
    const { exitCode, stderr } = await machine.sh(`${CNI_NODE} enable docker ${HERE}`);
    assert.equal(exitCode, 1);
    assert.match(stderr, /dockerd --validate refuses the new file: .*no-such-key/su);
    assert.equal(fs.readFileSync(path, "utf8"), wrong);
  });

  test("Docker: what dockerd has as a flag is not written", async () => {
    await using machine = await startContainers(startCurrent);
    const pid = read(machine, "run/docker.pid");
    await machine.output(`kill -TERM ${pid}; while kill -0 ${pid}; do sleep 0.1; done 2>/dev/null`);
    const daemon = "dockerd --config-file /etc/docker/daemon.json --add-runtime other=/usr/sbin/runc";
    machine.spawn(["sh", "-c", `exec ${daemon} >/dev/null 2>&1`]);
    await machine.until("docker version");
    const before = read(machine, "etc/docker/daemon.json");
    const { exitCode, stderr } = await machine.sh(`${CNI_NODE} enable docker ${HERE}`);
    assert.deepEqual(
      [exitCode, /dockerd: is started with --add-runtime, .* not both/u.test(stderr)],
      [1, true],
      stderr,
    );
    assert.equal(read(machine, "etc/docker/daemon.json"), before);
  });

  test("Docker: what containers need stays while dockerd is away", async () => {
    await using machine = await startContainers(startCurrent);
    const program = `${HERE} --program-dir=/opt/cni-node`;
    await machine.output(`${CNI_NODE} enable docker ${program}`);
    await machine.output("docker run --detach --name busy --network host --runtime barrel-cni bb:1 sleep 10000");
    await machine.output("kill -KILL $(cat /run/docker.pid)");
    const refused = await machine.sh(`${CNI_NODE} disable docker ${program}`);
    assert.deepEqual([refused.exitCode, /needed to stop 1 container: busy$/mu.test(refused.stderr)], [1, true]);
    const forced = await machine.sh(`${CNI_NODE} disable docker ${program} --force`);
    assert.match(forced.stdout, /^kept .*\/oci\.sh +containers that have the runtime need it$/mu, forced.stderr);
    assert.ok(isThere(machine, "opt/cni-node/oci.sh"));
    assert.doesNotMatch(read(machine, "etc/docker/daemon.json"), /barrel-cni/u);
  });

  for (const [engine, start] of [
    ["docker", startCurrent],
    ["podman", usePodmanAlone],
  ] as const) {
    test(`${engine}: an image cannot choose the network of the proof`, async () => {
      await using machine = await startContainers(start);
      const asks = ["CNI_NETWORK=broken", "CNI_PORTS=1:1", "IPV4=10.99.0.1"].map((text) => `--change 'ENV ${text}'`);
      await machine.output(`tar -C rootfs -c . | docker import ${asks.join(" ")} - asks:1`);
      if (engine === "podman") {
        // Podman copies the annotations of an image to its containers.
        const build = "docker build --isolation=chroot --pull=never --annotation io.cni-node.network=broken";
        await machine.output(`mkdir build; echo FROM asks:1 >build/Dockerfile; ${build} --tag localhost/asks:1 build`);
      }
      const program = `${HERE} --runtime-name=own --probe-image=asks:1`;
      const enabled = await machine.sh(`${CNI_NODE} enable ${engine} ${program}`);
      assert.deepEqual([enabled.exitCode, enabled.stderr], [0, ""]);
      const asked = await machine.sh("docker run --rm --runtime=own --network=none asks:1 true");
      assert.notEqual(asked.exitCode, 0, "another container has what its image asks for");
    });

    test(`${engine}: the container of the proof is removed when the run is ended`, async () => {
      await using machine = await startContainers(start);
      const called = "/run/called";
      const slow = `#!/bin/sh\n[ "$CNI_COMMAND" != ADD ] || { touch ${called}; sleep 8; }\necho '{"cniVersion": "1.0.0"}'\n`;
      fs.writeFileSync(join(machine.host, "opt/cni/other/slow"), slow, { mode: 0o755 });
      const list = { cniVersion: "1.0.0", name: "slow", plugins: [{ type: "slow" }] };
      fs.writeFileSync(join(machine.host, "etc/cni/net.d/0-slow.conflist"), JSON.stringify(list));
      const ended = await machine.sh(
        [
          `${CNI_NODE} enable ${engine} ${HERE} --runtime-name=own >out 2>err & run=$!`,
          `until [ -e ${called} ] || ! kill -0 $run; do sleep 0.1; done`,
          // Podman has it locked.
          ...(engine === "docker" ? ["docker inspect $(docker ps --all --quiet) >seen"] : []),
          "kill -INT $run; wait $run; echo $?; cat err",
        ].join("\n"),
      );
      const said = /^130\n.*ended by SIGINT while a container was tried: it is removed, and the runtime is as it was/su;
      assert.match(ended.stdout, said, ended.stderr);
      if (engine === "docker") assertHarmless(read(machine, join(machine.work, "seen")));
      assert.equal(await machine.output("docker ps --all --quiet"), "");
      assert.deepEqual(await heldBy(machine), []);
      const status = await machine.sh(`${CNI_NODE} status ${engine} ${HERE} --runtime-name=own`);
      assert.match(status.stdout, new RegExp(`^${engine} +disabled`, "mu"));
    });
  }

  test("Docker: a CDI device of a program that was put on the host, and both removed again", async () => {
    await using machine = await startContainers(startCurrent);
    addNetwork(machine, "third", 216);
    const program = `${HERE} --program-dir=/opt/cni-node`;
    const written = await machine.sh(`${CNI_NODE} cdi ${program}`);
    assert.equal(written.exitCode, 0, written.stderr);
    assert.match(written.stderr, /at the next restart of dockerd/u);
    for (const name of ["node", "oci.sh", "cni-node.cjs"]) assert.ok(isThere(machine, `opt/cni-node/${name}`), name);
    const restarted = await machine.output(`${CNI_NODE} status docker ${program}`);
    assert.match(restarted, /^cdi +enabled +\/etc\/cdi\/cni-node\.json +first, second, broken, third/mu);
    const device = '{"features": {"cdi": true}}';
    const pid = read(machine, "run/docker.pid");
    await machine.output(`kill -TERM ${pid}; while kill -0 ${pid}; do sleep 0.1; done 2>/dev/null`);
    const config = JSON.parse(read(machine, "etc/docker/daemon.json")) as object;
    const text = JSON.stringify({ ...config, ...(JSON.parse(device) as object) });
    fs.writeFileSync(join(machine.host, "etc/docker/daemon.json"), text);
    machine.spawn(["sh", "-c", "exec dockerd --config-file /etc/docker/daemon.json >/dev/null 2>&1"]);
    await machine.until("docker version");
    const ran = await ranIn(machine, "--network none --device cni-node.io/net=third", "ip -4 -o addr show eth0");
    assert.match(ran.stdout, /10\.216\.0\./u, ran.stderr);
    await machine.output(`${CNI_NODE} cdi --remove ${program}`);
    assert.ok(!isThere(machine, "etc/cdi/cni-node.json"));
    assert.ok(!isThere(machine, "opt/cni-node"));
  });

  test("Docker: enabled from a container that has the host's root and processes, as the image is run", async () => {
    await using machine = await startContainers(startCurrent);
    const before = read(machine, "etc/docker/daemon.json");
    const mounted = "mkdir -p /run/root && mount --rbind / /run/root && exec cni-node engine";
    const inside = (words: string): string => `unshare --mount sh -c '${mounted} ${words} --host-root=/run/root'`;
    const enabled = await machine.sh(inside("enable docker"));
    assert.deepEqual([enabled.exitCode, enabled.stderr], [0, ""], enabled.stdout);
    assert.match(enabled.stdout, /^created +\/opt\/cni-node\/oci\.sh$/mu);
    const ran = await ranIn(machine, "--runtime barrel-cni --network none", "ip -4 -o addr show eth0");
    assert.match(ran.stdout, /10\.213\.0\./u, ran.stderr);
    const status = await machine.output(inside("status docker"));
    assert.match(status, /^docker +enabled +\/etc\/docker\/daemon\.json +dockerd 28\S*, runtime barrel-cni loaded/mu);

    const disabled = await machine.sh(inside("disable docker"));
    assert.deepEqual([disabled.exitCode, disabled.stderr], [0, ""]);
    assert.equal(read(machine, "etc/docker/daemon.json"), before);
    assert.doesNotMatch(await runtimes(machine), /barrel-cni/u);
    assert.ok(!isThere(machine, "opt/cni-node"));
  });

  test("Podman: enabled and taken back, with a program of its own", async () => {
    await using machine = await startContainers(usePodmanAlone);
    const program = `${HERE} --program-dir=/opt/cni-node --runtime-name=own`;
    const conf = "etc/containers/containers.conf.d/50-cni-node-own.conf";

    await machine.output("cd /etc/cni/net.d; mkdir /opt/aside; mv 00-first.conflist 10-second.conflist /opt/aside");
    const failed = await machine.sh(`${CNI_NODE} enable podman ${program}`);
    assert.equal(failed.exitCode, 1, failed.stderr);
    assert.match(failed.stderr, /a container cannot be run with it: .*the cable is cut/su);
    assert.ok(!isThere(machine, conf) && !isThere(machine, "opt/cni-node"));
    await machine.output("mv /opt/aside/* /etc/cni/net.d");

    const enabled = await machine.sh(`${CNI_NODE} enable podman ${program}`);
    assert.deepEqual([enabled.exitCode, enabled.stderr], [0, ""]);
    assert.ok(isThere(machine, conf));
    assert.deepEqual(await heldBy(machine), []);
    const ran = await ranIn(machine, "--runtime=own", "ip -4 -o addr show eth0");
    assert.match(ran.stdout, /10\.213\.0\./u, ran.stderr);
    assert.equal((await ranIn(machine, "--runtime=runc", "true")).exitCode, 0, "other runtimes stay");

    await machine.output("docker create --name idle --runtime=own bb:1 true");
    const refused = await machine.sh(`${CNI_NODE} disable podman ${program}`);
    assert.equal(refused.exitCode, 1);
    assert.match(refused.stderr, /own: is needed to start, stop or remove 1 container: idle$/mu);
    assert.ok(isThere(machine, conf));
    await machine.output(
      "mv $(dirname $(command -v docker))/podman ./aside; printf '#!/bin/sh\\necho away >&2; exit 125\\n' >silent",
    );
    await machine.output("chmod 755 silent; mv silent $(dirname $(command -v docker))/podman");
    const silent = await machine.sh(`${CNI_NODE} disable podman ${program}`);
    assert.deepEqual([silent.exitCode, /program stays: Podman does not answer: away/u.test(silent.stderr)], [0, true]);
    assert.ok(isThere(machine, "opt/cni-node/oci.sh") && !isThere(machine, conf));
    await machine.output("mv ./aside $(dirname $(command -v docker))/podman");
    await machine.output(`${CNI_NODE} enable podman ${program}`);
    await machine.output("docker rm idle");

    await machine.output(`${CNI_NODE} disable podman ${program}`);
    assert.equal((await ranIn(machine, "--runtime=own", "true")).exitCode, 125);
    assert.ok(!isThere(machine, "opt/cni-node"));
  });
});
