package main

import (
	"cmp"
	"encoding/binary"
	"errors"
	"slices"
	"time"
)

// letterbox.index keeps a mailbox's records from one time it is in memory to the next, so
// that a large folder is opened without reading its uidlist, its directories and its
// messages. maildir_index.go says how the files are kept and what damage does. Of the
// blocks, in varints (encoding/binary) unless something else is said:
//
//	state     what the disk was like: modSeq; expunged UIDs are known since this mod-sequence;
//	          UIDVALIDITY; 1 if the directories were settled; inode and time of new/, of cur/; what the
//	          kernel calls the time since it was started; what the uidlist was; entries in the text
//	          file; how many spans of mod-sequences (mailbox_modseq.go), and the ends of each
//	records   a mod-sequence that those of the records are relative to; records, by UID:
//	          what follows, 1 byte of mailboxIndexHas bits; UID less the one before; flags;
//	          modSeq, less the block's; date; size; places of text and words; base name; the odd
//	          file name and its odd letters; the UIDL for POP3
//	expunged  pairs of UID, less the one before, and modSeq
//	dead      hashes of names that the uidlist has a line of no use for, 8 bytes each; if the
//	          first is 0, those before do not count any more
//	size      before the records of a file that was written anew: how many they are, and the
//	          bytes of their names
//	texts     of messages that were delivered and have no UID yet: hash of the base name, 8
//	          bytes; places of text and words; date
//
// Blocks of other kinds are passed over: they are later versions'.
//
// It is believed as far as the disk bears it out. Of UIDs the uidlist is right, if it has
// changed. Flags and names are those of the files, if the directories have changed since
// they were settled, or the machine was started anew: after a power cut they may be what they were
// earlier, time and all. A mailbox whose index is another process' works from memory.

const (
	mailboxIndexState byte = iota + 1
	mailboxIndexRecords
	mailboxIndexExpunged
	mailboxIndexDead
	mailboxIndexTexts
	mailboxIndexSize
)

// What a record in the index has.
const (
	mailboxIndexHasBase byte = 1 << iota // else it is of a message that stands in a block before
	mailboxIndexHasOdd
	mailboxIndexHasUIDL
	mailboxIndexHasDate
	mailboxIndexHasSize
	mailboxIndexInNew
)

const (
	mailboxIndexDelay   = 30 * time.Second // changes are written together, this long after the first
	mailboxIndexAgain   = time.Minute      // before trying again after an error, or somebody else's lock
	mailboxIndexBlock   = 4096             // records in a block
	mailboxIndexMost    = 1 << 24          // records that memory is got for at once
	mailboxIndexWaiting = 256 << 10        // bytes of texts that wait for being written
)

// mailboxIndex is a mailbox's side of letterbox.index. mailbox.mu guards it.
type mailboxIndex struct {
	file  *maildirIndex // nil: not open
	again time.Time     // not to be opened before
	whole bool          // the file does not hold the mailbox yet: all is to be written

	changed  []uint32          // UIDs of records that the file does not have so
	expunged []mailboxExpunged // likewise
	dead     []uint64          // likewise
	deadGone bool              // those before do not count any more

	delivered map[uint64]mailboxDelivered // what is known of messages that have no record yet, by hash of base name
	arrived   []uint64                    // those of them that the file does not have yet
	texts     int                         // entries in the text file
	unstated  int                         // those since the last state
	state     []byte                      // as written last
	validity  uint32                      // of the records in the file
	snapshot  int64                       // size of the file when it was last written anew
}

// loadIndex fills the mailbox with what the index has, and tells what is to be done still:
// listed, that the uidlist need not be read; settled, that the directories need not.
func (mb *mailbox) loadIndex() (listed, settled bool) {
	ix := &mb.index
	if !mb.openIndex(true) {
		return false, false
	}
	state, ok := mailboxIndexStateParse(ix.state)
	if !ok {
		ix.texts = ix.unstated
		mb.loseIndex()
		return false, false
	}
	mb.takeSpans(state.spans, state.modSeq)
	mb.expungedSince = state.since
	mb.trimExpunged()
	ix.validity, ix.texts = state.validity, state.texts+ix.unstated
	if mb.list = mb.md.uidlistNoted(state.list); mb.list == nil {
		return false, false
	}
	newStamp, curStamp, err := mb.md.stamp()
	newInode, curInode := mb.md.inodes()
	if err != nil || !state.settled || state.boot == "" || state.boot != maildirBoot() || newInode != state.newInode ||
		curInode != state.curInode || newStamp.UnixNano() != state.newStamp || curStamp.UnixNano() != state.curStamp {
		return true, false
	}
	mb.newStamp, mb.curStamp = newStamp, curStamp
	return true, true
}

// openIndex opens the files, with load for a mailbox that is not in memory, and tells
// whether there was something in them.
func (mb *mailbox) openIndex(load bool) bool {
	ix := &mb.index
	if ix.file != nil && load { // open for what was delivered
		if err := mb.saveDelivered(); err != nil {
			mb.indexFailed(err)
			return false
		}
		ix.file.close()
		ix.file = nil
	}
	if time.Now().Before(ix.again) {
		return false
	}
	*ix = mailboxIndex{delivered: map[uint64]mailboxDelivered{}}
	block := mb.readIndexBlock
	if !load {
		block = nil
	}
	file, err := mb.md.openIndex(block)
	if err != nil {
		*ix = mailboxIndex{}
		mb.indexFailed(err)
		return false
	}
	ix.file, ix.snapshot = file, file.end
	return true
}

// indexFailed gives the index up for a while: what is in memory is enough.
func (mb *mailbox) indexFailed(err error) {
	if !errors.Is(err, errMaildirLocked) {
		logMailboxTrouble(mb.st.log, mb.tree.user, mb.name, err)
	}
	if mb.index.file != nil {
		mb.index.file.close()
	}
	for i := range mb.records {
		r := &mb.records[i]
		r.text, r.words, r.state = 0, 0, r.state&^mailboxIndexed
	}
	mb.index = mailboxIndex{again: time.Now().Add(mailboxIndexAgain)}
}

// closeIndex gives the files back. What is not saved is lost.
func (mb *mailbox) closeIndex() {
	if mb.index.file != nil {
		mb.index.file.close()
	}
	mb.index = mailboxIndex{again: mb.index.again}
}

// loseIndex forgets what the index said of records: it is of no use for this folder. What was
// delivered and has no record yet is known by its name, and still is.
func (mb *mailbox) loseIndex() {
	mb.forgetRecords()
	ix := &mb.index
	if ix.file == nil {
		return
	}
	wipe := ix.file.wipe
	if len(ix.delivered) > 0 {
		wipe = ix.file.wipeBlocks
	} else {
		ix.texts = 0
	}
	if err := wipe(); err != nil {
		mb.indexFailed(err)
		return
	}
	*ix = mailboxIndex{file: ix.file, whole: true, delivered: ix.delivered, texts: ix.texts}
}

// indexLacks tells whether the uidlist has a line, of a message that may be there, between
// those that have records: UIDs ascend, so it could get no record any more.
func (mb *mailbox) indexLacks(lines []maildirUidline) bool {
	last := mb.lastUID()
	for _, line := range lines {
		if line.uid > last {
			return false
		}
		if mb.find(line.uid) < 0 {
			if _, dead := mb.dead[mailboxBaseHash(line.base)]; !dead {
				return true
			}
		}
	}
	return false
}

// readIndexBlock takes one block. It says no to one that cannot be true.
func (mb *mailbox) readIndexBlock(kind byte, payload []byte) bool {
	ix := &mb.index
	r := &mailboxIndexReader{b: payload}
	switch kind {
	case mailboxIndexState:
		ix.state, ix.unstated = slices.Clone(payload), 0
	case mailboxIndexRecords:
		return mb.readIndexRecords(r)
	case mailboxIndexExpunged:
		return mb.readIndexExpunged(r)
	case mailboxIndexDead:
		for !r.done() {
			hash := r.uint64()
			if hash == 0 {
				mb.dead = nil
				continue
			}
			if mb.dead == nil {
				mb.dead = map[uint64]struct{}{}
			}
			mb.dead[hash] = struct{}{}
		}
	case mailboxIndexSize:
		n, bytes := r.uvarint(), r.uvarint()
		if r.bad || n > mailboxIndexMost || bytes > 255*n {
			return false
		}
		mb.records, mb.uids = slices.Grow(mb.records, int(n)), slices.Grow(mb.uids, int(n))
		mb.bases = slices.Grow(mb.bases, int(bytes))
	case mailboxIndexTexts:
		for !r.done() {
			hash := r.uint64()
			ix.delivered[hash] = mailboxDelivered{uint32(r.uvarint()), uint32(r.uvarint()), int64(r.uvarint())}
			ix.unstated++
		}
	}
	return !r.bad
}

func (mb *mailbox) readIndexRecords(r *mailboxIndexReader) bool {
	base, uid := r.uvarint(), uint32(0)
	for !r.done() {
		has := r.byte()
		uid += uint32(r.uvarint())
		flags := maildirFlags(r.uvarint())
		modSeq := base + r.uvarint()
		date, size := int64(-1), int64(-1)
		if has&mailboxIndexHasDate != 0 {
			date = int64(r.uvarint())
		}
		if has&mailboxIndexHasSize != 0 {
			size = int64(r.uvarint())
		}
		text, words := uint32(r.uvarint()), uint32(r.uvarint())
		at := mb.find(uid)
		if has&mailboxIndexHasBase != 0 {
			name := r.bytes()
			if r.bad || at >= 0 || uid <= mb.lastUID() || len(name) == 0 || len(name) > 255 {
				return false
			}
			at = mb.appendRecord(uid, name)
		}
		var odd mailboxOdd
		if has&mailboxIndexHasOdd != 0 {
			odd = mailboxOdd{string(r.bytes()), string(r.bytes())}
		}
		if has&mailboxIndexHasUIDL != 0 {
			mb.setPopUIDL(uid, string(r.bytes()))
		}
		if r.bad || size < -1 || date < -1 {
			return false
		}
		if at < 0 {
			continue // expunged meanwhile
		}
		rec := &mb.records[at]
		if rec.state&mailboxInNew != 0 {
			mb.unread--
		}
		rec.flags, rec.modSeq, rec.date, rec.size = flags, modSeq, date, size
		rec.text, rec.words = text, words
		rec.state = mailboxIndexed
		delete(mb.odd, uid)
		if has&mailboxIndexInNew != 0 {
			rec.state |= mailboxInNew
			mb.unread++
		}
		if odd.name != "" {
			rec.state |= mailboxIsOdd
			mb.setOdd(uid, odd)
		}
	}
	mb.count.Store(int32(len(mb.records)))
	return !r.bad
}

func (mb *mailbox) readIndexExpunged(r *mailboxIndexReader) bool {
	uid := uint32(0)
	gone := map[uint32]bool{}
	for !r.done() {
		uid += uint32(r.uvarint())
		gone[uid] = true
		mb.expunged = append(mb.expunged, mailboxExpunged{uid, r.uvarint()})
	}
	if r.bad {
		return false
	}
	mb.dropRecords(0, func(rec *mailboxRecord) bool { return gone[rec.uid] }, func(*mailboxRecord) {})
	return true
}

// touch notes that the index does not have a record as it is now.
func (mb *mailbox) touch(r *mailboxRecord) {
	if r.state&mailboxTouched != 0 {
		return
	}
	r.state |= mailboxTouched
	if mb.index.file != nil && !mb.index.whole {
		mb.index.changed = append(mb.index.changed, r.uid)
	}
	mb.st.saveSoon(mb)
}

// saveIndex writes what the index does not have yet. A mailbox without changes
// writes nothing.
func (mb *mailbox) saveIndex() {
	if err := mb.trySaveIndex(); err != nil {
		mb.indexFailed(err)
	}
}

func (mb *mailbox) trySaveIndex() error {
	ix := &mb.index
	switch {
	case mb.gone.Load():
		return nil
	case !mb.loaded:
		return mb.saveDelivered()
	case ix.file == nil:
		if !mb.openIndex(false) {
			return nil
		}
		if err := ix.file.wipe(); err != nil { // what it holds is older than what we have
			return err
		}
		ix.whole = true
	case ix.file.vanished():
		ix.file.close()
		ix.file = nil
		mb.indexFailed(nil)
		ix.again = time.Time{}
		return mb.trySaveIndex()
	}
	if err := mb.takeArrivals(); err != nil {
		return err
	}
	if mb.wantsNewIndex() {
		return mb.renewIndex()
	}
	var blocks maildirBlocks
	if ix.whole {
		blocks = mb.appendSnapshot(blocks)
	} else {
		blocks = mb.appendChanges(blocks)
	}
	state := mb.indexState()
	if !slices.Equal(state, ix.state) {
		blocks = append(blocks, maildirBlock{mailboxIndexState, state})
	}
	if len(blocks) == 0 {
		return ix.file.flush()
	}
	if err := ix.file.append(blocks); err != nil {
		return err
	}
	mb.indexSaved(state)
	return nil
}

// indexSaved notes that the file has all.
func (mb *mailbox) indexSaved(state []byte) {
	ix := &mb.index
	for _, uid := range ix.changed {
		if i := mb.find(uid); i >= 0 {
			mb.records[i].state = mb.records[i].state&^mailboxTouched | mailboxIndexed
		}
	}
	if ix.whole {
		for i := range mb.records {
			mb.records[i].state = mb.records[i].state&^mailboxTouched | mailboxIndexed
		}
		ix.snapshot = ix.file.end
	}
	ix.changed, ix.expunged, ix.dead, ix.arrived = nil, nil, nil, nil
	ix.state, ix.whole, ix.deadGone = state, false, false
}

// appendSnapshot adds blocks with all that the mailbox has.
func (mb *mailbox) appendSnapshot(blocks maildirBlocks) maildirBlocks {
	ix := &mb.index
	blocks = mailboxAppendExpunged(blocks, mb.expunged)
	hashes := make([]uint64, 0, len(mb.dead))
	for hash := range mb.dead {
		hashes = append(hashes, hash)
	}
	blocks = mailboxAppendDead(blocks, hashes)
	size := binary.AppendUvarint(nil, min(uint64(len(mb.records)), mailboxIndexMost))
	blocks = append(blocks, maildirBlock{mailboxIndexSize, binary.AppendUvarint(size, uint64(mb.baseBytes()))})
	for from := 0; from < len(mb.records); from += mailboxIndexBlock {
		b := mailboxIndexBegin(mb.records[from:min(from+mailboxIndexBlock, len(mb.records))])
		for i := from; i < min(from+mailboxIndexBlock, len(mb.records)); i++ {
			b.add(mb, &mb.records[i], true)
		}
		blocks = append(blocks, maildirBlock{mailboxIndexRecords, b.b})
	}
	ix.arrived = ix.arrived[:0]
	for hash := range ix.delivered {
		ix.arrived = append(ix.arrived, hash)
	}
	return mb.appendArrived(blocks)
}

// appendChanges adds blocks with what the file does not have yet.
func (mb *mailbox) appendChanges(blocks maildirBlocks) maildirBlocks {
	ix := &mb.index
	slices.Sort(ix.changed)
	var changed []mailboxRecord
	for _, uid := range slices.Compact(ix.changed) {
		if i := mb.find(uid); i >= 0 {
			changed = append(changed, mb.records[i])
		}
	}
	for part := range slices.Chunk(changed, mailboxIndexBlock) {
		b := mailboxIndexBegin(part)
		for i := range part {
			b.add(mb, &part[i], part[i].state&mailboxIndexed == 0)
		}
		blocks = append(blocks, maildirBlock{mailboxIndexRecords, b.b})
	}
	blocks = mailboxAppendExpunged(blocks, ix.expunged)
	if ix.deadGone {
		blocks = mailboxAppendDead(blocks, []uint64{0})
	}
	blocks = mailboxAppendDead(blocks, ix.dead)
	return mb.appendArrived(blocks)
}

func mailboxAppendExpunged(blocks maildirBlocks, expunged []mailboxExpunged) maildirBlocks {
	expunged = slices.Clone(expunged)
	slices.SortFunc(expunged, func(a, b mailboxExpunged) int { return cmp.Compare(a.uid, b.uid) })
	for part := range slices.Chunk(expunged, 1<<16) {
		var b []byte
		uid := uint32(0)
		for _, e := range part {
			b = binary.AppendUvarint(b, uint64(e.uid-uid))
			b = binary.AppendUvarint(b, e.modSeq)
			uid = e.uid
		}
		blocks = append(blocks, maildirBlock{mailboxIndexExpunged, b})
	}
	return blocks
}

func mailboxAppendDead(blocks maildirBlocks, hashes []uint64) maildirBlocks {
	for part := range slices.Chunk(hashes, 1<<16) {
		var b []byte
		for _, hash := range part {
			b = binary.LittleEndian.AppendUint64(b, hash)
		}
		blocks = append(blocks, maildirBlock{mailboxIndexDead, b})
	}
	return blocks
}

func (mb *mailbox) appendArrived(blocks maildirBlocks) maildirBlocks {
	for part := range slices.Chunk(mb.index.arrived, 1<<16) {
		var b []byte
		for _, hash := range part {
			if known, ok := mb.index.delivered[hash]; ok {
				b = binary.LittleEndian.AppendUint64(b, hash)
				b = binary.AppendUvarint(b, uint64(known.text))
				b = binary.AppendUvarint(b, uint64(known.words))
				b = binary.AppendUvarint(b, uint64(known.date))
			}
		}
		if len(b) > 0 {
			blocks = append(blocks, maildirBlock{mailboxIndexTexts, b})
		}
	}
	return blocks
}

// mailboxIndexRecordsBlock is a block of records that is being put together.
type mailboxIndexRecordsBlock struct {
	b      []byte
	uid    uint32
	modSeq uint64
}

func mailboxIndexBegin(records []mailboxRecord) *mailboxIndexRecordsBlock {
	lowest := records[0].modSeq
	for i := range records {
		lowest = min(lowest, records[i].modSeq)
	}
	b := &mailboxIndexRecordsBlock{b: make([]byte, 0, 96*len(records)), modSeq: lowest}
	b.b = binary.AppendUvarint(b.b, lowest)
	return b
}

// add adds a record, with its base name if the file does not have that.
func (b *mailboxIndexRecordsBlock) add(mb *mailbox, r *mailboxRecord, base bool) {
	at := len(b.b)
	has := byte(0)
	b.b = append(b.b, 0)
	b.b = binary.AppendUvarint(b.b, uint64(r.uid-b.uid))
	b.b = binary.AppendUvarint(b.b, uint64(r.flags))
	b.b = binary.AppendUvarint(b.b, r.modSeq-b.modSeq)
	b.uid = r.uid
	if r.date >= 0 {
		has |= mailboxIndexHasDate
		b.b = binary.AppendUvarint(b.b, uint64(r.date))
	}
	if r.size >= 0 {
		has |= mailboxIndexHasSize
		b.b = binary.AppendUvarint(b.b, uint64(r.size))
	}
	b.b = binary.AppendUvarint(b.b, uint64(r.text))
	b.b = binary.AppendUvarint(b.b, uint64(r.words))
	if base {
		has |= mailboxIndexHasBase
		b.string(mb.base(r))
	}
	if r.state&mailboxIsOdd != 0 {
		has |= mailboxIndexHasOdd
		b.string(mb.odd[r.uid].name)
		b.string(mb.odd[r.uid].letters)
	}
	if uidl, ok := mb.popUIDLs[r.uid]; ok {
		has |= mailboxIndexHasUIDL
		b.string(uidl)
	}
	if r.state&mailboxInNew != 0 {
		has |= mailboxIndexInNew
	}
	b.b[at] = has
}

func (b *mailboxIndexRecordsBlock) string(s string) {
	b.b = binary.AppendUvarint(b.b, uint64(len(s)))
	b.b = append(b.b, s...)
}

// mailboxIndexStateOf is what a state block says.
type mailboxIndexStateOf struct {
	modSeq, since      uint64
	validity           uint32
	settled            bool
	newInode, curInode uint64
	newStamp, curStamp int64
	boot               string
	list               []byte
	texts              int
	spans              []mailboxSpan
}

// indexState gives the state block of this moment.
func (mb *mailbox) indexState() []byte {
	settled := mb.scanDue.IsZero() && mb.missing == 0 && mb.early.count == 0 && !mb.newStamp.IsZero() && !mb.curStamp.IsZero()
	newInode, curInode := mb.md.inodes()
	var list []byte
	if mb.early.count == 0 { // else its lines would be lost
		list = mb.list.note()
	}
	b := binary.AppendUvarint(nil, mb.modSeq)
	b = binary.AppendUvarint(b, mb.expungedSince)
	b = binary.AppendUvarint(b, uint64(mb.list.validity))
	b = append(b, 0)
	if settled {
		b[len(b)-1] = 1
	}
	b = binary.AppendUvarint(b, newInode)
	b = binary.AppendUvarint(b, curInode)
	b = binary.AppendUvarint(b, uint64(mb.newStamp.UnixNano()))
	b = binary.AppendUvarint(b, uint64(mb.curStamp.UnixNano()))
	b = binary.AppendUvarint(b, uint64(len(maildirBoot())))
	b = append(b, maildirBoot()...)
	b = binary.AppendUvarint(b, uint64(len(list)))
	b = append(b, list...)
	b = binary.AppendUvarint(b, uint64(mb.index.texts))
	b = binary.AppendUvarint(b, uint64(len(mb.spans)))
	for _, span := range mb.spans {
		b = binary.AppendUvarint(b, span.from)
		b = binary.AppendUvarint(b, span.to)
	}
	return b
}

func mailboxIndexStateParse(b []byte) (s mailboxIndexStateOf, ok bool) {
	r := &mailboxIndexReader{b: b}
	s.modSeq, s.since, s.validity = r.uvarint(), r.uvarint(), uint32(r.uvarint())
	s.settled = r.byte() == 1
	s.newInode, s.curInode = r.uvarint(), r.uvarint()
	s.newStamp, s.curStamp = int64(r.uvarint()), int64(r.uvarint())
	s.boot, s.list = string(r.bytes()), r.bytes()
	s.texts = int(r.uvarint())
	for n := r.uvarint(); n > 0 && !r.bad; n-- {
		s.spans = append(s.spans, mailboxSpan{r.uvarint(), r.uvarint()})
	}
	return s, !r.bad && s.modSeq != 0
}

// mailboxIndexReader reads a payload. What is not there is 0, and makes it bad.
type mailboxIndexReader struct {
	b   []byte
	bad bool
}

func (r *mailboxIndexReader) done() bool { return r.bad || len(r.b) == 0 }

func (r *mailboxIndexReader) uvarint() uint64 {
	n, size := binary.Uvarint(r.b)
	if size <= 0 {
		r.bad = true
		return 0
	}
	r.b = r.b[size:]
	return n
}

func (r *mailboxIndexReader) varint() int64 {
	n := r.uvarint()
	return int64(n>>1) ^ -int64(n&1)
}

func (r *mailboxIndexReader) byte() byte {
	if len(r.b) == 0 {
		r.bad = true
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

func (r *mailboxIndexReader) uint64() uint64 {
	if len(r.b) < 8 {
		r.bad = true
		return 0
	}
	n := binary.LittleEndian.Uint64(r.b)
	r.b = r.b[8:]
	return n
}

func (r *mailboxIndexReader) bytes() []byte {
	n := r.uvarint()
	if n > uint64(len(r.b)) {
		r.bad = true
		return nil
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}
