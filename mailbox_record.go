package main

import (
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

// mailbox is one folder, shared by all sessions that have it open. Its records
// are what the disk said last; mailbox_refresh.go brings them up to date.
type mailbox struct {
	st   *mailboxStore
	tree *mailboxTree
	name string
	md   *maildir

	holders   int          // guarded by st.mu
	idleSince time.Time    // guarded by st.mu
	count     atomic.Int32 // messages in memory, for st's bookkeeping
	gone      atomic.Bool  // deleted or renamed; it does not come back

	mu     sync.Mutex          // guards all below; never held across a write to a client
	lock   *maildirUidlistLock // while this goroutine holds it
	held   *maildirHeld        // while many files are changed
	loaded bool
	epoch  int // counts changes of UIDVALIDITY; a view of another epoch is gone
	views  map[*mailboxView]struct{}

	list     *maildirUidlist // dovecot-uidlist as read last
	records  []mailboxRecord // by UID
	bases    []byte          // base names, one after the other; records point into it
	odd      map[uint32]mailboxOdd
	popUIDLs map[uint32]string   // uidlist field P, where there is one
	uids     []uint32            // UIDs of records. Views share it: only ever appended to, else replaced
	early    mailboxEarly        // uidlist lines whose file has not been seen yet
	dead     map[uint64]struct{} // hashes of base names whose file is gone, but not its uidlist line

	keywords     []string // by letter, replaced whole when it changes
	keywordStamp time.Time
	forwarded    maildirFlags // the bit of the keyword $Forwarded, 0 if it has no letter

	modSeq   uint64            // the highest that was given
	flagged  uint64            // the highest that was given for a change of flags
	spans    []mailboxSpan     // mod-sequences after which all changes are known
	spanLive bool              // the last of them goes on
	expunged []mailboxExpunged // what was expunged, for resynchronisation

	expungedSince uint64 // above this mod-sequence expunged has all

	newStamp, curStamp time.Time // of new/ and cur/ when they were scanned
	scanDue            time.Time // when to scan although no stamp has changed; zero: no need
	unread             int       // records in new/
	missing            int       // records that the last scan did not see
	rescans            bool      // a scan goes on that takes no lock: it has it, or must not wait for it
	passes             int       // scans within a scan, for files that it may have missed
	newUnsynced        bool      // names left new/ and it was not synced since

	index     mailboxIndex
	arrivals  mailboxArrivals            // has a mutex of its own
	summaries map[uint32]*messageSummary // while there is no index
	timer     *time.Timer                // refreshes for sessions that wait; nil until needed
	timerAt   time.Time                  // when; zero if it is not set

	listenMu           sync.Mutex // guards all below; of other locks only a listener's is taken while it is held
	listeners          map[*mailboxListener]*mailboxListened
	heardNew, heardCur time.Time // new/ and cur/ when listeners were told last of what polling found
	heardAt            time.Time // and when that was
}

// mailboxRecord is one message, small: with its name it is to stay below 100
// bytes. Fields that are not known yet are -1.
type mailboxRecord struct {
	modSeq  uint64
	date    int64 // INTERNALDATE, seconds since 1970
	size    int64 // in wire form
	base    uint32
	uid     uint32
	text    uint32       // place of the summary in the index, 0 if it has none
	words   uint32       // likewise of the signature
	flags   maildirFlags // as the file name has them
	baseLen uint8
	state   mailboxRecordState
	misses  uint8 // scans in a row that did not see the file
}

type mailboxRecordState uint8

const (
	mailboxInNew   mailboxRecordState = 1 << iota // the file is in new/
	mailboxIsOdd                                  // its name is not what maildir.fileName gives; see mailbox.odd
	mailboxScanned                                // seen by the scan that is going on
	mailboxIndexed                                // the index has it, perhaps as it was earlier
	mailboxTouched                                // it has changed since the index was written
)

// mailboxOdd is a file name that cannot be made from base and flags, and the
// letters in it that are no flags.
type mailboxOdd struct{ name, letters string }

// mailboxExpunged remembers an expunged UID.
type mailboxExpunged struct {
	uid    uint32
	modSeq uint64
}

// mailboxExpungedMost is how many expunged UIDs a mailbox remembers.
const mailboxExpungedMost = 4096

// find gives the index of a UID's record, or -1.
func (mb *mailbox) find(uid uint32) int {
	i := sort.Search(len(mb.records), func(i int) bool { return mb.records[i].uid >= uid })
	if i < len(mb.records) && mb.records[i].uid == uid {
		return i
	}
	return -1
}

// base gives a record's base name. The string shares the arena's memory, which
// is never written again once it is filled.
func (mb *mailbox) base(r *mailboxRecord) string {
	return unsafe.String(&mb.bases[r.base], int(r.baseLen))
}

// fileName gives the name of a record's file in new/ or cur/, as seen last.
func (mb *mailbox) fileName(r *mailboxRecord) string {
	switch {
	case r.state&mailboxIsOdd != 0:
		return mb.odd[r.uid].name
	case r.state&mailboxInNew != 0:
		return mb.base(r)
	}
	return mb.md.fileName(mb.base(r), r.flags, "")
}

// hasFileName tells whether fileName gives this name, without making it.
func (mb *mailbox) hasFileName(r *mailboxRecord, name string) bool {
	if r.state&(mailboxIsOdd|mailboxInNew) != 0 {
		return mb.fileName(r) == name
	}
	return mb.md.isFileName(name, mb.base(r), r.flags)
}

// change gives a record whose flags change its mod-sequence.
func (mb *mailbox) change(r *mailboxRecord, modSeq uint64) {
	r.modSeq, mb.flagged = modSeq, modSeq
}

// changedSince gives the records among which are all whose flags have changed since a
// mod-sequence: none if only new mail has come.
func (mb *mailbox) changedSince(modSeq uint64) []mailboxRecord {
	if mb.flagged <= modSeq {
		return nil
	}
	return mb.records
}

// eachNew calls f for the records whose file is in new/, the latest first, until it says no.
// Nearly always they are the last ones.
func (mb *mailbox) eachNew(f func(i int, r *mailboxRecord) bool) {
	left := mb.unread
	for i := len(mb.records) - 1; i >= 0 && left > 0; i-- {
		if r := &mb.records[i]; !r.inCur() {
			if left--; !f(i, r) {
				return
			}
		}
	}
}

func (r *mailboxRecord) inCur() bool { return r.state&mailboxInNew == 0 }

// setName notes the name that a record's file has now.
func (mb *mailbox) setName(r *mailboxRecord, name string, cur bool) {
	if !r.inCur() {
		mb.unread--
	}
	base, flags, letters, canonical := maildirParse(name)
	r.flags, r.state = flags, r.state&^(mailboxInNew|mailboxIsOdd)
	if !cur {
		r.state |= mailboxInNew
		mb.unread++
		canonical = name == base
	} else if canonical {
		canonical = mb.md.isFileName(name, base, flags)
	}
	mb.touch(r)
	if canonical && letters == "" {
		delete(mb.odd, r.uid)
		return
	}
	r.state |= mailboxIsOdd
	mb.setOdd(r.uid, mailboxOdd{name, letters})
}

func (mb *mailbox) setOdd(uid uint32, odd mailboxOdd) {
	if mb.odd == nil {
		mb.odd = map[uint32]mailboxOdd{}
	}
	mb.odd[uid] = odd
}

func (mb *mailbox) setPopUIDL(uid uint32, uidl string) {
	if mb.popUIDLs == nil {
		mb.popUIDLs = map[uint32]string{}
	}
	mb.popUIDLs[uid] = uidl
}

// grow makes room for the records of many new files at once.
func (mb *mailbox) grow(files int) {
	if files > 16 {
		mb.records = slices.Grow(mb.records, files)
		mb.uids = slices.Grow(mb.uids, files)
		mb.bases = slices.Grow(mb.bases, 48*files)
	}
}

// add appends a record; uid is above all others.
func (mb *mailbox) add(uid uint32, name string, cur bool, fields string, modSeq uint64) *mailboxRecord {
	base, _, _, _ := maildirParse(name)
	r := &mb.records[mb.appendRecord(uid, []byte(base))]
	r.size, r.modSeq = maildirSize(base, ",W="), modSeq
	mb.count.Store(int32(len(mb.records)))
	mb.setName(r, name, cur)
	if uidl, ok := maildirField(fields, 'P'); ok {
		mb.setPopUIDL(uid, uidl)
	}
	mb.meetArrival(r)
	return r
}

// appendRecord makes room for a record and gives its index.
func (mb *mailbox) appendRecord(uid uint32, base []byte) int {
	mb.records = append(mb.records, mailboxRecord{uid: uid, date: -1, size: -1,
		base: uint32(len(mb.bases)), baseLen: uint8(len(base))})
	mb.bases = append(mb.bases, base...)
	mb.uids = append(mb.uids, uid)
	return len(mb.records) - 1
}

// dropUIDs removes the records of some UIDs, and remembers them as expunged.
func (mb *mailbox) dropUIDs(uids []uint32) {
	if len(uids) == 0 {
		return
	}
	if !slices.IsSorted(uids) {
		uids = slices.Sorted(slices.Values(uids))
	}
	from := sort.Search(len(mb.records), func(i int) bool { return mb.records[i].uid >= uids[0] })
	mb.dropFrom(from, func(r *mailboxRecord) bool { // it is asked for each in turn
		for len(uids) > 0 && uids[0] < r.uid {
			uids = uids[1:]
		}
		return len(uids) > 0 && uids[0] == r.uid
	})
}

// drop removes the records that gone says, and remembers them as expunged.
func (mb *mailbox) drop(gone func(r *mailboxRecord) bool) { mb.dropFrom(0, gone) }

func (mb *mailbox) dropFrom(from int, gone func(r *mailboxRecord) bool) {
	modSeq := uint64(0)
	mb.dropRecords(from, gone, func(r *mailboxRecord) {
		if modSeq == 0 {
			modSeq = mb.nextModSeq()
		}
		mb.bury(mb.base(r))
		mb.st.summary.drop(mb, r.uid)
		mb.expunged = append(mb.expunged, mailboxExpunged{r.uid, modSeq})
		if mb.index.file != nil {
			mb.index.expunged = append(mb.index.expunged, mailboxExpunged{r.uid, modSeq})
		}
	})
	if modSeq == 0 {
		return
	}
	mb.st.saveSoon(mb)
	mb.trimExpunged()
	mb.count.Store(int32(len(mb.records)))
}

// dropRecords removes the records, from that index on, that gone says, after last has seen
// them. gone is asked once for each, in their order.
func (mb *mailbox) dropRecords(first int, gone func(r *mailboxRecord) bool, last func(r *mailboxRecord)) {
	for first < len(mb.records) && !gone(&mb.records[first]) {
		first++
	}
	if first == len(mb.records) {
		return
	}
	kept := mb.records[:first]
	for at := first; at < len(mb.records); {
		r := &mb.records[at]
		if !r.inCur() {
			mb.unread--
		}
		if r.misses > 0 {
			mb.missing--
		}
		last(r)
		delete(mb.odd, r.uid)
		delete(mb.popUIDLs, r.uid)
		stay := at + 1 // those that stay are moved together
		for at = stay; at < len(mb.records) && !gone(&mb.records[at]); at++ {
		}
		kept = append(kept, mb.records[stay:at]...)
	}
	mb.records = kept
	uids := append(make([]uint32, 0, len(kept)+len(kept)/64), mb.uids[:first]...) // with room for new mail
	for i := first; i < len(kept); i++ {
		uids = append(uids, kept[i].uid)
	}
	mb.uids = uids
	if len(mb.bases) > 4096 && len(mb.bases) > 160*len(kept) {
		mb.packBases()
	}
}

// baseBytes is what the names of the records take.
func (mb *mailbox) baseBytes() (n int) {
	for i := range mb.records {
		n += int(mb.records[i].baseLen)
	}
	return n
}

// packBases gives back the arena space of names that are gone.
func (mb *mailbox) packBases() {
	bases := make([]byte, 0, mb.baseBytes())
	for i := range mb.records {
		r := &mb.records[i]
		base := mb.base(r)
		r.base = uint32(len(bases))
		bases = append(bases, base...)
	}
	mb.bases = bases
}

// unload gives back the memory of a mailbox that nobody looks at.
func (mb *mailbox) unload() {
	mb.closeIndex()
	mb.forgetRecords()
	mb.loaded, mb.list, mb.early = false, nil, mailboxEarly{}
	mb.keywords, mb.keywordStamp, mb.forwarded = nil, time.Time{}, 0
	mb.newStamp, mb.curStamp, mb.scanDue = time.Time{}, time.Time{}, time.Time{}
}

// forgetRecords forgets all messages.
func (mb *mailbox) forgetRecords() {
	mb.st.summary.dropAll(mb)
	mb.records, mb.bases, mb.uids = nil, nil, nil
	mb.odd, mb.popUIDLs, mb.expunged = nil, nil, nil
	mb.forgetSpans()
	mb.dead, mb.unread, mb.missing = nil, 0, 0
	mb.count.Store(0)
}

// others gives a function that wakes all views but one. It is called after mu
// is unlocked.
func (mb *mailbox) others(but *mailboxView) func() {
	var notify []func()
	for v := range mb.views {
		if v != but && v.notify != nil {
			notify = append(notify, v.notify)
		}
	}
	return func() {
		for _, f := range notify {
			f()
		}
	}
}

// publicFlags turns a file's flags into a message's: the keyword $Forwarded,
// which other servers use, and the letter P mean the same. In a folder that has the
// keyword it alone counts: Dovecot takes it away and leaves P, which it does not know.
func (mb *mailbox) publicFlags(flags maildirFlags) mailboxFlags {
	if mb.forwarded != 0 {
		forwarded := flags&mb.forwarded != 0
		if flags &^= mb.forwarded | maildirFlagPassed; forwarded {
			flags |= maildirFlagPassed
		}
	}
	return mailboxFlags(flags)
}

// fileFlags is the reverse: forwarded is written both ways, so that Courier's
// clients see the letter P and Dovecot's the keyword.
func (mb *mailbox) fileFlags(flags mailboxFlags) maildirFlags {
	if flags&mailboxFlagForwarded != 0 {
		return maildirFlags(flags) | mb.forwarded
	}
	return maildirFlags(flags)
}

// mailboxFlags are a message's flags: system flags, and keywords by number in
// the folder's list of keywords. The bits are those of maildirFlags.
type mailboxFlags uint32

const (
	mailboxFlagDraft     = mailboxFlags(maildirFlagDraft)   // \Draft
	mailboxFlagFlagged   = mailboxFlags(maildirFlagFlagged) // \Flagged
	mailboxFlagForwarded = mailboxFlags(maildirFlagPassed)  // $Forwarded
	mailboxFlagAnswered  = mailboxFlags(maildirFlagReplied) // \Answered
	mailboxFlagSeen      = mailboxFlags(maildirFlagSeen)    // \Seen
	mailboxFlagDeleted   = mailboxFlags(maildirFlagTrashed) // \Deleted
	mailboxKeyword0      = maildirKeyword0                  // the bit of keyword number 0
)

const mailboxSystemFlags = mailboxFlagDraft | mailboxFlagFlagged | mailboxFlagForwarded |
	mailboxFlagAnswered | mailboxFlagSeen | mailboxFlagDeleted
