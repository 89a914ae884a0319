package main

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
)

// The spool room: mail of programs on this box. It knows what a program's text becomes
// (spool_letter.go), how it is handed to the server that runs (spool_send.go), the
// directory in which it waits while none does, and how the server takes it from there
// (spool_take.go). It knows no command line, and of mailboxes only what deliver does.
//
// Everybody may add files to the directory (mode 1733), and nobody but the server's user
// may list it. Files there can be read by everybody, since the server is another user, but
// their names are random, so nobody else knows them. A file goes through these states:
//
//	P1  tmp-NAME is being written       a part, which is swept
//	P2  tmp-NAME is whole and synced    a file that is swept
//	P3  it is called NAME               the server may take it
//	P4  that name is durable            only now does sendmail say that all is well
//	P5  its recipients have it (D5)     after a crash they get it again
//	P6  the name is gone

const (
	spoolMode          = fs.ModeSticky | 0o733
	spoolTemporary     = "tmp-"
	spoolMagic         = "letterbox spool 1"
	spoolMaxRecipients = 1000 // of one message
)

var (
	errSpoolForm    = errors.New("not a file that letterbox sendmail has written")
	errSpoolForeign = errors.New("not a plain file with one name")
	errSpoolSize    = errors.New("larger than a message may be")
)

// spoolEnvelope says from whom a message is, and for whom.
type spoolEnvelope struct {
	from address
	to   []address
}

// spoolFile writes so that tests can make it fail.
type spoolFile struct{ *os.File }

func (f spoolFile) Write(p []byte) (int, error) { return fileWrite(f.File, p) }

// spoolPut leaves a message for the server that is away. When it returns nil, the message
// survives a power cut.
func spoolPut(dir string, e spoolEnvelope, l *spoolLetter) error {
	name := rand.Text()
	tmp, path := filepath.Join(dir, spoolTemporary+name), filepath.Join(dir, name)
	f, err := fileCreate(tmp, 0o600) // P1
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriterSize(spoolFile{f}, 32<<10)
	e.write(w)
	l.write(w) // its errors stay with w
	err = w.Flush()
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err == nil {
		err = fileSync(f) // P2
	}
	if err == nil {
		err = fileRename(tmp, path) // P3
	}
	if err != nil {
		os.Remove(tmp) // a leftover does no harm, and is swept
		return err
	}
	err = syncDir(dir)
	if errors.Is(err, fs.ErrPermission) { // who may add a file may not open the directory
		err = fileSyncMany(f, []string{path})
	}
	if err != nil {
		os.Remove(path) // the program hears that it failed, and may try again
	}
	return err // P4
}

// write writes the lines before the message.
func (e spoolEnvelope) write(w io.Writer) {
	fmt.Fprintf(w, "%s\nfrom %s\n", spoolMagic, e.from)
	for _, to := range e.to {
		fmt.Fprintf(w, "to %s\n", to)
	}
	fmt.Fprint(w, "\n")
}

// spoolReadEnvelope reads them. Anybody may have written them.
func spoolReadEnvelope(r *bufio.Reader) (e spoolEnvelope, err error) {
	for n := 0; n <= spoolMaxRecipients+2; n++ {
		slice, err := r.ReadSlice('\n')
		if errors.Is(err, io.EOF) || errors.Is(err, bufio.ErrBufferFull) {
			return e, errSpoolForm
		} else if err != nil {
			return e, err
		}
		line := string(slice[:len(slice)-1])
		word, text, _ := strings.Cut(line, " ")
		switch {
		case n == 0 && line == spoolMagic:
		case n == 1 && line == "from ":
		case n == 1 && word == "from":
			e.from, err = addressParse(text)
		case n > 1 && word == "to":
			var to address
			to, err = addressParse(text)
			e.to = append(e.to, to)
		case n > 2 && line == "":
			return e, nil
		default:
			return e, errSpoolForm
		}
		if err != nil {
			return e, fmt.Errorf("%w: %w", errSpoolForm, err)
		}
	}
	return e, fmt.Errorf("%w: too many recipients", errSpoolForm)
}

// spoolUser gives the name of a user of this system.
func spoolUser(uid int) string {
	if account, err := user.LookupId(strconv.Itoa(uid)); err == nil && account.Username != "" {
		return account.Username
	}
	return fmt.Sprintf("uid%d", uid) // of a directory that we don't ask
}

// spoolSender gives the sender of a user's mail: the one that he claims to be, unless that is
// somebody else of this box. user is "" for those who may claim anything. What comes over
// the network has no such rule, for there nobody is known; but here it is known who it is.
func spoolSender(claimed address, user, hostname string, ours func(domain string) bool) address {
	base, _, _ := strings.Cut(claimed.local, "+")
	if user == "" || claimed.isNull() || !ours(claimed.domain) || strings.EqualFold(base, user) {
		return claimed
	}
	return address{user, hostname}
}
