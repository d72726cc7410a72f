package protocol

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// TestEarlierVersionsReadLines encodes lines and reads them as versions do that know no pieces: they show the text.
func TestEarlierVersionsReadLines(t *testing.T) {
	at := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	for output, want := range map[string]string{"a\r": "a\r", "b\n": "b", "\xff\n": "\uFFFD"} {
		l := LineOf([]byte(output))
		content, ended := strings.CutSuffix(output, "\n")
		if l.Content() != content || ended != (l.Ending == "") {
			t.Errorf("%q is %+v", output, l)
		}
		l.Stream, l.Seq, l.Time = Stdout, 2, at
		encoded, err := json.Marshal(l)
		if err != nil {
			t.Fatal(err)
		}
		var earlier struct {
			Stream string    `json:"s"`
			Seq    int       `json:"seq"`
			Time   time.Time `json:"t"`
			Text   string    `json:"m"`
		}
		if err := json.Unmarshal(encoded, &earlier); err != nil || earlier.Text != want || earlier.Seq != 2 {
			t.Errorf("%s is read as %+v, %v", encoded, earlier, err)
		}
		if plain := `{"s":"out","seq":2,"t":"2026-01-31T12:00:00Z","m":"b"}`; want == "b" && string(encoded) != plain {
			t.Errorf("got %s, want %s", encoded, plain)
		}
	}
}
