package main

import "strconv"

type imapBad string

func (e imapBad) Error() string { return string(e) }

type imapReader struct{ b []byte }

func (r *imapReader) peek() byte {
	if len(r.b) == 0 {
		return 0
	}
	return r.b[0]
}
func (r *imapReader) take(c byte) bool {
	if r.peek() == c && len(r.b) > 0 {
		r.b = r.b[1:]
		return true
	}
	return false
}
func (r *imapReader) readWhile(f func(byte) bool) string {
	i := 0
	for i < len(r.b) && f(r.b[i]) {
		i++
	}
	s := string(r.b[:i])
	r.b = r.b[i:]
	return s
}
func (r *imapReader) readSpace() error {
	if !r.take(' ') {
		return imapBad("space")
	}
	return nil
}
func (r *imapReader) readAtom() (string, error) {
	s := r.readWhile(func(c byte) bool { return c > ' ' && c < 127 && c != '(' && c != ')' && c != '"' && c != '{' })
	if s == "" {
		return "", imapBad("atom")
	}
	return s, nil
}
func (r *imapReader) readAstring() (string, error) {
	if r.take('"') {
		s := r.readWhile(func(c byte) bool { return c != '"' })
		r.take('"')
		return s, nil
	}
	return r.readAtom()
}
func (r *imapReader) readNumber64() (int64, error) {
	n, err := strconv.ParseInt(r.readWhile(func(c byte) bool { return '0' <= c && c <= '9' }), 10, 64)
	if err != nil {
		return 0, imapBad("number")
	}
	return n, nil
}
func (r *imapReader) readSet() (imapSet, error) {
	set, err := imapParseSet([]byte(r.readWhile(func(c byte) bool {
		return '0' <= c && c <= '9' || c == ':' || c == ',' || c == '*' || c == '$'
	})))
	if err != nil {
		return set, imapBad(err.Error())
	}
	return set, nil
}
func imapAppendAstring(dst []byte, s string) []byte { return append(dst, s...) }
