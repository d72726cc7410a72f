package workspace

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/sockerless/backend-azf/internal/secret"
)

// secretName matches the names of attributes and variables whose values are secrets, whether the provider's schema says
// so or not.
var secretName = regexp.MustCompile(
	`(?i)^(app_settings|environment|handler_settings|site_credential|instrumentation_key)$` +
		`|password|secret|access_key|shared_key|connection_string|sas_token|^custom_domain_verification_id$`)

// ownSetting matches the app settings that the module sets itself. Those in which it puts the container's command are
// shown.
var ownSetting = regexp.MustCompile(
	`^(AZF_(COMMAND|WORKING_DIR)$|FUNCTIONS_|WEBSITES_|AzureFunctionsJobHost__|` +
		`AzureWebJobsStorage__(credential|clientId)$)`)

// shownName matches the variables whose values are shown even when a secret is in them.
var shownName = regexp.MustCompile(
	`^(command|working_dir|user|environment_names|tags|name|resource_group_name|location|image_name|image_tag|` +
		`registry_url)$`)

// secrets are values that must not be shown. The zero value hides what has the form of a secret.
type secrets struct {
	values map[string]bool
	shown  map[string]bool
	// hider hides the values; nil: it must be built anew.
	hider *secret.Hider
}

// add makes a value one to hide, with the strings in it. Of app settings, the module's own are none.
func (s *secrets) add(value any) {
	switch v := value.(type) {
	case string:
		s.addText(v)
	case []any:
		for _, part := range v {
			s.add(part)
		}
	case map[string]any:
		for name, part := range v {
			if !ownSetting.MatchString(name) {
				s.add(part)
			}
		}
	}
}

func (s *secrets) addText(text string) {
	if s.values == nil {
		s.values = map[string]bool{}
	}
	if text != redacted && !s.values[text] {
		s.values[text], s.hider = true, nil
	}
}

// show makes the strings in a value ones that are shown where nothing else stands beside them.
func (s *secrets) show(value any) {
	if s.shown == nil {
		s.shown = map[string]bool{}
	}
	switch v := value.(type) {
	case string:
		s.shown[v] = true
	case []any:
		for _, part := range v {
			s.show(part)
		}
	case map[string]any:
		for _, part := range v {
			s.show(part)
		}
	}
}

// addNamed adds the values in a document (variables, a state, a plan) whose names say that they are secrets, and shows
// those that are to be shown.
func (s *secrets) addNamed(document any) {
	switch d := document.(type) {
	case []any:
		for _, part := range d {
			s.addNamed(part)
		}
	case map[string]any:
		for name, part := range d {
			wrapped, isMap := part.(map[string]any)
			switch {
			case slices.Contains(structural, name):
			case isMap && slices.Contains(wrapping, name):
				for name, of := range wrapped {
					wrapper, _ := of.(map[string]any)
					for _, field := range wrappedFields {
						s.addNamed(map[string]any{name: wrapper[field]})
					}
				}
			case secretName.MatchString(name):
				s.add(part)
			case shownName.MatchString(name):
				s.show(part)
			default:
				s.addNamed(part)
			}
		}
	}
}

// addFile adds the secrets in a file of variables or a state. A file that is missing or damaged has none that a command
// could show.
func (s *secrets) addFile(path string) {
	content, err := os.ReadFile(path)
	var document any
	if err == nil && json.Unmarshal(content, &document) == nil {
		s.addNamed(document)
	}
}

// secretsOf returns the secrets of a workspace: those in its variables and its local state, and those in the
// environment of its commands.
func (m *Manager) secretsOf(dir string) *secrets {
	s := &secrets{}
	for _, name := range []string{varsFile, stateFile, backupFile} {
		s.addFile(filepath.Join(dir, name))
	}
	for name, value := range m.env {
		if !secretVariable.MatchString(name) {
			continue
		}
		s.addText(value)
		if u, err := url.Parse(value); err == nil && u.User != nil {
			password, _ := u.User.Password()
			s.addText(password)
		}
	}
	return s
}

// secretVariable matches the names of variables in the environment of Terraform whose values are secrets.
var secretVariable = regexp.MustCompile(
	`PASSWORD|SECRET|ACCESS_KEY|SAS_TOKEN|CONN_STR|TOKEN$|CREDENTIALS|IDENTITY_HEADER`)

// text returns text with the secrets masked.
func (s *secrets) text(text string) string {
	if s == nil {
		return text
	}
	if s.hider == nil {
		hider := secret.New(slices.Collect(maps.Keys(s.values))...)
		s.hider = &hider
	}
	return s.hider.Hide(text)
}

// document returns a decoded JSON document with the secrets masked in its strings, but not in names. What is shown
// stays.
func (s *secrets) document(value any) any {
	switch v := value.(type) {
	case string:
		if !s.shown[v] {
			return s.text(v)
		}
	case []any:
		for i := range v {
			v[i] = s.document(v[i])
		}
	case map[string]any:
		for name := range v {
			v[name] = s.document(v[name])
		}
	}
	return value
}

// err returns an error whose text has the secrets masked, and that wraps err.
func (s *secrets) err(err error) error {
	if err == nil {
		return nil
	}
	if masked := s.text(err.Error()); masked != err.Error() {
		return &maskedError{masked, err}
	}
	return err
}

// maskedError is an error with another text.
type maskedError struct {
	text string
	err  error
}

func (e *maskedError) Error() string { return e.text }
func (e *maskedError) Unwrap() error { return e.err }

// maskingWriter masks secrets in Terraform's output, line by line. The caller calls flush after the last write.
type maskingWriter struct {
	to      io.Writer
	secrets *secrets
	rest    []byte // the begin of a line
}

// Write implements io.Writer.
func (w *maskingWriter) Write(p []byte) (int, error) {
	w.rest = append(w.rest, p...)
	end := bytes.LastIndexByte(w.rest, '\n') + 1
	if end == 0 {
		return len(p), nil
	}
	whole := w.rest[:end]
	w.rest = slices.Clone(w.rest[end:])
	return len(p), w.write(whole)
}

func (w *maskingWriter) flush() error {
	whole := w.rest
	w.rest = nil
	return w.write(whole)
}

func (w *maskingWriter) write(lines []byte) error {
	for line := range bytes.Lines(lines) {
		// Terraform hides secret outputs itself, and the daemon reads the others.
		if !bytes.Contains(line, []byte(`"type":"outputs"`)) {
			line = []byte(w.secrets.text(string(line)))
		}
		if _, err := w.to.Write(line); err != nil {
			return err
		}
	}
	return nil
}
