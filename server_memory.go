package main

import (
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
)

// How much memory the process is to take. The limit is soft: near it the garbage
// collector works harder and mailboxes that nobody uses leave, but what a session needs it gets.

const (
	serverMemoryLeast   = 24 << 20 // below it the garbage collector would do little else
	serverMemoryUnknown = 512 << 20
)

// useMemory puts the limit in place: what the configuration says, or else half of what
// the machine, or the group that it has put us in, has.
func (s *server) useMemory(c *config) {
	limit := c.memory()
	if limit == 0 {
		limit = serverMemory("/") / 2
	}
	limit = max(limit, serverMemoryLeast)
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(limit)
	}
	s.store.limitMemory(limit)
}

// serverMemory is the machine's memory in bytes, or less if a control group allows less.
// The files are looked for below root.
func serverMemory(root string) int64 {
	memory := int64(math.MaxInt64)
	info, _ := os.ReadFile(filepath.Join(root, "proc/meminfo")) // not there on other systems than Linux
	for line := range strings.Lines(string(info)) {
		if rest, ok := strings.CutPrefix(line, "MemTotal:"); ok {
			if n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64); err == nil {
				memory = n << 10
			}
		}
	}
	for _, path := range serverMemoryGroups(root) {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		if n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && n > 0 { // else "max"
			memory = min(memory, n)
		}
	}
	if memory == math.MaxInt64 {
		return serverMemoryUnknown
	}
	return memory
}

// serverMemoryGroups are the files that may hold a limit: of the process' control group and
// those around it, in both forms that Linux has.
func serverMemoryGroups(root string) (paths []string) {
	groups, _ := os.ReadFile(filepath.Join(root, "proc/self/cgroup")) // likewise
	for line := range strings.Lines(string(groups)) {
		id, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		controllers, group, _ := strings.Cut(rest, ":")
		base, name := "sys/fs/cgroup", "memory.max"
		if controllers == "memory" {
			base, name = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		} else if id != "0" {
			continue
		}
		for ; ; group = filepath.Dir(group) {
			paths = append(paths, filepath.Join(root, base, group, name))
			if group == "/" || group == "." || group == "" {
				break
			}
		}
	}
	return paths
}
