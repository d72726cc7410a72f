package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/terraform-exec/tfexec"

	"github.com/sockerless/backend-azf/tfmodules"
)

// plain drives terraform the way that most programs do: init, plan, show and apply, each with a provider of its own.
type plain struct {
	terraform string
	env       map[string]string
	dir       string
	vars      map[string]any // of a container's workspace
}

// newPlain returns a plain terraform with the variables of an existing container's workspace.
func (b *bench) newPlain(workspace string) (*plain, error) {
	p := &plain{terraform: b.Terraform, env: map[string]string{}, dir: filepath.Join(b.Dir, "plain")}
	for name, value := range b.TerraformEnv {
		p.env[name] = value
	}
	content, err := os.ReadFile(filepath.Join(workspace, "terraform.tfvars.json"))
	if err == nil {
		err = json.Unmarshal(content, &p.vars)
	}
	if err == nil {
		err = os.MkdirAll(p.dir, 0o700)
	}
	if err != nil {
		return nil, fmt.Errorf("prepare plain terraform: %w", err)
	}
	p.env["TF_CLI_CONFIG_FILE"] = filepath.Join(p.dir, "terraform.rc")
	if err := os.WriteFile(p.env["TF_CLI_CONFIG_FILE"], []byte(b.CLIConfig), 0o600); err != nil {
		return nil, fmt.Errorf("prepare plain terraform: %w", err)
	}
	return p, nil
}

// siteName returns a new name of a function app.
func siteName() string {
	id := uuid.New()
	return fmt.Sprintf("skls-%x", id[:10])
}

// workspace renders a new workspace.
func (p *plain) workspace() (string, error) {
	name := siteName()
	dir := filepath.Join(p.dir, name)
	if err := os.CopyFS(dir, tfmodules.FunctionApp()); err != nil {
		return "", err
	}
	vars := map[string]any{}
	for key, value := range p.vars {
		vars[key] = value
	}
	vars["name"] = name
	content, err := json.Marshal(vars)
	if err != nil {
		return "", err
	}
	return dir, os.WriteFile(filepath.Join(dir, "terraform.tfvars.json"), content, 0o600)
}

// each runs commands one after another.
func (p *plain) each(dir string, commands ...func(*tfexec.Terraform) error) error {
	tf, err := tfexec.NewTerraform(dir, p.terraform)
	if err != nil {
		return err
	}
	if err := tf.SetEnv(p.env); err != nil {
		return err
	}
	for _, command := range commands {
		if err := command(tf); err != nil {
			return err
		}
	}
	return nil
}

func (p *plain) create(ctx context.Context, dir string) error {
	return p.each(dir,
		func(tf *tfexec.Terraform) error { return tf.Init(ctx) },
		func(tf *tfexec.Terraform) error { _, err := tf.Plan(ctx, tfexec.Out("plan")); return err },
		func(tf *tfexec.Terraform) error { _, err := tf.ShowPlanFile(ctx, "plan"); return err },
		func(tf *tfexec.Terraform) error { return tf.Apply(ctx, tfexec.DirOrPlan("plan")) })
}

func (p *plain) destroy(ctx context.Context, dir string) error {
	return p.each(dir, func(tf *tfexec.Terraform) error { return tf.Destroy(ctx) })
}

// sample measures f and the processes that f starts and waits for.
func (p *plain) sample(f func() error) (Sample, error) {
	before, started := usage(syscall.RUSAGE_CHILDREN), time.Now()
	err := f()
	return Sample{Wall: time.Since(started), CPU: usage(syscall.RUSAGE_CHILDREN) - before}, err
}
