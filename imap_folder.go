package main

import (
	"errors"
	"slices"
	"strings"

	"github.com/emersion/go-imap/v2"
)

// CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE.

// imapSpecialUses are the special uses that folders here can have (RFC 6154).
var imapSpecialUses = []string{"Archive", "Drafts", "Junk", "Sent", "Trash"}

func (s *imapSession) cmdCreate() error {
	if err := s.r.readSpace(); err != nil {
		return err
	}
	name, err := s.r.readAstring()
	if err != nil {
		return err
	}
	use := ""
	if s.r.take(' ') {
		if use, err = s.readUse(); err != nil {
			return err
		}
	}
	if err := s.r.readEnd(); err != nil {
		return err
	}
	// A separator at the end says that folders below it will come (RFC 9051,
	// section 6.3.4), which needs nothing.
	if trimmed := strings.TrimSuffix(name, string(s.door.separator)); trimmed != "" {
		name = trimmed
	}
	folder, err := s.folder(name)
	if err != nil {
		return err
	}
	id := ""
	err = s.doing(mailboxNews{kind: mailboxMade, name: folder}, func() (err error) { id, err = s.tree.create(folder, use); return err })
	if err != nil {
		return err
	}
	return imapOK{"MAILBOXID (" + imapMailboxID(id) + ")", "CREATE completed"} // RFC 8474, section 4.1
}

// readUse reads CREATE's parameter "(USE (\Sent))" (RFC 6154, section 3).
func (s *imapSession) readUse() (use string, err error) {
	err = s.r.readList(func() error {
		if word, err := s.r.readWord(); err != nil || word != "USE" {
			return imapBad("CREATE knows the parameter USE only")
		}
		if err := s.r.readSpace(); err != nil {
			return err
		}
		return s.r.readList(func() error {
			if !s.r.take('\\') {
				return imapBad(`a special use begins with \`)
			}
			word, err := s.r.readAtom()
			if err != nil {
				return err
			}
			i := slices.IndexFunc(imapSpecialUses, func(u string) bool { return strings.EqualFold(u, word) })
			if i < 0 || use != "" {
				return imapNo{"USEATTR", "a folder here can have one of " + strings.Join(imapSpecialUses, ", ")}
			}
			use = imapSpecialUses[i]
			return nil
		})
	})
	return use, err
}

// readFolder reads a command's only argument, a mailbox name.
func (s *imapSession) readFolder() (folder string, err error) {
	if err := s.r.readSpace(); err != nil {
		return "", err
	}
	name, err := s.r.readAstring()
	if err != nil {
		return "", err
	}
	if err := s.r.readEnd(); err != nil {
		return "", err
	}
	return s.folder(name)
}

func (s *imapSession) cmdDelete() error {
	folder, err := s.readFolder()
	if err != nil {
		return err
	}
	if folder == "INBOX" {
		return imapNo{imap.ResponseCodeCannot, "INBOX cannot be deleted"} // RFC 9051, section 6.3.5
	}
	if err := s.tree.mayDelete(folder); err != nil {
		return err
	}
	// Our own view of it would only be in the way. Other sessions hear that it is gone.
	if s.selected != nil && s.selected.view.name() == folder {
		s.unselect()
		s.c.printf("* OK [CLOSED] the mailbox is deleted")
	}
	return s.doing(mailboxNews{kind: mailboxDeleted, name: folder}, func() error { return s.tree.delete(folder) })
}

func (s *imapSession) cmdRename() error {
	if err := s.r.readSpace(); err != nil {
		return err
	}
	fromName, err := s.r.readAstring()
	if err != nil {
		return err
	}
	if err := s.r.readSpace(); err != nil {
		return err
	}
	toName, err := s.r.readAstring()
	if err != nil {
		return err
	}
	if err := s.r.readEnd(); err != nil {
		return err
	}
	from, err := s.folder(fromName)
	if err != nil {
		return err
	}
	to, err := s.folder(toName)
	if err != nil {
		return err
	}
	if _, _, _, err := s.tree.mayRename(from, to); err != nil {
		return err
	}
	if sel := s.selected; sel != nil && from != "INBOX" && (sel.view.name() == from || strings.HasPrefix(sel.view.name(), from+"/")) {
		s.unselect()
		s.c.printf("* OK [CLOSED] the mailbox is renamed")
	}
	return s.doing(mailboxNews{kind: mailboxRenamed, name: to, old: from}, func() error { return s.tree.rename(from, to) })
}

// cmdSubscribe takes names of folders that do not exist, too: a client may restore
// its subscriptions before its folders (RFC 9051, section 6.3.7).
func (s *imapSession) cmdSubscribe() error {
	folder, err := s.readFolder()
	if err != nil {
		return err
	}
	return s.doing(mailboxNews{kind: mailboxSubscribed, name: folder}, func() error { return s.tree.subscribe(folder, true) })
}

func (s *imapSession) cmdUnsubscribe() error {
	folder, err := s.readFolder()
	if err != nil {
		return err
	}
	err = s.doing(mailboxNews{kind: mailboxSubscribed, name: folder}, func() error { return s.tree.subscribe(folder, false) })
	if errors.Is(err, errMailboxName) {
		return nil // such a name was never subscribed to
	}
	return err
}
