package invoker

import (
	"strings"
	"testing"
)

// TestRefusalsSayWhy wants the cause of a refusal in words.
func TestRefusalsSayWhy(t *testing.T) {
	for name, row := range map[string]struct {
		post step
		want string
	}{
		"stopped":      {stoppedPage, "it is stopped: start the function app"},
		"restrictions": {forbidden, "access restrictions refuse the daemon's address 192.0.2.7"},
		"login":        {login, "authentication is switched on"},
		"challenge":    {challenge, "authentication is switched on"},
		"redirect":     {answering(302, "Location", "https://proxy.example.com/x?secret=s"), "to proxy.example.com in"},
		"relative":     {answering(302, "Location", "/x"), "redirects to another place"},
		"proxy":        {status(407), "something in front of it refused the request"},
	} {
		_, inv := newFake(t, script{post: []step{row.post}})
		_, err := inv.Run(t.Context(), target, Request{RunID: testRun, Handler: true})
		if KindOf(err) != KindRefused || !strings.Contains(err.Error(), row.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %v, want %q", name, err, row.want)
		}
	}
	_, inv := newFake(t, script{post: []step{running()}, poll: []step{stoppedPage}})
	_, err := inv.Run(t.Context(), target, Request{RunID: testRun, Handler: true})
	if KindOf(err) != KindLost || !strings.Contains(err.Error(), "it is stopped") {
		t.Errorf("stopped during the run: got %v", err)
	}
	_, inv = newFake(t, script{poll: []step{answering(302, "Location", "/login")}})
	_, err = inv.Run(t.Context(), target, Request{RunID: testRun, Handler: true, Resume: true})
	if KindOf(err) != KindLost || !strings.Contains(err.Error(), "redirects to another place") {
		t.Errorf("resumed: got %v", err)
	}
}
