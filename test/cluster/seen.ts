/** What a request asks for, in Kubernetes' own words. */
import type { IncomingHttpHeaders } from "node:http";

/** A request that went to an API server. */
export interface Seen {
  method: string;
  /** Without the query. */
  path: string;
  query: URLSearchParams;
  /** Without parameters; empty when there is none. */
  contentType: string;
  headers: IncomingHttpHeaders;
  /** What Roles call it. Of what is not a resource: the method in small letters. */
  verb: string;
  /** The plural; empty when it is not a resource. */
  resource: string;
  namespace: string;
  /** Of the object; empty for collections. */
  name: string;
  subresource: string;
  /** What the API server answered; undefined: nothing yet, or it was not asked. */
  status: number | undefined;
}

const VERBS: Record<string, string> = { GET: "get", POST: "create", PUT: "update", PATCH: "patch", DELETE: "delete" };

export function describe(method: string, url: string, headers: IncomingHttpHeaders): Seen {
  const { pathname: path, searchParams: query } = new URL(url, "https://server");
  const contentType = headers["content-type"]?.split(";", 1)[0]?.trim() ?? "";
  const target = targetOf(path);
  const verb = target.resource === "" ? method.toLowerCase() : verbOf(method, target.name, query);
  return { method, path, query, contentType, headers, verb, ...target, status: undefined };
}

function targetOf(path: string): Pick<Seen, "resource" | "namespace" | "name" | "subresource"> {
  const words =
    /^\/(?:api\/[^/]+|apis\/[^/]+\/[^/]+)\/(.+)$/u.exec(path)?.[1]?.split("/").map(decodeURIComponent) ?? [];
  const ofNamespace = ["status", "finalize"];
  const isWithin = words[0] === "namespaces" && words[2] !== undefined && !ofNamespace.includes(words[2]);
  const [resource = "", name = "", subresource = ""] = isWithin ? words.slice(2) : words;
  return { resource, namespace: isWithin ? (words[1] ?? "") : "", name, subresource };
}

function verbOf(method: string, name: string, query: URLSearchParams): string {
  const verb = VERBS[method] ?? method.toLowerCase();
  if (name !== "") return verb;
  if (verb === "get") return ["1", "true"].includes(query.get("watch") ?? "") ? "watch" : "list";
  return verb === "delete" ? "deletecollection" : verb;
}
