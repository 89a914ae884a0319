package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"
)

// The deliver room: whom an address means, and how an accepted envelope becomes
// messages in mailboxes. It knows no protocol.
//
// A delivery goes through these states (D1 to D5 are those of maildir_deliver.go):
//
//	begun      --Write--> in memory, or from deliverMemory bytes on in the first copy (D2)
//	committed: every recipient has a copy, written and synced (D3); then all of
//	           them are named (D4) and that is made durable (D5)
//	aborted:   nothing of it is left

var (
	errDeliverNotLocal = errors.New("not a domain of this box")
	errDeliverNoUser   = errors.New("no such user here")
	errDeliverFull     = errors.New("no room for the message")
	errDeliverQuota    = errors.New("the mailbox is full")
	errDeliverLoop     = errors.New("too many Received lines, so this mail goes round in circles")
)

// deliverSettings is what delivering needs to know.
type deliverSettings struct {
	hostname   string              // mail for it is ours, as that for localhost and that without a domain
	domains    []string            // mail for them is ours
	aliases    map[string][]string // "name", "name@domain", "*" or "*@domain" to users, aliases or addresses of ours
	userExists func(name string) bool
	users      func() ([]string, error) // the first gets postmaster's mail if no alias says otherwise
	store      *mailboxStore
	log        *slog.Logger
}

// deliverer brings mail to users. It is safe for concurrent use.
type deliverer struct {
	deliverSettings
	ours  map[string]bool // domains, as addressDomain has them
	names map[string][]string
}

// newDeliverer makes a deliverer; a reload makes a new one.
func newDeliverer(settings deliverSettings) *deliverer {
	d := &deliverer{deliverSettings: settings, ours: map[string]bool{}, names: map[string][]string{}}
	d.readDomains()
	d.readAliases()
	return d
}

// deliverMemory is how much of a message is kept in memory: nearly all messages are
// smaller, and reach their files in one write.
const deliverMemory = 32 << 10

// deliverBuffers hold that and a copy's trace.
var deliverBuffers = sync.Pool{New: func() any { b := make([]byte, 0, deliverMemory+2<<10); return &b }}

// deliverParallel is how many copies of one message are written at a time.
const deliverParallel = 8

// delivery is one message on its way to its recipients. One goroutine uses it;
// commit or abort ends it.
type delivery struct {
	d      *deliverer
	date   time.Time
	copies []*deliverCopy // one for each recipient
	head   deliverHead

	memory *[]byte      // the message, or its last part that is not in first
	first  *deliverCopy // whose file the message goes into; nil while memory holds all
	size   int64
	err    error // the message cannot be stored for anybody
}

// deliverCopy is one recipient's file, and the links to it for an alias' other users.
type deliverCopy struct {
	rcpt   *deliverRecipient
	trace  []byte
	drafts []*mailboxDraft // the first is the file
	err    error
}

// begin starts a message for recipients, of which there is at least one.
func (d *deliverer) begin(trace deliverTrace, rcpts []*deliverRecipient) *delivery {
	m := &delivery{d: d, date: trace.date, memory: deliverBuffers.Get().(*[]byte)}
	*m.memory = (*m.memory)[:0]
	for _, rcpt := range rcpts {
		m.copies = append(m.copies, &deliverCopy{rcpt: rcpt, trace: trace.header(rcpt.address, len(rcpts) == 1)})
	}
	return m
}

// Write adds to the message. Its errors are kept for commit, since the client must
// be listened to until the end anyway.
func (m *delivery) Write(p []byte) (int, error) {
	m.size += int64(len(p))
	m.head.scan(p)
	for rest := p; len(rest) > 0 && m.err == nil; {
		if len(*m.memory) == deliverMemory {
			m.spill()
			continue
		}
		n := min(len(rest), deliverMemory-len(*m.memory))
		*m.memory = append(*m.memory, rest[:n]...)
		rest = rest[n:]
	}
	return len(p), nil
}

// spill writes what is in memory to the first copy. If that fails, the next
// recipient's copy takes its place: the recipients' files need not lie on one disk,
// and LMTP answers for each.
func (m *delivery) spill() {
	var failed *deliverCopy
	for m.err == nil {
		if m.first == nil && !m.chooseFirst(failed) {
			m.err = m.firstError()
			break
		}
		if failed != nil {
			failed.abort()
			failed = nil
		}
		n, err := m.first.drafts[0].Write(*m.memory)
		*m.memory = append((*m.memory)[:0], (*m.memory)[n:]...)
		if err == nil {
			return
		}
		failed, m.first = m.first, nil
		failed.err = deliverError(fmt.Errorf("delivering to %s: %w", failed.rcpt.address, err))
	}
	if failed != nil {
		failed.abort()
	}
}

// chooseFirst opens the file of the first recipient that has no error yet, and
// copies into it what a failed one has so far.
func (m *delivery) chooseFirst(failed *deliverCopy) bool {
	for _, c := range m.copies {
		if c.err != nil {
			continue
		}
		if c.err = c.begin(m.d); c.err == nil {
			c.err = c.write(c.trace)
		}
		if c.err == nil && failed != nil {
			c.err = c.copyFrom(failed)
		}
		if c.err == nil {
			m.first = c
			return true
		}
		c.abort()
	}
	return false
}

func (m *delivery) firstError() error {
	for _, c := range m.copies {
		if c.err != nil {
			return c.err
		}
	}
	return nil
}

// commit brings the message to its recipients and tells how that went for each of
// them, nil for those whose message is durable. Unless each may fail alone, either all
// get it or none, up to D4; where only a later step fails, the others have it.
// errDeliverLoop, errDeliverFull and errDeliverQuota are for the client's ears, others ours.
func (m *delivery) commit(eachAlone bool) []error {
	defer m.release()
	if m.head.received > deliverMaxReceived {
		m.err = errDeliverLoop
	}
	if m.err == nil && m.first != nil {
		m.spill()
	}
	if m.err == nil {
		m.store()
		m.checkRoom()
	}
	if m.err == nil && !eachAlone {
		m.err = m.firstError()
	}
	errs := make([]error, len(m.copies))
	var drafts []*mailboxDraft
	var owner []int
	for i, c := range m.copies {
		if errs[i] = c.err; m.err != nil {
			errs[i] = m.err
		}
		if errs[i] != nil {
			c.abort()
			continue
		}
		for _, draft := range c.drafts {
			drafts, owner = append(drafts, draft), append(owner, i)
		}
	}
	if len(drafts) > 0 {
		for i, err := range mailboxDeliver(drafts) {
			if to := owner[i]; err != nil && errs[to] == nil {
				errs[to] = deliverError(fmt.Errorf("delivering to %s: %w", m.copies[to].rcpt.address, err))
			}
		}
	}
	return errs
}

// store brings every copy to D3.
func (m *delivery) store() {
	turn := make(chan struct{}, deliverParallel)
	var done sync.WaitGroup
	for i, c := range m.copies {
		if c.err != nil || c == m.first {
			continue
		}
		if i == len(m.copies)-1 { // nearly always the only one
			c.err = m.storeCopy(c)
			continue
		}
		turn <- struct{}{}
		done.Go(func() {
			c.err = m.storeCopy(c)
			<-turn
		})
	}
	done.Wait()
	if m.first != nil {
		m.first.err = m.first.finish(m.d, m.date) // the others have read it
	}
}

// checkRoom finds recipients who may not have so much mail: before D4, so nothing of it is left. For
// an alias, all its users must have room.
func (m *delivery) checkRoom() {
	var drafts []*mailboxDraft
	var owner []*deliverCopy
	for _, c := range m.copies {
		if c.err != nil {
			continue
		}
		for _, draft := range c.drafts {
			drafts, owner = append(drafts, draft), append(owner, c)
		}
	}
	for i, err := range mailboxRoom(drafts) {
		if err != nil && owner[i].err == nil {
			owner[i].err = deliverError(fmt.Errorf("delivering to %s: %w", owner[i].rcpt.address, err))
		}
	}
}

// room tells by errDeliverQuota that a recipient may not have so much more mail. size is 0
// where it is not known.
func (d *deliverer) room(rcpt *deliverRecipient, size int64) error {
	for _, box := range rcpt.boxes {
		tree, err := d.store.tree(box.user)
		if err == nil {
			err = tree.room(max(size, 1), 1)
		}
		if errors.Is(err, errMailboxQuota) {
			return deliverError(err)
		}
		// Another trouble is told when the message is there, if it is still one then.
	}
	return nil
}

func (m *delivery) storeCopy(c *deliverCopy) error {
	if err := c.begin(m.d); err != nil {
		return err
	}
	if m.first == nil {
		whole := deliverBuffers.Get().(*[]byte)
		*whole = append(append((*whole)[:0], c.trace...), *m.memory...)
		err := c.write(*whole)
		deliverBuffers.Put(whole)
		if err != nil {
			return err
		}
	} else if err := c.write(c.trace); err != nil {
		return err
	} else if err := c.copyFrom(m.first); err != nil {
		return err
	}
	return c.finish(m.d, m.date)
}

// abort gives the message up; nothing of it is left.
func (m *delivery) abort() {
	for _, c := range m.copies {
		c.abort()
	}
	m.release()
}

func (m *delivery) release() {
	if m.memory != nil {
		deliverBuffers.Put(m.memory)
		m.memory = nil
	}
}

// begin opens the file.
func (c *deliverCopy) begin(d *deliverer) error {
	draft, err := d.draft(c.rcpt.boxes[0], func(tree *mailboxTree, folder string) (*mailboxDraft, error) {
		return tree.draft(folder)
	})
	if err == nil {
		c.drafts = []*mailboxDraft{draft}
	}
	return err
}

func (c *deliverCopy) write(p []byte) error {
	_, err := c.drafts[0].Write(p)
	return deliverError(err)
}

// copyFrom adds the message, as far as another copy has it.
func (c *deliverCopy) copyFrom(other *deliverCopy) error {
	file := other.drafts[0]
	body, err := file.reader()
	if err != nil {
		return fmt.Errorf("reading again what was delivered: %w", err)
	}
	start := int64(len(other.trace))
	size := file.size() - start
	n, err := io.Copy(c.drafts[0], io.NewSectionReader(body, start, size))
	if err == nil && n < size {
		err = io.ErrUnexpectedEOF
	}
	return deliverError(err)
}

// finish brings the file to D3 and links it for the other users of an alias.
func (c *deliverCopy) finish(d *deliverer, date time.Time) error {
	file := c.drafts[0]
	if err := file.finish(date); err != nil {
		return deliverError(err)
	}
	for _, box := range c.rcpt.boxes[1:] {
		linked, err := d.draft(box, file.linkTo)
		if err != nil {
			return err
		}
		c.drafts = append(c.drafts, linked)
	}
	return nil
}

func (c *deliverCopy) abort() {
	for _, draft := range c.drafts {
		draft.abort()
	}
	c.drafts = nil
}

// draft begins a message in a box: in the folder that the address asks for, if there is
// one, else in INBOX.
func (d *deliverer) draft(box deliverBox, open func(*mailboxTree, string) (*mailboxDraft, error)) (*mailboxDraft, error) {
	tree, err := d.store.tree(box.user)
	if err != nil {
		return nil, deliverError(err)
	}
	folder := deliverFolder(tree, box.detail)
	draft, err := open(tree, folder)
	if errors.Is(err, errMailboxNotFound) && folder != deliverInbox { // deleted since
		draft, err = open(tree, deliverInbox)
	}
	if err != nil {
		return nil, deliverError(fmt.Errorf("delivering to %s: %w", box.user, err))
	}
	return draft, nil
}

// deliverError turns what the mailbox room says into this room's own errors.
func deliverError(err error) error {
	if errors.Is(err, errMailboxQuota) {
		return fmt.Errorf("%w: %w", errDeliverQuota, err)
	}
	if errors.Is(err, errMailboxFull) {
		return fmt.Errorf("%w: %w", errDeliverFull, err)
	}
	return err
}
