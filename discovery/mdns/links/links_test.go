package links

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"
)

func link(name string, index int, addrs ...string) Link {
	l := Link{Name: name, Index: index}
	for _, a := range addrs {
		l.Addrs = append(l.Addrs, netip.MustParsePrefix(a))
	}
	return l
}

func TestWhatIsNearNeedsNoRouter(t *testing.T) {
	l := link("eth0", 2, "10.1.2.3/24", "2001:db8::5/128", "fe80::1/64")
	tests := map[string]bool{
		"10.1.2.77": true, "10.1.3.1": false, "8.8.8.8": false, "127.0.0.1": false, "0.0.0.0": false, "224.0.0.251": false,
		"2001:db8::6": true, "2001:db8:0:1::6": false, "fe80::99": true, "fe80::99%eth7": true, "::1": false, "ff02::fb": false,
	}
	for a, want := range tests {
		if got := l.Near(netip.MustParseAddr(a)); got != want {
			t.Errorf("Near(%s) = %v", a, got)
		}
	}
	if link("eth0", 2, "10.1.2.3/24").Near(netip.MustParseAddr("fe80::1")) {
		t.Error("an address of IPv6 is near on a link that has none")
	}
	if l.Near(netip.Addr{}) {
		t.Error("no address is near")
	}
}

func TestAddressesThatNeedAZoneArePublishedOnlyForWantOfBetter(t *testing.T) {
	tests := map[string]struct {
		link Link
		want []string
	}{
		"both":  {link("e", 1, "10.1.2.3/24", "2001:db8::5/64", "fe80::1/64"), []string{"10.1.2.3", "2001:db8::5"}},
		"local": {link("e", 1, "10.1.2.3/24", "fe80::1/64"), []string{"10.1.2.3", "fe80::1"}},
		"v4":    {link("e", 1, "169.254.2.3/16"), []string{"169.254.2.3"}},
	}
	for name, tt := range tests {
		var got []string
		for _, a := range tt.link.Published() {
			got = append(got, a.String())
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}

func TestDiff(t *testing.T) {
	before := []Link{link("eth0", 2, "10.0.0.1/24"), link("eth1", 3, "10.0.1.1/24"), link("eth2", 4, "10.0.2.1/24")}
	after := []Link{link("eth0", 2, "10.0.0.1/24"), link("eth1", 3, "10.0.1.2/24"), link("eth2", 5, "10.0.2.1/24")}
	c := Diff(before, after)
	if len(c.Gone) != 1 || c.Gone[0].Index != 4 || len(c.New) != 1 || c.New[0].Index != 5 ||
		len(c.Moved) != 1 || c.Moved[0].Addrs[0].String() != "10.0.1.2/24" {
		t.Errorf("Diff = %+v", c)
	}
	if !Diff(after, after).None() || Diff(before, after).None() || Diff(nil, after).None() {
		t.Error("None is wrong")
	}
}

func TestOnlyInterfacesWithAClassBehindThemAreUsed(t *testing.T) {
	const up = net.FlagUp | net.FlagRunning | net.FlagMulticast | net.FlagBroadcast
	tests := []struct {
		globs []string
		name  string
		flags net.Flags
		want  bool
	}{
		{nil, "eth0", up, true},
		{nil, "wlan0", up, true},
		{nil, "br0", up, true},
		{nil, "eth0", up &^ net.FlagUp, false},
		{nil, "eth0", up &^ net.FlagRunning, false},
		{nil, "eth0", up &^ net.FlagMulticast, false},
		{nil, "ppp0", up | net.FlagPointToPoint, false},
		{nil, "lo", up | net.FlagLoopback, false},
		{nil, "docker0", up, false},
		{nil, "br-0a1b2c", up, false},
		{nil, "veth12ab", up, false},
		{nil, "virbr0", up, false},
		{nil, "wg0", up, false},
		{[]string{"eth*"}, "eth1", up, true},
		{[]string{"eth*"}, "wlan0", up, false},
		{[]string{"eth*", "docker0"}, "docker0", up, true},
		{[]string{"eth*"}, "eth1", up &^ net.FlagUp, false},
	}
	for _, tt := range tests {
		if got := wanted(tt.globs, tt.name, tt.flags); got != tt.want {
			t.Errorf("wanted(%v, %s, %v) = %v", tt.globs, tt.name, tt.flags, got)
		}
	}
	if Check([]string{"eth[0-9]"}) != nil || Check([]string{"eth["}) == nil || Check([]string{""}) == nil {
		t.Error("Check is wrong")
	}
}

func TestListGivesLinksThatHaveAddresses(t *testing.T) {
	all, err := List(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range all {
		if len(l.Addrs) == 0 || l.Index == 0 || l.Name == "" {
			t.Errorf("link is %+v", l)
		}
		if got, ok := Find(all, l.Index); !ok || got.Name != l.Name || !l.Holds(l.Addrs[0].Addr()) {
			t.Errorf("%s is not found", l.Name)
		}
	}
	if _, ok := Find(all, -1); ok {
		t.Error("there is a link -1")
	}
}

func TestWatchEndsWithItsContext(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	changed := make(chan struct{}, 1)
	ended := make(chan error, 1)
	go func() {
		ended <- Watch(ctx, func() {
			select {
			case changed <- struct{}{}:
			default:
			}
		})
	}()
	select {
	case <-changed: // at its start it says so once
	case err := <-ended:
		if !errors.Is(err, errors.ErrUnsupported) {
			t.Fatal(err)
		}
		return
	case <-time.After(time.Minute):
		t.Fatal("Watch says nothing")
	}
	stop()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Fatal("Watch does not end")
	}
}
