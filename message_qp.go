package main

import "io"

// messageQPReader undoes quoted-printable (RFC 2045, section 6.7). Lines may be of any
// length. What is no encoding stays as it is; white space before a line end goes.
type messageQPReader struct {
	r   io.Reader
	in  []byte // read, not yet decoded
	out []byte // decoded, not yet given
	buf [messageQPWindow]byte
	dst [messageQPWindow]byte
	err error
}

const messageQPWindow = 4096

func (q *messageQPReader) Read(p []byte) (int, error) {
	for len(q.out) == 0 {
		if q.err != nil && len(q.in) == 0 {
			return 0, q.err
		}
		if q.err == nil {
			kept := copy(q.buf[:], q.in)
			var n int
			n, q.err = q.r.Read(q.buf[kept:])
			q.in = q.buf[:kept+n]
		}
		q.decode()
	}
	n := copy(p, q.out)
	q.out = q.out[n:]
	return n, nil
}

// decode decodes as far as can be told from what was read. A run of white space
// that fills the window is given as it is.
func (q *messageQPReader) decode() {
	dst := q.dst[:0]
	for len(q.in) > 0 {
		c := q.in[0]
		if c != '=' && c != ' ' && c != '\t' {
			i := 1
			for i < len(q.in) && q.in[i] != '=' && q.in[i] != ' ' && q.in[i] != '\t' {
				i++
			}
			dst = append(dst, q.in[:i]...)
			q.in = q.in[i:]
			continue
		}
		first := 0
		if c == '=' {
			first = 1
		}
		spaces, lineEnd, known := q.blank(first)
		switch {
		case !known && len(q.in) < len(q.buf):
			q.out = dst
			return
		case known && lineEnd >= 0:
			if c == '=' { // a soft line break
				spaces = lineEnd
			}
			q.in = q.in[spaces:]
		case c == '=' && len(q.in) > 2 && messageHex(q.in[1]) >= 0 && messageHex(q.in[2]) >= 0:
			dst = append(dst, byte(messageHex(q.in[1])<<4|messageHex(q.in[2])))
			q.in = q.in[3:]
		case c == '=':
			dst = append(dst, '=')
			q.in = q.in[1:]
		default:
			dst = append(dst, q.in[:spaces]...)
			q.in = q.in[spaces:]
		}
	}
	q.out = dst
}

// blank looks at the white space from index at on: where it ends, and where the line
// end behind it does, -1 if there is none. known is false if more has to be read to say
// so, or to decode what stands at at-1.
func (q *messageQPReader) blank(at int) (spaces, lineEnd int, known bool) {
	for spaces = at; spaces < len(q.in) && (q.in[spaces] == ' ' || q.in[spaces] == '\t'); {
		spaces++
	}
	rest, end := q.in[spaces:], q.err != nil
	switch {
	case len(rest) == 0:
		return spaces, spaces, end // the end of the text ends its last line
	case rest[0] == '\n':
		return spaces, spaces + 1, true
	case rest[0] == '\r' && len(rest) > 1 && rest[1] == '\n':
		return spaces, spaces + 2, true
	}
	return spaces, -1, end || len(rest) > 1
}

// messageHex is the value of a hexadecimal digit, -1 for what is none.
func messageHex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	}
	return -1
}
