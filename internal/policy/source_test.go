package policy_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/bundle"

	"github.com/sockerless/backend-azf/internal/policy"
)

// pemFile writes a key and returns its path.
func pemFile(t *testing.T, kind string, der []byte, err error) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key.pem")
	if err == nil {
		err = os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// publicKey writes a public key and returns its path.
func publicKey(t *testing.T, key any) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	return pemFile(t, "PUBLIC KEY", der, err)
}

// bundled writes a bundle of OPA, signed with a private key (PEM) and an algorithm unless they are "".
func bundled(t *testing.T, rego, key, algorithm string) string {
	t.Helper()
	b := bundle.Bundle{
		Manifest: bundle.Manifest{Roots: &[]string{""}},
		Data:     map[string]any{"text": "from data"},
		Modules: []bundle.ModuleFile{
			{URL: "/main.rego", Path: "/main.rego", Raw: []byte(rego), Parsed: ast.MustParseModule(rego)},
			{URL: "/main_test.rego", Path: "/main_test.rego", Raw: []byte("package main\ntest_a if true"),
				Parsed: ast.MustParseModule("package main\ntest_a if true")},
		},
	}
	b.Manifest.Init()
	if key != "" {
		signing := bundle.NewSigningConfig(key, algorithm, "")
		if err := b.GenerateSignature(signing, "", false); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	if err := bundle.NewWriter(&out).DisableFormat(true).Write(b); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "policy.tar.gz")
	if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const bundleRego = "package main\ndeny contains data.text if true\n"

func TestBundle(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaPEM := pemFile(t, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey), nil)
	ecDER, err := x509.MarshalECPrivateKey(ecKey)
	ecPEM := pemFile(t, "EC PRIVATE KEY", ecDER, err)
	rsaPublic, ecPublic := publicKey(t, &rsaKey.PublicKey), publicKey(t, &ecKey.PublicKey)
	for name, row := range map[string]struct {
		path, key, want string
	}{
		"unsigned":                {path: bundled(t, bundleRego, "", "")},
		"signed, and not asked":   {path: bundled(t, bundleRego, rsaPEM, "RS256")},
		"RSA":                     {path: bundled(t, bundleRego, rsaPEM, "RS256"), key: rsaPublic},
		"ECDSA":                   {path: bundled(t, bundleRego, ecPEM, "ES256"), key: ecPublic},
		"unsigned, with a key":    {path: bundled(t, bundleRego, "", ""), key: rsaPublic, want: "signature"},
		"signed with another key": {path: bundled(t, bundleRego, ecPEM, "ES256"), key: rsaPublic, want: "verify"},
		"no rules":                {path: bundled(t, "package mian\ndeny contains 1 if true", "", ""), want: "no rule deny"},
		"a key that is none":      {path: bundled(t, bundleRego, "", ""), key: rsaPEM, want: "verify_key: "},
	} {
		t.Run(name, func(t *testing.T) {
			s := policy.Set{Name: "b", Path: row.path, VerifyKey: row.key}
			rules, err := policy.Load(t.Context(), []policy.Set{s})
			if row.want != "" {
				if err == nil || !strings.Contains(err.Error(), row.want) {
					t.Errorf("got %v, want %q", err, row.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got := said(rules.Decide(t.Context(), question(t, "{}"))[0])
			if got != "deny from data (main.rego:2)" {
				t.Errorf("got %q", got)
			}
			var out strings.Builder
			if err := policy.Test(t.Context(), s, &out); err != nil || !strings.Contains(out.String(), "test_a") {
				t.Errorf("got %q, %v", &out, err)
			}
		})
	}
}

// TestAlteredBundle: a bundle whose content is not what was signed is refused.
func TestAlteredBundle(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bad.tar.gz")
	if err := os.WriteFile(path, []byte("this is no archive"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := policy.Load(t.Context(), []policy.Set{{Name: "b", Path: path}}); err == nil {
		t.Error("it was loaded")
	}
}

// TestGuarded: files that others may change are refused, each with its path.
func TestGuarded(t *testing.T) {
	for name, change := range map[string]func(dir string) (string, error){
		"nothing":  func(string) (string, error) { return "", nil },
		"a file":   func(dir string) (string, error) { p := dir + "/main.rego"; return p, os.Chmod(p, 0o664) },
		"a folder": func(dir string) (string, error) { p := dir + "/team"; return p, os.Chmod(p, 0o777) },
		"the root": func(dir string) (string, error) { return dir, os.Chmod(dir, 0o770) },
		"an owner": func(dir string) (string, error) { p := dir + "/main.rego"; return p, os.Chown(p, 65534, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := folder(t, map[string]string{"main.rego": "package main", "team/data.yaml": "a: 1"})
			bad, err := change(dir)
			if err != nil {
				t.Fatal(err)
			}
			link := filepath.Join(t.TempDir(), "link")
			if err := os.Symlink(dir, link); err != nil {
				t.Fatal(err)
			}
			err = policy.Guarded([]policy.Set{{Name: "house", Path: link}})
			if (err == nil) != (bad == "") || err != nil && !strings.Contains(err.Error(), bad) {
				t.Errorf("got %v, want %q", err, bad)
			}
		})
	}
	s := program(t, "exit 0")
	if err := os.Chmod(s.Command[0], 0o775); err != nil {
		t.Fatal(err)
	}
	if err := policy.Guarded([]policy.Set{s}); err == nil {
		t.Error("a program that others may change is accepted")
	}
}
