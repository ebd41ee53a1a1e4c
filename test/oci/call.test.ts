/** The command lines of runc and crun. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { readRuntimeCall } from "../../src/oci/call.ts";

const NOTHING = {
  command: undefined,
  id: undefined,
  bundle: undefined,
  configFile: undefined,
  log: undefined,
  logFormat: undefined,
  preservedFds: 0,
};
const GLOBALS = ["--root", "/r", "--log", "/b/log.json", "--log-format", "json"];
const LOGGED = { ...NOTHING, log: "/b/log.json", logFormat: "json" };

const OF_BOTH: [words: string[], call: object][] = [
  [[], NOTHING],
  [["--version"], NOTHING],
  [["list"], { ...NOTHING, command: "list" }],
  [
    [...GLOBALS, "create", "--bundle", "/b", "--pid-file", "/p", "id"],
    { ...LOGGED, command: "create", id: "id", bundle: "/b" },
  ],
  [["--log=/l", "create", "--bundle=/b", "id"], { ...NOTHING, log: "/l", command: "create", id: "id", bundle: "/b" }],
  [["create", "-b", "/b", "id"], { ...NOTHING, command: "create", id: "id", bundle: "/b" }],
  [["create", "id", "-b", "/b"], { ...NOTHING, command: "create", id: "id", bundle: "/b" }],
  [["create", "id"], { ...NOTHING, command: "create", id: "id" }],
  [["create", "--", "-b", "/b"], { ...NOTHING, command: "create", id: "-b" }],
  [["create", "--bundle"], { ...NOTHING, command: "create", bundle: "" }],
  [["--debug", "--systemd-cgroup", "run", "-b", "/b", "id"], { ...NOTHING, command: "run", id: "id", bundle: "/b" }],
  [["run", "--preserve-fds", "2", "id"], { ...NOTHING, command: "run", id: "id", preservedFds: 2 }],
  // Not an option of create, and not the directory of a bundle.
  [["kill", "create", "--bundle", "/b"], { ...NOTHING, command: "kill" }],
  [["exec", "--process", "/p", "id", "create"], { ...NOTHING, command: "exec" }],
  [["--root", "create", "start", "id"], { ...NOTHING, command: "start" }],
  // Options of other runtimes.
  [["--platform=kvm", "create", "id"], { ...NOTHING, command: "create", id: "id" }],
  [["--platform", "kvm", "create", "id"], { ...NOTHING, command: "create", id: "id" }],
  [["--strace", "create", "id"], { ...NOTHING, command: "create", id: "id" }],
  [["--strace", "--debug", "create", "id"], { ...NOTHING, command: "create", id: "id" }],
];
for (const [words, call] of OF_BOTH) {
  test(`reads ${words.join(" ")}`, () => {
    assert.deepEqual(readRuntimeCall(words, "go"), call);
    assert.deepEqual(readRuntimeCall(words, "argp"), call);
  });
}

test("Go takes one dash for two", () => {
  const words = ["-root", "/r", "-log=/l", "create", "-bundle", "/b", "id"];
  assert.deepEqual(readRuntimeCall(words, "go"), { ...NOTHING, log: "/l", command: "create", id: "id", bundle: "/b" });
  assert.equal(readRuntimeCall(["create", "-b=/b"], "go").bundle, "/b");
});

test("argp takes attached values and the beginnings of names", () => {
  const bundleOf = (...words: string[]): string | undefined => readRuntimeCall(["create", ...words], "argp").bundle;
  assert.deepEqual([bundleOf("-b/b"), bundleOf("--bund", "/b"), bundleOf("--bu=/b")], ["/b", "/b", "/b"]);
  assert.equal(readRuntimeCall(["create", "-f", "x.json"], "argp").configFile, "x.json");
  // It could be --console-socket as well.
  assert.equal(readRuntimeCall(["create", "--con=x"], "argp").configFile, undefined);
});
