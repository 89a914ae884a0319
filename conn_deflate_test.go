package main

import (
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"
)

// testInflate decompresses src given in pieces of up to in bytes, into pieces of up to out bytes.
func testInflate(src []byte, in, out int) (got []byte, err error) {
	var z connInflater
	dst := make([]byte, out)
	for {
		some := src[:min(in, len(src))]
		n, used, err := z.inflate(dst, some)
		got, src = append(got, dst[:n]...), src[used:]
		if err != nil || n < len(dst) && len(src) == 0 {
			return got, err
		}
	}
}

// testDeflate compresses the parts, each flushed, and gives the stream without an end.
func testDeflate(t testing.TB, level int, parts ...[]byte) []byte {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, level)
	must(t, err)
	for _, part := range parts {
		if _, err := w.Write(part); err != nil {
			t.Fatal(err)
		}
		must(t, w.Flush())
	}
	return b.Bytes()
}

func TestConnInflate(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for level := flate.HuffmanOnly; level <= flate.BestCompression; level++ {
		var parts [][]byte
		var want []byte
		for i := range 40 {
			part := []byte(strings.Repeat(fmt.Sprintf("a%d UID FETCH %d:* (FLAGS)\r\n", i, r.IntN(1<<30)), 1+r.IntN(40)))
			if i%7 == 3 { // what nothing can be made of: stored blocks
				part = make([]byte, r.IntN(90_000))
				for j := range part {
					part[j] = byte(r.Uint32())
				}
			}
			parts, want = append(parts, part), append(want, part...)
		}
		stream := testDeflate(t, level, parts...)
		for _, size := range [][2]int{{1, 1}, {1, 4096}, {7, 3}, {len(stream), 16 << 10}, {500, 1}} {
			got, err := testInflate(stream, size[0], size[1])
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("level %d, pieces of %v: %d bytes of %d, %v", level, size, len(got), len(want), err)
			}
		}
	}
}

// Each byte is told as soon as it can be: a client may flush in a way that ends no block.
func TestConnInflateAtOnce(t *testing.T) {
	// A block of fixed codes, "a noop\r\n", then an empty one: zlib's partial flush.
	var b testBits
	b.add(0, 1)
	b.add(1, 2)
	for _, c := range []byte("a noop\r\n") {
		b.code(0x30+uint(c), 8)
	}
	b.code(0, 7)
	b.add(0, 1)
	b.add(1, 2)
	b.code(0, 7)
	b.add(0, 8-b.n%8)
	got, err := testInflate(b.bytes, 1, 100)
	if must(t, err); string(got) != "a noop\r\n" {
		t.Errorf("%q", got)
	}
}

// testBits is a stream of bits, as RFC 1951, section 3.1.1, packs them.
type testBits struct {
	bytes []byte
	n     uint
}

func (b *testBits) add(v, n uint) {
	for i := range n {
		if b.n%8 == 0 {
			b.bytes = append(b.bytes, 0)
		}
		b.bytes[b.n/8] |= byte(v>>i&1) << (b.n % 8)
		b.n++
	}
}

// code adds a Huffman code, the highest bit first.
func (b *testBits) code(v, n uint) {
	for i := range n {
		b.add(v>>(n-1-i)&1, 1)
	}
}

func TestConnInflateBroken(t *testing.T) {
	for name, stream := range map[string]string{
		"block of type 3":       "\x07",
		"stored, wrong check":   "\x00\x05\x00\x05\x00hello",
		"too far back":          "\x4b\x04\x61\x00\x00\x00",
		"codes over-subscribed": "\x04\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
		"after the end":         "\x03\x00\x00a noop\r\n",
	} {
		if got, err := testInflate([]byte(stream), 1, 100); !errors.Is(err, errConnInflate) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func FuzzConnInflate(f *testing.F) {
	f.Add([]byte("a noop\r\n"), 3)
	f.Add(testDeflate(f, 9, []byte("a noop\r\n"), []byte("b noop\r\n")), 1)
	f.Add(testDeflate(f, 0, []byte("c")), 2)
	f.Fuzz(func(t *testing.T, b []byte, piece int) {
		piece = 1 + max(piece, 0)%1000
		got, err := testInflate(b, piece, piece)
		if again, err2 := testInflate(b, max(1, len(b)), 5000); !bytes.Equal(got, again) && err == nil && err2 == nil || (err == nil) != (err2 == nil) {
			t.Errorf("pieces matter: %d bytes and %d, %v, %v", len(got), len(again), err, err2)
		}
		want, errWant := io.ReadAll(flate.NewReader(bytes.NewReader(b)))
		if errWant == nil && !bytes.HasPrefix(got, want) || err == nil && !bytes.HasPrefix(got, want) {
			t.Errorf("got %q, %v; want %q, %v", got, err, want, errWant)
		}
		stream := testDeflate(t, piece%10, b, b)
		if got, err := testInflate(stream, piece, piece); err != nil || !bytes.Equal(got, append(bytes.Clone(b), b...)) {
			t.Errorf("round trip: %d bytes of %d, %v", len(got), 2*len(b), err)
		}
	})
}

// testDeflated is a compressing client over a pipe.
type testDeflated struct {
	net.Conn
	r io.Reader
	w *flate.Writer
}

func newTestDeflated(t testing.TB, nc net.Conn) *testDeflated {
	w, err := flate.NewWriter(nc, 6)
	must(t, err)
	return &testDeflated{nc, flate.NewReader(nc), w}
}

func (d *testDeflated) Read(p []byte) (int, error) { return d.r.Read(p) }
func (d *testDeflated) Write(p []byte) (int, error) {
	n, err := d.w.Write(p)
	if err == nil {
		err = d.w.Flush()
	}
	return n, err
}

func TestConnDeflate(t *testing.T) {
	theirs, ours := net.Pipe()
	defer theirs.Close()
	c := newConn(ours, slog.New(slog.DiscardHandler), time.Minute)
	must(t, c.startDeflate())
	client := newTestDeflated(t, theirs)
	text := strings.Repeat("* 1 FETCH (FLAGS (\\Seen))\r\n", 10_000)
	go func() {
		for i := range 100 {
			fmt.Fprintf(client, "line %d\r\n", i)
		}
	}()
	for i := range 100 {
		line, err := c.readLine(100)
		if must(t, err); string(line) != fmt.Sprintf("line %d", i) {
			t.Fatalf("%q", line)
		}
	}
	go func() {
		c.WriteString(text)
		c.flush()
		c.printf("end")
		c.flush()
	}()
	got := make([]byte, len(text)+5)
	if _, err := io.ReadFull(client, got); err != nil || string(got) != text+"end\r\n" {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if c.deflate.raw != nil || len(c.deflate.inflater.window) > 4096 {
		t.Errorf("an idle connection keeps %d bytes", len(c.deflate.inflater.window))
	}
}

// A few kilobytes that stand for a line of gigabytes end the connection, in bounded memory.
func TestConnDeflateBomb(t *testing.T) {
	theirs, ours := net.Pipe()
	defer theirs.Close()
	c := newConn(ours, slog.New(slog.DiscardHandler), time.Minute)
	must(t, c.startDeflate())
	client := newTestDeflated(t, theirs)
	go func() {
		zeros := make([]byte, 1<<20)
		for range 200 {
			if _, err := client.Write(zeros); err != nil {
				return
			}
		}
	}()
	if _, err := c.readLine(64 << 10); !errors.Is(err, errConnInflate) {
		t.Errorf("%v", err)
	}
	c.Close()
}
