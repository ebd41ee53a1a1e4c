import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, test } from "node:test";

import { listNetworks, loadNetwork, readDirectoryListing } from "../../src/cni/load.ts";

const BRIDGE = '{"name":"a","cniVersion":"1.0.0","plugins":[{"type":"bridge"}]}';

let directory: string;
beforeEach(() => {
  directory = fs.mkdtempSync(join(tmpdir(), "cni-node-test-"));
});
afterEach(() => {
  fs.rmSync(directory, { recursive: true, force: true });
});

function write(name: string, content: string | Buffer): void {
  fs.mkdirSync(join(directory, name, ".."), { recursive: true });
  fs.writeFileSync(join(directory, name), content);
}

describe("a directory is read", () => {
  test("with what each name stands for, and only files that a runtime would read", () => {
    write("a.conf", "text");
    write("b.conf/inside", "");
    write("kubeconfig", "S3CRET");
    fs.symlinkSync("a.conf", join(directory, "c.conf"));
    fs.symlinkSync("b.conf", join(directory, "d.conf"));
    fs.symlinkSync("nowhere", join(directory, "e.conf"));
    fs.symlinkSync("f.conf", join(directory, "f.conf"));
    execFileSync("mkfifo", [join(directory, "g.conf")]);
    fs.symlinkSync("/dev/null", join(directory, "h.conf"));
    fs.writeFileSync(join(directory, "i.conf"), "");
    fs.truncateSync(join(directory, "i.conf"), 2 * 1024 * 1024 + 1);
    assert.deepEqual(Object.fromEntries(readDirectoryListing(directory).entries), {
      "a.conf": { type: "file", text: "text" },
      "b.conf": { type: "directory" },
      "c.conf": { type: "file", text: "text" },
      "d.conf": { type: "unreadable", reason: "is a link to a directory" },
      "e.conf": { type: "unreadable", reason: "is a link that leads nowhere" },
      "f.conf": { type: "unreadable", reason: "cannot be read: too many symbolic links encountered" },
      "g.conf": { type: "unreadable", reason: "is not a regular file" },
      "h.conf": { type: "unreadable", reason: "is not a regular file" },
      "i.conf": { type: "unreadable", reason: "is larger than 2 MiB" },
      kubeconfig: { type: "other" },
    });
  });

  test("with the plugins of the lists that take some", () => {
    write("1.conflist", '{"name":"a"}');
    write("2.conflist", '{"name":"only","loadOnlyInlinedPlugins":true,"plugins":[{"type":"x"}]}');
    write("3.conflist", '{"name":"kubeconfig"}');
    write("4.conflist", '{"name":"absent"}');
    write("5.conflist", '{"name":"\\u0000"}');
    write("kubeconfig", "");
    write("a/1.conf", "{}");
    write("a/2.json", "{}");
    write("only/1.conf", "{}");
    const dropIns = Object.fromEntries(readDirectoryListing(directory).dropIns);
    assert.deepEqual(
      dropIns["a"],
      new Map([
        ["1.conf", { type: "file", text: "{}" }],
        ["2.json", { type: "other" }],
      ]),
    );
    assert.deepEqual(dropIns["kubeconfig"], { type: "unreadable", reason: "cannot be read: not a directory" });
    assert.match(JSON.stringify(dropIns["\u0000"]), /"reason":"cannot be read: /u);
    assert.deepEqual(Object.keys(dropIns).sort(), ["\u0000", "a", "kubeconfig"]);
  });

  test("whatever bytes names and contents have", () => {
    const name = Buffer.concat([Buffer.from(`${directory}/\xff`, "latin1"), Buffer.from(".conf")]);
    fs.writeFileSync(name, Buffer.from('\ufeff{"a": "\xff"}', "latin1"));
    const { entries } = readDirectoryListing(directory);
    assert.deepEqual([...entries], [["\ufffd.conf", { type: "file", text: '\ufffd{"a": "\ufffd"}' }]]);
    write("a.json", "\ufeff{}");
    assert.deepEqual(readDirectoryListing(directory).entries.get("a.json"), { type: "file", text: "\ufeff{}" });
  });

  test("as empty when it is not there; what is not a directory is refused", () => {
    assert.equal(readDirectoryListing(join(directory, "absent")).entries.size, 0);
    write("file", "");
    assert.throws(
      () => readDirectoryListing(join(directory, "file")),
      /file: the network configurations cannot be read/u,
    );
  });
});

describe("a network is loaded by its name", () => {
  test("with its plugins, also those that are dropped in", () => {
    write("10-a.conflist", BRIDGE);
    write("a/tuning.conf", '{"type":"tuning"}');
    assert.deepEqual(loadNetwork(directory, "a").plugins, [{ type: "bridge" }, { type: "tuning" }]);
  });

  test("which must be there", () => {
    write("10-a.conflist", BRIDGE);
    assert.throws(() => loadNetwork(directory, "10-a"), { code: "network-missing" });
    assert.throws(() => loadNetwork(join(directory, "absent"), "a"), { code: "network-missing" });
  });

  test("before which no file may be broken", () => {
    write("05-x.conflist", "{");
    write("10-a.conflist", BRIDGE);
    assert.throws(() => loadNetwork(directory, "a"), {
      code: "config-invalid",
      message: `${directory}/05-x.conflist: is not JSON: close brace expected`,
    });
  });
});

test("the networks of a directory are listed, and what is wrong with the others", () => {
  write("20-b.conf", '{"name":"b","type":"ptp"}');
  write("10-a.conflist", BRIDGE);
  write("05-x.json", "");
  write("kubeconfig", "");
  const found = listNetworks(directory).map((one) => [
    one.file,
    "network" in one ? one.network.list.name : one.objection.message,
  ]);
  assert.deepEqual(found, [
    ["05-x.json", "is empty"],
    ["10-a.conflist", "a"],
    ["20-b.conf", "b"],
  ]);
});
