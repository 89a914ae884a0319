package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// memoryLimit is a control group of the kernel in which a server runs with so much
// memory and no more: what its processes take, and what the kernel caches for them, as on
// a machine of that size. It needs root.
type memoryLimit struct {
	dir  string
	oom  string // the file with the line "oom_kill N"
	size int64
}

// newMemoryLimit makes the group. The second version of the kernel's interface has one
// hierarchy, the first has one for memory alone.
func newMemoryLimit(size int64, name string) (*memoryLimit, error) {
	const root = "/sys/fs/cgroup"
	m := &memoryLimit{size: size}
	limits := map[string]string{}
	if b, err := os.ReadFile(root + "/cgroup.subtree_control"); err == nil && strings.Contains(" "+string(b), " memory") {
		m.dir, m.oom = filepath.Join(root, name), "memory.events"
		limits["memory.max"], limits["memory.swap.max"] = strconv.FormatInt(size, 10), "0"
	} else if _, err := os.Stat(root + "/memory/memory.limit_in_bytes"); err == nil {
		m.dir, m.oom = filepath.Join(root, "memory", name), "memory.oom_control"
		limits["memory.limit_in_bytes"] = strconv.FormatInt(size, 10)
	} else {
		return nil, errors.New("this system has no control group for memory")
	}
	if err := os.Mkdir(m.dir, 0o755); err != nil {
		return nil, err
	}
	for file, value := range limits {
		err := os.WriteFile(filepath.Join(m.dir, file), []byte(value), 0)
		if err != nil && file != "memory.swap.max" { // not there without swap
			return nil, errors.Join(err, m.close())
		}
	}
	return m, nil
}

// wrap has a command run in the group.
func (m *memoryLimit) wrap(command []string) []string {
	return append([]string{"/bin/sh", "-c", `echo $$ >"$0/cgroup.procs" && exec "$@"`, m.dir}, command...)
}

// kills says how many processes the kernel has ended because the limit was reached.
func (m *memoryLimit) kills() int64 {
	b, err := os.ReadFile(filepath.Join(m.dir, m.oom))
	if err != nil {
		return 0
	}
	n, _ := procField(b, "oom_kill")
	return n
}

// close removes the group, which its last process may be about to leave.
func (m *memoryLimit) close() error {
	err := os.Remove(m.dir)
	for range 40 {
		if err == nil || errors.Is(err, os.ErrNotExist) {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
		err = os.Remove(m.dir)
	}
	return err
}

// parseSize reads a number that may end with k, M or G. Those of bytes are powers of
// 1024, those of messages powers of 1000.
func parseSize(s string, thousand int64) (int64, error) {
	factor := int64(1)
	number := s
	if len(s) > 0 {
		switch s[len(s)-1] {
		case 'k', 'K':
			factor = thousand
		case 'm', 'M':
			factor = thousand * thousand
		case 'g', 'G':
			factor = thousand * thousand * thousand
		}
		if factor > 1 {
			number = s[:len(s)-1]
		}
	}
	n, err := strconv.ParseInt(number, 10, 32)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%q is no number, with k, M or G behind it or not", s)
	}
	return n * factor, nil
}
