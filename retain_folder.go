package main

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// retainBatch is how many messages are removed under one hold of a mailbox. Each costs a sync.
const retainBatch = 500

// retainEarliest: what says that it came before is from a clock that was not set.
var retainEarliest = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// retainKept are the keywords of messages that POP3 has hidden or moved. [pop3] has a rule for them: a program
// that cleans up must not empty the phones through the Trash.
var retainKept = []string{mailboxPopHidden, mailboxPopMoved}

// retainDays gives the days that messages stay in a folder, 0: for ever. Rules have the folders' names as clients with
// the separator "/" know them. The name of a special use stands for the folder that has it, whatever it is called; a name
// that ends in "/*" for all folders below. The folder's own name comes first, then its use, then the nearest above.
func retainDays(rules map[string]int, f mailboxFolder) int {
	if days, ok := rules[f.name]; ok {
		return days
	}
	if days, ok := rules[f.use]; ok && f.use != "" {
		return days
	}
	for above := f.name; ; {
		i := strings.LastIndexByte(above, '/')
		if i < 0 {
			return 0
		}
		above = above[:i]
		if days, ok := rules[above+"/*"]; ok {
			return days
		}
	}
}

// retainExpired tells how many of a folder's first messages have expired, and when the next will have, as the time
// it came in. UIDs ascend as messages come in, so what has expired is always the beginning: at gives the time of message i,
// of n. That also dates the messages whose own time says nothing, from a clock that was not set or was ahead: they came
// before the one behind them, and go with it. Nothing came before since: a folder that was moved to where a rule holds comes there
// with all that is in it.
func retainExpired(n int, at func(i int) (time.Time, error), since, cut, now time.Time) (expired int, next time.Time, err error) {
	for i := range n {
		t, err := at(i)
		if errors.Is(err, errMailboxExpunged) {
			continue
		} else if err != nil {
			return 0, next, err
		}
		if t.Before(retainEarliest) || t.After(now.Add(24*time.Hour)) {
			continue
		}
		if t.Before(since) {
			t = since
		}
		if t.After(cut) {
			return expired, t, nil
		}
		expired = i + 1
	}
	return expired, next, nil
}

// folders removes what has expired in a user's folders.
func (r *retainer) folders(user string, rules map[string]int, now time.Time) error {
	tree, err := r.store.tree(user)
	if err != nil {
		return err
	}
	folders, err := tree.folders()
	if err != nil {
		return err
	}
	for _, f := range folders {
		days := retainDays(rules, f)
		place := retainPlace{user, f.name, days}
		if days == 0 || !f.selectable || r.at.Before(r.looks[place]) {
			continue
		}
		if r.stopped() {
			return nil
		}
		next, err := r.folder(tree, f.name, days, now)
		if err != nil {
			logMailboxTrouble(r.log, user, f.name, fmt.Errorf("removing expired mail: %w", err))
			continue // the other folders have rules of their own
		}
		again := r.at.Add(retainLook)
		if due := next.Add(retainTime(days)); !next.IsZero() && due.Before(again) {
			again = due
		}
		r.looks[place] = again
	}
	return nil
}

func retainTime(days int) time.Duration { return time.Duration(days) * 24 * time.Hour }

// folder removes what has expired in one folder, and gives when the oldest came in that has not.
func (r *retainer) folder(tree *mailboxTree, name string, days int, now time.Time) (next time.Time, err error) {
	v, err := tree.viewKeepingNew(name)
	if errors.Is(err, errMailboxNotFound) {
		return next, nil // deleted since
	} else if err != nil {
		return next, err
	}
	defer v.close()
	since, err := tree.since(name, now)
	if err != nil {
		return next, err
	}
	uids := v.uids()
	expired, next, err := retainExpired(len(uids), func(i int) (time.Time, error) { return v.saved(uids[i]) }, since, r.at.Add(-retainTime(days)), now)
	if err != nil {
		return next, err
	}
	kept := v.knownKeywordFlags(retainKept)
	var victims []uint32
	for _, m := range v.messages(uids[:expired]) {
		if m.flags&kept == 0 {
			victims = append(victims, m.uid)
		}
	}
	for len(victims) > 0 && !r.stopped() {
		n := min(len(victims), retainBatch)
		if err := r.remove(tree.user, v, victims[:n], days); err != nil {
			return next, err
		}
		victims = victims[n:]
	}
	return next, nil
}

// remove removes messages as an expunge does, and says each one that is gone.
func (r *retainer) remove(user string, v *mailboxView, uids []uint32, days int) error {
	times := make([]time.Time, len(uids))
	for i, uid := range uids {
		at, err := v.saved(uid)
		if err != nil && !errors.Is(err, errMailboxExpunged) {
			return err
		}
		times[i] = at // zero: another was faster
	}
	err := v.remove(uids)
	left := map[uint32]bool{}
	if err != nil {
		for _, m := range v.messages(uids) {
			left[m.uid] = true
		}
	}
	for i, uid := range uids {
		if !left[uid] && !times[i].IsZero() {
			logRetainRemoved(r.log, user, v.name(), uid, times[i], days)
		}
	}
	return err
}

// retainWould is what would be removed of a folder.
type retainWould struct {
	folder string
	days   int
	count  int
	oldest time.Time // when it came in; zero: nobody knows
}

// retainCheck tells what would be removed of the mail in a user's directory at a time, and which of the rules hold for any folder. It
// changes nothing, and reads no message.
func retainCheck(root string, rules map[string]int, now time.Time) (would []retainWould, err error) {
	folders, err := mailboxCheckFolders(root)
	if err != nil {
		return nil, err
	}
	for _, f := range folders {
		days := retainDays(rules, f)
		if days == 0 || !f.selectable {
			continue
		}
		ages, err := mailboxCheckAges(root, f.name, retainKept)
		if err != nil {
			return nil, fmt.Errorf("looking at the folder %s: %w", f.name, err)
		}
		since, err := mailboxCheckSince(root, f.name, now)
		if err != nil {
			return nil, fmt.Errorf("looking at the folder %s: %w", f.name, err)
		}
		expired, _, err := retainExpired(len(ages), func(i int) (time.Time, error) { return ages[i].at, nil }, since, now.Add(-retainTime(days)), now)
		if err != nil {
			return nil, err
		}
		w := retainWould{folder: f.name, days: days}
		for _, a := range ages[:expired] {
			if a.marked {
				continue
			}
			w.count++
			if a.at.After(retainEarliest) && (w.oldest.IsZero() || a.at.Before(w.oldest)) {
				w.oldest = a.at
			}
		}
		if w.count > 0 {
			would = append(would, w)
		}
	}
	return would, nil
}

// retainUnused gives the rules that hold for no folder of the users whose directories are given.
func retainUnused(roots []string, rules map[string]int) (unused []string, err error) {
	used := map[string]bool{}
	for _, root := range roots {
		folders, err := mailboxCheckFolders(root)
		if err != nil {
			return nil, err
		}
		for _, f := range folders {
			used[f.name], used[f.use] = true, true
			for i := strings.LastIndexByte(f.name, '/'); i > 0; i = strings.LastIndexByte(f.name[:i], '/') {
				used[f.name[:i]+"/*"] = true
			}
		}
	}
	for name := range rules {
		if !used[name] {
			unused = append(unused, name)
		}
	}
	return unused, nil
}
