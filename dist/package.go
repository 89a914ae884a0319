package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// nfpm makes the .deb packages; it is no part of Letterbox and so not in go.mod.
const nfpm = "github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.2"

// shipped is what an archive has beside the binary.
var shipped = []string{"README.md", "CHANGES.md", "KNOWN.md", "LICENSE", "config.toml", "dist/letterbox.service", "dist/openwrt/letterbox.init", "dist/letterbox.8"}

// packaging is what packages of one release share.
type packaging struct {
	version string
	at      time.Time // when all files in them are said to be from
	scratch string
}

func (r *packaging) begin() (err error) {
	at, name, err := commit()
	if err != nil {
		return err
	}
	if r.at = at; r.version == "" {
		r.version = fmt.Sprintf("0~%s.%s", at.Format("20060102.150405"), name)
	}
	r.scratch, err = os.MkdirTemp("", "letterbox-dist")
	return err
}

func (r *packaging) end() {
	if err := os.RemoveAll(r.scratch); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
	}
}

// pack makes an archive and, where there is one, a package of a binary.
func (r *packaging) pack(t target, binary string) (paths []string, err error) {
	archive := binary + ".tar.gz"
	if err := r.archive(archive, binary); err != nil || t.deb == "" {
		return []string{archive}, err
	}
	deb := filepath.Join(out, "letterbox_"+r.version+"_"+t.deb+".deb")
	return []string{archive, deb}, r.debian(deb, t.deb, binary)
}

// archive makes a .tar.gz that has no trace of who made it, when and where.
func (r *packaging) archive(path, binary string) error {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return err
	}
	w := tar.NewWriter(z)
	dir := strings.TrimSuffix(filepath.Base(path), ".tar.gz")
	docs, err := filepath.Glob("docs/*.md")
	if err != nil {
		return err
	}
	for _, from := range slices.Concat([]string{binary}, shipped, docs) {
		content, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		name, mode := filepath.Base(from), int64(0o644)
		if from == binary {
			name, mode = "letterbox", 0o755
		} else if strings.HasSuffix(from, ".init") {
			mode = 0o755
		} else if strings.HasPrefix(from, "docs/") {
			name = from
		}
		header := &tar.Header{Name: dir + "/" + name, Mode: mode, Size: int64(len(content)), ModTime: r.at, Format: tar.FormatUSTAR}
		if err := w.WriteHeader(header); err != nil {
			return err
		}
		if _, err := w.Write(content); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	return os.WriteFile(path, b.Bytes(), 0o644)
}

// debian makes a .deb. The unit's program lies in /usr/bin there.
func (r *packaging) debian(path, arch, binary string) error {
	unit, err := os.ReadFile("dist/letterbox.service")
	if err != nil {
		return err
	}
	unit = bytes.ReplaceAll(unit, []byte("/usr/local/bin/letterbox"), []byte("/usr/bin/letterbox"))
	man, err := os.ReadFile("dist/letterbox.8")
	if err != nil {
		return err
	}
	var packed bytes.Buffer
	z, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err == nil {
		_, err = z.Write(man)
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		return err
	}
	unitPath, manPath := filepath.Join(r.scratch, "letterbox.service"), filepath.Join(r.scratch, "letterbox.8.gz")
	if err := os.WriteFile(unitPath, unit, 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(manPath, packed.Bytes(), 0o644); err != nil {
		return err
	}
	recipe, err := os.ReadFile("dist/debian/nfpm.yaml")
	if err != nil {
		return err
	}
	values := map[string]string{"ARCH": arch, "VERSION": r.version, "BINARY": binary, "UNIT": unitPath, "MAN": manPath,
		"MTIME": r.at.Format(time.RFC3339)}
	filled := os.Expand(string(recipe), func(key string) string { return values[key] })
	recipePath := filepath.Join(r.scratch, "nfpm.yaml")
	if err := os.WriteFile(recipePath, []byte(filled), 0o644); err != nil {
		return err
	}
	cmd := exec.Command("go", "run", nfpm, "package", "--config", recipePath, "--packager", "deb", "--target", path)
	cmd.Env = append(os.Environ(), fmt.Sprintf("SOURCE_DATE_EPOCH=%d", r.at.Unix()))
	said, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("nfpm: %w: %s", err, said)
	}
	return nil
}
