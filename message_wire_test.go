package main

import (
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"
)

// A message has the same wire form whatever it is read by.
func TestMessageWireDirect(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for size := range 300 {
		raw := make([]byte, size*size/3)
		for i := range raw {
			raw[i] = "ab\r\n\n\x00"[random.IntN(6)]
		}
		file := strings.NewReader(string(raw))
		off := random.Int64N(int64(len(raw)) + 1)
		slow, err := io.ReadAll(iotest.OneByteReader(messageWire(file, off, int64(len(raw)))))
		if err != nil {
			t.Fatal(err)
		}
		for _, chunk := range []int{messageWireDirect, messageWireDirect + 1, 1 << 16} {
			var fast []byte
			buf := make([]byte, chunk)
			for r := messageWire(file, off, int64(len(raw))); ; {
				n, err := r.Read(buf)
				fast = append(fast, buf[:n]...)
				if err == io.EOF {
					break
				} else if err != nil {
					t.Fatal(err)
				}
			}
			if string(fast) != string(slow) {
				t.Fatalf("%q by %d bytes: %q, want %q", raw[off:], chunk, fast, slow)
			}
		}
	}
}
