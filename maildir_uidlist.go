package main

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// dovecot-uidlist, version 3, says which message has which UID:
//
//	3 V1764000000 N42 G6ee80c1f5b3a2469d1f60000a1b2c3d4
//	40 :1764000001.M1P2.host,S=10,W=10
//	41 P000000016b03c011 :1764000002.M1P3.host,S=10,W=10
//
// V is the UIDVALIDITY. N may lag behind the lines that follow. Lines are
// appended, or the whole list is replaced, under dovecot-uidlist.lock. A UID is told to
// nobody before its line, and after a replacement the directory, is synced.
//
// A power cut may leave a torn end: half a line, or NULs. No UID in it has been
// told; it is read past, and replaced by the next change. Version 1 (Courier) has
// "1 <uidvalidity> <next uid>" and lines "<uid> <name>"; the first change makes it
// version 3.

const (
	maildirUidlistName  = "dovecot-uidlist"
	maildirCourierName  = "courierimapuiddb" // Courier's own, read where there is none of Dovecot's
	maildirUidlistFresh = 2 * time.Minute    // a list that another program has changed so lately may not be synced
	maildirUidlineMost  = 1024               // bytes; a longer line is not one
	maildirUidlistCheck = 64                 // bytes before the end of what was read, to know them again
)

// maildirUidlist says what a dovecot-uidlist file was when it was read last.
type maildirUidlist struct {
	validity, next uint32 // next is above every uid in the file
	guid           string // 32 hex digits, "" while the list has none
	lines          int    // lines in the file, those of expunged messages included

	extra   string      // header fields that are not ours, with a space before each
	old     bool        // version 1: the next change replaces the file
	courier bool        // read from Courier's file: likewise
	torn    bool        // likewise
	info    os.FileInfo // the file; its size is not that of what was read if the end is torn
	end     int64       // what was read ends here, after a line
	before  []byte      // what stands before end
}

// maildirUidline is one line.
type maildirUidline struct {
	uid    uint32
	fields string // "" or like "G6ee8... P0000", as between uid and the colon
	base   string
}

func (md *maildir) uidlistPath() string { return md.path + "/" + maildirUidlistName }

// maildirField gives the value of one field of a line, such as 'P' or 'G'.
func maildirField(fields string, letter byte) (value string, ok bool) {
	for field := range strings.FieldsSeq(fields) {
		if field[0] == letter {
			return field[1:], true
		}
	}
	return "", false
}

// maildirUidlistLock is dovecot-uidlist.lock, held.
type maildirUidlistLock struct {
	md    *maildir
	lock  *maildirLock
	dirty bool // lines were appended and not synced
}

// lockUidlist waits for the lock, removes stale ones, and gives errMaildirLocked
// after some seconds. In this process, too, one holds it at a time.
func (md *maildir) lockUidlist() (*maildirUidlistLock, error) {
	lock, err := maildirLockFile(md.uidlistPath())
	if err != nil {
		return nil, err
	}
	return &maildirUidlistLock{md: md, lock: lock}, nil
}

func (l *maildirUidlistLock) unlock() { l.lock.unlock() }

// held gives errMaildirLocked if another program has taken the lock, thinking its
// holder dead; it is asked just before the list is changed. Dovecot removes a lock
// that looked stale without looking again, and so may take a fresh one.
func (l *maildirUidlistLock) held() error {
	if !l.lock.isOurs() {
		return fmt.Errorf("the lock of %s was taken away: %w", l.md.uidlistPath(), errMaildirLocked)
	}
	return nil
}

// append adds lines at the end; list is what readUidlist gave under this lock and
// is brought up to date. The lines are not synced.
func (l *maildirUidlistLock) append(list *maildirUidlist, lines []maildirUidline) error {
	if len(lines) == 0 {
		return nil
	}
	if list.old || list.torn || list.info == nil || list.guid == "" {
		return l.rewrite(list, func(uint32, string) bool { return true }, lines)
	}
	f, err := os.OpenFile(l.md.uidlistPath(), os.O_RDWR, maildirFileMode)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !os.SameFile(info, list.info) || info.Size() != list.end {
		return errors.New("dovecot-uidlist was changed by a program that did not lock it")
	}
	var text []byte
	for _, line := range lines {
		text = line.appendTo(text)
	}
	if err := fileStep("write", f.Name()); err != nil {
		return err
	}
	if err := l.held(); err != nil {
		return err
	}
	l.dirty = true
	if _, err := f.WriteAt(text, list.end); err != nil {
		if err := f.Truncate(list.end); err != nil {
			list.torn = true
		}
		return err
	}
	if list.info, err = f.Stat(); err != nil {
		return err
	}
	list.end += int64(len(text))
	list.before = maildirTail(list.before, text)
	list.next = lines[len(lines)-1].uid + 1
	list.lines += len(lines)
	return nil
}

func (line maildirUidline) appendTo(text []byte) []byte {
	text = strconv.AppendUint(text, uint64(line.uid), 10)
	if line.fields != "" {
		text = append(text, ' ')
		text = append(text, line.fields...)
	}
	text = append(text, " :"...)
	text = append(text, line.base...)
	return append(text, '\n')
}

// maildirTail is the end of before and text, in before's memory.
func maildirTail(before, text []byte) []byte {
	if len(text) >= maildirUidlistCheck {
		return append(before[:0], text[len(text)-maildirUidlistCheck:]...)
	}
	kept := min(len(before), maildirUidlistCheck-len(text))
	copy(before, before[len(before)-kept:])
	return append(before[:kept], text...)
}

// rewrite replaces the file by one that has the header and those old lines that
// keep says, and new lines: temporary file, sync, rename, directory sync. A version 1
// file becomes version 3 this way. list is brought up to date.
func (l *maildirUidlistLock) rewrite(list *maildirUidlist, keep func(uid uint32, base string) bool, more []maildirUidline) error {
	path := l.md.uidlistPath()
	next := list.next
	if len(more) > 0 {
		next = max(next, more[len(more)-1].uid+1)
	}
	if list.guid == "" {
		list.guid = maildirNewGUID()
	}
	r, err := fileReplaceBegin(path, maildirFileMode)
	if err != nil {
		return err
	}
	var end int64
	var before []byte
	lines := 0
	w := bufio.NewWriterSize(r, 64<<10)
	put := func(text []byte) {
		end += int64(len(text))
		before = maildirTail(before, text)
		w.Write(text) // its error is Flush's
	}
	put(list.header(next))
	var text []byte
	if list.info != nil {
		_, _, err = l.md.readUidlist(nil, func(uid uint32, fields, base string) {
			if keep(uid, base) {
				text = maildirUidline{uid, fields, base}.appendTo(text[:0])
				put(text)
				lines++
			}
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errMaildirUidlist) {
			r.abort()
			return err
		}
	}
	for _, line := range more {
		text = line.appendTo(text[:0])
		put(text)
		lines++
	}
	if err := w.Flush(); err != nil {
		r.abort()
		return err
	}
	info, err := r.Stat()
	if err != nil {
		r.abort()
		return err
	}
	if err := l.held(); err != nil {
		r.abort()
		return err
	}
	if err := r.commit(); err != nil {
		return err
	}
	l.dirty = false
	list.next, list.lines, list.old, list.courier, list.torn = next, lines, false, false, false
	list.info, list.end, list.before = info, end, before
	return nil
}

// header is the first line.
func (list *maildirUidlist) header(next uint32) []byte {
	text := append([]byte("3 V"), strconv.FormatUint(uint64(list.validity), 10)...)
	text = append(text, " N"...)
	text = strconv.AppendUint(text, uint64(next), 10)
	text = append(text, " G"...)
	text = append(text, list.guid...)
	text = append(text, list.extra...)
	return append(text, '\n')
}

// maildirNewGUID makes a mailbox's identifier: 128 bits in hex.
func maildirNewGUID() string {
	var id [16]byte
	rand.Read(id[:]) // never fails, says its documentation
	return hex.EncodeToString(id[:])
}

// sync makes appended lines durable.
func (l *maildirUidlistLock) sync() error {
	if !l.dirty {
		return nil
	}
	l.dirty = false
	return l.md.syncUidlist()
}

// syncUidlist makes the list durable as it is now, its lines and its name.
func (md *maildir) syncUidlist() error {
	f, err := os.OpenFile(md.uidlistPath(), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return fileSync(f)
}

// readUidlist reads what is new since old (nil: all) and calls line for each
// line, uids ascending. whole tells that it was read from the start (another
// file, or old was nil): what line was not called for is no longer in it. No
// lock is needed. os.ErrNotExist: there is none; errMaildirUidlist: unusable. A
// torn end is left out, and next is above every uid that can be read in it. What
// another program has written lately is synced before it is given.
func (md *maildir) readUidlist(old *maildirUidlist, line func(uid uint32, fields, base string)) (list *maildirUidlist, whole bool, err error) {
	f, err := os.Open(md.uidlistPath())
	if errors.Is(err, fs.ErrNotExist) && (old == nil || old.courier) {
		return md.readCourier(old, line)
	}
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, false, err
	}
	if old != nil {
		if os.SameFile(info, old.info) && info.Size() == old.info.Size() && info.ModTime().Equal(old.info.ModTime()) {
			return old, false, nil
		}
		if list := old.goneOn(f, info); list != nil {
			if err := md.syncForeign(info); err != nil {
				return nil, false, err
			}
			return list, false, list.read(f, line)
		}
	}
	if err := md.syncForeign(info); err != nil {
		return nil, false, err
	}
	list = &maildirUidlist{info: info}
	return list, true, list.read(f, line)
}

// syncForeign makes durable what another program has written and perhaps not synced.
func (md *maildir) syncForeign(info os.FileInfo) error {
	if age := time.Since(info.ModTime()); age > maildirUidlistFresh {
		return nil
	}
	if err := md.syncUidlist(); err != nil && !errors.Is(err, fs.ErrPermission) {
		return err // a list that we may only read is its owner's to sync
	}
	return syncDir(md.path)
}

// goneOn gives the list to read on from where old ended, or nil if this is not the
// same file grown longer. An inode number alone does not tell: it may have
// been given again.
func (old *maildirUidlist) goneOn(f *os.File, info os.FileInfo) *maildirUidlist {
	if !os.SameFile(info, old.info) || info.Size() < old.end || old.old {
		return nil
	}
	before := make([]byte, len(old.before))
	if _, err := f.ReadAt(before, old.end-int64(len(before))); err != nil || !bytes.Equal(before, old.before) {
		return nil
	}
	list := *old
	list.info, list.before, list.torn = info, before, false
	return &list
}

// readCourier reads Courier's list as one of version 1. Courier is gone when we
// come, so a list that was read once is not read again.
func (md *maildir) readCourier(old *maildirUidlist, line func(uid uint32, fields, base string)) (*maildirUidlist, bool, error) {
	if old != nil {
		return old, false, nil
	}
	f, err := os.Open(filepath.Join(md.path, maildirCourierName))
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	list := &maildirUidlist{courier: true}
	if list.info, err = f.Stat(); err != nil {
		return nil, false, err
	}
	return list, true, list.read(f, line)
}

// foreignUIDs reads the list of a folder that is not ours: no lock is taken, and nothing is
// synced. fs.ErrNotExist if there is none, errMaildirUidlist if it is unusable.
func (md *maildir) foreignUIDs(line func(uid uint32, fields, base string)) error {
	f, err := os.Open(md.uidlistPath())
	courier := errors.Is(err, fs.ErrNotExist)
	if courier {
		f, err = os.Open(filepath.Join(md.path, maildirCourierName))
	}
	if err != nil {
		return err
	}
	defer f.Close()
	return (&maildirUidlist{courier: courier}).read(f, line)
}

// read reads on from list.end.
func (list *maildirUidlist) read(f io.ReaderAt, line func(uid uint32, fields, base string)) error {
	r := bufio.NewReaderSize(io.NewSectionReader(f, list.end, 1<<62), 64<<10)
	if list.end == 0 {
		text, err := r.ReadSlice('\n')
		if err != nil && err != io.EOF && err != bufio.ErrBufferFull {
			return err
		}
		if err != nil || !list.readHeader(string(text)) {
			return errMaildirUidlist
		}
		list.took(text)
	}
	last := uint32(0)
	for {
		text, err := r.ReadSlice('\n')
		switch {
		case err == io.EOF:
			if len(text) > 0 {
				list.damaged(text)
			}
			return nil
		case err == bufio.ErrBufferFull:
			list.damaged(text)
			continue
		case err != nil:
			return err
		}
		uid, fields, base, ok := maildirUidlineParse(text, list.old)
		if !ok || uid <= last {
			list.damaged(text)
			continue
		}
		if list.torn { // a line after damage: it is good, but end must stay before the damage
			list.lines++
		} else {
			list.took(text)
			list.lines++
		}
		last = uid
		if uid >= list.next {
			list.next = uid + 1
		}
		line(uid, fields, base)
	}
}

// maildirUidlistRaised gives a list's text with a next UID that is higher by gap. A list that is damaged or used up stays as it is.
func maildirUidlistRaised(text []byte, gap uint32) []byte {
	list := &maildirUidlist{}
	if list.read(bytes.NewReader(text), func(uint32, string, string) {}) != nil || list.next > math.MaxUint32/2 {
		return text
	}
	header, lines, _ := bytes.Cut(text, []byte("\n"))
	fields, next := strings.Fields(string(header)), strconv.FormatUint(uint64(list.next+gap), 10)
	for i, field := range fields {
		switch {
		case list.old && i == 2:
			fields[i] = next
		case !list.old && i > 0 && field[0] == 'N':
			fields[i] = "N" + next
		}
	}
	return append([]byte(strings.Join(fields, " ")+"\n"), lines...)
}

// took notes that a line was read.
func (list *maildirUidlist) took(text []byte) {
	list.end += int64(len(text))
	list.before = maildirTail(list.before, text)
}

// damaged notes a line that is none, and keeps clear of what may be its UID.
func (list *maildirUidlist) damaged(text []byte) {
	list.torn = true
	text = bytes.TrimLeft(text, "\x00")
	uid, _, ok := maildirDigits(string(text[:min(len(text), 10)]))
	if ok && uid >= uint64(list.next) && uid < 1<<32-1 {
		list.next = uint32(uid) + 1
	}
}

// readHeader reads the first line.
func (list *maildirUidlist) readHeader(text string) bool {
	fields := strings.Fields(text)
	if len(fields) == 0 {
		return false
	}
	switch fields[0] {
	case "3":
		for _, field := range fields[1:] {
			switch field[0] {
			case 'V':
				list.validity = maildirUint32(field[1:])
			case 'N':
				list.next = maildirUint32(field[1:])
			case 'G':
				list.guid = field[1:]
			default:
				list.extra += " " + field
			}
		}
	case "1":
		if len(fields) < 3 {
			return false
		}
		list.old = true
		list.validity, list.next = maildirUint32(fields[1]), maildirUint32(fields[2])
	}
	return list.validity != 0 && list.next != 0
}

// maildirUint32 reads a number, 0 if it is none.
func maildirUint32(s string) uint32 {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 0
	}
	return uint32(n)
}

// maildirUidlineParse reads a line, its line feed included.
func maildirUidlineParse(text []byte, old bool) (uid uint32, fields, base string, ok bool) {
	if len(text) > maildirUidlineMost || bytes.IndexByte(text, 0) >= 0 {
		return 0, "", "", false
	}
	line := string(bytes.TrimRight(text, "\r\n"))
	n, rest, ok := maildirDigits(line)
	if !ok || n == 0 || n >= 1<<32-1 || !strings.HasPrefix(rest, " ") {
		return 0, "", "", false
	}
	if old {
		base, _, _, _ = maildirParse(rest[1:])
		return uint32(n), "", base, base != ""
	}
	fields, base, ok = strings.Cut(rest[1:], ":")
	base, _, _, _ = maildirParse(base)
	return uint32(n), strings.TrimSuffix(fields, " "), base, ok && base != ""
}

// note says what the file was when it was read, for uidlistNoted; nil if that would not
// be enough to go on from there.
func (list *maildirUidlist) note() []byte {
	st, ok := maildirSys(list.info)
	if !ok || list.old || list.courier || list.torn || list.guid == "" {
		return nil
	}
	b := binary.AppendUvarint(nil, uint64(st.Ino))
	b = binary.AppendUvarint(b, uint64(list.info.Size()))
	b = binary.AppendVarint(b, list.info.ModTime().UnixNano())
	for _, n := range []uint64{uint64(list.validity), uint64(list.next), uint64(list.lines), uint64(list.end)} {
		b = binary.AppendUvarint(b, n)
	}
	for _, s := range []string{list.guid, list.extra, string(list.before)} {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	return b
}

// uidlistNoted gives the list that a note is of, if the file is still the one that was
// read then; else nil.
func (md *maildir) uidlistNoted(note []byte) *maildirUidlist {
	var n [7]uint64
	for i := range n {
		v, size := binary.Uvarint(note)
		if size <= 0 {
			return nil
		}
		n[i], note = v, note[size:]
	}
	var texts [3]string
	for i := range texts {
		length, size := binary.Uvarint(note)
		if size <= 0 || length > uint64(len(note)-size) {
			return nil
		}
		texts[i], note = string(note[size:size+int(length)]), note[size+int(length):]
	}
	info, err := os.Stat(md.uidlistPath())
	if err != nil {
		return nil
	}
	st, ok := maildirSys(info)
	modTime := int64(n[2]>>1) ^ -int64(n[2]&1) // as binary.AppendVarint has it
	if !ok || uint64(st.Ino) != n[0] || uint64(info.Size()) != n[1] || info.ModTime().UnixNano() != modTime {
		return nil
	}
	return &maildirUidlist{validity: uint32(n[3]), next: uint32(n[4]), lines: int(n[5]), end: int64(n[6]),
		guid: texts[0], extra: texts[1], before: []byte(texts[2]), info: info}
}

func maildirSys(info os.FileInfo) (*syscall.Stat_t, bool) {
	if info == nil {
		return nil, false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return st, ok
}
