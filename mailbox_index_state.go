package main

import "encoding/binary"

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
