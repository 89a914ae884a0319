package main

import (
	"errors"
	"slices"
)

// mailboxBatch brings many messages into one folder, some hundred at a time: those share the
// syncs, and each lot is in the folder whole or not at all. One goroutine uses it.
//
// What a crash leaves is what it leaves of one message: files in tmp/, which the sweep
// removes, or, in the moment of commit, some of a lot's messages, whole.
type mailboxBatch struct {
	mb     *mailbox
	lot    *maildirLot
	drafts []*mailboxDraft
	flags  []mailboxAppendFlags
	bytes  int64

	fits map[string]bool // keywords, whether the folder has a letter for them
}

// batch begins. errMailboxNotFound if there is no such folder.
func (t *mailboxTree) batch(name string) (*mailboxBatch, error) {
	mb, err := t.mailbox(name)
	if err != nil {
		return nil, err
	}
	lot, err := mb.md.lot()
	if err != nil {
		return nil, mb.failed(err)
	}
	t.st.hold(mb) // else it would be loaded anew for each lot
	return &mailboxBatch{mb: mb, lot: lot, fits: map[string]bool{}}, nil
}

// draft begins a message (D1).
func (b *mailboxBatch) draft() (*mailboxDraft, error) {
	d, err := b.mb.md.draft()
	if err != nil {
		return nil, b.mb.failed(err)
	}
	return &mailboxDraft{mb: b.mb, draft: d}, nil
}

// add takes over a message that is written: it has its date (mailboxDraft.settle). The keywords
// for which the folder has no letter left are left out, and counted.
func (b *mailboxBatch) add(d *mailboxDraft, flags mailboxAppendFlags) (dropped int, err error) {
	kept, err := b.keywordsThatFit(flags.keywords)
	if err != nil {
		d.abort()
		return 0, err
	}
	dropped = len(flags.keywords) - len(kept)
	flags.keywords = kept
	b.drafts, b.flags = append(b.drafts, d), append(b.flags, flags)
	b.bytes += d.size()
	return dropped, nil
}

func (b *mailboxBatch) keywordsThatFit(names []string) (kept []string, err error) {
	known := func(name string) bool { _, known := b.fits[name]; return known }
	if slices.IndexFunc(names, func(name string) bool { return !known(name) }) >= 0 {
		err := b.mb.locked(nil, func() error {
			for _, name := range names {
				_, err := b.mb.keywordBit(name, true)
				if err != nil && !errors.Is(err, errMaildirKeywordsFull) {
					return err
				}
				b.fits[name] = err == nil || mailboxSameKeyword(name, "$Forwarded")
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	for _, name := range names {
		if b.fits[name] {
			kept = append(kept, name)
		}
	}
	return kept, nil
}

// commit brings in what was added, durably (D3 to D5).
func (b *mailboxBatch) commit() error {
	if len(b.drafts) == 0 {
		return nil
	}
	drafts, flags := b.drafts, b.flags
	b.drafts, b.flags, b.bytes = nil, nil, 0
	files := make([]*maildirDraft, len(drafts))
	for i, d := range drafts {
		files[i] = d.draft
	}
	if err := b.lot.sync(files); err != nil {
		for _, d := range drafts {
			d.abort()
		}
		return b.mb.failed(err)
	}
	_, _, err := mailboxAppend(drafts, flags)
	return err
}

// close gives up what was not committed.
func (b *mailboxBatch) close() {
	for _, d := range b.drafts {
		d.abort()
	}
	b.drafts, b.flags = nil, nil
	b.lot.close()
	b.mb.st.release(b.mb)
}
