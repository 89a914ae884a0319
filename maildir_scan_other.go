//go:build !linux

package main

import (
	"io"
	"os"
)

// maildirEachName calls f for each name in a directory but those that begin with a dot. A name
// is valid only during the call.
func maildirEachName(dir string, f func(name string)) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	for {
		names, err := d.Readdirnames(1024)
		for _, name := range names {
			if name[0] != '.' {
				f(name)
			}
		}
		if err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}
