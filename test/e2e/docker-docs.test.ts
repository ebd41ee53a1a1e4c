/** Runs the commands of docs/docker.md, one block after the other, on a machine with Docker and Podman. */
import assert from "node:assert/strict";
import * as fs from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

import { findEnginePrograms } from "../engine/build.ts";
import { addressIn, cannotRun, heldBy, startContainers } from "../engine/containers.ts";
import { Docker, usePodman } from "../engine/machine.ts";
import { REFERENCE_PLUGINS } from "../helpers/network.ts";

/** What the document says in place of `cni-node`: this machine has no image of it. */
const IN_IMAGE = /^docker run --rm --privileged --pid=host -v \/:\/host(?:[^\n]*\\\n)*? *[^\n]*?\bcni-node /gmu;
/** A service manager that knows docker.service only. */
const SYSTEMCTL = `#!/bin/sh
case "$1 $2" in
  "restart docker") pid=$(cat /run/docker.pid); kill $pid; while kill -0 $pid 2>/dev/null; do sleep 0.1; done
    setsid dockerd --config-file /etc/docker/daemon.json >/dev/null 2>&1 </dev/null &
    until docker version >/dev/null 2>&1; do sleep 0.1; done ;;
  "enable --now") test -e "/etc/systemd/system/$3" ;;
  *) exit 1 ;;
esac
`;

test("the commands of docs/docker.md do what it says", { skip: cannotRun }, async () => {
  const text = fs.readFileSync(new URL("../../docs/docker.md", import.meta.url), "utf8");
  const blocks = Array.from(text.matchAll(/^```sh\n([^]*?)^```$/gmu), ([, block = ""]) => block);
  assert.ok(blocks.length >= 15);
  const programs = findEnginePrograms();
  await using machine = await startContainers(async (made) => {
    // The document begins with a host that has none of this.
    await made.output("umount /opt/cni/bin; rm -rf /opt/* /etc/cni /etc/docker/* /etc/containers/containers.conf.d");
    for (const name of ["docker", "dockerd"]) fs.symlinkSync(join(programs, name), join(made.directory, "bin", name));
    fs.writeFileSync(join(made.directory, "bin/systemctl"), SYSTEMCTL, { mode: 0o755 });
    usePodman(made, "podman");
    await Docker.start(made, { daemon: join(programs, "dockerd") });
    const env = { PLUGIN_SOURCE: REFERENCE_PLUGINS, CONFIG_SOURCE: made.work, PROGRAM_DIR: "/opt/cni-node" };
    for (const [name, value] of Object.entries(env)) made.env[`CNI_NODE_${name}`] = value;
  });
  await machine.output("docker tag bb:1 busybox; tar -C rootfs -c . | podman import - busybox");
  for (const block of blocks) {
    const script = block.replaceAll(IN_IMAGE, "cni-node ");
    const { exitCode, stdout, stderr } = await machine.sh(`set -e\n${script}`);
    const said = `${script}\n${stdout}${stderr}`;
    assert.equal(exitCode, 0, said);
    if (!script.includes("busybox")) continue;
    assert.match(addressIn(stdout), script.includes("IPV4") ? /^10\.88\.7\.77$/u : /^10\.88\.7\./u, said);
    assert.deepEqual(await heldBy(machine), [], said);
  }
  const status = await machine.sh("cni-node engine disable docker && cni-node engine status docker");
  assert.doesNotMatch(fs.readFileSync(join(machine.host, "etc/docker/daemon.json"), "utf8"), /barrel/u, status.stderr);
});
