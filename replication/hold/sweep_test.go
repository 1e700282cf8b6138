package hold_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"preau/cache/block"
	"preau/replication/hold"
)

// A sweep comes every hour, and the first that may remove anything comes a grace
// after the shelf was made.
const (
	justBefore = grace - time.Minute
	// Half an hour beside the sweeps, which come on the hour: at one instant either
	// may be first.
	afterSweep = grace + 2*time.Hour + 30*time.Minute
)

// hourly does everything once an hour: a test lives for days.
func hourly() hold.RepairConfig {
	cfg := hold.DefaultRepairConfig()
	cfg.Every, cfg.Retry, cfg.Sweep = time.Hour, time.Hour, time.Hour
	return cfg
}

func TestWhatNothingNamesGoesAfterItsGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, "a", newDisk(0))
		digests, bodies := blocks(60, 5000) // more than goes at once
		list, err := hold.EncodeManifest(digests[10:20])
		if err != nil {
			t.Fatal(err)
		}
		place(t, s.disk, bodies...)
		place(t, s.disk, list)
		c := &catalogue{lists: []block.Digest{block.Sum(list)}}
		c.want(digests[:10]...)
		repairs(t, hourly(), c, s)
		time.Sleep(justBefore)
		if n := s.disk.Len(); n != 5001 {
			t.Fatalf("%d of 5001 blocks before the grace was over", n)
		}
		// Younger than the grace when the sweep comes.
		_, young := blocks(61, 1)
		place(t, s.disk, young...)
		time.Sleep(afterSweep - justBefore)
		if n := s.disk.Len(); n != 22 {
			t.Errorf("%d blocks left, want 10 wanted, 10 of a list, the list and a young one", n)
		}
		if held(s, digests[:20]) != 20 || !s.disk.has(block.Sum(list)) {
			t.Error("a wanted block is gone")
		}
		time.Sleep(2 * grace)
		if n := s.disk.Len(); n != 21 {
			t.Errorf("%d blocks left when the young one was old, want 21", n)
		}
	})
}

func TestInDoubtNothingIsRemoved(t *testing.T) {
	digests, bodies := blocks(62, 10)
	garbage, rubbish := blocks(63, 10)
	list, err := hold.EncodeManifest(digests[5:])
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		doubt, resolve func(c *catalogue, s *server)
	}{
		"catalogue not read": {
			func(c *catalogue, _ *server) { c.set(func(c *catalogue) { c.err = errCatalogue }) },
			func(c *catalogue, _ *server) { c.set(func(c *catalogue) { c.err = nil }) },
		},
		"catalogue behind": {
			func(c *catalogue, _ *server) { c.set(func(c *catalogue) { c.behind = true }) },
			func(c *catalogue, _ *server) { c.set(func(c *catalogue) { c.behind = false }) },
		},
		"catalogue empty": {
			func(c *catalogue, _ *server) { c.set(func(c *catalogue) { c.wanted, c.lists = nil, nil }) },
			func(c *catalogue, _ *server) {
				c.set(func(c *catalogue) { c.wanted, c.lists = digests[:5], []block.Digest{block.Sum(list)} })
			},
		},
		"a list is missing": {
			func(_ *catalogue, s *server) { s.disk.Drop(block.Sum(list)) },
			func(_ *catalogue, s *server) { place(t, s.disk, list) },
		},
		"a list is damaged": {
			func(_ *catalogue, s *server) { s.disk.Damage(block.Sum(list)) },
			func(_ *catalogue, s *server) { place(t, s.disk, list) },
		},
		"a list is none": {
			func(c *catalogue, _ *server) { c.set(func(c *catalogue) { c.lists = append(c.lists, digests[0]) }) },
			func(c *catalogue, _ *server) { c.set(func(c *catalogue) { c.lists = c.lists[:1] }) },
		},
		"the disk does not list": {
			func(_ *catalogue, s *server) {
				s.disk.set(func(d *disk) { d.walkErr = errors.New("input/output error") })
			},
			func(_ *catalogue, s *server) { s.disk.set(func(d *disk) { d.walkErr = nil }) },
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, "a", newDisk(0))
				place(t, s.disk, bodies...)
				place(t, s.disk, rubbish...)
				place(t, s.disk, list)
				c := &catalogue{lists: []block.Digest{block.Sum(list)}}
				c.want(digests[:5]...)
				tt.doubt(c, s)
				repairs(t, hourly(), c, s)
				time.Sleep(3*grace + time.Minute) // between two sweeps
				if n := held(s, garbage) + held(s, digests); n != 20 {
					t.Fatalf("%d of 20 blocks left while in doubt", n)
				}
				tt.resolve(c, s)
				time.Sleep(2 * time.Hour)
				if n := held(s, garbage); n != 0 {
					t.Errorf("%d blocks still there when the doubt was over", n)
				}
				if n := held(s, digests); n != 10 {
					t.Errorf("%d of 10 wanted blocks left", n)
				}
			})
		})
	}
}

// A file that was published long ago, and unpublished, is published again: its
// blocks are old and nothing names them, until its entry is committed.
func TestAPublicationUnderWayKeepsOldBlocks(t *testing.T) {
	digests, bodies := blocks(64, 5)
	other, others := blocks(65, 1)
	claim := map[string]func(t *testing.T, s *server){
		"ensured from here": func(t *testing.T, s *server) {
			t.Helper()
			if err := ensure(t, t.Context(), []*server{s}, digests, 1); err != nil {
				t.Fatal(err)
			}
		},
		"put again": func(t *testing.T, s *server) {
			t.Helper()
			put(t, s, bodies...)
		},
		"asked for by another server": func(t *testing.T, s *server) {
			t.Helper()
			if missing, err := s.client(t).Missing(t.Context(), digests); err != nil || len(missing) > 0 {
				t.Fatal(missing, err)
			}
		},
	}
	for name, claim := range claim {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, "a", newDisk(0))
				place(t, s.disk, bodies...)
				place(t, s.disk, others...)
				c := new(catalogue)
				c.want(other...)
				_, stop := repairs(t, hourly(), c, s)
				time.Sleep(justBefore)
				claim(t, s)
				time.Sleep(grace - time.Minute)
				if n := held(s, digests); n != 5 {
					t.Fatalf("%d of 5 claimed blocks left", n)
				}
				// A restart forgets the claim; the disk's times are older yet.
				stop()
				claim(t, s)
				s = newServer(t, "a", s.disk)
				repairs(t, hourly(), c, s)
				time.Sleep(grace - time.Minute)
				if n := held(s, digests); n != 5 {
					t.Fatalf("%d of 5 claimed blocks left after a restart", n)
				}
				time.Sleep(3 * time.Hour)
				if n := held(s, digests); n != 0 {
					t.Errorf("%d blocks stay although nobody named them", n)
				}
			})
		})
	}
}

func TestAClaimInTheMiddleOfASweepCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, "a", newDisk(0))
		digests, bodies := blocks(66, 3)
		place(t, s.disk, bodies...)
		c := new(catalogue)
		c.want(digests[0])
		s.disk.set(func(d *disk) {
			d.walked = func() {
				if missing, err := s.client(t).Missing(t.Context(), digests[1:2]); err != nil || len(missing) > 0 {
					t.Error(missing, err)
				}
			}
		})
		repairs(t, hourly(), c, s)
		time.Sleep(afterSweep)
		if !s.disk.has(digests[1]) {
			t.Error("a block is gone that was reported as held")
		}
		if s.disk.has(digests[2]) {
			t.Error("the sweep did not come")
		}
	})
}
