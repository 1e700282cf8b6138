package listen

import (
	"errors"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
)

// endless is a listener with a client always at the door.
type endless struct{}

func (e endless) Accept() (net.Conn, error) {
	c, _ := net.Pipe()
	return c, nil
}
func (e endless) Close() error   { return nil }
func (e endless) Addr() net.Addr { return nil }

func TestConnectionsAboveTheLimitWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimited(endless{}, 2)
		accepted := 0
		var last error
		done := make(chan struct{})
		go func() {
			defer close(done)
			for last == nil {
				if _, last = l.Accept(); last == nil {
					accepted++
				}
			}
		}()
		synctest.Wait()
		if accepted != 2 {
			t.Fatalf("accepted %d, want 2", accepted)
		}
		l.track(nil, http.StateActive)
		l.track(nil, http.StateClosed)
		l.track(nil, http.StateHijacked)
		synctest.Wait()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		<-done
		if accepted != 4 || !errors.Is(last, net.ErrClosed) {
			t.Errorf("accepted %d and ended with %v, want 4 and net.ErrClosed", accepted, last)
		}
	})
}
