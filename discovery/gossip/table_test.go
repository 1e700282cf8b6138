package gossip

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"pgregory.net/rapid"
)

// place1 is the n-th box's gossip address.
func place1(n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}), 7946)
}

func rawState(t interface{ Fatal(...any) }, port uint16, boot uint64) []byte {
	raw, err := encodeState(State{Port: port}, boot)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestAnIdleBoxSleeps(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	boxes := w.meet("anis", "badiane")
	before := boxes[0].turns.Load()
	<-time.After(time.Second)
	if n := boxes[0].turns.Load() - before; n > 200 {
		t.Errorf("it turned %d times in a second with nothing to do", n)
	}
}

// TestAMemberProvesItselfAgain: once a minute, and one that fails is no member
// until it can again, tried ever more seldom.
func TestAMemberProvesItselfAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tb := newTable("self", 1, 20*time.Second)
		raw := rawState(t, 443, 9)
		if err := tb.hear(time.Now(), "anis", place1(1), raw); err == nil {
			t.Fatal("it was let in unproved")
		}
		answer := error(nil)
		var asked []time.Time
		began := time.Now()
		step := func() {
			checks, calls, next := tb.due(time.Now())
			for _, c := range checks {
				asked = append(asked, time.Now())
				tb.checked(time.Now(), c, finding{err: answer})
			}
			for _, c := range calls {
				tb.called(time.Now(), c, nil)
				if tb.hear(time.Now(), c.name, c.addr, raw) == nil {
					tb.up(time.Now(), c.name, c.addr, raw, true)
				}
			}
			if len(checks)+len(calls) == 0 {
				time.Sleep(time.Until(next)) //nolint:forbidigo // in a bubble, where it takes no time
			}
		}
		for time.Since(began) < time.Hour {
			step()
		}
		if n := len(asked); n < 38 || n > 85 {
			t.Errorf("asked %d times in an hour", n)
		}
		if len(tb.members()) != 1 {
			t.Fatalf("not a member: %+v", tb.all())
		}
		answer = errors.New("certificate was revoked")
		asked = nil
		for began = time.Now(); time.Since(began) < time.Hour; {
			step()
			if len(asked) > 0 && len(tb.members()) != 0 {
				t.Fatal("it failed and is a member")
			}
		}
		if n := len(asked); n < 38 || n > 95 {
			t.Errorf("asked %d times in an hour of failures", n)
		}
		if why := tb.all()[0].Why; !strings.Contains(why, "revoked") {
			t.Errorf("why: %q", why)
		}
		answer = nil
		for began = time.Now(); time.Since(began) < 2*time.Minute; {
			step()
		}
		if len(tb.members()) != 1 {
			t.Error("it proved itself and is no member")
		}
	})
}

func TestABoxThatIsFoundDeadAgainAndAgainIsAskedMoreSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tb := newTable("self", 1, 20*time.Second)
		proved(t, tb, "anis", 1)
		var asked int
		for began := time.Now(); time.Since(began) < 10*time.Minute; {
			tb.lost(time.Now(), "anis")
			checks, _, next := tb.due(time.Now())
			for _, c := range checks {
				asked++
				tb.checked(time.Now(), c, finding{})
			}
			if len(checks) == 0 {
				time.Sleep(time.Until(next)) //nolint:forbidigo // in a bubble, where it takes no time
			}
		}
		if asked < 3 || asked > 60 {
			t.Errorf("asked %d times in ten minutes", asked)
		}
	})
}

// TestADoubtedBoxProvesItselfAtOnce: it is a member until it can't, and who gives
// cause for doubt all the time is asked now and then.
func TestADoubtedBoxProvesItselfAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tb := newTable("self", 1, 20*time.Second)
		if tb.doubt(time.Now(), "anis") {
			t.Error("a box that nobody knows is to prove itself")
		}
		proved(t, tb, "anis", 1)
		if checks, _, _ := tb.due(time.Now()); len(checks) > 0 {
			t.Fatalf("it is asked before there is a doubt: %v", checks)
		}
		tb.doubt(time.Now(), "anis")
		checks, _, _ := tb.due(time.Now())
		if len(checks) != 1 || len(tb.members()) != 1 {
			t.Fatalf("checks %v, members %v", checks, tb.members())
		}
		// What it answers may have been sent before the doubt.
		tb.doubt(time.Now(), "anis")
		tb.checked(time.Now(), checks[0], finding{})
		checks, _, next := tb.due(time.Now())
		if len(checks) > 0 || time.Until(next) > doubtPause {
			t.Fatalf("asked again at %v: %v", time.Until(next), checks)
		}
		asked, gone := 0, errors.New("connection refused")
		for began := time.Now(); time.Since(began) < time.Minute; {
			tb.doubt(time.Now(), "anis")
			checks, _, next := tb.due(time.Now())
			for _, c := range checks {
				asked++
				tb.checked(time.Now(), c, finding{})
			}
			if len(checks) == 0 {
				time.Sleep(time.Until(next)) //nolint:forbidigo // in a bubble, where it takes no time
			}
		}
		if asked < 50 || asked > 70 {
			t.Errorf("asked %d times in a minute of doubts", asked)
		}
		time.Sleep(doubtPause) //nolint:forbidigo // the same
		tb.doubt(time.Now(), "anis")
		checks, _, _ = tb.due(time.Now())
		for _, c := range checks {
			tb.doubt(time.Now(), "anis")
			tb.checked(time.Now(), c, finding{err: gone})
		}
		if len(checks) != 1 || len(tb.members()) != 0 {
			t.Errorf("it is gone: checks %v, members %v", checks, tb.members())
		}
	})
}

// proved makes a member of a box.
func proved(t *testing.T, tb *table, name string, n int) {
	t.Helper()
	now := time.Now()
	raw := rawState(t, 443, uint64(n))
	if err := tb.hear(now, name, place1(n), raw); err == nil {
		t.Fatalf("%s was let in unproved", name)
	}
	checks, _, _ := tb.due(now)
	for _, c := range checks {
		tb.checked(now, c, finding{})
	}
	if err := tb.hear(now, name, place1(n), raw); err != nil {
		t.Fatalf("%s is kept out: %v", name, err)
	}
	tb.up(now, name, place1(n), raw, true)
	if _, ok := find(tb.members(), name); !ok {
		t.Fatalf("%s is no member: %+v", name, tb.all())
	}
}

func TestAnAnswerThatIsTooLateCountsForNothing(t *testing.T) {
	tb := newTable("self", 1, time.Second)
	proved(t, tb, "anis", 1)
	now := time.Now()
	tb.lost(now, "anis")
	checks, _, _ := tb.due(now)
	if len(checks) != 1 {
		t.Fatalf("checks: %v", checks)
	}
	tb.down(now, "anis", place1(1)) // while it is asked
	tb.checked(now, checks[0], finding{})
	if len(tb.members()) != 0 {
		t.Error("it went away and is a member")
	}
	tb.up(now, "anis", place1(1), rawState(t, 443, 2), true)
	if len(tb.members()) != 0 {
		t.Error("it came back, has not proved itself, and is a member")
	}
	checks, _, _ = tb.due(now)
	if len(checks) != 1 {
		t.Fatalf("it is not asked: %v", checks)
	}
	tb.checked(now, checks[0], finding{})
	if len(tb.members()) != 1 {
		t.Error("it has proved itself and is no member")
	}
}

func TestAKeyHolderCannotFillTheTable(t *testing.T) {
	tb := newTable("self", 1, time.Second)
	now := time.Now()
	proved(t, tb, "anis", 1)
	refused := errors.New("certificate is for somebody else")
	for i := range 10 * maxBoxes {
		now = now.Add(time.Second)
		name := fmt.Sprint("liar", i)
		_ = tb.hear(now, name, place1(i+2), rawState(t, 443, 3))
		_ = tb.hear(now, "anis", place1(i+2), rawState(t, 443, 3))
		checks, _, _ := tb.due(now)
		for _, c := range checks {
			f := finding{err: refused, held: c.old.IsValid()}
			if c.addr.Addr() == place1(1).Addr() {
				f = finding{}
			}
			tb.checked(now, c, f)
		}
	}
	if n := len(tb.boxes); n > maxBoxes {
		t.Errorf("%d boxes", n)
	}
	if n := len(tb.boxes["anis"].claims); n > maxClaims {
		t.Errorf("%d claims for one name", n)
	}
	if m := tb.members(); len(m) != 1 || m[0].Addr != place1(1).Addr() {
		t.Errorf("members: %+v", m)
	}
	proved(t, tb, "badiane", 9999)
}

func TestClaimsAndBoxesAreForgotten(t *testing.T) {
	tb := newTable("self", 1, time.Second)
	now := time.Now()
	_ = tb.hear(now, "anis", place1(1), rawState(t, 443, 1))
	checks, _, _ := tb.due(now)
	tb.checked(now, checks[0], finding{err: errors.New("no")})
	tb.due(now.Add(claimAge + time.Second))
	if len(tb.all()) != 0 {
		t.Errorf("still known: %+v", tb.all())
	}
	proved(t, tb, "badiane", 2)
	tb.down(now, "badiane", place1(2))
	tb.due(now.Add(boxAge / 2))
	_, calls, _ := tb.due(now.Add(boxAge / 2))
	if len(tb.known()) != 1 || len(calls) > 1 {
		t.Errorf("known %v, calls %v", tb.known(), calls)
	}
	tb.boxes["badiane"].joining = false
	tb.due(now.Add(boxAge + time.Hour))
	if len(tb.known()) != 0 {
		t.Errorf("still known: %v", tb.known())
	}
}

func TestWhatCannotBeABoxIsKeptOut(t *testing.T) {
	tb := newTable("self", 7, time.Second)
	tb.here(place1(1))
	now := time.Now()
	good := rawState(t, 443, 1)
	for name, c := range map[string]struct {
		name string
		at   netip.AddrPort
		raw  []byte
	}{
		"no name":                 {"", place1(2), good},
		"a name with a slash":     {"a/b", place1(2), good},
		"a name with a line end":  {"a\nb", place1(2), good},
		"a long name":             {strings.Repeat("a", maxName+1), place1(2), good},
		"no address":              {"anis", netip.AddrPort{}, good},
		"no port":                 {"anis", netip.MustParseAddrPort("10.0.0.1:0"), good},
		"any address":             {"anis", netip.MustParseAddrPort("0.0.0.0:1"), good},
		"many addresses":          {"anis", netip.MustParseAddrPort("224.0.0.1:1"), good},
		"this machine":            {"anis", netip.MustParseAddrPort("127.0.0.1:1"), good},
		"no state":                {"anis", place1(2), nil},
		"half a state":            {"anis", place1(2), good[:len(good)-1]},
		"this run, at an address": {"self", place1(2), rawState(t, 443, 7)},
	} {
		if err := tb.hear(now, c.name, c.at, c.raw); err == nil {
			t.Errorf("%s: let in", name)
		}
		if len(tb.boxes) != 0 {
			t.Fatalf("%s: remembered", name)
		}
	}
	if err := tb.hear(now, "self", place1(1), good); err != nil {
		t.Errorf("this box itself is kept out: %v", err)
	}
}

// TestOnlyTheProvedAreMembers: whatever is heard, in whatever order, a member
// was proved at the address that it is said to have, after it was last heard to
// be dead.
func TestOnlyTheProvedAreMembers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tb := newTable("self", 1, time.Second)
		now := time.Now()
		honest := func(name string, a netip.AddrPort) bool { return a.Addr() == place1(int(name[0])).Addr() }
		good := map[string]bool{}
		var pending []check
		t.Repeat(map[string]func(*rapid.T){
			"hear": func(t *rapid.T) {
				name := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "name")
				at := place1(int(rapid.SampledFrom([]byte("abx")).Draw(t, "at")))
				raw := rawState(t, rapid.Uint16Range(1, 3).Draw(t, "port"), rapid.Uint64Range(1, 2).Draw(t, "boot"))
				if tb.hear(now, name, at, raw) == nil {
					tb.up(now, name, at, raw, rapid.Bool().Draw(t, "joined"))
				}
			},
			"down": func(t *rapid.T) {
				name := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "name")
				tb.down(now, name, place1(int(name[0])))
				good[name] = false
			},
			"lost": func(t *rapid.T) {
				name := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "name")
				tb.lost(now, name)
				good[name] = false
			},
			"doubt": func(t *rapid.T) {
				tb.doubt(now, rapid.SampledFrom([]string{"a", "b"}).Draw(t, "name"))
			},
			"due": func(*rapid.T) {
				checks, calls, _ := tb.due(now)
				pending = append(pending, checks...)
				for _, c := range calls {
					tb.called(now, c, nil)
				}
			},
			"check": func(t *rapid.T) {
				if len(pending) == 0 {
					t.Skip("none")
				}
				c := pending[0]
				pending = pending[1:]
				f := finding{held: c.old.IsValid() && honest(c.name, c.old)}
				if !f.held && !honest(c.name, c.addr) {
					f.err = errForeign
				}
				tb.checked(now, c, f)
				if f.err == nil {
					good[c.name] = true
				}
			},
			"wait": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.IntRange(1, 100).Draw(t, "s")) * time.Second)
			},
			"": func(t *rapid.T) {
				for _, m := range tb.members() {
					if !good[m.Name] || !honest(m.Name, netip.AddrPortFrom(m.Addr, 1)) || !m.Verified {
						t.Fatalf("a member that was not proved: %+v", m)
					}
				}
			},
		})
	})
}

func TestHintsAreBounded(t *testing.T) {
	h := newHints()
	now := time.Now()
	if h.add(now, netip.AddrPort{}, netip.MustParseAddrPort("0.0.0.0:1"), netip.MustParseAddrPort("10.0.0.1:0"), netip.MustParseAddrPort("[ff02::1]:1"), netip.MustParseAddrPort("[fe80::1%eth0]:1")) {
		t.Error("a hint that leads nowhere was taken")
	}
	for i := range 3 * maxHints {
		h.add(now.Add(time.Duration(i)*time.Second), place1(0), place1(i))
	}
	list := h.list()
	if len(list) != maxHints {
		t.Errorf("%d hints", len(list))
	}
	if list[0] != place1(0) || list[1] != place1(2*maxHints+1) {
		t.Errorf("the wrong ones were forgotten: %v", list)
	}
	later := now.Add(time.Hour)
	every := func() time.Duration { return time.Minute }
	skip := func(a netip.AddrPort) bool { return a == place1(0) }
	call, _ := h.due(later, every, skip)
	if len(call) != maxHints-1 {
		t.Errorf("%d calls", len(call))
	}
	if again, _ := h.due(later, every, skip); len(again) != 0 {
		t.Errorf("called twice: %v", again)
	}
	for _, a := range call {
		h.called(a, later, later.Add(time.Minute))
	}
	if _, next := h.due(later, every, skip); !next.Equal(later.Add(time.Minute)) {
		t.Errorf("next at %s", next)
	}
	// Seen right now: called now, but not again and again.
	soon := later.Add(hintPause + time.Second)
	if !h.add(soon, call[0]) || h.add(later.Add(time.Second), call[1]) {
		t.Error("a hint that is given again is called at the wrong time")
	}
}

func FuzzDecodeState(f *testing.F) {
	full := State{Port: 65535, Weight: 1 << 31, Free: 1 << 31, Load: 100, Version: strings.Repeat("v", maxVersion), Draining: true, Device: strings.Repeat("d", maxDevice)}
	raw, err := encodeState(full, 1<<63)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte{0xa0})
	f.Add([]byte{0xa1, 0x18, 0x63, 0x81, 0x01})
	f.Add([]byte{0xbf, 0xff})
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, boot, err := decodeState(raw)
		if err != nil {
			return
		}
		again, err := encodeState(s, boot)
		if err != nil {
			t.Fatalf("what was taken cannot be said: %v", err)
		}
		s2, boot2, err := decodeState(again)
		if err != nil || s2 != s || boot2 != boot {
			t.Fatalf("%+v became %+v: %v", s, s2, err)
		}
	})
}

func TestStates(t *testing.T) {
	full := State{Port: 65535, Weight: 1<<32 - 1, Free: 1<<32 - 1, Load: 100, Version: strings.Repeat("v", maxVersion), Draining: true, Device: strings.Repeat("d", maxDevice)}
	raw, err := encodeState(full, 1<<64-1)
	if err != nil || len(raw) > maxSaid/2 {
		t.Errorf("the longest state has %d bytes, which leaves little to newer versions: %v", len(raw), err)
	}
	// {1: 443, 99: [1, {"x": 2}]}: what a newer version added.
	s, _, err := decodeState([]byte{0xa2, 0x01, 0x19, 0x01, 0xbb, 0x18, 0x63, 0x82, 0x01, 0xa1, 0x61, 0x78, 0x02})
	if err != nil || s.Port != 443 {
		t.Errorf("what a newer version says is not understood: %+v, %v", s, err)
	}
	for name, bad := range map[string]State{
		"version": {Version: strings.Repeat("v", maxVersion+1)},
		"device":  {Device: strings.Repeat("d", maxDevice+1)},
		"load":    {Load: 101},
		"text":    {Device: "\xff"},
	} {
		if _, err := encodeState(bad, 1); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if _, _, err := decodeState(bytes.Repeat([]byte{0xa0}, maxSaid+1)); err == nil {
		t.Error("a long state was taken")
	}
	if reflect.TypeFor[said]().NumField() != reflect.TypeFor[State]().NumField()+1 {
		t.Error("a field of State is not said")
	}
}

func TestMistakesInTheConfigAreNamed(t *testing.T) {
	bad := Config{Name: "a/b", Listen: "box.local:7946", Keys: [][]byte{{1}}, RejoinEvery: 0}
	err := bad.Validate()
	for _, want := range []string{"name:", "school:", "listen:", "keys:", "rejoin_every:"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not named in: %v", want, err)
		}
	}
	for listen, ok := range map[string]bool{
		"0.0.0.0:7946": true, "[::]:7946": true, ":7946": true, "127.0.0.1:0": true, "[::1]:0": true,
		"": false, "7946": false, "1.2.3.4": false, "1.2.3.4:x": false, "[fe80::1%eth0]:1": false,
	} {
		if _, err := parseListen(listen); (err == nil) != ok {
			t.Errorf("%q: %v", listen, err)
		}
	}
	good := DefaultConfig()
	good.Name, good.School, good.Keys = "anis", "école", [][]byte{keyA}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	if _, err := New(good, State{}, nil, nil, nil); err == nil {
		t.Error("without a verifier it believes anybody")
	}
	reg := prometheus.NewRegistry()
	w := newWorld(t)
	n := w.make("anis")
	if _, err := New(good, State{Load: 200}, n.verify, n.log, reg); err == nil {
		t.Error("a state that cannot be said was taken")
	}
}

func TestOfTwoThatAreProvedAtOnceTheFirstStays(t *testing.T) {
	tb := newTable("self", 1, time.Second)
	now := time.Now()
	_ = tb.hear(now, "anis", place1(1), rawState(t, 443, 1))
	_ = tb.hear(now, "anis", place1(2), rawState(t, 443, 2))
	checks, _, _ := tb.due(now)
	if len(checks) != 2 {
		t.Fatalf("checks: %+v", checks)
	}
	first := checks[0].addr.Addr()
	for _, c := range checks {
		tb.checked(now, c, finding{})
	}
	checks, _, _ = tb.due(now)
	if len(checks) != 1 || checks[0].old.Addr() != first {
		t.Fatalf("the second is not measured against the first: %+v", checks)
	}
	said := tb.checked(now, checks[0], finding{held: true, twin: true})
	if len(said) != 1 || !said[0].warn {
		t.Errorf("said: %+v", said)
	}
	if m := tb.all(); len(m) != 1 || m[0].Addr != first || !strings.Contains(m[0].Why, "copied disk") {
		t.Errorf("all: %+v", m)
	}
}
