package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// testWords says whether a search finds a text, and whether the signature lets it look.
func testWords(t testing.TB, message []byte, needle string) (found, may bool) {
	t.Helper()
	r := bytes.NewReader(message)
	root, err := messageParse(r, int64(len(message)))
	must(t, err)
	signature, err := messageSign(r, root)
	must(t, err)
	text := newMessageText(needle)
	found, err = text.inBody(r, root, true)
	must(t, err)
	return found, text.mayBeIn(signature)
}

func TestMessageWords(t *testing.T) {
	message := []byte("Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= to you\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" +
		"--b\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\ncaf=E9 and b=\r\nread\r\n" +
		"--b\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\n" + strings.Repeat("c2VjcmV0\r\n", 2000) +
		"--b\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\naGlkZGVuIHdvcmRz\r\n--b--\r\n")
	for needle, found := range map[string]bool{
		"grüße": true, "GRÜSSE": false, "to you": true, "café": true, "cafe": true, "and bread": true, "hidden words": true,
		"image/png": true, "secretsecret": false, "nowhere at all": false, "zebra": false, "xy": false, "a": true,
	} {
		f, may := testWords(t, message, needle)
		if f != found || f && !may {
			t.Errorf("%q: found %v, the signature says %v", needle, f, may)
		}
		if len(needle) > 4 && may && !f {
			t.Errorf("%q is not there, and the signature does not tell", needle)
		}
	}
	root, err := messageParse(bytes.NewReader(message), int64(len(message)))
	must(t, err)
	signature, err := messageSign(bytes.NewReader(message), root)
	must(t, err)
	if len(signature) == 0 || len(signature) > 128 {
		t.Errorf("the signature has %d bytes", len(signature))
	}
}

// A signature is of the right size, and of what is too full there is none.
func TestMessageWordsSize(t *testing.T) {
	for _, n := range []int{0, 1, 100, 3000, 40000, 1 << 22} {
		threes := &messageThrees{}
		text := make([]byte, n)
		r := rand.New(rand.NewPCG(1, 2))
		for i := range text {
			text[i] = byte(r.Uint32())
		}
		threes.add(text)
		size := len(threes.append(nil))
		if n < 1<<22 && (size < 8 || size > messageSignatureMost || size > max(8, n/2)) || n == 1<<22 && size != 0 {
			t.Errorf("%d bytes have a signature of %d", n, size)
		}
	}
}

// What is found is never denied.
func FuzzMessageWords(f *testing.F) {
	f.Add([]byte("Subject: x\r\n\r\nsome text\r\n"), "text")
	f.Add([]byte("Content-Type: text/plain; charset=utf-16\r\n\r\n\x00a\x00b\x00c\x00d"), "abcd")
	f.Add([]byte("Content-Type: multipart/x; boundary=b\n\n--b\n\nline one\n--b\nContent-Transfer-Encoding: base64\n\naGVsbG8=\n--b--"), "hello")
	f.Add([]byte(strings.Repeat("ß", 40000)), "ßßß")
	f.Fuzz(func(t *testing.T, message []byte, needle string) {
		if found, may := testWords(t, message, needle); found && !may {
			t.Errorf("%q is found, and the signature denies it", needle)
		}
		if len(message) > 8 { // and something that is there more often
			testWords(t, message, string(message[len(message)/2:min(len(message)/2+6, len(message))]))
		}
	})
}

func BenchmarkMessageSign(b *testing.B) {
	message := []byte("Subject: x\r\n\r\n" + strings.Repeat("The quick brown fox jumps over the lazy dog, again and again.\r\n", 100))
	root, err := messageParse(bytes.NewReader(message), int64(len(message)))
	must(b, err)
	b.ReportAllocs()
	b.SetBytes(int64(len(message)))
	for b.Loop() {
		if _, err := messageSign(bytes.NewReader(message), root); err != nil {
			b.Fatal(err)
		}
	}
}

// A search says the same whether there are signatures or not.
func TestImapSearchSigned(t *testing.T) {
	v := imapTestBox(t, 120, func(i int) string {
		return fmt.Sprintf("Subject: number %d\r\n\r\nThe text of %d is word%d\r\n", i, i, i*7)
	})
	ask := func(what string) (n int) {
		convert, _ := imapCharset("utf-8")
		p := &imapSearchParser{r: imapTestReader(what), convert: convert}
		key, err := p.readCriteria()
		must(t, err)
		s := &imapSearch{view: v, key: key, needles: p.needles}
		s.prepare(nil)
		hits, err := s.find(false, false)
		must(t, err)
		return len(hits)
	}
	asked := []string{`BODY word77`, `NOT BODY word77`, `OR TEXT "number 11" BODY word7`, `TEXT nothing`, `BODY "number"`, `BODY "te"`, `TEXT ""`}
	var without []int
	for _, what := range asked {
		without = append(without, ask(what))
	}
	for _, uid := range v.uids() {
		must(t, v.sign(uid))
	}
	for i, words := range v.knownWords(v.uids(), &mailboxSummaries{}) {
		if len(words) == 0 {
			t.Fatalf("message %d has no signature", i+1)
		}
	}
	for i, what := range asked {
		if n := ask(what); n != without[i] {
			t.Errorf("%s: %d messages, %d without signatures", what, n, without[i])
		}
	}
}
