package outbox_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"preau/replication/outbox"
)

// TestWhateverIsOnTwoBoxesSurvivesEither kills boxes between any two steps, loses
// disks and cuts the line. What was acknowledged with two copies is there after
// each of it, byte for byte, and once in the region in the end. A seed that fails
// is run again with PREAU_SEED.
func TestWhateverIsOnTwoBoxesSurvivesEither(t *testing.T) {
	t.Parallel()
	seeds, first, rounds := uint64(6), rand.Uint64N(1<<32), 6
	if testing.Short() {
		seeds, rounds = 1, 3
	}
	if text := os.Getenv("PREAU_SEED"); text != "" {
		var err error
		if first, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
		seeds, rounds = 1, 6
	}
	for seed := first; seed < first+seeds; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { crash(t, rand.New(rand.NewPCG(seed, 1)), rounds) })
		})
	}
}

type kept struct {
	outbox.Deposit
	body []byte
}

func crash(t *testing.T, rng *rand.Rand, rounds int) {
	t.Helper()
	<-time.After(time.Duration(rng.Int64N(int64(time.Second)))) // no clock is that even
	names := []string{"a", "b", "c"}[:2+rng.IntN(2)]
	s := newSchool(t, names...)
	var all []kept
	for round := range rounds {
		// One box is killed at some step that it takes part in, or at none.
		steps, victim := 1+rng.IntN(25), names[rng.IntN(len(names))]
		life := s.box(victim)
		s.on(func(from, to, _ string) error {
			if from != victim && to != victim {
				return nil
			}
			s.mu.Lock()
			steps--
			now := steps == 0
			s.mu.Unlock()
			if now {
				s.end(life)
			}
			return nil
		})
		if rng.IntN(3) == 0 {
			s.region.set(true)
		}
		for i := range 1 + rng.IntN(4) {
			on := names[rng.IntN(len(names))]
			if !s.alive(on) {
				continue
			}
			body := noise(byte(rng.Uint32()), rng.IntN(100<<10))
			m := s.box(on)
			d, err := m.Add(t.Context(), bytes.NewReader(body), -1, outbox.Words{Filename: fmt.Sprint(round, i)})
			if err != nil {
				t.Fatal(err)
			}
			if d, err = m.Copied(t.Context(), d.ID); err != nil {
				t.Fatal(err)
			}
			if s.alive(on) && s.box(on) == m && (d.Copies > 1 || d.State != outbox.OnBox) {
				all = append(all, kept{d, body})
			}
		}
		s.on(nil)
		if rng.IntN(2) == 0 {
			s.kill(victim)
			if rng.IntN(2) == 0 {
				s.wipe(victim)
			}
		}
		s.survive(t, all, "at once")
		<-time.After(time.Duration(rng.IntN(30)) * time.Minute)
		s.survive(t, all, "later")
		s.restart(victim)
		s.region.set(rng.IntN(3) == 0)
		<-time.After(2 * away) // all is on two boxes again
		s.survive(t, all, "after its return")
		for _, m := range s.all() {
			if n := m.Alone(); n != 0 {
				t.Errorf("%s: %d are on it alone: own %+v, guests %+v", m.name, n, m.List(), m.Guests())
			}
		}
	}
	s.region.set(true)
	<-time.After(time.Hour)
	s.feed()
	for _, k := range all {
		if got, ok := s.region.get(k.ID); !ok || !got.Same(&k.Deposit) {
			t.Errorf("%s is not in the region", k.Filename)
		}
	}
	for id, d := range s.region.has {
		if id != d.ID {
			t.Errorf("%s is there under the name %s: two boxes have brought it", d.ID, id)
		}
	}
	for _, m := range s.all() {
		if n := len(m.Guests()); n != 0 || m.Alone() != 0 {
			t.Errorf("%s has %d guests and %d alone", m.name, n, m.Alone())
		}
	}
}

// survive reads everything that was acknowledged on some box that lives.
func (s *school) survive(t *testing.T, all []kept, when string) {
	t.Helper()
	for _, k := range all {
		_, found := s.region.get(k.ID)
		for _, m := range s.all() {
			if !s.alive(m.name) {
				continue
			}
			f, _, err := m.Open(k.ID)
			if err != nil {
				continue
			}
			got, err := io.ReadAll(f)
			if err != nil || !bytes.Equal(got, k.body) {
				t.Errorf("%s: %s on %s is not what was added: %v", when, k.Filename, m.name, err)
			}
			found = true
		}
		if !found {
			t.Errorf("%s: %s is lost: %+v", when, k.Filename, k.Deposit)
		}
	}
}
