package main

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
)

// One base name seen twice in a scan is either a file that was renamed while the
// directory was read, or, after a power cut or two programs' renames, one message
// under two names: in new/ and in cur/, or with two sets of flags. Then the one in
// cur/ stays, the flags are united, and the other name goes.

// resolveTwice settles all base names that the scan saw more than once. It holds the
// uidlist's lock, so that two programs do not each remove the other's choice.
func (s *mailboxScan) resolveTwice() {
	err := s.mb.withLock(func(*maildirUidlistLock) error {
		for base, files := range s.twice {
			file, err := s.mb.mergeFiles(base, files)
			if err != nil {
				return err
			}
			s.settle(base, file)
		}
		return nil
	})
	if err != nil { // the next scan sees them again
		logMailboxTrouble(s.mb.st.log, s.mb.tree.user, s.mb.name, fmt.Errorf("a message with two names: %w", err))
	}
	s.fresh = slices.DeleteFunc(s.fresh, func(f mailboxFound) bool { return f.name == "" })
	s.mb.absorb()
}

// settle notes the one name that is left.
func (s *mailboxScan) settle(base string, file mailboxFile) {
	if f := s.findFresh(base); f != nil {
		if f.name, f.cur = file.name, file.cur; f.name == "" {
			f.baseLen = 0
		}
		return
	}
	r := s.find(base)
	if file.name == "" {
		r.state &^= mailboxScanned // renamed away again: as good as not seen
		return
	}
	if _, flags, _, _ := maildirParse(file.name); flags != r.flags {
		s.mb.change(r, s.changed())
	}
	s.mb.setName(r, file.name, file.cur)
}

// mergeFiles makes one file of those that are still there and gives its name,
// none if all are gone.
func (mb *mailbox) mergeFiles(base string, files []mailboxFile) (mailboxFile, error) {
	var there []mailboxFile
	for _, f := range files {
		_, err := mb.md.statFile(f.name, f.cur)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return mailboxFile{}, err
		}
		there = append(there, f)
	}
	if len(there) == 0 {
		return mailboxFile{name: ""}, nil
	}
	keep := there[0]
	var flags maildirFlags
	var letters string
	for _, f := range there {
		_, fl, odd, _ := maildirParse(f.name)
		flags |= fl
		if len(odd) > len(letters) {
			letters = odd
		}
		if f.cur && !keep.cur || f.cur == keep.cur && f.name < keep.name {
			keep = f // every program chooses the same
		}
	}
	if len(there) == 1 {
		return keep, nil
	}
	name := mb.md.fileName(base, flags, letters)
	if keep.cur && keep.name != name {
		if err := mb.md.rename(keep.name, true, name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return mailboxFile{}, err
		}
	}
	for _, f := range there {
		if f == keep || f.cur && f.name == name {
			continue
		}
		if err := mb.md.remove(f.name, f.cur); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return mailboxFile{}, err
		}
	}
	if keep.cur {
		keep.name = name
	}
	return keep, nil
}
