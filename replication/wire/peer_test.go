package wire_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"preau/replication/enrol"
	"preau/replication/identity"
	"preau/replication/wire"
)

const day = 24 * time.Hour

func TestWhoIsLetInOverHTTP(t *testing.T) {
	t.Run(overTCP, whoIsLetInOverHTTP)
	t.Run(overQUIC, whoIsLetInOverHTTP)
}

func whoIsLetInOverHTTP(t *testing.T) {
	now := time.Now()
	ours, foreign := newRegion(t, now.Add(-5*365*day)), newRegion(t, now)
	// A second authority that claims to be of our region.
	forged := &region{id: ours.id}
	var err error
	if forged.authority, err = enrol.NewAuthority(ours.id, now); err != nil {
		t.Fatal(err)
	}
	s := ours.serve(t, options{
		raft:    true,
		revoked: func(p wire.Peer) bool { return p.Name == "stolen" },
	})
	anonymous := ours.creds(t, ours.box("x"), now)
	anonymous.Certificate = nil
	claims := forged.creds(t, ours.box("forged"), now)
	claims.Roots = []*x509.Certificate{ours.authority.Certificate()}
	strange := foreign.creds(t, foreign.box("strange"), now)
	strange.Region, strange.Roots = ours.id, claims.Roots

	ago := now.Add(-400 * day)
	tests := map[string]struct {
		creds   wire.Credentials
		want    string // what whoami says
		refused bool
	}{
		"a box":                      {creds: ours.creds(t, ours.box("b1"), now), want: ours.box("b1").String()},
		"a server":                   {creds: ours.creds(t, ours.node(identity.Server, "s2"), now), want: ours.node(identity.Server, "s2").String()},
		"an operator":                {creds: ours.creds(t, ours.node(identity.Operator, "ada"), now), want: ours.node(identity.Operator, "ada").String()},
		"nobody":                     {creds: anonymous, want: "anonymous"},
		"a lapsed box":               {creds: ours.creds(t, ours.box("b2"), ago), want: ours.box("b2").String() + " lapsed"},
		"a lapsed server":            {creds: ours.creds(t, ours.node(identity.Server, "s3"), ago), want: ours.node(identity.Server, "s3").String() + " lapsed"},
		"a box a day over":           {creds: ours.creds(t, ours.box("b3"), now.Add(-91*day)), want: ours.box("b3").String()},
		"a box from the future":      {creds: ours.creds(t, ours.box("b4"), now.Add(3*365*day)), want: ours.box("b4").String()},
		"an operator that lapsed":    {creds: ours.creds(t, ours.node(identity.Operator, "bob"), ago), refused: true},
		"a revoked box":              {creds: ours.creds(t, ours.box("stolen"), now), refused: true},
		"a box of another region":    {creds: strange, refused: true},
		"a box of a false authority": {creds: claims, refused: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tr := transport(t, dialer(t, tt.creds, nil), s.target)
			got, err := get(t.Context(), tr, "/")
			switch {
			case tt.refused && !errors.Is(err, wire.ErrRefused):
				t.Errorf("got %q, %v, want ErrRefused", got, err)
			case !tt.refused && (err != nil || got != tt.want):
				t.Errorf("got %q, %v, want %q", got, err, tt.want)
			}
		})
	}
}

func TestRaftIsForServers(t *testing.T) {
	now := time.Now()
	ours := newRegion(t, now.Add(-5*365*day))
	s := ours.serve(t, options{raft: true, revoked: func(p wire.Peer) bool { return p.Name == "stolen" }})
	var echoing sync.WaitGroup
	echoing.Go(func() {
		for {
			conn, err := s.raft.Accept()
			if err != nil {
				return
			}
			echoing.Go(func() {
				defer conn.Close()
				peer, ok := wire.PeerOfConn(conn)
				if !ok {
					t.Error("a raft connection without a peer")
				}
				fmt.Fprintf(conn, "%s\n", peer.Name)
				drain(io.Discard, conn)
			})
		}
	})
	defer echoing.Wait()
	defer func() {
		if err := s.stop(); err != nil {
			t.Error(err)
		}
	}()

	ago := now.Add(-400 * day)
	tests := map[string]struct {
		id     identity.Identity
		issued time.Time
		good   bool
	}{
		"a server":         {ours.node(identity.Server, "s2"), now, true},
		"a box":            {ours.box("b1"), now, false},
		"an operator":      {ours.node(identity.Operator, "ada"), now, false},
		"central":          {ours.node(identity.Central, "c1"), now, false},
		"a lapsed server":  {ours.node(identity.Server, "s3"), ago, false},
		"a revoked server": {ours.node(identity.Server, "stolen"), now, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			conn, err := dialer(t, ours.creds(t, tt.id, tt.issued), nil).DialRaft(t.Context(), s.target)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			got, err := bufio.NewReader(conn).ReadString('\n')
			switch {
			case tt.good && (err != nil || got != "s2\n"):
				t.Errorf("got %q, %v", got, err)
			case !tt.good && !errors.Is(err, wire.ErrRefused):
				t.Errorf("got %q, %v, want ErrRefused", got, err)
			}
		})
	}
	t.Run("nobody", func(t *testing.T) {
		creds := ours.creds(t, ours.box("b1"), now)
		creds.Certificate = nil
		if _, err := dialer(t, creds, nil).DialRaft(t.Context(), s.target); !errors.Is(err, wire.ErrRole) {
			t.Errorf("err = %v, want ErrRole", err)
		}
		// And if it tried all the same:
		conn, err := (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"preau-raft/1"}}}).DialContext(t.Context(), "tcp", s.target.Address)
		if err != nil {
			return
		}
		defer conn.Close()
		if n, err := conn.Read(make([]byte, 1)); err == nil {
			t.Errorf("read %d bytes of raft without a certificate", n)
		}
	})
}

func TestRaftIsRefusedWhereNobodyWantsIt(t *testing.T) {
	ours := newRegion(t, time.Now())
	s := ours.serve(t, options{})
	conn, err := dialer(t, ours.creds(t, ours.node(identity.Server, "s2"), time.Now()), nil).DialRaft(t.Context(), s.target)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, wire.ErrRefused) {
		t.Errorf("err = %v, want ErrRefused", err)
	}
}

// A box believes servers of its region, whatever its clock says: a certificate
// that begins in 2090 looks to it as one of today does to a box in 1970.
func TestWhomABoxBelieves(t *testing.T) {
	t.Run(overTCP, whomABoxBelieves)
	t.Run(overQUIC, whomABoxBelieves)
}

func whomABoxBelieves(t *testing.T) {
	now := time.Now()
	year := func(y int) time.Time { return time.Date(y, 6, 1, 0, 0, 0, 0, time.UTC) }
	clocks := map[string]time.Time{
		"right": now, "a day behind": now.Add(day), "a day ahead": now.Add(-day),
		"1970": now.Add(56 * 365 * day), "2090": year(1960),
	}
	for name, issued := range clocks {
		t.Run("clock "+name, func(t *testing.T) {
			ours := newRegion(t, issued)
			s := ours.serve(t, options{issued: issued})
			tr := transport(t, dialer(t, ours.creds(t, ours.box("b1"), issued), nil), s.target)
			if _, err := get(t.Context(), tr, "/"); err != nil {
				t.Error(err)
			}
		})
	}

	ours, foreign := newRegion(t, now), newRegion(t, now)
	s := ours.serve(t, options{})
	box := ours.creds(t, ours.box("b1"), now)
	t.Run("another server than it dialled", func(t *testing.T) {
		tr := transport(t, dialer(t, box, nil), wire.Target{Name: "s2", Address: s.target.Address})
		if _, err := get(t.Context(), tr, "/"); !errors.Is(err, wire.ErrRole) {
			t.Errorf("err = %v, want ErrRole", err)
		}
	})
	t.Run("any server will do", func(t *testing.T) {
		tr := transport(t, dialer(t, box, nil), wire.Target{Address: s.target.Address})
		if _, err := get(t.Context(), tr, "/"); err != nil {
			t.Error(err)
		}
	})
	t.Run("a server of another region", func(t *testing.T) {
		tr := transport(t, dialer(t, foreign.creds(t, foreign.box("b1"), now), nil), s.target)
		if _, err := get(t.Context(), tr, "/"); !errors.Is(err, wire.ErrForeign) {
			t.Errorf("err = %v, want ErrForeign", err)
		}
	})
	for _, role := range []identity.Role{identity.Operator, identity.Central} {
		t.Run("no "+string(role)+" that plays server", func(t *testing.T) {
			impostor(t, ours, ours.node(role, "s1"), box)
		})
	}
	t.Run("no box that plays server", func(t *testing.T) { impostor(t, ours, ours.box("s1"), box) })
}

// impostor listens with the certificate of id, which is no server's.
func impostor(t *testing.T, r *region, id identity.Identity, box wire.Credentials) {
	t.Helper()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{*r.pair(t, id, time.Now())}, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	var answering sync.WaitGroup
	answering.Go(func() {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		drain(io.Discard, conn)
		conn.Close()
	})
	defer answering.Wait()
	defer ln.Close()
	tr := transport(t, dialer(t, box, nil), wire.Target{Address: ln.Addr().String()})
	// The use that the authority wrote into the certificate is not a server's.
	if _, err := get(t.Context(), tr, "/"); !errors.Is(err, wire.ErrForeign) && !errors.Is(err, wire.ErrRole) {
		t.Errorf("err = %v, want ErrForeign or ErrRole", err)
	}
}

func TestAPinIsEnoughToEnrol(t *testing.T) {
	t.Run(overTCP, aPinIsEnoughToEnrol)
	t.Run(overQUIC, aPinIsEnoughToEnrol)
}

func aPinIsEnoughToEnrol(t *testing.T) {
	now := time.Now()
	ours, other := newRegion(t, now), newRegion(t, now)
	s := ours.serve(t, options{})
	pinned := func(id identity.Region, pin wire.Pin) (string, error) {
		cfg := wire.DefaultDialConfig()
		cfg.QUIC, cfg.HeadStart = isOver(t, wire.OverQUIC), time.Hour
		d, err := wire.NewPinnedDialer(id, pin, cfg)
		if err != nil {
			t.Fatal(err)
		}
		return get(t.Context(), transport(t, d, wire.Target{Address: s.target.Address}), "/")
	}
	if got, err := pinned(ours.id, ours.authority.Pin()); err != nil || got != "anonymous" {
		t.Errorf("got %q, %v, want anonymous", got, err)
	}
	if _, err := pinned(ours.id, other.authority.Pin()); !errors.Is(err, wire.ErrForeign) {
		t.Errorf("another pin: err = %v, want ErrForeign", err)
	}
	if _, err := pinned(other.id, ours.authority.Pin()); !errors.Is(err, wire.ErrForeign) {
		t.Errorf("another region: err = %v, want ErrForeign", err)
	}
}

// streams opens a response without end and returns a channel that is closed when
// it ends all the same.
func stream(t *testing.T, tr http.RoundTripper) <-chan struct{} {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://region/feed", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	body := bufio.NewReader(resp.Body)
	if _, err := body.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		defer resp.Body.Close()
		drain(io.Discard, body)
	}()
	t.Cleanup(func() { <-over })
	return over
}

// ends waits for what must end.
func ends(t *testing.T, over <-chan struct{}) {
	t.Helper()
	timer := time.NewTimer(time.Minute)
	defer timer.Stop()
	select {
	case <-over:
	case <-timer.C:
		t.Fatal("still there after a minute")
	}
}

func TestRevocationEndsLiveConnections(t *testing.T) {
	t.Run(overTCP, revocationEndsLiveConnections)
	t.Run(overQUIC, revocationEndsLiveConnections)
}

func revocationEndsLiveConnections(t *testing.T) {
	for _, how := range []string{"DropRevoked", "the sweep"} {
		t.Run(how, func(t *testing.T) {
			ours := newRegion(t, time.Now())
			var stolen atomic.Bool
			s := ours.serve(t, options{
				handler: http.HandlerFunc(forEver),
				revoked: func(p wire.Peer) bool { return stolen.Load() && p.Name == "b1" },
				cfg: func(c *wire.Config) {
					c.Sweep = 100 * time.Millisecond
					if how == "DropRevoked" {
						c.Sweep = time.Hour
					}
				},
			})
			one := transport(t, dialer(t, ours.creds(t, ours.box("b1"), time.Now()), nil), s.target)
			two := transport(t, dialer(t, ours.creds(t, ours.box("b2"), time.Now()), nil), s.target)
			first, second := stream(t, one), stream(t, two)
			if got := len(s.Peers()); got != 2 {
				t.Errorf("%d peers, want 2", got)
			}
			stolen.Store(true)
			if how == "DropRevoked" {
				if n := s.DropRevoked(); n != 1 {
					t.Errorf("dropped %d, want 1", n)
				}
			}
			ends(t, first)
			if _, err := get(t.Context(), one, "/"); !errors.Is(err, wire.ErrRefused) {
				t.Errorf("err = %v, want ErrRefused", err)
			}
			select {
			case <-second:
				t.Error("the other box was cut off too")
			default:
			}
			// The refused one's connections end after it has heard of that.
			for deadline := time.Now().Add(time.Minute); len(s.Peers()) > 1 && time.Now().Before(deadline); {
				<-time.After(time.Millisecond)
			}
			if n := s.Drop(func(wire.Peer) bool { return true }); n != 1 {
				t.Errorf("dropped %d, want 1", n)
			}
			ends(t, second)
		})
	}
}

func TestManyHandshakesAtOnce(t *testing.T) {
	t.Run(overTCP, manyHandshakesAtOnce)
	t.Run(overQUIC, manyHandshakesAtOnce)
}

func manyHandshakesAtOnce(t *testing.T) {
	ours := newRegion(t, time.Now())
	// Together they may take long.
	s := ours.serve(t, options{cfg: func(c *wire.Config) { c.HandshakeTimeout = time.Minute }})
	patient := func(c *wire.DialConfig) { c.DialTimeout, c.HandshakeTimeout = time.Minute, time.Minute }
	count := 200
	if testing.Short() {
		count = 25
	}
	creds := make([]wire.Credentials, count)
	for i := range creds {
		creds[i] = ours.creds(t, ours.box(fmt.Sprintf("b%d", i)), time.Now())
	}
	start := make(chan struct{})
	var boxes sync.WaitGroup
	for i := range creds {
		tr := transport(t, dialer(t, creds[i], patient), s.target)
		boxes.Go(func() {
			<-start
			got, err := get(t.Context(), tr, "/")
			if want := ours.box(fmt.Sprintf("b%d", i)).String(); err != nil || got != want {
				t.Errorf("got %q, %v, want %q", got, err, want)
			}
		})
	}
	close(start)
	boxes.Wait()
	if got := len(s.Peers()); got != len(creds) {
		t.Errorf("%d peers, want %d", got, len(creds))
	}
	if problems, err := testutil.GatherAndLint(s.reg); err != nil || len(problems) > 0 {
		t.Errorf("metrics: %v, %v", problems, err)
	}
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	const none = `
# HELP preau_wire_connections Connections that are open, by role of the peer.
# TYPE preau_wire_connections gauge
preau_wire_connections{peer="anonymous"} 0
preau_wire_connections{peer="box"} 0
preau_wire_connections{peer="central"} 0
preau_wire_connections{peer="operator"} 0
preau_wire_connections{peer="server"} 0
`
	if err := testutil.GatherAndCompare(s.reg, strings.NewReader(none), "preau_wire_connections"); err != nil {
		t.Error(err)
	}
}

func TestOnlyLetsThroughItsRoles(t *testing.T) {
	t.Run(overTCP, onlyLetsThroughItsRoles)
	t.Run(overQUIC, onlyLetsThroughItsRoles)
}

func onlyLetsThroughItsRoles(t *testing.T) {
	ours := newRegion(t, time.Now().Add(-5*365*day))
	s := ours.serve(t, options{handler: wire.Only(http.HandlerFunc(whoami), identity.Box, identity.Server)})
	anonymous := ours.creds(t, ours.box("x"), time.Now())
	anonymous.Certificate = nil
	tests := map[string]struct {
		creds wire.Credentials
		want  string
	}{
		"box":       {ours.creds(t, ours.box("b1"), time.Now()), ours.box("b1").String()},
		"lapsed":    {ours.creds(t, ours.box("b1"), time.Now().Add(-400*day)), "lapsed\n"},
		"operator":  {ours.creds(t, ours.node(identity.Operator, "ada"), time.Now()), "role\n"},
		"anonymous": {anonymous, "anonymous\n"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := get(t.Context(), transport(t, dialer(t, tt.creds, nil), s.target), "/")
			if err != nil || got != tt.want {
				t.Errorf("got %q, %v, want %q", got, err, tt.want)
			}
		})
	}
}

func TestStopEndsEverything(t *testing.T) {
	t.Run(overTCP, stopEndsEverything)
	t.Run(overQUIC, stopEndsEverything)
}

func stopEndsEverything(t *testing.T) {
	ours := newRegion(t, time.Now())
	var ended atomic.Int32
	mux := http.NewServeMux()
	mux.HandleFunc("/feed", func(w http.ResponseWriter, r *http.Request) {
		forEver(w, r)
		ended.Add(1)
	})
	mux.HandleFunc("/deaf", func(w http.ResponseWriter, r *http.Request) { // listens to its context only
		io.WriteString(w, "hello\n")
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
		<-r.Context().Done()
		ended.Add(1)
	})
	s := ours.serve(t, options{handler: mux, raft: true, cfg: func(c *wire.Config) { c.Grace = 300 * time.Millisecond }})
	feed := stream(t, transport(t, dialer(t, ours.creds(t, ours.box("b1"), time.Now()), nil), s.target))
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://region/deaf", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := transport(t, dialer(t, ours.creds(t, ours.box("b2"), time.Now()), nil), s.target).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raft, err := dialer(t, ours.creds(t, ours.node(identity.Server, "s2"), time.Now()), nil).DialRaft(t.Context(), s.target)
	if err != nil {
		t.Fatal(err)
	}
	defer raft.Close()
	if _, err := s.raft.Accept(); err != nil {
		t.Fatal(err)
	}

	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	if n := ended.Load(); n != 2 {
		t.Errorf("%d handlers ended, want 2", n)
	}
	ends(t, feed)
	if _, err := raft.Read(make([]byte, 1)); err == nil {
		t.Error("raft's connection is still open")
	}
	if _, err := s.raft.Accept(); !errors.Is(err, wire.ErrStopped) {
		t.Errorf("Accept after the stop: %v", err)
	}
	if _, err := net.DialTimeout("tcp", s.target.Address, time.Second); err == nil {
		t.Error("the port is still open")
	}
}

func TestContextOfRequestsIsNotEndedByTheStop(t *testing.T) {
	t.Run(overTCP, contextOfRequestsIsNotEndedByTheStop)
	t.Run(overQUIC, contextOfRequestsIsNotEndedByTheStop)
}

func contextOfRequestsIsNotEndedByTheStop(t *testing.T) {
	ours := newRegion(t, time.Now())
	begun := make(chan struct{})
	s := ours.serve(t, options{handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(begun)
		<-wire.Stopping(r)
		if r.Context().Err() != nil {
			t.Error("the request was cut while it had its grace")
		}
		io.WriteString(w, "done")
	})})
	tr := transport(t, dialer(t, ours.creds(t, ours.box("b1"), time.Now()), nil), s.target)
	answer := make(chan string, 1)
	go func() {
		got, err := get(context.WithoutCancel(t.Context()), tr, "/")
		answer <- fmt.Sprint(got, err)
	}()
	<-begun
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	if got := <-answer; got != "done<nil>" {
		t.Errorf("got %s", got)
	}
}
