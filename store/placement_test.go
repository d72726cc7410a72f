package store_test

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/store"
)

// jobs notes the jobs that a store inserts.
type jobs []string

// insert returns what notes a job of a kind.
func (j *jobs) insert(kind string) func(id string) store.InTx {
	return func(id string) store.InTx {
		return func(context.Context, *sql.Tx) error {
			*j = append(*j, kind+" "+digit(id))
			return nil
		}
	}
}

// take returns the jobs so far, and forgets them.
func (j *jobs) take() string {
	list := strings.Join(*j, ", ")
	*j = nil
	return list
}

// digit returns the first digit of a container's id, which is enough here, and the id of a service plan.
func digit(id string) string {
	if len(id) == 64 {
		return id[:1]
	}
	return id
}

// pool returns the rule of a pool, with two apps on a service plan.
func (j *jobs) pool(maximum int) store.Pool {
	return store.Pool{
		SKU: "B1", Capacity: 2, ResourceGroup: "rg", Max: maximum,
		Name: func(id string) string { return "skls-o-plan-" + id }, CapacityOf: func(string) int { return 2 },
		Provision: j.insert("provision"), CreatePlan: j.insert("create"), DestroyPlan: j.insert("destroy"),
	}
}

// plans describes the service plans: id, state, apps, busy.
func plans(t *testing.T, db *store.DB) (ids []string, described string) {
	t.Helper()
	list, err := db.ServicePlans(t.Context())
	succeed(t, err)
	var lines []string
	for i, p := range list {
		ids = append(ids, p.ID)
		lines = append(lines, fmt.Sprintf("%d %s %d/%d busy %d", i, p.State, p.Apps, p.Capacity, p.Busy))
	}
	return ids, strings.Join(lines, "; ")
}

func expectPlans(t *testing.T, db *store.DB, want string) []string {
	t.Helper()
	ids, got := plans(t, db)
	if got != want {
		t.Errorf("service plans are %q, want %q", got, want)
	}
	return ids
}

func (j *jobs) expect(t *testing.T, want string, args ...any) {
	t.Helper()
	if diff := cmp.Diff(fmt.Sprintf(want, args...), j.take()); diff != "" {
		t.Errorf("jobs: %s", diff)
	}
}

func add(t *testing.T, db *store.DB, digit string) {
	t.Helper()
	succeed(t, db.CreateContainer(t.Context(), store.Container{ID: id(digit), Name: digit}))
}

// placing gives the containers of a store places at once, and inserts this job for each.
func placing(t *testing.T, db *store.DB, provision store.InTx) {
	t.Helper()
	succeed(t, db.SetPool(t.Context(), store.Pool{
		Existing:   []store.ServicePlan{{Name: "there", ResourceID: "/plans/there", SKU: "B1", Capacity: 1000}},
		CapacityOf: func(string) int { return 1000 }, Provision: func(string) store.InTx { return provision },
	}))
}

func drop(t *testing.T, db *store.DB, digit string) {
	t.Helper()
	succeed(t, db.Remove(t.Context(), id(digit), true, nothing), db.Delete(t.Context(), id(digit), nothing))
}

func TestPlacement(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, clock := in.open(t)
		ctx := t.Context()
		var jobs jobs
		succeed(t, db.SetPool(ctx, jobs.pool(2)))
		expectPlans(t, db, "")
		// The first container needs a service plan, and the second has room on it.
		add(t, db, "a")
		add(t, db, "b")
		first := expectPlans(t, db, "0 creating 2/2 busy 2")[0]
		jobs.expect(t, "create %s", first)
		clock.Advance(time.Second)
		add(t, db, "c")
		second := expectPlans(t, db, "0 creating 2/2 busy 2; 1 creating 1/2 busy 1")[1]
		jobs.expect(t, "create %s", second)
		succeed(t, db.PlanReady(ctx, first, "/plans/1", "B1", nothing))
		jobs.expect(t, "provision a, provision b")
		succeed(t, db.PlanReady(ctx, second, "/plans/2", "B1", nothing))
		jobs.expect(t, "provision c")
		succeed(t, db.Provisioned(ctx, id("a"), testApp, nothing), db.Provisioned(ctx, id("b"), testApp, nothing))
		add(t, db, "d")
		jobs.expect(t, "provision d")
		// All are full: two wait, in order.
		add(t, db, "e")
		clock.Advance(time.Second)
		add(t, db, "f")
		jobs.expect(t, "")
		expectPlans(t, db, "0 ready 2/2 busy 0; 1 ready 2/2 busy 2")
		for digit, want := range map[string]int{"d": 0, "e": 1, "f": 2} {
			c, err := db.Container(ctx, id(digit))
			succeed(t, err)
			if place, err := db.Queued(ctx, c); err != nil || place != want {
				t.Errorf("place of %s is %d, %v; want %d", digit, place, err, want)
			}
		}
		// One that goes makes room for the one that has waited longest, even before a new one.
		drop(t, db, "b")
		add(t, db, "0")
		jobs.expect(t, "provision e")
		c, err := db.Container(ctx, id("e"))
		succeed(t, err)
		if c.ServicePlan != first {
			t.Errorf("e is on %q, want %s", c.ServicePlan, first)
		}
	})
}

// TestLostBeforeAPlace forgets a container that waits, and whose name nobody knows.
func TestLostBeforeAPlace(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, _ := in.open(t)
		var jobs jobs
		pool := jobs.pool(1)
		pool.Capacity = 1
		succeed(t, db.SetPool(t.Context(), pool))
		for _, digit := range []string{"a", "b", "c"} {
			succeed(t, db.CreateContainer(t.Context(), store.Container{ID: id(digit), Name: digit, Unnamed: digit != "c"}))
		}
		for _, digit := range []string{"a", "b", "c"} {
			succeed(t, db.Lose(t.Context(), id(digit), nothing))
		}
		list, err := db.Unanswered(t.Context())
		succeed(t, err)
		var left []string
		for _, c := range list {
			left = append(left, c.Name)
		}
		slices.Sort(left)
		if !slices.Equal(left, []string{"a", "c"}) {
			t.Errorf("left are %q", left)
		}
	})
}

// TestPlacementPrefers fills the service plan with most apps, unless changes are under way on it.
func TestPlacementPrefers(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, clock := in.open(t)
		ctx := t.Context()
		var jobs jobs
		pool := jobs.pool(2)
		pool.Capacity, pool.CapacityOf = 4, func(string) int { return 4 }
		pool.Spare = 2
		succeed(t, db.SetPool(ctx, pool))
		ids := expectPlans(t, db, "0 creating 0/4 busy 0; 1 creating 0/4 busy 0")
		for _, plan := range ids {
			succeed(t, db.PlanReady(ctx, plan, "/plans/"+plan, "B1", nothing))
		}
		add(t, db, "a") // 1 0
		add(t, db, "b") // 1 1: the first is busy
		expectPlans(t, db, "0 ready 1/4 busy 1; 1 ready 1/4 busy 1")
		succeed(t, db.Provisioned(ctx, id("a"), testApp, nothing))
		add(t, db, "c") // 2 1
		succeed(t, db.Provisioned(ctx, id("b"), testApp, nothing), db.Provisioned(ctx, id("c"), testApp, nothing))
		expectPlans(t, db, "0 ready 2/4 busy 0; 1 ready 1/4 busy 0")
		add(t, db, "d") // 3 1
		add(t, db, "e") // 3 2
		expectPlans(t, db, "0 ready 3/4 busy 1; 1 ready 2/4 busy 1")
		// A removal is a change, too.
		succeed(t, db.Provisioned(ctx, id("d"), testApp, nothing), db.Provisioned(ctx, id("e"), testApp, nothing))
		succeed(t, db.Remove(ctx, id("a"), false, nothing))
		add(t, db, "f")
		expectPlans(t, db, "0 ready 3/4 busy 1; 1 ready 3/4 busy 1")
		clock.Advance(time.Hour)
	})
}

func TestIdleServicePlans(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		for name, row := range map[string]struct {
			idle  time.Duration
			spare int
			after time.Duration
			want  string
		}{
			"not yet": {30 * time.Minute, 0, 29 * time.Minute, "0 ready 0/2 busy 0; 1 ready 0/2 busy 0; 2 ready 1/2 busy 1"},
			"both": {
				30 * time.Minute, 0, 30 * time.Minute, "0 removing 0/2 busy 0; 1 removing 0/2 busy 0; 2 ready 1/2 busy 1",
			},
			"a spare one": {
				30 * time.Minute, 1, 30 * time.Minute, "0 ready 0/2 busy 0; 1 removing 0/2 busy 0; 2 ready 1/2 busy 1",
			},
			"the first stays": {0, 0, 0, "0 ready 0/2 busy 0; 1 removing 0/2 busy 0; 2 ready 1/2 busy 1"},
		} {
			t.Run(name, func(t *testing.T) {
				db, clock := in.open(t)
				ctx := t.Context()
				var jobs jobs
				pool := jobs.pool(3)
				succeed(t, db.SetPool(ctx, pool))
				for _, digit := range []string{"a", "b", "c", "d", "e"} {
					add(t, db, digit)
					clock.Advance(time.Second)
				}
				ids, _ := plans(t, db)
				for _, plan := range ids {
					succeed(t, db.PlanReady(ctx, plan, "/plans/"+plan, "B1", nothing))
				}
				for _, digit := range []string{"a", "b", "c", "d"} {
					succeed(t, db.Provisioned(ctx, id(digit), testApp, nothing))
					drop(t, db, digit)
				}
				jobs.take()
				pool.Spare = row.spare
				succeed(t, db.SetPool(ctx, pool))
				clock.Advance(row.after)
				succeed(t, db.RemoveIdlePlans(ctx, row.idle))
				expectPlans(t, db, row.want)
				if n := strings.Count(jobs.take(), "destroy"); n != strings.Count(row.want, "removing") {
					t.Errorf("%d jobs destroy service plans", n)
				}
			})
		}
	})
}

// TestServicePlanFails gives the containers that have waited for a service plan the reason why there is none.
func TestServicePlanFails(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, _ := in.open(t)
		ctx := t.Context()
		var jobs jobs
		succeed(t, db.SetPool(ctx, jobs.pool(1)))
		add(t, db, "a")
		plan := expectPlans(t, db, "0 creating 1/2 busy 1")[0]
		jobs.take()
		reason := &api.Error{Kind: api.Forbidden, Message: "the quota of B1 is 0"}
		succeed(t, db.PlanFailed(ctx, plan, reason, "", retryMinutes, nothing))
		jobs.expect(t, "provision a")
		expectPlans(t, db, "")
		c, err := db.Container(ctx, id("a"))
		succeed(t, err)
		if c.PlaceError == nil || c.PlaceError.Message != reason.Message || c.PlaceError.Kind != api.Forbidden {
			t.Errorf("the container's error is %+v", c.PlaceError)
		}
		// What is left of a service plan counts, until it is removed.
		add(t, db, "b")
		plan = expectPlans(t, db, "0 creating 1/2 busy 1")[0]
		succeed(t, db.PlanFailed(ctx, plan, reason, "it stays", retryMinutes, nothing))
		add(t, db, "c")
		expectPlans(t, db, "0 dead 0/2 busy 0")
	})
}

// TestExistingServicePlans fills the service plans that the settings name, and creates none.
func TestExistingServicePlans(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, _ := in.open(t)
		ctx := t.Context()
		var jobs jobs
		pool := jobs.pool(4)
		pool.Existing = []store.ServicePlan{
			{Name: "one", ResourceGroup: "rg", ResourceID: "/plans/one", SKU: "B1", Capacity: 1},
			{Name: "two", ResourceGroup: "rg", ResourceID: "/plans/two", SKU: "P1v3", Capacity: 1},
		}
		succeed(t, db.SetPool(ctx, pool))
		add(t, db, "a")
		add(t, db, "b")
		add(t, db, "c")
		jobs.expect(t, "provision a, provision b")
		_, got := plans(t, db)
		if got != "0 ready 1/1 busy 1; 1 ready 1/1 busy 1" {
			t.Errorf("service plans are %q", got)
		}
		succeed(t, db.RemoveIdlePlans(ctx, 0))
		// One that the settings name no more keeps its container, and gets no other one.
		pool.Existing = pool.Existing[:1]
		succeed(t, db.SetPool(ctx, pool), db.Provisioned(ctx, id("b"), testApp, nothing))
		drop(t, db, "b")
		succeed(t, db.SetPool(ctx, pool))
		list, err := db.ServicePlans(ctx)
		succeed(t, err)
		if len(list) != 1 || list[0].Name != "one" {
			t.Errorf("service plans are %+v", list)
		}
		jobs.expect(t, "")
	})
}
