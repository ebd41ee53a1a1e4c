/** The ports that a container publishes, where its engine tells them: Docker keeps them beside its resolv.conf. */
import { dirname, join } from "node:path";

import { isObject, parseIfJson } from "../cni/json.ts";
import { readTextIfPossible, SIZE_LIMITS } from "../system/read.ts";
import type { Container } from "./container.ts";
import type { PortMapping } from "./request.ts";

/** None where the engine does not tell. A port of the host that Docker would choose is left out. */
export function publishedPorts({ id, spec }: Container): PortMapping[] {
  const directory = dirname(spec.mounts.get("/etc/resolv.conf") ?? "");
  if (!directory.endsWith(`/${id}`)) return [];
  const value = parseIfJson(readTextIfPossible(join(directory, "hostconfig.json"), SIZE_LIMITS.state) ?? "");
  const bindings = isObject(value) ? value["PortBindings"] : undefined;
  return Object.entries(isObject(bindings) ? bindings : {}).flatMap(([port, hosts]) => {
    const [, container = "", protocol = ""] = /^(\d+)\/(tcp|udp|sctp)$/u.exec(port) ?? [];
    return (Array.isArray(hosts) ? hosts.filter(isObject) : []).flatMap(({ HostIp, HostPort }) => {
      const hostPort = Number(HostPort);
      if (protocol === "" || !Number.isInteger(hostPort) || hostPort <= 0) return [];
      const isAny = typeof HostIp !== "string" || HostIp === "";
      return [{ hostPort, containerPort: Number(container), protocol, ...(isAny ? {} : { hostIP: HostIp }) }];
    });
  });
}
