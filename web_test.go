package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"encoding/xml"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// webTestCA is a certificate to be downloaded.
func webTestCA(t *testing.T) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA"}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// webTestChallenge knows what one CA looks for.
func webTestChallenge(token string) string { return map[string]string{"t_-1": "t_-1.thumb"}[token] }

// webTest is the door of a box called pi, with all ports as usual.
func webTest(t *testing.T, change func(*webSettings)) *webDoor {
	t.Helper()
	services := []webService{{"http", "80", false}, {"https", "443", false}, {"imaps", "993", false}, {"imap", "143", false},
		{"pop3s", "995", false}, {"pop3", "110", true}, {"submissions", "465", false}, {"submission", "587", false}, {"smtp", "25", false}}
	ca := webTestCA(t)
	c := &config{hostname: "pi", domains: []string{"example.org"}}
	deliverer := newDeliverer(deliverSettings{hostname: c.hostname, domains: serverDomains(c)})
	settings := webSettings{challenge: webTestChallenge, hostname: "pi", version: "test", names: serverWebNames(c), domains: []string{"example.org"}, isOurs: deliverer.isOurs,
		networks: []netip.Prefix{netip.MustParsePrefix("192.168.1.0/24"), netip.MustParsePrefix("127.0.0.0/8")}, log: slog.New(slog.DiscardHandler),
		listening: func() []webService { return services }, addresses: func() []string { return []string{"192.168.1.20"} },
		ca: func() *x509.Certificate { return ca }}
	if change != nil {
		change(&settings)
	}
	return newWebDoor(newWebState(), settings)
}

// webAsk makes one request from the home network.
func webAsk(d http.Handler, method, target, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.RemoteAddr = "192.168.1.7:40000"
	for i := 0; i+1 < len(headers); i += 2 {
		if headers[i] == "from" {
			r.RemoteAddr = headers[i+1]
		} else {
			r.Header.Set(headers[i], headers[i+1])
		}
	}
	w := httptest.NewRecorder()
	d.ServeHTTP(w, r)
	return w
}

// The public part by what is asked: status, and words that must be in the answer.
func TestWebPublic(t *testing.T) {
	d := webTest(t, nil)
	for _, test := range []struct {
		method, target string
		headers        []string
		status         int
		want           []string // "!word": must not be there; "Header: value"
	}{
		{"GET", "http://pi.local/", nil, 200, []string{"pi.local", "993", "SSL/TLS", "http://pi.local/", "<svg", "!110", "25", "you@example.org", "192.168.1.20"}},
		{"GET", "http://pi.local/", []string{"from", "127.0.0.1:1"}, 200, []string{"110"}},
		{"HEAD", "http://pi.local/", nil, 200, []string{"!<h1>"}},
		{"GET", "http://192.168.1.20/", nil, 200, []string{"pi.local", "http://192.168.1.20/"}},
		{"GET", "http://[fe80::1%25.evil.example]/me", nil, 302, []string{"Location: https://[fe80::1]/me"}},
		{"GET", "http://[fd00::1]:80/", nil, 200, []string{"http://[fd00::1]/"}},
		{"GET", "http://localhost/", []string{"from", "127.0.0.1:1"}, 200, []string{"http://192.168.1.20/"}},
		{"GET", "http://pi.lan/", nil, 200, []string{"pi.local"}},
		{"GET", "http://PI.LOCAL./", nil, 200, []string{"pi.local"}},
		{"GET", "http://evil.example/", nil, 421, []string{`not called "evil.example"`, "Content-Type: text/plain", "!Letterbox", "!https://evil.example"}},
		{"GET", "http://pi.evil.example/", nil, 421, nil},
		{"GET", "http://pi.local.evil.example/", nil, 421, nil},
		{"GET", "http://autoconfig.evil.example/", nil, 421, nil},
		{"GET", "http://pi.local/", []string{"from", "203.0.113.9:1"}, 403, []string{"home network", "203.0.113.9", "!993", "!pi", "!Letterbox", "Connection: close"}},
		{"GET", "http://pi.local/letterbox.crt", []string{"from", "203.0.113.9:1"}, 403, nil},
		{"GET", "http://mail.example.org/.well-known/acme-challenge/t_-1", []string{"from", "203.0.113.9:1"}, 200, []string{"t_-1.thumb"}},
		{"GET", "http://mail.example.org/.well-known/acme-challenge/t_-2", []string{"from", "203.0.113.9:1"}, 403, []string{"!thumb"}},
		{"GET", "http://mail.example.org/.well-known/acme-challenge/", []string{"from", "203.0.113.9:1"}, 403, nil},
		{"GET", "http://mail.example.org/.well-known/acme-challenge/t_-1/..", []string{"from", "203.0.113.9:1"}, 403, nil},
		{"POST", "http://mail.example.org/.well-known/acme-challenge/t_-1", []string{"from", "203.0.113.9:1"}, 403, []string{"!thumb"}},
		{"GET", "http://pi.local/.well-known/acme-challenge/t_-2", nil, 404, nil},
		{"GET", "http://pi.local/", []string{"from", "@"}, 200, nil}, // a unix socket
		{"POST", "http://pi.local/", nil, 405, []string{"Allow: GET, HEAD"}},
		{"DELETE", "http://pi.local/mail/config-v1.1.xml", nil, 405, nil},
		{"GET", "http://pi.local/nothing", nil, 404, nil},
		{"GET", "http://pi.local/letterbox.mobileconfig?" + strings.Repeat("x&", webQueryMost), nil, 414, nil},
		{"GET", "http://pi.local/../config.toml", nil, 404, nil},
		{"GET", "http://pi.local/%2e%2e/%2e%2e/etc/passwd", nil, 404, nil},
		{"GET", "http://pi.local//evil.example/", nil, 404, nil},
		{"GET", "http://pi.local/style.css/../layout.html", nil, 404, nil},
		{"GET", "http://pi.local/layout.html", nil, 404, nil},
		{"GET", "http://pi.local/style.css", nil, 200, []string{"Content-Type: text/css; charset=utf-8"}},
		{"GET", "http://pi.local/icon.svg", nil, 200, []string{"Content-Type: image/svg+xml"}},
		{"GET", "http://pi.local/<script>alert(1)</script>", nil, 404, []string{"!<script>"}},
	} {
		w := webAsk(d, test.method, test.target, "", test.headers...)
		if w.Code != test.status {
			t.Errorf("%s %s %v: %d, want %d", test.method, test.target, test.headers, w.Code, test.status)
		}
		webWant(t, test.method+" "+test.target, w, test.want)
		csp := w.Header().Get("Content-Security-Policy")
		if !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") || strings.Contains(csp, "http") {
			t.Errorf("%s: policy %q", test.target, csp)
		}
		if w.Header().Get("X-Content-Type-Options") != "nosniff" || w.Header().Get("Set-Cookie") != "" {
			t.Errorf("%s: headers %v", test.target, w.Header())
		}
	}
}

// webWant looks for words in an answer, with its headers before it.
func webWant(t *testing.T, what string, w *httptest.ResponseRecorder, want []string) {
	t.Helper()
	var b strings.Builder
	if err := w.Header().Write(&b); err != nil {
		t.Fatal(err)
	}
	all := strings.ReplaceAll(b.String(), "\r\n", "\n") + "\n" + w.Body.String()
	for _, word := range want {
		no := strings.HasPrefix(word, "!")
		if word = strings.TrimPrefix(word, "!"); strings.Contains(all, word) == no {
			t.Errorf("%s: %q is there: %t, in\n%s", what, word, no, all)
		}
	}
}

// No page has a script, a style or a picture from elsewhere, or a handler of events.
func TestWebHarmless(t *testing.T) {
	d := webTest(t, nil)
	bad := regexp.MustCompile(`(?i)<script|<iframe|<object|<embed|\son[a-z]+=|\sstyle=|<style|javascript:|(src|href)="(https?:)?//`)
	for _, route := range webRoutes {
		w := webAsk(d, route.method, "https://pi.local"+route.path, "")
		if found := bad.FindString(w.Body.String()); found != "" {
			t.Errorf("%s has %q", route.path, found)
		}
	}
}

func TestWebNoTLS(t *testing.T) {
	d := webTest(t, nil)
	w := webAsk(d, "GET", "http://pi.local/Autodiscover/Autodiscover.xml?next=//evil.example/", "")
	if w.Code != http.StatusFound || w.Header().Get("Location") != "https://pi.local/autodiscover/autodiscover.xml" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	d = webTest(t, func(s *webSettings) {
		s.listening = func() []webService { return []webService{{"https", "2443", false}} }
	})
	w = webAsk(d, "GET", "http://[fd00::1]/autodiscover/autodiscover.xml", "")
	if got := w.Header().Get("Location"); got != "https://[fd00::1]:2443/autodiscover/autodiscover.xml" {
		t.Errorf("it leads to %q", got)
	}
	d = webTest(t, func(s *webSettings) { s.listening = func() []webService { return nil } })
	w = webAsk(d, "GET", "http://pi.local/autodiscover/autodiscover.xml", "")
	if w.Code != http.StatusForbidden || w.Header().Get("Location") != "" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	if w = webAsk(d, "GET", "http://pi.local/", ""); w.Code != 200 || !strings.Contains(w.Body.String(), "switched off") {
		t.Errorf("without ports: %d %s", w.Code, w.Body)
	}
}

func TestWebCA(t *testing.T) {
	d := webTest(t, nil)
	for ext, kind := range webCAKinds {
		w := webAsk(d, "GET", "http://pi.local/letterbox"+ext, "")
		body := w.Body.Bytes()
		if ext == ".pem" {
			block, _ := pem.Decode(body)
			if block == nil {
				t.Fatalf("not PEM: %s", body)
			}
			body = block.Bytes
		}
		if !slices.Equal(body, d.ca().Raw) || w.Header().Get("Content-Type") != kind || w.Header().Get("Content-Disposition") != `inline; filename="letterbox`+ext+`"` {
			t.Errorf("%s: %d bytes, %v", ext, len(body), w.Header())
		}
	}
	home := webAsk(d, "GET", "http://pi.local/", "").Body.String()
	words := regexp.MustCompile(`[0-9A-F]{2}(:[0-9A-F]{2}){7}`).FindAllString(home, -1)
	if got := strings.Join(words, ":"); got != serverFingerprint(d.ca()) {
		t.Errorf("the page shows %s, not %s", got, serverFingerprint(d.ca()))
	}
	d = webTest(t, func(s *webSettings) { s.ca = func() *x509.Certificate { return nil } })
	if w := webAsk(d, "GET", "http://pi.local/letterbox.crt", ""); w.Code != 404 {
		t.Errorf("without a CA: %d", w.Code)
	}
	if w := webAsk(d, "GET", "http://pi.local/", ""); strings.Contains(w.Body.String(), "fingerprint") {
		t.Error("without a CA the page speaks of it")
	}
}

// webXML is any element.
type webXML struct {
	XMLName  xml.Name
	Attrs    []xml.Attr `xml:",any,attr"`
	Text     string     `xml:",chardata"`
	Children []webXML   `xml:",any"`
}

func webParseXML(t *testing.T, text string) webXML {
	t.Helper()
	var root webXML
	if err := xml.Unmarshal([]byte(text), &root); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return root
}

// webSchema says what an element may have: its children in order, each with "?" (or not), "+" (one or more) or "*",
// or else what its text matches.
type webSchema map[string]string

func (s webSchema) check(t *testing.T, path string, e webXML) {
	t.Helper()
	rule, ok := s[path]
	if !ok {
		t.Errorf("%s may not be there", path)
		return
	}
	if text, ok := strings.CutPrefix(rule, "="); ok {
		if !regexp.MustCompile("^(?:"+text+")$").MatchString(e.Text) || len(e.Children) > 0 {
			t.Errorf("%s is %q, want %s", path, e.Text, text)
		}
		return
	}
	var names []string
	for _, child := range e.Children {
		names = append(names, child.XMLName.Local+" ")
		s.check(t, path+"/"+child.XMLName.Local, child)
	}
	pattern := "^"
	for _, word := range strings.Fields(rule) {
		name := strings.TrimRight(word, "?+*")
		pattern += "(" + name + " )" + word[len(name):]
	}
	if !regexp.MustCompile(pattern + "$").MatchString(strings.Join(names, "")) {
		t.Errorf("%s has %v, want %s", path, names, rule)
	}
}

// webAutoconfigSchema is the format of draft-ietf-mailmaint-autoconfig, as far as it concerns mail, in the order of its example.
var webAutoconfigSchema = webSchema{
	"clientConfig":                                             "emailProvider",
	"clientConfig/emailProvider":                               "domain+ displayName displayShortName? incomingServer+ outgoingServer+",
	"clientConfig/emailProvider/domain":                        `=[a-z0-9.-]+`,
	"clientConfig/emailProvider/displayName":                   `=.+`,
	"clientConfig/emailProvider/displayShortName":              `=.+`,
	"clientConfig/emailProvider/incomingServer":                "hostname port socketType authentication username",
	"clientConfig/emailProvider/incomingServer/hostname":       `=[a-z0-9.-]+`,
	"clientConfig/emailProvider/incomingServer/port":           `=[0-9]+`,
	"clientConfig/emailProvider/incomingServer/socketType":     `=SSL|STARTTLS`,
	"clientConfig/emailProvider/incomingServer/authentication": `=password-cleartext|password-encrypted`,
	"clientConfig/emailProvider/incomingServer/username":       `=%EMAILADDRESS%|[a-z]+`,
	"clientConfig/emailProvider/outgoingServer":                "hostname port socketType authentication username",
	"clientConfig/emailProvider/outgoingServer/hostname":       `=[a-z0-9.-]+`,
	"clientConfig/emailProvider/outgoingServer/port":           `=[0-9]+`,
	"clientConfig/emailProvider/outgoingServer/socketType":     `=SSL|STARTTLS`,
	"clientConfig/emailProvider/outgoingServer/authentication": `=password-cleartext|password-encrypted`,
	"clientConfig/emailProvider/outgoingServer/username":       `=%EMAILADDRESS%|[a-z]+`,
}

func TestWebAutoconfig(t *testing.T) {
	d := webTest(t, nil)
	for _, test := range []struct{ target, user, domain string }{
		{"http://example.org/.well-known/autoconfig/mail/config-v1.1.xml", "%EMAILADDRESS%", "example.org"},
		{"http://autoconfig.example.org/mail/config-v1.1.xml?emailaddress=Alice%40example.org", "alice", "example.org"},
		{"https://autoconfig.pi.local/mail/config-v1.1.xml?emailaddress=alice%40pi.local", "alice", "pi.local"},
		{"http://pi.local/.well-known/autoconfig/mail/config-v1.1.xml?emailaddress=%25EMAILADDRESS%25", "%EMAILADDRESS%", "pi.local"},
		{"http://192.168.1.20/mail/config-v1.1.xml", "%EMAILADDRESS%", "example.org"},
	} {
		w := webAsk(d, "GET", test.target, "")
		if w.Code != 200 || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/xml") {
			t.Fatalf("%s: %d %v", test.target, w.Code, w.Header())
		}
		root := webParseXML(t, w.Body.String())
		webAutoconfigSchema.check(t, "clientConfig", root)
		if root.Attrs[0].Value != "1.1" {
			t.Errorf("version %v", root.Attrs)
		}
		provider := root.Children[0]
		if provider.Attrs[0].Value != test.domain || provider.Children[0].Text != test.domain {
			t.Errorf("%s: for %v", test.target, provider.Attrs)
		}
		var got []string
		for _, s := range provider.Children[3:] {
			got = append(got, fmt.Sprint(s.Attrs[0].Value, " ", s.Children[0].Text, " ", s.Children[1].Text, " ", s.Children[2].Text, " ", s.Children[4].Text))
		}
		want := []string{"imap pi.local 993 SSL ", "imap pi.local 143 STARTTLS ", "pop3 pi.local 995 SSL ", "smtp pi.local 465 SSL ", "smtp pi.local 587 STARTTLS "}
		for i := range want {
			want[i] += test.user
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s:\n%q\nwant\n%q", test.target, got, want)
		}
	}
	for _, target := range []string{"http://pi.local/mail/config-v1.1.xml?emailaddress=alice%40evil.example", "http://pi.local/mail/config-v1.1.xml?emailaddress=alice",
		"http://pi.local/mail/config-v1.1.xml?emailaddress=%3Cb%3E%40pi.local%22%3E"} {
		if w := webAsk(d, "GET", target, ""); w.Code != 404 {
			t.Errorf("%s: %d", target, w.Code)
		}
	}
}

const (
	webOutlookAsks = `<?xml version="1.0" encoding="utf-8"?>
<Autodiscover xmlns="http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006">
<Request><EMailAddress>%s</EMailAddress><AcceptableResponseSchema>%s</AcceptableResponseSchema></Request></Autodiscover>`
)

// webOutlookSchema is the answer's format by the reference of Exchange's POX elements, whose order is that of the protocol's schema.
var webOutlookSchema = webSchema{
	"Autodiscover":                                          "Response",
	"Autodiscover/Response":                                 "User Account",
	"Autodiscover/Response/User":                            "DisplayName",
	"Autodiscover/Response/User/DisplayName":                "=[a-z]+",
	"Autodiscover/Response/Account":                         "AccountType Action Protocol+",
	"Autodiscover/Response/Account/AccountType":             "=email",
	"Autodiscover/Response/Account/Action":                  "=settings",
	"Autodiscover/Response/Account/Protocol":                "Type Server Port LoginName DomainRequired SPA SSL AuthRequired UsePOPAuth? SMTPLast? Encryption",
	"Autodiscover/Response/Account/Protocol/Type":           "=IMAP|POP3|SMTP",
	"Autodiscover/Response/Account/Protocol/Server":         "=[a-z0-9.-]+",
	"Autodiscover/Response/Account/Protocol/Port":           "=[0-9]+",
	"Autodiscover/Response/Account/Protocol/LoginName":      "=[a-z]+",
	"Autodiscover/Response/Account/Protocol/DomainRequired": "=off",
	"Autodiscover/Response/Account/Protocol/SPA":            "=off",
	"Autodiscover/Response/Account/Protocol/SSL":            "=on",
	"Autodiscover/Response/Account/Protocol/AuthRequired":   "=on",
	"Autodiscover/Response/Account/Protocol/UsePOPAuth":     "=on",
	"Autodiscover/Response/Account/Protocol/SMTPLast":       "=off",
	"Autodiscover/Response/Account/Protocol/Encryption":     "=SSL|TLS",
}

func TestWebAutodiscover(t *testing.T) {
	d := webTest(t, nil)
	for _, path := range []string{"/autodiscover/autodiscover.xml", "/Autodiscover/Autodiscover.xml", "/AutoDiscover/AutoDiscover.xml", "/AUTODISCOVER/AUTODISCOVER.XML"} {
		w := webAsk(d, "POST", "https://autodiscover.example.org"+path, fmt.Sprintf(webOutlookAsks, "Alice@Example.org", webAutodiscoverResponse))
		if w.Code != 200 {
			t.Fatalf("%s: %d", path, w.Code)
		}
		root := webParseXML(t, w.Body.String())
		webOutlookSchema.check(t, "Autodiscover", root)
		if root.XMLName.Space != "http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006" || root.Children[0].XMLName.Space != webAutodiscoverResponse {
			t.Errorf("name spaces %s, %s", root.XMLName.Space, root.Children[0].XMLName.Space)
		}
		var got []string
		for _, p := range root.Children[0].Children[1].Children[2:] {
			got = append(got, p.Children[0].Text+" "+p.Children[1].Text+" "+p.Children[2].Text+" "+p.Children[3].Text)
		}
		if want := []string{"IMAP pi.local 993 alice", "POP3 pi.local 995 alice", "SMTP pi.local 465 alice"}; !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
	for _, test := range []struct{ method, body, code string }{
		{"POST", "", "600"},
		{"GET", "", "600"},
		{"POST", "<Autodiscover><Request>", "600"},
		{"POST", "<Autodiscover><Request/></Autodiscover>", "600"},
		{"POST", `<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><Autodiscover><Request><EMailAddress>&x;</EMailAddress></Request></Autodiscover>`, "600"},
		{"POST", strings.Repeat("<a>", 10000), "600"},
		{"POST", "<Autodiscover><Request><EMailAddress>" + strings.Repeat("a", webBodyMost) + "</EMailAddress></Request></Autodiscover>", "600"},
		{"POST", fmt.Sprintf(webOutlookAsks, "alice@evil.example", webAutodiscoverResponse), "500"},
		{"POST", fmt.Sprintf(webOutlookAsks, "alice@example.org", "http://schemas.microsoft.com/exchange/autodiscover/mobilesync/responseschema/2006"), "601"},
	} {
		w := webAsk(d, test.method, "https://pi.local/autodiscover/autodiscover.xml", test.body)
		root := webParseXML(t, w.Body.String())
		if e := root.Children[0].Children[0]; w.Code != 200 || e.XMLName.Local != "Error" || e.Children[0].Text != test.code {
			t.Errorf("%.80s: %d %s", test.body, w.Code, w.Body)
		}
	}
}

// webPlistRead reads a dict into a map: strings, bools as "true", arrays of dicts.
func webPlistRead(t *testing.T, dict webXML) map[string]any {
	t.Helper()
	out := map[string]any{}
	for i := 0; i+1 < len(dict.Children); i += 2 {
		key, value := dict.Children[i], dict.Children[i+1]
		if key.XMLName.Local != "key" {
			t.Fatalf("a %s where a key should be", key.XMLName.Local)
		}
		switch value.XMLName.Local {
		case "string", "integer", "data":
			out[key.Text] = value.Text
		case "true", "false":
			out[key.Text] = value.XMLName.Local
		case "array":
			var list []map[string]any
			for _, d := range value.Children {
				list = append(list, webPlistRead(t, d))
			}
			out[key.Text] = list
		default:
			t.Errorf("a %s", value.XMLName.Local)
		}
	}
	return out
}

func TestWebApple(t *testing.T) {
	d := webTest(t, nil)
	get := func(query string) map[string]any {
		w := webAsk(d, "GET", "http://pi.local/letterbox.mobileconfig"+query, "")
		if w.Code != 200 || w.Header().Get("Content-Type") != "application/x-apple-aspen-config" {
			t.Fatalf("%s: %d %v %s", query, w.Code, w.Header(), w.Body)
		}
		root := webParseXML(t, w.Body.String())
		return webPlistRead(t, root.Children[0])
	}
	uuid := regexp.MustCompile(`^[0-9A-F]{8}-[0-9A-F]{4}-8[0-9A-F]{3}-[89AB][0-9A-F]{3}-[0-9A-F]{12}$`)
	seen := map[string]bool{}
	for _, query := range []string{"", "?user=alice", "?user=Alice%40example.org", "?user=m%C3%A4rz"} {
		profile, again := get(query), get(query)
		if fmt.Sprint(profile) != fmt.Sprint(again) {
			t.Errorf("%s: it is another one the second time", query)
		}
		payloads := profile["PayloadContent"].([]map[string]any)
		for _, p := range append(payloads, profile) {
			for _, key := range []string{"PayloadType", "PayloadVersion", "PayloadIdentifier", "PayloadUUID", "PayloadDisplayName"} {
				if p[key] == nil {
					t.Errorf("%s: no %s in %v", query, key, p["PayloadType"])
				}
			}
			if !uuid.MatchString(p["PayloadUUID"].(string)) {
				t.Errorf("UUID %s", p["PayloadUUID"])
			}
		}
		if profile["PayloadType"] != "Configuration" || payloads[0]["PayloadType"] != "com.apple.security.root" || payloads[1]["PayloadType"] != "com.apple.mail.managed" {
			t.Fatalf("%v", profile)
		}
		mail := payloads[1]
		for key, want := range map[string]any{"EmailAccountType": "EmailTypeIMAP", "IncomingMailServerHostName": "pi.local", "IncomingMailServerPortNumber": "993",
			"IncomingMailServerUseSSL": "true", "IncomingMailServerAuthentication": "EmailAuthPassword", "OutgoingMailServerHostName": "pi.local",
			"OutgoingMailServerPortNumber": "465", "OutgoingMailServerUseSSL": "true", "OutgoingMailServerAuthentication": "EmailAuthPassword",
			"OutgoingPasswordSameAsIncomingPassword": "true", "IncomingPassword": nil} {
			if mail[key] != want {
				t.Errorf("%s: %s is %v, want %v", query, key, mail[key], want)
			}
		}
		want := map[string]string{"": "", "?user=alice": "alice@example.org", "?user=Alice%40example.org": "alice@example.org", "?user=m%C3%A4rz": "märz@example.org"}[query]
		if got, _ := mail["EmailAddress"].(string); got != want {
			t.Errorf("%s: address %q", query, got)
		}
		seen[mail["PayloadUUID"].(string)] = true
	}
	if len(seen) != 3 {
		t.Errorf("%d accounts", len(seen))
	}
	for _, user := range []string{"<b>", "a b", "../x", "alice@evil.example", "a\nb", strings.Repeat("a", 65)} {
		if w := webAsk(d, "GET", "http://pi.local/letterbox.mobileconfig?user="+url.QueryEscape(user), ""); w.Code != 400 {
			t.Errorf("%q: %d", user, w.Code)
		}
	}
	d = webTest(t, func(s *webSettings) {
		s.listening = func() []webService {
			return []webService{{"pop3", "110", false}, {"submission", "587", false}}
		}
	})
	if mail := get("")["PayloadContent"].([]map[string]any)[1]; mail["EmailAccountType"] != "EmailTypePOP" || mail["OutgoingMailServerPortNumber"] != "587" {
		t.Errorf("POP3 only: %v", mail)
	}
}

// webQRRead reads a code back: it undoes the mask that the format names, takes the codewords apart, and lets none pass whose
// check does not hold.
func webQRRead(t *testing.T, q *webQR) string {
	t.Helper()
	at := func(x, y int) int {
		if q.dark[y*q.size+x] {
			return 1
		}
		return 0
	}
	format := 0
	for i := range 8 {
		format |= at(q.size-1-i, 8) << i
	}
	for i := 8; i < 15; i++ {
		format |= at(8, q.size-15+i) << i
	}
	format ^= 0x5412
	if format>>13 != 0 {
		t.Fatalf("level %d is not M", format>>13)
	}
	q.invert(format >> 10 & 7)
	defer q.invert(format >> 10 & 7)
	version := webQRVersions[(q.size-21)/4]
	var bits []int
	for right, up := q.size-1, true; right > 0; right, up = right-2, !up {
		if right == 6 {
			right = 5
		}
		for i := range q.size {
			y := i
			if up {
				y = q.size - 1 - i
			}
			for x := right; x > right-2; x-- {
				if !q.fixed[y*q.size+x] {
					bits = append(bits, at(x, y))
				}
			}
		}
	}
	code := make([]byte, version.codewords)
	for i := range 8 * len(code) {
		code[i/8] = code[i/8]<<1 | byte(bits[i])
	}
	room := version.codewords - version.check*version.blocks
	short, long := room/version.blocks, room%version.blocks
	var text []byte
	for block := range version.blocks {
		var words []byte
		for i := range short {
			words = append(words, code[i*version.blocks+block])
		}
		if block >= version.blocks-long {
			words = append(words, code[short*version.blocks+block-(version.blocks-long)])
		}
		text = append(text, words...)
		for i := range version.check {
			words = append(words, code[room+i*version.blocks+block])
		}
		root := byte(1)
		for range version.check { // each root of the generator must be one of the block's
			sum := byte(0)
			for _, w := range words {
				sum = webQRTimes(sum, root) ^ w
			}
			if sum != 0 {
				t.Fatalf("block %d does not check", block)
			}
			root = webQRTimes(root, 2)
		}
	}
	n := int(text[0]&15)<<4 | int(text[1])>>4
	if text[0]>>4 != 4 {
		t.Fatalf("mode %d", text[0]>>4)
	}
	out := make([]byte, n)
	for i := range n {
		out[i] = text[i+1]<<4 | text[i+2]>>4
	}
	return string(out)
}

func TestWebQR(t *testing.T) {
	for n := range 181 {
		text := strings.Repeat("http://pi.local:2080/?ä", 9)[:n]
		q := webQRMake(text)
		if got := webQRRead(t, q); got != text {
			t.Fatalf("%d bytes: %q", n, got)
		}
	}
	q := webQRMake("http://pi.local:2080/")
	again := &webQR{size: q.size, dark: make([]bool, len(q.dark)), fixed: q.fixed}
	lines := strings.Split(strings.TrimSuffix(q.text(), "\n"), "\n")
	for i, line := range lines { // as a terminal shows it
		line = strings.TrimSuffix(strings.TrimPrefix(line, "    \x1b[30;107m"), "\x1b[0m")
		for x, r := range []rune(line) {
			for half, dark := range [2]bool{r == '█' || r == '▀', r == '█' || r == '▄'} {
				if x, y := x-2, 2*i+half-2; dark {
					again.dark[y*q.size+x] = true
				}
			}
		}
	}
	if got := webQRRead(t, again); got != "http://pi.local:2080/" || len(lines) != (q.size+5)/2 {
		t.Errorf("the terminal's code says %q in %d lines", got, len(lines))
	}
	if webQRMake(strings.Repeat("x", 181)) != nil {
		t.Error("a text that is too long has a code")
	}
}

func TestWebBytes(t *testing.T) {
	for n, want := range map[int64]string{0: "0 bytes", 1023: "1023 bytes", 1024: "1 KiB", 1536: "1.5 KiB", 200 << 20: "200 MiB", 5 << 40: "5 TiB"} {
		if got := webBytes(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

// A visitor who is slow with the head of a request, or has nothing more to ask, is sent away.
func TestWebSlow(t *testing.T) {
	for _, said := range []string{"", "GET / HTTP/1.1\r\nHost: pi.local\r\n", "GET / HTTP/1.1\r\nHost: pi.local\r\n\r\n",
		"POST /autodiscover/autodiscover.xml HTTP/1.1\r\nHost: pi.local\r\nContent-Length: 100\r\n\r\n<a>"} {
		synctest.Test(t, func(t *testing.T) {
			d := webTest(t, nil)
			here, there := net.Pipe()
			done := make(chan struct{})
			go func() {
				d.serve(newConn(there, d.webSettings.log, time.Minute))
				close(done)
			}()
			begun := time.Now()
			go io.Copy(io.Discard, here)
			if _, err := io.WriteString(here, said); err != nil {
				t.Error(err)
			}
			<-done
			if took := time.Since(begun); took > webReadTime+webIdleTime {
				t.Errorf("%q: it took %v", said, took)
			}
			here.Close()
		})
	}
}

// The page's address for people, by what is switched on.
func TestServerPage(t *testing.T) {
	c := serverTestConfig(t.TempDir())
	c.hostname = "pi"
	for _, test := range []struct {
		http, https []string
		want        string
	}{
		{[]string{":80"}, []string{":443"}, "http://pi.local/"},
		{[]string{":2080"}, nil, "http://pi.local:2080/"},
		{nil, []string{":443"}, "https://pi.local/"},
		{[]string{"unix:/run/x"}, []string{"127.0.0.1:2443"}, "https://pi.local:2443/"},
		{nil, nil, ""},
	} {
		c.listen.http, c.listen.https = test.http, test.https
		if got := serverPageURL(c); got != test.want {
			t.Errorf("%v %v: %q, want %q", test.http, test.https, got, test.want)
		}
		if got := serverPageQR(c); (got == "") != (test.want == "") {
			t.Errorf("%v %v: QR code %q", test.http, test.https, got)
		}
	}
}

// Requests that are no HTTP, or too much of it.
func TestWebRaw(t *testing.T) {
	for said, want := range map[string]string{
		"GET / HTTP/1.1\r\n\r\n":                              "HTTP/1.1 400 ",
		"GET / HTTP/1.0\r\n\r\n":                              "HTTP/1.0 421 ",
		"GET / HTTP/1.1\r\nHost: a\r\nHost: pi.local\r\n\r\n": "HTTP/1.1 400 ",
		"GET / HTTP/1.1\r\nHost: pi.local\r\nX: " + strings.Repeat("y", 2*webHeaderMost) + "\r\n\r\n": "HTTP/1.1 431 ",
		"EHLO printer\r\n\r\n":                                                                             "HTTP/1.1 400 ",
		"OPTIONS * HTTP/1.1\r\nHost: evil.example\r\n\r\n":                                                 "HTTP/1.1 421 ",
		"GET http://evil.example/ HTTP/1.1\r\nHost: pi.local\r\nConnection: close\r\n\r\n":                 "HTTP/1.1 421 ",
		"GET / HTTP/1.1\r\nHost: pi.local\r\nConnection: close\r\n\r\n":                                    "HTTP/1.1 200 ",
		"CONNECT evil.example:25 HTTP/1.1\r\nHost: evil.example:25\r\n\r\n":                                "HTTP/1.1 421 ",
		"GET /x HTTP/1.1\r\nHost: pi.local\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n\r\n": "HTTP/1.1 404 ",
	} {
		d := webTest(t, nil)
		here, there := net.Pipe()
		done := make(chan struct{})
		go func() {
			d.serve(newConn(there, d.webSettings.log, time.Minute))
			close(done)
		}()
		go io.WriteString(here, said)
		b := make([]byte, len(want))
		if _, err := io.ReadFull(here, b); err != nil || string(b) != want {
			t.Errorf("%.60q: %q, %v; want %q", said, b, err, want)
		}
		here.Close()
		<-done
	}
}

// The page as it is served: in clear, over TLS with the CA that was downloaded in clear, and until the server stops.
func TestWebServed(t *testing.T) {
	s, log := serverTest(t, nil, nil)
	base := "http://" + s.address(t, "http")
	answer, err := http.Get(base + "/letterbox.pem")
	if err != nil {
		t.Fatal(err)
	}
	ca, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		t.Fatalf("no CA: %s", ca)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	defer client.CloseIdleConnections()
	answer, err = client.Get("https://" + s.address(t, "https") + "/")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	_, port, _ := net.SplitHostPort(s.address(t, "imaps"))
	if answer.StatusCode != 200 || !strings.Contains(string(body), ">"+port+"<") {
		t.Errorf("%s, and the port of IMAP, %s, is not in\n%s", answer.Status, port, body)
	}
	waiting, err := net.Dial("tcp", s.address(t, "http")) // as browsers keep one
	if err != nil {
		t.Fatal(err)
	}
	defer waiting.Close()
	for s.web.visitors.count() < 3 { // it is being served
		time.Sleep(time.Millisecond)
	}
	if cut := s.shutdown(t.Context()); cut != 0 {
		t.Errorf("%d sessions had to be cut", cut)
	}
	if said := log.String(); strings.Contains(said, "level=ERROR") {
		t.Errorf("the log says:\n%s", said)
	}
}

// Who takes all places gets a part of them only, and gives them back.
func TestWebVisitors(t *testing.T) {
	var n webVisitors
	n.from = map[netip.Addr]int{}
	a, b := netip.MustParseAddr("192.168.1.7"), netip.MustParseAddr("192.168.1.8")
	for i := range webVisitorsMost {
		if n.come(a) != (i < webVisitorsEach) {
			t.Fatalf("visitor %d", i)
		}
	}
	if !n.come(b) {
		t.Error("another finds no room")
	}
	n.leave(b)
	for range webVisitorsEach {
		n.leave(a)
	}
	for range webVisitorsMost {
		if !n.come(netip.Addr{}) {
			t.Fatal("there is no room behind a proxy")
		}
	}
	if n.come(a) || n.count() != webVisitorsMost {
		t.Error("there is no end of room")
	}
	for range webVisitorsMost {
		n.leave(netip.Addr{})
	}
	if len(n.from) != 0 {
		t.Errorf("%v are still there", n.from)
	}
}

// A connection that is open, as browsers keep one, gets what the configuration of the moment says.
func TestWebReloaded(t *testing.T) {
	d := webTest(t, nil)
	here, there := net.Pipe()
	done := make(chan struct{})
	go func() {
		d.serve(newConn(there, d.webSettings.log, time.Minute))
		close(done)
	}()
	in := bufio.NewReader(here)
	ask := func() string {
		t.Helper()
		r := httptest.NewRequest("GET", "http://pi.local/", nil)
		go r.Write(here)
		answer, err := http.ReadResponse(in, r)
		must(t, err)
		body, err := io.ReadAll(answer.Body)
		must(t, err)
		return answer.Status + string(body)
	}
	if said := ask(); !strings.Contains(said, "200 OK") {
		t.Error(said)
	}
	changed := d.webSettings
	changed.names = []string{"mail.local"}
	newWebDoor(d.state, changed)
	if said := ask(); !strings.Contains(said, "421 Misdirected Request") {
		t.Error(said)
	}
	here.Close()
	<-done
}

// Who does not even begin a handshake has a place all the same, and so no more of them than others.
func TestWebHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := webTest(t, nil)
		here, there := net.Pipe()
		go d.serve(newConn(tls.Server(there, &tls.Config{}), d.webSettings.log, time.Minute))
		synctest.Wait()
		if n := d.state.visitors.count(); n != 1 {
			t.Errorf("%d visitors", n)
		}
		here.Close()
		synctest.Wait()
		if n := d.state.visitors.count(); n != 0 {
			t.Errorf("%d visitors", n)
		}
	})
}
