package fill

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"preau/cache/block"
)

func TestADamagedBlockIsFetchedAgain(t *testing.T) {
	for _, ranges := range []bool{true, false} {
		t.Run(fmt.Sprintf("ranges %v", ranges), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				bd, o := newBed(t, 0), newOrigin(int(fewer(6*mb, 4*mb)+10))
				o.noRanges, o.weak = !ranges, !ranges
				bd.mustGet(o, 0, -1)
				synctest.Wait()
				before := o.sent()
				for _, i := range []int{0, 3} {
					if !bd.store.Damage(bd.saved().Blocks[i]) {
						t.Fatal("no block to damage")
					}
				}
				var wg sync.WaitGroup
				for _, from := range []int64{0, 0, 3*mb + 5, 4*mb - 1} {
					wg.Go(func() { bd.mustGet(o, from, -1) })
				}
				wg.Go(func() { bd.mustGet(o, 3*mb+500, 3*mb+600) })
				wg.Wait()
				synctest.Wait()
				bd.quiet(o)
				if sent := o.sent() - before; ranges && sent != 2*mb {
					t.Errorf("%d bytes were fetched for two blocks", sent)
				}
				if !bd.saved().Complete() {
					t.Error("not complete again")
				}
				bd.m.Close()
			})
		})
	}
}

// TestALostBlockOfAnotherVersion: with nothing that names the version, what
// comes for a lost block must be what was lost, before anybody sees it.
func TestALostBlockOfAnotherVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bd, o := newBed(t, 0), newOrigin(int(6*mb))
		o.noRanges, o.weak = true, true
		bd.mustGet(o, 0, -1)
		synctest.Wait()
		bd.store.Damage(bd.saved().Blocks[3])
		o.set(func() { o.data = bytes.Clone(o.data); o.data[3*mb+1000] ^= 1 })
		var wg sync.WaitGroup
		for _, r := range []span{{0, -1}, {3 * mb, 3*mb + 2000}, {3 * mb, 4 * mb}, {3*mb + 900, 6 * mb}} {
			wg.Go(func() {
				n, err := bd.get(t.Context(), o, r.from, r.to, o.start[r.from:])
				if !errors.Is(err, ErrChanged) || r.from >= 3*mb && n > 0 {
					t.Errorf("%v: %d bytes, %v", r, n, err)
				}
			})
		}
		wg.Wait()
		synctest.Wait()
		bd.quiet(o)
		bd.m.Close()
	})
}

func TestPiecesThatAreGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bd, o := newBed(t, 0), newOrigin(int(6*mb))
		for _, from := range []int64{100, mb + 100, 3*mb - 50_000} {
			bd.mustGet(o, from, from+100_000)
			time.Sleep(time.Hour)
		}
		m := bd.saved()
		if len(m.Pieces) != 4 || m.Held() != 300_000 {
			t.Fatalf("%d pieces, %d bytes held", len(m.Pieces), m.Held())
		}
		before := o.sent()
		bd.store.Damage(m.Pieces[0].Digest)
		bd.store.Drop(m.Pieces[2].Digest)
		bd.mustGet(o, 100, 100_100)
		bd.mustGet(o, mb+100, mb+100_100)
		if sent := o.sent() - before; sent != 100_000 {
			t.Errorf("%d bytes for one piece of 100000", sent)
		}
		bd.mustGet(o, 0, -1)
		synctest.Wait()
		bd.quiet(o)
		if sent := o.sent(); sent > 6*mb+2*100_000 {
			t.Errorf("%d bytes in all", sent)
		}
		bd.m.Close()
	})
}

func TestNoSpace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		size := fewer(30*mb, 9*mb) + 5
		bd, o := newBed(t, 3*mb+mb/2), newOrigin(int(size))
		o.bits = 100e6
		b := bd.body(o)
		open := make(chan struct{})
		var slow, wg sync.WaitGroup
		slow.Go(func() {
			r := b.NewReader(0, -1)
			defer r.Close()
			w := &gate{checker{want: o.data}, open}
			if _, err := r.CopyTo(t.Context(), w); err != nil || int64(w.n) != size {
				t.Errorf("slow: %d bytes, %v", w.n, err)
			}
		})
		begin := time.Now()
		for i := range fewer(10, 3) {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond)
				bd.mustGet(o, 0, -1)
			})
		}
		wg.Wait()
		if d := time.Since(begin); d > 15*time.Second {
			t.Errorf("took %v", d)
		}
		if sent := o.sent(); sent > size+mb {
			t.Errorf("sent %d of %d", sent, size)
		}
		b.mu.Lock()
		parts := len(b.parts)
		b.mu.Unlock()
		if parts > homelessParts+recentParts+1 {
			t.Errorf("%d blocks in memory", parts)
		}
		close(open)
		slow.Wait()
		b.Release()
		synctest.Wait()
		bd.quiet(o)
		if m := bd.saved(); m.Complete() || m.Held() > 3*mb+mb/2 {
			t.Errorf("%d bytes are recorded as held", m.Held())
		}
		bd.m.Close()
	})
}

func TestCloseInEveryState(t *testing.T) {
	states := map[string]func(*bed, *origin){
		"nothing begun":        func(*bed, *origin) {},
		"fetching":             func(_ *bed, o *origin) { o.set(func() { o.bits = 1e6 }) },
		"source silent":        func(_ *bed, o *origin) { o.set(func() { o.silent = true }) },
		"source away":          func(_ *bed, o *origin) { o.goAway() },
		"source failing":       func(_ *bed, o *origin) { o.set(func() { o.down = true }) },
		"broken in the middle": func(_ *bed, o *origin) { o.set(func() { o.dieAfter = 2*mb + 5 }) },
		"disk full": func(bd *bed, o *origin) {
			bd.cfg.SaveEvery = 1
			o.set(func() { o.bits = float64(fewer(100_000_000, 25_000_000)) })
		},
		"opening":                func(_ *bed, o *origin) { o.set(func() { o.latency = time.Hour }) },
		"without length":         func(_ *bed, o *origin) { o.set(func() { o.bits, o.noLength = 1e6, true }) },
		"without ranges, broken": func(_ *bed, o *origin) { o.set(func() { o.noRanges, o.weak, o.dieAfter = true, true, mb+7 }) },
	}
	for name, prepare := range states {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				limit := int64(0)
				if name == "disk full" {
					limit = mb
				}
				bd, o := newBed(t, limit), newOrigin(int(fewer(20*mb, 6*mb)))
				prepare(bd, o)
				b := bd.body(o)
				var wg sync.WaitGroup
				open := make(chan struct{})
				if name != "nothing begun" {
					for range 3 {
						wg.Go(func() {
							if n, err := bd.get(t.Context(), o, 0, -1, o.start); !errors.Is(err, ErrStopped) {
								t.Errorf("%d bytes, %v; want ErrStopped", n, err)
							}
						})
					}
					wg.Go(func() { // a client who does not read
						r := b.NewReader(0, -1)
						defer r.Close()
						if _, err := r.CopyTo(t.Context(), &gate{checker{want: o.data}, open}); !errors.Is(err, ErrStopped) {
							t.Errorf("the stalled one: %v", err)
						}
					})
				}
				time.Sleep(1500 * time.Millisecond)
				began := time.Now()
				bd.m.Close()
				if d := time.Since(began); d > 0 {
					t.Errorf("Close took %v", d)
				}
				bd.quiet(o)
				saves, held := bd.saves, bd.held()
				close(open)
				wg.Wait()
				if _, err := b.m.Open(ID{2}, func() (Spec, error) { return Spec{}, errors.New("must not be called") }); !errors.Is(err, ErrStopped) {
					t.Errorf("Open after Close: %v", err)
				}
				b.Feed(o.first())
				b.Release()
				bd.m.Close()
				time.Sleep(time.Hour)
				synctest.Wait()
				bd.quiet(o)
				if bd.saves != saves {
					t.Error("something was saved after Close")
				}
				if sent := o.sent(); held < sent-mb && limit == 0 {
					t.Errorf("%d bytes came, %d were kept", sent, held)
				}
			})
		})
	}
}

func TestRunClosesWhenItsContextEnds(t *testing.T) {
	bd := newBed(t, 0)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := bd.m.Run(ctx); err != nil {
		t.Error(err)
	}
	if _, err := bd.get(t.Context(), newOrigin(1), 0, -1, nil); !errors.Is(err, ErrStopped) {
		t.Errorf("after Run: %v", err)
	}
}

// TestOpenWhileItIsSettled: whoever comes while the last one's bytes are being
// saved waits for that, and has them.
func TestOpenWhileItIsSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bd, o := newBed(t, 0), newOrigin(int(2*mb))
		inSave, goOn := make(chan struct{}), make(chan struct{})
		spec := bd.spec(o)
		save := spec.Save
		var once sync.Once
		spec.Save = func(ctx context.Context, m block.Manifest, segs []block.Segment) error {
			once.Do(func() { close(inSave); <-goOn })
			return save(ctx, m, segs)
		}
		b, err := bd.m.Open(ID{1}, func() (Spec, error) { return spec, nil })
		if err != nil {
			t.Fatal(err)
		}
		ctx, leave := context.WithCancel(t.Context())
		o.bits = 1e6
		time.AfterFunc(2*time.Second, leave)
		_, _ = bd.read(ctx, b, 0, -1, o.data) // cut short
		var wg sync.WaitGroup
		wg.Go(b.Release)
		<-inSave
		wg.Go(func() { bd.mustGet(o, 0, -1) })
		synctest.Wait()
		close(goOn)
		wg.Wait()
		synctest.Wait()
		bd.quiet(o)
		if o.sent() != 2*mb {
			t.Errorf("sent %d", o.sent())
		}
		bd.m.Close()
	})
}

// TestLoad: bodies are loaded once for all who come, and a load that fails
// leaves nothing behind.
func TestLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bd, o := newBed(t, 0), newOrigin(10)
		errLoad := errors.New("no manifest")
		if _, err := bd.m.Open(ID{1}, func() (Spec, error) { return Spec{}, errLoad }); !errors.Is(err, errLoad) {
			t.Errorf("Open: %v", err)
		}
		loads := 0
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				b, err := bd.m.Open(ID{1}, func() (Spec, error) {
					time.Sleep(time.Second)
					loads++
					return bd.spec(o), nil
				})
				if err != nil {
					t.Error(err)
					return
				}
				time.Sleep(time.Second)
				b.Release()
			})
		}
		time.Sleep(time.Second / 2)
		if !bd.m.InUse(ID{1}) {
			t.Error("not in use while it is loaded")
		}
		wg.Wait()
		if loads != 1 {
			t.Errorf("loaded %d times", loads)
		}
		bd.quiet(o)
		wg.Go(func() {
			if _, err := bd.m.Open(ID{1}, func() (Spec, error) { time.Sleep(time.Second); return bd.spec(o), nil }); !errors.Is(err, ErrStopped) {
				t.Errorf("Open during Close: %v", err)
			}
		})
		synctest.Wait()
		bd.m.Close()
		wg.Wait()
	})
}

// TestLies: a source whose word can't be relied on never makes a wrong body,
// nor an endless storm of requests.
func TestLies(t *testing.T) {
	size := fewer(8*mb, 4*mb)
	tests := map[string]struct {
		lie         func(*origin)
		whole, seek error
		most        int64 // bytes, of size
	}{
		"says ranges, begins at 0":  {func(o *origin) { o.atZero = true }, nil, nil, size},
		"the body is longer":        {func(o *origin) { o.total = size + mb }, ErrUnavailable, nil, size},
		"the body is shorter":       {func(o *origin) { o.total = size - mb }, ErrUnavailable, nil, 0},
		"breaks at every 300000":    {func(o *origin) { o.dieEach = 300_000 }, nil, nil, size},
		"never says how long it is": {func(o *origin) { o.noLength = true }, nil, nil, size},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				bd, o := newBed(t, 0), newOrigin(int(size))
				o.bits, o.latency = 20e6, 10*time.Millisecond
				tt.lie(o)
				var wg sync.WaitGroup
				wg.Go(func() {
					n, err := bd.get(t.Context(), o, 0, -1, o.data)
					if !errors.Is(err, tt.whole) || err == nil && int64(n) != size {
						t.Errorf("whole: %d bytes, %v; want %v", n, err, tt.whole)
					}
				})
				wg.Go(func() {
					if o.total == size-mb {
						return // its parts fit together
					}
					time.Sleep(time.Second)
					n, err := bd.get(t.Context(), o, size-2*mb, size-2*mb+1000, o.data[size-2*mb:])
					if !errors.Is(err, tt.seek) || err == nil && n != 1000 {
						t.Errorf("seek: %d bytes, %v; want %v", n, err, tt.seek)
					}
				})
				wg.Wait()
				synctest.Wait()
				bd.quiet(o)
				if sent := o.sent(); sent > tt.most*102/100 {
					t.Errorf("sent %d, want at most %d", sent, tt.most)
				}
				if opens := len(o.asked()); opens > 60 {
					t.Errorf("asked %d times", opens)
				}
				bd.m.Close()
			})
		})
	}
}

func TestAWritersErrorIsNoEnd(t *testing.T) {
	bd, o := newBed(t, 0), newOrigin(100_000)
	b := bd.body(o)
	r := b.NewReader(0, -1)
	if _, err := r.CopyTo(t.Context(), writerFunc(func([]byte) (int, error) { return 0, io.EOF })); !errors.Is(err, io.EOF) {
		t.Errorf("CopyTo = %v, want the writer's io.EOF", err)
	}
	if n, err := r.CopyTo(t.Context(), writerFunc(func(p []byte) (int, error) { return len(p) / 2, nil })); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("CopyTo = %d, %v", n, err)
	}
	r.Close()
	b.Release()
	bd.m.Close()
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// TestAFragment: a part that can't be completed is given to those who have it.
func TestAFragment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bd, o := newBed(t, 0), newOrigin(int(4*mb))
		o.bits = 20e6
		spec := bd.spec(o)
		spec.Closed, spec.Manifest.Length = true, 4*mb
		b, err := bd.m.Open(ID{1}, func() (Spec, error) { return spec, nil })
		if err != nil {
			t.Fatal(err)
		}
		b.Feed(o.stream(mb+5, 2*mb+5))
		var wg sync.WaitGroup
		wg.Go(func() {
			if n, err := bd.read(t.Context(), b, mb+5, 2*mb+5, o.data[mb+5:]); err != nil || int64(n) != mb {
				t.Errorf("the part: %d bytes, %v", n, err)
			}
		})
		wg.Go(func() {
			if n, err := bd.read(t.Context(), b, mb+5, -1, o.data[mb+5:]); !errors.Is(err, ErrUnavailable) || int64(n) != mb {
				t.Errorf("more than the part: %d bytes, %v", n, err)
			}
		})
		wg.Wait()
		b.Release()
		synctest.Wait()
		bd.quiet(o)
		if len(o.asked()) > 0 {
			t.Error("the source was asked")
		}
		bd.m.Close()
	})
}

// TestAHoleThatNothingVouchesFor: what lies behind a hole is not mixed with
// what fills it if the source can't name the version; it is fetched again.
func TestAHoleThatNothingVouchesFor(t *testing.T) {
	for _, changed := range []bool{false, true} {
		t.Run(fmt.Sprintf("changed %v", changed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				bd, o := newBed(t, 0), newOrigin(int(4*mb))
				o.noRanges, o.weak = true, true
				bd.mustGet(o, 0, -1)
				synctest.Wait()
				bd.manifest.Blocks[1], bd.manifest.SHA256 = block.Digest{}, block.Digest{} // evicted
				if changed {
					o.data = bytes.Clone(o.data)
					for i := mb + 5; i < 4*mb; i += 1000 {
						o.data[i] ^= 1
					}
				}
				for _, r := range []span{{3 * mb, 4 * mb}, {0, -1}} {
					if n, err := bd.get(t.Context(), o, r.from, r.to, o.data[r.from:]); err != nil {
						t.Errorf("%v: %d bytes, %v", r, n, err)
					}
				}
				synctest.Wait()
				if m := bd.saved(); !m.Complete() || !names(m, o.data) {
					t.Error("not whole, or not the digest of what was read")
				}
				bd.quiet(o)
				bd.m.Close()
			})
		})
	}
}
