/** The map of a node as a tree, for a terminal. */
import {
  connectionsOf,
  hiddenIn,
  hiddenOf,
  lostText,
  routeText,
  titleOf,
  type IdFormat,
  type MapInterface,
  type MapNamespace,
  type NodeMap,
} from "./map.ts";
import { wrapLines } from "../system/text.ts";

interface Branch {
  text: string;
  below: Branch[];
}

/**
 * The tree. Ends in a newline.
 *
 * @param columns what is longer goes on in the next line.
 */
export function mapText(map: NodeMap, columns = Infinity, formatId: IdFormat = String): string {
  const lost = map.lost.map((one) => leaf(lostText(one, formatId), [leaf(`! ${one.problem}`)]));
  const branches = [
    ...map.namespaces.map((one) => ofNamespace(one, map, formatId)),
    ...(lost.length === 0 ? [] : [leaf("attachments without an interface", lost)]),
    ...hiddenOf(map).map((text) => leaf(`… ${text}`)),
  ];
  return (
    branches.flatMap((one) => [...wrap(one.text, "", "", columns), ...linesOf(one.below, "", columns)]).join("\n") +
    "\n"
  );
}

function leaf(text: string, below: Branch[] = []): Branch {
  return { text, below };
}

function ofNamespace(namespace: MapNamespace, map: NodeMap, formatId: IdFormat): Branch {
  const { interfaces, routes, problems } = namespace;
  const isPort = ({ master }: MapInterface): boolean =>
    master !== undefined && interfaces.some(({ name }) => name === master);
  const connections = (one: MapInterface): string[] => connectionsOf(one, map, namespace, formatId);
  const draw = (one: MapInterface): Branch =>
    ofInterface(one, one.kind === "bridge" ? interfaces.filter((p) => p.master === one.name) : [], connections);
  return leaf(titleOf(namespace, formatId), [
    ...problems.map((text) => leaf(`! ${text}`)),
    ...interfaces.filter((one) => !isPort(one) || one.kind === "bridge").map(draw),
    ...interfaces
      .filter((one) => isPort(one) && one.kind !== "bridge")
      .filter(({ master }) => interfaces.find(({ name }) => name === master)?.kind !== "bridge")
      .map((one) => ofInterface(one, [], connections)),
    ...routes.map((one) => leaf(`route ${routeText(one)}`)),
    ...hiddenIn(namespace).map((text) => leaf(`… ${text}`)),
  ]);
}

function ofInterface(one: MapInterface, ports: MapInterface[], connections: (one: MapInterface) => string[]): Branch {
  const words = [one.name, one.kind, ...(one.isUp ? [] : ["down"]), ...one.addresses, ...connections(one)];
  return leaf(words.join("  "), [
    ...one.attachments.map(({ network, addedBy }) =>
      leaf(`network ${network}${addedBy === "cni-node" ? ", added by cni-node" : ""}`),
    ),
    ...one.problems.map((text) => leaf(`! ${text}`)),
    ...ports.filter(({ kind }) => kind !== "bridge").map((port) => ofInterface(port, [], connections)),
  ]);
}

function linesOf(branches: readonly Branch[], start: string, columns: number): string[] {
  return branches.flatMap(({ text, below }, index) => {
    const isLast = index === branches.length - 1;
    const next = `${start}${isLast ? "    " : "│   "}`;
    const rest = below.length === 0 ? `${next}  ` : `${next}│ `;
    return [...wrap(text, `${start}${isLast ? "└── " : "├── "}`, rest, columns), ...linesOf(below, next, columns)];
  });
}

function wrap(text: string, first: string, rest: string, columns: number): string[] {
  return wrapLines(text, columns - rest.length).map((line, index) => `${index === 0 ? first : rest}${line}`);
}
