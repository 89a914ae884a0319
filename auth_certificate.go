package main

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"
)

// Logins by a client's certificate: SASL EXTERNAL (RFC 4422, appendix A).
//
// TLS asks clients for a certificate and takes any, or none: a client that shows one of
// somebody else's goes on and logs in by its password. Whether it lets a user in is
// found out here, when the client asks for EXTERNAL, so a CA that was changed, a
// certificate that was revoked or has ended meanwhile, and a locked user count at once,
// also where the TLS session is an old one's that was resumed.

// authCertificates knows whose certificates let in.
type authCertificates struct {
	email bool // the user is named by an address in the certificate, else by the subject's common name
	file  *authWatched[*authCAs]
}

// authCAs is the file as it was read: certificates of CAs and, where they have any, lists
// of what they have revoked, in PEM.
type authCAs struct {
	pool    *x509.CertPool
	certs   []*x509.Certificate
	lists   []*x509.RevocationList
	revoked map[authSerial]bool
}

// authSerial names a certificate.
type authSerial struct{ issuer, serial string }

const authMaxChain = 8 // certificates of a client that are looked at

// errAuthClientCA says that the file cannot be used.
var errAuthClientCA = errors.New("[tls] client_ca cannot be used") // wraps the reason

func authOpenCertificates(path string, email bool, log *slog.Logger) (*authCertificates, error) {
	file, err := authWatch(path, authReadCAs, log)
	return &authCertificates{email, file}, err
}

// authReadCAs reads the file, and says in what way it cannot be used.
func authReadCAs(path string) (*authCAs, error) {
	wrong := func(format string, args ...any) (*authCAs, error) {
		return nil, fmt.Errorf("%w: %s: %w", errAuthClientCA, path, fmt.Errorf(format, args...))
	}
	cas := &authCAs{pool: x509.NewCertPool(), revoked: map[authSerial]bool{}}
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errAuthClientCA, err)
	}
	defer file.Close()
	text, err := authReadAll(file)
	if err != nil {
		return wrong("%w", err)
	}
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		switch block.Type {
		case "CERTIFICATE":
			cert, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return wrong("a certificate in it: %w", err)
			}
			if !cert.BasicConstraintsValid || !cert.IsCA {
				return wrong("the certificate of %s in it is no CA's", cert.Subject)
			}
			cas.certs = append(cas.certs, cert)
			cas.pool.AddCert(cert)
		case "X509 CRL":
			list, err := x509.ParseRevocationList(block.Bytes)
			if err != nil {
				return wrong("a list of revoked certificates in it: %w", err)
			}
			cas.lists = append(cas.lists, list)
		default:
			return wrong("there is a %s in it, and only certificates and lists of revoked ones belong there", block.Type)
		}
	}
	if len(cas.certs) == 0 {
		return wrong("there is no certificate in it")
	}
	for _, list := range cas.lists {
		if !slices.ContainsFunc(cas.certs, func(ca *x509.Certificate) bool { return list.CheckSignatureFrom(ca) == nil }) {
			return wrong("a list of revoked certificates is signed by %s, which is no CA in it", list.Issuer)
		}
		for _, entry := range list.RevokedCertificateEntries {
			cas.revoked[authSerial{string(list.RawIssuer), entry.SerialNumber.String()}] = true
		}
	}
	return cas, nil
}

// names verifies a certificate, which comes first, and gives the names that it has for its user.
func (k *authCertificates) names(chain []*x509.Certificate, now time.Time) ([]string, error) {
	cas, leaf := k.file.current(), chain[0]
	between := x509.NewCertPool()
	for _, cert := range chain[1:min(len(chain), authMaxChain)] {
		between.AddCert(cert)
	}
	chains, err := leaf.Verify(x509.VerifyOptions{Roots: cas.pool, Intermediates: between, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err != nil {
		return nil, err
	}
	whole := slices.ContainsFunc(chains, func(chain []*x509.Certificate) bool { return !slices.ContainsFunc(chain, cas.isRevoked) })
	if !whole {
		return nil, errors.New("it is revoked")
	}
	if k.email {
		return leaf.EmailAddresses, nil
	}
	var names []string
	for _, part := range leaf.Subject.Names {
		if name, ok := part.Value.(string); ok && part.Type.Equal(authCommonName) {
			names = append(names, name)
		}
	}
	if len(names) != 1 {
		return nil, fmt.Errorf("its subject has %d common names, not one", len(names))
	}
	return names, nil
}

var authCommonName = asn1.ObjectIdentifier{2, 5, 4, 3} // RFC 5280, appendix A.1

func (cas *authCAs) isRevoked(cert *x509.Certificate) bool {
	return cas.revoked[authSerial{string(cert.RawIssuer), cert.SerialNumber.String()}]
}

// clientCAs are the CAs that TLS names when it asks a client for its certificate, so that the client
// does not show another one; nil if none is asked for.
func (a *auth) clientCAs() *x509.CertPool {
	if a.clients == nil {
		return nil
	}
	return a.clients.file.current().pool
}

const authNoCertificate = "no client certificate that lets you in"

// certificateUsers gives the users whom a connection's certificate lets in, at least one.
func (a *auth) certificateUsers(c authClient) (users []string, err error) {
	if c.tls == nil || len(c.tls.PeerCertificates) == 0 {
		return nil, authRefusal{authNoCertificate, "none was shown"}
	}
	now := a.settings.now()
	if now.IsZero() {
		return nil, fmt.Errorf("%w: the clock is not set, and a certificate may have ended", errAuthUnavailable)
	}
	leaf := c.tls.PeerCertificates[0]
	names, err := a.clients.names(c.tls.PeerCertificates, now)
	if err != nil {
		return nil, authRefusal{authNoCertificate, fmt.Sprintf("that of %q: %v", leaf.Subject.String(), err)}
	}
	for _, name := range names {
		name, err := authName(authWithoutDomain(name, a.settings.domains))
		if err != nil {
			continue
		}
		if u, err := a.user(name); err != nil {
			return nil, fmt.Errorf("%w: %w", errAuthUnavailable, err)
		} else if u != nil && !u.locked && !slices.Contains(users, name) {
			users = append(users, name)
		}
	}
	if len(users) == 0 {
		return nil, authRefusal{authNoCertificate, fmt.Sprintf("that of %q is for %q, and there is no such user", leaf.Subject.String(), names)}
	}
	return users, nil
}

// offersExternal tells whether a certificate was shown that lets somebody in.
func (a *auth) offersExternal(c authClient) bool {
	if a.clients == nil || c.tls == nil || len(c.tls.PeerCertificates) == 0 {
		return false
	}
	_, err := a.certificateUsers(c)
	return err == nil
}

// beginExternal begins a login by a certificate. The one message is the authorization identity: empty,
// then the certificate's first user is meant, or one of them.
func (a *auth) beginExternal(c authClient) *authExchange {
	if a.clients == nil {
		return nil
	}
	x := &authExchange{}
	x.step = func(response []byte) (_ []byte, err error) {
		x.user = string(response)
		if strings.ContainsRune(x.user, 0) || len(x.user) > authMaxIdentity { // RFC 4422, appendix A.2
			return nil, fmt.Errorf("%w of EXTERNAL", errAuthMessage)
		}
		x.name, err = a.external(c, x.user)
		return nil, err
	}
	return x
}

const authMaxIdentity = 320 // bytes: a user and a domain

// external gives the user whom a certificate lets in.
func (a *auth) external(c authClient, actsFor string) (user string, err error) {
	wanted := ""
	if actsFor != "" {
		if wanted, err = authName(authWithoutDomain(actsFor, a.settings.domains)); err != nil {
			wanted = actsFor // nobody
		}
	}
	mark := sha256.New()
	if c.tls != nil && len(c.tls.PeerCertificates) > 0 {
		mark.Write(c.tls.PeerCertificates[0].Raw)
	}
	mark.Write([]byte(wanted))
	err = a.attempt(c.remote, wanted, binary.LittleEndian.Uint64(mark.Sum(nil)), func() error {
		users, err := a.certificateUsers(c)
		switch {
		case err != nil:
			return err
		case wanted == "":
			user = users[0]
		case slices.Contains(users, wanted):
			user = wanted
		default:
			return authRefusal{authNoCertificate, fmt.Sprintf("that of %s may not act for %s", users[0], actsFor)}
		}
		return nil
	})
	return user, err
}

// authClientCAFindings looks at the file for letterbox check: what is wrong in it, or what is in it.
func authClientCAFindings(path string, now time.Time) (said string, findings []string) {
	cas, err := authReadCAs(path)
	if err != nil {
		return "", []string{err.Error()}
	}
	var subjects []string
	for _, ca := range cas.certs {
		subjects = append(subjects, fmt.Sprintf("%s (until %s)", ca.Subject, ca.NotAfter.Format(time.DateOnly)))
		found := func(format string, args ...any) {
			findings = append(findings, fmt.Sprintf("%s: the certificate of %s %s", path, ca.Subject, fmt.Sprintf(format, args...)))
		}
		switch {
		case now.After(ca.NotAfter):
			found("has ended on %s, so what it has signed lets nobody in", ca.NotAfter.Format(time.DateOnly))
		case now.Before(ca.NotBefore):
			found("begins on %s; is this box's clock right?", ca.NotBefore.Format(time.DateOnly))
		}
		if ca.KeyUsage != 0 && ca.KeyUsage&x509.KeyUsageCertSign == 0 {
			found("may not sign certificates")
		}
		if len(ca.ExtKeyUsage) > 0 && !slices.Contains(ca.ExtKeyUsage, x509.ExtKeyUsageClientAuth) && !slices.Contains(ca.ExtKeyUsage, x509.ExtKeyUsageAny) {
			found("may not sign for clients")
		}
	}
	for _, list := range cas.lists {
		if !list.NextUpdate.IsZero() && now.After(list.NextUpdate) {
			findings = append(findings, fmt.Sprintf("%s: a newer list of what %s has revoked was due on %s; the old one counts on",
				path, list.Issuer, list.NextUpdate.Format(time.DateOnly)))
		}
	}
	return fmt.Sprintf("%s, %d revoked", strings.Join(subjects, ", "), len(cas.revoked)), findings
}
