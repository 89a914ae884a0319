package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// How much mail a user may have, and has. The limits come from the configuration, or were set for the user; what there
// is, maildirsize says (maildir_quota.go). All folders of a user count, and a hard link as
// much as a file.

// errMailboxQuota says that a user has as much mail as allowed.
var errMailboxQuota = errors.New("the user has as much mail as allowed")

// mailboxQuota are bytes and messages: limits, where 0 is none, or what there is.
type mailboxQuota struct{ bytes, messages int64 }

// mailboxQuotaTries is how often all mail is counted anew while it changes meanwhile.
const mailboxQuotaTries = 3

// mailboxQuotaState sees to it that a count of all mail and the changes of this process do not mix.
type mailboxQuotaState struct {
	counting sync.Mutex // held by the one who counts all mail

	mu      sync.Mutex // guards all below, and writing maildirsize
	changes uint64     // that have begun
	pending int        // of them, not noted yet
}

// limitQuotas says what each user may have.
func (st *mailboxStore) limitQuotas(of func(user string) mailboxQuota) {
	st.mu.Lock()
	st.quotaOf = of
	st.mu.Unlock()
}

// limits are what the user may have.
func (t *mailboxTree) limits() mailboxQuota { return t.st.limitsOf(t.user) }

// fixQuotas says whose limits are not to be set otherwise.
func (st *mailboxStore) fixQuotas(fixed func(user string) bool) {
	st.mu.Lock()
	st.quotaFixed = fixed
	st.mu.Unlock()
}

// limitsOf is limits of a user whose folders are not opened.
func (st *mailboxStore) limitsOf(user string) mailboxQuota {
	st.mu.Lock()
	of, fixed := st.quotaOf, st.quotaFixed
	st.mu.Unlock()
	if fixed == nil || !fixed(user) {
		set, err := maildirReadLimits(filepath.Join(st.root, user))
		if err == nil {
			return mailboxQuota(set)
		} else if !errors.Is(err, fs.ErrNotExist) {
			logMailboxTrouble(st.log, user, "the limits that were set", err) // the others count
		}
	}
	if of == nil {
		return mailboxQuota{}
	}
	return of(user)
}

// errMailboxQuotaFixed says that a user's limits cannot be set.
var errMailboxQuotaFixed = errors.New("the configuration says what this user may have")

// setLimits sets what the user may have, in place of what the configuration has for all.
func (t *mailboxTree) setLimits(limits mailboxQuota) error {
	t.st.mu.Lock()
	fixed := t.st.quotaFixed
	t.st.mu.Unlock()
	if fixed != nil && fixed(t.user) {
		return errMailboxQuotaFixed
	}
	if err := maildirWriteLimits(t.root, maildirTotals(limits)); err != nil {
		return mailboxError(fmt.Errorf("setting the limits of %s: %w", t.user, err))
	}
	return nil
}

// counts tells whether the user's mail is counted: there are limits, or another server has left a maildirsize.
func (t *mailboxTree) counts() bool {
	return t.limits() != mailboxQuota{} || maildirHasSum(t.root)
}

// changing is called before messages come or go; what it gives is called afterwards with
// what there is more or less. It holds no lock meanwhile.
func (t *mailboxTree) changing() (done func(bytes, messages int64)) {
	q := &t.quota
	q.mu.Lock()
	q.changes++
	q.pending++
	q.mu.Unlock()
	return func(bytes, messages int64) {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.pending--
		if bytes == 0 && messages == 0 {
			return
		}
		if err := maildirAddToSum(t.root, maildirTotals{bytes, messages}); err != nil {
			logMailboxTrouble(t.st.log, t.user, "maildirsize", err) // it is counted anew
		}
	}
}

// recount has all mail counted by the next who asks.
func (t *mailboxTree) recount() {
	t.quota.mu.Lock()
	defer t.quota.mu.Unlock()
	t.quota.changes++
	if err := maildirForgetSum(t.root); err != nil {
		logMailboxTrouble(t.st.log, t.user, "maildirsize", err)
	}
}

// usage gives the limits and, where there is one, what there is.
func (t *mailboxTree) usage() (limits, used mailboxQuota, err error) {
	if limits = t.limits(); limits == (mailboxQuota{}) {
		return limits, used, nil
	}
	sum, err := maildirReadSum(t.root)
	if err == nil && mailboxQuota(sum.limits) == limits {
		return limits, mailboxQuota(sum.used), nil
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errMaildirSize) {
		return limits, used, fmt.Errorf("reading maildirsize: %w", err)
	}
	used, err = t.count(limits, time.Time{})
	return limits, used, err
}

// count counts all mail, unless somebody else has done so after the time given.
func (t *mailboxTree) count(limits mailboxQuota, since time.Time) (used mailboxQuota, err error) {
	q := &t.quota
	q.counting.Lock()
	defer q.counting.Unlock()
	if sum, err := maildirReadSum(t.root); err == nil && mailboxQuota(sum.limits) == limits && sum.written.After(since) {
		return mailboxQuota(sum.used), nil
	}
	for range mailboxQuotaTries {
		q.mu.Lock()
		changes := q.changes
		q.mu.Unlock()
		totals, quiet, err := maildirCountAll(t.root)
		if err != nil {
			return used, fmt.Errorf("counting the mail of %s: %w", t.user, err)
		}
		used = mailboxQuota(totals)
		q.mu.Lock()
		if quiet = quiet && q.pending == 0 && q.changes == changes; quiet {
			err = maildirWriteSum(t.root, maildirQuotaSum{limits: maildirTotals(limits), used: totals})
		}
		q.mu.Unlock()
		if err != nil { // a full disk, perhaps: then all is counted each time
			logMailboxTrouble(t.st.log, t.user, "maildirsize", err)
		}
		if quiet {
			return used, nil
		}
	}
	return used, maildirForgetSum(t.root) // it changes all the time, so this is right for now only
}

// room tells by errMailboxQuota that there is none for so much more. When the sum says so and is
// not young, all mail is counted first.
func (t *mailboxTree) room(bytes, messages int64) error {
	limits, used, err := t.usage()
	if err != nil || !limits.exceeded(used, bytes, messages) {
		return err
	}
	if used, err = t.count(limits, time.Now().Add(-maildirSizeStale)); err != nil {
		return err
	}
	if limits.exceeded(used, bytes, messages) {
		return errMailboxQuota
	}
	return nil
}

// exceeded tells whether so much more than what is used is too much.
func (l mailboxQuota) exceeded(used mailboxQuota, bytes, messages int64) bool {
	return l.bytes > 0 && bytes > 0 && used.bytes > l.bytes-bytes ||
		l.messages > 0 && messages > 0 && used.messages > l.messages-messages
}

// mailboxRoom tells of each draft by errMailboxQuota that there is no room for it beside those before it.
func mailboxRoom(drafts []*mailboxDraft) []error {
	errs := make([]error, len(drafts))
	sums := map[*mailboxTree]mailboxQuota{}
	for i, d := range drafts {
		t := d.mb.tree
		sum := sums[t]
		sum.bytes += d.size()
		sum.messages++
		if errs[i] = t.room(sum.bytes, sum.messages); errs[i] == nil {
			sums[t] = sum
		}
	}
	return errs
}

// diskSizes sums what messages of the view take on the disk, for a copy of them.
func (v *mailboxView) diskSizes(uids []uint32) (sum mailboxQuota, err error) {
	err = v.peek(func() error {
		sum = v.mb.diskSizes(uids)
		return nil
	})
	return sum, err
}

// sharesQuota tells whether what is in a folder, which need not exist, counts for the user for whom the view's messages do.
func (v *mailboxView) sharesQuota(folder string) bool {
	if v.who == nil {
		return true
	}
	t, _, err := v.who.locate(folder)
	return err == nil && t == v.mb.tree
}

func (mb *mailbox) diskSizes(uids []uint32) (sum mailboxQuota) {
	for _, uid := range uids {
		if i := mb.find(uid); i >= 0 {
			r := &mb.records[i]
			sum.bytes += mb.md.diskSize(mb.fileName(r), r.inCur())
			sum.messages++
		}
	}
	return sum
}

// deletedSize is what an expunge of a folder would give back (RFC 9208, section 4.1.4).
func (t *mailboxTree) deletedSize(name string) (size int64, err error) {
	mb, err := t.mailbox(name)
	if err != nil {
		return 0, err
	}
	t.st.hold(mb)
	defer t.st.release(mb)
	err = mb.locked(nil, func() error {
		var deleted []uint32
		for i := range mb.records {
			if mb.records[i].flags&maildirFlagTrashed != 0 {
				deleted = append(deleted, mb.records[i].uid)
			}
		}
		size = mb.diskSizes(deleted).bytes
		return nil
	})
	return size, err
}

// mailboxCheckQuota gives what a user may have and, where there are limits, has, and changes nothing. configured is what
// the configuration says, which is fixed or may be set otherwise.
func mailboxCheckQuota(root string, configured mailboxQuota, fixed bool) (limits, used mailboxQuota, err error) {
	limits = configured
	if !fixed {
		set, err := maildirReadLimits(root)
		if err == nil {
			limits = mailboxQuota(set)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return limits, used, err
		}
	}
	if _, err := os.Stat(root); limits == (mailboxQuota{}) || errors.Is(err, fs.ErrNotExist) {
		return limits, used, nil
	}
	totals, _, err := maildirCountAll(root)
	return limits, mailboxQuota(totals), err
}
