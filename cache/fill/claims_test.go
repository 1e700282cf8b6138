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

const mb = int64(block.Size)

// fewer is n, or short if the tests are to be short: the race detector pays for
// each byte that is copied.
func fewer[N int | int64](n, short N) N {
	if testing.Short() {
		return short
	}
	return n
}

// TestOneFetchManyReaders: each byte crosses the line once, for any number of
// readers, whole or ranged, together or spread.
func TestOneFetchManyReaders(t *testing.T) {
	for _, readers := range []int{1, fewer(40, 12), fewer(500, 200)} {
		size := fewer(2*int(mb), int(mb)) + 12345
		switch {
		case readers > 100:
			size = fewer(200_007, 40_007)
		case readers > 1:
			size = fewer(2*int(mb), int(mb)) + 12345
		}
		for _, spread := range []time.Duration{0, 2 * time.Second} {
			for _, ranged := range []bool{false, true} {
				t.Run(fmt.Sprintf("%d readers within %v, ranged %v", readers, spread, ranged), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						bd, o := newBed(t, 0), newOrigin(size)
						o.bits = 20e6
						var wg sync.WaitGroup
						for i := range readers {
							wg.Go(func() {
								time.Sleep(time.Duration(i) * spread / time.Duration(readers))
								if !ranged {
									bd.mustGet(o, 0, -1)
									return
								}
								// Each takes another piece; the first ones cover all.
								part := int64(size) / int64(min(readers, 10))
								from := int64(i%10) * part
								to := from + part
								if i%10 == min(readers, 10)-1 {
									to = int64(size)
								}
								bd.mustGet(o, from, to)
							})
						}
						wg.Wait()
						synctest.Wait()
						bd.quiet(o)
						if sent := o.sent(); sent != int64(size) {
							t.Errorf("the source sent %d bytes of %d: %.4f", sent, size, float64(sent)/float64(size))
						}
						if asked := o.asked(); !ranged && len(asked) != 1 {
							t.Errorf("the source was asked for %v", asked)
						}
						if m := bd.saved(); !m.Complete() || !names(m, o.data) {
							t.Errorf("saved: complete %v, digest right %v %v", m.Complete(), names(m, o.data), m.SHA256)
						}
						bd.m.Close()
					})
				})
			}
		}
	}
}

// TestManySmallRanges: small ranges all over the body, then the whole.
func TestManySmallRanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		size := fewer(8*mb, 4*mb)
		bd, o := newBed(t, 0), newOrigin(int(size))
		o.bits = 20e6
		var wg sync.WaitGroup
		wg.Go(func() { bd.mustGet(o, 0, -1) })
		for i := range int64(30) {
			wg.Go(func() {
				from := size / 30 * i
				bd.mustGet(o, from, from+32<<10)
			})
		}
		wg.Wait()
		synctest.Wait()
		bd.quiet(o)
		if sent := o.sent(); float64(sent) > 1.02*float64(size) {
			t.Errorf("sent %.4f of the size", float64(sent)/float64(size))
		}
		bd.m.Close()
	})
}

// firstByte notes when the first byte came.
type firstByte struct {
	bytes.Buffer
	at time.Time
}

func (f *firstByte) Write(p []byte) (int, error) {
	if f.at.IsZero() {
		f.at = time.Now()
	}
	return f.Buffer.Write(p)
}

func TestASeekIsFetchedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		size, seeks := 30*mb, []int64{24 * mb, 12*mb + 77, 28 * mb}
		if testing.Short() {
			size, seeks = 12*mb, []int64{10 * mb, 8*mb + 77, 11 * mb}
		}
		bd, o := newBed(t, 0), newOrigin(int(size))
		o.bits, o.latency = 20e6, 30*time.Millisecond
		b := bd.body(o)
		b.Feed(o.first())
		var wg sync.WaitGroup
		wg.Go(func() {
			var w firstByte
			begin := time.Now()
			r := b.NewReader(0, -1)
			defer r.Close()
			if _, err := r.CopyTo(t.Context(), &w); err != nil || !bytes.Equal(w.Bytes(), o.data) {
				t.Errorf("whole: %d bytes, %v", w.Len(), err)
			}
			if d := w.at.Sub(begin); d > 100*time.Millisecond {
				t.Errorf("the beginning came after %v: nobody waits for the end to get it", d)
			}
		})
		for _, from := range seeks {
			time.Sleep(time.Second)
			wg.Go(func() {
				var w firstByte
				begin := time.Now()
				r := b.NewReader(from, from+mb/2)
				defer r.Close()
				if _, err := r.CopyTo(t.Context(), &w); err != nil || !bytes.Equal(w.Bytes(), o.data[from:from+mb/2]) {
					t.Errorf("seek: %d bytes, %v", w.Len(), err)
				}
				if d := w.at.Sub(begin); d > 500*time.Millisecond {
					t.Errorf("the first byte of a seek came after %v", d)
				}
			})
		}
		wg.Wait()
		b.Release()
		synctest.Wait()
		bd.quiet(o)
		if sent := o.sent(); float64(sent) > 1.02*float64(size) {
			t.Errorf("sent %.4f of the size", float64(sent)/float64(size))
		}
		bd.m.Close()
	})
}

func TestTheClassSurvivesTheSource(t *testing.T) {
	for name, weak := range map[string]bool{"ranges": false, "no ranges, unproven": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				size := fewer(8*mb, 4*mb) + 5
				bd, o := newBed(t, 0), newOrigin(int(size))
				o.bits, o.weak, o.noRanges = 20e6, weak, weak
				var wg sync.WaitGroup
				for i := range fewer(40, 6) {
					wg.Go(func() {
						time.Sleep(time.Duration(i) * 10 * time.Millisecond)
						bd.mustGet(o, 0, -1)
					})
				}
				time.Sleep(time.Second)
				before := o.sent()
				o.goAway()
				time.Sleep(30 * time.Second)
				o.comeBack()
				back := time.Now()
				wg.Wait()
				if d := time.Since(back); !weak && d > 7*time.Second {
					t.Errorf("the rest took %v", d)
				}
				synctest.Wait()
				bd.quiet(o)
				most := size * 102 / 100
				if weak {
					most += before
				}
				if sent := o.sent(); sent > most {
					t.Errorf("sent %.4f of the size", float64(sent)/float64(size))
				}
				bd.m.Close()
			})
		})
	}
}

func TestPatienceEnds(t *testing.T) {
	for _, silent := range []bool{false, true} {
		t.Run(fmt.Sprintf("silent %v", silent), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				bd, o := newBed(t, 0), newOrigin(int(10*mb))
				o.bits = 20e6
				var wg sync.WaitGroup
				for range fewer(5, 2) {
					wg.Go(func() {
						begin := time.Now()
						n, err := bd.get(t.Context(), o, 0, -1, o.start)
						if !errors.Is(err, ErrUnavailable) {
							t.Errorf("%d bytes, %v; want ErrUnavailable", n, err)
						}
						if d := time.Since(begin); d < bd.cfg.Patience || d > bd.cfg.Patience+5*time.Second {
							t.Errorf("gave up after %v", d)
						}
					})
				}
				time.Sleep(2 * time.Second)
				if silent {
					o.set(func() { o.silent = true })
				} else {
					o.goAway()
				}
				before := o.sent()
				wg.Wait()
				synctest.Wait()
				bd.quiet(o)
				if before < 4*mb || bd.held() < before-readSize {
					t.Errorf("%d bytes came, %d are held", before, bd.held())
				}
				o.set(func() { o.silent = false })
				if !silent {
					o.comeBack()
				}
				bd.mustGet(o, 0, -1)
				synctest.Wait()
				if sent := o.sent(); sent > 10*mb+2*readSize {
					t.Errorf("sent %d of %d", sent, 10*mb)
				}
				bd.quiet(o)
				bd.m.Close()
			})
		})
	}
}

func TestAnotherVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bd, o := newBed(t, 0), newOrigin(int(10*mb))
		o.bits = 20e6
		b := bd.body(o)
		slow := b.NewReader(0, 3*mb) // it will not have read that when the version changes
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				n, err := bd.get(t.Context(), o, 0, -1, o.start)
				if !errors.Is(err, ErrChanged) {
					t.Errorf("%d bytes, %v; want ErrChanged", n, err)
				}
			})
		}
		time.Sleep(2 * time.Second)
		o.set(func() { o.data, o.cuts = newOrigin(int(9*mb)).data, o.cuts+1 })
		wg.Wait()
		var w bytes.Buffer
		if _, err := slow.CopyTo(t.Context(), &w); err != nil || !bytes.Equal(w.Bytes(), o.start[:3*mb]) {
			t.Errorf("within what is held: %d bytes, %v", w.Len(), err)
		}
		slow.Close()
		b.Release()
		synctest.Wait()
		bd.quiet(o)
		bd.m.Close()
	})
}

// TestUnproven: the source can neither do ranges nor name the version.
func TestUnproven(t *testing.T) {
	half := fewer(4*mb, 2*mb)
	for _, at := range []int64{0, 100, half - mb, half + 100, half + 2*mb - 1} {
		t.Run(fmt.Sprintf("differs at %d", at), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				bd, o := newBed(t, 0), newOrigin(int(2*half))
				o.bits, o.weak, o.noRanges = 20e6, true, true
				o.dieAfter = half + 1000
				other := bytes.Clone(o.data)
				other[at] ^= 1
				var wg sync.WaitGroup
				for range fewer(3, 2) {
					wg.Go(func() {
						// Where the versions differ only beyond what was held, the
						// reader has the bytes of the second.
						want, wantErr := o.start, ErrChanged
						if at >= half+1000 {
							want, wantErr = other, nil
						}
						n, err := bd.get(t.Context(), o, 0, -1, want)
						if !errors.Is(err, wantErr) || err == nil && n != len(other) {
							t.Errorf("%d bytes, %v; want %v", n, err, wantErr)
						}
					})
				}
				for o.sent() < half+1000 {
					time.Sleep(100 * time.Microsecond)
				}
				o.set(func() {
					o.data, o.dieAfter, o.cuts = other, -1, o.cuts+1
				})
				wg.Wait()
				synctest.Wait()
				bd.quiet(o)
				bd.m.Close()
			})
		})
	}
}

// TestAllLeave: the fetch stops, what came is kept down to the last byte, and
// the next reader has only the rest fetched.
func TestAllLeave(t *testing.T) {
	for name, restart := range map[string]bool{"same box": false, "after a restart": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				size := fewer(20*mb, 12*mb) + 999
				bd, o := newBed(t, 0), newOrigin(int(size))
				o.bits = 20e6
				ctx, leave := context.WithTimeout(t.Context(), 3*time.Second)
				defer leave()
				b := bd.body(o)
				r := b.NewReader(0, -1)
				_, err := r.CopyTo(ctx, io.Discard)
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("CopyTo: %v", err)
				}
				r.Close()
				b.Release()
				synctest.Wait()
				bd.quiet(o)
				came := o.sent()
				if came < 7*mb || came > 8*mb || bd.held() != came || len(bd.saved().Pieces) == 0 {
					t.Fatalf("%d came, %d held in %d blocks and %d pieces", came, bd.held(), len(bd.saved().Blocks), len(bd.saved().Pieces))
				}
				if restart {
					bd.restart()
				}
				time.Sleep(time.Hour)
				bd.mustGet(o, 0, -1)
				synctest.Wait()
				bd.quiet(o)
				if o.sent() != size {
					t.Errorf("sent %d of %d", o.sent(), size)
				}
				if m := bd.saved(); !m.Complete() || !names(m, o.data) || len(m.Pieces) > 0 {
					t.Errorf("complete %v, digest %v, pieces %d", m.Complete(), names(m, o.data), len(m.Pieces))
				}
				bd.m.Close()
			})
		})
	}
}

func TestWorthFinishing(t *testing.T) {
	tests := map[string]struct {
		readers int
		apart   time.Duration
		after   time.Duration
		goesOn  bool
	}{
		"half of it, asked for once":              {1, 0, 4 * time.Second, false},
		"half of it, asked for twice lately":      {2, time.Second, 4 * time.Second, true},
		"half of it, asked for twice long ago":    {2, 0, 90 * time.Second, false},
		"little is left":                          {1, 0, 190 * time.Second, true},
		"all but little is left, asked for twice": {2, 0, 100 * time.Second, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				size := fewer(20*mb, 5*mb)
				bd, o := newBed(t, 0), newOrigin(int(size))
				o.bits = float64(size*8) / 210 // 210 s in all
				var wg sync.WaitGroup
				begin := time.Now()
				for i := range tt.readers {
					wg.Go(func() {
						time.Sleep(time.Duration(i) * tt.apart)
						ctx, cancel := context.WithDeadline(t.Context(), begin.Add(tt.after))
						defer cancel()
						if _, err := bd.get(ctx, o, 0, -1, o.start); !errors.Is(err, context.DeadlineExceeded) {
							t.Error(err)
						}
					})
				}
				wg.Wait()
				synctest.Wait()
				if running := bd.m.InUse(ID{1}); running != tt.goesOn {
					t.Errorf("goes on: %v", running)
				}
				time.Sleep(time.Hour)
				synctest.Wait()
				bd.quiet(o)
				if done := bd.saved().Complete(); done != tt.goesOn {
					t.Errorf("complete: %v", done)
				}
				bd.m.Close()
			})
		})
	}
}

// gate is a writer that blocks until it is opened.
type gate struct {
	checker
	open chan struct{}
}

func (g *gate) Write(p []byte) (int, error) {
	<-g.open
	return g.checker.Write(p)
}

func TestASlowReaderHoldsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		size := fewer(10*mb, 7*mb)
		bd, o := newBed(t, 0), newOrigin(int(size))
		o.bits = 20e6
		b := bd.body(o)
		open := make(chan struct{})
		var slow, wg sync.WaitGroup
		for range fewer(10, 2) {
			slow.Go(func() {
				r := b.NewReader(0, -1)
				defer r.Close()
				w := &gate{checker{want: o.data}, open}
				if _, err := r.CopyTo(t.Context(), w); err != nil || int64(w.n) != size {
					t.Errorf("slow: %d bytes, %v", w.n, err)
				}
			})
		}
		begin := time.Now()
		wg.Go(func() { bd.mustGet(o, 0, -1) })
		wg.Wait()
		if d := time.Since(begin); d > 9*time.Second {
			t.Errorf("the others took %v", d)
		}
		synctest.Wait()
		b.mu.Lock()
		parts := len(b.parts)
		b.mu.Unlock()
		if parts > recentParts {
			t.Errorf("%d blocks are in memory for readers who don't read", parts)
		}
		close(open)
		slow.Wait()
		b.Release()
		synctest.Wait()
		bd.quiet(o)
		if o.sent() != size {
			t.Errorf("sent %d", o.sent())
		}
		bd.m.Close()
	})
}

func TestUnknownLength(t *testing.T) {
	for _, size := range []int{0, 1, block.Size - 1, block.Size, block.Size + 1, 3 * block.Size, 3*block.Size + 77} {
		for _, feed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d bytes, fed %v", size, feed), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					bd, o := newBed(t, 0), newOrigin(size)
					o.bits, o.noLength, o.weak, o.noRanges = 20e6, true, true, true
					b := bd.body(o)
					if feed {
						b.Feed(o.first())
					}
					var wg sync.WaitGroup
					for range fewer(5, 2) {
						wg.Go(func() { bd.mustGet(o, 0, -1) })
					}
					wg.Go(func() { // beyond the end
						if n, err := bd.get(t.Context(), o, int64(size)+10, -1, nil); err != nil {
							t.Errorf("beyond the end: %d bytes, %v", n, err)
						}
					})
					wg.Wait()
					b.Release()
					synctest.Wait()
					bd.quiet(o)
					m := bd.saved()
					if m.Length != int64(size) || !m.Complete() || !names(m, o.data) {
						t.Errorf("saved length %d, complete %v, digest right %v", m.Length, m.Complete(), names(m, o.data))
					}
					if o.sent() != int64(size) {
						t.Errorf("sent %d", o.sent())
					}
					bd.m.Close()
				})
			})
		}
	}
}
