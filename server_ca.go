package main

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// serverCA is the box's own certificate authority. A device that trusts it once is not
// asked again when the server's certificate changes. It is as harmless as can be: it
// can sign for this box's names and private addresses only, and no other CA.
//
//	none --first start with a believed clock--> ca.pem, ca.key --ten years, or a new hostname--> ca.pem.old, new ones
//	server.pem: none --> made --60 days before its end, or a new name or address--> made anew
type serverCA struct {
	cert *x509.Certificate
	key  crypto.Signer
}

const (
	serverCADays   = 3653 // ten years
	serverLeafDays = 396  // with the day before it: phones refuse more than 398
	serverRenew    = 60 * 24 * time.Hour
	serverDay      = 24 * time.Hour
)

// serverCADomains are what the CA may sign for besides the hostname: names that exist
// in a home only (RFC 6762, RFC 8375, RFC 6761).
var serverCADomains = []string{"local", "lan", "home.arpa", "localhost"}

// serverCANetworks are the addresses that it may sign for.
var serverCANetworks = slices.Concat(serverNetworks[configLoopback], serverNetworks[configPrivate])

func serverCAPath(dir string) string { return filepath.Join(dir, "ca.pem") }

// serverOpenCA gives the CA: old if it will do, the one on disk, or a new one. It is nil
// if there is none and the time is not believed.
func serverOpenCA(dir string, old *serverCA, needs serverCertNeeds, now time.Time, log *slog.Logger) (*serverCA, error) {
	ca, why := old, ""
	var err error
	if ca == nil {
		ca, err = serverReadCA(dir)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		why = "there was none"
	case err != nil:
		return nil, serverHint{fmt.Errorf("reading this box's own CA: %w", err),
			"put the files back from a backup, or remove ca.pem and ca.key: a new CA is made, and each device must trust it anew"}
	case now.IsZero():
		return ca, nil
	case now.Add((serverLeafDays + 1) * serverDay).After(ca.cert.NotAfter):
		why = "the old one ends"
	case needs.given && !serverPermits(ca.cert, needs.hostname):
		why = "the hostname is new"
	default:
		return ca, nil
	}
	if now.IsZero() {
		return nil, nil
	}
	if ca != nil {
		if err := os.Rename(serverCAPath(dir), serverCAPath(dir)+".old"); err != nil {
			return nil, fmt.Errorf("keeping the old CA: %w", err)
		}
	}
	if ca, err = serverMakeCA(dir, needs.hostname, now); err != nil {
		return nil, err
	}
	logServerCAMade(log, serverCAPath(dir), serverFingerprint(ca.cert), why)
	return ca, nil
}

// serverReadCA reads ca.pem and ca.key. ErrNotExist means that there is no CA.
func serverReadCA(dir string) (*serverCA, error) {
	pair, err := tls.LoadX509KeyPair(serverCAPath(dir), filepath.Join(dir, "ca.key"))
	if err != nil {
		return nil, err
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok || !pair.Leaf.IsCA {
		return nil, errors.New("ca.pem is no CA's certificate")
	}
	return &serverCA{pair.Leaf, key}, nil
}

func serverMakeCA(dir, hostname string, now time.Time) (*serverCA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: serverSerial(),
		Subject:      pkix.Name{CommonName: "Letterbox CA of " + hostname[:min(len(hostname), 40)]}, // at most 64: RFC 5280, appendix A.1
		// A clock that was ahead when the CA was made must not keep it from being trusted.
		NotBefore:             serverEarlier(now, serverBuilt()).Add(-serverDay),
		NotAfter:              now.Add(serverCADays * serverDay),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},

		PermittedDNSDomainsCritical: true, // RFC 5280, section 4.2.1.10
		PermittedDNSDomains:         append([]string{hostname}, serverCADomains...),
	}
	for _, prefix := range serverCANetworks {
		bits := 32
		if prefix.Addr().Is6() {
			bits = 128
		}
		template.PermittedIPRanges = append(template.PermittedIPRanges,
			&net.IPNet{IP: prefix.Addr().AsSlice(), Mask: net.CIDRMask(prefix.Bits(), bits)})
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("making a CA: %w", err)
	}
	if err := serverWriteCert(serverCAPath(dir), filepath.Join(dir, "ca.key"), key, der); err != nil {
		return nil, err
	}
	return serverReadCA(dir)
}

func serverEarlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// serverSerial is a random number of 127 bits (RFC 5280, section 4.1.2.2: at most 20
// octets and positive).
func serverSerial() *big.Int {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[0] = b[0]&0x7f | 0x40
	return new(big.Int).SetBytes(b[:])
}

// serverWriteCert writes the key before the certificate: a certificate without its
// key would be of no use.
func serverWriteCert(certPath, keyPath string, key crypto.Signer, chain ...[]byte) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("writing a key: %w", err)
	}
	if err := fileReplace(keyPath, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		return serverPathError("writing", keyPath, err)
	}
	var out bytes.Buffer
	for _, der := range chain {
		if err := pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: der}); err != nil {
			return fmt.Errorf("writing a certificate: %w", err)
		}
	}
	if err := fileReplace(certPath, out.Bytes(), 0o644); err != nil {
		return serverPathError("writing", certPath, err)
	}
	return nil
}

// serverReadPEM reads the first certificate of a file.
func serverReadPEM(path string) (*x509.Certificate, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, fmt.Errorf("%s holds no certificate", path)
	}
	return x509.ParseCertificate(block.Bytes)
}

// serverFingerprint is what devices show when they ask whether to trust.
func serverFingerprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return strings.ReplaceAll(fmt.Sprintf("% X", sum[:]), " ", ":")
}

// serverKeyKind makes a key.
type serverKeyKind func() (crypto.Signer, error)

func serverKeyEC() (crypto.Signer, error)  { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }
func serverKeyRSA() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 2048) }

// leaf gives a server's certificate for names: old if it will do, the one on disk, or
// a new one. It is nil if there is none and the time is not believed.
func (ca *serverCA) leaf(dir, file string, old *tls.Certificate, names []string, kind serverKeyKind, now time.Time, log *slog.Logger) (*tls.Certificate, error) {
	certPath, keyPath := filepath.Join(dir, file+".pem"), filepath.Join(dir, file+".key")
	leaf := old
	if leaf == nil {
		if pair, err := tls.LoadX509KeyPair(certPath, keyPath); err == nil { // else it is made anew
			leaf = &pair
		}
	}
	why := ""
	switch {
	case leaf == nil:
		why = "there was none"
	case leaf.Leaf.CheckSignatureFrom(ca.cert) != nil:
		why = "the CA is new"
	case now.IsZero():
		return leaf, nil
	case now.Before(leaf.Leaf.NotBefore), now.Add(serverRenew).After(leaf.Leaf.NotAfter):
		why = "the old one ends"
	case len(serverMissing(leaf.Leaf, names)) > 0:
		why = "this box is also called " + strings.Join(serverMissing(leaf.Leaf, names), ", ")
	default:
		return leaf, nil
	}
	if now.IsZero() {
		return leaf, nil
	}
	key, err := kind()
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: serverSerial(),
		Subject:      pkix.Name{CommonName: names[0][:min(len(names[0]), 64)]},
		NotBefore:    now.Add(-serverDay), // clients' clocks are behind at times
		NotAfter:     now.Add(serverLeafDays * serverDay),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if _, isRSA := key.(*rsa.PrivateKey); isRSA {
		template.KeyUsage |= x509.KeyUsageKeyEncipherment // what TLS 1.0 does without Diffie-Hellman
	}
	for _, name := range names {
		if addr, err := netip.ParseAddr(name); err == nil {
			template.IPAddresses = append(template.IPAddresses, addr.AsSlice())
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, key.Public(), ca.key)
	if err != nil {
		return nil, fmt.Errorf("making a certificate: %w", err)
	}
	if err := serverWriteCert(certPath, keyPath, key, der, ca.cert.Raw); err != nil {
		return nil, err
	}
	pair, err := tls.LoadX509KeyPair(certPath, keyPath)
	if err != nil {
		return nil, fmt.Errorf("reading what was just written: %w", err)
	}
	logServerLeafMade(log, certPath, why, pair.Leaf.NotAfter)
	return &pair, nil
}

// serverMissing gives the names that a certificate is not good for. Names too many do
// no harm: an address may come back.
func serverMissing(leaf *x509.Certificate, names []string) (missing []string) {
	for _, name := range names {
		if leaf.VerifyHostname(name) != nil {
			missing = append(missing, name)
		}
	}
	return missing
}

// serverCertNames are the names and addresses of this box that its CA may sign for.
func serverCertNames(hostname string, ca *x509.Certificate) (names []string) {
	candidates := []string{hostname}
	for _, name := range []string{hostname, configHostname()} {
		first, _, _ := strings.Cut(name, ".")
		candidates = append(candidates, strings.TrimSuffix(name, ".local")+".local", first+".local") // as mDNS has it
	}
	candidates = append(candidates, "localhost", "127.0.0.1", "::1")
	if addrs, err := net.InterfaceAddrs(); err == nil { // else it is known by its names only
		for _, a := range addrs {
			if prefix, err := netip.ParsePrefix(a.String()); err == nil && !prefix.Addr().IsLinkLocalUnicast() {
				candidates = append(candidates, prefix.Addr().String())
			}
		}
	}
	for _, name := range candidates {
		if serverPermits(ca, name) && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// serverPermits tells whether a CA's constraints allow a name or an address.
func serverPermits(ca *x509.Certificate, name string) bool {
	if addr, err := netip.ParseAddr(name); err == nil {
		return slices.ContainsFunc(ca.PermittedIPRanges, func(n *net.IPNet) bool { return n.Contains(addr.AsSlice()) })
	}
	return slices.ContainsFunc(ca.PermittedDNSDomains, func(domain string) bool {
		return name == domain || strings.HasSuffix(name, "."+domain)
	})
}
