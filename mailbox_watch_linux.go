//go:build linux

package main

// mailboxWatchWorks: inotify needs one descriptor for all folders.
const mailboxWatchWorks = true
