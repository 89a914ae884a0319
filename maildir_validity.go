package main

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// dovecot-uidvalidity holds the last UIDVALIDITY that was given in a user's root,
// as eight hex digits; an empty file dovecot-uidvalidity.<hex> beside it has the same
// number in its name. Renaming that one to the next number is what decides between two
// programs that want one.

const maildirValidityName = "dovecot-uidvalidity"

var maildirValidityMu sync.Mutex // one at a time in this process

// maildirNextValidity gives a UIDVALIDITY above every one this root has given. now
// is the clock, or zero if it is not believed. It is durable on return.
func maildirNextValidity(root string, now time.Time) (uint32, error) {
	maildirValidityMu.Lock()
	defer maildirValidityMu.Unlock()
	for range 100 {
		last, marks, err := maildirLastValidity(root)
		if err != nil {
			return 0, err
		}
		if last == math.MaxUint32 {
			return 0, errors.New("all UIDVALIDITY values of this user are used up")
		}
		next := last + 1
		if seconds := now.Unix(); !now.IsZero() && seconds > int64(next) && seconds <= math.MaxUint32 {
			next = uint32(seconds)
		}
		won, err := maildirTakeValidity(root, next, marks)
		if err != nil {
			return 0, fmt.Errorf("giving a UIDVALIDITY: %w", err)
		}
		if won {
			// The file's content is not synced: where it is lost, the mark's name tells.
			text := fmt.Appendf(nil, "%08x", next)
			if err := os.WriteFile(filepath.Join(root, maildirValidityName), text, maildirFileMode); err != nil {
				return 0, err
			}
			return next, syncDir(root)
		}
	}
	return 0, errMaildirLocked
}

// maildirTakeValidity moves the mark to the next number. won is false if another
// program did that first.
func maildirTakeValidity(root string, next uint32, marks []string) (won bool, err error) {
	mark := filepath.Join(root, fmt.Sprintf("%s.%08x", maildirValidityName, next))
	if len(marks) == 0 {
		f, err := fileCreate(mark, maildirFileMode)
		if err != nil {
			return false, maildirUnlessExists(err)
		}
		return true, f.Close()
	}
	for i, old := range marks {
		if i > 0 {
			os.Remove(filepath.Join(root, old)) // one is enough; the largest is in next
			continue
		}
		switch err := fileRename(filepath.Join(root, old), mark); {
		case errors.Is(err, fs.ErrNotExist):
			return false, nil
		case err != nil:
			return false, err
		}
	}
	return true, nil
}

func maildirUnlessExists(err error) error {
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// maildirLastValidity gives the largest UIDVALIDITY that was given, and the names of
// the marks.
func maildirLastValidity(root string) (last uint32, marks []string, err error) {
	d, err := os.Open(root)
	if err != nil {
		return 0, nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return 0, nil, err
	}
	for _, name := range names {
		digits, ok := strings.CutPrefix(name, maildirValidityName+".")
		if !ok || len(digits) != 8 {
			continue
		}
		if n, err := strconv.ParseUint(digits, 16, 32); err == nil {
			last = max(last, uint32(n))
			marks = append(marks, name)
		}
	}
	raw, err := os.ReadFile(filepath.Join(root, maildirValidityName))
	switch {
	case err == nil:
		if n, err := strconv.ParseUint(strings.TrimSpace(string(raw)), 16, 32); err == nil {
			last = max(last, uint32(n))
		}
	case !errors.Is(err, fs.ErrNotExist):
		return 0, nil, err
	}
	if last > 0 {
		return last, marks, nil
	}
	// Neither is there: a Maildir from elsewhere. Its folders tell.
	dirs, err := maildirFolders(root)
	for _, dir := range append([]string{""}, dirs...) {
		list, _, err := (&maildir{path: filepath.Join(root, dir)}).readUidlist(nil, func(uint32, string, string) {})
		if err == nil {
			last = max(last, list.validity)
		}
	}
	return last, marks, err
}
