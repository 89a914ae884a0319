package main

import (
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// serverCerts has the certificates that clients are shown: from the files of [tls],
// or from a CA of our own. Its tls.Configs stay the same as long as the process
// lives, whatever becomes of the certificates, so session tickets go on too.
type serverCerts struct {
	modern *tls.Config // TLS 1.2 and later
	asking *tls.Config // the same, and clients are asked for a certificate
	legacy *tls.Config // TLS 1.0 and later, for [legacy]

	dir string // for certificates of our own
	clk *serverClock
	log *slog.Logger

	acme *serverACME // those for public names

	mu       sync.Mutex // guards all below
	settings serverCertNeeds
	files    *serverCertFiles // nil: our own
	looked   time.Time        // when the files were last looked at
	own      *serverCA        // nil: not yet made or read
	leaf     *tls.Certificate // our own; nil: not yet
	rsaLeaf  *tls.Certificate // the same for clients of [legacy], which know no other
	failed   time.Time        // when making one last failed

	clientCAs func() *x509.CertPool // whom clients' certificates should be signed by
	asked     *tls.Config           // what asking was last made into
}

// serverCertNeeds is what certificates are needed.
type serverCertNeeds struct {
	cert, key string // files; "": our own
	hostname  string
	given     bool // the hostname was chosen by somebody
	legacy    bool // somebody may know only RSA
	acme      serverACMENeeds
}

func serverCertSettings(c *config) serverCertNeeds {
	return serverCertNeeds{cert: c.tls.cert, key: c.tls.key, hostname: c.hostname, given: c.given, acme: serverACMESettings(c),
		legacy: len(c.legacy.smtp)+len(c.legacy.submission)+len(c.legacy.submissions) > 0}
}

const serverCertLook = 5 * time.Second // how long changed files may be overlooked

func serverOpenCerts(dir string, clk *serverClock, log *slog.Logger) *serverCerts {
	certs := &serverCerts{dir: dir, clk: clk, log: log, acme: serverOpenACME(dir, clk, log)}
	certs.modern = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: certs.get} // RFC 8996, RFC 9051, section 11.1
	certs.modern.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) { return certs.acme.challenge(hello), nil }
	certs.asking = certs.modern.Clone()
	certs.asking.GetConfigForClient = certs.ask
	certs.legacy = &tls.Config{MinVersion: tls.VersionTLS10, GetCertificate: certs.getLegacy}
	for _, suite := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) { // the best that both know is taken
		certs.legacy.CipherSuites = append(certs.legacy.CipherSuites, suite.ID)
	}
	return certs
}

// serverCertFiles is a certificate that was read from files.
type serverCertFiles struct {
	cert      *tls.Certificate
	stamp     string // of both files
	complaint string // as last logged
}

// use changes to what a configuration wants. Files that cannot be used are an error,
// and all stays as it was.
func (t *serverCerts) use(needs serverCertNeeds) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var files *serverCertFiles
	var err error
	if needs.cert != "" {
		if files, err = serverReadCert(needs.cert, needs.key); err != nil {
			return err
		}
	}
	oldSettings, oldFiles, oldRSA := t.settings, t.files, t.rsaLeaf
	t.settings, t.files = needs, files
	if err = t.prepare(); err == nil {
		err = t.acme.use(needs.acme)
	}
	if err != nil {
		t.settings, t.files, t.rsaLeaf = oldSettings, oldFiles, oldRSA
		return err
	}
	t.looked = time.Now()
	return nil
}

// serverReadCert reads a certificate, and says in what way it cannot be used.
func serverReadCert(cert, key string) (*serverCertFiles, error) {
	files := &serverCertFiles{stamp: serverStamp(cert, key)}
	pair, err := tls.LoadX509KeyPair(cert, key)
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, os.ErrPermission):
		return nil, serverHint{fmt.Errorf("reading the certificate: %w", err),
			fmt.Sprintf("[tls] cert and key must be files that user id %d may read", os.Getuid())}
	case err != nil:
		return nil, serverHint{fmt.Errorf("the certificate in %s and the key in %s: %w", cert, key, err),
			"cert holds the certificate and its chain, key its private key, both in PEM"}
	}
	files.cert = &pair
	return files, nil
}

// serverStamp is something that changes when a file does.
func serverStamp(paths ...string) (stamp string) {
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil {
			stamp += fmt.Sprintln(info.Size(), info.ModTime().UnixNano())
		} else {
			stamp += "gone\n"
		}
	}
	return stamp
}

// reread takes changed files; t.mu is held. While they cannot be used, as when only
// one of the two has been replaced, the old certificate stays.
func (t *serverCerts) reread() {
	if time.Since(t.looked) < serverCertLook {
		return
	}
	t.looked = time.Now()
	if serverStamp(t.settings.cert, t.settings.key) == t.files.stamp {
		return
	}
	files, err := serverReadCert(t.settings.cert, t.settings.key)
	if err != nil {
		if err.Error() != t.files.complaint {
			t.files.complaint = err.Error()
			logServerCertBad(t.log, t.settings.cert, err)
		}
		return
	}
	t.files = files
	logServerCertRead(t.log, t.settings.cert, files.cert.Leaf.NotAfter)
}

// get chooses a certificate for a handshake: one for a public name is for those who ask for that name.
func (t *serverCerts) get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if cert := t.acme.get(hello); cert != nil {
		return cert, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.files != nil {
		t.reread()
		return t.files.cert, nil
	}
	if t.leaf == nil {
		t.tryPrepare()
	}
	if t.leaf == nil {
		return nil, errServerNoCert
	}
	return t.leaf, nil
}

// askFor says whom clients' certificates should be signed by.
func (t *serverCerts) askFor(cas func() *x509.CertPool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clientCAs = cas
}

// ask chooses what a client is asked for in a handshake: a certificate of one of the CAs that are named, so that it does not
// bother its user about another. It need not have one, and one of somebody else's ends nothing: the auth room
// looks at it when the client wants to log in by it.
func (t *serverCerts) ask(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	if cfg := t.acme.challenge(hello); cfg != nil {
		return cfg, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	pool := t.clientCAs()
	if t.asked == nil || t.asked.ClientCAs != pool {
		t.asked = t.modern.Clone() // without ticket keys of its own: asking's are used
		t.asked.ClientAuth, t.asked.ClientCAs = tls.RequestClientCert, pool
	}
	return t.asked, nil
}

// getLegacy is get for clients of [legacy]: one with an RSA key where there is one, for
// some old clients name ciphers that they cannot do.
func (t *serverCerts) getLegacy(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	cert, err := t.get(hello)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.rsaLeaf != nil && (err != nil || hello.SupportsCertificate(t.rsaLeaf) == nil) {
		return t.rsaLeaf, nil
	}
	return cert, err
}

var errServerNoCert = errors.New("there is no certificate yet: this box's clock is not set")

func serverIsRSA(cert *tls.Certificate) bool {
	_, ok := cert.Leaf.PublicKey.(*rsa.PublicKey)
	return ok
}

// ready tells whether there is a certificate to show.
func (t *serverCerts) ready() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.files != nil || t.leaf != nil
}

// renew makes certificates of our own anew when it is time, or when this box has got a
// new name or address. The server calls it from time to time.
func (t *serverCerts) renew() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tryPrepare()
}

// tryPrepare is prepare where nobody waits for the error; t.mu is held.
func (t *serverCerts) tryPrepare() {
	if time.Since(t.failed) < serverUnsetClock {
		return
	}
	if err := t.prepare(); err != nil {
		t.failed = time.Now()
		logServerCertBad(t.log, t.dir, err)
	}
}

// prepare reads or makes the certificates of our own that are needed; t.mu is held.
// While the clock is not believed, what there is is used.
func (t *serverCerts) prepare() error {
	needRSA := t.settings.legacy && (t.files == nil || !serverIsRSA(t.files.cert))
	if !needRSA {
		t.rsaLeaf = nil
	}
	if t.files != nil && !needRSA {
		return nil
	}
	now := t.clk.now()
	ca, err := serverOpenCA(t.dir, t.own, t.settings, now, t.log)
	if err != nil || ca == nil {
		return err
	}
	t.own = ca
	names := serverCertNames(t.settings.hostname, ca.cert)
	if t.files == nil {
		if t.leaf, err = ca.leaf(t.dir, "server", t.leaf, names, serverKeyEC, now, t.log); err != nil {
			return err
		}
	}
	if needRSA {
		t.rsaLeaf, err = ca.leaf(t.dir, "legacy", t.rsaLeaf, names, serverKeyRSA, now, t.log)
	}
	return err
}

// caFile is the file that devices are to trust and its fingerprint; "" if the
// certificate is not our own, or is not made yet.
func (t *serverCerts) caFile() (path, fingerprint string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.files != nil || t.own == nil {
		return "", ""
	}
	return serverCAPath(t.dir), serverFingerprint(t.own.cert)
}

// caCert is the CA that devices are to trust, nil where caFile is "".
func (t *serverCerts) caCert() *x509.Certificate {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.files != nil || t.own == nil {
		return nil
	}
	return t.own.cert
}
