package main

import (
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Access keys of a folder (RFC 4467) lie in the folder's own directory, in the file letterbox-urlauth, which nobody else may
// read. They go when the folder is deleted. It is a table (maildir_table.go): a row is a user, the folder's name when the key
// was made, and the key in hex. A key of another name is none, so renaming a folder revokes what was
// authorized. They cannot be recomputed, so they are synced.

const maildirKeysName = "letterbox-urlauth"

// maildirKey is a line of such a file.
type maildirKey struct {
	user, folder string
	key          []byte
}

// maildirKeys reads a folder's keys; none if there is no file.
func maildirKeys(dir string) ([]maildirKey, error) {
	rows, err := maildirTable(filepath.Join(dir, maildirKeysName))
	return maildirKeysOf(rows), err
}

// maildirKeysOf passes over what is no key.
func maildirKeysOf(rows []maildirRow) (list []maildirKey) {
	for _, row := range rows {
		if key, err := hex.DecodeString(row[2]); err == nil && len(key) >= 16 {
			list = append(list, maildirKey{row[0], row[1], key})
		}
	}
	return list
}

// maildirChangeKeys has change make a new list of the old one, under a lock and durably.
func maildirChangeKeys(dir string, change func(list []maildirKey) []maildirKey) error {
	return maildirChangeTable(filepath.Join(dir, maildirKeysName), 0o600, func(rows []maildirRow) ([]maildirRow, error) {
		list := change(maildirKeysOf(rows))
		rows = nil
		for _, k := range list {
			rows = append(rows, maildirRow{k.user, k.folder, hex.EncodeToString(k.key)})
		}
		return rows, nil
	})
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
