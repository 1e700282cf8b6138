//go:build bench

package bench

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"preau/replication/catalogue"
	"preau/replication/feed"
	"preau/replication/identity"
	"preau/replication/wire"
)

// crowd is what the process of the light boxes is told.
type crowd struct {
	Listen  string // where it takes orders
	Region  identity.Region
	Root    []byte // the authority's certificate, DER
	Boxes   []bearer
	Servers []wire.Target
}

// light is a box that follows and keeps nothing.
type light struct {
	way    *wire.Dialer
	server wire.Target
	looks  bool // reads what it is sent

	mu      sync.Mutex
	cursor  feed.Cursor
	until   uint64
	arrived []arrival // since the latest mark
	acked   []arrival
	open    bool
	pending bool // an acknowledgement
	records int
	purges  map[string]bool
}

// boxSilence is after how long of silence a box asks whether its server is
// there, as node/follow has it for the connection of the feed.
const boxSilence = 40 * time.Second

// arrival is when a box had everything up to an index.
type arrival struct {
	upto uint64
	at   time.Time
}

// field is what crowds answer.
type field struct {
	Open     int
	Received []int64 // UnixNano, in order; of boxes that have the index
	Acked    []int64
	Retries  int            // since the last mark
	Trouble  map[string]int // and why
	Records  []int          // of each box since the last mark
	Purges   []int          // that each of the boxes that look has seen in all
}

type boxes struct {
	crowd
	light []*light

	mu   sync.Mutex
	stop context.CancelFunc
	all  sync.WaitGroup

	worry   sync.Mutex
	trouble map[string]int
}

// boxesMain holds the boxes until it is told to end.
func boxesMain(path string) error {
	var b boxes
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, &b.crowd); err != nil {
		return err
	}
	root, err := x509.ParseCertificate(b.Root)
	if err != nil {
		return err
	}
	for i, who := range b.Boxes {
		dial := wire.DefaultDialConfig()
		dial.QUIC = false // as a box's feed has it
		dial.Silence = boxSilence
		way, err := wire.NewDialer(who.credentialsFor(b.Region, root), dial)
		if err != nil {
			return err
		}
		b.light = append(b.light, &light{way: way, server: b.Servers[i%len(b.Servers)], looks: i%50 == 0, purges: map[string]bool{}})
	}
	ctx, end := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer end()
	server := &http.Server{Addr: b.Listen, Handler: b.orders(), ReadHeaderTimeout: 5 * time.Second}
	go func() {
		<-ctx.Done()
		server.Close()
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	b.drop()
	return nil
}

func (b *boxes) orders() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /follow", func(_ http.ResponseWriter, r *http.Request) { b.follow(context.WithoutCancel(r.Context())) })
	mux.HandleFunc("POST /drop", func(http.ResponseWriter, *http.Request) { b.drop() })
	mux.HandleFunc("POST /mark", func(http.ResponseWriter, *http.Request) { b.mark() })
	mux.HandleFunc("GET /await", func(w http.ResponseWriter, r *http.Request) {
		index, _ := strconv.ParseUint(r.URL.Query().Get("index"), 10, 64)
		within, _ := time.ParseDuration(r.URL.Query().Get("within"))
		if err := json.NewEncoder(w).Encode(b.await(index, within)); err != nil {
			fmt.Fprintln(os.Stderr, "answer:", err)
		}
	})
	return mux
}

func (b *boxes) follow(ctx context.Context) {
	b.mu.Lock()
	defer b.mu.Unlock()
	ctx, stop := context.WithCancel(ctx)
	b.stop = stop
	for _, l := range b.light {
		b.all.Go(func() { b.live(ctx, l) })
	}
}

func (b *boxes) drop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stop != nil {
		b.stop()
		b.all.Wait()
		b.stop = nil
	}
}

func (b *boxes) mark() {
	b.worry.Lock()
	b.trouble = nil
	b.worry.Unlock()
	for _, l := range b.light {
		l.mu.Lock()
		l.arrived, l.acked, l.records = l.arrived[:0], l.acked[:0], 0
		l.mu.Unlock()
	}
}

// await waits until every box has, and has acknowledged, everything up to
// index, for a time, and tells when each had.
func (b *boxes) await(index uint64, within time.Duration) field {
	for end := time.Now().Add(within); ; time.Sleep(50 * time.Millisecond) {
		var f field
		b.worry.Lock()
		f.Trouble = maps.Clone(b.trouble)
		b.worry.Unlock()
		for _, n := range f.Trouble {
			f.Retries += n
		}
		for _, l := range b.light {
			l.mu.Lock()
			if l.open {
				f.Open++
			}
			first := func(list []arrival, into *[]int64) {
				if i := slices.IndexFunc(list, func(a arrival) bool { return a.upto >= index }); i >= 0 {
					*into = append(*into, list[i].at.UnixNano())
				}
			}
			first(l.arrived, &f.Received)
			first(l.acked, &f.Acked)
			f.Records = append(f.Records, l.records)
			if l.looks {
				f.Purges = append(f.Purges, len(l.purges))
			}
			l.mu.Unlock()
		}
		if len(f.Acked) == len(b.light) || time.Now().After(end) {
			slices.Sort(f.Received)
			slices.Sort(f.Acked)
			return f
		}
	}
}

// live follows until ctx ends, and begins again after what went wrong.
func (b *boxes) live(ctx context.Context, l *light) {
	for ctx.Err() == nil {
		if err := l.session(ctx); ctx.Err() == nil {
			b.worried(err)
			select {
			case <-ctx.Done():
			case <-time.After(time.Second + rand.N(2*time.Second)):
			}
		}
	}
}

// worried counts errors by their last words, which have no addresses.
func (b *boxes) worried(err error) {
	words := err.Error()
	words = words[strings.LastIndex(words, ": ")+1:]
	b.worry.Lock()
	defer b.worry.Unlock()
	if b.trouble == nil {
		b.trouble = map[string]int{}
	}
	b.trouble[strings.TrimSpace(words)]++
}

func (l *light) session(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	rt := l.way.Transport(l.server)
	defer rt.Close()
	base := "https://" + l.server.Address
	defer l.set(func() { l.open = false })
	// An answer that does not come in time is given up, as a real box does.
	patience := time.AfterFunc(feed.DefaultFollowerConfig().Open, cancel)
	defer patience.Stop()
	var acks sync.WaitGroup
	defer acks.Wait()
	defer cancel()
	return feed.Follow(ctx, rt, base, feed.Request{Cursor: l.cursor, Until: l.until, Version: "bench"},
		func(h feed.Hello) error {
			patience.Stop()
			l.set(func() {
				l.open = true
				l.cursor.Region, l.cursor.Epoch = h.Region, h.Epoch
				if h.Again {
					l.cursor.Index = 0
				}
				l.until = h.Until
			})
			return nil
		},
		func(batch *feed.Batch) error {
			if l.looks {
				if err := l.look(batch); err != nil {
					return err
				}
			}
			l.mu.Lock()
			defer l.mu.Unlock()
			l.records += batch.Count
			if batch.More {
				return nil
			}
			l.cursor.Index = max(l.cursor.Index, batch.Upto)
			if l.until > 0 && l.cursor.Index >= l.until {
				l.until = 0
			}
			if len(l.arrived) < 4096 {
				l.arrived = append(l.arrived, arrival{batch.Upto, time.Now()})
			}
			if batch.Count > 0 && !l.pending {
				l.pending = true
				acks.Go(func() { l.acknowledge(ctx, rt, base) })
			}
			return nil
		})
}

func (l *light) set(fn func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fn()
}

// look reads a batch as a real box does.
func (l *light) look(batch *feed.Batch) error {
	records, err := batch.Records()
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range records {
		if r.Kind == catalogue.KindPurge && !r.Deleted {
			l.purges[r.ID] = true
		}
	}
	return nil
}

// acknowledge waits as a real box does, for more to come, and tells how far the
// box is by then.
func (l *light) acknowledge(ctx context.Context, rt http.RoundTripper, base string) {
	hold := feed.DefaultFollowerConfig().Ack
	select {
	case <-ctx.Done():
		l.set(func() { l.pending = false })
		return
	case <-time.After(hold/2 + rand.N(hold)):
	}
	var index uint64
	l.set(func() { l.pending, index = false, l.cursor.Index })
	if err := feed.Acknowledge(ctx, rt, base, feed.Ack{Index: index, Version: "bench"}); err == nil {
		l.set(func() {
			if len(l.acked) < 4096 {
				l.acked = append(l.acked, arrival{index, time.Now()})
			}
		})
	} else if ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "acknowledgement:", err)
	}
}
