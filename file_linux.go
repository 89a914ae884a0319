//go:build linux

package main

import "golang.org/x/sys/unix"

// fileReadFlags open a file for reading: when it was read last is not written down, for
// nobody asks, and on a memory card each write counts.
const fileReadFlags = fileReadPlain | unix.O_NOATIME
