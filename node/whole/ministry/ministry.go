//go:build linux

// Package ministry brings up a whole ministry on one machine, for people who
// want to see it and for tests: a real Ceph, the gateway beside it, a region of
// three servers and boxes in schools of their own, each a process of the built
// command, on real disks and on loopback, or where Config.Place says.
//
// It is all in one folder and ends with the process that made it. It is no way
// to run a ministry: one machine has everything, and the keys lie beside it.
package ministry

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"preau/replication/central/cephtest"
)

const (
	// MaxDir is how long the folder's name may be, for Ceph's sockets lie in it.
	MaxDir = cephtest.MaxDir - len("/ceph")
	// MaxBoxes is how many boxes there may be.
	MaxBoxes = 9
	// Deposits is the bucket that deposits go to.
	Deposits = "preau-deposits"

	servers = 3
)

// Config says what is to be made. All of it must be said but Lines and Say.
type Config struct {
	Dir    string // empty or not there
	Binary string // the command preau
	OSDs   int    // of Ceph
	Boxes  int
	Bucket string        // that is watched
	Every  time.Duration // how often it is compared with what was published
	// Lines has everybody reach the region's servers through relays, so that a
	// box can be cut off from them.
	Lines bool
	// Place says where a process runs: s1 to s3, central, or box-1 and so on. Nil,
	// and what a place does not say: here, on free ports of loopback, each box in a
	// school of its own.
	Place func(name string) Place
	Say   func(string) // what is being done, for people
}

// Ministry is one that runs.
type Ministry struct {
	Ceph     *cephtest.Cluster
	Central  *Process
	Servers  []*Process
	Boxes    []*Box
	Operator string // the folder of who may do everything

	cfg   Config
	lines *lines

	mu  sync.Mutex
	all []*Process
}

// Box is a school's box.
type Box struct {
	*Process
	URL    string // where the school's devices connect
	School string
	data   string
}

// TokenFile holds the word that a deposit needs. The box makes it at its start.
func (b *Box) TokenFile() string { return filepath.Join(b.data, "deposits", "token") }

// Up makes a ministry and waits until it works. ctx bounds only that. After an
// error nothing is left running.
func Up(ctx context.Context, cfg Config) (*Ministry, error) {
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, err
	}
	switch {
	case len(dir) > MaxDir:
		return nil, fmt.Errorf("the folder %s: at most %d characters; use one right under /tmp", dir, MaxDir)
	case cfg.Boxes < 1 || cfg.Boxes > MaxBoxes:
		return nil, fmt.Errorf("%d boxes, must be 1 to %d", cfg.Boxes, MaxBoxes)
	case cfg.Bucket == "" || cfg.Every < time.Second:
		return nil, fmt.Errorf("the bucket %q, compared every %v: want a name, and at least 1s", cfg.Bucket, cfg.Every)
	}
	if cfg.Say == nil {
		cfg.Say = func(string) {}
	}
	if cfg.Place == nil {
		cfg.Place = func(string) Place { return Place{} }
	}
	cfg.Dir = dir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	m := &Ministry{cfg: cfg, Operator: filepath.Join(dir, "operator"), lines: newLines()}
	if err := m.up(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("bring up a ministry in %s: %w", dir, err), m.Close())
	}
	return m, nil
}

func (m *Ministry) up(ctx context.Context) error {
	m.cfg.Say("Ceph, with " + strconv.Itoa(m.cfg.OSDs) + " OSDs")
	var err error
	if m.Ceph, err = cephtest.Up(ctx, filepath.Join(m.cfg.Dir, "ceph"), m.cfg.OSDs); err != nil {
		return err
	}
	central, err := m.place(ctx, "central")
	if err != nil {
		return err
	}
	m.cfg.Say("a region of three servers")
	for n := range servers {
		if err := m.server(ctx, n+1, central.Listen); err != nil {
			return err
		}
	}
	m.cfg.Say("the gateway")
	if err := m.gateway(ctx, central); err != nil {
		return err
	}
	m.cfg.Say(strconv.Itoa(m.cfg.Boxes) + " boxes")
	for n := range m.cfg.Boxes {
		if err := m.box(ctx, n+1); err != nil {
			return err
		}
	}
	return m.Well(ctx)
}

// server founds the region, or has another server join it, and runs it.
func (m *Ministry) server(ctx context.Context, n int, central string) error {
	name := "s" + strconv.Itoa(n)
	data := filepath.Join(m.cfg.Dir, name)
	at, err := m.place(ctx, name)
	if err != nil {
		return err
	}
	place := []string{"--data", data, "--listen", at.Listen, "--server", name, "--json"}
	if m.cfg.Lines {
		via, err := m.lines.to(ctx, at.Listen)
		if err != nil {
			return err
		}
		place = append(place, "--advertise", via)
	}
	if n == 1 {
		_, err = m.CommandAt(ctx, at, append([]string{"region", "init", "--name", "Lyon"}, place...)...)
	} else {
		var token string
		if token, err = m.token(ctx, "--server"); err == nil {
			_, err = m.CommandAt(ctx, at, append([]string{"region", "join", token}, place...)...)
		}
	}
	if err != nil {
		return err
	}
	if n == 1 {
		if err := os.CopyFS(m.Operator, os.DirFS(filepath.Join(data, "operator"))); err != nil {
			return err
		}
	}
	p := m.process(name, at, "region", "run", "--data", data, "--admin", at.Admin, "--budget", cmp.Or(at.Budget, "64MiB"), "--central", central)
	m.Servers = append(m.Servers, p)
	if err := p.Start(); err != nil {
		return err
	}
	return m.until(ctx, func() error {
		s, err := m.status(ctx)
		if err == nil && len(s.Servers) < n {
			err = fmt.Errorf("%s is not in the region yet", name)
		}
		return err
	})
}

func (m *Ministry) gateway(ctx context.Context, at Place) error {
	data := filepath.Join(m.cfg.Dir, "central")
	token, err := m.token(ctx, "--central")
	if err != nil {
		return err
	}
	if _, err := m.CommandAt(ctx, at, "central", "enrol", "--token", token, "--data", data, "--json"); err != nil {
		return err
	}
	if err := m.WriteKeys(); err != nil {
		return err
	}
	settings := filepath.Join(data, "central.toml")
	// What strconv quotes here is plain, and so a string of TOML.
	text := fmt.Sprintf("data = %q\nlisten = %q\nbuckets = [%q]\ndeposits = %q\nevery = %q\nmake_buckets = true\n\n"+
		"[admin]\nlisten = %q\n\n[s3]\nendpoint = %q\nregion = %q\nkey_file = %q\n",
		data, at.Listen, m.cfg.Bucket, Deposits, m.cfg.Every.String(), at.Admin, m.Ceph.Endpoint, m.Ceph.Region, m.keyFile())
	if err := os.WriteFile(settings, []byte(text), 0o600); err != nil {
		return err
	}
	m.Central = m.process("central", at, "central", "run", "--config", settings)
	return m.Central.Start()
}

func (m *Ministry) keyFile() string { return filepath.Join(m.cfg.Dir, "central", "s3.keys") }

// WriteKeys gives the gateway the keys that Ceph's account has now.
func (m *Ministry) WriteKeys() error {
	return os.WriteFile(m.keyFile(), []byte(m.Ceph.AccessKey+"\n"+m.Ceph.SecretKey+"\n"), 0o600)
}

func (m *Ministry) box(ctx context.Context, n int) error {
	name := "box-" + strconv.Itoa(n)
	at, err := m.place(ctx, name)
	if err != nil {
		return err
	}
	b := &Box{URL: "http://" + at.Listen, School: cmp.Or(at.School, fmt.Sprintf("069000%dA", n)), data: filepath.Join(m.cfg.Dir, name)}
	token, err := m.token(ctx, "--school", b.School)
	if err != nil {
		return err
	}
	if _, err := m.CommandAt(ctx, at, "enrol", "--token", token, "--data", b.data, "--name", name, "--json"); err != nil {
		return err
	}
	budget := cmp.Or(at.Budget, "2GiB")
	args := []string{"box", "--listen", at.Listen, "--data", b.data, "--admin", at.Admin, "--budget", budget}
	if at.Settings != "" {
		settings := filepath.Join(m.cfg.Dir, name+".toml")
		text := fmt.Sprintf("data = %q\nbudget = %q\n[admin]\nlisten = %q\n%s", b.data, budget, at.Admin, at.Settings)
		if err := os.WriteFile(settings, []byte(text), 0o600); err != nil {
			return err
		}
		args = []string{"box", "--config", settings}
	}
	b.Process = m.process(name, at, args...)
	m.Boxes = append(m.Boxes, b)
	return b.Start()
}

// status is what preau status says.
type status struct {
	Healthy  bool     `json:"healthy"`
	Problems []string `json:"problems"`
	Leader   string   `json:"leader"`
	Voters   int      `json:"voters"`
	Servers  []struct {
		Name  string `json:"name"`
		State string `json:"state"`
	} `json:"servers"`
}

func (m *Ministry) status(ctx context.Context) (status, error) {
	var s status
	out, err := m.run(ctx, "status", "--as", m.Operator, "--json", "--timeout", "10s")
	if exit := codeOf(err); exit == 1 && len(out) > 0 {
		err = nil // it works, and something is wrong, as it says
	}
	if err == nil {
		err = json.Unmarshal(out, &s)
	}
	return s, err
}

// Leader is the server that leads the region, or nil where there is none now.
func (m *Ministry) Leader(ctx context.Context) (*Process, error) {
	s, err := m.status(ctx)
	for _, p := range m.Servers {
		if err == nil && p.Name == s.Leader {
			return p, nil
		}
	}
	return nil, err
}

// Healthy waits until the region says that it is: all servers are there and
// have caught up.
func (m *Ministry) Healthy(ctx context.Context) error {
	return m.until(ctx, func() error {
		s, err := m.status(ctx)
		if err == nil && (!s.Healthy || s.Voters != servers) {
			err = fmt.Errorf("the region has %d voters of %d, problems: %q", s.Voters, servers, s.Problems)
		}
		return err
	})
}

// Well waits until the region has all its servers, the boxes follow it and take
// deposits, and the watched bucket is there.
func (m *Ministry) Well(ctx context.Context) error {
	if err := m.Healthy(ctx); err != nil {
		return err
	}
	return m.until(ctx, func() error {
		out, err := m.run(ctx, "boxes", "--as", m.Operator, "--json", "--timeout", "10s")
		if err != nil {
			return err
		}
		var boxes []struct{ Name, State string }
		if err := json.Unmarshal(out, &boxes); err != nil {
			return err
		}
		connected := 0
		for _, b := range boxes {
			if b.State == "connected" {
				connected++
			}
		}
		if connected != len(m.Boxes) {
			return fmt.Errorf("%d of %d boxes are connected", connected, len(m.Boxes))
		}
		for _, b := range m.Boxes {
			if _, err := os.Stat(b.TokenFile()); err != nil {
				return err
			}
		}
		if _, err := m.Ceph.Admin(ctx, "bucket", "stats", "--bucket", m.cfg.Bucket); err != nil {
			return err
		}
		return nil
	})
}

// until repeats what has to come to be, as long as every process runs.
func (m *Ministry) until(ctx context.Context, fn func() error) error {
	again := time.NewTicker(250 * time.Millisecond) // each try is a process or two
	defer again.Stop()
	for {
		err := fn()
		if err == nil {
			return nil
		}
		for _, p := range m.All() {
			if over := p.Over(); over != nil {
				return over
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-again.C:
		}
	}
}

func (m *Ministry) token(ctx context.Context, args ...string) (string, error) {
	var t struct{ Token string }
	out, err := m.Command(ctx, append([]string{"region", "token", "--as", m.Operator, "--json"}, args...)...)
	if err == nil {
		err = json.Unmarshal(out, &t)
	}
	return t.Token, err
}

// Host is where Ceph answers, as HOST:PORT.
func (m *Ministry) Host() string {
	u, err := url.Parse(m.Ceph.Endpoint)
	if err != nil {
		return strings.TrimPrefix(m.Ceph.Endpoint, "http://")
	}
	return u.Host
}

// Cut cuts a box off from the region's servers, without a word: what it sends
// and what is sent to it waits or is lost. Config.Lines must be set.
func (m *Ministry) Cut(b *Box) error {
	if !m.cfg.Lines {
		return errors.New("this ministry has no lines that can be cut")
	}
	return m.lines.cut(b.PID())
}

// Mend takes all cuts away.
func (m *Ministry) Mend() { m.lines.mend() }

// All are its processes, those of Ceph excepted.
func (m *Ministry) All() []*Process {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.all)
}

// Close ends everything in good order, Ceph last. The folder stays.
func (m *Ministry) Close() error {
	all := m.All()
	m.lines.mend()
	errs := make(chan error, len(all))
	for _, p := range all {
		go func() { errs <- p.Stop() }()
	}
	var got []error
	for range all {
		got = append(got, <-errs)
	}
	got = append(got, m.lines.close())
	if m.Ceph != nil {
		got = append(got, m.Ceph.Close())
	}
	return errors.Join(got...)
}
