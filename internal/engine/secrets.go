package engine

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/sockerless/backend-azf/store"
)

// hidden stands where a secret was.
const hidden = "(sensitive value)"

// minSecret is the length from which a value of the environment is hidden: shorter ones are words of every sentence.
const minSecret = 8

// secretForms are the forms that keys and tokens have in what Azure, azurerm and the SDK write. Groups named keep and end stay.
var secretForms = []*regexp.Regexp{
	// NAME=VALUE, NAME: VALUE and "NAME":"VALUE", escaped quotes included.
	regexp.MustCompile(`(?i)(?P<keep>\b(?:AccountKey|SharedAccessKey|SharedAccessSignature|InstrumentationKey|client_?secret|client_assertion|` +
		`(?:access|refresh|id)_?token|assertion|[a-z0-9_]*password|x-functions-key)\\?"?\s*[=:]\s*\\?["']?)[^\s;&"',}\\(]+`),
	regexp.MustCompile(`(?i)(?P<keep>[?&](?:code|key|token)=|\bsig=)[^\s;&"',}\\(]+`),
	regexp.MustCompile(`(?i)(?P<keep>\bBearer\s+)[a-z0-9._~+/-]{8,}=*`),
	regexp.MustCompile(`(?P<keep>://[^\s/:@]+:)[^\s/@]+(?P<end>@)`),
	// Tokens, storage keys and host keys wherever they stand.
	regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)?`),
	regexp.MustCompile(`[A-Za-z0-9+/]{86}==`),
	regexp.MustCompile(`[A-Za-z0-9_-]{30,}AzFu[A-Za-z0-9_-]*={0,2}`),
}

// secrets hides keys, tokens and given values in texts. Its zero value hides what has the form of a secret.
type secrets struct{ values *strings.Replacer }

// newSecrets hides each of values that is long enough, also in the forms that JSON and folded white space give it.
func newSecrets(values ...string) secrets {
	var all []string
	for _, v := range values {
		quoted := strconv.Quote(v)
		for _, form := range []string{v, fold(v), quoted[1 : len(quoted)-1]} {
			if len(form) >= minSecret && !slices.Contains(all, form) {
				all = append(all, form)
			}
		}
	}
	// At one place the first of the list wins, and a part of a value must not win over the whole.
	slices.SortFunc(all, func(a, b string) int { return len(b) - len(a) })
	pairs := make([]string, 0, 2*len(all))
	for _, v := range all {
		pairs = append(pairs, v, hidden)
	}
	return secrets{strings.NewReplacer(pairs...)}
}

// secretsOf are the values of a container's environment and the registry's password.
func (s Settings) secretsOf(c store.Container) secrets {
	values := []string{s.RegistryPassword}
	for _, entry := range c.Config.Env {
		if _, value, ok := strings.Cut(entry, "="); ok {
			values = append(values, value)
		}
	}
	return newSecrets(values...)
}

func (s secrets) hide(text string) string {
	if s.values != nil {
		text = s.values.Replace(text)
	}
	for _, form := range secretForms {
		text = form.ReplaceAllString(text, "${keep}"+hidden+"${end}")
	}
	return text
}

// clean is text in one line, without secrets.
func (s secrets) clean(text string) string { return s.hide(fold(s.hide(text))) }

// sealed is an error whose text is one line without secrets. What it wraps can be found, and must not be printed.
type sealed struct {
	text string
	err  error
}

func (s secrets) seal(err error) error { return &sealed{s.clean(err.Error()), err} }

func (e *sealed) Error() string { return e.text }

func (e *sealed) Unwrap() error { return e.err }
