package main

import (
	"encoding/binary"
	"io"
	"math/bits"
	"sync"
)

// A signature tells, of nearly every text that a message does not contain, that it does
// not, without reading the message. It is a set of hashes of all three bytes in a row of
// what SEARCH TEXT looks at, headers and decoded text parts, folded: a message contains a text
// only if it contains all its threes. It takes a bit for each different three, a few
// hundredths of the message.

// messageSignatureMost is the size of the largest signature, in bytes. A message that would
// need more has none.
const messageSignatureMost = 8192

// messageThrees gathers the threes of a message.
type messageThrees struct {
	bits [messageSignatureMost / 8]uint64
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
	size := uint32(len(signature))
	if size < 8 || size > messageSignatureMost || size&(size-1) != 0 {
		return true
	}
	for i := 2; i < len(t.needle); i++ {
		three := uint32(t.needle[i-2])<<16 | uint32(t.needle[i-1])<<8 | uint32(t.needle[i])
		hash := messageThree(three) & (size*8 - 1)
		if signature[hash>>3]&(1<<(hash&7)) == 0 {
			return false
		}
	}
	return true
}
