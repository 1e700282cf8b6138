package feed

import (
	"errors"
	"fmt"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"preau/replication/catalogue"
	"preau/replication/identity"
	"preau/replication/kv"
)

// village is one server and what it serves.
type village struct {
	t  *testing.T
	ca *authority
	l  *ledger
	h  *host
}

func newVillage(t *testing.T, change func(*Config)) *village {
	t.Helper()
	v := &village{t: t, ca: newAuthority(t), l: newLedger()}
	v.h = startHost(t, "alpha", v.l, v.ca, change)
	t.Cleanup(v.h.end)
	return v
}

func (v *village) put(kind catalogue.Kind, id, body string, audience ...identity.School) uint64 {
	i, changed := v.l.put(kind, id, body, false, audience...)
	v.h.server.Publish(i, changed)
	return i
}

func (v *village) drop(kind catalogue.Kind, id string) uint64 {
	i, changed := v.l.put(kind, id, "", true)
	v.h.server.Publish(i, changed)
	return i
}

func (v *village) box(name string, school identity.School) *box {
	v.t.Helper()
	b := startBox(v.t, boxOf(name, school), newDisk(v.t), v.ca, nil, v.h)
	v.t.Cleanup(b.end)
	return b
}

func (v *village) same(b *box) {
	v.t.Helper()
	if want, got := v.l.sees(b.id.School), holds(v.t, b.copy); !maps.Equal(want, got) {
		d := cmp.Diff(want, got, cmp.AllowUnexported(recordKey{}))
		v.t.Errorf("%s holds something else than its school may see (-want +got):\n%s", b.id.Name, d)
	}
}

func TestSchoolsSeeTheirsAndLoseWhatTheyMayNotSeeAnyMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVillage(t, nil)
		v.put(catalogue.KindResource, "all", "1")
		v.put(catalogue.KindResource, "lyon", "2", lyon)
		v.put(catalogue.KindResource, "both", "3", lyon, brest)
		v.put(catalogue.KindAuthority, "authority", "secret")
		a, b := v.box("a", lyon), v.box("b", brest)
		time.Sleep(5 * time.Second)
		v.same(a)
		v.same(b)

		v.put(catalogue.KindResource, "both", "3", brest)
		v.put(catalogue.KindResource, "all", "4", lyon)
		v.drop(catalogue.KindResource, "lyon")
		time.Sleep(5 * time.Second)
		v.same(a)
		v.same(b)
		if _, err := a.copy.Get(catalogue.KindResource, "both"); err == nil {
			t.Error("lyon still holds what was taken from it")
		}
		var got []string
		err := a.copy.Changes(0, func(r catalogue.Record, _ Seq) bool {
			got = append(got, fmt.Sprint(r.ID, r.Deleted))
			return true
		})
		if want := []string{"alltrue", "bothtrue", "lyontrue"}; err != nil || len(got) != 3 {
			t.Errorf("changes = %v, %v; want three with two marks like %v", got, err, want)
		}
	})
}

func TestABurstIsOneMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVillage(t, nil)
		v.put(catalogue.KindResource, "x", "1")
		b := v.box("a", lyon)
		time.Sleep(5 * time.Second)
		calls, changes := 0, 0
		b.copy.OnChange(func(c []catalogue.Record, _ Seq) { calls, changes = calls+1, changes+len(c) })
		for i := range 100 {
			v.put(catalogue.KindResource, fmt.Sprint(i%20), fmt.Sprint(i))
			time.Sleep(time.Millisecond)
		}
		time.Sleep(2 * time.Second)
		v.same(b)
		synctest.Wait()
		if calls != 1 || changes != 20 {
			t.Errorf("%d calls with %d changes, want 1 with the 20 latest", calls, changes)
		}
	})
}

func TestConfirmedCountsWhoHasItAndWhoNeedsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVillage(t, nil)
		v.put(catalogue.KindResource, "x", "1")
		a, b := v.box("a", lyon), v.box("b", brest)
		time.Sleep(5 * time.Second)
		held := make(chan struct{})
		a.copy.OnChange(func([]catalogue.Record, Seq) { <-held })
		purge := v.put(catalogue.KindPurge, "p", "x", lyon)
		time.Sleep(5 * time.Second)
		if n, connected := v.h.server.Confirmed(purge); n != 1 || connected != 2 {
			t.Errorf("confirmed = %d of %d while lyon acts, want 1 (brest has no part in it) of 2", n, connected)
		}
		close(held)
		time.Sleep(5 * time.Second)
		if n, connected := v.h.server.Confirmed(purge); n != 2 || connected != 2 {
			t.Errorf("confirmed = %d of %d, want 2 of 2", n, connected)
		}
		if _, err := b.copy.Get(catalogue.KindPurge, "p"); err == nil {
			t.Error("brest got lyon's purge")
		}
		for _, p := range v.h.server.Presence() {
			if p.Acked < purge || !p.Connected || p.Version != "1.2" || p.School == "" {
				t.Errorf("presence = %+v", p)
			}
		}
	})
}

func TestQuietMonthsMoveTheCursor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVillage(t, nil)
		v.put(catalogue.KindResource, "x", "1")
		b := v.box("a", lyon)
		time.Sleep(5 * time.Second)
		for range 50 {
			v.put(catalogue.KindToken, "t", "private")
		}
		last := v.put(catalogue.KindResource, "y", "2", brest)
		time.Sleep(2 * time.Second)
		if c, _ := b.copy.Cursor(); c.Index == last {
			t.Error("the box was woken for what it has no part in")
		}
		time.Sleep(time.Minute)
		if c, _ := b.copy.Cursor(); c.Index != last {
			t.Errorf("cursor = %d a heartbeat later, want %d", c.Index, last)
		}
		v.put(catalogue.KindResource, "z", "3")
		time.Sleep(2 * time.Second)
		v.same(b)
	})
}

func TestAWeekAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVillage(t, nil)
		for i := range 200 {
			v.put(catalogue.KindResource, fmt.Sprint(i), "1")
		}
		b := v.box("a", lyon)
		time.Sleep(5 * time.Second)
		v.same(b)
		b.end()
		for i := range 100 {
			v.drop(catalogue.KindResource, fmt.Sprint(i))
		}
		time.Sleep(7 * 24 * time.Hour)
		seq := b.copy.Seq()
		b = runBox(t, b.disk, b.region, nil)
		t.Cleanup(b.end)
		time.Sleep(5 * time.Second)
		v.same(b)
		marks := 0
		if err := b.copy.Changes(seq, func(r catalogue.Record, _ Seq) bool { marks++; return r.Deleted }); err != nil || marks != 100 {
			t.Errorf("%d marks (%v), want 100", marks, err)
		}
		if err := b.copy.Forget(b.copy.Seq()); err != nil {
			t.Fatal(err)
		}
		if err := b.copy.Changes(seq, func(catalogue.Record, Seq) bool { t.Error("a mark is left"); return false }); err != nil {
			t.Error(err)
		}
	})
}

func TestTooLongAwayTakesASnapshotAndDoubts(t *testing.T) {
	if testing.Short() {
		t.Skip("a longer one: make test-system runs it")
	}
	synctest.Test(t, func(t *testing.T) {
		v := newVillage(t, nil)
		for i := range 100 {
			v.put(catalogue.KindResource, fmt.Sprint(i), "1")
		}
		v.put(catalogue.KindPurge, "old", "1")
		b := v.box("a", lyon)
		time.Sleep(5 * time.Second)
		b.end()
		v.drop(catalogue.KindResource, "7")
		last := v.drop(catalogue.KindResource, "8")
		time.Sleep(40 * 24 * time.Hour)
		v.l.prune(last)
		pruned := time.Now()
		v.put(catalogue.KindResource, "9", "2") // is not in the snapshot yet, and stays
		b = runBox(t, b.disk, b.region, nil)
		t.Cleanup(b.end)
		var gone []string
		b.copy.OnChange(func(c []catalogue.Record, _ Seq) {
			for _, r := range c {
				if r.Deleted {
					gone = append(gone, r.ID)
				}
			}
		})
		time.Sleep(5 * time.Second)
		v.same(b)
		synctest.Wait()
		if len(gone) != 3 || !b.copy.Whole() {
			t.Errorf("gone = %v, want 7, 8 and the purge that the region forgot", gone)
		}
		if d := b.copy.Doubt(); !d.Equal(pruned.Truncate(time.Millisecond)) {
			t.Errorf("doubt = %v, want %v", d, pruned)
		}
	})
}

func TestPurgesTheRegionForgotGoFromBoxesToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVillage(t, nil)
		v.put(catalogue.KindPurge, "old", "1")
		last := v.put(catalogue.KindResource, "x", "1")
		b := v.box("a", lyon)
		time.Sleep(5 * time.Second)
		v.same(b)
		b.end()
		v.l.prune(last - 1)
		b = runBox(t, b.disk, b.region, nil)
		t.Cleanup(b.end)
		time.Sleep(5 * time.Second)
		v.same(b)
		if !b.copy.Doubt().IsZero() {
			t.Error("the box doubts though it missed nothing")
		}
	})
}

func TestALostQuorumsEpoch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVillage(t, nil)
		for i := range 10 {
			v.put(catalogue.KindResource, fmt.Sprint(i), "1")
		}
		ahead, abreast := v.box("ahead", lyon), v.box("abreast", lyon)
		time.Sleep(5 * time.Second)
		abreast.end()
		v.put(catalogue.KindResource, "lost", "1")
		v.put(catalogue.KindResource, "3", "lost too")
		time.Sleep(5 * time.Second)
		ahead.end()
		v.h.end()

		// The server that is left had ten entries only.
		l := newLedger()
		for i := range 10 {
			l.put(catalogue.KindResource, fmt.Sprint(i), "1", false)
		}
		l.epoch, l.began = 2, 10
		v.l, v.h = l, startHost(t, "alpha", l, v.ca, nil)
		t.Cleanup(v.h.end)
		for range 5 {
			v.put(catalogue.KindResource, "after", "2")
		}
		for _, b := range []*box{ahead, abreast} {
			b = startBox(t, b.id, b.disk, v.ca, nil, v.h)
			t.Cleanup(b.end)
			time.Sleep(5 * time.Second)
			v.same(b)
			if c, _ := b.copy.Cursor(); c.Epoch != 2 {
				t.Errorf("%s is in epoch %d", b.id.Name, c.Epoch)
			}
			if p := b.copy.where(); (p.Generation == 1) != (b.id.Name == "abreast") {
				t.Errorf("%s has generation %d", b.id.Name, p.Generation)
			}
		}
	})
}

func TestAFullDiskLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVillage(t, nil)
		for i := range 5000 {
			v.put(catalogue.KindResource, fmt.Sprint(i), "1")
		}
		time.Sleep(2 * time.Second)
		d := newDisk(t)
		d.fail(2, kv.ErrFull)
		b := startBox(t, boxOf("a", lyon), d, v.ca, nil, v.h)
		t.Cleanup(b.end)
		told := 0
		b.copy.OnChange(func(c []catalogue.Record, _ Seq) { told += len(c) })
		time.Sleep(5 * time.Minute)
		if b.copy.Whole() {
			t.Error("the copy is whole on a full disk")
		}
		d.fail(-1, nil)
		time.Sleep(2 * time.Minute)
		v.same(b)
		synctest.Wait()
		if told != 5000 {
			t.Errorf("told of %d changes, want 5000", told)
		}
	})
}

func TestARevokedBoxIsSentAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVillage(t, nil)
		v.put(catalogue.KindResource, "x", "1")
		b := v.box("a", lyon)
		time.Sleep(5 * time.Second)
		if s, _ := b.follower.Connected(); s != "alpha" {
			t.Fatalf("connected to %q", s)
		}
		v.h.server.Drop("a")
		time.Sleep(time.Second)
		if s, _ := b.follower.Connected(); s != "" {
			t.Errorf("still connected to %q", s)
		}
		time.Sleep(50 * time.Second)
		if s, _ := b.follower.Connected(); s != "" {
			t.Errorf("came back at once")
		}
	})
}

func TestOnlyBoxesOfTheRegionAreServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVillage(t, nil)
		for _, id := range []identity.Identity{
			{}, {Region: abroad, Role: identity.Box, Name: "a", School: lyon},
			{Region: here, Role: identity.Operator, Name: "a"}, {Region: here, Role: identity.Server, Name: "a"},
		} {
			r := &region{ca: v.ca, box: id, hosts: map[identity.Name]*pipes{"alpha": v.h.pipes}}
			rt := r.Client(Target{Name: "alpha"})
			_, err := Open(t.Context(), rt, "http://alpha", Request{})
			var e StatusError
			if !errors.As(err, &e) || e.Code != 403 {
				t.Errorf("%s: %v, want 403", id, err)
			}
			if err := Acknowledge(t.Context(), rt, "http://alpha", Ack{}); err == nil {
				t.Errorf("%s may acknowledge", id)
			}
		}
	})
}
