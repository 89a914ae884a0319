//go:build !linux

package main

// mailboxWatchWorks is false where watching a folder needs a descriptor for each
// file in it (kqueue).
const mailboxWatchWorks = false

// mailboxIsShared is not asked: all is polled.
func mailboxIsShared(string) bool { return true }
