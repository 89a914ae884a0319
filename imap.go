package main

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2"
)

// The IMAP door, RFC 9051 (IMAP4rev2) and RFC 3501 (IMAP4rev1), and extensions. It
// knows the protocol; folders and messages are the mailbox room's, what is in a message
// is the message room's.
//
//	not authenticated --LOGIN, AUTHENTICATE--> authenticated --SELECT, EXAMINE--> selected
//	selected --CLOSE, UNSELECT--> authenticated
//	any --LOGOUT--> logout
//
// A command is a row of imapCommands, a method cmdX, and a dialog in testdata/imap.
// The method reads all arguments, then acts, then returns its outcome as an error
// (imap_reply.go); the loop writes the tagged response, and before it what the
// session must be told of its mailbox.

// imapDoor is what all IMAP sessions share. Its values do not change while sessions
// use it; a reload makes a new one.
type imapDoor struct {
	auth      *auth
	store     *mailboxStore
	hostname  string
	version   string      // for ID
	tls       *tls.Config // for STARTTLS; nil: not offered
	plaintext authPlaintext

	appendLimit int64  // bytes of the largest message that APPEND takes
	limit       int    // messages that one command deals with; 0: any number
	saveLimit   int    // likewise, for COPY and APPEND alone
	separator   byte   // between the parts of a mailbox name: '/' or '.'
	prefix      string // before all mailbox names but INBOX: "" or "INBOX."
	shared      string // the first part of the names of others' mailboxes, "": they are not shown

	progressEach time.Duration // 0: imapProgressEach

	quotaAdmins []string          // users who may set the limits of all
	submitters  map[string]bool   // users that may use URLs meant for submission, in small letters
	without     map[string]bool   // capabilities that are withheld, in capitals
	annotations map[string]string // of the server, for all: /shared/...
}

type imapState uint8

const (
	imapNotAuthenticated imapState = 1 << iota
	imapAuthenticated
	imapSelectedState
	imapLogout

	imapAnyState = imapNotAuthenticated | imapAuthenticated | imapSelectedState
	imapLoggedIn = imapAuthenticated | imapSelectedState
)

const (
	imapAutologout = 30 * time.Minute // RFC 9051, section 5.4: at least that
	imapLoginTime  = 3 * time.Minute  // before login, where the RFC sets no bound
	imapBadMost    = 10               // bad commands before login end the connection
)

// imapCommand is a row of the command table.
type imapCommand struct {
	states   imapState
	usesSeqs bool // takes sequence numbers, or tells them: no EXPUNGE meanwhile (RFC 9051, section 7.5.1)
	expunges bool // its outcome may have a HIGHESTMODSEQ (RFC 7162, section 3.2.7)
	run      func(*imapSession) error
}

var imapCommands map[string]imapCommand

func init() { // apart, since CAPABILITY is in it and in what it calls
	imapCommands = map[string]imapCommand{
		"CAPABILITY": {imapAnyState, false, false, (*imapSession).cmdCapability}, // RFC 9051, section 6.1.1
		"NOOP":       {imapAnyState, false, false, (*imapSession).cmdNoop},       // RFC 9051, section 6.1.2
		"LOGOUT":     {imapAnyState, false, false, (*imapSession).cmdLogout},     // RFC 9051, section 6.1.3
		"ID":         {imapAnyState, false, false, (*imapSession).cmdID},         // RFC 2971, section 3.1

		"COMPRESS":       {imapLoggedIn, false, false, (*imapSession).cmdCompress},       // RFC 4978, section 3
		"UNAUTHENTICATE": {imapLoggedIn, false, false, (*imapSession).cmdUnauthenticate}, // RFC 8437, section 3

		"STARTTLS":     {imapNotAuthenticated, false, false, (*imapSession).cmdStartTLS},     // RFC 9051, section 6.2.1
		"AUTHENTICATE": {imapNotAuthenticated, false, false, (*imapSession).cmdAuthenticate}, // RFC 9051, section 6.2.2; RFC 4959
		"LOGIN":        {imapNotAuthenticated, false, false, (*imapSession).cmdLogin},        // RFC 9051, section 6.2.3

		"ENABLE":       {imapAuthenticated, false, false, (*imapSession).cmdEnable},   // RFC 9051, section 6.3.1
		"SELECT":       {imapLoggedIn, false, false, (*imapSession).cmdSelect},        // RFC 9051, section 6.3.2
		"EXAMINE":      {imapLoggedIn, false, false, (*imapSession).cmdExamine},       // RFC 9051, section 6.3.3
		"CREATE":       {imapLoggedIn, false, false, (*imapSession).cmdCreate},        // RFC 9051, section 6.3.4; RFC 6154
		"DELETE":       {imapLoggedIn, false, false, (*imapSession).cmdDelete},        // RFC 9051, section 6.3.5
		"RENAME":       {imapLoggedIn, false, false, (*imapSession).cmdRename},        // RFC 9051, section 6.3.6
		"SUBSCRIBE":    {imapLoggedIn, false, false, (*imapSession).cmdSubscribe},     // RFC 9051, section 6.3.7
		"UNSUBSCRIBE":  {imapLoggedIn, false, false, (*imapSession).cmdUnsubscribe},   // RFC 9051, section 6.3.8
		"LIST":         {imapLoggedIn, false, false, (*imapSession).cmdList},          // RFC 9051, section 6.3.9; RFC 5258, RFC 5819
		"LSUB":         {imapLoggedIn, false, false, (*imapSession).cmdLsub},          // RFC 3501, section 6.3.9
		"NAMESPACE":    {imapLoggedIn, false, false, (*imapSession).cmdNamespace},     // RFC 9051, section 6.3.10
		"STATUS":       {imapLoggedIn, false, false, (*imapSession).cmdStatus},        // RFC 9051, section 6.3.11
		"GETMETADATA":  {imapLoggedIn, false, false, (*imapSession).cmdGetMetadata},   // RFC 5464, section 4.2
		"SETMETADATA":  {imapLoggedIn, false, false, (*imapSession).cmdSetMetadata},   // RFC 5464, section 4.3
		"SETACL":       {imapLoggedIn, false, false, (*imapSession).cmdSetACL},        // RFC 4314, section 3.1
		"DELETEACL":    {imapLoggedIn, false, false, (*imapSession).cmdDeleteACL},     // RFC 4314, section 3.2
		"GETACL":       {imapLoggedIn, false, false, (*imapSession).cmdGetACL},        // RFC 4314, section 3.3
		"LISTRIGHTS":   {imapLoggedIn, false, false, (*imapSession).cmdListRights},    // RFC 4314, section 3.4
		"MYRIGHTS":     {imapLoggedIn, false, false, (*imapSession).cmdMyRights},      // RFC 4314, section 3.5
		"GETQUOTA":     {imapLoggedIn, false, false, (*imapSession).cmdGetQuota},      // RFC 9208, section 4.1.1
		"GETQUOTAROOT": {imapLoggedIn, false, false, (*imapSession).cmdGetQuotaRoot},  // RFC 9208, section 4.1.2
		"SETQUOTA":     {imapLoggedIn, false, false, (*imapSession).cmdSetQuota},      // RFC 9208, section 4.1.3
		"APPEND":       {imapLoggedIn, false, false, (*imapSession).cmdAppend},        // RFC 9051, section 6.3.12
		"RESETKEY":     {imapLoggedIn, false, false, (*imapSession).cmdResetKey},      // RFC 4467, section 7, as the next two
		"GENURLAUTH":   {imapLoggedIn, false, false, (*imapSession).cmdGenURLAuth},    // URLs of one's own
		"URLFETCH":     {imapLoggedIn, false, false, (*imapSession).cmdURLFetch},      // what others have authorized
		"ESEARCH":      {imapLoggedIn, false, false, (*imapSession).cmdEsearch},       // RFC 7377, section 2
		"NOTIFY":       {imapLoggedIn, false, false, (*imapSession).cmdNotify},        // RFC 5465, section 3.1
		"IDLE":         {imapLoggedIn, false, false, (*imapSession).cmdIdle},          // RFC 9051, section 6.3.13
		"CHECK":        {imapSelectedState, false, false, (*imapSession).cmdNoop},     // RFC 3501, section 6.4.1
		"CLOSE":        {imapSelectedState, false, false, (*imapSession).cmdClose},    // RFC 9051, section 6.4.1
		"UNSELECT":     {imapSelectedState, false, false, (*imapSession).cmdUnselect}, // RFC 9051, section 6.4.2

		"EXPUNGE":      {imapSelectedState, false, true, (*imapSession).cmdExpunge}, // RFC 9051, section 6.4.3
		"SEARCH":       {imapSelectedState, true, false, (*imapSession).cmdSearch},  // RFC 9051, section 6.4.4
		"SORT":         {imapSelectedState, true, false, (*imapSession).cmdSort},    // RFC 5256, section 3, as THREAD
		"THREAD":       {imapSelectedState, true, false, (*imapSession).cmdThread},
		"UIDBATCHES":   {imapSelectedState, false, false, (*imapSession).cmdUIDBatches},   // RFC 10022, section 3.1
		"CANCELUPDATE": {imapSelectedState, false, false, (*imapSession).cmdCancelUpdate}, // RFC 5267, section 4.3.5

		"FETCH":       {imapSelectedState, true, false, (*imapSession).cmdFetch},      // RFC 9051, section 6.4.5
		"STORE":       {imapSelectedState, true, false, (*imapSession).cmdStore},      // RFC 9051, section 6.4.6
		"COPY":        {imapSelectedState, false, false, (*imapSession).cmdCopy},      // RFC 9051, section 6.4.7
		"MOVE":        {imapSelectedState, false, true, (*imapSession).cmdMove},       // RFC 9051, section 6.4.8
		"REPLACE":     {imapSelectedState, false, true, (*imapSession).cmdReplace},    // RFC 8508, section 3.2
		"UID REPLACE": {imapSelectedState, false, true, (*imapSession).cmdReplace},    // RFC 8508, section 3.3
		"UID EXPUNGE": {imapSelectedState, false, true, (*imapSession).cmdUIDExpunge}, // RFC 9051, section 6.4.9, as the rest
		"UID ESEARCH": {imapLoggedIn, false, false, (*imapSession).cmdEsearch},        // RFC 7377, section 2, has this name as well
		"UID SEARCH":  {imapSelectedState, false, false, (*imapSession).cmdSearch},
		"UID SORT":    {imapSelectedState, false, false, (*imapSession).cmdSort},
		"UID THREAD":  {imapSelectedState, false, false, (*imapSession).cmdThread},
		"UID FETCH":   {imapSelectedState, false, false, (*imapSession).cmdFetch},
		"UID STORE":   {imapSelectedState, false, false, (*imapSession).cmdStore},
		"UID COPY":    {imapSelectedState, false, false, (*imapSession).cmdCopy},
		"UID MOVE":    {imapSelectedState, false, true, (*imapSession).cmdMove},
	}
}

// imapSession is one client's connection.
type imapSession struct {
	door *imapDoor
	c    *conn
	r    imapReader

	state     imapState
	user      string
	tree      *mailboxAccess
	news      *mailboxAnnotationNews // ENABLE METADATA: what annotations others change
	selected  *imapSelected          // nil unless a mailbox is; replaced whole
	rev2      bool                   // ENABLE IMAP4rev2 (RFC 9051, appendix E says what changes)
	condstore bool                   // the client knows of mod-sequences (RFC 7162, section 3.1)
	notify    *imapNotify            // what NOTIFY has asked for; nil before the first
	qresync   bool                   // ENABLE QRESYNC: VANISHED instead of EXPUNGE
	utf8      bool                   // ENABLE UTF8=ACCEPT (RFC 6855), or rev2: names are UTF-8
	uidOnly   bool                   // ENABLE UIDONLY (RFC 9586): no message numbers in either direction

	tag    string
	name   string // of the command that is running, such as "UID FETCH"
	lowest uint32 // UID that it has dealt with, if it named more messages than it may; 0: it did not
	bad    int    // bad commands before login

	progress *imapProgress // of the command that is running, if that may take long; replaced whole
}

// imapSelected is the mailbox that is selected.
type imapSelected struct {
	view     *mailboxView
	keywords []string     // that the client was told of
	mayFlag  mailboxFlags // flags that can be changed, as the client was told
	exists   int          // likewise
	recent   int          // likewise
	saved    []uint32     // UIDs of the last SEARCH RETURN (SAVE), ascending (RFC 5182)
	last     imapTree     // of the message whose parts were read last
	contexts []*imapContext
	mine     []uint32 // UIDs of messages that the client has brought itself and was not told of yet
	heldBack bool     // the client was told a lower HIGHESTMODSEQ, since not all was told
}

// byUID tells whether the command that is running takes UIDs, or tells them.
func (s *imapSession) byUID() bool { return strings.HasPrefix(s.name, "UID ") || s.name == "ESEARCH" }

// serve speaks with one client until it leaves, and closes the connection.
func (d *imapDoor) serve(c *conn) {
	s := &imapSession{door: d, c: c, r: imapReader{c: c}, state: imapNotAuthenticated}
	c.timeout = imapLoginTime // within a command, too
	defer s.end()
	s.greet()
	var err error
	for err == nil && s.state != imapLogout {
		err = s.serveOne()
	}
	s.leave(err)
}

// greet is apart from serve, for what that has on the stack is there as long as the client.
func (s *imapSession) greet() {
	s.c.WriteString("* OK [CAPABILITY ")
	s.c.WriteString(s.capabilities())
	s.c.printf("] %s Letterbox is ready", s.door.hostname)
}

// leave is called when the session has ended, by LOGOUT (nil) or otherwise.
func (s *imapSession) leave(err error) {
	if err != nil {
		logSessionEnd(s.c.log, s.user, err)
		return
	}
	s.c.flush() // whether the client still hears BYE does not matter
}

// end gives back what the session has, however it ended.
func (s *imapSession) end() {
	defer s.c.Close()
	s.ignoreMetadata()
	s.unselect()
	s.unlisten()
}

// serveOne waits for a command and answers it. Its error ends the connection.
func (s *imapSession) serveOne() error {
	if err := s.wait(); err != nil {
		return err
	}
	s.tag, s.name, s.lowest, s.progress = "*", "", 0, nil
	err := s.r.next()
	if errors.Is(err, errLineTooLong) {
		s.tag = cmp.Or(s.r.tag, "*")
		return s.answer(imapBad("the line is too long"))
	} else if err != nil {
		return err
	}
	command, err := s.readCommand()
	if err == nil {
		if err = s.mayStay(command); err == nil {
			err = command.run(s)
		}
		if s.r.broken == nil {
			err = s.tellLimit(s.tellBefore(command, err))
		}
	}
	return s.answer(err)
}

// mayStay tells by errMailboxGone that the mailbox that is selected may not be read any more (RFC 4314, section 5.1.1).
func (s *imapSession) mayStay(command imapCommand) error {
	reads := command.states == imapSelectedState || s.name == "ESEARCH" || s.name == "UID ESEARCH"
	if s.selected != nil && reads && s.selected.view.rights()&mailboxRightRead == 0 {
		return errMailboxGone
	}
	return nil
}

// wait returns when input is there. Output goes out first, but not while the client
// has sent more commands already.
func (s *imapSession) wait() error {
	if s.c.buffered() > 0 {
		return nil
	}
	next, err := s.tellBetween()
	if err != nil {
		return err
	}
	if err := s.c.flush(); err != nil {
		return err
	}
	most := imapAutologout
	if s.state == imapNotAuthenticated {
		most = imapLoginTime
	}
	for until := time.Now().Add(most); ; {
		if next.IsZero() || next.After(until) {
			next = until
		}
		switch err := s.c.wait(max(time.Until(next), time.Millisecond)); {
		case errors.Is(err, errWoken), errors.Is(err, os.ErrDeadlineExceeded) && time.Now().Before(until):
			// Without NOTIFY, news waits for a command.
			if next, err = s.tellBetween(); err == nil {
				err = s.c.flush()
			}
			if err != nil {
				return err
			}
		case err == nil && s.c.skipFlush():
		case errors.Is(err, os.ErrDeadlineExceeded):
			return s.bye(fmt.Sprintf("[INACTIVE] you were silent for %.0f minutes", most.Minutes()), err)
		case errors.Is(err, errShutdown):
			return s.bye("[UNAVAILABLE] the server is shutting down", err)
		case errors.Is(err, errConnLogin):
			return s.bye("[EXPIRED] "+err.Error(), err) // RFC 5530, section 3
		case errors.Is(err, errConnInflate):
			return s.bye("[CLIENTBUG] "+err.Error(), err)
		default:
			return err
		}
	}
}

// bye tells the client why the connection ends. It gives the reason back.
func (s *imapSession) bye(text string, reason error) error {
	s.c.printf("* BYE %s", text)
	s.c.flush() // the reason for the end is known already
	return reason
}

// readCommand reads tag and name.
func (s *imapSession) readCommand() (command imapCommand, err error) {
	tag, err := s.r.readTag()
	if err != nil {
		return command, err
	}
	s.tag = tag
	if err := s.r.readSpace(); err != nil {
		return command, imapBad("a command is missing")
	}
	if s.name, err = s.r.readWord(); err != nil {
		return command, imapBad("a command is missing")
	}
	if s.name == "UID" {
		if err := s.r.readSpace(); err != nil {
			return command, imapBad("UID what?")
		}
		name, err := s.r.readWord()
		if err != nil {
			return command, imapBad("UID what?")
		}
		s.name += " " + name
	}
	command, ok := imapCommands[s.name]
	if !ok {
		return command, imapBad("there is no such command")
	}
	s.transcript()
	if command.states&s.state == 0 {
		switch {
		case s.state == imapNotAuthenticated:
			return command, imapBad("log in first")
		case s.state == imapSelectedState && s.name == "ENABLE":
			return command, imapBad("ENABLE comes before SELECT") // RFC 9051, section 6.3.1
		case command.states == imapNotAuthenticated:
			return command, imapBad("you are logged in already")
		}
		return command, imapBad("select a mailbox first")
	}
	if s.uidOnly && imapTakesNumbers(s.name) {
		return command, errImapUIDRequired // before a literal is asked for
	}
	return command, nil
}

// transcript logs a command, without passwords.
func (s *imapSession) transcript() {
	arguments := "..."
	if s.name != "LOGIN" && s.name != "AUTHENTICATE" {
		arguments = strings.TrimPrefix(string(s.r.line), " ")
	}
	logCommand(s.c.log, s.name, arguments)
}

// tellBefore tells what happened in the mailbox, before a command's tagged response.
// Not after BAD: that command has not been.
func (s *imapSession) tellBefore(command imapCommand, outcome error) error {
	var bad imapBad
	var bye imapBye
	if !errors.As(outcome, &bad) && !errors.As(outcome, &bye) {
		s.tellMetadata()
	}
	if s.selected == nil || errors.As(outcome, &bad) || errors.As(outcome, &bye) {
		return outcome
	}
	if !s.notify.wantsMessages() && !command.expunges && !errors.Is(outcome, errMailboxGone) {
		return outcome // RFC 5465, section 3.1: the client wants to hear of what it does itself only
	}
	vanished, err := s.tell(!command.usesSeqs)
	if errors.Is(err, errMailboxGone) {
		// The numbers that the client knows mean nothing any more; it has to begin anew
		// (RFC 2180, section 3.3). Still it hears what came of its command.
		s.c.printf("* BYE the mailbox was deleted or renamed")
		s.unselect()
		s.state = imapLogout
	} else if err != nil && outcome == nil {
		return err
	}
	if command.expunges && outcome == nil && vanished && s.qresync { // RFC 7162, section 3.2.7
		return imapOK{"HIGHESTMODSEQ " + strconv.FormatUint(s.selected.view.highestModSeq(), 10), s.name + " completed"}
	}
	return outcome
}

// answer writes the tagged response. Its error ends the connection.
func (s *imapSession) answer(outcome error) error {
	if s.r.broken != nil {
		if errors.Is(s.r.broken, io.EOF) {
			return io.ErrUnexpectedEOF
		}
		return s.r.broken
	}
	var bye imapBye
	if errors.As(outcome, &bye) {
		return s.bye(string(bye), outcome)
	}
	var ok imapOK
	var bad imapBad
	switch {
	case outcome == nil:
		s.respond(imap.StatusResponseTypeOK, "", s.name+" completed")
	case outcome == imapDone:
	case errors.As(outcome, &ok):
		s.respond(imap.StatusResponseTypeOK, imap.ResponseCode(ok.code), ok.text)
	case errors.As(outcome, &bad):
		if s.state == imapNotAuthenticated {
			if s.bad++; s.bad >= imapBadMost {
				return s.bye("too many bad commands", outcome)
			}
		}
		s.respond(imap.StatusResponseTypeBad, "", string(bad))
	case errors.Is(outcome, errLineTooLong): // after a literal
		s.respond(imap.StatusResponseTypeBad, "", "the line is too long")
	default:
		no, known := imapReply(outcome)
		if !known {
			logCommandFailed(s.c.log, s.user, s.name, outcome)
		}
		s.respond(imap.StatusResponseTypeNo, no.code, no.text)
	}
	err := s.r.drop()
	if errors.As(err, &bye) {
		return s.bye(string(bye), err)
	}
	return err
}

func (s *imapSession) respond(status imap.StatusResponseType, code imap.ResponseCode, text string) {
	s.c.WriteString(s.tag)
	s.c.WriteString(" ")
	s.c.WriteString(string(status))
	if code != "" {
		s.c.WriteString(" [" + string(code) + "]")
	}
	s.c.WriteString(" " + text + "\r\n")
}

// tell tells the client what other sessions and programs did to the selected mailbox,
// and what this command did: EXPUNGE (if it may be told now), EXISTS, RECENT, FLAGS,
// FETCH.
func (s *imapSession) tell(expunges bool) (vanished bool, err error) {
	sel := s.selected
	before := sel.view.uids()
	rights := sel.view.rights()
	if rights&mailboxRightRead == 0 {
		return false, errMailboxGone
	}
	changes, err := sel.view.sync(expunges)
	if err != nil {
		return false, err
	}
	if rights.flags() != sel.mayFlag && !sel.view.readOnly() { // RFC 4314, section 5.1.1
		s.tellKeywords()
	}
	s.tellGone(changes.gone, before)
	s.tellExpunged(changes)
	if n := len(sel.view.uids()); changes.exists || n != sel.exists {
		sel.exists = n
		s.c.printf("* %d EXISTS", n)
	}
	if !s.rev2 && changes.recent != sel.recent {
		s.c.printf("* %d RECENT", changes.recent)
	}
	sel.recent = changes.recent
	if len(changes.changed) > 0 && s.notify.wantsFlags() {
		s.tellFlags(changes.changed)
	}
	s.tellContexts(changes, before) // after EXISTS (RFC 5267, section 4.3.3)
	err = s.tellArrived(before)
	s.tellHeldBack()
	return len(changes.expunged) > 0, err
}

// tellExpunged tells what is gone, by numbers or by UIDs (RFC 7162, section 3.2.10).
func (s *imapSession) tellExpunged(changes mailboxChanges) {
	if len(changes.expunged) == 0 {
		return
	}
	sel := s.selected
	sel.forget(changes.expunged)
	sel.exists -= len(changes.expunged)
	if s.qresync || s.uidOnly { // RFC 9586, section 3.4
		s.c.Write(append(imapAppendSet([]byte("* VANISHED "), changes.expunged), "\r\n"...))
		return
	}
	numbers := changes.numbers
	if s.lowest > 0 {
		numbers = imapDownwards(numbers)
	}
	var buf [512]byte
	for _, number := range numbers {
		out := append(buf[:0], "* "...)
		out = strconv.AppendUint(out, uint64(number), 10)
		s.c.Write(append(out, " EXPUNGE\r\n"...))
	}
}

// forget drops expunged UIDs from what SEARCH has saved (RFC 5182, section 2.1).
func (sel *imapSelected) forget(expunged []uint32) {
	kept := sel.saved[:0]
	for _, uid := range sel.saved {
		for len(expunged) > 0 && expunged[0] < uid {
			expunged = expunged[1:]
		}
		if len(expunged) == 0 || expunged[0] != uid {
			kept = append(kept, uid)
		}
	}
	sel.saved = kept
}

// tellFlags tells the flags of messages, UIDs ascending, and before them what
// keywords there are if that is new.
func (s *imapSession) tellFlags(uids []uint32) {
	sel := s.selected
	list, messages := sel.view.uids(), sel.view.messages(uids)
	s.tellKeywords()                                                                 // after the flags were looked at, which may have a keyword that is new
	withUID := !s.uidOnly && (s.rev2 || s.byUID() || s.condstore || s.notify != nil) // RFC 5465, section 5.1; RFC 9051, section 6.4.9; RFC 7162, section 3.2.4
	i := 0
	var out []byte
	for _, m := range messages {
		for i < len(list) && list[i] < m.uid {
			i++
		}
		if i == len(list) || list[i] != m.uid {
			continue
		}
		out = imapAppendFetch(out[:0], i+1, m.uid, s.uidOnly)
		if withUID {
			out = append(out, "UID "...)
			out = strconv.AppendUint(out, uint64(m.uid), 10)
			out = append(out, ' ')
		}
		out = append(out, "FLAGS "...)
		out = imapAppendFlags(out, m.flags, m.recent && !s.rev2, sel.keywords)
		if s.condstore {
			out = imapAppendModSeq(append(out, " MODSEQ "...), m.modSeq)
		}
		s.c.Write(append(out, ")\r\n"...))
	}
}
