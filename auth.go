package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/text/unicode/norm"
)

// The auth room: users, their passwords, and guessers. It knows the users file and
// nothing of what a user may do.
//
// A login goes through these steps; each may end it:
//
//	name canonical -> remembered success? -> throttle -> one bcrypt -> remembered
//
// A remembered success comes first so that a client that polls neither costs a
// bcrypt nor waits because somebody else guesses at its user's password. An address
// that is slowed down itself does not get that short cut: it could tell wrong
// from right by the time of the answer and not wait for the rest.

var (
	errAuthFailed      = errors.New("no such user or wrong password")
	errAuthUnavailable = errors.New("passwords cannot be checked now") // wraps the reason; the client may try later

	errAuthName     = errors.New("not a user name") // wraps the reason
	errAuthPassword = errors.New("not a password")  // wraps the reason
	errAuthExists   = errors.New("the user exists already")
	errAuthNoUser   = errors.New("no such user")
)

const (
	// authCost is bcrypt's cost for new passwords; each step doubles the time. It is
	// below the 10 that servers with large cores take, since the smallest router we
	// run on is tens of times slower than those and its one core also has the mail
	// to serve. htpasswd and doveadm take 5.
	authCost = 8

	// authMaxCost is the largest cost accepted from the users file. Beyond it, one
	// login would keep a core for longer than any client waits.
	authMaxCost = 15

	authMaxPassword = 72 // bytes: bcrypt looks at no more
)

// authSettings is what checking passwords needs to know.
type authSettings struct {
	path       string   // the users file; it need not exist yet
	domains    []string // ours: a login of alice@domain is alice
	firstLogin string   // a file that the first success removes; "" if none
	secret     string   // a file with what only this box knows, made if need be; "": only this process does
	log        *slog.Logger

	now         func() time.Time // the time, zero while it is not believed; nil: time.Now
	clientCA    string           // a file: who signs for clients' certificates; "": they let nobody in
	clientEmail bool             // the user is named by a certificate's address, not by its subject
	oauth       authOAuthSettings
}

// auth checks passwords against the users file and slows down guessers. It is
// safe for concurrent use.
type auth struct {
	settings  authSettings
	key       [32]byte      // of the remembered successes; new in each process
	hashing   chan struct{} // one token for each bcrypt at a time
	throttle  *authThrottle
	welcome   atomic.Bool // settings.firstLogin is there no more
	secret    []byte      // what the file of that name has
	clients   *authCertificates
	tokenKeys *authWatched[*authKeys] // nil: tokens let nobody in
	judging   sync.Mutex              // held while an attempt that costs little is judged

	mu         sync.Mutex // guards what follows; never held while hashing
	file       authFile
	remembered map[string][]authSuccess // by user: what proves the last ones, the newest first
	checking   map[[sha256.Size]byte]*authCheck
}

// authCheck is a password check under way. Clients that come with the same user
// and password meanwhile, as a mail program does that opens five connections at
// once, wait for its outcome.
type authCheck struct {
	done chan struct{}
	app  string
	err  error
}

// authSuccess is a login that went well. A user's devices may each have a password of their own.
type authSuccess struct {
	proof [sha256.Size]byte
	app   string
}

const authSuccesses = 8 // of a user that are remembered

// authOpen reads the users file. A file that does not exist has no users.
func authOpen(settings authSettings) (*auth, error) {
	a := &auth{settings: settings, throttle: newAuthThrottle(),
		hashing:    make(chan struct{}, max(1, runtime.GOMAXPROCS(0)-1)), // a core stays for the mail
		remembered: map[string][]authSuccess{},
		checking:   map[[sha256.Size]byte]*authCheck{}}
	if _, err := rand.Read(a.key[:]); err != nil {
		return nil, fmt.Errorf("opening %s: %w", settings.path, err)
	}
	a.welcome.Store(settings.firstLogin == "")
	if a.settings.now == nil {
		a.settings.now = time.Now
	}
	var err error
	if a.secret, err = authReadSecret(settings.secret); err != nil {
		return nil, err
	}
	if settings.clientCA != "" {
		if a.clients, err = authOpenCertificates(settings.clientCA, settings.clientEmail, settings.log); err != nil {
			return nil, err
		}
	}
	if settings.oauth.keys != "" {
		if a.tokenKeys, err = authWatch(settings.oauth.keys, authReadKeys, settings.log); err != nil {
			return nil, err
		}
	}
	if err := a.load(); err != nil {
		return nil, err
	}
	return a, nil
}

const authSecretSize = 32

// authReadSecret reads the file, or makes it. What depends on it is then the same after a restart.
func authReadSecret(path string) ([]byte, error) {
	secret := make([]byte, authSecretSize)
	rand.Read(secret) // never fails
	if path == "" {
		return secret, nil
	}
	text, err := os.ReadFile(path)
	if known, hexErr := hex.DecodeString(strings.TrimSpace(string(text))); err == nil && hexErr == nil && len(known) == authSecretSize {
		return known, nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("reading this box's secret: %w", err)
	}
	if err := fileReplace(path, fmt.Appendf(nil, "%x\n", secret), 0o600); err != nil { // there was none, or a torn one
		return nil, fmt.Errorf("keeping this box's secret: %w", err)
	}
	return secret, nil
}

// load reads the users file if it has changed. The caller need not hold mu.
func (a *auth) load() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.file.load(a.settings.path)
}

// user gives what the users file says of a user; nil if nothing.
func (a *auth) user(name string) (*authUser, error) {
	if err := a.load(); err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.file.users[name], nil
}

// login checks a user's password, or an app password, and gives the user's canonical name, and which
// app password it was; "" for the user's own. It takes the same time for an unknown user, and waits while
// the address or the user is slowed down for failures.
func (a *auth) login(remote netip.Addr, user, password string) (name, app string, err error) {
	return a.enter(remote, user, password, true)
}

// loginOwn is login for the user's own password alone.
func (a *auth) loginOwn(remote netip.Addr, user, password string) (name string, err error) {
	name, _, err = a.enter(remote, user, password, false)
	return name, err
}

func (a *auth) enter(remote netip.Addr, user, password string, apps bool) (name, app string, err error) {
	name, err = authName(authWithoutDomain(user, a.settings.domains))
	if err != nil {
		name = "" // nobody has such a name; the check takes its time all the same
	}
	prepared, err := authPrepare(password)
	if err != nil {
		return "", "", fmt.Errorf("%w: %w", errAuthFailed, err)
	}
	u, err := a.user(name)
	if err != nil {
		return "", "", fmt.Errorf("%w: %w", errAuthUnavailable, err)
	}
	proof := a.proof(name, u, password, apps)
	if a.throttle.free(authThrottleKeys(remote)) {
		if app, ok := a.remembers(name, proof); ok {
			return name, app, nil
		}
	}
	try := authTry{remote: remote, name: name, user: u, password: password, prepared: prepared, proof: proof, apps: apps}
	if app, err = a.checkOnce(proof, func() (string, error) { return a.check(try) }); err != nil {
		return "", "", err
	}
	if now, err := a.user(name); err == nil && now.standing(app) != u.standing(app) { // changed while the check waited
		return "", "", errAuthFailed
	}
	a.remember(name, authSuccess{proof, app})
	a.removeFirstLogin(password)
	return name, app, nil
}

// authTry is one attempt to log in.
type authTry struct {
	remote             netip.Addr
	name               string
	user               *authUser // nil: there is none
	password, prepared string
	proof              [sha256.Size]byte
	apps               bool // app passwords will do
}

// proof is what a success is remembered by. It covers all that is stored for the user, so a
// change of any password forgets it.
func (a *auth) proof(name string, u *authUser, password string, apps bool) (sum [sha256.Size]byte) {
	mac := hmac.New(sha256.New, a.key[:])
	words := []string{name, password, fmt.Sprint(apps)}
	if u != nil {
		words = append(words, u.hash)
		for _, app := range u.apps {
			words = append(words, string(app.keys.stored))
		}
	}
	for _, s := range words {
		fmt.Fprintf(mac, "%d:%s", len(s), s)
	}
	mac.Sum(sum[:0])
	return sum
}

func (a *auth) remembers(name string, proof [sha256.Size]byte) (app string, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, known := range a.remembered[name] {
		if hmac.Equal(known.proof[:], proof[:]) {
			return known.app, true
		}
	}
	return "", false
}

func (a *auth) remember(name string, success authSuccess) {
	a.mu.Lock()
	defer a.mu.Unlock()
	known := slices.DeleteFunc(a.remembered[name], func(s authSuccess) bool { return s.app == success.app || s.proof == success.proof })
	known = slices.Insert(known, 0, success)
	a.remembered[name] = known[:min(len(known), authSuccesses)]
}

// checkOnce runs check, or waits for the outcome of the same check under way.
func (a *auth) checkOnce(proof [sha256.Size]byte, check func() (app string, err error)) (app string, err error) {
	a.mu.Lock()
	if c := a.checking[proof]; c != nil {
		a.mu.Unlock()
		<-c.done
		return c.app, c.err
	}
	c := &authCheck{done: make(chan struct{}), err: errAuthUnavailable}
	a.checking[proof] = c
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		delete(a.checking, proof)
		a.mu.Unlock()
		close(c.done)
	}()
	c.app, c.err = check()
	return c.app, c.err
}

// check makes the one bcrypt, after the wait that earlier failures have earned.
func (a *auth) check(try authTry) (app string, err error) {
	keys := authThrottleKeys(try.remote, try.name)
	for waited := false; ; waited = true {
		// Asked again with the token in hand: a hundred guesses that came at once
		// find the first ones' failures.
		a.hashing <- struct{}{}
		if waited || a.throttle.free(keys) {
			break
		}
		<-a.hashing
		if err := a.throttle.wait(keys); err != nil {
			return "", fmt.Errorf("%w: %w", errAuthUnavailable, err)
		}
	}
	defer func() { <-a.hashing }()

	a.mu.Lock()
	hash, someApps := authNobody(a.file.cost), a.file.apps
	a.mu.Unlock()
	if try.user != nil && try.user.hash != "" {
		hash = []byte(try.user.hash)
	}
	if try.apps && someApps {
		u := try.user
		if u == nil || len(u.apps) == 0 || u.locked { // it takes its time all the same
			u = &authUser{apps: []authApp{{keys: a.scramNobody(try.name)}}}
		}
		if app, ok := u.app(try.prepared); ok {
			return app, nil
		}
	}
	tries := []string{try.prepared}
	if try.prepared != try.password {
		tries = append(tries, try.password) // another program hashed it as it was typed
	}
	for _, t := range tries {
		if bcrypt.CompareHashAndPassword(hash, []byte(t)) == nil {
			return "", nil
		}
	}
	a.throttle.failed(keys, binary.LittleEndian.Uint64(try.proof[:]))
	return "", errAuthFailed
}

// attempt judges an attempt that costs little, after the wait that earlier failures have earned.
// what tells it from others: the same failure again is no further guess.
func (a *auth) attempt(remote netip.Addr, name string, what uint64, judge func() error) error {
	keys := authThrottleKeys(remote, name)
	for waited := false; ; waited = true {
		a.judging.Lock() // a hundred guesses that came at once find the first ones' failures
		if waited || a.throttle.free(keys) {
			break
		}
		a.judging.Unlock()
		if err := a.throttle.wait(keys); err != nil {
			return fmt.Errorf("%w: %w", errAuthUnavailable, err)
		}
	}
	defer a.judging.Unlock()
	err := judge()
	if errors.Is(err, errAuthFailed) {
		a.throttle.failed(keys, what)
	}
	return err
}

// authNobody is a hash of this cost that no password has.
func authNobody(cost int) []byte {
	return fmt.Appendf(nil, "$2y$%02d$%s", max(cost, bcrypt.MinCost), strings.Repeat(".", 53))
}

// removeFirstLogin removes the file with the first user's password once somebody has
// logged in with it, and so has read it. Others may log in before.
func (a *auth) removeFirstLogin(password string) {
	if a.welcome.Load() {
		return
	}
	text, err := os.ReadFile(a.settings.firstLogin)
	if err == nil {
		if !slices.Contains(strings.Fields(string(text)), password) {
			return
		}
		err = os.Remove(a.settings.firstLogin)
	}
	if errors.Is(err, os.ErrNotExist) {
		a.welcome.Store(true)
		return
	}
	a.welcome.Store(err == nil)
	logAuthFirstLogin(a.settings.log, a.settings.firstLogin, err)
}

// exists tells whether a user of this (canonical, lower-case) name may have mail.
// While the users file cannot be read it tells what was read last.
func (a *auth) exists(user string) bool { return a.known(user) != nil }

// known is user, but while the users file cannot be read what was read last.
func (a *auth) known(name string) *authUser {
	u, err := a.user(name)
	if err != nil {
		a.mu.Lock()
		defer a.mu.Unlock()
		u = a.file.users[name]
	}
	return u
}

// users lists all users, sorted.
func (a *auth) users() ([]string, error) {
	if err := a.load(); err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.file.names(), nil
}

// canonical gives a user's name as it is kept, from one that somebody has typed. errAuthName if nobody can have it.
func (a *auth) canonical(user string) (string, error) {
	return authName(authWithoutDomain(user, a.settings.domains))
}

// authWithoutDomain takes off a domain that is ours.
func authWithoutDomain(user string, domains []string) string {
	i := strings.LastIndexByte(user, '@')
	if i < 0 {
		return user
	}
	for _, domain := range domains {
		if strings.EqualFold(user[i+1:], domain) {
			return user[:i]
		}
	}
	return user
}

// authName gives the canonical form of a user's name, or errAuthName with the
// reason. The name becomes a directory's, a field of the users file and the local
// part of an address, so it holds nothing that means something in any of these.
func authName(user string) (string, error) {
	wrong := func(why string) (string, error) { return "", fmt.Errorf("%q is %w: %s", user, errAuthName, why) }
	name := norm.NFC.String(strings.ToLower(user))
	if name == "" || len(name) > 64 { // RFC 5321, section 4.5.3.1.1
		return wrong("it must have 1 to 64 bytes")
	}
	for i, r := range name {
		switch {
		case r == unicode.ReplacementChar:
			return wrong("it must be UTF-8")
		case unicode.In(r, unicode.L, unicode.M, unicode.Nd) || r == '_':
		case (r == '.' || r == '-') && i > 0:
		default:
			return wrong("only letters, digits and . _ - may be in it, and it begins with a letter or digit")
		}
	}
	if strings.HasSuffix(name, ".") || strings.Contains(name, "..") { // RFC 5321, section 4.1.2: Dot-string
		return wrong("a dot must stand between other characters")
	}
	return name, nil
}

// authPrepare is SASLprep (RFC 4013): the same password typed on two systems has
// the same bytes. It refuses what can be nobody's password.
func authPrepare(password string) (string, error) {
	wrong := func(why string) (string, error) { return "", fmt.Errorf("%w: %s", errAuthPassword, why) }
	if len(password) > authMaxPassword {
		return wrong(fmt.Sprintf("it has %d bytes, and bcrypt looks at %d only", len(password), authMaxPassword))
	}
	prepared := password
	if !authASCII(password) {
		prepared = norm.NFKC.String(strings.Map(func(r rune) rune {
			switch {
			case unicode.Is(unicode.Zs, r):
				return ' ' // RFC 4013, section 2.1
			case authIsNothing(r):
				return -1
			}
			return r
		}, password))
	}
	if len(prepared) > authMaxPassword {
		prepared = password
	}
	switch {
	case prepared == "":
		return wrong("it is empty")
	case strings.ContainsFunc(prepared, unicode.IsControl):
		return wrong("it has a control character in it") // RFC 4013, section 2.3
	}
	return prepared, nil
}

// authIsNothing tells whether a character is commonly mapped to nothing (RFC 3454, table B.1).
func authIsNothing(r rune) bool {
	switch r {
	case 0xad, 0x34f, 0x1806, 0x180b, 0x180c, 0x180d, 0x200b, 0x200c, 0x200d, 0x2060, 0xfeff:
		return true
	}
	return 0xfe00 <= r && r <= 0xfe0f // emoji have them
}

func authASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r > unicode.MaxASCII })
}

// authRandomPassword makes a password of 80 random bits that is easy to read and
// to type: no letter that looks like another or like a digit.
func authRandomPassword() string {
	const letters = "abcdefghijkmnpqrstuvwxyz23456789" // 32
	var b [16]byte
	rand.Read(b[:]) // never fails
	var out []byte
	for i, c := range b {
		if i > 0 && i%4 == 0 {
			out = append(out, '-')
		}
		out = append(out, letters[c%32])
	}
	return string(out)
}

// authPlaintext says where a password may be sent in clear ([limits]
// plaintext_auth).
type authPlaintext string

const (
	authPlaintextLoopback authPlaintext = "loopback"
	authPlaintextAlways   authPlaintext = "always"
	authPlaintextNever    authPlaintext = "never"
)

// allows tells whether a connection may carry a password: it is TLS, or is on this
// machine, or the policy does not care.
func (p authPlaintext) allows(tls, local bool) bool {
	return tls || p == authPlaintextAlways || p != authPlaintextNever && local
}

// authParsePlain reads the decoded message of SASL PLAIN (RFC 4616, section 2). An
// authorization identity other than the user is refused: nobody may act for another.
func authParsePlain(message []byte) (user, password string, err error) {
	parts := bytes.Split(message, []byte{0})
	if len(parts) != 3 || len(parts[1]) == 0 || len(parts[2]) == 0 {
		return "", "", errAuthSyntax
	}
	authzid, user, password := string(parts[0]), string(parts[1]), string(parts[2])
	if authzid != "" && authzid != user {
		return "", "", fmt.Errorf("%w: %s may not act for %s", errAuthFailed, user, authzid)
	}
	return user, password, nil
}

var errAuthSyntax = errors.New("not a SASL PLAIN message")
