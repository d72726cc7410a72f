package store

import "sync"

// broadcast wakes everyone who waits for a key.
type broadcast struct {
	mu    sync.Mutex
	chans map[string]chan struct{}
}

func newBroadcast() *broadcast { return &broadcast{chans: map[string]chan struct{}{}} }

// anything is the key that every change wakes.
const anything = ""

// Watch returns a channel that is closed when the container with this id may have changed next, in whichever daemon on the same database.
// Waiters take the channel first and look at the truth afterwards, so no change is missed.
func (db *DB) Watch(containerID string) <-chan struct{} { return db.waiters.watch(containerID) }

// WatchAll is Watch for whatever changes, images too.
func (db *DB) WatchAll() <-chan struct{} { return db.waiters.watch(anything) }

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

// notify wakes who waits for one of keys or for anything.
func (b *broadcast) notify(keys ...string) {
	if len(keys) == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, key := range append(keys, anything) {
		if ch, ok := b.chans[key]; ok {
			close(ch)
			delete(b.chans, key)
		}
	}
}

// notifyAll wakes everyone.
func (b *broadcast) notifyAll() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for key, ch := range b.chans {
		close(ch)
		delete(b.chans, key)
	}
}
