/** What Docker was asked for: the ports that a container publishes, and its network. Docker keeps it in hostconfig.json. */
import * as fs from "node:fs";
import { dirname, join } from "node:path";

import { isObject, parseIfJson } from "../cni/json.ts";
import { objectionToOwner } from "../system/owner.ts";
import { readTextIfPossible, SIZE_LIMITS } from "../system/read.ts";
import type { Container } from "./container.ts";
import type { PortMapping } from "./request.ts";

/** What `docker run` was asked to publish. */
export interface Published {
  ports: readonly PortMapping[];
  /** Those for which Docker would choose the host's port: `80/tcp`, `80/tcp (8000-8010)`. No plugin can choose one. */
  unchosen: readonly string[];
  /** All ports that the image exposes, by ports of the host that Docker would choose: `--publish-all`. */
  isAll: boolean;
}

/** Nothing where the engine does not tell. */
export function publishedPorts(of: Container): Published {
  const { PortBindings, PublishAllPorts } = hostConfigOf(of) ?? {};
  const bindings = Object.entries(isObject(PortBindings) ? PortBindings : {}).flatMap(([port, hosts]) => {
    const [, inside, protocol = ""] = /^(\d+)\/(tcp|udp|sctp)$/u.exec(port) ?? [];
    if (inside === undefined) return [];
    // Docker takes none for one that does not say more.
    const given = Array.isArray(hosts) ? hosts.filter(isObject) : [];
    return (given.length > 0 ? given : [{}]).map(({ HostIp, HostPort }: Record<string, unknown>) => {
      const hostIP = typeof HostIp === "string" && HostIp !== "" ? { hostIP: HostIp } : {};
      const range = typeof HostPort === "string" && HostPort !== "" && HostPort !== "0" ? ` (${HostPort})` : "";
      return {
        unchosen: `${port}${range}`,
        port: { hostPort: Number(HostPort ?? 0), containerPort: Number(inside), protocol, ...hostIP },
      };
    });
  });
  const isFixed = ({ port: { hostPort } }: (typeof bindings)[number]): boolean => hostPort > 0 && hostPort <= 65_535;
  return {
    ports: bindings.filter(isFixed).map(({ port }) => port),
    unchosen: bindings.filter((one) => !isFixed(one)).map(({ unchosen }) => unchosen),
    isAll: PublishAllPorts === true,
  };
}

/** Does Docker give the container a network? config.json does not say so: Docker does it by a hook of its own. */
export function hasDockersNetwork(container: Container): boolean {
  const { NetworkMode } = hostConfigOf(container) ?? {};
  return typeof NetworkMode === "string" && NetworkMode !== "none";
}

/** Is it surely Docker's? That gives containers no annotations of their images. */
export function isDockers(container: Container): boolean {
  return hostConfigOf(container) !== undefined;
}

/** What Docker mounts from the directory of a container; `docker run --volume` can put something else there. */
const OWN_FILES = ["/etc/resolv.conf", "/etc/hostname", "/etc/hosts"];

/** Undefined if the engine is not Docker, or if others can have written the file. */
function hostConfigOf({ id, spec }: Container): Record<string, unknown> | undefined {
  const directories = OWN_FILES.map((file) => dirname(spec.mounts.get(file) ?? ""));
  const directory = directories.find((path) => path.endsWith(`/${id}`));
  if (directory === undefined) return undefined;
  const path = join(directory, "hostconfig.json");
  const stat = fs.lstatSync(path, { throwIfNoEntry: false });
  if (stat === undefined || objectionToOwner(stat) !== undefined) return undefined;
  const value = parseIfJson(readTextIfPossible(path, SIZE_LIMITS.state) ?? "");
  return isObject(value) ? value : undefined;
}
