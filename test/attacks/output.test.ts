/** What others wrote is shown as what it is: no line of ours can be forged, no secret is shown, nothing takes for ever. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";

import { unifiedDiff } from "../../src/diff.ts";
import { Failure } from "../../src/errors.ts";
import { warning } from "../../src/finding.ts";
import { formatRows, formatSteps, printMessage, printWarnings, reportFailure } from "../../src/report.ts";
import { formatStatus } from "../../src/status/text.ts";
import type { NodeStatus } from "../../src/status/status.ts";
import { formatCall } from "../../src/trace.ts";
import type { World } from "../../src/world.ts";
import { conflist, TestNode, type Ran } from "../helpers/node.ts";
import { reportOf } from "../helpers/report.ts";

/** Begins a line, hides what follows, turns it round, is a tag that nobody sees. */
const FORGED = "\nFORGED\r\u001B[2K\u202Eg\u200B\u2028FORGED\u{E0041}";
/** What no output may have but in escapes. */
const UNSEEN = /[^\P{Cc}\n\t]|[\p{Cf}\p{Zl}\p{Zp}]/u;

function assertHonest(output: string): void {
  assert.doesNotMatch(output, /^(?:FORGED|cni-node: FORGED| {2}hint: FORGED)/mu);
  assert.doesNotMatch(output, UNSEEN);
}

function listening(): World & { stdoutText: string; stderrText: string } {
  const world = {
    env: {},
    stdoutText: "",
    stderrText: "",
    stdin: async (): Promise<string> => Promise.resolve(""),
    stdout: (text: string): void => void (world.stdoutText += text),
    stderr: (text: string): void => void (world.stderrText += text),
    signal: new AbortController().signal,
  };
  return world;
}

describe("names and messages of others forge no line", () => {
  test("of the report", () => {
    const report = formatSteps([
      { outcome: "created", kind: "plugin", name: `a${FORGED}`, reason: FORGED, object: `b${FORGED}` },
      { outcome: "created", kind: "plugin", name: "b" },
    ]);
    assertHonest(report);
    assert.equal(report.split("\n").length, 3);
    assert.equal(
      formatRows([
        [FORGED, FORGED],
        ["a", "b"],
      ]).split("\n").length,
      3,
    );
  });

  test("of warnings, errors and hints", () => {
    const world = listening();
    for (const text of [`a${FORGED}`, "a\ncni-node: FORGED", "a\n  hint: FORGED"]) {
      printWarnings(world, [warning("no-network", text, "a"), warning("no-network", "a", text, text)]);
    }
    printMessage(world, "waiting for a\n  hint: FORGED", "do\n  hint: FORGED");
    reportFailure(
      new Failure({
        code: "internal",
        subject: `a${FORGED}`,
        problem: "b\n  hint: FORGED",
        hint: "c\ncni-node: FORGED",
      }),
      "install",
      false,
      world,
    );
    reportFailure(new Error(`a${FORGED}`), "install", false, world);
    assertHonest(world.stderrText);
  });

  test("of errors in JSON, which say the same as they are", () => {
    const world = listening();
    const details = { code: "internal", subject: `a${FORGED}`, problem: "b", hint: `c${FORGED}` } as const;
    reportFailure(new Failure(details), "install", true, world);
    assert.doesNotMatch(world.stdoutText, UNSEEN);
    const { error } = JSON.parse(world.stdoutText) as { error: { message: string; hint: string } };
    assert.deepEqual([error.message, error.hint], [`a${FORGED}: b`, `c${FORGED}`]);
  });

  test("of --trace", () => {
    const call = {
      plugin: `a${FORGED}`,
      path: `/b${FORGED}`,
      command: "ADD",
      env: { CNI_ARGS: `A=${FORGED}`, [`B${FORGED}`]: FORGED, TOKEN: "S3CRET" },
      stdin: `{"a": "${FORGED.replaceAll("\n", "")}"}`,
      stdout: `a${FORGED}\ntrace: plugin FORGED`,
      stderr: `a${FORGED}\n  path: FORGED`,
      durationMs: 1,
    } as unknown as Parameters<typeof formatCall>[0];
    const trace = formatCall(call);
    assertHonest(trace);
    assert.doesNotMatch(trace, /^(?:trace: plugin FORGED| {2}path: FORGED)|S3CRET/mu);
  });

  test("of status", () => {
    const status = {
      findings: [
        { code: "a", severity: "error", path: `p${FORGED}`, message: `m${FORGED}\nerror  FORGED`, hint: `h${FORGED}` },
        { code: "a", severity: "error", path: `q${FORGED}`, message: `m${FORGED}\nerror  FORGED`, hint: `h${FORGED}` },
      ],
      rules: [],
      configDirectory: `/c${FORGED}`,
      plugins: [{ name: FORGED, state: "broken", reason: FORGED, path: FORGED }],
      files: [],
      assets: [{ owners: [FORGED], kind: "plugin", name: FORGED, state: FORGED, reason: FORGED }],
      backups: [{ name: FORGED, path: FORGED }],
      unfinished: [{ directory: FORGED, next: "go on" }],
      attachments: [{ plugin: FORGED, living: 1, gone: 1 }],
      watches: [
        {
          owner: FORGED,
          since: FORGED,
          fights: [],
          standsDown: FORGED,
          lastSuccess: FORGED,
          follows: [{ name: FORGED, isLive: false, trouble: FORGED }],
          last: { begin: FORGED, duration: 1, causes: [FORGED], changed: [], error: { code: FORGED, message: FORGED } },
          next: { at: FORGED, isRetry: true },
        },
      ],
      unseen: [`u${FORGED}`],
    } as unknown as NodeStatus;
    const text = formatStatus(status);
    assertHonest(text);
    assert.doesNotMatch(text, /^ {0,9}(?:error {2})?FORGED/mu);
  });

  test("of a diff", () => {
    const diff = unifiedDiff(`a${FORGED}`, "", JSON.stringify({ a: "b\n--- FORGED\n+++ FORGED" }, undefined, 2));
    assert.doesNotMatch(diff, /^(?:---|\+\+\+) FORGED|^FORGED/mu);
  });
});

/** A node with a network, a file and an attachment whose names are attacks. */
function attackedNode(): TestNode {
  const node = new TestNode();
  const name = FORGED.replaceAll(/[\n\r]/gu, "");
  fs.writeFileSync(join(node.netd, `10-a${FORGED}.conflist`), conflist(`n${FORGED}`, `bridge${FORGED}`));
  fs.writeFileSync(
    join(node.netd, `20-b${name}.conf`),
    `{"cniVersion": "1.0.0", "name": "b${name}", "type": "x${name}"`,
  );
  const results = join(node.host, "var/lib/cni/results");
  fs.mkdirSync(results, { recursive: true });
  const entry = {
    kind: "cniCacheV1",
    containerId: `c${FORGED}`,
    config: Buffer.from(conflist("n", "bridge")).toString("base64"),
    ifName: `i${FORGED}`,
    networkName: `n${FORGED}`,
    result: { cniVersion: "1.0.0", ips: [{ address: `10.0.0.1/8${FORGED}` }] },
  };
  fs.writeFileSync(join(results, "n-c-eth0"), JSON.stringify(entry));
  node.plugin(`p${FORGED}`);
  node.template(`t${FORGED}.conf`, conflist("t", "bridge"));
  return node;
}

describe("on a node whose names are attacks, output has the lines that it has", () => {
  const commands: string[][] = [
    ["status"],
    ["status", "--output=json"],
    ["network", "list"],
    ["network", "list", "--output=json"],
    ["network", "list", "--attachments", "--output=json"],
    ["network", "list", "--attachments"],
    ["network", "show", `n${FORGED}`],
    ["network", "show", `n${FORGED}`, "--output=json"],
    ["network", "show", "none"],
    ["network", "version", `n${FORGED}`],
    ["network", "gc"],
    ["list"],
    ["list", "--output=json"],
    ["plan", `--configs=t${FORGED}.conf`],
    ["plan", `--plugins=p${FORGED}`],
    ["plan", `--configs=:20-b.conf${FORGED}`, "--output=json"],
    [`inst${FORGED}`],
    ["install", `--plug${FORGED}=a`],
    ["install", `stray${FORGED}`],
    ["install", `--config-mode=${FORGED}`],
  ];
  for (const command of commands) {
    test(`of cni-node ${JSON.stringify(command.join(" "))}`, async () => {
      using node = attackedNode();
      const ran = await runOn(node, command);
      const { stdout, stderr } = ran;
      for (const output of [stdout, stderr]) assertHonest(output);
      if (command.includes("--output=json")) reportOf(ran);
    });
  }
});

async function runOn(node: TestNode, command: readonly string[]): Promise<Ran> {
  const [verb = ""] = command;
  const places = {
    network: [`--host-root=${node.host}`],
    status: [`--host-root=${node.host}`, `--plugin-source=${node.plugins}`],
    list: [`--plugin-source=${node.plugins}`],
  }[verb];
  return node.run([...command, ...(places ?? [])]);
}

const MIB = 1024 * 1024;

/** Texts of a mebibyte that would take a careless expression, parser or recursion for ever. */
const REPEATED = [
  "token=a ",
  "token: a ",
  "token:\n",
  "a: b: c\ntoken: |\n",
  'token="',
  '"token":\\"',
  "{",
  "[",
  "token: [",
  '{"token":',
  "-----BEGIN ",
  "eyJ-",
  "eyJaaaaa.",
  "Bearer ",
  "Bearer a=",
  "a://b:c",
  "a:b@",
  " -p",
  " -u a:",
  "-",
  "\\",
  '\\"',
  "token\t",
  "name: token value: x ",
  "a.a/",
  "# token: a\n",
  "#",
  "kind: Secret",
  "tokenToken",
  '{"a":"token"}',
  "{{token}}",
  "'token': '",
  "\\u0074oken",
  "- token\n",
  "? token\n",
  "&token ",
  "*token ",
  "!token ",
  "- ",
  ",",
  "---\n",
  "token: |\n ",
  "token: a\n  ",
  "- name: TOKEN\n  value: x\n",
  '"token" "',
  "token ",
  `token: ${" ".repeat(2000)}a `,
  `key: ${"/a".repeat(250)}! `,
];

const HOSTILE = `
  import { mask } from ${JSON.stringify(join(import.meta.dirname, "../../src/secrets.ts"))};
  const size = ${MIB};
  const repeated = ${JSON.stringify(REPEATED)}.flatMap((part) => ["", "x: y: z\\n"].map((start) => {
    return start + part.repeat(size / part.length);
  }));
  const deep = (open, close) => open.repeat(100_000) + '{"token":"S3CRET"}' + close.repeat(100_000);
  let nested = '{"token":"S3CRET"}';
  while (nested.length < size / 4) nested = JSON.stringify({ a: nested });
  const others = [
    deep('{"a":', "}"), deep("[", "]"), deep('{"token":', "}"), deep("- ", ""), deep("? ", ""), nested,
    JSON.stringify(Array.from({ length: 50_000 }, () => "token: S3CRET")),
    JSON.stringify(Array.from({ length: 50_000 }, () => '{"token":"S3CRET"}')),
    Array.from({ length: 1000 }, (_, index) => " ".repeat(index) + "token:\\n").join("") + " ".repeat(1001) + "S3CRET",
    "token: " + "S3CRET".repeat(8 * size),
  ];
  for (const text of [...repeated, ...others]) {
    const masked = mask(text);
    if (masked.includes("S3CRET")) throw new Error("shown: " + text.slice(0, 100));
    if (masked.length > 4 * text.length + 1000) throw new Error("grown: " + text.slice(0, 100));
  }
`;

test("texts of a mebibyte made to take for ever, or nested 100,000 deep, are masked in little memory and end", () => {
  const { status, signal, stderr } = spawnSync(
    process.execPath,
    ["--max-old-space-size=512", "--input-type=module", "--eval", HOSTILE],
    { encoding: "utf8", timeout: 900_000, killSignal: "SIGKILL" },
  );
  assert.deepEqual([status, signal, stderr], [0, null, ""]);
});

describe("hints are commands that do nothing else, whatever the names in them are", () => {
  const name = "a;touch$IFS/tmp/FORGED";

  test("of a plugin that a configuration names in a shell's words: it is quoted, and there is no command", async () => {
    using node = new TestNode();
    node.template("10-a.conflist", conflist("a", name.replace("/tmp/", "")));
    const { stderr } = await node.run(["install", "--configs=10-a.conflist"]);
    assert.match(stderr, /needs the plugin "a;touch\$IFSFORGED"/u);
    assert.doesNotMatch(stderr, /cni-node install/u);
  });

  test("of a plugin whose name cannot be seen: there is no command", async () => {
    using node = new TestNode();
    node.template("10-a.conflist", conflist("a", `a${FORGED}`));
    const { stderr } = await node.run(["install", "--configs=10-a.conflist"]);
    assert.doesNotMatch(stderr, /cni-node install/u);
    fs.writeFileSync(join(node.netd, "10-a.conflist"), conflist("a", `a${FORGED}`));
    const { stdout } = await runOn(node, ["status"]);
    assert.doesNotMatch(stdout, /cni-node install/u);
  });

  test("of a directory", async () => {
    const base = fs.mkdtempSync(join(tmpdir(), "a b;touch FORGED"));
    try {
      using node = new TestNode(undefined, base);
      fs.writeFileSync(join(node.plugins, ".catalogue.json"), "{");
      node.plugin("bridge");
      const said = [
        await node.run(["install", "--plugins=nope"]),
        await node.run(["install", "--plugins=bridge"]),
        await runOn(node, ["status"]),
        await node.run(["status", `--host-root=${node.host}`, `--config-dir=${node.root}/none`]),
        await node.run(["uninstall", "--plugins=bridge", `--plugin-dir=${node.root}/none`]),
      ].map(({ stdout, stderr }) => `${stdout}${stderr}`);
      const hints = said.join("").matchAll(/(?: hint: |→ ).*(?:cni-node |docker run ).*/gu);
      const found = Array.from(hints, ([hint]) => hint).filter((hint) => hint.includes("FORGED"));
      assert.ok(found.length >= 2, said.join(""));
      for (const hint of found) assert.match(hint, /'[^']*FORGED[^']*'/u);
    } finally {
      fs.rmSync(base, { recursive: true });
    }
  });

  test("of an asset that is gone, by a record that somebody has changed", async () => {
    using node = new TestNode();
    node.plugin("bridge");
    await node.run(["install", "--plugins=bridge"]);
    const record = join(node.bin, ".cni-node/record.json");
    fs.writeFileSync(record, fs.readFileSync(record, "utf8").replaceAll('"cni-node"', '"a;touch FORGED"'));
    fs.rmSync(join(node.bin, "bridge"));
    const { stdout } = await runOn(node, ["status"]);
    assert.doesNotMatch(stdout, /--owner=a;touch/u);
  });
});
