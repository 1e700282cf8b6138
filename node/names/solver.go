package names

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/mholt/acmez/v3/acme"

	"preau/node/names/records"
)

const (
	challengePath = "/.well-known/acme-challenge/" // RFC 8555 §8.3
	// removeWithin bounds taking a record away, when the box stops too.
	removeWithin = 10 * time.Second
	// maxChallenges is how many are remembered at once.
	maxChallenges = 64
)

// Region writes records into the DNS of the box's name.
type Region interface {
	// Record writes or removes one, and returns how long it takes until the world
	// sees that.
	Record(ctx context.Context, r records.Record) (settle time.Duration, err error)
}

// solver shows an authority that a name is ours. It implements acmez.Solver and
// acmez.Waiter, for HTTP-01 and DNS-01.
type solver struct {
	region Region

	mu     sync.Mutex
	pages  map[string]string // what an authority must be told, by path
	settle time.Duration
}

func newSolver(region Region) *solver { return &solver{region: region, pages: map[string]string{}} }

// Present implements acmez.Solver.
func (s *solver) Present(ctx context.Context, c acme.Challenge) error {
	if c.Type == acme.ChallengeTypeHTTP01 {
		path := c.HTTP01ResourcePath()
		s.mu.Lock()
		defer s.mu.Unlock()
		if !strings.HasPrefix(path, challengePath) || len(s.pages) >= maxChallenges {
			return errors.New("the authority asks for too much")
		}
		s.pages[path] = c.KeyAuthorization
		return nil
	}
	settle, err := s.region.Record(ctx, records.For(c.Identifier.Value, c.DNS01KeyAuthorization()))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settle = settle
	return err
}

// Wait implements acmez.Waiter.
func (s *solver) Wait(ctx context.Context, c acme.Challenge) error {
	if c.Type == acme.ChallengeTypeHTTP01 {
		return nil
	}
	s.mu.Lock()
	settle := s.settle
	s.mu.Unlock()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(settle):
		return nil
	}
}

// CleanUp implements acmez.Solver.
func (s *solver) CleanUp(ctx context.Context, c acme.Challenge) error {
	if c.Type == acme.ChallengeTypeHTTP01 {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.pages, c.HTTP01ResourcePath())
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeWithin)
	defer cancel()
	r := records.For(c.Identifier.Value, c.DNS01KeyAuthorization())
	r.Remove = true
	_, err := s.region.Record(ctx, r)
	return err
}

// page is what an authority that asks for path is told.
func (s *solver) page(path string) (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	text, ok := s.pages[path]
	return text, ok
}

// Challenges answers authorities that were told to look here, and has next answer
// all else.
func (k *Keeper) Challenges(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && strings.HasPrefix(r.URL.Path, challengePath) {
			if text, ok := k.solver.page(r.URL.Path); ok {
				w.Header().Set("Content-Type", "application/octet-stream")
				w.Header().Set("Cache-Control", "no-store")
				_, _ = w.Write([]byte(text)) // the authority asks again
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}
