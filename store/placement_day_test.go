package store_test

import (
	"cmp"
	"container/heap"
	"context"
	"database/sql"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/store"
)

var dayContainers = flag.Int("placement.n", 500, "containers of TestPlacementOfADay")

// What Azure takes for a change, roughly (docs/operations.md).
const (
	planCreation = time.Minute
	appCreation  = 25 * time.Second
	appRemoval   = 15 * time.Second
	idleTime     = 30 * time.Minute
	appsPerPlan  = 8
)

// day is a day of containers on a pool, in simulated time: the store's code, and jobs that only take their time.
type day struct {
	t      *testing.T
	db     *store.DB
	clock  *clockwork.FakeClock
	random *rand.Rand
	begun  time.Time
	events schedule
	// free is the time from which the lock of a service plan is free.
	free map[string]time.Time
	// created holds the service plans that there are, with the time of their creation.
	created map[string]time.Time
	onPlans map[string]int // containers, by service plans
	there   int            // containers with a place
	// paid is the time of service plans, needed the least possible time for the same containers.
	paid, needed time.Duration
	counted      time.Time
	placing      []time.Duration // of creates
	waited       time.Duration
}

type event struct {
	at  time.Time
	seq int
	do  func()
}

// schedule is a heap of events, by time.
type schedule struct {
	list []event
	seq  int
}

func (s *schedule) Len() int           { return len(s.list) }
func (s *schedule) Less(i, j int) bool { return before(s.list[i], s.list[j]) < 0 }
func (s *schedule) Swap(i, j int)      { s.list[i], s.list[j] = s.list[j], s.list[i] }
func (s *schedule) Push(e any)         { s.list = append(s.list, e.(event)) }
func (s *schedule) Pop() any {
	last := s.list[len(s.list)-1]
	s.list = s.list[:len(s.list)-1]
	return last
}

func before(a, b event) int { return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.seq, b.seq)) }

func (d *day) at(when time.Time, do func()) {
	d.events.seq++
	heap.Push(&d.events, event{when, d.events.seq, do})
}

func (d *day) after(delay time.Duration, do func()) { d.at(d.clock.Now().Add(delay), do) }

// job returns what begins a job when its transaction is committed.
func (d *day) job(begin func(id string)) func(id string) store.InTx {
	return func(id string) store.InTx {
		return func(context.Context, *sql.Tx) error {
			d.after(0, func() { begin(id) })
			return nil
		}
	}
}

// changeApp waits for the lock of a service plan, and calls done after the change.
func (d *day) changeApp(plan string, takes time.Duration, done func()) {
	begin := d.clock.Now()
	if free := d.free[plan]; free.After(begin) {
		begin = free
	}
	d.free[plan] = begin.Add(takes)
	d.at(d.free[plan], done)
}

func (d *day) must(err error) {
	d.t.Helper()
	succeed(d.t, err)
}

func (d *day) createPlan(id string) {
	d.created[id] = d.clock.Now()
	d.after(planCreation, func() { d.must(d.db.PlanReady(d.t.Context(), id, "/plans/"+id, "B1", nothing)) })
}

func (d *day) destroyPlan(id string) {
	if d.onPlans[id] != 0 {
		d.t.Errorf("service plan %s is removed with %d containers", id, d.onPlans[id])
	}
	d.after(0, func() {
		delete(d.created, id)
		d.must(d.db.PlanRemoved(d.t.Context(), id, nothing))
	})
}

// provision creates a container's app, and removes it after the container's life.
func (d *day) provision(id string) {
	ctx := d.t.Context()
	c, err := d.db.Container(ctx, id)
	d.must(err)
	d.onPlans[c.ServicePlan]++
	d.there++
	if d.onPlans[c.ServicePlan] > appsPerPlan {
		d.t.Errorf("service plan %s has %d containers", c.ServicePlan, d.onPlans[c.ServicePlan])
	}
	d.changeApp(c.ServicePlan, appCreation, func() {
		d.must(d.db.Provisioned(ctx, id, testApp, nothing))
		d.waited += d.clock.Since(c.Created)
		// Most containers live for minutes, some for hours.
		life := time.Duration(math.Exp(d.random.NormFloat64()) * float64(10*time.Minute))
		d.after(life, func() {
			d.must(d.db.Remove(ctx, id, false, nothing))
			d.changeApp(c.ServicePlan, appRemoval, func() {
				d.must(d.db.Delete(ctx, id, nothing))
				d.onPlans[c.ServicePlan]--
				d.there--
			})
		})
	})
}

// arrive creates a container.
func (d *day) arrive(n int) {
	id := fmt.Sprintf("%064x", n)
	begin := time.Now()
	d.must(d.db.CreateContainer(d.t.Context(), store.Container{ID: id, Name: id}))
	d.placing = append(d.placing, time.Since(begin))
}

// count adds the time since the last event.
func (d *day) count() {
	since := d.clock.Since(d.counted)
	d.counted = d.clock.Now()
	d.paid += time.Duration(len(d.created)) * since
	d.needed += time.Duration((d.there+appsPerPlan-1)/appsPerPlan) * since
}

// TestPlacementOfADay lets containers arrive over a day, most of them in working hours, and compares what the service
// plans cost with the least possible.
func TestPlacementOfADay(t *testing.T) {
	clock := azuretest.NewClock()
	cfg := sqlite.fresh(t)
	cfg.Now = clock.Now
	d := &day{
		t: t, db: open(t, cfg), clock: clock, random: rand.New(rand.NewPCG(1, 2)), begun: clock.Now(), counted: clock.Now(),
		free: map[string]time.Time{}, created: map[string]time.Time{}, onPlans: map[string]int{},
	}
	d.must(d.db.SetPool(t.Context(), store.Pool{
		SKU: "B1", Capacity: appsPerPlan, Max: *dayContainers, Name: func(id string) string { return id },
		CapacityOf: func(string) int { return appsPerPlan },
		Provision:  d.job(d.provision), CreatePlan: d.job(d.createPlan), DestroyPlan: d.job(d.destroyPlan),
	}))
	for n := range *dayContainers {
		hour := 13 + 3*d.random.NormFloat64()
		for hour < 0 || hour >= 24 {
			hour = 13 + 3*d.random.NormFloat64()
		}
		d.at(d.begun.Add(time.Duration(hour*float64(time.Hour))), func() { d.arrive(n) })
	}
	for minute := range 48 * 60 {
		d.at(d.begun.Add(time.Duration(minute)*time.Minute), func() { d.must(d.db.RemoveIdlePlans(t.Context(), idleTime)) })
	}
	most := 0
	for d.events.Len() > 0 {
		e := heap.Pop(&d.events).(event)
		clock.Advance(e.at.Sub(clock.Now()))
		d.count()
		most = max(most, len(d.created))
		e.do()
	}
	if left, _ := plans(t, d.db); len(left) > 0 || d.there > 0 {
		t.Errorf("%d service plans and %d containers are left", len(left), d.there)
	}
	if len(d.placing) != *dayContainers || most < 2 {
		t.Fatalf("%d containers on at most %d service plans", len(d.placing), most)
	}
	ratio := float64(d.paid) / float64(d.needed)
	tenth := len(d.placing) / 10
	t.Logf("%d containers on at most %d service plans: %.0f plan-hours, %.2f times the least possible; a create waits "+
		"%s; "+
		"a placement takes %s at first, %s in the end", *dayContainers, most, d.paid.Hours(), ratio,
		(d.waited / time.Duration(*dayContainers)).Round(time.Second), median(d.placing[:tenth]),
		median(d.placing[len(d.placing)-tenth:]))
	if ratio > 2 {
		t.Errorf("the service plans cost %.2f times the least possible", ratio)
	}
}

func median(list []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(list))
	return sorted[len(sorted)/2].Round(time.Microsecond)
}
