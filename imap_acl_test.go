package main

import (
	"bufio"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// imapACLCommands are commands, and the rights that each takes in the folder F below alice's P (RFC 4314, section 4). What
// a command needs elsewhere bob has: all of P's rights, and his own folders.
var imapACLCommands = []struct {
	selects bool // the folder is selected first
	command string
	rights  string
}{
	{false, "SELECT $", "r"},
	{false, "EXAMINE $", "r"},
	{false, "STATUS $ (MESSAGES UNSEEN)", "r"},
	{false, "STATUS $ (MAILBOXID)", "r"},
	{false, "SUBSCRIBE $", "l"},
	{false, "CREATE $/sub", "k"},
	{false, "DELETE $", "x"},
	{false, "RENAME $ Shared/alice/P/G", "x"},
	{false, "APPEND $ {3+}\r\nabc", "i"},
	{false, "GETACL $", "a"},
	{false, "SETACL $ carol lr", "a"},
	{false, "DELETEACL $ carol", "a"},
	{false, "LISTRIGHTS $ carol", "a"},
	{false, "GETQUOTAROOT $", "r"},
	{false, "GETMETADATA $ /shared/comment", "lr"},
	{false, "SETMETADATA $ (/private/comment \"x\")", "lr"},
	{false, "SETMETADATA $ (/shared/comment \"x\")", "lw"},
	{true, "STORE 1 +FLAGS (\\Seen)", "rs"},
	{true, "STORE 1 +FLAGS (\\Flagged)", "rw"},
	{true, "STORE 1 +FLAGS (keyword)", "rw"},
	{true, "STORE 1 -FLAGS (\\Deleted)", "rt"},
	{true, "UID STORE * FLAGS (\\Deleted)", "rt"},
	{true, "EXPUNGE", "re"},
	{true, "UID EXPUNGE *", "re"},
	{true, "COPY 1 Drafts", "r"},
	{true, "MOVE 1 Drafts", "rte"},
	{true, "REPLACE 1 Drafts {3+}\r\nabc", "rte"},
	{true, "FETCH 1 BODY[]", "r"},
	{true, "SEARCH ALL", "r"},
	{true, "CLOSE", "r"},
}

// Each command with the rights it takes and no others, with all others, and with each of them missing. Without l the
// refusal is that of a mailbox that is not there.
func TestImapACLCommands(t *testing.T) {
	for _, c := range imapACLCommands {
		t.Run(c.command[:strings.IndexAny(c.command+"(", "({")], func(t *testing.T) {
			dir := t.TempDir()
			st := testStore(t, dir)
			door := &imapDoor{auth: testAuth(t, "alice", "bob", "carol"), store: st, hostname: "x", plaintext: authPlaintextLoopback,
				appendLimit: 1 << 16, separator: '/', shared: "Shared"}
			alice, err := st.tree("alice")
			must(t, err)
			must(t, alice.create("P", ""))
			all, _ := mailboxParseRights(mailboxRightsLetters)
			must(t, alice.changeACL("P", mailboxACLChange{"bob", mailboxSet, &all}))
			needed, _ := mailboxParseRights(c.rights)
			play := func(rights mailboxRights, name string) string {
				for _, made := range []string{"P/G", "P/F/sub"} {
					if alice.exists(made) {
						must(t, alice.delete(made))
					}
				}
				if !alice.exists("P/F") {
					must(t, alice.create("P/F", ""))
				}
				path := filepath.Join(dir, "alice", ".P.F")
				must(t, os.RemoveAll(filepath.Join(path, "cur")))
				must(t, os.Mkdir(filepath.Join(path, "cur"), 0o700))
				must(t, os.WriteFile(filepath.Join(path, "cur", "1.M1.pi:2,T"), []byte("Subject: x\n\nx\n"), 0o600))
				must(t, os.WriteFile(filepath.Join(path, maildirACLName), []byte("user=bob "+rights.String()+"\n"), 0o600))
				return testImapACLPlay(t, door, c.selects, c.command, name)
			}
			expect := func(rights mailboxRights, want string) {
				if got := play(rights, "Shared/alice/P/F"); !strings.HasPrefix(got, want) {
					t.Errorf("with %q: %s, not %s", rights, got, want)
				}
			}
			const refused, notThere = "NO [NOPERM]", "NO [NONEXISTENT]"
			expect(needed, "OK")
			expect(all, "OK")
			for right := mailboxRights(1); right <= mailboxRightAdmin; right <<= 1 {
				if right&needed == 0 || strings.Contains(c.rights, "l") && right != mailboxRightLookup && right != mailboxRightWrite {
					continue // of the rights to annotations any one will do
				}
				left := all &^ right
				if right == mailboxRightLookup {
					expect(left, notThere)
					continue
				}
				expect(left, refused)
				if c.selects && right != mailboxRightRead || strings.HasPrefix(c.command, "CREATE") || strings.Contains(c.rights, "l") {
					continue // who has it open knows that it is there, and to make one below it takes no such folder
				}
				hidden := play(left&^mailboxRightLookup, "Shared/alice/P/F")
				if gone := play(left, "Shared/alice/P/None"); hidden != gone {
					t.Errorf("without l and %q: %s, and of a mailbox that is not there %s", right, hidden, gone)
				}
			}
		})
	}
}

// testImapACLPlay has bob say a command, and gives its outcome without the tag.
func testImapACLPlay(t *testing.T, door *imapDoor, selects bool, command, name string) string {
	theirs, ours := net.Pipe()
	defer theirs.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		door.serve(newConn(ours, slog.New(slog.DiscardHandler), time.Minute))
	}()
	defer func() { theirs.Close(); <-done }()
	r := bufio.NewReader(theirs)
	say := func(tag, command string) string {
		go fmt.Fprintf(theirs, "%s %s\r\n", tag, command)
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				t.Errorf("%s: %v", command, err)
				return ""
			}
			if rest, ok := strings.CutPrefix(line, tag+" "); ok {
				return strings.TrimSpace(rest)
			}
		}
	}
	say("a", "LOGIN bob secret")
	if selects {
		if outcome := say("b", "SELECT "+name); !strings.HasPrefix(outcome, "OK") {
			return outcome
		} else if strings.HasPrefix(outcome, "OK [READ-ONLY]") && !strings.Contains("COPY 1 Drafts,FETCH 1 BODY[],SEARCH ALL,CLOSE", command) {
			return "NO [NOPERM] read-only"
		}
	}
	return say("c", strings.ReplaceAll(command, "$", name))
}

// A LIST of the folders of twenty users looks at the dates of a thousand files, and reads none again.
func BenchmarkImapListShared(b *testing.B) {
	dir := b.TempDir()
	st := testStore(b, dir)
	var users []string
	old := time.Now().Add(-time.Hour)
	for n := range 20 {
		user := fmt.Sprintf("user%d", n)
		users = append(users, user)
		for f := range 50 {
			folder := filepath.Join(dir, user, fmt.Sprintf(".f%d", f))
			must(b, os.MkdirAll(filepath.Join(folder, "cur"), 0o700))
			must(b, os.MkdirAll(filepath.Join(dir, user, "cur"), 0o700))
			path := filepath.Join(folder, maildirACLName)
			must(b, os.WriteFile(path, []byte("user=alice lr\nanyone l\n"), 0o600))
			must(b, os.Chtimes(path, old, old))
		}
	}
	door := &imapDoor{auth: testAuth(b, append(users, "alice")...), store: st, separator: '/', shared: "Shared"}
	for _, pattern := range []string{"*", "INBOX"} {
		b.Run(pattern, func(b *testing.B) {
			access, err := st.access("alice", door.sharing())
			must(b, err)
			sink := &imapSink{}
			c := newConn(sink, slog.New(slog.DiscardHandler), time.Hour)
			for b.Loop() {
				s := &imapSession{door: door, c: c, r: imapReader{c: c, line: []byte(` "" ` + pattern)}, user: "alice", tree: access}
				must(b, s.cmdList())
			}
			must(b, c.flush())
			if pattern == "*" && sink.n < int64(b.N)*1000*20 {
				b.Fatalf("%d bytes were told", sink.n)
			}
		})
	}
}
