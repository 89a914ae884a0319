package main

import (
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"
)

// retainLevels are how full a user's mail is when a warning is sent, in percent, and below what it must have been
// before the next one for the same level is: who lives at the limit is not written to each day.
var retainLevels = []struct{ full, again int }{{80, 75}, {95, 90}}

// retainLargest is how many folders a warning names.
const retainLargest = 5

// retainLevel gives the level that is to be remembered when the last warning was for the level before and so much is
// full: it rises at a level, and falls well below it.
func retainLevel(before, percent int) int {
	level := 0
	for _, l := range retainLevels {
		if percent >= l.full || before >= l.full && percent >= l.again {
			level = l.full
		}
	}
	return level
}

// retainPercent is how full the fuller of two limits is, and whether that is the one on messages.
func retainPercent(limits, used mailboxQuota) (percent int, messages bool) {
	of := func(used, limit int64) int {
		if limit <= 0 {
			return 0
		}
		return int(min(float64(used)*100/float64(limit), 1000))
	}
	bytes, count := of(used.bytes, limits.bytes), of(used.messages, limits.messages)
	return max(bytes, count), count > bytes
}

// warn writes to a user whose mail has grown across a level.
func (r *retainer) warn(plan retainPlan, user string, now time.Time) error {
	if r.store.limitsOf(user) == (mailboxQuota{}) {
		return nil
	}
	tree, err := r.store.tree(user)
	if err != nil {
		return err
	}
	limits, used, err := tree.usage()
	if err != nil {
		return err
	}
	before, known := r.warned[user]
	if !known {
		if before, err = tree.warned(); err != nil {
			return err
		}
		r.warned[user] = before
	}
	percent, _ := retainPercent(limits, used)
	level := retainLevel(before, percent)
	if level == before {
		return nil
	}
	if level > before {
		folders, err := r.store.storage(user)
		if err != nil {
			return err
		}
		err = r.deliver(tree, retainWarning(plan.from, plan.address(user), limits, used, folders, now), now)
		if errors.Is(err, errMailboxQuota) || errors.Is(err, errMailboxFull) { // tried again in an hour
			if !r.failed[user] {
				logRetainNotWarned(r.log, user, percent, err)
			}
			r.failed[user] = true
			return nil
		} else if err != nil {
			return err
		}
		delete(r.failed, user)
		logRetainWarned(r.log, user, percent)
	}
	r.warned[user] = level // also if it cannot be written: one warning an hour would fill the mailbox
	return tree.setWarned(level)
}

// deliver brings a warning to INBOX, if there is room for it: it never takes a user beyond the limit.
func (r *retainer) deliver(tree *mailboxTree, text string, now time.Time) error {
	draft, err := tree.draft("INBOX")
	if err != nil {
		return err
	}
	if _, err = draft.Write([]byte(text)); err == nil {
		err = draft.finish(now)
	}
	if err == nil {
		err = draft.room(draft.size(), 1)
	}
	if err != nil {
		draft.abort()
		return err
	}
	return mailboxDeliver([]*mailboxDraft{draft})[0]
}

// retainWarning is the message: what is full, and what takes the room.
func retainWarning(from, to string, limits, used mailboxQuota, folders []mailboxStorage, now time.Time) string {
	percent, messages := retainPercent(limits, used)
	have, may := retainSize(used.bytes), retainSize(limits.bytes)
	size := func(f mailboxStorage) int64 { return f.bytes }
	if messages {
		have, may = fmt.Sprint(used.messages, " messages"), fmt.Sprint(limits.messages, " messages")
		size = func(f mailboxStorage) int64 { return f.messages }
	}
	folders = slices.Clone(folders)
	sort.SliceStable(folders, func(i, j int) bool { return size(folders[i]) > size(folders[j]) })
	var largest strings.Builder
	for _, f := range folders[:min(len(folders), retainLargest)] {
		if f.messages > 0 {
			fmt.Fprintf(&largest, "    %s: %s, %d messages\r\n", f.name, retainSize(f.bytes), f.messages)
		}
	}
	_, domain, _ := strings.Cut(from, "@")
	return fmt.Sprintf(retainWarningText, from, to, percent, now.Format("Mon, 2 Jan 2006 15:04:05 -0700"), now.UnixNano(), percent, domain,
		have, may, largest.String())
}

const retainWarningText = "From: Letterbox <%s>\r\n" +
	"To: <%s>\r\n" +
	"Subject: Your mailbox is %d %% full\r\n" +
	"Date: %s\r\n" +
	"Message-ID: <quota.%d.%d@%s>\r\n" +
	"MIME-Version: 1.0\r\n" +
	"Content-Type: text/plain; charset=utf-8\r\n" +
	"Content-Transfer-Encoding: 8bit\r\n" +
	"Auto-Submitted: auto-generated\r\n" +
	"\r\n" +
	"You have %s of mail. At most %s are allowed.\r\n" +
	"When there is no room left, new mail for you is refused.\r\n" +
	"\r\n" +
	"What takes the room:\r\n" +
	"\r\n" +
	"%s\r\n" +
	"Delete what you do not need, and then empty the Trash: it counts as well.\r\n"

// retainSize writes a number of bytes for people.
func retainSize(n int64) string {
	units := []string{"bytes", "KiB", "MiB", "GiB", "TiB"}
	size, unit := float64(n), 0
	for size >= 1024 && unit < len(units)-1 {
		size, unit = size/1024, unit+1
	}
	if unit == 0 || size >= 100 {
		return fmt.Sprintf("%.0f %s", size, units[unit])
	}
	return fmt.Sprintf("%.1f %s", size, units[unit])
}
