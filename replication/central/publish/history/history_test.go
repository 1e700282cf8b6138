package history_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"

	"preau/cache/block"
	"preau/replication/central"
	"preau/replication/central/publish/history"
	"preau/replication/central/store"
	"preau/replication/central/storetest"
	"preau/replication/identity"
)

const (
	system = "preau-central"
	bucket = "maps"
)

func signer(b byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{b}, ed25519.SeedSize))
}

func config() history.Config {
	c := history.DefaultConfig()
	c.System, c.Bucket, c.Key = system, bucket, signer(1).Public().(ed25519.PublicKey)
	c.PageRows, c.FoldRows, c.TailBytes = 4, 8, 3000
	return c
}

func newStore(t rapid.TB) *storetest.Memory {
	t.Helper()
	st := storetest.NewMemory()
	if err := st.MakeBucket(context.Background(), system); err != nil {
		t.Fatal(err)
	}
	return st
}

func open(t rapid.TB, st store.Store) *history.History {
	t.Helper()
	h, err := history.Open(context.Background(), config(), st)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// version is a record of a made-up version of key; n=0 is a deletion and n<0 a
// version held back.
func version(t rapid.TB, key string, n int, place uint64) history.Record {
	t.Helper()
	r := history.Record{Place: place}
	var err error
	switch {
	case n > 0:
		r.Meta = uint64(n)
		o := central.Object{
			Bucket: bucket, Key: key, ETag: block.Sum([]byte(fmt.Sprint(key, n))).String()[:32], Length: int64(n),
			Modified: time.Date(2026, 1, 2, 3, 4, 5, n*1e6, time.UTC), SHA256: block.Sum([]byte(key)), List: block.Sum([]byte(fmt.Sprint(n))),
			Meta: central.Meta{Title: "Cartes", ContentType: "application/pdf", Audience: []identity.School{"0690001A"}},
		}
		r.Change, err = central.Sign(signer(1), o)
	default:
		r.Change, err = central.SignDeleted(signer(1), bucket, key)
		if n < 0 {
			r.Held = &history.Held{ETag: "tag-2", Size: int64(-n), Modified: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Reason: "nobody"}
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// places makes up numbers that no two records share.
type places struct{ last uint64 }

func (p *places) next() uint64 { p.last++; return p.last }

func appendTo(t rapid.TB, h *history.History, p *places, n int, keys ...string) {
	t.Helper()
	var entries []history.Entry
	for _, key := range keys {
		a, err := h.Begin(context.Background(), key)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		entries = append(entries, history.Entry{Attempt: a, Record: version(t, key, n, p.next())})
	}
	if err := h.Append(context.Background(), entries); err != nil {
		t.Fatal(err)
	}
	for i, e := range entries {
		if !e.Attempt.Appended() {
			t.Fatalf("%s is not appended", keys[i])
		}
	}
}

func scan(t rapid.TB, h *history.History) []history.Named {
	t.Helper()
	var all []history.Named
	for from := ""; ; {
		rows, next, err := h.Scan(context.Background(), from)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, rows...)
		if from = next; from == "" {
			return all
		}
	}
}

func readAll(t rapid.TB, h *history.History, limit int) []central.Change {
	t.Helper()
	var all []central.Change
	for {
		got, err := h.Read(context.Background(), uint64(len(all)), limit)
		if err != nil {
			t.Fatal(err)
		}
		if len(got) == 0 {
			return all
		}
		all = append(all, got...)
	}
}

var golden = flag.Bool("update", false, "write the golden files anew")

// What is in the log is for ever. The bytes that were written once are read for
// ever, and what is written now is the same, but for how it is packed.
func TestGoldenBatch(t *testing.T) {
	records := []history.Record{version(t, "été/a", 3, 11), version(t, "b", 0, 12), version(t, "c", -4, 13)}
	const file = "testdata/batch-1.zst"
	if *golden {
		p, err := history.EncodeBatch(7, records)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, p, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file+".hex", []byte(hex.EncodeToString(unpack(t, p))+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	first, got, err := history.DecodeBatch(p)
	if err != nil || first != 7 {
		t.Fatalf("first is %d, %v", first, err)
	}
	for i := range records {
		records[i].Change.Seq = 7 + uint64(i)
	}
	if diff := cmp.Diff(records, got); diff != "" {
		t.Error(diff)
	}
	plain, err := os.ReadFile(file + ".hex")
	if err != nil {
		t.Fatal(err)
	}
	now, err := history.EncodeBatch(7, records)
	if err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(unpack(t, now)); got != strings.TrimSpace(string(plain)) {
		t.Errorf("a batch is written as\n%s\nwant\n%s", got, plain)
	}
}

func unpack(t rapid.TB, p []byte) []byte {
	t.Helper()
	r, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	plain, err := r.DecodeAll(p, nil)
	if err != nil {
		t.Fatal(err)
	}
	return plain
}

func pack(t rapid.TB, p []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return w.EncodeAll(p, nil)
}

func FuzzDecodeBatch(f *testing.F) {
	p, err := history.EncodeBatch(7, []history.Record{version(f, "a", 3, 11), version(f, "b", 0, 12), version(f, "c", -4, 13)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(p, false)
	f.Add(unpack(f, p), true)
	f.Fuzz(func(t *testing.T, p []byte, packed bool) {
		if packed {
			p = pack(t, p)
		}
		first, records, err := history.DecodeBatch(p)
		if err != nil {
			if !errors.Is(err, history.ErrDamaged) {
				t.Error(err)
			}
			return
		}
		again, err := history.EncodeBatch(first, records)
		if err != nil || !bytes.Equal(unpack(t, again), unpack(t, p)) {
			t.Errorf("it is written differently: %v", err)
		}
	})
}

func TestTheLoserOfANumberReadsWhatItLostTo(t *testing.T) {
	st, p := newStore(t), &places{}
	a, b := open(t, st), open(t, st)
	appendTo(t, a, p, 1, "x", "y")
	appendTo(t, b, p, 2, "z") // its first try is at number 1
	ctx := t.Context()
	try, err := a.Begin(ctx, "z")
	if err != nil || try.Known { // a has not read of it yet
		t.Fatal(try.Row, err)
	}
	defer try.Close()
	other, err := a.Begin(ctx, "w")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	err = a.Append(ctx, []history.Entry{{Attempt: try, Record: version(t, "z", 9, p.next())}, {Attempt: other, Record: version(t, "w", 9, p.next())}})
	if err != nil || !try.Overtaken() || !other.Appended() {
		t.Errorf("overtaken %t, appended %t, %v", try.Overtaken(), other.Appended(), err)
	}
	if head, _ := a.Head(); head != 4 {
		t.Errorf("head is %d, want 4", head)
	}
	if err := b.Refresh(ctx); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(readAll(t, a, 3), readAll(t, b, 1)); diff != "" {
		t.Error(diff)
	}
	if row, known, err := b.Lookup(ctx, "z"); err != nil || !known || row.Size != 2 || row.Seq != 3 {
		t.Errorf("z is %+v, %v", row, err)
	}
}

func TestAnAnswerThatGotLostIsFound(t *testing.T) {
	mem, p := newStore(t), &places{}
	st := storetest.NewFaulty(mem, 1)
	h := open(t, st)
	st.Add(storetest.Fault{Ops: []storetest.Op{storetest.Put}, Prefix: "log/", Times: 1, Lost: true})
	a, err := h.Begin(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	entries := []history.Entry{{Attempt: a, Record: version(t, "x", 1, p.next())}}
	if err := h.Append(t.Context(), entries); err != nil || !a.Appended() {
		t.Errorf("appended %t, %v", a.Appended(), err)
	}
	if n := len(readAll(t, h, 10)); n != 1 {
		t.Errorf("%d changes, want 1", n)
	}
}

func TestOneKeyTwiceInABatch(t *testing.T) {
	h, p := open(t, newStore(t)), &places{}
	var entries []history.Entry
	for range 2 {
		a, err := h.Begin(t.Context(), "x")
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		entries = append(entries, history.Entry{Attempt: a, Record: version(t, "x", 1, p.next())})
	}
	if err := h.Append(t.Context(), entries); err != nil {
		t.Fatal(err)
	}
	if !entries[0].Attempt.Appended() || !entries[1].Attempt.Overtaken() {
		t.Error("two attempts at one key are both appended")
	}
}

func TestReadFindsBatchesThatAreNotInMemory(t *testing.T) {
	st, p := newStore(t), &places{}
	h := open(t, st)
	want := 0
	for i := range 40 {
		var keys []string
		for k := range 1 + i%7 {
			keys = append(keys, fmt.Sprint("k", k))
		}
		appendTo(t, h, p, 1+i, keys...)
		want += len(keys)
	}
	if err := h.Fold(t.Context()); err != nil {
		t.Fatal(err)
	}
	fresh := open(t, st) // knows nothing but the table
	for seq := range uint64(want) {
		got, err := fresh.Read(t.Context(), seq, 1)
		if err != nil || len(got) != 1 || got[0].Seq != seq+1 {
			t.Fatalf("after %d: %v, %v", seq, got, err)
		}
	}
	if n := len(readAll(t, fresh, 1000)); n != want {
		t.Errorf("%d changes, want %d", n, want)
	}
}

func TestOpenRefusesAnotherKey(t *testing.T) {
	st := newStore(t)
	h := open(t, st)
	c := config()
	c.Key = signer(2).Public().(ed25519.PublicKey)
	if _, err := history.Open(t.Context(), c, st); !errors.Is(err, history.ErrOtherKey) {
		t.Errorf("Open: %v", err)
	}
	// What the error says: without the epoch there is a new history.
	appendTo(t, h, &places{}, 1, "x")
	if err := h.Fold(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := st.Delete(t.Context(), system, "log/maps/epoch"); err != nil {
		t.Fatal(err)
	}
	if err := h.Current(t.Context()); !errors.Is(err, history.ErrEpoch) {
		t.Errorf("Current: %v", err)
	}
	anew, err := history.Open(t.Context(), c, st)
	if err != nil {
		t.Fatal(err)
	}
	if head, _ := anew.Head(); head != 0 || anew.Epoch() == h.Epoch() || len(scan(t, anew)) > 0 {
		t.Errorf("the new history has %d changes, and rows %v", head, scan(t, anew))
	}
	appendTo(t, anew, &places{}, 1, "y")
	if err := anew.Fold(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The old one can't write over the new one's table.
	appendTo(t, h, &places{last: 9}, 1, "z")
	if err := h.Fold(t.Context()); !errors.Is(err, history.ErrEpoch) {
		t.Errorf("Fold of the old history: %v", err)
	}
}

func TestADamagedTableIsMadeAnew(t *testing.T) {
	for _, what := range []string{"gone", "changed", "root"} {
		t.Run(what, func(t *testing.T) {
			st, p := newStore(t), &places{}
			h := open(t, st)
			for i := range 10 {
				appendTo(t, h, p, 1, fmt.Sprint("a", i), fmt.Sprint("b", i))
			}
			if err := h.Fold(t.Context()); err != nil {
				t.Fatal(err)
			}
			want := scan(t, h)
			page, err := st.List(t.Context(), system, "table/maps/pages/", "", 100)
			if err != nil || len(page.Objects) < 3 {
				t.Fatal(page, err)
			}
			victim := page.Objects[1].Key
			if what == "root" {
				victim = "table/maps/root"
			}
			if err := st.Delete(t.Context(), system, victim); err != nil {
				t.Fatal(err)
			}
			if what != "gone" {
				if _, err := st.Put(t.Context(), system, victim, strings.NewReader("xxx"), 3, store.Options{}, store.Condition{}); err != nil {
					t.Fatal(err)
				}
			}
			h = open(t, st)
			var failed error
			for from := ""; failed == nil; {
				var next string
				if _, next, failed = h.Scan(t.Context(), from); next == "" {
					break
				}
				from = next
			}
			if what != "root" && !errors.Is(failed, history.ErrEpoch) {
				t.Fatalf("Scan: %v", failed)
			}
			h = open(t, st)
			if diff := cmp.Diff(want, scan(t, h), cmp.AllowUnexported(history.Row{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestADamagedLogIsNotGoneOnWith(t *testing.T) {
	st, p := newStore(t), &places{}
	h := open(t, st)
	appendTo(t, h, p, 1, "x")
	name := "log/maps/" + h.Epoch() + "/0000000000000002"
	if _, err := st.Put(t.Context(), system, name, strings.NewReader("xxx"), 3, store.Options{}, store.Condition{}); err != nil {
		t.Fatal(err)
	}
	if err := h.Refresh(t.Context()); !errors.Is(err, history.ErrDamaged) {
		t.Errorf("Refresh: %v", err)
	}
}

func TestSweepRemovesPagesThatNothingNames(t *testing.T) {
	st, p := newStore(t), &places{}
	h := open(t, st)
	appendTo(t, h, p, 1, "x")
	if err := h.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := st.Put(t.Context(), system, "table/maps/pages/00", strings.NewReader("x"), 1, store.Options{}, store.Condition{}); err != nil {
		t.Fatal(err)
	}
	if err := h.Fold(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := h.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	page, err := st.List(t.Context(), system, "table/maps/pages/", "", 10)
	if err != nil || len(page.Objects) != 2 {
		t.Errorf("a page may be another gateway's, of a table that it is about to write: %v, %v", page.Objects, err)
	}
}

// Several gateways append, extend the table, and start anew; a map beside them
// is the model.
func TestHistoryIsAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		st := storetest.NewMemory()
		ctx := context.Background()
		if err := st.MakeBucket(ctx, system); err != nil {
			t.Fatal(err)
		}
		reopen := func() *history.History {
			h, err := history.Open(ctx, config(), st)
			if err != nil {
				t.Fatal(err)
			}
			return h
		}
		hs := []*history.History{reopen(), reopen(), reopen()}
		model := map[string]int{}
		var log []string
		p := &places{}
		key := func() string { return fmt.Sprintf("k%02d", rapid.IntRange(0, 60).Draw(t, "key")) }
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				h := hs[rapid.IntRange(0, 2).Draw(t, "gateway")]
				var entries []history.Entry
				var said []int
				var keys []string
				for range rapid.IntRange(1, 12).Draw(t, "changes") {
					k := key()
					if slices.Contains(keys, k) {
						continue
					}
					a, err := h.Begin(ctx, k)
					if err != nil {
						t.Fatal(err)
					}
					n := rapid.IntRange(-1, 3).Draw(t, "n")
					keys, said = append(keys, k), append(said, n)
					entries = append(entries, history.Entry{Attempt: a, Record: version(t, k, n, p.next())})
				}
				if err := h.Append(ctx, entries); err != nil {
					t.Fatal(err)
				}
				for i, e := range entries {
					switch {
					case e.Attempt.Appended():
						model[keys[i]] = said[i]
						log = append(log, keys[i])
					case !e.Attempt.Overtaken():
						t.Fatal("neither appended nor overtaken")
					}
					e.Attempt.Close()
				}
			},
			"fold":   func(t *rapid.T) { must(t, hs[rapid.IntRange(0, 2).Draw(t, "gateway")].Fold(ctx)) },
			"reopen": func(t *rapid.T) { hs[rapid.IntRange(0, 2).Draw(t, "gateway")] = reopen() },
			"sweep":  func(t *rapid.T) { must(t, hs[rapid.IntRange(0, 2).Draw(t, "gateway")].Sweep(ctx)) },
			"": func(t *rapid.T) {
				h := hs[rapid.IntRange(0, 2).Draw(t, "gateway")]
				must(t, h.Refresh(ctx))
				var want []string
				for _, k := range slices.Sorted(maps.Keys(model)) {
					if model[k] != 0 {
						want = append(want, fmt.Sprint(k, model[k]))
					}
				}
				var got []string
				for _, r := range scan(t, h) { //nolint:contextcheck // a rapid.T has no context that ends with it
					n := int(r.Size)
					if r.Held {
						n = -n
					}
					got = append(got, fmt.Sprint(r.Key, n))
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Fatal(diff)
				}
				k := key()
				row, known, err := h.Lookup(ctx, k)
				if err != nil || known != (model[k] != 0) || known && !row.Held && row.Size != int64(model[k]) {
					t.Fatalf("%s is %+v, %t, want %d, %v", k, row, known, model[k], err)
				}
				var keys []string
				for _, c := range readAll(t, h, 1+len(log)/3) { //nolint:contextcheck // as above
					o, err := central.DecodeChange(c)
					must(t, err)
					keys = append(keys, o.Key)
				}
				if diff := cmp.Diff(log, keys); diff != "" {
					t.Fatal(diff)
				}
			},
		})
	})
}

func must(t *rapid.T, err error) {
	if err != nil {
		t.Fatal(err)
	}
}
