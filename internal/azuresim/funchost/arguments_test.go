package funchost

import (
	"slices"
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
