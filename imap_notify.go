package main

import (
	"errors"
	"slices"
	"strings"

	"github.com/emersion/go-imap/v2"
)

// NOTIFY (RFC 5465): what a client wants to hear of unasked, of the selected mailbox and of
// others. How it is told stands in imap_notify_tell.go.

// imapNotifyEvents are kinds of events (RFC 5465, section 5).
type imapNotifyEvents uint8

const (
	imapNotifyNew imapNotifyEvents = 1 << iota
	imapNotifyExpunge
	imapNotifyFlags
	imapNotifyNames
	imapNotifySubscriptions
	imapNotifyMetadata
	imapNotifyServerMetadata

	imapNotifyMessages = imapNotifyNew | imapNotifyExpunge | imapNotifyFlags // message-event
)

// imapNotifyNamed are the events that there are. AnnotationChange is not among them, since there are no
// annotations.
var imapNotifyNamed = []struct {
	name  string
	event imapNotifyEvents
}{
	{"MessageNew", imapNotifyNew},
	{"MessageExpunge", imapNotifyExpunge},
	{"FlagChange", imapNotifyFlags},
	{"MailboxName", imapNotifyNames},
	{"SubscriptionChange", imapNotifySubscriptions},
	{"MailboxMetadataChange", imapNotifyMetadata},
	{"ServerMetadataChange", imapNotifyServerMetadata},
}

// Bounds of one NOTIFY.
const (
	imapNotifyGroupsMost = 100
	imapNotifyNamesMost  = 1000
)

// errImapNotifyMuch refuses what would be too dear (RFC 5465, section 3.1).
var errImapNotifyMuch = imapNo{"NOTIFICATIONOVERFLOW", "that is too much to listen to"}

// imapNotify is what a client has asked for. It is replaced whole. Without groups, as after
// NOTIFY NONE, it hears of nothing.
type imapNotify struct {
	status   bool // STATUS responses come first
	selected imapNotifyEvents
	given    bool            // selected was given
	delayed  bool            // SELECTED-DELAYED
	items    *imapFetchItems // what is told of new messages in the selected mailbox, nil: nothing
	groups   []imapNotifyGroup
	listener *mailboxListener            // nil if only the selected mailbox matters
	folders  map[string]imapNotifyEvents // whose messages are listened to
}

// imapNotifyGroup is an event-group, other than of the selected mailbox.
type imapNotifyGroup struct {
	filter imapFilter
	events imapNotifyEvents
}

func (s *imapSession) cmdNotify() error {
	if err := s.r.readSpace(); err != nil {
		return err
	}
	word, err := s.r.readWord()
	n := &imapNotify{}
	switch {
	case err != nil:
		return err
	case word == "SET":
		err = s.readNotifySet(n)
	case word != "NONE":
		err = imapBad("NOTIFY SET or NOTIFY NONE")
	default:
		err = s.r.readEnd()
	}
	if err != nil {
		return err
	}
	return s.startNotify(n)
}

// readNotifySet reads what follows SET.
func (s *imapSession) readNotifySet(n *imapNotify) error {
	if err := s.r.readSpace(); err != nil {
		return err
	}
	if s.r.peek() != '(' {
		if word, err := s.r.readWord(); err != nil || word != "STATUS" {
			return imapBad("STATUS or an event group is missing")
		}
		n.status = true
		if err := s.r.readSpace(); err != nil {
			return err
		}
	}
	supported, much, names := true, false, 0
	for {
		group, selected, ok, err := s.readNotifyGroup(n)
		if err != nil {
			return err
		}
		supported = supported && ok
		names += len(group.filter.names)
		much = much || len(n.groups) >= imapNotifyGroupsMost || names > imapNotifyNamesMost
		if !selected && !much {
			n.groups = append(n.groups, group)
		}
		if !s.r.take(' ') {
			break
		}
	}
	if err := s.r.readEnd(); err != nil {
		return err
	}
	switch {
	case !supported:
		var all []string
		for _, e := range imapNotifyNamed {
			all = append(all, e.name)
		}
		return imapNo{imap.ResponseCode("BADEVENT (" + strings.Join(all, " ") + ")"), "there are no other events here"}
	case much:
		return errImapNotifyMuch
	}
	return nil
}

// readNotifyGroup reads an event-group. One of the selected mailbox goes to n. ok is false if it has events
// that are not there.
func (s *imapSession) readNotifyGroup(n *imapNotify) (group imapNotifyGroup, selected, ok bool, err error) {
	if !s.r.take('(') {
		return group, false, false, imapBad("an event group is missing")
	}
	if group.filter, err = s.readMailboxFilter(); err != nil {
		return group, false, false, err
	}
	if err = s.r.readSpace(); err != nil {
		return group, false, false, err
	}
	var items *imapFetchItems
	if group.events, items, ok, err = s.readNotifyEvents(); err != nil {
		return group, false, false, err
	}
	if !s.r.take(')') {
		return group, false, false, imapBad("an event group does not end")
	}
	switch kind := group.filter.kind; {
	case kind == imapFilterSubtreeOne:
		return group, false, false, imapBad("NOTIFY does not take SUBTREE-ONE") // RFC 5465, section 8
	case kind != imapFilterSelected && kind != imapFilterSelectedDelayed:
		if items != nil {
			err = imapBad("FETCH items are for the selected mailbox") // RFC 5465, section 8
		}
		return group, false, ok, err
	case n.given:
		err = imapBad("SELECTED stands twice") // RFC 5465, section 6.1
	case group.events&^imapNotifyMessages != 0:
		err = imapBad("SELECTED takes events of messages only") // RFC 5465, section 6.1
	}
	n.selected, n.items, n.given, n.delayed = group.events, items, true, group.filter.kind == imapFilterSelectedDelayed
	return group, true, ok, err
}

// readNotifyEvents reads events, and the FETCH items of MessageNew.
func (s *imapSession) readNotifyEvents() (events imapNotifyEvents, items *imapFetchItems, ok bool, err error) {
	if s.r.peek() != '(' {
		if word, err := s.r.readWord(); err != nil || word != "NONE" {
			return 0, nil, false, imapBad("events are a list, or NONE")
		}
		return 0, nil, true, nil
	}
	ok = true
	count := 0
	err = s.r.readList(func() error {
		word, err := s.r.readWord()
		if err != nil {
			return err
		}
		count++
		i := slices.IndexFunc(imapNotifyNamed, func(e struct {
			name  string
			event imapNotifyEvents
		}) bool {
			return strings.EqualFold(e.name, word)
		})
		if i < 0 {
			ok = false
			return nil
		}
		events |= imapNotifyNamed[i].event
		if len(s.r.line) < 2 || s.r.line[0] != ' ' || s.r.line[1] != '(' {
			return nil
		}
		if imapNotifyNamed[i].event != imapNotifyNew || items != nil {
			return imapBad("only MessageNew has FETCH items")
		}
		s.r.take(' ')
		items, err = s.r.readFetchItems(false)
		return err
	})
	const both = imapNotifyNew | imapNotifyExpunge
	switch {
	case err != nil:
	case count == 0:
		err = imapBad("events are missing")
	case !ok: // what they go with is not known
	case events&both != 0 && events&both != both, events&imapNotifyFlags != 0 && events&both == 0:
		err = imapBad("MessageNew and MessageExpunge go together, and FlagChange needs both") // RFC 5465, section 5
	}
	return events, items, ok, err
}

// startNotify listens as n says. If that cannot be, all stays as it was.
func (s *imapSession) startNotify(n *imapNotify) error {
	var old *mailboxListener
	if s.notify != nil {
		old = s.notify.listener
	}
	listens := slices.ContainsFunc(n.groups, func(g imapNotifyGroup) bool { return g.events != 0 })
	if !listens {
		err := s.tellAccumulated(n) // before it goes into effect
		s.unlisten()
		s.notify = n
		s.endContexts()
		return err
	}
	n.listener = old // what it has not told yet is told
	if old == nil {
		n.listener = s.tree.listen(s.c.wake)
	}
	if err := s.watch(n, nil); err != nil {
		if old == nil {
			n.listener.close()
		}
		if errors.Is(err, errMailboxListenMost) {
			return errImapNotifyMuch
		}
		return err
	}
	s.notify = n
	if slices.ContainsFunc(n.groups, func(g imapNotifyGroup) bool {
		return g.events&(imapNotifyMetadata|imapNotifyServerMetadata) != 0
	}) {
		s.hearMetadata()
	}
	if s.selected != nil {
		s.selected.view.by = n.listener
		n.listener.opens(s.selected.view.name())
	}
	if err := s.tellNoAccess(n); err != nil {
		return err
	}
	if n.status {
		if err := s.tellNotifyStatus(); err != nil {
			return err
		}
	}
	err := s.tellAccumulated(n)
	s.endContexts()
	return err
}

// tellNoAccess tells which of the mailboxes that are named can be seen and not read (RFC 5465, section 3.1).
func (s *imapSession) tellNoAccess(n *imapNotify) error {
	folders, err := s.tree.folders(n.wantsOthers())
	if err != nil {
		return err
	}
	for _, f := range folders {
		if !f.selectable || f.rights&mailboxRightRead != 0 {
			continue
		}
		for i := range n.groups {
			g := &n.groups[i]
			if slices.Contains(g.filter.names, s.clientName(f.name)) && g.events&imapNotifyMessages != 0 {
				out := append([]byte(`* LIST (\NoAccess) "`), s.door.separator, '"', ' ')
				s.c.Write(append(s.appendName(out, s.clientName(f.name)), "\r\n"...))
				break
			}
		}
	}
	return nil
}

// wantsOthers tells whether others' folders may belong to a group.
func (n *imapNotify) wantsOthers() bool {
	return slices.ContainsFunc(n.groups, func(g imapNotifyGroup) bool { return g.filter.wantsOthers() })
}

// endContexts ends what searches are kept up to date if nothing of the selected mailbox is told: that
// would need the numbers of messages of which the client does not hear.
func (s *imapSession) endContexts() {
	if s.selected == nil || s.notify.wantsMessages() {
		return
	}
	for _, c := range s.selected.contexts {
		s.noUpdate(c.tag, "NOTIFY does not ask for this mailbox")
	}
	s.selected.contexts = nil
}

// wantsMetadata tells whether a changed annotation of a folder, or of the server (""), is told. Before the
// first NOTIFY that is for ENABLE to say.
func (n *imapNotify) wantsMetadata(s *imapSession, folder string) bool {
	if n == nil {
		return true
	}
	if folder == "" {
		return slices.ContainsFunc(n.groups, func(g imapNotifyGroup) bool { return g.events&imapNotifyServerMetadata != 0 })
	}
	subscriptions, err := s.tree.subscriptions()
	if err != nil {
		logCommandFailed(s.c.log, s.user, "NOTIFY", err)
	}
	return n.events(s, folder, slices.Contains(subscriptions, folder))&imapNotifyMetadata != 0
}

// tellAccumulated is the NOOP that NOTIFY SET implies (RFC 5465, section 3.1), also for a client that
// wants to hear nothing from now on.
func (s *imapSession) tellAccumulated(n *imapNotify) error {
	if s.selected == nil || !n.given && len(n.groups) == 0 {
		return nil
	}
	_, err := s.tell(true)
	if errors.Is(err, errMailboxGone) {
		return nil // that is told where all commands end
	}
	return err
}

// unlisten ends all notification, and what it takes.
func (s *imapSession) unlisten() {
	if s.notify == nil {
		return
	}
	if s.selected != nil {
		s.selected.view.by = nil
	}
	s.notify.listener.close()
	s.notify = &imapNotify{}
}

// listener is what this session listens with, nil if it does not.
func (s *imapSession) listener() *mailboxListener {
	if s.notify == nil {
		return nil
	}
	return s.notify.listener
}

// doing runs act, which does to a folder as a whole what the session need not hear of then (RFC
// 5465, section 5).
func (s *imapSession) doing(news mailboxNews, act func() error) error {
	s.listener().expect(news)
	defer s.listener().expect(mailboxNews{})
	return act()
}

// watch listens to the folders that n wants to hear of. made are those that were made meanwhile.
func (s *imapSession) watch(n *imapNotify, made []string) error {
	folders, err := s.tree.folders(n.wantsOthers())
	if err != nil {
		return err
	}
	subscriptions, err := s.tree.subscriptions()
	if err != nil {
		return err
	}
	wanted := map[string]imapNotifyEvents{}
	var names []string
	for _, f := range folders {
		_, subscribed := slices.BinarySearchFunc(subscriptions, f.name, mailboxCompareNames)
		if f.rights&mailboxRightRead == 0 { // RFC 5465, section 5
			continue
		}
		if events := n.events(s, f.name, subscribed) & imapNotifyMessages; f.selectable && events != 0 {
			wanted[f.name] = events
			names = append(names, f.name)
		}
	}
	if err := n.listener.watch(names, made); err != nil {
		return err
	}
	n.folders = wanted
	return nil
}

// events are those that a client wants to hear of a folder that is not selected: all that any group has for it
// (RFC 5465, section 6).
func (n *imapNotify) events(s *imapSession, folder string, subscribed bool) (events imapNotifyEvents) {
	for i := range n.groups {
		g := &n.groups[i]
		has := subscribed // which is not read anew for each folder
		if g.filter.kind != imapFilterSubscribed {
			has, _ = g.filter.has(s, folder)
		}
		if has {
			events |= g.events
		}
	}
	return events
}

// wantsMessages tells whether changes of the selected mailbox are told.
func (n *imapNotify) wantsMessages() bool { return n == nil || n.selected&imapNotifyNew != 0 }

// wantsFlags tells whether changes of flags in the selected mailbox are told.
func (n *imapNotify) wantsFlags() bool { return n == nil || n.selected&imapNotifyFlags != 0 }
