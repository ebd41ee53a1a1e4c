/** The configuration of a network that people name. */
import * as fs from "node:fs";

import { parseNetworkList, type NetworkList } from "../cni/config.ts";
import { isObject, parseJson, writeJson } from "../cni/json.ts";
import { MAX_SIZE } from "../cni/load.ts";
import { Failure, systemFailure, throwIfInterrupted } from "../errors.ts";

/**
 * Reads a network from a file of any name: a list if it has plugins, else the configuration of one plugin. The file may
 * be a pipe, which somebody else writes when he likes.
 *
 * @throws Failure when it cannot be read, `config-invalid` when it is not a network. Interrupted.
 */
export async function readNetworkFile(path: string, signal: AbortSignal): Promise<NetworkList> {
  return parseNetwork(path, await unlessInterrupted(readText(path), signal));
}

async function readText(path: string): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of fs.createReadStream(path) as AsyncIterable<Buffer>) {
      size += chunk.length;
      if (size > MAX_SIZE) throw tooLarge(path);
      chunks.push(chunk);
    }
  } catch (error) {
    throw systemFailure(path, "the network configuration cannot be read", error);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function tooLarge(subject: string): Failure {
  const problem = `the network configuration is larger than ${MAX_SIZE / 1024 / 1024} MiB`;
  return new Failure({ code: "config-invalid", subject, problem, hint: "is it the right file?" });
}

/** Throws `Interrupted` when the signal comes before the text does. */
export async function unlessInterrupted(reading: Promise<string>, signal: AbortSignal): Promise<string> {
  const aborted = new Promise<never>((_resolve, reject) => {
    signal.addEventListener("abort", reject);
  });
  try {
    throwIfInterrupted(signal);
    return await Promise.race([reading, aborted]);
  } catch (error) {
    throwIfInterrupted(signal);
    throw error;
  }
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
