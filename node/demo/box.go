package demo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// Box is what the demonstration needs of a box. Snapshot may be called from
// any goroutine, also before and after Run.
type Box interface {
	// Run serves until ctx ends and leaves nothing running.
	Run(ctx context.Context) error
	// Addr is where devices connect, host and port.
	Addr() string
	Snapshot() Snapshot
}

// Snapshot is what a box says of itself. Counters go up from the box's start.
type Snapshot struct {
	Objects     int64  `json:"objects"`
	Bytes       int64  `json:"bytes"`
	BudgetBytes int64  `json:"budget"`
	Hits        int64  `json:"hits"`
	Misses      int64  `json:"misses"`
	Stale       int64  `json:"stale"`
	Passed      int64  `json:"passed"`
	Collapsed   int64  `json:"collapsed"`
	LANBytes    int64  `json:"lan"`
	WANBytes    int64  `json:"wan"`
	Sites       []Site `json:"sites"`
	Fills       []Fill `json:"fills"`
	Held        []Held `json:"held"`
}

// Site is how the box sees one site's line.
type Site struct {
	Name  string    `json:"name"`
	Up    bool      `json:"up"`
	Cause string    `json:"cause,omitempty"`
	Since time.Time `json:"since"`
}

// Fill is a fetch under way.
type Fill struct {
	Name    string `json:"name"`
	Have    int64  `json:"have"`
	Length  int64  `json:"length"` // -1 if unknown
	Readers int    `json:"readers"`
}

// Held is something the box keeps.
type Held struct {
	Path     string `json:"path"`
	Title    string `json:"title,omitempty"`
	Type     string `json:"type"`
	Bytes    int64  `json:"bytes"`
	Complete bool   `json:"complete"`
	Fresh    bool   `json:"fresh"`
}

// NewBox makes a box that listens on listen, has upstream ("http://host:port")
// as its only site for every host name, and keeps everything under data.
type NewBox func(ctx context.Context, listen, upstream, data string, log *slog.Logger) (Box, error)

// keeper runs the box and can put an empty one in its place.
type keeper struct {
	make     NewBox
	upstream string
	data     string
	log      *slog.Logger
	empty    chan chan error

	mu   sync.Mutex
	box  Box
	past Snapshot // counters of the boxes before this one
}

func newKeeper(ctx context.Context, cfg Config, listen, upstream, data string) (*keeper, error) {
	k := &keeper{make: cfg.NewBox, upstream: upstream, data: data, log: cfg.Log, empty: make(chan chan error)}
	return k, k.open(ctx, listen, 0)
}

// open makes box number n. Each has a folder of its own, so that what is being
// removed is never what is being opened.
func (k *keeper) open(ctx context.Context, listen string, n int) error {
	b, err := k.make(ctx, listen, k.upstream, k.folder(n), k.log)
	if err != nil {
		return fmt.Errorf("demo: open the box: %w", err)
	}
	k.mu.Lock()
	k.box = b
	k.mu.Unlock()
	return nil
}

func (k *keeper) folder(n int) string { return filepath.Join(k.data, "box-"+strconv.Itoa(n)) }

func (k *keeper) now() Box {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.box
}

func (k *keeper) snapshot() Snapshot {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.box.Snapshot()
	s.Hits += k.past.Hits
	s.Misses += k.past.Misses
	s.Stale += k.past.Stale
	s.Passed += k.past.Passed
	s.Collapsed += k.past.Collapsed
	s.LANBytes += k.past.LANBytes
	s.WANBytes += k.past.WANBytes
	return s
}

// clear puts an empty box in the present one's place, on the same address.
func (k *keeper) clear(ctx context.Context) error {
	answer := make(chan error, 1)
	select {
	case k.empty <- answer:
		return <-answer // run answers every question it takes
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run keeps a box running until ctx ends.
func (k *keeper) run(ctx context.Context) error {
	for n := 0; ; n++ {
		box := k.now()
		inner, stop := context.WithCancel(ctx)
		ended := make(chan error, 1)
		go func() { ended <- box.Run(inner) }()
		select {
		case err := <-ended: // by itself, or because ctx ended
			stop()
			if err == nil && ctx.Err() == nil {
				err = errors.New("demo: the box stopped by itself")
			}
			return err
		case answer := <-k.empty:
			stop()
			err := <-ended
			if err == nil {
				past := k.snapshot()
				if err = k.open(ctx, box.Addr(), n+1); err == nil {
					k.mu.Lock()
					k.past = past
					k.mu.Unlock()
					err = os.RemoveAll(k.folder(n))
				}
			}
			answer <- err
			if err != nil {
				return err
			}
		}
	}
}
