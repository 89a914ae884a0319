package main

import (
	"encoding/binary"
	"slices"
	"sync"
	"time"
)

// The texts of letterbox.index.text: what messageSummarize finds out by reading a message.
// An entry is
//
//	hash of the base name, 8 bytes; 1 if the message has a NUL, 2 if it ends in its header,
//	4 if it has a date of its own, 8 if its preview is known; size in wire form; size of the
//	header; that date; its zone; ENVELOPE; BODYSTRUCTURE; the usual header fields; the preview,
//	if it is known
//
// in varints, the texts with their lengths before them. What follows is a later
// version's and is passed over. Entries of earlier versions have no preview. An entry of letterbox.index.words is the hash and what
// messageSign finds out, which may be nothing.

const (
	mailboxTextNUL byte = 1 << iota
	mailboxTextHeaderOnly
	mailboxTextSent
	mailboxTextPreview
)

func mailboxAppendText(dst []byte, hash uint64, s *messageSummary) []byte {
	dst = slices.Grow(dst, 64+len(s.envelope)+len(s.bodyStructure)+len(s.header)+len(s.preview))
	dst = binary.LittleEndian.AppendUint64(dst, hash)
	has := byte(0)
	if s.hasNUL {
		has |= mailboxTextNUL
	}
	if s.headerOnly {
		has |= mailboxTextHeaderOnly
	}
	sent := int64(0)
	if !s.sent.IsZero() {
		has |= mailboxTextSent
		sent = s.sent.Unix()
	}
	texts := [][]byte{s.envelope, s.bodyStructure, s.header}
	if s.previewed {
		has |= mailboxTextPreview
		texts = append(texts, s.preview)
	}
	dst = append(dst, has)
	dst = binary.AppendUvarint(dst, uint64(s.wireSize))
	dst = binary.AppendUvarint(dst, uint64(s.headerSize))
	dst = binary.AppendVarint(dst, sent)
	dst = binary.AppendVarint(dst, int64(s.sentZone))
	for _, text := range texts {
		dst = binary.AppendUvarint(dst, uint64(len(text)))
		dst = append(dst, text...)
	}
	return dst
}

// mailboxReadText fills s from an entry, whose memory it shares; false if the entry is not
// that of this message.
func mailboxReadText(payload []byte, hash uint64, s *messageSummary) bool {
	r := &mailboxIndexReader{b: payload}
	if r.uint64() != hash {
		return false
	}
	has := r.byte()
	s.hasNUL, s.headerOnly = has&mailboxTextNUL != 0, has&mailboxTextHeaderOnly != 0
	s.wireSize, s.headerSize = int64(r.uvarint()), int64(r.uvarint())
	sent := r.varint()
	s.sentZone = int(r.varint())
	s.sent = time.Time{}
	if has&mailboxTextSent != 0 {
		s.sent = time.Unix(sent, 0).UTC()
	}
	s.envelope, s.bodyStructure, s.header = r.bytes(), r.bytes(), r.bytes()
	s.preview = nil
	if s.previewed = has&mailboxTextPreview != 0; s.previewed {
		s.preview = r.bytes()
	}
	return !r.bad
}

// mailboxSummaries is what knownSummaries works with. Its memory is used again.
type mailboxSummaries struct {
	texts  maildirEntryReader
	words  [][]byte
	places []mailboxTextPlace
	store  []messageSummary
	list   []*messageSummary
}

type mailboxTextPlace struct {
	place uint32
	hash  uint64
}

// knownSummaries is knownSummary for many messages (uids ascending): nil where none is
// kept. What it gives is valid until s is used again.
func (v *mailboxView) knownSummaries(uids []uint32, s *mailboxSummaries) []*messageSummary {
	if cap(s.store) < len(uids) {
		s.store = make([]messageSummary, len(uids))
		s.list = make([]*messageSummary, len(uids))
	}
	s.store, s.list = s.store[:len(uids)], s.list[:len(uids)]
	clear(s.list)
	v.peek(func() error {
		if v.mb.index.file == nil {
			for i, uid := range uids {
				s.list[i] = v.mb.st.summary.get(v.mb, uid)
			}
		}
		return nil
	})
	v.places(uids, s, maildirIndexText)
	for i, p := range s.places {
		if p.place == 0 {
			continue
		}
		if payload := s.texts.entry(p.place); payload != nil && mailboxReadText(payload, p.hash, &s.store[i]) {
			s.list[i] = &s.store[i]
		}
	}
	return s.list
}

// knownWords gives the signatures of messages (uids ascending), nil where none is known; one
// that is not nil but empty says that the message has none. What it gives is valid until s is
// used again.
func (v *mailboxView) knownWords(uids []uint32, s *mailboxSummaries) [][]byte {
	if cap(s.words) < len(uids) {
		s.words = make([][]byte, len(uids))
	}
	s.words = s.words[:len(uids)]
	clear(s.words)
	v.places(uids, s, maildirIndexWords)
	for i, p := range s.places {
		if p.place == 0 {
			continue
		}
		if payload := s.texts.entry(p.place); len(payload) >= 8 && binary.LittleEndian.Uint64(payload) == p.hash {
			s.words[i] = payload[8:]
		}
	}
	return s.words
}

// places finds out where the entries of messages are.
func (v *mailboxView) places(uids []uint32, s *mailboxSummaries, which int) {
	if cap(s.places) < len(uids) {
		s.places = make([]mailboxTextPlace, len(uids))
	}
	s.places = s.places[:len(uids)]
	clear(s.places)
	v.peek(func() error {
		mb := v.mb
		if mb.index.file == nil {
			return nil
		}
		i := 0
		v.each(uids, func(r *mailboxRecord) {
			for uids[i] < r.uid {
				i++
			}
			place := r.text
			if which == maildirIndexWords {
				place = r.words
			}
			if place != 0 {
				s.places[i] = mailboxTextPlace{place, mailboxBaseHash(mb.base(r))}
			}
		})
		mb.index.file.read(which, &s.texts, len(uids) > 1)
		return nil
	})
}

// knownSummary is summary without reading the file: nil if none is kept.
func (v *mailboxView) knownSummary(uid uint32) *messageSummary {
	return v.knownSummaries([]uint32{uid}, &mailboxSummaries{})[0]
}

// keepSummary keeps a message's summary for later.
func (mb *mailbox) keepSummary(r *mailboxRecord, s *messageSummary) {
	if mb.index.file == nil {
		mb.st.summary.put(mb, r.uid, s)
		return
	}
	mb.keepText(r, mailboxAppendText(nil, mailboxBaseHash(mb.base(r)), s))
}

func (mb *mailbox) keepText(r *mailboxRecord, text []byte) {
	place, err := mb.index.file.add(maildirIndexText, text)
	if err != nil {
		mb.indexFailed(err)
		return
	}
	mb.index.texts++
	r.text = place
	mb.touch(r)
}

// keepWords keeps a message's signature for later: nil, if it has none, is worth knowing, too.
func (mb *mailbox) keepWords(r *mailboxRecord, words []byte) {
	if mb.index.file == nil {
		return
	}
	place, err := mb.index.file.add(maildirIndexWords, mailboxAppendWords(mailboxBaseHash(mb.base(r)), words))
	if err != nil {
		mb.indexFailed(err)
		return
	}
	r.words = place
	mb.touch(r)
}

func mailboxAppendWords(hash uint64, words []byte) []byte {
	return append(binary.LittleEndian.AppendUint64(make([]byte, 0, 8+len(words)), hash), words...)
}

// mailboxArrivals are texts of messages that are being delivered. They wait here, so
// that a delivery never waits for the mailbox.
type mailboxArrivals struct {
	mu    sync.Mutex // guards all below
	list  []mailboxArrived
	bytes int
}

type mailboxArrived struct {
	text, words []byte // entries
	date        int64  // INTERNALDATE
}

// mailboxDelivered is what is known of a message that has no record yet.
type mailboxDelivered struct {
	text, words uint32 // places
	date        int64
}

// arrives notes what is known of a message that is about to get this base name.
func (mb *mailbox) arrives(base string, date time.Time, known *mailboxKnown) {
	hash := mailboxBaseHash(base)
	arrived := mailboxArrived{mailboxAppendText(nil, hash, known.summary), mailboxAppendWords(hash, known.words), max(0, date.Unix())}
	a := &mb.arrivals
	a.mu.Lock()
	a.list = append(a.list, arrived)
	a.bytes += len(arrived.text) + len(arrived.words)
	full := a.bytes > mailboxIndexWaiting
	a.mu.Unlock()
	mb.st.saveSoon(mb)
	if full {
		mb.st.saveNow()
	}
}

// takeArrivals brings what has arrived into the index, which is open.
func (mb *mailbox) takeArrivals() error {
	a := &mb.arrivals
	a.mu.Lock()
	list := a.list
	a.list, a.bytes = nil, 0
	a.mu.Unlock()
	ix := &mb.index
	for _, arrived := range list {
		if ix.file == nil {
			return nil
		}
		text, err := ix.file.add(maildirIndexText, arrived.text)
		if err != nil {
			return err
		}
		words, err := ix.file.add(maildirIndexWords, arrived.words)
		if err != nil {
			return err
		}
		hash := binary.LittleEndian.Uint64(arrived.text)
		ix.delivered[hash] = mailboxDelivered{text, words, arrived.date}
		ix.arrived = append(ix.arrived, hash)
		ix.texts++
	}
	return nil
}

// meetArrival gives a new record what is known of its message.
func (mb *mailbox) meetArrival(r *mailboxRecord) {
	if len(mb.index.delivered) == 0 {
		return
	}
	hash := mailboxBaseHash(mb.base(r))
	if known, ok := mb.index.delivered[hash]; ok {
		r.text, r.words, r.date = known.text, known.words, known.date
		delete(mb.index.delivered, hash)
	}
}

// saveDelivered writes what has arrived in a mailbox that is not in memory.
func (mb *mailbox) saveDelivered() error {
	ix := &mb.index
	mb.arrivals.mu.Lock()
	waiting := len(mb.arrivals.list)
	mb.arrivals.mu.Unlock()
	if waiting == 0 || ix.file == nil && !mb.openIndex(false) {
		mb.dropArrivals()
		return nil
	}
	err := mb.takeArrivals()
	if err == nil {
		err = ix.file.append(mb.appendArrived(nil))
	}
	ix.file.close()
	*ix = mailboxIndex{}
	return err
}

// dropArrivals forgets what has arrived: where it cannot be kept, the message is read later.
func (mb *mailbox) dropArrivals() {
	mb.arrivals.mu.Lock()
	mb.arrivals.list, mb.arrivals.bytes = nil, 0
	mb.arrivals.mu.Unlock()
}

// wantsNewIndex tells whether most of the files is of no more use.
func (mb *mailbox) wantsNewIndex() bool {
	ix := &mb.index
	return !ix.whole && (ix.file.end > 2*ix.snapshot+256<<10 || mb.wantsNewTexts())
}

// wantsNewTexts is asked while somebody has the mailbox open only if it is urgent: it
// takes long.
func (mb *mailbox) wantsNewTexts() bool {
	ix := &mb.index
	most := 2*len(mb.records) + 1000
	if len(mb.views) > 0 {
		most *= 2
	}
	return ix.texts > most
}

// renewIndex writes the files anew, without what is of no more use.
func (mb *mailbox) renewIndex() error {
	ix := &mb.index
	newTexts := mb.wantsNewTexts()
	file, err := ix.file.renew(newTexts)
	if err != nil {
		return err
	}
	if newTexts {
		err = mb.bringEntries(file)
	}
	if err == nil {
		blocks := mb.appendSnapshot(nil)
		state := mb.indexState()
		if err = file.append(append(blocks, maildirBlock{mailboxIndexState, state})); err == nil {
			if err = file.replace(ix.file); err == nil {
				ix.file, ix.whole = file, true
				mb.indexSaved(state)
			}
			return err
		}
	}
	file.abandon(ix.file)
	return err
}

// bringEntries writes the entries of the messages that there are into other files.
func (mb *mailbox) bringEntries(file *maildirIndex) error {
	ix := &mb.index
	places := make([][len(maildirIndexEntries)]uint32, len(mb.records))
	var r maildirEntryReader
	for which := range maildirIndexEntries {
		for i := range mb.records {
			if i%1024 == 0 {
				ix.file.read(which, &r, true)
			}
			place := mb.records[i].text
			if which == maildirIndexWords {
				place = mb.records[i].words
			}
			if payload := r.entry(place); payload != nil {
				var err error
				if places[i][which], err = file.add(which, payload); err != nil {
					return err
				}
			}
		}
	}
	ix.texts = 0
	for i := range mb.records {
		r := &mb.records[i]
		if r.text, r.words = places[i][maildirIndexText], places[i][maildirIndexWords]; r.text != 0 {
			ix.texts++
		}
	}
	clear(ix.delivered) // those that have no record by now are gone
	return nil
}

// saveSoon has a mailbox's index written a while after the first change.
func (st *mailboxStore) saveSoon(mb *mailbox) {
	st.unsavedMu.Lock()
	defer st.unsavedMu.Unlock()
	if st.unsaved[mb] || st.saved {
		return
	}
	if st.unsaved == nil {
		st.unsaved = map[*mailbox]bool{}
	}
	if len(st.unsaved) == 0 {
		if st.saveTimer == nil {
			st.saveTimer = time.AfterFunc(mailboxIndexDelay, st.save)
		} else {
			st.saveTimer.Reset(mailboxIndexDelay)
		}
	}
	st.unsaved[mb] = true
}

// saveNow has them written at once, in another goroutine.
func (st *mailboxStore) saveNow() {
	st.unsavedMu.Lock()
	defer st.unsavedMu.Unlock()
	if st.saveTimer != nil && !st.saved {
		st.saveTimer.Reset(0)
	}
}

// saveAll writes them all, for the last time.
func (st *mailboxStore) saveAll() {
	st.unsavedMu.Lock()
	st.saved = true
	st.unsavedMu.Unlock()
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, mb := range st.folders {
		mb.mu.Lock()
		mb.saveIndex()
		mb.closeIndex()
		mb.mu.Unlock()
	}
}

// save writes the indexes of mailboxes that have changed.
func (st *mailboxStore) save() {
	st.unsavedMu.Lock()
	unsaved := st.unsaved
	if st.unsaved = nil; st.saved {
		unsaved = nil
	}
	st.unsavedMu.Unlock()
	for mb := range unsaved {
		mb.mu.Lock()
		mb.saveIndex()
		mb.mu.Unlock()
	}
}
