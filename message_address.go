package main

import "strings"

// Address lists as ENVELOPE tells them (RFC 9051, section 7.5.2). What is broken is
// told as Dovecot tells it: a missing part is MISSING_MAILBOX or MISSING_DOMAIN.

// messageAddress is one address; nil where absent. A group begins with one that has
// a mailbox alone, and ends with an empty one.
type messageAddress struct{ name, route, mailbox, domain *string }

type messageAddressParser struct {
	messageLexer
	list []messageAddress
	addr messageAddress
}

// messageAddresses reads an address-list.
func messageAddresses(value string) []messageAddress {
	p := &messageAddressParser{messageLexer: messageLexer{text: value}}
	for p.space() {
		p.address()
		if p.peek() != ',' {
			break
		}
		p.text = p.text[1:]
	}
	return p.list
}

func (p *messageAddressParser) add() {
	p.list = append(p.list, p.addr)
	p.addr = messageAddress{}
}

// address reads a group or a mailbox.
func (p *messageAddressParser) address() {
	start := p.text
	if name, ok := p.phrase(); ok && p.peek() == ':' {
		p.group(name)
		return
	}
	p.text = start
	p.mailbox()
}

func (p *messageAddressParser) group(name string) {
	p.text = p.text[1:]
	p.addr.mailbox = &name
	p.add()
	if p.space() && p.peek() != ';' {
		for {
			p.mailbox()
			if p.peek() != ',' {
				break
			}
			p.text = p.text[1:]
			if !p.space() {
				break
			}
		}
	}
	if p.peek() == ';' {
		p.text = p.text[1:]
		p.space()
	}
	p.add()
}

// phrase reads words; false if nothing follows them.
func (p *messageAddressParser) phrase() (string, bool) {
	if p.text == "" || p.peek() == '.' {
		return "", false
	}
	var out strings.Builder
	for {
		if p.peek() == '"' {
			text, ok := p.quoted()
			out.WriteString(text)
			if !ok {
				return out.String(), false
			}
		} else {
			out.WriteString(p.while(func(c byte) bool { return c == '.' || messageIsAtext(c) }))
		}
		if !p.space() {
			return out.String(), false
		}
		if c := p.peek(); !messageIsAtext(c) && c != '"' && c != '.' {
			return out.String(), true
		}
		out.WriteByte(' ')
	}
}

// mailbox reads name-addr or addr-spec.
func (p *messageAddressParser) mailbox() {
	start := p.text
	if name, ok := p.phrase(); ok && p.peek() == '<' {
		if name != "" {
			p.addr.name = &name
		}
		if !p.angle() {
			domain := "SYNTAX_ERROR"
			p.addr.domain = &domain
		}
	} else {
		p.text = start
		p.spec()
	}
	if p.addr.mailbox == nil {
		missing := "MISSING_MAILBOX"
		p.addr.mailbox = &missing
	}
	if p.addr.domain == nil || *p.addr.domain == "" {
		missing := "MISSING_DOMAIN"
		p.addr.domain = &missing
	}
	p.add()
}

// angle reads "<[route:]local@domain>".
func (p *messageAddressParser) angle() bool {
	p.text = p.text[1:]
	if !p.space() {
		return false
	}
	if p.peek() == '@' {
		route, ok := p.route()
		if !ok || p.peek() != ':' {
			route = "INVALID_ROUTE"
		} else {
			p.text = p.text[1:]
		}
		p.addr.route = &route
		if !p.space() {
			return false
		}
	}
	if p.peek() != '>' {
		local, ok := p.localPart()
		p.addr.mailbox = local
		if !ok {
			return false
		}
		if p.peek() == '@' {
			domain, ok := p.domain()
			if !ok {
				return false
			}
			p.addr.domain = &domain
		}
	}
	if p.peek() != '>' {
		return false
	}
	p.text = p.text[1:]
	p.space()
	return true
}

// route reads "@a,@b".
func (p *messageAddressParser) route() (string, bool) {
	var out strings.Builder
	for {
		if p.peek() != '@' {
			return out.String(), p.text != ""
		}
		if out.Len() > 0 {
			out.WriteByte(',')
		}
		domain, ok := p.domain()
		out.WriteString("@" + domain)
		if !ok {
			return out.String(), false
		}
		for p.peek() == ',' {
			p.text = p.text[1:]
			if !p.space() {
				return out.String(), false
			}
		}
	}
}

// localPart reads a local part, with dots wherever they stand; nil if there is none.
func (p *messageAddressParser) localPart() (local *string, ok bool) {
	var out strings.Builder
	for {
		if p.peek() == '"' {
			text, ok := p.quoted()
			out.WriteString(text)
			if !ok {
				return nil, false
			}
		} else {
			atom := p.while(func(c byte) bool { return c == '.' || messageIsAtext(c) })
			if atom == "" {
				return nil, false
			}
			out.WriteString(atom)
		}
		before := out.String()
		if !p.space() || p.peek() != '.' && !strings.HasSuffix(before, ".") {
			break
		}
		if c := p.peek(); c != '.' && c != '"' && !messageIsAtext(c) {
			break
		}
	}
	text := out.String()
	return &text, p.text != ""
}

// domain reads "@" and a domain; ok is false if that is broken.
func (p *messageAddressParser) domain() (domain string, ok bool) {
	p.text = p.text[1:]
	if !p.space() {
		return "", false
	}
	if p.peek() == '[' {
		i := strings.IndexByte(p.text, ']')
		if i < 0 {
			p.text = ""
			return "", false
		}
		literal := p.text[:i+1]
		p.text = p.text[i+1:]
		return literal, p.space() || !p.open
	}
	var out strings.Builder
	for {
		atom := p.while(messageIsAtext)
		if atom == "" {
			return out.String(), false
		}
		out.WriteString(atom)
		if !p.space() || p.peek() != '.' {
			return out.String(), !p.open
		}
		out.WriteByte('.')
		p.text = p.text[1:]
		if !p.space() {
			return out.String(), false
		}
	}
}

// spec reads "local@domain (name)", or words that are no address.
func (p *messageAddressParser) spec() {
	p.comment = ""
	quoted := p.peek() == '"'
	local, _ := p.localPart()
	p.addr.mailbox = local
	hasDomain := local != nil && p.peek() == '@'
	if hasDomain {
		if domain, ok := p.domain(); ok {
			p.addr.domain = &domain
		}
	}
	if p.comment != "" {
		name := p.comment
		p.addr.name = &name
		return
	}
	if hasDomain {
		return
	}
	// No domain: a single word is taken for a mailbox, several or a quoted one
	// for a name.
	rest, _ := p.phrase()
	switch {
	case rest != "":
		name := " " + rest
		if local != nil {
			name = *local + name
		}
		p.addr.mailbox, p.addr.name = nil, &name
	case quoted:
		p.addr.mailbox, p.addr.name = nil, local
	}
}
