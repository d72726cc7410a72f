package store_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverdatabasesql"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"
	"github.com/riverqueue/river/rivertype"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/store"
)

// riverVersion is the version of River's schema whose columns the SQL in jobs.go relies on. When a new version of River
// fails TestRiverSchema, compare its migrations with that SQL before you change what the test expects.
const riverVersion = 8

// riverColumns are the columns of river_job that the SQL in jobs.go uses, with their types.
var riverColumns = map[string]map[string]string{
	sqlite.name: {
		"id": "INTEGER", "state": "TEXT", "attempt": "INTEGER", "metadata": "BLOB", "scheduled_at": "timestamp",
	},
	postgres.name: {
		"id": "bigint", "state": "river_job_state", "attempt": "smallint", "metadata": "jsonb",
		"scheduled_at": "timestamp with time zone",
	},
}

// openQueue migrates the job queue in a database and returns a client that inserts jobs and works on none.
func openQueue(t *testing.T, db *store.DB) (*river.Client[*sql.Tx], *rivermigrate.Migrator[*sql.Tx]) {
	t.Helper()
	var driver riverdriver.Driver[*sql.Tx] = riversqlite.New(db.SQL())
	if db.Pool() != nil {
		driver = riverdatabasesql.New(db.SQL())
	}
	migrator, err := rivermigrate.New(driver, nil)
	succeed(t, err)
	_, err = migrator.Migrate(t.Context(), rivermigrate.DirectionUp, nil)
	succeed(t, err)
	client, err := river.NewClient(driver, &river.Config{})
	succeed(t, err)
	return client, migrator
}

// testJob is a job that nobody works on.
type testJob struct{ Name string }

func (testJob) Kind() string { return "test" }

// insert inserts a job and returns its id.
func insert(t *testing.T, client *river.Client[*sql.Tx], name string) int64 {
	t.Helper()
	inserted, err := client.Insert(t.Context(), testJob{Name: name}, nil)
	succeed(t, err)
	return inserted.Job.ID
}

// TestRiverSchema fails when River's migrations change the schema on which the store's SQL relies.
func TestRiverSchema(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, _ := in.open(t)
		_, migrator := openQueue(t, db)
		applied, err := migrator.ExistingVersions(t.Context())
		succeed(t, err)
		if last := applied[len(applied)-1].Version; last != riverVersion {
			t.Errorf("the schema of the job queue has version %d, and the SQL in jobs.go relies on %d", last, riverVersion)
		}
		query := "SELECT name, type FROM pragma_table_info('river_job')"
		if db.Pool() != nil {
			query = `SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
				WHERE attrelid = 'river_job'::regclass AND attnum > 0`
		}
		rows, err := db.SQL().QueryContext(t.Context(), query)
		succeed(t, err)
		found := map[string]string{}
		for rows.Next() {
			var name, kind string
			succeed(t, rows.Scan(&name, &kind))
			found[name] = kind
		}
		succeed(t, rows.Err(), rows.Close())
		want := riverColumns[in.name]
		maps.DeleteFunc(found, func(name, _ string) bool { _, used := want[name]; return !used })
		if diff := cmp.Diff(want, found); diff != "" {
			t.Errorf("columns of river_job: %s", diff)
		}
		if rivertype.MetadataKeyOutput != "output" {
			t.Errorf("River stores outputs under %q, and jobs.go reads \"output\"", rivertype.MetadataKeyOutput)
		}
	})
}

// TestRiverTablesAreOnlyInJobs searches this module for SQL on River's tables outside of jobs.go and this test.
func TestRiverTablesAreOnlyInJobs(t *testing.T) {
	tables := regexp.MustCompile(`\briver_(job|queue|leader|client|migration|notification)`)
	files := 0
	succeed(t, filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".go" {
			return err
		}
		files++
		content, err := os.ReadFile(path)
		allowed := path == "../store/jobs.go" || path == "../store/jobs_test.go"
		if found := tables.Find(content); found != nil && !allowed {
			t.Errorf("%s names %s", path, found)
		}
		return err
	}))
	if files < 100 {
		t.Errorf("only %d files were searched", files)
	}
}

// sameOutcome compares outcomes. Of a cause, only the text remains.
func sameOutcome(a, b store.Outcome) bool {
	if a.Err == nil || b.Err == nil {
		return a.Err == b.Err && cmp.Equal(a.Correlations, b.Correlations)
	}
	x, y := *a.Err, *b.Err
	if (x.Err == nil) != (y.Err == nil) || x.Err != nil && x.Err.Error() != y.Err.Error() {
		return false
	}
	x.Err, y.Err = nil, nil
	return x == y && cmp.Equal(a.Correlations, b.Correlations)
}

// TestOutcome records outcomes as River does, and reads those of completed jobs.
func TestOutcome(t *testing.T) {
	refused := store.Outcome{Correlations: []string{"x", "y"}, Err: &api.Error{
		Kind: api.Forbidden, Message: "no role", Err: errors.New("AuthorizationFailed"), RetryAfter: time.Minute,
		CorrelationID: "x", RequestID: "z",
	}}
	both(t, func(t *testing.T, in database) {
		db, _ := in.open(t)
		client, _ := openQueue(t, db)
		for name, row := range map[string]struct {
			output store.Outcome
			want   store.Outcome
		}{
			"success":  {store.Outcome{}, store.Outcome{}},
			"calls":    {store.Outcome{Correlations: []string{"x"}}, store.Outcome{Correlations: []string{"x"}}},
			"refusal":  {refused, refused},
			"no cause": {store.Outcome{Err: &api.Error{Message: "m"}}, store.Outcome{Err: &api.Error{Message: "m"}}},
			"odd message": {
				store.Outcome{Err: &api.Error{Message: "\x00\xc3"}}, store.Outcome{Err: &api.Error{Message: "\uFFFD\uFFFD"}},
			},
		} {
			t.Run(name, func(t *testing.T) {
				job := insert(t, client, name)
				_, err := client.JobUpdate(t.Context(), job, &river.JobUpdateParams{Output: row.output})
				succeed(t, err)
				if got, ok, err := db.Outcome(t.Context(), job); ok || err != nil {
					t.Errorf("got %+v, %v before the job has ended", got, err)
				}
				exec(t, db, "UPDATE river_job SET state = 'completed', finalized_at = CURRENT_TIMESTAMP WHERE id = $1", job)
				got, ok, err := db.Outcome(t.Context(), job)
				if err != nil || !ok || !sameOutcome(got, row.want) {
					t.Errorf("got %+v, %v, %v; want %+v", got, ok, err, row.want)
				}
			})
		}
	})
}

func TestNoOutcome(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, _ := in.open(t)
		client, _ := openQueue(t, db)
		job := insert(t, client, "x")
		exec(t, db, "UPDATE river_job SET state = 'completed', finalized_at = CURRENT_TIMESTAMP WHERE id = $1", job)
		for name, job := range map[string]int64{"completed without an outcome": job, "unknown": job + 1} {
			if got, ok, err := db.Outcome(t.Context(), job); ok || err != nil {
				t.Errorf("%s: got %+v, %v", name, got, err)
			}
		}
	})
}

func TestOutcomeThatIsNotAnOutcome(t *testing.T) {
	if err := json.Unmarshal([]byte(`{"kind":"x"}`), new(store.Outcome)); err == nil {
		t.Error("an invalid outcome is accepted")
	}
}

// running sets a job to an attempt under way.
func running(t *testing.T, db *store.DB, job int64, attempt int) {
	t.Helper()
	exec(t, db, `UPDATE river_job SET state = 'running', attempt = $1, attempted_at = CURRENT_TIMESTAMP
		WHERE id = $2`, attempt, job)
}

// jobStates returns the states of jobs.
func jobStates(t *testing.T, client *river.Client[*sql.Tx], jobs ...int64) (states []rivertype.JobState) {
	t.Helper()
	for _, id := range jobs {
		job, err := client.JobGet(t.Context(), id)
		succeed(t, err)
		states = append(states, job.State)
	}
	return states
}

func TestReleaseJob(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, _ := in.open(t)
		client, _ := openQueue(t, db)
		job := insert(t, client, "x")
		running(t, db, job, 2)
		for _, row := range []struct {
			attempt  int
			released bool
			want     rivertype.JobState
		}{
			{1, false, rivertype.JobStateRunning}, {2, true, rivertype.JobStateAvailable},
			{2, false, rivertype.JobStateAvailable},
		} {
			released, err := db.ReleaseJob(t.Context(), job, row.attempt)
			state := jobStates(t, client, job)[0]
			if err != nil || released != row.released || state != row.want {
				t.Errorf("attempt %d: got %v, %v, %s; want %v", row.attempt, released, err, state, row.released)
			}
		}
	})
}

func TestReleaseJobs(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, _ := in.open(t)
		client, _ := openQueue(t, db)
		one, two, three := insert(t, client, "one"), insert(t, client, "two"), insert(t, client, "three")
		running(t, db, one, 1)
		exec(t, db, "UPDATE river_job SET state = 'retryable', scheduled_at = '2999-01-01 00:00:00' WHERE id = $1", two)
		exec(t, db, "UPDATE river_job SET state = 'scheduled', scheduled_at = '2999-01-01 00:00:00' WHERE id = $1", three)
		n, err := db.ReleaseJobs(t.Context())
		want := []rivertype.JobState{rivertype.JobStateAvailable, rivertype.JobStateAvailable, rivertype.JobStateScheduled}
		if got := jobStates(t, client, one, two, three); err != nil || n != 2 || !slices.Equal(got, want) {
			t.Errorf("released %d, %v, and got %v; want %v", n, err, got, want)
		}
		if job, err := client.JobGet(t.Context(), two); err != nil || job.ScheduledAt.After(time.Now().Add(time.Minute)) {
			t.Errorf("got %v, %v; want the released job to be due", job, err)
		}
	})
}

// TestChangeAndEndOfItsJobAreOne has the queue refuse to complete the job that makes a change.
func TestChangeAndEndOfItsJobAreOne(t *testing.T) {
	refused := errors.New("no such job")
	refuse := func(context.Context, *sql.Tx) error { return refused }
	both(t, func(t *testing.T, in database) {
		for name, row := range map[string]struct {
			state store.State
			do    func(ctx context.Context, db *store.DB, id string) error
		}{
			"provisioned": {store.Creating, func(ctx context.Context, db *store.DB, id string) error {
				return db.Provisioned(ctx, id, testApp, refuse)
			}},
			"fail": {store.Removing, func(ctx context.Context, db *store.DB, id string) error {
				return db.Fail(ctx, id, "why", retryMinutes, refuse)
			}},
			"delete": {store.Removing, func(ctx context.Context, db *store.DB, id string) error {
				return db.Delete(ctx, id, refuse)
			}},
			"finish": {store.Running, func(ctx context.Context, db *store.DB, id string) error {
				return db.Finish(ctx, "run-"+id, store.Result{}, refuse, noRemoval)
			}},
		} {
			t.Run(name, func(t *testing.T) {
				db, _ := in.open(t)
				at(t, db, id("a"), row.state)
				if err := row.do(t.Context(), db, id("a")); !errors.Is(err, refused) {
					t.Errorf("got %v", err)
				}
				if c, err := db.Container(t.Context(), id("a")); err != nil || c.State != row.state {
					t.Errorf("got %v, %v; want no change", c.State, err)
				}
			})
		}
	})
}

func TestChangesThatFailLeaveTheirJob(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, _ := in.open(t)
		client, _ := openQueue(t, db)
		at(t, db, id("a"), store.Exited)
		job := insert(t, client, "x")
		complete := func(ctx context.Context, tx *sql.Tx) error {
			_, err := client.JobUpdateTx(ctx, tx, job, &river.JobUpdateParams{Output: store.Outcome{}})
			succeed(t, err)
			_, err = tx.ExecContext(ctx, "UPDATE river_job SET state = 'completed', finalized_at = CURRENT_TIMESTAMP")
			return err
		}
		for name, err := range map[string]error{
			"provisioned": db.Provisioned(t.Context(), id("a"), testApp, complete),
			"fail":        db.Fail(t.Context(), id("a"), "why", retryMinutes, complete),
			"delete":      db.Delete(t.Context(), id("a"), complete),
		} {
			if api.KindOf(err) != api.Conflict {
				t.Errorf("%s: got %v", name, err)
			}
		}
		left, err := client.JobGet(t.Context(), job)
		if err != nil || left.State != rivertype.JobStateAvailable || left.Output() != nil {
			t.Errorf("got %+v, %v; want the queue as it was", left, err)
		}
	})
}

func TestDue(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, _ := in.open(t)
		at(t, db, id("a"), store.Removing)
		at(t, db, id("b"), store.Dead)
		refused := errors.New("no such job")
		for name, want := range map[string]bool{id("a"): true, id("b"): false, id("c"): false} {
			completed := false
			c, due, err := db.Due(t.Context(), name, store.Removing, func(context.Context, *sql.Tx) error {
				completed = true
				return nil
			})
			if err != nil || due != want || completed == want || due && c.ID != name {
				t.Errorf("%.1s: got %v, %v, completed %v; want %v", name, due, err, completed, want)
			}
			_, due, err = db.Due(t.Context(), name, store.Removing, func(context.Context, *sql.Tx) error { return refused })
			if due != want || errors.Is(err, refused) == want {
				t.Errorf("%.1s: got %v, %v", name, due, err)
			}
		}
	})
}

func TestRowAndJobAreOne(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, _ := in.open(t)
		refused := errors.New("queue is full")
		enqueue := func(ctx context.Context, tx *sql.Tx) error {
			var n int
			err := tx.QueryRowContext(ctx, "SELECT count(*) FROM containers WHERE id = $1", id("a")).Scan(&n)
			if err != nil || n != 1 {
				t.Errorf("the job's transaction sees %d rows, %v; want the container's", n, err)
			}
			return refused
		}
		placing(t, db, enqueue)
		err := db.CreateContainer(t.Context(), store.Container{ID: id("a"), Name: "a"})
		if !errors.Is(err, refused) {
			t.Errorf("got %v, want the queue's error", err)
		}
		if _, err := db.Container(t.Context(), "a"); api.KindOf(err) != api.NotFound {
			t.Errorf("got %v, want no container without its job", err)
		}
	})
}
