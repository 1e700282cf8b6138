package wire

import (
	"net/netip"
	"testing"
	"time"
)

// A chooser is fed with what each mode would bring on a line, and must come to
// the right one.
func TestTheChooserFindsWhatALineWants(t *testing.T) {
	tests := map[string]struct {
		tcp, quic bool
		brings    map[mode]epoch
		want      mode
	}{
		"a clean line":       {true, true, map[mode]epoch{mix: {rate: 100, share: 0.7}, narrow: {rate: 99}}, narrow},
		"BBR and loss":       {true, true, map[mode]epoch{mix: {rate: 100, share: 0.8}, narrow: {rate: 100}}, narrow},
		"loss, the mix best": {true, true, map[mode]epoch{mix: {rate: 100, share: 0.7}, narrow: {rate: 90}}, mix},
		"loss without BBR":   {true, true, map[mode]epoch{mix: {rate: 50, share: 0.35}, wide: {rate: 90}}, wide},
		"wide adds nothing":  {true, true, map[mode]epoch{mix: {rate: 50, share: 0.35}, wide: {rate: 53}}, mix},
		"both alike":         {true, true, map[mode]epoch{mix: {rate: 50, share: 0.5}, narrow: {rate: 20}, wide: {rate: 70}}, wide},
		"TCP is throttled":   {true, true, map[mode]epoch{mix: {rate: 50, share: 0.01}, onlyQUIC: {rate: 50}}, onlyQUIC},
		"no UDP":             {true, false, map[mode]epoch{onlyTCP: {rate: 50, share: 1}, narrow: {rate: 50, share: 1}}, narrow},
		"no UDP, no BBR":     {true, false, map[mode]epoch{onlyTCP: {rate: 50, share: 1}, narrow: {rate: 20, share: 1}}, onlyTCP},
		"no TCP":             {false, true, map[mode]epoch{onlyQUIC: {rate: 50}, widestQUIC: {rate: 51}}, onlyQUIC},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := newChooser(tt.tcp, tt.quic, mode{})
			at := c.now
			for range 4 {
				e, ok := tt.brings[at]
				if !ok {
					t.Fatalf("%v was tried for nothing", at)
				}
				e.took = epochTime
				var settled bool
				if at, settled = c.next(e); settled {
					break
				}
			}
			if c.stage != settled || at != tt.want {
				t.Errorf("came to %v in stage %d, want %v", at, c.stage, tt.want)
			}
		})
	}
}

func TestTheChooserLooksAgain(t *testing.T) {
	c := newChooser(true, true, narrow)
	if c.now != narrow {
		t.Fatalf("begins with %v, though narrow is known", c.now)
	}
	good := epoch{rate: 100, share: 1, took: epochTime}
	var looked time.Duration
	for c.now == narrow {
		c.next(good)
		looked += epochTime
	}
	if looked < againAfter || looked > 2*againAfter {
		t.Errorf("looked again after %v of carrying, want %v", looked, againAfter)
	}
	c = newChooser(true, true, narrow)
	c.next(good)
	if at, _ := c.next(epoch{rate: 40, share: 1, took: epochTime}); at != mix {
		t.Errorf("is at %v though the rate collapsed, want the mix", at)
	}
	// What is known of QUIC is of no use without it.
	if c := newChooser(true, false, mix); c.now != onlyTCP {
		t.Errorf("begins with %v where there is no QUIC", c.now)
	}
}

func TestMemoryIsByPlaceAndRunsOut(t *testing.T) {
	now := time.Now()
	m := newMemory(time.Hour)
	here := place{"192.0.2.1:4433", network{netip.MustParseAddr("10.0.0.7"), "eth0"}}
	there := place{"192.0.2.1:4433", network{netip.MustParseAddr("10.0.0.7"), "wlan0"}}
	m.won(here, OverTCP, now)
	if way, probe := m.at(here, now.Add(time.Minute)); way != OverTCP || probe {
		t.Errorf("here: %q, %v, want tcp and no probe", way, probe)
	}
	if way, _ := m.at(there, now); way != "" {
		t.Errorf("there: %q, want nothing", way)
	}
	later := now.Add(2 * time.Hour)
	for i, want := range []bool{true, false} { // one finds out, the others go on
		if way, probe := m.at(here, later); way != OverTCP || probe != want {
			t.Errorf("later, %d: %q, %v, want tcp and %v", i, way, probe, want)
		}
	}
	m.won(here, OverQUIC, later)
	m.lost(here, OverTCP) // somebody's old news
	if way, _ := m.at(here, later); way != OverQUIC {
		t.Errorf("after a probe that went well: %q, want quic", way)
	}
	m.learn(here, narrow, later)
	if m.mode(here, later) != narrow || m.mode(here, later.Add(2*time.Hour)).lanes() != 0 {
		t.Error("a mode is not kept as long as it should")
	}
	for i := range 3 * memoryMost {
		m.won(place{address: time.Duration(i).String()}, OverTCP, later)
	}
	if len(m.known) > memoryMost {
		t.Errorf("%d places are kept, at most %d should", len(m.known), memoryMost)
	}
}
