package workspace

import (
	"strings"
	"testing"
)

func TestReadErrors(t *testing.T) {
	long := strings.Repeat("x", 200<<10)
	output := `not JSON
{"type": "version"}
{"type": "diagnostic", "diagnostic": {"severity": "warning", "summary": "w"}}
{"type": "diagnostic", "diagnostic": {"severity": "error", "summary": "same", "detail": "same"}}
{"type": "diagnostic", "diagnostic": {"severity": "error", "summary": "same", "detail": ""}}
{"type": "diagnostic", "diagnostic": {"severity": "error", "summary": "long", "detail": "` + long + `"}}`
	got, err := readErrors(strings.NewReader(output))
	if err != nil || len(got) != 2 || got[0] != "same" || len(got[1]) != 200<<10+len("long: ") {
		t.Errorf("got %d errors, %v", len(got), err)
	}
}

func TestChangesAreWordedAsTerraformDoes(t *testing.T) {
	for want, changes := range map[string]Changes{
		"1 to add, 2 to change, 3 to destroy":              {Add: 1, Change: 2, Destroy: 3},
		"1 to import, 0 to add, 1 to change, 0 to destroy": {Import: 1, Change: 1},
	} {
		if got := changes.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
