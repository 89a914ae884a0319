package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// serverPortOwner names the program that listens on a TCP port, as "dovecot (pid 812)",
// or gives "" where the system does not tell: only Linux has /proc/net, and only root
// sees other users' programs.
func serverPortOwner(port int) string {
	if port == 0 {
		return ""
	}
	sockets := map[string]bool{}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text, err := os.ReadFile(table)
		if err != nil {
			continue // no such system, or no IPv6
		}
		for inode := range serverListening(string(text), port) {
			sockets["socket:["+inode+"]"] = true
		}
	}
	if len(sockets) == 0 {
		return ""
	}
	fds, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		return ""
	}
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err != nil || !sockets[to] {
			continue // closed meanwhile, or not ours to see
		}
		pid := strings.Split(fd, "/")[2]
		name, err := os.ReadFile("/proc/" + pid + "/comm")
		if err != nil {
			return "the program with pid " + pid
		}
		return fmt.Sprintf("%s (pid %s)", strings.TrimSpace(string(name)), pid)
	}
	return "a program of another user"
}

// serverListening gives the inodes of the sockets that listen on a port, from the
// text of /proc/net/tcp.
func serverListening(table string, port int) map[string]bool {
	inodes := map[string]bool{}
	for line := range strings.Lines(table) {
		fields := strings.Fields(line) // sl local rem st tx:rx tr:tm retrnsmt uid timeout inode
		if len(fields) < 10 || fields[3] != "0A" {
			continue
		}
		_, hex, _ := strings.Cut(fields[1], ":")
		if n, err := strconv.ParseUint(hex, 16, 16); err == nil && int(n) == port {
			inodes[fields[9]] = true
		}
	}
	return inodes
}
