/** The configuration of a network that people name. */
import * as fs from "node:fs";

import { parseNetworkList, type NetworkList } from "../cni/config.ts";
import { isObject, parseJson, writeJson } from "../cni/json.ts";
import { Failure, systemFailure } from "../errors.ts";

/**
 * Reads a network from a file of any name: a list if it has plugins, else the configuration of one plugin.
 *
 * @throws Failure when it cannot be read, `config-invalid` when it is no network.
 */
export function readNetworkFile(path: string): NetworkList {
  let text: string;
  try {
    text = fs.readFileSync(path, "utf8");
  } catch (error) {
    throw systemFailure(path, "the network configuration cannot be read", error);
  }
  return parseNetwork(path, text);
}

/**
 * Reads a network from its text. One that does not say its version is of 0.2.0: plugins that are called by hand with
 * such a one answer in that form.
 *
 * @param subject what messages call it.
 * @throws Failure `config-invalid`.
 */
export function parseNetwork(subject: string, text: string): NetworkList {
  const parsed = parseJson(text);
  const value = "value" in parsed && isObject(parsed.value) ? parsed.value : {};
  const isList = value["plugins"] !== undefined && value["type"] === undefined;
  const isVersionless = !value["cniVersion"] && value["cniVersions"] === undefined && "value" in parsed;
  const versioned = isVersionless && isObject(parsed.value) ? writeJson({ ...value, cniVersion: "0.2.0" }) : text;
  const read = parseNetworkList(isList ? "given.conflist" : "given.conf", versioned);
  if ("objection" in read) {
    throw new Failure({
      code: "config-invalid",
      subject,
      problem: read.objection.message,
      hint: "a network is a JSON object with name, and type or plugins",
    });
  }
  return read.list;
}
