package main

import (
	"fmt"
	"strings"
)

// A QR code, as ISO/IEC 18004 has it: bytes, error correction level M, versions 1 to 9, which
// have room for 180 bytes. A web address is all that is ever put into one.

// webQR is a code: dark tells which of its size x size modules are dark.
type webQR struct {
	size  int
	dark  []bool
	fixed []bool // not for data, and not to be masked
}

// webQRVersion are the numbers of a version at level M.
type webQRVersion struct {
	codewords int // in all
	check     int // codewords of each block
	blocks    int
	align     []int // coordinates of the alignment patterns
}

var webQRVersions = []webQRVersion{
	{26, 10, 1, nil}, {44, 16, 1, []int{6, 18}}, {70, 26, 1, []int{6, 22}},
	{100, 18, 2, []int{6, 26}}, {134, 24, 2, []int{6, 30}}, {172, 16, 4, []int{6, 34}},
	{196, 18, 4, []int{6, 22, 38}}, {242, 22, 4, []int{6, 24, 42}}, {292, 22, 5, []int{6, 26, 46}},
}

// webQRMake makes a code; nil if the text is too long.
func webQRMake(text string) *webQR {
	for i, version := range webQRVersions {
		room := version.codewords - version.check*version.blocks
		if len(text)+2 > room { // four bits of mode, eight of length, four of end
			continue
		}
		q := &webQR{size: 21 + 4*i}
		q.dark, q.fixed = make([]bool, q.size*q.size), make([]bool, q.size*q.size)
		q.patterns(i+1, version.align)
		q.data(webQRCodewords(text, room, version))
		q.mask()
		return q
	}
	return nil
}

// set puts a module that is not data.
func (q *webQR) set(x, y int, dark bool) {
	q.dark[y*q.size+x], q.fixed[y*q.size+x] = dark, true
}

// patterns draws what every code of a version has, and keeps room for the format.
func (q *webQR) patterns(version int, align []int) {
	for i := range q.size {
		q.set(6, i, i%2 == 0)
		q.set(i, 6, i%2 == 0)
	}
	for _, corner := range [][2]int{{3, 3}, {q.size - 4, 3}, {3, q.size - 4}} {
		for dy := -4; dy <= 4; dy++ {
			for dx := -4; dx <= 4; dx++ {
				x, y := corner[0]+dx, corner[1]+dy
				if ring := max(dx, -dx, dy, -dy); x >= 0 && x < q.size && y >= 0 && y < q.size {
					q.set(x, y, ring != 2 && ring != 4)
				}
			}
		}
	}
	last := len(align) - 1
	for i, cx := range align {
		for j, cy := range align {
			if i == 0 && j == 0 || i == 0 && j == last || i == last && j == 0 {
				continue // a corner is there
			}
			for dy := -2; dy <= 2; dy++ {
				for dx := -2; dx <= 2; dx++ {
					q.set(cx+dx, cy+dy, max(dx, -dx, dy, -dy) != 1)
				}
			}
		}
	}
	q.format(0)
	if version < 7 {
		return
	}
	bits := version<<12 | webQRRemainder(version, 0x1f25, 12)
	for i := range 18 {
		a, b := q.size-11+i%3, i/3
		q.set(a, b, bits>>i&1 == 1)
		q.set(b, a, bits>>i&1 == 1)
	}
}

// webQRRemainder is what a polynomial division leaves: the check bits of format and version.
func webQRRemainder(value, polynomial, bits int) int {
	rest := value
	for range bits {
		rest = rest<<1 ^ (rest>>(bits-1))*polynomial
	}
	return rest
}

// format writes level M and the mask, twice.
func (q *webQR) format(mask int) {
	bits := (mask<<10 | webQRRemainder(mask, 0x537, 10)) ^ 0x5412 // M is 00
	bit := func(i int) bool { return bits>>i&1 == 1 }
	for i := range 6 {
		q.set(8, i, bit(i))
		q.set(14-i-9, 8, bit(i+9))
	}
	q.set(8, 7, bit(6))
	q.set(8, 8, bit(7))
	q.set(7, 8, bit(8))
	for i := range 8 {
		q.set(q.size-1-i, 8, bit(i))
	}
	for i := 8; i < 15; i++ {
		q.set(8, q.size-15+i, bit(i))
	}
	q.set(8, q.size-8, true)
}

// webQRCodewords are the text and its check codewords, in the order of the code.
func webQRCodewords(text string, room int, version webQRVersion) []byte {
	bits := append([]byte{0x40 | byte(len(text)>>4), byte(len(text) << 4)}, make([]byte, room-2)...)
	for i := range len(text) {
		bits[i+1] |= text[i] >> 4
		bits[i+2] = text[i] << 4
	}
	for i := len(text) + 2; i < room; i++ { // padding
		bits[i] = 0xec
		if (i-len(text))%2 == 1 {
			bits[i] = 0x11
		}
	}
	divisor := webQRDivisor(version.check)
	var data, check [][]byte
	short := room / version.blocks // the last blocks have one more
	for i, at := 0, 0; i < version.blocks; i++ {
		n := short
		if i >= version.blocks-room%version.blocks {
			n++
		}
		data = append(data, bits[at:at+n])
		check = append(check, webQRCheck(bits[at:at+n], divisor))
		at += n
	}
	var out []byte
	for i := range short + 1 {
		for _, block := range data {
			if i < len(block) {
				out = append(out, block[i])
			}
		}
	}
	for i := range version.check {
		for _, block := range check {
			out = append(out, block[i])
		}
	}
	return out
}

// webQRTimes multiplies in the field of 256 elements.
func webQRTimes(a, b byte) (product byte) {
	for i := 7; i >= 0; i-- {
		product = product<<1 ^ product>>7*0x1d ^ (b>>i&1)*a
	}
	return product
}

// webQRDivisor is the generator polynomial of so many check codewords, without its leading 1.
func webQRDivisor(n int) []byte {
	divisor := make([]byte, n)
	divisor[n-1] = 1
	root := byte(1)
	for range n {
		for i := range divisor {
			divisor[i] = webQRTimes(divisor[i], root)
			if i+1 < n {
				divisor[i] ^= divisor[i+1]
			}
		}
		root = webQRTimes(root, 2)
	}
	return divisor
}

// webQRCheck are a block's check codewords (Reed and Solomon's).
func webQRCheck(block, divisor []byte) []byte {
	rest := make([]byte, len(divisor))
	for _, b := range block {
		factor := b ^ rest[0]
		copy(rest, rest[1:])
		rest[len(rest)-1] = 0
		for i := range rest {
			rest[i] ^= webQRTimes(divisor[i], factor)
		}
	}
	return rest
}

// data lays the codewords, in columns of two from the right, up and down in turn.
func (q *webQR) data(codewords []byte) {
	at := 0
	for right := q.size - 1; right > 0; right -= 2 {
		if right == 6 {
			right--
		}
		for i := range q.size {
			y := i
			if (right+1)&2 == 0 {
				y = q.size - 1 - i
			}
			for _, x := range [2]int{right, right - 1} {
				if !q.fixed[y*q.size+x] && at < 8*len(codewords) {
					q.dark[y*q.size+x] = codewords[at/8]>>(7-at%8)&1 == 1
					at++
				}
			}
		}
	}
}

// mask chooses the mask after which the code is the easiest to read.
func (q *webQR) mask() {
	best, least := 0, -1
	for mask := range 8 {
		q.invert(mask)
		q.format(mask)
		if p := q.penalty(); least < 0 || p < least {
			best, least = mask, p
		}
		q.invert(mask)
	}
	q.invert(best)
	q.format(best)
}

func (q *webQR) invert(mask int) {
	for i := range q.dark {
		x, y := i%q.size, i/q.size
		on := [8]bool{(x+y)%2 == 0, y%2 == 0, x%3 == 0, (x+y)%3 == 0, (x/3+y/2)%2 == 0,
			x*y%2+x*y%3 == 0, (x*y%2+x*y%3)%2 == 0, ((x+y)%2+x*y%3)%2 == 0}[mask]
		if on && !q.fixed[i] {
			q.dark[i] = !q.dark[i]
		}
	}
}

// penalty counts what makes a code hard to read: runs, blocks, what looks like a corner, and
// an unequal share of dark.
func (q *webQR) penalty() (sum int) {
	dark := 0
	for _, d := range q.dark {
		if d {
			dark++
		}
	}
	for a := range q.size {
		row, column := make([]bool, q.size), make([]bool, q.size)
		for b := range q.size {
			row[b], column[b] = q.dark[a*q.size+b], q.dark[b*q.size+a]
			if a > 0 && b > 0 && row[b] == row[b-1] && row[b] == q.dark[(a-1)*q.size+b] && row[b] == q.dark[(a-1)*q.size+b-1] {
				sum += 3
			}
		}
		sum += webQRPenalty(row) + webQRPenalty(column)
	}
	share := 20*dark - 10*len(q.dark) // twentieths away from a half
	for share = max(share, -share); share > len(q.dark); share -= len(q.dark) {
		sum += 10
	}
	return sum
}

// webQRPenalty is that of one row or column.
func webQRPenalty(line []bool) (sum int) {
	corner := []bool{true, false, true, true, true, false, true}
	run := 0
	for i := range line {
		if i > 0 && line[i] == line[i-1] {
			run++
		} else {
			run = 1
		}
		if run == 5 {
			sum += 3
		} else if run > 5 {
			sum++
		}
		light := func(from, to int) bool {
			for j := from; j < to; j++ {
				if j >= 0 && j < len(line) && line[j] {
					return false
				}
			}
			return true
		}
		if i+7 > len(line) {
			continue
		}
		found := true
		for j, dark := range corner {
			found = found && line[i+j] == dark
		}
		if found && (light(i-4, i) || light(i+7, i+11)) {
			sum += 40
		}
	}
	return sum
}

// path draws the dark modules in SVG's words, with the margin of four that readers need.
func (q *webQR) path() string {
	var b strings.Builder
	for y := range q.size {
		for x := 0; x < q.size; x++ {
			from := x
			for x < q.size && q.dark[y*q.size+x] {
				x++
			}
			if x > from {
				fmt.Fprintf(&b, "M%d %dh%dv1h-%dz", from+4, y+4, x-from, x-from)
			}
		}
	}
	return b.String()
}

// text draws the code for a terminal, two rows to a line, in colours of its own: readers want it dark on
// light. The margin is two modules, which is enough on a screen.
func (q *webQR) text() string {
	const margin = 2
	at := func(x, y int) bool {
		x, y = x-margin, y-margin
		return x >= 0 && y >= 0 && x < q.size && y < q.size && q.dark[y*q.size+x]
	}
	var b strings.Builder
	for y := 0; y < q.size+2*margin; y += 2 {
		b.WriteString("    \x1b[30;107m")
		for x := range q.size + 2*margin {
			switch upper, lower := at(x, y), at(x, y+1); {
			case upper && lower:
				b.WriteString("█")
			case upper:
				b.WriteString("▀")
			case lower:
				b.WriteString("▄")
			default:
				b.WriteByte(' ')
			}
		}
		b.WriteString("\x1b[0m\n")
	}
	return b.String()
}
