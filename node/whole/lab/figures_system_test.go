//go:build system && linux

package lab_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"preau/node/whole/ministry"
	"preau/node/whole/netns"
	"preau/replication/central/store"
)

const (
	warmSize = 50 * mib
	coldSize = 50 * mib
	once     = 1.01 // copies over the line
	atLeast  = 0.92 // of what the LAN gives another server
	fair     = 1.5  // between the fastest device and the slowest
	turns    = 3    // a busy machine may have as many
)

// measured puts the boxes beside what the network itself can do.
func (c *country) measured(t *testing.T) {
	c.cold(t)
	c.warm(t)
}

// put publishes a new file by way of Ceph, and returns where boxes serve it.
func (c *country) put(t *testing.T, f *file) (path string) {
	t.Helper()
	if err := c.Put(t.Context(), lessons, f.name, f.content, store.Options{}); err != nil {
		t.Fatal(err)
	}
	within(t, time.Minute, func(ctx context.Context) error {
		at, err := c.Published(ctx)
		if path = at[f.name]; err == nil && path == "" {
			err = fmt.Errorf("%s is not published: %v", f.name, at)
		}
		return err
	})
	return path
}

// known waits until the boxes of a school know of a published file.
func (s *school) known(t *testing.T, c *country, path string) {
	t.Helper()
	client := s.device(c, 0)
	defer client.CloseIdleConnections()
	for _, b := range s.boxes {
		within(t, time.Minute, func(ctx context.Context) error {
			_, err := b.Do(ctx, client, http.MethodHead, path, nil, http.StatusOK)
			return err
		})
	}
}

// cold has a class download over both boxes what the school has nothing of, over
// a line that loses nothing, so that it is known how long it has to take.
func (c *country) cold(t *testing.T) {
	t.Helper()
	s := c.schools[0]
	is := usual
	is.Loss = 0
	s.line.Tell(t, is)
	f, bodies, silent := (*file)(nil), int64(0), int64(0)
	for turn := 1; turn <= turns && (turn == 1 || silent > 0); turn++ {
		f, bodies, silent = c.coldOnce(t, s, turn)
	}
	c.crossedOnce(t, s, bodies, silent, f)
	s.line.Tell(t, usual)
	c.did(t, "figures: a cold class", "%d devices, %d MiB", devices, coldSize/mib)
}

// crossedOnce has a file's bodies be those of one copy. A box that does not say a
// word for as long as that takes it as a rule is taken for lost, and the region is
// asked: so it is where a busy machine gave it no turn, and twice is the most then.
func (c *country) crossedOnce(t *testing.T, s *school, bodies, silent int64, f *file) {
	t.Helper()
	most := once
	if silent > 0 {
		most = float64(len(s.boxes))
	}
	if ratio := float64(bodies) / float64(len(f.content)); ratio < 1 || ratio > most {
		t.Errorf("%.4f copies of %s crossed the line, at most %.2f may; %d times a box was taken for lost", ratio, f.name, most, silent)
	}
}

// coldOnce returns the bytes of bodies that crossed the line, and how often a box
// had to go on without its neighbour's word.
func (c *country) coldOnce(t *testing.T, s *school, turn int) (f *file, bodies, silent int64) {
	t.Helper()
	f = newFile(fmt.Sprintf("froid-%d.bin", turn), coldSize)
	path := c.put(t, f)
	s.known(t, c, path)
	before, had, missed, watched := s.line.Crossed(t), c.sum(t, s, fromRegion), c.sum(t, s, unheard), s.line.Watch(t)
	times, all, err := s.class(t.Context(), c, devices, f, path, s.boxes...)
	seconds := watched()
	if err != nil {
		t.Error(err)
	}
	packets := s.line.Crossed(t).Since(before)
	bodies, silent = c.sum(t, s, fromRegion)-had, c.sum(t, s, unheard)-missed
	ratio := float64(bodies) / float64(len(f.content))
	// The line's time is that of the packets in which one copy has to come.
	needs := time.Duration(float64(packets.Down) / max(1, ratio) * 8 / float64(s.line.Is().Rate) * float64(time.Second))
	c.report.figure(fmt.Sprintf("%d devices at two boxes, a new file of %d MiB over 20 Mbit/s", devices, coldSize/mib),
		"%.4f copies crossed the line (with all headers %.4f), the last device was done after %.2f s, %.3f of the line's time; %d times a box was taken for lost",
		ratio, float64(packets.Down)/float64(len(f.content)), all.Seconds(), float64(slices.Max(times))/float64(needs), silent)
	t.Logf("the line, second by second, in percent: %s", seconds)
	t.Logf("the first device was done after %.2f s", slices.Min(times).Seconds())
	return f, bodies, silent
}

// What boxes count of published files.
const (
	fromRegion    = `preau_shelf_received_bytes_total{source="region"}`
	fromNeighbour = `preau_shelf_received_bytes_total{source="neighbour"}`
	unheard       = `preau_follow_neighbour_asks_total{result="silent"}`
)

// sum is what the school's boxes have counted.
func (c *country) sum(t *testing.T, s *school, series string) (sum int64) {
	t.Helper()
	for _, b := range s.boxes {
		n, err := c.count(t.Context(), b.Name, series)
		if err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	return sum
}

// count is a metric's value.
func (c *country) count(ctx context.Context, name, series string) (int64, error) {
	text, err := c.look(ctx, name, "/metrics")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, series+" "); ok {
			var v float64
			_, err := fmt.Sscan(rest, &v)
			return int64(v), err
		}
	}
	return 0, nil // nothing was counted yet
}

// warm has the class download what one box holds, beside what the network gives
// when a plain web server sends the same file from the same place.
func (c *country) warm(t *testing.T) {
	t.Helper()
	f := newFile("chaud.bin", warmSize)
	path := c.put(t, f)
	s := c.schools[1]
	peer := c.peer(t, s, f)
	// It has to be there, not to come there.
	s.line.Tell(t, netns.Order{Rate: 1_000_000_000, Delay: time.Millisecond})
	s.known(t, c, path)
	b := s.boxes[0]
	client := s.device(c, 0)
	defer client.CloseIdleConnections()
	within(t, time.Minute, func(ctx context.Context) error {
		before, err := c.count(ctx, b.Name, fromNeighbour)
		if err != nil {
			return err
		}
		if _, err := f.download(ctx, client, b, path); err != nil {
			return err
		}
		after, err := c.count(ctx, b.Name, fromNeighbour)
		if err == nil && after != before {
			err = fmt.Errorf("%s takes it from its neighbour, %d bytes", b.Name, after-before)
		}
		return err
	})
	s.line.Tell(t, usual)
	crossed := s.line.Crossed(t)
	var share, spread float64
	var said string
	for turn := 1; turn <= turns && (share < atLeast || spread > fair); turn++ {
		theirs, spreadTheirs := s.rate(t, c, f, "/"+f.name, peer, devices)
		ours, spreadOurs := s.rate(t, c, f, path, b, devices)
		share, spread = ours/theirs, spreadOurs
		// Of the turn that counts.
		said = fmt.Sprintf("%.1f MB/s; nginx in the same place %.1f MB/s: %.3f of it; the fastest device had %.2f times the slowest's rate (nginx %.2f); turn %d of at most %d",
			ours/1e6, theirs/1e6, share, spreadOurs, spreadTheirs, turn, turns)
		t.Logf("turn %d: %.1f MB/s, nginx %.1f MB/s, spread %.2f, nginx %.2f", turn, ours/1e6, theirs/1e6, spreadOurs, spreadTheirs)
	}
	c.report.figure(fmt.Sprintf("%d devices × %d MiB from a warm box over 1 Gbit/s", devices, warmSize/mib), "%s", said)
	if share < atLeast {
		t.Errorf("the box gives %.3f of what the network can do, less than %.2f", share, atLeast)
	}
	if spread > fair {
		t.Errorf("the fastest device had %.2f times the slowest's rate, at most %.2f", spread, fair)
	}
	if over := s.line.Crossed(t).Since(crossed); over.Down > mib {
		t.Errorf("%s crossed the line for what the school had", megabytes(over.Down))
	}
	c.did(t, "figures: a warm class", "%d devices, %d MiB each", devices, warmSize/mib)
}

// rate is how many bytes a second a class gets together, and how many times the
// slowest device's rate the fastest one's was.
func (s *school) rate(t *testing.T, c *country, f *file, path string, from *ministry.Box, n int) (rate, spread float64) {
	t.Helper()
	times, all, err := s.class(t.Context(), c, n, f, path, from)
	if err != nil {
		t.Fatal(err)
	}
	return float64(len(times)*len(f.content)) / all.Seconds(), float64(slices.Max(times)) / float64(slices.Min(times))
}

// peer is nginx on a port like a box's, with the file.
func (c *country) peer(t *testing.T, s *school, f *file) *ministry.Box {
	t.Helper()
	tool, err := exec.LookPath("nginx")
	if err != nil {
		t.Fatal("nginx is missing: apt-get install nginx-light")
	}
	h := netns.New(t, prefix+"peer", s.addr(0, 99))
	s.plug(t, h, "peer")
	dir := filepath.Join(c.dir, "peer")
	config := filepath.Join(dir, "nginx.conf")
	text := fmt.Sprintf("daemon off; master_process off; pid %[1]s/pid; error_log %[1]s/log;\nevents { worker_connections 256; }\nhttp { access_log off; sendfile on; tcp_nopush on; server { listen 80; root %[1]s; } }\n", dir)
	for _, err := range []error{
		os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, f.name), f.content, 0o600), os.WriteFile(config, []byte(text), 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	line := append(h.Enter(), tool, "-p", dir, "-c", config, "-e", filepath.Join(dir, "log"))
	p := exec.Command(line[0], line[1:]...)
	p.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.Process.Kill() // or it has ended
		_ = p.Wait()
	})
	peer := &ministry.Box{Process: &ministry.Process{Name: "nginx"}, URL: "http://" + h.Addr.String()}
	client := s.device(c, 0)
	defer client.CloseIdleConnections()
	within(t, 20*time.Second, func(ctx context.Context) error {
		_, err := peer.Do(ctx, client, http.MethodHead, "/"+f.name, nil, http.StatusOK)
		return err
	})
	return peer
}
