package shelf_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"preau/cache/block"
	"preau/cache/shelf"
)

// publishCut makes an item of data with blocks of such lengths, the last of what
// is left, and has its list at hand.
func (w *world) publishCut(id string, data []byte, lengths ...int) shelf.Item {
	w.t.Helper()
	it := w.publish(id, nil)
	it.Length, it.SHA256, it.Listed = int64(len(data)), block.Sum(data), true
	var pieces []shelf.Piece
	var list []byte
	for rest := data; len(rest) > 0; {
		n := min(len(rest), 300_000)
		if len(lengths) > 0 {
			n, lengths = min(len(rest), lengths[0]), lengths[1:]
		}
		d := block.Sum(rest[:n])
		pieces, list = append(pieces, shelf.Piece{Digest: d, Length: n}), append(list, d[:]...)
		w.region.set(func() { w.blocks[d] = slices.Clone(rest[:n]) })
		rest = rest[n:]
	}
	it.List = block.Sum(list)
	w.library.mu.Lock()
	w.lists[it.List] = pieces
	w.library.mu.Unlock()
	return it
}

// took is how many bytes were fetched since it was asked last.
func (w *world) took() (n int) {
	w.region.set(func() { n, w.bytes = w.bytes, 0 })
	return n
}

func TestBlocksOfAnyLength(t *testing.T) {
	w := newWorld(t)
	data := noise(1_900_000, 31)
	it := w.publishCut("cours", data, 1, 299_999, 1<<20, 2, 250_000)
	w.upsert(it)
	ranges := []struct{ from, to int }{{0, 1}, {0, 2}, {299_998, 300_002}, {1, 1_348_577}, {1_348_570, 1_348_580}, {1_899_999, 1_900_000}, {700_000, 1_700_000}}
	check := func(when string) {
		t.Helper()
		for _, r := range ranges {
			got := w.get(it.Path(), "Range", fmt.Sprintf("bytes=%d-%d", r.from, r.to-1))
			if got.status != 206 || !bytes.Equal(got.body, data[r.from:r.to]) {
				t.Errorf("%s: %d..%d: %d with %d bytes, %v", when, r.from, r.to, got.status, len(got.body), got.err)
			}
		}
		got := w.get(it.Path())
		if got.status != 200 || !bytes.Equal(got.body, data) || got.header.Get("Etag") != `"`+it.SHA256.String()+`"` ||
			got.header.Get("Last-Modified") != "Tue, 14 Nov 2023 22:13:20 GMT" || got.header.Get("Content-Length") != fmt.Sprint(len(data)) {
			t.Errorf("%s: %d with %d bytes, %v, %v", when, got.status, len(got.body), got.header, got.err)
		}
	}
	check("while it comes")
	if n := w.took(); n != len(data) || w.of != "cours" {
		t.Errorf("%d bytes were fetched, of %q", n, w.of)
	}
	if st := w.state("cours"); !st.Complete || st.Held != it.Length {
		t.Errorf("state %+v", st)
	}
	w.reopen()
	w.region.set(func() { w.down = true })
	check("after a restart without the line")
	w.store.Store(nil)
	if got := w.get(it.Path()); got.status != http.StatusGatewayTimeout {
		t.Errorf("without line and disk: %d", got.status)
	}
	w.region.set(func() { w.down = false })
	check("passed through")
}

func TestAClassFetchesEachBlockOfAListOnce(t *testing.T) {
	w := newWorld(t)
	data := noise(2<<20, 32)
	it := w.publishCut("film", data)
	w.upsert(it)
	var all sync.WaitGroup
	for i := range 12 {
		all.Go(func() {
			from := i * 150_000
			r := w.get(it.Path(), "Range", fmt.Sprintf("bytes=%d-", from))
			if r.status != 206 || !bytes.Equal(r.body, data[from:]) {
				t.Errorf("from %d: %d, %d bytes, %v", from, r.status, len(r.body), r.err)
			}
		})
	}
	all.Wait()
	if n := w.most(); n != 1 || w.took() != len(data) {
		t.Errorf("a block was fetched %d times", n)
	}
}

func TestWrongBlocksOfAListNeverLeave(t *testing.T) {
	w := newWorld(t)
	data := noise(900_000, 33)
	it := w.publishCut("a", data)
	w.upsert(it)
	w.region.set(func() { w.lies = true })
	if r := w.get(it.Path()); r.status != 200 || !bytes.Equal(r.body, data) {
		t.Errorf("%d, %d bytes, %v", r.status, len(r.body), r.err)
	}
	bad := w.publishCut("b", noise(400_000, 34))
	first := w.lists[bad.List][0]
	w.region.set(func() { w.blocks[first.Digest] = noise(first.Length, 35) })
	w.upsert(bad)
	if r := w.get(bad.Path()); r.status != http.StatusGatewayTimeout || r.header.Get("Etag") != "" {
		t.Errorf("%d, %d bytes", r.status, len(r.body))
	}
	// Nor when the list does not fit the file.
	for name, pieces := range map[string][]shelf.Piece{
		"too short": w.lists[it.List][:2], "a length that is not the block's": {{Digest: first.Digest, Length: 1}, {Digest: first.Digest, Length: 899_999}},
		"an empty block": {{Digest: first.Digest, Length: 900_000}, {Digest: first.Digest}}, "too long": append(slices.Clone(w.lists[it.List]), first),
	} {
		c := w.publishCut("c", data)
		c.List = block.Sum([]byte(name))
		w.lists[c.List] = pieces
		w.upsert(c)
		if r := w.get(c.Path()); r.status != http.StatusGatewayTimeout {
			t.Errorf("%s: %d", name, r.status)
		}
	}
}

func TestPrefetchOfAListGoesOn(t *testing.T) {
	w := newWorld(t)
	data := noise(6_000_000, 36)
	data = append(data, data[:600_000]...) // two blocks are in it twice
	it := w.publishCut("a", data)
	w.upsert(it)
	lost := w.lists[it.List][15]
	w.region.set(func() { delete(w.blocks, lost.Digest) })
	if err := w.Fetch(t.Context(), "a", shelf.NewRate(100<<20)); err == nil {
		t.Error("a block that nobody has is no error")
	}
	if st := w.state("a"); st.Complete || st.Held < 8*300_000 {
		t.Errorf("state %+v", st)
	}
	w.reopen()
	w.publishCut("a", data)
	w.check(w.Fetch(t.Context(), "a", nil))
	w.check(w.Fetch(t.Context(), "a", nil))
	if st := w.state("a"); !st.Complete || w.most() != 1 || w.took() != 6_000_000 {
		t.Errorf("state %+v, a block was fetched %d times", st, w.most())
	}
	w.region.set(func() { w.down = true })
	w.reopen()
	if r := w.get(it.Path()); r.status != 200 || !bytes.Equal(r.body, data) {
		t.Errorf("without the line: %d, %d bytes, %v", r.status, len(r.body), r.err)
	}
}

// versions publishes a version that is fetched, and returns it with the next
// one, which is not.
func (w *world) versions(cut bool) (before, now shelf.Item, old, fresh []byte) {
	w.t.Helper()
	old = noise(2_400_000, 37)
	fresh = slices.Concat(old[:1_500_000], noise(100_000, 38), old[1_600_000:])
	if cut {
		before, now = w.publishCut("a", old), w.publishCut("a", fresh)
	} else {
		before, now = w.publish("a", old), w.publish("a", fresh)
	}
	now.ModTime = now.ModTime.Add(time.Hour)
	w.upsert(before)
	w.check(w.Fetch(w.t.Context(), "a", nil))
	w.took()
	return before, now, old, fresh
}

func TestANewVersionFetchesWhatChanged(t *testing.T) {
	for name, cut := range map[string]bool{"even blocks": false, "a list": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			_, now, _, fresh := w.versions(cut)
			w.upsert(now)
			if n := w.listed(); n != 1 {
				t.Errorf("%d versions are held", n)
			}
			w.check(w.Fetch(t.Context(), "a", nil))
			if n := w.took(); n > 1<<20 {
				t.Errorf("%d bytes were fetched", n)
			}
			if n := w.listed(); n != 1 {
				t.Errorf("%d versions are held, once the new one is here", n)
			}
			w.region.set(func() { w.down = true })
			if r := w.get(now.Path()); r.status != 200 || !bytes.Equal(r.body, fresh) {
				t.Errorf("%d, %d bytes, %v", r.status, len(r.body), r.err)
			}
		})
	}
}

// What another item has is not fetched again either, and stays when that goes.
func TestItemsShareBlocks(t *testing.T) {
	w := newWorld(t)
	data := noise(1_200_000, 39)
	a, b := w.publishCut("a", data), w.publishCut("b", slices.Concat(data, noise(50_000, 40)))
	w.upsert(a)
	w.upsert(b)
	w.check(w.Fetch(t.Context(), "a", nil))
	w.took()
	if r := w.get(b.Path()); r.status != 200 || r.header.Get("Content-Length") != "1250000" {
		t.Errorf("%d, %v", r.status, r.err)
	}
	if n := w.took(); n != 50_000 {
		t.Errorf("%d bytes were fetched", n)
	}
	w.remove("a")
	w.until(func() bool { return w.state("b").Complete }, "b is never complete")
}

// While the new version can't be had, the one before is sent, as what it is.
func TestTheVersionBeforeWhileTheLineIsAway(t *testing.T) {
	for name, cut := range map[string]bool{"even blocks": false, "a list": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			before, now, old, fresh := w.versions(cut)
			w.region.set(func() { w.down = true })
			w.upsert(now)
			for _, when := range []string{"at once", "after a restart"} {
				r := w.get(now.Path())
				if r.status != 200 || !bytes.Equal(r.body, old) || r.header.Get("Etag") != `"`+before.SHA256.String()+`"` ||
					r.header.Get("Last-Modified") != before.ModTime.UTC().Format(http.TimeFormat) {
					t.Fatalf("%s: %d, %d bytes, %v, %v", when, r.status, len(r.body), r.header, r.err)
				}
				if r := w.get(now.Path(), "Range", "bytes=5-9", "If-Range", r.header.Get("Etag")); r.status != 206 || !bytes.Equal(r.body, old[5:10]) {
					t.Errorf("%s: a range: %d, %d bytes", when, r.status, len(r.body))
				}
				if r := w.get(now.Path(), "If-None-Match", r.header.Get("Etag")); r.status != 304 {
					t.Errorf("%s: what one has: %d", when, r.status)
				}
				w.reopen()
				w.again()
				w.check(w.Sync(t.Context()))
			}
			w.region.set(func() { w.down = false })
			w.again() // it has not just asked in vain
			w.check(w.Sync(t.Context()))
			if r := w.get(now.Path()); r.status != 200 || !bytes.Equal(r.body, fresh) || r.header.Get("Etag") != `"`+now.SHA256.String()+`"` {
				t.Errorf("with the line: %d, %d bytes, %v", r.status, len(r.body), r.err)
			}
			w.until(func() bool {
				w.check(w.Expire(t.Context(), time.Now()))
				return w.listed() == 1
			}, "the version before is never given up")
		})
	}
}

// What was taken back is not sent, whatever the line does.
func TestNoVersionBeforeOfWhatWasTakenBack(t *testing.T) {
	w := newWorld(t)
	_, now, _, _ := w.versions(true)
	w.region.set(func() { w.down = true })
	w.back = true
	w.upsert(now)
	if w.listed() != 0 {
		t.Errorf("%d versions are held", w.listed())
	}
	if r := w.get(now.Path(), "Range", "bytes=1500000-"); r.status != http.StatusGatewayTimeout {
		t.Errorf("%d", r.status)
	}
	// Nor what is taken back while it stands in for another.
	w.back = false
	w.region.set(func() { w.down = false })
	_, now, _, _ = w.versions(true)
	w.region.set(func() { w.down = true })
	w.upsert(now)
	if r := w.get(now.Path()); r.status != 200 {
		t.Errorf("%d", r.status)
	}
	w.remove("a")
	if r := w.get(now.Path()); r.status != http.StatusGone || w.listed() != 0 {
		t.Errorf("%d, %d versions are held", r.status, w.listed())
	}
}

// A pinned item's version before stays pinned until the new one is here, and what
// is published again as it was is here.
func TestPinsOfVersions(t *testing.T) {
	w := newWorld(t)
	before, now, old, _ := w.versions(true)
	w.check(w.Want("a", true))
	w.upsert(now)
	if keys, _, _ := w.store.Load().PinUsage(); keys != 2 {
		t.Errorf("%d pins, want one of each version", keys)
	}
	w.check(w.Unpin())
	if keys, _, _ := w.store.Load().PinUsage(); keys != 2 {
		t.Errorf("%d pins, want one of each version", keys)
	}
	w.check(w.Fetch(t.Context(), "a", nil))
	if keys, bytes, _ := w.store.Load().PinUsage(); keys != 1 || bytes != now.Length {
		t.Errorf("%d pins of %d bytes", keys, bytes)
	}
	w.took()
	w.region.set(func() { w.down = true })
	w.upsert(before)
	w.check(w.Fetch(t.Context(), "a", nil)) // its blocks lie here still
	if r := w.get(before.Path()); r.status != 200 || !bytes.Equal(r.body, old) {
		t.Errorf("as it was: %d, %d bytes", r.status, len(r.body))
	}
	w.check(w.Want("a", false))
	if keys, _, _ := w.store.Load().PinUsage(); keys != 0 {
		t.Errorf("%d pins", keys)
	}
}

// The same bytes may be cut otherwise the next time.
func TestTheSameBytesCutOtherwise(t *testing.T) {
	w := newWorld(t)
	data := noise(1_500_000, 41)
	for i, it := range []shelf.Item{w.publish("a", data), w.publishCut("a", data), w.publishCut("a", data, 700_000), w.publish("a", data)} {
		w.upsert(it)
		w.check(w.Fetch(t.Context(), "a", nil))
		if r := w.get(it.Path()); r.status != 200 || !bytes.Equal(r.body, data) || w.listed() != 1 || !w.state("a").Complete {
			t.Errorf("cut %d: %d, %d bytes, %d held, %+v", i, r.status, len(r.body), w.listed(), w.state("a"))
		}
	}
	var list struct {
		Items []struct {
			HeldBytes int64 `json:"held_bytes"`
		}
	}
	w.check(json.NewDecoder(strings.NewReader(string(w.get("/r/", "Accept", "application/json").body))).Decode(&list))
	if len(list.Items) != 1 || list.Items[0].HeldBytes != 1_500_000 {
		t.Errorf("%+v", list)
	}
}

// A block that is slow to come is not begun anew for each who asks.
func TestASlowBlockComesInTheEnd(t *testing.T) {
	w := newWorld(t)
	w.first(50 * time.Millisecond)
	data := noise(200_000, 42)
	it := w.publishCut("a", data)
	w.upsert(it)
	gate := make(chan struct{})
	w.region.set(func() { w.slow = gate })
	if r := w.get(it.Path()); r.status != http.StatusGatewayTimeout {
		t.Errorf("%d", r.status)
	}
	close(gate)
	w.until(func() bool { return w.get(it.Path()).status == 200 }, "it never comes")
	if n := w.most(); n != 1 {
		t.Errorf("it was fetched %d times", n)
	}
}

// The line is never idle for one block that is slow to come: what came before it
// makes place for the next, up to a bound.
func TestABlockThatIsSlowKeepsNoneBack(t *testing.T) {
	w := newWorld(t)
	data := noise(12*200_000, 43)
	it := w.publishCut("a", data, slices.Repeat([]int{200_000}, 12)...)
	w.upsert(it)
	gate := make(chan struct{})
	w.region.set(func() { w.slow, w.held = gate, block.Sum(data[:200_000]) })
	var got reply
	done := make(chan struct{})
	go func() {
		defer close(done)
		got = w.get(it.Path())
	}()
	ahead := func() (n int) {
		w.region.set(func() { n = len(w.given) })
		return n
	}
	w.until(func() bool { return ahead() == shelf.AheadPieces }, "those behind it do not come")
	close(gate)
	<-done
	if got.status != 200 || !bytes.Equal(got.body, data) {
		t.Errorf("%d with %d bytes, %v", got.status, len(got.body), got.err)
	}
	if w.most() != 1 {
		t.Errorf("one of them was fetched %d times", w.most())
	}
}

func TestFewBlocksAreFetchedAtOnce(t *testing.T) {
	w := newWorld(t)
	data := noise(12*200_000, 44)
	it := w.publishCut("a", data, slices.Repeat([]int{200_000}, 12)...)
	w.upsert(it)
	gate := make(chan struct{})
	w.region.set(func() { w.slow = gate })
	done := make(chan reply)
	go func() { done <- w.get(it.Path()) }()
	for range 12 { // as long as one waits for its turn, none leaves
		gate <- struct{}{}
	}
	if got := <-done; got.status != 200 || !bytes.Equal(got.body, data) {
		t.Errorf("%d with %d bytes, %v", got.status, len(got.body), got.err)
	}
	if w.busiest > shelf.AtOncePieces {
		t.Errorf("%d at once", w.busiest)
	}
}
