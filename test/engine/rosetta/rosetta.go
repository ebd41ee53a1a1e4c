// Package rosetta stands for the module of that name, which docker's command line asks on macOS only.
package rosetta

import "runtime"

func Enabled() bool { return false }

func NativeArch() string { return runtime.GOARCH }
