package store

import "sync"

// broadcast wakes everyone who watches a key.
type broadcast struct {
	mu    sync.Mutex
	chans map[string]chan struct{}
}

func newBroadcast() *broadcast { return &broadcast{chans: map[string]chan struct{}{}} }

// anything is the key whose watchers wake at every change.
const anything = ""

// Watch returns a channel that is closed at the next possible change of the container with this id, by any daemon on
// the same database. Callers take the channel first and read the container afterwards, so that they miss no change.
func (db *DB) Watch(containerID string) <-chan struct{} { return db.waiters.watch(containerID) }

// WatchAll returns a channel that is closed at the next possible change of any container or image.
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

// notify wakes everyone who watches one of keys, or anything.
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
