package main

import "path/filepath"

// Annotations of a folder (RFC 5464) lie in the folder's own directory, in the file
// letterbox-metadata, so they go where the folder goes. It is a table (maildir_table.go), a row for each:
//
//	user<TAB>/private/comment<TAB>value
//	<TAB>/shared/comment<TAB>value
//
// What is shared has no user. letterbox-metadata-server in a user's root has what the user
// keeps for the server as a whole.

const (
	maildirMetadataName       = "letterbox-metadata"
	maildirMetadataServerName = "letterbox-metadata-server"
)

// maildirAnnotation is a line of such a file.
type maildirAnnotation struct{ user, entry, value string }

// size is what it takes, without escapes.
func (a maildirAnnotation) size() int { return len(a.user) + len(a.entry) + len(a.value) + 3 }

// maildirMetadata reads a file of annotations; none if there is no file.
func maildirMetadata(path string) ([]maildirAnnotation, error) {
	rows, err := maildirTable(path)
	return maildirAnnotations(rows), err
}

// maildirAnnotations passes over what is no annotation.
func maildirAnnotations(rows []maildirRow) (list []maildirAnnotation) {
	for _, row := range rows {
		if row[1] != "" {
			list = append(list, maildirAnnotation{row[0], row[1], row[2]})
		}
	}
	return list
}

// maildirChangeMetadata has change make a new list of the old one, under a lock and durably.
func maildirChangeMetadata(path string, change func(list []maildirAnnotation) ([]maildirAnnotation, error)) error {
	return maildirChangeTable(path, maildirFileMode, func(rows []maildirRow) ([]maildirRow, error) {
		list, err := change(maildirAnnotations(rows))
		rows = nil
		for _, a := range list {
			rows = append(rows, maildirRow{a.user, a.entry, a.value})
		}
		return rows, err
	})
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
