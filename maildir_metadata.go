package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Annotations of a folder (RFC 5464) lie in the folder's own directory, in the file
// letterbox-metadata, so they go where the folder goes. It is text, a line for each:
//
//	user<TAB>/private/comment<TAB>value
//	<TAB>/shared/comment<TAB>value
//
// What is shared has no user. In all three a NUL, 0x01, TAB, CR and LF are written as 0x01
// and one of "01trn", as Dovecot does in its files. letterbox-metadata-server in a user's
// root has what the user keeps for the server as a whole. Neither can be recomputed, so
// they are synced.

const (
	maildirMetadataName       = "letterbox-metadata"
	maildirMetadataServerName = "letterbox-metadata-server"
)

// maildirAnnotation is a line of such a file.
type maildirAnnotation struct{ user, entry, value string }

// size is what it takes, without escapes.
func (a maildirAnnotation) size() int { return len(a.user) + len(a.entry) + len(a.value) + 3 }

var maildirTabEscaper = strings.NewReplacer("\x00", "\x010", "\x01", "\x011", "\t", "\x01t", "\r", "\x01r", "\n", "\x01n")

// maildirMetadata reads a file of annotations; none if there is no file.
func maildirMetadata(path string) ([]maildirAnnotation, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	return maildirMetadataParse(string(raw)), nil
}

// maildirMetadataParse passes over what is no annotation.
func maildirMetadataParse(text string) (list []maildirAnnotation) {
	for line := range strings.Lines(text) {
		parts := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(parts) != 3 || parts[1] == "" {
			continue
		}
		for i := range parts {
			parts[i] = maildirTabEscapes.Replace(parts[i])
		}
		list = append(list, maildirAnnotation{parts[0], parts[1], parts[2]})
	}
	return list
}

func maildirMetadataText(list []maildirAnnotation) string {
	var text strings.Builder
	for _, a := range list {
		text.WriteString(maildirTabEscaper.Replace(a.user) + "\t" + maildirTabEscaper.Replace(a.entry) + "\t" + maildirTabEscaper.Replace(a.value) + "\n")
	}
	return text.String()
}

// maildirChangeMetadata has change make a new list of the old one, under a lock and durably.
func maildirChangeMetadata(path string, change func(list []maildirAnnotation) ([]maildirAnnotation, error)) error {
	lock, err := maildirLockFile(path)
	if err != nil {
		return err
	}
	defer lock.unlock()
	list, err := maildirMetadata(path)
	if err != nil {
		return err
	}
	before := maildirMetadataText(list)
	if list, err = change(list); err != nil {
		return err
	}
	after := maildirMetadataText(list)
	if after == before {
		return nil
	}
	if err := fileReplace(path, []byte(after), maildirFileMode); err != nil {
		return fmt.Errorf("writing annotations: %w", err)
	}
	return nil
}

// maildirCopyMetadata gives one folder the annotations of another.
func maildirCopyMetadata(from, to string) error {
	list, err := maildirMetadata(filepath.Join(from, maildirMetadataName))
	if err != nil || len(list) == 0 {
		return err
	}
	return maildirChangeMetadata(filepath.Join(to, maildirMetadataName), func([]maildirAnnotation) ([]maildirAnnotation, error) {
		return list, nil
	})
}
