package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// A backup is a directory of snapshots. Each has all that there is:
//
//	2026-03-02T10-00-00Z/mail/alice/...       the Maildirs, without caches
//	2026-03-02T10-00-00Z/mail/.letterbox/     the CA and its key
//	2026-03-02T10-00-00Z/users, config.toml
//
// A message's file never changes, so it is not copied again: it is a hard link to the message itself where the
// backup lies on the same file system, else to the file of the snapshot before. Side files are copied under their
// locks, after the messages, so that they speak of all of them. A snapshot in the making has another name:
//
//	K1  NAME.incomplete holds a part           the next run removes it
//	K2  it holds everything, and is synced     likewise
//	K3  it is called NAME, synced              the snapshot
//	K4  the oldest, called NAME.removing, go   the next run removes them
//
// The server runs on meanwhile. Mail that is moved from a folder that was not yet looked at to one that was is not
// missed: folders are looked at again until none has changed since.

const (
	transferIncomplete = ".incomplete"
	transferRemoving   = ".removing"
	transferRounds     = 5 // looks at folders that change all the time
)

var transferSnapshotName = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ(-\d+)?$`)

var errTransferNoSnapshot = errors.New("there is no such snapshot")

// transferBackup is a backup that is being made.
type transferBackup struct {
	mail  string            // the directory of all Maildirs
	dir   string            // of the snapshots
	files map[string]string // more files, by their names in the snapshot
	now   time.Time
	keep  int // snapshots that stay, 0: all
	tell  func(c *transferCounts)

	failed func(what string, err error)

	counts transferCounts // imported: all messages; skipped: those that needed no copy
	later  string         // a snapshot that seems to have been made later than this one; "" if there is none
	unread map[string]bool
	into   string   // NAME.incomplete
	before string   // the last snapshot, "" if there is none
	same   bool     // messages can be linked from where they are
	fd     *os.File // into: see fileSyncMany
	copies []string // not yet synced
}

// transferSnapshots gives the names of the complete snapshots, the oldest first.
func transferSnapshots(dir string) (names []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.IsDir() && transferSnapshotName.MatchString(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// transferSnapshot gives the directory of a snapshot, "" for the last.
func transferSnapshot(dir, name string) (string, error) {
	names, err := transferSnapshots(dir)
	if err != nil {
		return "", err
	}
	if name == "" && len(names) > 0 {
		name = names[len(names)-1]
	}
	if !slices.Contains(names, name) {
		return "", fmt.Errorf("%s in %s: %w", name, dir, errTransferNoSnapshot)
	}
	return filepath.Join(dir, name), nil
}

// run makes a snapshot and gives its name.
func (b *transferBackup) run(ctx context.Context) (name string, err error) {
	if err := fileMakeAll(b.dir, 0o700); err != nil {
		return "", err
	}
	lock, err := maildirLockFile(filepath.Join(b.dir, "backup"))
	if err != nil {
		return "", fmt.Errorf("another backup is being made: %w", err)
	}
	defer lock.unlock()
	if err := b.clean(); err != nil {
		return "", err
	}
	names, err := transferSnapshots(b.dir)
	if err != nil {
		return "", err
	}
	if len(names) > 0 {
		b.before = filepath.Join(b.dir, names[len(names)-1])
	}
	name = b.now.UTC().Format("2006-01-02T15-04-05Z")
	for n := 2; slices.Contains(names, name); n++ { // two in a second
		name = fmt.Sprintf("%s-%d", b.now.UTC().Format("2006-01-02T15-04-05Z"), n)
	}
	if n := len(names); n > 0 && names[n-1][:20] > name[:20] { // the clock was ahead then, or is behind now
		b.later = names[n-1]
	}
	b.into = filepath.Join(b.dir, name+transferIncomplete)
	if err := b.fill(ctx); err != nil {
		return "", err
	}
	if err := fileRename(b.into, filepath.Join(b.dir, name)); err != nil {
		return "", err
	}
	if err := syncDir(b.dir); err != nil {
		return "", err
	}
	return name, b.forget(append(names, name))
}

// clean removes what interrupted runs have left.
func (b *transferBackup) clean() error {
	entries, err := os.ReadDir(b.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name, cut := strings.CutSuffix(e.Name(), transferIncomplete)
		if !cut {
			name, cut = strings.CutSuffix(name, transferRemoving)
		}
		if cut && transferSnapshotName.MatchString(name) {
			if err := os.RemoveAll(filepath.Join(b.dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// forget removes the oldest snapshots.
func (b *transferBackup) forget(names []string) error {
	for b.keep > 0 && len(names) > b.keep {
		away := filepath.Join(b.dir, names[0]+transferRemoving)
		if err := fileRename(filepath.Join(b.dir, names[0]), away); err != nil {
			return err
		}
		if err := os.RemoveAll(away); err != nil {
			return err
		}
		names = names[1:]
	}
	return nil
}

// fill is K1 and K2.
func (b *transferBackup) fill(ctx context.Context) error {
	if err := os.Mkdir(b.into, 0o700); err != nil {
		return err
	}
	var err error
	if b.fd, err = fileOpen(b.into); err != nil {
		return err
	}
	defer b.fd.Close()
	b.same, b.unread = true, map[string]bool{}
	users, err := transferUsers(b.mail)
	if err != nil {
		return err
	}
	if len(users) == 0 && b.before != "" { // else the good snapshots would go one by one, and empty ones come
		if before, err := transferUsers(filepath.Join(b.before, "mail")); err != nil || len(before) > 0 {
			return cmp.Or(err, fmt.Errorf("there is nobody's mail in %s, and some in %s\nhint: is its disk there? If it is right so, use another directory for the backup", b.mail, b.before))
		}
	}
	for _, user := range users {
		if err := b.user(ctx, user); err != nil {
			return fmt.Errorf("mail of %s: %w", user, err)
		}
	}
	for name, path := range b.files {
		if err := b.copyFile(path, filepath.Join(b.into, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := b.syncCopies(); err != nil {
		return err
	}
	return filepath.WalkDir(b.into, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			err = syncDir(path)
		}
		return err
	})
}

// transferUsers gives who has mail in a directory.
func transferUsers(mail string) (users []string, err error) {
	entries, err := os.ReadDir(mail)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		if info, err := os.Stat(filepath.Join(mail, e.Name(), "cur")); !strings.HasPrefix(e.Name(), ".") && err == nil && info.IsDir() {
			users = append(users, e.Name())
		}
	}
	return users, nil
}

// user copies a user's folders, and those again that have changed since they were looked at.
func (b *transferBackup) user(ctx context.Context, user string) error {
	root, into := filepath.Join(b.mail, user), filepath.Join(b.into, "mail", user)
	before, last := b.counts.imported, map[string]int64{}
	for round := range transferRounds {
		begun := time.Now()
		times, err := maildirTimes(root)
		if err != nil {
			return err
		}
		var changed []string
		for _, d := range times {
			if folder := filepath.Dir(d.path); d.time != last[d.path] && !slices.Contains(changed, folder) {
				changed = append(changed, folder)
			}
			if last[d.path] = d.time; !mailboxSettled(time.Unix(0, d.time), begun) {
				last[d.path] = 0 // it may change without its time changing
			}
		}
		if len(changed) == 0 {
			break
		}
		for _, folder := range changed {
			b.counts.folder = user + " " + filepath.Base(folder)
			below, err := filepath.Rel(root, folder)
			if err != nil {
				return err
			}
			if err := b.folder(ctx, &maildir{path: folder}, filepath.Join(into, below), round == transferRounds-1); err != nil {
				return err
			}
		}
	}
	folders, err := maildirFolders(root)
	if err != nil {
		return err
	}
	for _, dir := range append([]string{""}, folders...) {
		err := b.sideFiles(filepath.Join(root, dir), filepath.Join(into, dir))
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // a folder deleted meanwhile
			return err
		}
	}
	if b.counts.imported > before {
		b.counts.folders = append(b.counts.folders, user)
	}
	return nil
}

// folder links or copies the messages that the snapshot does not have yet. held is for one that
// does not come to rest: no Letterbox and no Dovecot renames anything meanwhile.
func (b *transferBackup) folder(ctx context.Context, from *maildir, into string, held bool) error {
	for _, sub := range []string{"cur", "new", "tmp"} {
		if err := os.MkdirAll(filepath.Join(into, sub), 0o700); err != nil {
			return err
		}
	}
	if held {
		lock, err := from.lockUidlist()
		if _, gone := os.Stat(from.path); errors.Is(gone, fs.ErrNotExist) {
			return nil // deleted meanwhile
		} else if err != nil {
			return err
		}
		defer lock.unlock()
	}
	to, have := &maildir{path: into}, map[uint64]struct{}{}
	err := transferScan(to, func(name string, _ bool) {
		base, _, _, _ := maildirParse(name)
		have[mailboxBaseHash(base)] = struct{}{}
	})
	if err != nil {
		return err
	}
	var list []transferMaildirMessage
	err = transferScan(from, func(name string, cur bool) {
		base, _, _, _ := maildirParse(name)
		hash := mailboxBaseHash(base)
		if _, known := have[hash]; !known {
			have[hash] = struct{}{}
			list = append(list, transferMaildirMessage{name: strings.Clone(name), cur: cur})
		}
	})
	if err != nil {
		return err
	}
	old := &transferBefore{}
	if b.before != "" {
		if below, err := filepath.Rel(b.into, into); err == nil {
			old.md = &maildir{path: filepath.Join(b.before, below)}
		}
	}
	for _, m := range list {
		if err := ctx.Err(); err != nil {
			return err
		}
		var unreadable transferUnreadable
		switch err := b.message(from, to, old, m); {
		case errors.Is(err, fs.ErrNotExist):
			continue // renamed or gone: the next round tells
		case errors.As(err, &unreadable): // a bad spot of the disk must not keep all else from being saved
			if !b.unread[unreadable.path] {
				b.unread[unreadable.path] = true
				b.counts.failed++
				b.failed(unreadable.path, unreadable.error)
			}
			continue
		case err != nil:
			return err
		}
		b.counts.imported++
		b.tell(&b.counts)
	}
	return nil
}

// message brings one message into the snapshot.
func (b *transferBackup) message(from, to *maildir, old *transferBefore, m transferMaildirMessage) error {
	target := to.dir(m.cur) + m.name
	if b.same {
		err := fileLink(from.dir(m.cur)+m.name, target)
		if err == nil {
			b.counts.skipped++
			return nil
		} else if !maildirNoLink(err) {
			return err
		}
		b.same = !errors.Is(err, syscall.EXDEV)
	}
	if path := old.find(m); path != "" {
		err := fileLink(path, target)
		if err == nil {
			b.counts.skipped++
			return nil
		} else if !maildirNoLink(err) && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	size, err := transferCopyFile(from.dir(m.cur)+m.name, target)
	if err != nil {
		return err
	}
	b.counts.bytes += size
	return b.copied(target)
}

// copied notes a file that has to be synced.
func (b *transferBackup) copied(path string) error {
	if b.copies = append(b.copies, path); len(b.copies) < transferBatch {
		return nil
	}
	return b.syncCopies()
}

func (b *transferBackup) syncCopies() error {
	paths := b.copies
	b.copies = nil
	return fileSyncMany(b.fd, paths)
}

// transferBefore finds a message in the snapshot before.
type transferBefore struct {
	md    *maildir // nil: there is none
	names map[string]string
}

// find gives the path of a message's file, whatever its flags were; "" if it was not there.
func (o *transferBefore) find(m transferMaildirMessage) string {
	if o.md == nil {
		return ""
	}
	if path := o.md.dir(m.cur) + m.name; o.names == nil {
		if _, err := os.Lstat(path); err == nil {
			return path // most messages do not change
		}
		o.names = map[string]string{}
		err := transferScan(o.md, func(name string, cur bool) {
			base, _, _, _ := maildirParse(name)
			o.names[strings.Clone(base)] = o.md.dir(cur) + name
		})
		if err != nil {
			o.names = map[string]string{} // then it is copied
		}
	}
	base, _, _, _ := maildirParse(m.name)
	return o.names[base]
}

// transferLocked are the side files that are changed under a lock of their own.
func transferLocked(name string) bool {
	return name == maildirUidlistName || name == maildirKeywordsName || name == maildirSubscriptionsName || strings.HasPrefix(name, maildirMetadataName)
}

// sideFiles copies what lies beside a folder's messages.
func (b *transferBackup) sideFiles(from, into string) error {
	if err := os.MkdirAll(into, 0o700); err != nil {
		return err
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.Type().IsRegular() || !transferSideFile(e.Name()) {
			continue
		}
		err := b.sideFile(filepath.Join(from, e.Name()), filepath.Join(into, e.Name()))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (b *transferBackup) sideFile(from, into string) error {
	if transferLocked(filepath.Base(from)) {
		lock, err := maildirLockFile(from)
		if err != nil {
			return err
		}
		defer lock.unlock()
	}
	if filepath.Base(from) == maildirUidlistName {
		return b.uidlist(from, into)
	}
	return b.copyFile(from, into)
}

// transferUIDGap is how many UIDs may be given between a snapshot and the day on which it comes back. Mail programs know
// these messages: a UID must not come twice under one UIDVALIDITY (RFC 9051, section 2.3.1.1), or they would not fetch the new one.
const transferUIDGap = 1 << 20

// uidlist copies a list of UIDs that goes on above all that will have been given meanwhile.
func (b *transferBackup) uidlist(from, into string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	out, err := fileCreate(into, maildirFileMode)
	if err != nil {
		return err
	}
	_, err = fileWrite(out, maildirUidlistRaised(text, transferUIDGap))
	if closeErr := out.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	return b.copied(into)
}

// copyFile copies a small file with its date. It is its owner's alone: some hold secrets.
func (b *transferBackup) copyFile(from, into string) error {
	if err := os.MkdirAll(filepath.Dir(into), 0o700); err != nil {
		return err
	}
	if _, err := transferCopyFile(from, into); err != nil {
		return err
	}
	return b.copied(into)
}
