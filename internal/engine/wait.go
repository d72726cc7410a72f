package engine

import (
	"context"
	"sync"
)

// broadcast wakes everyone who waits for a key. Waiters take the channel first and look at the truth afterwards, so no change is missed.
type broadcast struct {
	mu    sync.Mutex
	chans map[string]chan struct{}
}

func newBroadcast() *broadcast { return &broadcast{chans: map[string]chan struct{}{}} }

// anyContainer is the key that every change wakes, for those who follow events.
const anyContainer = ""

// changed wakes who waits for a container, and who follows events.
func (e *Engine) changed(id string) {
	e.changes.notify(id)
	e.changes.notify(anyContainer)
}

// watch returns a channel that is closed at the next notify for key.
func (b *broadcast) watch(key string) <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	ch, ok := b.chans[key]
	if !ok {
		ch = make(chan struct{})
		b.chans[key] = ch
	}
	return ch
}

func (b *broadcast) notify(key string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if ch, ok := b.chans[key]; ok {
		close(ch)
		delete(b.chans, key)
	}
}

// outcome is how a create or remove ended, with the correlation ids of its Azure calls.
type outcome struct {
	err          error
	correlations []string
}

// outcomes carries how a container's create or remove ended from the job to the requests that wait for it.
type outcomes struct {
	mu      sync.Mutex
	waiting map[string][]chan outcome
}

func newOutcomes() *outcomes { return &outcomes{waiting: map[string][]chan outcome{}} }

// expect must be called before the job can begin. done must be called when the waiting is over.
func (o *outcomes) expect(id string) (ch <-chan outcome, done func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	own := make(chan outcome, 1)
	o.waiting[id] = append(o.waiting[id], own)
	return own, func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		for i, c := range o.waiting[id] {
			if c == own {
				o.waiting[id] = append(o.waiting[id][:i:i], o.waiting[id][i+1:]...)
				break
			}
		}
		if len(o.waiting[id]) == 0 {
			delete(o.waiting, id)
		}
	}
}

// settle tells all who wait for id, and gives them the correlation ids of the calls made for them.
func (o *outcomes) settle(id string, err error, correlations ...string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, ch := range o.waiting[id] {
		ch <- outcome{err, correlations} // buffered, and each channel is settled once
	}
	delete(o.waiting, id)
}

// cancels holds the cancel functions of the invocations that run in this process, by container.
type cancels struct {
	mu   sync.Mutex
	runs map[string]context.CancelCauseFunc
	all  error // set by cancelAll: later runs are cancelled at once
}

func newCancels() *cancels { return &cancels{runs: map[string]context.CancelCauseFunc{}} }

// begin derives a context that cancel ends. end must be called when the run is over.
func (c *cancels) begin(ctx context.Context, id string) (run context.Context, end func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	run, cancel := context.WithCancelCause(ctx)
	c.runs[id] = cancel
	if c.all != nil {
		cancel(c.all)
	}
	return run, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		cancel(nil)
		delete(c.runs, id)
	}
}

func (c *cancels) cancel(id string, cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if cancel, ok := c.runs[id]; ok {
		cancel(cause)
	}
}

func (c *cancels) cancelAll(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = cause
	for _, cancel := range c.runs {
		cancel(cause)
	}
}
