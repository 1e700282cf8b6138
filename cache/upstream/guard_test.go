package upstream

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

func TestWhatIsNoAddressOfTheInternet(t *testing.T) {
	tests := map[string]struct {
		private bool
		addrs   []string
	}{
		"public": {false, []string{
			"1.1.1.1", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0",
			"169.253.255.255", "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.167.255.255", "192.169.0.0",
			"198.17.255.255", "198.20.0.0", "223.255.255.255", "2a00:1450:4007::1", "2001:200::1", "2620:fe::fe",
		}},
		"loopback":       {true, []string{"127.0.0.1", "127.255.255.255", "::1"}},
		"unspecified":    {true, []string{"0.0.0.0", "0.1.2.3", "::"}},
		"RFC 1918":       {true, []string{"10.0.0.0", "10.255.255.255", "172.16.0.0", "172.31.255.255", "192.168.0.0", "192.168.255.255"}},
		"unique local":   {true, []string{"fc00::1", "fdff:ffff::1"}},
		"link-local":     {true, []string{"169.254.0.0", "169.254.169.254", "fe80::1", "fe80::1%eth0", "febf::1", "fec0::1"}},
		"shared":         {true, []string{"100.64.0.0", "100.127.255.255"}},
		"assignments":    {true, []string{"192.0.0.0", "192.0.0.255", "2001::1", "2001:1ff::1"}},
		"benchmarks":     {true, []string{"198.18.0.0", "198.19.255.255"}},
		"multicast":      {true, []string{"224.0.0.1", "239.255.255.255", "ff02::1"}},
		"reserved":       {true, []string{"240.0.0.1", "255.255.255.255", "100::1"}},
		"documentation":  {true, []string{"192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1"}},
		"mapped":         {true, []string{"::ffff:10.0.0.1", "::ffff:127.0.0.1", "::ffff:169.254.169.254"}},
		"compatible":     {true, []string{"::10.0.0.1", "::127.0.0.1"}},
		"mapped public":  {false, []string{"::ffff:1.1.1.1"}},
		"NAT64":          {true, []string{"64:ff9b::10.0.0.1", "64:ff9b::127.0.0.1", "64:ff9b::169.254.169.254", "64:ff9b:1::1.1.1.1"}},
		"NAT64 public":   {false, []string{"64:ff9b::1.1.1.1"}},
		"6to4":           {true, []string{"2002:0a00:0001::1", "2002:7f00:0001::1"}},
		"6to4 of public": {false, []string{"2002:0101:0101::1"}},
	}
	for name, tt := range tests {
		for _, a := range tt.addrs {
			if got := private(netip.MustParseAddr(a)); got != tt.private {
				t.Errorf("%s: private(%s) = %v", name, a, got)
			}
		}
	}
	if !private(netip.Addr{}) {
		t.Error("no address is a public one")
	}
}

// Whatever wraps an address is no way round: each form is judged as the inner.
func FuzzPrivate(f *testing.F) {
	f.Add([]byte{10, 0, 0, 1})
	f.Add([]byte{1, 1, 1, 1})
	f.Add([]byte{192, 0, 0, 9})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) != 4 {
			return
		}
		a := netip.AddrFrom4([4]byte(b))
		std := net.IP(b)
		if (std.IsLoopback() || std.IsPrivate() || std.IsLinkLocalUnicast() || std.IsMulticast() || std.IsUnspecified()) && !private(a) {
			t.Errorf("%s is public", a)
		}
		wrapped := nat64.Addr().As16()
		copy(wrapped[12:], b)
		six := sixto4.Addr().As16()
		copy(six[2:], b)
		for _, w := range []netip.Addr{netip.AddrFrom16(a.As16()), netip.AddrFrom16(wrapped), netip.AddrFrom16(six)} {
			if private(w) != private(a) {
				t.Errorf("private(%s) = %v, and of %s %v", w, private(w), a, private(a))
			}
		}
	})
}

// names is a resolver over the network whose name server knows any name by the
// same addresses.
func names(t *testing.T, addrs ...string) *net.Resolver {
	t.Helper()
	pc, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1500)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			answer, err := resolved(buf[:n], addrs)
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := pc.WriteTo(answer, from); err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() { _ = pc.Close(); <-done })
	server := pc.LocalAddr().String()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", server)
	}}
}

func resolved(query []byte, addrs []string) ([]byte, error) {
	var m dnsmessage.Message
	if err := m.Unpack(query); err != nil {
		return nil, err
	}
	m.Response, m.Authoritative, m.Additionals = true, true, nil
	q := m.Questions[0]
	for _, text := range addrs {
		a := netip.MustParseAddr(text)
		head := dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 1}
		switch {
		case a.Is4() && q.Type == dnsmessage.TypeA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.AResource{A: a.As4()}})
		case a.Is6() && q.Type == dnsmessage.TypeAAAA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.AAAAResource{AAAA: a.As16()}})
		}
	}
	return m.Pack()
}

// startNamed runs an Upstream to origin whose name has these addresses.
func startNamed(t *testing.T, origin string, addrs []string, change ...func(*Config)) *Upstream {
	t.Helper()
	cfg := patient()
	cfg.Name, cfg.URL = "library", mustURL(t, origin)
	for _, f := range change {
		f(&cfg)
	}
	u := mustNew(t, cfg, newGuard(cfg, net.Dialer{Resolver: names(t, addrs...)}).dial)
	run(t, u)
	return u
}

func TestANameThatLeadsIntoTheSchoolIsNotFollowed(t *testing.T) {
	var seen atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.Add(1)
		hello(w, r)
	}))
	defer srv.Close()
	port := mustURL(t, srv.URL).Port()
	named := "http://library.example:" + port

	for name, do := range map[string]func(*Upstream, *http.Request) (*http.Response, error){
		"fetch": (*Upstream).Fetch, "pass": (*Upstream).RoundTrip,
	} {
		t.Run(name, func(t *testing.T) {
			u := startNamed(t, named, []string{"127.0.0.1", "::ffff:127.0.0.1", "::1"})
			resp, err := do(u, request(t, u, "/a"))
			if err == nil {
				_ = resp.Body.Close()
			}
			pe, ok := errors.AsType[*PrivateError](err)
			if !ok || !errors.Is(err, ErrLineDown) {
				t.Fatalf("err = %v, want a *PrivateError and ErrLineDown", err)
			}
			if pe.Host != "library.example" || !slices.Contains(pe.Addrs, netip.MustParseAddr("127.0.0.1")) {
				t.Errorf("%+v", pe)
			}
			if !strings.Contains(err.Error(), "private_addresses = true") {
				t.Errorf("%v does not say what to do", err)
			}
			wantDown(t, u, CausePrivate)
		})
	}
	if n := seen.Load(); n != 0 {
		t.Errorf("%d requests reached it", n)
	}

	ways := map[string]struct {
		origin string
		change func(*Config)
	}{
		"the operator says so":   {named, func(c *Config) { c.PrivateAddresses = true }},
		"the address is written": {srv.URL, func(*Config) {}},
		"localhost is written":   {"http://localhost:" + port, func(*Config) {}},
		"a name below localhost": {"http://box.localhost.:" + port, func(*Config) {}},
	}
	for name, tt := range ways {
		t.Run(name, func(t *testing.T) {
			u := startNamed(t, tt.origin, []string{"127.0.0.1"}, tt.change)
			if _, body, err := get(t, u, "/a"); err != nil || body != "hello" {
				t.Errorf("%q, %v", body, err)
			}
		})
	}
}

func TestWhatIsWrittenIsAllThatIsMeant(t *testing.T) {
	tests := map[string]struct {
		origin  string
		allowed []string
		refused []string
	}{
		"a name":    {"http://library.example", []string{"1.1.1.1"}, []string{"10.0.0.1", "127.0.0.1"}},
		"localhost": {"http://localhost", []string{"127.0.0.1", "127.1.2.3", "::1"}, []string{"10.0.0.1", "1.1.1.1"}},
		"an address": {
			"http://10.0.0.1:80", []string{"10.0.0.1", "::ffff:10.0.0.1"}, []string{"10.0.0.2", "1.1.1.1"},
		},
		"a name that ends as localhost": {"http://notlocalhost", nil, []string{"127.0.0.1"}},
	}
	for name, tt := range tests {
		g := newGuard(Config{URL: mustURL(t, tt.origin)}, net.Dialer{})
		for _, a := range tt.allowed {
			if !g.allow(netip.MustParseAddr(a)) {
				t.Errorf("%s: %s is refused", name, a)
			}
		}
		for _, a := range tt.refused {
			if g.allow(netip.MustParseAddr(a)) {
				t.Errorf("%s: %s is allowed", name, a)
			}
		}
	}
}

// only stands for what is public: here all there is is loopback.
func only(t *testing.T, resolver *net.Resolver, addr string) *guard {
	t.Helper()
	g := newGuard(Config{URL: mustURL(t, "http://library.example")}, net.Dialer{Resolver: resolver})
	want := netip.MustParseAddr(addr)
	g.allow = func(a netip.Addr) bool { return a.Unmap() == want }
	return g
}

func TestOfANameWithBothThePublicAddressIsUsed(t *testing.T) {
	public, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	defer public.Close()
	_, port, err := net.SplitHostPort(public.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for name, addrs := range map[string][]string{
		"private first": {"127.0.0.1", "127.0.0.3", "127.0.0.2"},
		"public first":  {"127.0.0.2", "127.0.0.1"},
		"both families": {"::1", "127.0.0.2"},
	} {
		t.Run(name, func(t *testing.T) {
			g := only(t, names(t, addrs...), "127.0.0.2")
			c, err := g.dial(t.Context(), "tcp", net.JoinHostPort("library.example", port))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if got := c.RemoteAddr().String(); got != public.Addr().String() {
				t.Errorf("connected to %s", got)
			}
		})
	}
}

// The reason is the one of the addresses that count.
func TestWhatIsWrongWithThePublicAddressIsTold(t *testing.T) {
	l := listen(t)
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	g := only(t, names(t, "127.0.0.1", "127.0.0.2"), "127.0.0.2")
	c, err := g.dial(t.Context(), "tcp", net.JoinHostPort("library.example", port))
	if err == nil {
		_ = c.Close()
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("err = %v, want that the connection was refused", err)
	}
}

// A name may mean another machine at each look: what counts is the address that
// is connected to.
func TestANameThatTurnsPrivateIsNotFollowedAnyMore(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(hello))
	defer srv.Close()
	cfg := patient()
	cfg.Name, cfg.URL = "library", &url.URL{Scheme: "http", Host: "library.example:" + mustURL(t, srv.URL).Port()}
	g := only(t, names(t, "127.0.0.1"), "127.0.0.1")
	u := mustNew(t, cfg, g.dial)
	run(t, u)
	if _, _, err := get(t, u, "/a"); err != nil {
		t.Fatal(err)
	}
	g.dialer.Resolver = names(t, "127.0.0.5")
	u.closeIdle()
	if _, _, err := get(t, u, "/a"); !errors.Is(err, ErrLineDown) {
		t.Errorf("err = %v, want ErrLineDown", err)
	}
	wantDown(t, u, CausePrivate)
}

func TestAnAddressInAnOddSpellingIsRefused(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Name = "library"
	for _, host := range []string{"127.1", "2130706433", "0x7f000001", "0x7f.1", "017700000001", "127.0.0.1.", "10.0.0.256", "a.0X1F"} {
		cfg.URL = &url.URL{Scheme: "http", Host: host}
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), "url") {
			t.Errorf("%s: err = %v", host, err)
		}
	}
	for _, host := range []string{"127.0.0.1", "[::1]", "library.example", "library.example.", "1.example", "e4", "0x.example", "a0x1"} {
		cfg.URL = &url.URL{Scheme: "http", Host: host}
		if err := cfg.Validate(); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
}

func TestTheGuardHasNoPartInTheDeadline(t *testing.T) {
	g := only(t, names(t, "127.0.0.1"), "127.0.0.2")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	begin := time.Now()
	c, err := g.dial(ctx, "tcp", "library.example:80")
	if err == nil {
		_ = c.Close()
	}
	if _, ok := errors.AsType[*PrivateError](err); !ok || time.Since(begin) > 30*time.Second {
		t.Errorf("err = %v after %v", err, time.Since(begin))
	}
}
