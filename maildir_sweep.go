package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// maildirSweepAge is how old a file in tmp/ must be for nobody to be writing it any
// more; 36 hours is the Maildir specification's figure.
const maildirSweepAge = 36 * time.Hour

// sweep removes what crashed programs have left: files in tmp/ and temporary side
// files that are older than 36 hours, and folders that were being deleted. now
// is a clock that is believed.
func (md *maildir) sweep(now time.Time) (removed int, err error) {
	n, err := maildirSweepDir(md.path+"/tmp", now, func(string) bool { return true })
	removed += n
	if err != nil {
		return removed, err
	}
	n, err = maildirSweepDir(md.path, now, maildirIsTemporary)
	removed += n
	if err != nil {
		return removed, err
	}
	trashed, err := filepath.Glob(filepath.Join(maildirGlobQuote(md.path), maildirTrashed+"*"))
	for _, path := range trashed {
		if err := os.RemoveAll(path); err != nil {
			return removed, err
		}
		removed++
	}
	return removed, err
}

var maildirGlobEscapes = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`)

// maildirGlobQuote makes a path match itself alone.
func maildirGlobQuote(path string) string { return maildirGlobEscapes.Replace(path) }

// maildirIsTemporary tells whether a name beside the side files is one that
// fileTemporary gives.
func maildirIsTemporary(name string) bool {
	for _, ours := range []string{"dovecot-", "letterbox", maildirSubscriptionsName} {
		if strings.HasPrefix(name, ours) && strings.Contains(name, ".tmp") {
			return true
		}
	}
	return false
}

// maildirSweepDir removes the files of a directory that are old and want says.
func maildirSweepDir(dir string, now time.Time, want func(name string) bool) (removed int, err error) {
	d, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	} else if err != nil {
		return 0, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		path := dir + "/" + name
		var st unix.Stat_t
		if !want(name) || unix.Lstat(path, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
			continue
		}
		// The modification time is the message's, which may be years ago; the other
		// is when the file was changed last.
		changed := max(unix.TimespecToNsec(st.Mtim), unix.TimespecToNsec(st.Ctim))
		if now.Sub(time.Unix(0, changed)) < maildirSweepAge {
			continue
		}
		switch err := os.Remove(path); {
		case err == nil:
			removed++
		case !errors.Is(err, fs.ErrNotExist):
			return removed, err
		}
	}
	return removed, nil
}
