package main

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// dovecot-keywords says what the letters a to z in file names mean: lines
// "<number> <keyword>", 0 for a. Changed under dovecot-keywords.lock; a keyword is on
// disk before a file has its letter.

const (
	maildirKeywordsName  = "dovecot-keywords"
	maildirKeywordsFresh = 2 * time.Second // a file that young may change without its time changing
	maildirKeywordsMost  = 64 << 10        // bytes; a larger file is not one
)

// readKeywords gives the keywords by number ("" where none), if the file has
// changed since (zero: read); changed tells.
func (md *maildir) readKeywords(since time.Time) (names []string, stamp time.Time, changed bool, err error) {
	f, err := os.Open(md.path + "/" + maildirKeywordsName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, time.Time{}, !since.IsZero(), nil
	} else if err != nil {
		return nil, since, false, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, since, false, err
	}
	if info.ModTime().Equal(since) {
		return nil, since, false, nil
	}
	text := make([]byte, min(info.Size(), maildirKeywordsMost))
	n, err := f.ReadAt(text, 0)
	if n < len(text) && err != nil {
		return nil, since, false, err
	}
	stamp = info.ModTime()
	if age := time.Since(stamp); age < maildirKeywordsFresh && age > -maildirKeywordsFresh {
		stamp = stamp.Add(-1) // so the next call reads it again
	}
	return maildirKeywordsParse(string(text)), stamp, true, nil
}

// maildirKeywordsParse reads the file's text; lines that are none are left out.
func maildirKeywordsParse(text string) (names []string) {
	for line := range strings.Lines(text) {
		digits, name, ok := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
		n, err := strconv.Atoi(digits)
		if !ok || err != nil || n < 0 || n >= maildirKeywords || name == "" || strings.ContainsRune(name, 0) {
			continue
		}
		for len(names) <= n {
			names = append(names, "")
		}
		names[n] = name
	}
	return names
}

// addKeyword gives the number of a keyword, adding it under the file's own lock
// and syncing if it is new. errMaildirKeywordsFull after 26.
func (md *maildir) addKeyword(name string) (int, error) {
	path := md.path + "/" + maildirKeywordsName
	lock, err := maildirLockFile(path)
	if err != nil {
		return 0, err
	}
	defer lock.unlock()
	names, _, _, err := md.readKeywords(time.Time{})
	if err != nil {
		return 0, err
	}
	for n, other := range names {
		if strings.EqualFold(other, name) {
			return n, nil
		}
	}
	n := len(names) // a number that was never used: no file has its letter
	if n == maildirKeywords {
		if n = slices.Index(names, ""); n < 0 {
			return 0, errMaildirKeywordsFull
		}
		names[n] = name
	} else {
		names = append(names, name)
	}
	var text []byte
	for i, name := range names {
		if name != "" {
			text = strconv.AppendInt(text, int64(i), 10)
			text = append(text, ' ')
			text = append(text, name...)
			text = append(text, '\n')
		}
	}
	return n, fileReplace(path, text, maildirFileMode)
}
