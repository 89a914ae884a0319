package main

import (
	"errors"
	"io"
	"sync"
)

// What is dear to compute of a message is kept, so that a client that lists a folder
// again does not have every file read again: in letterbox.index.text, or, where that cannot be
// written, in memory, within a budget shared by all mailboxes.

// mailboxSummaryBudget keeps account of the summaries in all mailboxes.
type mailboxSummaryBudget struct {
	mu    sync.Mutex // guards all below and every mailbox's summaries
	bytes int
	most  int
}

// limit sets the budget, in bytes.
func (b *mailboxSummaryBudget) limit(bytes int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.most = int(min(bytes, 24<<20))
}

// mailboxSummaryCost is about what a summary takes in memory.
func mailboxSummaryCost(s *messageSummary) int {
	return 200 + len(s.envelope) + len(s.bodyStructure) + len(s.header) + len(s.preview)
}

func (b *mailboxSummaryBudget) get(mb *mailbox, uid uint32) *messageSummary {
	b.mu.Lock()
	defer b.mu.Unlock()
	return mb.summaries[uid]
}

// put keeps a summary. When the budget is used up, the mailbox forgets those
// that it has: a client that goes through more than fits gains nothing by any choice.
func (b *mailboxSummaryBudget) put(mb *mailbox, uid uint32, s *messageSummary) {
	b.mu.Lock()
	defer b.mu.Unlock()
	cost := mailboxSummaryCost(s)
	if b.bytes+cost > b.most {
		b.forget(mb)
	}
	if b.bytes+cost > b.most || mb.summaries[uid] != nil {
		return
	}
	if mb.summaries == nil {
		mb.summaries = map[uint32]*messageSummary{}
	}
	mb.summaries[uid] = s
	b.bytes += cost
}

func (b *mailboxSummaryBudget) drop(mb *mailbox, uid uint32) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := mb.summaries[uid]; s != nil {
		b.bytes -= mailboxSummaryCost(s)
		delete(mb.summaries, uid)
	}
}

func (b *mailboxSummaryBudget) dropAll(mb *mailbox) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.forget(mb)
}

func (b *mailboxSummaryBudget) forget(mb *mailbox) {
	for _, s := range mb.summaries {
		b.bytes -= mailboxSummaryCost(s)
	}
	mb.summaries = nil
}

// summary gives what the store keeps of a message's content, reading the file
// if need be. It is not to be changed. errMailboxExpunged if the message is gone.
func (v *mailboxView) summary(uid uint32) (*messageSummary, error) {
	if s := v.knownSummary(uid); s != nil {
		return s, nil
	}
	return v.readSummary(uid)
}

// readSummary is summary for a message of which none is kept, or one without its preview.
func (v *mailboxView) readSummary(uid uint32) (*messageSummary, error) {
	f, err := v.open(uid)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	s, root, err := messageSummarizeTree(f)
	if err == nil {
		err = mailboxPreview(f, root, s)
	}
	if err != nil {
		return nil, err
	}
	err = v.record(uid, func(r *mailboxRecord) error {
		if r.size < 0 {
			r.size = s.wireSize
			v.mb.touch(r)
		}
		v.mb.keepSummary(r, s)
		return nil
	})
	if errors.Is(err, errMailboxExpunged) || errors.Is(err, errMailboxGone) {
		err = nil // the file is open still: the answer is right
	}
	return s, err
}

// mailboxPreview adds a message's preview to its summary.
func mailboxPreview(r io.ReaderAt, root *messagePart, s *messageSummary) (err error) {
	s.preview, err = messagePreview(r, root)
	s.previewed = err == nil
	return err
}
