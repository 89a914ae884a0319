package main

import (
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// Settings as Thunderbird, and programs that learnt it from there, ask for them (draft-ietf-mailmaint-autoconfig),
// and as Outlook does.

// showAutoconfig answers Thunderbird. Asked with an address it tells the user's name; without one, how to make it
// from the address.
func (v *webVisit) showAutoconfig() error {
	user, domain := "%EMAILADDRESS%", v.mailDomain()
	if email := v.r.URL.Query().Get("emailaddress"); email != "" && !strings.Contains(email, "%EMAIL") {
		if !v.isOurAddress(email) {
			return webRefusal{http.StatusNotFound, "That is no mail address of this box."}
		}
		user = webLocal(email)
		_, domain, _ = strings.Cut(email, "@")
	} else if a := strings.TrimPrefix(v.host, "autoconfig."); v.isOurs(a) { // asked for a domain
		domain = a
	}
	var b strings.Builder
	b.WriteString("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<clientConfig version=\"1.1\">\n")
	fmt.Fprintf(&b, "  <emailProvider id=\"%s\">\n    <domain>%[1]s</domain>\n", webText(domain))
	fmt.Fprintf(&b, "    <displayName>Mail at %s</displayName>\n    <displayShortName>%[1]s</displayShortName>\n", webText(v.boxName()))
	for _, s := range v.servers() {
		element, kind, socket := "incomingServer", strings.ToLower(s.Kind), "STARTTLS"
		if s.Kind == "SMTP" {
			element = "outgoingServer"
		}
		if s.Implicit {
			socket = "SSL"
		}
		fmt.Fprintf(&b, "    <%s type=\"%s\">\n      <hostname>%s</hostname>\n      <port>%s</port>\n      <socketType>%s</socketType>\n",
			element, kind, webText(s.Host), webText(s.Port), socket)
		fmt.Fprintf(&b, "      <authentication>password-cleartext</authentication>\n      <username>%s</username>\n    </%s>\n", webText(user), element)
	}
	b.WriteString("  </emailProvider>\n</clientConfig>\n")
	return v.write(http.StatusOK, "text/xml; charset=utf-8", []byte(b.String()))
}

const (
	webAutodiscoverPath     = "/autodiscover/autodiscover.xml"
	webAutodiscoverResponse = "http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a"

	// Error codes of the protocol.
	webAutodiscoverNoUser     = 500
	webAutodiscoverInvalid    = 600
	webAutodiscoverNoProvider = 601
)

// showAutodiscover answers Outlook.
func (v *webVisit) showAutodiscover() error {
	email, schema, ok := webAutodiscoverRead(v.r.Body)
	switch {
	case !ok:
		return v.autodiscoverError(webAutodiscoverInvalid, "Invalid Request")
	case schema != "" && schema != webAutodiscoverResponse:
		return v.autodiscoverError(webAutodiscoverNoProvider, "Provider is not available")
	case !v.isOurAddress(email):
		return v.autodiscoverError(webAutodiscoverNoUser, "The email address can't be found")
	}
	var b strings.Builder
	b.WriteString("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n" +
		"<Autodiscover xmlns=\"http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006\">\n" +
		"<Response xmlns=\"" + webAutodiscoverResponse + "\">\n")
	fmt.Fprintf(&b, "<User><DisplayName>%s</DisplayName></User>\n<Account>\n<AccountType>email</AccountType>\n<Action>settings</Action>\n", webText(webLocal(email)))
	seen := map[string]bool{}
	for _, s := range v.servers() {
		if seen[s.Kind] { // Outlook takes the first
			continue
		}
		seen[s.Kind] = true
		encryption := "TLS"
		if s.Implicit {
			encryption = "SSL"
		}
		fmt.Fprintf(&b, "<Protocol>\n<Type>%s</Type>\n<Server>%s</Server>\n<Port>%s</Port>\n<LoginName>%s</LoginName>\n<DomainRequired>off</DomainRequired>\n"+
			"<SPA>off</SPA>\n<SSL>on</SSL>\n<AuthRequired>on</AuthRequired>\n", s.Kind, webText(s.Host), webText(s.Port), webText(webLocal(email)))
		if s.Kind == "SMTP" {
			b.WriteString("<UsePOPAuth>on</UsePOPAuth>\n<SMTPLast>off</SMTPLast>\n")
		}
		fmt.Fprintf(&b, "<Encryption>%s</Encryption>\n</Protocol>\n", encryption)
	}
	b.WriteString("</Account>\n</Response>\n</Autodiscover>\n")
	return v.write(http.StatusOK, "text/xml; charset=utf-8", []byte(b.String()))
}

// webAutodiscoverRead reads a request: the address, and the form of answer that is wanted.
func webAutodiscoverRead(r io.Reader) (email, schema string, ok bool) {
	d := xml.NewDecoder(r)
	var path []string
	for {
		token, err := d.Token()
		if err == io.EOF {
			return strings.TrimSpace(email), strings.TrimSpace(schema), email != "" && len(path) == 0
		} else if err != nil || len(path) > 10 {
			return "", "", false
		}
		switch t := token.(type) {
		case xml.StartElement:
			path = append(path, t.Name.Local)
		case xml.EndElement:
			path = path[:len(path)-1]
		case xml.CharData:
			switch strings.Join(path, "/") {
			case "Autodiscover/Request/EMailAddress":
				email += string(t)
			case "Autodiscover/Request/AcceptableResponseSchema":
				schema += string(t)
			}
		}
	}
}

// autodiscoverError answers in the protocol's way, which is no error of HTTP's.
func (v *webVisit) autodiscoverError(code int, message string) error {
	body := fmt.Sprintf("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n"+
		"<Autodiscover xmlns=\"http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006\">\n<Response>\n"+
		"<Error Time=\"00:00:00.0000000\" Id=\"0\">\n<ErrorCode>%d</ErrorCode>\n<Message>%s</Message>\n<DebugData />\n</Error>\n</Response>\n</Autodiscover>\n",
		code, webText(message))
	return v.write(http.StatusOK, "text/xml; charset=utf-8", []byte(body))
}
