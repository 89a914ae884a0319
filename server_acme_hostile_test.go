package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// serverTestAnswers is a CA, which answers as a test wants it to. Nothing of it uses the network.
type serverTestAnswers struct {
	now   func() time.Time
	alter func(path string, a *serverTestAnswer) // what it would say
	old   time.Duration                          // of its certificates' 90 days

	mu     sync.Mutex
	asked  []string // paths
	looked bool     // the challenge is answered
	signed []byte   // the chain in PEM
}

type serverTestAnswer struct {
	status int
	header map[string]string
	body   string
}

func (c *serverTestAnswers) dial(ctx context.Context, address string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	go func() {
		defer theirs.Close()
		r, err := http.ReadRequest(bufio.NewReader(theirs))
		if err != nil {
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		a := c.answer(r.URL.Path, body)
		text := fmt.Sprintf("HTTP/1.1 %d X\r\nConnection: close\r\nReplay-Nonce: nonce\r\n", a.status)
		for name, value := range a.header {
			text += name + ": " + value + "\r\n"
		}
		if r.Method == "HEAD" {
			a.body = ""
		}
		fmt.Fprintf(theirs, "%s\r\n%s", text, a.body) // who has heard enough has gone
	}()
	return ours, nil
}

// answer is what an honest CA says, altered.
func (c *serverTestAnswers) answer(path string, body []byte) *serverTestAnswer {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = append(c.asked, path)
	const order = `"authorizations": ["https://ca.test/authz"], "finalize": "https://ca.test/finalize", "certificate": "https://ca.test/cert"`
	a := &serverTestAnswer{status: 200, header: map[string]string{}}
	switch path {
	case "/dir":
		a.body = `{"newNonce": "https://ca.test/nonce", "newAccount": "https://ca.test/account", "newOrder": "https://ca.test/order"}`
	case "/account":
		a.status, a.header["Location"], a.body = 201, "https://ca.test/account/1", "{}"
	case "/order":
		a.status, a.header["Location"], a.body = 201, "https://ca.test/order/1", `{"status": "pending", `+order+`}`
		c.looked, c.signed = false, nil
	case "/order/1":
		a.body = fmt.Sprintf(`{"status": %q, `+order+`}`, map[bool]string{false: "ready", true: "valid"}[c.signed != nil])
	case "/authz":
		a.body = fmt.Sprintf(`{"status": %q, "challenges": [{"type": "http-01", "url": "https://ca.test/challenge", "token": "to-ken"}]}`, map[bool]string{false: "pending", true: "valid"}[c.looked])
	case "/challenge":
		c.looked, a.body = true, "{}"
	case "/finalize":
		c.signed, a.body = c.sign(body), "{}"
	case "/cert":
		a.body = string(c.signed)
	}
	if c.alter != nil {
		c.alter(path, a)
	}
	return a
}

// sign signs what was sent to it, for 90 days.
func (c *serverTestAnswers) sign(body []byte) []byte {
	var message, payload map[string]string
	if json.Unmarshal(body, &message) != nil {
		return nil
	}
	text, err := base64.RawURLEncoding.DecodeString(message["payload"])
	if err != nil || json.Unmarshal(text, &payload) != nil {
		return nil
	}
	der, err := base64.RawURLEncoding.DecodeString(payload["csr"])
	if err != nil {
		return nil
	}
	request, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil
	}
	return serverTestSign(request.DNSNames[0], request.PublicKey.(*ecdsa.PublicKey), c.now().Add(-time.Hour-c.old), c.now().Add(90*serverDay-c.old))
}

func serverTestSign(name string, key *ecdsa.PublicKey, from, until time.Time) []byte {
	signer, err := serverKeyEC()
	if err != nil {
		return nil
	}
	template := &x509.Certificate{SerialNumber: serverSerial(), DNSNames: []string{name}, NotBefore: from, NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key, signer)
	if err != nil {
		return nil
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func (c *serverTestAnswers) count(path string) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, asked := range c.asked {
		if asked == path {
			n++
		}
	}
	return n
}

// serverTestAsking is who asks that CA for mail.example.org; its time is a test's.
func serverTestAsking(t *testing.T, dir string, ca *serverTestAnswers, log io.Writer) *serverACME {
	t.Helper()
	began, base := time.Now(), serverBuilt().Add(1000*time.Hour)
	ca.now = func() time.Time { return base.Add(time.Since(began)) }
	clk, err := serverOpenClock(filepath.Join(dir, "clock"), ca.now, serverBuilt(), slog.New(slog.DiscardHandler))
	must(t, err)
	a := serverOpenACME(dir, clk, logNew(log, slog.LevelInfo))
	a.dial = ca.dial
	must(t, a.use(serverACMENeeds{names: []string{"mail.example.org"}, directory: "https://ca.test/dir", challenges: []string{serverACMEHTTP}}))
	return a
}

func (a *serverACME) testHas() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.certs["mail.example.org"] != nil
}

// What a CA may answer: nobody is shown what is of no use, no word of it looks like one of ours, and it is not asked again at once.
func TestServerACMEHostile(t *testing.T) {
	key, err := serverKeyEC()
	must(t, err)
	other := &key.(*ecdsa.PrivateKey).PublicKey
	for name, test := range map[string]struct {
		path   string
		alter  func(ca *serverTestAnswers, a *serverTestAnswer)
		logged string // "": it is taken
		asked  int    // how often the path is, at most
	}{
		"nothing odd":        {"/none", nil, "", 0},
		"another type":       {"/cert", func(_ *serverTestAnswers, a *serverTestAnswer) { a.header["Content-Type"] = "image/png" }, "", 1},
		"words in the chain": {"/cert", func(_ *serverTestAnswers, a *serverTestAnswer) { a.body = "hello\n" + a.body + "bye\n" }, "", 1},
		"another key": {"/cert", func(ca *serverTestAnswers, a *serverTestAnswer) {
			a.body = string(serverTestSign("mail.example.org", other, ca.now(), ca.now().Add(serverDay)))
		}, "does not match", 1},
		"a key in the chain": {"/cert", func(_ *serverTestAnswers, a *serverTestAnswer) { a.body += string(serverACMEEncode([]byte("x"), nil)) }, "in the chain", 1},
		"no chain":           {"/cert", func(_ *serverTestAnswers, a *serverTestAnswer) { a.body = "" }, "what the CA has signed", 1},
		"a chain of rubbish": {"/cert", func(_ *serverTestAnswers, a *serverTestAnswer) {
			a.body += string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}))
		}, "what the CA has signed", 1},
		"without end":  {"/cert", func(_ *serverTestAnswers, a *serverTestAnswer) { a.body = strings.Repeat("x", 2*serverACMEAnswer) }, "what the CA has signed", 1},
		"no directory": {"/dir", func(_ *serverTestAnswers, a *serverTestAnswer) { a.body = "<html>" }, "no CA's directory", 1},
		"another scheme": {"/dir", func(_ *serverTestAnswers, a *serverTestAnswer) {
			a.body = strings.ReplaceAll(a.body, "https:", "http:")
		}, "no address of a CA", 1},
		"a file": {"/order/1", func(_ *serverTestAnswers, a *serverTestAnswer) {
			a.body = strings.ReplaceAll(a.body, "https://ca.test/finalize", "file:///etc/passwd")
		}, "no address of a CA", 1},
		"a line in a URL": {"/order/1", func(_ *serverTestAnswers, a *serverTestAnswer) {
			a.body = strings.ReplaceAll(a.body, "ca.test/finalize", `ca.test/\r\nX: y`)
		}, "no address of a CA", 1},
		"no account": {"/account", func(_ *serverTestAnswers, a *serverTestAnswer) { delete(a.header, "Location") }, "by which address", 1},
		"nesting":    {"/authz", func(_ *serverTestAnswers, a *serverTestAnswer) { a.body = strings.Repeat("[", 100_000) }, "by http-01: ", 1},
		"no token":   {"/authz", func(_ *serverTestAnswers, a *serverTestAnswer) { a.body = strings.ReplaceAll(a.body, "to-ken", "") }, "is no token", 1},
		"a path as token": {"/authz", func(_ *serverTestAnswers, a *serverTestAnswer) {
			a.body = strings.ReplaceAll(a.body, "to-ken", "<b>/../x")
		}, "is no token", 1},
		"not this challenge": {"/authz", func(_ *serverTestAnswers, a *serverTestAnswer) {
			a.body = strings.ReplaceAll(a.body, "http-01", "dns-01")
		}, "does not offer it", 1},
		"never ready": {"/authz", func(_ *serverTestAnswers, a *serverTestAnswer) {
			a.body = strings.ReplaceAll(a.body, "valid", "pending")
		}, "deadline exceeded", 40},
		"never ready, slowly": {"/authz", func(_ *serverTestAnswers, a *serverTestAnswer) {
			a.header["Retry-After"], a.body = "50", strings.ReplaceAll(a.body, "valid", "pending")
		}, "deadline exceeded", 8},
		"an unheard-of state": {"/order/1", func(_ *serverTestAnswers, a *serverTestAnswer) { a.body = `{"status": "\u001b[2J"}` }, "the CA says only:  [2J", 1},
		"nonces are bad": {"/order", func(_ *serverTestAnswers, a *serverTestAnswer) {
			a.status, a.body = 400, `{"type": "urn:ietf:params:acme:error:badNonce"}`
		}, "badNonce", serverACMETries},
		"words for terminals": {"/order", func(_ *serverTestAnswers, a *serverTestAnswer) {
			a.status, a.body = 403, `{"type": "x", "detail": "\u001b[2Jno\nhint: rm -rf /\nlevel=ERROR `+strings.Repeat("y", 5000)+`"}`
		}, "403 x:  [2Jno; hint: rm -rf /; level=ERROR", 1},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				ca := &serverTestAnswers{}
				ca.alter = func(path string, a *serverTestAnswer) {
					if path == test.path {
						test.alter(ca, a)
					}
				}
				a := serverTestAsking(t, dir, ca, &log)
				a.begin()
				a.runs.Wait()
				if a.testHas() != (test.logged == "") || !strings.Contains(log.String(), test.logged) || strings.Count(log.String(), "\n") != 1 || log.Len() > 3000 {
					t.Errorf("taken: %v, log: %.3000s", a.testHas(), &log)
				}
				if n := ca.count(test.path); n > test.asked {
					t.Errorf("%s is asked %d times", test.path, n)
				}
				a.mu.Lock()
				if len(a.tokens) != 0 {
					t.Errorf("the answer is still there: %v", a.tokens)
				}
				a.mu.Unlock()
				if kept, err := serverReadACME(dir, "https://ca.test/dir", "mail.example.org"); err != nil || (kept != nil) != (test.logged == "") {
					t.Errorf("it is kept: %v, %v", kept != nil, err)
				}
				before := ca.count("/dir")
				a.begin()
				a.runs.Wait()
				if n := ca.count("/dir"); n != before {
					t.Error("it asks again at once")
				}
				a.end()
			})
		})
	}
}

// A CA that is away, or refuses, is asked ever less often, and as it says; a server that is started again does not begin anew.
func TestServerACMEBackoff(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		ca := &serverTestAnswers{}
		a := serverTestAsking(t, dir, ca, io.Discard)
		after := ""
		ca.alter = func(path string, a *serverTestAnswer) { a.status, a.header["Retry-After"], a.body = 503, after, "" }
		a.begin()
		for _, step := range []struct {
			time  time.Duration
			asked int // in all, by then
		}{{0, 1}, {59 * time.Minute, 1}, {2 * time.Minute, 2}, {time.Hour, 2}, {time.Hour, 3}, {24 * time.Hour, 6}, {10 * serverDay, 26}} {
			time.Sleep(step.time)
			synctest.Wait()
			if n := ca.count("/dir"); n != step.asked {
				t.Errorf("after %v more it has asked %d times, want %d", step.time, n, step.asked)
			}
		}
		must(t, a.use(*a.needs)) // a reload
		ca.alter = func(path string, a *serverTestAnswer) {
			if path == "/order" {
				a.status, a.header["Retry-After"], a.body = 429, ca.dateIn(100*time.Hour), ""
			}
		}
		before := ca.count("/dir")
		a.begin()
		time.Sleep(99 * time.Hour)
		synctest.Wait()
		if n := ca.count("/dir") - before; n != 1 {
			t.Errorf("it has asked %d times before the CA's date", n)
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if n := ca.count("/dir") - before; n != 2 {
			t.Errorf("it has asked %d times after the CA's date", n)
		}
		a.end()
	})
	note := serverACMENotePath(dir, "https://ca.test/dir", "mail.example.org")
	if text, err := os.ReadFile(note); err != nil || strings.Count(string(text), "\n") != 2 {
		t.Errorf("%v: %q", err, text)
	}
	synctest.Test(t, func(t *testing.T) {
		must(t, os.Chtimes(note, time.Now(), time.Now().Add(-time.Minute)))
		ca := &serverTestAnswers{}
		a := serverTestAsking(t, dir, ca, io.Discard)
		a.begin()
		time.Sleep(8 * time.Minute)
		synctest.Wait()
		if n := ca.count("/dir"); n != 0 {
			t.Errorf("started again, it asks at once")
		}
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		if !a.testHas() {
			t.Error("it does not ask later")
		}
		if _, err := os.Stat(note); !os.IsNotExist(err) {
			t.Errorf("the note: %v", err)
		}
		a.end()
	})
}

func (c *serverTestAnswers) dateIn(d time.Duration) string {
	return time.Now().Add(d).UTC().Format(http.TimeFormat)
}

// A certificate that is as good as over when it is given is used, and is no reason to ask the CA each hour.
func TestServerACMEShort(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		ca := &serverTestAnswers{old: 89 * serverDay}
		a := serverTestAsking(t, dir, ca, io.Discard)
		a.begin()
		a.runs.Wait()
		if !a.testHas() {
			t.Error("it is not taken")
		}
		for range 40 {
			time.Sleep(time.Minute)
			a.begin()
			a.runs.Wait()
		}
		if n := ca.count("/dir"); n != 1 {
			t.Errorf("it has asked %d times", n)
		}
		a.end()
	})
}

// With a clock that is no longer believed, it waits, and neither asks nor spins.
func TestServerACMEClockLost(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		ca := &serverTestAnswers{alter: func(path string, a *serverTestAnswer) { a.status = 503 }}
		a := serverTestAsking(t, dir, ca, io.Discard)
		a.begin()
		synctest.Wait()
		a.clk.mu.Lock()
		a.clk.wall = func() time.Time { return time.Unix(0, 0) }
		a.clk.mu.Unlock()
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		if n := ca.count("/dir"); n != 1 {
			t.Errorf("it has asked %d times", n)
		}
		a.end()
	})
}

// FuzzServerACME has a CA answer anything, to each question the same or the next of the pieces.
func FuzzServerACME(f *testing.F) {
	f.Add("HTTP/1.1 200 OK\r\nReplay-Nonce: n\r\nLocation: https://ca.test/1\r\n\r\n" +
		`{"newNonce": "https://a/n", "newAccount": "https://a/a", "newOrder": "https://a/o", "status": "valid", "authorizations": ["https://a/z"], "finalize": "https://a/f", "certificate": "https://a/c"}`)
	f.Add("HTTP/1.1 200 OK\r\nLocation: https://ca.test/1\r\n\r\n" +
		`{"newNonce": "https://a/n", "newAccount": "https://a/a", "newOrder": "https://a/o", "status": "pending", "authorizations": ["https://a/z"], "challenges": [{"type": "http-01", "token": "t", "url": "https://a/x"}]}` +
		"\x00HTTP/1.1 403 No\r\nRetry-After: 7\r\n\r\n{\"type\": \"x\", \"status\": 3}")
	f.Add("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"new\r\n")
	key, err := serverKeyEC()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		synctest.Test(t, func(t *testing.T) { serverFuzzACME(t, key.(*ecdsa.PrivateKey), strings.Split(text, "\x00")) })
	})
}

func serverFuzzACME(t *testing.T, key *ecdsa.PrivateKey, pieces []string) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	asked := 0
	c := &serverACMEClient{key: key, dial: func(context.Context, string) (net.Conn, error) {
		if asked++; asked > 20 {
			cancel() // a CA that lets one wait
		}
		piece := pieces[(asked-1)%len(pieces)]
		ours, theirs := net.Pipe()
		go func() {
			defer theirs.Close()
			request, err := http.ReadRequest(bufio.NewReader(theirs))
			if ctx.Err() != nil {
				return
			} else if err != nil {
				t.Errorf("what it sends: %v", err)
				return
			}
			if body, err := io.ReadAll(request.Body); ctx.Err() == nil && (err != nil || len(request.Header) > 4 || len(body) > 0 && !json.Valid(body)) {
				t.Errorf("%v, it sends %v %q", err, request.Header, body)
			}
			_, _ = io.WriteString(theirs, piece)
		}()
		return ours, nil
	}}
	a := &serverACME{tokens: map[string]string{}}
	err := c.discover(ctx, "https://ca.test/dir")
	if err == nil {
		var key, chain []byte
		if key, chain, err = a.order(ctx, c, "mail.example.org", serverACMEHTTP); err == nil {
			_, _, err = serverACMEAccept(key, chain, "mail.example.org", time.Now())
		}
	}
	if err == nil {
		t.Error("it takes a certificate for a key that nobody has seen")
	} else if said := (serverACMESaid{err}).Error(); strings.ContainsAny(said, "\n\r\x1b") || len(said) > serverACMESaidMost {
		t.Errorf("it says %q", said)
	}
	if len(a.tokens) > 0 {
		t.Errorf("answers are left: %v", a.tokens)
	}
}
