package policy

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/bundle"
	"github.com/open-policy-agent/opa/v1/keys"
	"github.com/open-policy-agent/opa/v1/util"
)

// maxSource bounds the bytes of all files of a set.
const maxSource = 32 << 20

const (
	regoSuffix   = ".rego"
	testSuffix   = "_test.rego"
	bundleSuffix = ".tar.gz"
)

// source is what a set of Rego is made of.
type source struct {
	modules map[string]*ast.Module // by file
	data    map[string]any
	digest  string
}

// file is one file of a folder, by its path below the folder.
type file struct {
	path    string
	content []byte
}

// readSource reads a set's files. tests includes the modules with tests.
func readSource(s Set, tests bool) (*source, error) {
	version, err := regoVersion(s.Rego)
	if err != nil {
		return nil, err
	}
	if strings.HasSuffix(s.Path, bundleSuffix) {
		return readBundle(s, version, tests)
	}
	if s.VerifyKey != "" {
		return nil, errors.New("verify_key: only a bundle (" + bundleSuffix + ") is signed")
	}
	files, err := readFiles(s.Path)
	if err != nil {
		return nil, err
	}
	src := &source{modules: map[string]*ast.Module{}, data: map[string]any{}}
	sum := sha256.New()
	var errs []error
	for _, f := range files {
		if strings.HasSuffix(f.path, testSuffix) && !tests {
			continue
		}
		sum.Write(fmt.Appendf(nil, "%s %d\n%s", f.path, len(f.content), f.content))
		if strings.HasSuffix(f.path, regoSuffix) {
			module, err := parse(f.path, string(f.content), version)
			errs, src.modules[f.path] = append(errs, err), module
			continue
		}
		errs = append(errs, addData(src.data, f))
	}
	src.digest = hex.EncodeToString(sum.Sum(nil))
	return src, errors.Join(errs...)
}

func regoVersion(name string) (ast.RegoVersion, error) {
	switch name {
	case "v0":
		return ast.RegoV0, nil
	case "", "v1":
		return ast.RegoV1, nil
	}
	return 0, fmt.Errorf("rego: %q: use v1 or v0", name)
}

// readFiles returns the files of a set in a folder, or the one file, in the order of their paths. Hidden ones, and
// those of other kinds, do not belong to it. Links are followed.
func readFiles(root string) (files []file, err error) {
	info, err := os.Stat(root)
	if err != nil {
		return nil, err
	}
	var size int64
	read := func(path, name string) error {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		content, err := io.ReadAll(io.LimitReader(f, maxSource-size+1))
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
		if size += int64(len(content)); size > maxSource {
			return fmt.Errorf("%s: the files are longer than %d MiB together", root, maxSource>>20)
		}
		files = append(files, file{filepath.ToSlash(name), content})
		return nil
	}
	if !info.IsDir() {
		return files, read(root, filepath.Base(root))
	}
	// WalkDir does not follow a link as its root.
	resolved, err := filepath.EvalSymlinks(root)
	if err != nil {
		return nil, err
	}
	err = filepath.WalkDir(resolved, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == resolved {
			return err
		}
		if strings.HasPrefix(entry.Name(), ".") {
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		switch filepath.Ext(path) {
		case regoSuffix, ".json", ".yaml", ".yml":
		default:
			return nil
		}
		if target, err := os.Stat(path); err != nil || target.IsDir() {
			return err
		}
		name, err := filepath.Rel(resolved, path)
		if err != nil {
			return err
		}
		return read(path, name)
	})
	return files, err
}

// parse reads a module. A module of another version of Rego is an error that says so.
func parse(path, content string, version ast.RegoVersion) (*ast.Module, error) {
	options := func(version ast.RegoVersion) ast.ParserOptions {
		return ast.ParserOptions{RegoVersion: version, Capabilities: capabilities(), ProcessAnnotation: true}
	}
	module, err := ast.ParseModuleWithOpts(path, content, options(version))
	if err == nil {
		if module == nil {
			return nil, fmt.Errorf("%s: it is empty", path)
		}
		return module, nil
	}
	other, advice := ast.RegoV0, "this is Rego v0: set rego: v0, or run opa fmt --v0-v1"
	if version == ast.RegoV0 {
		other, advice = ast.RegoV1, "this is Rego v1: set rego: v1"
	}
	if _, otherErr := ast.ParseModuleWithOpts(path, content, options(other)); otherErr == nil {
		return nil, fmt.Errorf("%w: %s", located(err), advice)
	}
	return nil, located(err)
}

// addData adds a data file to the document of all. As with OPA, the file's folders are keys.
func addData(into map[string]any, f file) error {
	var content any
	if err := util.Unmarshal(f.content, &content); err != nil {
		return fmt.Errorf("%s: %w", f.path, err)
	}
	document, ok := content.(map[string]any)
	if !ok {
		return fmt.Errorf("%s: data must be a map", f.path)
	}
	if dir := filepath.ToSlash(filepath.Dir(f.path)); dir != "." {
		parts := strings.Split(dir, "/")
		for i := len(parts) - 1; i >= 0; i-- {
			document = map[string]any{parts[i]: document}
		}
	}
	if key := merge(into, document); key != "" {
		return fmt.Errorf("%s: another file has %s, too", f.path, key)
	}
	return nil
}

// merge adds a document to another one, and returns the key that both have a value for, or "".
func merge(into, from map[string]any) string {
	for key, value := range from {
		there, ok := into[key]
		if !ok {
			into[key] = value
			continue
		}
		a, isMap := there.(map[string]any)
		b, both := value.(map[string]any)
		if !isMap || !both {
			return key
		}
		if inner := merge(a, b); inner != "" {
			return key + "." + inner
		}
	}
	return ""
}

// readBundle reads a bundle of OPA and verifies its signature, if there is a key.
func readBundle(s Set, version ast.RegoVersion, tests bool) (*source, error) {
	files, err := readFiles(s.Path)
	if err != nil {
		return nil, err
	}
	content := files[0].content
	reader := bundle.NewReader(bytes.NewReader(content)).WithRegoVersion(version).WithCapabilities(capabilities()).
		WithSizeLimitBytes(maxSource).WithProcessAnnotations(true).WithSkipBundleVerification(s.VerifyKey == "")
	sum := sha256.New()
	sum.Write(content)
	if s.VerifyKey != "" {
		key, err := verifyKey(s.VerifyKey)
		if err != nil {
			return nil, fmt.Errorf("verify_key: %w", err)
		}
		sum.Write([]byte(key.Key))
		const id = "verify_key"
		reader = reader.WithBundleVerificationConfig(bundle.NewVerificationConfig(
			map[string]*keys.Config{id: key}, id, "", nil))
	}
	b, err := reader.Read()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Base(s.Path), located(err))
	}
	if len(b.WasmModules) > 0 {
		return nil, fmt.Errorf("%s: it holds compiled rules (Wasm): build it from Rego", filepath.Base(s.Path))
	}
	src := &source{modules: map[string]*ast.Module{}, data: b.Data, digest: hex.EncodeToString(sum.Sum(nil))}
	for _, m := range b.Modules {
		if tests || !strings.HasSuffix(m.Path, testSuffix) {
			src.modules[strings.TrimPrefix(m.Path, "/")] = m.Parsed
		}
	}
	return src, nil
}

// verifyKey reads a public key.
func verifyKey(path string) (*keys.Config, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(content)
	if block == nil || block.Type != "PUBLIC KEY" {
		return nil, fmt.Errorf("%s: it is not a PEM file with a PUBLIC KEY", path)
	}
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	key := &keys.Config{Key: string(content)}
	switch public := public.(type) {
	case *rsa.PublicKey:
		key.Algorithm = "RS256"
	case *ecdsa.PublicKey:
		key.Algorithm = map[int]string{256: "ES256", 384: "ES384", 521: "ES512"}[public.Curve.Params().BitSize]
	}
	if key.Algorithm == "" {
		return nil, fmt.Errorf("%s: use an RSA key, or one on a curve of NIST", path)
	}
	return key, nil
}
