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

// Registries from which the two products take azurerm.
const (
	terraformRegistry = "registry.terraform.io"
	openTofuRegistry  = "registry.opentofu.org"
)

var templateEscaper = strings.NewReplacer("${", "$${", "%{", "%%{")

// providerPath returns the path at which an unpacked mirror keeps a version of the provider that a registry calls
// hashicorp/azurerm.
func providerPath(mirror, registry, version string) string {
	return filepath.Join(mirror, registry, "hashicorp", "azurerm", version, platform(),
		"terraform-provider-azurerm_v"+version)
}

// azurermArtefact has a name for each registry, so that both products find the one file.
func (p *preparer) azurermArtefact() artefact {
	mirror := filepath.Join(p.CacheDir, "mirror")
	return artefact{
		name: "azurerm " + ProviderVersion, key: "azurerm-" + ProviderVersion + "_" + platform(),
		path: providerPath(mirror, terraformRegistry, ProviderVersion),
		link: providerPath(mirror, openTofuRegistry, ProviderVersion),
	}
}

// findProvider fills in the mirror.
func (p *preparer) findProvider(ctx context.Context, t *Tools) error {
	a := p.azurermArtefact()
	if err := p.obtain(ctx, a, func(scratch string) (string, error) {
		return p.obtainProvider(ctx, *t, a, scratch)
	}); err != nil {
		return err
	}
	sum, err := os.ReadFile(p.record(a.path))
	if err != nil {
		return fmt.Errorf("read checksum: %w", err)
	}
	t.Mirror, t.ProviderPath = filepath.Join(p.CacheDir, "mirror"), a.path
	t.ProviderVersion, t.ProviderSHA256 = ProviderVersion, string(sum)
	return nil
}

// sameFile replaces other by a hard link of path unless it is one.
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

// obtainProvider downloads the provider, or builds it if its registry is out of reach.
func (p *preparer) obtainProvider(ctx context.Context, t Tools, a artefact, scratch string) (string, error) {
	registry := terraformRegistry
	if t.Tofu {
		registry = openTofuRegistry
	}
	base := "https://" + registry
	if url, ok := p.registries[registry]; ok {
		base = url
	}
	if p.reachable(ctx, base+"/.well-known/terraform.json") {
		p.working("downloading " + a.name)
		binary, err := p.download(ctx, t.Terraform, scratch)
		if err == nil || ctx.Err() != nil {
			return binary, err
		}
		// The registry redirects clients to another site, which may be out of reach alone.
		p.progress.say("downloading %s failed: %v", a.name, err)
	} else {
		p.progress.say("%s is out of reach", base)
	}
	p.progress.say("building %s from source, which takes about 8 minutes, once", a.name)
	return p.build(ctx, *p.provider, a, scratch)
}

// download has terraform fetch the provider, which checks its signature, and unpacks it.
func (p *preparer) download(ctx context.Context, terraform, scratch string) (string, error) {
	dir := filepath.Join(scratch, "download")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	config := fmt.Sprintf(`terraform {
  required_providers {
    azurerm = {
      source  = "hashicorp/azurerm"
      version = %q
    }
  }
}
`, ProviderVersion)
	if err := os.WriteFile(filepath.Join(dir, "main.tf"), []byte(config), 0o644); err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, terraform, "providers", "mirror", "-platform="+platform(), "packed")
	cmd.Dir = dir
	cmd.Env = p.terraformEnv()
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("mirror provider: %w\n%s", err, tail(out))
	}
	archives, err := filepath.Glob(filepath.Join(dir, "packed", "*", "hashicorp", "azurerm", "*.zip"))
	if err != nil || len(archives) != 1 {
		return "", fmt.Errorf("mirror provider: found %d archives, want one", len(archives))
	}
	return unzipProvider(archives[0], filepath.Join(dir, "provider"))
}

// unzipProvider extracts the provider's binary from its package to target.
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
