package follow

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"preau/cache/shelf"
	"preau/replication/catalogue"
	"preau/replication/feed"
)

// titles is all that the catalogue lists, in parts of two.
func titles(t *testing.T, f *Follower) (out []string) {
	t.Helper()
	for after := ""; ; {
		list, next, err := f.Catalogue(t.Context(), after, 2)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range list {
			out = append(out, l.Collection+"/"+l.Title)
		}
		if after = next; next == "" {
			return out
		}
	}
}

func TestTheCatalogueTellsAllThatIsSaidOfAThing(t *testing.T) {
	f, c := opened(t)
	stock := newStock()
	f.stock = stock
	r := resourceOf("conte", "lire", 3<<20)
	r.Description, r.Level, r.Language, r.Licence = "Un loup.\nUne galette.", "CE1", "fr", "CC BY"
	past := resourceOf("vieux", "lire", 10)
	past.Expires = noon.AddDate(-30, 0, 0)
	c.apply(t, record(t, catalogue.Collection{ID: "lire", Title: "Lectures"}), record(t, r), record(t, resourceOf("atlas", "geo", 10)), record(t, past))
	if got, want := titles(t, f), []string{"geo/Le atlas", "Lectures/Le conte"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	got, err := f.Listed("conte")
	if err != nil || got.Description != r.Description || got.Level != "CE1" || got.Licence != "CC BY" || got.Collection != "Lectures" || got.Length != 3<<20 || got.Blocks != nil {
		t.Errorf("%+v, %v", got, err)
	}
	for id, want := range map[string]error{"vieux": shelf.ErrGone, "none": shelf.ErrUnknown} {
		if _, err := f.Listed(id); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", id, err, want)
		}
	}
	// What may have been recalled meanwhile is not told.
	f.feed, f.lease.alone, f.lease.since = &feed.Follower{}, defaultLease+time.Hour, time.Now() // one without a connection
	if _, err := f.Listed("conte"); !errors.Is(err, ErrSilent) {
		t.Errorf("after the lease: %v", err)
	}
	if _, _, err := f.Catalogue(t.Context(), "", 2); !errors.Is(err, ErrSilent) {
		t.Errorf("after the lease: %v", err)
	}
}

func TestTheCatalogueTellsWhatHasChanged(t *testing.T) {
	f, c := opened(t)
	changed, stop := f.Published()
	defer stop()
	rang := func() bool {
		select {
		case <-changed:
			return true
		default:
			return false
		}
	}
	_, mark, known := f.PublishedSince(0)
	if known || rang() {
		t.Error("before anything was read all of it is known, or news")
	}
	since := func(want ...string) {
		t.Helper()
		ids, now, known := f.PublishedSince(mark)
		if !known || !slices.Equal(ids, want) || rang() != (len(want) > 0) {
			t.Errorf("%q, %v, want %q", ids, known, want)
		}
		mark = now
	}
	since()
	c.apply(t, record(t, resourceOf("a", "x", 1)), record(t, catalogue.Subscription{ID: "s", Collection: "x"}), record(t, resourceOf("b", "x", 1)))
	since("a", "b")
	c.apply(t, record(t, catalogue.Subscription{ID: "t", Collection: "y"}))
	since()
	c.apply(t, gone(catalogue.KindResource, "a"))
	c.apply(t, record(t, resourceOf("c", "y", 1)))
	since("a", "c")

	lost := func(why string) {
		t.Helper()
		if ids, now, known := f.PublishedSince(mark); known || !rang() {
			t.Errorf("%s: %q is all that has changed", why, ids)
		} else {
			mark = now
		}
		since()
	}
	c.apply(t, record(t, catalogue.Collection{ID: "x", Title: "Ixe"}))
	lost("a collection has another title")
	for range 2 {
		var batch []catalogue.Record
		for i := range mostNews/2 + 1 {
			batch = append(batch, record(t, resourceOf(fmt.Sprint("many-", i), "x", 1)))
		}
		c.apply(t, batch...)
	}
	lost("more than is remembered")
	if _, _, known := f.PublishedSince(mark + 1); known {
		t.Error("a mark of another time is known")
	}
}
