//go:build system && linux

package lab_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"preau/node/whole/ministry"
	"preau/node/whole/netns"
)

// machines are what the country's boxes, servers and gateway run on.
type machines interface {
	// String is a sentence for the report.
	String() string
	// place plugs in a box of a school, the n-th, where it is to be at first.
	place(t *testing.T, c *country, s *school, h *netns.Host, n int)
	// up has all of it work.
	up(t *testing.T, c *country) *ministry.Ministry
	// ready returns once all is there that change needs.
	ready(t *testing.T)
	// change has the region run the second version, or the first again, while
	// everybody works, and says how it went.
	change(t *testing.T, c *country, version string)
	// pull has boxes take the second version by themselves, if they can.
	pull(t *testing.T, c *country)
	// today is what day it is for boxes.
	today() string
}

// The two versions. Those of hosts are packages. With processes the first is what is
// tested, whatever it is called, and the second the same program under another name, so
// that all of it can be put back.
const (
	first  = "1.0.0"
	second = "2.0.0"
)

func chosen() machines {
	if os.Getenv(machinesEnv) == "hosts" {
		return &hosts{packages: os.Getenv(packagesEnv)}
	}
	return &processes{built: make(chan error, 1)}
}

// processes are each in a namespace, and of the command that the tests drive.
type processes struct {
	next  string     // the second version
	built chan error // once it is there
}

func (*processes) String() string {
	return "Every box, server and gateway is a process in a network namespace."
}

func (*processes) today() string { return time.Now().Local().Format(time.DateOnly) }

func (*processes) place(t *testing.T, _ *country, s *school, h *netns.Host, n int) {
	t.Helper()
	s.plug(t, h, "b"+strconv.Itoa(n+1))
}

// pull: it is packages that boxes take.
func (*processes) pull(*testing.T, *country) {}

func (p *processes) up(t *testing.T, c *country) *ministry.Ministry {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	m, err := ministry.Up(ctx, ministry.Config{
		Dir: filepath.Join(c.dir, "m"), Binary: os.Getenv(binaryEnv), OSDs: 1, Boxes: schools * each, Bucket: lessons, Every: 2 * time.Second, Place: c.place,
	})
	if err != nil {
		t.Fatal(err)
	}
	p.next = filepath.Join(c.dir, "next")
	go func() { // people come first: the machine has something to do meanwhile
		_, err := build(t.Context(), p.next, "-ldflags", "-X preau/node/obs.version=v"+second)
		p.built <- err
	}()
	return m
}

func (p *processes) ready(t *testing.T) {
	t.Helper()
	if err := <-p.built; err != nil {
		t.Fatal(err)
	}
}

// change replaces the program of each server, the leader's last.
func (p *processes) change(t *testing.T, c *country, version string) {
	t.Helper()
	binary, what := os.Getenv(binaryEnv), "and put back"
	if version == second {
		binary, what = p.next, "the region is upgraded, server by server, under load"
	}
	leader, err := c.Leader(t.Context())
	if err != nil || leader == nil {
		t.Fatalf("who leads: %v", err)
	}
	var order []*ministry.Process
	var now string
	for _, s := range c.Servers {
		if s != leader {
			order = append(order, s)
		}
	}
	for _, s := range append(order, leader) {
		if s == leader {
			if _, err := c.Command(t.Context(), "region", "lead", order[0].Name, "--as", c.Ministry.Operator, "--json"); err != nil {
				t.Error(err)
			}
		}
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
		s.Use(binary)
		if err := s.Start(); err != nil {
			t.Fatal(err)
		}
		within(t, time.Minute, func(ctx context.Context) error {
			var err error
			now, err = c.version(ctx, s.Name)
			if err == nil && (now == "v"+second) != (version == second) {
				err = fmt.Errorf("%s is of version %q", s.Name, now)
			}
			return err
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		err := c.Healthy(ctx)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
	}
	c.did(t, what, "to version %s; the leader last, after another was told to lead", now)
}
