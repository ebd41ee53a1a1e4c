/** The shell script that stands before the program (scripts/oci.sh), under each shell that hosts have for sh. */
import assert from "node:assert/strict";
import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";

import { hooksOf } from "../../src/oci/wrapper.ts";
import { spliceHooks } from "../../src/oci/spec.ts";
import { cannotMount } from "../helpers/namespace.ts";
import { endOf, until } from "../helpers/node.ts";

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

/** What comes before a command, and before the directory that is its /run. */
const PRIVATE = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /run && exec "$@"'];

function killIfThere(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It has ended.
  }
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

  /** @param isPrivate its /run is a directory of its own. */
  constructor(shell: readonly string[], isPrivate = false) {
    this.#shell = isPrivate ? [...PRIVATE, join(this.root, "run"), ...shell] : shell;
    for (const directory of ["lib", "bin", "bundle", "run"]) fs.mkdirSync(join(this.root, directory));
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

  /** The room in which the program stands by, as it can be reached here. */
  room(): string {
    const [, path = ""] = fs.readFileSync(join(this.root, "run/cni-node/standby"), "utf8").trim().split(" ");
    return join(this.root, path);
  }

  /** The process of the program that stands by. */
  standby(): number {
    return Number(fs.readFileSync(join(this.root, "run/cni-node/standby"), "utf8").split(" ")[0]);
  }

  /** Starts the front, which the last of the words before it becomes. */
  start(words: readonly string[]): ChildProcess {
    const [file = "", ...before] = this.#shell;
    return spawn(file, [...before, this.front, ...words], {
      cwd: this.root,
      env: { PATH },
      stdio: ["ignore", "pipe", "pipe"],
    });
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
    if (fs.existsSync(join(this.root, "run/cni-node/standby"))) killIfThere(this.standby());
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

    describe("called by containerd", { skip: cannotMount }, () => {
      const created = (host: Host, ...globals: string[]): string[] => {
        return [...globals, "--log", join(host.bundle, "log.json"), "create", "--bundle", host.bundle, "id"];
      };
      const COLD = '[ "$2" = standby ] || { echo "cold $(cat)"; exit 3; }';
      /** A runtime that calls a hook for each word. */
      const hooks = (host: Host, ...words: string[]): string =>
        `for word in ${words.join(" ")}; do echo $word | ${host.front} cni --command add 2>&1; echo $?; done`;
      /** Creates a container with a fresh config.json. */
      const create = (host: Host): string => {
        fs.writeFileSync(host.spec, SPECS[0]?.[1] ?? "");
        return host.output(["oci", "--config", host.config, "--", ...created(host)]);
      };

      test("starts the program beside create, and hooks hand themselves on to it", () => {
        using host = new Host(shell, true);
        // Answers of others come first; then it ends.
        host.script("lib/node", [
          COLD,
          'read -r slot pid; exec >"$3/$slot"',
          'echo 1 5; echo "$pid taken"; cat </proc/$pid/fd/6 >&2; echo "$pid 7"',
        ]);
        host.script("bin/runc", [hooks(host, "one", "two")]);
        assert.equal(create(host), "7\ncold two\n3\n");
        const room = host.room();
        assert.deepEqual(
          [room, join(room, ".."), join(room, "calls"), join(room, "16")].map((path) => fs.statSync(path).mode & 0o777),
          [0o700, 0o700, 0o600, 0o600],
        );
      });

      test("does the work of a hook that the program declines, and says that it was killed", () => {
        for (const [answer, result] of [
          ['echo "$pid "', "cold one\n3\n"],
          ["exit", "cold one\n3\n"],
          ['echo "$pid taken"', "cni-node: the hook was killed\n127\n"],
        ] as const) {
          using host = new Host(shell, true);
          host.script("lib/node", [COLD, 'read -r slot pid; exec >"$3/$slot"', answer]);
          host.script("bin/runc", [hooks(host, "one")]);
          assert.equal(create(host), result, answer);
        }
      });

      /** Answers all, until it is killed. */
      const READY = [COLD, 'while read -r slot pid; do echo "$pid $((6 + slot))" >"$3/$slot"; done'];

      test("starts one program for all containers, and another one when it has been killed or replaced", () => {
        using host = new Host(shell, true);
        host.script("lib/node", READY);
        host.script("bin/runc", [hooks(host, "one")]);
        assert.equal(create(host), "7\n");
        const first = host.room();
        assert.equal(create(host), "8\n", "nobody gives slots back here");
        assert.equal(host.room(), first);
        process.kill(host.standby(), "SIGKILL");
        assert.equal(create(host), "7\n");
        const second = host.room();
        assert.notEqual(second, first);
        fs.writeFileSync(join(host.root, "new"), "");
        fs.renameSync(join(host.root, "new"), join(host.root, "lib/cni-node.cjs"));
        const replaced = host.standby();
        host.script("bin/runc", [":"]);
        create(host);
        assert.notEqual(host.room(), second);
        process.kill(replaced, "SIGKILL");
      });

      test("hands no hook on to what is not the program, and not through a directory of others or a link", () => {
        using host = new Host(shell, true);
        host.script("lib/node", READY);
        host.script("bin/runc", [":"]);
        create(host);
        const freeSlots = (): void => {
          for (let slot = 1; slot <= 16; slot++) fs.rmSync(join(host.room(), `${slot}.lock`), { force: true });
        };
        const isDone = (): boolean => {
          freeSlots();
          return host.output(["cni", "--command", "add"]) === "";
        };
        assert.ok(isDone());
        const [rooms, sign] = [join(host.root, "run/cni-node"), join(host.root, "run/cni-node/standby")];
        const text = fs.readFileSync(sign, "utf8");
        for (const [name, change, restore] of [
          ["the directory of others", () => fs.chownSync(rooms, 65_534, 65_534), () => fs.chownSync(rooms, 0, 0)],
          [
            "a link",
            () => {
              fs.renameSync(rooms, join(host.root, "moved"));
              fs.symlinkSync(join(host.root, "moved"), rooms);
            },
            () => {
              fs.rmSync(rooms);
              fs.renameSync(join(host.root, "moved"), rooms);
            },
          ],
          ...["", "\n", "nonsense\n", `${process.pid} ${text.split(" ")[1]}`, "1 /tmp\n", "../.. x\n"].map(
            (other) =>
              [JSON.stringify(other), () => fs.writeFileSync(sign, other), () => fs.writeFileSync(sign, text)] as const,
          ),
          [
            "no slot",
            () => {
              for (let slot = 1; slot <= 16; slot++) fs.writeFileSync(join(host.room(), `${slot}.lock`), "1\n");
            },
            freeSlots,
          ],
        ] as const) {
          change();
          const said = host.output(["cni", "--command", "add"]);
          restore();
          assert.match(said, /^cold/u, name);
          assert.ok(isDone(), `${name}, restored`);
        }
      });

      test("does the work of a hook itself whose slot was given to another one while it slept", async () => {
        using host = new Host(shell, true);
        host.script("lib/node", READY);
        host.script("bin/runc", [":"]);
        create(host);
        const text = fs.readFileSync(host.front, "utf8");
        fs.writeFileSync(
          host.front,
          text.replace("meet && claim || return\n", (claimed) => `${claimed}  kill -STOP $$\n`),
        );
        const hook = host.start(["cni", "--command", "add"]);
        const lock = join(host.room(), "1.lock");
        await until(
          () => fs.existsSync(lock) && /\nState:\tT/u.test(fs.readFileSync(`/proc/${hook.pid}/status`, "utf8")),
        );
        fs.writeFileSync(lock, "1\n");
        hook.kill("SIGCONT");
        assert.match((await endOf(hook)).stdout, /^cold/u);
      });

      test("gives each hook an answer of its own", () => {
        using host = new Host(shell, true);
        host.script("lib/node", [
          COLD,
          "read -r slot pid; read -r other second",
          'echo "$second 8" >"$3/$other"',
          'echo "$pid 7" >"$3/$slot"',
        ]);
        host.script("bin/runc", [
          `{ echo one | ${host.front} cni --command add; echo $? >${host.root}/one; } &`,
          `until [ -e /run/cni-node/*/1.lock ]; do sleep 0.05; done`,
          `echo two | ${host.front} cni --command del; echo $?; wait`,
        ]);
        const answers = [create(host), fs.readFileSync(join(host.root, "one"), "utf8")];
        assert.deepEqual(answers.toSorted(), ["7\n", "8\n"]);
      });

      test("starts no program for a container without a network namespace", () => {
        using host = new Host(shell, true);
        fs.writeFileSync(host.spec, '{"ociVersion":"1.0.2","linux":{"namespaces":[{"type":"pid"}]}}');
        host.script("lib/node", ["[ $2 = standby ] && touch stood; exec true"]);
        host.output(["oci", "--config", host.config, "--", ...created(host)]);
        assert.deepEqual(fs.readdirSync(join(host.root, "run")), []);
      });

      test("starts the program for no other call, and where its log is elsewhere for none", () => {
        using host = new Host(shell, true);
        host.script("lib/node", READY);
        host.script("bin/runc", [hooks(host, "one")]);
        const call = (...words: string[]): string => host.output(["oci", "--config", host.config, "--", ...words]);
        const log = ["--log", join(host.bundle, "log.json")];
        for (const words of [
          [...log, "run", "--bundle", host.bundle, "id"],
          [...log, "delete", "id"],
          ["--log", join(host.root, "log.json"), "create", "--bundle", host.bundle, "id"],
          ["create", "--bundle", host.bundle, "id"],
        ]) {
          fs.writeFileSync(host.spec, SPECS[0]?.[1] ?? "");
          assert.equal(call(...words), "cold one\n3\n", words.join(" "));
          assert.deepEqual(fs.readdirSync(join(host.root, "run")), []);
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
