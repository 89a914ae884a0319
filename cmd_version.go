package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// cmdVersion prints the version.
func cmdVersion(line *cmdLine) error {
	if err := line.none(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(line.stdout, "letterbox %s %s/%s %s\n", cmdVersionText(), runtime.GOOS, runtime.GOARCH, runtime.Version())
	return err
}

// cmdVersionText is the module's version, or what the version control knew.
func cmdVersionText() string {
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
