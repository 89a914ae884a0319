package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// testAuthSigners are private keys of an authorization server. The last is always the same, so that
// dialogs can have tokens.
var testAuthSigners = sync.OnceValue(func() map[string]crypto.Signer {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return map[string]crypto.Signer{"RS256": rsaKey, "ES256": ecKey, "EdDSA": ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))}
})

// testAuthSet is a JWK set of these keys, each with the name of its algorithm as its id, and of some that are not for us.
func testAuthSet(signers map[string]crypto.Signer) []byte {
	b64 := base64.RawURLEncoding.EncodeToString
	keys := []map[string]string{{"kty": "oct", "k": b64([]byte("secret"))}, {"kty": "RSA", "use": "enc", "n": "AQAB", "e": "AQAB"}, {"kty": "EC", "crv": "P-521"}}
	for id, signer := range signers {
		switch pub := signer.Public().(type) {
		case *rsa.PublicKey:
			keys = append(keys, map[string]string{"kty": "RSA", "kid": id, "use": "sig", "alg": "RS256", "n": b64(pub.N.Bytes()), "e": "AQAB"})
		case *ecdsa.PublicKey:
			raw, err := pub.Bytes()
			if err != nil {
				panic(err)
			}
			keys = append(keys, map[string]string{"kty": "EC", "crv": "P-256", "kid": id, "x": b64(raw[1:33]), "y": b64(raw[33:])})
		case ed25519.PublicKey:
			keys = append(keys, map[string]string{"kty": "OKP", "crv": "Ed25519", "kid": id, "x": b64(pub)})
		}
	}
	text, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		panic(err)
	}
	return text
}

// testAuthToken signs a token.
func testAuthToken(signer crypto.Signer, header, claims any) string {
	part := func(v any) string {
		text, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		return base64.RawURLEncoding.EncodeToString(text)
	}
	signed := part(header) + "." + part(claims)
	sum := sha256.Sum256([]byte(signed))
	var signature []byte
	var err error
	switch key := signer.(type) {
	case *rsa.PrivateKey:
		signature, err = rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	case *ecdsa.PrivateKey:
		r, s, signErr := ecdsa.Sign(rand.Reader, key, sum[:])
		signature, err = append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...), signErr
	case ed25519.PrivateKey:
		signature = ed25519.Sign(key, []byte(signed))
	}
	if err != nil {
		panic(err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}

type testAuthMap = map[string]any

// testAuthClaims are good ones, changed.
func testAuthClaims(change testAuthMap) testAuthMap {
	claims := testAuthMap{"iss": "https://id.example.org", "aud": "box", "exp": int64(4102444800), "iat": 1700000000, "email": "alice@example.org", "scope": "openid mail"}
	maps.Copy(claims, change)
	for name, value := range claims {
		if value == nil {
			delete(claims, name)
		}
	}
	return claims
}

// testAuthTokens has tokens let in; how is the scope, "" changes nothing.
func testAuthTokens(t testing.TB, a *auth, how string) {
	t.Helper()
	if how == "" {
		return
	}
	path := filepath.Join(t.TempDir(), "keys.json")
	must(t, os.WriteFile(path, testAuthSet(testAuthSigners()), 0o600))
	a.settings.oauth = authOAuthSettings{keys: path, issuer: "https://id.example.org", audience: []string{"other", "box"}, user: "email", scope: how}
	var err error
	a.tokenKeys, err = authWatch(path, authReadKeys, slog.New(slog.DiscardHandler))
	must(t, err)
}

// The examples of RFC 8037, appendix A.4, and RFC 7515, appendix A.3.
func TestAuthTokenExamples(t *testing.T) {
	keys, err := authParseKeys([]byte(`{"keys":[
		{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
		{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}`))
	must(t, err)
	for i, example := range []string{
		"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
		"eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
	} {
		at := strings.LastIndexByte(example, '.')
		signature, err := base64.RawURLEncoding.DecodeString(example[at+1:])
		must(t, err)
		if !keys.keys[i].verify(example[:at], signature) || keys.keys[i].verify(example[:at]+"A", signature) || keys.keys[1-i].verify(example[:at], signature) {
			t.Errorf("example %d", i)
		}
	}
}

func TestAuthToken(t *testing.T) {
	a := testAuth(t, "alice", "bob")
	text, err := os.ReadFile(a.settings.path)
	must(t, err)
	must(t, os.WriteFile(a.settings.path, append(text, "carol:!x\n"...), 0o600))
	testAuthTokens(t, a, "mail")
	signers := testAuthSigners()
	now := time.Unix(1800000000, 0)
	a.settings.now = func() time.Time { return now }
	ed := func(claims testAuthMap) string {
		return testAuthToken(signers["EdDSA"], testAuthMap{"alg": "EdDSA"}, testAuthClaims(claims))
	}
	head := func(alg string, header testAuthMap) string {
		return testAuthToken(signers[alg], header, testAuthClaims(nil))
	}
	good := ed(nil)
	parts := strings.Split(good, ".")
	otherKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	public, err := x509.MarshalPKIXPublicKey(signers["RS256"].Public())
	must(t, err)
	hs := func(secret []byte) string {
		signed := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256"}`)) + "." + parts[1]
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(signed))
		return signed + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
	}
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`))
	for _, c := range []struct{ what, token, user, why string }{
		{"EdDSA", good, "alice", ""},
		{"RS256", head("RS256", testAuthMap{"alg": "RS256", "kid": "RS256", "typ": "at+jwt"}), "alice", ""},
		{"ES256", head("ES256", testAuthMap{"alg": "ES256", "typ": "JWT"}), "alice", ""},
		{"Ed25519, its newer name", head("EdDSA", testAuthMap{"alg": "Ed25519"}), "alice", ""},
		{"a list of audiences", ed(testAuthMap{"aud": []string{"x", "box"}}), "alice", ""},
		{"scp", ed(testAuthMap{"scope": nil, "scp": []string{"mail"}}), "alice", ""},
		{"verified", ed(testAuthMap{"email_verified": true, "email": "Bob@example.org"}), "bob", ""},
		{"a fraction of a second", ed(testAuthMap{"exp": 1800000000.5}), "alice", ""},
		{"just ended", ed(testAuthMap{"exp": 1800000000 - 59}), "alice", ""},
		{"just begun", ed(testAuthMap{"nbf": 1800000059, "iat": 1800000059}), "alice", ""},

		{"none", none + "." + parts[1] + ".", "", "there is no key"},
		{"none, with a signature", none + "." + parts[1] + "." + parts[2], "", "there is no key"},
		{"HS256 by a public key", hs(public), "", "there is no key"},
		{"HS256 by a key of the file", hs([]byte("secret")), "", "there is no key"},
		{"ALG", head("EdDSA", testAuthMap{"ALG": "EdDSA"}), "", "there is no key"},
		{"another algorithm's name", head("EdDSA", testAuthMap{"alg": "ES256"}), "", "signature is wrong"},
		{"another key", testAuthToken(otherKey, testAuthMap{"alg": "ES256"}, testAuthClaims(nil)), "", "signature is wrong"},
		{"another key's id", head("ES256", testAuthMap{"alg": "ES256", "kid": "RS256"}), "", "there is no key"},
		{"a key of its own", head("EdDSA", testAuthMap{"alg": "EdDSA", "jwk": testAuthMap{}, "kid": "mine"}), "", "there is no key"},
		{"another payload", parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"email":"bob@example.org"}`)) + "." + parts[2], "", "signature is wrong"},
		{"no signature", parts[0] + "." + parts[1] + ".", "", "signature is wrong"},
		{"two parts", parts[0] + "." + parts[1], "", "no signed JWT"},
		{"five parts", good + ".x.y", "", "no signed JWT"},
		{"padding", good + "==", "", "not base64url"},
		{"a line end", parts[0] + ".\n" + parts[1] + "." + parts[2], "", "not base64url"},
		{"no JSON", "e30.eA." + parts[2], "", "no JSON object"},
		{"null", "bnVsbA." + parts[1] + "." + parts[2], "", "no JSON object"},
		{"long", strings.Repeat("A", authTokenMost+1), "", "too long"},
		{"critical", head("EdDSA", testAuthMap{"alg": "EdDSA", "crit": []string{"b64"}, "b64": false}), "", "must be understood"},
		{"another type", head("EdDSA", testAuthMap{"alg": "EdDSA", "typ": "dpop+jwt"}), "", `it is a "dpop+jwt"`},

		{"ended", ed(testAuthMap{"exp": 1799999940}), "", "it has ended 60 seconds ago"},
		{"without an end", ed(testAuthMap{"exp": nil}), "", "when it ends"},
		{"EXP", ed(testAuthMap{"exp": nil, "EXP": 2000000000}), "", "when it ends"},
		{"an end that is a text", ed(testAuthMap{"exp": "4102444800"}), "", "when it ends"},
		{"an end that is null", testAuthToken(signers["EdDSA"], testAuthMap{"alg": "EdDSA"}, json.RawMessage(`{"exp":null}`)), "", "when it ends"},
		{"nbf ahead", ed(testAuthMap{"nbf": 1800000061}), "", "its nbf is 61 seconds ahead"},
		{"iat ahead", ed(testAuthMap{"iat": 1800003600}), "", "its iat is 3600 seconds ahead"},
		{"iat that is none", ed(testAuthMap{"iat": []int{1}}), "", "its iat is no time"},
		{"another issuer", ed(testAuthMap{"iss": "https://id.example.org/"}), "", "it is issued by"},
		{"no issuer", ed(testAuthMap{"iss": nil}), "", "it is issued by"},
		{"for another", ed(testAuthMap{"aud": "boxes"}), "", "it is for"},
		{"for nobody", ed(testAuthMap{"aud": nil}), "", "it is for"},
		{"for numbers", ed(testAuthMap{"aud": []any{1, "box"}}), "", "it is for"},
		{"another scope", ed(testAuthMap{"scope": "openid mailbox"}), "", "its scope is"},
		{"no scope", ed(testAuthMap{"scope": nil}), "", "its scope is"},
		{"bound", ed(testAuthMap{"cnf": testAuthMap{"jkt": "x"}}), "", "bound to a key"},
		{"not verified", ed(testAuthMap{"email_verified": false}), "", "not verified"},
		{"elsewhere", ed(testAuthMap{"email": "alice@example.com"}), "", "no such user"},
		{"nobody", ed(testAuthMap{"email": "eve@example.org"}), "", "no such user"},
		{"locked", ed(testAuthMap{"email": "carol@example.org"}), "", "no such user"},
		{"a path", ed(testAuthMap{"email": "../alice"}), "", "no such user"},
		{"no address", ed(testAuthMap{"email": nil}), "", "no such user"},
		{"a list of addresses", ed(testAuthMap{"email": []string{"alice"}}), "", "no such user"},
	} {
		user, err := a.tokenUser(c.token)
		if user != c.user || (err == nil) != (c.why == "") || err != nil && (!errors.Is(err, errAuthFailed) || !strings.Contains(err.Error(), c.why)) {
			t.Errorf("%s: %q, %v", c.what, user, err)
		}
	}
	a.settings.oauth.user = "sub"
	if user, err := a.tokenUser(ed(testAuthMap{"sub": "bob", "email_verified": false})); user != "bob" || err != nil {
		t.Errorf("by another claim: %q, %v", user, err)
	}
	a.settings.now = func() time.Time { return time.Time{} }
	if _, err := a.tokenUser(good); !errors.Is(err, errAuthUnavailable) {
		t.Errorf("while the clock is not believed: %v", err)
	}
}

func TestAuthBearer(t *testing.T) {
	a := testAuth(t, "alice", "bob")
	testAuthTokens(t, a, "mail")
	token := testAuthToken(testAuthSigners()["EdDSA"], testAuthMap{"alg": "EdDSA"}, testAuthClaims(nil))
	secure := authClient{remote: netip.MustParseAddr("192.0.2.1"), tls: &tls.ConnectionState{}}
	if a.exchange("OAUTHBEARER", authClient{}) != nil || a.offers("OAUTHBEARER", authClient{}) {
		t.Error("without TLS")
	}
	if testAuth(t, "alice").exchange("OAUTHBEARER", secure) != nil {
		t.Error("without keys")
	}
	const end = "\x01\x01"
	auth := "\x01auth=Bearer " + token + end
	for message, want := range map[string]string{ // a user, a status, or "" for what is none
		"n,a=alice@example.org,\x01host=box.example.org\x01port=993" + auth: "alice",
		"n,," + auth:        "alice",
		"y,a=ALICE," + auth: "alice",
		"n,,\x01auth=bEARER   " + token + "\x01x=what of it\r\n\t" + end: "alice",
		"n,,\x01host=EXAMPLE.org." + auth:                                "alice",
		"n,,\x01host=192.168.1.20" + auth:                                "alice",
		"n,,\x01host=[::1]" + auth:                                       "alice",
		"n,,\x01host=example.com" + auth:                                 authInvalidRequest,
		"n,,\x01host=badexample.org" + auth:                              authInvalidRequest,
		"n,a=bob," + auth:                                                authInvalidToken,
		"n,a=..," + auth:                                                 authInvalidToken,
		"n,a=al=2Cice," + auth:                                           authInvalidToken,
		"n,,\x01auth=" + end:                                             authInvalidToken,
		"n,," + end:                                                      authInvalidToken,
		"n,,\x01auth=Bearer " + token + "x" + end:                        authInvalidToken,
		"n,,\x01auth=Bearer " + end:                                      "",
		"n,,\x01auth=Basic YQ==" + end:                                   "",
		"n,," + auth + "x":                                               "",
		"n,,\x01auth=Bearer " + token + "\x01":                           "",
		"n,,\x01auth=Bearer " + token:                                    "",
		"n,,\x01auth=Bearer x\x01auth=Bearer " + token + end:             "",
		"n,,\x01auth" + end:                                              "",
		"n,,\x01a1=x" + end:                                              "",
		"n,,\x01=x" + end:                                                "",
		"n,,\x01x=\x00" + end:                                            "",
		"n,,\x01x=\xff" + end:                                            "",
		"n,a=," + auth:                                                   "",
		"n,a=a=b," + auth:                                                "",
		"n,b=alice," + auth:                                              "",
		"n,a=" + strings.Repeat("x", 400) + "," + auth:                   "",
		"p=tls-exporter,," + auth:                                        "",
		"F,n,," + auth:                                                   "",
		"n," + auth:                                                      "",
		"\x01":                                                           "",
		"":                                                               "",
	} {
		a.throttle = newAuthThrottle()
		x := a.exchange("OAUTHBEARER", secure)
		challenge, err := x.next([]byte(message))
		switch {
		case want == "alice":
			if x.name != want || err != nil || len(challenge) > 0 {
				t.Errorf("%.50q: %q, %q, %v", message, x.name, challenge, err)
			}
		case want == "":
			if !errors.Is(err, errAuthMessage) || x.name != "" {
				t.Errorf("%.50q: %q, %v", message, challenge, err)
			}
		default:
			wanted := fmt.Sprintf(`{"status":%q,"scope":"mail","openid-configuration":"https://id.example.org/.well-known/openid-configuration"}`, want)
			if string(challenge) != wanted || err != nil || x.name != "" {
				t.Errorf("%.50q: %s, %v", message, challenge, err)
			}
			if challenge, err = x.next([]byte("\x01")); !errors.Is(err, errAuthFailed) || len(challenge) > 0 || x.name != "" || authTold(err) != authNoToken {
				t.Errorf("%.50q: %q, %v", message, challenge, err)
			}
		}
	}
	scopeless := testAuthToken(testAuthSigners()["EdDSA"], testAuthMap{"alg": "EdDSA"}, testAuthClaims(testAuthMap{"scope": "openid"}))
	a.settings.oauth.configuration = "https://box.example.org/oauth"
	challenge, _ := a.exchange("OAUTHBEARER", secure).next([]byte("n,,\x01auth=Bearer " + scopeless + end))
	if string(challenge) != `{"status":"insufficient_scope","scope":"mail","openid-configuration":"https://box.example.org/oauth"}` {
		t.Errorf("%s", challenge)
	}
}

// The same token again is no further guess, and a question is none; others are.
func TestAuthBearerThrottle(t *testing.T) {
	a := testAuth(t, "alice")
	testAuthTokens(t, a, "mail")
	c := authClient{remote: netip.MustParseAddr("192.0.2.1"), tls: &tls.ConnectionState{}}
	try := func(auth string) { a.exchange("OAUTHBEARER", c).next([]byte("n,,\x01auth=" + auth + "\x01\x01")) }
	for range 3 * authFreeFailures {
		try("")
		try("Bearer x")
	}
	if keys := authThrottleKeys(c.remote); !a.throttle.free(keys) {
		t.Error("one token has slowed down its address")
	}
	for i := range authFreeFailures {
		try(fmt.Sprint("Bearer y", i))
	}
	if keys := authThrottleKeys(c.remote); a.throttle.free(keys) {
		t.Error("whoever tries tokens is not slowed down")
	}
}

// What keys a file may have, and what is said of it.
func TestAuthKeysFile(t *testing.T) {
	signers := testAuthSigners()
	public := func(key any) []byte {
		der, err := x509.MarshalPKIXPublicKey(key)
		must(t, err)
		return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	}
	var all []byte
	for _, alg := range []string{"RS256", "ES256", "EdDSA"} {
		all = append(all, public(signers[alg].Public())...)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(signers["EdDSA"])
	must(t, err)
	all = append(all, public(p384.Public())...)
	all = append(all, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: testAuthOurCA().cert.Raw})...)
	all = append(all, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})...)
	path := filepath.Join(t.TempDir(), "keys")
	must(t, os.WriteFile(path, all, 0o600))
	said, findings := authKeysFindings(path)
	if said != "RS256, ES256, EdDSA, ES256; passed over: key 4: it is not a point of P-256; key 6: it is a PRIVATE KEY, and not a PUBLIC KEY" ||
		len(findings) != 1 || !strings.Contains(findings[0], "private keys") {
		t.Errorf("%s, %q", said, findings)
	}
	for text, why := range map[string]string{
		"":              "no key in it",
		"{":             "unexpected end",
		`{"keys":[]}`:   "no key in it",
		`{"keys":[{}]}`: "of a kind",
		`{"keys":[1]}`:  "cannot unmarshal",
		`{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}`:                                                                  `of a kind "oct"`,
		`{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"}]}`:                                                           "2048",
		`{"keys":[{"kty":"RSA","n":"AQAB","e":"AQABAQABAQABAQAB"}]}`:                                               "exponent",
		`{"keys":[{"kty":"EC","crv":"P-256","x":"AQAB","y":"AQAB"}]}`:                                              "key 1:",
		`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AQAB"}]}`:                                                      "of a kind",
		`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"?"}]}`:                                                         "illegal base64",
		`{"keys":[{"kty":"OKP","crv":"Ed25519","alg":"ES256","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`: "it is for ES256",
		`{"keys":[` + strings.Repeat(`{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},`, 64) +
			`{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`: "more than 64",
	} {
		must(t, os.WriteFile(path, []byte(text), 0o600))
		if _, err := authReadKeys(path); !errors.Is(err, errAuthKeys) || !strings.Contains(err.Error(), why) {
			t.Errorf("%.80s: %v, want %q", text, err, why)
		}
	}
}

// A whole server: keys that are changed, and a reload.
func TestServerTokens(t *testing.T) {
	dir := t.TempDir()
	c := serverTestConfig(dir)
	signers := testAuthSigners()
	c.oauth = configOAuth{keys: filepath.Join(dir, "keys.json"), issuer: "https://id.example.org", audience: []string{"box"}, userClaim: "email"}
	must(t, os.WriteFile(c.oauth.keys, testAuthSet(map[string]crypto.Signer{"a": signers["RS256"]}), 0o600))
	next := *c
	s, _ := serverTest(t, c, func(settings *serverSettings) {
		settings.load = func() (*config, error) { c := next; return &c, nil }
	})
	cfg := &tls.Config{RootCAs: serverPool(t, s), ServerName: "pi.example.org"}
	message := func(alg string) string {
		token := testAuthToken(signers[alg], testAuthMap{"alg": alg}, testAuthClaims(testAuthMap{"email": "alice@pi.example.org"}))
		return base64.StdEncoding.EncodeToString([]byte("n,a=alice,\x01host=pi.example.org\x01auth=Bearer " + token + "\x01\x01"))
	}
	testAuthLogin(t, serverDial(t, s.address(t, "imaps"), cfg), "", "* OK [CAPABILITY", "a AUTHENTICATE OAUTHBEARER "+message("RS256"), "a OK")
	testAuthLogin(t, serverDial(t, s.address(t, "imaps"), cfg), "", "* OK [CAPABILITY", "a AUTHENTICATE OAUTHBEARER", "+", message("RS256"), "a OK")
	testAuthLogin(t, serverDial(t, s.address(t, "pop3s"), cfg), "", "+OK", "CAPA", "SASL OAUTHBEARER", "AUTH OAUTHBEARER", "+ ", message("RS256"), "+OK")
	testAuthLogin(t, serverDial(t, s.address(t, "submissions"), cfg), "", "220", "EHLO x", "250 AUTH OAUTHBEARER", "AUTH OAUTHBEARER "+message("RS256"), "235")
	testAuthLogin(t, serverDial(t, s.address(t, "imaps"), cfg), "", "* OK", "a AUTHENTICATE OAUTHBEARER "+message("EdDSA"), "+ ", "AQ==", "a NO [AUTHENTICATIONFAILED] no token")
	must(t, os.WriteFile(c.oauth.keys, testAuthSet(map[string]crypto.Signer{"b": signers["EdDSA"]}), 0o600))
	must(t, s.reload())
	testAuthLogin(t, serverDial(t, s.address(t, "imaps"), cfg), "", "* OK", "a AUTHENTICATE OAUTHBEARER "+message("EdDSA"), "a OK")
	must(t, os.WriteFile(c.oauth.keys, []byte("{}"), 0o600))
	if err := s.reload(); err == nil || !strings.Contains(err.Error(), "hint: it holds the public keys") {
		t.Errorf("no keys: %v", err)
	}
	next.oauth = configOAuth{}
	must(t, s.reload())
	testAuthLogin(t, serverDial(t, s.address(t, "imaps"), cfg), "", "* OK", "a AUTHENTICATE OAUTHBEARER "+message("EdDSA"), "a NO [CANNOT]")
}

func FuzzAuthToken(f *testing.F) {
	a := testAuth(f, "alice")
	testAuthTokens(f, a, "mail")
	good := testAuthToken(testAuthSigners()["EdDSA"], testAuthMap{"alg": "EdDSA"}, testAuthClaims(nil))
	f.Add(good)
	f.Add(testAuthToken(testAuthSigners()["ES256"], testAuthMap{"alg": "ES256", "kid": "ES256", "typ": "JWT"}, testAuthClaims(testAuthMap{"email": "eve"})))
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Fuzz(func(t *testing.T, token string) {
		t2, err := authParseJWT(token)
		if err != nil {
			return
		}
		t2.claims.checkTimes(time.Now())
		authScopes(t2.claims)
		if user, err := a.tokenUser(token); err == nil && !strings.HasPrefix(good, token[:strings.LastIndexByte(token, '.')]) {
			t.Errorf("%q lets in %s", token, user)
		}
	})
}

func FuzzAuthBearer(f *testing.F) {
	f.Add([]byte("n,a=user@example.com,\x01host=server.example.com\x01port=143\x01auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01\x01"))
	f.Add([]byte("n,a=al=2Cice,\x01auth=\x01\x01"))
	f.Add([]byte("p=x,,\x01\x01"))
	f.Fuzz(func(t *testing.T, message []byte) {
		b, err := authParseBearer(message)
		if err != nil {
			if !errors.Is(err, errAuthMessage) {
				t.Error(err)
			}
			return
		}
		if !strings.Contains(string(message), b.token) || !strings.Contains(string(message), b.host) || strings.ContainsRune(b.actsFor, 0) {
			t.Errorf("%q gives %q", message, b)
		}
	})
}
