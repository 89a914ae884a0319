package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// What has to do with much mail: a mailbox far larger than the corpus, and a start with
// many users. And what has to do with no mail at all: how large the program is.

// measureLarge times single messages on their way into a mailbox that has many already.
func measureLarge(t *turn) {
	const user, times = "large", 50
	if !t.users[user] {
		_, err := t.addLarge(user, t.large)
		must(err)
		c := t.imapLogin(user)
		c.ok("SELECT INBOX")
		c.logout()
		settle(2500 * time.Millisecond) // as in prepareWarm
	}
	c := t.imapLogin(user)
	n := c.messages("INBOX")
	before, messages := n, mail4k(times)
	measure := func(row string, deliver func(m []byte)) {
		var ms []float64
		for _, m := range messages {
			ms = append(ms, milliseconds(func() { deliver(m) }))
		}
		n += times
		t.record(row, median(ms))
		t.note(row, "%d messages, p99 %s ms", before, number(percentile(ms, 99)))
		t.want(row, "MESSAGES", c.messages("INBOX"), n)
	}
	t.want("APPEND to a large mailbox", "MESSAGES before", before, int64(t.large+2*times*t.round))
	measure("APPEND to a large mailbox", func(m []byte) { c.append("INBOX", m) })
	d := smtpLogin(t.lmtp, "LHLO")
	defer d.Close()
	measure("LMTP to a large mailbox", func(m []byte) { d.deliver(user, m) })
	d.quit()
	t.want("LMTP to a large mailbox", "EXISTS", c.ok("SELECT INBOX").exists, n)
	c.logout()
}

// measureOrder times SORT and THREAD of a large mailbox: without an index, by a server that has just
// been started, and once more. Another process may be the peak where a session is one, so all
// is asked in few sessions, and the peak is read while they are open.
func measureOrder(t *turn) {
	const user, sorting, threading = "order", "UID SORT (SUBJECT) UTF-8 ALL", "UID THREAD REFERENCES UTF-8 ALL"
	if !t.users[user] {
		_, err := t.addLarge(user, t.large)
		must(err)
	}
	n, most := int64(t.large), 0.0
	open := func() *imapConn {
		c := t.imapLogin(user)
		t.want("SORT of a large mailbox, warm", "EXISTS", c.ok("SELECT INBOX").exists, n)
		return c
	}
	ask := func(row string, c *imapConn, command string, hits int64) {
		if got := t.once(row, c, command).hits; hits >= 0 {
			t.want(row, "hits", got, hits)
		}
		most = max(most, peak(t.pid))
	}
	lost := func(row, command string, hits int64) {
		must(t.makeCold(user))
		c := open()
		ask(row, c, command, hits)
		c.logout()
	}
	lost("SEARCH of a large mailbox, index lost", "UID SEARCH SUBJECT "+searchSubject, t.among(t.corpus.Subject))
	lost("SORT of a large mailbox, index lost", sorting, n)
	settle(2500 * time.Millisecond) // as in prepareWarm
	for row, command := range map[string]string{"SORT": sorting, "THREAD": threading} {
		must(t.restart())
		c := open()
		ask(row+" of a large mailbox, after a restart", c, command, n)
		ask(row+" of a large mailbox, warm", c, command, n)
		c.logout()
	}
	t.record("SORT and THREAD of a large mailbox, memory at most", most/(1<<20))
	t.note("SORT and THREAD of a large mailbox, memory at most", "VmHWM, %d messages", n)
}

// among is how many messages of the large mailbox are of a kind that the corpus has so many of.
func (t *turn) among(inCorpus int) int64 {
	if whole := t.large / t.corpus.Messages; t.large%t.corpus.Messages == 0 {
		return int64(whole * inCorpus)
	}
	return -1
}

// measureStart times the start of a server with mail for ten users, who have all been
// there before.
func measureStart(t *turn) {
	const row, users, times = "from exec to the first greeting, 10 users", 10, 3
	for i := range users {
		user := fmt.Sprintf("start%d-", i)
		if t.users[user] {
			continue
		}
		must(t.addMailbox(user))
		c := t.imapLogin(user)
		t.want(row, "EXISTS", c.ok("SELECT INBOX").exists, int64(t.corpus.Messages))
		c.logout()
	}
	var ms []float64
	for range times {
		_, err := t.call("stop")
		must(err)
		ms = append(ms, t.launch())
	}
	t.record(row, median(ms))
	t.note(row, "each with %d messages", t.corpus.Messages)
	must(t.warmup())
}

func measureSize(t *turn) {
	const row = "size of the program, linux/arm, stripped"
	out, err := t.call("size")
	must(err)
	if strings.TrimSpace(out) == "" {
		t.absent(row, "not told")
		return
	}
	bytes, err := strconv.ParseInt(strings.TrimSpace(out), 10, 64)
	must(err)
	t.record(row, float64(bytes)/(1<<20))
}
