package feed

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"preau/replication/catalogue"
)

// What the region forgets after a box was told what it cannot know of, and
// before it gets the part where that was, is what it cannot know of either.
func TestAPurgeForgottenWhileASnapshotIsOnItsWayIsDoubted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVillage(t, func(c *Config) {
			c.CatchUps, c.WriteTimeout, c.CacheBytes = 1, 10*time.Minute, 1<<16 // so that nothing is shared
		})
		v.put(catalogue.KindResource, "x", "1")
		b := v.box("away", lyon)
		time.Sleep(5 * time.Second)
		b.end()
		first := v.put(catalogue.KindPurge, "seen by nobody", "1")
		for i := range 10 {
			v.put(catalogue.KindResource, fmt.Sprint(i), text(60<<10+i))
		}
		v.l.prune(first)
		time.Sleep(time.Hour)
		forgotten := v.put(catalogue.KindPurge, "forgotten", "1")
		for i := range 10 {
			v.put(catalogue.KindResource, fmt.Sprint("later ", i), text(60<<10+i))
		}
		time.Sleep(2 * time.Second)
		slow := open(t, v.h, boxOf("slow", brest), Request{})
		time.Sleep(time.Second)
		b = runBox(t, b.disk, b.region, nil)
		t.Cleanup(b.end)
		time.Sleep(10 * time.Second) // it has its hello, and waits for its turn
		if s, _ := b.follower.Connected(); s == "" || b.copy.where().Generation != 1 {
			t.Fatal("the box does not wait for a snapshot")
		}
		pruned := time.Now()
		v.l.prune(forgotten)
		slow.Close()
		time.Sleep(10 * time.Second)
		v.same(b)
		if d := b.copy.Doubt(); !b.copy.Whole() || !d.Equal(pruned.Truncate(time.Millisecond)) {
			t.Errorf("whole %v, doubt = %v, want %v: a purge of an hour after %v was forgotten",
				b.copy.Whole(), d, pruned, pruned.Add(-time.Hour))
		}
	})
}

func TestASnapshotThatGoesOnMayMoveTheDoubt(t *testing.T) {
	const day = 24 * 60 * 60 * 1000
	hello := func(again bool, after, until uint64, floorTime int64) Hello {
		return Hello{Region: here, Epoch: 1, Mode: ModeSnapshot, Again: again, After: after, Until: until, Floor: 3, FloorTime: floorTime}
	}
	part := func(after, upto uint64) *Batch { return &Batch{After: after, Upto: upto} }
	tests := map[string]struct {
		held  bool  // the copy had a snapshot before
		later int64 // the floor's time when it goes on
		want  int64
	}{
		"the same floor":                      {held: true, later: 5 * day, want: 5 * day},
		"the region has forgotten more":       {held: true, later: 6 * day, want: 6 * day},
		"a new box, and more is forgotten":    {later: 6 * day, want: 6 * day},
		"another server that is behind in it": {held: true, later: 4 * day, want: 5 * day},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c, err := OpenCopy(newDisk(t))
			if err != nil {
				t.Fatal(err)
			}
			do := func(what string, err error) {
				t.Helper()
				if err != nil {
					t.Fatalf("%s: %v", what, err)
				}
			}
			if tt.held {
				do("first snapshot", c.Begin(hello(true, 0, 10, 2*day)))
				do("all of it", c.Apply(part(0, 10)))
			}
			do("snapshot", c.Begin(hello(true, 0, 20, 5*day)))
			do("part", c.Apply(part(0, 10)))
			told := 0
			c.OnChange(func([]catalogue.Record, Seq) { told++ })
			before := c.Doubt()
			do("goes on", c.Begin(hello(false, 10, 20, tt.later)))
			if got := c.Doubt().UnixMilli(); got != tt.want {
				t.Errorf("doubt is of day %d, want %d", got/day, tt.want/day)
			}
			if moved := !c.Doubt().Equal(before); moved != (told == 1) {
				t.Errorf("told %d times, moved %v", told, moved)
			}
		})
	}
}
