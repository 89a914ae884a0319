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
	"strings"
	"time"
)

// A restore takes mail out of a snapshot, and is an import of a Maildir: what the folder has already stays as
// it is and does not come twice, so nothing is overwritten. Only a user who has no mail at all gets all of it with
// its UIDs.

// transferFound is a message of a snapshot, for people to choose.
type transferFound struct {
	folder, from, subject, id string
	date                      time.Time
}

// transferMatch says which messages are meant: by a Message-ID, or by words of the subject.
type transferMatch struct{ words string }

// matches looks at a message's header.
func (f *transferMatch) matches(found *transferFound) bool {
	words := strings.TrimSpace(f.words)
	if found.id != "" && strings.Trim(words, "<>") == strings.Trim(found.id, "<>") {
		return true
	}
	return strings.Contains(strings.ToLower(found.subject), strings.ToLower(words))
}

// want is what a transferJob asks.
func (f *transferMatch) want(m *transferMessage) bool {
	text := bufio.NewReaderSize(m.text, transferExportHead)
	head, _ := text.Peek(transferExportHead) // an error comes again when it is read
	m.text = text
	found := transferDescribe(m.folder, m.date, head)
	return f.matches(found)
}

// transferDescribe is what a header says of a message.
func transferDescribe(folder string, date time.Time, head []byte) *transferFound {
	field := func(name string) string {
		value, _ := messageFieldOf(head, name)
		return transferPlain(strings.Join(strings.Fields(messageDecodeHeader(value)), " "))
	}
	return &transferFound{folder, field("From"), field("Subject"), field("Message-ID"), date}
}

// transferPlain is a text without what a terminal would obey.
func transferPlain(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, text)
}

// transferUserIn gives a user's Maildir in a snapshot.
func transferUserIn(snapshot, user string) (string, error) {
	path := filepath.Join(snapshot, "mail", user)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("there is no mail of %s in %s", user, snapshot)
	} else if err != nil {
		return "", err
	}
	return path, nil
}

// transferLook calls f for each message of a Maildir that is meant; an error of f ends it. What cannot be read goes to failed.
func transferLook(ctx context.Context, maildirs *transferMaildir, match *transferMatch, failed func(what string, err error), f func(found *transferFound) error) error {
	folders, err := maildirs.folders()
	if err != nil {
		return err
	}
	for _, folder := range folders {
		md := &maildir{path: filepath.Join(maildirs.root, folder.dir)}
		list, err := transferMaildirList(md)
		if err != nil {
			return err
		}
		for _, m := range list {
			if err := ctx.Err(); err != nil {
				return err
			}
			found, err := transferLookAt(md, m, folder.name)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			} else if err != nil {
				failed(md.dir(m.cur)+m.name, err)
				continue
			}
			if !match.matches(found) {
				continue
			}
			if err := f(found); err != nil {
				return err
			}
		}
	}
	return nil
}

func transferLookAt(md *maildir, m transferMaildirMessage, folder string) (*transferFound, error) {
	file, _, err := transferOpen(md, m)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	head, err := bufio.NewReaderSize(file, transferExportHead).Peek(transferExportHead)
	if err != nil && err != io.EOF { // a shorter message is no error
		return nil, err
	}
	return transferDescribe(folder, info.ModTime(), head), nil
}
