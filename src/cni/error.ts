import { reasonOf } from "../errors.ts";

/** The error codes of section 5 of the CNI specification; plugins use those from 100 on as they like. */
export const ERROR_CODES = {
  /** No code was given; libcni calls it so, the specification leaves 0 free. */
  unknown: 0,
  incompatibleVersion: 1,
  unsupportedField: 2,
  /** There is no such container, and nothing of it that would have to be cleaned up. */
  unknownContainer: 3,
  invalidEnvironment: 4,
  ioFailure: 5,
  decodingFailure: 6,
  invalidNetworkConfig: 7,
  tryAgainLater: 11,
  pluginNotAvailable: 50,
  limitedConnectivity: 51,
} as const;

/** The error object of the specification. */
export interface ErrorObject {
  code: number;
  msg: string;
  details?: string | undefined;
}

/** An error in the terms of the specification. This library throws no others, but for wrong use. */
export class CniError extends Error implements ErrorObject {
  override readonly name: string = "CniError";
  readonly code: number;
  readonly msg: string;
  readonly details: string | undefined;
  /** What went wrong besides, while a failed ADD was taken back by DEL. */
  readonly cleanup: CniError[] = [];

  /** @param prefix what the message tells before `msg`: who failed at what. */
  constructor({ code, msg, details }: ErrorObject, options: { prefix?: string; cause?: unknown } = {}) {
    const { prefix = "", cause } = options;
    super(`${prefix}${msg}${details ? `; ${details}` : ""}`, cause === undefined ? {} : { cause });
    this.code = code;
    this.msg = msg;
    this.details = details;
  }
}

/** @param what what does not work: `/var/lib/cni/results/x cannot be read`. @param error the system's. */
export function ioFailure(what: string, error: unknown): CniError {
  return new CniError({ code: ERROR_CODES.ioFailure, msg: `${what}: ${reasonOf(error)}` }, { cause: error });
}
