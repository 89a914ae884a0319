//go:build linux

package main

import (
	"bytes"
	"encoding/binary"
	"os"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maildirDirentName is where a name begins in what getdents64 gives: after inode and offset,
// 8 bytes each, 2 of the entry's length, and its type.
const maildirDirentName = 8 + 8 + 2 + 1

type maildirDirents [64 << 10]byte

var maildirDirentsPool = sync.Pool{New: func() any { return new(maildirDirents) }}

// maildirEachName calls f for each name in a directory but those that begin with a dot. A name
// is valid only during the call: that makes the difference for a folder of 100,000 files. From
// a large directory the next names are read while f has these.
func maildirEachName(dir string, f func(name string)) error {
	d, err := fileOpen(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	first := maildirDirentsPool.Get().(*maildirDirents)
	defer maildirDirentsPool.Put(first)
	n, err := first.read(d)
	if err != nil || n < len(first)/2 {
		for ; n > 0; n, err = first.read(d) {
			first.each(n, f)
		}
		return err
	}
	second := maildirDirentsPool.Get().(*maildirDirents)
	defer maildirDirentsPool.Put(second)
	type full struct {
		*maildirDirents
		n   int
		err error
	}
	empty, filled := make(chan *maildirDirents, 1), make(chan full, 1)
	go func() {
		for buf := range empty {
			n, err := buf.read(d)
			filled <- full{buf, n, err}
		}
	}()
	defer close(empty)
	empty <- second
	for buf := first; n > 0; {
		buf.each(n, f)
		next := <-filled
		if n, err = next.n, next.err; n > 0 {
			empty <- buf
		}
		buf = next.maildirDirents
	}
	return err
}

// read reads the next names; 0 bytes at the end, and after an error.
func (b *maildirDirents) read(d *os.File) (int, error) {
	for {
		n, err := unix.Getdents(int(d.Fd()), b[:])
		if err == nil {
			return n, nil
		} else if err != unix.EINTR {
			return 0, &os.PathError{Op: "readdir", Path: d.Name(), Err: err}
		}
	}
}

// each calls f for the names in n bytes.
func (b *maildirDirents) each(n int, f func(name string)) {
	for b := b[:n]; len(b) > maildirDirentName; {
		length := min(int(binary.NativeEndian.Uint16(b[16:])), len(b))
		name := b[maildirDirentName:length]
		if end := bytes.IndexByte(name, 0); end >= 0 {
			name = name[:end]
		}
		if inode := binary.NativeEndian.Uint64(b); inode != 0 && len(name) > 0 && name[0] != '.' {
			f(unsafe.String(&name[0], len(name)))
		}
		b = b[length:]
	}
}
