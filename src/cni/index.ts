/**
 * A runtime for CNI networks, in the words of the CNI specification 1.1.0: `import { add } from "cni-node/cni"`.
 * docs/library.md shows how it is used, and where it differs from libcni.
 */
export { DEFAULT_CACHE_DIR, listAttachments, type AttachmentKey, type CachedAttachment } from "./cache.ts";
export { hasCommand, type Command } from "./command.ts";
export { parseNetworkList, type NetworkList, type Objection, type PluginConfig } from "./config.ts";
export { CniError, ERROR_CODES, type ErrorObject } from "./error.ts";
export { gc, type GcReport } from "./gc.ts";
export {
  askVersion,
  findPlugin,
  invoke,
  PluginError,
  type Args,
  type Invocation,
  type InvokeOptions,
  type Parameters,
  type PluginCall,
  type PluginFailure,
} from "./invoke.ts";
export type { Loaded, Network } from "./listing.ts";
export { listNetworks, loadNetwork } from "./load.ts";
export { kernelLock, type Lock } from "./lock.ts";
export { add, check, del, status, version, type PluginVersions } from "./network.ts";
export type { Stop } from "./process.ts";
export type { ValidAttachment } from "./request.ts";
export {
  convertResult,
  parseResult,
  type AnyResult,
  type DNS,
  type Interface,
  type IPConfig,
  type LegacyIPConfig,
  type LegacyResult,
  type Result,
  type Route,
} from "./result.ts";
export type { Attachment, Runtime, RuntimeConf } from "./runtime.ts";
export { compareVersions, NEWEST_VERSION } from "./version.ts";
export { Failure } from "../errors.ts";
