package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// cmdReleased is the version of a release, put in by dist when it is linked.
var cmdReleased string

// cmdVersion prints the version.
func cmdVersion(line *cmdLine) error {
	if err := line.none(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(line.stdout, "letterbox %s %s/%s %s\n", cmdVersionText(), runtime.GOOS, runtime.GOARCH, runtime.Version())
	return err
}

// cmdVersionText is the release's version, the module's, or what the version control knew.
func cmdVersionText() string {
	if cmdReleased != "" {
		return cmdReleased
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" {
			return "devel " + setting.Value[:min(len(setting.Value), 12)]
		}
	}
	return "devel"
}
