package whole_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"preau/node/config"
	"preau/node/control"
	"preau/node/front"
	"preau/node/region"
)

// server is a region's server in this process.
type server struct {
	cfg  region.Config
	name string
	stop context.CancelFunc
	done chan error
}

func logTo(t *testing.T) *slog.Logger {
	t.Helper()
	if os.Getenv("PREAU_TEST_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
}

// given is what freeAddress has given already.
var given sync.Map

// freeAddress is an address on loopback for one node of the test. It is one of
// this process's own, as Linux has many: whoever is started again finds its port
// free, for no other process is given it and no connection begins there.
func freeAddress(t *testing.T) string {
	t.Helper()
	for {
		ln, err := net.Listen("tcp", fmt.Sprintf("127.88.%d.%d:0", os.Getpid()>>8&0xff, os.Getpid()&0xff))
		if err != nil { // another system than Linux
			ln, err = net.Listen("tcp", "127.0.0.1:0")
		}
		if err != nil {
			t.Fatal(err)
		}
		address := ln.Addr().String()
		if err := ln.Close(); err != nil {
			t.Fatal(err)
		}
		if _, taken := given.LoadOrStore(address, true); !taken {
			return address
		}
	}
}

func configOf(t *testing.T, sites ...front.Site) region.Config {
	t.Helper()
	cfg := region.DefaultConfig()
	cfg.Data, cfg.Listen, cfg.Budget = filepath.Join(t.TempDir(), "server"), freeAddress(t), 64*config.MiB
	cfg.Admin.Listen, cfg.Site = "127.0.0.1:0", sites
	return cfg
}

func run(t *testing.T, cfg region.Config, name string) *server {
	t.Helper()
	g, err := region.New(t.Context(), cfg, logTo(t).With("server", name))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	s := &server{cfg: cfg, name: name, stop: stop, done: make(chan error, 1)}
	go func() { s.done <- g.Run(ctx) }()
	t.Cleanup(func() { s.end(t) })
	return s
}

// end stops the server cleanly; twice is no error.
func (s *server) end(t *testing.T) {
	t.Helper()
	s.stop()
	select {
	case err := <-s.done:
		if err != nil {
			t.Errorf("server %s: %v", s.name, err)
		}
		s.done <- nil
	case <-time.After(time.Minute):
		t.Fatalf("server %s does not stop", s.name)
	}
}

// threeServers founds a region and has two more join it.
func threeServers(t *testing.T, sites ...front.Site) (servers []*server, operator *control.Client) {
	t.Helper()
	first := configOf(t, sites...)
	if _, err := region.Found(t.Context(), first, region.Founding{Name: "Lyon", Server: "s1"}, logTo(t)); err != nil {
		t.Fatal(err)
	}
	servers = append(servers, run(t, first, "s1"))
	operator, err := control.Open(region.OperatorDir(first.Data), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = operator.Close() }) // only connections
	for _, name := range []string{"s2", "s3"} {
		cfg := configOf(t, sites...)
		var token control.Token
		eventually(t, func() error {
			token, err = operator.Token(t.Context(), control.TokenRequest{Role: "server"})
			return err
		})
		if _, err := region.Join(t.Context(), cfg, token.Token, name); err != nil {
			t.Fatal(err)
		}
		servers = append(servers, run(t, cfg, name))
	}
	var addresses []string
	for _, s := range servers {
		addresses = append(addresses, s.cfg.Listen)
	}
	if operator, err = control.Open(region.OperatorDir(first.Data), addresses); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = operator.Close() }) // only connections
	eventually(t, func() error {
		st, err := operator.Status(t.Context())
		if err != nil {
			return err
		}
		if st.Voters != 3 || st.Leader == "" {
			return fmt.Errorf("%d voters, leader %q", st.Voters, st.Leader)
		}
		for _, s := range st.Servers {
			if s.State != "leader" && s.State != "follower" {
				return fmt.Errorf("%s is %s: %s", s.Name, s.State, s.Problem)
			}
		}
		return nil
	})
	return servers, operator
}

// eventually repeats fn until it returns nil.
func eventually(t *testing.T, fn func() error) {
	t.Helper()
	patiently(t, time.Minute, fn)
}

// patiently is eventually for what takes its time.
func patiently(t *testing.T, limit time.Duration, fn func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if err = fn(); err == nil {
			return
		}
	}
	t.Fatalf("still: %v", err)
}

func TestARegionIsFoundedOnce(t *testing.T) {
	t.Parallel()
	quick(t)
	cfg := configOf(t)
	f := region.Founding{Name: "Lyon", Server: "s1"}
	if _, err := region.Found(t.Context(), cfg, f, logTo(t)); err != nil {
		t.Fatal(err)
	}
	if _, err := region.Found(t.Context(), cfg, f, logTo(t)); !errors.Is(err, region.ErrFounded) {
		t.Errorf("a second time: %v, want %v", err, region.ErrFounded)
	}
}

func TestThreeServersBecomeARegion(t *testing.T) {
	long(t)
	servers, operator := threeServers(t)
	st, err := operator.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range servers {
		if s.name == st.Leader {
			s.end(t)
		}
	}
	old := st.Leader
	eventually(t, func() error {
		st, err := operator.Status(t.Context())
		if err == nil && (st.Leader == "" || st.Leader == old) {
			err = fmt.Errorf("the leader is %q", st.Leader)
		}
		return err
	})
}
