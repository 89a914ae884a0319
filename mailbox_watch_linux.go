//go:build linux

package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// mailboxSharedKinds are the file systems on which other machines may write too. Of
// what they write inotify tells nothing.
var mailboxSharedKinds = []uint32{unix.NFS_SUPER_MAGIC, unix.SMB_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC,
	unix.CEPH_SUPER_MAGIC, unix.AFS_SUPER_MAGIC, unix.CODA_SUPER_MAGIC, unix.V9FS_MAGIC, unix.OCFS2_SUPER_MAGIC, unix.FUSE_SUPER_MAGIC,
	0x01161970, // GFS2
	0x0bd00bd0} // Lustre

// mailboxIsShared tells whether a folder lies on such a file system.
func mailboxIsShared(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && slices.Contains(mailboxSharedKinds, uint32(st.Type))
}

// mailboxInotify is the kernel's inotify: one descriptor for all directories. A
// directory is watched by what it is, not by its name, so one that is renamed has the
// same number as before.
type mailboxInotify struct {
	fd  int
	f   *os.File // the same, to read from
	buf [16 << 10]byte
}

// What happens to a directory, and in it.
const (
	mailboxInotifySelf = unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR
	mailboxInotifyIn   = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO
)

func newMailboxInotify() (*mailboxInotify, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("inotify_init1", err)
	}
	return &mailboxInotify{fd: fd, f: os.NewFile(uintptr(fd), "inotify")}, nil
}

// add watches a directory, and what happens in it if inside. One that is watched already
// keeps its number.
func (in *mailboxInotify) add(dir string, inside bool) (number int, err error) {
	mask := uint32(mailboxInotifySelf)
	if inside {
		mask |= mailboxInotifyIn
	}
	number, err = unix.InotifyAddWatch(in.fd, dir, mask)
	if err != nil {
		return 0, fmt.Errorf("watching %s: %w", dir, err)
	}
	return number, nil
}

// remove ends watching. It fails for a directory that is gone, whose watch the kernel
// has ended.
func (in *mailboxInotify) remove(number int) { unix.InotifyRmWatch(in.fd, uint32(number)) }

// next waits for events and gives the numbers of their directories. all: some were
// lost, and may have been of any.
func (in *mailboxInotify) next() (numbers []int, all bool, err error) {
	n, err := in.f.Read(in.buf[:])
	if err != nil {
		return nil, false, err
	}
	for b := in.buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
		number, mask := int(int32(binary.NativeEndian.Uint32(b))), binary.NativeEndian.Uint32(b[4:])
		all = all || mask&unix.IN_Q_OVERFLOW != 0
		if mask&unix.IN_IGNORED == 0 && !slices.Contains(numbers, number) {
			numbers = append(numbers, number)
		}
		b = b[min(len(b), unix.SizeofInotifyEvent+int(binary.NativeEndian.Uint32(b[12:]))):]
	}
	return numbers, all, nil
}

func (in *mailboxInotify) close() { in.f.Close() }
