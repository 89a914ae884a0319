package main

import (
	"strings"

	"github.com/emersion/go-imap/v2"
)

// Mailbox names. To clients a name has the separator and the prefix that are
// configured, in modified UTF-7 (RFC 3501, section 5.1.3) or, once the client has
// enabled IMAP4rev2 or UTF8=ACCEPT, in UTF-8 (RFC 9051, section 5.1). To the mailbox
// room it is UTF-8 with "/".

// readMailbox reads a mailbox name and gives the folder's.
func (s *imapSession) readMailbox() (folder string, err error) {
	name, err := s.r.readAstring()
	if err != nil {
		return "", err
	}
	return s.folder(name)
}

// folder turns a client's name into a folder's. A name that no folder can have is NO.
func (s *imapSession) folder(name string) (string, error) {
	name, err := s.decodeName(name)
	if err != nil {
		return "", err
	}
	return s.folderNamed(name)
}

// folderNamed is folder for a name in UTF-8.
func (s *imapSession) folderNamed(name string) (string, error) {
	if rest, ok := strings.CutPrefix(name, s.shared()); ok && s.shared() != "" && (rest == "" || rest[0] == s.door.separator) {
		return s.sharedFolder(rest)
	}
	if strings.EqualFold(name, "INBOX") {
		return "INBOX", nil
	}
	if s.door.prefix != "" {
		if len(name) < len(s.door.prefix) || !strings.EqualFold(name[:len(s.door.prefix)], s.door.prefix) {
			return "", imapNo{imap.ResponseCodeCannot, "mailbox names begin with " + s.door.prefix + " here"}
		}
		name = name[len(s.door.prefix):]
	}
	if mailboxIsOthers(name) { // to the mailbox room only
		_, err := mailboxCleanName(name)
		return "", err
	}
	return s.levels(name)
}

// levels turns a name's separators into the mailbox room's.
func (s *imapSession) levels(name string) (string, error) {
	if s.door.separator != '/' {
		if strings.Contains(name, "/") {
			return "", imapNo{imap.ResponseCodeCannot, `this name has a "/", which folders here cannot have`}
		}
		name = strings.ReplaceAll(name, string(s.door.separator), "/")
	}
	return name, nil
}

// sharedFolder gives the folder of another user, from what is behind the word that such names begin with. The owner's
// name stands for INBOX. Where the separator is ".", one in a user's name is "/".
func (s *imapSession) sharedFolder(rest string) (string, error) {
	if rest == "" {
		return mailboxOthers, nil
	}
	user, folder, nested := strings.Cut(rest[1:], string(s.door.separator))
	if s.door.separator != '/' {
		user = strings.ReplaceAll(user, "/", string(s.door.separator))
	}
	owner := mailboxOthers + "/" + user
	if strings.Contains(user, "/") || strings.Contains(user, "..") {
		return "", errMailboxNotFound
	}
	if !nested || strings.EqualFold(folder, "INBOX") {
		return owner, nil
	}
	if folder == "" {
		return "", errMailboxNotFound
	}
	if first, below, _ := strings.Cut(folder, string(s.door.separator)); strings.EqualFold(first, "INBOX") {
		folder = "INBOX" + string(s.door.separator) + below
	}
	folder, err := s.levels(folder)
	return owner + "/" + folder, err
}

// decodeName turns a name as it is sent into UTF-8.
func (s *imapSession) decodeName(name string) (string, error) {
	if s.utf8 {
		return name, nil
	}
	name, err := mailboxDecodeName(name)
	if err != nil {
		return "", imapNo{imap.ResponseCodeCannot, "the name is not modified UTF-7"}
	}
	return name, nil
}

// clientName is the name by which clients know a folder, in UTF-8.
func (s *imapSession) clientName(folder string) string {
	if folder == "INBOX" {
		return folder
	}
	prefix, separator := s.door.prefix, string(s.door.separator)
	if mailboxIsOthers(folder) {
		user, rest, nested := strings.Cut(strings.TrimPrefix(folder[1:], "/"), "/")
		if folder, prefix = rest, s.shared(); user != "" {
			prefix += separator + strings.ReplaceAll(user, separator, "/")
		}
		if nested {
			prefix += separator
		}
	}
	if separator != "/" {
		folder = strings.ReplaceAll(folder, "/", separator)
	}
	return prefix + folder
}

// appendName appends a client's name as it is sent.
func (s *imapSession) appendName(dst []byte, name string) []byte {
	if !s.utf8 {
		name = mailboxEncodeName(name)
	}
	return imapAppendAstring(dst, name)
}

// imapMatch tells whether a name matches a pattern of LIST: "*" stands for
// anything, "%" for anything but the separator (RFC 9051, section 6.3.9). INBOX, alone
// or as the first part, has no case.
func imapMatch(pattern, name string, separator byte) bool {
	if first, _, _ := strings.Cut(name, string(separator)); strings.EqualFold(first, "INBOX") && len(pattern) >= 5 &&
		strings.EqualFold(pattern[:5], "INBOX") {
		pattern, name = "INBOX"+pattern[5:], "INBOX"+name[5:]
	}
	// Where the last wildcards of both kinds stand: a mismatch goes back to the
	// nearest "%", then to the "*", and each only forward, so the time is bounded by
	// the product of the lengths.
	p, n := 0, 0
	star, starName, percent, percentName := -1, 0, -1, 0
	for {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, starName, percent = p, n, -1
			p++
			continue
		case p < len(pattern) && pattern[p] == '%':
			percent, percentName = p, n
			p++
			continue
		case n == len(name) && p == len(pattern):
			return true
		case n < len(name) && p < len(pattern) && pattern[p] == name[n]:
			p, n = p+1, n+1
			continue
		}
		switch {
		case percent >= 0 && percentName < len(name) && name[percentName] != separator:
			percentName++
			p, n = percent+1, percentName
		case star >= 0 && starName < len(name):
			starName++
			p, n, percent = star+1, starName, -1
		default:
			return false
		}
	}
}
