package main

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"time"
)

// A message on its way into a folder. Each state says what a power cut leaves:
//
//	D1  the name is chosen                                  nothing
//	D2  tmp/name is being written                           a part, which the sweep removes
//	D3  tmp/name is whole, has its date, and is synced      a file that the sweep removes
//	D4  it is called new/name (or cur/name:2,flags)         the message, or nothing
//	D5  that directory is synced                            the message: only now may we say 250
//
// INTERNALDATE is the file's modification time, so it is set before the sync. A
// file is never edited once it has left tmp/.

// maildirDraft is a message in states D1 to D4. One goroutine uses it.
type maildirDraft struct {
	md         *maildir
	base       string   // without sizes
	disk, wire int64    // sizes so far; on the wire each bare LF is CRLF
	last       byte     // the last byte written
	file       *os.File // while written or read
}

// draft chooses a name (D1) and opens the file (D2).
func (md *maildir) draft() (*maildirDraft, error) {
	d := &maildirDraft{md: md, base: md.newBase()}
	f, err := fileCreate(md.tmp(d.base), maildirFileMode)
	if errors.Is(err, fs.ErrNotExist) { // another program removed tmp/
		if err := os.Mkdir(md.tmp(""), maildirDirMode); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		f, err = fileCreate(md.tmp(d.base), maildirFileMode)
	}
	if err != nil {
		return nil, err
	}
	d.file = f
	return d, nil
}

// Write adds to the file (D2).
func (d *maildirDraft) Write(p []byte) (int, error) {
	n, err := fileWrite(d.file, p)
	p = p[:n]
	if n == 0 {
		return n, err
	}
	bare := bytes.Count(p, []byte("\n")) - bytes.Count(p, []byte("\r\n"))
	if p[0] == '\n' && d.last == '\r' {
		bare--
	}
	d.last = p[n-1]
	d.disk += int64(n)
	d.wire += int64(n + bare)
	return n, err
}

// sync ends writing (D3): the file gets its date and is synced. read waits for whoever
// reads it meanwhile, and is called before the file is closed.
func (d *maildirDraft) sync(date time.Time, read func()) error {
	err := os.Chtimes(d.file.Name(), date, date)
	if err == nil {
		err = fileSync(d.file)
	}
	if read(); err != nil {
		return err
	}
	err = d.file.Close()
	d.file = nil
	return err
}

// settle ends writing with D3 but for the sync, which fileSyncMany does for many.
func (d *maildirDraft) settle(date time.Time) error {
	err := os.Chtimes(d.file.Name(), date, date)
	if closeErr := d.file.Close(); err == nil {
		err = closeErr
	}
	d.file = nil
	return err
}

// reader gives what was written, until deliver or abort.
func (d *maildirDraft) reader() (io.ReaderAt, error) {
	if d.file == nil {
		f, err := os.Open(d.md.tmp(d.base))
		if err != nil {
			return nil, err
		}
		d.file = f
	}
	return d.file, nil
}

// linkTo gives another folder the same message, at D3: by hard link where the
// file system allows, else by a synced copy.
func (d *maildirDraft) linkTo(to *maildir) (*maildirDraft, error) {
	linked := &maildirDraft{md: to, base: to.newBase(), disk: d.disk, wire: d.wire, last: d.last}
	from, target := d.md.tmp(d.base), to.tmp(linked.base)
	err := fileLink(from, target)
	if maildirNoLink(err) {
		err = maildirCopyFile(from, target)
	}
	if err != nil {
		return nil, err
	}
	return linked, nil
}

// deliver is D4: the file gets its name in new/, or in cur/ with flags. D5 is
// syncDirs.
func (d *maildirDraft) deliver(cur bool, flags maildirFlags) (name string, err error) {
	name = d.sizedBase()
	if cur {
		name = d.md.fileName(name, flags, "")
	}
	if err := fileRename(d.md.tmp(d.base), d.md.dir(cur)+name); err != nil {
		return "", err
	}
	d.close()
	return name, nil
}

// sizedBase is the base name that deliver gives.
func (d *maildirDraft) sizedBase() string { return maildirWithSizes(d.base, d.disk, d.wire) }

// abort removes the file from tmp/, whatever the state; what deliver has renamed
// stays.
func (d *maildirDraft) abort() {
	d.close()
	os.Remove(d.md.tmp(d.base)) // else the sweep finds it
}

func (d *maildirDraft) close() {
	if d.file != nil {
		d.file.Close() // what matters was synced before, or is given up
		d.file = nil
	}
}

// maildirLot makes many drafts of a folder durable together.
type maildirLot struct{ dir *os.File } // tmp/, opened before the first of them is written: see fileSyncMany

func (md *maildir) lot() (*maildirLot, error) {
	if err := os.MkdirAll(md.tmp(""), maildirDirMode); err != nil { // another program may have removed it
		return nil, err
	}
	dir, err := fileOpen(md.tmp(""))
	return &maildirLot{dir}, err
}

// sync brings settled drafts to D3.
func (l *maildirLot) sync(drafts []*maildirDraft) error {
	paths := make([]string, len(drafts))
	for i, d := range drafts {
		paths[i] = d.md.tmp(d.base)
	}
	return fileSyncMany(l.dir, paths)
}

func (l *maildirLot) close() { l.dir.Close() }
