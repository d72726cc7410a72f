package funchost

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

func TestSplitArguments(t *testing.T) {
	for _, row := range []struct{ arguments, want []string }{
		{nil, nil},
		{[]string{"--", "hello", "world"}, []string{"--", "hello", "world"}},
		{[]string{"a b", "\tc\t\t d "}, []string{"a", "b", "c", "d"}},
		{[]string{"", " ", "a"}, []string{"a"}},
		{[]string{`"a b"`, `c"d e"f`}, []string{"a b", "cd ef"}},
		{[]string{`""`, `"`}, []string{"", ""}},
		{[]string{`it's`, `'a b'`, "x\ny"}, []string{"it's", "'a", "b'", "x\ny"}},
		{[]string{`echo "a`, `b"`}, []string{"echo", "a b"}},
		{[]string{`"a""b"`, `c""d`}, []string{`a"b`, "cd"}},
		{[]string{`a\b\\c\`, `\"a\"`, `\\"d e\\"`, `"f\"g"`}, []string{`a\b\\c\`, `"a"`, `\d e\`, `f"g`}},
	} {
		if got := splitArguments(row.arguments); !slices.Equal(got, row.want) {
			t.Errorf("%q: got %q, want %q", row.arguments, got, row.want)
		}
	}
}

// TestArgumentsInPieces has an argument with a blank, and one with quotes, in host.json.
func TestArgumentsInPieces(t *testing.T) {
	f := setup(t, func(files map[string]string, cfg *Config) {
		files["host.json"] = strings.Replace(hostJSON, `"%WHO%"`, `"%WHO%", "say \"it\"", "\\\"quoted one\\\""`, 1)
		cfg.Settings["WHO"] = "me too"
	}).up()
	var seen struct{ Args []string }
	if err := json.Unmarshal(f.do("GET", "/api/open", "", "").Body.Bytes(), &seen); err != nil {
		t.Fatal(err)
	}
	if want := []string{"--name", "me", "too", "say", "it", `"quoted`, `one"`}; !slices.Equal(seen.Args, want) {
		t.Errorf("got %q, want %q", seen.Args, want)
	}
}
