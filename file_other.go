//go:build !linux

package main

import (
	"errors"
	"os"
)

// fileReadFlags open a file for reading.
const fileReadFlags = fileReadPlain

// fileSyncMany makes the content of many files durable.
func fileSyncMany(_ *os.File, paths []string) error { return fileSyncEach(paths) }

// fileSwap gives two directories each other's name, in one step, where the system can.
func fileSwap(_, _ string) error { return errors.ErrUnsupported }
