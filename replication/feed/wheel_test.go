package feed

import (
	"bytes"
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"preau/replication/catalogue"
)

func TestAHeartbeatIsABatchWithoutRecords(t *testing.T) {
	for _, after := range []uint64{0, 1, 23, 24, 255, 256, 1 << 16, 1 << 32, math.MaxUint64} {
		for _, upto := range []uint64{0, 23, 24, 1 << 16, math.MaxUint64} {
			want, err := appendFrame(nil, frameBatch, batchHeader{After: after, Upto: upto}, 0)
			if err != nil {
				t.Fatal(err)
			}
			if got := appendHeartbeat(nil, after, upto); !bytes.Equal(got, want) {
				t.Errorf("after %d, upto %d: % x, want % x", after, upto, got, want)
			}
		}
	}
}

// To wake up is most of what a heartbeat costs.
func TestHeartbeatsComeTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVillage(t, nil)
		v.put(catalogue.KindResource, "x", "1")
		time.Sleep(2*time.Second + 3*time.Millisecond)
		const boxes = 40
		at := make(chan time.Time, boxes)
		for i := range boxes {
			s := open(t, v.h, boxOf(fmt.Sprint("box-", i), lyon), Request{Cursor: Cursor{here, 1, 1}})
			go func() {
				if _, err := s.Next(); err == nil {
					at <- time.Now()
				}
			}()
			time.Sleep(7 * time.Millisecond)
		}
		opened := time.Now()
		moments := make(map[time.Time]bool)
		for range boxes {
			beat := <-at
			if d := beat.Sub(opened); d < 30*time.Second || d > 39*time.Second {
				t.Errorf("a heartbeat after %s", d)
			}
			moments[beat] = true
		}
		if n := len(moments); n < 3 || n > 10 {
			t.Errorf("the heartbeats of %d boxes come at %d moments, want some, by the second", boxes, n)
		}
	})
}

func TestABoxThatLeavesIsNoticedSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVillage(t, nil)
		v.put(catalogue.KindResource, "x", "1")
		time.Sleep(2 * time.Second)
		s := open(t, v.h, boxOf("a", lyon), Request{Cursor: Cursor{here, 1, 1}})
		time.Sleep(5 * time.Second)
		if _, n := v.h.server.Confirmed(1); n != 1 {
			t.Fatalf("%d are connected, want 1", n)
		}
		s.Close()
		time.Sleep(beatStep + 5*time.Millisecond)
		if _, n := v.h.server.Confirmed(1); n != 0 {
			t.Errorf("%d are connected, and it has left", n)
		}
	})
}
