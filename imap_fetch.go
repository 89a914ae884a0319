package main

import (
	"errors"
	"slices"

	"github.com/emersion/go-imap/v2"
)

// FETCH and UID FETCH (RFC 9051, sections 6.4.5 and 6.4.9).

func (s *imapSession) cmdFetch() error {
	if err := s.r.readSpace(); err != nil {
		return err
	}
	set, err := s.r.readSet()
	if err == nil {
		err = s.r.readSpace()
	}
	if err != nil {
		return err
	}
	items, err := s.r.readFetchItems(s.byUID() && !s.uidOnly)
	if err != nil {
		return err
	}
	modifiers, err := s.readFetchModifiers()
	if err == nil {
		err = s.r.readEnd()
	}
	if err != nil {
		return err
	}
	spans, err := s.selected.spans(set, s.byUID())
	if err != nil {
		return err
	}
	if modifiers.part.given() {
		if err := s.limitPart(modifiers.part); err != nil {
			return err
		}
		spans = spans.part(modifiers.part.of(spans.count()))
	}
	spans, s.lowest = s.limit(spans)
	if modifiers.changed {
		items.addPlain(imapFetchModSeq) // RFC 7162, section 3.1.4.1
		items.order()
	}
	if items.has(imapFetchModSeq) {
		s.useModSeqs()
	}
	if modifiers.vanished {
		if err := s.tellVanished(modifiers.since, set.vanishing(), 0); err != nil {
			return err
		}
	}
	s.tellKeywords()
	f := s.newFetch(items)
	f.changed, f.since = modifiers.changed, s.selected.view.since(modifiers.since)
	f.progress = s.begins(spans.count(), 1)
	if err := f.run(spans); err != nil {
		return s.r.fail(err)
	}
	switch {
	case f.err != nil:
		return f.err
	case f.cte:
		return imapNo{imap.ResponseCodeUnknownCTE, "a part is encoded in an unknown way"} // RFC 3516, section 4.3
	case f.gone && (!s.byUID() || items.reads()):
		return errMailboxExpunged // RFC 2180, section 4.1.2
	}
	return nil
}

// newFetch prepares to tell items of messages of the selected mailbox.
func (s *imapSession) newFetch(items *imapFetchItems) *imapFetch {
	return &imapFetch{c: s.c, view: s.selected.view, items: items, last: &s.selected.last, rev2: s.rev2, utf8: s.utf8,
		modSeqs: s.condstore, uidOnly: s.uidOnly, downwards: s.lowest > 0, during: s.during}
}

// has tells whether an item is among them.
func (items *imapFetchItems) has(kind imapFetchKind) bool {
	return slices.ContainsFunc(items.list, func(item imapFetchItem) bool { return item.kind == kind })
}

// reads tells whether items need more than what is in memory of a message.
func (items *imapFetchItems) reads() bool {
	for i := range items.list {
		if items.list[i].kind >= imapFetchEnvelope {
			return true
		}
	}
	return false
}

// imapFetchItem is one thing to be told of each message.
type imapFetchItem struct {
	kind    imapFetchKind
	label   string // what it is called in the answer, with a space behind it
	section imapSection
	partial *imapPartial
}

type imapFetchKind uint8

const (
	imapFetchUID imapFetchKind = iota
	imapFetchFlags
	imapFetchDate
	imapFetchSize
	imapFetchModSeq // RFC 7162, section 3.1.4.2
	imapFetchSaved  // RFC 8514, section 4.2
	imapFetchEmailID
	imapFetchEnvelope
	imapFetchThreadID
	imapFetchPreview       // RFC 8970
	imapFetchBody          // BODY without a section: the structure without extension data
	imapFetchBodyStructure // with it
	imapFetchSection
	imapFetchBinary
	imapFetchBinarySize
)

// imapFetchItems is all that one command asks for.
type imapFetchItems struct {
	list    []imapFetchItem
	seen    bool // reading sets \Seen
	size    bool // RFC822.SIZE is asked for
	summary bool // the store's summary is needed
	preview bool // and has to have the preview
	lazy    bool // a summary is wanted if it is known: PREVIEW (LAZY)
	whole   bool // whole messages are read
	files   bool // the files are read, even if summaries are known
}

// imapFetch is a FETCH under way. Answers are put together in out, which goes to
// the connection when it is full: no lock is held then.
type imapFetch struct {
	c     *conn
	view  *mailboxView
	items *imapFetchItems
	last  *imapTree
	rev2  bool // there is no \Recent (RFC 9051, appendix E)

	utf8 bool // it takes UTF-8 in quotes

	downwards bool // the last message is told first
	during    func(work func() error) error
	progress  *imapProgress // nil: nobody waits for long

	uidOnly bool // messages are told by UID
	modSeqs bool // the client knows of mod-sequences
	changed bool // only messages with a mod-sequence above since are told
	since   uint64

	out      []byte
	given    int // how often out was given to the connection
	scratch  []byte
	wire     []byte
	keywords []string
	bodies   [imapFetchAhead]imapBody
	known    mailboxSummaries
	uids     []uint32
	messages []mailboxMessage // of the batch at hand

	gone bool  // messages were gone
	cte  bool  // a part's encoding is not known
	err  error // the first other failure; later messages were told nevertheless
}

// Messages are taken in batches: one lock for the flags of each. While bodies are
// read, \Seen is set batch by batch, so those are small: a connection that breaks
// leaves few marked that were never sent.
const (
	imapFetchBatch     = 512
	imapFetchBatchSeen = 16
	imapFetchAhead     = 16 // messages that are read at once, on all cores
	imapFetchOut       = 32 << 10

	imapFetchBatchKnown = 128 // of a kilobyte each
)

// run tells of the messages at spans. The only errors it returns are those that
// end the connection; what befell single messages is in f.
func (f *imapFetch) run(spans imapSpans) error {
	most := imapFetchBatch
	switch {
	case f.items.seen:
		most = imapFetchBatchSeen
	case f.items.summary, f.items.lazy:
		most = imapFetchBatchKnown
	}
	if f.downwards {
		spans = slices.Clone(spans)
		slices.Reverse(spans)
	}
	told := 0
	for _, span := range spans {
		for span.from < span.to {
			n := min(most, span.to-span.from)
			from := span.from
			if f.downwards {
				from = span.to - n
				span.to = from
			} else {
				span.from += n
			}
			if err := f.batch(from, f.view.uids()[from:from+n]); err != nil {
				return err
			}
			if told += n; f.progress != nil {
				f.progress.done.Store(int64(told))
			}
		}
	}
	return f.give()
}

// batch tells of messages that follow each other; the first has the index at.
func (f *imapFetch) batch(at int, uids []uint32) error {
	f.messages = f.view.appendMessages(f.messages[:0], uids)
	messages := f.messages
	f.gone = f.gone || len(messages) < len(uids)
	if f.changed {
		messages = slices.DeleteFunc(messages, func(m mailboxMessage) bool { return m.modSeq <= f.since })
	}
	var marked []bool
	if f.items.seen && f.view.need(mailboxRightSeen) == nil { // RFC 4314, section 4
		marked = f.markSeen(messages)
	}
	f.keywords = f.view.keywords() // after the flags, which may have a keyword that is new
	var summaries []*messageSummary
	if f.items.summary || f.items.lazy {
		summaries = f.summaries(messages)
	}
	if f.items.size {
		f.sizes(messages)
	}
	if f.downwards {
		slices.Reverse(messages)
		slices.Reverse(summaries)
		slices.Reverse(marked)
	}
	first, all := at, uids
	for i := range messages {
		m := &messages[i]
		if f.downwards {
			at = first + imapUIDIndex(all, m.uid)
			uids = all[at-first:]
		}
		for uids[0] < m.uid { // every message is among uids
			uids, at = uids[1:], at+1
		}
		if i%imapFetchAhead == 0 {
			f.ahead(messages[i:], summaries)
			summaries = summaries[min(imapFetchAhead, len(summaries)):]
		}
		if err := f.row(at+1, m, &f.bodies[i%imapFetchAhead], marked != nil && marked[i]); err != nil {
			return err
		}
		if len(f.out) >= imapFetchOut {
			if err := f.give(); err != nil {
				return err
			}
		}
	}
	return nil
}

// ahead prepares the next messages to be told of, and opens them if their files are
// going to be read.
func (f *imapFetch) ahead(messages []mailboxMessage, summaries []*messageSummary) {
	messages = messages[:min(imapFetchAhead, len(messages))]
	for i := range messages {
		var summary *messageSummary
		if i < len(summaries) {
			summary = summaries[i]
		}
		f.bodies[i].reset(f.view, messages[i].uid, summary, f.last)
	}
	if f.items.files {
		imapParallel(len(messages), func(_, i int) {
			b := &f.bodies[i]
			if err := b.open(); err == nil && f.items.whole { // an error is met again
				b.toWire()
			}
		})
	}
}

// give hands what was put together to the connection.
func (f *imapFetch) give() error {
	_, err := f.c.Write(f.out)
	f.out = f.out[:0]
	f.given++
	if f.progress != nil { // what comes tells that it goes on
		f.progress.delay()
	}
	return err
}

// markSeen sets \Seen where it is not set, and tells where it did. A message that
// cannot be marked is still shown.
func (f *imapFetch) markSeen(messages []mailboxMessage) (marked []bool) {
	var unseen []uint32
	for i := range messages {
		if messages[i].flags&mailboxFlagSeen == 0 {
			unseen = append(unseen, messages[i].uid)
		}
	}
	if len(unseen) == 0 {
		return nil
	}
	if _, err := f.view.store(unseen, mailboxAdd, mailboxFlagSeen, true, 0); err != nil {
		f.fail(err)
		return nil
	}
	// What is told now is what there is now, since others may have changed it: flags and mod-sequence belong together.
	marked = make([]bool, len(messages))
	i := 0
	for _, m := range f.view.messages(unseen) {
		for messages[i].uid < m.uid {
			i++
		}
		messages[i].flags, messages[i].modSeq, marked[i] = m.flags, m.modSeq, true
	}
	return marked
}

// summaries gives the summaries of messages, nil where there is none to be had.
// Files that have to be read are read on all cores.
func (f *imapFetch) summaries(messages []mailboxMessage) []*messageSummary {
	f.uids = f.uids[:0]
	for i := range messages {
		f.uids = append(f.uids, messages[i].uid)
	}
	list := f.view.knownSummaries(f.uids, &f.known)
	var missing []int
	for i := range list {
		if f.items.summary && (list[i] == nil || f.items.preview && !list[i].previewed) {
			missing = append(missing, i)
		}
	}
	if len(missing) == 0 {
		return list
	}
	errs := make([]error, len(missing))
	read := func() error {
		imapParallel(len(missing), func(_, n int) {
			i := missing[n]
			var s *messageSummary
			if s, errs[n] = f.view.readSummary(messages[i].uid); s != nil { // else what is known is still right
				list[i] = s
			}
			if f.progress != nil {
				f.progress.done.Add(1)
			}
		})
		return nil
	}
	if f.progress != nil {
		f.during(read)
	} else {
		read()
	}
	for _, err := range errs {
		f.fail(err)
	}
	return list
}

// sizes finds out the sizes that file names do not tell, which takes reading the files.
func (f *imapFetch) sizes(messages []mailboxMessage) {
	var missing []*mailboxMessage
	for i := range messages {
		if messages[i].size < 0 {
			missing = append(missing, &messages[i])
		}
	}
	imapParallel(len(missing), func(_, i int) {
		if size, err := f.view.size(missing[i].uid); err == nil { // an error is met again
			missing[i].size = size
		}
	})
}

// errImapNoSummary says that a summary could not be made, and why was noted when
// that was tried.
var errImapNoSummary = errors.New("no summary")

// fail notes what kept a message from being told whole.
func (f *imapFetch) fail(err error) {
	switch {
	case err == nil, err == errImapNoSummary:
	case errors.Is(err, errMailboxExpunged), errors.Is(err, errMailboxGone):
		f.gone = true
	case errors.Is(err, errImapUnknownCTE):
		f.cte = true
	case f.err == nil:
		f.err = err
	}
}
