import assert from "node:assert/strict";
import { spawnSync, type SpawnSyncReturns } from "node:child_process";
import * as fs from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";

import { ERROR_CODES } from "../../src/cni/error.ts";
import {
  askVersion,
  findPlugin,
  invoke,
  PluginError,
  type InvokeOptions,
  type Invocation,
  type PluginCall,
} from "../../src/cni/invoke.ts";
import { until } from "../helpers/node.ts";
import { isAlive, PluginDir } from "../helpers/plugin.ts";

function add(path: string, rest: Partial<Invocation> = {}): Invocation {
  return { plugin: "bridge", path, command: "ADD", parameters: {}, stdin: "{}", ...rest };
}

async function failureOf(call: Promise<unknown>): Promise<PluginError> {
  try {
    await call;
  } catch (error) {
    assert.ok(error instanceof PluginError, String(error));
    return error;
  }
  throw new Error("it succeeded");
}

/** Runs a script as ADD of the plugin bridge. */
async function failureOfScript(script: string, options: InvokeOptions = {}): Promise<PluginError> {
  using plugins = new PluginDir();
  return await failureOf(invoke(add(plugins.write("bridge", script)), options));
}

/** Runs a script that has `call(plugin, stdin, options)`, in a process that has no pipes yet. */
function inNewProcess(plugins: PluginDir, script: string, wrapper: readonly string[] = []): SpawnSyncReturns<string> {
  const begin = `
    import * as fs from "node:fs";
    const { invoke } = await import(${JSON.stringify(new URL("../../src/cni/invoke.ts", import.meta.url))});
    const call = (plugin, stdin, options) => invoke(
      { plugin, path: ${JSON.stringify(plugins.path)} + "/" + plugin, command: "ADD", parameters: {}, stdin }, options);`;
  const module = plugins.file("caller.mjs", `${begin}${script}`);
  const [file, ...words] = [...wrapper, process.execPath, module];
  return spawnSync(file, words, { encoding: "utf8" });
}

describe("findPlugin", () => {
  test("takes the first regular file of the directories in their order, executable or not", () => {
    using first = new PluginDir();
    using second = new PluginDir();
    fs.mkdirSync(join(first.path, "bridge"));
    first.file("ptp", "", 0o644);
    second.file("bridge", "");
    second.file("ptp", "");
    fs.symlinkSync("ptp", join(first.path, "linked"));
    fs.symlinkSync("nowhere", join(first.path, "dangling"));
    const found = (type: string): string | undefined => findPlugin(type, ["/nonexistent", first.path, second.path]);
    assert.equal(found("bridge"), join(second.path, "bridge"));
    assert.equal(found("ptp"), join(first.path, "ptp"));
    assert.equal(found("linked"), join(first.path, "linked"));
    assert.equal(found("dangling"), undefined);
    assert.equal(found("none"), undefined);
    assert.equal(findPlugin("bridge", []), undefined);
  });

  test("refuses a type that is not a file name: plugins are not looked for elsewhere", () => {
    using plugins = new PluginDir();
    plugins.file("bridge", "");
    for (const type of ["", "../bridge", "/bin/sh", "sub/bridge"]) {
      assert.throws(() => findPlugin(type, [plugins.path]), { name: "CniError", code: 7 });
    }
  });

  test("looks below another root, and returns the path as it is there", () => {
    using plugins = new PluginDir();
    fs.mkdirSync(join(plugins.path, "opt/cni/bin"), { recursive: true });
    plugins.file("opt/cni/bin/bridge", "");
    assert.equal(findPlugin("bridge", ["/opt/cni/bin"], plugins.path), "/opt/cni/bin/bridge");
  });
});

describe("invoke", () => {
  test("gives the plugin its parameters, the rest of the environment, and its configuration", async () => {
    using plugins = new PluginDir();
    const path = plugins.write("bridge", `echo "$#"; env | grep -E '^(CNI_|OTHER)' | sort; cat`);
    const parameters = {
      containerId: "c1",
      netns: "/run/netns/a",
      ifName: "eth0",
      args: [
        ["K", "v"],
        ["L", "w"],
      ] as const,
      pluginDirs: ["/a", "/b"],
    };
    const env = { PATH: process.env["PATH"], OTHER: "1", CNI_IFNAME: "inherited", CNI_COMMAND: "DEL", CNI_MORE: "m" };
    const stdin = '{"name":"é"}\n';
    assert.equal(
      await invoke(add(path, { parameters, stdin }), { env }),
      [
        "0",
        "CNI_ARGS=K=v;L=w",
        "CNI_COMMAND=ADD",
        "CNI_CONTAINERID=c1",
        "CNI_IFNAME=eth0",
        "CNI_MORE=m",
        "CNI_NETNS=/run/netns/a",
        "CNI_PATH=/a:/b",
        "OTHER=1",
        stdin,
      ].join("\n"),
    );
  });

  test("sets what is not given to nothing, so that it is not inherited", async () => {
    using plugins = new PluginDir();
    const path = plugins.write("bridge", "env | grep ^CNI_ | sort");
    const env = { PATH: process.env["PATH"], CNI_NETNS: "/run/netns/other", CNI_ARGS: "K=v" };
    assert.equal(
      await invoke(add(path, { command: "STATUS" }), { env }),
      "CNI_ARGS=\nCNI_COMMAND=STATUS\nCNI_CONTAINERID=\nCNI_IFNAME=\nCNI_NETNS=\nCNI_PATH=\n",
    );
  });

  test("the plugin is called by its name, whatever the file is called", async () => {
    using plugins = new PluginDir();
    const path = plugins.file("3f9a", fs.readFileSync("/bin/sh"));
    const stdin = 'echo "$0"';
    assert.equal(await invoke(add(path, { stdin })), "bridge\n");
  });

  test("a script may open its standard streams by name, also where there is no place for temporary files", async () => {
    using plugins = new PluginDir();
    const path = plugins.write(
      "bridge",
      "set -e; cat /dev/stdin > /dev/stdout; echo said > /dev/stderr; cat /dev/stdin; echo end > /dev/stdout",
    );
    using _ = new Variable("TMPDIR", "/nonexistent");
    const calls: PluginCall[] = [];
    assert.equal(await invoke(add(path, { stdin: "once " }), { trace: (call) => calls.push(call) }), "once end\n");
    assert.equal(calls[0]?.stderr, "said\n");
  });

  test("works where there is no shell that makes pipes", () => {
    using plugins = new PluginDir();
    plugins.write("bridge", "cat; echo said >&2");
    plugins.write("deaf", "exec true");
    const script = `
      const { env } = process;
      process.env = { PATH: "/nonexistent" };
      const stdin = "x".repeat(1_000_000);
      const lengths = [];
      for (const plugin of ["bridge", "deaf"]) lengths.push((await call(plugin, stdin, { env })).length);
      console.log(lengths.join());`;
    assert.equal(inNewProcess(plugins, script).stdout, "1000000,0\n");
  });

  test("one shell makes the pipes of all calls, one after the other", () => {
    using plugins = new PluginDir();
    plugins.write("bridge", "cat /dev/stdin; exit 1");
    plugins.write("deaf", "exec true");
    plugins.write("sh", `echo made >> ${plugins.path}/shells; exec /bin/sh "$@"`);
    const script = `
      process.env.PATH = ${JSON.stringify(plugins.path)} + ":" + process.env.PATH;
      for (let i = 0; i < 5; i++) {
        for (const plugin of ["bridge", "deaf", "missing"]) await call(plugin, "x".repeat(1000)).catch(() => undefined);
      }`;
    inNewProcess(plugins, script);
    assert.equal(fs.readFileSync(join(plugins.path, "shells"), "utf8"), "made\n");
  });

  test("what one plugin leaves behind neither reads the input nor joins the output of the next", async () => {
    using plugins = new PluginDir();
    const leaving = 'until [ -e "$0.go" ]; do sleep 0.02; done; cat <&3 >> "$0.stolen"; echo forged; echo forged >&4';
    const holds = {
      input: `exec 3<&0 4>/dev/null; (${leaving}) >/dev/null 2>&1 &`,
      output: `exec 3</dev/null 4>&1; (${leaving}) </dev/null >/dev/null 2>&1 &`,
      "output for reading": `exec 3</dev/stdout 4>/dev/null; (${leaving}) </dev/null >/dev/null 2>&1 &`,
    };
    const next = plugins.write("next", "sleep 0.2; cat; sleep 0.2");
    for (const [what, script] of Object.entries(holds)) {
      const path = plugins.write("bridge", `cat; ${script}\necho $!`);
      const daemon = Number((await invoke(add(path))).replace("{}", ""));
      fs.writeFileSync(`${path}.go`, "");
      for (let i = 0; i < 3; i++) assert.equal(await invoke(add(next, { stdin: "own" })), "own", what);
      await until(() => !isAlive(daemon));
      assert.doesNotMatch(fs.readFileSync(`${path}.stolen`, "utf8"), /own/u, what);
      fs.rmSync(`${path}.go`);
    }
  });

  test("a plugin need not read its configuration", async () => {
    using plugins = new PluginDir();
    const path = plugins.write("bridge", "exec 0<&-; echo done");
    assert.equal(await invoke(add(path, { stdin: "x".repeat(1_000_000) })), "done\n");
  });

  test("waits for output that comes late from what the plugin has started", async () => {
    using plugins = new PluginDir();
    assert.equal(await invoke(add(plugins.write("bridge", "(sleep 0.3; echo late) & exit 0"))), "late\n");
  });

  test("a daemon that keeps the plugin's output open is neither waited for nor ended", async () => {
    using plugins = new PluginDir();
    const path = plugins.write("bridge", "sleep 60 & echo $!");
    // What comes after the plugin's end does not count.
    const daemon = Number(await invoke(add(path), { timeoutMs: 1000 }));
    assert.ok(isAlive(daemon));
    process.kill(daemon);
  });

  test("a plugin that has ended by itself has not been ended by us, whoever keeps its output open", async () => {
    using plugins = new PluginDir();
    const path = plugins.write("bridge", 'echo $$ > "$0.pid"; sleep 60 & echo $!');
    process.kill(Number(await invoke(add(path), { timeoutMs: 1000 })));
    fs.rmSync(`${path}.pid`);

    const caller = new AbortController();
    const call = invoke(add(path), { signal: caller.signal });
    await until(() => fs.existsSync(`${path}.pid`) && fs.readFileSync(`${path}.pid`, "utf8").endsWith("\n"));
    await until(() => !isAlive(Number(fs.readFileSync(`${path}.pid`, "utf8"))));
    caller.abort("SIGTERM");
    const daemon = Number(await call);
    if (isAlive(daemon)) process.kill(daemon);
  });

  test("output of any form is returned as it is: bytes that are split, and a large one", async () => {
    using plugins = new PluginDir();
    const path = plugins.write(
      "bridge",
      `printf '\\303'; sleep 0.1; printf '\\251'; head -c 2000000 /dev/zero | tr '\\0' x`,
    );
    assert.equal(await invoke(add(path)), `é${"x".repeat(2_000_000)}`);
  });

  test("runs the plugin through a wrapper, which gets its path", async () => {
    using plugins = new PluginDir();
    const path = plugins.write("bridge", `echo "$0 $CNI_COMMAND $WRAPPED"; cat`);
    const wrapper = ["env", "WRAPPED=yes"];
    assert.equal(await invoke(add(path), { wrapper }), `${path} ADD yes\n{}`);
  });

  test("leaves no descriptors and no temporary files", async () => {
    using plugins = new PluginDir();
    const path = plugins.write("bridge", "exit 1");
    using _ = new Variable("TMPDIR", plugins.path);
    const descriptors = (): number => fs.readdirSync("/proc/self/fd").length;
    await failureOf(invoke(add(path)));
    const before = descriptors();
    for (let i = 0; i < 5; i++) {
      await failureOf(invoke(add(path)));
      await failureOf(invoke(add("/nonexistent/bridge")));
    }
    await until(() => descriptors() <= before);
    assert.deepEqual(fs.readdirSync(plugins.path), ["bridge"]);
  });
});

describe("a plugin's failure is told in the specification's terms", () => {
  const cases: [what: string, script: string, code: number, msg: string, details?: string][] = [
    [
      "the error object on its output",
      `echo '{"cniVersion":"1.0.0","code":11,"msg":"busy","details":"lease"}'; echo log >&2; exit 1`,
      11,
      "busy",
      "lease",
    ],
    ["an error object without details", `echo '{"code":7,"msg":"bad"}'; exit 3`, 7, "bad"],
    ["details that are no text", `echo '{"code":7,"msg":"bad","details":{"a":1}}'; exit 1`, 7, "bad", '{"a":1}'],
    ["an error object without a code", `echo '{"msg":"bad"}'; exit 1`, 0, "bad"],
    ["an object that is not an error", `echo '{"a":1}'; exit 1`, 0, '{"a":1}', "exit code 1"],
    ["text on its output", "echo no route; echo log >&2; exit 2", 0, "no route", "exit code 2"],
    ["text on its error output", "echo ' no route' >&2; exit 2", 0, "no route", "exit code 2"],
    ["nothing but its exit code", "exit 9", 0, "no error message, exit code 9"],
    ["the signal that ended it", "kill -TERM $$", 0, "no error message, ended by SIGTERM"],
    ["what it said before a signal", "echo dying >&2; kill -KILL $$", 0, "dying", "ended by SIGKILL"],
  ];
  for (const [what, script, code, msg, details] of cases) {
    test(what, async () => {
      const error = await failureOfScript(script);
      const { reason, plugin, command } = error;
      assert.deepEqual(
        { reason, plugin, command, code: error.code, msg: error.msg, details: error.details },
        {
          reason: "exit",
          plugin: "bridge",
          command: "ADD",
          code,
          msg,
          details,
        },
      );
      assert.equal(error.message, `plugin bridge: ADD failed: ${msg}${details === undefined ? "" : `; ${details}`}`);
    });
  }

  test("a long text is shortened, and kept whole in the error", async () => {
    const error = await failureOfScript("head -c 100000 /dev/zero | tr '\\0' x; exit 1");
    assert.equal(error.msg.length, 2001);
    assert.equal(error.stdout.length, 100_000);
  });
});

describe("a plugin that the system does not start", () => {
  const foreign = Buffer.alloc(64);
  foreign.write("\x7fELF\x02\x01\x01", "latin1");
  foreign.writeUInt16LE(2, 16);
  foreign.writeUInt16LE(process.arch === "arm64" ? 62 : 183, 18);
  const cases: [what: string, content: string | Buffer, mode: number, systemCode: string, message: RegExp][] = [
    ["is not executable", "#!/bin/sh\n", 0o644, "EACCES", /bridge cannot be run: permission denied$/u],
    ["is for another machine", foreign, 0o755, "ENOEXEC", /cannot be run: exec format error$/u],
    ["is empty", "", 0o755, "ENOEXEC", /exec format error/u],
    ["is a script that names no interpreter", "exit 0\n", 0o755, "ENOEXEC", /exec format error/u],
    ["names an interpreter that is not there", "#!/nonexistent/sh\n", 0o755, "ENOENT", /the file is there; the inter/u],
  ];
  for (const [what, content, mode, systemCode, message] of cases) {
    test(what, async () => {
      using plugins = new PluginDir();
      const error = await failureOf(invoke(add(plugins.file("bridge", content, mode))));
      assert.deepEqual([error.reason, error.systemCode, error.code], ["start", systemCode, ERROR_CODES.unknown]);
      assert.match(error.message, message);
    });
  }

  test("is not there, or its wrapper is not", async () => {
    using plugins = new PluginDir();
    const missing = await failureOf(invoke(add("/nonexistent/bridge")));
    assert.deepEqual([missing.systemCode, missing.details], ["ENOENT", undefined]);
    const path = plugins.write("bridge", "exit 0");
    const wrapper = ["/nonexistent/nsenter", "--"];
    assert.match((await failureOf(invoke(add(path), { wrapper }))).msg, /^\/nonexistent\/nsenter cannot be run/u);
  });

  test("has no descriptors left for it", async () => {
    using plugins = new PluginDir();
    plugins.write("bridge", "cat");
    const script = `
      const opened = [];
      try {
        for (;;) opened.push(fs.openSync("/dev/null"));
      } catch {}
      await call("bridge", "said").catch(({ name, systemCode }) => console.log(name, systemCode));
      for (const descriptor of opened) fs.closeSync(descriptor);
      console.log(await call("bridge", "said"));`;
    const ran = inNewProcess(plugins, script, ["prlimit", "--nofile=100"]);
    assert.deepEqual([ran.stdout, ran.stderr], ["PluginError EMFILE\nsaid\n", ""]);
  });

  test("is just being written: it is tried again until it is complete", async () => {
    using plugins = new PluginDir();
    const path = plugins.file("bridge", fs.readFileSync("/bin/true"));
    const writer = fs.openSync(path, "r+");
    const calls: PluginCall[] = [];
    const trace = (call: PluginCall): void => {
      calls.push(call);
      if (calls.length === 2) fs.closeSync(writer);
    };
    await invoke(add(path), { trace });
    assert.deepEqual(
      calls.map(({ systemCode, exitCode }) => systemCode ?? exitCode),
      ["ETXTBSY", "ETXTBSY", 0],
    );
  });
});

describe("a plugin that does not end by itself", () => {
  /** Says which processes it consists of, and goes on. */
  const ENDLESS = "trap '' TERM INT; sleep 60 & echo $$ $! > \"$0.pids\"; wait; sleep 60";

  async function pidsOf(path: string): Promise<number[]> {
    await until(() => fs.existsSync(`${path}.pids`) && fs.readFileSync(`${path}.pids`, "utf8").endsWith("\n"));
    return fs.readFileSync(`${path}.pids`, "utf8").split(" ").map(Number);
  }

  test("is ended after its time, with all that it has started", async () => {
    using plugins = new PluginDir();
    const path = plugins.write("bridge", ENDLESS);
    const error = await failureOf(invoke(add(path), { timeoutMs: 500 }));
    assert.deepEqual([error.reason, error.signal], ["timeout", "SIGKILL"]);
    assert.match(error.message, /ADD failed: it was ended: it took longer than 500 ms$/u);
    const pids = await pidsOf(path);
    assert.equal(pids.length, 2);
    await until(() => !pids.some(isAlive));
  });

  test("is ended when its caller gives up, with all that it has started", async () => {
    using plugins = new PluginDir();
    const path = plugins.write("bridge", ENDLESS);
    const caller = new AbortController();
    const failure = failureOf(invoke(add(path), { signal: caller.signal }));
    const pids = await pidsOf(path);
    caller.abort("SIGTERM");
    const error = await failure;
    assert.deepEqual([error.reason, error.msg], ["aborted", "it was ended: SIGTERM"]);
    await until(() => !pids.some(isAlive));
  });

  test("is not started for a caller that has given up", async () => {
    using plugins = new PluginDir();
    const path = plugins.write("bridge", 'touch "$0.started"');
    const error = await failureOf(invoke(add(path), { signal: AbortSignal.abort("SIGINT") }));
    assert.equal(error.reason, "aborted");
    assert.ok(!fs.existsSync(`${path}.started`));
  });

  test("prints without end: it is ended, and not everything is kept", async () => {
    const error = await failureOfScript("yes & yes >&2");
    assert.equal(error.reason, "output");
    assert.match(error.msg, /printed more than 8388608 bytes/u);
    assert.ok(error.stdout.length + error.stderr.length <= 2 * 8_388_608);
  });
});

describe("askVersion", () => {
  async function versionsOf(script: string, options: Parameters<typeof askVersion>[1] = {}): Promise<string[]> {
    using plugins = new PluginDir();
    return await askVersion({ plugin: "bridge", path: plugins.write("bridge", script) }, options);
  }

  test("returns what the plugin supports", async () => {
    const answer = { cniVersion: "1.1.0", supportedVersions: ["0.4.0", "1.0.0"] };
    assert.deepEqual(await versionsOf(`echo '${JSON.stringify(answer)}'`), ["0.4.0", "1.0.0"]);
  });

  test("asks with a clean environment, and the parameters on which old plugins insist", async () => {
    process.env["CNI_NODE_TEST_SECRET"] = "1";
    const answer = `printf '{"cniVersion":"1.0.0","supportedVersions":["%s"]}' "$(env | grep -v -e ^CNINODE_CALL -e ^PWD -e ^_= -e ^SHLVL | sort | tr '\\n' ' ')$(cat | tr -d '"')"`;
    assert.deepEqual(await versionsOf(answer), [
      `CNI_ARGS= CNI_COMMAND=VERSION CNI_CONTAINERID= CNI_IFNAME=dummy CNI_NETNS=dummy CNI_PATH=dummy PATH=${process.env["PATH"] ?? ""} {cniVersion:1.1.0}`,
    ]);
    delete process.env["CNI_NODE_TEST_SECRET"];
  });

  test("an answer without versions is one of 0.2.0 only", async () => {
    assert.deepEqual(await versionsOf(`echo '{"cniVersion":"0.2.0"}'`), ["0.1.0", "0.2.0"]);
    await assert.rejects(versionsOf(`echo '{"cniVersion":"1.0.0"}'`), /no supportedVersions/u);
    await assert.rejects(versionsOf(`echo '{"cniVersion":"1.0.0","supportedVersions":[]}'`), /no supportedVersions/u);
  });

  test("a plugin that does not know the command is one of 0.1.0", async () => {
    assert.deepEqual(await versionsOf(`echo '{"code":100,"msg":"unknown CNI_COMMAND: VERSION"}'; exit 1`), ["0.1.0"]);
    await assert.rejects(versionsOf(`echo '{"code":100,"msg":"unknown CNI_COMMAND: VERSIONS"}'; exit 1`), PluginError);
  });

  const wrong: [what: string, script: string, message: RegExp][] = [
    ["nothing", "exit 0", /its answer is not a JSON object: ""/u],
    ["text", "echo hello", /its answer is not a JSON object: "hello\\n"/u],
    ["a list", "echo '[]'", /not a JSON object/u],
    ["no cniVersion", `echo '{"supportedVersions":["1.0.0"]}'`, /no cniVersion/u],
    [
      "versions that are no list",
      `echo '{"cniVersion":"1.0.0","supportedVersions":"1.0.0"}'`,
      /not a list of versions/u,
    ],
    ["versions that are no text", `echo '{"cniVersion":"1.0.0","supportedVersions":[1]}'`, /not a list of versions/u],
  ];
  for (const [what, script, message] of wrong) {
    test(`an answer that is not to be understood is an error: ${what}`, async () => {
      const error = await failureOf(versionsOf(script));
      assert.deepEqual([error.reason, error.code, error.command], ["answer", ERROR_CODES.decodingFailure, "VERSION"]);
      assert.match(error.message, message);
    });
  }

  test("a plugin that does not answer is ended", async () => {
    assert.equal((await failureOf(versionsOf("sleep 60", { timeoutMs: 100 }))).reason, "timeout");
  });
});

test("every call is told to the trace: what was set, read and printed, and how it ended", async () => {
  using plugins = new PluginDir();
  const path = plugins.write("bridge", "echo out; echo err >&2; exit 4");
  const calls: PluginCall[] = [];
  await failureOf(
    invoke(add(path, { parameters: { containerId: "c1" } }), {
      env: { OTHER: "1" },
      trace: (call) => calls.push(call),
    }),
  );
  const [{ durationMs, ...call }] = calls as [PluginCall];
  assert.ok(Number.isInteger(durationMs));
  assert.deepEqual(call, {
    plugin: "bridge",
    path,
    command: "ADD",
    env: {
      CNI_COMMAND: "ADD",
      CNI_CONTAINERID: "c1",
      CNI_NETNS: "",
      CNI_IFNAME: "",
      CNI_ARGS: "",
      CNI_PATH: "",
    },
    stdin: "{}",
    stdout: "out\n",
    stderr: "err\n",
    exitCode: 4,
  });
});

test("the trace tells also of a call that did not end by itself, and of one that was not started", async () => {
  using plugins = new PluginDir();
  const path = plugins.write("bridge", "echo begun; exec sleep 60");
  const calls: PluginCall[] = [];
  const trace = (call: PluginCall): unknown => calls.push(call);
  await failureOf(invoke(add(path), { timeoutMs: 500, trace }));
  await failureOf(invoke(add(path), { signal: AbortSignal.abort("SIGINT"), trace }));
  await failureOf(invoke(add(`${path}-none`), { trace }));
  assert.deepEqual(
    calls.map(({ stdout, exitCode, signal, systemCode, stopped }) => [stdout, exitCode, signal, systemCode, stopped]),
    [
      ["begun\n", undefined, "SIGKILL", undefined, "timeout"],
      ["", undefined, undefined, undefined, "aborted"],
      ["", undefined, undefined, "ENOENT", undefined],
    ],
  );
});

/** A variable of this process's environment, as long as it lives. */
class Variable implements Disposable {
  readonly #name: string;
  readonly #before: string | undefined;

  constructor(name: string, value: string) {
    this.#name = name;
    this.#before = process.env[name];
    process.env[name] = value;
  }

  [Symbol.dispose](): void {
    if (this.#before === undefined) delete process.env[this.#name];
    else process.env[this.#name] = this.#before;
  }
}
