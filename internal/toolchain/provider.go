package toolchain

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Registries that the two products know azurerm by.
const (
	terraformRegistry = "registry.terraform.io"
	openTofuRegistry  = "registry.opentofu.org"
)

var templateEscaper = strings.NewReplacer("${", "$${", "%{", "%%{")

// providerPath is where an unpacked mirror keeps the provider that a registry calls hashicorp/azurerm.
func providerPath(mirror, registry string) string {
	return filepath.Join(mirror, registry, "hashicorp", "azurerm", ProviderVersion, platform(), "terraform-provider-azurerm_v"+ProviderVersion)
}

// findProvider fills in the mirror.
func (p *preparer) findProvider(ctx context.Context, t *Tools) error {
	mirror := filepath.Join(p.CacheDir, "mirror")
	path := providerPath(mirror, terraformRegistry)
	ok, err := p.verified(path)
	if err != nil {
		return err
	}
	if !ok {
		if err := p.obtainProvider(ctx, *t, path); err != nil {
			return err
		}
	}
	// The same file under the other registry's name, so that either product finds it.
	other := providerPath(mirror, openTofuRegistry)
	if err := sameFile(path, other); err != nil {
		return fmt.Errorf("complete mirror: %w", err)
	}
	sum, err := os.ReadFile(p.record(path))
	if err != nil {
		return fmt.Errorf("read checksum: %w", err)
	}
	t.Mirror, t.ProviderPath, t.ProviderVersion, t.ProviderSHA256 = mirror, path, ProviderVersion, string(sum)
	return nil
}

// sameFile makes other a hard link of path unless it is one.
func sameFile(path, other string) error {
	a, err := os.Stat(path)
	if err != nil {
		return err
	}
	if b, err := os.Stat(other); err == nil && os.SameFile(a, b) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(other), 0o755); err != nil {
		return err
	}
	if err := os.Remove(other); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Link(path, other)
}

// obtainProvider downloads the provider, or builds it where its registry cannot be reached.
func (p *preparer) obtainProvider(ctx context.Context, t Tools, target string) error {
	registry := terraformRegistry
	if t.Tofu {
		registry = openTofuRegistry
	}
	base := "https://" + registry
	if url, ok := p.registries[registry]; ok {
		base = url
	}
	if p.reachable(ctx, base+"/.well-known/terraform.json") {
		p.say("azurerm %s is downloaded", ProviderVersion)
		binary, err := p.download(ctx, t.Terraform)
		if err == nil {
			return p.keep(binary, target)
		}
		if ctx.Err() != nil {
			return err
		}
		// The registry sends clients on to another site, which may be out of reach alone.
		p.say("the download failed: %v", err)
	} else {
		p.say("%s is out of reach", base)
	}
	p.say("azurerm %s is built from source, which takes about 8 minutes, once", ProviderVersion)
	return p.build(ctx, *p.provider, target)
}

// download lets terraform fetch the provider, which checks its signature, and unpacks it.
func (p *preparer) download(ctx context.Context, terraform string) (string, error) {
	dir := filepath.Join(p.scratch(), "download")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	config := fmt.Sprintf("terraform {\n  required_providers {\n    azurerm = {\n      source  = \"hashicorp/azurerm\"\n      version = %q\n    }\n  }\n}\n", ProviderVersion)
	if err := os.WriteFile(filepath.Join(dir, "main.tf"), []byte(config), 0o644); err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, terraform, "providers", "mirror", "-platform="+platform(), "packed")
	cmd.Dir = dir
	cmd.Env = append(p.environ[:len(p.environ):len(p.environ)], "CHECKPOINT_DISABLE=1", "TF_CLI_CONFIG_FILE="+os.DevNull)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("mirror provider: %w\n%s", err, tail(out))
	}
	archives, err := filepath.Glob(filepath.Join(dir, "packed", "*", "hashicorp", "azurerm", "*.zip"))
	if err != nil || len(archives) != 1 {
		return "", fmt.Errorf("mirror provider: found %d archives, want one", len(archives))
	}
	return unzipProvider(archives[0], filepath.Join(dir, "provider"))
}

// unzipProvider takes the provider's binary out of its package.
func unzipProvider(archive, target string) (_ string, err error) {
	r, err := zip.OpenReader(archive)
	if err != nil {
		return "", fmt.Errorf("unpack provider: %w", err)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	for _, entry := range r.File {
		if !strings.HasPrefix(entry.Name, "terraform-provider-azurerm") {
			continue
		}
		content, err := entry.Open()
		if err != nil {
			return "", fmt.Errorf("unpack provider: %w", err)
		}
		out, err := os.OpenFile(target, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o755)
		if err != nil {
			return "", errors.Join(err, content.Close())
		}
		_, err = io.Copy(out, content)
		if err = errors.Join(err, out.Close(), content.Close()); err != nil {
			return "", fmt.Errorf("unpack provider: %w", err)
		}
		return target, nil
	}
	return "", fmt.Errorf("unpack provider: %s holds no provider", filepath.Base(archive))
}
