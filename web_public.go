package main

import (
	"crypto/sha256"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/netip"
	"path"
	"strings"
)

// webHome is the page for everybody.
type webHome struct {
	webPage
	Address     string // of this page, for other devices
	QR          string // the same, as the path of a picture
	QRSize      int
	Servers     []webServer
	Best        []webServer // of them, those to begin with
	Others      []webServer // and the others
	OthersAre   string      // in a word
	Device      string      // the port for printers and cameras
	MailHost    string
	MailDomain  string
	Addresses   []string
	Fingerprint []string // of the CA, in lines; nil: it is nothing of ours
	Standard    bool     // mail programs look for their settings on these ports
}

// showHome is the page for everybody.
func (v *webVisit) showHome() error {
	home := webHome{webPage: v.page("Mail"), Servers: v.servers(), Device: v.port("smtp"),
		MailHost: v.mailHost(), MailDomain: v.mailDomain(), Addresses: v.addresses(),
		Standard: v.port("http") == "80" || v.port("https") == "443"}
	home.sort()
	home.Address = v.shared()
	if q := webQRMake(home.Address); q != nil {
		home.QR, home.QRSize = q.path(), q.size+8
	}
	if ca := v.ca(); ca != nil {
		sum := sha256.Sum256(ca.Raw)
		for i := 0; i < len(sum); i += 8 {
			home.Fingerprint = append(home.Fingerprint, strings.ReplaceAll(fmt.Sprintf("% X", sum[i:i+8]), " ", ":"))
		}
	}
	return v.show(http.StatusOK, "home.html", home)
}

// sort puts aside what only few need.
func (h *webHome) sort() {
	in, out := webBest(h.Servers, "IMAP"), webBest(h.Servers, "SMTP")
	if in == nil {
		in = webBest(h.Servers, "POP3")
	}
	for _, s := range h.Servers {
		if in != nil && s == *in || out != nil && s == *out {
			h.Best = append(h.Best, s)
			continue
		}
		h.Others = append(h.Others, s)
		for _, word := range []string{s.Kind, s.Security()} {
			if (word == "POP3" || word == "STARTTLS") && !strings.Contains(h.OthersAre, word) {
				h.OthersAre += ", " + word
			}
		}
	}
	h.OthersAre = strings.TrimPrefix(h.OthersAre, ", ")
}

// shared is the address of this page that other devices can use: in clear if it can be had so,
// since they do not trust this box yet.
func (v *webVisit) shared() string {
	w := *v
	if addr, err := netip.ParseAddr(w.host); err == nil && addr.IsLoopback() || w.host == "localhost" {
		w.host = w.boxName()
		if own := w.addresses(); len(own) > 0 { // not every phone knows .local
			w.host = own[0]
		}
	}
	for _, scheme := range []string{"http", "https"} {
		if base := w.base(scheme); base != "" {
			return base + "/"
		}
	}
	return ""
}

// webCAKinds are the media types by which systems know a certificate: .crt for Android, iOS and
// Linux, .cer for Windows, .pem for programs.
var webCAKinds = map[string]string{".crt": "application/x-x509-ca-cert", ".cer": "application/pkix-cert", ".pem": "application/x-pem-file"}

// showCA sends the CA's certificate.
func (v *webVisit) showCA() error {
	ca := v.ca()
	if ca == nil {
		return webRefusal{http.StatusNotFound, "This box has no certificate authority of its own, so there is nothing to install."}
	}
	body, ext := ca.Raw, path.Ext(v.route.path)
	if ext == ".pem" {
		body = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw})
	}
	v.saveAs("letterbox" + ext)
	return v.write(http.StatusOK, webCAKinds[ext], body)
}

// challenged gives what a CA looks for at this path to see whether a name leads here (RFC 8555, section 8.3), "" on
// all other visits. Whoever does not know the token that the CA has just given is a visitor like others.
func (v *webVisit) challenged() string {
	token, ok := strings.CutPrefix(v.r.URL.Path, "/.well-known/acme-challenge/")
	if !ok || token == "" || v.r.Method != "GET" && v.r.Method != "HEAD" {
		return ""
	}
	return v.webSettings.challenge(token)
}

// saveAs names a download. It is not called an attachment: iOS would save it instead of installing it.
func (v *webVisit) saveAs(name string) {
	v.w.Header().Set("Content-Disposition", fmt.Sprintf("inline; filename=%q", name))
}
