package main

import (
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"slices"
	"sort"
	"time"
)

// mailboxView is one session's view of an open mailbox: its numbering, which moves
// only in sync. One goroutine uses it.
type mailboxView struct {
	mb     *mailbox
	epoch  int  // mb's when the view was made
	only   bool // read-only
	keep   bool // new mail stays in new/
	notify func()
	by     *mailboxListener // of the same session, if it listens
	who    *mailboxAccess   // whose rights count; nil: all rights
	closed bool
	copied func() // called, with both mailboxes locked, after each message that copy or move has dealt with; may be nil

	list   []uint32 // UIDs by sequence number; shared with mb and never written to
	recent []uint32 // UIDs that are recent to this session, ascending
	told   uint64   // flags changed up to this mod-sequence were told
	safe   uint64   // likewise, and all that was expunged
	held   bool     // there is something expunged that was not told
	seen   uint64   // the highest mod-sequence of a message that the session was given
	quiet  []uint64 // mod-sequences of this session's own silent changes since
}

// view opens a folder for one session. notify is called, from any goroutine and
// with no lock held, when there is something to tell; it must return at once
// (conn.wake); nil if the session does not care. Read-only views change nothing.
func (t *mailboxTree) view(name string, readOnly bool, notify func()) (*mailboxView, error) {
	return t.open(name, &mailboxView{only: readOnly, notify: notify})
}

// viewKeepingNew opens a folder for a session that may change messages but does
// not take new mail: a message stays in new/, and recent for the first IMAP client,
// until its flags are changed. POP3 reads this way.
func (t *mailboxTree) viewKeepingNew(name string) (*mailboxView, error) {
	return t.open(name, &mailboxView{keep: true})
}

func (t *mailboxTree) open(name string, v *mailboxView) (*mailboxView, error) {
	mb, err := t.mailbox(name)
	if err != nil {
		return nil, err
	}
	t.st.hold(mb)
	v.mb = mb
	if v.notify != nil {
		t.st.watcher.add(mb) // before the first look, so that nothing falls between
	}
	err = mb.locked(v, func() error {
		v.epoch, v.list, v.told, v.safe = mb.epoch, mb.uids, mb.modSeq, mb.modSeq
		mb.views[v] = struct{}{}
		v.claim()
		return nil
	})
	if err != nil {
		v.close()
		return nil, err
	}
	return v, nil
}

func (v *mailboxView) close() {
	if v.closed {
		return
	}
	v.closed = true
	v.mb.mu.Lock()
	delete(v.mb.views, v)
	v.mb.mu.Unlock()
	if v.notify != nil {
		v.mb.st.watcher.remove(v.mb)
	}
	v.mb.st.release(v.mb)
}

// locked is mailbox.locked for a view whose mailbox must still be the one it
// was opened on.
func (v *mailboxView) locked(f func() error) error {
	return v.mb.locked(v, func() error {
		if v.epoch != v.mb.epoch || v.closed {
			return errMailboxGone
		}
		return f()
	})
}

// peek is locked without a refresh: for what must be quick and needs no news.
func (v *mailboxView) peek(f func() error) error {
	v.mb.mu.Lock()
	defer v.mb.mu.Unlock()
	if v.epoch != v.mb.epoch || v.mb.gone.Load() || v.closed {
		return errMailboxGone
	}
	return v.mb.failed(f())
}

func (v *mailboxView) readOnly() bool { return v.only }

// name is the folder's name, as the session's user knows it.
func (v *mailboxView) name() string {
	if v.who == nil {
		return v.mb.name
	}
	return v.who.nameOf(v.mb.tree, v.mb.name)
}

func (v *mailboxView) uidValidity() (validity uint32) {
	v.peek(func() error { validity = v.mb.list.validity; return nil })
	return validity
}

// uidNext is above every UID that was given, and below or equal to the next.
func (v *mailboxView) uidNext() (next uint32) {
	v.peek(func() error { next = v.mb.uidNext(); return nil })
	return next
}

func (mb *mailbox) uidNext() uint32 { return max(mb.list.next, mb.lastUID()+1) }

// uids are this session's messages: message n is uids()[n-1]. Not to be changed.
func (v *mailboxView) uids() []uint32 { return v.list }

// mailboxChanges is what a session must be told after sync, in this order.
type mailboxChanges struct {
	expunged []uint32 // UIDs, ascending, no longer in the view
	numbers  []uint32 // the sequence number of each at its turn (numbers already shifted by those before)
	exists   bool     // the number of messages is to be told again: len(uids())
	recent   int      // number of messages recent to this session
	changed  []uint32 // UIDs whose flags changed, other than by this session silently
	silent   []uint32 // those whose flags this session changed silently
	gone     []uint32 // UIDs that are gone, if they are in expunged or still have numbers
}

// sync looks for what other sessions and programs did and moves the numbering.
// With expunges false, messages that are gone keep their numbers for now. A view
// that is not read-only takes new mail: it goes to cur/ and is recent to it.
func (v *mailboxView) sync(expunges bool) (changes mailboxChanges, err error) {
	err = v.locked(func() error {
		mb := v.mb
		old := v.list
		if !mailboxSameList(old, mb.uids) {
			v.advance(&changes, expunges)
		}
		if mb.modSeq > v.told {
			last := uint32(0)
			if len(old) > 0 {
				last = old[len(old)-1]
			}
			for i := range mb.changedSince(v.told) {
				r := &mb.records[i]
				switch {
				case r.modSeq <= v.told || r.uid > last:
				case slices.Contains(v.quiet, r.modSeq):
					changes.silent = append(changes.silent, r.uid)
				default:
					changes.changed = append(changes.changed, r.uid)
				}
			}
			v.told = mb.modSeq
		}
		if v.held = !mailboxSameList(v.list, mb.uids); !v.held {
			v.safe = v.told
		}
		v.quiet = v.quiet[:0]
		v.claim()
		changes.recent = v.countRecent()
		return nil
	})
	return changes, err
}

// mailboxSameList tells whether two lists are the same by identity: as long as
// nothing was expunged, lists are growing slices of one array.
func mailboxSameList(a, b []uint32) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// advance brings v.list from what the session knows to what there is.
func (v *mailboxView) advance(changes *mailboxChanges, expunges bool) {
	old, now := v.list, v.mb.uids
	j := 0
	var gone []uint32
	for i, uid := range old {
		for j < len(now) && now[j] < uid {
			j++
		}
		if j < len(now) && now[j] == uid {
			continue
		}
		gone = append(gone, uid)
		changes.numbers = append(changes.numbers, uint32(i+1-(len(gone)-1)))
	}
	last := uint32(0)
	if len(old) > 0 {
		last = old[len(old)-1]
	}
	more := now[sort.Search(len(now), func(i int) bool { return now[i] > last }):]
	changes.exists, changes.gone = len(more) > 0, gone
	switch {
	case expunges || len(gone) == 0:
		changes.expunged = gone
		v.list = now
	case len(more) > 0:
		changes.numbers = nil
		v.list = append(slices.Clip(old), more...)
	default:
		changes.numbers = nil
	}
}

// claim moves new mail of this view from new/ to cur/, which makes it recent to
// this session and to no other (RFC 3501, section 2.3.2).
func (v *mailboxView) claim() {
	mb := v.mb
	if v.only || v.keep || mb.unread == 0 {
		return
	}
	defer mb.changesMany(mb.unread)()
	overtaken := false
	err := mb.renaming(func() error {
		overtaken = v.claimLocked()
		return nil
	})
	if err != nil {
		return // it stays in new/, and is shown
	}
	if mb.absorb(); overtaken {
		mb.newStamp, mb.curStamp = time.Time{}, time.Time{}
	}
}

// claimLocked does the renaming; overtaken tells that another program was faster.
func (v *mailboxView) claimLocked() (overtaken bool) {
	mb := v.mb
	mb.eachNew(func(_ int, r *mailboxRecord) bool {
		if _, found := slices.BinarySearch(v.list, r.uid); !found {
			return true
		}
		name := mb.fileName(r)
		base, flags, odd, _ := maildirParse(name)
		to := mb.md.fileName(base, flags, odd)
		if err := mb.rename(name, false, to); errors.Is(err, fs.ErrNotExist) {
			overtaken = true
			return true
		} else if err != nil {
			return false // it stays in new/, and is shown; a full disk does not stop anybody from reading
		}
		mb.setName(r, to, true)
		mb.newUnsynced = true
		v.recent = append(v.recent, r.uid)
		return true
	})
	slices.Sort(v.recent)
	return overtaken
}

// countRecent counts the messages of the view that are recent to its session.
// To a read-only view all that lies in new/ is.
func (v *mailboxView) countRecent() int {
	n := 0
	for _, uid := range v.recent {
		if _, found := slices.BinarySearch(v.list, uid); found {
			n++
		}
	}
	if v.only || v.keep {
		n += v.mb.unread
	}
	return n
}

func (v *mailboxView) isRecent(r *mailboxRecord) bool {
	if (v.only || v.keep) && !r.inCur() {
		return true
	}
	if len(v.recent) == 0 {
		return false
	}
	_, found := slices.BinarySearch(v.recent, r.uid)
	return found
}

// mailboxMessage is a copy of what is known of one message without opening it.
type mailboxMessage struct {
	uid    uint32
	flags  mailboxFlags
	modSeq uint64
	size   int64 // RFC822.SIZE, -1 if it is not known yet: see mailboxView.size
	date   int64 // INTERNALDATE in seconds since 1970, -1 if not known yet: see date
	recent bool  // to this session
}

// messages gives those of uids (ascending) that still exist, by copy.
func (v *mailboxView) messages(uids []uint32) []mailboxMessage {
	return v.appendMessages(make([]mailboxMessage, 0, len(uids)), uids)
}

// appendMessages is messages with memory of the caller's.
func (v *mailboxView) appendMessages(list []mailboxMessage, uids []uint32) []mailboxMessage {
	v.peek(func() error {
		v.each(uids, func(r *mailboxRecord) {
			v.seen = max(v.seen, r.modSeq)
			list = append(list, mailboxMessage{uid: r.uid, flags: v.mb.publicFlags(r.flags), modSeq: r.modSeq,
				size: r.size, date: r.date, recent: v.isRecent(r)})
		})
		return nil
	})
	return list
}

// each calls f for the records of those of uids (ascending) that exist.
func (v *mailboxView) each(uids []uint32, f func(r *mailboxRecord)) {
	if len(uids) == 0 {
		return
	}
	records := v.mb.records
	i := sort.Search(len(records), func(i int) bool { return records[i].uid >= uids[0] })
	for _, uid := range uids {
		if i < len(records) && records[i].uid < uid {
			if i++; i < len(records) && records[i].uid < uid {
				rest := records[i:]
				i += sort.Search(len(rest), func(i int) bool { return rest[i].uid >= uid })
			}
		}
		if i == len(records) {
			return
		}
		if records[i].uid == uid {
			f(&records[i])
		}
	}
}

// firstUnseen is the number of the first message without \Seen, 0 if there is none.
func (v *mailboxView) firstUnseen() (number int) {
	_ = v.peek(func() error { // a folder that is gone has none
		for i := range v.mb.records {
			r := &v.mb.records[i]
			if r.flags&maildirFlagSeen != 0 {
				continue
			}
			if at, shown := slices.BinarySearch(v.list, r.uid); shown {
				number = at + 1
				break
			}
		}
		return nil
	})
	return number
}

// record runs f with the record of one message.
func (v *mailboxView) record(uid uint32, f func(r *mailboxRecord) error) error {
	return v.peek(func() error {
		i := v.mb.find(uid)
		if i < 0 {
			return errMailboxExpunged
		}
		return f(&v.mb.records[i])
	})
}

// date is INTERNALDATE: the file's time. It may stat the file.
func (v *mailboxView) date(uid uint32) (date time.Time, err error) {
	err = v.record(uid, func(r *mailboxRecord) error {
		if r.date < 0 {
			info, err := v.mb.statRecord(uid)
			if err != nil {
				return err
			}
			r = &v.mb.records[v.mb.find(uid)]
			r.date = max(0, info.ModTime().Unix())
			v.mb.touch(r)
		}
		date = time.Unix(r.date, 0)
		return nil
	})
	return date, err
}

// saved is when the message came into this folder (RFC 8514). The file's name says it: whoever
// puts a message into a folder gives its file a new name, with the time in it. Its ctime changes with
// each flag. Where the name says nothing, it is the INTERNALDATE.
func (v *mailboxView) saved(uid uint32) (time.Time, error) {
	seconds := uint64(math.MaxUint64)
	err := v.record(uid, func(r *mailboxRecord) error {
		seconds, _ = maildirTime(v.mb.base(r))
		return nil
	})
	if err != nil || seconds >= 1<<40 {
		return v.date(uid)
	}
	return time.Unix(int64(seconds), 0), nil
}

// size is RFC822.SIZE: the size in wire form. It reads the file if its name
// does not tell.
func (v *mailboxView) size(uid uint32) (int64, error) {
	size := int64(-1)
	err := v.record(uid, func(r *mailboxRecord) error { size = r.size; return nil })
	if err != nil || size >= 0 {
		return size, err
	}
	f, err := v.open(uid)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if size, err = io.Copy(io.Discard, messageWire(f, 0, info.Size())); err != nil {
		return 0, err
	}
	return size, v.record(uid, func(r *mailboxRecord) error {
		r.size = size
		v.mb.touch(r)
		return nil
	})
}

// open opens a message's file for reading. errMailboxExpunged if it is gone. The mailbox is
// not locked meanwhile, so that a command can have files opened on all cores; when the file was
// renamed just then, it is looked for under the lock.
func (v *mailboxView) open(uid uint32) (f *os.File, err error) {
	var name string
	var cur bool
	err = v.record(uid, func(r *mailboxRecord) error {
		name, cur = v.mb.fileName(r), r.inCur()
		return nil
	})
	if err != nil {
		return nil, err
	}
	if f, err = v.mb.md.open(name, cur); !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	err = v.record(uid, func(*mailboxRecord) error {
		return v.mb.withFile(uid, func(r *mailboxRecord) (err error) {
			f, err = v.mb.md.open(v.mb.fileName(r), r.inCur())
			return err
		})
	})
	return f, err
}

func (mb *mailbox) statRecord(uid uint32) (info os.FileInfo, err error) {
	err = mb.withFile(uid, func(r *mailboxRecord) (err error) {
		info, err = mb.md.statFile(mb.fileName(r), r.inCur())
		return err
	})
	return info, err
}

// withFile runs f, which does something with a message's file. When another
// program has renamed the file meanwhile, the folder is read again, and f runs once
// more. errMailboxExpunged if the message is gone.
func (mb *mailbox) withFile(uid uint32, f func(r *mailboxRecord) error) error {
	for range mailboxMissesMost + 1 {
		i := mb.find(uid)
		if i < 0 {
			return errMailboxExpunged
		}
		err := f(&mb.records[i])
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		epoch := mb.epoch
		if err := mb.rescan(); err != nil {
			return err
		}
		if mb.epoch != epoch {
			return errMailboxGone
		}
	}
	return errMailboxExpunged
}

// popUIDL is the UIDL another server gave (uidlist field P), "" if none.
func (v *mailboxView) popUIDL(uid uint32) (uidl string) {
	v.peek(func() error { uidl = v.mb.popUIDLs[uid]; return nil })
	return uidl
}

// fileBase is the file's name without its info, "" if the message is gone.
func (v *mailboxView) fileBase(uid uint32) (base string) {
	v.record(uid, func(r *mailboxRecord) error { base = v.mb.base(r); return nil })
	return base
}

// keywords are the folder's keywords by number, "" where there is none.
// $Forwarded is not among them: it is a flag. Not to be changed.
func (v *mailboxView) keywords() (names []string) {
	v.peek(func() error { names = v.mb.publicKeywords(); return nil })
	return names
}

func (mb *mailbox) publicKeywords() []string {
	if mb.forwarded == 0 {
		return mb.keywords
	}
	names := slices.Clone(mb.keywords)
	for i := range names {
		if mb.forwarded&(1<<(maildirKeyword0+i)) != 0 {
			names[i] = ""
		}
	}
	return names
}
