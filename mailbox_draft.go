package main

import (
	"fmt"
	"io"
	"runtime/debug"
	"time"
)

// mailboxDraft is a message on its way into a folder, states D1 to D5 (see
// maildir_deliver.go). One goroutine uses it. deliver or append end it, or abort.
type mailboxDraft struct {
	mb    *mailbox
	draft *maildirDraft
	date  time.Time
	known *mailboxKnown    // nil if it could not be found out
	by    *mailboxListener // of the session that appends it, if it listens

	without mailboxFlags // flags that it may not have
}

// mailboxKnown is what is found out of a message while it comes in.
type mailboxKnown struct {
	summary *messageSummary
	words   []byte // its signature
}

// mailboxKnow reads a message. It runs where a panic would end the process, and the message is anybody's.
func mailboxKnow(r io.ReaderAt, size int64) (known *mailboxKnown, err error) {
	defer func() {
		if p := recover(); p != nil {
			known, err = nil, fmt.Errorf("reading a message: %v\n%s", p, debug.Stack())
		}
	}()
	s, root, err := messageSummarizeTree(io.NewSectionReader(r, 0, size))
	if err == nil {
		err = mailboxPreview(r, root, s)
	}
	if err != nil {
		return nil, err
	}
	words, err := messageSign(r, root)
	return &mailboxKnown{s, words}, err
}

// draft begins a message (D1). errMailboxNotFound if there is no such folder.
func (t *mailboxTree) draft(name string) (*mailboxDraft, error) {
	mb, err := t.mailbox(name)
	if err != nil {
		return nil, err
	}
	d, err := mb.md.draft()
	if err != nil {
		return nil, mb.failed(err)
	}
	return &mailboxDraft{mb: mb, draft: d}, nil
}

// Write adds to the message (D2). errMailboxFull when the disk is.
func (d *mailboxDraft) Write(p []byte) (int, error) {
	n, err := d.draft.Write(p)
	return n, mailboxError(err)
}

// size is the number of bytes written so far.
func (d *mailboxDraft) size() int64 { return d.draft.disk }

// reader gives what was written so far.
func (d *mailboxDraft) reader() (io.ReaderAt, error) { return d.draft.reader() }

// finish ends writing (D3): the file has its date and is synced. While the disk is at it, the
// message is read for the index.
func (d *mailboxDraft) finish(date time.Time) error {
	d.date = date
	r, err := d.draft.reader()
	if err != nil {
		return d.mb.failed(err)
	}
	size, done := d.size(), make(chan *mailboxKnown, 1)
	go func() {
		known, err := mailboxKnow(r, size)
		if err != nil {
			known = nil // who reads the message later meets the error again
		}
		done <- known
	}()
	err = d.draft.sync(date, func() { d.known = <-done })
	return d.mb.failed(err)
}

// settle is finish without the sync, which a mailboxBatch does for many.
func (d *mailboxDraft) settle(date time.Time) error {
	d.date = date
	r, err := d.draft.reader()
	if err == nil {
		if d.known, err = mailboxKnow(r, d.size()); err != nil {
			d.known = nil // who reads the message later meets the error again
		}
		err = d.draft.settle(date)
	}
	return d.mb.failed(err)
}

// linkTo gives another folder (of any user) the same finished message, at D3.
func (d *mailboxDraft) linkTo(t *mailboxTree, name string) (*mailboxDraft, error) {
	mb, err := t.mailbox(name)
	if err != nil {
		return nil, err
	}
	linked, err := d.draft.linkTo(mb.md)
	if err != nil {
		return nil, mb.failed(err)
	}
	return &mailboxDraft{mb: mb, draft: linked, date: d.date, known: d.known}, nil
}

// room tells by errMailboxQuota that its user may not have so much more.
func (d *mailboxDraft) room(bytes, messages int64) error { return d.mb.tree.room(bytes, messages) }

// abort gives the message up; nothing of it is left.
func (d *mailboxDraft) abort() { d.draft.abort() }

// mailboxDeliver brings finished drafts to new/ (D4) and makes that durable (D5);
// sessions are woken. One error a draft, nil where it is delivered. A failed one is
// gone without a trace, unless only the last sync failed: then it may be there.
func mailboxDeliver(drafts []*mailboxDraft) []error {
	errs := make([]error, len(drafts))
	sums, done := map[*mailboxTree]mailboxQuota{}, map[*mailboxTree]func(bytes, messages int64){}
	for _, d := range drafts {
		if t := d.mb.tree; done[t] == nil {
			done[t] = t.changing()
		}
	}
	for i, d := range drafts {
		if d.known != nil { // before the file is seen
			d.mb.arrives(d.draft.sizedBase(), d.date, d.known)
		}
		if _, err := d.draft.deliver(false, 0); err != nil {
			d.abort()
			errs[i] = mailboxError(err)
			continue
		}
		sum := sums[d.mb.tree]
		sums[d.mb.tree] = mailboxQuota{sum.bytes + d.size(), sum.messages + 1}
	}
	for t, done := range done {
		done(sums[t].bytes, sums[t].messages)
	}
	synced := map[*mailbox]error{}
	for i, d := range drafts {
		if errs[i] != nil {
			continue
		}
		err, done := synced[d.mb]
		if !done {
			err = mailboxError(d.mb.md.syncDirs(true, false))
			synced[d.mb] = err
			d.mb.poke(0)
		}
		errs[i] = err
	}
	return errs
}

// mailboxAppendFlags are the flags that a message is appended with.
type mailboxAppendFlags struct {
	flags    mailboxFlags // system flags and $Forwarded
	keywords []string
}

// mailboxAppend brings finished drafts, all for one folder, in with flags and
// keywords, all or none, durably, and gives their UIDs. The drafts are used up.
func mailboxAppend(drafts []*mailboxDraft, flags []mailboxAppendFlags) (uidValidity uint32, uids []uint32, err error) {
	mb := drafts[0].mb
	mb.st.hold(mb)
	defer mb.st.release(mb)
	err = mb.lockedBy(nil, drafts[0].by, func() error {
		bits := make([]mailboxFlags, len(drafts))
		for i, f := range flags {
			without := drafts[i].without
			keywords, err := mb.keywordFlags(f.keywords, without&mailboxFlagFlagged == 0) // the same right
			if err != nil {
				return err
			}
			bits[i] = (f.flags | keywords) &^ without
		}
		return mb.arrive(func(a *mailboxArrival) error {
			for i, d := range drafts {
				if err := a.deliver(d, bits[i]); err != nil {
					return err
				}
			}
			return nil
		}, func(a *mailboxArrival) error {
			uidValidity = mb.list.validity
			for _, line := range a.lines {
				uids = append(uids, line.uid)
			}
			return nil
		})
	})
	if err != nil {
		for _, d := range drafts {
			d.abort()
		}
	}
	return uidValidity, uids, err
}

// deliver adds a draft: to new/, so that it is recent for the next session, or with
// flags to cur/.
func (a *mailboxArrival) deliver(d *mailboxDraft, flags mailboxFlags) error {
	bits := a.mb.fileFlags(flags)
	name, err := d.draft.deliver(bits != 0, bits)
	if err != nil {
		return err
	}
	base, _, _, _ := maildirParse(name)
	a.put(mailboxFile{name, bits != 0}, base, mailboxArrivalKnown{date: max(0, d.date.Unix()), known: d.known})
	return nil
}
