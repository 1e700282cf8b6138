// Package usage keeps how many bytes came over the school's line and how many
// devices got, for each quarter of an hour of the last nine days, so that people
// can see how a day went, and what the box saved.
//
// It adds up counters that others keep, and knows of no device, site or file. What
// was counted before the process began is its counter's matter: a counter that
// falls is taken for one that began anew. Quarters are those of the box's clock;
// what lies in its future, or is older than is kept, is forgotten, so that a clock
// that was wrong spoils nothing for long. A file that can't be read is begun anew.
package usage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"preau/node/keep"
)

const (
	// Quarter is how long a bin is.
	Quarter = 15 * time.Minute
	// Kept is how long bins are kept: a week, and the same day of the one before.
	Kept = 9 * 24 * time.Hour

	fileName = "usage.json"
	maxFile  = 1 << 20
	// future is how far ahead of the clock a bin may lie: what a clock that is set
	// back an hour leaves.
	future = 2 * time.Hour
)

// Totals are counters, in bytes of bodies.
type Totals struct {
	Line int64 // that came over the school's line: from sites and from the region
	Sent int64 // that devices got
}

// Bin is a quarter of an hour.
type Bin struct {
	From time.Time
	Totals
}

// Config says where the bins lie and how often is counted.
type Config struct {
	Dir   string
	Count time.Duration // how often counters are looked at
	Write time.Duration // how often what was counted is written
}

// DefaultConfig writes seldom: what a power cut costs is ten minutes of a diagram.
func DefaultConfig(dir string) Config {
	return Config{Dir: dir, Count: 30 * time.Second, Write: 10 * time.Minute}
}

// Book is what was counted. Its methods may be called concurrently.
type Book struct {
	cfg   Config
	log   *slog.Logger
	count func() (Totals, error)

	mu   sync.Mutex
	last Totals
	bins map[int64]Totals // by the Unix time of their beginning
}

// New reads what was written before. count returns counters that only grow while
// the process runs.
func New(cfg Config, count func() (Totals, error), log *slog.Logger) (*Book, error) {
	if cfg.Dir == "" || cfg.Count <= 0 || cfg.Write < cfg.Count {
		return nil, errors.New("usage: a folder is needed, and times above zero, of which Write is not the shorter one")
	}
	if err := keep.Dir(cfg.Dir); err != nil {
		return nil, err
	}
	b := &Book{cfg: cfg, log: log, count: count, bins: map[int64]Totals{}}
	err := keep.Read(b.file(), maxFile, &b.bins)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil || b.bins == nil:
		log.Warn("what was used before can't be read: it is counted anew", "err", err)
		b.bins = map[int64]Totals{}
	}
	return b, nil
}

func (b *Book) file() string { return filepath.Join(b.cfg.Dir, fileName) }

// Run counts until ctx ends, writes what was counted, and returns nil. A disk
// that takes nothing costs what was counted and no more.
func (b *Book) Run(ctx context.Context) error {
	count, write := time.NewTicker(b.cfg.Count), time.NewTicker(b.cfg.Write)
	defer count.Stop()
	defer write.Stop()
	b.add()
	for {
		select {
		case <-ctx.Done():
			b.add()
			b.write()
			return nil
		case <-count.C:
			b.add()
		case <-write.C:
			b.write()
		}
	}
}

// add puts what came since the last time into the bin of now.
func (b *Book) add() {
	now, err := b.count()
	if err != nil {
		b.log.Debug("counters can't be read", "err", err)
		return
	}
	at := time.Now().Truncate(Quarter).Unix()
	b.mu.Lock()
	defer b.mu.Unlock()
	bin := b.bins[at]
	bin.Line += since(b.last.Line, now.Line)
	bin.Sent += since(b.last.Sent, now.Sent)
	b.last = now
	if bin != (Totals{}) {
		b.bins[at] = bin
	}
}

// since is what a counter grew by; one that fell began anew.
func since(last, now int64) int64 {
	if now < last {
		return now
	}
	return now - last
}

func (b *Book) write() {
	now := time.Now()
	b.mu.Lock()
	maps.DeleteFunc(b.bins, func(at int64, _ Totals) bool {
		left := now.Sub(time.Unix(at, 0))
		return left > Kept || left < -future
	})
	bins := maps.Clone(b.bins)
	b.mu.Unlock()
	if err := keep.Write(b.file(), bins); err != nil {
		b.log.Warn("what was used can't be written", "err", err)
	}
}

// Bins are those of a time, earliest first, with those between them in which
// nothing came. It returns none for more than what is kept.
func (b *Book) Bins(from, to time.Time) ([]Bin, error) {
	from = from.Truncate(Quarter)
	if to.Before(from) || to.Sub(from) > Kept {
		return nil, fmt.Errorf("usage from %s to %s: at most %s can be asked for", from.Format(time.DateTime), to.Format(time.DateTime), Kept)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []Bin
	for at := from; at.Before(to); at = at.Add(Quarter) {
		out = append(out, Bin{at, b.bins[at.Unix()]})
	}
	return out, nil
}

// Sum adds bins up.
func Sum(bins []Bin) (t Totals) {
	for bin := range slices.Values(bins) {
		t.Line += bin.Line
		t.Sent += bin.Sent
	}
	return t
}

// Saved is what would have crossed the line, had each device fetched for itself
// what it got, and did not. It is never below nothing: what is fetched ahead
// crosses the line before anybody gets it.
func (t Totals) Saved() int64 { return max(0, t.Sent-t.Line) }
