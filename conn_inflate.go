package main

import (
	"errors"
	"math/bits"
)

// Decompressing what a client sends (RFC 1951). compress/flate is not used for it, because it
// gives nothing out before a block ends or its window is full, so a client that flushes partially
// (mutt does) would wait for ever; and because it keeps 40 KiB for each connection. This one gives what
// can be told of the input so far, and keeps what was decompressed, up to the 32 KiB that the client
// may refer to, and within a block its codes.

var errConnInflate = errors.New("the compressed input is broken")

const (
	connInflateWindow = 32 << 10 // RFC 1951, section 2: no match reaches further back
	connInflateFirst  = 512      // the window begins small: most clients say little
)

// connInflater is a stream being decompressed.
type connInflater struct {
	bits  uint64 // input that was taken and not used, the next bit lowest
	nbits uint
	step  connInflateStep
	last  bool // the block at hand says that it is the last

	left   int // bytes of a stored block, or of a match, that are still to come
	back   int // how far back the match is
	codes  *connCodes
	window []byte // a ring, its length a power of two
	at     int    // where the next byte goes
	total  int64
}

type connInflateStep uint8

const (
	connInflateHead connInflateStep = iota
	connInflateLength
	connInflateStored
	connInflateCounts
	connInflateLengths
	connInflateSymbols
	connInflateEnd
)

// connCodes are the codes of a block.
type connCodes struct {
	literals, distances connCode
	nl, nd, nc, n       int // how many lengths there are of each; how many are known
	meta                connCode
	lengths             [288 + 32]uint8
}

// connCode is a Huffman code: a table for codes of up to connCodeFast bits, and the
// canonical form for longer ones.
type connCode struct {
	fast    [1 << connCodeFast]uint16 // symbol<<4 | length; 0: longer, or none
	count   [16]uint16
	symbols [288]uint16
}

const connCodeFast = 9

// build makes the code from the lengths of its symbols. A code may be incomplete (RFC 1951,
// section 3.2.7, has it for a single distance): what is not in it is an error when it comes.
func (h *connCode) build(lengths []uint8) bool {
	*h = connCode{}
	for _, n := range lengths {
		h.count[n]++
	}
	h.count[0] = 0
	var next, at [16]uint16
	left := 1
	for n := 1; n < 16; n++ {
		if left = left<<1 - int(h.count[n]); left < 0 {
			return false
		}
		next[n] = (next[n-1] + h.count[n-1]) << 1
		at[n] = at[n-1] + h.count[n-1]
	}
	for symbol, n := range lengths {
		if n == 0 {
			continue
		}
		h.symbols[at[n]] = uint16(symbol)
		at[n]++
		code := next[n]
		next[n]++
		if n <= connCodeFast {
			for i := bits.Reverse16(code) >> (16 - n); i < 1<<connCodeFast; i += 1 << n {
				h.fast[i] = uint16(symbol)<<4 | uint16(n)
			}
		}
	}
	return true
}

// next gives the symbol that the bits begin with, and its length; length 0 if there is none of up
// to 15 bits.
func (h *connCode) next(b uint64) (symbol int, length uint) {
	if e := h.fast[b&(1<<connCodeFast-1)]; e != 0 {
		return int(e >> 4), uint(e & 15)
	}
	code, first, index := 0, 0, 0
	for n := 1; n < 16; n++ {
		code |= int(b & 1)
		b >>= 1
		count := int(h.count[n])
		if code-count < first {
			return int(h.symbols[index+code-first]), uint(n)
		}
		index += count
		first = (first + count) << 1
		code <<= 1
	}
	return 0, 0
}

// connFixed are the codes of blocks of type 1 (RFC 1951, section 3.2.6).
var connFixed = func() *connCodes {
	c := &connCodes{}
	for i := range 288 {
		switch {
		case i < 144, i >= 280:
			c.lengths[i] = 8
		case i < 256:
			c.lengths[i] = 9
		default:
			c.lengths[i] = 7
		}
	}
	c.literals.build(c.lengths[:288])
	c.distances.build([]uint8{5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5})
	return c
}()

// RFC 1951, sections 3.2.5 and 3.2.7.
var (
	connLengthBase = [29]uint16{3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258}
	connLengthMore = [29]uint8{0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0}
	connCodesOrder = [19]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}
)

// inflate decompresses src into dst, as much as there is room for or can be told, and says how much of
// each was used. What is not used of src is to come again; if dst was not filled, all of it was used.
func (z *connInflater) inflate(dst, src []byte) (n, used int, err error) {
	for err == nil {
		for z.nbits <= 56 && used < len(src) {
			z.bits |= uint64(src[used]) << z.nbits
			z.nbits += 8
			used++
		}
		before, steps := z.nbits, z.step
		switch z.step {
		case connInflateHead:
			err = z.head()
		case connInflateLength:
			if z.nbits >= 32 {
				length, check := z.take(16), z.take(16)
				if z.left, z.step = int(length), connInflateStored; length != ^check&0xffff {
					err = errConnInflate
				}
			}
		case connInflateStored:
			for z.left > 0 && n < len(dst) && z.nbits >= 8 {
				dst[n] = z.put(byte(z.take(8)))
				n++
				z.left--
			}
			if z.left == 0 {
				z.endBlock()
			}
		case connInflateCounts, connInflateLengths:
			err = z.readCodes()
		case connInflateSymbols:
			var more int
			more, err = z.symbols(dst[n:])
			n += more
		case connInflateEnd:
			return n, len(src), errConnInflate // nothing may follow: the client cannot end the stream and go on
		}
		if z.nbits == before && z.step == steps && (used == len(src) || n == len(dst)) {
			break
		}
	}
	return n, used, err
}

func (z *connInflater) take(n uint) (v uint64) {
	v = z.bits & (1<<n - 1)
	z.bits >>= n
	z.nbits -= n
	return v
}

// put writes a byte into the window.
func (z *connInflater) put(b byte) byte {
	if z.total == int64(len(z.window)) && z.total < connInflateWindow { // it is full, and may grow: it is in order
		more := make([]byte, max(connInflateFirst, 2*len(z.window)))
		z.at = copy(more, z.window)
		z.window = more
	}
	z.window[z.at] = b
	z.at = (z.at + 1) & (len(z.window) - 1)
	z.total++
	return b
}

// head reads what a block begins with.
func (z *connInflater) head() error {
	if z.nbits < 3 {
		return nil
	}
	z.last = z.take(1) == 1
	switch z.take(2) {
	case 0:
		z.take(z.nbits % 8)
		z.step = connInflateLength
	case 1:
		z.codes, z.step = connFixed, connInflateSymbols
	case 2:
		z.codes, z.step = &connCodes{}, connInflateCounts
	default:
		return errConnInflate
	}
	return nil
}

func (z *connInflater) endBlock() {
	z.codes, z.step = nil, connInflateHead
	if z.last {
		z.step = connInflateEnd
	}
}

// readCodes reads the codes of a block of type 2 (RFC 1951, section 3.2.7).
func (z *connInflater) readCodes() error {
	c := z.codes
	if z.step == connInflateCounts {
		if c.nl == 0 {
			if z.nbits < 14 {
				return nil
			}
			c.nl, c.nd, c.nc = int(z.take(5))+257, int(z.take(5))+1, int(z.take(4))+4
			if c.nl > 286 {
				return errConnInflate
			}
		}
		for ; c.n < c.nc; c.n++ {
			if z.nbits < 3 {
				return nil
			}
			c.lengths[connCodesOrder[c.n]] = uint8(z.take(3))
		}
		if !c.meta.build(c.lengths[:19]) {
			return errConnInflate
		}
		clear(c.lengths[:])
		c.n, z.step = 0, connInflateLengths
	}
	for c.n < c.nl+c.nd {
		symbol, length := c.meta.next(z.bits)
		more := uint(0)
		if symbol >= 16 {
			more = [3]uint{2, 3, 7}[symbol-16]
		}
		if length == 0 && z.nbits >= 15 {
			return errConnInflate
		} else if length == 0 || length+more > z.nbits {
			return nil
		}
		z.take(length)
		if symbol < 16 {
			c.lengths[c.n] = uint8(symbol)
			c.n++
			continue
		}
		value, times := uint8(0), int(z.take(more))+3
		if symbol == 18 {
			times += 8
		} else if symbol == 16 {
			if c.n == 0 {
				return errConnInflate
			}
			value = c.lengths[c.n-1]
		}
		if c.n+times > c.nl+c.nd {
			return errConnInflate
		}
		for range times {
			c.lengths[c.n] = value
			c.n++
		}
	}
	if c.lengths[256] == 0 || !c.literals.build(c.lengths[:c.nl]) || !c.distances.build(c.lengths[c.nl:c.nl+c.nd]) {
		return errConnInflate
	}
	z.step = connInflateSymbols
	return nil
}

// symbols decompresses as long as the bits at hand reach.
func (z *connInflater) symbols(dst []byte) (n int, err error) {
	for {
		for z.left > 0 && n < len(dst) {
			dst[n] = z.put(z.window[(z.at-z.back)&(len(z.window)-1)])
			n++
			z.left--
		}
		if n == len(dst) {
			return n, nil
		}
		symbol, length := z.codes.literals.next(z.bits)
		switch {
		case length == 0 && z.nbits >= 15:
			return n, errConnInflate
		case length == 0 || length > z.nbits:
			return n, nil
		case symbol < 256:
			z.take(length)
			dst[n] = z.put(byte(symbol))
			n++
		case symbol == 256:
			z.take(length)
			z.endBlock()
			return n, nil
		default:
			if done, err := z.match(symbol-257, length); !done || err != nil {
				return n, err
			}
		}
	}
}

// match reads a length and a distance, whole or not at all.
func (z *connInflater) match(symbol int, used uint) (done bool, err error) {
	if symbol >= len(connLengthBase) {
		return false, errConnInflate
	}
	more := uint(connLengthMore[symbol])
	length := int(connLengthBase[symbol]) + int(z.bits>>used&(1<<more-1))
	used += more
	code, n := z.codes.distances.next(z.bits >> used)
	if n == 0 && z.nbits >= used+15 || code >= 30 {
		return false, errConnInflate
	} else if n == 0 || used+n > z.nbits {
		return false, nil
	}
	used += n
	back := code + 1
	if code >= 4 {
		more = uint(code)/2 - 1
		back = (2+code&1)<<more + int(z.bits>>used&(1<<more-1)) + 1
		used += more
	}
	if used > z.nbits {
		return false, nil
	}
	if int64(back) > z.total || back > connInflateWindow {
		return false, errConnInflate
	}
	z.take(used)
	z.left, z.back = length, back
	return true, nil
}
