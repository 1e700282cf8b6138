package follow

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"preau/cache/popular"
	"preau/cache/shelf"
	"preau/replication/catalogue"
	"preau/replication/feed"
	"preau/replication/kv"
)

// keyCounts is where counts lie over a restart, behind the base of their
// numbers.
var keyCounts = []byte("node/counts")

// keepCounts is how much of its counts a power cut may cost.
const keepCounts = 10 * time.Minute

// maxCounts is the bytes of counts that are kept; more begin anew.
const maxCounts = 900 << 10

// openCounts makes the counter. What it had is read once the store is open.
func (f *Follower) openCounts() error {
	cfg := popular.DefaultConfig()
	cfg.Entries = min(cfg.Entries, catalogue.MaxTallies)
	var err error
	f.counts, err = popular.New(cfg)
	return err
}

// loadCounts takes up what was counted before. Digests are numbered from a
// base that a box which lost its memory will not choose again.
func (f *Follower) loadCounts() {
	b, err := f.store.Get(keyCounts)
	if err == nil && len(b) > 8 {
		if err = f.counts.UnmarshalBinary(b[8:]); err == nil {
			f.countBase = binary.BigEndian.Uint64(b)
			return
		}
	}
	if err != nil && !errors.Is(err, kv.ErrNotFound) {
		f.log.Warn("what was counted can't be read and is counted anew", "err", err)
	}
	f.countBase = uint64(max(time.Now().Unix(), 1)) << 16
}

func (f *Follower) saveCounts() {
	b, err := f.counts.MarshalBinary()
	if err == nil && len(b) > maxCounts {
		err = fmt.Errorf("%d bytes are too many", len(b))
	}
	if err == nil {
		value := append(binary.BigEndian.AppendUint64(nil, f.countBase), b...)
		err = f.store.Write([]feed.Change{{Key: keyCounts, Value: value}})
	}
	if err != nil {
		f.log.Warn("what was counted can't be kept", "err", err)
	}
}

// Served counts one response of a site: by its path if that may be listed, else
// by the mark of its URL. It is edge's observer.
func (f *Follower) Served(site, name string, listed bool) {
	key := "m/" + name
	if listed {
		key = "o/" + site + name
	}
	if len(key) <= catalogue.MaxIDBytes {
		f.counts.Add(key, time.Now())
	}
}

// servedItem counts one request for a published resource.
func (f *Follower) servedItem(path string) {
	if rest, ok := strings.CutPrefix(path, shelf.Prefix); ok {
		if id, _, ok := strings.Cut(rest, "/"); ok && shelf.ValidID(id) {
			if _, err := f.resource(id); err == nil {
				f.counts.Add("r/"+id, time.Now())
			}
		}
	}
}

// runCounts sends what was asked for often enough to the region, now and then,
// until ctx ends.
func (f *Follower) runCounts(ctx context.Context) error {
	f.loadCounts()
	defer f.saveCounts()
	save := time.NewTicker(keepCounts)
	defer save.Stop()
	every := f.cfg.CountsEvery
	send := time.NewTimer(every/2 + rand.N(every))
	defer send.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-save.C:
			f.saveCounts()
		case <-send.C:
			if err := f.sendCounts(ctx); err != nil && ctx.Err() == nil {
				f.met.counts.WithLabelValues("failed").Inc()
				f.log.DebugContext(ctx, "counts wait for the region", "err", err)
			}
			send.Reset(every/2 + rand.N(every))
		}
	}
}

func (f *Follower) sendCounts(ctx context.Context) error {
	k := f.policy().KAnonymity
	if k <= 0 {
		k = popular.Threshold
	}
	digest, ok := f.counts.Digest(time.Now(), uint64(k))
	if !ok {
		return nil
	}
	count := catalogue.Count{Box: string(f.id.Name), Number: f.countBase + digest.Seq}
	for _, e := range digest.Entries {
		count.Counts = append(count.Counts, catalogue.Tally{Key: e.Key, N: uint32(min(e.Hits, 1<<31))})
	}
	body, err := json.Marshal(count)
	if err != nil {
		return fmt.Errorf("encode counts: %w", err)
	}
	f.saveCounts() // the same digest under the same number, should we die now
	if _, err := f.parents.ask(ctx, "/v1/counts", "/v1/counts", body); err != nil {
		return err
	}
	f.counts.Ack(digest.Seq)
	f.met.counts.WithLabelValues("taken").Inc()
	return nil
}
