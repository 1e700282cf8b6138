package wanline

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPacerKeepsTheRate(t *testing.T) {
	tests := map[string]struct {
		bps  int64
		n    int
		many int
	}{
		"20 Mbit/s in small chunks": {20_000_000, 1460, 5000},
		"20 Mbit/s in large chunks": {20_000_000, 64 << 10, 200},
		"512 kbit/s":                {512_000, 1460, 300},
		"1 Gbit/s":                  {1_000_000_000, 64 << 10, 2000},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var p pacer
			p.set(tt.bps)
			start := time.Unix(1000, 0)
			now := start
			for range tt.many {
				if at := p.reserve(now, tt.n); at.After(now) {
					now = at.Add(700 * time.Microsecond) // timers are late
				}
			}
			// A last booking tells when all before it had left: lateness is caught up on.
			took := p.reserve(now, 0).Sub(start).Seconds()
			ideal := float64(tt.many) * float64(tt.n) * 8 / float64(tt.bps)
			if took < ideal-burst.Seconds()-0.001 || took > ideal*1.01+burst.Seconds() {
				t.Errorf("%d chunks of %d took %.4f s, want %.4f", tt.many, tt.n, took, ideal)
			}
		})
	}
}

func TestPacerSharesByChunksAndSavesNothingWhenIdle(t *testing.T) {
	var p pacer
	p.set(8_000_000) // a byte a microsecond
	now := time.Unix(1000, 0)
	p.reserve(now, 5000) // uses the burst up
	a, b := p.reserve(now, 1000), p.reserve(now, 1000)
	if a.Sub(now) != time.Millisecond || b.Sub(now) != 2*time.Millisecond {
		t.Errorf("two bookings end after %v and %v, want 1ms and 2ms", a.Sub(now), b.Sub(now))
	}
	now = now.Add(time.Hour)
	if got := p.reserve(now, 1_000_000).Sub(now); got != time.Second-burst {
		t.Errorf("after an hour idle 1 MB takes %v, want %v", got, time.Second-burst)
	}
}

func TestChunksInFlight(t *testing.T) {
	if got := chunk(20_000_000, 20*time.Millisecond) * inFlight; got > 64<<10 || got < 50_000 {
		t.Errorf("20 Mbit/s and 20 ms hold %d bytes, want between 50,000 and 65,536", got)
	}
	if got := chunk(64_000, 0); got != 1460 {
		t.Errorf("a slow line reads %d at a time, want 1460", got)
	}
	if got := chunk(0, time.Second); got != 32<<10 {
		t.Errorf("an unlimited line reads %d at a time, want 32768", got)
	}
}

// run starts a line before target and stops it with the test.
func run(t *testing.T, cfg Config) *Line {
	t.Helper()
	cfg.Listen = "127.0.0.1:0"
	l, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return l
}

func origin(t *testing.T, h http.Handler) string {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.Listener.Addr().String()
}

func client(t *testing.T) *http.Client {
	t.Helper()
	tr := &http.Transport{DisableCompression: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func noise(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(b) // never fails
	return b
}

func TestEveryByteCrossesOnceAndIsCounted(t *testing.T) {
	body := noise(300_000)
	l := run(t, Config{
		Target: origin(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.Write(body)
		})),
		BitsPerSecond: 200_000_000, Delay: time.Millisecond,
	})
	c := client(t)
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			res, err := c.Post("http://"+l.Addr(), "application/octet-stream", bytes.NewReader(body[:50_000]))
			if err != nil {
				t.Error(err)
				return
			}
			defer res.Body.Close()
			got, err := io.ReadAll(res.Body)
			if err != nil || !bytes.Equal(got, body) {
				t.Errorf("got %d bytes, %v; want the %d sent", len(got), err, len(body))
			}
		})
	}
	wg.Wait()
	if got := l.Received(); got < 5*300_000 || got > 5*301_000 {
		t.Errorf("received %d, want 1,500,000 and some header fields", got)
	}
	if got := l.Sent(); got < 5*50_000 || got > 5*51_000 {
		t.Errorf("sent %d, want 250,000 and some header fields", got)
	}
}

func TestHangingUpWastesLittle(t *testing.T) {
	l := run(t, Config{
		Target: origin(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Write(make([]byte, 16<<20))
		})),
		BitsPerSecond: 20_000_000, Delay: 20 * time.Millisecond,
	})
	// However late it hangs up: what it does not read must wait on the line, and
	// not in its socket.
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		if tcp, ok := conn.(*net.TCPConn); ok {
			err = tcp.SetReadBuffer(16 << 10)
		}
		return conn, err
	}}}
	res, err := c.Get("http://" + l.Addr())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, res.Body, 200_000); err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	await(t, "the connection to end", func() bool { return l.Conns() == 0 })
	if got := l.Received(); got > 200_000+256<<10 {
		t.Errorf("%d bytes crossed for the 200,000 that were read", got)
	}
}

func TestSilentCutFreezesAndHealGoesOn(t *testing.T) {
	l := run(t, Config{Target: echo(t), Delay: time.Millisecond})
	conn := dial(t, l)
	say(t, conn, "before")
	if got := hear(t, conn, 6); got != "before" {
		t.Fatalf("heard %q", got)
	}
	l.Cut(Silent)
	if l.State() != Silent {
		t.Errorf("state = %v, want silent", l.State())
	}
	sent := l.Sent()
	say(t, conn, "during")
	late := dial(t, l) // accepted, and then nothing
	say(t, late, "late!!")
	for _, c := range []net.Conn{conn, late} {
		if err := c.SetReadDeadline(time.Now().Add(60 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read %d bytes, %v through a cut line, want a timeout", n, err)
		}
		if err := c.SetReadDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
	if l.Sent() != sent {
		t.Errorf("%d bytes crossed a cut line", l.Sent()-sent)
	}
	if err := l.Heal(); err != nil {
		t.Fatal(err)
	}
	if got := hear(t, conn, 6); got != "during" {
		t.Errorf("after healing heard %q, want %q", got, "during")
	}
	if got := hear(t, late, 6); got != "late!!" {
		t.Errorf("after healing the late connection heard %q", got)
	}
}

func TestRefusingCutResetsAndRefuses(t *testing.T) {
	l := run(t, Config{Target: echo(t)})
	conn := dial(t, l)
	say(t, conn, "before")
	hear(t, conn, 6)
	l.Cut(Refuse)
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("an open connection got %v, want a reset", err)
	}
	if c, err := net.Dial("tcp", l.Addr()); !errors.Is(err, syscall.ECONNREFUSED) {
		if c != nil {
			c.Close()
		}
		t.Errorf("a new connection got %v, want refused", err)
	}
	if err := l.Heal(); err != nil {
		t.Fatal(err)
	}
	again := dial(t, l)
	say(t, again, "after!")
	if got := hear(t, again, 6); got != "after!" {
		t.Errorf("after healing heard %q", got)
	}
}

func TestCutModesFollowEachOther(t *testing.T) {
	l := run(t, Config{Target: echo(t)})
	for _, m := range []Mode{Silent, Refuse, Silent, Refuse} {
		l.Cut(m)
		if l.State() != m {
			t.Fatalf("state = %v, want %v", l.State(), m)
		}
	}
	for range 2 { // healing twice is healing
		if err := l.Heal(); err != nil {
			t.Fatal(err)
		}
	}
	conn := dial(t, l)
	say(t, conn, "hello!")
	if got := hear(t, conn, 6); got != "hello!" || l.State() != 0 {
		t.Errorf("heard %q with the line %v", got, l.State())
	}
}

func TestSetRateReachesOpenConnections(t *testing.T) {
	l := run(t, Config{Target: echo(t), BitsPerSecond: 1_000_000})
	conn := dial(t, l)
	say(t, conn, "slow")
	hear(t, conn, 4)
	l.SetRate(0)
	if l.Rate() != 0 {
		t.Errorf("rate = %d, want no limit", l.Rate())
	}
	// At 1 Mbit/s this would take 64 s each way, past the test's patience.
	big := noise(8 << 20)
	go func() { conn.Write(big) }()
	if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(big))
	if _, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got, big) {
		t.Errorf("%v, equal = %v", err, bytes.Equal(got, big))
	}
}

func TestNewRefusesNonsense(t *testing.T) {
	for name, cfg := range map[string]Config{
		"negative rate":  {Listen: "127.0.0.1:0", Target: "127.0.0.1:1", BitsPerSecond: -1},
		"negative delay": {Listen: "127.0.0.1:0", Target: "127.0.0.1:1", Delay: -1},
		"no port":        {Listen: "127.0.0.1:0", Target: "127.0.0.1"},
		"bad listen":     {Listen: "nowhere", Target: "127.0.0.1:1"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := New(cfg); err == nil {
				t.Error("accepted")
			}
		})
	}
}

// echo answers every connection with its own bytes.
func echo(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			})
		}
	})
	t.Cleanup(func() { ln.Close(); wg.Wait() })
	return ln.Addr().String()
}

func dial(t *testing.T, l *Line) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", l.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func say(t *testing.T, c net.Conn, what string) {
	t.Helper()
	if _, err := io.WriteString(c, what); err != nil {
		t.Fatal(err)
	}
}

func hear(t *testing.T, c net.Conn, n int) string {
	t.Helper()
	b := make([]byte, n)
	if _, err := io.ReadFull(c, b); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(time.Minute); !ok(); {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("still waiting for %s", what)
		}
	}
}
