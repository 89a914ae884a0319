package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// serverOwner names the program that listens on an address, as "dovecot (pid 812)", or
// gives "" where the system does not tell: only Linux has /proc/net, and only root sees
// other users' programs.
func serverOwner(address string) string {
	sockets := map[string]bool{}
	path, isUnix := strings.CutPrefix(address, "unix:")
	_, port, _ := net.SplitHostPort(address)
	for _, table := range []string{"tcp", "tcp6", "unix"} {
		text, err := os.ReadFile("/proc/net/" + table)
		if err != nil || isUnix != (table == "unix") {
			continue // no such system, or no IPv6
		}
		inodes := serverListening(string(text), port)
		if isUnix {
			inodes = serverListeningUnix(string(text), path)
		}
		for inode := range inodes {
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
func serverListening(table, port string) map[string]bool {
	inodes := map[string]bool{}
	for line := range strings.Lines(table) {
		fields := strings.Fields(line) // sl local rem st tx:rx tr:tm retrnsmt uid timeout inode
		if len(fields) < 10 || fields[3] != "0A" {
			continue
		}
		_, hex, _ := strings.Cut(fields[1], ":")
		if n, err := strconv.ParseUint(hex, 16, 16); err == nil && strconv.FormatUint(n, 10) == port {
			inodes[fields[9]] = true
		}
	}
	return inodes
}

// serverListeningUnix is serverListening for the text of /proc/net/unix.
func serverListeningUnix(table, path string) map[string]bool {
	const listens = "00010000"
	inodes := map[string]bool{}
	for line := range strings.Lines(table) {
		fields := strings.SplitN(strings.TrimSpace(line), " ", 4) // num refs protocol flags ...
		if len(fields) < 4 || !strings.HasPrefix(fields[3], listens+" ") {
			continue
		}
		if rest := strings.Fields(fields[3]); len(rest) >= 4 && strings.HasSuffix(strings.TrimSpace(line), " "+path) { // flags type st inode path
			inodes[rest[3]] = true
		}
	}
	return inodes
}
