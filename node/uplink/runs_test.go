package uplink

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"preau/cache/block"
	"preau/replication/central"
	"preau/replication/hold"
)

// line is a gateway that answers a run after a second.
type line struct {
	mu     sync.Mutex
	ranges [][2]int
	broken bool
}

func (l *line) fetch(ctx context.Context, from, to int, each func(i int, p []byte)) error {
	l.mu.Lock()
	l.ranges = append(l.ranges, [2]int{from, to})
	broken := l.broken && to > from+1
	l.mu.Unlock()
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	for i := from; i < to; i++ {
		if broken && i > from {
			return errors.New("it breaks off")
		}
		each(i-from, []byte{byte(i)})
	}
	return nil
}

var list = block.Sum([]byte("list"))

func blocks(n, length int) []hold.Entry {
	entries := make([]hold.Entry, n)
	for i := range entries {
		entries[i] = hold.Entry{Digest: block.Sum([]byte{byte(i)}), Length: length}
	}
	return entries
}

func TestBlocksSideBySideComeTogether(t *testing.T) {
	for name, broken := range map[string]bool{"well": false, "with runs that break off": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var r runs
				l := &line{broken: broken}
				entries := blocks(20, block.Size)
				var all sync.WaitGroup
				for i := range entries {
					if i == 12 {
						continue // nobody wants it
					}
					all.Go(func() {
						p, err := r.get(t.Context(), list, entries, i, l.fetch)
						if err != nil || !bytes.Equal(p, []byte{byte(i)}) {
							t.Errorf("block %d: %v, %v", i, p, err)
						}
					})
				}
				all.Wait()
				for _, one := range l.ranges {
					if one[0] <= 12 && one[1] > 12 {
						t.Errorf("a block is fetched that nobody wants: %v", one)
					}
					if (one[1]-one[0])*block.Size > central.RunSize {
						t.Errorf("%v is too long", one)
					}
				}
				if !broken && len(l.ranges) > 9 {
					t.Errorf("%d answers for 19 blocks: %v", len(l.ranges), l.ranges)
				}
				if len(r.of) != 0 {
					t.Error("something is left over")
				}
			})
		})
	}
}

// One who goes away takes nobody else's block along, whether it leads a run,
// waits in one or for one.
func TestWhoGoesAwayGoesAlone(t *testing.T) {
	for gone := range 8 {
		synctest.Test(t, func(t *testing.T) {
			var r runs
			l := &line{}
			entries := blocks(8, 1000)
			ctx, cancel := context.WithCancel(t.Context())
			var all sync.WaitGroup
			for i := range entries {
				of := t.Context()
				if i == gone {
					of = ctx
				}
				all.Go(func() {
					p, err := r.get(of, list, entries, i, l.fetch)
					if i != gone && (err != nil || !bytes.Equal(p, []byte{byte(i)})) {
						t.Errorf("block %d: %v, %v", i, p, err)
					}
				})
				synctest.Wait()
			}
			<-time.After(time.Duration(500+gone*150) * time.Millisecond) // never with an answer
			cancel()
			all.Wait()
			if len(r.of) != 0 {
				t.Error("something is left over")
			}
		})
	}
}
