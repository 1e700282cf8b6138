package gossip

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestBoxesMeetByOneHint(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	boxes := w.meet("anis", "badiane", "carvi")
	m, _ := boxes[2].member("anis")
	if !m.Verified || m.Addr.String() != "127.0.0.1" || m.Why != "" || m.Since.IsZero() {
		t.Errorf("a member is described as %+v", m)
	}
	if m.State != (State{Port: boxes[0].port, Weight: 1000, Version: "v1"}) {
		t.Errorf("what it says of itself arrived as %+v", m.State)
	}
	select {
	case <-boxes[0].Changed():
	default:
		t.Error("two came and Changed said nothing")
	}
	if len(boxes[1].Known()) != 2 {
		t.Errorf("known: %v", boxes[1].Known())
	}
}

func TestWhoLeavesIsGoneAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	boxes := w.meet("anis", "badiane", "carvi")
	began := time.Now()
	boxes[1].end()
	boxes[0].see("carvi")
	boxes[2].see("anis")
	t.Logf("gone from all after %s", time.Since(began))
	if len(boxes[1].Members()) != 0 || boxes[1].Addr().IsValid() {
		t.Error("a box that has left still speaks of members and an address")
	}
	if n := strings.Count(boxes[0].logs.String(), "Suspect badiane has failed"); n > 0 {
		t.Error("who left was suspected, not heard")
	}
	// Its address is remembered: it may come back without a hint.
	if len(boxes[0].Known()) != 2 {
		t.Errorf("known: %v", boxes[0].Known())
	}
}

func TestAForeignBoxIsNoNeighbour(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	here := w.box("anis")
	other := w.box("badiane", func(c *Config, _ *State, _ *node) { c.Keys = [][]byte{keyB} })
	school := w.box("carvi", func(c *Config, _ *State, _ *node) { c.School = "lycée Ampère" })
	mine := w.box("dill")
	other.Hint(here.Addr())
	school.Hint(here.Addr())
	here.Hint(other.Addr(), school.Addr())
	mine.Hint(here.Addr())
	here.see("dill")
	w.until("the others were called", func() bool {
		return strings.Count(here.logs.String(), "nobody at a hint") >= 4
	})
	here.see("dill")
	other.see()
	school.see()
	if len(here.All()) != 1 {
		t.Errorf("boxes of other schools are known: %+v", here.All())
	}
	for _, n := range []*node{here, other} {
		if !strings.Contains(n.logs.String(), "is there a box with other keys?") {
			t.Errorf("%s does not say that keys differ", n.nick)
		}
	}
}

func TestKeysRotateWhileBoxesTalk(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	boxes := w.meet("anis", "badiane")
	for _, keys := range [][][]byte{{keyA, keyB}, {keyB, keyA}, {keyB}} {
		for _, n := range boxes {
			if err := n.SetKeys(keys); err != nil {
				t.Fatal(err)
			}
		}
		boxes[0].Say(State{Port: boxes[0].port, Weight: uint32(len(keys)), Version: fmt.Sprintf("%x", keys[0][:1])})
		w.until("news under new keys", func() bool {
			m, ok := boxes[1].member("anis")
			return ok && m.State.Version == fmt.Sprintf("%x", keys[0][:1])
		})
	}
	late := w.box("carvi")
	late.Hint(boxes[0].Addr())
	if err := late.SetKeys([][]byte{keyB}); err != nil {
		t.Fatal(err)
	}
	boxes[0].see("badiane", "carvi")
	old := w.box("dill")
	old.Hint(boxes[0].Addr())
	w.until("a box with the old key is not understood", func() bool {
		return strings.Contains(old.logs.String(), "nobody at a hint")
	})
	old.see()
	if err := boxes[0].SetKeys(nil); err == nil {
		t.Error("no keys at all were taken")
	}
	if strings.Contains(boxes[0].logs.String(), string(keyA)) {
		t.Error("a key is in the log")
	}
}

func TestNewsTravel(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	boxes := w.meet("anis", "badiane")
	s := State{Port: boxes[0].port, Weight: 7, Free: 5, Load: 99, Version: "v2", Draining: true, Device: "cdi.preau.example:443"}
	boxes[0].Say(s)
	w.until("news", func() bool { m, _ := boxes[1].member("anis"); return m.State == s })
	select {
	case <-boxes[1].Changed():
	default:
		t.Error("Changed said nothing")
	}
	// What does not matter much waits, and the newest arrives.
	for i := range 50 {
		s.Free = uint32(i)
		boxes[0].Say(s)
	}
	w.until("more news", func() bool { m, _ := boxes[1].member("anis"); return m.State == s })
	bad := s
	bad.Version = strings.Repeat("v", maxVersion+1)
	boxes[0].Say(bad)
	s.Draining = false
	boxes[0].Say(s)
	w.until("what can be said", func() bool { m, _ := boxes[1].member("anis"); return m.State == s })
}

func TestAPortMoves(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	boxes := w.meet("anis", "badiane")
	w.proves(loop(2001), "anis")
	boxes[0].Say(State{Port: 2001})
	w.until("the port is another one", func() bool { m, _ := boxes[1].member("anis"); return m.State.Port == 2001 })
	// A port that proves nothing is not taken, and the box stays.
	boxes[0].Say(State{Port: 2002, Weight: 5})
	w.until("the rest of the news", func() bool { m, _ := boxes[1].member("anis"); return m.State.Weight == 5 })
	w.until("the new port was tried", func() bool {
		boxes[1].table.mu.Lock()
		defer boxes[1].table.mu.Unlock()
		return boxes[1].table.boxes["anis"].holder.fails == 1
	})
	if m, ok := boxes[1].member("anis"); !ok || m.State.Port != 2001 {
		t.Errorf("a port that was not proved is in use: %+v", m)
	}
}

func TestNobodyIsAMemberUnproved(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	here := w.box("anis")
	thief := w.make("badiane")
	w.proves(loop(thief.port), "")
	thief.run()
	thief.Hint(here.Addr())
	w.until("the thief is known for what it is", func() bool {
		return strings.Contains(here.why("badiane"), "connection refused")
	})
	here.see()
	m, _ := find(here.All(), "badiane")
	if m.Verified {
		t.Error("it passes for verified")
	}
	// It was no thief: its listener came late.
	w.proves(loop(thief.port), "badiane")
	here.see("badiane")
	thief.see("anis")
	if here.why("badiane") != "" {
		t.Errorf("still wrong with it: %s", here.why("badiane"))
	}
}

func TestWhoIsFoundDeadHasToProveItself(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	boxes := w.meet("anis", "badiane")
	w.proves(loop(boxes[1].port), "")
	boxes[0].Lost("badiane")
	boxes[0].Lost("nobody")
	if len(boxes[0].Members()) != 0 {
		t.Error("it is still a member")
	}
	w.until("it was asked to prove itself", func() bool {
		return strings.Contains(boxes[0].why("badiane"), "connection refused")
	})
	w.proves(loop(boxes[1].port), "badiane")
	boxes[0].see("badiane")
	boxes[1].see("anis")
}

func TestALiarDoesNotMoveABox(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	boxes := w.meet("anis", "badiane")
	was, _ := boxes[0].member("badiane")
	liar := w.make("badiane", func(_ *Config, _ *State, n *node) { n.nick = "liar" })
	w.proves(loop(liar.port), "mallory")
	liar.run()
	liar.Hint(boxes[0].Addr(), boxes[1].Addr())
	w.until("the claim is reported", func() bool {
		return strings.Contains(boxes[0].why("badiane"), "claims its name and is ignored")
	})
	liar.end() // which says that badiane leaves
	boxes[0].see("badiane")
	if m, _ := boxes[0].member("badiane"); m.State.Port != was.State.Port {
		t.Errorf("badiane is said to be at %+v", m)
	}
	if n := strings.Count(boxes[0].logs.String(), "name is claimed twice"); n != 1 {
		t.Errorf("it was logged %d times", n)
	}
	if len(boxes[1].All()) != 1 {
		t.Errorf("badiane believes in a twin: %+v", boxes[1].All())
	}
}

func TestALiarDoesNotKeepABoxOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	here := w.box("anis")
	liar := w.make("badiane", func(_ *Config, _ *State, n *node) { n.nick = "liar" })
	w.proves(loop(liar.port), "mallory")
	liar.run()
	liar.Hint(here.Addr())
	w.until("the liar was there first", func() bool { return here.why("badiane") != "" })
	here.see()
	true1 := w.box("badiane")
	true1.Hint(here.Addr())
	here.see("badiane")
	if m, _ := here.member("badiane"); m.State.Port != true1.port {
		t.Errorf("badiane is said to be at %+v", m)
	}
}

func TestACopiedDiskIsReportedAndNothingFlaps(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	boxes := w.meet("anis", "badiane", "carvi")
	twin := w.box("badiane", func(_ *Config, _ *State, n *node) { n.nick = "twin" })
	twin.Hint(boxes[0].Addr())
	for _, n := range []*node{boxes[0], boxes[1]} {
		w.until(n.nick+" reports the twin", func() bool {
			return strings.Contains(n.why("badiane"), "copied disk")
		})
	}
	twin.Hint(boxes[2].Addr(), boxes[0].Addr())
	w.until("carvi heard it too", func() bool { return strings.Contains(boxes[2].why("badiane"), "copied disk") })
	for _, n := range []*node{boxes[0], boxes[2]} {
		m, ok := n.member("badiane")
		if !ok || m.State.Port != boxes[1].port {
			t.Errorf("%s: badiane is %+v", n.nick, m)
		}
		if c := strings.Count(n.logs.String(), "name is claimed twice"); c != 1 {
			t.Errorf("%s logged it %d times", n.nick, c)
		}
		if strings.Contains(n.logs.String(), "has moved") {
			t.Errorf("%s flaps", n.nick)
		}
	}
}

func TestARestartedBoxComesBackUnderAnotherAddress(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	boxes := w.meet("anis", "badiane")
	boxes[1].end()
	boxes[0].see()
	w.proves(loop(boxes[1].port), "")
	again := w.box("badiane")
	again.Hint(boxes[0].Addr())
	boxes[0].see("badiane")
	again.see("anis")
	if m, _ := boxes[0].member("badiane"); m.State.Port != again.port || len(boxes[0].All()) != 1 {
		t.Errorf("one box is %+v", boxes[0].All())
	}
	if again.Addr() == boxes[1].Addr() {
		t.Skip("the kernel gave the same port again")
	}
}

func TestATakenPortIsWaitedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.box("anis")
	second := w.make("badiane", func(c *Config, _ *State, _ *node) { c.Listen = first.Addr().String() })
	second.pace.retry = 10 * time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- second.Run(ctx) }()
	w.until("it says so", func() bool { return strings.Contains(second.logs.String(), "address already in use") })
	first.end()
	w.until("it listens", func() bool { return second.Addr().IsValid() })
	if err := second.Run(ctx); err == nil {
		t.Error("it runs twice")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
