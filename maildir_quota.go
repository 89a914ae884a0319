package main

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The file maildirsize in a user's root is Maildir++'s, as Courier and Dovecot keep it:
// its first line has the limits, "1000000S,1000C" (bytes and messages; one that is
// missing or 0 is none), each further line what has come or gone, bytes and messages.
// Their sum is what the user's mail takes: of all folders, those that are called Trash
// as well, and deleted messages until they are expunged, as Dovecot counts. Programs append to
// the file in one write each. It is only a sum: when it is lost or broken, or longer than
// maildirSizeMost, it is made anew from the names of all files.

const (
	maildirSizeName = "maildirsize"

	maildirSizeMost  = 5120             // bytes; the next who reads a longer file makes it anew
	maildirSizeStale = 15 * time.Minute // a younger file is believed that says a user has too much
)

// maildirTotals are bytes and messages: what there is, or a limit, where 0 is none.
type maildirTotals struct{ bytes, messages int64 }

// maildirQuotaSum is what maildirsize says.
type maildirQuotaSum struct {
	limits, used maildirTotals
	written      time.Time
}

var errMaildirSize = errors.New("maildirsize is broken")

// maildirReadSum reads maildirsize; fs.ErrNotExist if there is none, errMaildirSize if it has to be made anew.
func maildirReadSum(root string) (sum maildirQuotaSum, err error) {
	f, err := fileOpen(filepath.Join(root, maildirSizeName))
	if err != nil {
		return sum, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return sum, err
	}
	var buf [maildirSizeMost + 1]byte
	n, err := io.ReadFull(f, buf[:])
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return sum, err
	}
	sum, err = maildirParseSum(buf[:n])
	sum.written = info.ModTime()
	return sum, err
}

// maildirHasSum tells whether there is a maildirsize.
func maildirHasSum(root string) bool {
	_, err := os.Stat(filepath.Join(root, maildirSizeName))
	return err == nil
}

// maildirParseSum adds up the lines of maildirsize.
func maildirParseSum(text []byte) (sum maildirQuotaSum, err error) {
	head, rest, ok := bytes.Cut(text, []byte("\n"))
	if !ok || len(text) > maildirSizeMost {
		return sum, errMaildirSize
	}
	if sum.limits, ok = maildirParseLimits(string(head)); !ok {
		return sum, errMaildirSize
	}
	lines := 0
	for ; len(rest) > 0; lines++ {
		line, after, ok := bytes.Cut(rest, []byte("\n"))
		fields := strings.Fields(string(line)) // Courier pads the lines
		if !ok || len(fields) != 2 {
			return sum, errMaildirSize
		}
		size, sizeErr := strconv.ParseInt(fields[0], 10, 64)
		count, countErr := strconv.ParseInt(fields[1], 10, 64)
		var sizeOk, countOk bool
		sum.used.bytes, sizeOk = maildirPlus(sum.used.bytes, size)
		sum.used.messages, countOk = maildirPlus(sum.used.messages, count)
		if sizeErr != nil || countErr != nil || !sizeOk || !countOk {
			return sum, errMaildirSize
		}
		rest = after
	}
	if lines == 0 || sum.used.bytes < 0 || sum.used.messages < 0 {
		return sum, errMaildirSize
	}
	return sum, nil
}

// maildirPlus adds, and tells whether that could be done.
func maildirPlus(a, b int64) (int64, bool) {
	if b > 0 && a > math.MaxInt64-b || b < 0 && a < math.MinInt64-b {
		return 0, false
	}
	return a + b, true
}

// maildirParseLimits reads "1000000S,1000C". Kinds of limits that others may have are passed over.
func maildirParseLimits(text string) (limits maildirTotals, ok bool) {
	for part := range strings.SplitSeq(strings.TrimSpace(text), ",") {
		if part == "" {
			continue
		}
		kind := part[len(part)-1]
		n, err := strconv.ParseUint(part[:len(part)-1], 10, 63)
		switch {
		case err != nil || kind < 'A' || kind > 'Z':
			return maildirTotals{}, false
		case kind == 'S':
			limits.bytes = int64(n)
		case kind == 'C':
			limits.messages = int64(n)
		}
	}
	return limits, true
}

// appendTo writes limits as the first line has them.
func (l maildirTotals) appendTo(dst []byte) []byte {
	if l.bytes > 0 {
		dst = append(strconv.AppendInt(dst, l.bytes, 10), 'S')
	}
	if l.bytes > 0 && l.messages > 0 {
		dst = append(dst, ',')
	}
	if l.messages > 0 {
		dst = append(strconv.AppendInt(dst, l.messages, 10), 'C')
	}
	return append(dst, '\n')
}

// appendLine writes a change, as the further lines have it.
func (l maildirTotals) appendLine(dst []byte) []byte {
	dst = append(strconv.AppendInt(dst, l.bytes, 10), ' ')
	return append(strconv.AppendInt(dst, l.messages, 10), '\n')
}

// maildirAddToSum notes what has come or gone, if there is a maildirsize; it is not synced. A
// file that is too long already gets no longer: whoever reads it makes it anew.
func maildirAddToSum(root string, change maildirTotals) error {
	path := filepath.Join(root, maildirSizeName)
	f, err := fileAppend(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil && info.Size() <= maildirSizeMost {
		_, err = fileWrite(f, change.appendLine(nil))
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil { // better none than a wrong one
		os.Remove(path)
	}
	return err
}

// diskSize is what a message's file takes: by its name, else by the file system. 0 if it is gone.
func (md *maildir) diskSize(name string, cur bool) int64 {
	base, _, _, _ := maildirParse(name)
	if size := maildirSize(base, ",S="); size >= 0 {
		return size
	}
	info, err := md.statFile(name, cur)
	if err != nil {
		return 0
	}
	return info.Size()
}

// maildirForgetSum has the sum made anew by the next who needs it.
func maildirForgetSum(root string) error {
	err := os.Remove(filepath.Join(root, maildirSizeName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// maildirCountAll counts all of a user's mail. quiet tells that no folder has changed
// meanwhile, as far as the times of the directories say.
func maildirCountAll(root string) (used maildirTotals, quiet bool, err error) {
	before, err := maildirTimes(root)
	if err != nil {
		return used, false, err
	}
	for _, d := range before {
		if err := maildirCountIn(d.path, &used); err != nil {
			return used, false, err
		}
	}
	after, err := maildirTimes(root)
	return used, slices.Equal(before, after), err
}

// maildirDirTime is a directory and when it was last changed.
type maildirDirTime struct {
	path string
	time int64
}

// maildirTimes gives new/ and cur/ of all folders.
func maildirTimes(root string) (times []maildirDirTime, err error) {
	folders, err := maildirFolders(root)
	if err != nil {
		return nil, err
	}
	for _, folder := range append([]string{""}, folders...) {
		for _, sub := range []string{"new", "cur"} {
			path := filepath.Join(root, folder, sub)
			info, err := os.Stat(path)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			} else if err != nil {
				return nil, err
			}
			times = append(times, maildirDirTime{path, info.ModTime().UnixNano()})
		}
	}
	return times, nil
}

// maildirCountIn adds the messages of a directory: by S= in their names, without it by what
// the file system says.
func maildirCountIn(dir string, used *maildirTotals) error {
	var odd []string
	err := maildirEachName(dir, func(name string) {
		used.messages++
		base, _, _, _ := maildirParse(name)
		if size := maildirSize(base, ",S="); size >= 0 {
			used.bytes += size
		} else {
			odd = append(odd, strings.Clone(name))
		}
	})
	for _, name := range odd {
		info, statErr := os.Stat(filepath.Join(dir, name))
		switch {
		case errors.Is(statErr, fs.ErrNotExist):
			used.messages--
		case statErr != nil && err == nil:
			err = statErr
		case statErr == nil:
			used.bytes += info.Size()
		}
	}
	if errors.Is(err, fs.ErrNotExist) { // the folder is gone
		return nil
	}
	return err
}

// maildirWriteSum puts a new maildirsize in place. It is not synced: it is only a sum.
func maildirWriteSum(root string, sum maildirQuotaSum) error {
	r, err := fileReplaceBegin(filepath.Join(root, maildirSizeName), maildirFileMode)
	if err != nil {
		return err
	}
	if _, err := r.Write(sum.used.appendLine(sum.limits.appendTo(nil))); err != nil {
		r.abort()
		return err
	}
	return r.commitUnsynced()
}

// The file letterbox-quota in a user's root has limits that were set for the user and do not come from the
// configuration, in one line as the first of maildirsize; an empty line is no limit. It is made durable, and is part
// of a backup: maildirsize may be lost, and other programs write their own limits into it.
const maildirLimitsName = "letterbox-quota"

// maildirReadLimits gives the limits that were set; fs.ErrNotExist if none were.
func maildirReadLimits(root string) (limits maildirTotals, err error) {
	text, err := os.ReadFile(filepath.Join(root, maildirLimitsName))
	if err != nil {
		return limits, err
	}
	limits, ok := maildirParseLimits(string(text))
	if !ok {
		return limits, errors.New("letterbox-quota is broken")
	}
	return limits, nil
}

// maildirWriteLimits sets limits. They are durable when it returns.
func maildirWriteLimits(root string, limits maildirTotals) error {
	return fileReplace(filepath.Join(root, maildirLimitsName), limits.appendTo(nil), maildirFileMode)
}

// The file letterbox-warned in a user's root has the percentage at which the user was last warned that there is
// little room left. Without it, the user is warned anew.
const maildirWarnedName = "letterbox-warned"

// maildirReadWarned gives the percentage, 0 if there is none. A file that is broken is as good as none.
func maildirReadWarned(root string) (percent int, err error) {
	text, err := os.ReadFile(filepath.Join(root, maildirWarnedName))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	} else if err != nil {
		return 0, err
	}
	if percent, err = strconv.Atoi(strings.TrimSpace(string(text))); err != nil || percent < 0 || percent > 100 {
		percent = 0
	}
	return percent, nil
}

// maildirWriteWarned keeps the percentage, durably.
func maildirWriteWarned(root string, percent int) error {
	return fileReplace(filepath.Join(root, maildirWarnedName), strconv.AppendInt(nil, int64(percent), 10), maildirFileMode)
}
