package demo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
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
	changes  chan change

	mu   sync.Mutex
	box  Box
	n    int      // of its folder
	past Snapshot // counters of the boxes before this one
}

// change has the box opened anew on the same address, with what its folder holds
// now or, if it is to be emptied, in a new one.
type change struct {
	empty  bool
	answer chan error
}

// carried are the folders of a box that are not its cache: its place in the
// region, and what was added to it. They outlive its emptying.
func carried() []string { return []string{"identity", "deposits"} }

func newKeeper(ctx context.Context, cfg Config, listen, upstream, data string) (*keeper, error) {
	k := &keeper{make: cfg.NewBox, upstream: upstream, data: data, log: cfg.Log, changes: make(chan change)}
	first := 0
	if entries, err := os.ReadDir(data); err == nil { // what is wrong with it, opening the box tells
		for _, e := range entries {
			number, ok := strings.CutPrefix(e.Name(), "box-")
			if n, err := strconv.Atoi(number); ok && err == nil {
				first = max(first, n)
			}
		}
	}
	return k, k.open(ctx, listen, first)
}

// open makes box number n. Each has a folder of its own, so that what is being
// removed is never what is being opened.
func (k *keeper) open(ctx context.Context, listen string, n int) error {
	b, err := k.make(ctx, listen, k.upstream, k.folder(n), k.log)
	if err != nil {
		return fmt.Errorf("demo: open the box: %w", err)
	}
	k.mu.Lock()
	k.box, k.n = b, n
	k.mu.Unlock()
	return nil
}

// dir is the present box's folder.
func (k *keeper) dir() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.folder(k.n)
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
func (k *keeper) clear(ctx context.Context) error { return k.change(ctx, true) }

// again opens the present box anew, on the same address.
func (k *keeper) again(ctx context.Context) error { return k.change(ctx, false) }

func (k *keeper) change(ctx context.Context, empty bool) error {
	c := change{empty: empty, answer: make(chan error, 1)}
	select {
	case k.changes <- c:
		return <-c.answer // run answers all that it takes
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run keeps a box running until ctx ends.
func (k *keeper) run(ctx context.Context) error {
	for {
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
		case c := <-k.changes:
			stop()
			err := <-ended
			if err == nil {
				err = k.replace(ctx, box.Addr(), c.empty)
			}
			c.answer <- err
			if err != nil {
				return err
			}
		}
	}
}

// replace opens a box in the place of the one that has ended.
func (k *keeper) replace(ctx context.Context, listen string, empty bool) error {
	past, old := k.snapshot(), k.n
	next := old
	if empty {
		next++
		if err := carry(k.folder(old), k.folder(next)); err != nil {
			return fmt.Errorf("demo: empty the box: %w", err)
		}
	}
	if err := k.open(ctx, listen, next); err != nil {
		return err
	}
	k.mu.Lock()
	k.past = past
	k.mu.Unlock()
	if !empty {
		return nil
	}
	return os.RemoveAll(k.folder(old))
}

// carry moves what outlives an emptying into the next box's folder.
func carry(from, to string) error {
	if err := os.MkdirAll(to, 0o750); err != nil {
		return err
	}
	for _, name := range carried() {
		err := os.Rename(filepath.Join(from, name), filepath.Join(to, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
