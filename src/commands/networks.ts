/** The `network` commands. They share most of their code, and are loaded together. */
export { runAdd, runCheck, runDel } from "./network.ts";
export { runGc } from "./network-gc.ts";
export { runMap } from "./network-map.ts";
export { runProbe } from "./network-probe.ts";
export { runNetworkList, runNetworkVersion, runShow, runStatus } from "./network-show.ts";
