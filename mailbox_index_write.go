package main

import (
	"cmp"
	"encoding/binary"
	"slices"
)

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
