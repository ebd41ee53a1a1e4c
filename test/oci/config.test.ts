/** docker-cni's configuration file. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { Failure } from "../../src/errors.ts";
import { isLogged, parseOciConfig, readOciConfig } from "../../src/oci/config.ts";

const FILE = "/etc/docker/cni.yaml";
const DEFAULTS = {
  file: FILE,
  ociBin: undefined,
  confDir: "/etc/cni/net.d",
  pluginDirs: ["/opt/cni/bin"],
  ifName: "eth0",
  cacheDir: "/var/lib/cni",
  isEnvTrusted: false,
  isAnnotationTrusted: undefined,
  hookLog: undefined,
  log: undefined,
  level: "info",
};

/** The file in docker-cni's own documentation. */
const OF_DOCKER_CNI = `oci_bin: /usr/sbin/runc

cni_conf_dir: /etc/cni/net.d/
cni_bin_dir: /opt/cni/bin/
cni_ifname: eth0
cni_log: /var/log/cni.log

log_driver: file:///var/log/docker-cni.log
log_level: debug
`;

test("a file made for docker-cni is read unchanged", () => {
  assert.deepEqual(parseOciConfig(OF_DOCKER_CNI, FILE), {
    ...DEFAULTS,
    ociBin: "/usr/sbin/runc",
    hookLog: "/var/log/cni.log",
    log: "/var/log/docker-cni.log",
    level: "debug",
  });
});

const TEXTS: [name: string, text: string, changes: object][] = [
  ["nothing", "", {}],
  ["comments", "# one\n\n  # two\n", {}],
  ["keys without values", "oci_bin:\ncni_log: ~\nlog_level: null\n", {}],
  ["a comment behind a value", "oci_bin: runc # the one in PATH\n", { ociBin: "runc" }],
  ["quotation marks", `oci_bin: "/opt/my runc"\ncni_ifname: 'net0'\n`, { ociBin: "/opt/my runc", ifName: "net0" }],
  ["a flow mapping", "{oci_bin: crun, log_level: WARN}", { ociBin: "crun", level: "warning" }],
  ["lines of Windows", "oci_bin: runc\r\nlog_level: error\r\n", { ociBin: "runc", level: "error" }],
  ["several directories", "cni_bin_dir: /a:/b/\n", { pluginDirs: ["/a", "/b"] }],
  ["a driver that is not a file", "log_driver: syslog\n", {}],
  ["a trusted environment", "cni_env: true\n", { isEnvTrusted: true }],
  ["annotations that count", "cni_annotations: true\n", { isAnnotationTrusted: true }],
  ["annotations that do not", "cni_annotations: false\n", { isAnnotationTrusted: false }],
  ["a cache", "cni_cache_dir: /run/cni\n", { cacheDir: "/run/cni" }],
];
for (const [name, text, changes] of TEXTS) {
  test(`reads ${name}`, () => {
    assert.deepEqual(parseOciConfig(text, FILE), { ...DEFAULTS, ...changes });
  });
}

const WRONG: [text: string, message: RegExp][] = [
  ["oci_bins: runc\n", /unknown key "oci_bins"/u],
  ["oci_bin: [runc]\n", /key "oci_bin" that is not a text/u],
  ["oci_bin: runc\noci_bin: crun\n", /is not YAML: duplicate key at line 2, column 1/u],
  ['oci_bin: "runc\n', /is not YAML: missing char/u],
  ["- runc\n", /is not a list of keys and values/u],
  ["oci_bin: ./runc\n", /oci_bin "\.\/runc", which is not an absolute path/u],
  ["cni_conf_dir: net.d\n", /cni_conf_dir "net\.d"/u],
  ["log_driver: file://x\n", /log_driver "x"/u],
  ["cni_ifname: a/b\n", /cni_ifname "a\/b": 1 to 15 bytes/u],
  ["log_level: loud\n", /log_level "loud"/u],
];
for (const [text, message] of WRONG) {
  test(`objects to ${JSON.stringify(text)}`, () => {
    assert.throws(
      () => parseOciConfig(text, FILE),
      (error: unknown) => {
        assert.ok(error instanceof Failure);
        assert.equal(error.code, "oci-config-invalid");
        assert.match(error.message, message);
        return true;
      },
    );
  });
}

test("a file that is named must be there", () => {
  assert.throws(() => readOciConfig("/nowhere/cni.yaml"), /\/nowhere\/cni\.yaml: the configuration cannot be read/u);
});

test("a line is logged up to the level that is wanted", () => {
  assert.deepEqual(
    (["error", "info", "debug"] as const).map((level) => isLogged(level, "info")),
    [true, true, false],
  );
});
