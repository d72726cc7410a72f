package daemon_test

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/azuresim"
	"github.com/sockerless/backend-azf/internal/azuretest"
)

// atWrite calls do in the middle of the first such write: when Azure has accepted it and not done it, or with after,
// when Azure has done it and not answered.
func (p *playground) atWrite(after bool, method string, path *regexp.Regexp, do func()) {
	var once sync.Once
	hook := func(m, at string) {
		if m == method && path.MatchString(at) {
			once.Do(do)
		}
	}
	if after {
		p.sim.SetFaults(azuresim.Faults{AfterWrite: func(m, at string, _ int) { hook(m, at) }})
	} else {
		p.sim.SetFaults(azuresim.Faults{BeforeWrite: hook})
	}
}

// killAt kills the daemon in the middle of a write: see atWrite. The channel is closed when the daemon is dead.
func (p *playground) killAt(after bool, method string, path *regexp.Regexp) <-chan struct{} {
	killed := make(chan struct{})
	p.atWrite(after, method, path, func() {
		p.kill()
		close(killed)
	})
	return killed
}

// happened blocks until the daemon reports an event of a container.
func (p *playground) happened(t *testing.T, name string, action api.EventAction) {
	t.Helper()
	filters, err := json.Marshal(api.Filters{"container": {name}, "event": {string(action)}})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(
		t.Context(),
		http.MethodGet,
		"http://daemon/internal/v1/events?since=1&filters="+string(filters),
		nil,
	)
	if err != nil {
		t.Fatal(err)
	}
	res, err := p.HTTP.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(res.Body).ReadBytes('\n')
	if err = errors.Join(err, res.Body.Close()); err != nil {
		t.Fatalf("no event %s of %s: %v\n%s", action, name, err, p.log(t))
	}
	var event api.Event
	if err := json.Unmarshal(line, &event); err != nil || event.Action != action {
		t.Fatalf("got %s, %v", line, err)
	}
}

// request sends a request and does not wait for the answer, since the daemon may die first. The channel gets the
// answer.
func (p *playground) request(t *testing.T, method, path string, in any) <-chan error {
	t.Helper()
	answered := make(chan error, 1)
	go func() { answered <- p.Call(context.WithoutCancel(t.Context()), method, path, in, nil) }()
	return answered
}

func (p *playground) createRequest() api.CreateRequest {
	return api.CreateRequest{Config: &api.Config{Image: p.image}}
}

// lives takes an existing container through a run and its removal, and checks that nothing is left.
func (p *playground) lives(t *testing.T, name string) {
	t.Helper()
	if sites := p.sim.Sites(); len(sites) != 1 {
		t.Errorf("function apps are %v, want the container's", sites)
	}
	p.must(t, http.MethodPost, "/containers/"+name+"/start", nil, nil)
	var res api.WaitResponse
	p.must(t, http.MethodPost, "/containers/"+name+"/wait", nil, &res)
	if res.StatusCode != 0 || res.Error != nil {
		t.Errorf("the run ended with %+v", res)
	}
	p.must(t, http.MethodDelete, "/containers/"+name, nil, nil)
	p.nothingLeft(t)
}

// nothingLeft checks that no container, function app, workspace or lock is left.
func (p *playground) nothingLeft(t *testing.T) {
	t.Helper()
	var list []api.Summary
	p.must(t, http.MethodGet, "/containers?all=1", nil, &list)
	if sites := p.sim.Sites(); len(sites) != 0 || len(list) != 0 {
		t.Errorf("left are function apps %v and containers %v\n%s", sites, list, p.log(t))
	}
	if left, err := os.ReadDir(filepath.Join(p.stateDir(), "workspaces/containers")); err != nil || len(left) != 0 {
		t.Errorf("workspaces left: %v, %v", left, err)
	}
	if locks := p.locks(t); len(locks) != 0 {
		t.Errorf("locks left: %v", locks)
	}
	azuretest.Eventually(t, "no process of Terraform", func() bool { return len(p.terraforms(t)) == 0 })
	if p.disk > 0 {
		return // SQLite does not open a file in another mount namespace
	}
	if v, err := p.verify(t); err != nil || len(v.Open) > 0 {
		t.Errorf("the audit trail: %+v, %v", v, err)
	}
	if n := p.unaudited(t); n > 0 {
		t.Errorf("unaudited=%d", n)
	}
}

// locks returns the descriptions of state locks below the state folder, and the locks of Terraform in the database.
func (p *playground) locks(t *testing.T) (found []string) {
	t.Helper()
	if p.database != "" {
		found = p.databaseLocks(t)
	}
	err := filepath.WalkDir(p.stateDir(), func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".lock.info") {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	return found
}

// holdDatabase keeps every other connection from writing to the daemon's database until release is called.
func (p *playground) holdDatabase(t *testing.T) (release func()) {
	t.Helper()
	db, err := sql.Open(
		"sqlite",
		"file:"+filepath.Join(p.stateDir(), "state.db")+"?_pragma=busy_timeout(5000)&_txlock=immediate",
	)
	if err != nil {
		t.Fatal(err)
	}
	tx, err := db.BeginTx(context.WithoutCancel(t.Context()), nil)
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := errors.Join(tx.Rollback(), db.Close()); err != nil {
			t.Error(err)
		}
	}
}

// applied reports whether the verdict of the one container's apply is written.
func (p *playground) applied(t *testing.T) bool {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(p.stateDir(), "workspaces/containers/*/operations/*-apply/operation.json"))
	if err != nil || len(paths) > 1 {
		t.Fatalf("%v, %v", paths, err)
	}
	if len(paths) == 0 {
		return false
	}
	content, err := os.ReadFile(paths[0])
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(content), `"finished"`)
}

// TestLongKilledDuringCreate kills one daemon after the other at each step of one create.
func TestLongKilledDuringCreate(t *testing.T) {
	p := newAzure(t)
	var answer <-chan error
	for step, at := range []struct {
		after bool
		path  *regexp.Regexp
	}{
		{true, regexp.MustCompile(`/workspaces/[^/]+$`)},
		{true, regexp.MustCompile(`/components/[^/]+$`)},
		{false, sitePath},
		{true, sitePath}, // the app is in Azure, and no state knows it
	} {
		killed := p.killAt(at.after, http.MethodPut, at.path)
		if step == 0 {
			p.launch(t)
			answer = p.request(t, http.MethodPost, "/containers?name=web", p.createRequest())
		} else {
			p.spawn(t)
		}
		<-killed
	}
	p.sim.SetFaults(azuresim.Faults{})
	p.launch(t)
	if err := <-answer; err == nil {
		t.Error("a dead daemon has answered")
	}
	p.happened(t, "web", api.EventCreate)
	p.lives(t, "web")
}

func TestKilledBetweenStateAndRow(t *testing.T) {
	p := newAzure(t)
	p.launch(t)
	held := make(chan func(), 1)
	p.atWrite(false, http.MethodPut, sitePath, func() { held <- p.holdDatabase(t) })
	answer := p.request(t, http.MethodPost, "/containers?name=web", p.createRequest())
	release := <-held
	azuretest.Eventually(t, "apply", func() bool { return p.applied(t) })
	p.kill()
	release()
	if err := <-answer; err == nil {
		t.Error("a dead daemon has answered")
	}
	p.sim.SetFaults(azuresim.Faults{})
	p.launch(t)
	p.happened(t, "web", api.EventCreate)
	p.lives(t, "web")
}

func TestKilledBetweenRowAndAnswer(t *testing.T) {
	p := newAzure(t)
	p.launch(t)
	answer := p.request(t, http.MethodPost, "/containers?name=web", p.createRequest())
	p.happened(t, "web", api.EventCreate)
	p.kill()
	t.Logf("the answer, if it came: %v", <-answer)
	p.launch(t)
	p.lives(t, "web")
}

func TestLongKilledDuringDestroy(t *testing.T) {
	for name, after := range map[string]bool{"before the app is deleted": false, "after the app is deleted, before " +
		"state": true} {
		t.Run(name, func(t *testing.T) {
			p := newAzure(t)
			p.launch(t)
			p.create(t, "web", api.Config{})
			killed := p.killAt(after, http.MethodDelete, sitePath)
			answer := p.request(t, http.MethodDelete, "/containers/web", nil)
			<-killed
			if err := <-answer; err == nil {
				t.Error("a dead daemon has answered")
			}
			p.sim.SetFaults(azuresim.Faults{})
			p.launch(t)
			p.happened(t, "web", api.EventDestroy)
			p.nothingLeft(t)
		})
	}
}

// counted returns a command that leaves a line in a file each time it runs, and the count of these lines.
func (p *playground) counted(script string) (config api.Config, runs func(t *testing.T) int) {
	file := filepath.Join(p.dir, "runs")
	config = api.Config{Image: p.image, Cmd: []string{"/bin/sh", "-c", "echo $AZF_RUN_ID >>" + file + "; " + script}}
	return config, func(t *testing.T) int {
		t.Helper()
		content, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
		return strings.Count(string(content), "\n")
	}
}

func TestLongKilledBeforeTheOutcomeIsRecorded(t *testing.T) {
	for name, handlerToo := range map[string]bool{"the handler knows the run": false, "only Application Insights knows " +
		"the run": true} {
		t.Run(name, func(t *testing.T) {
			p := newAzure(t)
			p.launch(t)
			ended := filepath.Join(p.dir, "ended")
			config, runs := p.counted("while ! test -e " + ended + "; do sleep 0.01; done; exit 7")
			p.create(t, "web", config)
			p.must(t, http.MethodPost, "/containers/web/start", nil, nil)
			azuretest.Eventually(t, "run", func() bool { return runs(t) == 1 })
			release := p.holdDatabase(t)
			if err := os.WriteFile(ended, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			azuretest.Eventually(t, "end of the run", func() bool { return strings.Contains(p.log(t), "run finished") })
			p.kill()
			release()
			if handlerToo {
				handlers := p.handlers(t)
				if len(handlers) != 1 {
					t.Fatalf("handlers are %v", handlers)
				}
				if err := syscall.Kill(handlers[0], syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
			}
			p.launch(t)
			var res api.WaitResponse
			p.must(t, http.MethodPost, "/containers/web/wait", nil, &res)
			if res.StatusCode != 7 || res.Error != nil || runs(t) != 1 {
				t.Errorf("got %+v after %d runs, want the exit code of the one", res, runs(t))
			}
			p.must(t, http.MethodDelete, "/containers/web", nil, nil)
			p.nothingLeft(t)
		})
	}
}

// processes returns the processes of a program below the playground's folder.
// handlers returns the process ids of azf-handler in the simulator's containers.
func (p *playground) handlers(t *testing.T) (pids []int) {
	t.Helper()
	sites := p.sim.Sites()
	for _, found := range azuretest.Processes(t, func(process azuretest.Process) bool {
		return slices.Contains(sites, process.Getenv("WEBSITE_SITE_NAME")) && strings.HasSuffix(process.Exe, "/azf-handler")
	}) {
		pids = append(pids, found.PID)
	}
	return pids
}
