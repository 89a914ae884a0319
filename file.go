package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// The file room makes changes to files durable. It knows no Maildir.

// fileFault lets tests make any step on the way to the disk fail: it is called
// before the step with its name ("create", "write", "sync", "rename", "link",
// "syncdir"; and "open", for reading) and the path, and what it returns is the step's error. nil in service.
var fileFault atomic.Pointer[func(step, path string) error]

// fileStep asks fileFault.
func fileStep(step, path string) error {
	if fault := fileFault.Load(); fault != nil {
		return (*fault)(step, path)
	}
	return nil
}

// fileCreate makes a new file for writing and reading; os.ErrExist if there is one.
func fileCreate(path string, mode os.FileMode) (*os.File, error) {
	if err := fileStep("create", path); err != nil {
		return nil, err
	}
	return fileOpenAs(path, syscall.O_RDWR|syscall.O_CREAT|syscall.O_EXCL|syscall.O_CLOEXEC, mode)
}

const fileReadPlain = syscall.O_RDONLY | syscall.O_CLOEXEC

// fileOpen opens a file for reading. os.ErrNotExist if there is none.
func fileOpen(path string) (*os.File, error) {
	if err := fileStep("open", path); err != nil {
		return nil, err
	}
	f, err := fileOpenAs(path, fileReadFlags, 0)
	if errors.Is(err, syscall.EPERM) { // somebody else's file
		f, err = fileOpenAs(path, fileReadPlain, 0)
	}
	return f, err
}

// fileOpenRegular is fileOpen of what others have made: a link is not followed, a pipe is not waited for, and what is no file is
// an error.
func fileOpenRegular(path string) (*os.File, error) {
	if err := fileStep("open", path); err != nil {
		return nil, err
	}
	const careful = syscall.O_NOFOLLOW | syscall.O_NONBLOCK | syscall.O_NOCTTY
	f, err := fileOpenAs(path, fileReadFlags|careful, 0)
	if errors.Is(err, syscall.EPERM) { // somebody else's file
		f, err = fileOpenAs(path, fileReadPlain|careful, 0)
	}
	if errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.EMLINK) { // so FreeBSD
		return nil, errFileNotRegular
	} else if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		f.Close()
		return nil, cmp.Or(err, errFileNotRegular)
	}
	return f, nil
}

var errFileNotRegular = errors.New("it is a link or something else that is no file")

// fileAppend opens an existing file so that each write goes to its end.
func fileAppend(path string) (*os.File, error) {
	return fileOpenAs(path, syscall.O_WRONLY|syscall.O_APPEND|syscall.O_CLOEXEC, 0)
}

// fileOpenAs is os.OpenFile without the five calls by which that tries whether a poller can
// wait for the file, which is never so for a regular one or a directory: a mailbox is opened
// file by file.
func fileOpenAs(path string, flags int, mode os.FileMode) (*os.File, error) {
	for {
		fd, err := syscall.Open(path, flags, uint32(mode))
		if err == nil {
			return os.NewFile(uintptr(fd), path), nil
		} else if err != syscall.EINTR {
			return nil, &os.PathError{Op: "open", Path: path, Err: err}
		}
	}
}

// fileWrite writes all of p at f's place.
func fileWrite(f *os.File, p []byte) (int, error) {
	if err := fileStep("write", f.Name()); err != nil {
		return 0, err
	}
	return f.Write(p)
}

// fileSync makes a file's content durable, its date included. A name needs syncDir.
func fileSync(f *os.File) error {
	if err := fileStep("sync", f.Name()); err != nil {
		return err
	}
	return f.Sync()
}

// fileSyncEach makes the content of many files durable, one after the other.
func fileSyncEach(paths []string) error {
	for _, path := range paths {
		f, err := fileOpen(path)
		if err != nil {
			return err
		}
		err = fileSync(f)
		f.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// fileRename renames, replacing what is there. It does not sync. It is os.Rename without
// that one's look at the new name, which takes a quarter of the time.
func fileRename(from, to string) error {
	if err := fileStep("rename", to); err != nil {
		return err
	}
	for {
		err := syscall.Rename(from, to)
		if err == nil {
			return nil
		} else if err != syscall.EINTR {
			return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
		}
	}
}

// fileRenameAt is fileRename of a name in an open directory to one in another.
func fileRenameAt(dir int, from string, toDir int, to string) error {
	if err := fileStep("rename", to); err != nil {
		return err
	}
	for {
		err := unix.Renameat(dir, from, toDir, to)
		if err == nil {
			return nil
		} else if err != unix.EINTR {
			return &os.LinkError{Op: "renameat", Old: from, New: to, Err: err}
		}
	}
}

// fileLink makes a hard link; os.ErrExist if the name is taken. It does not sync.
func fileLink(from, to string) error {
	if err := fileStep("link", to); err != nil {
		return err
	}
	return os.Link(from, to)
}

// syncDir makes the names in a directory durable: what was created, renamed
// or removed there before the call survives a power cut after it.
func syncDir(dir string) error {
	if err := fileStep("syncdir", dir); err != nil {
		return err
	}
	d, err := fileOpenAs(dir, fileReadPlain, 0)
	if err != nil {
		return fmt.Errorf("syncing directory: %w", err)
	}
	defer d.Close()
	return d.Sync()
}

// fileMakeAll makes a directory and those above it that are missing, durably.
func fileMakeAll(path string, mode os.FileMode) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	above := filepath.Dir(path)
	if above == path {
		return fmt.Errorf("there is no %s", path)
	}
	if err := fileMakeAll(above, mode); err != nil {
		return err
	}
	if err := os.Mkdir(path, mode); err != nil && !os.IsExist(err) {
		return err
	}
	return syncDir(above)
}

// fileReplacement is a file's new content, on its way.
type fileReplacement struct {
	*os.File
	path string // what it will replace
}

var fileTemporaries atomic.Uint32 // counts temporary names

// fileTemporary is a name beside path that nobody else uses.
func fileTemporary(path string) string {
	return fmt.Sprintf("%s.tmp%d.%d", path, os.Getpid(), fileTemporaries.Add(1))
}

// fileReplaceBegin opens the file that will take path's place: write it, then
// commit or abort.
func fileReplaceBegin(path string, mode os.FileMode) (*fileReplacement, error) {
	f, err := fileCreate(fileTemporary(path), mode)
	if os.IsExist(err) { // left by a process that had our number
		f, err = fileCreate(fileTemporary(path), mode)
	}
	if err != nil {
		return nil, err
	}
	return &fileReplacement{f, path}, nil
}

// Write adds to the new content.
func (r *fileReplacement) Write(p []byte) (int, error) { return fileWrite(r.File, p) }

// commit syncs the new content and brings it to its place, durably. After an error
// the old content is there, or, if only the last sync failed, either.
func (r *fileReplacement) commit() error {
	err := fileSync(r.File)
	if closeErr := r.File.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = fileRename(r.Name(), r.path)
	}
	if err != nil {
		os.Remove(r.Name()) // a leftover does no harm, and is swept
		return fmt.Errorf("replacing %s: %w", filepath.Base(r.path), err)
	}
	return syncDir(filepath.Dir(r.path))
}

// commitUnsynced is commit for what can be computed again: it is not synced.
func (r *fileReplacement) commitUnsynced() error {
	err := r.File.Close()
	if err == nil {
		err = fileRename(r.Name(), r.path)
	}
	if err != nil {
		os.Remove(r.Name())
	}
	return err
}

// abort leaves the old content.
func (r *fileReplacement) abort() {
	r.File.Close()
	os.Remove(r.Name())
}

// fileReplace writes a file so that after a power cut either the old or the new
// content is there: a temporary file beside it, sync, rename, sync of the directory.
func fileReplace(path string, content []byte, mode os.FileMode) error {
	r, err := fileReplaceBegin(path, mode)
	if err != nil {
		return err
	}
	if _, err := r.Write(content); err != nil {
		r.abort()
		return err
	}
	return r.commit()
}
