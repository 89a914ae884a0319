package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
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
		info, err := os.Stat(filepath.Join(root, name, "cur"))
		return err != nil || !info.IsDir()
	})
	slices.Sort(names)
	return names, nil
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
func maildirRenameFolder(root, from, to string) error {
	if _, err := os.Lstat(filepath.Join(root, to)); err == nil {
		return fs.ErrExist
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := fileRename(filepath.Join(root, from), filepath.Join(root, to)); err != nil {
		return err
	}
	return syncDir(root)
}

// The file subscriptions is Dovecot's, version 2: "V<TAB>2", an empty line, then
// a name a line, its parts split by TABs. The older form has the names alone, split
// by ".". Names are in modified UTF-7.

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
	text, isNew := strings.CutPrefix(text, "V\t2\n")
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if line == "" || strings.ContainsRune(line, 0) {
			continue
		}
		if isNew {
			line = maildirUntab(line)
		} else {
			line = strings.ReplaceAll(line, ".", "/")
		}
		if !slices.Contains(names, line) {
			names = append(names, line)
		}
	}
	return names
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
	path := filepath.Join(root, maildirSubscriptionsName)
	lock, err := maildirLockFile(path)
	if err != nil {
		return err
	}
	defer lock.unlock()
	list, err := maildirSubscriptions(root)
	if err != nil {
		return err
	}
	before := len(list)
	for _, name := range names {
		i := slices.Index(list, name)
		switch {
		case subscribed && i < 0:
			list = append(list, name)
		case !subscribed && i >= 0:
			list = slices.Delete(list, i, i+1)
		}
	}
	if len(list) == before {
		return nil
	}
	var text strings.Builder
	text.WriteString(maildirSubscriptionsHead)
	for _, name := range list {
		text.WriteString(strings.ReplaceAll(name, "/", "\t") + "\n")
	}
	return fileReplace(path, []byte(text.String()), maildirFileMode)
}
