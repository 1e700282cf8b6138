package follow

import (
	"context"
	"errors"
	"sync"

	"preau/cache/shelf"
	"preau/node/watch"
	"preau/replication/catalogue"
)

// ErrSilent reports that the region was not heard of for so long that it can't be
// said any more what is published.
var ErrSilent = errors.New("the region has not been heard of for too long to say what is published")

// Listed is one thing that the region has published for this school, without its
// blocks, under its collection's title, and how much of it is here.
type Listed struct {
	shelf.Item
	Held int64
}

// Catalogue lists up to most things after a position, "" for the first, and tells
// the position to go on from, "" if there is no more. It asks nobody outside and
// keeps nothing in memory: there may be a million. The box's copy has only what its
// school may see, so nothing else can be listed. Errors: ErrSilent, the disk's.
func (f *Follower) Catalogue(ctx context.Context, after string, most int) (list []Listed, next string, err error) {
	if f.leaseOver() {
		return nil, "", ErrSilent
	}
	items, next, err := published{f}.Page(ctx, after, most)
	if err != nil {
		return nil, "", err
	}
	list = make([]Listed, len(items))
	for i, it := range items {
		st, err := f.stock.StateOf(it)
		if err != nil {
			return nil, "", err
		}
		list[i] = Listed{it, st.Held}
	}
	return list, next, nil
}

// Listed returns what Catalogue would have of one thing now. Errors: ErrSilent,
// shelf.ErrUnknown, shelf.ErrGone, the disk's.
func (f *Follower) Listed(id string) (Listed, error) {
	if f.leaseOver() {
		return Listed{}, ErrSilent
	}
	it, held, err := f.Resource(id)
	it.Blocks = nil
	return Listed{it, held}, err
}

// Published returns a channel that has something to receive after what Catalogue
// lists has changed by word of the region, until stop is called. What is fetched
// or expires meanwhile is not told.
func (f *Follower) Published() (changed <-chan struct{}, stop func()) { return f.news.bell.Watch() }

// PublishedSince returns the ids of what was published, changed or taken back since
// a mark that it gave, and the mark of now. Where known is false anything may have
// changed, as since 0.
func (f *Follower) PublishedSince(mark uint64) (ids []string, now uint64, known bool) {
	return f.news.since(mark)
}

// mostNews bounds the changes that are told one by one. Who has missed more reads
// it all again.
const mostNews = 256

// news is what was changed lately of what is published. Its zero value is ready.
type news struct {
	bell watch.Bell
	mu   sync.Mutex
	ids  []string
	end  uint64 // the mark after the last of ids; 0: nobody was given one
}

func (n *news) since(mark uint64) (ids []string, now uint64, known bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.end == 0 {
		n.end = 1
	}
	if mark == 0 || mark > n.end || n.end-mark > uint64(len(n.ids)) {
		return nil, n.end, false
	}
	return append([]string(nil), n.ids[uint64(len(n.ids))-(n.end-mark):]...), n.end, true
}

// note takes up changes of the feed.
func (n *news) note(changes []catalogue.Record) {
	var ids []string
	for _, r := range changes {
		switch r.Kind {
		case catalogue.KindResource:
			ids = append(ids, r.ID)
		case catalogue.KindCollection: // it may have another title
			n.all()
			return
		}
	}
	if len(ids) > mostNews {
		n.all()
		return
	}
	if len(ids) == 0 {
		return
	}
	n.mu.Lock()
	n.end = max(n.end, 1) + uint64(len(ids))
	if n.ids = append(n.ids, ids...); len(n.ids) > mostNews {
		n.ids = append([]string(nil), n.ids[len(n.ids)-mostNews:]...)
	}
	n.mu.Unlock()
	n.bell.Tell()
}

// all notes that anything may have changed.
func (n *news) all() {
	n.mu.Lock()
	n.ids, n.end = nil, max(n.end, 1)+1
	n.mu.Unlock()
	n.bell.Tell()
}
