package main

import "slices"

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
