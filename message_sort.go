package main

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// What messages are sorted and threaded by (RFC 5256, RFC 5957). Texts are given in the form
// in which they are compared: i;unicode-casemap, as messageFold makes it.

// messageSortSubject gives the base subject of a header block (RFC 5256, section 2.1), and
// whether it says that the message is a reply or was forwarded (section 3, REFERENCES).
func messageSortSubject(header []byte) (base string, reply bool) {
	value, _ := messageFieldOf(header, "subject")
	base, reply = messageBaseSubject(messageDecodeHeader(value))
	return string(messageFold(nil, []byte(base))), reply
}

// messageBaseSubject takes off what mail programs add to a subject.
func messageBaseSubject(subject string) (base string, reply bool) {
	base = messageOneSpace(subject)
	for {
		for { // subj-trailer
			base = strings.TrimRight(base, " ")
			if len(base) < 5 || !strings.EqualFold(base[len(base)-5:], "(fwd)") {
				break
			}
			base, reply = base[:len(base)-5], true
		}
		for { // subj-leader, then subj-blob unless nothing is left
			base = strings.TrimLeft(base, " ")
			if rest, ok := messageCutReply(base); ok {
				base, reply = rest, true
			} else if rest, ok := messageCutBlob(base); ok && rest != "" {
				base = rest
			} else {
				break
			}
		}
		if len(base) < 6 || !strings.EqualFold(base[:5], "[fwd:") || base[len(base)-1] != ']' {
			return base, reply
		}
		base, reply = base[5:len(base)-1], true
	}
}

// messageOneSpace makes one space of tabs, line ends and spaces that follow each other.
func messageOneSpace(text string) string {
	out := make([]byte, 0, len(text))
	for i := range len(text) {
		c := text[i]
		if c == '\t' || c == '\r' || c == '\n' {
			c = ' '
		}
		if c != ' ' || len(out) == 0 || out[len(out)-1] != ' ' {
			out = append(out, c)
		}
	}
	return string(out)
}

// messageCutReply takes subj-refwd off, with the blobs before it.
func messageCutReply(text string) (rest string, ok bool) {
	for {
		cut, ok := messageCutBlob(text)
		if !ok {
			break
		}
		text = cut
	}
	switch {
	case len(text) >= 3 && strings.EqualFold(text[:3], "fwd"):
		text = text[3:]
	case len(text) >= 2 && (strings.EqualFold(text[:2], "re") || strings.EqualFold(text[:2], "fw")):
		text = text[2:]
	default:
		return "", false
	}
	text = strings.TrimLeft(text, " ")
	if cut, ok := messageCutBlob(text); ok {
		text = cut
	}
	return strings.CutPrefix(text, ":")
}

// messageCutBlob takes one subj-blob off.
func messageCutBlob(text string) (rest string, ok bool) {
	if text == "" || text[0] != '[' {
		return text, false
	}
	end := strings.IndexAny(text[1:], "[]")
	if end < 0 || text[1+end] != ']' {
		return text, false
	}
	return strings.TrimLeft(text[end+2:], " "), true
}

// messageSortMailbox gives the addr-mailbox of the first address in a field (RFC 5256,
// section 3): "joe" of "Joe <joe@example.org>".
func messageSortMailbox(header []byte, field string) string {
	a, ok := messageFirstAddress(header, field)
	if !ok || a.mailbox == nil {
		return ""
	}
	return string(messageFold(nil, []byte(*a.mailbox)))
}

// messageSortDisplay gives what a client shows of the first address in a field (RFC 5957,
// section 3).
func messageSortDisplay(header []byte, field string) string {
	a, ok := messageFirstAddress(header, field)
	text := ""
	switch {
	case !ok:
	case a.name != nil && *a.name != "":
		text = messageDecodeHeader([]byte(*a.name))
	case a.mailbox != nil && a.domain != nil:
		text = *a.mailbox + "@" + *a.domain
	case a.mailbox != nil:
		text = *a.mailbox
	}
	return string(messageFold(nil, []byte(text)))
}

// messageFirstAddress is the first address of the first field of a name.
func messageFirstAddress(header []byte, field string) (a messageAddress, ok bool) {
	value, _ := messageFieldOf(header, field)
	if list := messageAddresses(string(value)); len(list) > 0 {
		return list[0], true
	}
	return a, false
}

// messageIDsMost bounds the references of one message that are looked at: the last ones.
const messageIDsMost = 1000

// messageSortIDs gives a message's own ID, nil if it has none, and those that it refers to,
// its ancestors, the oldest first (RFC 5256, section 3, REFERENCES). They are normalized and
// share memory with nothing.
func messageSortIDs(header []byte) (own []byte, references [][]byte) {
	if ids := messageIDs(header, "message-id", 1); len(ids) > 0 {
		own = ids[0]
	}
	references = messageIDs(header, "references", -1)
	if len(references) == 0 {
		references = messageIDs(header, "in-reply-to", 1)
	}
	return own, references[max(0, len(references)-messageIDsMost):]
}

// messageThreadID identifies the thread that a message says it belongs to: the first message in
// References, else the one it answers, else itself. "" if it names none.
func messageThreadID(header []byte) string {
	for _, name := range []string{"references", "in-reply-to", "message-id"} {
		if ids := messageIDs(header, name, 1); len(ids) > 0 {
			hash := sha256.Sum256(ids[0])
			return hex.EncodeToString(hash[:12])
		}
	}
	return ""
}

// messageIDs finds the message ids in a field, up to most of them.
func messageIDs(header []byte, name string, most int) (ids [][]byte) {
	value, _ := messageFieldOf(header, name)
	text := string(value)
	for len(ids) != most {
		open := strings.IndexByte(text, '<')
		if open < 0 {
			break
		}
		text = text[open+1:]
		l := messageLexer{text: text}
		if id := l.messageID(); id != nil {
			ids = append(ids, id)
		}
	}
	return ids
}

// messageID reads what stands between < and >: words with dots between them, @, and more of
// that. Quotes that are not needed are taken off.
func (l *messageLexer) messageID() []byte {
	var id []byte
	at := false
	for l.space() {
		switch c := l.peek(); {
		case c == '>':
			if !at || id[len(id)-1] == '@' {
				return nil
			}
			return id
		case c == '"' && !at:
			text, ok := l.quoted()
			if !ok {
				return nil
			}
			id = append(id, text...)
		case c == '@' && !at && len(id) > 0:
			at = true
			id = append(id, '@')
			l.text = l.text[1:]
		case c == '<' || c == '@' || c == '"':
			return nil
		default:
			id = append(id, c)
			l.text = l.text[1:]
		}
	}
	return nil
}
