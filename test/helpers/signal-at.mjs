/**
 * Loaded into the bundle with `--import`: the process sends itself TEST_SIGNAL just before its TEST_AT-th rename of
 * those that TEST_TO matches. A killed or frozen run, at a known place. Process 1 gets no signal from itself: with
 * TEST_SIGNAL=HOLD it says "held" and stays where it is until somebody else kills it.
 */
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";

const { TEST_SIGNAL, TEST_AT, TEST_TO = "" } = process.env;
const original = fs.renameSync;
let count = 0;
fs.renameSync = (from, to) => {
  if (new RegExp(TEST_TO, "u").test(String(to)) && ++count === Number(TEST_AT)) end();
  original(from, to);
};
syncBuiltinESMExports();

function end() {
  if (TEST_SIGNAL !== "HOLD") {
    process.kill(process.pid, TEST_SIGNAL);
    return;
  }
  fs.writeSync(2, "held\n");
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
}
