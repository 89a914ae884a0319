package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// errSpoolAway means that no Letterbox listens.
var errSpoolAway = errors.New("the server is away")

const (
	spoolDialTime  = 5 * time.Second
	spoolGreetTime = 30 * time.Second // a server that hangs is as good as away
	spoolReplyTime = 5 * time.Minute  // RFC 5321, section 4.5.3.2 would have up to 10
	spoolGroup     = 100              // recipients of one transaction, which any server takes: RFC 5321, section 4.5.3.1.8
)

// spoolLink is a connection to the server.
type spoolLink struct {
	conn     net.Conn
	text     *textproto.Conn
	greeting string
}

// spoolRefusal is a recipient that the server will not have, for good.
type spoolRefusal struct {
	to   address
	text string
}

// spoolDial connects to the first of the addresses to listen on behind which there is a
// Letterbox: another mail server that has the port must not get the mail, and neither must a user who has taken the port
// while the server is away. owners are the users who may have it.
func spoolDial(listen []string, owners []int) (*spoolLink, error) {
	err := error(errSpoolAway)
	for _, address := range listen {
		for _, target := range spoolTargets(address) {
			conn, dialErr := net.DialTimeout(target[0], target[1], spoolDialTime)
			if dialErr != nil {
				err = fmt.Errorf("%w: %w", errSpoolAway, dialErr)
				continue
			}
			link := &spoolLink{conn: conn, text: textproto.NewConn(conn)}
			link.greeting, dialErr = link.reply(220, spoolGreetTime)
			switch uid, stranger := spoolStranger(conn, owners); {
			case dialErr != nil || !strings.HasSuffix(link.greeting, " Letterbox"):
				err = fmt.Errorf("%w: who answers at %s is no Letterbox that takes mail", errSpoolAway, target[1])
			case stranger:
				err = fmt.Errorf("%w: who answers at %s is a program of %s", errSpoolAway, target[1], spoolUser(uid))
			default:
				return link, nil
			}
			link.close()
		}
	}
	return nil, err
}

// spoolOwners are the users whose server may get mail: root, who sends it, and whose the spool is, or what is above it. A port
// below 1024 has nobody else.
func spoolOwners(dir string) []int {
	owners := []int{0, os.Getuid()}
	for {
		info, err := os.Stat(dir)
		if err == nil {
			return append(owners, spoolOwner(info))
		} else if dir == filepath.Dir(dir) {
			return owners
		}
		dir = filepath.Dir(dir)
	}
}

// spoolStranger finds the user at the other end of a connection within this box, by its ports, if that is none of these. Where the system
// does not tell (only Linux does), it is nobody.
func spoolStranger(conn net.Conn, owners []int) (uid int, stranger bool) {
	own, ok := conn.LocalAddr().(*net.TCPAddr)
	other, isTCP := conn.RemoteAddr().(*net.TCPAddr)
	if !ok || !isTCP || other.Port < 1024 {
		return 0, false
	}
	from, to := fmt.Sprintf(":%04X", other.Port), fmt.Sprintf(":%04X", own.Port)
	for _, table := range []string{"tcp", "tcp6"} {
		text, err := os.ReadFile("/proc/net/" + table)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			fields := strings.Fields(line) // sl local rem st tx:rx tr:tm retrnsmt uid ...
			if len(fields) < 8 || !strings.HasSuffix(fields[1], from) || !strings.HasSuffix(fields[2], to) {
				continue
			}
			if uid, err := strconv.Atoi(fields[7]); err == nil && !slices.Contains(owners, uid) {
				return uid, true
			}
		}
	}
	return 0, false
}

// spoolTargets are the places where one reaches who listens on an address.
func spoolTargets(address string) [][2]string {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		return [][2]string{{"unix", path}}
	}
	host, port, err := net.SplitHostPort(address)
	ip := net.ParseIP(host)
	switch {
	case err != nil:
		return nil
	case host == "" || ip != nil && ip.IsUnspecified():
		return [][2]string{{"tcp", "127.0.0.1:" + port}, {"tcp", "[::1]:" + port}}
	}
	return [][2]string{{"tcp", address}}
}

func (k *spoolLink) close() { k.conn.Close() }

// reply reads a reply, which must have a code.
func (k *spoolLink) reply(code int, wait time.Duration) (text string, err error) {
	if err := k.conn.SetDeadline(time.Now().Add(wait)); err != nil {
		return "", err
	}
	_, text, err = k.text.ReadResponse(code)
	return text, err
}

// ask says a line and reads the reply.
func (k *spoolLink) ask(code int, format string, args ...any) error {
	if err := k.text.PrintfLine(format, args...); err != nil {
		return err
	}
	_, err := k.reply(code, spoolReplyTime)
	return err
}

// spoolSend hands a message to the server. refused are recipients that it will never
// take it for, left those that have not got it now.
func spoolSend(listen []string, owners []int, hostname string, e spoolEnvelope, l *spoolLetter) (refused []spoolRefusal, left []address, err error) {
	link, err := spoolDial(listen, owners)
	if err != nil {
		return nil, e.to, err
	}
	defer link.close()
	if err := link.ask(250, "EHLO %s", hostname); err != nil {
		return nil, e.to, err
	}
	for rest := e.to; len(rest) > 0; {
		group := rest[:min(len(rest), spoolGroup)]
		rest = rest[len(group):]
		no, later, failed := link.send(e.from, group, l)
		refused, left = append(refused, no...), append(left, later...)
		if failed != nil {
			err = failed
		}
	}
	link.ask(221, "QUIT") // all is said
	return refused, left, err
}

// send is one transaction. The error is why some are left.
func (k *spoolLink) send(from address, to []address, l *spoolLetter) (refused []spoolRefusal, left []address, err error) {
	utf8 := ""
	for _, a := range append([]address{from}, to...) {
		if !a.ascii() {
			utf8 = " SMTPUTF8"
		}
	}
	if err := k.ask(250, "MAIL FROM:<%s> SIZE=%d BODY=8BITMIME%s", from, l.size+2, utf8); err != nil {
		return spoolSort(to, err)
	}
	var taken []address
	for _, a := range to {
		failed := k.ask(250, "RCPT TO:<%s>", a)
		if failed == nil {
			taken = append(taken, a)
			continue
		}
		no, later, why := spoolSort([]address{a}, failed)
		refused, left = append(refused, no...), append(left, later...)
		if why != nil {
			err = why
		}
	}
	if len(taken) == 0 {
		if failed := k.ask(250, "RSET"); err == nil && len(left) > 0 {
			err = failed
		}
		return refused, left, err
	}
	failed := k.ask(354, "DATA")
	if failed == nil {
		failed = k.data(l)
	}
	if failed != nil {
		no, later, why := spoolSort(taken, failed)
		refused, left = append(refused, no...), append(left, later...)
		if why != nil {
			err = why
		}
	}
	return refused, left, err
}

func (k *spoolLink) data(l *spoolLetter) error {
	if err := k.conn.SetDeadline(time.Now().Add(spoolReplyTime)); err != nil {
		return err
	}
	w := k.text.DotWriter()
	if err := l.write(w); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	_, err := k.reply(250, spoolReplyTime)
	return err
}

// spoolSort says what an error means for recipients: it is for good, or it may be better later. That
// loopback is not trusted hinders nobody of this box: his mail goes by the spool.
func spoolSort(to []address, err error) (refused []spoolRefusal, left []address, why error) {
	var reply *textproto.Error
	if !errors.As(err, &reply) || reply.Code < 500 || strings.Contains(reply.Msg, "Not from your network") {
		return nil, to, err
	}
	for _, a := range to {
		refused = append(refused, spoolRefusal{a, strings.ReplaceAll(reply.Msg, "\n", " ")})
	}
	return refused, nil, nil
}

// spoolTalk lets a program speak SMTP with the server.
func spoolTalk(listen []string, owners []int, in io.Reader, out io.Writer) error {
	link, err := spoolDial(listen, owners)
	if err != nil {
		return err
	}
	defer link.close()
	if err := link.conn.SetDeadline(time.Time{}); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(out, "220 %s\r\n", link.greeting); err != nil {
		return err
	}
	go func() {
		_, err := io.Copy(link.conn, in)
		if half, ok := link.conn.(interface{ CloseWrite() error }); ok && err == nil {
			half.CloseWrite() // that it is gone already is no news
		}
	}()
	_, err = io.Copy(out, link.text.R)
	return err
}
