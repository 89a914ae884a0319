package main

import (
	"hash/maphash"
	"slices"
	"unsafe"
)

// What a scan of a large folder works with: base names are found by tables of four times less
// memory than a map's, and file names lie in a few large pieces of memory.

// mailboxBases finds numbers by base names, which its owner has. The zero value is empty.
type mailboxBases struct {
	slots []mailboxBasesSlot // a power of two; the first free one ends a search
	used  int
}

type mailboxBasesSlot struct {
	hash uint32
	at   int32 // the number and one; 0: free
}

var mailboxBasesSeed = maphash.MakeSeed()

func mailboxBasesHash(base string) uint32 { return uint32(maphash.String(mailboxBasesSeed, base)) }

// grow makes room for n more.
func (t *mailboxBases) grow(n int) {
	size := max(len(t.slots), 16)
	for size*2 < (t.used+n)*3 {
		size *= 2
	}
	if size == len(t.slots) {
		return
	}
	old := t.slots
	t.slots = make([]mailboxBasesSlot, size)
	for _, slot := range old {
		if slot.at != 0 {
			t.put(slot)
		}
	}
}

func (t *mailboxBases) put(slot mailboxBasesSlot) {
	i := int(slot.hash) & (len(t.slots) - 1)
	for t.slots[i].at != 0 {
		i = (i + 1) & (len(t.slots) - 1)
	}
	t.slots[i] = slot
}

// add notes the number of a name that is not there.
func (t *mailboxBases) add(base string, at int) {
	t.grow(1)
	t.put(mailboxBasesSlot{mailboxBasesHash(base), int32(at) + 1})
	t.used++
}

// set notes the number of a name. Of two the higher counts; is tells whether a number is its.
func (t *mailboxBases) set(base string, at int, is func(at int) bool) {
	t.grow(1)
	hash := mailboxBasesHash(base)
	i := int(hash) & (len(t.slots) - 1)
	for ; t.slots[i].at != 0; i = (i + 1) & (len(t.slots) - 1) {
		if t.slots[i].hash == hash && is(int(t.slots[i].at)-1) {
			t.slots[i].at = max(t.slots[i].at, int32(at)+1)
			return
		}
	}
	t.slots[i] = mailboxBasesSlot{hash, int32(at) + 1}
	t.used++
}

// find gives the number of a name, or -1; is tells whether a number is its.
func (t *mailboxBases) find(base string, is func(at int) bool) int {
	if t.used == 0 {
		return -1
	}
	hash := mailboxBasesHash(base)
	for i := int(hash) & (len(t.slots) - 1); t.slots[i].at != 0; i = (i + 1) & (len(t.slots) - 1) {
		if at := int(t.slots[i].at) - 1; t.slots[i].hash == hash && is(at) {
			return at
		}
	}
	return -1
}

// mailboxEarly are lines of the uidlist whose file has not been seen yet. The zero value is
// empty.
type mailboxEarly struct {
	lines []maildirUidline // uid 0: it was removed
	at    mailboxBases
	count int
}

// reserve makes room for n more.
func (e *mailboxEarly) reserve(n int) {
	e.at.grow(n)
	e.lines = slices.Grow(e.lines, n)
}

// get gives the line of a base name.
func (e *mailboxEarly) get(base string) (line maildirUidline, ok bool) {
	if i := e.find(base); i >= 0 {
		return e.lines[i], true
	}
	return line, false
}

func (e *mailboxEarly) find(base string) int {
	return e.at.find(base, func(i int) bool { return e.lines[i].uid != 0 && e.lines[i].base == base })
}

// put adds a line, or takes the place of the one that has its base name.
func (e *mailboxEarly) put(line maildirUidline) {
	if i := e.find(line.base); i >= 0 {
		e.lines[i] = line
		return
	}
	e.at.add(line.base, len(e.lines))
	e.lines = append(e.lines, line)
	e.count++
}

// remove removes the line of a base name, if there is one.
func (e *mailboxEarly) remove(base string) {
	i := e.find(base)
	if i < 0 {
		return
	}
	e.lines[i] = maildirUidline{}
	if e.count--; e.count == 0 {
		*e = mailboxEarly{}
	}
}

// each calls f for each line, until it says no. f may remove the line.
func (e *mailboxEarly) each(f func(line maildirUidline) bool) {
	for _, line := range e.lines {
		if line.uid != 0 && !f(line) {
			return
		}
	}
}

// mailboxNames keeps copies of names in pieces of memory that are larger than one.
type mailboxNames struct{ piece []byte }

const mailboxNamesPiece = 64 << 10

// keep copies a name.
func (n *mailboxNames) keep(name string) string {
	if len(name) > cap(n.piece)-len(n.piece) {
		n.piece = make([]byte, 0, max(len(name), min(mailboxNamesPiece, max(512, 2*cap(n.piece)))))
	}
	at := len(n.piece)
	n.piece = append(n.piece, name...)
	return unsafe.String(unsafe.SliceData(n.piece[at:]), len(name))
}
