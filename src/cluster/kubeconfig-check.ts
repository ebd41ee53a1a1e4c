/** Whether a plugin can reach the API with its kubeconfig, as client-go reads it. What it holds is shown to nobody. */
import { readText, SIZE_LIMITS } from "../system/read.ts";
import { Failure, isSystemError } from "../errors.ts";
import { Kubeconfig, Kubeconfigs, lacksBrackets, type KubeconfigEntry } from "./kubeconfig.ts";
import { hasCertificate } from "./trust.ts";

/** Has the node such a file? Undefined: that cannot be seen from here. */
type IsThere = (path: string) => boolean | undefined;

/**
 * Why no plugin gets anywhere with a kubeconfig; undefined: it may work, or it cannot be read by us.
 *
 * @param file where it is seen from here.
 */
export function objectionToKubeconfig(file: string, isThere: IsThere): string | undefined {
  try {
    refusePlaceholder(file);
    const config = new Kubeconfig(file);
    const { cluster, user } = chosenIn(config);
    refuseServer(cluster);
    refuseAuthority(cluster);
    refuseMissing(cluster, ["certificate-authority"], isThere);
    if (user !== undefined) refuseMissing(user, ["client-certificate", "client-key", "tokenFile"], isThere);
    return undefined;
  } catch (error) {
    if (isSystemError(error, "EACCES", "EPERM", "ENOENT")) return undefined;
    if (error instanceof Failure) return error.problem;
    throw error;
  }
}

/** In what is not a comment, for an installer's template need not be YAML. */
function refusePlaceholder(file: string): void {
  const lines = readText(file, SIZE_LIMITS.credentials, { attempt: "cannot be used as kubeconfig" }).split("\n");
  const index = lines.findIndex(
    (line) => !/^\s*#/u.test(line) && /(?<![\w-])__[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*__(?![\w-])/u.test(line),
  );
  if (index === -1) return;
  throw wrong(file, `line ${index + 1}: a placeholder of its installer is left, which was not replaced`);
}

function wrong(subject: string, problem: string): Failure {
  return new Failure({ code: "kubeconfig-invalid", subject, problem });
}

type Values = Readonly<Record<string, unknown>>;

/** A user that is not there is nobody to client-go, and no error. */
function chosenIn(config: Kubeconfig): { cluster: KubeconfigEntry<Values>; user: KubeconfigEntry<Values> | undefined } {
  const configs = new Kubeconfigs([config]);
  const { currentContext: current } = configs;
  if (current === undefined) throw config.objection("the current-context is missing", []);
  const context = configs.context(current.value);
  if (context === undefined) throw config.objection("the current-context is not there", current.path);
  const cluster = configs.cluster(context.value.cluster);
  if (cluster === undefined) {
    throw config.objection("the context names a cluster that is not there", [...context.path, "cluster"]);
  }
  return { cluster, user: configs.user(context.value.user) };
}

/** client-go takes a host without a scheme, too. */
function refuseServer({ value, from, path }: KubeconfigEntry<Values>): void {
  const refuse = (problem: string): never => {
    throw from.objection(problem, [...path, "server"]);
  };
  const { server } = value;
  if (typeof server !== "string" || server === "") return refuse("the cluster has no server");
  const authority = server.replace(/^[a-z]+:\/\//iu, "").split(/[/?#]/u, 1)[0] ?? "";
  const host = authority.slice(authority.lastIndexOf("@") + 1);
  if (lacksBrackets(host)) return refuse("the IPv6 address of the server needs brackets");
  if (host === "" || /^(?:\[\])?(?::\d*)?$/u.test(host)) return refuse("the server has no host");
  if (!URL.canParse(`https://${host}`)) refuse("the server is not an address");
}

function refuseAuthority({ value, from, path }: KubeconfigEntry<Values>): void {
  const { "certificate-authority-data": data, "certificate-authority": file } = value;
  const isInsecure = value["insecure-skip-tls-verify"] === true;
  if (isInsecure && (data || file)) {
    throw from.objection("insecure-skip-tls-verify and a certificate authority exclude each other", [
      ...path,
      "insecure-skip-tls-verify",
    ]);
  }
  if (typeof data !== "string" || data === "") return;
  const isBase64 = /^[A-Za-z0-9+/\s]+={0,2}\s*$/u.test(data);
  if (isBase64 && hasCertificate(Buffer.from(data, "base64").toString("utf8"))) return;
  const problem = isBase64 ? "this holds no certificate as PEM" : "this is not base64";
  throw from.objection(problem, [...path, "certificate-authority-data"]);
}

/** Of those that are named by where the node has them: a path from the kubeconfig's directory may be another one here. */
function refuseMissing(
  { value, from, path }: KubeconfigEntry<Values>,
  keys: readonly string[],
  isThere: IsThere,
): void {
  const key = keys.find((name) => {
    const { [name]: named, [`${name}-data`]: data = "" } = value;
    return typeof named === "string" && named.startsWith("/") && data === "" && isThere(named) === false;
  });
  if (key !== undefined) throw from.objection("the file that this names is not there", [...path, key]);
}
