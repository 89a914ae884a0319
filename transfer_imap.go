package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/emersion/go-sasl"
)

// Another IMAP server as a source. How far each of its folders has come in is noted in the user's directory, in a
// file letterbox.import-..., after each lot: UIDs ascend, so the highest says it. A second run asks only for what
// came since, and does not bring back what was deleted here meanwhile. Without the file all is fetched again, and
// what is there already is known by its text.
//
//	<uidvalidity> <highest UID> <folder as the server calls it>

// transferIMAP is an account on a server.
type transferIMAP struct {
	address  string // host:port
	host     string
	user     string
	password string
	tls      bool // from the first byte; else STARTTLS
	roots    *x509.CertPool
	again    bool // fetch all

	conn    net.Conn
	client  *imapclient.Client
	notes   string                        // the file
	reached map[string]transferIMAPFolder // by the server's name
}

// transferIMAPFolder is how far a folder has come in.
type transferIMAPFolder struct{ validity, uid uint32 }

const (
	transferIMAPTimeout = 30 * time.Second
	transferIMAPLot     = 200 // messages that are asked for at once
	transferIMAPMost    = 4 << 20
	transferIMAPLargest = 1 << 30 // bytes of a message: no server takes so large a one, and one that lies must not fill the disk
)

// transferIMAPParse reads imaps://user@host or imap://user@host, a port where it is not the usual one, and
// "%40" in the user's name for "@".
func transferIMAPParse(text string) (*transferIMAP, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%q is no address of a server: %w", text, err)
	}
	s := &transferIMAP{host: u.Hostname(), tls: u.Scheme == "imaps"}
	port := u.Port()
	if port == "" {
		port = map[bool]string{true: "993", false: "143"}[s.tls]
	}
	if u.User != nil {
		s.user = u.User.Username()
		if _, given := u.User.Password(); given {
			return nil, errors.New("a password on the command line can be read by everybody on this machine; it is asked for")
		}
	}
	if s.host == "" || s.user == "" || u.Path != "" && u.Path != "/" || u.RawQuery != "" {
		return nil, fmt.Errorf("%q should be like imaps://alice@imap.example.org, or imaps://alice%%40example.org@imap.example.org", text)
	}
	s.address = net.JoinHostPort(s.host, port)
	return s, nil
}

// trust adds a file of certificates to those that the system trusts.
func (s *transferIMAP) trust(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if s.roots, err = x509.SystemCertPool(); err != nil {
		s.roots = x509.NewCertPool() // a system without any
	}
	if !s.roots.AppendCertsFromPEM(text) {
		return fmt.Errorf("%s has no certificate in PEM", path)
	}
	return nil
}

// connect connects and logs in.
func (s *transferIMAP) connect(ctx context.Context) error {
	if err := s.dial(ctx); err != nil {
		return fmt.Errorf("connecting to %s: %w", s.address, err)
	}
	err := s.client.WaitGreeting()
	if err != nil {
		s.client.Close()
		return fmt.Errorf("connecting to %s: %w", s.address, err)
	}
	if s.client.Caps().Has(imap.AuthCap(sasl.Plain)) {
		err = s.client.Authenticate(sasl.NewPlainClient("", s.user, s.password))
	} else {
		err = s.client.Login(s.user, s.password).Wait()
	}
	if err != nil {
		s.client.Close()
		return fmt.Errorf("logging in to %s as %s: %w", s.address, s.user, err)
	}
	if s.client.Caps().Has(imap.CapIMAP4rev2) { // the client writes names in UTF-8 then, which has to be agreed on
		_, err = s.client.Enable(imap.CapIMAP4rev2).Wait()
	}
	return err
}

func (s *transferIMAP) dial(ctx context.Context) error {
	err := s.dialTCP(ctx)
	if err != nil {
		return err
	}
	config := &tls.Config{ServerName: s.host, RootCAs: s.roots}
	if s.tls {
		config.NextProtos = []string{"imap"}
		conn := tls.Client(s.conn, config)
		s.conn.SetDeadline(time.Now().Add(transferIMAPTimeout)) // the client sets its own
		if err := conn.Handshake(); err != nil {
			s.conn.Close()
			return err
		}
		s.conn.SetDeadline(time.Time{})
		s.client = imapclient.New(conn, nil)
		return nil
	}
	if ip, err := netip.ParseAddr(s.host); s.host == "localhost" || err == nil && ip.IsLoopback() { // nobody listens on the way
		s.client = imapclient.New(s.conn, nil)
		if err := s.client.WaitGreeting(); err != nil || !s.client.Caps().Has(imap.CapStartTLS) {
			return err
		}
		s.client.Close()
		if err = s.dialTCP(ctx); err != nil {
			return err
		}
	}
	s.client, err = imapclient.NewStartTLS(s.conn, &imapclient.Options{TLSConfig: config})
	return err
}

// dialTCP connects. The end of ctx is the connection's: a server that says nothing must not keep who interrupts.
func (s *transferIMAP) dialTCP(ctx context.Context) (err error) {
	dialer := net.Dialer{Timeout: transferIMAPTimeout}
	if s.conn, err = dialer.DialContext(ctx, "tcp", s.address); err != nil {
		return err
	}
	conn := s.conn
	context.AfterFunc(ctx, func() { conn.Close() }) // client.Close waits for texts to be read
	return nil
}

// each is transferSource's.
func (s *transferIMAP) each(ctx context.Context, im *transferImport) (err error) {
	ctx, done := context.WithCancel(ctx)
	defer done()
	if err := s.connect(ctx); err != nil {
		return cmp.Or(ctx.Err(), err)
	}
	defer s.client.Close()
	s.notes = filepath.Join(im.tree.root, transferIMAPNotes(s.user+"@"+s.address+" "+im.into))
	if err := s.readNotes(); err != nil {
		return err
	}
	folders, err := s.folders(im)
	if err != nil {
		return fmt.Errorf("listing the folders of %s: %w", s.address, err)
	}
	for _, f := range folders {
		err := s.folder(ctx, im, f)
		var refused transferIMAPRefused
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, &refused): // the others may be open to us
			im.fail(f.theirs, refused.error)
		case err != nil:
			return fmt.Errorf("%s: %w", f.theirs, err)
		}
	}
	return s.client.Logout().Wait()
}

// transferIMAPSource is a folder of the server, and what it is to be here.
type transferIMAPSource struct{ theirs, ours string }

// folders lists a user's own folders. One that has a special use becomes the folder that has it here. Those that only show
// other folders' messages are left out.
func (s *transferIMAP) folders(im *transferImport) ([]transferIMAPSource, error) {
	prefix, foreign, err := s.namespaces()
	if err != nil {
		return nil, err
	}
	options := &imap.ListOptions{ReturnSpecialUse: s.client.Caps().Has(imap.CapSpecialUse)}
	if !options.ReturnSpecialUse {
		options = nil
	}
	list, err := s.client.List("", "*", options).Collect()
	if err != nil {
		return nil, err
	}
	var folders []transferIMAPSource
	for _, data := range list {
		has := func(attr imap.MailboxAttr) bool { return slices.Contains(data.Attrs, attr) }
		if has(imap.MailboxAttrNoSelect) || has(imap.MailboxAttrNonExistent) || has(imap.MailboxAttrFlagged) || has(imap.MailboxAttrImportant) ||
			slices.ContainsFunc(foreign, func(p string) bool { return strings.HasPrefix(data.Mailbox, p) }) {
			continue
		}
		f := transferIMAPSource{data.Mailbox, transferIMAPName(data, prefix)}
		for _, special := range mailboxSpecialUses {
			if has(imap.MailboxAttr(`\`+special.use)) && im.into == "" {
				if f.ours, err = im.tree.special(special.use); err != nil {
					return nil, err
				}
			}
		}
		status, err := s.client.Status(f.theirs, &imap.StatusOptions{NumMessages: true}).Wait()
		if err == nil && status.NumMessages != nil {
			im.counts.total += int64(*status.NumMessages)
		}
		folders = append(folders, f)
	}
	return folders, nil
}

// namespaces gives the prefix of a user's own folders, and those of other people's.
func (s *transferIMAP) namespaces() (prefix string, foreign []string, err error) {
	if !s.client.Caps().Has(imap.CapNamespace) {
		return "", nil, nil
	}
	data, err := s.client.Namespace().Wait()
	if err != nil {
		return "", nil, err
	}
	if len(data.Personal) > 0 {
		prefix = data.Personal[0].Prefix
	}
	for _, n := range append(data.Other, data.Shared...) {
		if n.Prefix != "" && n.Prefix != prefix {
			foreign = append(foreign, n.Prefix)
		}
	}
	return prefix, foreign, nil
}

// transferIMAPName is what a folder is called here.
func transferIMAPName(data *imap.ListData, prefix string) string {
	name := data.Mailbox
	if !strings.EqualFold(name, "INBOX") {
		name = strings.TrimPrefix(name, prefix)
	}
	if data.Delim == 0 {
		return transferName(name)
	}
	return transferName(strings.Split(name, string(data.Delim))...)
}

// folder brings in one folder.
func (s *transferIMAP) folder(ctx context.Context, im *transferImport, f transferIMAPSource) error {
	selected, err := s.client.Select(f.theirs, &imap.SelectOptions{ReadOnly: true}).Wait()
	if transferIMAPNo(err) {
		return transferIMAPRefused{err}
	} else if err != nil {
		return err
	}
	if err := im.make(transferBelow(im.into, f.ours)); err != nil {
		return err
	}
	at := s.reached[f.theirs]
	if at.validity != selected.UIDValidity || at.validity == 0 || s.again { // 0: a server that promises nothing of its UIDs
		at = transferIMAPFolder{validity: selected.UIDValidity}
	}
	var uids []imap.UID
	if selected.NumMessages > 0 {
		newer := imap.UIDSet{imap.UIDRange{Start: imap.UID(at.uid + 1)}} // to "*"
		found, err := s.client.UIDSearch(&imap.SearchCriteria{UID: []imap.UIDSet{newer}}, nil).Wait()
		if err != nil {
			return err
		}
		if uids, err = transferIMAPUIDs(found); err != nil {
			return err
		}
	}
	// RFC 9051, section 9, seq-range: N:* is the last message if there is none from N on.
	uids = slices.DeleteFunc(uids, func(uid imap.UID) bool { return uint32(uid) <= at.uid })
	slices.Sort(uids)
	im.counts.done += int64(selected.NumMessages) - int64(len(uids))
	im.counts.skipped += max(0, int(selected.NumMessages)-len(uids))
	for lot := range slices.Chunk(uids, transferIMAPLot) {
		if err := s.lot(ctx, im, f, at.validity, lot); err != nil {
			return err
		}
	}
	return nil
}

// transferIMAPRefused is a folder that the server does not open.
type transferIMAPRefused struct{ error }

// transferIMAPNo tells whether the server has refused something, and goes on.
func transferIMAPNo(err error) bool {
	var no *imap.Error
	return errors.As(err, &no) && no.Type == imap.StatusResponseTypeNo
}

// transferIMAPUIDs are the UIDs that were found: as ranges, a line may say more than there is memory for.
func transferIMAPUIDs(found *imap.SearchData) ([]imap.UID, error) {
	set, _ := found.All.(imap.UIDSet)
	count := uint64(0)
	for _, r := range set {
		if count += uint64(r.Stop) - uint64(r.Start) + 1; r.Stop < r.Start || count > transferIMAPMost {
			return nil, fmt.Errorf("the server says that it has the messages %v", set)
		}
	}
	return found.AllUIDs(), nil
}

var (
	errTransferNoText   = errors.New("the server did not send it; -again asks for everything once more")
	errTransferTooLarge = errors.New("the server says that it is larger than 1 GiB")
)

// lot brings in some messages, whose UIDs ascend: first what is known of them, then their texts, one after the other, in any
// order. Those that were expunged meanwhile are not told of; what is told of and has no text was not read.
func (s *transferIMAP) lot(ctx context.Context, im *transferImport, f transferIMAPSource, validity uint32, uids []imap.UID) error {
	known := map[imap.UID]*imapclient.FetchMessageBuffer{}
	list, err := s.client.Fetch(imap.UIDSetNum(uids...), &imap.FetchOptions{UID: true, Flags: true, InternalDate: true, RFC822Size: true}).Collect()
	if err != nil && !(transferIMAPNo(err) && len(list) > 0) { // NO: some could not be read
		return err
	}
	for _, m := range list {
		known[m.UID] = m
	}
	fail := func(uid imap.UID, err error) {
		im.fail(fmt.Sprintf("%s, message %d", f.theirs, uid), err)
		delete(known, uid)
	}
	wanted := slices.DeleteFunc(slices.Clone(uids), func(uid imap.UID) bool {
		m := known[uid]
		if m != nil && m.RFC822Size > transferIMAPLargest {
			fail(uid, errTransferTooLarge)
			return true
		}
		return m == nil
	})
	if len(wanted) > 0 {
		next, came := 0, false
		err = s.texts(imap.UIDSetNum(wanted...), func(uid imap.UID, text io.Reader) error {
			m := known[uid]
			if m == nil {
				return nil
			}
			msg := &transferMessage{folder: f.ours, date: m.InternalDate, text: text}
			if msg.date.IsZero() {
				msg.date = time.Now()
			}
			msg.flags, msg.keywords = transferIMAPFlags(m.Flags)
			im.counts.done++
			if err := im.take(ctx, msg); err != nil {
				return err
			}
			came = true
			delete(known, uid)
			for ; next < len(uids) && known[uids[next]] == nil; next++ { // what comes before it may still be to come
				s.reached[f.theirs] = transferIMAPFolder{validity, uint32(uids[next])}
			}
			return nil
		})
		if err != nil && !(transferIMAPNo(err) && came) { // NO, and nothing came: another time
			return err
		}
	}
	for _, uid := range uids {
		if known[uid] != nil {
			fail(uid, errTransferNoText)
		}
	}
	s.reached[f.theirs] = transferIMAPFolder{validity, uint32(uids[len(uids)-1])}
	return nil
}

// texts calls f with each text that a FETCH gives.
func (s *transferIMAP) texts(uids imap.UIDSet, f func(uid imap.UID, text io.Reader) error) error {
	fetch := s.client.Fetch(uids, &imap.FetchOptions{UID: true, BodySection: []*imap.FetchItemBodySection{{Peek: true}}})
	for m := fetch.Next(); m != nil; m = fetch.Next() {
		uid := imap.UID(0)
		for item := m.Next(); item != nil; item = m.Next() {
			var err error
			switch data := item.(type) {
			case imapclient.FetchItemDataUID:
				uid = data.UID
			case imapclient.FetchItemDataBodySection:
				switch {
				case data.Literal == nil: // expunged meanwhile, or it cannot be read
				case data.Literal.Size() > transferIMAPLargest:
					err = errTransferTooLarge
				default:
					err = f(uid, &transferIMAPText{data.Literal, data.Literal.Size()})
				}
			}
			if err != nil {
				s.conn.Close() // the rest of the answer need not be waited for
				fetch.Close()
				return err
			}
		}
	}
	return fetch.Close()
}

// transferIMAPText is a literal, which a connection that breaks must not end early.
type transferIMAPText struct {
	r    io.Reader
	left int64
}

var errTransferBroken = errors.New("the connection ended in the middle of a message")

func (t *transferIMAPText) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	if t.left -= int64(n); err == io.EOF && t.left > 0 {
		err = errTransferBroken
	}
	return n, err
}

// transferIMAPFlags turns a server's flags into ours.
func transferIMAPFlags(list []imap.Flag) (flags mailboxFlags, keywords []string) {
	for _, flag := range list {
		switch name := strings.ToLower(string(flag)); name {
		case `\seen`:
			flags |= mailboxFlagSeen
		case `\answered`:
			flags |= mailboxFlagAnswered
		case `\flagged`:
			flags |= mailboxFlagFlagged
		case `\draft`:
			flags |= mailboxFlagDraft
		case `\deleted`:
			flags |= mailboxFlagDeleted
		case "$forwarded":
			flags |= mailboxFlagForwarded
		default:
			if transferIsKeyword(string(flag)) {
				keywords = append(keywords, string(flag))
			}
		}
	}
	return flags, keywords
}

// transferIMAPNotes is the file's name for an account, and for where it goes.
func transferIMAPNotes(account string) string {
	return fmt.Sprintf("letterbox.import-%016x", mailboxBaseHash(account))
}

func (s *transferIMAP) readNotes() error {
	s.reached = map[string]transferIMAPFolder{}
	text, err := os.ReadFile(s.notes)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 3)
		if len(fields) != 3 {
			continue
		}
		validity, err1 := strconv.ParseUint(fields[0], 10, 32)
		uid, err2 := strconv.ParseUint(fields[1], 10, 32)
		name, err3 := strconv.Unquote(fields[2])
		if errors.Join(err1, err2, err3) == nil {
			s.reached[name] = transferIMAPFolder{uint32(validity), uint32(uid)}
		}
	}
	return nil
}

// committed writes the notes. They are not synced: what they do not say is only fetched again.
func (s *transferIMAP) committed() error {
	r, err := fileReplaceBegin(s.notes, 0o600)
	if err != nil {
		return err
	}
	for name, at := range s.reached {
		if _, err := fmt.Fprintf(r, "%d %d %q\n", at.validity, at.uid, name); err != nil {
			r.abort()
			return err
		}
	}
	return r.commitUnsynced()
}
