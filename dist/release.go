// Command dist builds the binaries of a release into dist/out, with their checksums:
//
//	go run ./dist              all systems
//	go run ./dist linux-arm5   only those whose names begin so
package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// targets are the systems that Letterbox is built for: a name and what the go
// command has to know.
var targets = []struct{ name, env string }{
	{"linux-amd64", "GOOS=linux GOARCH=amd64"},
	{"linux-arm64", "GOOS=linux GOARCH=arm64"},                    // Raspberry Pi 3 and later with a 64-bit system
	{"linux-arm7", "GOOS=linux GOARCH=arm GOARM=7"},               // Raspberry Pi 2 and later
	{"linux-arm6", "GOOS=linux GOARCH=arm GOARM=6"},               // Raspberry Pi 1 and Zero
	{"linux-arm5", "GOOS=linux GOARCH=arm GOARM=5"},               // NAS boxes and routers without a floating-point unit
	{"linux-mips", "GOOS=linux GOARCH=mips GOMIPS=softfloat"},     // routers
	{"linux-mipsle", "GOOS=linux GOARCH=mipsle GOMIPS=softfloat"}, // routers
	{"linux-riscv64", "GOOS=linux GOARCH=riscv64"},
	{"darwin-amd64", "GOOS=darwin GOARCH=amd64"},
	{"darwin-arm64", "GOOS=darwin GOARCH=arm64"},
	{"freebsd-amd64", "GOOS=freebsd GOARCH=amd64"},
	{"freebsd-arm64", "GOOS=freebsd GOARCH=arm64"},
}

const out = "dist/out"

func main() {
	if err := release(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func release(prefixes []string) error {
	if _, err := os.Stat("dist/release.go"); err != nil {
		return fmt.Errorf("run it at the top of the source tree: %w", err)
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	var sums strings.Builder
	built := 0
	for _, t := range targets {
		if !wanted(t.name, prefixes) {
			continue
		}
		path := filepath.Join(out, "letterbox-"+t.name)
		sum, size, err := build(path, t.env)
		if err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
		fmt.Printf("%-40s %5.1f MiB\n", path, float64(size)/(1<<20))
		fmt.Fprintf(&sums, "%s  %s\n", sum, filepath.Base(path))
		built++
	}
	if built == 0 {
		return fmt.Errorf("no system's name begins with %s", strings.Join(prefixes, " or "))
	}
	return os.WriteFile(filepath.Join(out, "SHA256SUMS"), []byte(sums.String()), 0o644)
}

func wanted(name string, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return len(prefixes) == 0
}

// build makes one binary without paths, symbols and C, so that the same source gives
// the same bytes on every machine.
func build(path, env string) (sum string, size int, err error) {
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, ".")
	cmd.Env = append(os.Environ(), append(strings.Fields(env), "CGO_ENABLED=0")...)
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return "", 0, err
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return "", 0, err
	}
	h := sha256.Sum256(content)
	return hex.EncodeToString(h[:]), len(content), nil
}
