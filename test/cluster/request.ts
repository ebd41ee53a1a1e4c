/** Requests to an API server, as raw JSON. */
import { once } from "node:events";
import type { IncomingHttpHeaders, IncomingMessage } from "node:http";
import { request, type Agent } from "node:https";
import { text as textOf } from "node:stream/consumers";

/** What the API server said. */
export interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  text: string;
  /** The text as JSON, numbers as JavaScript has them; empty when it is not one object. */
  body: KubernetesObject;
}

/** As much of an object as most tests look at. */
interface KubernetesObject {
  kind?: string;
  metadata?: { name?: string; uid?: string; resourceVersion?: string; [field: string]: unknown };
  status?: unknown;
  [field: string]: unknown;
}

export interface RequestOptions {
  agent: Agent;
  method: string;
  url: string;
  /** Text is sent as it is. */
  body?: unknown;
  /** JSON if not given, for PATCH a merge patch. */
  contentType?: string | undefined;
  token?: string;
}

/** Sends a request, and reads the answer to its end. */
export async function send({ agent, method, url, body, contentType, token }: RequestOptions): Promise<Answer> {
  const usual = method === "PATCH" ? "application/merge-patch+json" : "application/json";
  const sent = request(url, { agent, method, headers: { accept: "application/json" } });
  if (body !== undefined) sent.setHeader("content-type", contentType ?? usual);
  if (token !== undefined) sent.setHeader("authorization", `Bearer ${token}`);
  sent.end(body === undefined || typeof body === "string" ? body : JSON.stringify(body));
  const [response] = (await once(sent, "response")) as [IncomingMessage];
  const { statusCode: status = 0, headers } = response;
  const text = await textOf(response);
  return { status, headers, text, body: objectOf(text) };
}

function objectOf(text: string): KubernetesObject {
  try {
    return JSON.parse(text) as KubernetesObject;
  } catch {
    return {};
  }
}
