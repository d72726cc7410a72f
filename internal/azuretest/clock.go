package azuretest

import (
	"sync/atomic"
	"time"

	"github.com/jonboulle/clockwork"
)

// NewClock returns a clock that moves only by Advance, and starts at 2026-11-23 12:00 UTC. Its method Now fits every
// Config of this module that takes a clock. Code that takes a clockwork.Clock gets its timers and tickers from it too:
// BlockUntilContext waits for those, and Advance fires them.
func NewClock() *clockwork.FakeClock {
	return clockwork.NewFakeClockAt(time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC))
}

// ShiftedClock runs with the real time, ahead of it by the sum of all Advance. It is for tests whose other parts, such
// as processes or databases, use the real time. Its zero value shows the real time; goroutines may share it.
type ShiftedClock struct{ ahead atomic.Int64 }

// Now returns the clock's time.
func (c *ShiftedClock) Now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

// Advance moves the clock forward, or back if d is negative.
func (c *ShiftedClock) Advance(d time.Duration) { c.ahead.Add(int64(d)) }
