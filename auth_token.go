package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"slices"
	"strings"
	"time"
)

// Access tokens that are JWTs (RFC 7519, RFC 9068), signed (RFC 7515) by an authorization server whose public
// keys lie in a file. Nobody is asked over the network. Three kinds of signature are known, all with a pair of
// keys (RFC 7518, section 3.1; RFC 8037): whoever knows what is on this box cannot make a token, and "none" is
// none of them (RFC 8725, sections 3.1 and 3.2).

const (
	authTokenMost  = 16 << 10 // bytes
	authKeysMost   = 64       // in a file
	authTokenSlack = time.Minute
)

// authKey is a public key of an authorization server.
type authKey struct {
	id  string // RFC 7517, section 4.5; "": it has none
	alg string // what it is for: "RS256", "ES256", "EdDSA"
	key crypto.PublicKey
}

// authKeys are those of a file.
type authKeys struct {
	keys   []authKey
	passed []string // what was passed over, and why
	secret bool     // there are private keys in it
}

// errAuthKeys says that the file cannot be used.
var errAuthKeys = errors.New("[oauth] keys cannot be used") // wraps the reason

// authReadKeys reads a file of keys: a JWK set (RFC 7517, section 5) or PEM.
func authReadKeys(path string) (*authKeys, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errAuthKeys, err)
	}
	defer file.Close()
	text, err := authReadAll(file)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", errAuthKeys, path, err)
	}
	keys, err := authParseKeys(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", errAuthKeys, path, err)
	}
	return keys, nil
}

func authParseKeys(text []byte) (keys *authKeys, err error) {
	keys = &authKeys{}
	if strings.HasPrefix(strings.TrimSpace(string(text)), "{") {
		err = keys.parseSet(text)
	} else {
		err = keys.parsePEM(text)
	}
	switch {
	case err != nil:
		return nil, err
	case len(keys.keys) == 0:
		return nil, fmt.Errorf("there is no key in it that can be used%s", strings.Join(append([]string{""}, keys.passed...), "; "))
	case len(keys.keys) > authKeysMost:
		return nil, fmt.Errorf("there are more than %d keys in it", authKeysMost)
	}
	return keys, nil
}

// authJWK is what is looked at of a key (RFC 7517, section 4; RFC 7518, section 6; RFC 8037, section 2).
type authJWK struct {
	Kty, Use, Kid, Alg, Crv, N, E, X, Y, D string
}

func (k *authKeys) parseSet(text []byte) error {
	var set struct{ Keys []authJWK }
	if err := json.Unmarshal(text, &set); err != nil {
		return err
	}
	for i, jwk := range set.Keys {
		k.secret = k.secret || jwk.D != ""
		pub, err := jwk.public()
		if err == nil {
			err = k.add(jwk.Kid, jwk.Alg, pub)
		}
		if err != nil { // other kinds of keys are for others (RFC 7517, section 5)
			k.passed = append(k.passed, fmt.Sprintf("key %d: %v", i+1, err))
		}
	}
	return nil
}

// public gives the key, or says why it cannot be used.
func (j *authJWK) public() (crypto.PublicKey, error) {
	if j.Use != "" && j.Use != "sig" {
		return nil, fmt.Errorf("it is for %q", j.Use)
	}
	var parts [2][]byte
	for i, part := range map[string][2]string{"RSA": {j.N, j.E}, "EC": {j.X, j.Y}, "OKP": {j.X, ""}}[j.Kty] {
		var err error
		if parts[i], err = base64.RawURLEncoding.DecodeString(part); err != nil {
			return nil, err
		}
	}
	switch {
	case j.Kty == "RSA":
		e := new(big.Int).SetBytes(parts[1])
		if !e.IsInt64() || e.Int64() > 1<<31-1 {
			return nil, errors.New("its exponent is too large")
		}
		return &rsa.PublicKey{N: new(big.Int).SetBytes(parts[0]), E: int(e.Int64())}, nil
	case j.Kty == "EC" && j.Crv == "P-256":
		return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append(append([]byte{4}, parts[0]...), parts[1]...)) // RFC 7518, section 6.2.1.2
	case j.Kty == "OKP" && j.Crv == "Ed25519" && len(parts[0]) == ed25519.PublicKeySize:
		return ed25519.PublicKey(parts[0]), nil
	}
	return nil, fmt.Errorf("it is of a kind %q %q that is not known here", j.Kty, j.Crv)
}

func (k *authKeys) parsePEM(text []byte) error {
	for n := 1; ; n++ {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return nil
		}
		var pub any
		var err error
		switch block.Type {
		case "PUBLIC KEY":
			pub, err = x509.ParsePKIXPublicKey(block.Bytes)
		case "CERTIFICATE":
			var cert *x509.Certificate
			if cert, err = x509.ParseCertificate(block.Bytes); err == nil {
				pub = cert.PublicKey
			}
		default:
			k.secret = k.secret || strings.Contains(block.Type, "PRIVATE")
			err = fmt.Errorf("it is a %s, and not a PUBLIC KEY", block.Type)
		}
		if err == nil {
			err = k.add("", "", pub)
		}
		if err != nil {
			k.passed = append(k.passed, fmt.Sprintf("key %d: %v", n, err))
		}
	}
}

// add takes a key that is good for one of the three kinds of signature; alg is what the file says of it, "" if nothing.
func (k *authKeys) add(id, alg string, pub crypto.PublicKey) error {
	kind := ""
	switch pub := pub.(type) {
	case *rsa.PublicKey:
		if kind = "RS256"; pub.N.BitLen() < 2048 || pub.N.BitLen() > 8192 || pub.E < 3 || pub.E%2 == 0 { // RFC 7518, section 3.3
			return errors.New("it is not an RSA key of 2048 to 8192 bits")
		}
	case *ecdsa.PublicKey:
		kind = "ES256"
		if _, err := pub.ECDH(); err != nil || pub.Curve != elliptic.P256() {
			return errors.New("it is not a point of P-256")
		}
	case ed25519.PublicKey:
		kind = "EdDSA"
	default:
		return fmt.Errorf("it is a %T", pub)
	}
	if alg != "" && alg != kind && !(alg == "Ed25519" && kind == "EdDSA") {
		return fmt.Errorf("it is for %s", alg)
	}
	k.keys = append(k.keys, authKey{id, kind, pub})
	return nil
}

// authClaims is an object of JSON, name by name: encoding/json would take "EXP" for "exp".
type authClaims map[string]json.RawMessage

// text gives a string, "" if it is not there or none.
func (c authClaims) text(name string) (s string) {
	if json.Unmarshal(c[name], &s) != nil {
		return ""
	}
	return s
}

// list gives a string or a list of strings.
func (c authClaims) list(name string) (list []string) {
	if s := c.text(name); s != "" {
		return []string{s}
	}
	if json.Unmarshal(c[name], &list) != nil {
		return nil
	}
	return list
}

// seconds gives a NumericDate (RFC 7519, section 2); ok is false if it is there and is none.
func (c authClaims) seconds(name string) (at float64, given, ok bool) {
	if c[name] == nil {
		return 0, false, true
	}
	err := json.Unmarshal(c[name], &at)
	return at, true, err == nil && string(c[name]) != "null"
}

// authJWT is a token that was taken apart, and not yet believed.
type authJWT struct {
	header, claims authClaims
	signed         string // what the signature is of
	signature      []byte
}

// authParseJWT takes a token apart (RFC 7515, section 7.1).
func authParseJWT(token string) (*authJWT, error) {
	if len(token) > authTokenMost {
		return nil, errors.New("it is too long")
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, errors.New("it is no signed JWT")
	}
	var raw [3][]byte
	for i, part := range parts {
		var err error
		if raw[i], err = base64.RawURLEncoding.Strict().DecodeString(part); err != nil || strings.ContainsAny(part, "\r\n") {
			return nil, errors.New("a part of it is not base64url")
		}
	}
	t := &authJWT{signed: parts[0] + "." + parts[1], signature: raw[2]}
	for i, into := range []*authClaims{&t.header, &t.claims} {
		if err := json.Unmarshal(raw[i], into); err != nil || *into == nil {
			return nil, errors.New("a part of it is no JSON object")
		}
	}
	return t, nil
}

// authTokenTypes are those that an access token's header may have, if it has any (RFC 7519, section 5.1; RFC 9068,
// section 2.1). Others are not meant for us (RFC 8725, section 3.11).
var authTokenTypes = []string{"", "jwt", "at+jwt", "application/at+jwt"}

// verify checks the signature.
func (t *authJWT) verify(keys []authKey) error {
	if !slices.Contains(authTokenTypes, strings.ToLower(t.header.text("typ"))) {
		return fmt.Errorf("it is a %q", t.header.text("typ"))
	}
	if _, ok := t.header["crit"]; ok { // RFC 7515, section 4.1.11
		return errors.New("it has extensions that must be understood")
	}
	alg, id := t.header.text("alg"), t.header.text("kid")
	if alg == "Ed25519" { // RFC 9864
		alg = "EdDSA"
	}
	fits := false
	for _, key := range keys {
		if key.alg != alg || id != "" && key.id != "" && key.id != id {
			continue
		}
		if fits = true; key.verify(t.signed, t.signature) {
			return nil
		}
	}
	if !fits {
		return fmt.Errorf("there is no key %q for %q", id, alg)
	}
	return errors.New("the signature is wrong")
}

func (k *authKey) verify(signed string, signature []byte) bool {
	sum := sha256.Sum256([]byte(signed))
	switch pub := k.key.(type) {
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(pub, crypto.SHA256, sum[:], signature) == nil
	case *ecdsa.PublicKey:
		if len(signature) != 64 { // RFC 7518, section 3.4
			return false
		}
		return ecdsa.Verify(pub, sum[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:]))
	case ed25519.PublicKey:
		return ed25519.Verify(pub, []byte(signed), signature)
	}
	return false
}

// checkTimes holds RFC 7519, sections 4.1.4 to 4.1.6. A token without an end is taken for none.
func (c authClaims) checkTimes(now time.Time) error {
	at, slack := float64(now.Unix()), authTokenSlack.Seconds()
	switch exp, given, ok := c.seconds("exp"); {
	case !given || !ok:
		return errors.New("it does not say when it ends")
	case at >= exp+slack:
		return fmt.Errorf("it has ended %.0f seconds ago", at-exp)
	}
	for _, name := range []string{"nbf", "iat"} {
		switch begin, given, ok := c.seconds(name); {
		case !ok:
			return fmt.Errorf("its %s is no time", name)
		case given && begin > at+slack:
			return fmt.Errorf("its %s is %.0f seconds ahead", name, begin-at)
		}
	}
	return nil
}
