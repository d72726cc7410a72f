package suggest

import "testing"

func TestClosest(t *testing.T) {
	names := []string{"storage-account", "state-dir", "owner"}
	for name, want := range map[string]string{
		"storage-acount": "storage-account", "statedir": "state-dir", "owner": "owner", "ownr": "owner", "colour": "", "": "",
	} {
		if got := Closest(name, names); got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
	if got := Closest("any", nil); got != "" {
		t.Errorf("got %q of no names", got)
	}
}
