package azureerrors

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Hidden replaces a secret in a message.
const Hidden = "(sensitive value)"

// minSecret is the shortest value that is hidden wherever it occurs. Shorter values are words of every sentence.
const minSecret = 8

// secretForms are the forms of keys and tokens in messages of Azure, azurerm and the SDK. The groups keep and end stay.
var secretForms = []*regexp.Regexp{
	// NAME=VALUE, NAME: VALUE and "NAME":"VALUE", escaped quotes included.
	regexp.MustCompile(`(?i)(?P<keep>\b(?:AccountKey|SharedAccessKey|SharedAccessSignature|InstrumentationKey|` +
		`client_?secret|client_assertion|(?:access|refresh|id)_?token|assertion|[a-z0-9_]*password|` +
		`x-functions-key)\\?"?\s*[=:]\s*\\?["']?)[^\s;&"',}\\(]+`),
	regexp.MustCompile(`(?i)(?P<keep>[?&](?:code|key|token)=|\bsig=)[^\s;&"',}\\(]+`),
	regexp.MustCompile(`(?i)(?P<keep>\bBearer\s+)[a-z0-9._~+/-]{8,}=*`),
	regexp.MustCompile(`(?P<keep>://[^\s/:@]+:)[^\s/@]+(?P<end>@)`),
	// Tokens, storage keys and host keys, wherever they occur.
	regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)?`),
	regexp.MustCompile(`[A-Za-z0-9+/]{86}==`),
	regexp.MustCompile(`[A-Za-z0-9_-]{30,}AzFu[A-Za-z0-9_-]*={0,2}`),
}

// Secrets hides keys, tokens and given values in strings. Its zero value hides what has the form of a secret. It is
// safe for concurrent use.
type Secrets struct{ values *strings.Replacer }

// NewSecrets returns Secrets that also hide each value of at least 8 bytes, including the forms that JSON and folded
// white space give it.
func NewSecrets(values ...string) Secrets {
	var all []string
	for _, v := range values {
		quoted := strconv.Quote(v)
		for _, form := range []string{v, fold(v), quoted[1 : len(quoted)-1]} {
			if len(form) >= minSecret && !slices.Contains(all, form) {
				all = append(all, form)
			}
		}
	}
	// At one position the first of the list wins. A part of a value must not win over the whole.
	slices.SortFunc(all, func(a, b string) int { return len(b) - len(a) })
	pairs := make([]string, 0, 2*len(all))
	for _, v := range all {
		pairs = append(pairs, v, Hidden)
	}
	return Secrets{strings.NewReplacer(pairs...)}
}

// Hide returns text with Hidden in place of each secret. Hiding twice changes nothing.
func (s Secrets) Hide(text string) string {
	if s.values != nil {
		text = s.values.Replace(text)
	}
	for _, form := range secretForms {
		text = form.ReplaceAllString(text, "${keep}"+Hidden+"${end}")
	}
	return text
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
