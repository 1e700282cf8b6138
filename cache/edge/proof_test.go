package edge_test

import (
	"bytes"
	"cmp"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/cache/block"
	"preau/cache/edge"
	"preau/cache/object"
	"preau/cache/storage"
	"preau/cache/upstream"
	"preau/cache/vouch"
)

// seal signs with a word, and believes it.
type seal string

func (s seal) Sign([]byte) ([]byte, error) { return []byte(s), nil }

func (s seal) Check(_, sig []byte, _ time.Time) error {
	if string(sig) != string(s) {
		return vouch.ErrForged
	}
	return nil
}

func TestPeersAreGivenProofs(t *testing.T) {
	w := newWorld(t)
	if err := w.edge.SetProofs(edge.Proofs{Signer: seal("us")}, nil); err != nil {
		t.Fatal(err)
	}
	ask := w.serve(w.edge.Peers())
	data := noise(1<<20+5, 1)
	w.answer(file(data, "ETag", `"v1"`, "Cache-Control", "max-age=60", "Vary", "Accept-Language"))
	w.get("/film?a=%20", "Accept-Language", "fr")
	w.requests()
	marker := w.store.Marker()
	for _, method := range []string{http.MethodHead, http.MethodGet} {
		r := ask(method, "/film?a=%20", vouch.Body, vouch.Proof, "Accept-Language", "fr", "Range", "bytes=5-", "If-None-Match", `"v1"`)
		s, err := vouch.Proven(vouch.ProofOf(r.header), seal("us"))
		if err != nil || r.status != http.StatusOK {
			t.Fatalf("%s: status %d, %v", method, r.status, err)
		}
		list, err := vouch.List(int64(len(data)), []block.Digest{block.Sum(data[:1<<20]), block.Sum(data[1<<20:])})
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case !s.Lists(list), s.Status != http.StatusOK, s.Length != int64(len(data)), s.Site != w.site.Name, s.Header.Get("Etag") != `"v1"`, s.Header.Get("Age") == "":
			t.Errorf("it says %+v", s)
		case s.Name != marker.Name(w.site.Name, "/film?a=%20"), s.KeyID != uint32(marker.KeyID()):
			t.Error("it names another URL")
		}
		if want := map[string]int{http.MethodGet: len(list)}[method]; len(r.body) != want || want > 0 && !bytes.Equal(r.body, list) {
			t.Errorf("%s: %d bytes of body, want %d", method, len(r.body), want)
		}
	}
	tests := map[string][]string{
		"another variant": {"Accept-Language", "de"},
		"somebody":        {"Accept-Language", "fr", "Cookie", "who=me"},
		"authorized":      {"Accept-Language", "fr", "Authorization", "Basic eA=="},
	}
	for name, header := range tests {
		if r := ask(http.MethodHead, "/film?a=%20", append(header, vouch.Body, vouch.Proof)...); r.status != http.StatusGatewayTimeout || r.header.Get(vouch.Signed) != "" {
			t.Errorf("%s: status %d, %v", name, r.status, r.header)
		}
	}
	if r := ask(http.MethodHead, "/nothing", vouch.Body, vouch.Proof); r.status != http.StatusGatewayTimeout {
		t.Errorf("of what is not held: status %d", r.status)
	}
	if got := w.requests(); len(got) > 0 {
		t.Errorf("the site was asked %d times", len(got))
	}
	for name, h := range map[string]http.Handler{"a device": w.edge, "a neighbour": w.edge.Neighbours()} {
		r := w.serve(h)(http.MethodGet, "/film?a=%20", vouch.Body, vouch.Proof, "Accept-Language", "fr")
		if r.header.Get(vouch.Signed) != "" {
			t.Errorf("%s is given a proof that was made for it", name)
		}
	}
}

// hearing is an origin that is never there, and shows a proof to who asks.
type hearing struct {
	*upstream.Upstream
	proof []byte
	said  error
}

var errNobody = errors.New("nobody is there")

func (h *hearing) Fetch(req *http.Request) (*http.Response, error) {
	if accept := vouch.Of(req.Context()).Accept; accept != nil {
		_, h.said = accept(h.proof)
	}
	return nil, errNobody
}

// TestWhichProofsAreAccepted: those of this very response, as good as a copy that
// had been stored when they were made.
func TestWhichProofsAreAccepted(t *testing.T) {
	const url = "/page?x=1"
	now := time.Now()
	fresh := http.Header{"Cache-Control": {"max-age=60"}, "Age": {"5"}}
	tests := map[string]struct {
		change func(*vouch.Statement, object.Marker)
		by     seal
		ask    []string
		url    string // another than usual
		want   error
	}{
		"it is": {want: nil},
		"it is stale, and may be": {change: func(s *vouch.Statement, _ object.Marker) {
			s.At = now.Add(-48 * time.Hour).Unix()
		}},
		"its clock is ahead":             {change: func(s *vouch.Statement, _ object.Marker) { s.At = now.Add(90 * time.Minute).Unix() }},
		"it is of an error that is kept": {change: func(s *vouch.Statement, _ object.Marker) { s.Status = http.StatusNotFound }},
		"forged":                         {by: "them", want: vouch.ErrForged},
		"of another site":                {change: func(s *vouch.Statement, m object.Marker) { s.Site, s.Name = "b", m.Name("b", url) }, want: vouch.ErrOther},
		"of another URL":                 {change: func(s *vouch.Statement, m object.Marker) { s.Name = m.Name(s.Site, "/page?x=2") }, want: vouch.ErrOther},
		"of another key":                 {change: func(s *vouch.Statement, _ object.Marker) { s.KeyID++ }, want: vouch.ErrOther},
		"of another site's name for it":  {change: func(s *vouch.Statement, m object.Marker) { s.Name = m.Name("b", url) }, want: vouch.ErrOther},
		"of another variant": {change: func(s *vouch.Statement, _ object.Marker) {
			s.VaryNames, s.VaryKey = []string{"Accept-Language"}, "Accept-Language 2 de\n"
		}, ask: []string{"Accept-Language", "fr"}, want: vouch.ErrOther},
		"of who asked": {change: func(s *vouch.Statement, _ object.Marker) { s.VaryNames, s.VaryKey = []string{"Cookie"}, "Cookie -\n" }, want: vouch.ErrOther},
		"too stale":    {change: func(s *vouch.Statement, _ object.Marker) { s.At = now.Add(-90 * 24 * time.Hour).Unix() }, want: vouch.ErrOther},
		"stale, and must not be": {change: func(s *vouch.Statement, _ object.Marker) {
			s.Header = http.Header{"Cache-Control": {"max-age=60, must-revalidate"}, "Age": {"61"}}
		}, want: vouch.ErrOther},
		"not what the client takes": {ask: []string{"Cache-Control", "no-cache"}, want: vouch.ErrOther},
		"an outage":                 {change: func(s *vouch.Statement, _ object.Marker) { s.Status = http.StatusBadGateway }, want: vouch.ErrOther},
		"older than a purge":        {url: "/purged", want: vouch.ErrOther},
		"with an Age that lies ahead": {change: func(s *vouch.Statement, _ object.Marker) {
			s.Header = http.Header{"Cache-Control": {"max-age=60"}, "Age": {"99999999999999999999"}}
		}},
	}
	h := &hearing{}
	w := newWorld(t, func(s *edge.Site, _ *upstream.Config) { s.Rules.StaleWhenDown = 30 * 24 * time.Hour })
	h.Upstream = w.up
	w.site.Upstream = h
	if err := w.edge.SetProofs(edge.Proofs{Checker: seal("us")}, prometheus.NewRegistry()); err != nil {
		t.Fatal(err)
	}
	m := w.store.Marker()
	if _, err := w.store.Purge(t.Context(), []storage.PurgeSpec{{Site: w.site.Name, Marks: []object.Mark{m.Exact(w.site.Name, "/purged")}}}); err != nil {
		t.Fatal(err)
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			of := cmp.Or(tt.url, url)
			s := vouch.Statement{
				Site: w.site.Name, Name: m.Name(w.site.Name, of), KeyID: uint32(m.KeyID()), Status: http.StatusOK,
				Header: fresh.Clone(), Length: 7, At: now.Unix(),
			}
			if tt.change != nil {
				tt.change(&s, m)
			}
			var err error
			if h.proof, err = vouch.Prove(s, cmp.Or(tt.by, "us")); err != nil {
				t.Fatal(err)
			}
			h.said = errNobody
			w.get(of, tt.ask...)
			if !errors.Is(h.said, tt.want) {
				t.Errorf("%v, want %v", h.said, tt.want)
			}
		})
	}
}
