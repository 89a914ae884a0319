package main

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"html"
	"net/http"
	"strings"
	"unicode"
)

// A profile for Apple's devices: the CA, and a mail account. It is not signed, since there is nothing
// that these devices would know to sign it with; they say so, and ask.
//
// The identifiers are the same each time, so a profile that is installed again replaces the one before.

// webPlist is a property list that is being written.
type webPlist struct{ strings.Builder }

// webText makes text fit for XML: escaped, and without what XML cannot have.
func webText(s string) string {
	return html.EscapeString(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == 0xfffe || r == 0xffff {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "")))
}

func (p *webPlist) text(key, value string) {
	fmt.Fprintf(p, "<key>%s</key><string>%s</string>\n", key, webText(value))
}

func (p *webPlist) number(key string, value string) {
	fmt.Fprintf(p, "<key>%s</key><integer>%s</integer>\n", key, webText(value))
}

func (p *webPlist) truth(key string, value bool) { fmt.Fprintf(p, "<key>%s</key><%t/>\n", key, value) }

// payload writes what each payload begins with.
func (p *webPlist) payload(kind, id, title, about string) {
	p.text("PayloadType", kind)
	p.number("PayloadVersion", "1")
	p.text("PayloadIdentifier", id)
	p.text("PayloadUUID", webUUID(kind, id))
	p.text("PayloadDisplayName", title)
	p.text("PayloadDescription", about)
}

// webUUID makes an identifier of words: the same words give the same one (RFC 9562, section 5.8).
func webUUID(words ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(words, "\x00")))
	u := sum[:16]
	u[6], u[8] = u[6]&0x0f|0x80, u[8]&0x3f|0x80
	return strings.ToUpper(fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:]))
}

const webAppleKind = "application/x-apple-aspen-config"

// showApple sends the profile. user=NAME is whose account it is; without it the device asks for the
// address. The password is asked for by the device.
func (v *webVisit) showApple() error {
	user := v.r.URL.Query().Get("user")
	if user = strings.TrimSpace(user); strings.Contains(user, "@") {
		if !v.isOurAddress(user) {
			return webRefusal{http.StatusBadRequest, "That is no mail address of this box."}
		}
		user = webLocal(user)
	}
	if user != "" {
		name, err := authName(user)
		if err != nil {
			return webRefusal{http.StatusBadRequest, "That is no user name."}
		}
		user = name
	}
	servers := v.servers()
	in, out := webBest(servers, "IMAP"), webBest(servers, "SMTP")
	if in == nil {
		in = webBest(servers, "POP3")
	}
	id := "letterbox." + v.hostname
	var p webPlist
	p.WriteString("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n" +
		"<!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n" +
		"<plist version=\"1.0\">\n<dict>\n<key>PayloadContent</key>\n<array>\n")
	if ca := v.ca(); ca != nil {
		p.WriteString("<dict>\n")
		p.payload("com.apple.security.root", id+".ca", "CA of "+v.boxName(), "Lets this device know the box.")
		p.text("PayloadCertificateFileName", "letterbox.cer")
		fmt.Fprintf(&p, "<key>PayloadContent</key><data>%s</data>\n</dict>\n", base64.StdEncoding.EncodeToString(ca.Raw))
	}
	if in != nil && out != nil {
		p.WriteString("<dict>\n")
		p.account(v, id, user, *in, *out)
		p.WriteString("</dict>\n")
	}
	p.WriteString("</array>\n")
	p.payload("Configuration", id, "Mail at "+v.boxName(), "Sets up mail on this device, and lets it know the box.")
	p.text("PayloadOrganization", v.boxName())
	p.truth("PayloadRemovalDisallowed", false)
	p.WriteString("</dict>\n</plist>\n")
	v.saveAs("letterbox.mobileconfig")
	return v.write(http.StatusOK, webAppleKind, []byte(p.String()))
}

// account writes a mail account.
func (p *webPlist) account(v *webVisit, id, user string, in, out webServer) {
	who := user
	if who == "" {
		who = "all"
	}
	p.payload("com.apple.mail.managed", id+".mail."+who, "Mail at "+v.boxName(), "A mail account.")
	p.text("EmailAccountType", map[string]string{"IMAP": "EmailTypeIMAP", "POP3": "EmailTypePOP"}[in.Kind])
	p.text("EmailAccountDescription", v.boxName())
	if user != "" {
		p.text("EmailAccountName", user)
		p.text("EmailAddress", v.address(user))
	}
	for _, side := range []struct {
		name   string
		server webServer
	}{{"IncomingMailServer", in}, {"OutgoingMailServer", out}} {
		p.text(side.name+"Authentication", "EmailAuthPassword")
		p.text(side.name+"HostName", side.server.Host)
		p.number(side.name+"PortNumber", side.server.Port)
		p.truth(side.name+"UseSSL", true) // or STARTTLS: the device finds out which
		if user != "" {
			p.text(side.name+"Username", user)
		}
	}
	p.truth("OutgoingPasswordSameAsIncomingPassword", true)
}
