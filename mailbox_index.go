package main

import (
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
