import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { COMMANDS, GROUPS, type CommandSpec, type Given } from "../src/commands.ts";
import { readLine } from "../src/cli.ts";
import { helpOf, operandTexts } from "../src/help.ts";
import { GLOBAL_OPTIONS, groupOptions, OPTIONS, valuesOf, type Option } from "../src/options.ts";

const commands = Object.entries<CommandSpec>(COMMANDS);

describe("the values of options", () => {
  test("have the types of the table: what is not of a command, or of another type, does not compile", () => {
    const install: Given<"install"> = { ...valuesOf(COMMANDS.install.options, [], {}), operands: [] };
    const timeout: number = install.lockTimeout;
    // @ts-expect-error -- an owner is not a duration
    const owner: number = install.owner;
    // @ts-expect-error -- a directory that nobody named is undefined
    const directory: string = install.pluginDir;
    // @ts-expect-error -- install has no --refresh
    const { refresh } = install;
    assert.deepEqual([timeout, owner, directory, refresh], [120_000, "cni-node", undefined, undefined]);
  });

  test("come from the option, its own variable, other variables, the default: the first that is given counts", () => {
    const { options } = COMMANDS.install;
    const given = [{ name: "node-name", text: "option" }];
    const env = { CNI_NODE_NODE_NAME: "own", NODE_NAME: "other", NODE_HOSTNAME: "last" };
    const { CNI_NODE_NODE_NAME: _, ...others } = env;
    assert.equal(valuesOf(options, given, env).nodeName, "option");
    assert.equal(valuesOf(options, [], env).nodeName, "own");
    assert.equal(valuesOf(options, [], others).nodeName, "other");
    assert.equal(valuesOf(options, [], { NODE_NAME: "", NODE_HOSTNAME: "last" }).nodeName, "last");
    assert.equal(valuesOf(options, [], {}).nodeName, undefined);
  });

  test("that need another option need it only where the command has it", () => {
    const given = [{ name: "exit-code", text: "true" }];
    assert.equal(valuesOf(COMMANDS.plan.options, given, {}).exitCode, true);
    assert.throws(() => valuesOf(COMMANDS.apply.options, given, {}), /--exit-code: requires plan or --dry-run/u);
    const variables = { CNI_NODE_EXIT_CODE: "1", CNI_NODE_DRY_RUN: "1" };
    assert.equal(valuesOf(COMMANDS.apply.options, [], variables).exitCode, true);
  });
});

test("an option has the same form for every command: the line is read before the command is known", () => {
  for (const [command, { options }] of commands) {
    for (const [name, { type }] of Object.entries(options)) {
      const { [name]: known } = OPTIONS as Readonly<Record<string, Option>>;
      assert.equal(type.form, known?.type.form, `${command} --${name}`);
    }
  }
});

test("every command that prints JSON prints YAML", () => {
  for (const [command, { options }] of commands) {
    const { words = [] } = options["output"]?.type ?? {};
    assert.equal(words.includes("yaml"), words.includes("json"), command);
  }
});

test("options that need or exclude others name options that there are", () => {
  const named = Object.values<Option>(OPTIONS).flatMap(({ needs, excludes }) => [needs, excludes]);
  const others = named.flatMap((relation) => relation?.options ?? []);
  assert.ok(others.length > 4);
  for (const other of others) assert.ok(Object.hasOwn(OPTIONS, other), other);
});

test("every operand of a command is explained", () => {
  for (const [, command] of commands)
    for (const [operand, text] of operandTexts(command)) assert.notEqual(text, "", operand);
});

test("every option is in one group, or an option of every command", () => {
  const grouped = groupOptions(OPTIONS).flatMap(([, found]) => found.map(([name]) => name));
  const all = [...grouped, ...Object.keys(GLOBAL_OPTIONS)];
  assert.deepEqual(all.toSorted(), Object.keys(OPTIONS).toSorted());
});

test("the examples of a command are command lines of it", () => {
  for (const [command, { examples, operands = [], options }] of commands) {
    for (const example of examples) {
      const [line = ""] = example.split(/ [>|]/u);
      const { words, options: given } = readLine(line.split(" "));
      const { length } = command.split(" ");
      assert.equal(words.slice(0, length).join(" "), command);
      assert.ok(words.length - length <= operands.length, example);
      assert.deepEqual(
        given.filter(({ name }) => !Object.hasOwn(options, name)),
        [],
        example,
      );
      assert.doesNotThrow(() => valuesOf(options, given, {}), example);
    }
  }
});

test("the help fits into 80 columns", () => {
  for (const name of ["", ...Object.keys(GROUPS), ...Object.keys(COMMANDS)]) {
    const lines = helpOf(name).split("\n");
    assert.deepEqual(
      lines.filter((line) => line.length > 80),
      [],
    );
  }
});
