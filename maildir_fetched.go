package main

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// The file letterbox-pop3 in a user's root has which messages of INBOX POP3 clients have fetched: lines of
// UIDVALIDITY, first UID, last UID, and the time in seconds since 1970, 0 if that was not known. It is appended to in one
// write, with a sync, once a session that has fetched something new; and written anew when some of it is no longer
// needed. A torn line is none. When the file is lost, the messages count as not fetched, and stay longer.

const (
	maildirFetchedName = "letterbox-pop3"
	maildirFetchedMost = 4 << 20 // bytes; what is behind is not read
)

// maildirFetched is a line.
type maildirFetched struct {
	validity    uint32
	first, last uint32
	at          int64
}

func (f maildirFetched) appendTo(dst []byte) []byte {
	for _, n := range []uint32{f.validity, f.first, f.last} {
		dst = append(strconv.AppendUint(dst, uint64(n), 10), ' ')
	}
	return append(strconv.AppendInt(dst, f.at, 10), '\n')
}

// maildirParseFetched reads lines; those that are none are left out.
func maildirParseFetched(text string) (list []maildirFetched) {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) != 4 || !strings.HasSuffix(line, "\n") {
			continue
		}
		var n [3]uint32
		good := true
		for i := range n {
			v, err := strconv.ParseUint(fields[i], 10, 32)
			n[i], good = uint32(v), good && err == nil
		}
		at, err := strconv.ParseInt(fields[3], 10, 64)
		if !good || err != nil || at < 0 || at > 1<<40 || n[1] == 0 || n[2] < n[1] {
			continue
		}
		list = append(list, maildirFetched{n[0], n[1], n[2], at})
	}
	return list
}

// maildirReadFetched reads the file, and gives how much it read; nothing if there is none.
func maildirReadFetched(root string) (list []maildirFetched, size int64, err error) {
	f, err := fileOpen(filepath.Join(root, maildirFetchedName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, nil
	} else if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maildirFetchedMost))
	if err != nil {
		return nil, 0, err
	}
	return maildirParseFetched(string(text)), int64(len(text)), nil
}

// maildirAddFetched appends lines, durably. It makes the file.
func maildirAddFetched(root string, news []maildirFetched) error {
	var text []byte
	for _, f := range news {
		text = f.appendTo(text)
	}
	path := filepath.Join(root, maildirFetchedName)
	f, err := fileAppend(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fileReplace(path, text, maildirFileMode)
	} else if err != nil {
		return err
	}
	// After a power cut, the last line may have no end: this one begins on its own.
	_, err = fileWrite(f, append([]byte("\n"), text...))
	if err == nil {
		err = fileSync(f)
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}

// maildirReplaceFetched writes the file anew, durably: these lines, and what was appended behind the first read bytes.
func maildirReplaceFetched(root string, list []maildirFetched, read int64) error {
	path := filepath.Join(root, maildirFetchedName)
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var text bytes.Buffer
	for _, f := range list {
		text.Write(f.appendTo(nil))
	}
	if int64(len(old)) > read {
		text.Write(old[read:])
	}
	return fileReplace(path, text.Bytes(), maildirFileMode)
}
