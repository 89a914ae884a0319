package main

import (
	"bytes"
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
		parts := strings.Split(c.value, ",")
		if len(parts) != 4 {
			return nil
		}
		k := &authScramKeys{}
		var errs [4]error
		k.iterations, errs[0] = strconv.Atoi(parts[0])
		k.salt, errs[1] = base64.StdEncoding.DecodeString(parts[1])
		k.stored, errs[2] = base64.StdEncoding.DecodeString(parts[2])
		k.server, errs[3] = base64.StdEncoding.DecodeString(parts[3])
		if errors.Join(errs[:]...) != nil || len(k.stored) != sha256.Size || len(k.server) != sha256.Size {
			return nil
		}
		return k
	}
	return nil
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
}

// errAuthScram is a message that is none of SCRAM's.
var errAuthScram = errors.New("not a message of SCRAM")

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
	if len(bare) < 2 || !strings.HasPrefix(bare[0], "n=") || !strings.HasPrefix(bare[1], "r=") || len(bare[1]) < 3 {
		return nil, nil, errAuthScram // a mandatory extension, "m=", among them
	}
	user, ok := authScramName(bare[0][2:])
	actsFor, okFor := authScramName(strings.TrimPrefix(parts[1], "a="))
	if !ok || !okFor || parts[1] != "" && !strings.HasPrefix(parts[1], "a=") {
		return nil, nil, errAuthScram
	}
	if actsFor != "" && actsFor != user {
		return nil, nil, fmt.Errorf("%w: %s may not act for %s", errAuthFailed, user, actsFor)
	}
	if x.name, err = authName(authWithoutDomain(user, a.settings.domains)); err != nil {
		x.name = ""
	}
	if x.user, err = a.user(x.name); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errAuthUnavailable, err)
	}
	if x.keys = x.user.scramKeys(); x.keys == nil {
		x.keys = a.scramNobody(user)
	}
	random := make([]byte, 18)
	rand.Read(random) // never fails
	x.nonce = bare[1][2:] + base64.StdEncoding.EncodeToString(random)
	server := fmt.Sprintf("r=%s,s=%s,i=%d", x.nonce, base64.StdEncoding.EncodeToString(x.keys.salt), x.keys.iterations)
	x.said = parts[2] + "," + server
	return x, []byte(server), nil
}

// authScramName undoes what keeps commas out of a name (RFC 5802, section 5.1).
func authScramName(s string) (name string, ok bool) {
	name = strings.NewReplacer("=2C", ",", "=3D", "=").Replace(s)
	return name, strings.Count(s, "=") == strings.Count(s, "=2C")+strings.Count(s, "=3D")
}

// scramNobody gives keys that no password has, always the same ones for a name.
func (a *auth) scramNobody(user string) *authScramKeys {
	k := &authScramKeys{iterations: authScramIterations, stored: make([]byte, sha256.Size), server: make([]byte, sha256.Size)}
	k.salt = authScramSign(a.key[:], user)[:16]
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
	proof, err := base64.StdEncoding.DecodeString(proofText)
	if !ok || err != nil || len(proof) != sha256.Size {
		return "", nil, errAuthScram
	}
	fields := strings.Split(without, ",")
	if len(fields) < 2 || !strings.HasPrefix(fields[0], "c=") || fields[1] != "r="+x.nonce {
		return "", nil, errAuthScram
	}
	channel, err := base64.StdEncoding.DecodeString(fields[0][2:])
	if err != nil {
		return "", nil, errAuthScram
	}
	keys := authThrottleKeys(x.remote, x.name)
	if !x.a.throttle.free(keys) {
		if err := x.a.throttle.wait(keys); err != nil {
			return "", nil, fmt.Errorf("%w: %w", errAuthUnavailable, err)
		}
	}
	message := x.said + "," + without
	clientKey := authScramSign(x.keys.stored, message)
	for i := range clientKey {
		clientKey[i] ^= proof[i]
	}
	stored := sha256.Sum256(clientKey)
	if !hmac.Equal(stored[:], x.keys.stored) || !bytes.Equal(channel, x.channel) {
		x.a.throttle.failed(keys, binary.LittleEndian.Uint64(proof))
		return "", nil, errAuthFailed
	}
	x.a.removeFirstLoginOf(x.user)
	signature := authScramSign(x.keys.server, message)
	return x.name, []byte("v=" + base64.StdEncoding.EncodeToString(signature)), nil
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
