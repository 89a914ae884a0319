package main

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/emersion/go-imap/v2"
)

// URLAUTH (RFC 4467): URLs of messages with which others may read them. What authorizes one is a code that takes the
// mailbox's access key to make.

// imapURLTokenVersion begins a token and names the algorithm: HMAC-SHA-256 of the URL up to the access identifier,
// as it is written (RFC 4467, sections 6 and 10).
const imapURLTokenVersion = "01"

func imapURLToken(key []byte, rump string) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(rump))
	return imapURLTokenVersion + hex.EncodeToString(mac.Sum(nil))
}

// imapURLNobodysKey is a key for URLs of mailboxes that are not there: whether one is cannot be learnt from the time that an
// answer takes (RFC 4467, section 6).
var imapURLNobodysKey = sync.OnceValue(func() []byte {
	key := make([]byte, 32)
	rand.Read(key) // never fails
	return key
})

// readURLMechanism reads the name of a mechanism. There is one.
func (r *imapReader) readURLMechanism() error {
	mechanism, err := r.readWord()
	if err == nil && mechanism != "INTERNAL" {
		err = imapNo{imap.ResponseCodeCannot, "INTERNAL is the only mechanism here"}
	}
	return err
}

// cmdResetKey makes a new access key for a mailbox, or takes all of them away, and with the old ones what they authorized.
func (s *imapSession) cmdResetKey() error {
	if !s.r.take(' ') {
		if err := s.r.readEnd(); err != nil {
			return err
		}
		if err := s.tree.dropAccessKeys(); err != nil {
			return err
		}
		return imapOK{"", "all keys are removed"}
	}
	name, err := s.r.readAstring()
	if err != nil {
		return err
	}
	var refused error
	for s.r.take(' ') {
		if err := s.r.readURLMechanism(); errors.As(err, new(imapNo)) {
			refused = err
		} else if err != nil {
			return err
		}
	}
	if err := s.r.readEnd(); err != nil {
		return err
	}
	if refused != nil {
		return refused
	}
	folder, err := s.folder(name)
	if err == nil {
		_, err = s.tree.makeAccessKey(folder, true)
	}
	if err != nil {
		return err
	}
	return imapOK{"URLMECH INTERNAL", "the mailbox has a new key"}
}

// cmdGenURLAuth authorizes URLs of one's own, all or none. What is wrong with one is BAD (RFC 4467, section 7).
func (s *imapSession) cmdGenURLAuth() error {
	var urls []string
	var refused error
	for s.r.take(' ') {
		url, err := s.r.readAstring()
		if err == nil {
			err = s.r.readSpace()
		}
		if err != nil {
			return err
		}
		if err := s.r.readURLMechanism(); errors.As(err, new(imapNo)) {
			refused = err
		} else if err != nil {
			return err
		}
		urls = append(urls, url)
	}
	if len(urls) == 0 {
		return imapBad("a URL is missing")
	}
	if err := s.r.readEnd(); err != nil {
		return err
	}
	if refused != nil {
		return refused
	}
	out := []byte("* GENURLAUTH")
	for _, url := range urls {
		token, err := s.authorize(url)
		if err != nil {
			return err
		}
		out = imapAppendString(append(out, ' '), url+":internal:"+token)
	}
	s.c.Write(append(out, "\r\n"...))
	return nil
}

// authorize gives the token for a URL.
func (s *imapSession) authorize(url string) (string, error) {
	u, err := imapParseURL(url)
	switch {
	case err != nil:
		return "", imapBad("this is no URL of a message")
	case !u.absolute || u.user == "":
		return "", imapBad("the URL does not name the owner and the server")
	case u.access == "":
		return "", imapBad("the URL has no access identifier")
	case u.mech != "":
		return "", imapBad("the URL is authorized already")
	case !u.expire.IsZero() && !s.tree.clock().Before(u.expire):
		return "", imapBad("the URL has expired")
	}
	if owner, err := s.door.auth.canonical(u.user); err != nil || owner != s.user {
		return "", imapBad("the URL is not yours")
	}
	folder, err := s.folderNamed(u.mailbox)
	var key []byte
	if err == nil {
		key, err = s.tree.makeAccessKey(folder, false)
	}
	if no := (imapNo{}); errors.As(err, &no) || imapNoMailbox(err) {
		return "", imapBad("there is no such mailbox")
	} else if err != nil {
		return "", err
	}
	return imapURLToken(key, u.rump), nil
}

// imapNoMailbox tells whether an error says that a mailbox is not there, or not for this user.
func imapNoMailbox(err error) bool {
	return errors.Is(err, errMailboxNotFound) || errors.Is(err, errMailboxName) || errors.Is(err, errMailboxGone) || errors.Is(err, errMailboxRights)
}

// cmdURLFetch reads messages by authorized URLs. What is wrong with one makes it NIL, and no more is said.
func (s *imapSession) cmdURLFetch() error {
	var urls []string
	for s.r.take(' ') {
		url, err := s.r.readAstring()
		if err != nil {
			return err
		}
		urls = append(urls, url)
	}
	if len(urls) == 0 {
		return imapBad("a URL is missing")
	}
	if err := s.r.readEnd(); err != nil {
		return err
	}
	var failed error
	reader := &imapURLReader{}
	defer func() { reader.close() }()
	for _, url := range urls {
		s.c.WriteString("* URLFETCH ")
		s.c.Write(imapAppendURL(nil, url))
		err := s.urlFetch(&reader, url)
		if s.r.broken != nil {
			return err
		}
		if err != nil {
			s.c.WriteString(" NIL")
		}
		if err != nil && !errors.Is(err, errImapURL) && failed == nil {
			failed = err
		}
		s.c.WriteString("\r\n")
	}
	return failed
}

// imapAppendURL appends a URL as a client has sent it.
func imapAppendURL(dst []byte, url string) []byte {
	for i := range len(url) {
		if url[i] >= utf8.RuneSelf {
			return imapAppendLiteral(dst, url)
		}
	}
	return imapAppendString(dst, url)
}

// urlFetch writes what a URL stands for. errImapURL if that is nothing, or not for this session.
func (s *imapSession) urlFetch(reader **imapURLReader, url string) error {
	u, folder, access, err := s.verify(url)
	if err != nil {
		return err
	}
	if (*reader).tree == nil || (*reader).tree.user != access.user {
		(*reader).close()
		*reader = &imapURLReader{tree: access}
	}
	text, err := (*reader).open(u, folder)
	if err != nil {
		return err
	}
	size, err := io.Copy(io.Discard, text) // what is not in wire form has another size
	if err == nil {
		text, err = (*reader).open(u, folder)
	}
	if err != nil {
		return err
	}
	s.c.WriteString(" {" + strconv.FormatInt(size, 10) + "}\r\n")
	if _, err := io.CopyN(s.c, text, size); err != nil {
		return s.r.fail(fmt.Errorf("sending a message: %w", err)) // the client waits for bytes that do not come
	}
	return nil
}

// verify checks that a URL is authorized, and that this session may use it. It is read with the rights that its owner has now (RFC
// 4467, section 7).
func (s *imapSession) verify(url string) (u *imapURL, folder string, access *mailboxAccess, err error) {
	if u, err = imapParseURL(url); err != nil {
		return nil, "", nil, errImapURL
	}
	if !u.absolute || u.user == "" || u.mech != "INTERNAL" {
		return nil, "", nil, errImapURL
	}
	key, folder, access, err := s.keyOf(u)
	if imapNoMailbox(err) || errors.As(err, new(imapNo)) {
		err = nil
	} else if err != nil {
		return nil, "", nil, err
	}
	known := key != nil
	if !known {
		key = imapURLNobodysKey()
	}
	if right := hmac.Equal([]byte(imapURLToken(key, u.rump)), []byte(u.token)); !right || !known {
		return nil, "", nil, errImapURL
	}
	if !s.mayUse(u) {
		return nil, "", nil, errImapURL
	}
	if now := s.tree.clock(); !u.expire.IsZero() && (now.IsZero() || now.After(u.expire)) { // RFC 5092, section 6.1.2
		return nil, "", nil, errImapURL
	}
	return u, folder, access, nil
}

// keyOf gives the access key by which a URL must have been authorized, nil if there is none.
func (s *imapSession) keyOf(u *imapURL) (key []byte, folder string, access *mailboxAccess, err error) {
	owner, err := s.door.auth.canonical(u.user)
	if err != nil || !s.door.auth.exists(owner) {
		return nil, "", nil, errMailboxNotFound
	}
	if folder, err = s.folderNamed(u.mailbox); err != nil {
		return nil, "", nil, err
	}
	if access = s.tree; owner != s.user {
		if access, err = s.door.store.visit(owner, s.door.sharing()); err != nil {
			return nil, "", nil, err
		}
	}
	key, err = access.accessKey(folder)
	return key, folder, access, err
}

// mayUse tells whether the access identifier means this session's user (RFC 5092, section 6.1.2). Nobody is anonymous here.
func (s *imapSession) mayUse(u *imapURL) bool {
	switch u.access {
	case "authuser", "anonymous":
		return true
	case "user":
		user, err := s.door.auth.canonical(u.of)
		return err == nil && user == s.user
	case "submit":
		return s.door.submitters[s.user]
	}
	return false
}

// imapSubmitters turns users' names, which have no case, into a set.
func imapSubmitters(users []string) map[string]bool {
	set := map[string]bool{}
	for _, user := range users {
		set[strings.ToLower(user)] = true
	}
	return set
}

// tellURLMech tells the mechanisms of a mailbox that is selected, where nobody else listens (RFC 4467, section 10).
func (s *imapSession) tellURLMech() {
	if s.c.tlsState() != nil {
		s.c.printf("* OK [URLMECH INTERNAL] the mechanism that authorizes URLs")
	}
}
