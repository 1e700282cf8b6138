package wanline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Mode says how a cut line looks to those who use it.
type Mode int

const (
	// Silent is a black hole: open connections freeze and new ones are
	// accepted, but no byte passes and nobody is told. After Heal the frozen
	// connections go on where they were.
	Silent Mode = iota + 1
	// Refuse is a line whose near end is dead: open connections are reset and
	// new ones refused.
	Refuse
)

func (m Mode) String() string {
	switch m {
	case Silent:
		return "silent"
	case Refuse:
		return "refuse"
	default:
		return "up"
	}
}

// Config describes a line.
type Config struct {
	// Listen is the near end's address, where the box connects. Port 0 takes a free one.
	Listen string
	// Target is the far end's address, where the origin listens.
	Target string
	// BitsPerSecond is the rate of each direction, shared by all connections; 0 means no limit.
	BitsPerSecond int64
	// Delay is how long a byte travels, one way. A new connection waits for
	// its handshake: twice that.
	Delay time.Duration
	// Log gets connection trouble at debug level; nil means none.
	Log *slog.Logger
}

// Line is a slow line. Its methods may be called from any goroutine.
type Line struct {
	cfg      Config
	addr     string
	log      *slog.Logger
	up, down pacer
	sent     atomic.Int64
	received atomic.Int64
	done     chan struct{}
	wg       sync.WaitGroup

	mu      sync.Mutex
	ln      net.Listener // nil while refusing
	started bool
	closed  bool
	mode    Mode          // 0 when the line is up
	healed  chan struct{} // closed while bytes may pass
	conns   map[*conn]struct{}
}

// New checks cfg and opens the near end. Connections wait until Run.
func New(cfg Config) (*Line, error) {
	if cfg.BitsPerSecond < 0 {
		return nil, fmt.Errorf("wanline: rate %d bit/s is negative", cfg.BitsPerSecond)
	}
	if cfg.Delay < 0 {
		return nil, fmt.Errorf("wanline: delay %v is negative", cfg.Delay)
	}
	if _, _, err := net.SplitHostPort(cfg.Target); err != nil {
		return nil, fmt.Errorf("wanline: target: %w", err)
	}
	ln, err := net.Listen("tcp", cfg.Listen) //nolint:noctx // listening does not wait
	if err != nil {
		return nil, fmt.Errorf("wanline: %w", err)
	}
	l := &Line{
		cfg: cfg, addr: ln.Addr().String(), log: cfg.Log, ln: ln,
		done:   make(chan struct{}),
		healed: make(chan struct{}),
		conns:  make(map[*conn]struct{}),
	}
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	close(l.healed)
	l.up.set(cfg.BitsPerSecond)
	l.down.set(cfg.BitsPerSecond)
	return l, nil
}

// Addr is the near end's address; it stays the same for the line's life.
func (l *Line) Addr() string { return l.addr }

// Received counts the bytes that have crossed from the origin towards the
// box, those included that were on the line when the box hung up.
func (l *Line) Received() int64 { return l.received.Load() }

// Sent counts the bytes that have crossed from the box towards the origin.
func (l *Line) Sent() int64 { return l.sent.Load() }

// Rate is the present rate in bits per second, 0 for no limit.
func (l *Line) Rate() int64 { return l.down.rate() }

// SetRate changes the rate at once, for open connections too. A rate below
// zero counts as no limit.
func (l *Line) SetRate(bps int64) {
	bps = max(bps, 0)
	l.up.set(bps)
	l.down.set(bps)
}

// State is the mode the line was cut in, or 0 when it is up.
func (l *Line) State() Mode {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mode
}

// Conns is how many connections are open.
func (l *Line) Conns() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.conns)
}

// Run carries bytes until ctx ends, then closes every connection. It returns
// when nothing of the line is left running. It may be called once.
func (l *Line) Run(ctx context.Context) error {
	l.mu.Lock()
	if l.started {
		l.mu.Unlock()
		return errors.New("wanline: line was run before")
	}
	l.started = true
	l.serve()
	l.mu.Unlock()

	<-ctx.Done()

	l.mu.Lock()
	l.closed = true
	close(l.done)
	if l.ln != nil {
		l.ln.Close()
		l.ln = nil
	}
	for c := range l.conns {
		c.reset()
	}
	l.mu.Unlock()
	l.wg.Wait()
	return nil
}

// Cut takes the line down in the given mode. Cutting a cut line changes the mode.
func (l *Line) Cut(mode Mode) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || mode == 0 {
		return
	}
	if l.mode == 0 {
		l.healed = make(chan struct{})
	}
	if mode == Silent && l.mode == Refuse {
		// Accepting again is what tells silent from refused; if the address
		// cannot be had the line simply stays refused.
		if err := l.listen(); err != nil {
			l.log.Debug("line stays refused", "err", err)
			return
		}
	}
	l.mode = mode
	if mode != Refuse {
		return
	}
	if l.ln != nil {
		l.ln.Close()
		l.ln = nil
	}
	for c := range l.conns {
		c.reset()
	}
}

// Heal brings a cut line back. It fails only if another program has taken the
// near end's address meanwhile; the line stays cut then.
func (l *Line) Heal() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mode == 0 || l.closed {
		return nil
	}
	if err := l.listen(); err != nil {
		return fmt.Errorf("wanline: heal: %w", err)
	}
	l.mode = 0
	close(l.healed)
	return nil
}

// listen opens the near end again. l.mu is held.
func (l *Line) listen() error {
	if l.ln != nil {
		return nil
	}
	ln, err := net.Listen("tcp", l.addr) //nolint:noctx // listening does not wait
	if err != nil {
		return err
	}
	l.ln = ln
	if l.started {
		l.serve()
	}
	return nil
}

// serve starts to accept from the present listener. l.mu is held.
func (l *Line) serve() {
	ln := l.ln
	if ln == nil {
		return
	}
	l.wg.Go(func() { l.accept(ln) })
}

func (l *Line) accept(ln net.Listener) {
	for {
		near, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of descriptors, or a connection gone before it was taken
			l.log.Debug("accept failed", "err", err)
			if !l.sleep(time.Now().Add(50*time.Millisecond), nil) {
				return
			}
			continue
		}
		l.open(near.(*net.TCPConn)) //nolint:errcheck // the listener is of TCP
	}
}

// sleep waits for t; it reports false when the line or the connection ended first.
func (l *Line) sleep(t time.Time, gone <-chan struct{}) bool {
	d := time.Until(t)
	if d <= 0 {
		select {
		case <-l.done:
			return false
		case <-gone:
			return false
		default:
			return true
		}
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-l.done:
		return false
	case <-gone:
		return false
	}
}

// pass waits while the line is cut; it reports false when the line or the
// connection ended first.
func (l *Line) pass(gone <-chan struct{}) bool {
	l.mu.Lock()
	healed := l.healed
	l.mu.Unlock()
	select {
	case <-healed:
		return true
	case <-l.done:
		return false
	case <-gone:
		return false
	}
}
