// Package watch tells whoever watches something that it has changed. It does not
// say what, and keeps no history: several changes may be told as one.
package watch

import "sync"

// Bell is something that can be watched. Its zero value is ready, and its methods
// may be called concurrently, whatever locks the caller holds.
type Bell struct {
	mu       sync.Mutex
	watchers map[chan struct{}]struct{}
}

// Watch returns a channel that has something to receive after each Tell, until
// stop is called.
func (b *Bell) Watch() (changed <-chan struct{}, stop func()) {
	c := make(chan struct{}, 1)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.watchers == nil {
		b.watchers = make(map[chan struct{}]struct{})
	}
	b.watchers[c] = struct{}{}
	return c, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.watchers, c)
	}
}

// Tell tells all who watch. It never blocks.
func (b *Bell) Tell() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for c := range b.watchers {
		select {
		case c <- struct{}{}:
		default: // it has not been received yet that there was something
		}
	}
}
