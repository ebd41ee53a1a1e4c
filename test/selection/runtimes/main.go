// Says what container runtimes take from directories of network configurations, by the libraries that they use:
// go-cni of containerd, ocicni of CRI-O, and libcni's look-up by name.
//
// Reads a JSON array of requests from stdin and writes an array of answers to stdout.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"

	gocni "github.com/containerd/go-cni"
	"github.com/containernetworking/cni/libcni"
	"github.com/cri-o/ocicni/pkg/ocicni"
	"github.com/sirupsen/logrus"
)

type request struct {
	Directory      string
	PluginDirs     []string
	MaxConfNum     int
	DefaultNetwork string
	// Names that are looked up.
	Names []string
}

type answer struct {
	Containerd containerd `json:"containerd"`
	Crio       crio       `json:"crio"`
	ByName     []byName   `json:"byName"`
}

type containerd struct {
	Error    string    `json:"error,omitempty"`
	Networks []network `json:"networks"`
}

type crio struct {
	// The name of the network for pods.
	Default string `json:"default"`
	// All that were taken, by name.
	Networks map[string]network `json:"networks"`
	// What its log says of files.
	Found   []string `json:"found"`
	Ignored []string `json:"ignored"`
	Refused []string `json:"refused"`
}

type byName struct {
	Error string `json:"error,omitempty"`
	// There is no such network, and no broken file before it.
	Missing bool     `json:"missing"`
	Network *network `json:"network,omitempty"`
}

type network struct {
	// Where the library says it.
	File       string   `json:"file,omitempty"`
	Name       string   `json:"name"`
	CNIVersion string   `json:"cniVersion"`
	Text       string   `json:"text"`
	Plugins    []plugin `json:"plugins"`
	Flags      *flags   `json:"flags,omitempty"`
}

type flags struct {
	DisableCheck           bool `json:"disableCheck"`
	DisableGC              bool `json:"disableGC"`
	LoadOnlyInlinedPlugins bool `json:"loadOnlyInlinedPlugins"`
}

type plugin struct {
	Type string `json:"type"`
	Text string `json:"text"`
}

func main() {
	var requests []request
	if err := json.NewDecoder(os.Stdin).Decode(&requests); err != nil {
		fail(err)
	}
	answers := []answer{}
	for _, one := range requests {
		answers = append(answers, answer{askContainerd(one), askCrio(one), askByName(one)})
	}
	if err := json.NewEncoder(os.Stdout).Encode(answers); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// As containerd does in its CRI plugin: loopback and the first files.
func askContainerd(asked request) containerd {
	cni, err := gocni.New(
		gocni.WithMinNetworkCount(2),
		gocni.WithPluginConfDir(asked.Directory),
		gocni.WithPluginDir(asked.PluginDirs),
		gocni.WithPluginMaxConfNum(asked.MaxConfNum),
		gocni.WithInterfacePrefix("eth"),
	)
	if err != nil {
		fail(err)
	}
	found := containerd{Networks: []network{}}
	if err := cni.Load(gocni.WithLoNetwork, gocni.WithDefaultConf); err != nil {
		found.Error = err.Error()
	}
	for _, one := range cni.GetConfig().Networks[1:] {
		taken := network{Name: one.Config.Name, CNIVersion: one.Config.CNIVersion, Text: one.Config.Source}
		for _, each := range one.Config.Plugins {
			taken.Plugins = append(taken.Plugins, plugin{each.Network.Type, each.Source})
		}
		found.Networks = append(found.Networks, taken)
	}
	return found
}

// The log is where ocicni says what becomes of each file.
type logged struct{ found, ignored, refused []string }

var sentences = map[*regexp.Regexp]func(*logged) *[]string{
	regexp.MustCompile(`(?s)^Found CNI network .* at (.*)$`):                                    func(l *logged) *[]string { return &l.found },
	regexp.MustCompile(`(?s)^Ignored CNI network .* at (.*) because already exists$`):           func(l *logged) *[]string { return &l.ignored },
	regexp.MustCompile(`(?s)^Error validating CNI config file (.*?\.(?:conf|conflist|json)): `): func(l *logged) *[]string { return &l.refused },
}

func (l *logged) Levels() []logrus.Level { return logrus.AllLevels }

func (l *logged) Fire(entry *logrus.Entry) error {
	for sentence, files := range sentences {
		if match := sentence.FindStringSubmatch(entry.Message); match != nil {
			*files(l) = append(*files(l), filepath.Base(match[1]))
		}
	}
	return nil
}

func askCrio(asked request) crio {
	log := &logged{found: []string{}, ignored: []string{}, refused: []string{}}
	logrus.SetOutput(io.Discard)
	logrus.StandardLogger().ReplaceHooks(logrus.LevelHooks{})
	logrus.AddHook(log)
	runtime, err := ocicni.InitCNINoInotify(asked.DefaultNetwork, asked.Directory, "", asked.PluginDirs...)
	if err != nil {
		fail(err)
	}
	networks := map[string]network{}
	// It shows its networks to nobody.
	for each := reflect.ValueOf(runtime).Elem().FieldByName("networks").MapRange(); each.Next(); {
		taken := each.Value().Elem()
		one := networkOf((*libcni.NetworkConfigList)(taken.FieldByName("config").UnsafePointer()))
		one.File = filepath.Base(taken.FieldByName("filePath").String())
		networks[each.Key().String()] = one
	}
	return crio{runtime.GetDefaultNetworkName(), networks, log.found, log.ignored, log.refused}
}

func askByName(asked request) []byName {
	answers := []byName{}
	for _, name := range asked.Names {
		list, err := libcni.LoadNetworkConf(asked.Directory, name)
		if err != nil {
			_, notFound := err.(libcni.NotFoundError)
			_, noneAtAll := err.(libcni.NoConfigsFoundError)
			answers = append(answers, byName{Error: err.Error(), Missing: notFound || noneAtAll})
			continue
		}
		one := networkOf(list)
		answers = append(answers, byName{Network: &one})
	}
	return answers
}

func networkOf(list *libcni.NetworkConfigList) network {
	one := network{
		Name:       list.Name,
		CNIVersion: list.CNIVersion,
		Text:       string(list.Bytes),
		Flags:      &flags{list.DisableCheck, list.DisableGC, list.LoadOnlyInlinedPlugins},
	}
	for _, each := range list.Plugins {
		one.Plugins = append(one.Plugins, plugin{each.Network.Type, string(each.Bytes)})
	}
	return one
}
