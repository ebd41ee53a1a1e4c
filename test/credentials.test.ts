/** Credentials beside a server that stands for the API: killed anywhere, refused, kept. */
import assert from "node:assert/strict";
import * as fs from "node:fs";
import { join } from "node:path";
import { after, before, suite, test } from "node:test";

import { cannotSign } from "./cluster/pki.ts";
import { ShortLived } from "./cluster/token-server.ts";
import { killAt, withFaults } from "./helpers/faults.ts";
import { conflist, TestNode, type Ran } from "./helpers/node.ts";
import { problemsOf } from "./helpers/state.ts";
import { COUNTS, FORM } from "./soak/counts.ts";

/** The short form kills at every so many. */
const { step: STEP } = COUNTS[FORM];

const CREDENTIALS = "--credentials=multus.kubeconfig=kube-system/multus";
const PATH = "/etc/cni/credentials/multus.kubeconfig";

suite("credentials", { skip: cannotSign }, () => {
  let api: ShortLived;
  before(async () => {
    api = await ShortLived.start();
    api.life = 86_400_000;
  });
  after(async () => api[Symbol.asyncDispose]());

  const directoryOf = (node: TestNode): string => join(node.host, "etc/cni/credentials");
  const fileOf = (node: TestNode): string => join(node.host, PATH);
  const run = async (node: TestNode, ...argv: string[]): Promise<Ran> =>
    node.run([...argv, `--kubeconfig=${api.kubeconfig}`]);

  function makeNode(): TestNode {
    const node = new TestNode();
    const plugin = { type: "multus", kubeconfig: PATH, delegates: [{ name: "a", type: "a" }] };
    node.template("00-multus.conflist", JSON.stringify({ cniVersion: "1.0.0", name: "m", plugins: [plugin] }));
    return node;
  }

  for (const form of ["inline", "token-file"]) {
    test(`${form}: killed at any change of a file, the next run ends it, and no file is left that has a token`, async () => {
      const argv = ["install", CREDENTIALS, "--configs=00-multus.conflist", `--credentials-form=${form}`];
      for (const when of ["before", "after"] as const) {
        for (let number = when === "before" ? 1 : 2; ; number += STEP) {
          using node = makeNode();
          const operations = await withFaults(killAt(number, when), async () => run(node, ...argv));
          const config = join(node.netd, "00-multus.conflist");
          assert.ok(
            !fs.existsSync(config) || fs.existsSync(fileOf(node)),
            "a configuration came before its kubeconfig",
          );
          const ran = await run(node, ...argv);
          assert.equal(ran.exitCode, 0, `${when} ${number}: ${ran.stderr}`);
          const files = fs.readdirSync(directoryOf(node)).filter((name) => name !== ".cni-node");
          assert.deepEqual(files, form === "inline" ? ["multus.kubeconfig"] : ["multus.kubeconfig", "multus.token"]);
          assert.deepEqual([directoryOf(node), node.netd].flatMap(problemsOf), [], `${when} ${number}`);
          assert.ok(fs.existsSync(config));
          if (operations.length < number) break;
        }
      }
    });
  }

  test("one that a configuration or a container needs is kept, but by force", async () => {
    using node = makeNode();
    await run(node, "install", CREDENTIALS, "--configs=00-multus.conflist");
    const named = await run(node, "uninstall", CREDENTIALS);
    assert.match(named.stdout, /^kept +credentials .*00-multus\.conflist names it/mu);
    const cache = join(node.host, "var/lib/cni/multus");
    fs.mkdirSync(cache, { recursive: true });
    const delegate = {
      Conf: { name: "w", type: "macvlan", ipam: { type: "whereabouts", kubernetes: { kubeconfig: PATH } } },
    };
    fs.writeFileSync(join(cache, "0123456789abcdef"), JSON.stringify([delegate]));
    const used = await run(node, "uninstall", CREDENTIALS, "--configs=00-multus.conflist");
    assert.match(used.stdout, /^kept +credentials .*a container that was attached with it/mu);
    assert.match(used.stdout, /^deleted +config/mu);
    assert.ok(fs.existsSync(fileOf(node)));
    const forced = await run(node, "uninstall", CREDENTIALS, "--force");
    assert.match(forced.stdout, /^deleted +credentials/mu);
  });

  test("the file of a token is kept with its kubeconfig, and goes when the kubeconfig has the token itself", async () => {
    using node = makeNode();
    await run(node, "install", CREDENTIALS, "--configs=00-multus.conflist", "--credentials-form=token-file");
    const kept = await run(node, "uninstall", CREDENTIALS);
    assert.deepEqual(kept.stdout.match(/^kept +credentials/gmu)?.length, 2);
    const inline = await run(node, "install", CREDENTIALS);
    assert.match(
      inline.stdout,
      /^configured +credentials +multus\.kubeconfig[^]*^deleted +credentials +multus\.token/mu,
    );
  });

  test("a kubeconfig that was there before is kept, and comes back", async () => {
    using node = new TestNode();
    fs.mkdirSync(directoryOf(node));
    fs.writeFileSync(fileOf(node), "foreign", { mode: 0o600 });
    assert.match((await run(node, "install", CREDENTIALS)).stdout, /replaces a file that was there before/u);
    assert.match((await run(node, "uninstall", CREDENTIALS)).stdout, /what was there before comes back/u);
    assert.equal(fs.readFileSync(fileOf(node), "utf8"), "foreign");
  });

  test("two owners share one; another account is refused to the second", async () => {
    using node = new TestNode();
    await run(node, "install", CREDENTIALS, "--owner=a");
    const [given, text] = [api.given.length, fs.readFileSync(fileOf(node), "utf8")];
    const shared = await run(node, "install", CREDENTIALS, "--owner=b");
    assert.equal(shared.exitCode, 0, shared.stderr);
    assert.deepEqual([api.given.length, fs.readFileSync(fileOf(node), "utf8")], [given, text]);
    const other = await run(node, "install", "--credentials=multus.kubeconfig=kube-system/other", "--owner=b");
    assert.match(other.stderr, /a holds it with other content/u);
    assert.match((await run(node, "uninstall", CREDENTIALS, "--owner=a")).stdout, /kept .*also held by b/u);
    assert.match((await run(node, "uninstall", CREDENTIALS, "--owner=b")).stdout, /^deleted/mu);
  });

  test("status tells of one that expires, with the command that renews it", async () => {
    using node = new TestNode();
    node.plugin("bridge");
    fs.writeFileSync(join(node.netd, "10-a.conflist"), conflist("a", "bridge"));
    api.life = 1;
    await run(node, "install", CREDENTIALS, "--credentials-form=token-file");
    api.life = 86_400_000;
    const { stdout } = await node.run(["status", `--host-root=${node.host}`]);
    assert.match(stdout, /has a token that expired at/u);
    assert.match(stdout, /cni-node credentials multus\.kubeconfig=kube-system\/multus --credentials-form=token-file/u);
    assert.match(stdout, /unchanged +credentials +multus\.token +cni-node +kube-system\/multus/u);
    assert.doesNotMatch(stdout, /secretsignature/u);
  });

  test("an answer without a token, or with that of another account, is refused and not shown", async () => {
    using node = new TestNode();
    for (const account of ["kube-system/other", "other/multus"]) {
      const ran = await run(node, "install", `--credentials=x=${account}`, "--output=json");
      assert.equal(ran.exitCode, 1);
      assert.match(ran.stdout, /"answer-invalid"/u);
      assert.doesNotMatch(ran.stdout + ran.stderr, /secretsignature/u);
    }
  });
});
