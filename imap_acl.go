package main

import (
	"errors"
	"strings"

	"github.com/emersion/go-imap/v2"
)

// SETACL, DELETEACL, GETACL, LISTRIGHTS and MYRIGHTS (RFC 4314), MYRIGHTS in LIST (RFC 8440). Which rights a
// command takes is held where the mailbox room gives a user's folders.

// imapIdentifierMost bounds an identifier, in bytes.
const imapIdentifierMost = 128

// readACL reads a mailbox name and, if want is more, further arguments, up to the end of the command.
func (s *imapSession) readACL(want int) (folder string, arguments []string, err error) {
	if err := s.r.readSpace(); err != nil {
		return "", nil, err
	}
	name, err := s.r.readAstring()
	for len(arguments) < want && err == nil {
		if err = s.r.readSpace(); err != nil {
			break
		}
		var argument string
		argument, err = s.r.readAstring()
		arguments = append(arguments, argument)
	}
	if err == nil {
		err = s.r.readEnd()
	}
	if err != nil {
		return "", nil, err
	}
	folder, err = s.folder(name)
	return folder, arguments, err
}

// identifier gives an identifier as it is kept. A name is prepared as at a login (RFC 4314, section 3).
func (s *imapSession) identifier(text string) (identifier, user string, err error) {
	if len(text) > imapIdentifierMost {
		return "", "", imapBad("an identifier is too long")
	}
	sign, name := "", text
	if rest, ok := strings.CutPrefix(text, "-"); ok {
		sign, name = "-", rest
	}
	switch {
	case name == "anyone", name == "authenticated", name == "owner", strings.HasPrefix(name, "$") && len(name) > 1, strings.HasPrefix(name, "!$") && len(name) > 2:
		return text, "", nil
	}
	name, explicit := strings.CutPrefix(name, mailboxIdentifierUser)
	if user, err = s.door.auth.canonical(name); err != nil {
		return "", "", imapBad("an identifier is a user's name, or anyone, authenticated or owner, with or without -")
	}
	if explicit {
		sign += mailboxIdentifierUser
	}
	return sign + user, user, nil
}

func (s *imapSession) cmdSetACL() error {
	folder, arguments, err := s.readACL(2)
	if arguments == nil {
		return err
	}
	change := mailboxACLChange{op: mailboxSet}
	letters := arguments[1]
	switch {
	case strings.HasPrefix(letters, "+"):
		change.op, letters = mailboxAdd, letters[1:]
	case strings.HasPrefix(letters, "-"):
		change.op, letters = mailboxRemove, letters[1:]
	}
	rights, ok := mailboxParseRights(letters)
	if !ok { // RFC 4314, section 3.1
		return imapBad("rights are letters of " + mailboxRightsLetters + ", with + or - before them or not")
	}
	change.rights = &rights
	identifier, user, badName := s.identifier(arguments[0])
	if badName != nil {
		return badName
	}
	if err != nil {
		return err
	}
	change.identifier = identifier
	if _, _, err := s.tree.acl(folder); err != nil { // before it is told which users there are
		return err
	}
	if user != "" && change.op != mailboxRemove && !s.door.auth.exists(user) {
		return imapNo{imap.ResponseCodeCannot, "there is no such user"}
	}
	return s.changeACL(folder, change)
}

// cmdDeleteACL takes names of users that do not exist any more.
func (s *imapSession) cmdDeleteACL() error {
	folder, arguments, err := s.readACL(1)
	if arguments == nil {
		return err
	}
	if len(arguments[0]) > imapIdentifierMost || arguments[0] == "" {
		return imapBad("that is no identifier")
	}
	if err != nil {
		return err
	}
	change := mailboxACLChange{identifier: arguments[0]}
	if identifier, _, err := s.identifier(arguments[0]); err == nil {
		change.identifier = identifier
	}
	return s.changeACL(folder, change)
}

func (s *imapSession) changeACL(folder string, change mailboxACLChange) error {
	err := s.tree.changeACL(folder, change)
	if errors.Is(err, errMailboxIdentifier) {
		return imapNo{imap.ResponseCodeCannot, err.Error()}
	}
	return err
}

func (s *imapSession) cmdGetACL() error {
	folder, _, err := s.readACL(0)
	if err != nil {
		return err
	}
	list, _, err := s.tree.acl(folder)
	if err != nil {
		return err
	}
	out := s.appendName([]byte("* ACL "), s.clientName(folder))
	for _, e := range list {
		out = imapAppendAstring(append(out, ' '), e.identifier)
		out = imapAppendAstring(append(out, ' '), imapRights(e.rights))
	}
	s.c.Write(append(out, "\r\n"...))
	return nil
}

// cmdListRights tells that all rights can be given, each by itself. The owner's own are always there.
func (s *imapSession) cmdListRights() error {
	folder, arguments, err := s.readACL(1)
	if arguments == nil {
		return err
	}
	identifier, user, badName := s.identifier(arguments[0])
	if badName != nil {
		return badName
	}
	if err != nil {
		return err
	}
	_, owner, err := s.tree.acl(folder)
	if err != nil {
		return err
	}
	always := mailboxRights(0)
	if identifier == "owner" || user == owner && !strings.HasPrefix(identifier, "-") {
		always = mailboxRightsOwner
	}
	out := s.appendName([]byte("* LISTRIGHTS "), s.clientName(folder))
	out = imapAppendAstring(append(out, ' '), arguments[0])
	out = imapAppendAstring(append(out, ' '), always.String())
	for _, letter := range imapRights(mailboxRightsAll &^ always) {
		out = append(out, ' ', byte(letter))
	}
	s.c.Write(append(out, "\r\n"...))
	return nil
}

func (s *imapSession) cmdMyRights() error {
	folder, _, err := s.readACL(0)
	if err != nil {
		return err
	}
	rights, err := s.tree.rights(folder)
	if err == nil && rights&mailboxRightsTell == 0 {
		err = errMailboxNotFound
	}
	if err != nil {
		return err
	}
	s.c.Write(s.rightsLine(folder, rights))
	return nil
}

// rightsLine is the MYRIGHTS response.
func (s *imapSession) rightsLine(folder string, rights mailboxRights) []byte {
	out := s.appendName([]byte("* MYRIGHTS "), s.clientName(folder))
	return append(imapAppendAstring(append(out, ' '), imapRights(rights)), "\r\n"...)
}

// imapRights are rights with the old ones that older clients look for (RFC 4314, section 2.1.1).
func imapRights(rights mailboxRights) string {
	text := rights.String()
	if rights&(mailboxRightCreate|mailboxRightDelete) != 0 {
		text += "c"
	}
	if rights&(mailboxRightDeleted|mailboxRightExpunge) != 0 {
		text += "d"
	}
	return text
}
