/** The map of a node in the language of Graphviz. */
import { hiddenIn, hiddenOf, lostText, routeText, titleOf, type MapInterface, type NodeMap } from "./map.ts";

/** The graph: a cluster for each namespace, a node for each interface. Ends in a newline. */
export function mapDot(map: NodeMap): string {
  const lines = ["graph node {", "  rankdir=LR;", '  node [shape=box, fontname="sans-serif"];'];
  map.namespaces.forEach((namespace, index) => {
    const notes = [...namespace.routes.map(routeText), ...hiddenIn(namespace), ...namespace.problems.map(marked)];
    lines.push(`  subgraph cluster_${index} {`, `    label=${quote([titleOf(namespace), ...notes].join("\n"))};`);
    for (const one of namespace.interfaces) {
      const colour = one.problems.length === 0 ? "" : ", color=red";
      lines.push(`    ${id(namespace.id, one.name)} [label=${quote(labelOf(one))}${colour}];`);
    }
    // A cluster without nodes is not drawn.
    if (namespace.interfaces.length === 0) lines.push(`    ${id(namespace.id, "")} [label="", shape=point];`);
    lines.push("  }");
  });
  for (const { id: own, interfaces } of map.namespaces) {
    for (const { name, master, peer, parent } of interfaces) {
      if (master !== undefined) lines.push(`  ${id(own, name)} -- ${id(own, master)};`);
      if (parent !== undefined) {
        lines.push(`  ${id(own, name)} -- ${id(parent.namespace, parent.interface)} [style=dashed];`);
      }
      const [here, there] = [`${own}/${name}`, `${peer?.namespace ?? ""}/${peer?.interface ?? ""}`];
      // A pair is drawn once.
      if (peer !== undefined && here < there) lines.push(`  ${quote(here)} -- ${quote(there)} [style=bold];`);
    }
  }
  map.lost.forEach((one, index) => {
    lines.push(`  ${quote(`lost/${index}`)} [label=${quote(`${lostText(one)}\n! ${one.problem}`)}, color=red];`);
  });
  hiddenOf(map).forEach((text, index) => {
    lines.push(`  ${quote(`hidden/${index}`)} [label=${quote(text)}, shape=plaintext];`);
  });
  return `${lines.join("\n")}\n}\n`;
}

function id(namespace: string, name: string): string {
  return quote(`${namespace}/${name}`);
}

function labelOf({ name, kind, isUp, vlan, addresses, attachments, problems }: MapInterface): string {
  return [
    [name, kind, ...(vlan === undefined ? [] : [`VLAN ${vlan}`]), ...(isUp ? [] : ["down"])].join(" "),
    ...addresses,
    ...attachments.map(({ network }) => `network ${network}`),
    ...problems.map(marked),
  ].join("\n");
}

function marked(problem: string): string {
  return `! ${problem}`;
}

function quote(text: string): string {
  return `"${text.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n")}"`;
}
