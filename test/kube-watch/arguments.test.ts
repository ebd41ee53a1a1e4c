import assert from "node:assert/strict";
import * as fs from "node:fs";
import { describe, test } from "node:test";

import type { Failure } from "../../src/errors.ts";
import { readArguments, type Arguments } from "../../src/kube-watch/arguments.ts";

const DEFAULTS = {
  channel: "/var/run/kube-watch/channel",
  handler: "/usr/share/kube-watch/handler",
  timeout: 600_000,
  isSecret: false,
};

describe("the command line of kube-watch", () => {
  test("is the ancestor's", () => {
    assert.deepEqual(
      readArguments(["object", "configmap", "multus-cni", "--jsonpath={.data.plugins}", "--handler=h"]),
      {
        source: { object: { type: "configmap", name: "multus-cni", jsonpath: "{.data.plugins}" } },
        ...DEFAULTS,
        handler: "h",
      },
    );
    assert.deepEqual(readArguments(["object", "-h=h", "pod", "-c=/c", "ns/p", "-j={.a=b}"]), {
      source: { object: { type: "pod", namespace: "ns", name: "p", jsonpath: "{.a=b}" } },
      ...DEFAULTS,
      handler: "h",
      channel: "/c",
    });
    assert.deepEqual(readArguments(["file", "/host/etc/cni/net.d/10-calico.conflist"]), {
      source: { file: "/host/etc/cni/net.d/10-calico.conflist" },
      ...DEFAULTS,
    });
    assert.equal(readArguments(["version"]), "version");
    assert.equal(readArguments(["file", "--help"]), "help");
    assert.equal((readArguments(["object", "secret", "s"]) as Arguments).isSecret, true);
  });

  test("is what the examples of docs/kube-watch.md are", () => {
    const text = fs.readFileSync(new URL("../../docs/kube-watch.md", import.meta.url), "utf8");
    const examples = Array.from(text.matchAll(/`kube-watch ((?:object|file) [^`\n]+)`/gu), ([, words = ""]) => words);
    assert.ok(examples.length >= 2);
    for (const words of examples) assert.equal(typeof readArguments(words.split(" ")), "object", words);
  });

  const refused: [argv: string[], message: RegExp][] = [
    [[], /no command is given/u],
    [["objects"], /unknown command "objects"/u],
    [["file"], /FILE: is missing/u],
    [["file", "a", "b"], /unexpected argument/u],
    [["file", "a", "--jsonpath={}"], /requires kube-watch object/u],
    [["object", "cm"], /TYPE and NAME: are missing/u],
    [["object", "cm", "a/b/c"], /is not \[NAMESPACE\/\]NAME/u],
    [["object", "cm", "a", "--jsonpth={}"], /did you mean --jsonpath/u],
    [["object", "cm", "a", "--handler"], /needs a value/u],
    [["object", "cm", "a", "-l=a=b"], /beside the name/u],
    [["object", "cm", "a", "-a"], /in one namespace/u],
    [["object", "cm", "a", "--timeout=soon"], /not a duration/u],
    [["object", "cm", "a", "--timeout=0s"], /between 1ms and 24 days/u],
    [["object", "cm", "a", "--timeout=600h"], /between 1ms and 24 days/u],
  ];
  for (const [argv, message] of refused) {
    test(`refuses ${argv.join(" ") || "nothing"}`, () => {
      assert.throws(
        () => readArguments(argv),
        ({ message: said, hint = "" }: Failure) => message.test(`${said}; ${hint}`),
      );
    });
  }
});
