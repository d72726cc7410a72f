package engine

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"sync"

	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riversqlite"
)

// insertTopic is the topic of River's notifications of inserted jobs.
const insertTopic = "river_insert"

// notification returns River's notification of a job in a queue.
func notification(queue string) *riverdriver.Notification {
	return &riverdriver.Notification{Topic: insertTopic, Payload: fmt.Sprintf(`{"queue": %q}`, queue)}
}

// sqliteDriver is River's driver for SQLite with a listener in this process. River's own listener reads a table 20
// times a second.
type sqliteDriver struct {
	*riversqlite.Driver
	listener *listener
}

// GetListener implements riverdriver.Driver.
func (d sqliteDriver) GetListener(*riverdriver.GetListenenerParams) riverdriver.Listener {
	return d.listener
}

// SupportsListenNotify implements riverdriver.Driver. Nobody would read the table of notifications.
func (d sqliteDriver) SupportsListenNotify() bool { return false }

// listener is a riverdriver.Listener that wake notifies of jobs. All its methods are safe for concurrent use.
type listener struct {
	mu     sync.Mutex
	queues []string      // with jobs that River does not know of yet
	some   chan struct{} // holds a token when queues may be non-empty
}

func newListener() *listener { return &listener{some: make(chan struct{}, 1)} }

// wake makes the queue be looked at. It does not block.
func (l *listener) wake(queue string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !slices.Contains(l.queues, queue) {
		l.queues = append(l.queues, queue)
	}
	select {
	case l.some <- struct{}{}:
	default:
	}
}

// WaitForNotification implements riverdriver.Listener.
func (l *listener) WaitForNotification(ctx context.Context) (*riverdriver.Notification, error) {
	for {
		if queue, ok := l.next(); ok {
			return notification(queue), nil
		}
		select {
		case <-l.some:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (l *listener) next() (queue string, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queues) == 0 {
		return "", false
	}
	queue, l.queues = l.queues[0], l.queues[1:]
	return queue, true
}

// The rest of riverdriver.Listener concerns connections, which this one does not have.

func (l *listener) Close(context.Context) error            { return nil }
func (l *listener) Connect(context.Context) error          { return nil }
func (l *listener) Listen(context.Context, string) error   { return nil }
func (l *listener) Ping(context.Context) error             { return nil }
func (l *listener) Schema() string                         { return "" }
func (l *listener) SetAfterConnectExec(string)             {}
func (l *listener) Unlisten(context.Context, string) error { return nil }

// wake makes the daemons look at a queue as soon as tx is committed. River itself notifies nobody of a job that is
// inserted within FetchCooldown of another one, even when the queue is looked at between the two.
func (e *Engine) wake(ctx context.Context, tx *sql.Tx, queue string) error {
	if e.listener != nil {
		// SQLite has one connection, and tx holds it: the queue is looked at after the commit.
		e.listener.wake(queue)
		return nil
	}
	n := notification(queue)
	err := e.river.Driver().UnwrapExecutor(tx).NotifyMany(ctx, &riverdriver.NotifyManyParams{
		Topic: n.Topic, Payload: []string{n.Payload},
	})
	if err != nil {
		return fmt.Errorf("wake the queue %s: %w", queue, err)
	}
	return nil
}
