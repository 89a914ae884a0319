package main

import (
	"bytes"
	"encoding/binary"
	"io"
	"math/bits"
	"sync"
	"unicode"
	"unicode/utf8"
)

// A signature tells, of nearly every text that a message does not contain, that it does
// not, without reading the message. It is a set of hashes of all three bytes in a row of
// what SEARCH TEXT looks at, headers and decoded text parts, folded: a message contains a text
// only if it contains all its threes. Those of the text without accents are in it as well, for fuzzy
// searches. It takes a bit for each different three, a few hundredths of the message.

// messageSignatureMost is the size of the largest signature, in bytes. A message that would
// need more has none.
const messageSignatureMost = 8192

// messageThrees gathers the threes of a message.
type messageThrees struct {
	bits [messageSignatureMost / 8]uint64
	bare []byte // the end of a text, without accents
}

var messageSigners = sync.Pool{New: func() any { return &messageText{threes: new(messageThrees)} }}

// messageThree is the hash of three bytes: 16 bits, of which smaller signatures use the
// lower ones.
func messageThree(three uint32) uint32 {
	three *= 0x9e3779b1
	return (three ^ three>>15) & 0xffff
}

// add adds the threes of a folded text.
func (s *messageThrees) add(folded []byte) {
	if len(folded) < 3 {
		return
	}
	three := uint32(folded[0])<<8 | uint32(folded[1])
	for _, c := range folded[2:] {
		three = (three<<8 | uint32(c)) & 0xffffff
		hash := messageThree(three)
		s.bits[hash>>6] |= 1 << (hash & 63)
	}
}

// addBare adds the threes of a folded text without its accents, if they are others. It goes on where the text
// before has ended if bytes of that were kept.
func (s *messageThrees) addBare(folded []byte, kept int) {
	if kept == 0 {
		s.bare = s.bare[:0]
	}
	fresh := folded[kept:]
	same := bytes.HasSuffix(folded[:kept], s.bare) && !messageHasAccent(fresh)
	if same { // the last two are enough
		s.bare = append(s.bare, fresh[max(len(fresh)-2, 0):]...)
	} else {
		for len(fresh) > 0 {
			r, size := utf8.DecodeRune(fresh)
			if !messageIsAccent(r) {
				s.bare = append(s.bare, fresh[:size]...)
			}
			fresh = fresh[size:]
		}
		s.add(s.bare)
	}
	if n := len(s.bare); n > 2 {
		s.bare = s.bare[:copy(s.bare, s.bare[n-2:])]
	}
}

func messageHasAccent(text []byte) bool {
	for i, c := range text {
		if c >= utf8.RuneSelf {
			return bytes.ContainsFunc(text[i:], messageIsAccent)
		}
	}
	return false
}

// messageIsAccent tells whether a rune is a mark that stands behind a letter.
func messageIsAccent(r rune) bool { return r >= utf8.RuneSelf && unicode.Is(unicode.Mn, r) }

// append appends the signature: a power of two of bytes, a bit to two for each three;
// nothing if that would be larger than the largest. It uses the set up.
func (s *messageThrees) append(dst []byte) []byte {
	set, words := 0, s.bits[:]
	for _, word := range words {
		set += bits.OnesCount64(word)
	}
	if set > len(words)*64*3/4 {
		return dst
	}
	for len(words) > 1 && set < len(words)*64/2 { // fold it
		half := words[len(words)/2:]
		words = words[:len(words)/2]
		for i, word := range half {
			words[i] |= word
		}
	}
	for _, word := range words {
		dst = binary.LittleEndian.AppendUint64(dst, word)
	}
	return dst
}

// messageSign gives a message's signature, nil if it has none.
func messageSign(r io.ReaderAt, root *messagePart) ([]byte, error) {
	t := messageSigners.Get().(*messageText)
	defer messageSigners.Put(t)
	clear(t.threes.bits[:])
	if _, err := t.inBody(r, root, true); err != nil {
		return nil, err
	}
	return t.threes.append(nil), nil
}

// mayBeIn tells whether a message with this signature may contain what is looked for. One
// without a signature may.
func (t *messageText) mayBeIn(signature []byte) bool {
	size := len(signature)
	if size < 8 || size > messageSignatureMost || size&(size-1) != 0 {
		return true
	}
	if messageSignature(signature).hasAll(t.needle) {
		return true
	}
	return t.fuzzy != nil && t.fuzzy.mayBeIn(signature)
}

// messageSignature is a signature of a size that is right.
type messageSignature []byte

// hasAll tells whether all threes of a text are in it.
func (s messageSignature) hasAll(text []byte) bool {
	for i := 0; i+3 <= len(text); i++ {
		if !s.has(text[i:]) {
			return false
		}
	}
	return true
}

// has tells whether the three that text begins with is in it.
func (s messageSignature) has(text []byte) bool {
	three := uint32(text[0])<<16 | uint32(text[1])<<8 | uint32(text[2])
	hash := messageThree(three) & uint32(len(s)*8-1)
	return s[hash>>3]&(1<<(hash&7)) != 0
}
