package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// OAUTHBEARER (RFC 7628): a login by a token that an authorization server has given to the client.
//
//	client-first --token good--> done
//	             --otherwise--> what is wrong, in JSON --anything--> refused

// authOAuthSettings says which tokens let in.
type authOAuthSettings struct {
	keys          string // a file; "": none do
	issuer        string
	audience      []string // one of them a token must be for
	user          string   // the claim that names the user
	scope         string   // that a token must have; "": any
	configuration string   // where clients read how to get a token; "" is the issuer's usual place
}

// authBearer is the client's message, taken apart.
type authBearer struct {
	actsFor string // "": the token's user
	host    string // as the client knows this box; "": it does not say
	token   string // "": the client asks what is needed
}

// authParseBearer reads RFC 7628, section 3.1. The GS2 header is RFC 5801's, section 4, without channel binding.
func authParseBearer(message []byte) (b authBearer, err error) {
	wrong := func(why string) (authBearer, error) {
		return authBearer{}, fmt.Errorf("%w of OAUTHBEARER: %s", errAuthMessage, why)
	}
	header, rest, ok := bytes.Cut(message, []byte("\x01"))
	parts := strings.Split(string(header), ",")
	if !ok || len(parts) != 3 || parts[0] != "n" && parts[0] != "y" || parts[2] != "" {
		return wrong("it begins with n, and a name, and a control-A")
	}
	if parts[1] != "" {
		encoded, isName := strings.CutPrefix(parts[1], "a=")
		if b.actsFor, ok = authScramName(encoded); !ok || !isName || len(b.actsFor) > authMaxIdentity {
			return wrong("the name is none")
		}
	}
	if rest, ok = bytes.CutSuffix(rest, []byte("\x01")); !ok {
		return wrong("its end is missing")
	}
	auth, given := "", false
	for len(rest) > 0 {
		var pair []byte
		if pair, rest, ok = bytes.Cut(rest, []byte("\x01")); !ok {
			return wrong("the end of a value is missing")
		}
		key, value, isPair := strings.Cut(string(pair), "=")
		if !isPair || !authIsAlpha(key) || strings.ContainsFunc(value, authIsNoValue) {
			return wrong("there is something that is no key and value")
		}
		switch { // other keys are ignored
		case key == "host":
			b.host = value
		case key == "auth" && given:
			return wrong("auth is there twice")
		case key == "auth":
			auth, given = value, true
		}
	}
	if auth == "" { // RFC 7628, section 4.3
		return b, nil
	}
	scheme, token, _ := strings.Cut(auth, " ")
	if b.token = strings.TrimLeft(token, " "); !strings.EqualFold(scheme, "Bearer") || b.token == "" {
		return wrong("auth is Bearer and a token")
	}
	return b, nil
}

func authIsAlpha(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') })
}

func authIsNoValue(r rune) bool { return (r < ' ' || r > '~') && r != '\t' && r != '\r' && r != '\n' }

// authBadToken is why a token lets nobody in; status is a word of RFC 6750, section 3.1.
type authBadToken struct{ status, why string }

const (
	authInvalidToken      = "invalid_token"
	authInvalidRequest    = "invalid_request"
	authInsufficientScope = "insufficient_scope"
)

func (e authBadToken) Error() string        { return authNoToken + ": " + e.why }
func (e authBadToken) Is(target error) bool { return target == errAuthFailed }

const authNoToken = "no token that lets you in"

// offersOAuth: TLS must be there (RFC 7628, section 3).
func (a *auth) offersOAuth(c authClient) bool { return a.tokenKeys != nil && c.tls != nil }

func (a *auth) beginOAuth(c authClient) *authExchange {
	if !a.offersOAuth(c) {
		return nil
	}
	x := &authExchange{}
	x.step = func(first []byte) ([]byte, error) {
		b, err := authParseBearer(first)
		if err != nil {
			return nil, err
		}
		x.user = b.actsFor
		if x.name, err = a.bearer(c, b); err == nil || !errors.Is(err, errAuthFailed) {
			return nil, err
		}
		var bad authBadToken
		errors.As(err, &bad) // as all failures here are
		x.failed = err
		x.step = func([]byte) ([]byte, error) { return nil, err } // RFC 7628, section 3.2.3
		return a.tokenAnswer(bad.status), nil
	}
	return x
}

// tokenAnswer tells what is wrong, and how to get a token (RFC 7628, section 3.2.2).
func (a *auth) tokenAnswer(status string) []byte {
	o := &a.settings.oauth
	answer := struct {
		Status        string `json:"status"`
		Scope         string `json:"scope,omitempty"`
		Configuration string `json:"openid-configuration,omitempty"`
	}{status, o.scope, o.configuration}
	if answer.Configuration == "" && strings.HasPrefix(o.issuer, "https://") {
		answer.Configuration = strings.TrimSuffix(o.issuer, "/") + "/.well-known/openid-configuration" // OpenID Connect Discovery, section 4
	}
	text, err := json.Marshal(answer)
	if err != nil {
		return []byte(`{"status":"` + authInvalidToken + `"}`)
	}
	return text
}

// bearer gives the user whom a token lets in.
func (a *auth) bearer(c authClient, b authBearer) (user string, err error) {
	if b.token == "" { // no guess, but a question
		return "", authBadToken{authInvalidToken, "there is none"}
	}
	if !a.isOurHost(b.host) {
		return "", authBadToken{authInvalidRequest, fmt.Sprintf("it is for the host %.100q", b.host)}
	}
	wanted := ""
	if b.actsFor != "" {
		if wanted, err = authName(authWithoutDomain(b.actsFor, a.settings.domains)); err != nil {
			return "", authBadToken{authInvalidToken, err.Error()}
		}
	}
	mark := sha256.Sum256([]byte(b.token + " " + wanted))
	err = a.attempt(c.remote, wanted, binary.LittleEndian.Uint64(mark[:]), func() error {
		if user, err = a.tokenUser(b.token); err != nil {
			return err
		}
		if wanted != "" && wanted != user {
			return authBadToken{authInvalidToken, fmt.Sprintf("that of %s may not act for %s", user, wanted)}
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	return user, nil
}

// isOurHost tells whether this box may be called so (RFC 7628, section 3.2): by its names, by names below them, by an
// address. The port is not looked at, since a router may have another one.
func (a *auth) isOurHost(host string) bool {
	host = strings.TrimSuffix(host, ".")
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil || host == "" {
		return true
	}
	return slices.ContainsFunc(a.settings.domains, func(domain string) bool {
		return strings.EqualFold(host, domain) || len(host) > len(domain) && strings.EqualFold(host[len(host)-len(domain)-1:], "."+domain)
	})
}

// tokenUser believes a token, or says why not (RFC 7519, section 7.2; RFC 9068, section 4).
func (a *auth) tokenUser(token string) (user string, err error) {
	wrong := func(format string, args ...any) (string, error) {
		return "", authBadToken{authInvalidToken, fmt.Sprintf(format, args...)}
	}
	now := a.settings.now()
	if now.IsZero() {
		return "", fmt.Errorf("%w: the clock is not set, and a token may have ended", errAuthUnavailable)
	}
	t, err := authParseJWT(token)
	if err != nil {
		return wrong("%v", err)
	}
	if err := t.verify(a.tokenKeys.current().keys); err != nil {
		return wrong("%v", err)
	}
	o, claims := &a.settings.oauth, t.claims
	if err := claims.checkTimes(now); err != nil {
		return wrong("%v", err)
	}
	if claims.text("iss") != o.issuer {
		return wrong("it is issued by %.100q", claims.text("iss"))
	}
	if !slices.ContainsFunc(claims.list("aud"), func(aud string) bool { return slices.Contains(o.audience, aud) }) {
		return wrong("it is for %.100q", claims.list("aud"))
	}
	if _, ok := claims["cnf"]; ok { // RFC 7800: who has stolen it has not the key
		return wrong("it is bound to a key, which the client cannot show here")
	}
	if o.scope != "" && !slices.Contains(authScopes(claims), o.scope) {
		return "", authBadToken{authInsufficientScope, fmt.Sprintf("its scope is %.100q", authScopes(claims))}
	}
	told := claims.text(o.user)
	if verified, ok := claims["email_verified"]; o.user == "email" && ok && string(verified) != "true" && string(verified) != `"true"` {
		return wrong("the address %.100q in it is not verified", told)
	}
	name, err := authName(authWithoutDomain(told, a.settings.domains))
	if err != nil {
		return wrong("its %s is %.100q, and there is no such user", o.user, told)
	}
	u, err := a.user(name)
	if err != nil {
		return "", fmt.Errorf("%w: %w", errAuthUnavailable, err)
	}
	if u == nil || u.locked {
		return wrong("its %s is %.100q, and there is no such user", o.user, told)
	}
	return name, nil
}

// authScopes are a token's scopes: words of one string (RFC 8693, section 4.2), or what others put in "scp".
func authScopes(c authClaims) (scopes []string) {
	for _, name := range []string{"scope", "scp"} {
		for _, s := range c.list(name) {
			scopes = append(scopes, strings.Fields(s)...)
		}
	}
	return scopes
}

// authKeysFindings looks at the file of keys for letterbox check: what is wrong in it, or what is in it.
func authKeysFindings(path string) (said string, findings []string) {
	keys, err := authReadKeys(path)
	if err != nil {
		return "", []string{err.Error()}
	}
	if keys.secret {
		findings = append(findings, path+" has private keys in it, and only public ones belong there")
	}
	var kinds []string
	for _, key := range keys.keys {
		kinds = append(kinds, strings.TrimSpace(key.alg+" "+key.id))
	}
	said = strings.Join(kinds, ", ")
	if len(keys.passed) > 0 {
		said += "; passed over: " + strings.Join(keys.passed, "; ")
	}
	return said, findings
}
