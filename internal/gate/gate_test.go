package gate

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sockerless/backend-azf/internal/policy"
)

// TestPinnedDigest: only the policies with the expected digest are in force.
func TestPinnedDigest(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "main.rego")
	write := func(message string) {
		t.Helper()
		if err := os.WriteFile(path, []byte("package main\ndeny contains \""+message+"\" if true"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("a")
	cfg := Config{Sets: []policy.Set{{Name: "house", Path: dir}}}
	g, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Digest = g.Digest()
	if g, err = New(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	write("b")
	if _, err := New(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "policy_digest: ") {
		t.Errorf("got %v", err)
	}
	if g.Digest() != cfg.Digest {
		t.Error("the digest has changed")
	}
	cfg.Sets = nil
	if _, err := New(t.Context(), cfg); err == nil {
		t.Error("no policies are accepted in place of the expected ones")
	}
}
