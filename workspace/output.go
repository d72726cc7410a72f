package workspace

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-exec/tfexec"
	tfjson "github.com/hashicorp/terraform-json"
)

// outputs decodes a workspace's outputs into a struct of output fields. An operation that applied a plan has printed
// them, unless one is sensitive. The state has them all.
func (m *Manager) outputs(ctx context.Context, op Operation, s *session, into any) error {
	var content []byte
	if op.Applied {
		var err error
		if content, err = printedOutputs(filepath.Join(s.dir, s.folder, applyOutput)); err != nil {
			return err
		}
	}
	if content == nil {
		var state *tfjson.State
		err := m.command(ctx, s, "show", func(tf *tfexec.Terraform) (err error) {
			state, err = tf.Show(ctx, s.attach())
			return err
		})
		if err != nil || state.Values == nil { // nothing was created yet
			return err
		}
		if content, err = json.Marshal(state.Values.Outputs); err != nil {
			return fmt.Errorf("read outputs: %w", err)
		}
	}
	if err := json.Unmarshal(content, into); err != nil {
		return fmt.Errorf("read outputs: %w", err)
	}
	return nil
}

// printedOutputs returns the outputs in the JSON lines of an apply, or nil when they are missing or one of them is
// sensitive.
func printedOutputs(path string) (content []byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read outputs: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	err = readLines(f, func(line []byte) {
		var entry struct {
			Type    string          `json:"type"`
			Outputs json.RawMessage `json:"outputs"`
		}
		if json.Unmarshal(line, &entry) == nil && entry.Type == "outputs" {
			content = entry.Outputs
		}
	})
	if err != nil || content == nil {
		return nil, err
	}
	var each map[string]struct {
		Sensitive bool `json:"sensitive"`
	}
	if err := json.Unmarshal(content, &each); err != nil {
		return nil, fmt.Errorf("read outputs: %w", err)
	}
	for _, o := range each {
		if o.Sensitive {
			return nil, nil
		}
	}
	return content, nil
}

type output[T any] struct {
	Value T `json:"value"`
}

// readErrors reads the error diagnostics from terraform's JSON lines.
func readErrors(f io.ReadSeeker) ([]string, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("read output: %w", err)
	}
	var found []string
	err := readLines(f, func(line []byte) {
		var entry struct {
			Type       string `json:"type"`
			Diagnostic struct {
				Severity string `json:"severity"`
				Summary  string `json:"summary"`
				Detail   string `json:"detail"`
			} `json:"diagnostic"`
		}
		if json.Unmarshal(line, &entry) != nil || entry.Type != "diagnostic" || entry.Diagnostic.Severity != "error" {
			return
		}
		message := entry.Diagnostic.Summary
		// Providers often write the same message in both.
		if detail := strings.TrimSpace(entry.Diagnostic.Detail); detail != "" && detail != message {
			message += ": " + detail
		}
		if !slices.Contains(found, message) {
			found = append(found, message)
		}
	})
	return found, err
}

// crashForm matches the begin of the output with which a Go program crashes.
var crashForm = regexp.MustCompile(`(?m)^(?:panic|fatal error): `)

// crashIn returns the output of a crash, at most 8 KiB of it, or "". Terraform prints its provider's on stderr only.
func crashIn(output string) string {
	const limit = 8 << 10
	at := crashForm.FindStringIndex(output)
	if at == nil {
		return ""
	}
	crash := output[at[0]:]
	return strings.ToValidUTF8(crash[:min(len(crash), limit)], "")
}

// readLines calls f for each line of terraform's output. Not every line is JSON; lines have any length.
func readLines(output io.Reader, f func(line []byte)) error {
	r := bufio.NewReader(output)
	for {
		line, err := r.ReadBytes('\n')
		f(line)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read output: %w", err)
		}
	}
}
