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
	"slices"
	"strings"
	"unicode"
)

// A whole Maildir++ that becomes the mail of a user who has none keeps all that mail programs go
// by: UIDs and UIDVALIDITY, so they download nothing again, keywords, POP3's UIDLs, subscriptions. Its files
// and side files are copied as they are into a directory of their own, which then takes the user's
// directory's place in one step:
//
//	N1  the stage holds some of the messages           started again, it goes on
//	N2  it holds all of them, and the side files       likewise
//	N3  it is the user's directory, and the other way round
//	N4  mail that came for the user meanwhile is in the new directory: the stage goes
//
// In the stage lies a file that says so. After N3 it lies in the user's directory, and is removed last: that tells
// what a crash between N2 and N4 has left.

// transferStageMark is that file; its text is the source's path.
const transferStageMark = "letterbox-stage"

// transferAdoption is one of those.
type transferAdoption struct {
	from    string // the Maildir++
	folders []transferMaildirFolder
	root    string // the user's directory
	stage   string
	link    bool // hard links instead of copies, where the file system can
	limit   int  // copies that become durable together

	tell   func(c *transferCounts)
	failed func(what string, err error)
	counts transferCounts
}

var errTransferFileName = errors.New("its file's name cannot be kept; the same command brings it in under another")

const transferFileMost = 255 // bytes of a file's name

var errTransferQuota = errors.New("it does not fit in what the user may have")

// transferIsNobodys tells whether a user has no mail, and no folders but those that everybody gets.
func transferIsNobodys(root string) (bool, error) {
	if _, err := os.Stat(root); errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	folders, err := maildirFolders(root)
	if err != nil {
		return false, err
	}
	for _, dir := range folders {
		usual := func(s mailboxSpecial) bool { return mailboxDir(s.use) == dir }
		if !slices.ContainsFunc(mailboxSpecialUses, usual) {
			return false, nil
		}
	}
	for _, dir := range append([]string{""}, folders...) {
		messages := 0
		if err := transferScan(&maildir{path: filepath.Join(root, dir)}, func(string, bool) { messages++ }); err != nil || messages > 0 {
			return false, err
		}
		if _, err := os.Stat(filepath.Join(root, dir, maildirMetadataName)); err == nil {
			return false, nil
		}
	}
	return true, nil
}

// transferRecover finishes what a crash has left between N3 and N4, and what one left between the two
// renames where the system cannot swap.
func transferRecover(root, stage string) error {
	if _, err := os.Stat(root); errors.Is(err, fs.ErrNotExist) {
		if err := os.Rename(stage+".old", root); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if _, err := os.Stat(filepath.Join(root, transferStageMark)); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	return transferFinish(root, stage)
}

// run brings the Maildir++ in. The user has no mail: transferIsNobodys.
func (a *transferAdoption) run(ctx context.Context, limits mailboxQuota) error {
	used, _, err := maildirCountAll(a.from)
	if err != nil {
		return err
	}
	if limits.exceeded(mailboxQuota{}, used.bytes, used.messages) {
		return errTransferQuota
	}
	a.counts.total = used.messages
	a.counts.staged = true
	if err := a.begin(); err != nil {
		return fmt.Errorf("preparing %s: %w", a.stage, err)
	}
	for _, f := range a.folders {
		if err := transferInside(a.from, f.dir); err != nil {
			a.fail(filepath.Join(a.from, f.dir), err)
		} else if err := a.folder(ctx, f); err != nil {
			return fmt.Errorf("folder %s: %w", f.name, err)
		}
	}
	if err := a.subscriptions(); err != nil {
		return err
	}
	if err := a.swap(); err != nil {
		return fmt.Errorf("putting %s in place: %w", a.stage, err)
	}
	a.counts.staged = false
	return transferFinish(a.root, a.stage)
}

// fail notes what could not be read.
func (a *transferAdoption) fail(what string, err error) {
	a.counts.failed++
	a.failed(what, err)
}

// begin makes the stage, or takes over one that an earlier run from the same place has left.
func (a *transferAdoption) begin() error {
	mark := filepath.Join(a.stage, transferStageMark)
	if text, err := os.ReadFile(mark); err == nil && string(text) == a.from {
		return nil
	}
	if err := os.RemoveAll(a.stage); err != nil {
		return err
	}
	if err := fileMakeAll(a.stage, maildirDirMode); err != nil {
		return err
	}
	return fileReplace(mark, []byte(a.from), maildirFileMode)
}

// folder copies one folder.
func (a *transferAdoption) folder(ctx context.Context, f transferMaildirFolder) error {
	a.counts.folder = f.name
	from := &maildir{path: filepath.Join(a.from, f.dir)}
	path := filepath.Join(a.stage, mailboxDir(f.name))
	if err := maildirCreate(path, f.name == "INBOX"); err != nil {
		return err
	}
	to, err := maildirOpen(path)
	if err != nil {
		return err
	}
	courier, err := a.courierFlags(from, to)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(to.tmp("")); err != nil { // what an earlier run was at
		return err
	}
	if err := os.Mkdir(to.tmp(""), maildirDirMode); err != nil {
		return err
	}
	dir, err := fileOpen(to.tmp(""))
	if err != nil {
		return err
	}
	defer dir.Close()
	c := &transferCopying{a: a, from: from, to: to, dir: dir, extra: courier, have: map[uint64]struct{}{}}
	defer func() {
		for _, m := range c.lot { // not committed: it takes room
			os.Remove(m.tmp)
		}
	}()
	err = transferScan(to, func(name string, _ bool) {
		base, _, _, _ := maildirParse(name)
		c.have[mailboxBaseHash(base)] = struct{}{}
	})
	if err != nil {
		return err
	}
	a.counts.skipped += len(c.have)
	// A file that is renamed while the directory is read may be missed: what is left comes with the next round.
	for round, before := 0, -1; before != len(c.have) && round < mailboxMissesMost; round++ {
		before = len(c.have)
		if err := c.messages(ctx); err != nil {
			return err
		}
	}
	if len(c.have) > 0 {
		a.counts.folders = append(a.counts.folders, f.name)
	}
	for _, list := range []string{maildirUidlistName, maildirCourierName} { // else the numbers are kept in another place, as Dovecot can
		if _, err := os.Stat(filepath.Join(from.path, list)); err == nil {
			a.counts.kept = true
		}
	}
	if err := a.sideFiles(from.path, to.path); err != nil { // after the messages, so that all of them are in the list
		return err
	}
	return syncDir(path)
}

// transferCopying is one folder's messages on their way.
type transferCopying struct {
	a        *transferAdoption
	from, to *maildir
	dir      *os.File // to's tmp/: see fileSyncMany
	have     map[uint64]struct{}
	extra    map[uint64]maildirFlags // keywords of Courier's

	lot []transferLot
}

// transferLot is a file in tmp/ and what it will be called; tmp is "" if it is called so already.
type transferLot struct {
	tmp, name string
	cur       bool
	size      int64
}

func (c *transferCopying) messages(ctx context.Context) error {
	var names []transferMaildirMessage
	err := transferScan(c.from, func(name string, cur bool) {
		base, _, _, _ := maildirParse(name)
		if _, have := c.have[mailboxBaseHash(base)]; !have {
			names = append(names, transferMaildirMessage{name: strings.Clone(name), cur: cur})
		}
	})
	if err != nil {
		return err
	}
	for _, m := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		base, flags, odd, _ := maildirParse(m.name)
		if _, have := c.have[mailboxBaseHash(base)]; have { // twice: while it moves from new/ to cur/
			continue
		}
		to := transferLot{name: m.name, cur: m.cur}
		if flags |= c.extra[mailboxBaseHash(base)]; m.cur || flags != 0 {
			to.name, to.cur = c.to.fileName(base, flags, odd), true
		}
		if len(to.name) > transferFileMost || strings.ContainsFunc(to.name, unicode.IsControl) { // no line of the list could hold it
			c.have[mailboxBaseHash(base)] = struct{}{}
			c.a.fail(c.from.dir(m.cur)+m.name, errTransferFileName)
			continue
		}
		err := c.bring(c.from.dir(m.cur)+m.name, &to)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		c.have[mailboxBaseHash(base)] = struct{}{}
		if unreadable := (transferUnreadable{}); errors.As(err, &unreadable) {
			c.a.fail(unreadable.path, unreadable.error)
			continue
		} else if err != nil {
			return err
		}
		c.lot = append(c.lot, to)
		c.a.counts.done++
		if len(c.lot) >= c.a.limit {
			if err := c.commit(); err != nil {
				return err
			}
		}
		c.a.tell(&c.a.counts)
	}
	return c.commit()
}

// bring makes a link of a file, or a copy in tmp/.
func (c *transferCopying) bring(from string, to *transferLot) (err error) {
	if c.a.link {
		err := fileLink(from, c.to.dir(to.cur)+to.name)
		if err == nil || errors.Is(err, fs.ErrExist) {
			return nil
		} else if !maildirNoLink(err) {
			return err
		}
	}
	to.tmp = c.to.tmp(c.to.newBase())
	to.size, err = transferCopyFile(from, to.tmp)
	return err
}

// commit syncs the copies and gives them their names.
func (c *transferCopying) commit() error {
	var paths []string
	bytes := int64(0)
	for _, m := range c.lot {
		if bytes += m.size; m.tmp != "" { // links were on the disk before
			paths = append(paths, m.tmp)
		}
	}
	if len(paths) > 0 {
		if err := fileSyncMany(c.dir, paths); err != nil {
			return err
		}
	}
	for _, m := range c.lot {
		if m.tmp == "" {
			continue
		}
		if err := fileRename(m.tmp, c.to.dir(m.cur)+m.name); err != nil {
			return err
		}
	}
	if err := c.to.syncDirs(true, true); err != nil {
		return err
	}
	c.a.counts.imported += len(c.lot)
	c.a.counts.bytes += bytes
	c.lot = nil
	return nil
}

// transferCopyFile copies a file with its date, and does not sync it. What cannot be read is transferUnreadable.
func transferCopyFile(from, to string) (size int64, err error) {
	in, err := fileOpenRegular(from)
	if err != nil {
		return 0, transferUnreadable{from, err}
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return 0, transferUnreadable{from, err}
	}
	out, err := fileCreate(to, maildirFileMode)
	if err != nil {
		return 0, err
	}
	if err = fileStep("write", to); err == nil {
		size, err = io.Copy(out, in)
		if err != nil { // whose fault is it?
			if _, again := io.Copy(io.Discard, io.NewSectionReader(in, 0, 1<<62)); again != nil {
				err = transferUnreadable{from, again}
			}
		}
	}
	if closeErr := out.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Chtimes(to, info.ModTime(), info.ModTime())
	}
	if err != nil {
		os.Remove(to) // else it goes with the stage
		return 0, fmt.Errorf("copying %s: %w", from, err)
	}
	return size, nil
}

// transferSideFile tells whether a file beside the messages goes where they go: not caches, locks, and what
// is made anew.
func transferSideFile(name string) bool {
	for _, not := range []string{"letterbox.", "dovecot.", "maildirsize", transferStageMark, ".", "courierpop3"} {
		if strings.HasPrefix(name, not) {
			return false
		}
	}
	if strings.HasSuffix(name, ".lock") || strings.Contains(name, ".tmp") {
		return false
	}
	for _, known := range []string{"dovecot-", "letterbox-", maildirFolderName, maildirSubscriptionsName, maildirCourierName} {
		if strings.HasPrefix(name, known) {
			return true
		}
	}
	return false
}

// sideFiles copies the files beside the messages.
func (a *transferAdoption) sideFiles(from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.Type().IsRegular() || !transferSideFile(e.Name()) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(from, e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return err
		}
		if err := fileReplace(filepath.Join(to, e.Name()), text, maildirFileMode); err != nil {
			return err
		}
	}
	return nil
}

// courierFlags gives Courier's keywords letters, and says which message has which.
func (a *transferAdoption) courierFlags(from, to *maildir) (map[uint64]maildirFlags, error) {
	words, err := transferReadCourier(from.path)
	if err != nil || len(words) == 0 {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(from.path, maildirKeywordsName)); err == nil {
		return nil, nil // Dovecot was here since
	}
	flags, letters := map[uint64]maildirFlags{}, map[string]maildirFlags{}
	for base, list := range words {
		for _, word := range list {
			if word = strings.TrimSpace(word); !transferIsKeyword(word) {
				continue
			}
			bit, known := letters[word]
			if !known {
				n, err := to.addKeyword(word)
				if errors.Is(err, errMaildirKeywordsFull) {
					a.counts.dropped++
					continue
				} else if err != nil {
					return nil, err
				}
				bit = 1 << (maildirKeyword0 + n)
				letters[word] = bit
			}
			flags[mailboxBaseHash(base)] |= bit
		}
	}
	return flags, nil
}

// subscriptions takes over Courier's, where there are none of Dovecot's.
func (a *transferAdoption) subscriptions() error {
	if _, err := os.Stat(filepath.Join(a.from, maildirSubscriptionsName)); err == nil {
		return nil
	}
	f, err := os.Open(filepath.Join(a.from, transferCourierSubscribed))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	defer f.Close()
	var names []string
	lines := bufio.NewScanner(io.LimitReader(f, 1<<20))
	for lines.Scan() {
		if name := strings.TrimPrefix(lines.Text(), "INBOX."); name != "" {
			names = append(names, strings.ReplaceAll(name, ".", "/"))
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return maildirSubscribe(a.stage, true, names...)
}

// swap is N3.
func (a *transferAdoption) swap() error {
	if err := syncDir(a.stage); err != nil {
		return err
	}
	err := fs.ErrExist
	if _, statErr := os.Stat(a.root); errors.Is(statErr, fs.ErrNotExist) {
		if err = fileMakeAll(filepath.Dir(a.root), maildirDirMode); err == nil {
			err = fileRename(a.stage, a.root)
		}
	}
	if errors.Is(err, fs.ErrExist) { // as it is if the server made it just now
		err = fileSwap(a.stage, a.root)
	}
	if errors.Is(err, errors.ErrUnsupported) {
		if err = fileRename(a.root, a.stage+".old"); err == nil {
			err = fileRename(a.stage, a.root)
		}
		if err == nil {
			err = fileRename(a.stage+".old", a.stage)
		}
	}
	if err == nil {
		err = syncDir(filepath.Dir(a.root))
	}
	if err == nil {
		err = syncDir(filepath.Dir(a.stage))
	}
	return err
}

// transferFinish is N4.
func transferFinish(root, stage string) error {
	for _, old := range []string{stage, stage + ".old"} {
		if err := transferMoveRest(old, root); err != nil {
			return fmt.Errorf("moving mail that came meanwhile from %s: %w", old, err)
		}
		if err := os.RemoveAll(old); err != nil {
			return err
		}
	}
	if err := maildirForgetSum(root); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(root, transferStageMark)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return syncDir(root)
}

// transferMoveRest moves messages that were delivered into the empty directory before it was swapped.
func transferMoveRest(old, root string) error {
	if _, err := os.Stat(old); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	folders, err := maildirFolders(old)
	if err != nil {
		return err
	}
	for _, dir := range append([]string{""}, folders...) {
		from, to := &maildir{path: filepath.Join(old, dir)}, &maildir{path: filepath.Join(root, dir)}
		var rest []transferMaildirMessage
		err := transferScan(from, func(name string, cur bool) {
			rest = append(rest, transferMaildirMessage{name: strings.Clone(name), cur: cur})
		})
		if err != nil {
			return err
		}
		if len(rest) == 0 {
			continue
		}
		if err := maildirCreate(to.path, dir == ""); err != nil {
			return err
		}
		for _, m := range rest {
			base, flags, odd, _ := maildirParse(m.name)
			name := base
			if m.cur { // its keywords are other letters there
				name = to.fileName(base, flags&maildirFlags(mailboxSystemFlags), odd)
			}
			if err := from.moveInto(m.name, m.cur, to, name, m.cur); err != nil {
				return err
			}
		}
		if err := to.syncDirs(true, true); err != nil {
			return err
		}
	}
	return nil
}
