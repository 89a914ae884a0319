package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"
)

// The transfer room brings mail in from elsewhere and takes it out: import, export, backup,
// restore. It knows the formats that other programs keep mail in. It works on the files, as a
// second Letterbox beside the server would, and needs none.
//
//	transfer.go           messages from any source enter a user's folders
//	transfer_mbox.go      mbox files
//	transfer_maildir.go   Maildir and Maildir++, Dovecot's, Courier's and our own
//	transfer_tree.go      directories of mbox and .eml files
//	transfer_imap.go      another IMAP server
//	transfer_adopt.go     a whole Maildir++ becomes an empty account's, UIDs and all
//
// A message that a folder has already is not brought in again: one whose text is the same to the
// last byte, lines ended alike. So whatever ends an import, the same command goes on with it.
//
//	read --known--> skipped
//	  \--new--> in tmp/ --commit, some hundred together--> in the folder, on the disk

// transferMessage is one message of a source, which may reuse all of it.
type transferMessage struct {
	folder   string // clean, as the source has it: "INBOX", "Archive/2026"
	date     time.Time
	flags    mailboxFlags
	keywords []string
	text     io.Reader
}

// transferSource is where mail comes from.
type transferSource interface {
	// each calls take for every message. What cannot be read goes to failed, and the
	// rest goes on.
	each(ctx context.Context, to *transferImport) error
	// committed is called when all that was taken so far is on the disk.
	committed() error
}

// transferCounts is what an import has done so far.
type transferCounts struct {
	imported, skipped, failed int
	bytes                     int64
	dropped                   int      // keywords for which a folder has no letter left
	folders                   []string // that something came into
	folder                    string   // where it is
	done, total               int64    // of the source, in units of its own
	kept                      bool     // UIDs were kept
	staged                    bool     // nothing is in the user's folders yet: see transfer_adopt.go
}

// transferJob is who mail goes to, and how.
type transferJob struct {
	st     *mailboxStore
	user   string
	stage  string // a directory for a whole account on its way in; on the store's file system
	into   string // a folder that all goes into, or below; "" for the folders of the source
	want   func(m *transferMessage) bool
	link   bool // a Maildir's messages need not be copied
	limit  int  // messages that become durable together, 0: transferBatch
	tell   func(c *transferCounts)
	failed func(what string, err error)
}

// run brings all of a source in. What was done before an error stays, and is not done again by the next run.
func (j *transferJob) run(ctx context.Context, source transferSource) (*transferCounts, error) {
	if err := fileMakeAll(filepath.Dir(j.stage), maildirDirMode); err != nil {
		return &transferCounts{}, err
	}
	if j.limit == 0 {
		j.limit = transferBatch
	}
	lock, err := maildirLockFile(j.stage) // of two that do the same at once, each would bring in all
	if err != nil {
		return &transferCounts{}, fmt.Errorf("something else brings in mail for %s: %w", j.user, err)
	}
	defer lock.unlock()
	root := filepath.Join(j.st.root, j.user)
	if err := transferRecover(root, j.stage); err != nil {
		return &transferCounts{}, fmt.Errorf("finishing what was interrupted: %w", err)
	}
	if maildirs, ok := source.(*transferMaildir); ok && maildirs.only == "" && j.into == "" && j.want == nil {
		folders, err := transferMaildirFolders(maildirs.root)
		if err != nil {
			return &transferCounts{}, err
		}
		if nobodys, err := transferIsNobodys(root); err != nil {
			return &transferCounts{}, err
		} else if nobodys && transferAllDiffer(folders) {
			return j.adopt(ctx, root, maildirs, folders)
		}
	}
	if _, err := os.Stat(filepath.Join(j.stage, transferStageMark)); err == nil { // of a whole account that was not finished, and cannot be any longer
		if err := os.RemoveAll(j.stage); err != nil {
			return &transferCounts{}, err
		}
	}
	tree, err := j.st.tree(j.user)
	if err != nil {
		return &transferCounts{}, err
	}
	im := &transferImport{tree: tree, into: j.into, tell: j.tell, failed: j.failed, want: j.want, limit: j.limit}
	return &im.counts, im.run(ctx, source)
}

func (j *transferJob) adopt(ctx context.Context, root string, source *transferMaildir, folders []transferMaildirFolder) (*transferCounts, error) {
	from, err := filepath.Abs(source.root)
	if err != nil {
		return &transferCounts{}, err
	}
	a := &transferAdoption{from: from, folders: folders, root: root, stage: j.stage, link: j.link, tell: j.tell, failed: j.failed, limit: j.limit}
	if err := a.run(ctx, j.st.limitsOf(j.user)); err != nil {
		return &a.counts, err
	}
	_, err = j.st.tree(j.user) // the folders that everybody has
	return &a.counts, err
}

// transferImport brings messages into a user's folders.
type transferImport struct {
	tree   *mailboxTree
	into   string                        // a folder that all goes into, or below; "" for the folders of the source
	tell   func(c *transferCounts)       // of progress
	failed func(what string, err error)  // of what could not be read
	want   func(m *transferMessage) bool // nil: all
	counts transferCounts
	source transferSource

	known *transferKnown // of the folder it is in
	batch *mailboxBatch
	buf   []byte
	limit int  // messages of a batch
	lost  bool // one did not become durable: the source must not hear that all is
}

const (
	transferBatch      = 500      // messages that become durable together
	transferBatchBytes = 32 << 20 // or fewer, if they are as large as that
	transferInMemory   = 1 << 20  // of a message; a larger one is written before it is known whether it is new
)

// run imports all of the source. What was committed before an error stays.
func (im *transferImport) run(ctx context.Context, source transferSource) (err error) {
	im.source, im.buf = source, make([]byte, transferInMemory)
	err = source.each(ctx, im)
	return errors.Join(err, im.leave())
}

// take brings one message in.
func (im *transferImport) take(ctx context.Context, m *transferMessage) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if im.want != nil && !im.want(m) {
		return nil
	}
	name := transferBelow(im.into, m.folder)
	if err := im.enter(name); err != nil {
		return fmt.Errorf("folder %s: %w", name, err)
	}
	isNew, err := im.put(m)
	var unreadable transferUnreadable
	switch {
	case errors.As(err, &unreadable):
		im.fail(unreadable.path, unreadable.error)
	case err != nil:
		return fmt.Errorf("folder %s: %w", name, err)
	case !isNew:
		im.counts.skipped++
	}
	if len(im.batch.drafts) >= im.limit || im.batch.bytes > transferBatchBytes {
		if err := im.commit(); err != nil {
			return fmt.Errorf("folder %s: %w", name, err)
		}
	}
	im.tell(&im.counts)
	return nil
}

// put makes a draft of a message, unless the folder has it.
func (im *transferImport) put(m *transferMessage) (isNew bool, err error) {
	n, err := io.ReadFull(m.text, im.buf)
	whole := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
	if err != nil && !whole {
		return false, err
	}
	head := im.buf[:n]
	if whole {
		id, err := transferIdentify(bytes.NewReader(head), int64(n))
		if err != nil {
			return false, err
		}
		if has, err := im.known.has(id); has || err != nil {
			return false, err
		}
	}
	if err := im.tree.room(im.batch.bytes+int64(n), int64(len(im.batch.drafts)+1)); err != nil {
		return false, err
	}
	d, err := im.batch.draft()
	if err != nil {
		return false, err
	}
	if isNew, err = im.write(d, m, head, whole); err != nil || !isNew {
		d.abort()
		return false, err
	}
	dropped, err := im.batch.add(d, mailboxAppendFlags{m.flags, m.keywords})
	im.counts.dropped += dropped
	return true, err
}

// write fills a draft; of a large message only now it is seen whether it is new.
func (im *transferImport) write(d *mailboxDraft, m *transferMessage, head []byte, whole bool) (isNew bool, err error) {
	if _, err := d.Write(head); err != nil {
		return false, err
	}
	if !whole {
		if _, err := io.Copy(d, m.text); err != nil {
			return false, err
		}
		r, err := d.reader()
		if err != nil {
			return false, err
		}
		id, err := transferIdentify(r, d.size())
		if err != nil {
			return false, err
		}
		if has, err := im.known.has(id); has || err != nil {
			return false, err
		}
		if err := im.tree.room(im.batch.bytes+d.size(), int64(len(im.batch.drafts)+1)); err != nil {
			return false, err
		}
	}
	return true, d.settle(m.date)
}

// enter makes name the folder that messages go to, and makes it if there is none.
func (im *transferImport) enter(name string) error {
	if im.batch != nil && im.counts.folder == name {
		return nil
	}
	if err := im.leave(); err != nil {
		return err
	}
	if err := im.make(name); err != nil {
		return err
	}
	view, err := im.tree.view(name, true, nil)
	if err != nil {
		return err
	}
	batch, err := im.tree.batch(name)
	if err != nil {
		view.close()
		return err
	}
	im.known, im.batch, im.counts.folder = newTransferKnown(view), batch, name
	return nil
}

// make makes a folder, if there is none of that name.
func (im *transferImport) make(name string) error {
	err := im.tree.create(name, "")
	if err == nil {
		err = im.tree.subscribe(name, true)
	}
	if errors.Is(err, errMailboxExists) {
		return nil
	}
	return err
}

// leave ends work in a folder.
func (im *transferImport) leave() error {
	if im.batch == nil {
		return nil
	}
	err := im.commit()
	im.batch.close()
	im.known.view.close()
	im.batch, im.known = nil, nil
	return err
}

// commit makes durable what was taken.
func (im *transferImport) commit() error {
	if im.lost {
		return nil
	}
	messages, bytes := len(im.batch.drafts), im.batch.bytes
	if err := im.batch.commit(); err != nil {
		im.lost = true
		return err
	}
	im.counts.imported += messages
	im.counts.bytes += bytes
	if messages > 0 && !slices.Contains(im.counts.folders, im.counts.folder) {
		im.counts.folders = append(im.counts.folders, im.counts.folder)
	}
	return im.source.committed()
}

// fail notes what could not be read.
func (im *transferImport) fail(what string, err error) {
	im.counts.failed++
	im.failed(what, err)
}

// transferUnreadable is a file that cannot be read. The others can.
type transferUnreadable struct {
	path string
	error
}

func (e transferUnreadable) Unwrap() error { return e.error }

// transferFile is a file's text.
type transferFile struct{ f *os.File } // and nothing else of it: io.Copy would go by WriteTo

func (f transferFile) Read(p []byte) (int, error) {
	n, err := f.f.Read(p)
	if err != nil && err != io.EOF {
		err = transferUnreadable{f.f.Name(), err}
	}
	return n, err
}

// transferID is what makes two messages the same: their size and a hash of their text, both in
// wire form.
type transferID struct {
	size int64
	hash [16]byte
}

func transferIdentify(r io.ReaderAt, size int64) (id transferID, err error) {
	hash := sha256.New()
	id.size, err = io.Copy(hash, messageWire(r, 0, size))
	copy(id.hash[:], hash.Sum(nil))
	return id, err
}

// transferKnown are the messages of a folder. Those that were there before are read only if one
// comes that has the same size.
type transferKnown struct {
	view   *mailboxView
	unread []transferSized // by size
	seen   map[transferID]struct{}
}

// transferSized is a message that was not read yet; uid is 0 once it was.
type transferSized struct {
	size int64
	uid  uint32
}

func newTransferKnown(view *mailboxView) *transferKnown {
	k := &transferKnown{view: view, seen: map[transferID]struct{}{}}
	for _, m := range view.messages(view.uids()) {
		size := m.size
		if size < 0 {
			var err error
			if size, err = view.size(m.uid); err != nil {
				continue // it is gone, or cannot be read; the one that comes is better
			}
		}
		k.unread = append(k.unread, transferSized{size, m.uid})
	}
	sort.Slice(k.unread, func(i, j int) bool { return k.unread[i].size < k.unread[j].size }) // a generic one takes 8 KiB of the program
	return k
}

// has tells whether the folder has this message, and notes it.
func (k *transferKnown) has(id transferID) (bool, error) {
	first := sort.Search(len(k.unread), func(i int) bool { return k.unread[i].size >= id.size })
	for i := first; i < len(k.unread) && k.unread[i].size == id.size; i++ {
		uid := k.unread[i].uid
		if uid == 0 {
			continue
		}
		k.unread[i].uid = 0
		old, err := k.read(uid)
		if errors.Is(err, errMailboxExpunged) || errors.Is(err, os.ErrPermission) || errors.Is(err, syscall.EIO) {
			continue // a broken one is none: the one that comes is better
		} else if err != nil {
			return false, err
		}
		k.seen[old] = struct{}{}
	}
	_, has := k.seen[id]
	k.seen[id] = struct{}{}
	return has, nil
}

func (k *transferKnown) read(uid uint32) (id transferID, err error) {
	f, err := k.view.open(uid)
	if err != nil {
		return id, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return id, err
	}
	return transferIdentify(f, info.Size())
}

// transferBelow is where a folder of the source goes: into is one for all of them, with INBOX as
// itself and the others below it.
func transferBelow(into, name string) string {
	switch {
	case into == "":
		return name
	case name == "INBOX":
		return into
	}
	below := into + "/" + name
	if _, err := mailboxCleanName(below); err != nil { // too long
		below = transferName(strings.Split(below, "/")...)
	}
	return below
}

// transferName makes parts of any name a clean one: what may not be in a folder's name is "_".
func transferName(parts ...string) string {
	clean := make([]string, 0, len(parts))
	for i, part := range parts {
		part = strings.Map(func(r rune) rune {
			if r == '/' || r == '.' || r == utf8.RuneError || unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || r == '~' && i == 0 {
				return '_'
			}
			return r
		}, strings.ToValidUTF8(part, "_"))
		for len(part) > 60 {
			_, size := utf8.DecodeLastRuneInString(part)
			part = part[:len(part)-size]
		}
		if part == "" {
			part = "_"
		}
		clean = append(clean, part)
	}
	for len(clean) > 1 && len(mailboxDir(strings.Join(clean, "/"))) > mailboxNameMost {
		last := len(clean) - 1
		clean[last-1] += "_" + clean[last] // too deep: the last levels become one
		clean = clean[:last]
		if len(clean[last-1]) > 60 {
			clean[last-1] = strings.ToValidUTF8(clean[last-1][:60], "")
		}
	}
	if name, err := mailboxCleanName(strings.Join(clean, "/")); err == nil {
		return name
	}
	return "INBOX"
}

// transferDate is when a message came in, as far as its header says: what the last server wrote,
// or else what its writer did. other if there is neither.
func transferDate(header []byte, other time.Time) time.Time {
	if received, ok := messageFieldOf(header, "Received"); ok {
		if i := bytes.LastIndexByte(received, ';'); i >= 0 {
			if t, ok := messageParseDate(string(received[i+1:])); ok && t.Unix() > 0 {
				return t
			}
		}
	}
	if date, ok := messageFieldOf(header, "Date"); ok {
		if t, ok := messageParseDate(string(date)); ok && t.Unix() > 0 {
			return t
		}
	}
	return other
}
