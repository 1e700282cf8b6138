//go:build system && linux

package whole_test

import (
	"os"
	"testing"
	"time"

	"preau/node/control"
)

// TestARegionGoesOnFromOneServer loses two of three servers for good. The one
// that is left was away when something was decided, which boxes must unlearn.
func TestARegionGoesOnFromOneServer(t *testing.T) {
	t.Parallel()
	w := three(t, seeded(t), "box-a", "box-b")
	kept, lost, news := w.bytes(2<<20+9), w.bytes(70_000), w.bytes(1<<20+3)
	first := w.publish(t, "kept.pdf", "lessons", kept)
	recalled := w.publish(t, "recalled.pdf", "lessons", news)
	left := w.servers[2]
	within(t, 60*time.Second, func() error { return holds(left, kept) })
	w.agree(t, w.servers...)

	left.kill(t)
	second := w.publish(t, "lost.pdf", "lessons", lost)
	// The survivor's log must not be the longer one by chance.
	for range 5 {
		w.insist(t, &struct{}{}, "pin", "--collection", "lessons")
	}
	w.insist(t, &struct{}{}, "unpublish", recalled.ID)
	for _, b := range w.boxes {
		within(t, 60*time.Second, func() error { return w.has(b, first.URL, kept) })
		within(t, 60*time.Second, func() error { return w.has(b, second.URL, lost) })
		within(t, 60*time.Second, func() error { return w.lacks(b, recalled.URL) })
	}
	for _, s := range w.servers[:2] {
		s.kill(t)
		if err := os.RemoveAll(s.data); err != nil {
			t.Fatal(err)
		}
	}
	before, err := w.status("--region", left.address)
	if err == nil {
		t.Errorf("somebody answers: %+v", before)
	}

	says(t, command(w.ctx, "region", "recover", "--data", left.data), 2, "--yes")
	var recovered struct{ Index, Epoch uint64 }
	if err := decode(command(w.ctx, "region", "recover", "--data", left.data, "--yes", "--json"), &recovered); err != nil {
		t.Fatal(err)
	}
	if recovered.Epoch != 2 || recovered.Index <= first.Index {
		t.Errorf("recovered %+v, and the first file had index %d", recovered, first.Index)
	}
	left.run(t)
	w.healthy(t, 1)
	if h, err := w.status(); err != nil || h.Epoch != 2 || h.Leader != left.name {
		t.Errorf("status: %+v, %v", h, err)
	}
	for _, b := range w.boxes {
		within(t, 60*time.Second, func() error { return w.lacks(b, second.URL) })
		within(t, 60*time.Second, func() error { return w.has(b, first.URL, kept) })
		within(t, 60*time.Second, func() error { return w.has(b, recalled.URL, news) }) // that was undone too
	}
	third := w.publish(t, "news.pdf", "lessons", news)
	var purge control.Done
	w.insist(t, &purge, "purge", "--resource", first.ID)
	for _, b := range w.boxes {
		within(t, 60*time.Second, func() error { return w.has(b, third.URL, news) })
		within(t, 60*time.Second, func() error { return w.lacks(b, first.URL) })
	}

	w.servers = w.servers[2:]
	for _, name := range []string{"s4", "s5"} {
		w.join(t, name)
	}
	w.healthy(t, 3)
	w.agree(t, w.servers...)
	for _, s := range w.servers {
		within(t, 60*time.Second, func() error { return holds(s, news) })
	}
	left.kill(t)
	fourth := w.publish(t, "without.pdf", "lessons", kept)
	for _, b := range w.boxes { // which know the new ones by now
		within(t, 60*time.Second, func() error { return w.has(b, fourth.URL, kept) })
		within(t, 60*time.Second, func() error { return w.has(b, third.URL, news) })
		if err := w.lacks(b, first.URL); err != nil {
			t.Error(err)
		}
	}
}
