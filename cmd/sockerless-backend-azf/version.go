package main

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/sockerless/backend-azf/internal/toolchain"
)

// version and commit are set by the linker for releases: -X main.version=1.2.3 -X main.commit=0123abc.
var version, commit string

// programVersion returns the version of the program: the release's, otherwise the one that Go recorded.
func programVersion() string {
	v, _ := build()
	return v
}

// build returns version and commit of the program.
func build() (v, c string) {
	if version != "" {
		return version, cmp.Or(commit, "unknown")
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	return recorded(info)
}

// recorded returns version and commit as Go recorded them.
func recorded(info *debug.BuildInfo) (v, c string) {
	changes := ""
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			c = s.Value
		case "vcs.modified":
			if s.Value == "true" {
				changes = " with changes"
			}
		}
	}
	return cmp.Or(info.Main.Version, "(devel)"), cmp.Or(c, "unknown") + changes
}

// versionText names the program, and the tools that it takes when the machine has none that it supports.
func versionText() string {
	v, commit := build()
	return fmt.Sprintf("sockerless-backend-azf %s\ncommit %s\n%s %s/%s\nterraform %s, or OpenTofu %s\nazurerm %s\n",
		v, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH,
		toolchain.TerraformVersion, toolchain.OpenTofuVersion, toolchain.ProviderVersion)
}
