package fill

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"preau/cache/block"
	"preau/cache/block/blocktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errBroke = errors.New("connection broke")

// origin is a Source that does as it is told. Its fields may be changed while
// it is used, with its lock held.
type origin struct {
	mu       sync.Mutex
	data     []byte
	start    []byte // of what it had when the readers began; data != start means changed
	noRanges bool
	weak     bool          // streams are not proven
	noLength bool          // streams don't say how long they or the body are
	atZero   bool          // does 200 instead of 206 although it says it does ranges
	down     bool          // Open fails
	silent   bool          // Open and Read hang until they are ended
	dieAfter int64         // bytes until all streams break; < 0: never
	dieEach  int64         // bytes after which each stream breaks; 0: never
	bits     float64       // bits per second of each stream; 0: no limit
	total    int64         // lie about the length; 0: don't
	latency  time.Duration // of Open
	ready    chan struct{}
	cuts     int // how often all streams were broken

	opens     []span // what was asked for
	delivered int64  // bytes
	open      int    // streams
}

// library is the bytes of which all bodies are the beginning: making others for
// each test takes longer than the tests.
var library = sync.OnceValue(func() []byte { return blocktest.Bytes(99, int(32*mb)) })

func newOrigin(n int) *origin {
	o := &origin{data: library()[:n:n], dieAfter: -1, ready: make(chan struct{})}
	o.start = o.data
	close(o.ready)
	return o
}

func (o *origin) set(fn func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	fn()
}

// goAway makes the origin unreachable and breaks all its streams.
func (o *origin) goAway() {
	o.set(func() { o.down, o.ready, o.cuts = true, make(chan struct{}), o.cuts+1 })
}

func (o *origin) comeBack() {
	o.set(func() { o.down, o.dieAfter = false, -1; close(o.ready) })
}

func (o *origin) Ranges() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return !o.noRanges
}

func (o *origin) Ready() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.ready
}

func (o *origin) sent() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.delivered
}

func (o *origin) asked() []span {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]span(nil), o.opens...)
}

func (o *origin) Open(ctx context.Context, from, to int64) (*Stream, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.opens = append(o.opens, span{from, to})
	if o.latency > 0 {
		o.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-time.After(o.latency):
		}
		o.mu.Lock()
	}
	if o.silent {
		o.mu.Unlock()
		<-ctx.Done()
		o.mu.Lock()
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if o.down {
		return nil, errBroke
	}
	if !o.weak && !bytes.Equal(o.data, o.start) {
		return nil, fmt.Errorf("%w: another validator", ErrChanged)
	}
	if o.noRanges || o.atZero {
		from, to = 0, -1
	}
	n := int64(len(o.data))
	if to < 0 || to > n {
		to = n
	}
	from = min(from, n)
	return o.stream(from, to), nil
}

// first is the stream of the answer that told of the body.
func (o *origin) first() *Stream {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.opens = append(o.opens, span{0, -1})
	st := o.stream(0, int64(len(o.data)))
	st.Proven = true
	return st
}

func (o *origin) stream(from, to int64) *Stream {
	o.open++
	st := &Stream{
		Body: &originBody{o: o, data: o.data, pos: from, to: to, gone: make(chan struct{}), cuts: o.cuts},
		From: from, To: to, Total: int64(len(o.data)), Proven: !o.weak,
	}
	if o.total != 0 {
		st.Total = o.total
	}
	if o.noLength {
		st.To, st.Total = -1, block.UnknownLength
	}
	return st
}

type originBody struct {
	o       *origin
	data    []byte
	pos, to int64
	came    int64
	once    sync.Once
	gone    chan struct{}
	cuts    int
}

func (b *originBody) Close() error {
	b.once.Do(func() {
		close(b.gone)
		b.o.set(func() { b.o.open-- })
	})
	return nil
}

var errClosed = errors.New("read of a closed body")

func (b *originBody) Read(p []byte) (int, error) {
	select {
	case <-b.gone:
		return 0, errClosed
	default:
	}
	b.o.mu.Lock()
	silent, bits := b.o.silent, b.o.bits
	b.o.mu.Unlock()
	if silent {
		<-b.gone
		return 0, errClosed
	}
	n := min(int64(len(p)), b.to-b.pos)
	if bits > 0 && n > 0 {
		n = min(n, 32<<10)
		select {
		case <-b.gone:
			return 0, errClosed
		case <-time.After(time.Duration(float64(n*8) / bits * float64(time.Second))):
		}
	}
	b.o.mu.Lock()
	defer b.o.mu.Unlock()
	if b.o.dieAfter >= 0 {
		n = min(n, b.o.dieAfter)
		b.o.dieAfter -= n
	}
	if b.o.dieEach > 0 {
		n = max(0, min(n, b.o.dieEach-b.came))
	}
	if b.o.dieEach > 0 && n == 0 && b.pos < b.to || b.o.down || b.cuts != b.o.cuts || b.o.dieAfter == 0 && b.pos < b.to && n == 0 {
		return 0, errBroke
	}
	n = int64(copy(p[:n], b.data[b.pos:]))
	b.pos, b.came = b.pos+n, b.came+n
	b.o.delivered += n
	if b.pos >= b.to {
		return int(n), io.EOF
	}
	return int(n), nil
}

// bed holds a manager, a store and what was saved.
type bed struct {
	t     testing.TB
	cfg   Config
	store *blocktest.Memory
	m     *Manager

	mu       sync.Mutex
	manifest block.Manifest
	saves    int
}

func newBed(tb testing.TB, limit int64) *bed {
	tb.Helper()
	bd := &bed{t: tb, cfg: DefaultConfig(), store: blocktest.NewMemory(limit), manifest: block.Manifest{Length: block.UnknownLength}}
	bd.restart()
	return bd
}

// restart begins a new life of the box with what was saved.
func (bd *bed) restart() {
	bd.t.Helper()
	if bd.m != nil {
		bd.m.Close()
	}
	m, err := New(bd.cfg, bd.store, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		bd.t.Fatal(err)
	}
	bd.mu.Lock()
	defer bd.mu.Unlock()
	bd.m = m
}

// open opens the body in the box's present life.
func (bd *bed) open(src Source) (*Body, error) {
	bd.mu.Lock()
	m := bd.m
	bd.mu.Unlock()
	return m.Open(ID{1}, func() (Spec, error) { return bd.spec(src), nil })
}

func (bd *bed) saved() block.Manifest {
	bd.mu.Lock()
	defer bd.mu.Unlock()
	return bd.manifest
}

func (bd *bed) body(src Source) *Body {
	bd.t.Helper()
	b, err := bd.open(src)
	if err != nil {
		bd.t.Fatal(err)
	}
	return b
}

func (bd *bed) spec(src Source) Spec {
	return Spec{Manifest: bd.saved(), Source: src, Save: func(_ context.Context, m block.Manifest, _ []block.Segment) error {
		if err := m.Validate(); err != nil {
			bd.t.Errorf("saved manifest: %v", err)
		}
		for _, d := range m.Blocks {
			if _, ok := bd.store.Has(d); !ok && !d.IsZero() && bd.store.Puts() == bd.store.Len() {
				bd.t.Errorf("saved manifest has a block that was never stored")
			}
		}
		bd.mu.Lock()
		defer bd.mu.Unlock()
		bd.manifest, bd.saves = m, bd.saves+1
		return nil
	}}
}

// checker is a writer that compares what it is given with what should come.
type checker struct {
	want  []byte
	n     int
	wrong bool
}

func (c *checker) Write(p []byte) (int, error) {
	if c.wrong = c.wrong || !bytes.HasPrefix(c.want[c.n:], p); c.wrong {
		return 0, errors.New("wrong byte")
	}
	c.n += len(p)
	return len(p), nil
}

// get reads from..to of the body, whose bytes may be any beginning of want.
func (bd *bed) get(ctx context.Context, src Source, from, to int64, want []byte) (int, error) {
	b, err := bd.open(src)
	if err != nil {
		return 0, err
	}
	defer b.Release()
	return bd.read(ctx, b, from, to, want)
}

func (bd *bed) read(ctx context.Context, b *Body, from, to int64, want []byte) (int, error) {
	r := b.NewReader(from, to)
	defer r.Close()
	c := &checker{want: want}
	n, err := r.CopyTo(ctx, c)
	if c.wrong || n != int64(c.n) {
		bd.t.Errorf("reading %d..%d: wrong byte after %d, %d told", from, to, c.n, n)
	}
	return c.n, err
}

// mustGet reads from..to and checks that it is right.
func (bd *bed) mustGet(o *origin, from, to int64) {
	bd.t.Helper()
	want := o.start[min(from, int64(len(o.start))):]
	if to >= 0 {
		want = o.start[from:to]
	}
	n, err := bd.get(context.Background(), o, from, to, want)
	if err != nil || n != len(want) {
		bd.t.Errorf("reading %d..%d: %d bytes, %v; want %d", from, to, n, err, len(want))
	}
}

// quiet checks that nothing is running for the body.
func (bd *bed) quiet(o *origin) {
	bd.t.Helper()
	bd.m.Bodies(func(b *Body) {
		st := b.Status()
		bd.t.Errorf("still there: %+v", st)
	})
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.open != 0 {
		bd.t.Errorf("%d streams of the source were not closed", o.open)
	}
}

// held is how much the saved manifest says is held.
func (bd *bed) held() int64 { return bd.saved().Held() }
