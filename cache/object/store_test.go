package object_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/cache/block"
	"preau/cache/object"
	"preau/cache/object/objecttest"
)

var update = flag.Bool("update", false, "write the golden files anew")

// verdicts is a policy that keeps what it is told to.
type verdicts struct {
	mu   sync.Mutex
	keep map[uint64]bool
	ring block.Ring
	n    int
}

func (v *verdicts) Retire(key uint64, _ block.Ring, _ int64) (bool, block.Ring) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.n++
	return v.keep[key], v.ring
}

func (v *verdicts) NextRing([]int64) block.Ring { return 0 }

func newStore(t *testing.T, kv object.KV, change ...func(*object.Config)) (*object.Store, *verdicts) {
	t.Helper()
	cfg, p := object.DefaultConfig(), &verdicts{keep: map[uint64]bool{}}
	for _, c := range change {
		c(&cfg)
	}
	s, err := object.New(cfg, kv, p, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return s, p
}

func key(n byte) object.Key { return object.Key{0: n, 31: 1} }

func thing(k object.Key, n byte) *object.Object {
	at := time.Date(2026, 9, 1, 8, 0, int(n), 7, time.UTC)
	return &object.Object{
		ID: object.ID{0: n, 1: 0xab}, Key: k, Site: "site", Status: 200, Length: block.UnknownLength, RequestTime: at, ResponseTime: at,
		Header: http.Header{"Etag": {`"x"`}, "Vary": {"Accept"}}, VaryNames: []string{"Accept"}, VaryKey: fmt.Sprint("v", n),
	}
}

// blocks are n digests, all different.
func blocks(n int, salt byte) []block.Digest {
	out := make([]block.Digest, n)
	for i := range out {
		out[i] = block.Sum([]byte{salt, byte(i), byte(i >> 8)})
	}
	return out
}

// TestEncodingsAreForEver compares what is written with what earlier versions
// wrote: a store of theirs must be readable.
func TestEncodingsAreForEver(t *testing.T) {
	o := thing(key(1), 1)
	o.Length, o.Ring, o.Complete, o.Ranges, o.Lists = 5, 1, true, true, "/a.html"
	o.Inline, o.Doubt, o.Fragment = []byte{1, 2, 3}, object.Restored, true
	kv := objecttest.NewMemory()
	s, _ := newStore(t, kv)
	if err := s.Put(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	paged := thing(key(2), 2)
	if err := s.Put(t.Context(), paged); err != nil {
		t.Fatal(err)
	}
	m := block.Manifest{Length: 6*block.Size + 9, Blocks: blocks(7, 1)}
	if _, err := s.SaveManifest(t.Context(), paged.Key, paged.ID, m, []block.Segment{9}); err != nil {
		t.Fatal(err)
	}
	_, record, err := object.EncodeRecord(o, block.Manifest{Length: 5, Blocks: blocks(1, 2)})
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	for _, prefix := range []string{"k", "l", "m", "s"} {
		err := kv.Scan([]byte(prefix), false, func(k, v []byte) error {
			_, err := fmt.Fprintf(&got, "%x %x\n", k, v)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	_, _ = fmt.Fprintf(&got, "record %x\n", record)
	path := filepath.Join("testdata", "encodings.golden")
	if *update {
		if err := os.WriteFile(path, got.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("what is written has changed:\n%s", got.Bytes())
	}
}

func TestVariantsAreBounded(t *testing.T) {
	kv := objecttest.NewMemory()
	s, _ := newStore(t, kv)
	for n := range byte(object.MaxVariants + 5) {
		if err := s.Put(t.Context(), thing(key(1), n)); err != nil {
			t.Fatal(err)
		}
	}
	set, err := s.Lookup(key(1))
	if err != nil || len(set) != object.MaxVariants || set[0].ID[0] != object.MaxVariants+4 || s.Count() != object.MaxVariants {
		t.Errorf("%d variants, count %d, %v", len(set), s.Count(), err)
	}
	// The same variant again takes the other's place.
	o := thing(key(1), 99)
	o.VaryKey = "v30"
	if err := s.Put(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if set, _ := s.Lookup(key(1)); len(set) != object.MaxVariants || set[0].ID[0] != 99 || set.ByID(object.ID{0: 30, 1: 0xab}) != nil {
		t.Error("the replaced variant is still there")
	}
	big := thing(key(2), 1)
	big.Header.Set("X", string(make([]byte, object.MaxRecord)))
	if err := s.Put(t.Context(), big); !errors.Is(err, object.ErrTooLarge) {
		t.Errorf("error %v", err)
	}
	if n, err := s.RemoveAll(t.Context(), key(1), "purged"); err != nil || n != object.MaxVariants || kv.Len() != 0 {
		t.Errorf("%d removed, %d keys are left, %v", n, kv.Len(), err)
	}
}

func TestDamagedRecordsAreForgotten(t *testing.T) {
	kv := objecttest.NewMemory()
	s, _ := newStore(t, kv)
	o := thing(key(1), 1)
	if err := s.Put(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	m := block.Manifest{Length: 600*block.Size - 5, Blocks: blocks(600, 1)}
	if _, err := s.SaveManifest(t.Context(), o.Key, o.ID, m, nil); err != nil {
		t.Fatal(err)
	}
	page := "m" + string(o.ID[:]) + "\x00\x00\x00\x01"
	if kv.Damage(page) != 1 {
		t.Fatal("no second page")
	}
	s, _ = newStore(t, kv)
	set, _ := s.Lookup(o.Key)
	got, err := s.Manifest(set[0])
	if err != nil || got.Length != m.Length || len(got.Blocks) != 600 {
		t.Fatalf("length %d, %d blocks, %v", got.Length, len(got.Blocks), err)
	}
	for i, d := range got.Blocks {
		if in := i >= 256 && i < 512; in != d.IsZero() || !in && d != m.Blocks[i] {
			t.Fatalf("block %d is %v", i, d)
		}
	}
	kv.Damage("k")
	s, _ = newStore(t, kv)
	if set, err := s.Lookup(o.Key); err != nil || len(set) != 0 {
		t.Errorf("a damaged set is %v, %v", set, err)
	}
	if err := s.Put(t.Context(), thing(o.Key, 2)); err != nil {
		t.Errorf("nothing can be put in its place: %v", err)
	}
}

func TestManifests(t *testing.T) {
	kv := objecttest.NewMemory()
	s, _ := newStore(t, kv)
	o := thing(key(1), 1)
	if err := s.Put(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	steps := []struct {
		name string
		m    block.Manifest
	}{
		{"nothing", block.Manifest{Length: -1}},
		{"a piece", block.Manifest{Length: -1, Pieces: []block.Piece{{Off: 0, Len: 9, Digest: block.Sum([]byte("p"))}}}},
		{"600 of who knows", block.Manifest{Length: -1, Blocks: blocks(600, 1)}},
		{"shorter after all", block.Manifest{Length: -1, Blocks: blocks(100, 1)}},
		{"a hole", block.Manifest{Length: 300 * block.Size, Blocks: append(append(blocks(10, 1), make([]block.Digest, 280)...), blocks(10, 2)...)}},
		{"complete", block.Manifest{Length: 300 * block.Size, Blocks: blocks(300, 3), SHA256: block.Sum([]byte("all"))}},
	}
	for _, st := range steps {
		t.Run(st.name, func(t *testing.T) {
			if _, err := s.SaveManifest(t.Context(), o.Key, o.ID, st.m, nil); err != nil {
				t.Fatal(err)
			}
			s, _ := newStore(t, kv) // as after a restart
			set, err := s.Lookup(o.Key)
			if err != nil || len(set) != 1 {
				t.Fatal(set, err)
			}
			got, err := s.Manifest(set[0])
			if err != nil {
				t.Fatal(err)
			}
			for len(got.Blocks) > len(st.m.Blocks) && got.Blocks[len(got.Blocks)-1].IsZero() {
				got.Blocks = got.Blocks[:len(got.Blocks)-1]
			}
			if got.Length != st.m.Length || !slices.Equal(got.Blocks, st.m.Blocks) || !slices.Equal(got.Pieces, st.m.Pieces) || got.SHA256 != st.m.SHA256 {
				t.Errorf("length %d, %d blocks, %d pieces; want %d, %d, %d", got.Length, len(got.Blocks), len(got.Pieces), st.m.Length, len(st.m.Blocks), len(st.m.Pieces))
			}
			if set[0].Complete != st.m.Complete() {
				t.Errorf("complete: %v", set[0].Complete)
			}
		})
	}
	if err := s.Remove(t.Context(), o.Key, o.ID, "purged"); err != nil || kv.Len() != 0 {
		t.Errorf("%d keys are left, %v", kv.Len(), err)
	}
	if _, err := s.SaveManifest(t.Context(), o.Key, o.ID, steps[0].m, nil); !errors.Is(err, object.ErrNotFound) {
		t.Errorf("error %v", err)
	}
}

func TestUpdateKeepsWhatWasSavedMeanwhile(t *testing.T) {
	s, _ := newStore(t, objecttest.NewMemory())
	o := thing(key(1), 1)
	if err := s.Put(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	m := block.Manifest{Length: 5, Blocks: blocks(1, 1)}
	if _, err := s.SaveManifest(t.Context(), o.Key, o.ID, m, nil); err != nil {
		t.Fatal(err)
	}
	n := *o // as it was before
	n.Header = http.Header{"New": {"yes"}}
	if err := s.Update(t.Context(), &n); err != nil {
		t.Fatal(err)
	}
	set, _ := s.Lookup(o.Key)
	if got, err := s.Manifest(set[0]); err != nil || !got.Complete() || set[0].Header.Get("New") != "yes" || !set[0].Complete {
		t.Errorf("%+v, %v", set[0], err)
	}
	if o.Header.Get("New") != "" || o.Complete {
		t.Error("an object that was given away changed")
	}
}

func TestRetire(t *testing.T) {
	kv := objecttest.NewMemory()
	inUse := object.ID{0: 3, 1: 0xab}
	s, policy := newStore(t, kv, func(c *object.Config) { c.InUse = func(id object.ID) bool { return id == inUse } })
	all := map[string]*object.Object{"kept": thing(key(1), 1), "gone": thing(key(2), 2), "in use": thing(key(3), 3)}
	manifests := map[string]block.Manifest{}
	for name, o := range all {
		if err := s.Put(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		manifests[name] = block.Manifest{Length: 2 * block.Size, Blocks: blocks(2, o.ID[0])}
		if _, err := s.SaveManifest(t.Context(), o.Key, o.ID, manifests[name], []block.Segment{7, 8}); err != nil {
			t.Fatal(err)
		}
	}
	policy.keep[key(1).Hash()], policy.ring = true, 2
	kept, err := s.Retire(t.Context(), 0, 7)
	if err != nil {
		t.Fatal(err)
	}
	var moves []object.Move
	got := map[block.Digest]block.Ring{}
	for _, k := range kept {
		got[k.Digest] = k.Ring
		moves = append(moves, object.Move{Digest: k.Digest, To: 12})
	}
	for _, d := range manifests["kept"].Blocks {
		if r, ok := got[d]; !ok || r != 2 {
			t.Errorf("block of what is kept: %v, ring %d", ok, r)
		}
	}
	for _, d := range manifests["in use"].Blocks {
		if _, ok := got[d]; !ok {
			t.Error("a block that is being read is given up")
		}
	}
	if len(got) != 4 {
		t.Errorf("%d blocks are kept, want 4", len(got))
	}
	if set, _ := s.Lookup(key(2)); len(set) != 0 {
		t.Error("what was given up is still looked up")
	}
	if set, _ := s.Lookup(key(1)); len(set) != 1 || set[0].Ring != 2 {
		t.Error("the new ring is not recorded")
	}
	objects, err := s.Moved(t.Context(), 7, moves)
	if err != nil || len(objects) != 2 {
		t.Errorf("%d objects moved, %v", len(objects), err)
	}
	s.Retired(t.Context(), 7)
	s.Retired(t.Context(), 8)
	owners := 0
	_ = kv.Scan([]byte("s"), true, func(k, _ []byte) error {
		owners++
		if !bytes.HasPrefix(k, []byte("s\x00\x00\x00\x0c")) {
			t.Errorf("owner left behind: %x", k)
		}
		return nil
	})
	if owners != 2 {
		t.Errorf("%d owners of the new segment, want 2", owners)
	}
	// Small segments are put together without Retire.
	if objects, err := s.Moved(t.Context(), 12, []object.Move{{Digest: manifests["kept"].Blocks[0], To: 13}}); err != nil || len(objects) != 1 {
		t.Errorf("%d objects, %v", len(objects), err)
	}
}

func TestRestoreKeepsTheNewest(t *testing.T) {
	s, _ := newStore(t, objecttest.NewMemory())
	old, fresh := thing(key(1), 1), thing(key(1), 2)
	fresh.VaryKey = old.VaryKey
	where := func(block.Digest) (block.Segment, bool) { return 4, true }
	for _, o := range []*object.Object{old, fresh, old} {
		_, rec, err := object.EncodeRecord(o, block.Manifest{Length: 5, Blocks: blocks(1, o.ID[0])})
		if err != nil {
			t.Fatal(err)
		}
		back, m, err := object.DecodeRecord(o.ID[:], rec)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Restore(t.Context(), back, m, where); err != nil {
			t.Fatal(err)
		}
	}
	set, _ := s.Lookup(key(1))
	if len(set) != 1 || set[0].ID != fresh.ID || !set[0].Complete {
		t.Errorf("%+v", set)
	}
}

func TestManyAtOnce(t *testing.T) {
	kv := objecttest.NewMemory()
	s, _ := newStore(t, kv)
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			for i := range 150 {
				k, o := key(byte(i%3)), thing(key(byte(i%3)), byte((g*7+i)%12))
				switch (g + i) % 5 {
				case 0, 1:
					_ = s.Put(context.Background(), o)
				case 2:
					_ = s.Remove(context.Background(), k, o.ID, "purged")
				case 3:
					_, _ = s.SaveManifest(context.Background(), k, o.ID, block.Manifest{Length: 5, Blocks: blocks(1, 1)}, []block.Segment{1})
				default:
					_, _ = s.Invalidate(context.Background(), k)
				}
				if set, err := s.Lookup(k); err != nil || slices.ContainsFunc(set, func(o *object.Object) bool { return o.Key != k }) {
					t.Errorf("set %v, %v", set, err)
				}
			}
		})
	}
	all.Wait()
	var stored int64
	again, _ := newStore(t, kv)
	for n := range byte(3) {
		mem, _ := s.Lookup(key(n))
		disk, _ := again.Lookup(key(n))
		stored += int64(len(disk))
		if !slices.EqualFunc(mem, disk, func(a, b *object.Object) bool { return a.ID == b.ID && a.Doubt == b.Doubt && a.Complete == b.Complete }) {
			t.Errorf("key %d: memory and disk differ", n)
		}
	}
	if s.Count() != stored {
		t.Errorf("count %d, stored %d", s.Count(), stored)
	}
}

func BenchmarkKey(b *testing.B) {
	k, err := object.NewKeyer(make([]byte, 32))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		k.Key("site", "https://www.example.org/some/where/a-file-of-the-lesson.pdf")
	}
}
