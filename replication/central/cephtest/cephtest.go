//go:build linux

// Package cephtest brings up a real Ceph on loopback for tests and measurements:
// one monitor, some OSDs and a radosgw, as children of this process, with every
// file in one folder. It takes some seconds, and Close takes all of it away.
//
// It installs nothing: Debian's packages ceph-mon, ceph-osd and radosgw must be
// there (Missing tells). It uses nothing of the machine's own Ceph configuration.
// There is no manager daemon, so `ceph df` and the like know nothing. This is no
// way to keep data: OSDs lie in sparse files of 16 GiB, side by side.
package cephtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// MaxDir is how long a cluster's folder may be: sockets lie in it, whose paths
	// may have 107 bytes.
	MaxDir = 80
	// MaxOSDs is how many OSDs a cluster may have.
	MaxOSDs = 9

	account = "preau"
)

// Cluster is a running Ceph.
type Cluster struct {
	Endpoint             string // of radosgw
	AccessKey, SecretKey string // RenewKey writes them
	Region               string

	dir  string
	osds int

	mu      sync.Mutex
	running map[string]*daemon
	closed  bool
}

// packages says which of Debian's packages has which tool.
var packages = map[string]string{
	"ceph": "ceph-common", "ceph-mon": "ceph-mon", "monmaptool": "ceph-base",
	"ceph-osd": "ceph-osd", "radosgw": "radosgw", "radosgw-admin": "ceph-common",
}

// Missing names the tools that are not on this machine, and how to get them. It is
// empty if there is nothing to say.
func Missing() string {
	var missing []string
	for tool, from := range packages {
		if _, err := exec.LookPath(tool); err != nil {
			missing = append(missing, tool+" (package "+from+")")
		}
	}
	if len(missing) == 0 {
		return ""
	}
	return "no " + strings.Join(missing, ", ") + ": apt-get install --no-install-recommends ceph-mon ceph-osd radosgw"
}

// Up makes a cluster in dir, which must be empty or not there, and starts it. It
// answers when Up returns. ctx bounds only the start. If an error is returned
// nothing is left running.
func Up(ctx context.Context, dir string, osds int) (*Cluster, error) {
	if missing := Missing(); missing != "" {
		return nil, errors.New(missing)
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	switch {
	case osds < 1 || osds > MaxOSDs:
		return nil, fmt.Errorf("a Ceph of %d OSDs, must be 1 to %d", osds, MaxOSDs)
	case len(dir) > MaxDir || strings.ContainsAny(dir, " \t\n"):
		return nil, fmt.Errorf("the folder %q: at most %d characters, no blanks; use one right under /tmp", dir, MaxDir)
	}
	if names, err := os.ReadDir(dir); err == nil && len(names) > 0 {
		return nil, fmt.Errorf("the folder %s is not empty", dir)
	}
	c := &Cluster{
		dir: dir, osds: osds, running: map[string]*daemon{}, Region: "default",
		AccessKey: "key" + rand.Text()[:13], SecretKey: rand.Text() + rand.Text()[:14],
	}
	if err := c.up(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("bring up Ceph in %s: %w", dir, err), c.Close())
	}
	return c, nil
}

func (c *Cluster) up(ctx context.Context) error {
	if err := c.format(ctx); err != nil {
		return err
	}
	errs := make(chan error, c.osds)
	for n := range c.osds {
		go func() { errs <- c.StartOSD(n) }()
	}
	var all []error
	for range c.osds {
		all = append(all, <-errs)
	}
	if err := errors.Join(all...); err != nil {
		return err
	}
	if err := c.StartRGW(ctx); err != nil {
		return err
	}
	_, err := c.Admin(ctx, "user", "create", "--uid", account, "--display-name", account,
		"--access-key", c.AccessKey, "--secret-key", c.SecretKey)
	return err
}

// Admin runs radosgw-admin and returns what it prints.
func (c *Cluster) Admin(ctx context.Context, args ...string) ([]byte, error) {
	return c.tool(ctx, nil, "radosgw-admin", args...)
}

// Command runs the tool ceph and returns what it prints.
func (c *Cluster) Command(ctx context.Context, args ...string) ([]byte, error) {
	return c.tool(ctx, nil, "ceph", append([]string{"--connect-timeout", "60"}, args...)...)
}

// Fill has the OSDs take what is on them for all that they can hold, or not, and
// returns when they do.
func (c *Cluster) Fill(ctx context.Context, full bool) error {
	// Each counts only if it is above the one before it. These are Ceph's own.
	steps := []struct{ what, ratio string }{{"nearfull", "0.85"}, {"backfillfull", "0.9"}, {"full", "0.95"}}
	for i, s := range steps {
		if full {
			s.ratio = "0.000" + strconv.Itoa(i+1)
		}
		if _, err := c.Command(ctx, "osd", "set-"+s.what+"-ratio", s.ratio); err != nil {
			return err
		}
	}
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for {
		out, err := c.Command(ctx, "osd", "dump")
		if err != nil {
			return err
		}
		if strings.Contains(string(out), ",full") == full {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w, and the OSDs do not heed the ratio: %s", ctx.Err(), out)
		case <-again.C:
		}
	}
}

// Suspend locks the account, or unlocks it.
func (c *Cluster) Suspend(ctx context.Context, locked bool) error {
	what := "enable"
	if locked {
		what = "suspend"
	}
	_, err := c.Admin(ctx, "user", what, "--uid", account)
	return err
}

// RenewKey gives the account a new key, and takes the one away that it had.
func (c *Cluster) RenewKey(ctx context.Context) error {
	access, secret := "key"+rand.Text()[:13], rand.Text()+rand.Text()[:14]
	if _, err := c.Admin(ctx, "key", "create", "--uid", account, "--key-type", "s3", "--access-key", access, "--secret-key", secret); err != nil {
		return err
	}
	if _, err := c.Admin(ctx, "key", "rm", "--uid", account, "--key-type", "s3", "--access-key", c.AccessKey); err != nil {
		return err
	}
	c.AccessKey, c.SecretKey = access, secret
	return nil
}

// SetQuota limits a bucket's size; bytes < 0 takes the limit away. Without a
// bucket it is all that the account has. radosgw may take some seconds to heed it.
func (c *Cluster) SetQuota(ctx context.Context, bucket string, bytes int64) error {
	scope := []string{"--quota-scope", "user", "--uid", account}
	if bucket != "" {
		scope = []string{"--quota-scope", "bucket", "--bucket", bucket, "--uid", account}
	}
	if bytes < 0 {
		_, err := c.Admin(ctx, append([]string{"quota", "disable"}, scope...)...)
		return err
	}
	if _, err := c.Admin(ctx, append([]string{"quota", "set", "--max-size", strconv.FormatInt(bytes, 10)}, scope...)...); err != nil {
		return err
	}
	_, err := c.Admin(ctx, append([]string{"quota", "enable"}, scope...)...)
	return err
}

// StartOSD starts an OSD, 0 to the number of OSDs less one, if it does not run.
func (c *Cluster) StartOSD(n int) error {
	if n < 0 || n >= c.osds {
		return fmt.Errorf("no OSD %d of %d", n, c.osds)
	}
	return c.start("osd."+strconv.Itoa(n), "ceph-osd", "-i", strconv.Itoa(n))
}

// KillOSD ends an OSD as a power cut does.
func (c *Cluster) KillOSD(n int) error { return c.kill("osd." + strconv.Itoa(n)) }

// StartMon starts the monitor, if it does not run.
func (c *Cluster) StartMon() error { return c.start("mon.a", "ceph-mon", "-i", "a") }

// KillMon ends the monitor as a power cut does.
func (c *Cluster) KillMon() error { return c.kill("mon.a") }

// StartRGW starts radosgw, if it does not run, and waits until it answers.
func (c *Cluster) StartRGW(ctx context.Context) error {
	if err := c.start("client.rgw.a", "radosgw", "-n", "client.rgw.a"); err != nil {
		return err
	}
	return c.answers(ctx)
}

// KillRGW ends radosgw as a power cut does.
func (c *Cluster) KillRGW() error { return c.kill("client.rgw.a") }

// PauseRGW has radosgw do nothing, while its connections stay open.
func (c *Cluster) PauseRGW() error { return c.pause("client.rgw.a") }

// ResumeRGW has it go on.
func (c *Cluster) ResumeRGW() error { return c.signal("client.rgw.a", resume) }

// answers waits until radosgw does.
func (c *Cluster) answers(ctx context.Context) error {
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.Endpoint, nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err == nil {
			if err := resp.Body.Close(); err == nil && resp.StatusCode < http.StatusInternalServerError {
				return nil
			}
		}
		if !c.runs("client.rgw.a") {
			return fmt.Errorf("radosgw ended: %s", c.lastWords("client.rgw.a"))
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("radosgw does not answer: %w: %s", ctx.Err(), c.lastWords("client.rgw.a"))
		case <-again.C:
		}
	}
}

// Close ends every process of the cluster. The folder stays.
func (c *Cluster) Close() error {
	c.mu.Lock()
	c.closed = true
	var names []string
	for name := range c.running {
		names = append(names, name)
	}
	c.mu.Unlock()
	var errs []error
	for _, name := range names {
		errs = append(errs, c.kill(name))
	}
	return errors.Join(errs...)
}

// freePort finds a port that nobody listens on. It is not one of those that the
// kernel gives to clients, for radosgw must get it again after a restart.
func freePort(ctx context.Context, not ...int) (int, error) {
	var lc net.ListenConfig
	for range 200 {
		var random [2]byte
		// Read of crypto/rand never fails.
		_, _ = rand.Read(random[:])
		port := 20_000 + (int(random[0])<<8|int(random[1]))%12_000
		l, err := lc.Listen(ctx, "tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			return 0, err
		}
		if len(not) == 0 || not[0] != port {
			return port, nil
		}
	}
	return 0, errors.New("no free port from 20000 to 32000")
}
