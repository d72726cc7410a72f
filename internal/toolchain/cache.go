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

// record returns the path of a kept file's checksum. It lies beside the mirror, so that packages hold the provider
// alone.
func (p *preparer) record(path string) string {
	return filepath.Join(p.CacheDir, "checksums", filepath.Base(path)+"_"+platform()+".sha256")
}

// keep moves a finished binary to its place in the cache and records its checksum. After a kill at any point, the
// file is either kept or will be obtained again. The caller holds the artefact's lock.
func (p *preparer) keep(scratch, binary, target string) error {
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
	written := filepath.Join(scratch, "record")
	if err := os.WriteFile(written, []byte(sum), 0o644); err != nil {
		return fmt.Errorf("keep %s: %w", filepath.Base(target), err)
	}
	if err := os.Rename(written, record); err != nil {
		return fmt.Errorf("keep %s: %w", filepath.Base(target), err)
	}
	return nil
}

// ready reports whether an artefact can be used as it is. It changes nothing and needs no lock.
func (p *preparer) ready(a artefact) (bool, error) {
	ok, err := p.verified(a.path)
	if !ok || err != nil || a.link == "" {
		return ok, err
	}
	file, err := os.Stat(a.path)
	if err != nil {
		return false, fmt.Errorf("look at %s: %w", a.path, err)
	}
	link, err := os.Stat(a.link)
	return err == nil && os.SameFile(file, link), nil
}

// verified reports whether a file is in the cache and matches its recorded checksum. Without the artefact's lock, a
// false may also mean that another process is just keeping the file.
func (p *preparer) verified(path string) (bool, error) {
	want, err := os.ReadFile(p.record(path))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read checksum: %w", err)
	}
	have, err := checksum(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return have == strings.TrimSpace(string(want)), nil
}

// setAside moves a file that failed verification out of the cache and says so. The caller holds the artefact's lock.
func (p *preparer) setAside(path string) error {
	have, err := checksum(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	want, err := os.ReadFile(p.record(path))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read checksum: %w", err)
	}
	aside := filepath.Join(p.CacheDir, filepath.Base(path)+".rejected")
	p.progress.say("%s is not the file that was kept (SHA-256 %s, recorded %q): moving it to %s and obtaining it again",
		path, have, want, aside)
	if err := os.Rename(path, aside); err != nil {
		return fmt.Errorf("move aside %s: %w", path, err)
	}
	return nil
}

// checksum returns the SHA-256 of a file in hexadecimal.
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
