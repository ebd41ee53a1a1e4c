/** The ports that a container publishes, where its engine tells them: Docker keeps them beside its resolv.conf. */
import { dirname, join } from "node:path";

import { isObject, parseIfJson } from "../cni/json.ts";
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
export function publishedPorts({ id, spec }: Container): Published {
  const directory = dirname(spec.mounts.get("/etc/resolv.conf") ?? "");
  const isTold = directory.endsWith(`/${id}`);
  const text = isTold ? readTextIfPossible(join(directory, "hostconfig.json"), SIZE_LIMITS.state) : undefined;
  const value = parseIfJson(text ?? "");
  const { PortBindings, PublishAllPorts } = isObject(value) ? value : {};
  const bindings = Object.entries(isObject(PortBindings) ? PortBindings : {}).flatMap(([port, hosts]) => {
    const [, container, protocol = ""] = /^(\d+)\/(tcp|udp|sctp)$/u.exec(port) ?? [];
    if (container === undefined) return [];
    // Docker takes none for one that does not say more.
    const given = Array.isArray(hosts) ? hosts.filter(isObject) : [];
    return (given.length > 0 ? given : [{}]).map(({ HostIp, HostPort }: Record<string, unknown>) => {
      const hostIP = typeof HostIp === "string" && HostIp !== "" ? { hostIP: HostIp } : {};
      const range = typeof HostPort === "string" && HostPort !== "" && HostPort !== "0" ? ` (${HostPort})` : "";
      return {
        unchosen: `${port}${range}`,
        port: { hostPort: Number(HostPort ?? 0), containerPort: Number(container), protocol, ...hostIP },
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
