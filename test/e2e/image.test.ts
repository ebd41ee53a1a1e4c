/** What is in the image, that it is the same whoever builds it, and that it can be built for the other architecture. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { hash } from "node:crypto";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { after, before, suite, test } from "node:test";
import { fileURLToPath } from "node:url";

import { layersOf } from "../../scripts/image.ts";
import { buildImage, findImage, preparedBuilder, saveImage } from "../image/build.ts";
import { Content, elfOf } from "../image/content.ts";
import { cannotStart } from "../image/engines.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const PLUGINS = "opt/cni/bin";
const LICENCES = "usr/share/doc/cni-node/licences";

interface Listed {
  name: string;
  sha256: string;
  cniVersions: string[];
}

suite("the image", { skip: cannotStart }, () => {
  let image: Content;
  before(() => {
    image = new Content(findImage());
  });
  after(() => {
    image[Symbol.dispose]();
  });

  /** What `find` prints in the image, sorted. */
  function find(...words: string[]): string[] {
    const { stdout, status } = spawnSync("find", [".", ...words], { cwd: image.root, encoding: "utf8" });
    assert.equal(status, 0);
    return stdout.split("\n").slice(0, -1).toSorted();
  }

  function path(name: string): string {
    return join(image.root, name);
  }

  test("has no setuid or setgid file, no file that others may write, and no package manager", () => {
    assert.deepEqual(find("-perm", "/6000"), []);
    assert.deepEqual(find("-type", "f", "-perm", "/0022"), []);
    const managers = ["apt", "apt-get", "dpkg", "apk", "rpm", "npm", "npx"].flatMap((name) => ["-o", "-name", name]);
    assert.deepEqual(find("-type", "f", "(", ...managers.slice(1), ")", "-perm", "/0111"), []);
  });

  test("has the manual page, and the completion scripts that the program prints", () => {
    assert.deepEqual(
      fs.readFileSync(path("usr/share/man/man8/cni-node.8")),
      fs.readFileSync(join(ROOT, "docs/cni-node.8")),
    );
    for (const name of ["bash-completion/completions/cni-node", "fish/vendor_completions.d/cni-node.fish"])
      assert.match(fs.readFileSync(path(`usr/share/${name}`), "utf8"), /^# Completion of cni-node/u);
  });

  test("has nothing where the node is mounted, and /usr/local/bin empty and first on PATH", () => {
    assert.equal(fs.existsSync(path("host")), false);
    assert.deepEqual(fs.readdirSync(path("usr/local/bin")), []);
    const { Env: env, Entrypoint: entry, User: user } = image.configuration.config;
    const PATH =
      env
        .find((setting) => setting.startsWith("PATH="))
        ?.slice(5)
        .split(":") ?? [];
    assert.equal(PATH[0], "/usr/local/bin");
    for (const directory of ["/usr/bin", "/bin"]) assert.ok(PATH.includes(directory));
    assert.deepEqual([entry, user ?? ""], [["/usr/bin/cni-node"], ""]);
  });

  test("sets nothing that makes every start slower, or that is this machine's", () => {
    const names = image.configuration.config.Env.map((setting) => setting.split("=")[0]);
    assert.deepEqual(names, ["PATH"]);
  });

  test("has cni-node run by a Node.js of its own, stripped, that nothing on PATH can take the place of", () => {
    const program = fs.realpathSync(path("usr/bin/cni-node"));
    const [shebang] = fs.readFileSync(program, "utf8").split("\n", 1);
    assert.equal(shebang, "#!/usr/lib/cni-node/start");
    assert.match(fs.readFileSync(path("usr/lib/cni-node/start"), "utf8"), /^#!\/usr\/bin\/busybox sh\n/u);
    for (const name of ["start", "node"])
      assert.equal(fs.statSync(path(`usr/lib/cni-node/${name}`)).mode & 0o777, 0o755);
    assert.equal(fs.statSync(program).mode & 0o777, 0o755);
    assert.equal(elfOf(path("usr/lib/cni-node/node"))?.isStripped, true);
    const onPath = find("(", "-path", "./usr/bin/*", "-o", "-path", "./usr/local/*", "-o", "-path", "./bin/*", ")");
    assert.deepEqual(
      onPath.filter((name) => name.includes("node")),
      ["./usr/bin/cni-node"],
    );
  });

  test("[R2] has an init, static, for when it is process 1", () => {
    assert.deepEqual(
      [elfOf(path("usr/bin/tini"))?.isStatic, fs.statSync(path("usr/bin/tini")).mode & 0o777],
      [true, 0o755],
    );
  });

  test("has a static busybox as sh, ip, nsenter, ping and unshare", () => {
    assert.equal(elfOf(path("usr/bin/busybox"))?.isStatic, true);
    for (const name of ["bin/sh", "usr/bin/sh", "usr/bin/ip", "usr/bin/nsenter", "usr/bin/ping", "usr/bin/unshare"]) {
      const target = fs.readlinkSync(path(name));
      assert.ok(["busybox", "/usr/bin/busybox"].includes(target), `${name} -> ${target}`);
    }
  });

  test("lists every plugin, and each is static and what the list says", () => {
    const { platform, plugins } = catalogueIn(image);
    assert.equal(platform, "linux/amd64");
    assert.deepEqual(fs.readdirSync(path(PLUGINS)), [".catalogue.json", ...plugins.map(({ name }) => name)]);
    for (const { name, sha256 } of plugins) {
      assert.equal(hash("sha256", fs.readFileSync(path(join(PLUGINS, name)))), sha256);
      const elf = elfOf(path(join(PLUGINS, name)));
      assert.deepEqual([elf?.machine, elf?.isStatic], ["amd64", true], name);
    }
  });

  test("holds Multus once, under its two names", () => {
    const [multus, twin] = ["multus", "multus-cni"].map((name) => fs.lstatSync(path(join(PLUGINS, name))));
    assert.deepEqual([twin?.isFile(), twin?.ino], [true, multus?.ino]);
  });

  test("has the program under each name of package.json", () => {
    const { bin } = JSON.parse(fs.readFileSync(join(ROOT, "package.json"), "utf8")) as { bin: Record<string, string> };
    const links = find("-path", "./usr/bin/*", "-lname", "*/cni-node/*").map((name) => name.slice("./usr/bin/".length));
    assert.deepEqual(links, Object.keys(bin).toSorted());
    for (const name of links) {
      const target = path(join("usr/lib/cni-node", basename(bin[name] ?? "")));
      assert.equal(fs.realpathSync(path(`usr/bin/${name}`)), target);
      assert.equal(fs.statSync(target).mode & 0o777, 0o755);
    }
  });

  test("lists Debian's packages, where scanners look for them, with the licence of each", () => {
    const packages = fs.readdirSync(path("var/lib/dpkg/status.d"));
    for (const name of ["busybox-static", "libc6", "libgcc-s1", "libstdc++6", "tini"])
      assert.ok(packages.includes(name), name);
    for (const name of packages) {
      const control = fs.readFileSync(path(`var/lib/dpkg/status.d/${name}`), "utf8");
      assert.match(control, new RegExp(`^Package: ${RegExp.escape(name)}\n[^]*^Version: \\S+\n`, "mu"));
      assert.ok(fs.statSync(path(`usr/share/doc/${name}/copyright`)).size > 0, name);
    }
    assert.match(fs.readFileSync(path("etc/os-release"), "utf8"), /^ID=debian$/mu);
  });

  test("brings the licence of every Go module that is linked into its plugins, and the notices", () => {
    for (const { name } of catalogueIn(image).plugins) {
      const built = spawnSync("go", ["version", "-m", path(join(PLUGINS, name))], { encoding: "utf8" }).stdout;
      const modules = Array.from(
        built.matchAll(/^\t(?:mod|dep)\t(\S+)\t(v\S+)/gmu),
        ([, at, version]) => `${at}@${version}`,
      );
      assert.ok(modules.length > 1, name);
      for (const module of modules) {
        const files = fs.readdirSync(path(join(LICENCES, "go", module)));
        assert.ok(
          files.some((file) => /^(?:licen[cs]e|copying)/iu.test(file)),
          `${name}: ${module}`,
        );
      }
    }
    for (const module of ["multus-cni.v4", "whereabouts"]) {
      assert.equal(find("-path", `./${LICENCES}/go/*${module}@*/NOTICE`).length, 1, module);
    }
    for (const name of ["go/go/LICENSE", "node/LICENSE", "npm/jsonc-parser/LICENSE.md", "../LICENSE"]) {
      assert.ok(fs.statSync(path(join(LICENCES, name))).size > 0, name);
    }
  });

  test("weighs at most 100 MB, compressed as registries keep it", () => {
    const compressed = layersOf(findImage()).map((layer) => layer.compressed);
    assert.ok(compressed.reduce((sum, bytes) => sum + bytes, 0) <= 100e6, String(compressed));
  });

  test("says by the OCI's annotations what it is, of which version and commit, and on what it stands", () => {
    const { Labels: labels } = image.configuration.config;
    const { version } = JSON.parse(fs.readFileSync(join(ROOT, "package.json"), "utf8")) as { version: string };
    const key = (name: string): string | undefined => labels[`org.opencontainers.image.${name}`];
    assert.equal(key("title"), "cni-node");
    assert.equal(key("version"), version);
    assert.match(key("created") ?? "", /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/u);
    for (const name of ["description", "source", "licenses", "revision", "base.name"]) assert.ok(key(name), name);
  });

  test("built again, without any layer or plugin of the first time, is the same but for the time of building", () => {
    using work = new Work();
    const builder = preparedBuilder();
    const build = (name: string): Content => {
      buildImage(builder, name, ["--no-cache", ...sameVersion(image)], join(work.path, name));
      saveImage(builder, name, join(work.path, `${name}.tar`));
      builder.buildah(["rmi", name]);
      return new Content(join(work.path, `${name}.tar`));
    };
    using again = build("again");
    // The first one may have been built when Debian had other versions of these packages.
    using once = packagesOf(again) === packagesOf(image) ? undefined : build("once");
    const first = once ?? image;
    assert.deepEqual(again.entries, first.entries);
    assert.deepEqual(again.configuration.config, first.configuration.config);
    assert.deepEqual(timesOf(again), ["1970-01-01T00:00:00.000Z"]);
  });

  test("can be built for arm64, with the same program and the same plugins", () => {
    using work = new Work();
    const builder = preparedBuilder();
    const seconds = "1000000000";
    const options = [
      ...sameVersion(image),
      "--platform=linux/arm64",
      "--build-arg=PLUGINS=reference",
      `--build-arg=SOURCE_DATE_EPOCH=${seconds}`,
    ];
    buildImage(builder, "foreign", options);
    saveImage(builder, "foreign", join(work.path, "foreign.tar"));
    using foreign = new Content(join(work.path, "foreign.tar"));
    assert.equal(foreign.configuration.architecture, "arm64");
    const files = Object.keys(Object.assign({}, ...foreign.entries)).map((name) => join(foreign.root, name));
    const machines = files.flatMap((file) => (fs.lstatSync(file).isFile() ? (elfOf(file)?.machine ?? []) : []));
    assert.deepEqual([...new Set(machines)], ["arm64"]);
    const { platform, plugins } = catalogueIn(foreign);
    assert.equal(platform, "linux/arm64");
    assert.ok(plugins.length > 10);
    const natives = new Map(catalogueIn(image).plugins.map((plugin) => [plugin.name, plugin]));
    for (const { name, cniVersions } of plugins) assert.deepEqual(cniVersions, natives.get(name)?.cniVersions);
    assert.deepEqual(timesOf(foreign), [new Date(Number(seconds) * 1000).toISOString()]);
    const program = JSON.stringify(foreign.entries.at(-1)).replaceAll(
      timesOf(foreign)[0] ?? "",
      timesOf(image)[0] ?? "",
    );
    assert.deepEqual(JSON.parse(program), image.entries.at(-1));
  });
});

test(
  "plugins built elsewhere, from nothing but their sources, are the same to the last bit",
  { skip: cannotStart },
  () => {
    using work = new Work();
    const output = join(work.path, "out");
    const sources = join(work.path, "a/longer/path");
    fs.cpSync(join(ROOT, "plugins"), sources, { recursive: true });
    fs.writeFileSync(join(sources, "../package.json"), '{"type":"module"}');
    const words = [join(sources, "build.ts"), `--output=${output}`, "--plugins=static,flannel"];
    const env = { ...process.env, GOCACHE: join(work.path, "go"), CNI_NODE_CACHE: join(work.path, "cache") };
    const { status, stderr } = spawnSync(process.execPath, words, { env, encoding: "utf8" });
    assert.equal(status, 0, stderr);
    const { plugins } = JSON.parse(fs.readFileSync(join(output, ".catalogue.json"), "utf8")) as { plugins: Listed[] };
    using image = new Content(findImage());
    for (const { name, sha256 } of plugins) assert.equal(sha256, digestOf(catalogueIn(image).plugins, name), name);
    assert.equal(plugins.length, 2);
  },
);

function catalogueIn({ root }: Content): { platform: string; plugins: Listed[] } {
  const text = fs.readFileSync(join(root, PLUGINS, ".catalogue.json"), "utf8");
  return JSON.parse(text) as { platform: string; plugins: Listed[] };
}

function digestOf(plugins: readonly Listed[], name: string): string {
  return plugins.find((plugin) => plugin.name === name)?.sha256 ?? "";
}

/** The arguments that an image was built with, whatever has been committed since. */
function sameVersion({ configuration }: Content): string[] {
  const names = { VERSION: "version", GIT_SHA: "revision", CREATED: "created" };
  return Object.entries(names).map(
    ([name, label]) => `--build-arg=${name}=${configuration.config.Labels[`org.opencontainers.image.${label}`]}`,
  );
}

/** Debian's packages in an image. */
function packagesOf({ root }: Content): string {
  const directory = join(root, "var/lib/dpkg/status.d");
  return fs
    .readdirSync(directory)
    .map((name) => fs.readFileSync(join(directory, name), "utf8"))
    .join("");
}

/** The times that files of an image have. */
function timesOf({ entries }: Content): string[] {
  const described = entries.flatMap((layer) => Object.values(layer));
  return [...new Set(described.map((entry) => entry.split(" ")[2] ?? ""))];
}

class Work implements Disposable {
  readonly path = fs.mkdtempSync(join(fs.realpathSync(tmpdir()), "cni-node-test-"));

  [Symbol.dispose](): void {
    fs.rmSync(this.path, { recursive: true, force: true });
  }
}
