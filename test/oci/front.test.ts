/** The shell script that stands before the program (scripts/oci.sh), under each shell that hosts have for sh. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";

import { hooksOf } from "../../src/oci/wrapper.ts";
import { spliceHooks } from "../../src/oci/spec.ts";

const FRONT = fileURLToPath(new URL("../../scripts/oci.sh", import.meta.url));
const PATH = "/usr/local/sbin:/usr/bin:/bin";

/** What was run: a program's name and its words. */
type Run = string[];

/** How the front is run. */
interface How {
  front?: string;
  shell?: readonly string[];
  cwd?: string;
  env?: NodeJS.ProcessEnv;
}

/** The front beside a Node.js and a program, and a runtime, which only say how they were run. */
class Host implements Disposable {
  readonly root = fs.mkdtempSync(join(fs.realpathSync(tmpdir()), "cni-node-front-"));
  readonly front = join(this.root, "lib/oci.sh");
  readonly runtime = join(this.root, "bin/runc");
  readonly config = join(this.root, "cni.yaml");
  readonly bundle = join(this.root, "bundle");
  readonly spec = join(this.bundle, "config.json");
  readonly #record = join(this.root, "record");
  readonly #shell: readonly string[];

  constructor(shell: readonly string[]) {
    this.#shell = shell;
    for (const directory of ["lib", "bin", "bundle"]) fs.mkdirSync(join(this.root, directory));
    fs.copyFileSync(FRONT, this.front);
    fs.writeFileSync(join(this.root, "lib/cni-node.cjs"), "");
    this.program("lib/node");
    this.program("bin/runc");
    this.configure(`oci_bin: ${this.runtime}\n`);
  }

  /** One that writes down its name, its words and variables of Node.js. */
  program(path: string): void {
    const script = `#!/bin/sh\n{ printf '%s\\0' ${path} "$@" \${NODE_OPTIONS+options} ; echo; } >>${this.#record}\n`;
    fs.writeFileSync(join(this.root, path), script, { mode: 0o755 });
  }

  /** A program that does this. */
  script(path: string, lines: readonly string[]): void {
    fs.writeFileSync(join(this.root, path), ["#!/bin/sh", ...lines, ""].join("\n"), { mode: 0o755 });
  }

  /** What is printed by what the front runs. */
  output(words: readonly string[]): string {
    const [file = "", ...before] = this.#shell;
    const options = { encoding: "utf8", cwd: this.root, env: { PATH }, timeout: 20_000 } as const;
    return spawnSync(file, [...before, this.front, ...words], options).stdout;
  }

  configure(text: string): void {
    fs.writeFileSync(this.config, text);
  }

  /** Runs the front, and says what that ran. */
  run(words: readonly string[], { front = this.front, shell = this.#shell, ...more }: How = {}): Run {
    const [file = "", ...before] = shell;
    const options = { encoding: "utf8", cwd: this.root, env: { PATH }, ...more } as const;
    const ran = spawnSync(file, [...before, front, ...words], options);
    const written = fs.existsSync(this.#record) ? fs.readFileSync(this.#record, "utf8") : "";
    fs.rmSync(this.#record, { force: true });
    if (written === "") return ["nothing", String(ran.status), ran.stdout, ran.stderr];
    assert.deepEqual([ran.status, ran.stdout, ran.stderr], [0, "", ""]);
    return written.replace(/\0\n$/u, "").split("\0");
  }

  /** As an engine calls it. */
  oci(...words: string[]): Run {
    return this.run(["oci", "--config", this.config, "--", ...words]);
  }

  [Symbol.dispose](): void {
    fs.rmSync(this.root, { recursive: true });
  }
}

const SHELLS = [["/bin/dash"], ["/bin/busybox", "sh"], ["/bin/bash"]].map((words) => {
  const isThere = spawnSync(words[0] ?? "", [...words.slice(1), "-c", ":"]).status === 0;
  return { words, skip: isThere ? false : `needs ${words[0] ?? ""}` };
});

const NETWORK = '"linux":{"namespaces":[{"type":"pid"},{"type":"network"},{"type":"mount"}]}';
const START =
  '{"ociVersion":"1.0.2-dev","process":{"env":["A=\\"hooks\\":{","B=a&b|c\\\\d"],"rlimits":[{"hard":18446744073709551615}]},"mounts":[{"x":1}]';
const DOCKER = '{"path":"/proc/1/exe","args":["libnetwork-setkey","-exec-root=/x"]}';
const GLOBALS = ["--root", "/r", "--log", "/l/log.json", "--log-format", "json"];

for (const { words: shell, skip } of SHELLS) {
  describe(`the front under ${shell.join(" ")}`, { skip }, () => {
    test("hands every word on to the runtime, as it is", () => {
      using host = new Host(shell);
      const odd = ["a b", "", "*", "$HOME", "\\n\n", "'\"", "-", "--"];
      for (const words of [[], ["--version"], [...GLOBALS, "state", "id"], ["exec", "id", ...odd], ["x", ...odd]]) {
        assert.deepEqual(host.oci(...words), ["bin/runc", ...words]);
      }
      assert.deepEqual(host.run(["oci", `--config=${host.config}`, "x", ...odd]), ["bin/runc", "x", ...odd]);
    });

    const SPECS: [name: string, text: string][] = [
      ["no hooks", `${START},${NETWORK}}`],
      ["Docker's hook", `${START},"hooks":{"prestart":[${DOCKER}]},${NETWORK}}\n`],
      ["no end of line, and other namespaces", `{"ociVersion":"1",${NETWORK}}`],
    ];
    for (const [name, text] of SPECS) {
      test(`puts the hooks into a configuration that has ${name}, without Node.js`, () => {
        using host = new Host(shell);
        fs.writeFileSync(host.spec, text);
        fs.chmodSync(host.spec, 0o640);
        const words = [...GLOBALS, "create", "--bundle", host.bundle, "--pid-file", "/p", "id"];
        assert.deepEqual(host.oci(...words), ["bin/runc", ...words]);
        const spliced = fs.readFileSync(host.spec, "utf8");
        const hooks = hooksOf(host.front, host.config, { PATH });
        const added = JSON.stringify(hooks.createRuntime);
        // In the place of what was put in, the text is the same.
        const both = `"createRuntime":[${added}],"poststop":[${JSON.stringify(hooks.poststop)}]`;
        const removed = spliced.replace(`"hooks":{${both}},`, "").replace(`${both},`, "");
        assert.deepEqual([spliced.split(both).length, removed], [2, text]);
        assert.deepEqual(spliceHooks(spliced, hooks, host.spec), spliced, "the program sees its own hooks");
        assert.equal(fs.statSync(host.spec).mode & 0o777, 0o640);
        assert.deepEqual(fs.readdirSync(host.bundle), ["config.json"]);
        assert.deepEqual(host.oci(...words).slice(0, 2), ["lib/node", join(host.root, "lib/cni-node.cjs")], "again");
        assert.equal(fs.readFileSync(host.spec, "utf8"), spliced);
      });
    }

    test("leaves a configuration to the program that the disk has no place for", () => {
      using host = new Host(shell);
      const text = `{"ociVersion":"1","x":"${"y".repeat(800)}",${NETWORK}}\n`;
      fs.writeFileSync(host.spec, text);
      // What is written beyond 1 KiB fails.
      const limited = ["/bin/bash", "--norc", "-c", "trap '' XFSZ; ulimit -f 1; exec \"$@\"", "bash", ...shell];
      const words = ["oci", "--config", host.config, "--", "create", "--bundle", host.bundle, "id"];
      assert.equal(host.run(words, { shell: limited })[0], "lib/node");
      assert.equal(fs.readFileSync(host.spec, "utf8"), text);
      assert.deepEqual(fs.readdirSync(host.bundle), ["config.json"]);
    });

    // This one has a sed of its own.
    test("leaves a configuration to the program that sed has not written whole", { skip: shell.length > 1 }, () => {
      using host = new Host(shell);
      const text = SPECS[1]?.[1] ?? "";
      fs.mkdirSync(join(host.root, "full"));
      const env = { PATH: `${join(host.root, "full")}:${PATH}` };
      const words = ["oci", "--config", host.config, "--", "create", "--bundle", host.bundle, "id"];
      const truncate = (size: string): string => `truncate -s ${size} ${host.spec}.cni-node`;
      for (const [end, isWhole] of [
        ["exit 0", true],
        ["exit 4", false],
        [truncate("-2"), false],
        [truncate("300"), false],
        [truncate("0"), false],
      ] as const) {
        fs.writeFileSync(host.spec, text);
        fs.writeFileSync(join(host.root, "full/sed"), `#!/bin/sh\n/bin/sed "$@"\n${end}\n`, { mode: 0o755 });
        assert.equal(host.run(words, { env })[0], isWhole ? "bin/runc" : "lib/node", end);
        assert.equal(fs.readFileSync(host.spec, "utf8") === text, !isWhole, end);
        assert.deepEqual(fs.readdirSync(host.bundle), ["config.json"]);
      }
    });

    test("takes the working directory for the bundle", () => {
      using host = new Host(shell);
      fs.writeFileSync(host.spec, SPECS[0]?.[1] ?? "");
      const words = ["run", "id"];
      assert.deepEqual(host.run(["oci", "--config", host.config, "--", ...words], { cwd: host.bundle }), [
        "bin/runc",
        ...words,
      ]);
      assert.match(fs.readFileSync(host.spec, "utf8"), /^\{"hooks":/u);
    });

    describe("called by containerd", () => {
      const created = (host: Host, ...globals: string[]): string[] => {
        return [...globals, "--log", join(host.bundle, "log.json"), "create", "--bundle", host.bundle, "id"];
      };

      test("starts the program beside create, whose hooks hand themselves on to it", () => {
        using host = new Host(shell);
        fs.writeFileSync(host.spec, SPECS[0]?.[1] ?? "");
        // Answers of others come first; then it ends.
        host.script("lib/node", [
          '[ "$2" = standby ] || { echo "cold $2 $(cat)"; exit 3; }',
          "read -r pid",
          'echo 1 5; echo "$pid taken"; cat </proc/$pid/fd/6 >&2; echo "$pid 7"',
        ]);
        host.script("bin/runc", [
          `cd ${host.bundle}`,
          `export CNI_NODE_BUNDLE=${host.bundle}`,
          `for state in one two; do echo $state | ${[...shell, host.front].join(" ")} cni --command add; echo $?; done`,
        ]);
        const stdout = host.output(["oci", "--config", host.config, "--", ...created(host)]);
        assert.deepEqual(stdout, "7\ncold cni two\n3\n");
        const env = `"env":["PATH=${PATH}","CNI_NODE_BUNDLE=${host.bundle}"]`;
        assert.equal(fs.readFileSync(host.spec, "utf8").split(env).length, 3, "both hooks are told where it is");
        assert.deepEqual(fs.statSync(join(host.bundle, ".cni-node-ask")).mode & 0o777, 0o600);
      });

      test("does the work of a hook that the program declines, and says that it was killed", () => {
        using host = new Host(shell);
        fs.writeFileSync(host.spec, SPECS[0]?.[1] ?? "");
        host.script("bin/runc", [
          `cd ${host.bundle}`,
          `echo one | CNI_NODE_BUNDLE=${host.bundle} ${host.front} cni --command add 2>&1; echo $?`,
        ]);
        for (const [answer, result] of [
          ['echo "$pid "', "cold one\n3\n"],
          ["exit", "cold one\n3\n"],
          ['echo "$pid taken"', "cni-node: the hook was killed\n127\n"],
        ] as const) {
          fs.writeFileSync(host.spec, SPECS[0]?.[1] ?? "");
          host.script("lib/node", ['[ "$2" = standby ] || { echo "cold $(cat)"; exit 3; }', "read -r pid", answer]);
          assert.equal(host.output(["oci", "--config", host.config, "--", ...created(host)]), result, answer);
        }
      });

      test(
        "hands no hook on through a FIFO or a directory of others, a link, or where no hook was told of one",
        { skip: process.getuid?.() !== 0 && "needs root" },
        () => {
          using host = new Host(shell);
          const names = [".cni-node-ask", ".cni-node-answer"];
          const ran = (env: NodeJS.ProcessEnv): string | undefined =>
            host.run(["cni"], { cwd: host.bundle, env: { PATH, ...env } })[0];
          const told = { CNI_NODE_BUNDLE: host.bundle };
          spawnSync("mkfifo", names, { cwd: host.bundle });
          for (const path of [host.bundle, ...names.map((name) => join(host.bundle, name))]) {
            fs.chownSync(path, 65_534, 65_534);
            assert.equal(ran(told), "lib/node", path);
            fs.chownSync(path, 0, 0);
          }
          assert.equal(ran({}), "lib/node", "the directory in which a hook is called says nothing");
          assert.equal(ran({ CNI_NODE_BUNDLE: "." }), "lib/node");
          assert.deepEqual(fs.readdirSync(host.bundle).toSorted(), names.toSorted());
          for (const name of names) {
            fs.renameSync(join(host.bundle, name), join(host.root, name));
            fs.symlinkSync(join(host.root, name), join(host.bundle, name));
            assert.equal(ran(told), "lib/node", `${name} is a link`);
            fs.rmSync(join(host.bundle, name));
            fs.renameSync(join(host.root, name), join(host.bundle, name));
          }
          assert.equal(ran(told), "lib/node", "nobody stands by");
        },
      );

      test("hands on one hook at a time: the other one starts the program", () => {
        using host = new Host(shell);
        fs.writeFileSync(host.spec, SPECS[0]?.[1] ?? "");
        host.script("lib/node", [
          '[ "$2" = standby ] || { echo "cold $(cat)"; exit 3; }',
          `read -r pid; echo "$pid taken"; until [ -e ${host.root}/second ]; do sleep 0.05; done; echo "$pid 7"`,
        ]);
        host.script("bin/runc", [
          `export CNI_NODE_BUNDLE=${host.bundle}`,
          `{ echo one | ${[...shell, host.front].join(" ")} cni --command add; echo $? >${host.root}/one; } &`,
          `until [ ! -e ${host.bundle}/.cni-node-ask ]; do sleep 0.05; done`,
          `echo two | ${[...shell, host.front].join(" ")} cni --command del; echo $?; touch ${host.root}/second; wait`,
        ]);
        assert.equal(host.output(["oci", "--config", host.config, "--", ...created(host)]), "cold two\n3\n");
        assert.equal(fs.readFileSync(join(host.root, "one"), "utf8"), "7\n");
        assert.ok(fs.existsSync(join(host.bundle, ".cni-node-ask")), "the next one is handed on again");
      });

      test("starts no program for a container without a network namespace", () => {
        using host = new Host(shell);
        fs.writeFileSync(host.spec, '{"ociVersion":"1.0.2","linux":{"namespaces":[{"type":"pid"}]}}');
        host.script("lib/node", ["[ $2 = standby ] && touch stood; exec true"]);
        host.output(["oci", "--config", host.config, "--", ...created(host)]);
        assert.deepEqual(fs.readdirSync(host.bundle), ["config.json"]);
      });

      test("starts the program for no other call, and where its log is elsewhere for none", () => {
        using host = new Host(shell);
        host.script("lib/node", ['[ "$2" = standby ] || exit 3', "read -r pid", 'echo "$pid 7"']);
        host.script("bin/runc", [`cd ${host.bundle}`, `${host.front} cni --command del; echo $?`]);
        const call = (...words: string[]): string => host.output(["oci", "--config", host.config, "--", ...words]);
        const log = ["--log", join(host.bundle, "log.json")];
        for (const words of [
          [...log, "run", "--bundle", host.bundle, "id"],
          [...log, "delete", "id"],
          ["--log", join(host.root, "log.json"), "create", "--bundle", host.bundle, "id"],
          ["create", "--bundle", host.bundle, "id"],
        ]) {
          fs.writeFileSync(host.spec, SPECS[0]?.[1] ?? "");
          assert.equal(call(...words), "3\n", words.join(" "));
          assert.deepEqual(fs.readdirSync(host.bundle), ["config.json"]);
        }
      });
    });

    test("does not call itself for the runtime", () => {
      using host = new Host(shell);
      fs.mkdirSync(join(host.root, "first"));
      fs.symlinkSync(host.front, join(host.root, "first/runc"));
      const env = { PATH: `${join(host.root, "first")}:${join(host.root, "bin")}:${PATH}` };
      const words = ["oci", "--config", host.config, "--", "state", "id"];
      host.configure("oci_bin: runc\n");
      assert.deepEqual(host.run(words, { env }), ["bin/runc", "state", "id"]);
      host.configure(`oci_bin: ${join(host.root, "first/runc")}\n`);
      assert.deepEqual(host.run(words, { env }).slice(0, 3), ["lib/node", join(host.root, "lib/cni-node.cjs"), "oci"]);
    });

    test("writes through no link", () => {
      using host = new Host(shell);
      fs.writeFileSync(host.spec, SPECS[0]?.[1] ?? "");
      const other = join(host.root, "other");
      for (const text of [undefined, "theirs"]) {
        if (text !== undefined) fs.writeFileSync(other, text);
        fs.rmSync(`${host.spec}.cni-node`, { force: true });
        fs.symlinkSync(other, `${host.spec}.cni-node`);
        assert.equal(host.oci("create", "--bundle", host.bundle, "id")[0], "lib/node");
        assert.equal(fs.existsSync(other) ? fs.readFileSync(other, "utf8") : undefined, text);
      }
    });

    test("says that the program is not beside it", () => {
      using host = new Host(shell);
      fs.rmSync(join(host.root, "lib/cni-node.cjs"));
      const [, status, , stderr] = host.run(["cni", "--command", "add"]);
      assert.equal(status, "127");
      assert.match(stderr ?? "", /^cni-node: there is no cni-node\.cjs beside \S+\/lib\/oci\.sh: install the whole/u);
    });

    const FOR_THE_PROGRAM: [name: string, text: string][] = [
      ["several lines", `${START},\n${NETWORK}}`],
      ["another first key", `{"a":1,${NETWORK}}`],
      [
        "a network namespace that is there already",
        `${START},"linux":{"namespaces":[{"type":"network","path":"/x"}]}}`,
      ],
      ["none", `${START},"linux":{"namespaces":[{"type":"pid"}]}}`],
      ["hooks of the stage", `${START},"hooks":{"createRuntime":[${DOCKER}]},${NETWORK}}`],
      ["hooks that are null", `${START},"hooks":null,${NETWORK}}`],
      ["hooks of another spelling", `${START},"Hooks":{},${NETWORK}}`],
      ["hooks in escapes", `${START},"\\u0068ooks":{},${NETWORK}}`],
      ["two keys of the name", `${START},"x":{"hooks":{}},"hooks":{"prestart":[${DOCKER}]},${NETWORK}}`],
      ["hooks elsewhere", `${START},"x":{"hooks":{"poststart":[]}},${NETWORK}}`],
      [
        "a hook of a device",
        `${START},"hooks":{"prestart":[{"path":"/x","args":["x","--command","add"]}]},${NETWORK}}`,
      ],
      ["nothing", ""],
    ];
    test("leaves other configurations to the program, as they are", () => {
      using host = new Host(shell);
      for (const [name, text] of FOR_THE_PROGRAM) {
        fs.writeFileSync(host.spec, text);
        const words = ["oci", "--config", host.config, "--", ...GLOBALS, "create", "--bundle", host.bundle, "a b"];
        assert.deepEqual(host.run(words), ["lib/node", join(host.root, "lib/cni-node.cjs"), ...words], name);
        assert.equal(fs.readFileSync(host.spec, "utf8"), text, name);
        assert.deepEqual(fs.readdirSync(host.bundle), ["config.json"]);
      }
      fs.rmSync(host.spec);
      assert.deepEqual(host.oci("create", "--bundle", host.bundle, "id").slice(0, 1), ["lib/node"]);
    });

    test("leaves command lines to the program that runc and crun could read in two ways", () => {
      using host = new Host(shell);
      fs.writeFileSync(host.spec, SPECS[0]?.[1] ?? "");
      const lines = [
        ["-root", "/r", "state", "id"],
        ["--platform", "kvm", "state", "id"],
        ["create", `-b${host.bundle}`, "id"],
        ["create", "-bundle", host.bundle, "id"],
        ["create", "--bund", host.bundle, "id"],
        ["create", "--config", "other.json", "id"],
        ["create", "--bundle"],
        ["create", "--", "id"],
      ];
      for (const words of lines) {
        assert.deepEqual(host.oci(...words), [
          "lib/node",
          join(host.root, "lib/cni-node.cjs"),
          "oci",
          "--config",
          host.config,
          "--",
          ...words,
        ]);
      }
      // One word, whatever it means.
      assert.deepEqual(host.oci("--platform=kvm", "state", "id"), ["bin/runc", "--platform=kvm", "state", "id"]);
    });

    test("leaves characters to the program that JSON or sed could take for something else", () => {
      using host = new Host(shell);
      fs.writeFileSync(host.spec, SPECS[0]?.[1] ?? "");
      const words = ["oci", "--config", host.config, "--", "create", "--bundle", host.bundle, "id"];
      for (const path of [`${PATH}:/a"b`, `${PATH}:/a&b`, `${PATH}:/a\\b`, `${PATH}:/a|b`]) {
        assert.equal(host.run(words, { env: { PATH: path } })[0], "lib/node", path);
      }
      const odd = join(host.root, "a|b.yaml");
      fs.copyFileSync(host.config, odd);
      assert.equal(host.run(["oci", "--config", odd, "--", ...words.slice(4)])[0], "lib/node");
      const relative = ["oci", "--config", "cni.yaml", "--"];
      assert.equal(host.run([...relative, ...words.slice(4)])[0], "lib/node");
      assert.deepEqual(host.run([...relative, "list"]), ["bin/runc", "list"]);
      assert.doesNotMatch(fs.readFileSync(host.spec, "utf8"), /createRuntime/u);
    });

    test("reads plain lines of the configuration, and leaves the others to the program", () => {
      using host = new Host(shell);
      const runtime = (text: string): string | undefined => {
        host.configure(text);
        return host.oci("list")[0];
      };
      const plain = [
        `oci_bin: ${host.runtime}`,
        `# one\n\ncni_log: /x\noci_bin:   ${host.runtime}   # two\nlog_level: debug\n`,
        `log_driver: file:///x\ncni_conf_dir: /x\ncni_bin_dir: /x\ncni_ifname: x\ncni_cache_dir: /x\ncni_env: true\ncni_annotations: true\noci_bin: ${host.runtime}\n`,
      ];
      for (const text of plain) assert.equal(runtime(text), "bin/runc", text);
      const others = [
        `oci_bin: "${host.runtime}"\n`,
        `oci_bin: ${host.runtime}\noci_bin: ${host.runtime}\n`,
        `{oci_bin: ${host.runtime}}\n`,
        `oci_bin: >-\n  ${host.runtime}\n`,
        `cni_log: "\n  oci_bin: x"\noci_bin: ${host.runtime}\n`,
        `oci_bin: ${host.runtime}\r\n`,
        `oci_bin: ${host.runtime}\nother: x\n`,
        `oci_bin: ./bin/runc\n`,
        `oci_bin: bin/runc\n`,
        `oci_bin: ${host.runtime}-missing\n`,
        `oci_bin: ${host.root}\n`,
        `oci_bin: ~\n`,
        `oci_bin:\n`,
        `oci_bin: null\n`,
        `oci_bin: no-such-runtime\n`,
      ];
      for (const text of others) assert.equal(runtime(text), "lib/node", text);
      assert.equal(host.run(["oci", "--config", "/nowhere", "--", "list"])[0], "lib/node");
    });

    test("finds the runtime by its name", () => {
      using host = new Host(shell);
      const env = { PATH: `relative::${join(host.root, "bin")}:${PATH}` };
      for (const text of ["oci_bin: runc\n", "# nothing\n"]) {
        host.configure(text);
        assert.deepEqual(host.run(["oci", "--config", host.config, "--", "list"], { env }), ["bin/runc", "list"]);
      }
    });

    test("gives hooks, and all that it does not know, to the program", () => {
      using host = new Host(shell);
      const lines = [
        ["cni", "--config", "/c", "--command", "add"],
        ["engine", "status"],
        ["oci", "--unknown"],
        ["oci", "--config"],
        ["oci", "--config", "", "--", "list"],
        ["--help"],
        [],
      ];
      for (const words of lines) {
        const run = host.run(words, { env: { PATH, NODE_OPTIONS: "--bad", NODE_EXTRA_CA_CERTS: "/x" } });
        assert.deepEqual(run, ["lib/node", join(host.root, "lib/cni-node.cjs"), ...words]);
      }
    });

    test("knows itself and its Node.js behind links", () => {
      using host = new Host(shell);
      fs.mkdirSync(join(host.root, "usr/bin"), { recursive: true });
      const front = join(host.root, "usr/bin/eru-barrel-cni");
      fs.symlinkSync("../../lib/oci.sh", front);
      const program = join(host.root, "lib/cni-node.cjs");
      assert.deepEqual(host.run(["cni"], { front }), ["lib/node", program, "cni"]);
      assert.deepEqual(host.run(["cni"], { front: "lib/oci.sh" }), ["lib/node", program, "cni"]);
      fs.writeFileSync(host.spec, SPECS[0]?.[1] ?? "");
      assert.equal(
        host.run(["oci", "--config", host.config, "create", "-b", host.bundle, "id"], { front })[0],
        "bin/runc",
      );
      assert.ok(fs.readFileSync(host.spec, "utf8").includes(`"path":"${host.front}"`));
    });

    test("finds the Node.js of an npm project, else that of PATH", () => {
      using host = new Host(shell);
      fs.rmSync(join(host.root, "lib/node"));
      fs.mkdirSync(join(host.root, "path"));
      host.program("path/node");
      const env = { PATH: `${join(host.root, "path")}:${PATH}` };
      assert.equal(host.run(["cni"], { env })[0], "path/node");
      fs.mkdirSync(join(host.root, "node_modules/.bin"), { recursive: true });
      host.program("node_modules/.bin/node");
      assert.equal(host.run(["cni"], { env })[0], "node_modules/.bin/node");
    });

    test("says where engines look that there is no Node.js", () => {
      using host = new Host(shell);
      fs.rmSync(join(host.root, "lib/node"));
      fs.mkdirSync(join(host.root, "tools"));
      for (const tool of ["readlink", "sed", "cp", "mv", "rm"])
        fs.symlinkSync(`/bin/${tool}`, join(host.root, "tools", tool));
      // No other directory that may have one.
      const front = fs
        .readFileSync(host.front, "utf8")
        .replace(/^defaults=.*$/mu, `defaults=${join(host.root, "tools")}`);
      fs.writeFileSync(host.front, front);
      const log = join(host.root, "log.json");
      const words = ["oci", "--config", host.config, "--", "--log", log, "--log-format", "json", "create", "id"];
      const [what, status, , stderr] = host.run(words, { env: { PATH: join(host.root, "tools") } });
      assert.deepEqual([what, status], ["nothing", "127"]);
      assert.match(stderr ?? "", /^cni-node: there is no Node\.js beside \S+, and none in PATH: install one/mu);
      const { level, msg } = JSON.parse(fs.readFileSync(log, "utf8")) as { level: string; msg: string };
      assert.deepEqual([level, `${msg}\n`], ["error", stderr]);
    });
  });
}

describe("called as a runtime, without oci", () => {
  test("it is one with the default configuration", () => {
    using host = new Host(["/bin/sh"]);
    if (fs.existsSync("/etc/docker/cni.yaml")) return;
    const env = { PATH: `${join(host.root, "bin")}:${PATH}` };
    for (const words of [["--version"], ["--root", "/r", "list"], ["delete", "--force", "id"], ["state", "id"]]) {
      assert.deepEqual(host.run(words, { env }), ["bin/runc", ...words]);
    }
    fs.writeFileSync(host.spec, `{"ociVersion":"1",${NETWORK}}`);
    assert.equal(host.run(["create", "--bundle", host.bundle, "--pid-file", "/p", "id"], { env })[0], "bin/runc");
    assert.ok(fs.readFileSync(host.spec, "utf8").includes('"cni","--command","add"]'));
    assert.deepEqual(host.run(["create", "--bund", "x"], { env }).slice(2), ["oci", "--", "create", "--bund", "x"]);
  });
});
