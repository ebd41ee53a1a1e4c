/**
 * Loaded into the bundle with `--import`: the process sends itself TEST_SIGNAL just before its TEST_AT-th rename of
 * those that TEST_TO matches. A killed or frozen run, at a known place.
 */
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";

const { TEST_SIGNAL, TEST_AT, TEST_TO = "" } = process.env;
const original = fs.renameSync;
let count = 0;
fs.renameSync = (from, to) => {
  if (new RegExp(TEST_TO, "u").test(String(to)) && ++count === Number(TEST_AT)) process.kill(process.pid, TEST_SIGNAL);
  original(from, to);
};
syncBuiltinESMExports();
