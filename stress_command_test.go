package main

import (
	"fmt"
	"slices"
	"strings"
)

// What the clients of the stress test do.

var stressFlags = []string{`\Seen`, `\Flagged`, `\Answered`, "$Work", `\Deleted`}

// something does one thing.
func (c *stressClient) something() {
	what := c.random.IntN(18)
	if c.readOnly && what < 9 {
		what += 9
	}
	switch what {
	case 0, 1, 2, 3:
		c.store()
	case 4:
		c.append()
	case 5, 6:
		c.transfer()
	case 7, 8:
		c.expunge()
	case 9, 10:
		c.search()
	case 11:
		looks := c.random.IntN(3)
		c.idle(func() bool { looks--; return looks < 0 })
	case 12:
		c.selectOther()
	case 13:
		c.read()
	case 14:
		c.resync()
	case 15:
		c.command(false, "STATUS %s (MESSAGES UIDNEXT)", stressFolders[c.random.IntN(len(stressFolders))])
	case 16:
		c.command(false, "NOOP")
		c.remember()
	case 17:
		c.changedSince()
	}
	if slices.ContainsFunc(c.list, func(m *stressMessage) bool { return m.uid == 0 }) && c.random.IntN(3) > 0 {
		c.refetch()
	}
}

// some picks messages whose UID is known, and gives them as numbers or as UIDs.
func (c *stressClient) some(most int) (picked []*stressMessage, byUID bool, set string) {
	byUID = c.random.IntN(2) == 0 || c.uidOnly
	var parts []string
	for i, m := range c.list {
		if m.uid == 0 || m.gone || len(picked) >= most || c.random.IntN(4) > 0 {
			continue
		}
		picked = append(picked, m)
		if byUID {
			parts = append(parts, fmt.Sprint(m.uid))
		} else {
			parts = append(parts, fmt.Sprint(i+1))
		}
	}
	return picked, byUID, strings.Join(parts, ",")
}

func stressPrefix(byUID bool) string { return map[bool]string{true: "UID "}[byUID] }

func stressUIDs(messages []*stressMessage) (uids []uint32) {
	for _, m := range messages {
		uids = append(uids, m.uid)
	}
	return uids
}

// learn finds out which messages these are.
func (c *stressClient) learn(uids []uint32) {
	unknown := slices.DeleteFunc(slices.Clone(uids), func(uid uint32) bool {
		mid, _ := c.w.is(c.folder, uid, "")
		return mid != "" || uid == 0
	})
	if len(unknown) > 0 {
		c.command(false, "UID FETCH %s (UID EMAILID BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])", imapAppendSet(nil, unknown))
	}
}

// store changes flags, and knows what they are then even if it is not told.
func (c *stressClient) store() {
	flag := stressFlags[c.random.IntN(len(stressFlags))]
	op := []string{"+", "-", ""}[c.random.IntN(3)]
	if flag == `\Deleted` && op != "-" {
		c.learn(stressUIDs(c.list))
	}
	picked, byUID, set := c.some(6)
	if len(picked) == 0 {
		return
	}
	if flag == `\Deleted` && op != "-" {
		c.w.doom(c.folder, stressUIDs(picked))
	}
	silent := c.random.IntN(2) == 0
	guard, since := "", uint64(0)
	if c.condstore && c.random.IntN(3) == 0 {
		since = picked[c.random.IntN(len(picked))].modSeq
		guard = fmt.Sprintf(" (UNCHANGEDSINCE %d)", since)
	}
	known := map[uint32]stressMessage{}
	place := map[*stressMessage]uint32{}
	for i, m := range c.list {
		known[m.uid] = *m
		if place[m] = uint32(i + 1); byUID {
			place[m] = m.uid
		}
	}
	quiet := map[bool]string{true: ".SILENT"}[silent]
	answer := c.command(!byUID, "%sSTORE %s%s %sFLAGS%s (%s)", stressPrefix(byUID), set, guard, op, quiet, flag)
	modified := []uint32{}
	if c.modified != "" {
		modified = stressSet(c.modified)
	}
	for _, m := range picked {
		failed := slices.Contains(modified, place[m])
		if guard != "" && known[m.uid].modSeq > since && !failed && slices.Contains(c.list, m) && strings.HasPrefix(answer, "OK") {
			c.fail("UID %d was at %d, and the STORE was to change up to %d", m.uid, known[m.uid].modSeq, since)
		}
		if guard != "" && failed && m.modSeq <= since && slices.Contains(c.list, m) && !c.w.outside {
			if !m.touched { // it was changed and then expunged
				m.gone = true
				continue
			}
			c.fail("UID %d is at %d, and MODIFIED although that is not above %d", m.uid, m.modSeq, since)
		}
		if silent && !failed && m.known && (m.bare || !c.condstore && m.flags == known[m.uid].flags) {
			m.flags = stressApply(m.flags, op, flag)
		}
	}
	if !silent {
		c.leftOut(answer, picked)
	}
}

func stressApply(flags, op, flag string) string {
	list := strings.Fields(flags)
	flag = strings.ToLower(flag)
	switch op {
	case "":
		return flag
	case "-":
		list = slices.DeleteFunc(list, func(f string) bool { return f == flag })
	default:
		list = append(list, flag)
	}
	slices.Sort(list)
	return strings.Join(slices.Compact(list), " ")
}

// append adds one message or two, or replaces one.
func (c *stressClient) append() {
	folder := stressFolders[c.random.IntN(len(stressFolders))]
	if len(c.list) > stressMost {
		return
	}
	command, replaced := "APPEND "+folder, uint32(0)
	if picked, byUID, set := c.some(1); len(picked) == 1 && c.random.IntN(4) == 0 {
		replaced = picked[0].uid
		c.learn([]uint32{replaced})
		if i := slices.Index(c.list, picked[0]); i < 0 {
			return
		} else if !byUID {
			set = fmt.Sprint(i + 1)
		}
		c.w.doom(c.folder, []uint32{replaced})
		command = stressPrefix(byUID) + "REPLACE " + set + " " + folder
	}
	var mids []string
	for range 1 + c.random.IntN(2) {
		if replaced != 0 && len(mids) > 0 {
			break
		}
		mid, text := c.w.text(c.random)
		mids = append(mids, mid)
		command += fmt.Sprintf(" (\\Seen) {%d+}\r\n%s", len(text), text)
	}
	answer := c.command(false, "%s", command)
	words := strings.Fields(c.appended)
	if len(words) != 2 {
		if replaced == 0 {
			c.fail("no APPENDUID")
		}
		return // what was to be replaced is gone
	}
	uids := stressSet(words[1])
	if len(uids) != len(mids) || !strings.HasPrefix(answer, "OK") {
		c.fail("%s for %d messages", c.appended, len(mids))
	}
	c.brought(folder, len(uids))
	for i, mid := range mids {
		if before, ok := c.w.is(folder, uids[i], mid); !ok {
			c.fail("APPENDUID %d, which was %s", uids[i], before)
		}
		c.w.mu.Lock()
		c.w.acked[mid] = true
		c.w.mu.Unlock()
	}
}

// transfer copies or moves.
func (c *stressClient) transfer() {
	if len(c.list) > stressMost {
		return
	}
	picked, byUID, set := c.some(3)
	if len(picked) == 0 {
		return
	}
	to := stressFolders[c.random.IntN(len(stressFolders))]
	c.command(false, "%s%s %s %s", stressPrefix(byUID), []string{"COPY", "MOVE"}[c.random.IntN(2)], set, to)
	words := strings.Fields(c.copied)
	if len(words) != 3 {
		return // they are gone
	}
	from, now := stressSet(words[1]), stressSet(words[2])
	if len(from) != len(now) {
		c.fail("COPYUID %s", c.copied)
	}
	c.brought(to, len(now))
	for i, uid := range from {
		if !slices.ContainsFunc(picked, func(m *stressMessage) bool { return m.uid == uid }) {
			c.fail("COPYUID names %d, which it was not asked for", uid)
		}
		mid, _ := c.w.is(c.folder, uid, "")
		if before, ok := c.w.is(to, now[i], mid); !ok {
			c.fail("COPYUID makes %d of %s the UID %d in %s, which was %s", uid, mid, now[i], to, before)
		}
	}
}

// brought notes what the client has put into another folder itself, of which it is not told (RFC 5465, section 3.1).
func (c *stressClient) brought(folder string, n int) {
	if messages, told := c.others[folder]; told && folder != c.folder {
		c.others[folder] = messages + n
	}
}

func (c *stressClient) expunge() {
	if picked, _, _ := c.some(5); c.random.IntN(2) == 0 && len(picked) > 0 {
		c.command(false, "UID EXPUNGE %s", imapAppendSet(nil, stressUIDs(picked)))
		return
	}
	c.command(false, "EXPUNGE")
}

// search looks for a flag. A message of which nothing was told meanwhile must be found if it has it, or be
// expunged next.
func (c *stressClient) search() {
	flag := []string{`\seen`, `\flagged`, `\deleted`}[c.random.IntN(3)]
	key, extended := strings.ToUpper(flag[1:]), c.random.IntN(2) == 0
	before := slices.Clone(c.list)
	if slices.ContainsFunc(before, func(m *stressMessage) bool { return m.gone }) {
		return
	}
	switch {
	case extended:
		c.command(false, "UID SEARCH RETURN (ALL SAVE) %s", key)
	case c.random.IntN(2) == 0:
		c.command(false, "UID SORT (SUBJECT) UTF-8 %s", key)
	default:
		c.command(false, "UID SEARCH %s", key)
	}
	found := slices.Clone(c.found)
	for _, m := range before {
		if m.touched || m.uid == 0 || !m.known || !slices.Contains(c.list, m) {
			continue
		}
		if has := slices.Contains(strings.Fields(m.flags), flag); has != slices.Contains(found, m.uid) {
			if c.note(fmt.Sprintf("UID %d has %q, and SEARCH %s finds %d", m.uid, m.flags, key, found)); m.gone {
				c.fail("what SEARCH says of UID %d is not told", m.uid)
			}
			m.gone = true // it was changed and then expunged, so that there are no flags to tell any more
		}
	}
	if !extended {
		return
	}
	c.command(false, "UID FETCH $ (UID)")
	for _, m := range c.list {
		if m.uid != 0 && slices.Contains(found, m.uid) && !m.touched {
			c.fail("UID %d was saved, and is not in $", m.uid)
		}
	}
}

func (c *stressClient) selectOther() {
	if c.remember(); c.random.IntN(3) > 0 {
		c.spare()
		c.command(false, "%s", []string{"UNSELECT", "CLOSE"}[c.random.IntN(2)])
		delete(c.others, c.folder) // others may have been at work, of which it was not told
		c.list, c.folder = nil, ""
	}
	c.selects(stressFolders[c.random.IntN(len(stressFolders))], nil)
}

// read reads a message, which sets \Seen.
func (c *stressClient) read() {
	picked, byUID, set := c.some(1)
	if len(picked) == 0 {
		return
	}
	answer := c.command(!byUID, "%sFETCH %s (UID BODY%s[])", stressPrefix(byUID), set, []string{"", ".PEEK"}[c.random.IntN(2)])
	c.leftOut(answer, picked)
}

// remember keeps what is known now, if it is whole.
func (c *stressClient) remember() {
	if !c.qresync || c.highest == 0 {
		return
	}
	p := stressPoint{c.validity, c.highest, map[uint32]stressMessage{}, slices.Clone(c.lines)}
	for _, m := range c.list {
		if m.uid == 0 || !m.known || m.gone {
			return
		}
		p.messages[m.uid] = stressMessage{uid: m.uid, flags: m.flags, known: true, modSeq: m.modSeq}
	}
	if c.points == nil {
		c.points = map[string][]stressPoint{}
	}
	c.points[c.folder] = append(c.points[c.folder], p)
}

// resync comes back, on a new connection or not, from any earlier point.
func (c *stressClient) resync() {
	folder := stressFolders[c.random.IntN(len(stressFolders))]
	points := c.points[folder]
	if len(points) == 0 {
		return
	}
	if c.random.IntN(2) == 0 {
		c.leave()
		c.connect()
	}
	c.selects(folder, &points[c.random.IntN(len(points))])
}
