package follow

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// outlook is what a box sees of the world.
type outlook struct {
	mu         sync.Mutex
	server     string
	lost       time.Time
	up, known  bool
	has        map[string]bool
	hurried    []time.Time
	askedSince time.Time
}

func (s *outlook) set(do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	do()
}

func (s *outlook) watch(ctx context.Context) error {
	return watchLine(ctx, lineParts{
		connected: func() (string, time.Time) {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.server, s.lost
		},
		reach: func(since time.Time) (bool, bool) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.askedSince = since
			return s.up, s.known
		},
		links: func() map[string]bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.has
		},
		hurry: func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.hurried = append(s.hurried, time.Now())
			return true
		},
	})
}

func TestTheSignsOfALineThatIsBack(t *testing.T) {
	cable := map[string]bool{"eth0 10.0.0.2/24": true}
	// Each tells what happens a minute after the server was lost; some minutes later
	// it is what it was.
	for name, tt := range map[string]struct {
		first, then func(s *outlook)
		want        int // signs
	}{
		"the line is cut and comes back":           {func(s *outlook) { s.up = false }, func(s *outlook) { s.up = true }, 1},
		"the cable is pulled and put back":         {func(s *outlook) { s.has = nil }, func(s *outlook) { s.has = cable }, 1},
		"both":                                     {func(s *outlook) { s.up, s.has = false, nil }, func(s *outlook) { s.has = cable; s.up = true }, 1},
		"the region restarts, and sites are there": {func(*outlook) {}, func(*outlook) {}, 0},
		"nothing is known of sites":                {func(s *outlook) { s.known, s.up = false, false }, func(*outlook) {}, 0},
		"the line stays cut":                       {func(s *outlook) { s.up = false }, func(*outlook) {}, 0},
		"the box has its server":                   {func(s *outlook) { s.server, s.up = "s1", false }, func(s *outlook) { s.up = true }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				lost := time.Now()
				s := &outlook{lost: lost, up: true, known: true, has: cable}
				ctx, stop := context.WithCancel(t.Context())
				var on sync.WaitGroup
				on.Go(func() {
					if err := s.watch(ctx); err != nil {
						t.Error(err)
					}
				})
				<-time.After(time.Minute)
				s.set(func() { tt.first(s) })
				time.Sleep(7*time.Minute + 123*time.Millisecond)
				back := time.Now()
				s.set(func() { tt.then(s) })
				time.Sleep(3 * time.Minute)
				stop()
				on.Wait()
				if tt.want == 0 && len(s.hurried) > 0 || tt.want > 0 && len(s.hurried) == 0 {
					t.Fatalf("%d signs, want %d", len(s.hurried), tt.want)
				}
				if tt.want > 0 && s.hurried[0].Sub(back) > time.Second || len(s.hurried) > 2 {
					t.Errorf("%v after it came back, %d times", s.hurried[0].Sub(back), len(s.hurried))
				}
				if s.server == "" && !s.askedSince.Equal(lost) {
					t.Errorf("sites that have not answered since %v are asked, want %v", s.askedSince, lost)
				}
			})
		})
	}
}
