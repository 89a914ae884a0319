package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// What is said to the CA to get one certificate.

// serverACMEOrder is an order, or an authorization that it needs (RFC 8555, sections 7.1.3 and 7.1.4).
type serverACMEOrder struct {
	Status         string
	Authorizations []string
	Finalize       string
	Certificate    string
	Challenges     []serverACMEChallenge
	Error          *serverACMEProblem
}

type serverACMEChallenge struct {
	Type, URL, Token string
	Error            *serverACMEProblem
}

// serverACMERegister makes the account, or finds it: the CA knows it by its key (RFC 8555, section 7.3).
func serverACMERegister(ctx context.Context, dial func(context.Context, string) (net.Conn, error), dir string, needs *serverACMENeeds) (*serverACMEClient, error) {
	if err := fileMakeAll(dir, 0o700); err != nil {
		return nil, serverPathError("making", dir, err)
	}
	key, err := serverACMEKey(filepath.Join(dir, "account.key"))
	if err != nil {
		return nil, err
	}
	c := &serverACMEClient{dial: dial, key: key}
	if err := c.discover(ctx, needs.directory); err != nil {
		return nil, err
	}
	account := map[string]any{"termsOfServiceAgreed": true} // as config.toml says
	if needs.email != "" {
		account["contact"] = []string{"mailto:" + needs.email}
	}
	answer, err := c.post(ctx, c.directory.NewAccount, account, nil)
	if err != nil {
		return nil, fmt.Errorf("becoming known to the CA: %w", err)
	}
	if c.account = answer.header.Get("Location"); c.account == "" {
		return nil, errors.New("the CA does not say by which address it knows this box")
	}
	if answer.status == 200 && needs.email != "" { // known before, perhaps by another address; section 7.3.2
		delete(account, "termsOfServiceAgreed")
		if _, err := c.post(ctx, c.account, account, nil); err != nil {
			return nil, fmt.Errorf("telling the CA of acme_email: %w", err)
		}
	}
	return c, nil
}

// serverACMEKey reads the key by which the CA knows this box, or makes it.
func serverACMEKey(path string) (*ecdsa.PrivateKey, error) {
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, serverPathError("reading", path, err)
	}
	if block, _ := pem.Decode(text); block != nil { // a torn file is as good as none
		if key, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
			if own, ok := key.(*ecdsa.PrivateKey); ok {
				return own, nil
			}
		}
	}
	key, der, err := serverACMENewKey()
	if err != nil {
		return nil, err
	}
	if err := fileReplace(path, serverACMEEncode(der, nil), 0o600); err != nil {
		return nil, serverPathError("writing", path, err)
	}
	return key, nil
}

func serverACMENewKey() (*ecdsa.PrivateKey, []byte, error) {
	signer, err := serverKeyEC()
	if err != nil {
		return nil, nil, fmt.Errorf("making a key: %w", err)
	}
	key := signer.(*ecdsa.PrivateKey)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("writing a key: %w", err)
	}
	return key, der, nil
}

// order gets a certificate by one kind of challenge: its key, and its chain in PEM (RFC 8555, section 7.4).
func (a *serverACME) order(ctx context.Context, c *serverACMEClient, name, kind string) (key, chain []byte, err error) {
	var order serverACMEOrder
	identifier := map[string]string{"type": "dns", "value": name}
	answer, err := c.post(ctx, c.directory.NewOrder, map[string]any{"identifiers": []any{identifier}}, &order)
	if err != nil {
		return nil, nil, err
	}
	at := answer.header.Get("Location")
	for _, authorization := range order.Authorizations {
		if err := a.authorize(ctx, c, authorization, name, kind); err != nil {
			return nil, nil, err
		}
	}
	if order, err = c.wait(ctx, at, "ready", "valid"); err != nil {
		return nil, nil, err
	}
	signer, key, err := serverACMENewKey() // a new one each time
	if err != nil {
		return nil, nil, err
	}
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{name}}, signer)
	if err != nil {
		return nil, nil, fmt.Errorf("asking for a signature: %w", err)
	}
	if _, err := c.post(ctx, order.Finalize, map[string]string{"csr": serverACMEBase64(request)}, nil); err != nil {
		return nil, nil, err
	}
	if order, err = c.wait(ctx, at, "valid"); err != nil {
		return nil, nil, err
	}
	if answer, err = c.post(ctx, order.Certificate, nil, nil); err != nil {
		return nil, nil, err
	}
	return key, answer.body, nil
}

// authorize shows the CA that a name leads to this box (RFC 8555, section 7.5).
func (a *serverACME) authorize(ctx context.Context, c *serverACMEClient, at, name, kind string) error {
	var z serverACMEOrder
	if _, err := c.post(ctx, at, nil, &z); err != nil {
		return err
	}
	if z.Status == "valid" { // it has looked before
		return nil
	}
	for _, challenge := range z.Challenges {
		if challenge.Type != kind {
			continue
		}
		withdraw, err := a.answer(c, challenge, name)
		if err != nil {
			return err
		}
		defer withdraw()
		if _, err := c.post(ctx, challenge.URL, struct{}{}, nil); err != nil {
			return err
		}
		_, err = c.wait(ctx, at, "valid")
		return err
	}
	return errors.New("the CA does not offer it")
}

// wait asks until something has one of some statuses. The CA says how often; else it is asked ever less often.
func (c *serverACMEClient) wait(ctx context.Context, at string, statuses ...string) (order serverACMEOrder, err error) {
	for pause := time.Second; ; pause = min(pause+time.Second, serverACMEPoll) {
		order = serverACMEOrder{}
		answer, err := c.post(ctx, at, nil, &order)
		if err != nil {
			return order, err
		}
		for _, status := range statuses {
			if order.Status == status {
				return order, nil
			}
		}
		switch order.Status {
		case "pending", "processing", "ready":
		default:
			return order, serverACMELooked{order}
		}
		select {
		case <-ctx.Done():
			return order, ctx.Err()
		case <-time.After(max(pause, answer.after())):
		}
	}
}

const serverACMEPoll = 10 * time.Second // between two questions of how it stands

// serverACMELooked says that the CA has looked, and what it has found.
type serverACMELooked struct{ order serverACMEOrder }

func (e serverACMELooked) Error() string {
	if e.order.Error != nil {
		return e.order.Error.Error()
	}
	for _, challenge := range e.order.Challenges {
		if challenge.Error != nil {
			return challenge.Error.Error()
		}
	}
	return "the CA says only: " + e.order.Status
}

// answer puts the answer to a challenge where the CA looks.
func (a *serverACME) answer(c *serverACMEClient, challenge serverACMEChallenge, name string) (withdraw func(), err error) {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	if challenge.Token == "" || strings.Trim(challenge.Token, letters) != "" { // RFC 8555, section 8.3
		return nil, fmt.Errorf("%.100q is no token", challenge.Token)
	}
	text := challenge.Token + "." + c.thumbprint() // RFC 8555, section 8.1
	if challenge.Type == serverACMEHTTP {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.tokens[challenge.Token] = text
		return func() {
			a.mu.Lock()
			defer a.mu.Unlock()
			delete(a.tokens, challenge.Token)
		}, nil
	}
	cert, err := serverACMEShown(name, text)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.shown[name] = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{*cert},
		NextProtos: []string{connChallenge}, SessionTicketsDisabled: true}
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.shown, name)
	}, nil
}

// serverACMEShown is the certificate that a CA is to find (RFC 8737, section 3): for one name, signed by itself, with
// the hash of the answer in a critical extension.
func serverACMEShown(name, text string) (*tls.Certificate, error) {
	key, _, err := serverACMENewKey()
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(text))
	value, err := asn1.Marshal(sum[:])
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{SerialNumber: serverSerial(), Subject: pkix.Name{CommonName: "challenge"}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-serverDay), NotAfter: time.Now().Add(serverDay), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 31}, Critical: true, Value: value}}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("making a certificate: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
