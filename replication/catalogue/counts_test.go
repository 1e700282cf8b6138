package catalogue_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"preau/replication/catalogue"
)

func counts(box string, number uint64, tallies ...catalogue.Tally) catalogue.Op {
	return catalogue.Op{Count: &catalogue.Count{Box: box, Number: number, Counts: tallies}}
}

func seen(contacts ...catalogue.Contact) catalogue.Op {
	return catalogue.Op{Seen: &catalogue.Seen{Boxes: contacts}}
}

func TestTheTableOfFading(t *testing.T) {
	for i, got := range catalogue.Fade {
		if want := math.Exp2(32 - float64(i)/28); math.Abs(float64(got)-want) > 1 {
			t.Errorf("fade[%d] = %d, want %f", i, got, want)
		}
	}
}

func TestPopularity(t *testing.T) {
	const day = 24 * time.Hour
	w := newWorld(t)
	w.enrol("box-1", lyon, keyA)
	w.enrol("box-2", brest, keyB)
	key := catalogue.Tally{Key: "r/a", N: 10}
	sum := func(want uint64) {
		t.Helper()
		if got := fetch[catalogue.Popularity](w, "r/a").Sum; got != want {
			t.Errorf("sum = %d, want %d", got, want)
		}
	}
	w.must(counts("box-1", 1, key))
	sum(10_000)
	w.must(counts("box-2", 7, key))
	sum(20_000)
	w.must(counts("box-1", 1, key))
	w.must(counts("box-2", 6, key))
	sum(20_000)
	w.now = noon.Add(7 * day)
	w.must(counts("box-1", 2, key))
	sum(20_000)
	w.now = noon // a clock that was ahead
	w.must(counts("box-1", 3, key))
	sum(30_000)
	w.now = noon.Add(14 * day)
	w.must(counts("box-1", 4, catalogue.Tally{Key: "r/a", N: math.MaxUint32}))
	sum(15_000 + catalogue.MaxTally*1000)
	w.refused(catalogue.CodeInvalid, counts("box-1", 5, catalogue.Tally{Key: "device/00:11:22"}))
	w.refused(catalogue.CodeInvalid, counts("box-1", 5, make([]catalogue.Tally, catalogue.MaxTallies+1)...))
	w.refused(catalogue.CodeNotFound, counts("box-3", 1, key))
	if len(w.last) != 0 {
		t.Error("counts are reported as changes")
	}
}

func TestTopPopular(t *testing.T) {
	w := newWorld(t)
	w.enrol("box-1", lyon, keyA)
	for i := range 30 {
		w.now = noon.Add(time.Duration(i) * time.Hour)
		w.must(counts("box-1", uint64(i)+1,
			catalogue.Tally{Key: fmt.Sprintf("r/%02d", i), N: uint32(i%10) + 1},
			catalogue.Tally{Key: "o/wiki/Accueil", N: 1}))
	}
	at := noon.Add(30 * time.Hour)
	all, err := catalogue.TopPopular(w.view(), at, 100)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 31 || all[0].Key != "o/wiki/Accueil" {
		t.Errorf("%d, first %+v", len(all), all[0])
	}
	for i := 1; i < len(all); i++ {
		if all[i-1].Sum < all[i].Sum || all[i-1].Sum == all[i].Sum && all[i-1].Key > all[i].Key {
			t.Errorf("%+v comes before %+v", all[i-1], all[i])
		}
	}
	for n := range 31 {
		top, err := catalogue.TopPopular(w.view(), at, n)
		if err != nil {
			t.Fatal(err)
		}
		if len(top) != n || n > 0 && !cmp.Equal(top, all[:n]) {
			t.Errorf("the first %d: %v", n, top)
		}
	}
}

func TestContacts(t *testing.T) {
	w := newWorld(t)
	w.enrol("box-1", lyon, keyA)
	contact := func() catalogue.Contact { t.Helper(); return fetch[catalogue.Contact](w, "box-1") }
	w.must(counts("box-1", 5))
	first := catalogue.Contact{Box: "box-1", At: noon, Index: 3, Version: "1.0", Counted: 99}
	w.must(seen(first, catalogue.Contact{Box: "box-9", At: noon}))
	first.Counted = 5
	if diff := cmp.Diff(first, contact()); diff != "" {
		t.Error(diff)
	}
	if w.alive(catalogue.KindContact, "box-9") {
		t.Error("a box that is none was noted")
	}
	w.now = noon.Add(time.Hour)
	for name, tt := range map[string]struct {
		c    catalogue.Contact
		kept bool
	}{
		"nine minutes":    {catalogue.Contact{Box: "box-1", At: noon.Add(9 * time.Minute), Index: 3, Version: "1.0"}, false},
		"older":           {catalogue.Contact{Box: "box-1", At: noon.Add(-time.Minute), Index: 4, Version: "1.0"}, false},
		"ten minutes":     {catalogue.Contact{Box: "box-1", At: noon.Add(10 * time.Minute), Index: 3, Version: "1.0"}, true},
		"followed on":     {catalogue.Contact{Box: "box-1", At: noon.Add(time.Minute), Index: 4, Version: "1.0"}, true},
		"another version": {catalogue.Contact{Box: "box-1", At: noon.Add(time.Minute), Index: 3, Version: "1.1"}, true},
	} {
		w.must(catalogue.Op{Seen: &catalogue.Seen{Boxes: []catalogue.Contact{}}})
		w.must(catalogue.NewDelete(catalogue.KindBox, "box-1"))
		if w.alive(catalogue.KindContact, "box-1") {
			t.Fatal("a contact outlives its box")
		}
		w.must(put(t, catalogue.Box{Name: "box-1", School: lyon, SPKI: keyA, Enrolled: noon}), seen(first))
		w.must(seen(tt.c))
		want := first
		if tt.kept {
			want = tt.c
		}
		want.Counted = 0
		if diff := cmp.Diff(want, contact()); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
	w.must(seen(catalogue.Contact{Box: "box-1", At: noon.Add(1000 * time.Hour)}))
	if got := contact().At; !got.Equal(w.now) {
		t.Errorf("a box is heard of in the future: %v", got)
	}
	if got, want := w.view().Counts()[catalogue.KindContact], uint64(1); got != want {
		t.Errorf("contacts = %d", got)
	}
}

func prune(before time.Time) catalogue.Op {
	return catalogue.Op{Prune: &catalogue.Prune{Before: before}}
}

func TestPrune(t *testing.T) {
	const day = 24 * time.Hour
	w := newWorld(t)
	w.enrol("box-1", lyon, keyA)
	w.must(counts("box-1", 1, catalogue.Tally{Key: "r/once", N: 1}, catalogue.Tally{Key: "r/much", N: 1000}))
	w.must(put(t, collection("c", lyon, brest)), put(t, collection("d")))
	narrowed := w.must(put(t, collection("c", lyon))).Index
	w.must(put(t, catalogue.Purge{ID: "old", Scope: catalogue.ScopeSite, Site: "wiki"}))
	floor := w.must(catalogue.NewDelete(catalogue.KindCollection, "d")).Index
	w.must(put(t, collection("e")))
	w.now = noon.Add(30 * day)
	w.must(put(t, catalogue.Purge{ID: "new", Scope: catalogue.ScopeSite, Site: "wiki"}))
	w.must(put(t, collection("f")), put(t, collection("g")))
	w.must(catalogue.NewDelete(catalogue.KindCollection, "g"))

	w.refused(catalogue.CodeInvalid, prune(w.now.Add(time.Second)))
	w.refused(catalogue.CodeInvalid, prune(time.Time{}))
	p, err := catalogue.EncodeAny(catalogue.Command{ID: catalogue.CommandID{9}, At: w.now, By: "x", Ops: []catalogue.Op{prune(noon), prune(noon)}})
	if err != nil {
		t.Fatal(err)
	}
	if r := w.entry(append([]byte{1}, p...)); r.Code != catalogue.CodeInvalid {
		t.Errorf("two prunes in a command: %+v", r)
	}

	w.must(prune(noon.Add(day)))
	v := w.view()
	if v.Floor() != floor || !v.FloorTime().Equal(noon.Add(day)) {
		t.Errorf("floor = %d of %v, want %d", v.Floor(), v.FloorTime(), floor)
	}
	for id, want := range map[string]bool{"d": false, "g": true, "c": true, "e": true} {
		if _, ok := w.record(catalogue.KindCollection, id); ok != want {
			t.Errorf("collection %s is there: %v", id, ok)
		}
	}
	if r, _ := w.record(catalogue.KindCollection, "c"); len(r.Former) != 0 || r.Index != narrowed {
		t.Errorf("c = %+v", r)
	}
	if w.alive(catalogue.KindPurge, "old") || !w.alive(catalogue.KindPurge, "new") {
		t.Error("the wrong purge is forgotten")
	}
	if w.alive(catalogue.KindPopularity, "r/once") || !w.alive(catalogue.KindPopularity, "r/much") {
		t.Error("the wrong sum is forgotten")
	}
	want := map[catalogue.Kind]uint64{
		catalogue.KindBox: 1, catalogue.KindSchool: 1, catalogue.KindToken: 1, catalogue.KindContact: 1,
		catalogue.KindCollection: 3, catalogue.KindPurge: 1, catalogue.KindPopularity: 1,
	}
	if diff := cmp.Diff(want, v.Counts()); diff != "" {
		t.Error(diff)
	}
	w.must(put(t, collection("d")), put(t, catalogue.Purge{ID: "old", Scope: catalogue.ScopeSite, Site: "wiki"}))
	w.must(prune(noon.Add(day)))
	if got := w.view().Floor(); got != floor {
		t.Errorf("floor = %d after nothing was forgotten", got)
	}
}

func TestPruneGoesOnWhereItStopped(t *testing.T) {
	build := func() *world {
		w := newWorld(t)
		w.enrol("box-1", lyon, keyA)
		for i := range 9 {
			var puts, deletes []catalogue.Op
			for n := range i + 1 {
				id := fmt.Sprintf("c%d-%d", i, n)
				puts = append(puts, put(t, collection(id)))
				deletes = append(deletes, catalogue.NewDelete(catalogue.KindCollection, id))
			}
			w.must(puts...)
			w.must(deletes...)
			w.must(counts("box-1", uint64(i)+1, catalogue.Tally{Key: fmt.Sprintf("r/%d", i), N: 1}))
		}
		w.now = noon.Add(100 * 24 * time.Hour)
		return w
	}
	whole, parts := build(), build()
	if r := whole.must(prune(whole.now)); r.Detail != "" {
		t.Errorf("more: %s", r.Detail)
	}
	parts.s.WalkLess(4)
	times := 1
	for parts.must(prune(parts.now)).Detail != "" {
		if times++; times > 30 {
			t.Fatal("it never ends")
		}
	}
	if times < 4 {
		t.Errorf("done in %d", times)
	}
	if got, want := parts.changes(0), whole.changes(0); !cmp.Equal(got, want) || len(got) != 3 {
		t.Errorf("left: %v, want %v", got, want)
	}
	if got, want := parts.view().Floor(), whole.view().Floor(); got != want {
		t.Errorf("floor = %d, want %d", got, want)
	}
	if got, want := parts.view().Counts(), whole.view().Counts(); !cmp.Equal(got, want) {
		t.Errorf("counts = %v, want %v", got, want)
	}
}
