//go:build !linux

package main

// fileReadFlags open a file for reading.
const fileReadFlags = fileReadPlain
