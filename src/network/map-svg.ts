/** The map of a node as a picture: its own interfaces left, bridges in the middle, the other namespaces right. */
import {
  connectionsOf,
  hiddenIn,
  hiddenOf,
  lostText,
  routeText,
  titleOf,
  type LinkEnd,
  type MapInterface,
  type MapNamespace,
  type NodeMap,
} from "./map.ts";
import { wrapLines } from "../system/text.ts";

/** A box with lines of text, and smaller ones below these. */
interface Box {
  /** What lines lead to. */
  key: string;
  title: string;
  lines: string[];
  problems: string[];
  inner: Box[];
}

interface Placed {
  x: number;
  y: number;
  width: number;
  height: number;
}

const [COLUMN, GAP, MARGIN, PAD, LINE, INDENT] = [300, 70, 20, 10, 18, 12];
/** A character of 12 pixels, monospace, is 7.3 wide at most. */
const CHARACTER = 7.3;

const STYLE = `
  svg { background: #ffffff; } text { font: 12px ui-monospace, monospace; fill: #1f2328; }
  .title { font-weight: bold; } .problem { fill: #b3261e; } .outer { fill: #f3f5f7; stroke: #6e7781; }
  .inner { fill: #ffffff; stroke: #6e7781; } .wrong { stroke: #b3261e; stroke-width: 2; }
  path { fill: none; stroke: #0b62c4; stroke-width: 1.5; } .parent { stroke-dasharray: 5 4; }
  @media (prefers-color-scheme: dark) {
    svg { background: #0d1117; } text { fill: #e6edf3; } .problem { fill: #ff8f87; } .outer { fill: #161b22; stroke: #8b949e; }
    .inner { fill: #0d1117; stroke: #8b949e; } .wrong { stroke: #ff8f87; } path { stroke: #6cb0ff; }
  }`;

/** The picture, an SVG document. Ends in a newline. */
export function mapSvg(map: NodeMap): string {
  const places = new Map<string, Placed>();
  const boxes = columnsOf(map).map((column, index) => {
    let y = MARGIN;
    return column.map((box) => {
      const drawn = draw(box, { x: MARGIN + index * (COLUMN + GAP), y, width: COLUMN }, places, "outer");
      y += heightOf(box, COLUMN) + MARGIN;
      return drawn;
    });
  });
  const width = MARGIN * 2 + COLUMN * 3 + GAP * 2;
  const height = Array.from(places.values()).reduce((most, one) => Math.max(most, one.y + one.height), 0) + MARGIN;
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img">
<title>The network of this node</title>
<style>${STYLE}
</style>
${[...linesOf(map, places), ...boxes.flat(2)].join("\n")}
</svg>
`;
}

function columnsOf(map: NodeMap): [Box[], Box[], Box[]] {
  const left: Box[] = [];
  const middle: Box[] = [];
  const right: Box[] = [];
  for (const namespace of map.namespaces) {
    const box = {
      key: namespace.id,
      title: titleOf(namespace),
      lines: [...namespace.routes.map((one) => `route ${routeText(one)}`), ...hiddenIn(namespace)],
      problems: namespace.problems,
    };
    if (namespace.isHost) {
      const groups = groupsOf(namespace, map);
      left.push({ ...box, inner: groups.filter(({ isMiddle }) => !isMiddle) });
      middle.push(...groups.filter(({ isMiddle }) => isMiddle));
    } else {
      right.push({ ...box, inner: namespace.interfaces.map((one) => ofInterface(one, namespace, map)) });
    }
  }
  if (map.lost.length > 0) {
    const inner = map.lost.map((one, index) => {
      return { key: `lost/${index}`, title: lostText(one), lines: [], problems: [one.problem], inner: [] };
    });
    right.push({ key: "lost", title: "attachments without an interface", lines: [], problems: [], inner });
  }
  const hidden = hiddenOf(map);
  if (hidden.length > 0) right.push({ key: "hidden", title: "…", lines: hidden, problems: [], inner: [] });
  return [left, middle, right];
}

/** The node's own: bridges with their ports and single veths are in the middle. */
function groupsOf(host: MapNamespace, map: NodeMap): (Box & { isMiddle: boolean })[] {
  const { interfaces } = host;
  const masters = new Set(interfaces.map(({ name }) => name));
  return interfaces
    .filter(({ master }) => master === undefined || !masters.has(master))
    .map((one) => {
      const ports = interfaces.filter(({ master }) => master === one.name);
      const inner = ports.map((port) => ofInterface(port, host, map));
      return { ...ofInterface(one, host, map), inner, isMiddle: one.kind === "bridge" || one.kind === "veth" };
    });
}

function ofInterface(one: MapInterface, own: MapNamespace, map: NodeMap): Box {
  return {
    key: keyOf({ namespace: own.id, interface: one.name }),
    title: `${one.name} ${one.kind}${one.isUp ? "" : " down"}`,
    lines: [
      ...one.addresses,
      ...connectionsOf(one, map, own),
      ...one.attachments.map(({ network }) => `network ${network}`),
    ],
    problems: one.problems,
    inner: [],
  };
}

function keyOf({ namespace, interface: name }: LinkEnd): string {
  return `${namespace}/${name}`;
}

/** Its rows as they fit, each with its class. */
function rowsOf({ title, lines, problems }: Box, width: number): [kind: string, text: string][] {
  const most = Math.floor((width - PAD * 2) / CHARACTER);
  const rows = [
    ["title", title],
    ...lines.map((text) => ["line", text]),
    ...problems.map((text) => ["problem", `! ${text}`]),
  ] as [string, string][];
  return rows.flatMap(([kind, text]) => {
    const parts = wrapLines(text, most).flatMap((line) => cut(line, most));
    return parts.map((part): [string, string] => [kind, part]);
  });
}

/** Wide characters take two places. */
function cut(text: string, most: number): string[] {
  const parts = [""];
  let room = most;
  for (const character of text) {
    const size = (character.codePointAt(0) ?? 0) > 0x2e7f ? 2 : 1;
    if (size > room) {
      parts.push("");
      room = most;
    }
    parts[parts.length - 1] += character;
    room -= size;
  }
  return parts;
}

function heightOf(box: Box, width: number): number {
  const inner = box.inner.reduce((sum, one) => sum + heightOf(one, width - INDENT * 2) + PAD, 0);
  return rowsOf(box, width).length * LINE + PAD * 2 + inner;
}

function draw(
  box: Box,
  at: { x: number; y: number; width: number },
  places: Map<string, Placed>,
  kind: "outer" | "inner",
): string[] {
  const { x, y, width } = at;
  const height = heightOf(box, width);
  places.set(box.key, { x, y, width, height });
  const wrong = box.problems.length > 0 ? " wrong" : "";
  const rows = rowsOf(box, width);
  let below = y + PAD + rows.length * LINE + PAD;
  const inner = box.inner.flatMap((one) => {
    const drawn = draw(one, { x: x + INDENT, y: below, width: width - INDENT * 2 }, places, "inner");
    below += heightOf(one, width - INDENT * 2) + PAD;
    return drawn;
  });
  return [
    `<rect class="${kind}${wrong}" x="${x}" y="${y}" width="${width}" height="${height}" rx="6"/>`,
    ...rows.map(([name, text], index) => {
      return `<text class="${name}" xml:space="preserve" x="${x + PAD}" y="${y + PAD + index * LINE + 13}">${escaped(text)}</text>`;
    }),
    ...inner,
  ];
}

/** From each interface to its other end, and dashed to its parent. */
function linesOf(map: NodeMap, places: ReadonlyMap<string, Placed>): string[] {
  return map.namespaces.flatMap(({ id, interfaces }) =>
    interfaces.flatMap(({ name, peer, parent }) => {
      const own = keyOf({ namespace: id, interface: name });
      const other = peer === undefined || own > keyOf(peer) ? parent : peer;
      const [here, there] = [places.get(own), other && places.get(keyOf(other))];
      if (here === undefined || there === undefined) return [];
      return [`<path${other === parent ? ' class="parent"' : ""} d="${curve(here, there)}"/>`];
    }),
  );
}

/** From side to side; within a column around the right of it. */
function curve(one: Placed, two: Placed): string {
  const [left, right] = one.x <= two.x ? [one, two] : [two, one];
  const [y1, y2] = [left.y + left.height / 2, right.y + right.height / 2];
  const x1 = left.x + left.width;
  if (right.x < x1)
    return `M ${x1} ${y1} C ${x1 + GAP / 2} ${y1}, ${x1 + GAP / 2} ${y2}, ${right.x + right.width} ${y2}`;
  const half = (x1 + right.x) / 2;
  return `M ${x1} ${y1} C ${half} ${y1}, ${half} ${y2}, ${right.x} ${y2}`;
}

function escaped(text: string): string {
  // XML has no place for these two; lone surrogates are made visible before.
  return text
    .replaceAll(/[\uFFFE\uFFFF]/gu, "\uFFFD")
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;");
}
