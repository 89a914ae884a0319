package main

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// stressMessage is what a client was told of one message. The UID is 0 until it was told.
type stressMessage struct {
	uid     uint32
	flags   string // sorted, lower case
	known   bool   // the flags were told
	modSeq  uint64
	touched bool // something was told of it by the command that runs
	bare    bool // and last its mod-sequence without its flags: a silent STORE has changed them
	gone    bool // an answer has left it out: it must be expunged next
}

// stressPoint is what a client has kept of a mailbox, to come back to by QRESYNC.
type stressPoint struct {
	validity uint32
	modSeq   uint64
	messages map[uint32]stressMessage
	lines    []string // said before
}

// stressClient is a client that believes only what it is told.
type stressClient struct {
	w                        *stressWorld
	id                       int
	random                   *rand.Rand
	condstore, qresync, rev2 bool
	uidOnly                  bool // it knows no numbers: its list is sorted by UID, with what it does not know of yet behind
	compress                 bool
	notified                 bool // NOTIFY tells it of the other folders

	nc       net.Conn
	in       net.Conn // nc, or what comes out of it
	out      io.Writer
	r        *bufio.Reader
	readOnly bool
	next     string         // the folder that it is about to select
	was      string         // the folder it had when it left
	others   map[string]int // messages in other folders, as it was told
	tags     int
	lines    []string // the end of what was said
	folder   string
	validity uint32
	highest  uint64
	list     []*stressMessage
	points   map[string][]stressPoint

	noExpunge bool     // now no EXPUNGE may be told
	exists    int      // how often the command that runs has told EXISTS
	expunged  bool     // the command that runs has told some
	earlier   []uint32 // VANISHED (EARLIER): runs, ends included
	found     []uint32
	highSeen  uint64 // the highest MODSEQ since the last tagged response
	highTold  uint64 // HIGHESTMODSEQ likewise
	appended  string // APPENDUID
	copied    string // COPYUID
	modified  string // MODIFIED
}

func (c *stressClient) fail(format string, args ...any) {
	c.w.t.Errorf("client %d: %s\n%s", c.id, fmt.Sprintf(format, args...), strings.Join(c.lines, "\n"))
	runtime.Goexit()
}

// stressPair is a connection that holds some of what is written, as the network does: client and server may write at the same time.
func stressPair(t *testing.T) (theirs, ours net.Conn) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	must(t, err)
	ends := make([]net.Conn, 2)
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "stress")
		ends[i], err = net.FileConn(f)
		must(t, err)
		f.Close()
	}
	return ends[0], ends[1]
}

func (c *stressClient) note(line string) {
	c.lines = append(c.lines[max(0, len(c.lines)-100):], line[:min(len(line), 200)])
}

func (c *stressClient) connect() {
	theirs, ours := stressPair(c.w.t)
	door := *c.w.door
	c.w.serving.Go(func() { door.serve(newConn(ours, slog.New(slog.DiscardHandler), time.Minute)) })
	c.nc, c.in, c.out, c.r, c.list, c.folder = theirs, theirs, theirs, bufio.NewReader(theirs), nil, ""
	c.line()
	c.command(false, "LOGIN alice secret")
	if c.compress {
		c.command(false, "COMPRESS DEFLATE")
		c.deflate()
	}
	if c.rev2 {
		c.command(false, "ENABLE IMAP4rev2")
	}
	if c.qresync {
		c.command(false, "ENABLE QRESYNC")
	} else if c.condstore {
		c.command(false, "ENABLE CONDSTORE")
	}
	if c.uidOnly {
		c.command(false, "ENABLE UIDONLY")
	}
	if c.others = nil; c.notified {
		c.others = map[string]int{}
		c.command(false, "NOTIFY SET STATUS (SELECTED-DELAYED (MessageNew MessageExpunge FlagChange)) (PERSONAL (MessageNew MessageExpunge))")
	}
}

// deflate goes on compressed. What comes out goes through a pipe, since a decompressor does not outlive a deadline.
func (c *stressClient) deflate() {
	d := newTestDeflated(c.w.t, c.nc)
	out, in := net.Pipe()
	go func() {
		io.Copy(in, d) // ends as either is closed
		in.Close()
	}()
	c.in, c.out, c.r = out, d, bufio.NewReader(out)
}

func (c *stressClient) leave() {
	c.was = c.folder
	c.nc.Close()
	c.in.Close()
}

// deadline gives reading and writing some time.
func (c *stressClient) deadline() {
	end := time.Now().Add(stressPatience)
	c.nc.SetDeadline(end)
	c.in.SetReadDeadline(end)
}

// line reads one line, with the literals in it.
func (c *stressClient) line() string {
	c.deadline()
	line, err := c.tryLine()
	if err != nil {
		c.fail("%v", err)
	}
	return line
}

func (c *stressClient) tryLine() (line string, err error) {
	for {
		part, err := c.r.ReadString('\n')
		if err != nil {
			return line + part, err
		}
		line += strings.TrimSuffix(part, "\r\n")
		i := strings.LastIndexByte(line, '{')
		if i < 0 || !strings.HasSuffix(line, "}") {
			c.note("S: " + line)
			return line, nil
		}
		n, err := strconv.Atoi(line[i+1 : len(line)-1])
		if err != nil {
			return line, err
		}
		text := make([]byte, n)
		if _, err := io.ReadFull(c.r, text); err != nil {
			return line, err
		}
		line += "\r\n" + string(text)
	}
}

// command sends one and takes in the answers. numbers says that it is FETCH, STORE or SEARCH by
// numbers, while which no EXPUNGE may be told (RFC 9051, section 7.5.1). It gives the tagged response.
func (c *stressClient) command(numbers bool, format string, args ...any) string {
	c.tags++
	tag := fmt.Sprintf("t%d", c.tags)
	text := fmt.Sprintf(format, args...)
	c.note("C: " + tag + " " + text)
	c.begin(numbers)
	c.deadline()
	if _, err := io.WriteString(c.out, tag+" "+text+"\r\n"); err != nil {
		c.fail("%v", err)
	}
	return c.finish(tag)
}

func (c *stressClient) begin(numbers bool) {
	c.noExpunge, c.exists, c.expunged, c.earlier, c.found = numbers, 0, false, nil, nil
	c.highSeen, c.highTold, c.appended, c.copied, c.modified = 0, 0, "", "", ""
	for _, m := range c.list {
		m.touched, m.bare = false, false
	}
}

func (c *stressClient) finish(tag string) string {
	var left []*stressMessage
	for _, m := range c.list {
		if m.gone {
			left = append(left, m)
		}
	}
	for {
		line := c.line()
		rest, tagged := strings.CutPrefix(line, tag+" ")
		if !tagged {
			c.untagged(line)
			continue
		}
		c.codes(rest)
		if strings.HasPrefix(rest, "BAD") || strings.Contains(rest, "SERVERBUG") {
			c.fail("refused")
		}
		if c.highTold != 0 { // RFC 7162, section 5: even if higher ones were seen
			c.highest = c.highTold
		} else {
			c.highest = max(c.highest, c.highSeen)
		}
		for _, m := range left {
			if !c.noExpunge && slices.Contains(c.list, m) {
				c.fail("UID %d was left out of an answer, and is not expunged", m.uid)
			}
		}
		return rest
	}
}

// codes takes response codes in.
func (c *stressClient) codes(text string) {
	_, code, ok := strings.Cut(text, "[")
	if !ok {
		return
	}
	code, _, _ = strings.Cut(code, "]")
	name, value, _ := strings.Cut(code, " ")
	switch name {
	case "CLOSED":
		c.closed()
	case "HIGHESTMODSEQ":
		c.highTold, _ = strconv.ParseUint(value, 10, 64)
	case "UIDVALIDITY":
		n, _ := strconv.ParseUint(value, 10, 32)
		c.validity = uint32(n)
	case "APPENDUID":
		c.appended = value
	case "COPYUID":
		c.copied = value
	case "MODIFIED":
		c.modified = value
	}
}

// untagged takes in what is told.
func (c *stressClient) untagged(line string) {
	words := strings.Fields(line)
	if len(words) < 2 {
		c.fail("%q", line)
	}
	switch words[1] {
	case "OK":
		c.codes(line)
		return
	case "BYE":
		c.fail("%q", line)
	case "SEARCH", "SORT":
		for _, word := range words[2:] {
			if n, err := strconv.ParseUint(word, 10, 32); err == nil {
				c.found = append(c.found, uint32(n))
			}
		}
		return
	case "ESEARCH":
		if _, all, ok := strings.Cut(line, " ALL "); ok {
			all, _, _ = strings.Cut(all, " ")
			c.found = stressSet(all)
		}
		return
	case "VANISHED":
		c.vanished(words[2:])
		return
	case "STATUS":
		if n, ok := stressBetween(strings.ReplaceAll(line, ")", " "), "(MESSAGES ", " "); ok && c.others != nil && len(words) > 2 {
			c.others[words[2]], _ = strconv.Atoi(n)
		}
		return
	}
	n, err := strconv.Atoi(words[1])
	if err != nil || len(words) < 3 {
		return
	}
	switch words[2] {
	case "EXISTS":
		c.exists++
		if n < len(c.list) {
			c.fail("%d messages, and %d are known", n, len(c.list))
		}
		for len(c.list) < n {
			c.list = append(c.list, &stressMessage{touched: true})
		}
	case "EXPUNGE":
		if c.noExpunge || c.qresync || c.uidOnly || n < 1 || n > len(c.list) {
			c.fail("EXPUNGE of %d of %d is told here", n, len(c.list))
		}
		c.list, c.expunged = slices.Delete(c.list, n-1, n), true
	case "FETCH":
		if n < 1 || n > len(c.list) || c.uidOnly {
			c.fail("FETCH of %d of %d", n, len(c.list))
		}
		c.fetched(n, line)
	case "UIDFETCH":
		if !c.uidOnly {
			c.fail("UIDFETCH, which was not asked for")
		}
		c.fetched(c.place(uint32(n))+1, line)
	}
}

// place gives where a client that knows no numbers has a UID.
func (c *stressClient) place(uid uint32) int {
	at := slices.IndexFunc(c.list, func(m *stressMessage) bool { return m.uid == uid })
	if at >= 0 {
		return at
	}
	if at = slices.IndexFunc(c.list, func(m *stressMessage) bool { return m.uid == 0 }); at < 0 {
		c.fail("UIDFETCH of %d, and all messages are known", uid)
	}
	c.list[at].uid = uid
	slices.SortStableFunc(c.list, func(a, b *stressMessage) int { return cmp.Compare(a.uid-1, b.uid-1) })
	return c.place(uid)
}

// stressSet reads a set that has no "*".
func stressSet(text string) (list []uint32) {
	for part := range strings.SplitSeq(text, ",") {
		a, b, ranged := strings.Cut(part, ":")
		from, _ := strconv.ParseUint(a, 10, 32)
		to := from
		if ranged {
			to, _ = strconv.ParseUint(b, 10, 32)
		}
		for n := min(from, to); n <= max(from, to) && len(list) < 1e6; n++ {
			list = append(list, uint32(n))
		}
	}
	return list
}

func (c *stressClient) vanished(words []string) {
	if words[0] == "(EARLIER)" {
		c.earlier = append(c.earlier, stressSet(words[1])...)
		return
	}
	if c.noExpunge && !c.uidOnly || !c.qresync && !c.uidOnly {
		c.fail("VANISHED is told here")
	}
	for _, uid := range stressSet(words[0]) {
		i := slices.IndexFunc(c.list, func(m *stressMessage) bool { return m.uid == uid })
		for at := 0; i < 0 && at < len(c.list); at++ { // one whose UID is not known yet
			if c.list[at].uid > uid && !c.uidOnly {
				break
			}
			if c.list[at].uid == 0 && !slices.ContainsFunc(c.list[at:], func(m *stressMessage) bool { return m.uid != 0 && m.uid < uid }) {
				i = at
			}
		}
		if i < 0 {
			c.fail("UID %d has vanished, and was not there", uid)
		}
		c.list, c.expunged = slices.Delete(c.list, i, i+1), true
	}
}

// between gives what stands behind a word of a response up to an end.
func stressBetween(line, word, end string) (string, bool) {
	_, rest, ok := strings.Cut(line, word)
	if !ok {
		return "", false
	}
	value, _, ok := strings.Cut(rest, end)
	return value, ok
}

// fetched takes in one FETCH response: UID, FLAGS and MODSEQ stand before any text.
func (c *stressClient) fetched(n int, line string) {
	m := c.list[n-1]
	m.touched = true
	head, body, _ := strings.Cut(line, "BODY[")
	if value, ok := stressBetween(strings.ReplaceAll(head, ")", " "), "UID ", " "); ok {
		uid, _ := strconv.ParseUint(value, 10, 32)
		if m.uid != 0 && m.uid != uint32(uid) {
			c.fail("message %d has UID %d, and had %d", n, uid, m.uid)
		}
		m.uid = uint32(uid)
		for i, other := range c.list { // they ascend (RFC 9051, section 2.3.1.1)
			if other.uid != 0 && (i < n-1 && other.uid >= m.uid || i > n-1 && other.uid <= m.uid) {
				c.fail("message %d has UID %d, and message %d has %d", n, m.uid, i+1, other.uid)
			}
		}
	}
	modSeq := uint64(0)
	if value, ok := stressBetween(head, "MODSEQ (", ")"); ok {
		modSeq, _ = strconv.ParseUint(value, 10, 64)
		if modSeq < m.modSeq {
			c.fail("the mod-sequence of UID %d goes back from %d", m.uid, m.modSeq)
		}
		m.modSeq, c.highSeen = modSeq, max(c.highSeen, modSeq)
	}
	m.bare = modSeq != 0
	if value, ok := stressBetween(head, "FLAGS (", ")"); ok {
		m.bare = false
		flags := slices.DeleteFunc(strings.Fields(strings.ToLower(value)), func(flag string) bool { return flag == `\recent` })
		slices.Sort(flags)
		m.flags, m.known = strings.Join(flags, " "), true
		if modSeq != 0 && m.uid != 0 {
			c.sameState(m)
		}
	}
	if _, text, ok := strings.Cut(body, "\r\n"); ok && m.uid != 0 {
		c.text(m.uid, text, strings.HasPrefix(body, "]"))
		if id, ok := stressBetween(head, "EMAILID (", ")"); ok {
			c.is(stressMID(text), id)
		}
	}
}

// is holds a message's EMAILID against what others were told of it, or of a copy (RFC 8474, section 5.1).
func (c *stressClient) is(mid, emailID string) {
	c.w.mu.Lock()
	before, told := c.w.emailIDs[mid]
	c.w.emailIDs[mid] = emailID
	c.w.mu.Unlock()
	if told && before != emailID {
		c.fail("%s has the EMAILID %s, and had %s", mid, emailID, before)
	}
}

// sameState holds a message against what others were told of it at the same mod-sequence.
func (c *stressClient) sameState(m *stressMessage) {
	c.w.mu.Lock()
	key := stressModSeq{stressUID{c.folder, m.uid}, m.modSeq}
	before, told := c.w.flags[key]
	c.w.flags[key] = m.flags
	c.w.mu.Unlock()
	if told && before != m.flags {
		c.fail("UID %d at %d has %q, and somebody was told %q", m.uid, m.modSeq, m.flags, before)
	}
}

// text holds a message, or its header, against what was sent.
func (c *stressClient) text(uid uint32, text string, whole bool) {
	mid := stressMID(text)
	if before, ok := c.w.is(c.folder, uid, mid); !ok {
		c.fail("UID %d is %s, and was %s", uid, mid, before)
	}
	c.w.mu.Lock()
	sent := c.w.texts[mid]
	c.w.mu.Unlock()
	if sent == "" || whole && !strings.Contains(text, sent) {
		c.fail("UID %d, %s, is not what was sent", uid, mid)
	}
}

// selects opens a mailbox, from a point that was kept if there is one.
func (c *stressClient) selects(folder string, from *stressPoint) {
	if c.next = folder; c.folder == "" {
		c.closed()
	}
	c.spare()
	delete(c.others, folder)
	delete(c.others, c.folder)
	c.readOnly = c.random.IntN(8) == 0
	verb := map[bool]string{false: "SELECT", true: "EXAMINE"}[c.readOnly]
	if from == nil {
		c.command(false, "%s %s", verb, folder)
		c.refetch()
		return
	}
	c.command(false, "%s %s (QRESYNC (%d %d%s))", verb, folder, from.validity, from.modSeq, c.known(from))
	if from.validity != c.validity {
		c.fail("UIDVALIDITY was %d", from.validity)
	}
	if c.exists > 1 || c.expunged { // others were at work meanwhile: which is which is not known yet
		c.refetch()
		return
	}
	uids, known := c.since(from)
	for i, uid := range uids {
		if c.list[i].uid != 0 && c.list[i].uid != uid && !c.uidOnly {
			c.fail("QRESYNC: message %d is %d or %d", i+1, c.list[i].uid, uid)
		}
		m := known[uid]
		c.list[i] = &m
	}
	c.unchanged()
}

// closed is for when the mailbox that was selected is not any more: from here on it is about the next.
func (c *stressClient) closed() {
	c.begin(false)
	c.list, c.folder, c.highest = nil, c.next, 0
}

// spare is for when the mailbox is left: what is gone need not be told any more.
func (c *stressClient) spare() {
	for _, m := range c.list {
		m.gone = false
	}
}

// known tells the server at random what the client has (RFC 7162, section 3.2.5): nothing, the UIDs and all
// above, or these and the numbers of some.
func (c *stressClient) known(from *stressPoint) string {
	uids := slices.Sorted(maps.Keys(from.messages))
	kind := c.random.IntN(3)
	if kind == 0 || len(uids) == 0 {
		return ""
	}
	last := uids[len(uids)-1]
	known := fmt.Sprintf(" %s,%d:4294967295", imapAppendSet(nil, uids), last+1) // only of these UIDs it is told
	if kind == 1 || c.uidOnly {
		return known
	}
	var seqs, their []uint32
	for i, uid := range uids {
		if i == 0 || c.random.IntN(5) == 0 {
			seqs, their = append(seqs, uint32(i+1)), append(their, uid)
		}
	}
	return known + fmt.Sprintf(" (%s %s)", imapAppendSet(nil, seqs), imapAppendSet(nil, their))
}

// since gives what a mailbox has now, from what was kept and what was told: as many messages as there are.
func (c *stressClient) since(from *stressPoint) (uids []uint32, known map[uint32]stressMessage) {
	known = maps.Clone(from.messages)
	for _, uid := range c.earlier {
		delete(known, uid)
	}
	for _, m := range c.list {
		if m.uid != 0 && m.touched {
			known[m.uid] = *m
		}
	}
	uids = slices.Sorted(maps.Keys(known))
	if len(uids) != len(c.list) {
		c.fail("from %d there are the UIDs %d, and %d messages; what was kept, was so after\n%s\nand now", from.modSeq, uids, len(c.list), strings.Join(from.lines, "\n"))
	}
	return uids, known
}

// changedSince asks in the selected mailbox for what has changed from a point on (RFC 7162, section 3.2.6).
func (c *stressClient) changedSince() {
	points := c.points[c.folder]
	if len(points) == 0 {
		return
	}
	from := &points[c.random.IntN(len(points))]
	c.command(false, "UID FETCH 1:* (UID FLAGS) (CHANGEDSINCE %d VANISHED)", from.modSeq)
	if c.exists > 0 || c.expunged || slices.ContainsFunc(c.list, func(m *stressMessage) bool { return m.uid == 0 }) {
		return // as in selects
	}
	uids, known := c.since(from)
	for i, uid := range uids {
		if m := known[uid]; c.list[i].uid != uid || c.list[i].known && c.list[i].flags != m.flags {
			c.fail("message %d is %d with %q, and from %d it is %d with %q", i+1, c.list[i].uid, c.list[i].flags, from.modSeq, uid, m.flags)
		}
	}
}

// unchanged asks for all, and holds what has the same mod-sequence still against what it was: sameState
// has that from everybody who was told, and the client may have put it together from a point.
func (c *stressClient) unchanged() {
	before := map[uint32]stressMessage{}
	for _, m := range c.list {
		before[m.uid] = *m
	}
	c.refetch()
	for _, m := range c.list {
		if old, ok := before[m.uid]; ok && old.modSeq == m.modSeq && old.flags != m.flags {
			c.fail("UID %d has %q at %d, and QRESYNC had left it at %q", m.uid, m.flags, m.modSeq, old.flags)
		}
	}
}

// refetch asks for everything.
func (c *stressClient) refetch() {
	if len(c.list) == 0 {
		return
	}
	items := "UID FLAGS"
	if c.condstore {
		items += " MODSEQ"
	}
	answer := c.command(!c.uidOnly, "%sFETCH 1:* (%s)", stressPrefix(c.uidOnly), items)
	c.leftOut(answer, c.list)
}

// leftOut notes which messages an answer has not told: they must be gone.
func (c *stressClient) leftOut(answer string, asked []*stressMessage) {
	missing := false
	for _, m := range asked {
		if !m.touched && slices.Contains(c.list, m) {
			m.gone, missing = true, true
		}
	}
	if !missing && !strings.HasPrefix(answer, "OK") && !strings.Contains(answer, "EXPUNGEISSUED") && c.modified == "" {
		c.fail("refused") // else one that is gone may have been told of before it went, while the command ran
	}
}

// agrees tells whether all that is known is so, and nothing is missing or too much.
func (c *stressClient) agrees(truth map[uint32]string) bool {
	if len(truth) != len(c.list) {
		return false
	}
	for _, m := range c.list {
		flags, there := truth[m.uid]
		if m.uid != 0 && !there || m.uid != 0 && m.known && flags != m.flags {
			return false
		}
	}
	return true
}

// wrongOther names a folder of which NOTIFY has told something that is not so.
func (c *stressClient) wrongOther() string {
	for folder, messages := range c.others {
		if truth, _, _ := c.w.files(folder); folder != c.folder && len(truth) != messages {
			return fmt.Sprintf("%s has %d messages, it was told %d", folder, len(truth), messages)
		}
	}
	return ""
}

func (c *stressClient) picture() string {
	var b strings.Builder
	for _, m := range c.list {
		fmt.Fprintf(&b, "%d:%s ", m.uid, m.flags)
	}
	return b.String()
}

// idle waits in IDLE until enough says so.
func (c *stressClient) idle(enough func() bool) {
	c.tags++
	tag := fmt.Sprintf("t%d", c.tags)
	c.note("C: " + tag + " IDLE")
	c.begin(false)
	c.deadline()
	io.WriteString(c.out, tag+" IDLE\r\n") // where this fails, so does reading
	for line := c.line(); !strings.HasPrefix(line, "+"); line = c.line() {
		c.untagged(line)
	}
	for !enough() {
		c.in.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		if _, err := c.r.Peek(1); errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		c.untagged(c.line())
	}
	c.deadline()
	c.note("C: DONE")
	io.WriteString(c.out, "DONE\r\n") // likewise
	c.finish(tag)
}
