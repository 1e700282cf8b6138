package shelf_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"preau/cache/block"
	"preau/cache/shelf"
)

func TestTheListHasPages(t *testing.T) {
	w := newWorld(t)
	var want []string
	for _, id := range []string{"a", "b", "c", "d", "e", "f", "g", "h", "i"} {
		w.upsert(w.publish(id, noise(10, 17)))
		want = append(want, id)
	}
	var got []string
	var sizes []int
	for next := "/r/"; next != ""; {
		var list struct {
			Items []struct{ ID string }
			More  bool
			Next  string
		}
		r := w.get(next, "Accept", "application/json")
		w.check(json.Unmarshal(r.body, &list))
		for _, it := range list.Items {
			got = append(got, it.ID)
		}
		sizes = append(sizes, len(list.Items))
		page := string(w.get(next).body)
		if list.More != (list.Next != "") || list.More != strings.Contains(page, `rel="next"`) || list.More && !strings.Contains(page, `href="`+list.Next+`"`) {
			t.Errorf("after %d items the next page is at %q:\n%s", len(got), list.Next, page)
		}
		next = list.Next
	}
	if !slices.Equal(got, want) || !slices.Equal(sizes, []int{4, 4, 1}) {
		t.Errorf("pages of %v: %v", sizes, got)
	}
}

// A long item's list of blocks is not in the catalogue: it has to be asked for,
// and without it the item is known and can't be sent.
func TestAListOfBlocksThatHasToBeAskedFor(t *testing.T) {
	w := newWorld(t)
	data := noise(3<<20, 18)
	it := w.publish("film", data)
	var blocks []shelf.Piece
	for i, d := range it.Blocks {
		blocks = append(blocks, shelf.Piece{Digest: d, Length: block.BlockLen(it.Length, i)})
	}
	it.Blocks, it.List = nil, block.Sum([]byte("list"))
	w.upsert(it)
	if r := w.do(http.MethodHead, it.Path()); r.status != 200 || r.header.Get("Content-Length") != "3145728" {
		t.Errorf("head: %d", r.status)
	}
	if r := w.get(it.Path()); r.status != http.StatusGatewayTimeout {
		t.Errorf("without the list: %d", r.status)
	}
	if err := w.Fetch(t.Context(), "film", nil); err == nil {
		t.Error("it was fetched without the list")
	}
	w.lists[it.List] = blocks[:2]
	if r := w.get(it.Path()); r.status != http.StatusGatewayTimeout {
		t.Errorf("with a list that is too short: %d", r.status)
	}
	w.lists[it.List] = blocks
	w.check(w.Fetch(t.Context(), "film", nil))
	if r := w.get(it.Path()); r.status != 200 || string(r.body) != string(data) {
		t.Errorf("with the list: %d with %d bytes", r.status, len(r.body))
	}
}

func TestWhatExpiresIsGone(t *testing.T) {
	w := newWorld(t)
	it := w.publish("exam", noise(900, 19))
	it.Expires = time.Now().Add(time.Hour)
	w.upsert(it)
	w.check(w.Fetch(t.Context(), "exam", nil))
	w.check(w.Expire(t.Context(), time.Now()))
	if r := w.get(it.Path()); r.status != 200 || w.listed() != 1 {
		t.Errorf("before it expires: %d, %d held", r.status, w.listed())
	}
	it.Expires = time.Now().Add(-time.Second)
	w.upsert(it) // sooner than was said
	if r := w.get(it.Path()); r.status != http.StatusGone || w.listed() != 0 {
		t.Errorf("after it: %d, %d held", r.status, w.listed())
	}
	// Nobody tells when it is time.
	it.Expires = time.Time{}
	w.upsert(it)
	w.check(w.Fetch(t.Context(), "exam", nil))
	it.Expires = time.Now().Add(2 * time.Second)
	w.upsert(it)
	w.until(func() bool {
		w.check(w.Expire(t.Context(), time.Now()))
		return w.listed() == 0
	}, "it is still held")
	if _, err := w.State("exam"); !errors.Is(err, shelf.ErrGone) {
		t.Errorf("error %v", err)
	}
}

// A pin is of one version, and outlives neither what it was for nor who asked
// for it.
func TestPinsFollowWhatIsPublished(t *testing.T) {
	w := newWorld(t)
	a, b := w.publish("a", noise(1000, 20)), w.publish("b", noise(1000, 21))
	w.upsert(a)
	w.upsert(b)
	w.check(w.Want("a", true))
	w.check(w.Want("b", true))
	a = w.publish("a", noise(3000, 22))
	w.upsert(a)
	if keys, bytes, _ := w.store.Load().PinUsage(); keys != 2 || bytes != 4000 {
		t.Errorf("%d pins of %d bytes", keys, bytes)
	}
	w.reopen()
	if keys, bytes, _ := w.store.Load().PinUsage(); keys != 2 || bytes != 4000 {
		t.Errorf("after a restart of the storage: %d pins of %d bytes", keys, bytes)
	}
	// A shelf that was just made does not know who wanted what.
	w.again()
	w.check(w.Sync(t.Context()))
	if keys, _, _ := w.store.Load().PinUsage(); keys != 2 || len(w.Pinned()) != 0 {
		t.Errorf("after a restart: %d pins", keys)
	}
	w.check(w.Want("b", true))
	w.check(w.Unpin())
	if keys, bytes, _ := w.store.Load().PinUsage(); keys != 1 || bytes != 1000 {
		t.Errorf("%d pins of %d bytes, want b's", keys, bytes)
	}
	w.remove("b")
	if keys, _, _ := w.store.Load().PinUsage(); keys != 0 {
		t.Errorf("%d pins are left", keys)
	}
}

// What a shelf of an earlier run kept is taken back by this one all the same.
func TestWhatAnEarlierRunKeptIsTakenBack(t *testing.T) {
	w := newWorld(t)
	a, b := w.publish("a", noise(1000, 23)), w.publish("b", noise(1000, 24))
	w.upsert(a)
	w.upsert(b)
	w.check(w.Fetch(t.Context(), "a", nil))
	w.check(w.Fetch(t.Context(), "b", nil))
	w.again()
	w.check(w.Sync(t.Context()))
	w.remove("a")
	if n := w.listed(); n != 1 {
		t.Errorf("%d are held", n)
	}
	// Or while nobody ran.
	w.library.set("b", nil)
	w.again()
	w.check(w.Sync(t.Context()))
	if n := w.listed(); n != 0 {
		t.Errorf("%d are held", n)
	}
}
