package toolchain

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/go-version"
	"github.com/hashicorp/hc-install/product"
	"github.com/hashicorp/hc-install/releases"
)

// findTerraform fills in the binary.
func (p *preparer) findTerraform(ctx context.Context, t *Tools) error {
	if p.Terraform != "" {
		path, err := filepath.Abs(p.Terraform)
		if err != nil {
			return fmt.Errorf("use terraform %s: %w", p.Terraform, err)
		}
		if err := p.inspect(ctx, path, t); err != nil {
			return fmt.Errorf("use terraform %s: %w", p.Terraform, err)
		}
		return nil
	}
	names := []string{"terraform", "tofu"}
	if p.Tofu {
		names = names[1:]
	}
	for _, name := range names {
		path, ok := p.lookPath(name)
		if !ok {
			continue
		}
		err := p.inspect(ctx, path, t)
		if err == nil {
			return nil
		}
		p.say("%s is passed over: %v", path, err)
	}
	terraform := filepath.Join(p.CacheDir, "terraform-"+TerraformVersion+"_"+platform(), "terraform")
	tofu := filepath.Join(p.CacheDir, "opentofu-"+OpenTofuVersion+"_"+platform(), "tofu")
	kept := []string{terraform, tofu}
	if p.Tofu {
		kept = kept[1:]
	}
	for _, path := range kept {
		ok, err := p.verified(path)
		if err != nil {
			return err
		}
		if ok {
			return p.inspect(ctx, path, t)
		}
	}
	obtained := tofu
	var err error
	switch {
	case p.Tofu:
		p.say("OpenTofu %s is built, which takes about 3 minutes, once", OpenTofuVersion)
		err = p.build(ctx, *p.tofu, tofu)
	case p.reachable(ctx, p.releases+"/terraform/"+TerraformVersion+"/"):
		obtained, err = terraform, p.install(ctx, terraform)
	default:
		p.say("%s is out of reach: OpenTofu %s is built instead, which takes about 3 minutes, once", p.releases, OpenTofuVersion)
		err = p.build(ctx, *p.tofu, tofu)
	}
	if err != nil {
		return err
	}
	return p.inspect(ctx, obtained, t)
}

// install downloads terraform. hc-install checks the signature of the checksums, and the checksum of the download.
func (p *preparer) install(ctx context.Context, target string) error {
	p.say("terraform %s is downloaded", TerraformVersion)
	exact := &releases.ExactVersion{
		Product: product.Terraform, Version: version.Must(version.NewVersion(TerraformVersion)),
		InstallDir: p.scratch(), Timeout: 10 * time.Minute, ApiBaseURL: p.releases,
	}
	path, err := exact.Install(ctx)
	if err != nil {
		return fmt.Errorf("download terraform: %w", err)
	}
	return p.keep(path, target)
}

// inspect runs the binary's version command and fills in what it is. One that is too old is an error.
func (p *preparer) inspect(ctx context.Context, path string, t *Tools) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "version", "-json")
	// A CLI configuration of the user's must not decide whether the binary is usable.
	cmd.Env = append(p.environ[:len(p.environ):len(p.environ)], "CHECKPOINT_DISABLE=1", "TF_CLI_CONFIG_FILE="+os.DevNull)
	cmd.Dir = p.scratch()
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("run version -json: %w", err)
	}
	var answer struct {
		Version string `json:"terraform_version"`
	}
	if err := json.Unmarshal(out, &answer); err != nil {
		return fmt.Errorf("read version -json: %w", err)
	}
	have, err := version.NewVersion(answer.Version)
	if err != nil {
		return fmt.Errorf("read version -json: %w", err)
	}
	isTofu, err := p.isTofu(ctx, path)
	if err != nil {
		return err
	}
	product, minimum := "terraform", minTerraform
	if isTofu {
		product, minimum = "OpenTofu", minOpenTofu
	}
	if have.LessThan(version.Must(version.NewVersion(minimum))) {
		return fmt.Errorf("it is %s %s, at least %s is needed", product, have, minimum)
	}
	t.Terraform, t.TerraformVersion, t.Tofu = path, have.String(), isTofu
	return nil
}

// isTofu tells the two apart by what version prints first: their JSON is the same.
func (p *preparer) isTofu(ctx context.Context, path string) (bool, error) {
	cmd := exec.CommandContext(ctx, path, "version")
	cmd.Env = append(p.environ[:len(p.environ):len(p.environ)], "CHECKPOINT_DISABLE=1", "TF_CLI_CONFIG_FILE="+os.DevNull)
	cmd.Dir = p.scratch()
	out, err := cmd.Output()
	if err != nil {
		return false, fmt.Errorf("run version: %w", err)
	}
	return strings.HasPrefix(string(out), "OpenTofu"), nil
}

// lookPath finds a program on the PATH of the preparer's environment.
func (p *preparer) lookPath(name string) (string, bool) {
	path := ""
	for _, entry := range p.environ {
		if value, ok := strings.CutPrefix(entry, "PATH="); ok {
			path = value
		}
	}
	for _, dir := range filepath.SplitList(path) {
		if !filepath.IsAbs(dir) {
			continue // as os/exec: nothing from the current folder
		}
		if found, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return found, true
		}
	}
	return "", false
}
