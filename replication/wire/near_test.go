package wire_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"preau/replication/wire"
)

// Next door QUIC wins the race and is not taken; further away it is. What is far
// is what the dialer says.
func TestNextDoorTCPIsTaken(t *testing.T) {
	for _, tt := range []struct {
		name string
		near time.Duration
		want string
	}{
		{"near", time.Minute, "HTTP/2.0"},
		{"far", time.Nanosecond, "HTTP/3.0"},
		{"never", 0, "HTTP/3.0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ours := newRegion(t, time.Now())
			s := ours.serve(t, options{handler: http.HandlerFunc(protocol)})
			d := dialer(t, ours.creds(t, ours.box("b1"), time.Now()), func(c *wire.DialConfig) {
				c.Near, c.HeadStart = tt.near, time.Minute
			})
			for range 2 { // the second one remembers
				if got, err := get(t.Context(), transport(t, d, s.target), "/"); err != nil || got != tt.want {
					t.Errorf("got %q, %v, want %s", got, err, tt.want)
				}
			}
		})
	}
}

// Bulk leaves QUIC out once a connection has shown that the server is near.
func TestNextDoorBulkIsOverTCP(t *testing.T) {
	ours := newRegion(t, time.Now())
	s := ours.serve(t, options{handler: http.HandlerFunc(protocol)})
	d := dialer(t, ours.creds(t, ours.box("b1"), time.Now()), func(c *wire.DialConfig) { c.Near = time.Minute })
	b := d.Bulk(s.target)
	defer b.Close()
	for range 200 {
		if _, err := get(t.Context(), b, "/"); err != nil {
			t.Fatal(err)
		}
		if states := d.Paths(); len(states) == 1 && strings.HasPrefix(states[0].Lanes, "tcp") && !strings.Contains(states[0].Lanes, "quic") {
			return
		}
		time.Sleep(10 * time.Millisecond) // the dials are under way
	}
	t.Errorf("paths = %+v", d.Paths())
}
