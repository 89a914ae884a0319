package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestMessageFuzzyCompare(t *testing.T) {
	for _, c := range []struct {
		word, text string
		want       messageFuzzyHow
	}{
		{"HELO", "HELO", messageFuzzySame},
		{"HELO", "HELOT", messageFuzzyBeginning},
		{"HELO", "HELLO", messageFuzzyError},
		{"HELO", "HELP", messageFuzzyError},
		{"HELO", "HEL", messageFuzzyError},
		{"HELO", "HEO", messageFuzzyError},
		{"HELO", "HEOL", messageFuzzyError},
		{"HELO", "HLEO", messageFuzzyError},
		{"HELO", "EHLO", messageFuzzyNot}, // the first letter
		{"HELO", "CELO", messageFuzzyNot},
		{"HELO", "HELLOS", messageFuzzyNot}, // no beginning with an error
		{"HELO", "HELICOPTER", messageFuzzyNot},
		{"HELO", "HOLE", messageFuzzyNot},
		{"HELO", "HE", messageFuzzyNot},
		{"HELO", "", messageFuzzyNot},
		{"HEL", "HELP", messageFuzzyBeginning},
		{"HEL", "HAL", messageFuzzyNot}, // too short
		{"MEETING", "MEETTING", messageFuzzyError},
		{"MEETING", "METING", messageFuzzyError},
		{"MEETING", "MEETIGN", messageFuzzyError},
		{"MEETING", "MEETINGS", messageFuzzyBeginning},
		{"MEETING", "MATING", messageFuzzyNot},
		{"ПРИВЕТ", "ПРИВТ", messageFuzzyError},
	} {
		word := []rune(c.word)
		if got := messageFuzzyCompare(word, []rune(c.text), len(word) >= messageFuzzyErrors); got != c.want {
			t.Errorf("%s, %s: %d, want %d", c.word, c.text, got, c.want)
		}
	}
}

// testFuzzy looks for a text in all of a message, and gives the score as well, and what the signature says.
func testFuzzy(t testing.TB, message []byte, needle string, headers bool) (found bool, score uint8, may bool) {
	t.Helper()
	r := bytes.NewReader(message)
	root, err := messageParse(r, int64(len(message)))
	must(t, err)
	signature, err := messageSign(r, root)
	must(t, err)
	text := newMessageFuzzy(needle)
	text.begin()
	found, err = text.inBody(r, root, headers)
	must(t, err)
	text.begin()
	score = text.score(func() { text.inBody(r, root, headers) })
	return found, score, text.mayBeIn(signature)
}

func TestMessageFuzzy(t *testing.T) {
	message := []byte("From: J\xc3\xb6rg <joerg@example.org>\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= from the summer camp\r\nX-Note: the heading\r\n" +
		"Content-Type: text/plain; charset=iso-8859-1\r\n\r\nA r\xe9sum\xe9 of all that was; flight LH4711.\r\nDon't forget\r\n")
	for _, c := range []struct {
		needle  string
		headers bool
		want    uint8
	}{
		{"summer camp", true, 100},
		{"camp summer", true, 80},
		{"camps", true, 40},
		{"sumer", true, 40},
		{"summ", true, 100}, // as any search finds it
		{"amp", true, 100},
		{"summ camp", true, 70}, // 60 and 80
		{"sumer grusse", true, 0},
		{"grüße", true, 100},
		{"jorg sumer", true, 60}, // 80 and 40
		{"heading", true, 60},
		{"headings", true, 1},
		{"resume", true, 40},
		{"résumé", true, 60},
		{"rèsume", true, 40},
		{"resumé of all", true, 40},
		{"resmue", true, 1},
		{"resum", true, 20},
		{"camp resume", true, 60}, // 80 and 40
		{"camp nowhere", true, 0},
		{"LH4711", true, 60},
		{"LH4712", true, 0}, // no errors in numbers
		{"LH47", true, 60},
		{"dont", true, 1}, // as "don" with a letter too many
		{"forgett", true, 1},
		{"forgett", false, 40},
		{"forget", false, 100},
		{"summer", false, 0},
		{";", true, 60},
		{"!", true, 0},
		{strings.Repeat("flight ", messageFuzzyWords), true, 40},
		{strings.Repeat("flight ", messageFuzzyWords+1), true, 0},
		{strings.Repeat("f", messageFuzzyLetters+1), true, 0},
	} {
		found, score, may := testFuzzy(t, message, c.needle, c.headers)
		if score != c.want || found != (c.want > 0) || found && !may {
			t.Errorf("%.50q: found %v, score %d, want %d; the signature says %v", c.needle, found, score, c.want, may)
		}
	}
	for _, needle := range []string{"internationalisation", "internationally", "zebra crossing"} {
		if found, _, may := testFuzzy(t, message, needle, true); found || may {
			t.Errorf("%q is not there, and the signature does not tell", needle)
		}
	}
	// where a window ends in the middle of accents, and of a word
	for n := messageTextWindow/2 - 12; n < messageTextWindow/2+2; n++ {
		long := []byte("Content-Type: text/plain; charset=utf-8\r\n\r\n" + strings.Repeat("\u0301", n) + "re\u0301\u0301sume\u0301\u0301 end")
		if found, _, may := testFuzzy(t, long, "resume endd", true); !found || !may {
			t.Errorf("%d accents: found %v, the signature says %v", n, found, may)
		}
	}
	header := []byte("To: carol\r\nTo: dave brown\r\n\r\n")
	for needle, want := range map[string]bool{"brown dave": true, "carol brown": false, "caroll": true, "dav": true, "": true} {
		if got := newMessageFuzzy(needle).inHeader(header, "To"); got != want {
			t.Errorf("%q: %v", needle, got)
		}
	}
	if score := newMessageFuzzy("carol"); score.score(func() { score.inHeader(header, "To") }) != 100 {
		t.Error("the best of several fields does not count")
	}
}

// What is found is never denied by the signature, and what stands there as it is written is found.
func FuzzMessageFuzzy(f *testing.F) {
	f.Add([]byte("Subject: x\r\n\r\nsome text\r\n"), "tetx some")
	f.Add([]byte("Content-Type: text/plain; charset=utf-8\r\n\r\nre\u0301sume\u0301 "+strings.Repeat("e\u0301\u0301", 50)+" end"), "resume endd")
	f.Add([]byte("Content-Type: multipart/x; boundary=b\n\n--b\n\nline one\n--b\nContent-Transfer-Encoding: base64\n\naGVsbG8=\n--b--"), "helo lien")
	f.Add([]byte(strings.Repeat("\u0301\u0302", 3)+"abcdef"), "abcdfe")
	f.Fuzz(func(t *testing.T, message []byte, needle string) {
		found, score, may := testFuzzy(t, message, needle, true)
		if found && !may {
			t.Errorf("%q is found, and the signature denies it", needle)
		}
		if found != (score > 0) || score > 100 {
			t.Errorf("%q is found: %v, and its score is %d", needle, found, score)
		}
		if written, _ := testWords(t, message, needle); written && !found {
			t.Errorf("%q is there, and not found", needle)
		}
		if len(message) > 20 { // and something that is there more often, with an error
			part := bytes.Clone(message[len(message)/2 : len(message)/2+8])
			part[3], part[4] = part[4], part[3]
			if found, _, may := testFuzzy(t, message, string(part), true); found && !may {
				t.Errorf("%q is found, and the signature denies it", part)
			}
		}
	})
}
