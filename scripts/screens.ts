/** What cni-node prints on a node of this script's own, as documents show it: `plan` and `status`. */
import { once } from "node:events";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";

import { run } from "../src/cli.ts";
import { TestNode } from "../test/helpers/node.ts";

const README = new URL("../README.md", import.meta.url);
const COLUMNS = 80;

/** A recorded terminal: the command behind its prompt, and what it printed. */
export interface Screens {
  plan: string;
  status: string;
}

/** Plans one plugin more than the README installs; looks at a node whose network needs a plugin that is not there. */
export async function recordScreens(): Promise<Screens> {
  return { plan: await recordPlan(), status: await recordStatus() };
}

async function recordPlan(): Promise<string> {
  using node = new TestNode(["loopback"]);
  for (const name of ["bridge", "host-local", "portmap"]) node.plugin(name);
  const [, template = ""] = /<<END\n([^]*?)^END$/mu.exec(readFileSync(README, "utf8")) ?? [];
  node.template("10-mynet.conflist", template);
  await node.run(["install", "--plugins=bridge,host-local", "--configs=10-mynet.conflist"]);
  node.template(
    "10-mynet.conflist",
    template.replace(/ \] \}\n$/u, `,\n  { "type": "portmap", "capabilities": { "portMappings": true } } ] }\n`),
  );
  return await recorded(node, "plan --plugins=bridge,host-local,portmap --configs=10-mynet.conflist");
}

async function recordStatus(): Promise<string> {
  using node = new TestNode([]);
  for (const name of ["bridge", "host-local", "loopback", "portmap"]) node.plugin(name);
  await node.run(["install", "--plugins=bridge,host-local,loopback"]);
  const bridge = { type: "bridge", ipam: { type: "host-local", subnet: "10.22.0.0/16" } };
  const plugins = [bridge, { type: "portmap", capabilities: { portMappings: true } }];
  const list = JSON.stringify({ cniVersion: "1.0.0", name: "pods", plugins });
  writeFileSync(join(node.netd, "10-pods.conflist"), list, { mode: 0o600 });
  mkdirSync(join(node.host, "etc/containerd"));
  writeFileSync(join(node.host, "etc/containerd/config.toml"), "version = 2\n");
  mkdirSync(join(node.host, "run/containerd"), { recursive: true });
  const containerd = createServer().listen(join(node.host, "run/containerd/containerd.sock"));
  await once(containerd, "listening");
  try {
    return await recorded(node, "status");
  } finally {
    containerd.close();
  }
}

/** What a terminal of usual width shows, without colours. */
async function recorded({ plugins, templates, host, root }: TestNode, words: string): Promise<string> {
  let screen = "";
  const print = (text: string): void => {
    screen += text;
  };
  await run(words.split(" "), {
    env: {
      NO_COLOR: "1",
      CNI_NODE_PLUGIN_SOURCE: plugins,
      CNI_NODE_CONFIG_SOURCE: templates,
      CNI_NODE_HOST_ROOT: host,
    },
    stdin: async () => Promise.resolve(""),
    stdout: print,
    stderr: print,
    signal: new AbortController().signal,
    terminals: () => ({ stdout: { columns: COLUMNS, rows: 50 }, stderr: true }),
  });
  return `$ cni-node ${words}\n${screen.replaceAll(root, "")}`;
}
