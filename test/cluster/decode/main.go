// Command decode tells which objects kubectl finds in manifests: documents are
// told apart and decoded, empty ones skipped and lists taken apart by
// kubectl's own code.
//
// Standard input is one manifest, or with -batch any number of them, each
// after a line with its length in bytes. Each is answered by one line of JSON:
// the objects that come before an error, and the error if there is one.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"

	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/resource"
)

// answer is what was found in one manifest.
type answer struct {
	Objects []runtime.Object `json:"objects"`
	Error   string           `json:"error,omitempty"`
}

func main() {
	batch := flag.Bool("batch", false, "many manifests, each after a line with its length")
	flag.Parse()

	run := single
	if *batch {
		run = many
	}
	output := bufio.NewWriter(os.Stdout)
	err := run(bufio.NewReader(os.Stdin), json.NewEncoder(output))
	if flushed := output.Flush(); err == nil {
		err = flushed
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "decode:", err)
		os.Exit(1)
	}
}

func single(input *bufio.Reader, output *json.Encoder) error {
	manifest, err := io.ReadAll(input)
	if err != nil {
		return err
	}
	return output.Encode(decode(manifest))
}

func many(input *bufio.Reader, output *json.Encoder) error {
	for {
		var length int
		if _, err := fmt.Fscanf(input, "%d\n", &length); err == io.EOF {
			return nil
		} else if err != nil {
			return fmt.Errorf("length of a manifest: %w", err)
		}
		manifest := make([]byte, length)
		if _, err := io.ReadFull(input, manifest); err != nil {
			return fmt.Errorf("manifest of %d bytes: %w", length, err)
		}
		if err := output.Encode(decode(manifest)); err != nil {
			return err
		}
	}
}

// decode reads a manifest as kubectl apply does: with a byte order mark of any
// kind, and going on after objects that are none.
func decode(manifest []byte) answer {
	text := transform.NewReader(bytes.NewReader(manifest), unicode.BOMOverride(unicode.UTF8.NewDecoder()))
	infos, err := resource.NewLocalBuilder().
		Unstructured().
		Stream(text, "manifest").
		Flatten().
		ContinueOnError().
		Do().
		Infos()

	found := answer{Objects: []runtime.Object{}}
	for _, info := range infos {
		found.Objects = append(found.Objects, info.Object)
	}
	if err != nil {
		found.Error = err.Error()
	}
	return found
}
