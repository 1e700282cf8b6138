package gossip

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func openTransport(t *testing.T, at string) *transport {
	t.Helper()
	met, err := newMetrics(prometheus.NewRegistry(), func() (int, int) { return 0, 0 })
	if err != nil {
		t.Fatal(err)
	}
	a := netip.MustParseAddrPort(at)
	tr, err := listen(t.Context(), a, a.Addr(), met, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tr.Shutdown(); err != nil {
			t.Error(err)
		}
	})
	return tr
}

func TestStrangersCannotFillMemory(t *testing.T) {
	tr := openTransport(t, "127.0.0.1:0")
	var open []net.Conn
	var d net.Dialer
	for range maxStreams {
		c, err := d.DialContext(t.Context(), "tcp", tr.tell.String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		open = append(open, <-tr.streams)
	}
	more, err := d.DialContext(t.Context(), "tcp", tr.tell.String())
	if err != nil {
		t.Fatal(err)
	}
	defer more.Close()
	if err := more.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := more.Read(make([]byte, 1)); err == nil {
		t.Error("one connection too many is open")
	}
	if err := open[0].Close(); err != nil {
		t.Error(err)
	}
	big, err := d.DialContext(t.Context(), "tcp", tr.tell.String())
	if err != nil {
		t.Fatal(err)
	}
	defer big.Close()
	in := <-tr.streams
	go func() {
		_, _ = big.Write([]byte{markLabel, 1, 'x', markEncrypted, 0, 2, 0, 0, encryption})
		_, _ = big.Write(make([]byte, 2*maxStream))
	}()
	n, err := io.Copy(io.Discard, in)
	if n != maxStream || err == nil {
		t.Errorf("one connection brought %d bytes: %v", n, err)
	}
	_ = in.Close()
	for _, c := range open[1:] {
		_ = c.Close()
	}
}

// forged is what a holder of the key can make: text in an envelope of either
// version, as a packet, and as a stream's beginning if it is to be one.
func forged(t *testing.T, label string, version byte, text []byte, inStream bool) []byte {
	t.Helper()
	block, err := aes.NewCipher(keyA)
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	head := append([]byte{markLabel, byte(len(label))}, label...)
	var data []byte
	if inStream {
		n := 1 + gcm.NonceSize() + len(text) + gcm.Overhead()
		mark := binary.BigEndian.AppendUint32([]byte{markEncrypted}, uint32(n))
		head = append(head, mark...)
		data = append(data, mark...)
	}
	nonce := make([]byte, gcm.NonceSize())
	head = append(append(head, version), nonce...)
	return gcm.Seal(head, nonce, text, append(data, label...))
}

func TestAKeyHolderCannotEndTheProgram(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	boxes := w.meet("anis", "badiane")
	label := boxes[0].cfg.School
	var d net.Dialer
	udp, err := d.DialContext(t.Context(), "udp", boxes[0].Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	for _, version := range []byte{0, 1, 2} {
		for _, text := range [][]byte{nil, {0xff}, bytes.Repeat([]byte{0xff}, 16), {2}, {7, 255}, {9}, {6, 0x80}, {4, 0xc1}} {
			_, _ = udp.Write(forged(t, label, version, text, false))
			tcp, err := d.DialContext(t.Context(), "tcp", boxes[0].Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			if err := tcp.SetDeadline(time.Now().Add(patience)); err != nil {
				t.Fatal(err)
			}
			_, _ = tcp.Write(forged(t, label, version, text, true))
			_ = tcp.(*net.TCPConn).CloseWrite()
			_, _ = io.Copy(io.Discard, tcp)
			_ = tcp.Close()
		}
	}
	boxes[0].Say(State{Port: boxes[0].port, Weight: 3})
	w.until("news", func() bool { m, _ := boxes[1].member("anis"); return m.State.Weight == 3 })
}

func FuzzStreamsBegin(f *testing.F) {
	f.Add([]byte{markLabel, 1, 'x', markEncrypted, 0, 0, 0, leastMessage, encryption, 1, 2, 3}, true)
	f.Add([]byte{markEncrypted, 0, 0, 0, leastMessage, encryption}, false)
	f.Add([]byte{markLabel, 255, markEncrypted}, true)
	met, err := newMetrics(prometheus.NewRegistry(), func() (int, int) { return 0, 0 })
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw []byte, labelled bool) {
		_ = sound(raw)
		s := &stream{Conn: fixed{bytes.NewReader(raw)}, t: &transport{met: met}, labelled: labelled, left: maxStream}
		got, err := io.ReadAll(s)
		if len(got) > 0 && !bytes.Equal(got, raw[:min(len(raw), maxStream)]) {
			t.Errorf("%x became %x: %v", raw, got, err)
		}
	})
}

// fixed is a connection that says one thing.
type fixed struct{ io.Reader }

func (fixed) Write(p []byte) (int, error)      { return len(p), nil }
func (fixed) Close() error                     { return nil }
func (fixed) LocalAddr() net.Addr              { return nil }
func (fixed) RemoteAddr() net.Addr             { return nil }
func (fixed) SetDeadline(time.Time) error      { return nil }
func (fixed) SetReadDeadline(time.Time) error  { return nil }
func (fixed) SetWriteDeadline(time.Time) error { return nil }

func TestClosingEndsWhatIsUnderWay(t *testing.T) {
	tr := openTransport(t, "127.0.0.1:0")
	other := openTransport(t, "127.0.0.1:0")
	c, err := tr.DialTimeout(other.tell.String(), patience)
	if err != nil {
		t.Fatal(err)
	}
	in := <-other.streams
	read := make(chan error, 1)
	go func() { _, err := in.Read(make([]byte, 1)); read <- err }()
	if err := other.Shutdown(); err != nil {
		t.Error(err)
	}
	if err := <-read; err == nil {
		t.Error("a read went on")
	}
	_ = c.Close()
	if err := tr.Shutdown(); err != nil {
		t.Error(err)
	}
	if _, err := tr.DialTimeout(other.tell.String(), patience); err == nil {
		t.Error("a closed transport dials")
	}
	if _, err := tr.WriteTo([]byte("x"), other.tell.String()); err == nil {
		t.Error("a closed transport sends")
	}
}

func TestNoiseIsNoHarm(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	boxes := w.meet("anis", "badiane")
	var d net.Dialer
	udp, err := d.DialContext(t.Context(), "udp", boxes[0].Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	tcp, err := d.DialContext(t.Context(), "tcp", boxes[0].Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	for i := range 200 {
		_, _ = udp.Write(bytes.Repeat([]byte{byte(i)}, i))
	}
	_, _ = tcp.Write(bytes.Repeat([]byte{0xf4}, 10_000))
	boxes[0].Say(State{Port: boxes[0].port, Weight: 3})
	w.until("news", func() bool { m, _ := boxes[1].member("anis"); return m.State.Weight == 3 })
	if n := strings.Count(boxes[0].logs.String(), "none of this box's keys"); n > 1 {
		t.Errorf("it complains %d times", n)
	}
}

func TestMemberlistsTalkIsBounded(t *testing.T) {
	var out bytes.Buffer
	c := &chatter{log: slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	for range 1000 {
		for _, line := range []string{
			"2026/01/01 00:00:00 [DEBUG] memberlist: Stream connection from=10.0.0.1:1\n",
			"2026/01/01 00:00:00 [WARN] memberlist: Was able to connect to anis over TCP but UDP probes failed, network may be misconfigured\n",
			"2026/01/01 00:00:00 [ERR] memberlist: Decrypt packet failed: no installed keys could decrypt the message from=10.0.0.1:1\n",
		} {
			if n, err := c.Write([]byte(line)); n != len(line) || err != nil {
				t.Fatal(n, err)
			}
		}
	}
	if n := strings.Count(out.String(), "level=WARN"); n != 2 {
		t.Errorf("%d warnings", n)
	}
	if n := strings.Count(out.String(), "level=DEBUG"); n > 10*talkAtMost {
		t.Errorf("%d lines for debugging", n)
	}
	if !c.udpFiltered(time.Now()) || c.udpFiltered(time.Now().Add(time.Minute)) {
		t.Error("it does not remember that UDP is filtered, or for too long")
	}
}

func TestBoxesMeetOverIPv6(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	v6 := func(c *Config, _ *State, _ *node) { c.Listen = "[::1]:0" }
	a, b := w.make("anis", v6), w.make("badiane", v6)
	for _, n := range []*node{a, b} {
		w.proves(netip.AddrPortFrom(netip.IPv6Loopback(), n.port), n.nick)
		n.run()
	}
	b.Hint(a.Addr())
	a.see("badiane")
	b.see("anis")
	if m, _ := b.member("anis"); m.Addr != netip.IPv6Loopback() {
		t.Errorf("anis is at %s", m.Addr)
	}
}

func TestTheAddressForTheOthers(t *testing.T) {
	v4, v6 := netip.IPv4Unspecified(), netip.IPv6Unspecified()
	for _, c := range []struct {
		bound, a string
		fits     bool
	}{
		{"0.0.0.0", "10.1.2.3", true}, {"0.0.0.0", "2001:db8::1", false}, {"::", "10.1.2.3", true}, {"::", "fd00::1", true},
		{"0.0.0.0", "127.0.0.1", false}, {"::", "fe80::1", false}, {"::", "::1", false}, {"0.0.0.0", "169.254.1.1", false},
	} {
		if fits(netip.MustParseAddr(c.bound), netip.MustParseAddr(c.a)) != c.fits {
			t.Errorf("listening at %s, tell %s: not %v", c.bound, c.a, c.fits)
		}
	}
	one := netip.MustParseAddr("192.0.2.7")
	if a, err := choose(t.Context(), one, nil); a != one || err != nil {
		t.Errorf("bound to one address, told %s, %v", a, err)
	}
	for _, bound := range []netip.Addr{v4, v6} {
		a, err := choose(context.Background(), bound, []netip.AddrPort{loop(7946)})
		if err == nil && (!isLocal(a) || a.IsLoopback()) {
			t.Errorf("the others are told %s", a)
		}
	}
	if !isLocal(netip.MustParseAddr("127.0.0.1")) || isLocal(netip.MustParseAddr("192.0.2.7")) {
		t.Error("does not know its own addresses")
	}
}
