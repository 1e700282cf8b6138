package tube_test

import (
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const pupils = 35

// together has a class watch a film of ten minutes, or of two and a half, by a line
// of so many times the film's rate, and returns what the line carried beside what
// the film weighs.
func together(t *testing.T, faster float64, seeks int, where func(p *player) time.Duration) (c *class, s *school, share float64) {
	t.Helper()
	fragments, rate := 150, 8000.0 // bytes a second: the clock is ours, so that less is more
	if testing.Short() {
		fragments, rate = 38, 3000
	}
	s = newSchool(t, rate*faster)
	defer s.close()
	c = &class{t: t, get: s.get, f: s.add(fragments, 4*time.Second, rate)}
	length := c.f.length() * 11 / 10
	dice := rand.New(rand.NewPCG(11, 12))
	var all sync.WaitGroup
	for i := range pupils {
		p := &player{c: c, name: i, dice: rand.New(rand.NewPCG(uint64(i), 3)), where: where}
		late := time.Duration(dice.Int64N(int64(20 * time.Second))) // until all have opened it
		all.Go(func() {
			rest(late)
			p.watch(length, seeks)
		})
	}
	all.Wait()
	share = float64(s.line.carried.Load()) / float64(len(c.f.data))
	t.Logf("%d players, %d seeks, a line of %.1f times the film: the line carried %.4f of the film, %d stalls after %v were buffered; %v was waited before, by all together",
		pupils, c.seeks, faster, share, len(c.stalls), settledAt, c.waited.Round(time.Second))
	if n := s.counted("preau_edge_fragments_total", "verified"); int(n) < fragments {
		t.Errorf("%v fragments of %d were verified", n, fragments)
	}
	return c, s, share
}

func TestAClassThatSeeksInWhatItHasSeenNeverStalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _, share := together(t, 1.3, 6, func(p *player) time.Duration {
			return time.Duration(p.dice.Int64N(int64(p.c.reach()) + 1)) // back, or to where the first of the class is
		})
		if share > 1.02 {
			t.Errorf("the line carried %.4f of the film", share)
		}
		if len(c.stalls) > 0 {
			t.Errorf("stalls:\n%s", strings.Join(c.stalls, "\n"))
		}
	})
}

func TestAClassThatSeeksAnywhereFetchesAFilmOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, s, share := together(t, 1.3, 6, func(p *player) time.Duration {
			return time.Duration(p.dice.Int64N(int64(p.c.f.length())))
		})
		if share > 1.02 {
			t.Errorf("the line carried %.4f of the film", share)
		}
		for _, asked := range s.line.requests() {
			if strings.Contains(asked, ".m3u8") || strings.Contains(asked, "/api/") || strings.Contains(asked, ".json") {
				continue
			}
			if !strings.Contains(asked, "-480-fragmented.mp4") {
				t.Errorf("the site was asked for %s", asked)
			}
		}
	})
}

func TestALiveStreamIsOneViewerToTheSite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSchool(t, 0)
		defer s.close()
		folder := "/static/streaming-playlists/hls/" + s.tube.UUID("live") + "/"
		const length = time.Minute
		var all sync.WaitGroup
		for i := range pupils {
			late := time.Duration(i) * 137 * time.Millisecond
			all.Go(func() {
				rest(late)
				watchLive(t, s, folder, length)
			})
		}
		begun := time.Now()
		all.Wait()
		took := time.Since(begun)
		asked := map[string]int{}
		for _, line := range s.line.requests() {
			asked[strings.Fields(line)[1]]++
		}
		pieces := 0
		for path, n := range asked {
			if strings.HasSuffix(path, ".ts") {
				if pieces++; n > 1 {
					t.Errorf("%s was asked for %d times", path, n)
				}
				continue
			}
			// Fresh for a second: half of what one viewer may not poll more often than
			// (RFC 8216 section 6.3.4).
			if most := int(took/time.Second) + 1; n > most {
				t.Errorf("%s was asked for %d times in %v", path, n, took)
			}
		}
		if pieces < int(length/(2*time.Second))-2 {
			t.Errorf("%d pieces in %v", pieces, length)
		}
		t.Logf("%d viewers for %v: the site was asked %d times for the playlist and once for each of %d pieces", pupils, took, asked[folder+"0.m3u8"], pieces)
	})
}

// watchLive plays the end of a live stream, as players do: they ask for the
// playlist after each piece's time, and for the pieces that they have not had.
func watchLive(t *testing.T, s *school, folder string, length time.Duration) {
	t.Helper()
	begun, last := time.Now(), ""
	if a := s.get(folder + "master.m3u8"); a.status != 200 {
		t.Errorf("master.m3u8: %d", a.status)
		return
	}
	for time.Since(begun) < length {
		a := s.get(folder + "0.m3u8")
		if a.status != 200 {
			t.Errorf("0.m3u8: %d", a.status)
			return
		}
		lines := strings.Split(strings.TrimSpace(a.body.String()), "\n")
		newest, wait := lines[len(lines)-1], 2*time.Second
		if newest == last {
			wait = time.Second // nothing new: sooner again
		} else if a := s.get(folder + newest); a.status != 200 || a.body.Len() != 3000 {
			t.Errorf("%s: %d, %d bytes", newest, a.status, a.body.Len())
		}
		last = newest
		rest(wait)
	}
}
