package engine

import (
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/sockerless/backend-azf/internal/api"
)

// growthLives is the number of containers of TestGrowth: make growth N=10000 gives it.
var growthLives = flag.Int("growth.n", 20, "how many containers live and go before the sizes are printed")

// TestGrowth takes containers through their lives, and looks at what stays in the database.
func TestGrowth(t *testing.T) {
	f := setup(t)
	for _, n := range []int{*growthLives / 10, *growthLives} {
		f.live(t, n)
		rows := f.rows(t)
		kept := []string{}
		for _, table := range slices.Sorted(maps.Keys(rows)) {
			if rows[table] > 0 {
				kept = append(kept, fmt.Sprintf("%s=%d", table, rows[table]))
			}
		}
		fmt.Printf("containers=%d database=%d bytes, of which records=%d: %s\n", n, f.number(t,
			"SELECT (SELECT * FROM pragma_page_count) * (SELECT * FROM pragma_page_size)"),
			f.number(t, "SELECT coalesce(sum(length(record)), 0) FROM audit"), strings.Join(kept, " "))
		for _, table := range []string{"containers", "runs", "operations", "orphans", "audit_open"} {
			if rows[table] != 0 {
				t.Errorf("after %d containers, %s has %d rows", n, table, rows[table])
			}
		}
		if rows["events"] > 10_000 || rows["removed_containers"] > 10_000 {
			t.Errorf("after %d containers there are %v rows", n, rows)
		}
	}
	// What is too old goes.
	if err := f.db.PruneTrail(t.Context(), f.db.Now()); err != nil {
		t.Fatal(err)
	}
	if rows := f.rows(t); rows["audit"] > 1 {
		t.Errorf("after audit_keep, %d records are left", rows["audit"])
	}
}

// live takes containers through their lives until that many have lived, some at a time.
func (f *fixture) live(t *testing.T, until int) {
	t.Helper()
	next := make(chan int)
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for n := range next {
				name := fmt.Sprintf("job-%d", n)
				_, err := f.ContainerCreate(t.Context(), name, request)
				if err == nil {
					err = f.ContainerStart(t.Context(), name)
				}
				if err == nil {
					_, err = f.ContainerWait(t.Context(), name, api.WaitNotRunning, func() {})
				}
				if err == nil {
					err = f.ContainerRemove(t.Context(), name, false)
				}
				if err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
	for n := f.number(t, "SELECT count(*) FROM audit WHERE action = 'removed'"); n < until; n++ {
		next <- n
	}
	close(next)
	clients.Wait()
}

// rows returns the number of rows of each table.
func (f *fixture) rows(t *testing.T) map[string]int {
	t.Helper()
	var names string
	err := f.db.SQL().QueryRowContext(t.Context(),
		"SELECT group_concat(name, ' ') FROM sqlite_schema WHERE type = 'table'").Scan(&names)
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]int{}
	for table := range strings.FieldsSeq(names) {
		rows[table] = f.number(t, "SELECT count(*) FROM "+table)
	}
	return rows
}

func (f *fixture) number(t *testing.T, query string) (n int) {
	t.Helper()
	if err := f.db.SQL().QueryRowContext(t.Context(), query).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}
