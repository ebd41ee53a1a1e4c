// What projecteru2/docker-cni (2021) does, retold: a runtime that adds two hooks to each container and runs the real
// one, and these hooks, which ask libcni. Its Go module is not to be had any more.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/containernetworking/cni/libcni"
	"github.com/opencontainers/runtime-spec/specs-go"
	"gopkg.in/yaml.v2"
)

type config struct {
	Runtime  string `yaml:"oci_bin"`
	Networks string `yaml:"cni_conf_dir"`
	Plugins  string `yaml:"cni_bin_dir"`
	IfName   string `yaml:"cni_ifname"`
	Log      string `yaml:"cni_log"`
}

func main() {
	if err := run(os.Args); err != nil {
		fmt.Printf("Error running docker-cni: %+v\n", err)
		os.Exit(255)
	}
}

// docker-cni oci --config F -- ARGS, and docker-cni cni --config F --command C
func run(args []string) error {
	if len(args) < 4 || args[2] != "--config" {
		return fmt.Errorf("usage")
	}
	text, err := os.ReadFile(args[3])
	if err != nil {
		return err
	}
	var conf config
	if err := yaml.Unmarshal(text, &conf); err != nil {
		return err
	}
	if args[1] == "oci" {
		return wrap(conf, args[0], args[3], args[5:])
	}
	return hook(conf, args[5])
}

func wrap(conf config, self, file string, args []string) error {
	bundle, creates := "", false
	for i, arg := range args {
		switch {
		case arg == "--bundle":
			bundle = args[i+1]
		case arg == "--log" && bundle == "":
			bundle = filepath.Dir(args[i+1])
		case arg == "create":
			creates = true
		}
	}
	path := filepath.Join(bundle, "config.json")
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var spec specs.Spec
	if err := json.Unmarshal(text, &spec); err != nil {
		return err
	}
	if creates {
		if spec.Hooks == nil {
			spec.Hooks = &specs.Hooks{}
		}
		words := func(command string) []string { return []string{self, "cni", "--config", file, "--command", command} }
		spec.Hooks.Prestart = append(spec.Hooks.Prestart, specs.Hook{Path: self, Args: words("add")})
		spec.Hooks.Poststop = append(spec.Hooks.Poststop, specs.Hook{Path: self, Args: words("del")})
		if text, err = json.Marshal(spec); err != nil {
			return err
		}
		if err := os.WriteFile(path, text, 0o644); err != nil {
			return err
		}
	}
	return syscall.Exec(conf.Runtime, append([]string{conf.Runtime}, args...), os.Environ())
}

func hook(conf config, command string) error {
	var state specs.State
	if err := json.NewDecoder(os.Stdin).Decode(&state); err != nil {
		return err
	}
	log, err := os.OpenFile(conf.Log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	for _, fd := range []int{1, 2} {
		if err := syscall.Dup3(int(log.Fd()), fd, 0); err != nil {
			return err
		}
	}
	network, err := first(conf.Networks)
	if err != nil {
		return err
	}
	runtime := &libcni.RuntimeConf{ContainerID: state.ID, IfName: conf.IfName}
	if state.Pid != 0 {
		runtime.NetNS = fmt.Sprintf("/proc/%d/ns/net", state.Pid)
	}
	cni := libcni.NewCNIConfig(filepath.SplitList(strings.TrimRight(conf.Plugins, ":")), nil)
	if command == "del" {
		return cni.DelNetworkList(context.Background(), network, runtime)
	}
	result, err := cni.AddNetworkList(context.Background(), network, runtime)
	if err != nil {
		return err
	}
	return result.Print()
}

// The first of the configuration lists by name.
func first(directory string) (*libcni.NetworkConfigList, error) {
	files, err := libcni.ConfFiles(directory, []string{".conflist"})
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, libcni.NoConfigsFoundError{Dir: directory}
	}
	return libcni.ConfListFromFile(files[0])
}
