package wire

import (
	"net/http"
	"net/netip"
	"testing"
	"time"
)

// lineOnPaper is a connection that is there and carries nothing.
type lineOnPaper struct{}

func (lineOnPaper) RoundTrip(*http.Request) (*http.Response, error) { return nil, errBulkClosed }
func (lineOnPaper) alive() bool                                     { return true }
func (lineOnPaper) close()                                          {}
func (lineOnPaper) quiet(time.Time) (time.Duration, bool)           { return 0, false }
func (lineOnPaper) gauge() (gauge, bool)                            { return gauge{}, false }
func (lineOnPaper) local() netip.Addr                               { return netip.Addr{} }

// On a line that loses much QUIC's connections are open first, and its first
// blocks take their time. TCP's must get some all the same, before a mode is judged
// by what it brings.
func TestConnectionsThatComeLateAreTriedToo(t *testing.T) {
	b := &Bulk{chooser: newChooser(true, true, mode{})}
	add := func(way Way, busy int, rate float64) {
		b.lanes = append(b.lanes, &lane{way: way, conn: lineOnPaper{}, busy: busy, rate: rate})
	}
	add(OverQUIC, 2, 0)
	add(OverQUIC, 2, 0)
	add(OverQUIC, 1, 0)
	add(OverQUIC, 1, 0)
	if l := b.free(); l != nil {
		t.Fatalf("a seventh request goes over %s", l.way)
	}
	if b.complete() {
		t.Error("the mix is judged without TCP")
	}
	for range 2 {
		add(OverTCP, 0, 0)
		l := b.free()
		if l == nil || l.way != OverTCP {
			t.Fatal("a connection over TCP gets nothing")
		}
		l.busy++
		if !b.complete() {
			t.Error("the mix is not judged")
		}
	}
	if l := b.free(); l != nil {
		t.Errorf("another request goes over %s", l.way)
	}
	b.lanes[5].busy, b.lanes[5].rate = 0, 10 // it was tried
	if l := b.free(); l != nil {
		t.Errorf("another request goes over %s: too many are under way", l.way)
	}
}
