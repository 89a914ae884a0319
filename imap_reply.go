package main

import (
	"errors"
	"strings"

	"github.com/emersion/go-imap/v2"
)

// A command's outcome is its error value, and the type says how far it reaches.

// imapOK is success with a response code or words of its own. It is an error value so
// that a command has one way to end.
type imapOK struct{ code, text string }

// imapNo refuses this command: code is a response code without brackets, or "".
type imapNo struct {
	code imap.ResponseCode
	text string
}

// imapBad says what is wrong with the command's syntax, or that it has no place here.
type imapBad string

// imapBye ends the connection.
type imapBye string

func (e imapOK) Error() string  { return e.text }
func (e imapNo) Error() string  { return e.text }
func (e imapBad) Error() string { return string(e) }
func (e imapBye) Error() string { return string(e) }

// noTarget is said of a mailbox that mail should go to and that is not there: the client may
// make it, unless no mailbox can have that name (RFC 9051, sections 6.3.12 and 6.4.7).
func (s *imapSession) noTarget(folder string) error {
	switch _, _, err := s.tree.mayCreate(folder); {
	case errors.Is(err, errMailboxRights): // nor may this client
		return errMailboxNotFound
	case err != nil:
		return err
	}
	return imapNo{imap.ResponseCodeTryCreate, "there is no such mailbox"}
}

// imapDone is the outcome of a command that has written its tagged response itself.
var imapDone = errors.New("answered")

// imapReply says what a client hears of an error from below. ok is false for an
// error that is ours: the client hears only that it happened.
func imapReply(err error) (no imapNo, ok bool) {
	switch {
	case errors.As(err, &no):
		return no, true
	case errors.Is(err, errMailboxNotFound):
		return imapNo{imap.ResponseCodeNonExistent, "there is no such mailbox"}, true
	case errors.Is(err, errMailboxExists):
		return imapNo{imap.ResponseCodeAlreadyExists, "there is such a mailbox already"}, true
	case errors.Is(err, errMailboxName):
		return imapNo{imap.ResponseCodeCannot, err.Error()}, true
	case errors.Is(err, errMailboxGone):
		return imapNo{imap.ResponseCodeNonExistent, "the mailbox was deleted or renamed"}, true
	case errors.Is(err, errMailboxReadOnly):
		return imapNo{"READ-ONLY", "the mailbox is open for reading only"}, true
	case errors.Is(err, errMailboxQuota):
		return imapNo{imap.ResponseCodeOverQuota, "there is as much mail as you may have"}, true // RFC 9208, section 4.3.1
	case errors.Is(err, errMailboxFull):
		return imapNo{imap.ResponseCodeOverQuota, "there is no space left on the disk"}, true
	case errors.Is(err, errMailboxKeywords):
		return imapNo{imap.ResponseCodeLimit, "this mailbox has as many keywords as it can have"}, true
	case errors.Is(err, errMailboxAnnotations): // RFC 5464, section 4.3
		return imapNo{"METADATA TOOMANY", "there are as many annotations here as there can be"}, true
	case errors.Is(err, errMailboxUse): // RFC 6154, section 4
		return imapNo{"USEATTR", "a folder of yours, not INBOX, can have one of " + strings.Join(imapSpecialUses, ", ")}, true
	case errors.Is(err, errMailboxRights): // RFC 5530, section 3
		return imapNo{imap.ResponseCodeNoPerm, "you have no right to do this"}, true
	case errors.Is(err, errMailboxApart):
		return imapNo{imap.ResponseCodeCannot, "a mailbox stays with its owner; its messages can be copied"}, true
	case errors.Is(err, errMailboxACL):
		return imapNo{imap.ResponseCodeContactAdmin, "the file with the rights of this mailbox is damaged, and was left as it is"}, true
	case errors.Is(err, errMailboxExpunged):
		return imapNo{"EXPUNGEISSUED", "some of the messages are gone"}, true
	case errors.Is(err, errMailboxLocked):
		return imapNo{imap.ResponseCodeInUse, "another program keeps the mailbox locked, try again later"}, true
	}
	return imapNo{imap.ResponseCodeServerBug, "something went wrong here, and was logged"}, false
}
