package main

import (
	"io"
	"strconv"
	"strings"
)

// ENVELOPE, BODYSTRUCTURE and BODY in IMAP's words (RFC 9051, section 7.5.2).

// messageEnvelopeFields are the fields of an ENVELOPE, in its order.
var messageEnvelopeFields = [...]string{"date", "subject", "from", "sender", "reply-to", "to", "cc", "bcc", "in-reply-to", "message-id"}

// messageAppendEnvelope appends the ENVELOPE made from a header.
func messageAppendEnvelope(dst []byte, header []messageField) []byte {
	var values [len(messageEnvelopeFields)][]byte
	var more []string // addresses of fields that come again, by turns with their index
	var moreOf []int
	for at := range header {
		name, value := header[at].name, header[at].value
		for i, field := range messageEnvelopeFields {
			if len(name) == len(field) && name[0]|0x20 == field[0] && strings.EqualFold(string(name), field) {
				if values[i] != nil && messageIsAddressField(i) {
					more, moreOf = append(more, messageUnfolded(value)), append(moreOf, i)
				} else {
					values[i] = value // of others the last counts
				}
				break
			}
		}
	}
	dst = append(dst, '(')
	var from []messageAddress
	for i, field := range messageEnvelopeFields {
		if i > 0 {
			dst = append(dst, ' ')
		}
		if !messageIsAddressField(i) {
			if values[i] == nil {
				dst = append(dst, "NIL"...)
			} else {
				dst = messageAppendString(dst, strings.TrimRight(messageUnfolded(values[i]), " \t"))
			}
			continue
		}
		var list []messageAddress
		if values[i] != nil {
			list = messageAddresses(messageUnfolded(values[i]))
			for n, of := range moreOf {
				if of == i {
					list = append(list, messageAddresses(more[n])...)
				}
			}
		}
		switch field {
		case "from":
			from = list
		case "sender", "reply-to":
			if values[i] == nil || len(list) == 0 {
				list = from
			}
		}
		dst = messageAppendAddresses(dst, list)
	}
	return append(dst, ')')
}

// messageIsAddressField tells which of messageEnvelopeFields hold addresses.
func messageIsAddressField(i int) bool { return i >= 2 && i <= 7 }

func messageAppendAddresses(dst []byte, list []messageAddress) []byte {
	if len(list) == 0 {
		return append(dst, "NIL"...)
	}
	dst = append(dst, '(')
	for i := range list {
		a := &list[i]
		dst = append(dst, '(')
		dst = messageAppendNstring(dst, a.name)
		dst = append(dst, ' ')
		dst = messageAppendNstring(dst, a.route)
		dst = append(dst, ' ')
		dst = messageAppendNstring(dst, a.mailbox)
		dst = append(dst, ' ')
		dst = messageAppendNstring(dst, a.domain)
		dst = append(dst, ')')
	}
	return append(dst, ')')
}

func messageAppendNstring(dst []byte, s *string) []byte {
	if s == nil {
		return append(dst, "NIL"...)
	}
	return messageAppendString(dst, *s)
}

// messageAppendString appends a quoted string or, if 8-bit bytes are in it, a literal.
// A NUL, which neither may hold, is U+FFFD.
func messageAppendString(dst []byte, s string) []byte {
	start := len(dst)
	dst = append(dst, '"')
	for i := range len(s) {
		c := s[i]
		if c >= 0x80 || c == '\r' || c == '\n' || c == 0 {
			s = strings.ReplaceAll(s, "\x00", "\uFFFD")
			dst = append(dst[:start], '{')
			dst = strconv.AppendInt(dst, int64(len(s)), 10)
			dst = append(dst, "}\r\n"...)
			return append(dst, s...)
		}
		if c == '"' || c == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, c)
	}
	return append(dst, '"')
}

// messageAppendStructure appends BODYSTRUCTURE (extended) or BODY.
func messageAppendStructure(dst []byte, _ io.ReaderAt, p *messagePart, extended bool) ([]byte, error) {
	return messageAppendPart(dst, p, extended), nil
}

func messageAppendPart(dst []byte, p *messagePart, extended bool) []byte {
	dst = append(dst, '(')
	if p.isMultipart() {
		dst = messageAppendMultipart(dst, p, extended)
	} else {
		dst = messageAppendSingle(dst, p, extended)
	}
	return append(dst, ')')
}

// isMultipart tells whether the part calls itself one.
func (p *messagePart) isMultipart() bool { return p.mediaType == "multipart" }

func messageAppendMultipart(dst []byte, p *messagePart, extended bool) []byte {
	for _, child := range p.children {
		dst = messageAppendPart(dst, child, extended)
	}
	if len(p.children) == 0 { // the grammar wants one
		dst = append(dst, `("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0`...)
		if extended {
			dst = append(dst, " NIL NIL NIL NIL"...)
		}
		dst = append(dst, ')')
	}
	dst = append(dst, ' ')
	dst = messageAppendString(dst, p.subtypeName)
	if !extended {
		return dst
	}
	dst = append(dst, ' ')
	dst = messageAppendParams(dst, p.params, false)
	return messageAppendExtension(dst, &p.fields)
}

func messageAppendSingle(dst []byte, p *messagePart, extended bool) []byte {
	text := !p.typed || p.mediaType == "text"
	switch {
	case p.typed:
		dst = messageAppendString(dst, p.typeName)
		dst = append(dst, ' ')
		dst = messageAppendString(dst, p.subtypeName)
	case p.embedded: // in a digest
		text = false
		dst = append(dst, `"message" "rfc822"`...)
	default:
		dst = append(dst, `"text" "plain"`...)
	}
	dst = append(dst, ' ')
	dst = messageAppendParams(dst, p.params, text)
	dst = append(dst, ' ')
	dst = messageAppendNstring(dst, p.fields.id)
	dst = append(dst, ' ')
	dst = messageAppendNstring(dst, p.fields.description)
	dst = append(dst, ' ')
	if p.fields.encoding != nil {
		dst = messageAppendString(dst, *p.fields.encoding)
	} else {
		dst = append(dst, `"7bit"`...)
	}
	dst = append(dst, ' ')
	dst = strconv.AppendInt(dst, p.bodySize, 10)
	if p.embedded && len(p.children) == 1 {
		child := p.children[0]
		dst = append(dst, ' ')
		dst = append(dst, child.envelope...)
		dst = append(dst, ' ')
		dst = messageAppendPart(dst, child, extended)
	}
	if text || p.embedded && len(p.children) == 1 {
		dst = append(dst, ' ')
		dst = strconv.AppendInt(dst, p.bodyLines, 10)
	}
	if !extended {
		return dst
	}
	dst = append(dst, ' ')
	dst = messageAppendNstring(dst, p.fields.md5)
	return messageAppendExtension(dst, &p.fields)
}

// messageAppendParams appends body-fld-param. A text has a charset.
func messageAppendParams(dst []byte, params []messageParam, text bool) []byte {
	if len(params) == 0 && !text {
		return append(dst, "NIL"...)
	}
	dst = append(dst, '(')
	for i, param := range params {
		if i > 0 {
			dst = append(dst, ' ')
		}
		dst = messageAppendString(dst, param.name)
		dst = append(dst, ' ')
		dst = messageAppendString(dst, param.value)
		text = text && !strings.EqualFold(param.name, "charset")
	}
	if text {
		if len(params) > 0 {
			dst = append(dst, ' ')
		}
		dst = append(dst, `"charset" "us-ascii"`...)
	}
	return append(dst, ')')
}

// messageAppendExtension appends disposition, language and location.
func messageAppendExtension(dst []byte, f *messagePartFields) []byte {
	dst = append(dst, ' ')
	if f.disposition == nil {
		dst = append(dst, "NIL"...)
	} else {
		dst = append(dst, '(')
		dst = messageAppendString(dst, *f.disposition)
		dst = append(dst, ' ')
		dst = messageAppendParams(dst, f.dispositionParams, false)
		dst = append(dst, ')')
	}
	dst = append(dst, ' ')
	if f.language == nil {
		dst = append(dst, "NIL"...)
	} else {
		dst = append(dst, '(')
		for i, tag := range f.language {
			if i > 0 {
				dst = append(dst, ' ')
			}
			dst = messageAppendString(dst, tag)
		}
		dst = append(dst, ')')
	}
	dst = append(dst, ' ')
	return messageAppendNstring(dst, f.location)
}
