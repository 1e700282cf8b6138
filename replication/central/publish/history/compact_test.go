package history_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"preau/replication/central"
	"preau/replication/central/publish/history"
	"preau/replication/central/store"
	"preau/replication/central/storetest"
)

// step is what happens at one call of a gateway to the store.
type step int

const (
	undisturbed step = iota
	appends          // another gateway appends just before it
	dies             // the gateway is killed before it
	lost             // the gateway is killed while it is done
)

// disturbed is a store as one gateway sees it, to which something happens at one
// of its calls.
type disturbed struct {
	*storetest.Memory
	left   int // calls before it
	what   step
	append func()
	dead   bool
}

func (d *disturbed) call(do func() error) error {
	if d.dead {
		return store.ErrUnavailable
	}
	d.left--
	if d.left != 0 {
		return do()
	}
	switch d.what {
	case appends:
		d.append()
	case dies:
		d.dead = true
		return store.ErrUnavailable
	case lost:
		d.dead = true
		return errors.Join(do(), store.ErrUnavailable)
	case undisturbed:
	}
	return do()
}

func (d *disturbed) Put(ctx context.Context, bucket, key string, body io.Reader, size int64, o store.Options, c store.Condition) (info store.Info, err error) {
	err = d.call(func() (err error) { info, err = d.Memory.Put(ctx, bucket, key, body, size, o, c); return err })
	return info, err
}

func (d *disturbed) Get(ctx context.Context, bucket, key string, off, length int64, etag string) (body io.ReadCloser, info store.Info, err error) {
	err = d.call(func() (err error) { body, info, err = d.Memory.Get(ctx, bucket, key, off, length, etag); return err })
	return body, info, err
}

func (d *disturbed) List(ctx context.Context, bucket, prefix, after string, limit int) (page store.Page, err error) {
	err = d.call(func() (err error) { page, err = d.Memory.List(ctx, bucket, prefix, after, limit); return err })
	return page, err
}

func (d *disturbed) Delete(ctx context.Context, bucket, key string) error {
	return d.call(func() error { return d.Memory.Delete(ctx, bucket, key) })
}

// follower is a region: what it was told, and up to where.
type follower struct {
	at   central.Cursor
	keys map[string]int64 // lengths
}

// follow takes what is new, and begins anew with a history that is another one.
func (f *follower) follow(t *rapid.T, h *history.History) {
	if f.at.Epoch != h.Epoch() {
		f.at, f.keys = central.Cursor{Epoch: h.Epoch()}, map[string]int64{}
	}
	for {
		got, err := h.Read(context.Background(), f.at.Seq, 7)
		must(t, err)
		if len(got) == 0 {
			return
		}
		for _, c := range got {
			if c.Seq != f.at.Seq+1 {
				t.Fatalf("change %d follows on %d", c.Seq, f.at.Seq)
			}
			f.at.Seq = c.Seq
			o, err := central.Verify(signer(1).Public().(ed25519.PublicKey), c)
			must(t, err)
			if delete(f.keys, o.Key); !c.Deleted {
				f.keys[o.Key] = o.Length
			}
		}
	}
}

// Gateways append, compact, are killed in the middle of it at any call, go on
// with what others have begun, and prune. Nothing that was appended is lost, and
// a region that follows any of them has the same as the model.
func TestCompactionLosesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		st, ctx := newStore(t), context.Background()
		model := map[string]int64{}
		p := &places{}
		hs := make([]*history.History, 3)
		anew := func(i int) *history.History { hs[i] = open(t, st); return hs[i] }
		for i := range hs {
			anew(i)
		}
		region := &follower{}
		add := func(t *rapid.T, h *history.History) error {
			var entries []history.Entry
			var said []int64
			var keys []string
			for range rapid.IntRange(1, 9).Draw(t, "changes") {
				key := fmt.Sprintf("k%02d", rapid.IntRange(0, 30).Draw(t, "key"))
				if slices.Contains(keys, key) {
					continue
				}
				a, err := h.Begin(ctx, key)
				if err != nil {
					return err
				}
				defer a.Close()
				n := rapid.IntRange(0, 3).Draw(t, "n")
				keys, said = append(keys, key), append(said, int64(n))
				entries = append(entries, history.Entry{Attempt: a, Record: version(t, key, n, p.next())})
			}
			err := h.Append(ctx, entries)
			for i, e := range entries {
				if e.Attempt.Appended() {
					if delete(model, keys[i]); said[i] > 0 {
						model[keys[i]] = said[i]
					}
				}
			}
			return err
		}
		// replaced opens a gateway's history anew if another one has replaced it.
		replaced := func(t *rapid.T, i int, err error) {
			if errors.Is(err, history.ErrEpoch) {
				anew(i)
			} else {
				must(t, err)
			}
		}
		gateway := func(t *rapid.T) int { return rapid.IntRange(0, 2).Draw(t, "gateway") }
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				i := gateway(t)
				replaced(t, i, add(t, hs[i]))
			},
			"compact": func(t *rapid.T) {
				i, other := gateway(t), gateway(t)
				d := &disturbed{Memory: st, what: step(rapid.IntRange(0, 3).Draw(t, "step"))}
				d.append = func() { replaced(t, other, add(t, hs[other])) }
				h, err := history.Open(ctx, config(), d)
				replaced(t, i, err)
				if err != nil {
					return
				}
				d.left = rapid.IntRange(1, 40).Draw(t, "calls")
				switch err := h.Compact(ctx); {
				case errors.Is(err, history.ErrEpoch):
					anew(i)
				case err == nil:
					t.Fatal("compacted, and nobody is told to open it anew")
				case !d.dead:
					t.Fatal(err)
				}
			},
			"fold":   func(t *rapid.T) { i := gateway(t); replaced(t, i, hs[i].Fold(ctx)) },
			"reopen": func(t *rapid.T) { anew(gateway(t)) },
			"sweep":  func(t *rapid.T) { i := gateway(t); replaced(t, i, hs[i].Sweep(ctx)) },
			"prune":  func(t *rapid.T) { i := gateway(t); replaced(t, i, hs[i].Prune(ctx)) },
			"": func(t *rapid.T) {
				i := gateway(t)
				replaced(t, i, hs[i].Refresh(ctx))
				replaced(t, i, hs[i].Current(ctx))
				got := map[string]int64{}
				for _, r := range scan(t, hs[i]) { //nolint:contextcheck // a rapid.T has no context that ends with it
					got[r.Key] = r.Size
				}
				if diff := cmp.Diff(model, got); diff != "" {
					t.Fatal("the table:", diff)
				}
				region.follow(t, hs[i]) //nolint:contextcheck // as above
				if diff := cmp.Diff(model, region.keys); diff != "" {
					t.Fatal("a region:", diff)
				}
			},
		})
	})
}

// A bucket in which the same few objects change for ever keeps a log of bounded
// length, and nothing of former ones a day later.
func TestALogHasABoundedLength(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, p := newStore(t), &places{}
		h := open(t, st)
		const spare = 30
		compactions := 0
		for round := range 400 {
			appendTo(t, h, p, 1+round%3, fmt.Sprint("k", round%10))
			if !h.Due(spare) {
				continue
			}
			if err := h.Compact(t.Context()); !errors.Is(err, history.ErrEpoch) {
				t.Fatal(err)
			}
			compactions++
			h = open(t, st)
			if head, _ := h.Head(); head != 10 {
				t.Fatalf("a log of 10 objects has %d changes after it was compacted", head)
			}
			time.Sleep(time.Hour) //nolint:forbidigo // in a bubble
		}
		if compactions < 5 || compactions > 400/spare {
			t.Errorf("%d compactions", compactions)
		}
		time.Sleep(25 * time.Hour) //nolint:forbidigo // in a bubble
		if err := h.Prune(t.Context()); err != nil {
			t.Fatal(err)
		}
		page, err := st.List(t.Context(), system, "log/", "", store.MaxPage)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range page.Objects {
			if name := strings.TrimPrefix(o.Key, "log/maps/"); strings.Contains(name, "/") && !strings.HasPrefix(name, h.Epoch()+"/") {
				t.Errorf("%s is left of a former log", o.Key)
			}
		}
		if n := len(page.Objects); n > 2*10+spare+3 {
			t.Errorf("%d objects for 10 in the bucket", n)
		}
		// It can still be read, and by one who opens it anew.
		if got := readAll(t, open(t, st), 3); len(got) < 10 {
			t.Errorf("%d changes", len(got))
		}
	})
}

// What others may be in the middle of is left alone for a day.
func TestPruneLeavesWhatMayBeInUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, p := newStore(t), &places{}
		old := open(t, st)
		for i := range 40 {
			appendTo(t, old, p, 1, fmt.Sprint("k", i%4))
		}
		reader := open(t, st)
		if err := old.Compact(t.Context()); !errors.Is(err, history.ErrEpoch) {
			t.Fatal(err)
		}
		h := open(t, st)
		begun := "log/maps/" + strings.Repeat("ab", 10) + "/0000000000000001" // by another, who is at it
		put := func() {
			if _, err := st.Put(t.Context(), system, begun, strings.NewReader("x"), 1, store.Options{}, store.Condition{}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(23 * time.Hour) //nolint:forbidigo // in a bubble
		put()
		if err := h.Prune(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := readAll(t, reader, 3); len(got) != 40 {
			t.Errorf("a reader of the former log has %d of 40 changes", len(got))
		}
		time.Sleep(2 * time.Hour) //nolint:forbidigo // in a bubble
		if err := h.Prune(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := st.Head(t.Context(), system, begun); err != nil {
			t.Errorf("a log that another one writes: %v", err)
		}
		if _, err := reader.Read(t.Context(), 0, 3); !errors.Is(err, history.ErrEpoch) {
			t.Errorf("a reader of a log that is gone: %v, want ErrEpoch", err)
		}
		if got := readAll(t, h, 3); len(got) != 4 {
			t.Errorf("%d changes, want 4", len(got))
		}
	})
}
