package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// Three files beside the messages keep what is dear to find out. What is in them is the
// mailbox room's affair (mailbox_index.go); here is how it is kept.
//
//	letterbox.index         blocks: read from the first to the last when the folder is opened
//	letterbox.index.text    entries: one a message, each read when it is asked for
//	letterbox.index.words   likewise, and so small that a search can go through all
//
// All are caches. They are never synced, may be deleted at any moment, and are written
// by one process at a time: it holds flock(2) on letterbox.index. Numbers are little
// endian.
//
//	letterbox.index   magic, 8 bytes; id, 8; salt, 8; blocks
//	the others        magic, 8 bytes; id, 8; entries
//	block             length of the payload, 4 bytes; kind, 1; checksum, 4; payload
//	entry             the same without a kind; it begins at a multiple of 16
//
// Id and salt are random; the id is the same in all files, or all are begun anew. The
// checksum is CRC-32C of the payload, begun with a hash of the salt (of an entry: the id), the
// offset, the kind and the length, so that what a power cut brings up from another file, another time or
// another place is known not to belong here. Reading ends at the first block that is not right, and
// the file with it: what stood before is an older state of the folder, as true as it was
// then. An entry that is not right is no entry.

const (
	maildirIndexName  = "letterbox.index"
	maildirIndexMagic = "LBindex1"

	maildirIndexHead      = 24
	maildirIndexEntryHead = 16
	maildirBlockHead      = 9
	maildirEntryHead      = 8
	maildirEntryAlign     = 16
	maildirBlockMost      = 4 << 20 // bytes of a payload; what claims to be longer is none
	maildirIndexBatch     = 64 << 10
)

// maildirIndexEntries are the files of entries.
var maildirIndexEntries = [...]struct{ name, magic string }{
	maildirIndexText:  {"letterbox.index.text", "LBtexts1"},
	maildirIndexWords: {"letterbox.index.words", "LBwords2"},
}

const (
	maildirIndexText = iota
	maildirIndexWords
)

var maildirChecksums = crc32.MakeTable(crc32.Castagnoli)

// maildirIndex is the files, open and locked. Its caller sees to it that one goroutine
// uses it; only what read gives may be used by others meanwhile.
type maildirIndex struct {
	md      *maildir
	id      uint64
	salt    uint64
	file    *os.File
	end     int64 // of the blocks on disk
	entries [len(maildirIndexEntries)]maildirEntries
}

// maildirEntries is a file of entries.
type maildirEntries struct {
	file    *os.File
	end     int64  // those not yet written included
	pending []byte // not yet written. Never written over: read hands it out
}

// openIndex opens the files, or makes them, and gives each block's kind and payload (valid
// during the call) to block; if that says no, the block is damaged. With block nil the
// blocks are passed over unread. errMaildirLocked if another process has them.
func (md *maildir) openIndex(block func(kind byte, payload []byte) bool) (*maildirIndex, error) {
	ix := &maildirIndex{md: md}
	var err error
	if ix.file, err = md.openIndexFile(maildirIndexName); err != nil {
		return nil, err
	}
	err = ix.lock()
	for i := range ix.entries {
		if err == nil {
			ix.entries[i].file, err = md.openIndexFile(maildirIndexEntries[i].name)
		}
	}
	if err == nil {
		err = ix.load(block)
	}
	if err != nil {
		ix.close()
		return nil, fmt.Errorf("opening %s: %w", maildirIndexName, err)
	}
	return ix, nil
}

func (md *maildir) openIndexFile(name string) (*os.File, error) {
	path := filepath.Join(md.path, name)
	if err := fileStep("create", path); err != nil {
		return nil, err
	}
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE, maildirFileMode)
}

// lock makes this process the one that writes.
func (ix *maildirIndex) lock() error {
	for {
		err := unix.Flock(int(ix.file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EWOULDBLOCK:
			return errMaildirLocked
		case err != nil:
			return err
		}
		if ix.vanished() { // replaced just before we got it
			return errMaildirLocked
		}
		return nil
	}
}

// vanished tells whether somebody has removed or replaced the file.
func (ix *maildirIndex) vanished() bool {
	ours, err := ix.file.Stat()
	if err != nil {
		return true
	}
	theirs, err := os.Stat(filepath.Join(ix.md.path, maildirIndexName))
	return err != nil || !os.SameFile(ours, theirs)
}

func (ix *maildirIndex) load(block func(kind byte, payload []byte) bool) error {
	var head [maildirIndexHead]byte
	if _, err := ix.file.ReadAt(head[:], 0); err != nil || string(head[:8]) != maildirIndexMagic {
		return ix.wipe()
	}
	for i := range ix.entries {
		var entryHead [maildirIndexEntryHead]byte
		e := &ix.entries[i]
		_, err := e.file.ReadAt(entryHead[:], 0)
		if err != nil || string(entryHead[:8]) != maildirIndexEntries[i].magic || string(entryHead[8:]) != string(head[8:16]) {
			return ix.wipe()
		}
		info, err := e.file.Stat()
		if err != nil {
			return err
		}
		e.end = maildirAligned(info.Size())
	}
	ix.id, ix.salt = binary.LittleEndian.Uint64(head[8:]), binary.LittleEndian.Uint64(head[16:])
	info, err := ix.file.Stat()
	if err != nil {
		return err
	}
	if ix.end, err = ix.readBlocks(info.Size(), block); err != nil {
		return err
	}
	if ix.end < info.Size() {
		return ix.file.Truncate(ix.end)
	}
	return nil
}

// readBlocks gives the blocks up to size, and where the last good one ends.
func (ix *maildirIndex) readBlocks(size int64, block func(kind byte, payload []byte) bool) (end int64, err error) {
	var head [maildirBlockHead]byte
	var payload []byte
	for at := int64(maildirIndexHead); ; {
		if at+maildirBlockHead > size {
			return at, nil
		}
		if _, err := ix.file.ReadAt(head[:], at); err != nil {
			return at, maildirNotEOF(err)
		}
		length := int64(binary.LittleEndian.Uint32(head[:]))
		next := at + maildirBlockHead + length
		if length == 0 || length > maildirBlockMost || next > size {
			return at, nil
		}
		if block != nil {
			if int64(cap(payload)) < length {
				payload = make([]byte, length)
			}
			payload = payload[:length]
			if _, err := ix.file.ReadAt(payload, at+maildirBlockHead); err != nil {
				return at, maildirNotEOF(err)
			}
			sum := binary.LittleEndian.Uint32(head[5:])
			if sum != maildirChecksum(ix.salt, at, head[4], payload) || !block(head[4], payload) {
				return at, nil
			}
		}
		at = next
	}
}

// maildirNotEOF passes over the end of a file, which is an end like others.
func maildirNotEOF(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}

func maildirChecksum(salt uint64, at int64, kind byte, payload []byte) uint32 {
	about := (salt ^ uint64(at)<<8 ^ uint64(kind)) * 0x9e3779b97f4a7c15 // every bit of it counts in the upper half
	about = (about ^ about>>32 ^ uint64(len(payload))) * 0x9e3779b97f4a7c15
	return crc32.Update(uint32(about>>32), maildirChecksums, payload)
}

func maildirAligned(n int64) int64 { return (n + maildirEntryAlign - 1) &^ (maildirEntryAlign - 1) }

// wipe begins all files anew. What read gave out before finds nothing any more.
func (ix *maildirIndex) wipe() error {
	if ix.isEmpty() {
		return nil
	}
	ix.id = rand.Uint64()
	for i := range ix.entries {
		if err := ix.wipeEntries(i); err != nil {
			return err
		}
	}
	return ix.wipeBlocks()
}

// isEmpty tells that nothing was added since the files were begun.
func (ix *maildirIndex) isEmpty() bool {
	for i := range ix.entries {
		if ix.entries[i].end != maildirIndexEntryHead {
			return false
		}
	}
	return ix.end == maildirIndexHead
}

func (ix *maildirIndex) wipeEntries(which int) error {
	e := &ix.entries[which]
	e.end, e.pending = maildirIndexEntryHead, nil
	return ix.begin(e.file, binary.LittleEndian.AppendUint64([]byte(maildirIndexEntries[which].magic), ix.id))
}

// wipeBlocks begins letterbox.index anew and keeps the entries.
func (ix *maildirIndex) wipeBlocks() error {
	ix.salt, ix.end = rand.Uint64(), maildirIndexHead
	head := binary.LittleEndian.AppendUint64([]byte(maildirIndexMagic), ix.id)
	return ix.begin(ix.file, binary.LittleEndian.AppendUint64(head, ix.salt))
}

func (ix *maildirIndex) begin(f *os.File, head []byte) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	return ix.write(f, head, 0)
}

func (ix *maildirIndex) write(f *os.File, p []byte, at int64) error {
	if err := fileStep("write", f.Name()); err != nil {
		return err
	}
	_, err := f.WriteAt(p, at)
	return err
}

// maildirBlocks are blocks to be written together.
type maildirBlocks []maildirBlock

type maildirBlock struct {
	kind    byte
	payload []byte // at most maildirBlockMost, not empty
}

// append adds blocks at the end. After an error some of them may be there.
func (ix *maildirIndex) append(blocks maildirBlocks) error {
	if err := ix.flush(); err != nil {
		return err
	}
	text := maildirAppendBlocks(nil, ix.salt, ix.end, blocks)
	if err := ix.write(ix.file, text, ix.end); err != nil {
		return err
	}
	ix.end += int64(len(text))
	return nil
}

func maildirAppendBlocks(dst []byte, salt uint64, at int64, blocks maildirBlocks) []byte {
	start := len(dst)
	for _, b := range blocks {
		sum := maildirChecksum(salt, at+int64(len(dst)-start), b.kind, b.payload)
		dst = binary.LittleEndian.AppendUint32(dst, uint32(len(b.payload)))
		dst = append(dst, b.kind)
		dst = binary.LittleEndian.AppendUint32(dst, sum)
		dst = append(dst, b.payload...)
	}
	return dst
}

// add adds an entry and gives its place, which is never 0.
func (ix *maildirIndex) add(which int, payload []byte) (place uint32, err error) {
	e := &ix.entries[which]
	if e.end/maildirEntryAlign >= 1<<32-1 || len(payload) > maildirBlockMost {
		return 0, fmt.Errorf("%s is full", maildirIndexEntries[which].name)
	}
	if len(e.pending) >= maildirIndexBatch {
		if err := ix.flushEntries(e); err != nil {
			return 0, err
		}
	}
	at := e.end
	if free := cap(e.pending) - len(e.pending); len(e.pending) > maildirIndexBatch/8 && free < maildirEntryHead+len(payload)+maildirEntryAlign {
		e.pending = slices.Grow(e.pending, maildirIndexBatch*9/8+len(payload)-len(e.pending)) // others may read what is there
	}
	e.pending = binary.LittleEndian.AppendUint32(e.pending, uint32(len(payload)))
	e.pending = binary.LittleEndian.AppendUint32(e.pending, maildirChecksum(ix.id, at, 0, payload))
	e.pending = append(e.pending, payload...)
	e.end = at + maildirEntryHead + int64(len(payload))
	for ; e.end%maildirEntryAlign != 0; e.end++ {
		e.pending = append(e.pending, 0)
	}
	return uint32(at / maildirEntryAlign), nil
}

// flush writes the entries that are not yet written.
func (ix *maildirIndex) flush() error {
	for i := range ix.entries {
		if err := ix.flushEntries(&ix.entries[i]); err != nil {
			return err
		}
	}
	return nil
}

func (ix *maildirIndex) flushEntries(e *maildirEntries) error {
	if len(e.pending) == 0 {
		return nil
	}
	err := ix.write(e.file, e.pending, e.end-int64(len(e.pending)))
	if err == nil {
		e.pending = nil
	}
	return err
}

// close gives the files and the lock back. What was not written is lost.
func (ix *maildirIndex) close() {
	for i := range ix.entries {
		if ix.entries[i].file != nil {
			ix.entries[i].file.Close() // a cache: what cannot be written is made again
		}
	}
	if ix.file != nil {
		ix.file.Close()
	}
}

// maildirEntryReader reads entries. It goes on when the index is closed or begun anew, and
// finds nothing then. One goroutine uses it.
type maildirEntryReader struct {
	file    *os.File
	id      uint64
	end     int64
	pending []byte // what stands before end
	ahead   int    // bytes that are read at once

	at   int64
	buf  []byte   // of the file, from at
	used [][]byte // buffers whose entries are still the caller's
	free [][]byte
}

const (
	maildirEntryAlone = 4 << 10  // read for one entry, which nearly always fits
	maildirEntryMany  = 64 << 10 // and for one of many that follow each other
)

// read makes r ready to read: many tells that more than an entry is wanted.
func (ix *maildirIndex) read(which int, r *maildirEntryReader, many bool) {
	e := &ix.entries[which]
	r.file, r.id, r.end, r.pending = e.file, ix.id, e.end, e.pending
	if r.ahead = maildirEntryAlone; many {
		r.ahead = maildirEntryMany
	}
	r.free = append(r.free, r.used...)
	r.used, r.buf = r.used[:0], nil
}

// entry gives the payload of the entry at a place, nil if there is none. It is valid
// until the next read.
func (r *maildirEntryReader) entry(place uint32) []byte {
	at := int64(place) * maildirEntryAlign
	if at < maildirIndexEntryHead || at >= r.end {
		return nil
	}
	if written := r.end - int64(len(r.pending)); at >= written {
		payload, _ := r.cut(r.pending[at-written:], at)
		return payload
	}
	if at >= r.at && at < r.at+int64(len(r.buf)) {
		if payload, whole := r.cut(r.buf[at-r.at:], at); whole {
			return payload
		}
	}
	if !r.fill(at, r.ahead) {
		return nil
	}
	payload, whole := r.cut(r.buf, at)
	if !whole && len(r.buf) >= maildirEntryHead {
		length := int(binary.LittleEndian.Uint32(r.buf))
		if length <= maildirBlockMost && length+maildirEntryHead > len(r.buf) && r.fill(at, length+maildirEntryHead) {
			payload, _ = r.cut(r.buf, at)
		}
	}
	return payload
}

// fill reads from at into a buffer that no entry uses.
func (r *maildirEntryReader) fill(at int64, size int) bool {
	var buf []byte
	if n := len(r.free); n > 0 && cap(r.free[n-1]) >= size {
		buf, r.free = r.free[n-1], r.free[:n-1]
	} else {
		buf = make([]byte, size)
	}
	n, err := r.file.ReadAt(buf[:size], at)
	if err != nil && err != io.EOF && !errors.Is(err, fs.ErrClosed) {
		n = 0 // a disk that cannot be read: the message may be
	}
	r.at, r.buf = at, buf[:n]
	r.used = append(r.used, buf)
	return n > 0
}

// cut gives the entry that b begins with; whole is false if b ends before it does.
func (r *maildirEntryReader) cut(b []byte, at int64) (payload []byte, whole bool) {
	if len(b) < maildirEntryHead {
		return nil, false
	}
	length := int64(binary.LittleEndian.Uint32(b))
	if length > maildirBlockMost {
		return nil, true
	}
	if int64(len(b)) < maildirEntryHead+length {
		return nil, false
	}
	payload = b[maildirEntryHead : maildirEntryHead+length]
	if binary.LittleEndian.Uint32(b[4:]) != maildirChecksum(r.id, at, 0, payload) {
		return nil, true
	}
	return payload, true
}

// renew begins an index of the same folder under other names; with entries those are
// to be written anew as well, without it they stay. ix goes on meanwhile. replace or
// abandon ends it.
func (ix *maildirIndex) renew(entries bool) (*maildirIndex, error) {
	n := &maildirIndex{md: ix.md, id: ix.id}
	err := ix.flush()
	if err == nil {
		n.file, err = n.createTemporary(maildirIndexName)
	}
	if err == nil {
		err = unix.Flock(int(n.file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	}
	if !entries {
		n.entries = ix.entries
	}
	for i := range n.entries {
		if err == nil && entries {
			n.entries[i].file, err = n.createTemporary(maildirIndexEntries[i].name)
		}
	}
	if err == nil && entries {
		err = n.wipe()
	} else if err == nil {
		err = n.wipeBlocks()
	}
	if err != nil {
		n.abandon(ix)
		return nil, err
	}
	return n, nil
}

func (ix *maildirIndex) createTemporary(name string) (*os.File, error) {
	return fileCreate(fileTemporary(filepath.Join(ix.md.path, name)), maildirFileMode)
}

// replace gives a renewed index the names of old, which is closed. After an error old is
// still there, or neither is of use any more.
func (ix *maildirIndex) replace(old *maildirIndex) error {
	err := ix.flush()
	for i := range ix.entries {
		if err == nil && ix.entries[i].file != old.entries[i].file {
			err = fileRename(ix.entries[i].file.Name(), filepath.Join(ix.md.path, maildirIndexEntries[i].name))
		}
	}
	if err == nil {
		err = fileRename(ix.file.Name(), filepath.Join(ix.md.path, maildirIndexName))
	}
	if err != nil {
		ix.abandon(old)
		return err
	}
	for i := range ix.entries {
		if ix.entries[i].file == old.entries[i].file {
			old.entries[i].file = nil
		}
	}
	old.close()
	return nil
}

// abandon gives a renewed index up.
func (ix *maildirIndex) abandon(old *maildirIndex) {
	files := []*os.File{ix.file}
	for i := range ix.entries {
		if e := &ix.entries[i]; e.file == old.entries[i].file {
			e.file = nil // it stays the old one's
		} else {
			files = append(files, e.file)
		}
	}
	for _, f := range files {
		if f != nil {
			os.Remove(f.Name()) // else the sweep finds it
		}
	}
	ix.close()
}
