import assert from "node:assert/strict";
import * as fs from "node:fs";
import { describe, test } from "node:test";

import {
  findOccupant,
  listAttachments,
  readAttachment,
  removeAttachment,
  writeAttachment,
  type CachedAttachment,
} from "../../src/cni/cache.ts";
import { kernelLock } from "../../src/cni/lock.ts";
import { cannotMount, Namespace } from "../helpers/namespace.ts";
import { Recorder } from "../helpers/recorder.ts";

const ATTACHMENT: CachedAttachment = {
  networkName: "net",
  containerId: "c1",
  ifName: "eth0",
  config: '{"name":"net","é":1}',
  netns: "/run/netns/a",
  args: [["K", "v"]],
  capabilityArgs: { portMappings: [] },
  result: { cniVersion: "1.0.0", ips: [{ address: "10.1.0.5/16" }] },
};

/** As libcni 1.3.1 has written it. */
const OF_LIBCNI =
  '{"kind":"cniCacheV1","containerId":"c1","config":"eyJuYW1lIjoibmV0Iiwiw6kiOjF9","ifName":"eth0","networkName":"net",' +
  '"netns":"/run/netns/a","cniArgs":[["K","v"]],"capabilityArgs":{"portMappings":[]},' +
  '"result":{"cniVersion":"1.0.0","ips":[{"address":"10.1.0.5/16"}]}}';

test("an attachment is written as libcni does, for root's eyes only, and read back", () => {
  using place = new Recorder();
  const { cacheDir } = place;
  writeAttachment(cacheDir, ATTACHMENT);
  const path = place.cached("net-c1-eth0");
  assert.equal(fs.readFileSync(path, "utf8"), OF_LIBCNI);
  assert.equal(fs.statSync(path).mode & 0o777, 0o600);
  for (const directory of [cacheDir, `${cacheDir}/results`]) assert.equal(fs.statSync(directory).mode & 0o777, 0o700);
  assert.deepEqual(readAttachment(cacheDir, ATTACHMENT), ATTACHMENT);
});

test("what is empty is not written, and read back as empty", () => {
  using place = new Recorder();
  const bare = { ...ATTACHMENT, netns: "", args: [], capabilityArgs: {} };
  writeAttachment(place.cacheDir, bare);
  const keys = Object.keys(JSON.parse(fs.readFileSync(place.cached("net-c1-eth0"), "utf8")) as object);
  assert.deepEqual(keys, ["kind", "containerId", "config", "ifName", "networkName", "result"]);
  assert.deepEqual(readAttachment(place.cacheDir, bare), bare);
});

test("an attachment is replaced by a new file: whoever reads the old one sees it whole", () => {
  using place = new Recorder();
  writeAttachment(place.cacheDir, ATTACHMENT);
  const descriptor = fs.openSync(place.cached("net-c1-eth0"), "r");
  writeAttachment(place.cacheDir, { ...ATTACHMENT, config: "x".repeat(100_000) });
  assert.equal(fs.readFileSync(descriptor, "utf8"), OF_LIBCNI);
  fs.closeSync(descriptor);
  assert.deepEqual(fs.readdirSync(`${place.cacheDir}/results`), [".cni-node", "net-c1-eth0"]);
  assert.deepEqual(fs.readdirSync(`${place.cacheDir}/results/.cni-node`), []);
});

test("what a killed writer has left is overwritten, and goes with the attachment", () => {
  using place = new Recorder();
  const left = `${place.cacheDir}/results/.cni-node/net-c1-eth0`;
  fs.mkdirSync(`${place.cacheDir}/results/.cni-node`, { recursive: true });
  fs.writeFileSync(left, "half of i", { mode: 0o644 });
  assert.equal(readAttachment(place.cacheDir, ATTACHMENT), undefined);
  writeAttachment(place.cacheDir, ATTACHMENT);
  assert.equal(fs.statSync(place.cached("net-c1-eth0")).mode & 0o777, 0o600);
  fs.writeFileSync(left, "half of i");
  removeAttachment(place.cacheDir, ATTACHMENT);
  assert.ok(!fs.existsSync(left));
});

test("a cache that cannot be written says why, and nothing is left of the try", { skip: cannotMount }, async () => {
  using place = new Recorder();
  await using namespace = await Namespace.make(`mount -t tmpfs -o size=8k none ${place.root}/bin`);
  const small = `${namespace.root}${place.root}/bin`;
  fs.mkdirSync(`${small}/results/.cni-node`, { recursive: true });
  fs.writeFileSync(`${small}/results/net-c2-eth0`, "{}");
  const large = { ...ATTACHMENT, config: "x".repeat(10_000) };
  assert.throws(() => writeAttachment(small, large), /cannot be written: no space left on device$/u);
  assert.deepEqual(fs.readdirSync(`${small}/results/.cni-node`), []);
  writeAttachment(small, ATTACHMENT);
  namespace.sh(`mount -o remount,ro ${place.root}/bin`);
  assert.throws(() => removeAttachment(small, ATTACHMENT), /cannot be removed: read-only file system$/u);
  assert.throws(() => writeAttachment(`${small}/more`, ATTACHMENT), /cannot be written: read-only file system$/u);
  await assert.rejects(kernelLock(`${small}/more`).all(), /cannot be locked: read-only file system$/u);
});

describe("listAttachments", () => {
  test("has those of all networks and containers in the order of their names, and nothing else", () => {
    using place = new Recorder();
    const { cacheDir } = place;
    assert.deepEqual(listAttachments(cacheDir), []);
    const names = ["b", "a", "c"].map((networkName) => ({ ...ATTACHMENT, networkName }));
    for (const attachment of names) writeAttachment(cacheDir, attachment);
    fs.writeFileSync(place.cached("bad"), "{");
    fs.writeFileSync(place.cached("bare-c1-eth0"), '{"cniVersion":"0.2.0"}');
    // libcni writes in place: it may be half there.
    fs.writeFileSync(place.cached("half-c1-eth0"), OF_LIBCNI.slice(0, 100));
    fs.writeFileSync(place.cached("copy-of-net"), OF_LIBCNI);
    fs.mkdirSync(place.cached("directory"));
    assert.deepEqual(
      listAttachments(cacheDir).map(({ networkName }) => networkName),
      ["a", "b", "c"],
    );
  });

  test("has one whose result cannot be read: it is there, and has to be deleted", () => {
    using place = new Recorder();
    fs.mkdirSync(`${place.cacheDir}/results`, { recursive: true });
    for (const [networkName, result] of [
      ["net", '"cniVersion":"9.9.9"'],
      ["other", '"cniVersion":1'],
    ] as const) {
      const text = OF_LIBCNI.replace('"net"', `"${networkName}"`).replace('"cniVersion":"1.0.0"', result);
      fs.writeFileSync(place.cached(`${networkName}-c1-eth0`), text);
      const listed = listAttachments(place.cacheDir).filter((one) => one.networkName === networkName);
      assert.deepEqual(listed, [{ ...ATTACHMENT, networkName, result: undefined }]);
      assert.ok(findOccupant(place.cacheDir, { networkName, containerId: "c1", ifName: "eth0" }));
    }
  });

  test("fails when there is something that cannot be read as a directory", () => {
    using place = new Recorder();
    fs.mkdirSync(place.cacheDir);
    fs.writeFileSync(`${place.cacheDir}/results`, "");
    assert.throws(() => listAttachments(place.cacheDir), { code: 5, msg: /results cannot be read: not a directory/u });
  });
});

test("an attachment stands in the way of the same interface of the same container, and of its own file", () => {
  using place = new Recorder();
  const { cacheDir } = place;
  const isFree = (networkName: string, containerId: string, ifName: string): boolean =>
    findOccupant(cacheDir, { networkName, containerId, ifName }) === undefined;
  assert.ok(isFree("net", "c1", "eth0"));
  writeAttachment(cacheDir, ATTACHMENT);
  assert.ok(!isFree("net", "c1", "eth0"));
  assert.ok(!isFree("other", "c1", "eth0"));
  assert.ok(isFree("net", "c1", "eth1"));
  assert.ok(isFree("net", "c2", "eth0"));
  assert.ok(isFree("net", "1", "eth0"));
  writeAttachment(cacheDir, { ...ATTACHMENT, networkName: "a", containerId: "b-c" });
  assert.ok(!isFree("a-b", "c", "eth0"));
  assert.ok(isFree("a", "c", "eth0"));
  fs.writeFileSync(place.cached("x-c3-eth0"), '{"cniVersion":"0.2.0"}');
  assert.ok(!isFree("x", "c3", "eth0"));
  fs.writeFileSync(place.cached("x-c4-eth0"), "garbage");
  assert.ok(isFree("x", "c4", "eth0"));
});

describe("what is not an attachment is refused with a reason", () => {
  const cases: [text: string, reason: RegExp][] = [
    ["", /is not an attachment: it is empty$/u],
    ["[]", /it is not a JSON object$/u],
    ['{"kind":"cniCacheV2"}', /its kind is not "cniCacheV1"$/u],
    [OF_LIBCNI.replace('"c1"', "1"), /containerId is not a string$/u],
    [OF_LIBCNI.replace('[["K","v"]]', '[["K"]]'), /cniArgs is not a list of pairs$/u],
    [OF_LIBCNI.replace('[["K","v"]]', "{}"), /cniArgs is not a list of pairs$/u],
    [OF_LIBCNI.replace('{"portMappings":[]}', "[]"), /capabilityArgs is not a JSON object$/u],
    [OF_LIBCNI.replace("10.1.0.5/16", "10.1.0.5"), /its result is not one of the CNI specification$/u],
    [OF_LIBCNI.replace('"result"', '"other"'), /its result is not one of the CNI specification$/u],
  ];
  for (const [text, reason] of cases) {
    test(text, () => {
      using place = new Recorder();
      fs.mkdirSync(`${place.cacheDir}/results`, { recursive: true });
      fs.writeFileSync(place.cached("net-c1-eth0"), text);
      assert.throws(() => readAttachment(place.cacheDir, ATTACHMENT), { name: "CniError", code: 6, msg: reason });
    });
  }
});
