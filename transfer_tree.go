package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A directory of files as a source: *.eml are messages of the folder that their directory is, mbox
// files are folders of their own. Thunderbird keeps what is below the folder "Archive" in
// Archive.sbd, Apple Mail exports Archive as Archive.mbox/mbox.

// transferTree is such a directory.
type transferTree struct{ root string }

func (s *transferTree) committed() error { return nil }

// transferKind is what a file is.
type transferKind int

const (
	transferNothing transferKind = iota
	transferIsEml
	transferIsMbox
)

// transferSourceOf finds out what a path is. folder is what a single mbox file is to be; "" for INBOX.
func transferSourceOf(path string) (transferSource, error) {
	path, err := filepath.EvalSymlinks(path) // this one is the caller's own
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		tree, maildirs := &transferTree{path}, 0
		if transferIsMaildir(path) {
			err := tree.walk(func(string, error) {}, func(_ string, kind transferKind, _ int64, _ []string) error {
				if kind == transferNothing {
					maildirs++
				}
				return nil
			})
			if err != nil || maildirs == 1 { // else it is Dovecot's LAYOUT=fs
				return &transferMaildir{root: path}, err
			}
		}
		return tree, nil
	}
	switch kind, err := transferKindOf(path); {
	case err != nil:
		return nil, err
	case kind == transferIsMbox || info.Size() == 0:
		return &transferMbox{path, "INBOX"}, nil
	case kind == transferIsEml:
		return &transferEml{path}, nil
	}
	return nil, fmt.Errorf("%s: %w", path, errTransferNoMbox)
}

// transferIsMaildir tells whether a directory is a folder of a Maildir.
func transferIsMaildir(path string) bool {
	for _, sub := range []string{"cur", "new"} {
		if info, err := os.Stat(filepath.Join(path, sub)); err != nil || !info.IsDir() {
			return false
		}
	}
	return true
}

// transferKindOf tells by a file's name and beginning what it is.
func transferKindOf(path string) (transferKind, error) {
	if strings.EqualFold(filepath.Ext(path), ".eml") {
		return transferIsEml, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return transferNothing, err
	}
	defer f.Close()
	var begin [5]byte
	n, err := io.ReadFull(f, begin[:])
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return transferNothing, err
	}
	if string(begin[:n]) == "From " {
		return transferIsMbox, nil
	}
	return transferNothing, nil
}

// walk calls f for each file that holds mail, with its folder, and for each Maildir. What cannot be
// looked at goes to failed.
func (s *transferTree) walk(failed func(string, error), f transferWalker) error {
	return filepath.WalkDir(s.root, func(path string, e fs.DirEntry, err error) error { return s.look(path, e, err, failed, f) })
}

// transferWalker is told of what a tree has.
type transferWalker func(path string, kind transferKind, size int64, parts []string) error

// look looks at one file or directory.
func (s *transferTree) look(path string, e fs.DirEntry, err error, failed func(string, error), f transferWalker) error {
	if err != nil {
		failed(path, err)
		return nil
	}
	parts := s.parts(path)
	if e.IsDir() {
		own := strings.HasPrefix(e.Name(), ".") || slices.Contains([]string{"cur", "new", "tmp"}, e.Name())
		if own && path != s.root && transferIsMaildir(filepath.Dir(path)) { // transferMaildir reads them
			return fs.SkipDir
		}
		if transferIsMaildir(path) {
			return f(path, transferNothing, 0, parts)
		}
		return nil
	}
	if strings.HasPrefix(e.Name(), ".") {
		return nil
	}
	if _, err := os.Stat(path); e.Type()&fs.ModeSymlink != 0 && err == nil {
		failed(path, errTransferLink)
	}
	if !e.Type().IsRegular() {
		return nil
	}
	kind, err := transferKindOf(path)
	var info fs.FileInfo
	if err == nil {
		info, err = e.Info()
	}
	switch {
	case err != nil:
		failed(path, err)
		return nil
	case kind == transferIsEml:
		parts = parts[:len(parts)-1]
	case kind == transferNothing:
		return nil
	}
	return f(path, kind, info.Size(), parts)
}

// parts is a path below the root as the parts of a folder's name.
func (s *transferTree) parts(path string) (parts []string) {
	below, err := filepath.Rel(s.root, path)
	if err != nil || below == "." {
		return nil
	}
	for part := range strings.SplitSeq(below, string(filepath.Separator)) {
		for _, end := range []string{".sbd", ".mbox", ".mbx"} {
			part = strings.TrimSuffix(part, end)
		}
		parts = append(parts, part)
	}
	if n := len(parts); n > 1 && parts[n-1] == "mbox" && strings.HasSuffix(filepath.Dir(path), ".mbox") {
		parts = parts[:n-1]
	}
	return parts
}

func (s *transferTree) each(ctx context.Context, im *transferImport) error {
	err := s.walk(func(string, error) {}, func(path string, kind transferKind, size int64, _ []string) error {
		im.counts.total += size
		if kind == transferNothing {
			for _, sub := range []string{"cur", "new"} {
				im.counts.total += transferDirSize(filepath.Join(path, sub))
			}
		}
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	im.counts.total = max(im.counts.total, 1) // it is known
	return s.walk(im.fail, func(path string, kind transferKind, size int64, parts []string) error {
		name := "INBOX"
		if len(parts) > 0 {
			name = transferName(parts...)
		}
		before := im.counts.done
		var err error
		switch kind {
		case transferIsMbox:
			err = (&transferMbox{path, name}).each(ctx, im)
			if unreadable := (transferUnreadable{}); errors.As(err, &unreadable) {
				im.fail(path, unreadable.error)
				err = nil
			}
		case transferIsEml:
			err = transferTakeEml(ctx, im, path, name)
		default:
			size = transferDirSize(filepath.Join(path, "cur")) + transferDirSize(filepath.Join(path, "new"))
			for i := range parts { // Dovecot's LAYOUT=fs has names as Maildir++ has them
				if decoded, err := mailboxDecodeName(parts[i]); err == nil {
					parts[i] = decoded
				}
			}
			below := ""
			if len(parts) > 0 {
				below = transferName(parts...)
			}
			err = (&transferMaildir{root: path, below: below}).each(ctx, im)
		}
		im.counts.done = before + size
		return err
	})
}

// transferDirSize is what a directory's files take.
func transferDirSize(dir string) (size int64) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0 // who reads it says why
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			size += info.Size()
		}
	}
	return size
}

// transferEml is one .eml file as a source.
type transferEml struct{ path string }

func (s *transferEml) committed() error { return nil }

func (s *transferEml) each(ctx context.Context, im *transferImport) error {
	return transferTakeEml(ctx, im, s.path, "INBOX")
}

// transferEmlHeader is how much of a file is looked through for its date.
const transferEmlHeader = 64 << 10

// transferTakeEml brings in an .eml file. It says nothing of flags; who has kept it has read it.
func transferTakeEml(ctx context.Context, im *transferImport, path, folder string) error {
	f, err := os.Open(path)
	if err != nil {
		im.fail(path, err)
		return nil
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		im.fail(path, err)
		return nil
	}
	text := bufio.NewReaderSize(transferFile{f}, transferEmlHeader)
	head, _ := text.Peek(transferEmlHeader) // an error comes again when it is read
	date := transferDate(head, info.ModTime())
	return im.take(ctx, &transferMessage{folder: folder, date: date, flags: mailboxFlagSeen, text: text})
}
