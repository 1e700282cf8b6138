package beyond_test

import (
	"net"
	"strings"
	"testing"

	"preau/node/demo/beyond"
)

func TestATakenPortIsPassedOver(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	packets, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer packets.Close()
	for over, taken := range map[string]string{"tcp": ln.Addr().String(), "udp": packets.LocalAddr().String(), "none": "127.0.0.1:0"} {
		got, err := beyond.Free(taken)
		if err != nil || got == taken || !strings.HasPrefix(got, "127.0.0.1:") || strings.HasSuffix(got, ":0") {
			t.Errorf("%s taken: %q, %v", over, got, err)
		}
	}
	if got, err := beyond.Free("127.0.0.1"); err == nil {
		t.Errorf("no port: %q", got)
	}
}
