package daemon_test

import (
	"database/sql"
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sockerless/backend-azf/internal/api"
)

// TestDatabaseIsLocked has another process lock the database while Terraform works.
func TestDatabaseIsLocked(t *testing.T) {
	p := newPlayground(t)
	p.create(t, "web", api.Config{})
	other, err := sql.Open("sqlite", "file:"+filepath.Join(p.cfg.StateDir, "state.db")+
		"?_txlock=immediate&_pragma=busy_timeout(5000)") // the daemon may be writing
	if err != nil {
		t.Fatal(err)
	}
	var tx *sql.Tx
	locked := make(chan error, 1)
	p.atWrite(true, http.MethodPut, sitePath, func() {
		var err error
		tx, err = other.BeginTx(t.Context(), nil)
		locked <- err
	})
	created := p.request(t, http.MethodPost, "/containers?name=job", p.createRequest())
	if err := <-locked; err != nil {
		t.Fatal(err)
	}
	err = p.Call(t.Context(), http.MethodPost, "/containers/web/start", nil, nil)
	if !answered(err, http.StatusServiceUnavailable) || !strings.Contains(err.Error(), "the daemon's database is "+
		"locked by another process") {
		t.Errorf("got %v, want 503", err)
	}
	if err := errors.Join(tx.Rollback(), other.Close()); err != nil {
		t.Fatal(err)
	}
	if err := <-created; err != nil {
		t.Errorf("the create that was under way: %v", err)
	}
	for _, name := range []string{"web", "job"} {
		p.must(t, http.MethodPost, "/containers/"+name+"/start", nil, nil)
		var res api.WaitResponse
		p.must(t, http.MethodPost, "/containers/"+name+"/wait", nil, &res)
		if res.StatusCode != 0 || res.Error != nil {
			t.Errorf("%s ended with %+v", name, res)
		}
		p.must(t, http.MethodDelete, "/containers/"+name, nil, nil)
	}
	if sites := p.sim.Sites(); len(sites) != 0 {
		t.Errorf("left: %v", sites)
	}
}
