import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { describe, test } from "node:test";

import * as fc from "fast-check";

import { parseShellFormat, substituteVariables } from "../../src/template/variables.ts";

/** The program of gettext. */
const GNU = "envsubst";

const VALUES: Record<string, string> = {
  A: "a value",
  B: "$A ${A} $B",
  _c1: "",
  NODE_HOSTNAME: "node-1.example",
  UTF: "é\u{1f600}",
  LINES: "1\n 2\n",
  BACK: "\\$&$1$$",
};

function valueOf(name: string): string | undefined {
  return Object.hasOwn(VALUES, name) ? VALUES[name] : undefined;
}

function textAndMissing(...given: Parameters<typeof substituteVariables>): object {
  const { text, missing } = substituteVariables(...given);
  return { text, missing };
}

describe("variables are substituted as GNU envsubst does", () => {
  const cases: [text: string, substituted: string][] = [
    ["$A", "a value"],
    ["${A}", "a value"],
    ["x${A}y$A-", "xa valueya value-"],
    ["$$A $${A}", "$a value $a value"],
    ["\\$A \\${A}", "\\a value \\a value"],
    ["$B", "$A ${A} $B"],
    ["$BACK", "\\$&$1$$"],
    ["$_c1|${_c1}", "|"],
    ["$AB|$A_|$A1", "||"],
    ["$1 ${1} $(A) ${} ${A:-x} ${A-x} ${A} $ ${ $- $?", "$1 ${1} $(A) ${} ${A:-x} ${A-x} a value $ ${ $- $?"],
    ["${A$A}", "${Aa value}"],
    ["${ A} ${A }", "${ A} ${A }"],
    ["$é ${é} $", "$é ${é} $"],
    ["$Aé", "a valueé"],
    ["", ""],
  ];
  for (const [text, substituted] of cases) {
    test(`${JSON.stringify(text)} becomes ${JSON.stringify(substituted)}`, () => {
      assert.equal(substituteVariables(text, valueOf).text, substituted);
    });
  }

  const reason =
    spawnSync(GNU, ["--version"]).status === 0 ? false : "there is no envsubst (Debian package gettext-base)";
  const skip = process.env["CI"] === "true" ? false : reason;

  test("GNU's own program agrees on 6,000 generated texts", { skip }, () => {
    const texts = fc.sample(TEXT, 6000);
    assert.deepEqual(
      texts.map((text) => substituteVariables(text, valueOf).text),
      gnuEnvsubst(texts),
    );
  });

  test("GNU's own program agrees on 6,000 generated texts with a SHELL-FORMAT each of twenty", { skip }, () => {
    for (const format of fc.sample(TEXT, 20)) {
      const texts = fc.sample(TEXT, 300);
      const only = parseShellFormat(format);
      assert.deepEqual(
        texts.map((text) => substituteVariables(text, valueOf, only).text),
        gnuEnvsubst(texts, format),
        `SHELL-FORMAT ${JSON.stringify(format)}`,
      );
    }
  });
});

describe("a SHELL-FORMAT", () => {
  test("names the variables that it mentions, in whatever text", () => {
    assert.deepEqual(parseShellFormat("$A ${B},$C x${A} $1 $(D) ${E:-f} E $"), new Set(["A", "B", "C"]));
    assert.deepEqual(parseShellFormat(""), new Set());
  });

  test("leaves the other variables as they are, and does not miss them", () => {
    assert.deepEqual(textAndMissing("$A ${A} $HOME ${X}", valueOf, new Set(["A"])), {
      text: "a value a value $HOME ${X}",
      missing: [],
    });
    assert.deepEqual(textAndMissing("$A $X", valueOf, new Set()), { text: "$A $X", missing: [] });
  });
});

describe("a variable without a value", () => {
  test("becomes nothing, and is told with its place, each time", () => {
    assert.deepEqual(textAndMissing("a: $X\n$A ${Y}\r\n\n  é\u{1f600}$X$Y", valueOf), {
      text: "a: \na value \r\n\n  é\u{1f600}",
      missing: [
        { name: "X", line: 1, column: 4 },
        { name: "Y", line: 2, column: 4 },
        { name: "X", line: 4, column: 6 },
        { name: "Y", line: 4, column: 8 },
      ],
    });
  });

  test("is none if its value is empty, and names of every object are none", () => {
    assert.deepEqual(substituteVariables("$_c1", valueOf).missing, []);
    assert.deepEqual(
      substituteVariables("$constructor $__proto__", valueOf).missing.map(({ name }) => name),
      ["constructor", "__proto__"],
    );
  });

  test("is found where its place says", () => {
    fc.assert(
      fc.property(TEXT, (text) => {
        const lines = text.split("\n");
        for (const { name, line, column } of substituteVariables(text, () => undefined).missing) {
          const rest = lines[line - 1]?.slice(column - 1) ?? "";
          assert.ok(rest.startsWith(`$${name}`) || rest.startsWith(`\${${name}}`), rest);
        }
      }),
    );
  });

  test("is found in a long text at once, however many there are", () => {
    const { missing } = substituteVariables("line\n$X $Y\n".repeat(100_000), () => undefined);
    assert.equal(missing.length, 200_000);
    assert.deepEqual(missing.at(-1), { name: "Y", line: 200_000, column: 4 });
  });
});

test("a text without variables stays as it is, and no value is asked for", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => {
      fc.pre(!/\$[{A-Za-z_]/u.test(text));
      assert.deepEqual(
        textAndMissing(text, () => assert.fail()),
        { text, missing: [] },
      );
    }),
  );
});

test("values are inserted once, whatever is in them", () => {
  fc.assert(
    fc.property(
      fc.string(),
      fc.array(fc.constantFrom("$A", "${A}", " ", "\n", "b"), { maxLength: 20 }),
      (value, parts) => {
        const expected = parts.map((part) => (part.startsWith("$") ? value : part));
        // A name goes on in the next part.
        fc.pre(!parts.join("").includes("$Ab"));
        assert.equal(substituteVariables(parts.join(""), () => value).text, expected.join(""));
      },
    ),
  );
});

/** Texts of which every character matters. */
const TEXT = fc
  .array(
    fc.oneof(
      fc.constantFrom(...Object.keys(VALUES).flatMap((name) => [`$${name}`, `\${${name}}`, name])),
      fc.constantFrom(...Array.from("$${}{}ABc_019 \n\t\\:-()'\"`#é\u{1f600}")),
      fc.constantFrom("$X", "${X}", "${A:-b}", "${A", "$A}", "$$", "\\$", "$(A)", "${}", "${1}", "\r\n"),
    ),
    { maxLength: 24 },
  )
  .map((parts) => parts.join(""));

/** One run of the program for all; the texts cannot hold what stands between them. */
function gnuEnvsubst(texts: readonly string[], ...format: string[]): string[] {
  const between = "\u0001";
  const { status, stdout, stderr, error } = spawnSync(GNU, ["--", ...format], {
    input: texts.join(between),
    env: { ...VALUES, PATH: process.env["PATH"], LC_ALL: "C.UTF-8" },
    encoding: "utf8",
    maxBuffer: 64 * 1024 * 1024,
  });
  assert.equal(status, 0, error?.message ?? stderr);
  return stdout.split(between);
}

test("M7: every place of the new text is known in the old one, a value by its variable", () => {
  const { text, originalOffset } = substituteVariables("a $LINES b\n${A}$X c", valueOf);
  assert.equal(text, "a 1\n 2\n b\na value c");
  const origins = Array.from(text, (_, offset) => originalOffset(offset));
  assert.deepEqual(origins, [0, 1, 2, 2, 2, 2, 2, 8, 9, 10, 11, 11, 11, 11, 11, 11, 11, 17, 18]);
});
