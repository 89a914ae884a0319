package main

import (
	"bytes"
	"cmp"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/bcrypt"
)

// SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677): the client proves that it knows
// the password and never says it, and the server proves that it knows it, too. With PLUS,
// nobody can sit between them (RFC 9266).
//
//	client-first --scram--> server-first, client-final --finish--> server-final
//
// What is needed for it is written along with each new password. A users file that another
// program has made does not have it, so SCRAM is offered only while all users have it: a
// client takes the strongest that is offered, and could not log in.

// authScramBinding is the kind of channel binding that is known here (RFC 9266, section 2).
const authScramBinding = "tls-exporter"

// authScramForField binds the keys to the password beside them: where another program has
// changed that one, the keys are an old one's, and count no more.
const authScramForField = "scram.for="

// authScramFor names a stored password.
func authScramFor(hash string) string {
	sum := sha256.Sum256([]byte(hash))
	return hex.EncodeToString(sum[:8])
}

// authScramKeys is what is stored for a user.
type authScramKeys struct {
	iterations     int
	salt           []byte
	stored, server []byte // StoredKey, ServerKey
}

// scramKeys gives a user's keys, nil if there are none that count.
func (u *authUser) scramKeys() *authScramKeys {
	if u == nil || u.scramFor != authScramFor(u.hash) {
		return nil
	}
	for _, c := range u.credentials {
		if c.name+"=" != authScramField || c.scheme != "SCRAM-SHA-256" {
			continue
		}
		return authParseScram(c.value)
	}
	return nil
}

// authScramMost are the iterations that are believed: beyond, a login would keep a core for long.
const authScramMost = 100_000

// authParseScram reads "4096,salt,stored,server"; nil if it is something else.
func authParseScram(value string) *authScramKeys {
	parts := strings.Split(value, ",")
	if len(parts) != 4 {
		return nil
	}
	k := &authScramKeys{}
	var errs [4]error
	k.iterations, errs[0] = strconv.Atoi(parts[0])
	k.salt, errs[1] = base64.StdEncoding.DecodeString(parts[1])
	k.stored, errs[2] = base64.StdEncoding.DecodeString(parts[2])
	k.server, errs[3] = base64.StdEncoding.DecodeString(parts[3])
	if errors.Join(errs[:]...) != nil || len(k.salt) == 0 || len(k.stored) != sha256.Size || len(k.server) != sha256.Size ||
		k.iterations < authScramIterations || k.iterations > authScramMost { // RFC 7677, section 4
		return nil
	}
	return k
}

// offersScram tells whether every user can log in by SCRAM.
func (a *auth) offersScram() bool {
	if a.load() != nil {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.file.scram
}

// authScramExchange is a login under way.
type authScramExchange struct {
	a       *auth
	remote  netip.Addr
	name    string // canonical
	user    *authUser
	keys    *authScramKeys // made up if the user has none
	channel []byte         // what the client has to send as "c"
	nonce   string
	said    string // client-first-message-bare, and server-first-message
	app     string // the app password that was used; "": the user's own
	stays   func() bool
}

// errAuthScram is a message that is none of SCRAM's.
var errAuthScram = fmt.Errorf("%w of SCRAM", errAuthMessage)

// beginScram begins a login by SCRAM. At its end the server's proof is a challenge, which the client takes
// note of by an empty response.
func (a *auth) beginScram(c authClient, plus bool) *authExchange {
	x := &authExchange{}
	x.step = func(first []byte) ([]byte, error) {
		scram, answer, err := a.scram(c.remote, first, c.binding, plus)
		if err != nil {
			return nil, err
		}
		x.user = scram.said[2:strings.IndexByte(scram.said, ',')] // for the log, as the client has it
		x.step = func(final []byte) ([]byte, error) {
			name, answer, err := scram.finish(final)
			if err != nil {
				return nil, err
			}
			x.step = func(empty []byte) ([]byte, error) {
				if len(empty) > 0 {
					return nil, fmt.Errorf("%w: nothing was left to say", errAuthScram)
				}
				if !scram.stays() { // the client may have let time pass
					return nil, errAuthFailed
				}
				x.name, x.app = name, scram.app
				return nil, nil
			}
			return answer, nil
		}
		return answer, nil
	}
	return x
}

// scram reads the client's first message and gives the answer. binding is what channel
// binding is about, nil where it cannot be had; plus tells that the client has chosen the
// mechanism with it. errAuthScram, errAuthFailed, errAuthUnavailable.
func (a *auth) scram(remote netip.Addr, first, binding []byte, plus bool) (x *authScramExchange, answer []byte, err error) {
	parts := strings.SplitN(string(first), ",", 3) // gs2-cbind-flag, authzid, client-first-message-bare
	if len(parts) != 3 {
		return nil, nil, errAuthScram
	}
	header := parts[0] + "," + parts[1] + ","
	x = &authScramExchange{a: a, remote: remote, channel: []byte(header)}
	switch {
	case strings.HasPrefix(parts[0], "p="):
		if parts[0] != "p="+authScramBinding || !plus || binding == nil {
			return nil, nil, fmt.Errorf("%w: channel binding is %s here", errAuthScram, authScramBinding)
		}
		x.channel = append(x.channel, binding...)
	case plus:
		return nil, nil, fmt.Errorf("%w: PLUS is with channel binding", errAuthScram)
	case parts[0] == "y" && binding != nil: // somebody has hidden it from the client (RFC 5802, section 6)
		return nil, nil, fmt.Errorf("%w: the client does not know that channel binding is offered", errAuthFailed)
	case parts[0] != "n" && parts[0] != "y":
		return nil, nil, errAuthScram
	}
	bare := strings.Split(parts[2], ",")
	if len(bare) < 2 || !strings.HasPrefix(bare[0], "n=") || !strings.HasPrefix(bare[1], "r=") || !authScramIsNonce(bare[1][2:]) {
		return nil, nil, errAuthScram // a mandatory extension, "m=", among them
	}
	user, ok := authScramName(bare[0][2:])
	if !ok {
		return nil, nil, errAuthScram
	}
	if err := a.actsFor(parts[1], user); err != nil {
		return nil, nil, err
	}
	if x.name, err = authName(authWithoutDomain(user, a.settings.domains)); err != nil {
		x.name = ""
	}
	if x.user, err = a.user(x.name); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errAuthUnavailable, err)
	}
	nobody := a.scramNobody(cmp.Or(x.name, user)) // made in any case: it takes its time
	if x.keys = x.user.scramKeys(); x.keys == nil {
		x.keys = nobody
	}
	random := make([]byte, 18)
	rand.Read(random) // never fails
	x.nonce = bare[1][2:] + base64.StdEncoding.EncodeToString(random)
	server := fmt.Sprintf("r=%s,s=%s,i=%d", x.nonce, base64.StdEncoding.EncodeToString(x.keys.salt), x.keys.iterations)
	x.said = parts[2] + "," + server
	return x, []byte(server), nil
}

// actsFor refuses an authorization identity, given as "a=" and a name or as nothing, that is not the user: nobody may
// act for another.
func (a *auth) actsFor(authzid, user string) error {
	if authzid == "" {
		return nil
	}
	encoded, ok := strings.CutPrefix(authzid, "a=")
	other, okName := authScramName(encoded)
	if !ok || !okName {
		return errAuthScram
	}
	if !strings.EqualFold(authWithoutDomain(other, a.settings.domains), authWithoutDomain(user, a.settings.domains)) {
		return fmt.Errorf("%w: %s may not act for %s", errAuthFailed, user, other)
	}
	return nil
}

// authScramName undoes what keeps commas out of a name, which has at least one character and no NUL (RFC 5802,
// sections 5.1 and 7).
func authScramName(s string) (name string, ok bool) {
	name = strings.NewReplacer("=2C", ",", "=3D", "=").Replace(s)
	return name, s != "" && !strings.ContainsRune(s, 0) && utf8.ValidString(s) &&
		strings.Count(s, "=") == strings.Count(s, "=2C")+strings.Count(s, "=3D")
}

// authScramIsNonce tells whether a nonce is printable ASCII without commas (RFC 5802, section 7).
func authScramIsNonce(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == ',' })
}

// authScramBase64 reads a value, which has one form only.
func authScramBase64(s string) ([]byte, error) {
	if strings.ContainsAny(s, "\r\n") { // which the decoder passes over
		return nil, errAuthScram
	}
	return base64.StdEncoding.Strict().DecodeString(s)
}

// authScramKind is what can be seen of a user's keys.
type authScramKind struct{ salt, iterations int }

// scramNobody gives keys that no password has, always the same ones for a name, and like those that others have:
// who asks cannot tell a user from nobody, before a restart and after it.
func (a *auth) scramNobody(user string) *authScramKeys {
	kind := authScramKind{authScramSalt, authScramIterations}
	made := authScramSign(a.secret, user)
	a.mu.Lock()
	if n := len(a.file.kinds); n > 0 {
		kind = a.file.kinds[binary.LittleEndian.Uint64(made[sha256.Size-8:])%uint64(n)]
	}
	a.mu.Unlock()
	k := &authScramKeys{iterations: kind.iterations, stored: make([]byte, sha256.Size), server: make([]byte, sha256.Size)}
	for next := made; len(k.salt) < kind.salt; next = authScramSign(a.secret, string(next)) {
		k.salt = append(k.salt, next...)
	}
	k.salt = k.salt[:kind.salt]
	return k
}

func authScramSign(key []byte, what string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(what))
	return mac.Sum(nil)
}

// finish reads the client's final message and gives the user's name and the answer, which
// proves to the client that this server knows the password.
func (x *authScramExchange) finish(final []byte) (name string, answer []byte, err error) {
	without, proofText, ok := strings.Cut(string(final), ",p=")
	proof, err := authScramBase64(proofText)
	if !ok || err != nil || len(proof) != sha256.Size {
		return "", nil, errAuthScram
	}
	fields := strings.Split(without, ",")
	if len(fields) < 2 || !strings.HasPrefix(fields[0], "c=") || fields[1] != "r="+x.nonce {
		return "", nil, errAuthScram
	}
	channel, err := authScramBase64(fields[0][2:])
	if err != nil {
		return "", nil, errAuthScram
	}
	message := x.said + "," + without
	var keys *authScramKeys
	err = x.a.attempt(x.remote, x.name, binary.LittleEndian.Uint64(proof), func() error {
		keys, x.app = x.proven(message, proof)
		now, err := x.a.user(x.name)
		switch {
		case err != nil:
			return fmt.Errorf("%w: %w", errAuthUnavailable, err)
		case keys == nil || !bytes.Equal(channel, x.channel):
			return errAuthFailed
		case x.user != nil && (now == nil || now.hash != x.user.hash || x.app != "" && !now.hasApp(x.app)): // deleted, or another password, while it went on
			return errAuthFailed
		}
		return nil
	})
	if err != nil {
		return "", nil, err
	}
	x.stays = x.a.stays(x.name, x.app)
	if x.app == "" {
		x.a.removeFirstLoginOf(x.user)
	}
	signature := authScramSign(keys.server, message)
	return x.name, []byte("v=" + base64.StdEncoding.EncodeToString(signature)), nil
}

// proven gives the keys whose password the client has proved to know: the user's, or those of an
// app password, which has the same salt.
func (x *authScramExchange) proven(message string, proof []byte) (keys *authScramKeys, app string) {
	candidates := []authApp{{keys: x.keys}}
	if x.user.scramKeys() != nil {
		candidates = append(candidates, x.user.apps...)
	}
	for _, c := range candidates {
		clientKey := authScramSign(c.keys.stored, message)
		for i := range clientKey {
			clientKey[i] ^= proof[i]
		}
		stored := sha256.Sum256(clientKey)
		if c.keys.sameSalt(x.keys) && hmac.Equal(stored[:], c.keys.stored) {
			return c.keys, c.name
		}
	}
	return nil, ""
}

// removeFirstLoginOf is removeFirstLogin where the password was proved and not said.
func (a *auth) removeFirstLoginOf(u *authUser) {
	if a.welcome.Load() {
		return
	}
	text, err := os.ReadFile(a.settings.firstLogin)
	if err != nil {
		a.removeFirstLogin("")
		return
	}
	words := strings.Fields(string(text))
	at := slices.IndexFunc(words, func(word string) bool {
		return len(word) <= authMaxPassword && bcrypt.CompareHashAndPassword([]byte(u.hash), []byte(word)) == nil
	})
	if at >= 0 {
		a.removeFirstLogin(words[at])
	}
}
