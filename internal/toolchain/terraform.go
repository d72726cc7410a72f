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
		p.progress.say("passing over %s: %v", path, err)
	}
	terraform, tofu := p.terraformArtefact(), p.openTofuArtefact()
	kept := []artefact{terraform, tofu}
	if p.Tofu {
		kept = kept[1:]
	}
	for _, a := range kept {
		ok, err := p.ready(a)
		if err != nil {
			return err
		}
		if ok {
			return p.inspect(ctx, a.path, t)
		}
	}
	if !p.Tofu && p.reachable(ctx, p.releases+"/terraform/"+TerraformVersion+"/") {
		err := p.obtain(ctx, terraform, func(scratch string) (string, error) { return p.install(ctx, scratch) })
		if err != nil {
			return err
		}
		return p.inspect(ctx, terraform.path, t)
	}
	if !p.Tofu {
		p.progress.say("%s is out of reach: using OpenTofu instead", p.releases)
	}
	err := p.obtain(ctx, tofu, func(scratch string) (string, error) {
		p.progress.say("building %s from source, which takes about 3 minutes, once", tofu.name)
		return p.build(ctx, *p.tofu, tofu, scratch)
	})
	if err != nil {
		return err
	}
	return p.inspect(ctx, tofu.path, t)
}

func (p *preparer) terraformArtefact() artefact {
	key := "terraform-" + TerraformVersion + "_" + platform()
	return artefact{name: "terraform " + TerraformVersion, key: key, path: filepath.Join(p.CacheDir, key, "terraform")}
}

func (p *preparer) openTofuArtefact() artefact {
	key := "opentofu-" + OpenTofuVersion + "_" + platform()
	return artefact{name: "OpenTofu " + OpenTofuVersion, key: key, path: filepath.Join(p.CacheDir, key, "tofu")}
}

// install downloads terraform. hc-install checks the signature of the checksums, and the checksum of the download.
func (p *preparer) install(ctx context.Context, scratch string) (string, error) {
	p.working("downloading terraform " + TerraformVersion)
	exact := &releases.ExactVersion{
		Product: product.Terraform, Version: version.Must(version.NewVersion(TerraformVersion)),
		InstallDir: scratch, Timeout: 10 * time.Minute, ApiBaseURL: p.releases,
	}
	path, err := exact.Install(ctx)
	if err != nil {
		return "", fmt.Errorf("download terraform: %w", err)
	}
	return path, nil
}

// terraformEnv returns the environment in which terraform calls nobody and ignores the user's CLI configuration,
// which must not decide whether a binary is usable.
func (p *preparer) terraformEnv() []string {
	environ := p.environ[:len(p.environ):len(p.environ)]
	return append(environ, "CHECKPOINT_DISABLE=1", "TF_CLI_CONFIG_FILE="+os.DevNull)
}

// neutralDir is a folder without Terraform files, which the version command would read.
const neutralDir = "/"

// inspect runs the binary's version command and fills in path, product and version. A binary that is too old is an
// error.
func (p *preparer) inspect(ctx context.Context, path string, t *Tools) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "version", "-json")
	cmd.Env, cmd.Dir = p.terraformEnv(), neutralDir
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

// isTofu reports whether the binary is OpenTofu, by the first word of version's output: the JSON of both is the same.
func (p *preparer) isTofu(ctx context.Context, path string) (bool, error) {
	cmd := exec.CommandContext(ctx, path, "version")
	cmd.Env, cmd.Dir = p.terraformEnv(), neutralDir
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
