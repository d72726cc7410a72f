package toolchain

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// record is where the checksum of a kept file lies: beside the mirror, not in it, so that packages hold the provider alone.
func (p *preparer) record(path string) string {
	return filepath.Join(p.CacheDir, "checksums", filepath.Base(path)+"_"+platform()+".sha256")
}

// keep moves a finished binary to its place in the cache and records its checksum. A kill at any point leaves it kept, or to be obtained again.
func (p *preparer) keep(binary, target string) error {
	sum, err := checksum(binary)
	if err != nil {
		return err
	}
	record := p.record(target)
	for _, dir := range []string{filepath.Dir(target), filepath.Dir(record)} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("keep %s: %w", filepath.Base(target), err)
		}
	}
	if err := os.Rename(binary, target); err != nil {
		return fmt.Errorf("keep %s: %w", filepath.Base(target), err)
	}
	// Written aside first: a torn record would condemn a good file.
	written := filepath.Join(p.scratch(), "record")
	if err := os.WriteFile(written, []byte(sum), 0o644); err != nil {
		return fmt.Errorf("keep %s: %w", filepath.Base(target), err)
	}
	if err := os.Rename(written, record); err != nil {
		return fmt.Errorf("keep %s: %w", filepath.Base(target), err)
	}
	return nil
}

// verified tells whether a kept file is there and is the one that was kept. A file that is not is moved aside and said aloud.
func (p *preparer) verified(path string) (bool, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	want, err := os.ReadFile(p.record(path))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("read checksum: %w", err)
	}
	have, err := checksum(path)
	if err != nil {
		return false, err
	}
	if have == strings.TrimSpace(string(want)) {
		return true, nil
	}
	aside := filepath.Join(p.CacheDir, filepath.Base(path)+".rejected")
	p.say("%s is not the file that was kept (SHA-256 %s, recorded %q): it is moved to %s and obtained again", path, have, want, aside)
	if err := os.Rename(path, aside); err != nil {
		return false, fmt.Errorf("move aside %s: %w", path, err)
	}
	return false, nil
}

func checksum(path string) (_ string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("compute checksum: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("compute checksum: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
