# The image (docs/image.md). BuildKit or buildah builds it: make image, or docker build --tag cni-node .

# Where the base images come from; docs/image.md tells how to build without the public registries.
ARG DEBIAN=docker.io/library/debian:bookworm-20250520-slim
ARG GOLANG=docker.io/library/golang:1.26.8-bookworm
ARG NODE=docker.io/library/node:24.21.0-bookworm-slim
# Its makers give it no other tag; a digest pins it.
ARG BASE=gcr.io/distroless/cc-debian12:latest

FROM --platform=$BUILDPLATFORM ${GOLANG} AS go

FROM --platform=$BUILDPLATFORM ${NODE} AS tools
COPY --from=go /usr/local/go /usr/local/go
ENV PATH=/usr/local/go/bin:$PATH GOTOOLCHAIN=local
WORKDIR /cni-node

# /opt/cni/bin, and the licences of all that is linked into it.
FROM tools AS plugins
ARG TARGETARCH
# What plugins/build.ts takes: all, or module folders and names of plugins.
ARG PLUGINS=all
COPY plugins plugins
RUN --mount=type=cache,id=cni-node-plugins,target=/root/.cache/cni-node/plugins \
    --mount=type=cache,id=cni-node-go-build,target=/root/.cache/go-build \
    --mount=type=cache,id=cni-node-go-mod,target=/root/go/pkg/mod \
    GOARCH="${TARGETARCH:-$(go env GOARCH)}" && \
    node plugins/build.ts --plugins="$PLUGINS" --goarch="$GOARCH" --output=/out/opt/cni/bin && \
    node plugins/licences.ts --plugins=/out/opt/cni/bin --output=/out/usr/share/doc/cni-node/licences

# The bundle.
FROM tools AS program
COPY package.json package-lock.json .npmrc ./
RUN --mount=type=cache,id=cni-node-npm,target=/root/.npm npm ci --ignore-scripts
COPY tsconfig.json ./
COPY scripts scripts
COPY src src
ARG VERSION
ARG GIT_SHA
RUN CNI_NODE_VERSION=$VERSION node scripts/bundle.ts && sed -i '1s|^#!.*|#!/usr/lib/cni-node/node|' dist/cni-node.js

# The Node.js of package-lock.json, for the image's architecture.
FROM tools AS runtime
ARG TARGETARCH
COPY package.json package-lock.json .npmrc ./
RUN --mount=type=cache,id=cni-node-npm,target=/root/.npm \
    npm ci --ignore-scripts --omit=dev --os=linux \
      --cpu="$(echo "${TARGETARCH:-$(go env GOARCH)}" | sed s/amd64/x64/)" && \
    mkdir /out && mv node_modules/node-linux-*/bin/node node_modules/node-linux-*/LICENSE /out

# The image's files, in a tree for each layer.
FROM --platform=$BUILDPLATFORM ${DEBIAN} AS files
ARG TARGETARCH
RUN ARCH="${TARGETARCH:-$(dpkg --print-architecture)}" && dpkg --add-architecture "$ARCH" && apt-get update && \
    apt-get install --yes --no-install-recommends binutils-multiarch && \
    cd /tmp && apt-get download "busybox-static:$ARCH" && dpkg-deb --extract busybox-static_*.deb busybox
COPY --from=runtime /out /tmp/node
WORKDIR /runtime
RUN mkdir -p bin usr/bin usr/local/bin usr/lib/cni-node && \
    strip --output-file=usr/lib/cni-node/node /tmp/node/node && \
    cp /tmp/busybox/bin/busybox usr/bin/ && \
    for applet in ip nsenter ping sh unshare; do ln -s busybox usr/bin/$applet; done && \
    ln -s /usr/bin/busybox bin/sh && \
    mkdir -p usr/share/doc/cni-node/licences/node usr/share/doc/cni-node/licences/busybox && \
    cp /tmp/node/LICENSE usr/share/doc/cni-node/licences/node/ && \
    cp /tmp/busybox/usr/share/doc/busybox-static/copyright usr/share/doc/cni-node/licences/busybox/
COPY --from=plugins /out /plugins
WORKDIR /plugins/opt/cni/bin
# Two names of one binary; a hard link would not outlive every builder's COPY.
RUN if [ -e multus ] && [ -e multus-cni ]; then ln -sf multus multus-cni; fi
COPY --from=program /cni-node/dist /program/usr/lib/cni-node
COPY LICENSE /program/usr/share/doc/cni-node/LICENSE
WORKDIR /program/usr
# The program's names.
RUN mkdir -p bin share/doc/cni-node/licences && mv lib/cni-node/licences share/doc/cni-node/licences/npm && \
    for name in cni-node; do ln -s ../lib/cni-node/cni-node.js bin/$name; done
ARG SOURCE_DATE_EPOCH=0
RUN find /runtime /plugins /program -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" '{}' +

FROM ${BASE}
COPY --from=files /runtime/ /
COPY --from=files /plugins/ /
COPY --from=files /program/ /
# Manifests of openvnf/cni-node mount their own programs over /usr/local/bin.
ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin
ENTRYPOINT ["/usr/bin/cni-node"]
ARG BASE
ARG VERSION
ARG GIT_SHA
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title=cni-node \
      org.opencontainers.image.description="Puts CNI on a node and proves that it works" \
      org.opencontainers.image.source=https://github.com/openvnf/cni-node \
      org.opencontainers.image.licenses="Apache-2.0 AND MIT AND BSD-3-Clause AND ISC AND GPL-2.0-only" \
      org.opencontainers.image.version=$VERSION \
      org.opencontainers.image.revision=$GIT_SHA \
      org.opencontainers.image.created=$CREATED \
      org.opencontainers.image.base.name=$BASE
