import assert from "node:assert/strict";
import { dirname, join, normalize } from "node:path";
import { describe, test } from "node:test";

import * as fc from "fast-check";

import { LIST_FORMS, parseLists } from "../../src/kinds/lists.ts";
import { Failure } from "../../src/errors.ts";

describe("a list of names", () => {
  const cases: [promise: string, text: string, ...names: string[]][] = [
    ["is separated by commas", "bridge,vlan", "bridge", "vlan"],
    [
      "is separated by white space of any kind",
      "bridge vlan\tptp\nmacvlan\r\nipvlan",
      ..."bridge vlan ptp macvlan ipvlan".split(" "),
    ],
    ["may have both, and blanks around", "  bridge , vlan,\n  ptp\n", "bridge", "vlan", "ptp"],
    ["may have empty items", ",,bridge,,vlan,", "bridge", "vlan"],
    ["keeps the given order", "vlan,bridge", "vlan", "bridge"],
    ["names everything once, at its first place", "b,a,b,a", "b", "a"],
    ["may be empty", ""],
    ["may be nothing but separators", " ,\n, "],
    ["takes names literally", "it's,a[b,$x,a+b.conf,__proto__,ä", "it's", "a[b", "$x", "a+b.conf", "__proto__", "ä"],
    ["may have a name of 255 bytes", "ä".repeat(127) + "x", "ä".repeat(127) + "x"],
  ];
  for (const [promise, text, ...names] of cases) {
    test(promise, () => assert.deepEqual(LIST_FORMS.plugin.parse("--plugins", text), { desired: names }));
  }
});

describe("desired and current", () => {
  const cases: [promise: string, text: string, desired: string[], current?: string[]][] = [
    ["without a colon nothing is said of what is there", "a,b", ["a", "b"]],
    ["a colon separates them", "a,b:b,c", ["a", "b"], ["b", "c"]],
    ["nothing before the colon: nothing is desired", ":b", [], ["b"]],
    ["nothing behind the colon: nothing is there", "a:", ["a"], []],
    ["a colon alone: neither", ":", [], []],
    ["both are sets", "a,a:b,b", ["a"], ["b"]],
  ];
  for (const [promise, text, desired, current] of cases) {
    test(promise, () => {
      assert.deepEqual(parseLists("--plugins", text), current === undefined ? { desired } : { desired, current });
    });
  }

  test("two colons are refused, with the form that is meant", () => {
    assert.throws(() => parseLists("--plugins", "a:b:c"), {
      code: "usage",
      exitCode: 2,
      message: "--plugins: has two colons, one may separate desired from current",
      hint: "write --plugins=DESIRED:CURRENT",
    });
  });
});

describe("a name that is not a file name is refused", () => {
  const cases: [name: string, why: string][] = [
    ["a/b", "it contains a slash"],
    ["/etc/passwd", "it contains a slash"],
    ["../../../etc/cni/net.d/10-calico.conflist", "it contains a slash"],
    [".", "it begins with a dot"],
    ["..", "it begins with a dot"],
    [".cni-node", "it begins with a dot"],
    ["a\u0000b", "it contains a control or undecodable character"],
    ["a\u001b[31mb", "it contains a control or undecodable character"],
    ["a\u007fb", "it contains a control or undecodable character"],
    ["a\u009b31mb", "it contains a control or undecodable character"],
    ["a\ufffdb", "it contains a control or undecodable character"],
    ["a".repeat(256), "it is longer than 255 bytes"],
    ["ä".repeat(128), "it is longer than 255 bytes"],
  ];
  for (const [name, why] of cases) {
    const shown = encodeURI(name.slice(0, 50));
    test(`${shown}: ${why}`, () => {
      for (const list of [name, `bridge,${name}`, `bridge:${name}`]) {
        assert.throws(
          () => parseLists("--plugins", list),
          (error) => {
            assert.ok(error instanceof Failure);
            assert.deepEqual([error.code, error.exitCode, error.hint], ["usage", 2, "give file names, not paths"]);
            assert.equal(error.message, `--plugins: ${JSON.stringify(name)} is not an asset name: ${why}`);
            return true;
          },
        );
      }
    });
  }
});

test("whatever the text, a name leads to a file in its directory and nowhere else", () => {
  const character = fc.oneof(
    fc.constantFrom(..."./,: \\~\n\u0000abc".split("")),
    fc.string({ unit: "binary", maxLength: 1 }),
  );
  fc.assert(
    fc.property(
      fc.array(character).map((characters) => characters.join("")),
      (text) => {
        let names: string[] = [];
        try {
          names = LIST_FORMS.plugin.parse("--plugins", text).desired;
        } catch (error) {
          assert.ok(error instanceof Failure);
        }
        for (const name of names) {
          const path = join("/host/opt/cni/bin", name);
          assert.equal(dirname(path), "/host/opt/cni/bin");
          assert.equal(normalize(path), path);
          assert.doesNotMatch(name, /^\.|[,\s\p{Cc}]/u);
          assert.notEqual(name, "");
        }
        assert.equal(new Set(names).size, names.length);
      },
    ),
  );
});
