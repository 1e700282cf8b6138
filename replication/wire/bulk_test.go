package wire_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"preau/replication/identity"
	"preau/replication/wire"
)

// shelf serves blocks that anybody can make for themselves.
type shelf struct {
	size   int
	served atomic.Int64
}

func (s *shelf) block(path string) []byte {
	b := make([]byte, s.size)
	sum := sha256.Sum256([]byte(path))
	rand.NewChaCha8(sum).Read(b)
	return b
}

func (s *shelf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n, err := w.Write(s.block(r.URL.Path))
	s.served.Add(int64(n))
	if err != nil {
		return
	}
}

// fetchAll gets count blocks with so many callers, each asking again for what
// failed, and returns how many bytes of bodies came in vain.
func fetchAll(t *testing.T, rt http.RoundTripper, s *shelf, count, callers int) int64 {
	t.Helper()
	var vain atomic.Int64
	var all sync.WaitGroup
	jobs := make(chan string)
	for range callers {
		all.Go(func() {
			for path := range jobs {
				for {
					got, err := get(t.Context(), rt, path)
					if err == nil {
						if !bytes.Equal([]byte(got), s.block(path)) {
							t.Errorf("%s came altered", path)
						}
						break
					}
					vain.Add(int64(len(got)))
					if t.Context().Err() != nil || errors.Is(err, wire.ErrRefused) {
						t.Errorf("%s: %v", path, err)
						break
					}
				}
			}
		})
	}
	for i := range count {
		jobs <- fmt.Sprint("/block/", i)
	}
	close(jobs)
	all.Wait()
	return vain.Load()
}

func TestBulkBringsEveryBlock(t *testing.T) {
	t.Run(overTCP, bulkBringsEveryBlock)
	t.Run(overQUIC, bulkBringsEveryBlock)
}

func bulkBringsEveryBlock(t *testing.T) {
	ours := newRegion(t, time.Now())
	blocks := &shelf{size: 64 << 10}
	s := ours.serve(t, options{handler: blocks})
	d := dialer(t, ours.creds(t, ours.box("b1"), time.Now()), nil)
	b := d.Bulk(s.target)
	defer b.Close()
	fetchAll(t, b, blocks, 30, 16)
	states := d.Paths()
	if len(states) != 1 || states[0].Target != s.target || states[0].Lanes == "none" {
		t.Errorf("paths = %+v", states)
	}
}

func TestBulkIsRefusedWithAReason(t *testing.T) {
	t.Run(overTCP, bulkIsRefusedWithAReason)
	t.Run(overQUIC, bulkIsRefusedWithAReason)
}

func bulkIsRefusedWithAReason(t *testing.T) {
	ours := newRegion(t, time.Now())
	s := ours.serve(t, options{revoked: func(p wire.Peer) bool { return p.Name == "stolen" }})
	b := dialer(t, ours.creds(t, ours.node(identity.Server, "stolen"), time.Now()), nil).Bulk(s.target)
	defer b.Close()
	if got, err := get(t.Context(), b, "/"); err == nil {
		t.Errorf("a revoked node got %q", got)
	}
}

func TestBulkThatIsClosedEndsWhatRuns(t *testing.T) {
	t.Run(overTCP, bulkThatIsClosedEndsWhatRuns)
	t.Run(overQUIC, bulkThatIsClosedEndsWhatRuns)
}

func bulkThatIsClosedEndsWhatRuns(t *testing.T) {
	ours := newRegion(t, time.Now())
	s := ours.serve(t, options{handler: http.HandlerFunc(forEver)})
	b := dialer(t, ours.creds(t, ours.box("b1"), time.Now()), nil).Bulk(s.target)
	over := stream(t, b)
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	ends(t, over)
	if _, err := get(t.Context(), b, "/"); err == nil {
		t.Error("a closed Bulk brought something")
	}
}
