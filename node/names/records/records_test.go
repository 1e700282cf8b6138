package records_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"preau/node/config"
	"preau/node/names/records"
)

const (
	host  = "a.boxes.example.org"
	value = "LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0"
)

func TestABoxGetsRecordsForItsOwnNameOnly(t *testing.T) {
	for _, r := range []records.Record{records.For(host, value), records.For("cloud."+host, value)} {
		if err := r.Check(host); err != nil {
			t.Errorf("%+v: %v", r, err)
		}
	}
	for _, r := range []records.Record{
		records.For("b.boxes.example.org", value), records.For("boxes.example.org", value), records.For("xa.boxes.example.org", value), records.For("", value),
		{Name: host, Value: value}, {Name: "_acme-challenge.x\n." + host, Value: value}, {Name: "_acme-challenge.$(x)." + host, Value: value},
		{Name: "_acme-challenge.*." + host, Value: value}, {Name: "_acme-challenge.-x." + host, Value: value}, {Name: "_acme-challenge.." + host, Value: value},
		records.For(host, ""), records.For(host, value+"="), records.For(host, strings.Repeat(" ", 43)), records.For(host, value[1:]+`"`),
		records.For(strings.Repeat("a.", 130)+host, value),
	} {
		if err := r.Check(host); !errors.Is(err, records.ErrForeign) {
			t.Errorf("%.80q is taken: %v", fmt.Sprint(r), err)
		}
	}
}

func FuzzARecordThatIsTakenIsPlain(f *testing.F) {
	f.Add("_acme-challenge."+host, value)
	f.Add("_acme-challenge.x."+host, value)
	f.Fuzz(func(t *testing.T, name, text string) {
		if (records.Record{Name: name, Value: text}).Check(host) != nil {
			return
		}
		if !strings.HasPrefix(name, "_acme-challenge.") || !strings.HasSuffix(name, "."+host) || strings.ContainsFunc(name+text, func(r rune) bool {
			return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"'$;|&<>*\/()`, r)
		}) {
			t.Errorf("%q %q is taken", name, text)
		}
	})
}

func writer(t *testing.T, h records.Hook) *records.Writer {
	t.Helper()
	var p config.Problems
	h.Check(&p, "acme_dns")
	if err := p.Err(); err != nil {
		t.Fatal(err)
	}
	w, err := records.NewWriter(h, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestACommandWritesRecords(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	h := records.DefaultHook()
	h.Command = []string{"/bin/sh", "-c", `echo "$@" >> "` + out + `"`, "hook"}
	w := writer(t, h)
	r := records.For(host, value)
	if err := w.Write(t.Context(), host, r); err != nil {
		t.Fatal(err)
	}
	r.Remove = true
	if err := w.Write(t.Context(), host, r); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(out)
	if want := "present _acme-challenge." + host + " " + value + "\nremove _acme-challenge." + host + " " + value + "\n"; err != nil || string(got) != want {
		t.Errorf("the command was told %q, %v; want %q", got, err, want)
	}
	h.Command = []string{"/bin/sh", "-c", "echo the zone is locked >&2; exit 3"}
	if err := writer(t, h).Write(t.Context(), host, r); err == nil || !strings.Contains(err.Error(), "the zone is locked") {
		t.Errorf("a command that fails: %v", err)
	}
	if err := writer(t, records.DefaultHook()).Write(t.Context(), host, r); !errors.Is(err, records.ErrNone) {
		t.Errorf("without a command: %v", err)
	}
}

func TestABoxThatAsksWithoutEndIsStopped(t *testing.T) {
	h := records.DefaultHook()
	h.Command = []string{"/bin/true"}
	w := writer(t, h)
	var err error
	n := 0
	for ; n < 100 && err == nil; n++ {
		err = w.Write(t.Context(), host, records.For(host, value))
	}
	if !errors.Is(err, records.ErrTooMany) || n != 61 {
		t.Errorf("stopped after %d, %v", n, err)
	}
	if err := w.Write(t.Context(), "b.boxes.example.org", records.For("b.boxes.example.org", value)); err != nil {
		t.Errorf("another box: %v", err)
	}
}

// nameServer takes updates that are signed.
func nameServer(t *testing.T, secret string) (at string, zone func() []string) {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	held := map[string]string{}
	started := make(chan struct{})
	srv := &dns.Server{
		Listener: ln, TsigSecret: map[string]string{"preau.": secret}, NotifyStartedFunc: func() { close(started) },
		MsgAcceptFunc: func(dns.Header) dns.MsgAcceptAction { return dns.MsgAccept },
		Handler: dns.HandlerFunc(func(w dns.ResponseWriter, m *dns.Msg) {
			answer := new(dns.Msg)
			answer.SetReply(m)
			switch {
			case m.IsTsig() == nil || w.TsigStatus() != nil:
				answer.Rcode = dns.RcodeNotAuth
			case m.Opcode != dns.OpcodeUpdate || m.Question[0].Name != "boxes.example.org.":
				answer.Rcode = dns.RcodeNotZone
			default:
				mu.Lock()
				for _, rr := range m.Ns {
					txt, _ := rr.(*dns.TXT) // nil for what removes a set
					switch rr.Header().Class {
					case dns.ClassANY, dns.ClassNONE:
						delete(held, rr.Header().Name)
					default:
						held[rr.Header().Name] = txt.Txt[0]
					}
				}
				mu.Unlock()
			}
			if t := m.IsTsig(); t != nil {
				answer.SetTsig(t.Hdr.Name, t.Algorithm, 300, time.Now().Unix())
			}
			if err := w.WriteMsg(answer); err != nil {
				return // the other end has gone
			}
		}),
	}
	done := make(chan error, 1)
	go func() { done <- srv.ActivateAndServe() }()
	<-started
	t.Cleanup(func() {
		if err := errors.Join(srv.ShutdownContext(context.WithoutCancel(t.Context())), <-done); err != nil {
			t.Error(err)
		}
	})
	return ln.Addr().String(), func() (out []string) {
		mu.Lock()
		defer mu.Unlock()
		for name, text := range held {
			out = append(out, name+" "+text)
		}
		return out
	}
}

func TestANameServerIsUpdated(t *testing.T) {
	const secret = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3I="
	at, zone := nameServer(t, secret)
	keyed := func(secret string) *records.Writer {
		file := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(file, []byte("preau hmac-sha256 "+secret+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		h := records.DefaultHook()
		h.Server, h.Zone, h.KeyFile = at, "boxes.example.org", file
		return writer(t, h)
	}
	w := keyed(secret)
	r := records.For(host, value)
	for _, v := range []string{value[1:] + "x", value} { // the first was left by a box that was cut off
		if err := w.Write(t.Context(), host, records.For(host, v)); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := zone(), "_acme-challenge."+host+". "+value; len(got) != 1 || got[0] != want {
		t.Errorf("the zone has %q, want %q", got, want)
	}
	r.Remove = true
	if err := w.Write(t.Context(), host, r); err != nil {
		t.Fatal(err)
	}
	if got := zone(); len(got) != 0 {
		t.Errorf("afterwards it has %q", got)
	}
	if err := keyed("b3RoZXI=").Write(t.Context(), host, r); err == nil {
		t.Error("an update under another key was taken")
	}
	if err := w.Write(t.Context(), host, records.For("a.elsewhere.example", value)); err == nil {
		t.Error("a record of another zone was written")
	}
}

func TestHooksThatCannotBe(t *testing.T) {
	for key, h := range map[string]records.Hook{
		"acme_dns.command": {Server: "192.0.2.1:53", Zone: "x.example", KeyFile: "k", Command: []string{"x"}}, "acme_dns.server": {Server: "ns", Zone: "x.example", KeyFile: "k"},
		"acme_dns.zone": {Server: "192.0.2.1:53", Zone: "x y", KeyFile: "k"}, "acme_dns.key_file": {Server: "192.0.2.1:53", Zone: "x.example"},
		"acme_dns.settle": {Settle: config.Duration(time.Hour)},
	} {
		var p config.Problems
		h.Check(&p, "acme_dns")
		if err := p.Err(); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%s: %v", key, err)
		}
	}
	for _, text := range []string{"", "preau", "preau hmac-md5 c2VjcmV0", "preau hmac-sha256 c2VjcmV0 x"} {
		file := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := records.NewWriter(records.Hook{Server: "192.0.2.1:53", Zone: "x.example", KeyFile: file}, slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("key file %q is taken", text)
		}
	}
}
