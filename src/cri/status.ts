/** What a container runtime says of itself and of its network: CRI's `Version` and verbose `Status`. */
import { isAbsolute, resolve } from "node:path";

import protobuf from "protobufjs/light.js";
import * as v from "valibot";

import { mask } from "../secrets.ts";
import { hostPath, type HostPath } from "../system/below.ts";
import { readCrioConfig } from "./crio.ts";
import { RuntimeService, type CallLimits } from "./service.ts";

/** What a runtime says. `undefined`: it does not tell. All paths are the host's. */
export interface RuntimeStatus {
  /** `containerd`, `cri-o`, … */
  name: string;
  version: string;
  /**
   * Whether it would start pods with a network. CRI-O says so until it is restarted, once it has been so: it does not
   * notice that its configurations have gone.
   */
  networkReady: boolean;
  /** Why the network is not ready: a word (`NetworkPluginNotReady`) and a sentence; empty where it is. */
  reason: string;
  message: string;
  /** Where it reads network configurations, and where it looks for plugins. */
  configDir: HostPath | undefined;
  pluginDirs: HostPath[] | undefined;
  /** containerd: how many configurations it loads; 0 is all. It is 1 unless somebody has changed it. */
  maxConfigs: number | undefined;
  /** CRI-O: the network that it uses, whichever comes first by file name. */
  defaultNetwork: string | undefined;
  /** containerd: why the last load failed; `undefined` after one that did not. */
  loadError: string | undefined;
  /** containerd: the networks that it has loaded, in its order, without its own loopback. None after a failed load. */
  networks: LoadedNetwork[] | undefined;
  /** containerd: the runtime handlers that have a configuration directory of their own. */
  handlers: HandlerStatus[];
}

/** A network as the runtime holds it. */
export interface LoadedNetwork {
  name: string;
  cniVersion: string;
  /** The configurations of its plugins, those of the network's own directory included. */
  plugins: object[];
}

/** A runtime handler (of a RuntimeClass) that does not use the configuration directory of the others. */
export interface HandlerStatus {
  name: string;
  configDir: string;
  loadError: string | undefined;
}

/** A map: the library's types know the key of one where it has a type of its own. */
const INFO: protobuf.IMapField = { keyType: "string", type: "string", id: 2 };

/** Of k8s.io/cri-api v0.36.3, pkg/apis/runtime/v1/api.proto: what is read here of the messages that are used here. */
const MESSAGES = protobuf.Root.fromJSON({
  nested: {
    VersionRequest: { fields: {} },
    VersionResponse: {
      fields: { runtimeName: { type: "string", id: 2 }, runtimeVersion: { type: "string", id: 3 } },
    },
    StatusRequest: { fields: { verbose: { type: "bool", id: 1 } } },
    StatusResponse: {
      fields: {
        status: { type: "RuntimeStatus", id: 1 },
        info: INFO,
      },
    },
    RuntimeStatus: { fields: { conditions: { rule: "repeated", type: "RuntimeCondition", id: 1 } } },
    RuntimeCondition: {
      fields: {
        type: { type: "string", id: 1 },
        status: { type: "bool", id: 2 },
        reason: { type: "string", id: 3 },
        message: { type: "string", id: 4 },
      },
    },
  },
});

interface VersionResponse {
  runtimeName: string;
  runtimeVersion: string;
}

interface StatusResponse {
  status: { conditions: { type: string; status: boolean; reason: string; message: string }[] } | null;
  info: Record<string, string>;
}

/** Runtimes take no other; what they make of one is not known here. */
const Path = v.pipe(
  v.string(),
  v.check(isAbsolute),
  v.transform((path) => hostPath(resolve(path))),
);

/** containerd's `info.cniconfig`: `ConfigResult` of go-cni (cni.go), the same since containerd 1.6. */
const CniConfig = v.object({
  PluginDirs: v.nullish(v.array(Path)),
  PluginConfDir: Path,
  PluginMaxConfNum: v.number(),
  Networks: v.nullish(
    v.array(
      v.object({
        IFName: v.string(),
        Config: v.object({
          Name: v.string(),
          CNIVersion: v.string(),
          Plugins: v.nullish(v.array(v.object({ Source: json(v.record(v.string(), v.unknown())) }))),
        }),
      }),
    ),
  ),
});

/** containerd's `info.config`: the directories of runtime handlers. There are registries' passwords in it, too. */
const RuntimeConfig = v.object({
  containerd: v.object({
    runtimes: v.nullish(v.record(v.string(), v.object({ cniConfDir: v.optional(v.string(), "") }))),
  }),
});

/** containerd's network for `lo`, which it loads before all others (go-cni `WithLoNetwork`). */
const LOOPBACK = { network: "cni-loopback", interface: "lo" };
/** The same sources: what `info.lastCNILoadStatus` is after a good load. */
const LOADED = "OK";

/**
 * Asks a container runtime about its network.
 *
 * @param socket the path of its socket as it is seen from here, or `unix://PATH`.
 * @throws Failure with the codes of {@link RuntimeService.call}; Interrupted.
 */
export async function askRuntime(socket: string, limits: CallLimits): Promise<RuntimeStatus> {
  using service = new RuntimeService(socket, MESSAGES);
  const version = await service.call<VersionResponse>("Version", {}, limits);
  const { status, info } = await service.call<StatusResponse>("Status", { verbose: true }, limits);
  const condition = status?.conditions.find(({ type }) => type === "NetworkReady");
  return {
    name: version.runtimeName,
    version: version.runtimeVersion,
    networkReady: condition?.status ?? false,
    reason: condition?.reason ?? "",
    message: mask(condition?.message ?? ""),
    ...readContainerdInfo(info),
    ...(version.runtimeName === "cri-o" ? await readCrioConfig(socket, limits) : {}),
  };
}

type ContainerdInfo = Pick<
  RuntimeStatus,
  "configDir" | "pluginDirs" | "maxConfigs" | "defaultNetwork" | "loadError" | "networks" | "handlers"
>;

/** Reads containerd's verbose information (internal/cri/server/status.go); nothing of it is sure to be there. */
function readContainerdInfo(info: Record<string, string>): ContainerdInfo {
  const parsed = v.safeParse(json(CniConfig), info["cniconfig"]);
  const config = parsed.success ? parsed.output : undefined;
  return {
    configDir: config?.PluginConfDir,
    pluginDirs: config?.PluginDirs ?? undefined,
    maxConfigs: config?.PluginMaxConfNum,
    defaultNetwork: undefined,
    loadError: loadErrorOf(info["lastCNILoadStatus"]),
    networks: config === undefined ? undefined : (config.Networks ?? []).filter(isNoLoopback).map(toNetwork),
    handlers: readHandlers(info),
  };
}

type Network = NonNullable<v.InferOutput<typeof CniConfig>["Networks"]>[number];

function isNoLoopback({ IFName, Config }: Network): boolean {
  return IFName !== LOOPBACK.interface || Config.Name !== LOOPBACK.network;
}

function toNetwork({ Config }: Network): LoadedNetwork {
  return {
    name: Config.Name,
    cniVersion: Config.CNIVersion,
    plugins: (Config.Plugins ?? []).map(({ Source }) => Source),
  };
}

function readHandlers(info: Record<string, string>): HandlerStatus[] {
  const config = v.safeParse(json(RuntimeConfig), info["config"]);
  const runtimes = config.success ? (config.output.containerd.runtimes ?? {}) : {};
  return Object.entries(runtimes)
    .filter(([, { cniConfDir }]) => cniConfDir !== "")
    .map(([name, { cniConfDir }]) => ({
      name,
      configDir: resolve(cniConfDir),
      loadError: loadErrorOf(info[`lastCNILoadStatus.${name}`]),
    }));
}

function loadErrorOf(status: string | undefined): string | undefined {
  return status === LOADED || status === undefined ? undefined : mask(status);
}

/** A text that is JSON of this form. */
function json<T>(schema: v.GenericSchema<unknown, T>): v.GenericSchema<string, T> {
  return v.pipe(v.string(), v.parseJson(), schema);
}
