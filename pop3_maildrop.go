package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
)

// popHidden is the keyword of messages that a POP3 client has deleted while
// on_delete was "hide". IMAP shows them; POP3 does not, whatever on_delete is now: a
// client that has forgotten them would fetch them all again.
const popHidden = mailboxPopHidden

// popMaildrop is what a session has from its login to its end.
type popMaildrop struct {
	tree     *mailboxTree
	view     *mailboxView
	onDelete string // the user's way, or the door's
	marks    bool   // what goes to another folder is marked; see popDoor

	validity uint32
	msgs     []popMessage // message n is msgs[n-1]; fixed at the login
}

// popMessage is one message of the maildrop.
type popMessage struct {
	uid     uint32
	deleted bool // DELE
	seen    bool // it was fetched, and \Seen is not stored yet
	fetched bool // whole, by RETR
	gone    bool // removed by others meanwhile, or cannot be read
	size    int64
}

// popOpen opens a user's INBOX. New mail stays in new/, recent for an IMAP client.
func popOpen(store *mailboxStore, user, onDelete string, marks bool) (*popMaildrop, error) {
	tree, err := store.tree(user)
	if err != nil {
		return nil, err
	}
	view, err := tree.viewKeepingNew("INBOX")
	if err != nil {
		return nil, err
	}
	b := &popMaildrop{tree: tree, view: view, onDelete: onDelete, marks: marks, validity: view.uidValidity()}
	if onDelete == "hide" {
		// An INBOX from before may not have the keyword. It gets its letter while there is room
		// on the disk: on a full one messages can still be renamed, and so be hidden. If this
		// fails, it is tried again in UPDATE, where it matters.
		_, _ = view.keywordFlags([]string{popHidden})
	}
	hidden := view.knownKeywordFlags([]string{popHidden})
	for _, m := range view.messages(view.uids()) {
		if m.flags&hidden == 0 {
			b.msgs = append(b.msgs, popMessage{uid: m.uid, size: m.size})
		}
	}
	return b, nil
}

// listed tells whether STAT, LIST and UIDL show the message.
func (m *popMessage) listed() bool { return !m.deleted && !m.gone }

// measure finds the sizes that are not known yet. A message that cannot be read is
// left out of this session: the others go on.
func (b *popMaildrop) measure(s *popSession) error {
	for i := range b.msgs {
		m := &b.msgs[i]
		if m.size >= 0 || !m.listed() {
			continue
		}
		size, err := b.view.size(m.uid)
		switch {
		case errors.Is(err, errMailboxGone):
			return err
		case err != nil:
			m.gone = true
			if !errors.Is(err, errMailboxExpunged) {
				logCommandFailed(s.c.log, s.user, "LIST", fmt.Errorf("measuring message %d: %w", m.uid, err))
			}
		default:
			m.size = size
		}
	}
	return nil
}

// open opens a message for reading.
func (b *popMaildrop) open(m *popMessage) (*os.File, error) {
	f, err := b.view.open(m.uid)
	if errors.Is(err, errMailboxExpunged) {
		m.gone = true
		return nil, errPopGone
	}
	return f, err
}

// appendUIDL appends a message's unique id (RFC 1939, section 7): what another
// server gave it, or else in one of the forms that other servers have. Clients know
// by it what they have fetched already.
func (b *popMaildrop) appendUIDL(dst []byte, m *popMessage, form string) []byte {
	if uidl := b.view.popUIDL(m.uid); popPrintable(uidl) {
		return append(dst, uidl...)
	}
	switch form {
	case "courier":
		return fmt.Appendf(dst, "UID%d-%d", m.uid, b.validity)
	case "cyrus":
		return fmt.Appendf(dst, "%d.%d", b.validity, m.uid)
	case "filename":
		// It may have more than the 70 characters of RFC 1939: shortened, it would not
		// be what the server before us said, and that is the only reason to have it.
		base := b.view.fileBase(m.uid)
		if popPrintable(base) {
			return append(dst, base...)
		} else if base != "" {
			sum := sha256.Sum256([]byte(base))
			return append(dst, hex.EncodeToString(sum[:16])...)
		}
	}
	return popAppendHex(popAppendHex(dst, m.uid), b.validity)
}

// popPrintable tells whether a string may be a unique id.
func popPrintable(s string) bool {
	for i := range len(s) {
		if s[i] < 0x21 || s[i] > 0x7e {
			return false
		}
	}
	return s != ""
}

// popAppendHex appends eight lower-case hex digits.
func popAppendHex(dst []byte, n uint32) []byte {
	const digits = "0123456789abcdef"
	for shift := 28; shift >= 0; shift -= 4 {
		dst = append(dst, digits[n>>shift&15])
	}
	return dst
}

// popBatch is how many messages are changed under one hold of the mailbox, which
// others want, too: for some tenths of a second at most. Each hold costs a sync.
const popBatch = 10_000

// storeSeen marks as \Seen what was fetched.
func (b *popMaildrop) storeSeen() error {
	uids := b.take(func(m *popMessage) bool {
		seen := m.seen
		m.seen = false
		return seen
	})
	return b.inBatches(uids, func(uids []uint32) error {
		_, err := b.view.store(uids, mailboxAdd, mailboxFlagSeen, true, 0)
		return err
	})
}

// take gives the UIDs of the messages that want says.
func (b *popMaildrop) take(want func(m *popMessage) bool) (uids []uint32) {
	for i := range b.msgs {
		if m := &b.msgs[i]; want(m) {
			uids = append(uids, m.uid)
		}
	}
	return uids
}

// inBatches calls f for all, and gives the first error.
func (b *popMaildrop) inBatches(uids []uint32, f func(uids []uint32) error) error {
	var failed error
	for len(uids) > 0 {
		n := min(len(uids), popBatch)
		if err := f(uids[:n]); err != nil && failed == nil {
			failed = err
		}
		uids = uids[n:]
	}
	return failed
}

// update does what the marks of DELE mean. moved is the number of messages that
// should have been hidden and went to the folder Archive instead.
func (b *popMaildrop) update() (moved int, folder string, err error) {
	uids := b.take(func(m *popMessage) bool { return m.deleted && !m.gone })
	if len(uids) == 0 {
		return 0, "", nil
	}
	switch b.onDelete {
	case "delete":
		return 0, "", b.inBatches(uids, b.view.remove)
	case "trash":
		return 0, "", b.move(uids, "Trash", &folder)
	case "archive":
		return 0, "", b.move(uids, "Archive", &folder)
	}
	hidden, err := b.view.keywordFlags([]string{popHidden})
	if errors.Is(err, errMailboxKeywords) {
		// POP3 must not list them again, and IMAP must not lose them.
		if err := b.storeSeen(); err != nil {
			return 0, "", err
		}
		if err := b.move(uids, "Archive", &folder); err != nil {
			return 0, "", err
		}
		return len(uids), folder, nil
	} else if err != nil {
		return 0, "", err
	}
	hide := func(flags mailboxFlags, seen bool) error {
		uids := b.take(func(m *popMessage) bool {
			if !m.deleted || m.gone || m.seen != seen {
				return false
			}
			m.seen = false
			return true
		})
		return b.inBatches(uids, func(uids []uint32) error {
			_, err := b.view.store(uids, mailboxAdd, flags, true, 0)
			return err
		})
	}
	err = hide(hidden, false)
	if errSeen := hide(hidden|mailboxFlagSeen, true); err == nil { // one change of the name for both
		err = errSeen
	}
	return 0, "", err
}

// move moves messages to the folder of a special use. If there are rules about how long mail stays there, the messages are
// marked first, so that those rules are not for them: the move makes the mark durable.
func (b *popMaildrop) move(uids []uint32, use string, folder *string) (err error) {
	if b.marks {
		mark, err := b.view.keywordFlags([]string{mailboxPopMoved})
		if err == nil {
			err = b.inBatches(uids, func(uids []uint32) error {
				_, err := b.view.store(uids, mailboxAdd, mark, true, 0)
				return err
			})
		}
		if err != nil && !errors.Is(err, errMailboxKeywords) {
			return err
		}
	}
	if *folder, err = b.tree.special(use); err != nil {
		return err
	}
	return b.inBatches(uids, func(uids []uint32) error {
		_, err := b.view.move(uids, *folder)
		return err
	})
}
