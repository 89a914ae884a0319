package main

import (
	"sync"
	"time"
)

// Signatures (message_words.go) are made of mail when it comes in. Of mail that was there
// before, they are made after the first search that had to read it: the search is answered
// first, and what comes then takes its time.

// mailboxSignRest is how long the signer rests, in times of what it has worked: a small
// processor is wanted for other things.
const mailboxSignRest = 9

// mailboxSigner makes signatures in a goroutine of its own, which is there only while there
// are some to be made.
type mailboxSigner struct {
	mu      sync.Mutex // guards all below
	todo    map[*mailbox][]uint32
	running bool
	closed  bool
}

// signLater has signatures made of messages that have none.
func (v *mailboxView) signLater(uids []uint32) {
	if len(uids) == 0 {
		return
	}
	s := &v.mb.st.signer
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.todo[v.mb] != nil {
		return // what is missing then is missed by the next search
	}
	if s.todo == nil {
		s.todo = map[*mailbox][]uint32{}
	}
	s.todo[v.mb] = uids
	v.mb.st.hold(v.mb)
	if !s.running {
		s.running = true
		go s.run()
	}
}

func (s *mailboxSigner) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
}

func (s *mailboxSigner) run() {
	for {
		mb, uids := s.next()
		if mb == nil {
			return
		}
		s.sign(mb, uids)
		s.mu.Lock()
		delete(s.todo, mb)
		s.mu.Unlock()
		mb.st.release(mb)
	}
}

func (s *mailboxSigner) next() (*mailbox, []uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for mb, uids := range s.todo {
		return mb, uids
	}
	s.running = false
	return nil, nil
}

// sign makes signatures of messages of one mailbox, in pieces.
func (s *mailboxSigner) sign(mb *mailbox, uids []uint32) {
	v := &mailboxView{mb: mb, only: true}
	mb.mu.Lock()
	v.epoch = mb.epoch
	mb.mu.Unlock()
	for begun := time.Now(); len(uids) > 0; uids = uids[1:] {
		if err := v.sign(uids[0]); err != nil {
			return // the mailbox is gone, or the disk is in trouble: a search will tell
		}
		if worked := time.Since(begun); worked > 5*time.Millisecond {
			s.mu.Lock()
			closed := s.closed
			s.mu.Unlock()
			if closed {
				return
			}
			time.Sleep(mailboxSignRest * worked)
			begun = time.Now()
		}
	}
}

// sign makes a message's signature if there is none, and the message is there.
func (v *mailboxView) sign(uid uint32) error {
	wanted := false
	err := v.peek(func() error {
		i := v.mb.find(uid)
		wanted = i >= 0 && v.mb.records[i].words == 0 && v.mb.index.file != nil
		return nil
	})
	if err != nil || !wanted {
		return err
	}
	f, err := v.open(uid)
	if err != nil {
		return mailboxIgnoreExpunged(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	root, err := messageParse(f, info.Size())
	if err != nil {
		return err
	}
	words, err := messageSign(f, root)
	if err != nil {
		return err
	}
	return mailboxIgnoreExpunged(v.record(uid, func(r *mailboxRecord) error {
		v.mb.keepWords(r, words)
		return nil
	}))
}

func mailboxIgnoreExpunged(err error) error {
	if err == errMailboxExpunged {
		return nil
	}
	return err
}
