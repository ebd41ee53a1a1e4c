// Does with libcni what a script says, and tells what came of each step; the tests compare it with src/cni.
// Usage: libcni run|convert < JSON > JSON
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/types/create"
)

// script is the steps on one directory, with plugins in bin and libcni's cache in cache.
type script struct {
	Root  string `json:"root"`
	Steps []step `json:"steps"`
}

type step struct {
	Do             string               `json:"do"`
	List           string               `json:"list"`
	ContainerID    string               `json:"containerId"`
	NetNS          string               `json:"netns"`
	IfName         string               `json:"ifName"`
	Args           [][2]string          `json:"args"`
	CapabilityArgs map[string]any       `json:"capabilityArgs"`
	Valid          []types.GCAttachment `json:"valid"`
	// For "write": a file below the root, and its content.
	Path string `json:"path"`
	Text string `json:"text"`
}

// outcome is what came of a step.
type outcome struct {
	Result any `json:"result,omitempty"`
	// Of VERSION, by plugin; nothing for one that gave no answer.
	Versions any `json:"versions,omitempty"`
	// One for each plugin that failed.
	Errors []failure `json:"errors"`
	// What the recording plugin has written.
	Calls string `json:"calls"`
	// The files of the cache, by name.
	Cache map[string]string `json:"cache"`
}

type failure struct {
	Text string `json:"text"`
	// Of the specification's error object, where there is one.
	Code    uint   `json:"code"`
	Msg     string `json:"msg"`
	Details string `json:"details"`
}

func main() {
	var out any
	switch os.Args[1] {
	case "run":
		var scripts []script
		decode(&scripts)
		outcomes := [][]outcome{}
		for _, one := range scripts {
			outcomes = append(outcomes, run(one))
		}
		out = outcomes
	case "convert":
		var conversions []struct {
			Result  string `json:"result"`
			Version string `json:"version"`
		}
		decode(&conversions)
		results := []any{}
		for _, one := range conversions {
			results = append(results, convert(one.Result, one.Version))
		}
		out = results
	}
	if err := json.NewEncoder(os.Stdout).Encode(out); err != nil {
		panic(err)
	}
}

func decode(value any) {
	if err := json.NewDecoder(os.Stdin).Decode(value); err != nil {
		panic(err)
	}
}

// convert returns nothing where libcni fails.
func convert(text, version string) any {
	result, err := create.CreateFromBytes([]byte(text))
	if err != nil {
		return nil
	}
	if result, err = result.GetAsVersion(version); err != nil {
		return nil
	}
	return result
}

func run(script script) []outcome {
	outcomes := []outcome{}
	for _, step := range script.Steps {
		result := outcome{Errors: []failure{}}
		do(script.Root, step, &result)
		result.Calls = takeCalls(script.Root)
		result.Cache = cacheOf(script.Root)
		outcomes = append(outcomes, result)
	}
	return outcomes
}

func do(root string, step step, out *outcome) {
	ctx := context.Background()
	if step.Do == "write" {
		path := filepath.Join(root, step.Path)
		out.fail(os.MkdirAll(filepath.Dir(path), 0o700))
		out.fail(os.WriteFile(path, []byte(step.Text), 0o600))
		return
	}
	cni := libcni.NewCNIConfigWithCacheDir([]string{filepath.Join(root, "bin")}, filepath.Join(root, "cache"), nil)
	list, err := libcni.NetworkConfFromBytes([]byte(step.List))
	if err != nil {
		out.fail(err)
		return
	}
	rt := &libcni.RuntimeConf{
		ContainerID:    step.ContainerID,
		NetNS:          step.NetNS,
		IfName:         step.IfName,
		Args:           step.Args,
		CapabilityArgs: step.CapabilityArgs,
	}
	switch step.Do {
	case "add":
		result, err := cni.AddNetworkList(ctx, list, rt)
		if err == nil {
			out.Result = result
		}
		out.fail(err)
	case "check":
		out.fail(cni.CheckNetworkList(ctx, list, rt))
	case "del":
		out.fail(cni.DelNetworkList(ctx, list, rt))
	case "gc":
		out.fail(cni.GCNetworkList(ctx, list, &libcni.GCArgs{ValidAttachments: step.Valid}))
	case "status":
		out.fail(cni.GetStatusNetworkList(ctx, list))
	case "version":
		versions := map[string][]string{}
		for _, plugin := range list.Plugins {
			if info, err := cni.GetVersionInfo(ctx, plugin.Network.Type); err == nil {
				versions[plugin.Network.Type] = info.SupportedVersions()
			}
		}
		out.Versions = versions
	default:
		panic(fmt.Sprintf("unknown step %q", step.Do))
	}
}

func (out *outcome) fail(err error) {
	var all interface{ Unwrap() []error }
	if errors.As(err, &all) {
		for _, one := range all.Unwrap() {
			out.fail(one)
		}
		return
	}
	if err == nil {
		return
	}
	failed := failure{Text: err.Error()}
	var object *types.Error
	if errors.As(err, &object) {
		failed.Code, failed.Msg, failed.Details = object.Code, object.Msg, object.Details
	}
	out.Errors = append(out.Errors, failed)
}

func takeCalls(root string) string {
	path := filepath.Join(root, "record", "calls")
	calls, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	if err := os.Remove(path); err != nil {
		panic(err)
	}
	return string(calls)
}

func cacheOf(root string) map[string]string {
	files := map[string]string{}
	entries, _ := os.ReadDir(filepath.Join(root, "cache", "results"))
	for _, entry := range entries {
		if content, err := os.ReadFile(filepath.Join(root, "cache", "results", entry.Name())); err == nil {
			files[entry.Name()] = string(content)
		}
	}
	return files
}
