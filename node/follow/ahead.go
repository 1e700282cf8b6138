package follow

import (
	"context"
	"maps"
	"time"

	"preau/cache/shelf"
	"preau/replication/catalogue"
)

// Ahead is what the region's policy lets this box fetch before anybody asks for
// it, for whoever else fetches ahead than the follower itself. It shares the rate
// with that. Its methods may be called concurrently.
type Ahead struct{ f *Follower }

// Ahead tells what may be fetched ahead.
func (f *Follower) Ahead() Ahead { return Ahead{f} }

// WaitN returns when n more bytes may be asked for, or ctx's error.
func (a Ahead) WaitN(ctx context.Context, n int) error {
	return a.f.limiter(a.Rate()).WaitN(ctx, n)
}

// Rate is in bytes a second; 0 is no bound.
func (a Ahead) Rate() int64 { return a.f.policy().PrefetchRate }

// Hours are the spans of the day in which anything may be fetched ahead; with
// none it may be at any time.
func (a Ahead) Hours() []catalogue.Hours { return a.f.policy().PrefetchHours }

// When reports whether anything may be fetched ahead at a time, and when that
// changes; zero if it never does.
func (a Ahead) When(now time.Time) (open bool, change time.Time) {
	hours := a.Hours()
	if open, change = within(hours, now); !open {
		return false, change
	}
	if left := until(hours, now); left > 0 {
		return true, now.Add(left)
	}
	return true, time.Time{}
}

// Prepare has the resources with these ids fetched ahead, before all else, and
// kept, until it is called again with others. It is forgotten with the process.
func (f *Follower) Prepare(ids []string) {
	lessons := make(map[string]bool, len(ids))
	for _, id := range ids {
		lessons[id] = true
	}
	f.mu.Lock()
	same := maps.Equal(f.known.lessons, lessons)
	if !same {
		f.known.lessons, f.known.turned = lessons, true
		f.known.turn(f.id.School)
	}
	f.mu.Unlock()
	if !same {
		f.wake()
	}
}

// Resource returns what is published under an id, and how many bytes of it are
// here. Errors: shelf.ErrUnknown, shelf.ErrGone, the disk's.
func (f *Follower) Resource(id string) (it shelf.Item, held int64, err error) {
	r, err := f.resource(id)
	if err != nil {
		return it, 0, err
	}
	it = itemOf(r, f.titleOf(r.Collection))
	st, err := f.stock.StateOf(it)
	if err != nil {
		return it, 0, err
	}
	return it, st.Held, nil
}

// Fetch brings a resource here as far as it is missing, at the policy's rate and
// while nobody talks. Whoever calls it sees to the hours.
func (a Ahead) Fetch(ctx context.Context, id string) error { return a.f.stock.Fetch(ctx, id, a) }
