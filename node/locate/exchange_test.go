package locate_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"preau/node/locate"
)

func TestITsListIsRead(t *testing.T) {
	got, err := locate.ReadNetworks(strings.NewReader("# schools\n\n0690001a 192.0.2.8/29, 192.0.2.1 2001:db8:7::/48 # a line\n-\t198.51.100.0/24\r\n"))
	want := networks("192.0.2.8/29", lyon, "192.0.2.1/32", lyon, "2001:db8:7::/48", lyon, "198.51.100.0/24", "")
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	for _, text := range []string{
		"192.0.2.1", "0690001A", "0690001A x", "0690001A 192.0.2.9/29", "0690001A 0.0.0.0/0", "0690001A ::/0", "0690001A 192.0.2.1\n0690002B 192.0.2.1/32",
		"0690001A fe80::1%eth0", "0690001A ::ffff:192.0.2.1/128", "school 192.0.2.1", strings.Repeat("a", 1<<20),
	} {
		if got, err := locate.ReadNetworks(strings.NewReader(text)); err == nil {
			t.Errorf("%.40q is read as %v", text, got)
		}
	}
}

func FuzzITsList(f *testing.F) {
	f.Add("0690001A 192.0.2.8/29 2001:db8::/48\n- 10.0.0.0/8 # x")
	f.Fuzz(func(t *testing.T, text string) {
		list, err := locate.ReadNetworks(strings.NewReader(text))
		if err != nil {
			return
		}
		if err := (locate.Report{Networks: list}).Check("boxes.example.net"); err != nil {
			t.Errorf("%q is read as what no other node takes: %v", text, err)
		}
	})
}

func TestITsListIsReadAgainWhenItChanges(t *testing.T) {
	file := filepath.Join(t.TempDir(), "networks")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("0690001A 192.0.2.1\n")
	n, err := locate.OpenNetworks(file, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- n.Run(ctx) }()
		write("0690001A 192.0.2.1 192.0.2.2\n")
		<-time.After(11 * time.Second)
		if got := len(n.List()); got != 2 {
			t.Errorf("%d ranges after a change", got)
		}
		write("0690001A nonsense, half written")
		<-time.After(11 * time.Second)
		if got := len(n.List()); got != 2 {
			t.Errorf("%d ranges after half a change", got)
		}
		if err := os.Remove(file); err != nil {
			t.Error(err)
		}
		<-time.After(11 * time.Second)
		if got := len(n.List()); got != 2 {
			t.Errorf("%d ranges without the file", got)
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	if _, err := locate.OpenNetworks(file, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a file that is missing at the start is no mistake")
	}
}

// through is an Asker that calls a handler.
func through(h http.Handler, count *int) locate.Asker {
	return func(ctx context.Context, method, path string, header http.Header, body io.Reader) (*http.Response, error) {
		r := httptest.NewRequestWithContext(ctx, method, path, body)
		r.Header = header
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		*count += w.Body.Len() + int(max(0, r.ContentLength))
		return w.Result(), nil
	}
}

func TestServersTellOneAnotherWhatHasChanged(t *testing.T) {
	report := locate.Report{Boxes: []locate.Box{at("a", lyon, "192.0.2.7/32")}, Networks: networks("198.51.100.0/24", other)}
	packed, err := locate.Pack(report, locate.Packed{})
	if err != nil {
		t.Fatal(err)
	}
	if again, err := locate.Pack(report, packed); err != nil || again.Tag != packed.Tag {
		t.Errorf("the same twice is %s and %s, %v", packed.Tag, again.Tag, err)
	}
	table := locate.NewTable(time.Hour)
	p := locate.Peers{Table: table, Domain: "boxes.example.net"}
	sent := 0
	for range 3 {
		if err := p.Fetch(t.Context(), "s2", through(packed, &sent)); err != nil {
			t.Fatal(err)
		}
	}
	whole := sent
	if got := table.Find(netip.MustParseAddr("192.0.2.7"), "cloud", "/", time.Now()); got.Box == nil || got.Box.Name != "a" {
		t.Errorf("found %+v", got)
	}
	if err := p.Fetch(t.Context(), "s2", through(packed, &sent)); err != nil || sent != whole {
		t.Errorf("the same once more took %d bytes, %v", sent-whole, err)
	}
	p.Keep(nil)
	if err := p.Fetch(t.Context(), "s2", through(packed, &sent)); err != nil || sent == whole {
		t.Errorf("a server that came back is not asked for all: %v", err)
	}
	if err := p.Fetch(t.Context(), "s3", through(http.NotFoundHandler(), &sent)); err == nil {
		t.Error("a server that knows no such path has told something")
	}
}

func TestARegionTellsAGateway(t *testing.T) {
	table := locate.NewTable(time.Hour)
	inbox := &locate.Inbox{Table: table, Domain: "example.net", Region: func(*http.Request) string { return "0123456789abcdef" }}
	packed, err := locate.Pack(locate.Report{Boxes: []locate.Box{at("a", lyon, "192.0.2.7/32")}}, locate.Packed{})
	if err != nil {
		t.Fatal(err)
	}
	sent := 0
	tell := func() error { return packed.Tell(t.Context(), through(inbox, &sent)) }
	if err := tell(); err != nil {
		t.Fatal(err)
	}
	first := sent
	if err := tell(); err != nil || sent != first {
		t.Errorf("the same again took %d bytes, %v", sent-first, err)
	}
	if got := table.Find(netip.MustParseAddr("192.0.2.7"), "cloud", "/", time.Now()); got.Box == nil {
		t.Errorf("found %+v", got)
	}
	inbox.Domain = "elsewhere.example"
	packed.Tag = "another"
	if err := tell(); err == nil {
		t.Error("boxes of another domain are taken")
	}
	if err := packed.Tell(t.Context(), func(context.Context, string, string, http.Header, io.Reader) (*http.Response, error) {
		return nil, errors.New("no line")
	}); err == nil {
		t.Error("without a line it was told")
	}
}

func TestAGatewayTakesNoNonsense(t *testing.T) {
	inbox := &locate.Inbox{Table: locate.NewTable(time.Hour), Domain: "example.net", Region: func(*http.Request) string { return "r" }}
	pack := func(text string) string {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, err := io.WriteString(z, text)
		if err := errors.Join(err, z.Close()); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	wrong := map[string]string{
		"no gzip": "{}", "no JSON": pack("x"), "cut": pack(`{"boxes":[]}`)[:12],
		"a range that is all there is": pack(`{"networks":[{"prefix":"0.0.0.0/0","school":"0690001A"}]}`),
		"a name elsewhere":             pack(`{"boxes":[{"name":"a","host":"a.evil.example","port":443}]}`),
		"a name that is a path":        pack(`{"boxes":[{"name":"a","host":"evil.example/.example.net","port":443}]}`),
		"seen everywhere":              pack(`{"boxes":[{"name":"a","host":"a.example.net","port":443,"seen":["::/0"]}]}`),
	}
	if !testing.Short() { // it is small on its way only
		wrong["far too long"] = pack(`{"boxes":[` + strings.Repeat(" ", 17<<20) + `]}`)
	}
	for name, body := range wrong {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPut, locate.GatewayPath, strings.NewReader(body))
		r.Header.Set("Preau-Report", "tag")
		w := httptest.NewRecorder()
		inbox.ServeHTTP(w, r)
		if w.Code != http.StatusBadRequest {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	w := httptest.NewRecorder()
	inbox.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPut, locate.GatewayPath, http.NoBody))
	if w.Code != http.StatusBadRequest {
		t.Errorf("a request that names nothing: %d", w.Code)
	}
}
