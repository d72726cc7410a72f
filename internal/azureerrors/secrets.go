package azureerrors

import "github.com/sockerless/backend-azf/internal/secret"

// Secrets hides keys, tokens and given values in errors. Its zero value hides what has the form of a secret. It is safe
// for concurrent use.
type Secrets struct{ secret.Hider }

// NewSecrets returns Secrets that also hide the given values, as secret.New does, and their form on one line.
func NewSecrets(values ...string) Secrets {
	var all []string
	for _, v := range values {
		all = append(all, v, fold(v))
	}
	return Secrets{secret.New(all...)}
}

// Seal returns an error that wraps err and whose message is err's on one line, without secrets.
func (s Secrets) Seal(err error) error { return &sealed{s.clean(err.Error()), err} }

// clean returns text on one line, without secrets.
func (s Secrets) clean(text string) string { return s.Hide(fold(s.Hide(text))) }

// sealed is an error whose message has no secrets. The error that it wraps can be found, and must not be printed.
type sealed struct {
	text string
	err  error
}

func (e *sealed) Error() string { return e.text }

func (e *sealed) Unwrap() error { return e.err }
