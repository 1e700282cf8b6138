package follow

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"sync"

	"preau/cache/block"
	"preau/cache/shelf"
)

// Near is the school's other boxes. Its methods may be called concurrently.
type Near interface {
	// Order returns the other boxes in the order in which key belongs to them, and
	// whether it belongs to this box before all of them.
	Order(key string) (others []NearBox, mine bool)
	// Report says that a box gave bytes that are not what was asked for.
	Report(name, why string)
	// Lost says that a box can't be reached, or never says a word.
	Lost(name string)
}

// NearBox is another box of the school. RoundTripper leads to it whatever host a
// request names.
type NearBox struct {
	Name         string
	RoundTripper http.RoundTripper
}

// mostKeeping is how many blocks that were sent may wait for the disk.
const mostKeeping = 8

// mostAsked is how many boxes are asked to get a block before the region is.
const mostAsked = 2

// ask is one block that is wanted.
type ask struct {
	of     string // the resource that it is of, if that is known
	digest block.Digest
	length int // 0: unknown
	// neighbour: another box wants it, so no other box is asked to get it.
	neighbour bool
	// slow, if not nil, is called before the line is used: nobody waits for it.
	slow func(ctx context.Context, n int) error
}

// key is what decides which box gets the block over the line.
func (a ask) key() string {
	if a.of != "" {
		return a.of
	}
	return a.digest.String()
}

// got is a block that came, checked.
type got struct {
	data   []byte
	from   shelf.Origin
	shared bool // it was fetched for somebody else's request
}

// supply gets blocks of what is published: from the box of the school whose turn
// it is, and over the line if that is this one or nobody else can be had. No byte
// of theirs is believed.
type supply struct {
	near   Near                                                                 // nil: there is no other box
	region func(ctx context.Context, of string, d block.Digest) ([]byte, error) // checked
	log    *slog.Logger
	met    *metrics

	// keeping has a token for each block that was sent and is on its way to the disk.
	keeping chan struct{}

	mu        sync.Mutex
	crossings map[block.Digest]*crossing
	lately    []block.Digest // that came, oldest first, and are at hand still
	moods     map[string]*mood
}

func newSupply(region func(context.Context, string, block.Digest) ([]byte, error), log *slog.Logger, met *metrics) *supply {
	return &supply{
		region: region, log: log, met: met, keeping: make(chan struct{}, mostKeeping),
		crossings: map[block.Digest]*crossing{}, moods: map[string]*mood{},
	}
}

// keep has done called, while whoever asked for the block goes on: to them an
// answer ends when its handler does. Where too many wait for the disk already,
// the handler does too.
func (s *supply) keep(done func()) {
	select {
	case s.keeping <- struct{}{}:
		go func() {
			defer func() { <-s.keeping }()
			done()
		}()
	default:
		done()
	}
}

// run waits until ctx has ended and nothing is being kept any more.
func (s *supply) run(ctx context.Context) error {
	<-ctx.Done()
	for range cap(s.keeping) {
		s.keeping <- struct{}{} // for good: nothing is begun any more that is not waited for
	}
	return nil
}

// SetNear says who the school's other boxes are; nil for none. It is to be called
// before the follower runs.
func (f *Follower) SetNear(n Near) { f.supply.near = n }

// get returns a block from wherever it comes first. The next is asked when one
// fails, or is silent for too long: a box that is slow says so, and is waited for.
func (s *supply) get(ctx context.Context, a ask) (got, error) {
	if s.near == nil || a.neighbour {
		return s.line(ctx, a)
	}
	type answer struct {
		got
		err error
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	answers, silent := make(chan answer, mostAsked+1), make(chan struct{}, mostAsked)
	asked, waiting, last := map[string]bool{}, 0, false
	next := func() {
		if last {
			return
		}
		waiting++
		if box, ok := s.next(a, asked); ok {
			asked[box.Name] = true
			running.Go(func() {
				b, err := s.ask(ctx, box, a, false, func() { silent <- struct{}{} })
				answers <- answer{got{data: b, from: shelf.FromNeighbour}, err}
			})
			return
		}
		last = true
		running.Go(func() {
			g, err := s.line(ctx, a)
			answers <- answer{g, err}
		})
	}
	next()
	var errs []error
	for waiting > 0 {
		select {
		case <-silent:
			next()
		case r := <-answers:
			waiting--
			if r.err == nil {
				return r.got, nil
			}
			errs = append(errs, r.err)
			if ctx.Err() == nil {
				next()
			}
		case <-ctx.Done():
			return got{}, ctx.Err()
		}
	}
	return got{}, errors.Join(errs...)
}

// next is the box to be asked for a block after those that were; false if it is
// the region's turn.
func (s *supply) next(a ask, asked map[string]bool) (NearBox, bool) {
	others, mine := s.near.Order(a.key())
	if mine || len(asked) >= mostAsked {
		return NearBox{}, false
	}
	for _, box := range others {
		if !asked[box.Name] && !s.mood(box.Name).resting() {
			return box, true
		}
	}
	return NearBox{}, false
}

// blockSource has the other boxes and the region's servers give blocks to the
// shelf.
type blockSource struct{ s *supply }

// Block implements shelf.Source. What it gives is checked already.
func (b blockSource) Block(ctx context.Context, req shelf.Request) (shelf.Given, error) {
	g, err := b.s.get(ctx, ask{of: req.Of, digest: req.Digest, length: req.Length, neighbour: req.Neighbour, slow: req.Slow})
	if err != nil {
		return shelf.Given{}, err
	}
	return shelf.Given{ReadCloser: io.NopCloser(bytes.NewReader(g.data)), From: g.from, Shared: g.shared}, nil
}

// list gets the list of a resource's blocks. Context says how far it may go.
func (s *supply) list(ctx context.Context, d block.Digest) ([]byte, error) {
	of, _ := ctx.Value(ofKey{}).(string) //nolint:errcheck // empty: it has not been said
	g, err := s.get(ctx, ask{of: of, digest: d, neighbour: reachOf(ctx) != anywhere})
	return g.data, err
}
