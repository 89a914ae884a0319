package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// A small table in a file of a folder, which is text, so that people can read it: a line is a row of three fields, parted by
// TABs. In them NUL, 0x01, TAB, CR and LF are written as 0x01 and one of "01trn", as Dovecot
// does in its files. None of it can be recomputed, so it is synced.

type maildirRow [3]string

var maildirTabEscaper = strings.NewReplacer("\x00", "\x010", "\x01", "\x011", "\t", "\x01t", "\r", "\x01r", "\n", "\x01n")

// maildirTable reads such a file; none if there is no file.
func maildirTable(path string) ([]maildirRow, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	return maildirTableParse(string(raw)), nil
}

// maildirTableParse passes over what is no row.
func maildirTableParse(text string) (rows []maildirRow) {
	for line := range strings.Lines(text) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(fields) != len(maildirRow{}) {
			continue
		}
		var row maildirRow
		for i := range row {
			row[i] = maildirTabEscapes.Replace(fields[i])
		}
		rows = append(rows, row)
	}
	return rows
}

func maildirTableText(rows []maildirRow) string {
	var text strings.Builder
	for _, row := range rows {
		for i, field := range row {
			if i > 0 {
				text.WriteByte('\t')
			}
			text.WriteString(maildirTabEscaper.Replace(field))
		}
		text.WriteByte('\n')
	}
	return text.String()
}

// maildirChangeTable has change make new rows of the old ones, under a lock and durably.
func maildirChangeTable(path string, mode os.FileMode, change func(rows []maildirRow) ([]maildirRow, error)) error {
	lock, err := maildirLockFile(path)
	if err != nil {
		return err
	}
	defer lock.unlock()
	rows, err := maildirTable(path)
	if err != nil {
		return err
	}
	before := maildirTableText(rows)
	if rows, err = change(rows); err != nil {
		return err
	}
	after := maildirTableText(rows)
	if after == before {
		return nil
	}
	if err := fileReplace(path, []byte(after), mode); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}
