// Package secret hides secrets in text: what has the form of a key or a token, and given values in all forms in which
// programs print them. It must not know where values come from.
//
//	hide := secret.New(password)
//	text = hide.Hide(text)
package secret

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Hidden replaces a secret. Terraform uses the same text.
const Hidden = "(sensitive value)"

// MinLength is the length in bytes of the shortest value that is hidden wherever it occurs. Shorter values, such as 1
// or true, are words of every sentence.
const MinLength = 6

// forms are those of keys and tokens in messages of Azure, azurerm and the SDK. The groups keep and end stay.
var forms = []*regexp.Regexp{
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

// Hider hides secrets. Its zero value hides what has the form of one. It is safe for concurrent use.
type Hider struct{ values *strings.Replacer }

// New returns a Hider that also hides each value of at least MinLength bytes, and each such line of one.
func New(values ...string) Hider {
	var all []string
	for _, value := range values {
		for _, part := range append(strings.Split(value, "\n"), value) {
			if part = strings.TrimSpace(part); len(part) >= MinLength {
				all = append(all, written(part)...)
			}
		}
	}
	// At one position the first of the list wins. A part of a value must not win over the whole.
	slices.SortFunc(all, func(a, b string) int { return len(b) - len(a) })
	pairs := make([]string, 0, 2*len(all))
	for _, form := range all {
		pairs = append(pairs, form, Hidden)
	}
	return Hider{strings.NewReplacer(pairs...)}
}

// templates escapes HCL's templates.
var templates = strings.NewReplacer("${", "$${", "%{", "%%{")

// written returns the forms in which a value may be written: as it is, as in Go, in JSON and in JSON within JSON, as in
// HCL, in a URL and in base64.
func written(value string) []string {
	unquoted := func(text string) string { return text[1 : len(text)-1] }
	plain, hcl := unquoted(strconv.Quote(value)), templates.Replace(value)
	all := []string{value, plain, hcl, unquoted(strconv.Quote(hcl)), unquoted(strconv.Quote(plain))}
	if html, err := json.Marshal(value); err == nil { // which escapes <, > and &
		twice, err := json.Marshal(unquoted(string(html)))
		if err == nil {
			all = append(all, unquoted(string(html)), unquoted(string(twice)))
		}
	}
	return append(all, url.QueryEscape(value), url.PathEscape(value),
		base64.StdEncoding.EncodeToString([]byte(value)), base64.URLEncoding.EncodeToString([]byte(value)))
}

// Hide returns text with Hidden in place of each secret. Hiding twice changes nothing.
func (h Hider) Hide(text string) string {
	if h.values != nil {
		text = h.values.Replace(text)
	}
	for _, form := range forms {
		text = form.ReplaceAllString(text, "${keep}"+Hidden+"${end}")
	}
	return text
}
