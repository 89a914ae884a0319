// Command dist builds a release into dist/out:
//
//	go run ./dist                         the binaries of all systems, and their checksums
//	go run ./dist linux-arm5              only that one, or those whose names begin so
//	go run ./dist -packages [NAME...]     and an archive of each, and .deb packages where there is one
//
// The same source gives the same bytes on every machine, packages and archives included.
package main

import (
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// target is a system that Letterbox is built for.
type target struct {
	name string
	env  string // what the go command has to know
	deb  string // Debian's name for the architecture, "" if there is no package
}

var targets = []target{
	{"linux-amd64", "GOOS=linux GOARCH=amd64", "amd64"},
	{"linux-arm64", "GOOS=linux GOARCH=arm64", "arm64"},               // Raspberry Pi 3 and later with a 64-bit system
	{"linux-arm7", "GOOS=linux GOARCH=arm GOARM=7", ""},               // Raspberry Pi 2 and later
	{"linux-arm6", "GOOS=linux GOARCH=arm GOARM=6", "armhf"},          // Raspberry Pi 1 and Zero, whose system says armhf, too
	{"linux-arm5", "GOOS=linux GOARCH=arm GOARM=5", ""},               // NAS boxes and routers without a floating-point unit
	{"linux-mips", "GOOS=linux GOARCH=mips GOMIPS=softfloat", ""},     // routers
	{"linux-mipsle", "GOOS=linux GOARCH=mipsle GOMIPS=softfloat", ""}, // routers
	{"linux-riscv64", "GOOS=linux GOARCH=riscv64", ""},
	{"darwin-amd64", "GOOS=darwin GOARCH=amd64", ""},
	{"darwin-arm64", "GOOS=darwin GOARCH=arm64", ""},
	{"freebsd-amd64", "GOOS=freebsd GOARCH=amd64", ""},
	{"freebsd-arm64", "GOOS=freebsd GOARCH=arm64", ""},
}

const out = "dist/out"

func main() {
	packages := flag.Bool("packages", false, "make archives and .deb packages, too")
	version := flag.String("version", "", "of the packages, and what the program says of itself; without it, the day and the name of the commit")
	flag.Parse()
	if err := release(flag.Args(), *packages, *version); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

// release builds the targets whose names begin with one of prefixes, or all.
func release(prefixes []string, packages bool, version string) error {
	if _, err := os.Stat("dist/release.go"); err != nil {
		return fmt.Errorf("run it at the top of the source tree: %w", err)
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	r := &packaging{version: version}
	if packages {
		if err := r.begin(); err != nil {
			return err
		}
		defer r.end()
	}
	var made []string
	for _, t := range targets {
		if !wanted(t.name, prefixes) {
			continue
		}
		path := filepath.Join(out, "letterbox-"+t.name)
		if err := build(path, t.env, version); err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
		made = append(made, path)
		if packages {
			paths, err := r.pack(t, path)
			if err != nil {
				return fmt.Errorf("%s: %w", t.name, err)
			}
			made = append(made, paths...)
		}
	}
	if len(made) == 0 {
		return fmt.Errorf("no system's name begins with %s", strings.Join(prefixes, " or "))
	}
	return checksums(made)
}

// wanted tells whether a target is among those that were named: by its name, or by one that is no other's and begins so.
func wanted(name string, prefixes []string) bool {
	for _, p := range prefixes {
		whole := slices.ContainsFunc(targets, func(t target) bool { return t.name == p })
		if name == p || !whole && strings.HasPrefix(name, p) {
			return true
		}
	}
	return len(prefixes) == 0
}

// build makes one binary without paths, symbols and C, so that the same source gives
// the same bytes on every machine. Without a version the program says what the go command knows.
func build(path, env, version string) error {
	ldflags := "-s -w"
	if version != "" {
		ldflags += " -X main.cmdReleased=" + version
	}
	// The page speaks HTTP/1.1 only; without the tag, net/http brings HTTP/2 along.
	cmd := exec.Command("go", "build", "-tags", "nethttpomithttp2", "-trimpath", "-ldflags", ldflags, "-o", path, ".")
	cmd.Env = append(os.Environ(), append(strings.Fields(env), "CGO_ENABLED=0")...)
	cmd.Stderr = os.Stderr
	return cmd.Run()
}

// checksums writes SHA256SUMS, as sha256sum -c reads it.
func checksums(paths []string) error {
	var sums strings.Builder
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		h := sha256.Sum256(content)
		fmt.Fprintf(&sums, "%s  %s\n", hex.EncodeToString(h[:]), filepath.Base(path))
		fmt.Printf("%-50s %5.1f MiB\n", path, float64(len(content))/(1<<20))
	}
	return os.WriteFile(filepath.Join(out, "SHA256SUMS"), []byte(sums.String()), 0o644)
}

// commit tells when the source was committed, and its name.
func commit() (at time.Time, name string, err error) {
	said, err := exec.Command("git", "log", "-1", "--format=%ct %h").Output()
	if err != nil {
		return at, "", fmt.Errorf("asking git for the commit: %w", err)
	}
	var seconds int64
	if _, err := fmt.Sscan(string(said), &seconds, &name); err != nil {
		return at, "", fmt.Errorf("git says %q: %w", said, err)
	}
	return time.Unix(seconds, 0).UTC(), name, nil
}
