package enrol_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"preau/replication/enrol"
	"preau/replication/identity"
	"preau/replication/wire"
)

// gone is a server that nobody runs.
const gone = "127.0.0.1:1"

// lost is a box of the region whose disk does not open any more: its place, as it
// has noted it, and the token that it has made up.
func lost(t *testing.T, r *region) (enrol.Place, enrol.Token) {
	t.Helper()
	s, err := enrol.Enrol(t.Context(), r.token(t, nil), filepath.Join(t.TempDir(), "identity"), aBox, wire.DefaultDialConfig())
	if err != nil {
		t.Fatal(err)
	}
	place, ok := s.Place()
	if !ok {
		t.Fatal("an enrolled box has no place")
	}
	token, err := place.NewToken()
	if err != nil {
		t.Fatal(err)
	}
	return place, token
}

func TestABoxWithoutItsKeyIsTakenBack(t *testing.T) {
	r := newRegion(t, options{})
	place, token := lost(t, r)
	place.Servers = []string{gone, r.target.Address}
	told, err := enrol.AskAgain(t.Context(), place, token, "tpm", wire.DefaultDialConfig())
	if err != nil || told.Accepted || !slices.Equal(told.Servers, []string{r.target.Address}) {
		t.Fatalf("before anybody agreed: %+v, %v", told, err)
	}
	want := enrol.Return{Name: "b1", Token: place.Token, New: token.ID, Secret: token.Hash(), Why: "tpm"}
	if got := r.registry.asked; len(got) != 1 || got[0] != want {
		t.Fatalf("the region has heard %+v, not %+v", got, want)
	}
	name := want.NewName()
	ask := enrol.Ask{Role: identity.Box, Name: name}
	dir := filepath.Join(t.TempDir(), "identity")
	if _, err := enrol.Enrol(t.Context(), token, dir, ask, wire.DefaultDialConfig()); !errors.Is(err, enrol.ErrTokenUnknown) {
		t.Errorf("it enrols before anybody agreed: %v", err)
	}

	record := enrol.TokenRecord{ID: want.New, Secret: want.Secret, Role: identity.Box, School: "0690001A", NotAfter: r.authority.Certificate().NotAfter, Uses: 1}
	r.registry.set(func(g *registry) { g.tokens[record.ID] = record })
	if told, err = enrol.AskAgain(t.Context(), place, token, "tpm", wire.DefaultDialConfig()); err != nil || !told.Accepted {
		t.Fatalf("after an operator has agreed: %+v, %v", told, err)
	}
	s, err := enrol.Enrol(t.Context(), token, dir, ask, wire.DefaultDialConfig())
	if err != nil {
		t.Fatal(err)
	}
	if id := s.Identity(); id.Name != name || id.School != "0690001A" {
		t.Errorf("it is %s", id)
	}
}

func TestWhoMayNotComeBackIsTold(t *testing.T) {
	r := newRegion(t, options{})
	place, token := lost(t, r)
	ask := func(change func(*enrol.Place)) error {
		p := place
		p.Servers = slices.Clone(p.Servers)
		change(&p)
		_, err := enrol.AskAgain(t.Context(), p, token, "disk", wire.DefaultDialConfig())
		return err
	}
	for name, tt := range map[string]struct {
		change func(*enrol.Place)
		want   error
	}{
		"another name":             {func(p *enrol.Place) { p.Name = "b2" }, enrol.ErrTokenUnknown},
		"another token":            {func(p *enrol.Place) { p.Token[0]++ }, enrol.ErrTokenUnknown},
		"and a server that is off": {func(p *enrol.Place) { p.Name, p.Servers = "b2", append(p.Servers, gone) }, enrol.ErrTokenUnknown},
		"another region":           {func(p *enrol.Place) { p.Authority[0]++ }, wire.ErrForeign},
	} {
		if err := ask(tt.change); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
	for name, change := range map[string]func(*enrol.Place){
		"no server":  func(p *enrol.Place) { p.Servers = nil },
		"no address": func(p *enrol.Place) { p.Servers = []string{"region"} },
		"a line":     func(p *enrol.Place) { p.Servers = []string{"a\nb:4433"} },
		"a thousand": func(p *enrol.Place) { p.Servers = slices.Repeat(p.Servers, 1000) },
	} {
		if err := ask(change); err == nil {
			t.Errorf("%s: it is asked", name)
		}
	}
	if n := len(r.registry.asked); n != 0 {
		t.Errorf("the region has taken down %d", n)
	}
	r.registry.set(func(g *registry) {
		for id := range g.nodes {
			g.revoked[id] = true
		}
	})
	if err := ask(func(*enrol.Place) {}); !errors.Is(err, enrol.ErrRevoked) {
		t.Errorf("a revoked box: %v", err)
	}
}

func TestAServerOfAnOlderVersionIsNoRefusal(t *testing.T) {
	r := newRegion(t, options{wrap: func(h http.Handler) http.Handler {
		mux := http.NewServeMux()
		mux.Handle(enrol.PathEnrol, h)
		return mux
	}})
	place, token := lost(t, r)
	place.Servers = append(place.Servers, gone)
	if _, err := enrol.AskAgain(t.Context(), place, token, "tpm", wire.DefaultDialConfig()); !errors.Is(err, enrol.ErrOlder) {
		t.Errorf("it says %v", err)
	}
}

func TestACodeStandsForTheKeyBehindIt(t *testing.T) {
	base := enrol.Return{Name: "library-1", Token: enrol.TokenID{1}, New: enrol.TokenID{2}, Secret: enrol.SecretHash{3}, Why: "tpm"}
	code := base.Code()
	if len(code) != 14 || enrol.ParseCode(code) != code {
		t.Errorf("the code is %q", code)
	}
	if said := enrol.ParseCode(" " + strings.ToLower(strings.ReplaceAll(code, "-", " "))); said != code {
		t.Errorf("as somebody types it, it is %q, not %q", said, code)
	}
	if enrol.ParseCode("0") != "" || enrol.ParseCode(code+"A") != "" {
		t.Error("what is no code is taken for one")
	}
	if said := enrol.ParseCode("0101-0101-0101"); said != "OIOI-OIOI-OIOI" {
		t.Errorf("zeros and ones are %q", said)
	}
	for what, change := range map[string]func(*enrol.Return){
		"name": func(r *enrol.Return) { r.Name = "library-2" }, "token": func(r *enrol.Return) { r.New[7]++ },
		"secret": func(r *enrol.Return) { r.Secret[31]++ },
	} {
		other := base
		change(&other)
		if other.Code() == code {
			t.Errorf("the %s can be changed, and the code stays", what)
		}
	}
	same := base
	same.Why = "disk"
	if same.Code() != code {
		t.Error("the code depends on why it asks")
	}
	for _, old := range []identity.Name{"a", "library-1", identity.Name(strings.Repeat("a", 40)), identity.Name(strings.Repeat("a-", 19) + "b")} {
		r := base
		r.Name = old
		if _, err := identity.ParseName(string(r.NewName())); err != nil || r.NewName() == old {
			t.Errorf("%s becomes %s: %v", old, r.NewName(), err)
		}
	}
}

func againBody(change func(map[string]string)) string {
	q := map[string]string{"name": "b1", "token": "0102030405060708", "new": "0807060504030201", "secret": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "why": "tpm"}
	change(q)
	var fields []string
	for k, v := range q {
		fields = append(fields, fmt.Sprintf("%q:%q", k, v))
	}
	return "{" + strings.Join(fields, ",") + "}"
}

func TestWhatIsAskedAgainIsBounded(t *testing.T) {
	h, _ := handlerFor(t)
	set := func(key, value string) func(map[string]string) {
		return func(q map[string]string) { q[key] = value }
	}
	for name, tt := range map[string]struct {
		body string
		code int
	}{
		"in order":          {againBody(func(map[string]string) {}), http.StatusUnauthorized},
		"no reason":         {againBody(set("why", "")), http.StatusUnauthorized},
		"a megabyte":        {againBody(set("name", strings.Repeat("a", 1<<20))), http.StatusBadRequest},
		"no name":           {againBody(set("name", "")), http.StatusBadRequest},
		"half a token":      {againBody(set("token", "01")), http.StatusBadRequest},
		"no new token":      {againBody(set("new", "")), http.StatusBadRequest},
		"a short hash":      {againBody(set("secret", "AAAA")), http.StatusBadRequest},
		"a story":           {againBody(set("why", "becauseitwasbrokenbylightning")), http.StatusBadRequest},
		"a terminal's code": {againBody(set("why", "\x1b[2J")), http.StatusBadRequest},
		"no JSON":           {"hello", http.StatusBadRequest},
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, enrol.PathAgain, strings.NewReader(tt.body)))
		if w.Code != tt.code {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
}

func FuzzAgainBody(f *testing.F) {
	h, _ := handlerFor(f)
	f.Add(againBody(func(map[string]string) {}))
	f.Add(`{}`)
	f.Fuzz(func(t *testing.T, body string) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, enrol.PathAgain, strings.NewReader(body)))
		// The registry knows no token, so nothing else can come of it.
		if w.Code != http.StatusBadRequest && w.Code != http.StatusUnauthorized {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}
