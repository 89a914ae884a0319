package main

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
)

// testImapClient connects go-imap's client to a door and logs alice in.
func testImapClient(t testing.TB, door *imapDoor) *imapclient.Client {
	t.Helper()
	theirs, ours := net.Pipe()
	go door.serve(newConn(ours, slog.New(slog.DiscardHandler), time.Minute))
	c := imapclient.New(theirs, nil)
	t.Cleanup(func() { c.Close() })
	must(t, c.Login("alice", "secret").Wait())
	return c
}

func TestImapClient(t *testing.T) {
	c := testImapClient(t, testImapDoor(t, t.TempDir()))
	must(t, c.Create("Work/2026", nil).Wait())
	text := "Subject: hello\r\nFrom: a@example.org\r\n\r\nbody\r\n"
	a := c.Append("Work/2026", int64(len(text)), &imap.AppendOptions{Flags: []imap.Flag{imap.FlagSeen, "$Work"}})
	_, err := io.WriteString(a, text)
	must(t, err)
	must(t, a.Close())
	appended, err := a.Wait()
	must(t, err)
	selected, err := c.Select("Work/2026", nil).Wait()
	if must(t, err); selected.NumMessages != 1 || selected.UIDValidity != appended.UIDValidity {
		t.Errorf("SELECT says %+v", selected)
	}
	section := &imap.FetchItemBodySection{Peek: true}
	messages, err := c.Fetch(imap.UIDSetNum(appended.UID), &imap.FetchOptions{Envelope: true, Flags: true, UID: true, RFC822Size: true,
		BodyStructure: &imap.FetchItemBodyStructure{Extended: true}, BodySection: []*imap.FetchItemBodySection{section}}).Collect()
	must(t, err)
	if m := messages[0]; m.Envelope.Subject != "hello" || len(m.Flags) != 2 || m.RFC822Size != int64(len(text)) || string(m.FindBodySection(section)) != text {
		t.Errorf("FETCH says %+v", m)
	}
	found, err := c.UIDSearch(&imap.SearchCriteria{Body: []string{"BODY"}, Flag: []imap.Flag{"$work"}}, nil).Wait()
	if must(t, err); len(found.AllUIDs()) != 1 {
		t.Errorf("SEARCH finds %v", found.AllUIDs())
	}
	must(t, c.Store(imap.SeqSetNum(1), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: []imap.Flag{imap.FlagDeleted}}, nil).Close())
	moved, err := c.Copy(imap.SeqSetNum(1), "Archive").Wait()
	if must(t, err); moved.UIDValidity == 0 {
		t.Errorf("COPY says %+v", moved)
	}
	expunged, err := c.Expunge().Collect()
	if must(t, err); len(expunged) != 1 {
		t.Errorf("EXPUNGE says %v", expunged)
	}
	status, err := c.Status("Archive", &imap.StatusOptions{NumMessages: true}).Wait()
	if must(t, err); *status.NumMessages != 1 {
		t.Errorf("STATUS says %d", *status.NumMessages)
	}
	must(t, c.Logout().Wait())
}

// Fifty connections of one user on one mailbox: each adds a message, flags it, and in
// the end all see all.
func TestImapParallel(t *testing.T) {
	const connections = 50
	door := testImapDoor(t, t.TempDir())
	clients := make([]*imapclient.Client, connections)
	for i := range clients {
		clients[i] = testImapClient(t, door)
	}
	var wg sync.WaitGroup
	for i, c := range clients {
		wg.Go(func() {
			if err := testImapBusy(c, i); err != nil {
				t.Errorf("connection %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	for i, c := range clients {
		if err := c.Noop().Wait(); err != nil {
			t.Fatal(err)
		}
		found, err := c.UIDSearch(&imap.SearchCriteria{Flag: []imap.Flag{imap.FlagFlagged}}, nil).Wait()
		if must(t, err); len(found.AllUIDs()) != connections {
			t.Errorf("connection %d sees %d flagged messages", i, len(found.AllUIDs()))
		}
	}
}

func testImapBusy(c *imapclient.Client, i int) error {
	if _, err := c.Select("INBOX", nil).Wait(); err != nil {
		return err
	}
	text := fmt.Sprintf("Subject: %d\r\n\r\nx\r\n", i)
	a := c.Append("INBOX", int64(len(text)), nil)
	if _, err := io.WriteString(a, text); err != nil {
		return err
	}
	if err := a.Close(); err != nil {
		return err
	}
	data, err := a.Wait()
	if err != nil {
		return err
	}
	if err := c.Store(imap.UIDSetNum(data.UID), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: []imap.Flag{imap.FlagFlagged}}, nil).Close(); err != nil {
		return err
	}
	section := &imap.FetchItemBodySection{}
	messages, err := c.Fetch(imap.UIDSetNum(data.UID), &imap.FetchOptions{BodySection: []*imap.FetchItemBodySection{section}}).Collect()
	if err != nil {
		return err
	}
	if len(messages) != 1 || string(messages[0].FindBodySection(section)) != text {
		return fmt.Errorf("UID %d is not what was appended: %v", data.UID, messages)
	}
	return nil
}

// Whatever bytes come, the session answers each line or ends; it never crashes.
func FuzzIMAPCommand(f *testing.F) {
	for _, seed := range []string{"c FETCH 1:* (FLAGS BODY[HEADER.FIELDS (X)]<0.5>)\r\n", "c SEARCH OR NOT SEEN (BODY x) 1:3\r\n", "c LIST (SUBSCRIBED) \"\" (a %) RETURN (STATUS (MESSAGES))\r\n",
		"c APPEND INBOX (\\Seen) {3+}\r\nabc\r\n", "c STORE 1 +FLAGS.SILENT (\\Deleted $x)\r\nd EXPUNGE\r\n", "c CREATE {3+}\r\na/b\r\nd RENAME a/b c\r\n", "c IDLE\r\nDONE\r\n", "c ENABLE IMAP4rev2\r\nd UID SEARCH RETURN (SAVE) ALL\r\ne UID COPY $ Sent\r\n",
		"c UID MOVE 1 Trash\r\n", "c SETACL INBOX bob +lr\r\nd GETACL INBOX\r\ne LISTRIGHTS INBOX -x\r\nf MYRIGHTS Shared/bob\r\n", "c AUTHENTICATE PLAIN AA==\r\n", "c ID (\"a\" NIL)\r\nd STATUS INBOX (SIZE)\r\n"} {
		f.Add([]byte(seed))
	}
	dir := f.TempDir()
	door := &imapDoor{auth: testAuth(f, "alice"), store: testStore(f, dir), hostname: "x", plaintext: authPlaintextLoopback, appendLimit: 1 << 16, separator: '/', shared: "Shared"}
	f.Fuzz(func(t *testing.T, input []byte) {
		theirs, ours := net.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			door.serve(newConn(ours, slog.New(slog.DiscardHandler), time.Minute))
		}()
		go func() {
			theirs.Write(append([]byte("a LOGIN alice secret\r\nb SELECT INBOX\r\n"), input...)) // the session may end before it has read all
			theirs.Write([]byte("\r\nDONE\r\nz1 LOGOUT\r\n"))
			time.AfterFunc(100*time.Millisecond, func() { theirs.Close() }) // a literal may still be wanted
		}()
		answers, err := io.ReadAll(theirs)
		if err != nil && len(answers) == 0 {
			t.Fatal(err)
		}
		<-done
		for line := range bytes.Lines(answers) {
			if bytes.Contains(line, []byte("SERVERBUG")) {
				t.Fatalf("%q", line)
			}
		}
	})
}

// What go-imap's client knows of the extensions.
func TestImapClientExtensions(t *testing.T) {
	door := testImapDoor(t, t.TempDir())
	testQuota(t, door.store, "65536S,100C")
	c := testImapClient(t, door)
	for n, subject := range []string{"b", "a", "Re: b"} {
		text := fmt.Sprintf("Subject: %s\r\nMessage-ID: <%d@x>\r\nReferences: <%d@x>\r\nDate: Mon, %d Mar 2026 10:00:00 +0000\r\n\r\nbody\r\n", subject, n, n-n%2*n, 9-n)
		a := c.Append("INBOX", int64(len(text)), nil)
		_, err := io.WriteString(a, text)
		must(t, err)
		must(t, a.Close())
		_, err = a.Wait()
		must(t, err)
	}
	selected, err := c.Select("INBOX", &imap.SelectOptions{CondStore: true}).Wait()
	if must(t, err); selected.HighestModSeq == 0 {
		t.Errorf("SELECT says %+v", selected)
	}
	found, err := c.UIDSearch(&imap.SearchCriteria{Header: []imap.SearchCriteriaHeaderField{{Key: "Subject", Value: "b"}}},
		&imap.SearchOptions{ReturnMin: true, ReturnMax: true, ReturnCount: true}).Wait()
	if must(t, err); found.Min != 1 || found.Max != 3 || found.Count != 2 {
		t.Errorf("SEARCH RETURN says %+v", found)
	}
	sorted, err := c.UIDSort(&imapclient.SortOptions{SearchCriteria: &imap.SearchCriteria{},
		SortCriteria: []imapclient.SortCriterion{{Key: imapclient.SortKeySubject}, {Key: imapclient.SortKeyDate}}}).Wait()
	if must(t, err); !slices.Equal(sorted, []uint32{2, 3, 1}) {
		t.Errorf("SORT says %v", sorted)
	}
	threads, err := c.UIDThread(&imapclient.ThreadOptions{Algorithm: imap.ThreadOrderedSubject, SearchCriteria: &imap.SearchCriteria{}}).Wait()
	if must(t, err); fmt.Sprint(threads) != "[{[3 1] []} {[2] []}]" {
		t.Errorf("THREAD says %v", threads)
	}
	must(t, c.Store(imap.SeqSetNum(2), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Silent: true, Flags: []imap.Flag{imap.FlagFlagged}}, nil).Close())
	changed, err := c.Fetch(imap.UIDSet{{Start: 1}}, &imap.FetchOptions{Flags: true, UID: true, ModSeq: true, ChangedSince: selected.HighestModSeq}).Collect()
	if must(t, err); len(changed) != 1 || changed[0].UID != 2 || changed[0].ModSeq <= selected.HighestModSeq {
		t.Errorf("FETCH CHANGEDSINCE says %+v", changed)
	}
	blue := []byte("blue")
	must(t, c.SetMetadata("INBOX", map[string]*[]byte{"/private/comment": &blue}).Wait())
	kept, err := c.GetMetadata("INBOX", []string{"/private/comment", "/shared/comment"}, nil).Wait()
	if must(t, err); kept.Entries["/private/comment"] == nil || string(*kept.Entries["/private/comment"]) != "blue" || kept.Entries["/shared/comment"] != nil {
		t.Errorf("GETMETADATA says %+v", kept)
	}
	quota, err := c.GetQuotaRoot("INBOX").Wait()
	if must(t, err); len(quota) != 1 || quota[0].Resources[imap.QuotaResourceMessage] != (imapclient.QuotaResourceData{Usage: 3, Limit: 100}) {
		t.Errorf("GETQUOTAROOT says %+v", quota)
	}
	mine, err := c.MyRights("INBOX").Wait()
	if must(t, err); len(mine.Rights) == 0 {
		t.Errorf("MYRIGHTS says %+v", mine)
	}
	if all := c.Caps(); !all.Has(imap.CapCondStore) || !all.Has(imap.CapMetadata) || !all.Has(imap.CapACL) {
		t.Errorf("CAPABILITY says %v", all)
	}
}
