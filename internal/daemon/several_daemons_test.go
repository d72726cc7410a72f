package daemon_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/azuresim"
	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/internal/client"
	"github.com/sockerless/backend-azf/internal/config"
	"github.com/sockerless/backend-azf/internal/daemon"
	"github.com/sockerless/backend-azf/internal/pgtest"
)

// shared makes a daemon one of several on a database.
func shared(cfg *daemon.Config, database string) {
	cfg.Database, cfg.TakeOverAfter = database, 2*time.Second
	cfg.Backend = config.Backend("pg", nil, database, cfg.Azure.Owner)
}

// daemons returns playgrounds in one Azure whose daemons share a database. None is started.
func daemons(t *testing.T, azure *playground, database string, n int) []*playground {
	t.Helper()
	list := make([]*playground, n)
	for i := range list {
		p := &playground{
			sim:      azure.sim,
			tools:    azure.tools,
			image:    azure.image,
			dir:      filepath.Join(azure.dir, fmt.Sprint(i)),
			database: database,
		}
		if err := os.Mkdir(p.dir, 0o700); err != nil {
			t.Fatal(err)
		}
		p.socket = filepath.Join(p.dir, "s")
		p.Client = client.New("unix", p.socket)
		t.Cleanup(p.Close)
		list[i] = p
	}
	return list
}

// events returns the actions on a container that a daemon reports, in order. They end with the test.
func (p *playground) events(t *testing.T, name string) <-chan string {
	t.Helper()
	req, err := http.NewRequestWithContext(
		t.Context(),
		http.MethodGet,
		`http://daemon/internal/v1/events?since=1&filters={"container":["`+name+`"]}`,
		nil,
	)
	if err != nil {
		t.Fatal(err)
	}
	actions := make(chan string, 100)
	go func() {
		defer close(actions)
		res, err := p.HTTP.Do(req)
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = res.Body.Close() }() // ends with the test's context
		for lines := bufio.NewScanner(res.Body); lines.Scan(); {
			var event api.Event
			if err := json.Unmarshal(lines.Bytes(), &event); err == nil {
				actions <- string(event.Action)
			}
		}
	}()
	return actions
}

// TestLongThreeDaemons takes a container through its life with a different daemon for each request.
func TestLongThreeDaemons(t *testing.T) {
	azure := newAzure(t)
	all := daemons(t, azure, pgtest.Database(t), 3)
	var started sync.WaitGroup
	for _, p := range all {
		started.Go(func() { p.launch(t) })
	}
	started.Wait()
	if t.Failed() {
		t.FailNow()
	}
	a, b, c := all[0], all[1], all[2]
	events := a.events(t, "web")
	id := a.create(t, "web", api.Config{})
	var info api.InspectResponse
	b.must(t, http.MethodGet, "/containers/web", nil, &info)
	if info.ID != id || info.State.Status != "created" || info.AZF.Plan != "1 to add, 0 to change, 0 to destroy" {
		t.Errorf("the second daemon sees %+v", info)
	}
	b.must(t, http.MethodPost, "/containers/web/start", nil, nil)
	var res api.WaitResponse
	c.must(t, http.MethodPost, "/containers/web/wait", nil, &res)
	if res.StatusCode != 0 || res.Error != nil {
		t.Errorf("the run ended with %+v", res)
	}
	if lines, err := b.Raw(t.Context(), "/containers/web/logs?stdout=1"); err != nil ||
		!strings.Contains(string(lines), "Hello, world!") {
		t.Errorf("got %q, %v", lines, err)
	}
	c.must(t, http.MethodDelete, "/containers/web", nil, nil)
	for _, want := range []string{"create", "start", "die", "destroy"} {
		if got := <-events; got != want {
			t.Errorf("event %s, want %s", got, want)
		}
	}
	if sites := azure.sim.Sites(); len(sites) > 0 {
		t.Errorf("left: %v", sites)
	}
	// A refusal arrives wherever the job ran.
	azure.sim.SetFaults(
		azuresim.Faults{
			Rules: []azuresim.Rule{
				{Method: http.MethodPut, Path: sitePath, Status: http.StatusForbidden, Code: "AuthorizationFailed"},
			},
		},
	)
	for _, p := range all {
		err := p.Call(t.Context(), http.MethodPost, "/containers?name=bad", p.createRequest(), nil)
		if !answered(err, http.StatusForbidden) ||
			!strings.Contains(err.Error(), "cannot create container bad") ||
			!strings.Contains(err.Error(), "correlation id") {
			t.Errorf("got %v, want Azure's refusal", err)
		}
	}
	azure.sim.SetFaults(azuresim.Faults{})
}

// databaseLocks returns the locks of Terraform's backend pg. The daemons' own locks have keys of two parts.
func (p *playground) databaseLocks(t *testing.T) (found []string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), p.database)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := conn.Query(
		t.Context(),
		`SELECT 'state ' || objid FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1
		AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`,
	)
	if err == nil {
		found, err = pgx.CollectRows(rows, pgx.RowTo[string])
	}
	if err = errors.Join(err, conn.Close(context.WithoutCancel(t.Context()))); err != nil {
		t.Fatal(err)
	}
	return found
}

// working returns the daemon that has terraform under way, or nil.
func working(t *testing.T, all []*playground) *playground {
	for _, p := range all {
		if len(p.terraforms(t)) > 0 {
			return p
		}
	}
	return nil
}

// TestLongKilledDaemonsWorkIsTakenOver kills the daemon that works, when Azure has created the app and no state has it
// yet.
func TestLongKilledDaemonsWorkIsTakenOver(t *testing.T) {
	azure := newAzure(t)
	all := daemons(t, azure, pgtest.Database(t), 3)
	for _, p := range all {
		p.launch(t)
	}
	killed := make(chan *playground, 1)
	azure.atWrite(true, http.MethodPut, sitePath, func() {
		var victim *playground
		for _, p := range all {
			for _, line := range p.terraforms(t) {
				if strings.Contains(line, " apply ") {
					victim = p
				}
			}
		}
		if len(all[0].databaseLocks(t)) == 0 {
			t.Error("the lock of the run under way is not seen")
		}
		if victim != nil {
			victim.kill()
		}
		killed <- victim
	})
	answer := all[0].request(t, http.MethodPost, "/containers?name=web", all[0].createRequest())
	victim := <-killed
	if victim == nil {
		t.Fatal("no daemon was seen to work: the test tests nothing")
	}
	azure.sim.SetFaults(azuresim.Faults{})
	var alive []*playground
	for _, p := range all {
		if p != victim {
			alive = append(alive, p)
		}
	}
	if err := <-answer; err != nil && victim != all[0] {
		t.Errorf("the client of a daemon that lives: %v", err)
	}
	alive[0].happened(t, "web", api.EventCreate)
	if sites := azure.sim.Sites(); len(sites) != 1 {
		t.Errorf("function apps are %v, want the container's", sites)
	}
	alive[1].must(t, http.MethodPost, "/containers/web/start", nil, nil)
	var res api.WaitResponse
	alive[0].must(t, http.MethodPost, "/containers/web/wait", nil, &res)
	if res.StatusCode != 0 || res.Error != nil {
		t.Errorf("the run ended with %+v", res)
	}
	// The next one is killed while it removes.
	gone := make(chan *playground, 1)
	azure.atWrite(false, http.MethodDelete, sitePath, func() {
		second := working(t, alive)
		if second != nil {
			second.kill()
		}
		gone <- second
	})
	removal := alive[0].request(t, http.MethodDelete, "/containers/web", nil)
	second := <-gone
	if second == nil {
		t.Fatal("no daemon was seen to work: the test tests nothing")
	}
	azure.sim.SetFaults(azuresim.Faults{})
	last := alive[0]
	if second == last {
		last = alive[1]
	}
	if err := <-removal; err != nil && second != alive[0] {
		t.Errorf("the client of a daemon that lives: %v", err)
	}
	last.happened(t, "web", api.EventDestroy)
	if sites := azure.sim.Sites(); len(sites) != 0 {
		t.Errorf("left: %v", sites)
	}
	var list []api.Summary
	last.must(t, http.MethodGet, "/containers?all=1", nil, &list)
	if locks := last.locks(t); len(list) != 0 || len(locks) != 0 {
		t.Errorf("left: %+v, locks %v", list, locks)
	}
}

// TestDatabaseGoneAndBack takes the database away from a daemon.
func TestDatabaseGoneAndBack(t *testing.T) {
	postgres, url := pgtest.Own(t)
	p := newPlaygroundWith(t, func(cfg *daemon.Config) { shared(cfg, url) })
	p.create(t, "web", api.Config{})
	if err := postgres.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, call := range []struct{ method, path string }{
		{http.MethodGet, "/containers/web"}, {http.MethodPost, "/containers/web/start"}, {http.MethodGet, "/containers"},
	} {
		err := p.Call(t.Context(), call.method, call.path, nil, nil)
		if !answered(err, http.StatusServiceUnavailable) ||
			!strings.Contains(err.Error(), "database cannot be reached") {
			t.Errorf("%s %s: got %v, want 503", call.method, call.path, err)
		}
	}
	if err := postgres.Start(); err != nil {
		t.Fatal(err)
	}
	azuretest.Eventually(t, "the daemon is back", func() bool {
		return p.Call(context.WithoutCancel(t.Context()), http.MethodPost, "/containers/web/start", nil, nil) == nil
	})
	var res api.WaitResponse
	p.must(t, http.MethodPost, "/containers/web/wait", nil, &res)
	if res.StatusCode != 0 || res.Error != nil {
		t.Errorf("the run ended with %+v", res)
	}
	p.must(t, http.MethodDelete, "/containers/web", nil, nil)
}

// TestOtherPolicies: daemons on one database say so when their policies differ.
func TestOtherPolicies(t *testing.T) {
	all := daemons(t, newAzure(t), pgtest.Database(t), 2)
	warnings := func(p *playground) string {
		var info api.Info
		p.must(t, http.MethodGet, "/info", nil, &info)
		return strings.Join(info.Warnings, "\n")
	}
	for _, p := range all {
		p.policy = rules(t, filepath.Join(p.dir, "policy"), "main.rego", labelled).Path
		p.launch(t)
	}
	const differ = "another daemon on this database has other policies"
	azuretest.Eventually(t, "equal policies", func() bool { return !strings.Contains(warnings(all[0]), differ) })
	rules(t, all[1].policy, "more.rego", "package main\nwarn contains \"x\" if false")
	if err := all[1].process.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		azuretest.Eventually(t, "a warning", func() bool { return strings.Contains(warnings(p), differ) })
	}
}
