package main

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// What a fuzzy search finds (RFC 6203). A text is found where it stands as it is written, as by any other search, and
// where all its words are, in whatever order: in one header field, or anywhere in the message. Words are runs of
// letters and digits, compared without regard to case and accents. A word is there if one of the text's words is
// the same, or begins with it, or is the same but for one typing error: a letter wrong, too many or missing,
// or two neighbours the wrong way round. Errors are forgiven in words of at least four letters and no digits, and
// not in the first letter.
//
// The score says how well a message fits:
//
//	            as written   same word   beginning   typing error
//	headings        100          80          60           40
//	elsewhere        60          40          20            1
//
// What is better counts for each word, and the mean of the words for the text. Headings are the fields named by the
// search, From, To, Cc and Subject in one that goes through all of the message, and the body in one that looks there alone.

const (
	messageFuzzyWords   = 32 // a text of more words, or longer ones, is found as it is written only
	messageFuzzyLetters = 60 // of a word
	messageFuzzyErrors  = 4  // letters of the shortest word in which an error is forgiven
)

type messageFuzzyHow uint8

const (
	messageFuzzyNot messageFuzzyHow = iota
	messageFuzzyError
	messageFuzzyBeginning
	messageFuzzySame
	messageFuzzyWritten
)

var messageFuzzyScores = [2][messageFuzzyWritten + 1]uint8{{0, 1, 20, 40, 60}, {0, 40, 60, 80, 100}}

// messageFuzzy is the fuzzy side of a messageText.
type messageFuzzy struct {
	words  [][]rune
	strict []bool        // no errors are forgiven in the word
	first  map[rune]bool // letters that words begin with

	heading bool
	scoring bool    // all is looked at, to learn the score
	written uint8   // score of what was found as it is written, 0 if it was not
	best    []uint8 // likewise of each word
	top     uint8   // the best score of the fields before

	word []rune // that is being read, one letter more than counts at most
	skip bool   // it is none that could be looked for
}

// newMessageFuzzy looks for a text fuzzily.
func newMessageFuzzy(needle string) *messageText {
	t := newMessageText(needle)
	f := &messageFuzzy{first: map[rune]bool{}}
	t.fuzzy = f
	digits, long := false, false
	end := func() {
		if len(f.word) > 0 {
			f.words, f.strict = append(f.words, slices.Clone(f.word)), append(f.strict, digits || len(f.word) < messageFuzzyErrors)
			f.first[f.word[0]] = true
		}
		f.word, digits = f.word[:0], false
	}
	for _, r := range string(t.needle) {
		switch letter := messageFuzzyLetter(r); {
		case letter && len(f.word) < messageFuzzyLetters:
			f.word = append(f.word, r)
			digits = digits || unicode.IsDigit(r)
		case letter:
			long = true
		case !messageIsAccent(r):
			end()
		}
	}
	end()
	if len(f.words) > messageFuzzyWords || long {
		f.words = nil
	}
	f.best = make([]uint8, len(f.words))
	return t
}

// messageFuzzyLetter tells whether a rune belongs to a word. Accents (Mn) are passed over.
func messageFuzzyLetter(r rune) bool {
	if r < utf8.RuneSelf {
		return 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z'
	}
	return unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.Is(unicode.Mc, r)
}

// begin forgets what was found in a text.
func (f *messageFuzzy) begin() {
	f.written, f.word, f.skip = 0, f.word[:0], false
	clear(f.best)
}

// messageHeadings are the fields in which what is found counts more, in a search that goes through all of a message.
var messageHeadings = []string{"From", "To", "Cc", "Subject"}

// field is told which header field is next. In a search for fields of a name each is a text of its own.
func (f *messageFuzzy) field(name string, field []byte) {
	if name != "" {
		f.top = max(f.top, f.score())
		f.begin()
		f.heading = true
		return
	}
	f.heading = slices.ContainsFunc(messageHeadings, func(h string) bool { return strings.EqualFold(h, string(field)) })
}

// read goes through folded text, which goes on where the text before has ended.
func (f *messageFuzzy) read(folded []byte) {
	if len(f.words) == 0 {
		return
	}
	for i := 0; i < len(folded); {
		r, size := rune(folded[i]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRune(folded[i:])
		}
		i += size
		switch {
		case !messageFuzzyLetter(r):
			if !messageIsAccent(r) {
				f.end()
			}
		case f.skip:
		case len(f.word) == 0 && !f.first[r]:
			f.skip = true
		case len(f.word) <= messageFuzzyLetters:
			f.word = append(f.word, r)
		}
	}
}

// end ends the word that is being read.
func (f *messageFuzzy) end() {
	if len(f.word) > 0 {
		scores := &messageFuzzyScores[f.place()]
		for i, word := range f.words {
			if how := messageFuzzyCompare(word, f.word, !f.strict[i]); scores[how] > f.best[i] {
				f.best[i] = scores[how]
			}
		}
	}
	f.word, f.skip = f.word[:0], false
}

func (f *messageFuzzy) place() int {
	if f.heading {
		return 1
	}
	return 0
}

// foundWritten notes that the text was found as it is written.
func (f *messageFuzzy) foundWritten() {
	f.written = max(f.written, messageFuzzyScores[f.place()][messageFuzzyWritten])
}

// total is the score of a message.
func (f *messageFuzzy) total() uint8 { return max(f.top, f.score()) }

// score says how well what was found fits, 0 if the text was not found.
func (f *messageFuzzy) score() uint8 {
	sum := 0
	for _, best := range f.best {
		if best == 0 {
			sum = 0
			break
		}
		sum += int(best)
	}
	if sum > 0 {
		sum /= len(f.best)
	}
	return max(f.written, uint8(sum))
}

// messageFuzzyCompare tells how a word that is looked for is like one of a text. Both begin with the same letter, or
// they are not alike.
func messageFuzzyCompare(word, text []rune, forgive bool) messageFuzzyHow {
	n := 0
	for n < len(word) && n < len(text) && word[n] == text[n] {
		n++
	}
	switch {
	case n == len(word) && n == len(text):
		return messageFuzzySame
	case n == len(word):
		return messageFuzzyBeginning
	case !forgive || n == 0 || len(text) > len(word)+1:
		return messageFuzzyNot
	}
	// The one error is where they differ first.
	w, t := word[n:], text[n:]
	if len(t) > 0 && slices.Equal(w[1:], t[1:]) || slices.Equal(w[1:], t) || len(t) > 0 && slices.Equal(w, t[1:]) ||
		len(w) > 1 && len(t) > 1 && w[0] == t[1] && w[1] == t[0] && slices.Equal(w[2:], t[2:]) {
		return messageFuzzyError
	}
	return messageFuzzyNot
}

// mayBeIn tells whether a message with this signature may contain all words.
func (f *messageFuzzy) mayBeIn(s messageSignature) bool {
	for i, word := range f.words {
		first, last := s.lacks([]byte(string(word)))
		if first >= 0 && (f.strict[i] || !messageFuzzySpares(s, word, first, last)) {
			return false
		}
	}
	return len(f.words) > 0
}

// lacks gives where the first and the last three begin that are not there, -1 if all are.
func (s messageSignature) lacks(text []byte) (first, last int) {
	first, last = -1, -1
	for at := 0; at+3 <= len(text); at++ {
		if !s.has(text[at:]) {
			if last = at; first < 0 {
				first = at
			}
		}
	}
	return first, last
}

// messageFuzzySpares tells whether a message may contain a word with an error, although it does not contain the threes that begin at
// first to last. A letter that is wrong takes the threes away that it is in, one that is missing those around its place. Where a letter
// is too many, or two are the wrong way round, it is known what the message has.
func messageFuzzySpares(s messageSignature, word []rune, first, last int) bool {
	at := utf8.RuneLen(word[0]) // the first letter is right
	other := make([]rune, 0, messageFuzzyLetters)
	for i := 1; i < len(word); i++ {
		end := at + utf8.RuneLen(word[i])
		if first+2 >= at && last < end {
			return true
		}
		at = end
		other = append(append(other[:0], word[:i]...), word[i+1:]...)
		if s.hasAll([]byte(string(other))) {
			return true
		}
		if i+1 < len(word) {
			other = append(append(append(other[:0], word[:i]...), word[i+1], word[i]), word[i+2:]...)
			if s.hasAll([]byte(string(other))) {
				return true
			}
		}
	}
	return false
}
