package follow

import (
	"context"
	"errors"
	"maps"
	"strings"
	"time"

	"preau/cache/block"
	"preau/replication/catalogue"
	"preau/replication/identity"
	"preau/replication/kv"
)

// resource is what decides of one whether and when the box should hold it. Only
// those that something here names have one in memory (see interest).
type resource struct {
	collection        string
	length            int64
	sum               block.Digest
	modified, expires time.Time
	whole             bool // it was here when somebody looked last
}

// interest is what pins, subscriptions, hints and lessons name: whole collections,
// and resources by their ids.
type interest struct{ collections, ids map[string]bool }

func newInterest() interest {
	return interest{collections: map[string]bool{}, ids: map[string]bool{}}
}

func (i interest) in(id, collection string) bool { return i.collections[collection] || i.ids[id] }

// interest is what the box has to know about, in force already or not.
func (k *known) interest(school identity.School) interest {
	out := newInterest()
	maps.Copy(out.ids, k.lessons)
	for _, p := range k.pins {
		switch {
		case !forSchool(p, school):
		case p.Resource != "":
			out.ids[p.Resource] = true
		default:
			out.collections[p.Collection] = true
		}
	}
	for _, s := range k.subscriptions {
		if s.School == "" || s.School == school {
			out.collections[s.Collection] = true
		}
	}
	for _, h := range k.hints {
		if id, ok := strings.CutPrefix(h.Key, "r/"); ok {
			out.ids[id] = true
		}
	}
	return out
}

// turn looks anew at what the box has to know about, after pins, subscriptions
// or hints changed: what it need not know any more is forgotten, and what is
// new is to be read (readNear).
func (k *known) turn(school identity.School) {
	if !k.turned {
		return
	}
	k.turned = false
	next := k.interest(school)
	fresh := func(set, old, unread map[string]bool) {
		for key := range set {
			if !old[key] {
				unread[key] = true
			}
		}
		maps.DeleteFunc(unread, func(key string, _ bool) bool { return !set[key] })
	}
	fresh(next.collections, k.about.collections, k.unread.collections)
	fresh(next.ids, k.about.ids, k.unread.ids)
	k.about = next
	maps.DeleteFunc(k.near, func(id string, r *resource) bool { return !next.in(id, r.collection) })
}

// set takes note of a resource as it is now, if it has to be known about.
func (k *known) set(r catalogue.Record) error {
	if r.Deleted {
		delete(k.near, r.ID)
		return nil
	}
	if len(k.about.collections) == 0 && !k.about.ids[r.ID] {
		delete(k.near, r.ID)
		return nil // whatever it is
	}
	res, err := catalogue.Body[catalogue.Resource](r)
	if err != nil || !k.about.in(r.ID, res.Collection) {
		delete(k.near, r.ID)
		return err
	}
	old := k.near[r.ID]
	k.near[r.ID] = &resource{
		collection: res.Collection, length: res.Length, sum: res.SHA256, modified: res.Modified, expires: res.Expires,
		whole: old != nil && old.whole && old.sum == res.SHA256,
	}
	return nil
}

// readNear brings into memory what the box has to know about and does not yet:
// at the start, and for pins, subscriptions and hints that are new.
func (f *Follower) readNear(ctx context.Context) error {
	was, _, _ := f.index.state()
	behind := f.index.catchUp(ctx, f.copy)
	if now, _, _ := f.index.state(); now != was {
		f.news.all()
	}
	f.mu.Lock()
	unread := f.known.unread
	f.known.unread = newInterest()
	f.mu.Unlock()
	err := behind
	if err == nil {
		err = f.readAll(ctx, unread)
	} else if len(unread.collections) == 0 && len(unread.ids) == 0 {
		// A disk without room, most likely. What is in memory is up to date.
		f.log.WarnContext(ctx, "the index of resources is behind", "err", behind)
		return ctx.Err()
	}
	if err != nil {
		f.mu.Lock()
		for id := range unread.ids {
			f.known.unread.ids[id] = true
		}
		for c := range unread.collections {
			f.known.unread.collections[c] = true
		}
		f.mu.Unlock()
	}
	return err
}

func (f *Follower) readAll(ctx context.Context, unread interest) error {
	for id := range unread.ids {
		if err := f.readOne(ctx, id); err != nil {
			return err
		}
	}
	for c := range unread.collections {
		for at := (entry{}); ; {
			entries, err := f.index.page(c, at, indexRecords)
			if err != nil {
				return err
			}
			for _, at = range entries {
				if err := f.readOne(ctx, at.id); err != nil {
					return err
				}
			}
			if len(entries) < indexRecords {
				break
			}
		}
	}
	return nil
}

// readOne takes note of a resource as the copy has it. What changes meanwhile
// is learned after it (see learn), so the last word is the latest.
func (f *Follower) readOne(ctx context.Context, id string) error {
	f.reading.Lock()
	defer f.reading.Unlock()
	rec, err := f.copy.Get(catalogue.KindResource, id)
	if errors.Is(err, kv.ErrNotFound) {
		return ctx.Err()
	}
	if err != nil {
		return err
	}
	f.mu.Lock()
	err = f.known.set(rec)
	f.mu.Unlock()
	if err != nil {
		f.log.WarnContext(ctx, "a resource makes no sense to this version and is left out", "id", id, "err", err)
	}
	return ctx.Err()
}
