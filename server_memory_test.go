package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestServerMemory(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string
		want  int64
	}{
		{"nothing known", nil, serverMemoryUnknown},
		{"a machine", map[string]string{"proc/meminfo": "MemFree:  1 kB\nMemTotal:         498728 kB\n"}, 498728 << 10},
		{"a container", map[string]string{
			"proc/meminfo":             "MemTotal:         8000000 kB\n",
			"proc/self/cgroup":         "0::/\n",
			"sys/fs/cgroup/memory.max": "134217728\n",
		}, 128 << 20},
		{"a unit in a slice", map[string]string{
			"proc/meminfo":                          "MemTotal:         8000000 kB\n",
			"proc/self/cgroup":                      "0::/system.slice/letterbox.service\n",
			"sys/fs/cgroup/system.slice/memory.max": "268435456\n",
			"sys/fs/cgroup/system.slice/letterbox.service/memory.max": "max\n",
		}, 256 << 20},
		{"version 1", map[string]string{
			"proc/meminfo":     "MemTotal:         8000000 kB\n",
			"proc/self/cgroup": "5:cpu:/x\n3:memory:/box\n",
			"sys/fs/cgroup/memory/box/memory.limit_in_bytes": "67108864\n",
		}, 64 << 20},
		{"more than there is", map[string]string{
			"proc/meminfo":             "MemTotal:         1000 kB\n",
			"proc/self/cgroup":         "0::/\n",
			"sys/fs/cgroup/memory.max": "134217728\n",
		}, 1000 << 10},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			for name, text := range c.files {
				path := filepath.Join(root, name)
				must(t, os.MkdirAll(filepath.Dir(path), 0o700))
				must(t, os.WriteFile(path, []byte(text), 0o600))
			}
			if got := serverMemory(root); got != c.want {
				t.Errorf("%d, wanted %d", got, c.want)
			}
		})
	}
}
