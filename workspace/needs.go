package workspace

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclparse"
)

// needs are the requirements of a workspace's configuration and state that must be met before terraform can run.
type needs struct {
	// types are the azurerm types that occur (resources, data sources and the like), sorted.
	types []string
	// init: there is a backend, a module call or another provider, which only terraform init makes ready.
	init bool
}

var (
	rootBlocks = &hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{
		{Type: "resource", LabelNames: []string{"type", "name"}},
		{Type: "data", LabelNames: []string{"type", "name"}},
		{Type: "ephemeral", LabelNames: []string{"type", "name"}},
		{Type: "module", LabelNames: []string{"name"}}, {Type: "terraform"},
	}}
	settingBlocks = &hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{
		{Type: "backend", LabelNames: []string{"type"}}, {Type: "cloud"}, {Type: "required_providers"},
	}}
)

// needsOf reads the configuration in a workspace, and its state where that is a local file.
func needsOf(dir string) (needs, error) {
	n, types := needs{}, map[string]bool{}
	parser := hclparse.NewParser()
	for pattern, parse := range map[string]func(string) (*hcl.File, hcl.Diagnostics){
		"*.tf": parser.ParseHCLFile, "*.tf.json": parser.ParseJSONFile,
	} {
		paths, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return needs{}, fmt.Errorf("read configuration: %w", err)
		}
		for _, path := range paths {
			file, diagnostics := parse(path)
			if diagnostics.HasErrors() {
				return needs{}, fmt.Errorf("read configuration: %w", diagnostics)
			}
			if err := n.read(file.Body, types); err != nil {
				return needs{}, err
			}
		}
	}
	known, err := readState(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return needs{}, err
	}
	if known != nil {
		for _, name := range known.types() {
			types[name] = true
		}
	}
	for name := range types {
		if strings.HasPrefix(name, "azurerm_") {
			n.types = append(n.types, name)
		}
	}
	slices.Sort(n.types)
	return n, nil
}

// read adds the requirements of one file.
func (n *needs) read(body hcl.Body, types map[string]bool) error {
	content, _, diagnostics := body.PartialContent(rootBlocks)
	if diagnostics.HasErrors() {
		return fmt.Errorf("read configuration: %w", diagnostics)
	}
	for _, block := range content.Blocks {
		switch block.Type {
		case "module":
			n.init = true
		case "terraform":
			settings, _, diagnostics := block.Body.PartialContent(settingBlocks)
			if diagnostics.HasErrors() {
				return fmt.Errorf("read configuration: %w", diagnostics)
			}
			for _, setting := range settings.Blocks {
				if setting.Type != "required_providers" {
					n.init = true
					continue
				}
				providers, diagnostics := setting.Body.JustAttributes()
				if diagnostics.HasErrors() {
					return fmt.Errorf("read configuration: %w", diagnostics)
				}
				delete(providers, "azurerm")
				n.init = n.init || len(providers) > 0
			}
		default:
			types[block.Labels[0]] = true
		}
	}
	return nil
}
