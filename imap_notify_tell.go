package main

import (
	"errors"
	"slices"
	"time"

	"github.com/emersion/go-imap/v2"
)

// tellNotified tells what NOTIFY has asked for, while no command runs or IDLE does. next is when
// it has to be called again although nothing has happened by then; zero: never.
func (s *imapSession) tellNotified(idle bool) (next time.Time, err error) {
	n := s.notify
	if n == nil {
		return next, nil
	}
	s.tellMetadata()
	if n.listener != nil {
		if next, err = s.tellFolders(n); err != nil {
			return next, err
		}
	}
	if s.selected == nil || !s.notify.wantsMessages() {
		return next, nil
	}
	_, err = s.tell(idle || !n.delayed) // RFC 5465, section 6.1
	return next, err
}

// tellBetween is tellNotified between two commands. The mailbox may be gone, which ends the
// connection as after a command.
func (s *imapSession) tellBetween() (next time.Time, err error) {
	if next, err = s.tellNotified(false); errors.Is(err, errMailboxGone) {
		return next, s.bye("the mailbox was deleted or renamed", err)
	}
	return next, err
}

// tellFolders tells what happened to other mailboxes.
func (s *imapSession) tellFolders(n *imapNotify) (next time.Time, err error) {
	news, overflow := n.listener.take()
	if overflow {
		s.overflow()
		return next, nil
	}
	anew := len(news) > 0
	if anew {
		if err := s.tellNews(n, news); err != nil {
			return next, err
		}
	}
	for {
		if anew {
			var made []string
			for _, one := range news {
				if one.kind == mailboxMade {
					made = append(made, one.name)
				}
			}
			if err := s.watch(n, made); errors.Is(err, errMailboxListenMost) {
				s.overflow()
				return next, nil
			} else if err != nil {
				return next, err
			}
			anew = false
			if s.selected != nil {
				n.listener.opens(s.selected.view.name())
			}
		}
		names, later := n.listener.due(time.Now())
		if len(names) == 0 {
			return later, nil
		}
		for _, name := range names {
			changed, err := s.tellFolder(n, name)
			if err != nil {
				return next, err
			}
			anew = anew || changed
		}
	}
}

// overflow ends all notification (RFC 5465, section 5.8).
func (s *imapSession) overflow() {
	s.unlisten()
	s.endContexts()
	s.c.printf("* OK [NOTIFICATIONOVERFLOW] too much has happened, you are told no more")
}

// tellFolder looks at a folder and tells its status if it is not what the client knows. anew: it is not
// the folder that was listened to.
func (s *imapSession) tellFolder(n *imapNotify, folder string) (anew bool, err error) {
	look, err := n.listener.look(folder)
	switch {
	case errors.Is(err, errMailboxNotFound):
		return true, nil
	case err != nil: // the next change may be told again
		logCommandFailed(s.c.log, s.user, "NOTIFY", err)
		return false, nil
	case look.own:
		return look.anew, nil
	}
	if items := s.notifyItems(n.folders[folder], &look); len(items) > 0 {
		s.c.Write(s.statusResponse(folder, items, &look.now, ""))
	}
	return look.anew, nil
}

// notifyItems are what STATUS tells of a folder in which something has changed (RFC 5465,
// sections 5.1 to 5.3).
func (s *imapSession) notifyItems(events imapNotifyEvents, look *mailboxLook) (items []string) {
	was, now := &look.was, &look.now
	other := was.uidValidity != 0 && was.uidValidity != now.uidValidity
	messages := !look.known || other || was.messages != now.messages || was.uidNext != now.uidNext
	unseen, flags := false, false
	if events&imapNotifyFlags != 0 {
		unseen = !look.known || was.unseen != now.unseen
		flags = unseen || s.condstore && was.modSeq != now.modSeq
	}
	if messages {
		items = append(items, "MESSAGES", "UIDNEXT")
	}
	if other || flags && (s.condstore || !look.known) {
		items = append(items, "UIDVALIDITY")
	}
	if unseen {
		items = append(items, "UNSEEN")
	}
	if s.condstore && (messages || flags) {
		items = append(items, "HIGHESTMODSEQ")
	}
	return items
}

// tellNotifyStatus tells the status of all folders whose messages are listened to (RFC 5465, section
// 3.1), without the selected one.
func (s *imapSession) tellNotifyStatus() error {
	n := s.notify
	names := make([]string, 0, len(n.folders))
	for name := range n.folders {
		if s.selected == nil || s.selected.view.name() != name {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, mailboxCompareNames)
	for _, name := range names {
		look, err := n.listener.look(name)
		if errors.Is(err, errMailboxNotFound) {
			continue // it was there just now
		} else if err != nil {
			logCommandFailed(s.c.log, s.user, s.name, err)
			continue
		}
		items := []string{"MESSAGES", "UIDNEXT", "UIDVALIDITY"}
		if n.folders[name]&imapNotifyFlags != 0 {
			items = append(items, "UNSEEN", "HIGHESTMODSEQ")
		}
		s.c.Write(s.statusResponse(name, items, &look.now, ""))
	}
	return nil
}

// tellNews tells what happened to folders as a whole (RFC 5465, sections 5.4 and 5.5).
func (s *imapSession) tellNews(n *imapNotify, news []mailboxNews) error {
	names, err := s.listNames(n.wantsOthers())
	if err != nil {
		return err
	}
	find := func(folder string) imapListName {
		i, there := slices.BinarySearchFunc(names, folder, func(n imapListName, folder string) int { return mailboxCompareNames(n.folder, folder) })
		if !there {
			return imapListName{folder: folder, name: s.clientName(folder)}
		}
		return names[i]
	}
	for _, one := range news {
		name := find(one.name)
		switch one.kind {
		case mailboxMade, mailboxDeleted: // and the parent, whose children are others now
			s.tellName(n, &name, imapNotifyNames, "")
			if parent, _, nested := imapCutLast(one.name, "/"); nested {
				name = find(parent)
				s.tellName(n, &name, imapNotifyNames, "")
			}
		case mailboxRenamed:
			old := find(one.old)
			if n.events(s, one.old, old.subscribed)&imapNotifyNames != 0 || n.events(s, one.name, name.subscribed)&imapNotifyNames != 0 {
				s.c.Write(s.notifyList(&name, s.clientName(one.old)))
			}
		case mailboxSubscribed:
			if n.events(s, one.name, true)&imapNotifySubscriptions != 0 { // it was subscribed, or is now
				s.c.Write(s.notifyList(&name, ""))
			}
		}
	}
	return nil
}

// tellName tells of a name if the client wants to hear of such an event.
func (s *imapSession) tellName(n *imapNotify, name *imapListName, event imapNotifyEvents, old string) {
	if n.events(s, name.folder, name.subscribed)&event != 0 {
		s.c.Write(s.notifyList(name, old))
	}
}

// notifyList is the LIST response of a name, with all that is known of it.
func (s *imapSession) notifyList(name *imapListName, old string) []byte {
	var attrs []imap.MailboxAttr
	if !name.exists {
		attrs = append(attrs, imap.MailboxAttrNonExistent)
	}
	if name.children {
		attrs = append(attrs, imap.MailboxAttrHasChildren)
	} else if name.exists {
		attrs = append(attrs, imap.MailboxAttrHasNoChildren)
	}
	if name.subscribed {
		attrs = append(attrs, imap.MailboxAttrSubscribed)
	}
	if name.use != "" {
		attrs = append(attrs, imap.MailboxAttr(`\`+name.use))
	}
	out := s.beginList(attrs, name.name)
	if old != "" {
		out = append(s.appendName(append(out, ` ("OLDNAME" (`...), old), "))"...)
	}
	return append(out, "\r\n"...)
}

// tellArrived tells of the messages behind those that there were before what MessageNew and UPDATE have asked
// for. Those that the client has brought here itself are left out (RFC 5465, sections 5.2 and 7).
func (s *imapSession) tellArrived(before []uint32) error {
	sel := s.selected
	mine := sel.mine
	sel.mine = nil
	above := uint32(0)
	if n := len(before); n > 0 {
		above = before[n-1]
	}
	uids := sel.view.uids()
	if s.notify != nil && s.notify.items != nil {
		if err := s.tellItems(s.notify.items, uids[imapUIDIndex(uids, above+1):], mine); err != nil {
			return err
		}
	}
	for _, c := range sel.contexts {
		won := c.won
		c.won = nil
		if c.items != nil {
			if err := s.tellItems(c.items, won[imapUIDIndex(won, above+1):], mine); err != nil {
				return err
			}
		}
	}
	return nil
}

// tellItems tells items of messages but of those that the client knows.
func (s *imapSession) tellItems(items *imapFetchItems, uids, known []uint32) error {
	if uids = imapWithout(uids, known); len(uids) == 0 {
		return nil
	}
	s.tellKeywords()
	f := s.newFetch(items)
	if err := f.run(imapSpansOf(s.selected.view.uids(), uids)); err != nil {
		return s.r.fail(err)
	}
	if f.err != nil {
		logCommandFailed(s.c.log, s.user, "NOTIFY", f.err)
	}
	return nil
}

// brought notes which messages the client has brought into a mailbox, if that is the selected one.
func (s *imapSession) brought(name string, uids []uint32) {
	items := s.notify != nil && s.notify.items != nil
	if s.selected != nil && (items || len(s.selected.contexts) > 0) {
		if folder, err := s.folder(name); err != nil || s.selected.view.name() != folder {
			return
		}
		s.selected.mine = append(s.selected.mine, uids...)
	}
}
