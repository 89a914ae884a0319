//go:build linux

package main

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// fileReadFlags open a file for reading: when it was read last is not written down, for
// nobody asks, and on a memory card each write counts.
const fileReadFlags = fileReadPlain | unix.O_NOATIME

// fileSyncMany makes the content of many files durable at once. They lie in the file system of
// dir, which was opened before they were written: what went wrong since then is told to who
// holds it. One call for all of them costs about as much as one fsync.
func fileSyncMany(dir *os.File, paths []string) error {
	if err := fileStep("sync", dir.Name()); err != nil {
		return err
	}
	for {
		err := unix.Syncfs(int(dir.Fd()))
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.ENOSYS):
			return fileSyncEach(paths)
		case err != unix.EINTR:
			return &os.PathError{Op: "syncfs", Path: dir.Name(), Err: err}
		}
	}
}

// fileSwap gives two directories of one file system each other's name, in one step.
// errors.ErrUnsupported where the system cannot.
func fileSwap(a, b string) error {
	if err := fileStep("rename", b); err != nil {
		return err
	}
	err := unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		return errors.ErrUnsupported
	} else if err != nil {
		return &os.LinkError{Op: "renameat2", Old: a, New: b, Err: err}
	}
	return nil
}
