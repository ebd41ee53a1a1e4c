module cni-node/bench/docker-cni

go 1.26.0

require (
	github.com/containernetworking/cni v1.1.1
	github.com/opencontainers/runtime-spec v1.0.2
	gopkg.in/yaml.v2 v2.4.0
)
