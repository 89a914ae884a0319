package main

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A user's root is the INBOX, and holds the other folders as directories with a
// leading dot (Maildir++).

// maildirTrashed begins the name of a folder that is being deleted.
const maildirTrashed = "..letterbox-trashed"

// maildirFolders lists the folders below a root by their directory names
// (".Sent", ".Archive.2026"), sorted. Those being deleted are left out, and so are
// directories without a cur/.
func maildirFolders(root string) ([]string, error) {
	d, err := os.Open(root)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	names = slices.DeleteFunc(names, func(name string) bool {
		if name[0] != '.' || len(name) == 1 || name[1] == '.' {
			return true
		}
		return !maildirIsFolder(filepath.Join(root, name))
	})
	slices.Sort(names)
	return names, nil
}

// maildirShared calls f for each folder that has a file of rights, with its directory's name, "" for INBOX, and what there is to know
// of the file, nil if that cannot be found out.
func maildirShared(root string, f func(dir string, info os.FileInfo)) error {
	d, err := os.Open(root)
	if err != nil {
		return err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		if name == maildirACLName {
			name = ""
		} else if name[0] != '.' || len(name) == 1 || name[1] == '.' {
			continue
		}
		if info, err := maildirACLStat(filepath.Join(root, name)); info != nil || err != nil {
			f(name, info)
		}
	}
	return nil
}

// maildirIsFolder tells whether a directory is a folder.
func maildirIsFolder(dir string) bool {
	info, err := os.Stat(filepath.Join(dir, "cur"))
	return err == nil && info.IsDir()
}

// maildirRemoveFolder renames the folder away, syncs, then removes it. A crash
// in between leaves the rest to the sweep.
func maildirRemoveFolder(root, dir string) error {
	away := fileTemporary(filepath.Join(root, maildirTrashed))
	if err := fileRename(filepath.Join(root, dir), away); err != nil {
		return err
	}
	if err := syncDir(root); err != nil {
		return err
	}
	return os.RemoveAll(away)
}

// maildirRenameFolder renames a folder, durably. Directory names as in
// maildirFolders. fs.ErrExist if the new name is taken.
func maildirRenameFolder(root, from, to string, now time.Time) error {
	if _, err := os.Lstat(filepath.Join(root, to)); err == nil {
		return fs.ErrExist
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if now.IsZero() {
		now = maildirToCome
	}
	if err := maildirSetSince(filepath.Join(root, from), now); err != nil {
		return err
	}
	if err := fileRename(filepath.Join(root, from), filepath.Join(root, to)); err != nil {
		return err
	}
	return syncDir(root)
}

// maildirFolderName is the file that makes a directory a folder below a root. Its time is when the folder got its name.
const maildirFolderName = "maildirfolder"

// maildirToCome stands for a time that is not known, so that nothing seems older than it is. It fits into 32 bits.
var maildirToCome = time.Date(2037, 1, 1, 0, 0, 0, 0, time.UTC)

// maildirSince is when a folder got its name, zero if nothing says so.
func maildirSince(path string) (time.Time, error) {
	info, err := os.Stat(filepath.Join(path, maildirFolderName))
	if errors.Is(err, fs.ErrNotExist) {
		return time.Time{}, nil
	} else if err != nil {
		return time.Time{}, err
	}
	return info.ModTime(), nil
}

// maildirSetSince notes it, durably.
func maildirSetSince(path string, at time.Time) error {
	name := filepath.Join(path, maildirFolderName)
	f, err := fileAppend(name)
	if errors.Is(err, fs.ErrPermission) { // somebody else's, in a directory of ours
		err = cmp.Or(os.Remove(name), fs.ErrNotExist)
	}
	if errors.Is(err, fs.ErrNotExist) {
		f, err = fileCreate(name, maildirFileMode)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if err := os.Chtimes(name, at, at); err != nil {
		return err
	}
	return fileSync(f)
}

// The file subscriptions is Dovecot's, version 2: "V<TAB>2", an empty line, then
// a name a line, its parts split by TABs. The older form has the names alone, split
// by ".". Names are in modified UTF-7. Where Dovecot's separator is "/", the parts of a namespace
// that has no such file of its own are split by "/", so lines are kept as they are.

const (
	maildirSubscriptionsName = "subscriptions"
	maildirSubscriptionsHead = "V\t2\n\n"
)

// maildirSubscriptions reads the subscribed names, parts split by '/'.
func maildirSubscriptions(root string) ([]string, error) {
	raw, err := os.ReadFile(filepath.Join(root, maildirSubscriptionsName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	return maildirSubscriptionsParse(string(raw)), nil
}

func maildirSubscriptionsParse(text string) (names []string) {
	for _, line := range maildirSubscriptionLines(text) {
		if name := maildirUntab(line); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// maildirSubscriptionLines gives the lines with names in the newer form.
func maildirSubscriptionLines(text string) (lines []string) {
	text, isNew := strings.CutPrefix(text, "V\t2\n")
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if line == "" || strings.ContainsRune(line, 0) {
			continue
		}
		if !isNew {
			line = strings.ReplaceAll(line, ".", "\t")
		}
		if !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return lines
}

// maildirTabEscapes undoes what Dovecot does to what would break a line.
var maildirTabEscapes = strings.NewReplacer("\x010", "\x00", "\x011", "\x01", "\x01t", "\t", "\x01r", "\r", "\x01n", "\n")

// maildirUntab turns a line's parts into a name.
func maildirUntab(line string) string {
	parts := strings.Split(line, "\t")
	for i := range parts {
		parts[i] = maildirTabEscapes.Replace(parts[i])
	}
	return strings.Join(parts, "/")
}

// maildirSubscribe subscribes to names, or no longer, under Dovecot's lock and
// durably. The older form becomes the newer one.
func maildirSubscribe(root string, subscribed bool, names ...string) error {
	return maildirSubscribeBelow(root, subscribed, "", names...)
}

// maildirSubscribeBelow is maildirSubscribe for names below a prefix that is written as it is.
func maildirSubscribeBelow(root string, subscribed bool, prefix string, names ...string) error {
	path := filepath.Join(root, maildirSubscriptionsName)
	lock, err := maildirLockFile(path)
	if err != nil {
		return err
	}
	defer lock.unlock()
	raw, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	lines := maildirSubscriptionLines(string(raw))
	before := len(lines)
	for _, name := range names {
		line := prefix + strings.ReplaceAll(name, "/", "\t")
		same := func(other string) bool { return maildirUntab(other) == maildirUntab(line) }
		switch {
		case subscribed && !slices.ContainsFunc(lines, same):
			lines = append(lines, line)
		case !subscribed:
			lines = slices.DeleteFunc(lines, same)
		}
	}
	if len(lines) == before {
		return nil
	}
	return fileReplace(path, []byte(maildirSubscriptionsHead+strings.Join(lines, "\n")+"\n"), maildirFileMode)
}
