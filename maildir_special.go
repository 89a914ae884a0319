package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// maildirSpecialName is a file in a user's root that says which folder has which
// special use (RFC 6154): lines "Sent<TAB>Gesendet", names in UTF-8. It cannot
// be recomputed, so it is synced.
const maildirSpecialName = "letterbox-special-use"

// maildirSpecialUse gives folder names by special use; nil if there is no file.
func maildirSpecialUse(root string) (map[string]string, error) {
	raw, err := os.ReadFile(filepath.Join(root, maildirSpecialName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	uses := map[string]string{}
	for line := range strings.Lines(string(raw)) {
		if use, name, ok := strings.Cut(strings.TrimRight(line, "\n"), "\t"); ok {
			uses[use] = name
		}
	}
	return uses, nil
}

// maildirSetSpecialUse replaces the file, durably, if that changes anything.
func maildirSetSpecialUse(root string, uses map[string]string) error {
	var lines []string
	for use, name := range uses {
		lines = append(lines, use+"\t"+name+"\n")
	}
	slices.Sort(lines)
	text := strings.Join(lines, "")
	path := filepath.Join(root, maildirSpecialName)
	if old, err := os.ReadFile(path); err == nil && string(old) == text {
		return nil
	}
	return fileReplace(path, []byte(text), 0o600)
}
