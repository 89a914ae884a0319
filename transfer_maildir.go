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
	"sort"
	"strconv"
	"strings"
	"time"
)

// A Maildir as a source: Dovecot's, Courier's or ours, with its keywords, in the order of its
// UIDs. Nothing in it is changed, and no lock is taken: its server may go on.
//
// Courier keeps keywords in a directory courierimapkeywords: the file :list has the keywords' names, a
// line for each, an empty line, and then "BASE:0 2" for each message that has some. A file beside it that is
// called like a message, perhaps with ".N." before, has its latest keywords, a line for each.

const (
	transferCourierKeywords   = "courierimapkeywords"
	transferCourierSubscribed = "courierimapsubscribed"
)

// transferMaildir is a Maildir with the folders below it.
type transferMaildir struct {
	root  string
	only  string // a folder of it, with those below; "" for all
	below string // the folder that its INBOX is to be; "" for INBOX
	flat  bool   // all its folders are to be that one
}

func (s *transferMaildir) committed() error { return nil }

// transferMaildirFolder is a folder of a foreign Maildir.
type transferMaildirFolder struct{ dir, name string }

// transferMaildirFolders lists a Maildir's folders, INBOX first. A directory whose name is not in
// modified UTF-7 is taken to be in UTF-8.
func transferMaildirFolders(root string) ([]transferMaildirFolder, error) {
	dirs, err := maildirFolders(root)
	if err != nil {
		return nil, err
	}
	list := []transferMaildirFolder{{"", "INBOX"}}
	for _, dir := range dirs {
		name, ok := mailboxNameOfDir(dir)
		if !ok {
			parts := strings.Split(dir[1:], ".")
			for i := range parts {
				if decoded, err := mailboxDecodeName(parts[i]); err == nil {
					parts[i] = decoded
				}
			}
			name = transferName(parts...)
		}
		list = append(list, transferMaildirFolder{dir, name})
	}
	return list, nil
}

// transferAllDiffer tells whether no two directories are one folder: then each keeps its UIDs.
func transferAllDiffer(folders []transferMaildirFolder) bool {
	names := map[string]bool{}
	for _, f := range folders {
		names[f.name] = true
	}
	return len(names) == len(folders)
}

var errTransferLink = errors.New("it is a link, and might lead to anybody's mail; if it is this user's, copy what it leads to in its place")

// transferInside tells by an error that a folder lies elsewhere: who gives us a Maildir may have made links in it, and we may read
// more than they.
func transferInside(root, dir string) error {
	for _, path := range []string{dir, filepath.Join(dir, "cur"), filepath.Join(dir, "new")} {
		if info, err := os.Lstat(filepath.Join(root, path)); err == nil && path != "" && info.Mode()&fs.ModeSymlink != 0 {
			return errTransferLink
		}
	}
	return nil
}

// folders lists those that are meant.
func (s *transferMaildir) folders() ([]transferMaildirFolder, error) {
	folders, err := transferMaildirFolders(s.root)
	if err != nil || s.only == "" {
		return folders, err
	}
	folders = slices.DeleteFunc(folders, func(f transferMaildirFolder) bool {
		return f.name != s.only && !strings.HasPrefix(f.name, s.only+"/")
	})
	if len(folders) == 0 {
		return nil, fmt.Errorf("%s in %s: %w", s.only, s.root, errMailboxNotFound)
	}
	return folders, nil
}

func (s *transferMaildir) each(ctx context.Context, im *transferImport) error {
	folders, err := s.folders()
	if err != nil {
		return err
	}
	if im.counts.total == 0 {
		for _, f := range folders {
			md := &maildir{path: filepath.Join(s.root, f.dir)}
			transferScan(md, func(string, bool) { im.counts.total++ })
		}
	}
	for _, f := range folders {
		if err := transferInside(s.root, f.dir); err != nil {
			im.fail(filepath.Join(s.root, f.dir), err)
		} else if err := s.folder(ctx, im, f); err != nil {
			return err
		}
	}
	return nil
}

// transferScan calls f for each message; a directory that is not there has none.
func transferScan(md *maildir, f func(name string, cur bool)) error {
	for _, cur := range []bool{false, true} {
		if err := md.scanDir(cur, f); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// transferMaildirMessage is a message of a folder that is being read.
type transferMaildirMessage struct {
	name string
	uid  uint32 // 0 if it has none
	cur  bool
}

// transferMaildirList lists a folder's messages in the order of their UIDs, those without one last.
func transferMaildirList(md *maildir) (list []transferMaildirMessage, err error) {
	uids := map[uint64]uint32{} // by hash of the base name, which is shorter
	err = md.foreignUIDs(func(uid uint32, _, base string) { uids[mailboxBaseHash(base)] = uid })
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errMaildirUidlist) {
		return nil, err
	}
	err = transferScan(md, func(name string, cur bool) {
		base, _, _, _ := maildirParse(name)
		list = append(list, transferMaildirMessage{strings.Clone(name), uids[mailboxBaseHash(base)], cur})
	})
	sort.Slice(list, func(i, j int) bool { // a generic one takes 8 KiB of the program
		a, b := list[i], list[j]
		if a.uid != b.uid {
			return a.uid-1 < b.uid-1
		}
		if x, y := maildirMade(a.name), maildirMade(b.name); x != y {
			return x < y
		}
		return a.name < b.name
	})
	return list, err
}

func (s *transferMaildir) folder(ctx context.Context, im *transferImport, folder transferMaildirFolder) error {
	md := &maildir{path: filepath.Join(s.root, folder.dir)}
	names, _, _, err := md.readKeywords(time.Time{})
	if err != nil {
		return err
	}
	courier, err := transferReadCourier(md.path)
	if err != nil {
		return err
	}
	list, err := transferMaildirList(md)
	if err != nil {
		return err
	}
	for _, m := range list {
		im.counts.done++
		f, name, err := transferOpen(md, m)
		if errors.Is(err, fs.ErrNotExist) {
			continue // expunged meanwhile
		} else if err != nil {
			im.fail(md.dir(m.cur)+m.name, err)
			continue
		}
		info, err := f.Stat()
		if err == nil {
			base, bits, _, _ := maildirParse(name)
			into := transferBelow(s.below, folder.name)
			if s.flat {
				into = transferBelow(s.below, "INBOX")
			}
			msg := &transferMessage{folder: into, date: info.ModTime(), text: transferFile{f}}
			msg.flags, msg.keywords = transferFlags(bits, names)
			for _, word := range courier[base] {
				if word = strings.TrimSpace(word); transferIsKeyword(word) {
					msg.keywords = append(msg.keywords, word)
				}
			}
			err = im.take(ctx, msg)
		}
		f.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// transferFlags turns a file name's letters into flags and keywords.
func transferFlags(bits maildirFlags, names []string) (flags mailboxFlags, keywords []string) {
	flags = mailboxFlags(bits) & mailboxSystemFlags
	for i, name := range names {
		switch {
		case name == "" || bits&(1<<(maildirKeyword0+i)) == 0:
		case mailboxSameKeyword(name, "$Forwarded"):
			flags |= mailboxFlagForwarded
		case transferIsKeyword(name):
			keywords = append(keywords, name)
		}
	}
	return flags, keywords
}

// transferOpen opens a message's file, which may have got other flags since it was listed.
func transferOpen(md *maildir, m transferMaildirMessage) (f *os.File, name string, err error) {
	if f, err = fileOpenRegular(md.dir(m.cur) + m.name); !errors.Is(err, fs.ErrNotExist) {
		return f, m.name, err
	}
	base, _, _, _ := maildirParse(m.name)
	for range mailboxMissesMost {
		found, at := "", false
		scanErr := transferScan(md, func(other string, cur bool) {
			if b, _, _, _ := maildirParse(other); b == base {
				found, at = strings.Clone(other), cur
			}
		})
		if scanErr != nil || found == "" {
			return nil, "", err
		}
		if f, err = fileOpenRegular(md.dir(at) + found); !errors.Is(err, fs.ErrNotExist) {
			return f, found, err
		}
	}
	return nil, "", err
}

// transferReadCourier gives Courier's keywords by message, nil if there are none.
func transferReadCourier(path string) (map[string][]string, error) {
	dir := filepath.Join(path, transferCourierKeywords)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	words := map[string][]string{}
	if err := transferCourierList(filepath.Join(dir, ":list"), words); err != nil {
		return nil, err
	}
	latest := map[string]int{}
	for _, e := range entries {
		base, age := e.Name(), 0
		if strings.HasPrefix(base, ":") || !e.Type().IsRegular() {
			continue
		}
		if rest, ok := strings.CutPrefix(base, "."); ok {
			digits, name, _ := strings.Cut(rest, ".")
			if age, err = strconv.Atoi(digits); err != nil {
				continue
			}
			base, age = name, age+1
		}
		if age < latest[base] {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return nil, err
		}
		words[base], latest[base] = strings.Split(strings.TrimSpace(string(text)), "\n"), age
	}
	return words, nil
}

// transferCourierList reads the file :list.
func transferCourierList(path string, words map[string][]string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(io.LimitReader(f, 64<<20))
	var names []string
	for lines.Scan() && strings.TrimSpace(lines.Text()) != "" {
		names = append(names, strings.TrimSpace(lines.Text()))
	}
	for lines.Scan() {
		base, numbers, ok := strings.Cut(lines.Text(), ":")
		if !ok {
			continue
		}
		for digits := range strings.FieldsSeq(numbers) {
			if n, err := strconv.Atoi(digits); err == nil && n >= 0 && n < len(names) {
				words[base] = append(words[base], names[n])
			}
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
