package region_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"preau/node/config"
	"preau/node/control"
	"preau/node/region"
)

// alone runs a region of one server until the test ends, and returns its operator.
func alone(t *testing.T, central string) *control.Client {
	t.Helper()
	// An address of its own: nobody else takes the port until the server does.
	ln, err := net.Listen("tcp", fmt.Sprintf("127.87.%d.%d:0", os.Getpid()>>8&0xff, os.Getpid()&0xff))
	if err != nil {
		t.Fatal(err)
	}
	cfg := region.DefaultConfig()
	cfg.Data, cfg.Listen, cfg.Budget = filepath.Join(t.TempDir(), "server"), ln.Addr().String(), 64*config.MiB
	cfg.Admin.Listen, cfg.Central.Address = "127.0.0.1:0", central
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	if _, err := region.Found(t.Context(), cfg, region.Founding{Name: "Lyon", Server: "s1"}, log); err != nil {
		t.Fatal(err)
	}
	g, err := region.New(t.Context(), cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	operator, err := control.Open(region.OperatorDir(cfg.Data), nil)
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		if operator != nil {
			_ = operator.Close() // only connections
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return operator
}

// status asks until ok.
func status(t *testing.T, operator *control.Client, ok func(control.Status) bool) control.Status {
	t.Helper()
	for tick := time.NewTicker(20 * time.Millisecond); ; {
		s, err := operator.Status(t.Context())
		if err == nil && ok(s) {
			tick.Stop()
			return s
		}
		select {
		case <-tick.C:
		case <-time.After(time.Minute):
			t.Fatalf("%+v, %v", s, err)
		}
	}
}

func TestTheStatusOfARegionWithoutACentre(t *testing.T) {
	s := status(t, alone(t, ""), func(s control.Status) bool { return s.Leader == "s1" })
	if c := s.Centre; c.Follows || c.Connected || c.Address != "" || c.Server != "s1" || c.Buckets == nil || !c.Since.IsZero() {
		t.Errorf("centre: %+v", c)
	}
	if s.Waiting != (control.Waiting{}) || len(s.Servers) != 1 || len(s.Servers[0].Paths) != 0 {
		t.Errorf("%+v", s)
	}
}

func TestTheStatusTellsThatTheCentreDoesNotAnswer(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	hung := make(chan struct{})
	go func() { // hangs up on everybody
		defer close(hung)
		for {
			conn, err := ln.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				conn.Close()
			}
		}
	}()
	t.Cleanup(func() { ln.Close(); <-hung })
	s := status(t, alone(t, ln.Addr().String()), func(s control.Status) bool { return !s.Centre.Since.IsZero() })
	c := s.Centre
	if !c.Follows || c.Connected || c.Address != ln.Addr().String() || c.Reason == "" || c.Asked.Before(c.Since) || !c.Synced.IsZero() || c.Server != "s1" {
		t.Errorf("centre: %+v", c)
	}
	paths := s.Servers[0].Paths
	if len(paths) != 1 || paths[0].To != "central" || paths[0].Address != ln.Addr().String() || paths[0].Transport != "" || paths[0].Failed.IsZero() || paths[0].Reason == "" {
		t.Errorf("paths: %+v", paths)
	}
}
