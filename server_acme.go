package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
)

// serverACME has certificates for the names of [tls] acme, from a CA that strangers trust. That CA
// looks whether the name leads to this box, and signs (RFC 8555). Nobody who connects waits for it:
// until there is a certificate, the name is shown our own.
//
//	none --order--> challenge --the CA has looked--> NAME.pem --a third of its time, or 30 days, before its end--> order
//	          \________ failed: told, and tried again in an hour, then ever later ________/
type serverACME struct {
	dir string // of the server's own
	clk *serverClock
	log *slog.Logger

	dial func(ctx context.Context, address string) (net.Conn, error) // to a CA; tests have another

	ctx  context.Context // ends with the server
	stop context.CancelFunc
	runs sync.WaitGroup

	mu      sync.Mutex                  // guards all below; never held while the CA is asked
	needs   *serverACMENeeds            // replaced whole
	certs   map[string]*tls.Certificate // by name
	failed  map[string]serverACMEFailure
	tokens  map[string]string      // the answers to http-01 that the CA is to find, by token
	shown   map[string]*tls.Config // and those to tls-alpn-01, by name
	running bool
	again   bool        // something has changed since the run began
	timer   *time.Timer // for the next try of what has failed; nil: nothing has
}

// serverACMEFailure is how often in a row a certificate was not to be had, and when it is tried again.
type serverACMEFailure struct {
	times int
	again time.Time
}

// serverACMENeeds is what certificates are wanted, and how the CA can be answered.
type serverACMENeeds struct {
	names            []string
	directory, email string
	challenges       []string // most promising first
}

const (
	serverACMEHTTP  = "http-01"     // RFC 8555, section 8.3
	serverACMEALPN  = "tls-alpn-01" // RFC 8737, section 3
	serverACMERenew = 30 * serverDay
	serverACMETime  = 5 * time.Minute // for one certificate

	serverACMERetry     = time.Hour // after a failure; twice as long after the next
	serverACMERetryMost = 12 * time.Hour
	serverACMEWaitMost  = 7 * serverDay    // that a CA may ask for
	serverACMERestart   = 10 * time.Minute // between two tries of a server that is started again and again
)

func serverACMESettings(c *config) serverACMENeeds {
	needs := serverACMENeeds{directory: c.tls.acmeDirectory, email: c.tls.acmeEmail}
	for _, name := range c.tls.acme {
		if name = strings.ToLower(name); !slices.Contains(needs.names, name) {
			needs.names = append(needs.names, name)
		}
	}
	// The CA comes to the ports 80 and 443 alone; where we listen on others, somebody may lead it there.
	if len(c.listen.http) > 0 {
		needs.challenges = append(needs.challenges, serverACMEHTTP)
	}
	if len(c.listen.https) > 0 {
		needs.challenges = append(needs.challenges, serverACMEALPN)
	}
	if serverFirstPort(c.listen.http) != "80" && serverFirstPort(c.listen.https) == "443" {
		slices.Reverse(needs.challenges)
	}
	return needs
}

func serverOpenACME(dir string, clk *serverClock, log *slog.Logger) *serverACME {
	a := &serverACME{dir: dir, clk: clk, log: log, needs: &serverACMENeeds{}, certs: map[string]*tls.Certificate{}, failed: map[string]serverACMEFailure{},
		tokens: map[string]string{}, shown: map[string]*tls.Config{}}
	a.ctx, a.stop = context.WithCancel(context.Background())
	dialer := tls.Dialer{Config: &tls.Config{MinVersion: tls.VersionTLS12}}
	a.dial = func(ctx context.Context, address string) (net.Conn, error) {
		return dialer.DialContext(ctx, "tcp", address)
	}
	return a
}

// serverACMEPath is the directory of what one CA has given: its name shows which.
func serverACMEPath(dir, directory string) string {
	u, err := url.Parse(directory) // which configCheck has seen to
	if err != nil {
		u = &url.URL{}
	}
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' {
			return r
		}
		return '-'
	}, u.Host+u.Path)
	return filepath.Join(dir, "acme", "ca-"+name[:min(len(name), 200)])
}

// use changes to what a configuration wants. Certificates that cannot be read are an error: to get
// them anew at each start would use up what the CA gives to one name.
func (a *serverACME) use(needs serverACMENeeds) error {
	certs := map[string]*tls.Certificate{}
	for _, name := range needs.names {
		cert, err := serverReadACME(a.dir, needs.directory, name)
		if err != nil {
			return err
		} else if cert != nil {
			certs[name] = cert
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	begins := len(a.needs.names) == 0
	a.needs, a.certs = &needs, certs
	clear(a.failed) // the new configuration may be what was missing
	for _, name := range needs.names {
		info, err := os.Stat(serverACMENotePath(a.dir, needs.directory, name))
		if err != nil || !begins { // there is none, mostly
			continue
		}
		if ago := time.Since(info.ModTime()); ago >= 0 && ago < serverACMERestart {
			a.failed[name] = serverACMEFailure{again: time.Now().Add(serverACMERestart - ago)}
		}
	}
	return nil
}

// serverACMENotePath is where it says why a certificate is missing.
func serverACMENotePath(dir, directory, name string) string {
	return filepath.Join(serverACMEPath(dir, directory), name+".failed")
}

// serverReadACME reads a certificate, nil if there is none.
func serverReadACME(dir, directory, name string) (*tls.Certificate, error) {
	path := filepath.Join(serverACMEPath(dir, directory), name+".pem")
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, serverPathError("reading", path, err)
	}
	pair, err := tls.X509KeyPair(text, text)
	if err != nil || pair.Leaf.VerifyHostname(name) != nil {
		return nil, nil // a torn file is as good as none
	}
	return &pair, nil
}

// get gives the certificate for the name that a client asks for; nil: there is none, or it has ended.
func (a *serverACME) get(hello *tls.ClientHelloInfo) *tls.Certificate {
	a.mu.Lock()
	defer a.mu.Unlock()
	cert := a.certs[strings.ToLower(hello.ServerName)]
	if cert == nil || time.Now().After(cert.Leaf.NotAfter) && !a.clk.now().IsZero() {
		return nil
	}
	return cert
}

// challenge gives what the CA is shown when it looks at a name by TLS, nil to all others. It speaks
// no other protocol, and says so (RFC 8737, section 3).
func (a *serverACME) challenge(hello *tls.ClientHelloInfo) *tls.Config {
	if len(hello.SupportedProtos) != 1 || hello.SupportedProtos[0] != connChallenge {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.shown[strings.ToLower(hello.ServerName)]
}

// token gives what the CA is to find at a token's path; "": nobody has asked for that.
func (a *serverACME) token(token string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.tokens[token]
}

// begin gets the certificates that are missing or end soon, unless that goes on already. It does not wait.
func (a *serverACME) begin() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.again = true
	if a.running || a.ctx.Err() != nil || len(a.needs.names) == 0 {
		return
	}
	a.running = true
	a.runs.Go(a.run)
}

// end stops and waits: a request to the CA ends at once.
func (a *serverACME) end() {
	a.mu.Lock()
	a.stop() // so that begin does not add to runs from here on
	if a.timer != nil {
		a.timer.Stop()
	}
	a.mu.Unlock()
	a.runs.Wait()
}

func (a *serverACME) run() {
	for {
		a.mu.Lock()
		if !a.again || a.ctx.Err() != nil {
			a.running = false
			a.wakeLater()
			a.mu.Unlock()
			return
		}
		a.again = false
		needs, missing := a.needs, a.missing()
		a.mu.Unlock()
		for _, name := range missing {
			a.fetch(needs, name)
		}
	}
}

// wakeLater sees to it that what has failed is tried again in time; a.mu is held.
func (a *serverACME) wakeLater() {
	var next time.Time
	for _, f := range a.failed {
		if next.IsZero() || f.again.Before(next) {
			next = f.again
		}
	}
	if a.timer != nil {
		a.timer.Stop()
	}
	if a.timer = nil; !next.IsZero() && a.ctx.Err() == nil {
		a.timer = time.AfterFunc(max(time.Until(next), time.Minute), a.begin) // it may be due and not missing: the clock may be lost
	}
}

// missing are the names for which a certificate is to be got now; a.mu is held. None while the
// clock is not believed: neither the CA's certificate nor the end of ours could be judged.
func (a *serverACME) missing() (names []string) {
	now := a.clk.now()
	if now.IsZero() {
		return nil
	}
	for _, name := range a.needs.names {
		if time.Now().Before(a.failed[name].again) {
			continue
		}
		if cert := a.certs[name]; cert == nil || now.After(serverACMEEnds(cert.Leaf)) {
			names = append(names, name)
		}
	}
	return names
}

// serverACMEEnds is when a certificate is to be renewed.
func serverACMEEnds(leaf *x509.Certificate) time.Time {
	return leaf.NotAfter.Add(-min(serverACMERenew, leaf.NotAfter.Sub(leaf.NotBefore)/3))
}

// fetch gets one certificate, and tells how that went.
func (a *serverACME) fetch(needs *serverACMENeeds, name string) {
	ctx, cancel := context.WithTimeout(a.ctx, serverACMETime)
	defer cancel()
	cert, err := a.obtain(ctx, needs, name)
	if err != nil && a.ctx.Err() != nil {
		return // the server stops
	}
	a.mu.Lock()
	failure := a.failed[name].next(err)
	if cert == nil {
		if needs == a.needs {
			a.failed[name] = failure
		}
	} else if needs.directory == a.needs.directory && slices.Contains(a.needs.names, name) {
		a.certs[name] = cert
		delete(a.failed, name)
		if a.clk.now().After(serverACMEEnds(cert.Leaf)) { // or it would be asked for again at once
			a.failed[name] = failure
		}
	}
	a.mu.Unlock()
	note := serverACMENotePath(a.dir, needs.directory, name)
	if err == nil {
		logServerACME(a.log, name, cert.Leaf.NotAfter)
		err = os.Remove(note)
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	} else {
		err = serverHint{serverACMESaid{fmt.Errorf("getting a certificate for %s from %s: %w", name, needs.directory, err)}, serverACMEHint(name, err, failure.again)}
		logServerACMEFailed(a.log, name, err)
		err = serverACMENote(note, err)
	}
	if err != nil { // check cannot tell it then, and nothing else is lost
		logServerCertBad(a.log, note, err)
	}
}

// next is a further failure. The CA may say how long it wants to be left alone.
func (f serverACMEFailure) next(err error) serverACMEFailure {
	wait := min(serverACMERetry<<min(f.times, 10), serverACMERetryMost)
	var problem *serverACMEProblem
	if errors.As(err, &problem) {
		wait = max(wait, min(problem.after, serverACMEWaitMost))
	}
	return serverACMEFailure{f.times + 1, time.Now().Add(wait)}
}

// serverACMESaid is an error with words of the CA, which may say anything, made fit for a line of the log.
type serverACMESaid struct{ error }

const serverACMESaidMost = 1000 // bytes

func (e serverACMESaid) Error() string {
	text := strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ReplaceAll(e.error.Error(), "\n", "; "))
	return strings.ToValidUTF8(text[:min(len(text), serverACMESaidMost)], "")
}

func (e serverACMESaid) Unwrap() error { return e.error }

// serverACMENote leaves for letterbox check why a certificate is missing.
func serverACMENote(path string, err error) error {
	if err := fileMakeAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return fileReplace(path, []byte(err.Error()+"\n"), 0o600)
}

// serverACMEHint says what to do about a failure.
func serverACMEHint(name string, err error, again time.Time) string {
	var network *net.OpError
	var looked serverACMELooked
	var unknown x509.UnknownAuthorityError
	var problem *serverACMEProblem
	later := "it is tried again at " + again.Format("15:04 on 2006-01-02") + ", and after a reload (SIGHUP)"
	switch {
	case errors.Is(err, fs.ErrPermission):
		return "the server's own directory, " + serverDirectory + " in [storage] path, must be the server's"
	case errors.As(err, &unknown):
		return "this box does not know the CA of that address: install the package ca-certificates"
	case errors.As(err, &network):
		return "is this box on the Internet, and is [tls] acme_directory right?"
	case errors.As(err, &problem) && problem.Status == 429:
		return "the CA wants to be asked less often; " + later
	case errors.As(err, &looked):
		return "the world must reach " + name + " at this box: port 80 for [listen] http, or port 443 for [listen] https; " + later
	}
	return later
}

// obtain gets a certificate by the first challenge that works, and keeps it. One that could not be kept is
// used all the same.
func (a *serverACME) obtain(ctx context.Context, needs *serverACMENeeds, name string) (*tls.Certificate, error) {
	dir := serverACMEPath(a.dir, needs.directory)
	client, err := serverACMERegister(ctx, a.dial, dir, needs)
	if err != nil {
		return nil, err
	}
	var failed []error
	for _, kind := range needs.challenges {
		key, chain, err := a.order(ctx, client, name, kind)
		if err != nil {
			failed = append(failed, fmt.Errorf("by %s: %w", kind, err))
			continue
		}
		pair, text, err := serverACMEAccept(key, chain, name, a.clk.now())
		if err != nil {
			return nil, fmt.Errorf("what the CA has signed: %w", err)
		}
		path := filepath.Join(dir, name+".pem") // key and chain in one file: there is never one without the other
		if err := fileReplace(path, text, 0o600); err != nil {
			logServerCertBad(a.log, path, serverPathError("writing", path, err))
		}
		return pair, nil
	}
	return nil, errors.Join(failed...)
}

// serverACMEAccept looks at the chain in PEM that a CA gives for a key and a name (RFC 8555, section 9.1), and gives the
// text to be kept: nothing but certificates is taken over.
func serverACMEAccept(key, chain []byte, name string, now time.Time) (*tls.Certificate, []byte, error) {
	var ders [][]byte
	for block, rest := pem.Decode(chain); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			return nil, nil, fmt.Errorf("there is a %.40q in the chain", block.Type)
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return nil, nil, err
		}
		ders = append(ders, block.Bytes)
	}
	text := serverACMEEncode(key, ders)
	pair, err := tls.X509KeyPair(text, text)
	if err != nil {
		return nil, nil, err
	}
	if err := pair.Leaf.VerifyHostname(name); err != nil {
		return nil, nil, err
	}
	if now.After(pair.Leaf.NotAfter) {
		return nil, nil, fmt.Errorf("it has ended on %s", pair.Leaf.NotAfter.Format(time.DateOnly))
	}
	return &pair, text, nil
}

// serverCheckACME says until when the certificate for a name is good, or what is in its way.
func serverCheckACME(c *config, name string, now time.Time) (said string, err error) {
	dir := filepath.Join(c.storage.path, serverDirectory)
	name = strings.ToLower(name)
	cert, err := serverReadACME(dir, c.tls.acmeDirectory, name)
	if err != nil {
		return "", err
	}
	note := serverACMENotePath(dir, c.tls.acmeDirectory, name)
	text, err := os.ReadFile(note)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", serverPathError("reading", note, err)
	}
	failed, hint, _ := strings.Cut(strings.TrimSpace(string(text)), "\nhint: ")
	switch {
	case cert == nil && failed != "":
		return "", serverHint{fmt.Errorf("there is no certificate for %s; last: %s", name, failed), hint}
	case cert == nil:
		return fmt.Sprintf("one for %s is got from %s when the server runs", name, c.tls.acmeDirectory), nil
	case now.After(cert.Leaf.NotAfter):
		return "", serverHint{fmt.Errorf("the certificate for %s has ended on %s; last: %s", name, cert.Leaf.NotAfter.Format(time.DateOnly), failed), hint}
	case failed != "":
		return "", serverHint{fmt.Errorf("the certificate for %s ends on %s and cannot be renewed; last: %s", name, cert.Leaf.NotAfter.Format(time.DateOnly), failed), hint}
	}
	return fmt.Sprintf("the one for %s is good until %s", name, cert.Leaf.NotAfter.Format(time.DateOnly)), nil
}

// serverACMEEncode is a key and a chain in one text.
func serverACMEEncode(key []byte, chain [][]byte) []byte {
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
	for _, der := range chain {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return text
}
