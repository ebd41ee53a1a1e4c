import assert from "node:assert/strict";
import { test } from "node:test";

import { hasCommand, type Command } from "../../src/cni/command.ts";

test("each version of the specification has its operations", () => {
  const commands: Command[] = ["ADD", "DEL", "VERSION", "CHECK", "GC", "STATUS"];
  const of = (version: string): string => commands.filter((command) => hasCommand(command, version)).join(" ");
  assert.equal(of(""), "ADD DEL VERSION");
  assert.equal(of("0.3.1"), "ADD DEL VERSION");
  assert.equal(of("0.4.0"), "ADD DEL VERSION CHECK");
  assert.equal(of("1.0.0"), "ADD DEL VERSION CHECK");
  assert.equal(of("1.1.0"), "ADD DEL VERSION CHECK GC STATUS");
  assert.equal(of("1.2.0"), "ADD DEL VERSION CHECK GC STATUS");
  assert.throws(() => hasCommand("CHECK", "new"), RangeError);
});
