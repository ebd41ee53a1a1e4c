# The image (docs/image.md). Build it with BuildKit or buildah: make image, or docker build --tag cni-node .

# The images that the build runs in. docs/image.md describes how to build without the public registries.
ARG DEBIAN=docker.io/library/debian:bookworm-20260824-slim
ARG GOLANG=docker.io/library/golang:1.26.8-bookworm
ARG NODE=docker.io/library/node:24.21.0-bookworm-slim
# The time of all files. With the same time, layers that do not change are identical from version to version.
ARG SOURCE_DATE_EPOCH=0

FROM --platform=$BUILDPLATFORM ${GOLANG} AS go

FROM --platform=$BUILDPLATFORM ${NODE} AS tools
COPY --from=go /usr/local/go /usr/local/go
ENV PATH=/usr/local/go/bin:$PATH GOTOOLCHAIN=local
WORKDIR /cni-node

# /opt/cni/bin, and the licences of everything that is linked into it. The times are set in the step that creates the
# files: setting them in a later layer would split multus and multus-cni, one file with two names, into two files.
FROM tools AS plugins
ARG TARGETARCH
# A value for plugins/build.ts: all, or module folders and names of plugins.
ARG PLUGINS=all
ARG SOURCE_DATE_EPOCH
COPY plugins plugins
RUN --mount=type=cache,id=cni-node-plugins,target=/root/.cache/cni-node/plugins \
    --mount=type=cache,id=cni-node-go-build,target=/root/.cache/go-build \
    --mount=type=cache,id=cni-node-go-mod,target=/root/go/pkg/mod \
    GOARCH="${TARGETARCH:-$(go env GOARCH)}" && \
    node plugins/build.ts --plugins="$PLUGINS" --goarch="$GOARCH" --output=/out/opt/cni/bin && \
    node plugins/licences.ts --plugins=/out/opt/cni/bin --output=/out/usr/share/doc/cni-node/licences && \
    find /out -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" '{}' +

# The bundle, linked under the names in package.json.
FROM tools AS program
COPY package.json package-lock.json .npmrc ./
COPY scripts/node scripts/node
RUN --mount=type=cache,id=cni-node-npm,target=/root/.npm npm ci --ignore-scripts
COPY tsconfig.json LICENSE ./
COPY scripts scripts
COPY docs/cni-node.8 docs/
COPY src src
ARG VERSION
ARG GIT_SHA
ARG SOURCE_DATE_EPOCH
RUN CNI_NODE_VERSION=$VERSION node scripts/bundle.ts && \
    sed -i '1s|^#!.*|#!/usr/lib/cni-node/start|' dist/cni-node.cjs && \
    install --mode=0755 scripts/start.sh dist/start && \
    mkdir -p /out/usr/bin /out/usr/lib /out/usr/share/doc/cni-node/licences /out/usr/share/man/man8 \
      /out/usr/share/bash-completion/completions /out/usr/share/fish/vendor_completions.d && \
    node dist/cni-node.cjs completion bash >/out/usr/share/bash-completion/completions/cni-node && \
    node dist/cni-node.cjs completion fish >/out/usr/share/fish/vendor_completions.d/cni-node.fish && \
    install --mode=0644 docs/cni-node.8 /out/usr/share/man/man8/ && \
    mv LICENSE /out/usr/share/doc/cni-node/ && \
    mv dist/licences /out/usr/share/doc/cni-node/licences/npm && \
    mv dist /out/usr/lib/cni-node && \
    for link in $(node -p 'Object.entries(require("./package.json").bin).map(([name, file]) => name + "=" + file).join(" ")'); do \
      ln -s "../lib/cni-node/${link##*/}" "/out/usr/bin/${link%%=*}"; \
    done && \
    find /out -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" '{}' +

# The Node.js that package-lock.json pins, for the image's architecture.
FROM tools AS runtime
ARG TARGETARCH
COPY package.json package-lock.json .npmrc ./
COPY scripts/node scripts/node
RUN --mount=type=cache,id=cni-node-npm,target=/root/.npm \
    npm ci --ignore-scripts --omit=dev --os=linux \
      --cpu="$(echo "${TARGETARCH:-$(go env GOARCH)}" | sed s/amd64/x64/)" && \
    mkdir /out && mv node_modules/node-linux-*/bin/node node_modules/node-linux-*/LICENSE /out

# The libraries of Node.js, a shell, an init, and ip of iproute2 and iptables for cni-node routes: the files of Debian's
# packages that programs of the image can use, with their licences, and the packages' metadata, which scanners read.
FROM --platform=$BUILDPLATFORM ${DEBIAN} AS system
ARG TARGETARCH
RUN ARCH="${TARGETARCH:-$(dpkg --print-architecture)}" && dpkg --add-architecture "$ARCH" && apt-get update && \
    apt-get install --yes --no-install-recommends binutils-multiarch && \
    mkdir /debs && cd /debs && apt-get download base-files ca-certificates \
      "busybox-static:$ARCH" "gcc-12-base:$ARCH" "libc6:$ARCH" "libgcc-s1:$ARCH" "libstdc++6:$ARCH" \
      "tini:$ARCH" \
      "iproute2:$ARCH" "libbpf1:$ARCH" "libbsd0:$ARCH" "libcap2:$ARCH" "libelf1:$ARCH" "libmd0:$ARCH" "libmnl0:$ARCH" \
      "zlib1g:$ARCH" \
      "iptables:$ARCH" "libnftnl11:$ARCH" "libxtables12:$ARCH"
WORKDIR /system
RUN mkdir -p bin dev etc/ssl/certs opt proc root run sys tmp usr/bin usr/local/bin usr/sbin usr/share/doc var/lib/dpkg/status.d && \
    chmod 0700 root && chmod 1777 tmp && \
    for deb in /debs/*.deb; do \
      dpkg-deb --extract "$deb" /packages && \
      dpkg-deb --field "$deb" >"var/lib/dpkg/status.d/$(dpkg-deb --field "$deb" Package)" || exit 1; \
    done && \
    rm -rf /packages/usr/lib/*/gconv /packages/lib/*/libmvec.* /packages/usr/lib/*/tc && \
    find /packages/usr/lib/*/xtables -mindepth 1 ! -name libxt_MASQUERADE.so ! -name libxt_NAT.so ! -name libxt_comment.so \
      ! -name libxt_standard.so -delete && \
    cp -a /packages/lib* . && cp -a /packages/usr/lib usr/ && cp -a /packages/usr/share/common-licenses usr/share/ && \
    (cd /packages/usr/share && find doc -mindepth 1 -maxdepth 2 "(" -name copyright -o -type l ")" -exec cp -a --parents -t /system/usr/share '{}' +) && \
    cat /packages/usr/share/ca-certificates/mozilla/*.crt >etc/ssl/certs/ca-certificates.crt && \
    cp -a /packages/etc/os-release etc/ && \
    printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n' >etc/passwd && \
    printf 'root:x:0:\nnogroup:x:65534:\n' >etc/group && \
    echo 'hosts: files dns' >etc/nsswitch.conf && \
    cp -a /packages/bin/busybox usr/bin/ && cp -a /packages/usr/bin/tini-static usr/bin/tini && \
    cp -a /packages/bin/ip /packages/usr/sbin/xtables-nft-multi usr/sbin/ && \
    for name in iptables ip6tables; do for tool in $name $name-restore; do ln -s xtables-nft-multi "usr/sbin/$tool"; done; done && \
    for applet in ip nsenter ping sh unshare; do ln -s busybox "usr/bin/$applet"; done && \
    ln -s /usr/bin/busybox bin/sh
COPY --from=runtime /out /node
WORKDIR /runtime
RUN mkdir -p usr/lib/cni-node usr/share/doc/cni-node/licences/node && \
    strip --output-file=usr/lib/cni-node/node /node/node && \
    cp /node/LICENSE usr/share/doc/cni-node/licences/node/
ARG SOURCE_DATE_EPOCH
RUN find /system /runtime -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" '{}' +

FROM scratch
COPY --from=system /system/ /
COPY --from=system /runtime/ /
COPY --from=plugins /out/ /
COPY --from=program /out/ /
# Manifests of openvnf/cni-node mount their own programs over /usr/local/bin, so it comes first.
ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin
ENTRYPOINT ["/usr/bin/cni-node"]
ARG VERSION
ARG GIT_SHA
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title=cni-node \
      org.opencontainers.image.description="Installs CNI plugins and networks on Kubernetes nodes, and finds out why a node has no network" \
      org.opencontainers.image.source=https://github.com/openvnf/cni-node \
      org.opencontainers.image.licenses="Apache-2.0 AND MIT AND BSD-2-Clause AND BSD-3-Clause AND ISC AND MPL-2.0 AND GPL-2.0-only AND LGPL-2.1-or-later AND GPL-3.0-or-later WITH GCC-exception-3.1 AND GPL-2.0-or-later AND LGPL-3.0-or-later AND Zlib" \
      org.opencontainers.image.version=$VERSION \
      org.opencontainers.image.revision=$GIT_SHA \
      org.opencontainers.image.created=$CREATED \
      org.opencontainers.image.base.name=scratch
