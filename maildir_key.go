package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Access keys of a folder (RFC 4467) lie in the folder's own directory, in the file letterbox-urlauth, which nobody else may
// read. They go when the folder is deleted. A line is a user, the folder's name when the key was made, and the key in
// hex, parted by TABs. A key of another name is none, so renaming a folder revokes what was
// authorized. They cannot be recomputed, so they are synced.

const maildirKeysName = "letterbox-urlauth"

// maildirKey is a line of such a file.
type maildirKey struct {
	user, folder string
	key          []byte
}

// maildirKeys reads a folder's keys; none if there is no file.
func maildirKeys(dir string) ([]maildirKey, error) {
	raw, err := os.ReadFile(filepath.Join(dir, maildirKeysName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	return maildirKeysParse(string(raw)), nil
}

// maildirKeysParse passes over what is no key.
func maildirKeysParse(text string) (list []maildirKey) {
	for line := range strings.Lines(text) {
		parts := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(parts) != 3 {
			continue
		}
		key, err := hex.DecodeString(parts[2])
		if err != nil || len(key) < 16 {
			continue
		}
		list = append(list, maildirKey{maildirTabEscapes.Replace(parts[0]), maildirTabEscapes.Replace(parts[1]), key})
	}
	return list
}

func maildirKeysText(list []maildirKey) string {
	var text strings.Builder
	for _, k := range list {
		text.WriteString(maildirTabEscaper.Replace(k.user) + "\t" + maildirTabEscaper.Replace(k.folder) + "\t" + hex.EncodeToString(k.key) + "\n")
	}
	return text.String()
}

// maildirChangeKeys has change make a new list of the old one, under a lock and durably.
func maildirChangeKeys(dir string, change func(list []maildirKey) []maildirKey) error {
	path := filepath.Join(dir, maildirKeysName)
	lock, err := maildirLockFile(path)
	if err != nil {
		return err
	}
	defer lock.unlock()
	list, err := maildirKeys(dir)
	if err != nil {
		return err
	}
	before := maildirKeysText(list)
	after := maildirKeysText(change(list))
	if after == before {
		return nil
	}
	if err := fileReplace(path, []byte(after), 0o600); err != nil {
		return fmt.Errorf("writing access keys: %w", err)
	}
	return nil
}

// maildirForgetKeys takes all of a folder's keys away after it was renamed. A crash before that leaves keys of another name.
func maildirForgetKeys(dir string) error {
	err := os.Remove(filepath.Join(dir, maildirKeysName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// maildirHasKeys tells whether there is a file of keys.
func maildirHasKeys(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, maildirKeysName))
	return !errors.Is(err, fs.ErrNotExist)
}
