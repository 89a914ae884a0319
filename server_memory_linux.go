package main

import (
	"os"
	"runtime/debug"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// serverForgetStart gives back what only the start needed: the heap's free pages, and those
// of the program's own code and tables, which are in its file and are read from there
// when they are used again. The start goes once through nearly all of them.
func serverForgetStart() {
	debug.FreeOSMemory()
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		return // some containers have no proc, and nothing depends on this
	}
	for _, m := range serverUnwritten(string(smaps)) {
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, m.begin, m.end-m.begin, unix.MADV_DONTNEED) // likewise
	}
}

// serverMapping is a part of the process's memory, by its addresses.
type serverMapping struct{ begin, end uintptr }

// serverUnwritten finds in smaps (proc(5)) what is mapped from files, can not be written to, and
// was not: in a program that is relocated when it starts, some of what is read-only by
// then is not in the file.
func serverUnwritten(smaps string) (found []serverMapping) {
	var m serverMapping
	clean := 0 // lines that say that there is nothing of its own in m
	for line := range strings.Lines(smaps) {
		f := strings.Fields(line)
		switch {
		case len(f) >= 5 && !strings.HasSuffix(f[0], ":"): // begin-end permissions offset device inode path
			m, clean = serverMapping{}, 0
			begin, end, _ := strings.Cut(f[0], "-")
			if b, e := serverAddress(begin), serverAddress(end); b < e && f[4] != "0" && (f[1] == "r-xp" || f[1] == "r--p") {
				m = serverMapping{b, e}
			}
		case len(f) == 3 && (f[0] == "Anonymous:" || f[0] == "Swap:") && f[1] == "0":
			if clean++; clean == 2 && m.end != 0 {
				found = append(found, m)
			}
		}
	}
	return found
}

func serverAddress(hex string) uintptr {
	n, err := strconv.ParseUint(hex, 16, strconv.IntSize)
	if err != nil {
		return 0
	}
	return uintptr(n)
}
