package main

import (
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestMessageQP(t *testing.T) {
	for in, want := range map[string]string{
		"":                                      "",
		"plain":                                 "plain",
		"caf=C3=A9":                             "café",
		"caf=c3=a9":                             "café",
		"soft=\r\nbreak":                        "softbreak",
		"soft=\nbreak":                          "softbreak",
		"soft= \t\r\nbreak":                     "softbreak",
		"end=":                                  "end",
		"end= ":                                 "end",
		"hard\r\nbreak":                         "hard\r\nbreak",
		"trailing \t\r\nspace  \nx":             "trailing\r\nspace\nx",
		"trailing  ":                            "trailing",
		"in  side":                              "in  side",
		"=XY=4":                                 "=XY=4",
		"a=3":                                   "a=3",
		"a==3Db":                                "a==b",
		"=3D=3D":                                "==",
		"a=\rb":                                 "a=\rb",
		"a \rb":                                 "a \rb",
		"=00":                                   "\x00",
		strings.Repeat("=41", 5000):             strings.Repeat("A", 5000),
		strings.Repeat(" ", 9000) + "x":         strings.Repeat(" ", 9000) + "x",
		"=" + strings.Repeat(" ", 9000) + "x":   "=" + strings.Repeat(" ", 9000) + "x",
		strings.Repeat("long ", 5000) + "=\r\n": strings.Repeat("long ", 5000),
	} {
		for name, r := range map[string]io.Reader{"whole": strings.NewReader(in), "bytes": iotest.OneByteReader(strings.NewReader(in)),
			"with EOF": iotest.DataErrReader(strings.NewReader(in))} {
			got, err := io.ReadAll(&messageQPReader{r: r})
			if err != nil || string(got) != want {
				t.Errorf("%.40q, %s: %.60q, %v, want %.60q", in, name, got, err, want)
			}
		}
	}
}

func FuzzMessageQP(f *testing.F) {
	f.Add("caf=C3=A9 =\r\n x \r\n=")
	f.Fuzz(func(t *testing.T, in string) {
		if len(in) > 10_000 { // byte by byte, a long run of spaces is looked at again and again
			return
		}
		whole, err := io.ReadAll(&messageQPReader{r: strings.NewReader(in)})
		if err != nil || len(whole) > len(in) {
			t.Fatalf("%d bytes of %d, %v", len(whole), len(in), err)
		}
		bytes, err := io.ReadAll(&messageQPReader{r: iotest.OneByteReader(strings.NewReader(in))})
		if err != nil || string(bytes) != string(whole) {
			t.Fatalf("%q: %q at once, %q byte by byte, %v", in, whole, bytes, err)
		}
	})
}
