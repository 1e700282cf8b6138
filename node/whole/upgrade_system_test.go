//go:build system && linux

package whole_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"preau/replication/catalogue"
)

// replace starts a machine again with the binary of another version.
func (w *world) replace(t *testing.T, m *machine, binary string) {
	t.Helper()
	m.stop(t)
	m.binary = binary
	m.run(t)
}

// overturn is replace without a farewell.
func (w *world) overturn(t *testing.T, m *machine, binary string) {
	t.Helper()
	m.kill(t)
	m.binary = binary
	m.run(t)
}

// step publishes a file while a server leads, and waits until every box has it.
func (w *world) step(t *testing.T, leader *machine) {
	t.Helper()
	if leads := w.leader(t); leads != leader {
		w.insist(t, &struct{}{}, "region", "lead", leader.name)
	}
	content := w.bytes(90_000 + w.rng.IntN(9000))
	file := w.publish(t, fmt.Sprintf("step-%d.pdf", w.rng.Uint64()), "steps", content)
	for _, b := range w.boxes {
		within(t, 2*time.Minute, func() error { return w.has(b, file.URL, content) })
	}
}

// reads waits until the region knows what version of its encoding a server reads.
func (w *world) reads(t *testing.T, name string, version uint8) {
	t.Helper()
	within(t, 60*time.Second, func() error {
		var all []struct{ Value catalogue.Server }
		if err := decode(w.ask("list", "servers", "--consistent"), &all); err != nil {
			return err
		}
		for _, s := range all {
			if s.Value.Name == name && max(s.Value.Reads, 1) == version {
				return nil
			}
		}
		return fmt.Errorf("%s does not read version %d: %+v", name, version, all)
	})
}

// level waits until the region writes in a version.
func (w *world) level(t *testing.T, want uint8) {
	t.Helper()
	within(t, 60*time.Second, func() error {
		st, err := w.look()
		if err == nil && st.Level != want {
			err = fmt.Errorf("the region writes in version %d", st.Level)
		}
		return err
	})
}

// TestARegionIsUpgradedServerByServer begins with an older version everywhere
// and ends with this one, in steps, with clients at work and one step back. The
// older servers are killed: older versions give wrong answers while they stop.
func TestARegionIsUpgradedServerByServer(t *testing.T) {
	t.Parallel()
	older := olderVersion(t)
	w := threeOf(t, older, seeded(t), "box-a")
	w.binary = ""
	w.box(t, "box-b", "0690002A") // newer than its region
	settle := w.writing(t)
	s1, s2, s3 := w.servers[0], w.servers[1], w.servers[2]

	w.overturn(t, s1, "")
	w.healthy(t, 3)
	w.step(t, s2) // the old one tells the new one
	w.step(t, s1) // and the other way round
	w.replace(t, s1, older)
	w.healthy(t, 3)
	w.step(t, s1)
	for _, s := range []*machine{s1, s2, s3} {
		w.overturn(t, s, "")
		w.healthy(t, 3)
		w.step(t, s)
	}
	w.overturn(t, w.boxes[0], "")
	w.step(t, s2)
	settle()
}

// TestSnapshotsAreReadByOlderAndNewer takes a server's copy of everything from
// one version to the other and back. It is a snapshot because nothing else is
// left of the log after a recovery.
func TestSnapshotsAreReadByOlderAndNewer(t *testing.T) {
	t.Parallel()
	older := olderVersion(t)
	w := foundBy(t, older, seeded(t), filepath.Join(t.TempDir(), "s1"))
	s1 := w.servers[0]
	s1.run(t)
	content := w.bytes(70_000)
	file := w.publish(t, "kept.pdf", "lessons", content)
	for i, v := range []struct{ writes, reads string }{{older, ""}, {"", older}} {
		s1.stop(t)
		says(t, commandOf(w.ctx, time.Minute, v.writes, "region", "recover", "--data", s1.data, "--yes"), 0)
		s1.binary, w.binary = v.writes, v.reads
		s1.run(t)
		other := w.join(t, fmt.Sprintf("t%d", i))
		w.agree(t, s1, other)
		if a := w.ask("list", "resources", "--region", other.address); !strings.Contains(a.out, file.ID) {
			t.Errorf("it lacks the file: %v", a)
		}
		w.insist(t, &struct{}{}, "region", "remove", other.name)
		other.kill(t)
		w.servers = w.servers[:1]
	}
}

// TestTheRegionWritesWhatAllOfItReads goes to the next version of the encoding
// and finds the ways back closed only after the region has gone there.
func TestTheRegionWritesWhatAllOfItReads(t *testing.T) {
	t.Parallel()
	next := nextVersion(t)
	w := three(t, seeded(t), "box-a")
	settle := w.writing(t)
	s1, s2, s3 := w.servers[0], w.servers[1], w.servers[2]

	w.replace(t, s1, next)
	w.reads(t, s1.name, 2)
	w.step(t, s1)
	w.replace(t, s1, "") // as if it had never been
	w.reads(t, s1.name, 1)
	w.step(t, s2)
	w.replace(t, s1, next)
	w.replace(t, s3, next)
	w.reads(t, s1.name, 2)
	w.reads(t, s3.name, 2)
	w.step(t, s1)
	w.step(t, s2)
	w.level(t, 1) // for s2

	s3.stop(t) // which is all that the region waits for, and would not miss
	w.replace(t, s2, next)
	w.level(t, 2)
	s3.binary = ""
	s3.run(t) // put back too late: it holds nothing new yet, and is sent some
	within(t, 60*time.Second, func() error {
		h, err := w.status("--region", s1.address)
		if err != nil {
			return err
		}
		for _, s := range h.Servers {
			if s.Name == s3.name && strings.Contains(s.Problem, "upgrade this server") {
				return nil
			}
		}
		return fmt.Errorf("nothing is said of %s: %+v", s3.name, h.Servers)
	})
	w.replace(t, s3, next)
	w.healthy(t, 3)
	w.step(t, s3)

	s3.stop(t)
	s3.binary = ""
	s3.run(t)
	select {
	case <-s3.exited:
		if s3.err == nil || !strings.Contains(s3.tail(), "upgrade this server") {
			t.Errorf("an older server ends with %v: %s", s3.err, s3.tail())
		}
	case <-time.After(time.Minute):
		t.Errorf("an older server goes on with what it can't read: %s", s3.tail())
	}
	w.older(t, "s4")
	s3.binary = next
	s3.run(t)
	w.healthy(t, 3)
	w.step(t, s3)
	settle()
}

// older has a server of this version try to join a region that is above it.
func (w *world) older(t *testing.T, name string) {
	t.Helper()
	s := w.server(t, name, filepath.Join(w.dir, name))
	w.servers = w.servers[:len(w.servers)-1]
	says(t, command(w.ctx, "region", "join", w.token(t, "--server"), "--data", s.data, "--listen", s.address, "--server", name), 0)
	s.run(t)
	within(t, time.Minute, func() error {
		if !strings.Contains(s.tail(), "install preau") {
			return errors.New(s.tail())
		}
		return nil
	})
	s.stop(t)
	if h, err := w.status(); err != nil || len(h.Servers) != 3 {
		t.Errorf("it is taken in all the same: %+v, %v", h.Servers, err)
	}
}
