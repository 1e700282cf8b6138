package near

import (
	"errors"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

func TestOnlyTheOtherEndsSilenceIsASign(t *testing.T) {
	tests := map[string]struct {
		end  func(mine, theirs net.Conn) error
		want int
	}{
		"the other end closes it": {func(_, theirs net.Conn) error { return theirs.Close() }, 1},
		"this box closes it":      {func(mine, _ net.Conn) error { return mine.Close() }, 0},
		"it is read for a while":  {func(mine, _ net.Conn) error { return mine.SetReadDeadline(time.Now()) }, 0},
		"it is read for a while, and then closed there": {func(mine, theirs net.Conn) error {
			err := mine.SetReadDeadline(time.Now())
			if _, read := mine.Read(make([]byte, 1)); !errors.Is(read, os.ErrDeadlineExceeded) {
				return read
			}
			return errors.Join(err, mine.SetReadDeadline(time.Time{}), theirs.Close())
		}, 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				signs := 0
				l := &line{Conn: near, ended: func() { signs++ }}
				if err := tt.end(l, far); err != nil {
					t.Fatal(err)
				}
				for range 2 {
					if n, err := l.Read(make([]byte, 1)); n != 0 || err == nil {
						t.Errorf("read %d bytes: %v", n, err)
					}
				}
				if signs != tt.want {
					t.Errorf("%d signs, want %d", signs, tt.want)
				}
				if err := errors.Join(l.Close(), far.Close()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
