import assert from "node:assert/strict";
import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import * as fs from "node:fs";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";

import { lockDirectory } from "../src/host/lock.ts";
import { DURATION } from "../src/option-types.ts";
import { environmentName, OPTIONS } from "../src/options.ts";
import { visible } from "../src/system/text.ts";
import { Deadline } from "../src/system/deadline.ts";
import { BUNDLE, conflist, contentsOf, endOf, TestNode, until, type Ran } from "./helpers/node.ts";

/** A node with plugins and a configuration in the image. */
function preparedNode(): TestNode {
  const node = new TestNode();
  for (const name of ["bridge", "vlan", "macvlan"]) node.plugin(name);
  node.template("a.conflist", conflist("a", "bridge"));
  return node;
}

/** Runs what must be refused with exit code 2, before anything is touched. Returns what it says. */
async function refused(argv: string[], env: NodeJS.ProcessEnv = {}): Promise<string> {
  using node = preparedNode();
  await node.run(["install", "--plugins=vlan"]);
  const before = contentsOf(node.root);
  const ran = await node.run(argv, { env });
  assert.deepEqual([ran.exitCode, ran.stdout], [2, ""]);
  assert.match(ran.stderr, /^cni-node: .+\n/u);
  assert.deepEqual(contentsOf(node.root), before);
  return ran.stderr;
}

/** The plugins that are on the node after a run that must succeed. */
async function installed(argv: string[], env: NodeJS.ProcessEnv = {}): Promise<string> {
  using node = preparedNode();
  const ran = await node.run(argv, { env });
  assert.equal(ran.exitCode, 0, ran.stderr);
  return Object.keys(contentsOf(node.bin)).join();
}

describe("arguments", () => {
  const cases: [promise: string, argv: string[], plugins: string][] = [
    ["have their value behind =", ["install", "--plugins=bridge,vlan"], "bridge,vlan"],
    ["have their value in the next word", ["install", "--plugins", "bridge,vlan"], "bridge,vlan"],
    ["may come before the command", ["--plugins=bridge", "--pause=false", "install"], "bridge"],
    ["may come before the command with the value in the next word", ["--plugins", "bridge", "install"], "bridge"],
    ["may have a value that is the name of a command", ["--plugins", "bridge", "--owner", "plan", "install"], "bridge"],
    ["that are lists add up", ["install", "--plugins=bridge", "--plugins", "vlan"], "bridge,vlan"],
    ["that are no lists count when last", ["install", "--plugins=vlan", "--dry-run", "--dry-run=false"], "vlan"],
    ["may be lists with blanks and lines", ["install", "--plugins", "\n bridge\n vlan,\n"], "bridge,vlan"],
    ["may be empty lists, which are no-ops", ["install", "--plugins=", "--configs", "", "--manifests=,"], ""],
  ];
  for (const [promise, argv, plugins] of cases) {
    test(promise, async () => assert.equal(await installed(argv), plugins));
  }

  test("may have = in their value", async () => {
    using node = preparedNode();
    const directory = join(node.root, "a=b=c");
    fs.mkdirSync(directory);
    assert.equal((await node.run(["install", "--plugins=bridge", `--plugin-dir=${directory}`])).exitCode, 0);
    assert.deepEqual(Object.keys(contentsOf(directory)), ["bridge"]);
  });

  const truths: [words: string[], dry: boolean][] = [
    [["--dry-run"], true],
    [["--dry-run=true"], true],
    [["--dry-run=1"], true],
    [["--dry-run", "true"], true],
    [["--dry-run", "1"], true],
    [["--dry-run=false"], false],
    [["--dry-run=0"], false],
    [["--dry-run", "false"], false],
    [["--dry-run", "0"], false],
  ];
  for (const [words, dry] of truths) {
    test(`${words.join(" ")} is ${dry}`, async () => {
      assert.equal(await installed(["install", ...words, "--plugins=bridge"]), dry ? "" : "bridge");
      assert.equal(await installed([...words, "install", "--plugins=bridge"]), dry ? "" : "bridge");
    });
  }

  const values: [option: string, problem: string][] = [
    ["--dry-run=yes", "is not one of true, false, 1, 0"],
    ["--dry-run=", "is not one of true, false, 1, 0"],
    ["--output=xml", "is not one of text, json, yaml"],
    ["--validate=true", "is not one of strict, warn, off"],
    ["--wait=5", "is not a duration such as 500ms, 30s or 2m"],
    ["--wait=-5s", "is not a duration such as 500ms, 30s or 2m"],
    ["--lock-timeout=1d", "is not a duration such as 500ms, 30s or 2m"],
    ["--lock-timeout=", "is not a duration such as 500ms, 30s or 2m"],
    ["--config-mode=888", "is not a file mode such as 0600"],
    ["--config-mode=0o600", "is not a file mode such as 0600"],
    ["--config-mode=06000", "is not a file mode such as 0600"],
    ["--owner=", "is not an owner"],
    ["--owner=a/b", "is not an owner"],
    ["--owner=-a", "is not an owner"],
    ["--plugin-dir=", "is empty"],
  ];
  for (const [option, problem] of values) {
    const [name = "", value = ""] = option.split("=");
    test(`${option} is refused: it ${problem}`, async () => {
      const start = `cni-node: ${name}: ${JSON.stringify(value)} ${problem}`;
      assert.ok((await refused(["install", "--plugins=bridge", option])).startsWith(start));
      const variable = environmentName(name.slice(2));
      if (value === "") return;
      const said = await refused(["install", "--plugins=bridge"], { [variable]: value });
      assert.ok(said.startsWith(`cni-node: ${variable}: ${JSON.stringify(value)} ${problem}`));
    });
  }

  test("durations are milliseconds, seconds, minutes and hours", () => {
    const texts = ["0s", "500ms", "30s", "1.5s", "2m", "1h"];
    assert.deepEqual(
      texts.map((text) => DURATION.read(text, "--wait")),
      [0, 500, 30_000, 1500, 120_000, 3_600_000],
    );
  });

  for (const argv of [
    ["install", "--plugins"],
    ["--owner", "--plugins=bridge", "install"],
  ]) {
    test(`${argv.join(" ")} is refused: a value is missing`, async () => {
      assert.match(await refused(argv), /^cni-node: --(?:plugins|owner): needs a value\n/u);
    });
  }
});

describe("environment variables", () => {
  const cases: [promise: string, argv: string[], env: Record<string, string>, plugins: string][] = [
    ["stand for options", ["install"], { CNI_NODE_PLUGINS: "bridge" }, "bridge"],
    ["stand for booleans", ["install", "--plugins=bridge"], { CNI_NODE_DRY_RUN: "1" }, ""],
    ["give way to options", ["install", "--plugins=vlan"], { CNI_NODE_PLUGINS: "bridge" }, "vlan"],
    ["give way to empty options", ["install", "--plugins="], { CNI_NODE_PLUGINS: "bridge" }, ""],
    ["give way to booleans", ["install", "--plugins=vlan", "--dry-run=0"], { CNI_NODE_DRY_RUN: "true" }, "vlan"],
    ["are ignored when empty", ["install", "--plugins=vlan"], { CNI_NODE_DRY_RUN: "", CNI_NODE_OWNER: "" }, "vlan"],
    [
      "that a Service called cni-node injects are ignored",
      ["install", "--plugins=vlan"],
      {
        CNI_NODE_SERVICE_HOST: "10.0.0.1",
        CNI_NODE_SERVICE_PORT: "443",
        CNI_NODE_PORT: "tcp://10.0.0.1:443",
        CNI_NODE_PORT_443_TCP: "tcp://10.0.0.1:443",
        CNI_NODE_PORT_443_TCP_PROTO: "tcp",
      },
      "vlan",
    ],
    [
      "without the prefix are not read",
      ["install", "--plugins=vlan"],
      { PLUGINS: "bridge", Plugins: "bridge", plugins: "bridge", DRY_RUN: "1", HOST_ROOT: "/nowhere", PAUSE: "1" },
      "vlan",
    ],
    ["that are not capitals are not read", ["install", "--plugins=vlan"], { cni_node_dry_run: "1" }, "vlan"],
  ];
  for (const [promise, argv, env, plugins] of cases) {
    test(promise, async () => assert.equal(await installed(argv, env), plugins));
  }

  test("of options that the command does not have are ignored", async () => {
    using node = preparedNode();
    const env = { CNI_NODE_PLUGINS: "nope", CNI_NODE_WAIT: "nonsense", CNI_NODE_PLUGIN_SOURCE: node.plugins };
    assert.deepEqual(await node.run(["list"], { env }), { exitCode: 0, stdout: "bridge\nmacvlan\nvlan\n", stderr: "" });
  });

  test("give way to options also when the run fails: --output=text prints no object", async () => {
    using node = preparedNode();
    const ran = await node.run(["install", "--plugins=nope", "--output=text"], { env: { CNI_NODE_OUTPUT: "json" } });
    assert.deepEqual([ran.exitCode, ran.stdout], [1, ""]);
  });

  for (const [given, nearest] of [
    ["CNI_NODE_PLUGINZ", "CNI_NODE_PLUGINS"],
    ["CNI_NODE_PLUGIN", "CNI_NODE_PLUGINS"],
    ["CNI_NODE_HOSTROOT", "CNI_NODE_HOST_ROOT"],
    ["CNI_NODE_CONFIG_DIRECTORY", "CNI_NODE_CONFIG_DIR"],
    ["CNI_NODE_FLAVOUR", undefined],
  ] as const) {
    test(`R6: ${given}, which no option has, is a warning${nearest === undefined ? "" : " with the nearest name"}`, async () => {
      using node = preparedNode();
      const { exitCode, stderr } = await node.run(["install", "--plugins=vlan"], { env: { [given]: "bridge" } });
      const hint = nearest === undefined ? "" : `: did you mean ${nearest}?`;
      assert.deepEqual([exitCode, stderr], [0, `cni-node: warning: ${given}: no option has this variable${hint}\n`]);
    });
  }

  test("R6: what Kubernetes sets for a Service whose name begins with cni-node is not a warning", async () => {
    using node = preparedNode();
    const env = {
      CNI_NODE_METRICS_SERVICE_HOST: "10.0.0.1",
      CNI_NODE_METRICS_SERVICE_PORT_HTTP: "80",
      CNI_NODE_METRICS_PORT: "tcp://10.0.0.1:80",
      CNI_NODE_METRICS_PORT_80_TCP_ADDR: "10.0.0.1",
      CNI_NODE_SERVICE_PORT_HTTPS: "443",
    };
    assert.equal((await node.run(["install", "--plugins=vlan"], { env })).stderr, "");
  });

  test("never clash with those that a Service injects", () => {
    for (const name of Object.keys(OPTIONS)) assert.doesNotMatch(name, /^(?:port|service-)/u);
  });
});

describe("what does not exist is refused before anything is touched", () => {
  const unknown: [word: string, nearest: string][] = [
    ["--plugin", "--plugins"],
    ["--plugin=bridge", "--plugins"],
    ["--plgins=bridge,vlan,macvlan", "--plugins"],
    ["--config-dri=/some/long/path", "--config-dir"],
    ["--hostroot=/host", "--host-root"],
    ["--dryrun", "--dry-run"],
    ["--take_over=true", "--take-over"],
    ["--no-pause", "--pause"],
  ];
  for (const [word, nearest] of unknown) {
    test(`${word}: did you mean ${nearest}?`, async () => {
      const said = await refused(["install", word, "--plugins=bridge"]);
      const name = word.replace(/=.*/u, "");
      assert.ok(said.includes(`unknown option '${name}`), said);
      assert.ok(said.includes(`did you mean ${nearest}?`), said);
    });
  }

  const commands: [argv: string[], word: string][] = [
    [["list", "--plugins=bridge"], "--plugins"],
    [["version", "--pause"], "--pause"],
    [["install", "--refresh"], "--refresh"],
    [["uninstall", "--wait=1s"], "--wait"],
    [["plan", "--dry-run"], "--dry-run"],
    [["install", "-p", "bridge"], "-p"],
    [["install", "-plugins=bridge"], "-plugins"],
    [["install", "--__proto__=x"], "--__proto__"],
    [["install", "--constructor"], "--constructor"],
  ];
  for (const [argv, word] of commands) {
    test(`${argv.join(" ")}: ${argv[0] as string} has no ${word}`, async () => {
      assert.ok((await refused(argv)).includes(`unknown option '${word}`));
    });
  }

  for (const operand of ["bridge", "list", "", "-", "="]) {
    test(`the stray operand ${JSON.stringify(operand)}`, async () => {
      for (const argv of [
        ["install", operand],
        ["--plugins=vlan", "install", operand],
      ]) {
        assert.match(await refused([...argv, "--plugins=bridge"]), /^cni-node: .*argument/u);
      }
      assert.match(await refused(["install", "--", operand]), /^cni-node: .*argument/u);
    });
  }

  for (const [argv, message] of [
    [[], "no command given"],
    [["--plugins=bridge", "--output", "text"], "no command given"],
    [["instal"], "unknown command 'instal'\n  hint: did you mean install?"],
    [["probe"], "unknown command 'probe'\n  hint: did you mean network probe?"],
    [["INSTALL", "--plugins=bridge"], "unknown command 'INSTALL'"],
    [["constructor"], "unknown command 'constructor'"],
    [["__proto__"], "unknown command '__proto__'"],
  ] as const) {
    test(`${argv[0] ?? "no command"}: usage on stderr, exit 2`, async () => {
      const said = await refused([...argv]);
      assert.ok(said.startsWith(`cni-node: usage: ${message}`), said);
      assert.match(said, /\n\nUsage: cni-node COMMAND \[OPTIONS\]\n/u);
      for (const command of ["install", "uninstall", "apply", "plan", "list", "catalogue", "version"]) {
        assert.match(said, new RegExp(`^  ${command} `, "mu"));
      }
    });
  }

  for (const argv of [[], ["--help"], ["help"]]) {
    test(`U1: ${argv.join(" ") || "no command"}: the usage shows the lists, --pause, and examples that work`, async () => {
      using node = preparedNode();
      const ran = await node.run(argv);
      const usage = argv.length === 0 ? ran.stderr : ran.stdout;
      for (const option of ["--plugins <LIST>", "--configs <LIST>", "--manifests <LIST>", "--pause"]) {
        assert.match(usage, new RegExp(`^  ${RegExp.escape(option)} +\\S`, "mu"));
      }
      const examples = Array.from(usage.matchAll(/^ {2}cni-node (.*)$/gmu), ([, words = ""]) => words.split(" "));
      assert.equal(examples.length, 2);
      node.plugin("host-local");
      node.template("10-bridge.conflist", conflist("bridge", "bridge"));
      for (const words of examples) {
        const { exitCode, stderr } = await node.run(words.filter((word) => word !== "--pause"));
        assert.deepEqual([exitCode, stderr], [0, ""]);
      }
    });
  }

  for (const argv of [["network"], ["network", "--output=text"]]) {
    test(`${argv.join(" ")}: the usage of its commands, exit 2`, async () => {
      const said = await refused(argv);
      assert.match(
        said,
        /^cni-node: usage: no command of network given\n\nUsage: cni-node network COMMAND \[OPTIONS\]\n/u,
      );
      assert.match(said, /^ {2}add NETWORK TARGET /mu);
    });
  }
});

describe("--help wins over errors, prints on stdout and does nothing", () => {
  const cases: [argv: string[], usage: string][] = [
    [["--help"], "COMMAND"],
    [["-h"], "COMMAND"],
    [["help"], "COMMAND"],
    [["nonsense", "--help"], "COMMAND"],
    [["--nonsense", "--help"], "COMMAND"],
    [["install", "--help"], "install"],
    [["--help", "install"], "install"],
    [["help", "install"], "install"],
    [["install", "-h", "--plugins=bridge"], "install"],
    [["install", "--nonsense", "stray", "--plugins=../x", "--help"], "install"],
    [["install", "--plugins", "--help"], "install"],
  ];
  for (const [argv, usage] of cases) {
    test(argv.join(" "), async () => {
      using node = preparedNode();
      const ran = await node.run(argv, { env: { CNI_NODE_OUTPUT: "nonsense" } });
      assert.deepEqual([ran.exitCode, ran.stderr], [0, ""]);
      assert.ok(ran.stdout.startsWith(`Usage: cni-node ${usage} [OPTIONS]\n`), ran.stdout);
      assert.deepEqual(contentsOf(node.host), {});
    });
  }

  test("the help says how to get more help", async () => {
    using node = preparedNode();
    const { stdout } = await node.run(["--help"]);
    assert.match(stdout, /cni-node COMMAND --help shows the options of a command/u);
  });

  test("every option of a command is in its help", async () => {
    using node = preparedNode();
    const verbs = {
      network: ["add", "del", "gc", "list", "probe"],
      engine: ["enable", "disable", "status", "cdi"],
    };
    const more = Object.entries(verbs).flatMap(([group, names]) => names.map((verb) => [group, verb]));
    const commands = [["apply"], ["watch"], ["routes", "sync"], ...more];
    const helps = await Promise.all(commands.map(async (command) => node.run([...command, "--help"])));
    const shown = helps.map(({ stdout }) => stdout).join("");
    for (const name of Object.keys(OPTIONS)) assert.match(shown, new RegExp(`^ +(?:-\\w, )?--${name}(?: |$)`, "mu"));
  });
});

describe("exit codes", () => {
  const cases: [argv: string[], exitCode: number, why: string][] = [
    [["install"], 0, "nothing to do"],
    [["uninstall", "--plugins=gone"], 0, "it is absent"],
    [["plan", "--plugins=bridge"], 0, "a plan is a success"],
    [["plan", "--plugins=bridge", "--exit-code"], 3, "it would be created"],
    [["plan", "--plugins=:present", "--exit-code"], 3, "it would be deleted"],
    [["plan", "--configs=b.conflist", "--exit-code"], 3, "it would be configured"],
    [["plan", "--plugins=:gone", "--exit-code"], 0, "it is absent"],
    [["plan", "--plugins=present", "--exit-code"], 0, "it is unchanged"],
    [["plan", "--plugins=present:present", "--exit-code"], 0, "it is left"],
    [["plan", "--exit-code"], 0, "nothing to do"],
    [["install", "--dry-run", "--plugins=bridge", "--exit-code"], 3, "it would be created"],
    [["uninstall", "--dry-run", "--plugins=present", "--exit-code"], 3, "it would be deleted"],
    [["install", "--plugins=bridge", "--exit-code=false"], 0, "it is done"],
    [["install", "--plugins=nope"], 1, "it is not in the image"],
    [["plan", "--plugins=nope", "--exit-code"], 1, "it is not in the image"],
  ];
  for (const [argv, exitCode, why] of cases) {
    test(`${argv.join(" ")}: ${exitCode}, ${why}`, async () => {
      using node = preparedNode();
      node.plugin("present");
      fs.copyFileSync(join(node.plugins, "present"), join(node.bin, "present"));
      fs.chmodSync(join(node.bin, "present"), 0o755);
      node.template("b.conflist", conflist("b", "bridge"));
      fs.writeFileSync(join(node.netd, "b.conflist"), conflist("b", "ptp"));
      const before = contentsOf(node.host);
      const ran = await node.run(argv);
      assert.equal(ran.exitCode, exitCode, ran.stderr);
      if (argv[0] === "plan" || argv.includes("--dry-run")) assert.deepEqual(contentsOf(node.host), before);
    });
  }

  test("--exit-code without plan or --dry-run is refused", async () => {
    for (const command of ["install", "uninstall", "apply"]) {
      const said = await refused([command, "--plugins=bridge", "--exit-code"]);
      assert.equal(said, "cni-node: --exit-code: requires plan or --dry-run\n");
    }
  });

  test("nothing to do is said and is a success, with no mount at all", async () => {
    for (const argv of [["install"], ["uninstall"], ["apply"], ["apply", "--plugins=:", "--configs="]]) {
      const ran = await endOf(spawn(process.execPath, [BUNDLE, ...argv, "--host-root=/nowhere"]));
      assert.deepEqual(ran, { exitCode: 0, stdout: "nothing to do\n", stderr: "" });
    }
  });
});

describe("names that are no names are refused, whatever is done with them", () => {
  const names = [
    "a/b",
    "../../../etc/cni/net.d/a.conflist",
    "/etc/passwd",
    ".",
    "..",
    ".cni-node",
    "a\u0001",
    "a\u007f",
  ];
  for (const name of [...names, "x".repeat(256)]) {
    test(encodeURI(name.slice(0, 40)), async () => {
      for (const argv of [
        ["install", "plugins"],
        ["uninstall", "configs"],
        ["apply", "plugins"],
        ["plan", "manifests"],
      ]) {
        const said = await refused([argv[0] as string, `--${argv[1] as string}=bridge,${name}`]);
        assert.ok(
          said.startsWith(
            `cni-node: --${argv[1] as string}: ${visible(JSON.stringify(name))} is not an asset name: it `,
          ),
          said,
        );
      }
      assert.match(await refused(["apply", `--plugins=:${name}`]), /is not an asset name/u);
    });
  }

  test("two colons", async () => {
    assert.match(await refused(["apply", "--plugins=a:b:c"]), /^cni-node: --plugins: has two colons/u);
    assert.match(await refused(["plan", "--configs=::"]), /^cni-node: --configs: has two colons/u);
  });

  test("a list that is given twice, once with a colon: nothing gets behind it unasked", async () => {
    for (const words of [
      ["--plugins=bridge:vlan", "--plugins=macvlan"],
      ["--plugins", "macvlan", "--plugins", "bridge:vlan"],
    ]) {
      assert.match(await refused(["apply", ...words]), /^cni-node: --plugins: is given twice, and one .* a colon\n/u);
    }
  });

  test("a colon where there is one list only", async () => {
    for (const command of ["install", "uninstall"]) {
      const said = await refused([command, "--plugins=bridge:vlan"]);
      assert.equal(
        said,
        `cni-node: --plugins: ${command} takes one list, without a colon\n  hint: cni-node apply takes DESIRED:CURRENT\n`,
      );
    }
  });
});

describe("names that look odd are names like any other", () => {
  for (const name of [
    "__proto__",
    "constructor",
    "hasOwnProperty",
    "it's",
    "a[b",
    "$HOME",
    "-x",
    "a+b",
    "ä\u{1f600}",
    "x".repeat(255),
  ]) {
    test(`${name.slice(0, 20)}: installed, recorded, uninstalled`, async () => {
      using node = preparedNode();
      node.plugin(name);
      const config = `${name.slice(0, 246)}.conflist`;
      node.template(config, conflist("odd", "bridge"));
      const lists = [`--plugins=${name}`, `--configs=${config}`];
      const run = async (verb: string): Promise<string[]> => {
        const { stdout, stderr, exitCode } = await node.run([verb, ...lists, "--output=json"]);
        assert.equal(exitCode, 0);
        assert.match(stderr, /^(?:cni-node: warning: .* no CNI configuration is left: .*\n)?$/u);
        const { steps } = JSON.parse(stdout) as { steps: { name: string; outcome: string }[] };
        return steps.map((step) => `${step.outcome} ${step.name}`);
      };
      assert.deepEqual(await run("install"), [`created ${name}`, `created ${config}`]);
      assert.deepEqual(Object.keys(contentsOf(node.host)), [`etc/cni/net.d/${config}`, `opt/cni/bin/${name}`]);
      const record = JSON.parse(fs.readFileSync(join(node.bin, ".cni-node/record.json"), "utf8")) as {
        assets: { name: string }[];
      };
      assert.deepEqual(
        record.assets.map((asset) => asset.name),
        [name],
      );
      assert.deepEqual(await run("install"), [`unchanged ${name}`, `unchanged ${config}`]);
      assert.deepEqual(await run("uninstall"), [`deleted ${config}`, `deleted ${name}`]);
      assert.deepEqual([fs.readdirSync(node.bin), fs.readdirSync(node.netd)], [[], []]);
    });
  }
});

async function outcomes(node: TestNode, ...argv: string[]): Promise<string[]> {
  const { stdout, exitCode, stderr } = await node.run([...argv, "--output=json"]);
  assert.deepEqual([exitCode, stderr], [0, ""]);
  const { steps } = JSON.parse(stdout) as { steps: { name: string; outcome: string }[] };
  return steps.map((step) => `${step.outcome} ${step.name}`);
}

describe("--prune", () => {
  test("removes what the owner holds and no longer desires, and nothing else", async () => {
    using node = preparedNode();
    fs.writeFileSync(join(node.bin, "foreign"), "");
    await node.run(["install", "--plugins=bridge,vlan", "--configs=a.conflist", "--owner=me"]);
    await node.run(["install", "--plugins=macvlan", "--owner=other"]);
    const apply = ["apply", "--plugins=bridge", "--prune", "--owner=me"];
    assert.deepEqual(await outcomes(node, ...apply, "--dry-run"), ["unchanged bridge", "deleted vlan"]);
    assert.deepEqual(await outcomes(node, ...apply), ["unchanged bridge", "deleted vlan"]);
    assert.deepEqual(await outcomes(node, ...apply), ["unchanged bridge"]);
    assert.deepEqual(Object.keys(contentsOf(node.host)), [
      "etc/cni/net.d/a.conflist",
      ...["bridge", "foreign", "macvlan"].map((name) => `opt/cni/bin/${name}`),
    ]);
  });

  test("leaves what somebody has changed", async () => {
    using node = preparedNode();
    await node.run(["install", "--plugins=bridge", "--owner=me"]);
    fs.writeFileSync(join(node.bin, "bridge"), "changed");
    const apply = ["apply", "--plugins=vlan", "--prune", "--owner=me"];
    assert.deepEqual(await outcomes(node, ...apply), ["created vlan", "kept bridge"]);
    assert.equal(fs.readFileSync(join(node.bin, "bridge"), "utf8"), "changed");
  });

  test("needs --owner, and a list without a colon", async () => {
    for (const command of ["apply", "plan"]) {
      assert.match(await refused([command, "--plugins=bridge", "--prune"]), /^cni-node: --prune: needs --owner/u);
      const said = await refused([command, "--plugins=bridge:vlan", "--prune", "--owner=me"]);
      assert.match(said, /^cni-node: --prune: cannot be used with DESIRED:CURRENT/u);
    }
    assert.match(await refused(["install", "--plugins=bridge", "--prune", "--owner=me"]), /unknown option '--prune/u);
  });

  test("may have its owner in the environment", async () => {
    using node = preparedNode();
    const ran = await node.run(["apply", "--plugins=bridge", "--prune"], { env: { CNI_NODE_OWNER: "me" } });
    assert.equal(ran.exitCode, 0);
  });
});

describe("R4: what is in both lists", () => {
  const BOTH = ["--plugins=bridge:bridge", "--configs=a.conflist:a.conflist"];

  for (const verb of ["apply", "plan"]) {
    test(`and not on the node is said by ${verb}: absent, with a warning; nothing is done, and it is not a failure`, async () => {
      using node = preparedNode();
      fs.rmSync(join(node.host, "etc"), { recursive: true });
      const ran = await node.run([verb, ...BOTH]);
      assert.equal(ran.exitCode, 0, ran.stderr);
      assert.match(
        ran.stdout,
        /^absent +plugin +bridge +in both lists, but not on the node\nabsent +config +a\.conflist/u,
      );
      for (const [path, list] of [
        [join(node.bin, "bridge"), "--plugins"],
        [join(node.netd, "a.conflist"), "--configs"],
      ] as const) {
        assert.ok(
          ran.stderr.includes(`warning: ${path}: is in both lists of ${list}, so nothing is done,`),
          ran.stderr,
        );
      }
      assert.deepEqual(contentsOf(node.host), {});
      assert.equal(fs.existsSync(join(node.bin, ".cni-node")), false);
    });
  }

  for (const [what, make] of [
    ["a directory", (path: string) => void fs.mkdirSync(path)],
    ["a link that leads nowhere", (path: string) => void fs.symlinkSync("nowhere", path)],
  ] as const) {
    test(`and only ${what} on the node is said`, async () => {
      using node = preparedNode();
      make(join(node.bin, "bridge"));
      const { stdout, stderr, exitCode } = await node.run(["apply", "--plugins=bridge:bridge"]);
      assert.equal(exitCode, 0);
      assert.match(stdout, new RegExp(`^absent +plugin +bridge +in both lists, but ${what} is in its place`, "u"));
      assert.match(stderr, /warning: .*bin\/bridge: is in both lists/u);
    });
  }

  test("and on the node, also as a link that leads below the host root, is unchanged, without a warning", async () => {
    using node = preparedNode();
    fs.mkdirSync(join(node.host, "usr/lib/cni"), { recursive: true });
    fs.writeFileSync(join(node.host, "usr/lib/cni/bridge"), "");
    fs.symlinkSync("/usr/lib/cni/bridge", join(node.bin, "bridge"));
    fs.writeFileSync(join(node.netd, "a.conflist"), "");
    const lines = ["unchanged bridge", "unchanged a.conflist"];
    assert.deepEqual(await outcomes(node, "apply", ...BOTH), lines);
  });

  test("and a link to what is not mounted is unchanged: that it is not there is not known", async () => {
    using node = preparedNode();
    fs.symlinkSync("/somewhere/else/bridge", join(node.bin, "bridge"));
    assert.deepEqual(await outcomes(node, "apply", "--plugins=bridge:bridge"), ["unchanged bridge"]);
  });

  test("is installed with --refresh", async () => {
    using node = preparedNode();
    assert.deepEqual(await outcomes(node, "apply", "--plugins=bridge:bridge", "--refresh"), ["created bridge"]);
  });
});

describe("R10: what is not among the sources", () => {
  /** What a run is refused with. */
  async function hintOf(node: TestNode, ...argv: string[]): Promise<string> {
    const ran = await node.run(argv);
    assert.equal(ran.exitCode, 1, ran.stdout);
    return ran.stderr.split("  hint: ")[1] ?? "";
  }

  for (const [given, meant] of [
    ["brigde", "bridge"],
    ["mac-vlan", "macvlan"],
    ["Bridge,vlann", "bridge, vlan"],
  ] as const) {
    test(`--plugins=${given}: did you mean ${meant}?`, async () => {
      using node = preparedNode();
      const hint = await hintOf(node, "install", `--plugins=${given}`);
      assert.ok(hint.startsWith(`did you mean ${meant}? cni-node list --plugin-source=`), hint);
    });
  }

  test("a plugin that is near to none has no suggestion", async () => {
    using node = preparedNode();
    assert.ok((await hintOf(node, "install", "--plugins=ptp")).startsWith("cni-node list --plugin-source="));
  });

  for (const [list, kind] of [
    ["--configs", "template"],
    ["--manifests", "manifest"],
  ] as const) {
    test(`a ${kind}: those that are there are listed, up to a bound, and the nearest`, async () => {
      using node = preparedNode();
      const directory = kind === "template" ? node.templates : node.manifests;
      for (let number = 10; number < 40; number++) fs.writeFileSync(join(directory, `${number}-x.yaml`), "");
      fs.mkdirSync(join(directory, "10-directory"));
      fs.writeFileSync(join(directory, "..data"), "");
      const hint = await hintOf(node, "install", `${list}=39-y.yaml`);
      assert.match(
        hint,
        /^did you mean 39-x\.yaml\? \S+ has 10-x\.yaml, 11-x\.yaml, .* and \d+ more; --\w+-source names/u,
      );
      assert.doesNotMatch(hint, /directory,|\.\.data|39-x\.yaml,/u);
      fs.rmSync(directory, { recursive: true });
      assert.match(await hintOf(node, "install", `${list}=a`), new RegExp(`^mount the ${kind}s and name`, "u"));
    });
  }
});

describe("R10: a template that is not JSON", () => {
  async function refusal(text: string): Promise<string> {
    using node = preparedNode();
    node.template("b.conflist", text);
    fs.writeFileSync(join(node.netd, "10-x"), '{\n  "ours": nothing\n}\n');
    const ran = await node.run(["install", "--configs=b.conflist"]);
    assert.equal(ran.exitCode, 1);
    return ran.stderr;
  }

  test("shows its line with a caret, once, and no --validate=warn, which would install what nobody can read", async () => {
    const stderr = await refusal('{\n\t"cniVersion": "1.0.0",\n\t"name": ,\n\t"plugins": []\n}\n');
    assert.match(
      stderr,
      /at line 3, column 10, which is at line 3, column 10 of the template\n {5}"name": ,\n {13}\^\n/u,
    );
    assert.equal(stderr.split("^").length, 2);
    assert.doesNotMatch(stderr, /--validate/u);
  });

  test("shows the part of a long line that matters", async () => {
    const stderr = await refusal(`{"name": "${"a".repeat(5000)}", "type": ,${" ".repeat(500)}}\n`);
    const [line = "", caret = ""] = stderr.split("\n").slice(1);
    assert.equal(line.indexOf(`"type": ,`) + 8, caret.indexOf("^"));
    assert.ok(line.length < 120);
  });

  test("does not show a line of the node, nor one with a secret", async () => {
    const node = await refusal('{"name": "a", "plugins": [\n__10-x__\n]}\n');
    assert.match(node, /at line 3, column 11, which is at line 2, column 11 of 10-x\n/u);
    assert.doesNotMatch(node, /nothing|\^/u);
    for (const text of ['{\n"password": "hunter2" ,,\n}', '{\n"password":\n"hunter2",,\n}']) {
      assert.doesNotMatch(await refusal(text), /hunter2|\^/u);
    }
  });

  test("what is JSON and no configuration may be installed with --validate=warn, and the message says so", async () => {
    assert.match(await refusal('{"type": "bridge"}'), /--validate=warn installs it anyway/u);
  });
});

test("--manifests without a Kubernetes API fails with one sentence, before anything is touched", async () => {
  for (const list of ["a.yaml", "a.yaml:", ":a.yaml"]) {
    using node = preparedNode();
    node.manifest("a.yaml", "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: a\n");
    const ran = await node.run(["apply", "--plugins=bridge", `--manifests=${list}`]);
    assert.deepEqual([ran.exitCode, ran.stdout], [1, ""]);
    assert.equal(
      ran.stderr,
      "cni-node: Kubernetes API: manifests and credentials need it, but there is neither a kubeconfig nor a service account of a pod\n  hint: run in a pod with a service account, or name a kubeconfig with --kubeconfig or KUBECONFIG\n",
    );
    assert.deepEqual(contentsOf(node.host), {});
  }
});

describe("the bundle", () => {
  test("works from any directory and through a link", async () => {
    using node = preparedNode();
    const linked = join(node.root, "cni-node");
    fs.symlinkSync(BUNDLE, linked);
    for (const [cwd, program] of [
      ["/", BUNDLE],
      [node.root, BUNDLE],
      [node.netd, linked],
    ] as const) {
      const places = ["--plugin-source=image/opt/cni/bin", "--host-root=host"];
      const words = cwd === node.root ? places : node.places;
      const argv = [program, "install", "--plugins=bridge", ...words];
      assert.equal((await endOf(spawn(process.execPath, argv, { cwd }))).exitCode, 0);
      assert.deepEqual(Object.keys(contentsOf(node.bin)), ["bridge"]);
    }
  });

  test("prints VERSION (git-SHA)", async () => {
    using node = new TestNode();
    const { version } = JSON.parse(fs.readFileSync(new URL("../package.json", import.meta.url), "utf8")) as {
      version: string;
    };
    for (const argv of [["version"], ["--version"]]) {
      const { stdout, exitCode } = await node.bundle(argv);
      assert.equal(exitCode, 0);
      assert.match(stdout, /^[^ ]+ \((?:[0-9a-f]{7,40}|unknown)\)\n$/u);
      assert.equal(stdout.split(" ")[0], version);
    }
  });

  test("hands the arguments of cnitool on as they are: -i is an option of that one only", async () => {
    using node = new TestNode();
    const argv = ["add", "net", "/nowhere", "-i="];
    assert.match((await node.bundle(["cnitool", ...argv])).stderr, /^cni-node: --ifname: "" is empty\n/u);
    assert.match((await node.bundle(["network", ...argv])).stderr, /^cni-node: usage: unknown option '-i'\n/u);
    assert.match((await node.bundle(["cnitool", "--help"])).stdout, /^Usage: cni-node network COMMAND/u);
  });

  test("says in a sentence that its output cannot be written", async () => {
    using node = preparedNode();
    const script = 'exec "$@" > /dev/full';
    for (const argv of [["version"], ["install", "--plugins=bridge", ...node.places]]) {
      const ran = await endOf(spawn("sh", ["-c", script, "sh", process.execPath, BUNDLE, ...argv]));
      assert.notEqual(ran.exitCode, 0);
      assert.match(ran.stderr, /^cni-node: .*no space left on device.*\n/u);
      assert.doesNotMatch(ran.stderr, /^ {4}at /mu);
    }
  });

  /** A node whose list is longer than what a pipe holds. */
  function nodeOfMany(): TestNode {
    const node = new TestNode();
    for (let number = 0; number < 1000; number++)
      fs.writeFileSync(join(node.plugins, `${number}-${"x".repeat(200)}`), "");
    return node;
  }

  test("writes all of a report to a pipe that does not block and is read slowly", async () => {
    using node = nodeOfMany();
    const unblocked = "fcntl(STDOUT, F_SETFL, O_WRONLY | O_NONBLOCK) or die; exec @ARGV";
    const script = `perl -MFcntl -e '${unblocked}' "$@" | { sleep 0.2; cat; }`;
    const words = [process.execPath, BUNDLE, "list", `--plugin-source=${node.plugins}`];
    const { exitCode, stdout, stderr } = await endOf(spawn("sh", ["-c", script, "sh", ...words]));
    assert.deepEqual([exitCode, stderr], [0, ""]);
    assert.equal(stdout.match(/^\d+-x{200}$/gmu)?.length, 1000);
  });

  test("with a reader that has stopped reading carries out its run, and hears signals", async (t) => {
    using node = new TestNode();
    const names = Array.from({ length: 40 }, (_, number) => `${number}-${"x".repeat(200)}`);
    for (const name of names) node.plugin(name);
    const [pid, begun] = [join(node.root, "pid"), join(node.root, "begun")];
    // The smallest pipe, of which one byte is read.
    const small = "fcntl(STDOUT, 1031, 4096) or die; exec @ARGV";
    const script = `{ echo $$ >${pid}; exec perl -e '${small}' "$@"; } | { dd bs=1 count=1 of=${begun}; exec sleep 600; }`;
    const options = ["-v", "--pause", "--on-stop=uninstall", "--owner=a", `--plugins=${names.join()}`, ...node.places];
    const words = [process.execPath, BUNDLE, "install", ...options];
    const child = spawn("bash", ["-c", script.replace("$$", "$BASHPID"), "bash", ...words], { detached: true });
    t.after(() => process.kill(-(child.pid ?? 0), "SIGKILL"));
    const plugins = (): string[] => fs.readdirSync(node.bin).filter((name) => !name.startsWith("."));
    await until(() => fs.existsSync(begun) && fs.statSync(begun).size === 1);
    assert.equal(plugins().length, names.length);
    process.kill(Number(fs.readFileSync(pid, "utf8")), "SIGTERM");
    await until(() => plugins().length === 0);
  });

  test("does not mind a reader that goes away", async () => {
    using node = nodeOfMany();
    const script = 'set -o pipefail; "$0" "$1" list "--plugin-source=$2" | head -1';
    const output = execFileSync("bash", ["-c", script, process.execPath, BUNDLE, node.plugins], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
    });
    assert.match(output, /^0-x+\n$/u);
  });
});

/** Starts a run and waits for its report, behind which it pauses. */
async function pausing(node: TestNode, ...argv: string[]): Promise<{ child: ChildProcess; end: Promise<Ran> }> {
  const child = node.start(argv);
  const end = endOf(child);
  await Promise.race([once(child.stdout as Readable, "data"), end]);
  return { child, end };
}

describe("--pause", () => {
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    test(`stays, until ${signal} ends it with exit code 0; nothing is removed`, async () => {
      using node = preparedNode();
      const { child, end } = await pausing(node, "--pause", "install", "--plugins=bridge");
      assert.deepEqual([Object.keys(contentsOf(node.bin)), child.exitCode], [["bridge"], null]);
      child.kill(signal);
      assert.deepEqual(await end, { exitCode: 0, stdout: "created     plugin    bridge\n", stderr: "" });
      assert.deepEqual(Object.keys(contentsOf(node.bin)), ["bridge"]);
    });
  }

  test("holds no lock: another run in the same directories succeeds meanwhile", async () => {
    using node = preparedNode();
    const { child, end } = await pausing(node, "install", "--plugins=bridge", "--configs=a.conflist", "--pause");
    const other = await node.run(["uninstall", "--plugins=bridge", "--configs=a.conflist", "--lock-timeout=0s"]);
    assert.equal(other.exitCode, 0, other.stderr);
    assert.equal(child.exitCode, null);
    child.kill();
    assert.equal((await end).exitCode, 0);
    assert.deepEqual(contentsOf(node.host), {});
  });

  for (const argv of [["uninstall", "--plugins=bridge"], ["apply", "--plugins=bridge:vlan"], ["install"]]) {
    test(`comes after ${argv.join(" ")} too`, async () => {
      using node = preparedNode();
      const { child, end } = await pausing(node, ...argv, "--pause=true");
      assert.equal(child.exitCode, null);
      child.kill();
      const { exitCode, signal } = await end;
      assert.deepEqual([exitCode, signal], [0, undefined]);
    });
  }

  test("does not come after a failure", async () => {
    using node = preparedNode();
    const ran = await node.bundle(["install", "--plugins=nope", "--pause"]);
    assert.deepEqual([ran.exitCode, ran.signal], [1, undefined]);
  });
});

test("a signal while files are being replaced: the run completes, then ends by the signal", async () => {
  for (const TEST_SIGNAL of ["SIGTERM", "SIGINT"]) {
    using node = preparedNode();
    const preload = fileURLToPath(new URL("helpers/signal-at.mjs", import.meta.url));
    const env = { NODE_OPTIONS: `--import=${preload}`, TEST_SIGNAL, TEST_AT: "1", TEST_TO: "/bridge$" };
    const { signal, stdout, stderr } = await node.bundle(["install", "--plugins=bridge,vlan"], env);
    assert.deepEqual([stdout, stderr], ["created     plugin    bridge\ncreated     plugin    vlan\n", ""]);
    assert.deepEqual(Object.keys(contentsOf(node.bin)), ["bridge", "vlan"]);
    assert.equal(signal, TEST_SIGNAL);
  }
});

test("a run that waits for another one is ended by the signal itself, and nothing has happened", async () => {
  using node = preparedNode();
  const lock = await lockDirectory(node.netd, new Deadline(0), new AbortController().signal);
  try {
    for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) {
      const child = node.start(["install", "--plugins=bridge", "--configs=a.conflist", "--pause"]);
      const end = endOf(child);
      // The lock of the plugins' directory comes first: now it waits for the other one.
      await until(() => fs.existsSync(join(node.bin, ".cni-node/lock")));
      child.kill(signal);
      const { stderr, ...ended } = await end;
      assert.deepEqual(ended, { exitCode: -1, signal, stdout: "" });
      // Who waits long says so first.
      assert.ok(stderr.endsWith(`cni-node: ended by ${signal} before anything was changed\n`), stderr);
      assert.deepEqual([fs.readdirSync(node.bin), contentsOf(node.host)], [[], {}]);
    }
  } finally {
    lock.release();
  }
});

test("a run that waits for another one does not mind that the clock of the node is set", async (t) => {
  using node = preparedNode();
  const lock = await lockDirectory(node.netd, new Deadline(0), new AbortController().signal);
  t.mock.timers.enable({ apis: ["Date"], now: Date.now() });
  const clock = t.mock.method(performance, "now").mock;
  const waiting = node.run(["install", "--configs=a.conflist", "--lock-timeout=1h"]);
  // It looks at a clock of its own each time that it tries.
  const triesAgain = async (tries = clock.callCount() + 3): Promise<void> => until(() => clock.callCount() >= tries);
  await triesAgain();
  t.mock.timers.setTime(Date.now() + 24 * 3_600_000);
  await triesAgain();
  lock.release();
  const { exitCode, stderr } = await waiting;
  assert.equal(exitCode, 0, stderr);
});

test("a run that waits says what for", async () => {
  using node = preparedNode();
  const lock = await lockDirectory(node.netd, new Deadline(0), new AbortController().signal);
  const child = node.start(["install", "--configs=a.conflist"]);
  const ended = endOf(child);
  let said = "";
  child.stderr?.on("data", (text: string) => (said += text));
  await until(() => said !== "" || child.exitCode !== null);
  lock.release();
  assert.equal((await ended).exitCode, 0);
  assert.equal(said, `cni-node: waiting for another run in ${node.netd} (--lock-timeout)\n`);

  node.template("b.conf", '{"name":"b","type":"bridge","delegates":[__later.conf__]}\n');
  const { stderr } = await node.run(["install", "--configs=b.conf", "--wait=1s"]);
  assert.match(
    stderr,
    /^cni-node: waiting for the node to change \(--wait\): .*__later\.conf__.*\ncni-node: .*__later/u,
  );
});
