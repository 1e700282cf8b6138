package enrol_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"preau/replication/enrol"
	"preau/replication/identity"
	"preau/replication/wire"
)

func TestABoxEnrols(t *testing.T) {
	r := newRegion(t, options{})
	dir := filepath.Join(t.TempDir(), "identity")
	token, err := enrol.ParseToken(r.token(t, nil).String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := enrol.Enrol(t.Context(), token, dir, aBox, wire.DefaultDialConfig())
	if err != nil {
		t.Fatal(err)
	}
	want := identity.Identity{Region: r.registry.region, Role: identity.Box, Name: "b1", School: "0690001A"}
	if s.Identity() != want {
		t.Errorf("enrolled as %s, want %s", s.Identity(), want)
	}
	if s.Secret() != nil {
		t.Error("a box was given the region's secret")
	}
	again, err := enrol.OpenStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	if again.Identity() != want || len(again.Servers()) != 1 || again.Servers()[0] != r.target {
		t.Errorf("after opening: %s, servers %v", again.Identity(), again.Servers())
	}
	for _, file := range []string{"key.pem", "cert.pem", "region.json"} {
		info, err := os.Stat(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", file, info.Mode())
		}
	}
	if left := sole(t, dir, ".*"); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
	life := time.Until(s.Certificate().NotAfter)
	if life < enrol.BoxValidity-time.Hour || life > enrol.BoxValidity+time.Hour {
		t.Errorf("the certificate lasts %v", life)
	}
	// It is good for what it is for.
	d, err := wire.NewDialer(again.Credentials(), wire.DefaultDialConfig())
	if err != nil {
		t.Fatal(err)
	}
	if got := standing(t, d, r.target); !strings.Contains(got, `"lapsed":false`) {
		t.Errorf("the server says %s", got)
	}
	// The same token, in the same folder, changes nothing; another is refused.
	if s, err := enrol.Enrol(t.Context(), token, dir, aBox, wire.DefaultDialConfig()); err != nil || s.Certificate().SerialNumber.Cmp(again.Certificate().SerialNumber) != 0 {
		t.Errorf("again: %v", err)
	}
	if _, err := enrol.Enrol(t.Context(), r.token(t, nil), dir, aBox, wire.DefaultDialConfig()); !errors.Is(err, enrol.ErrEnrolled) {
		t.Errorf("another token: %v, want ErrEnrolled", err)
	}
}

func sole(t *testing.T, dir, pattern string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func standing(t *testing.T, d *wire.Dialer, target wire.Target) string {
	t.Helper()
	tr := d.Transport(target)
	defer tr.Close()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://region"+enrol.PathRenew, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestAServerJoinsAndOpensTheAuthority(t *testing.T) {
	r := newRegion(t, options{})
	token := r.token(t, func(record *enrol.TokenRecord) { record.Role, record.School = identity.Server, "" })
	dir := t.TempDir()
	_, err := enrol.Enrol(t.Context(), token, dir, enrol.Ask{Role: identity.Server, Name: "s2"}, wire.DefaultDialConfig())
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := r.store.Sealed()
	if err != nil {
		t.Fatal(err)
	}
	s, err := enrol.OpenStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.KeepSealed(sealed); err != nil {
		t.Fatal(err)
	}
	authority, err := s.OpenAuthority(nil)
	if err != nil {
		t.Fatal(err)
	}
	if authority.Pin() != r.authority.Pin() {
		t.Error("the authority is another one")
	}
	if _, err := (r.store).OpenAuthority(sealed); err != nil {
		t.Error(err)
	}
}

func TestRefusalsKeepTheirMeaning(t *testing.T) {
	r := newRegion(t, options{})
	tests := map[string]struct {
		record func(*enrol.TokenRecord)
		token  func(*enrol.Token)
		ask    enrol.Ask
		broken error
		want   error
	}{
		"unknown token":  {token: func(tok *enrol.Token) { tok.ID[0]++ }, want: enrol.ErrTokenUnknown},
		"wrong secret":   {token: func(tok *enrol.Token) { tok.Secret[0]++ }, want: enrol.ErrTokenUnknown},
		"used up":        {record: func(rec *enrol.TokenRecord) { rec.Uses = 0 }, want: enrol.ErrTokenUsed},
		"expired":        {record: func(rec *enrol.TokenRecord) { rec.NotAfter = time.Now().Add(-time.Second) }, want: enrol.ErrTokenExpired},
		"another school": {ask: enrol.Ask{Role: identity.Box, Name: "b1", School: "0750002B"}, want: enrol.ErrNotForThis},
		"another role":   {ask: enrol.Ask{Role: identity.Server, Name: "b1"}, want: enrol.ErrNotForThis},
		"no name":        {ask: enrol.Ask{Role: identity.Box}, want: enrol.ErrBadRequest},
		"no leader":      {broken: enrol.ErrUnavailable, want: enrol.ErrUnavailable},
		"name taken":     {broken: enrol.ErrNameTaken, want: enrol.ErrNameTaken},
		"revoked":        {broken: enrol.ErrRevoked, want: enrol.ErrRevoked},
		"another pin":    {token: func(tok *enrol.Token) { tok.Authority[0]++ }, want: wire.ErrForeign},
		"another region": {token: func(tok *enrol.Token) { tok.Region = "0123456789abcdef" }, want: wire.ErrForeign},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			token := r.token(t, tt.record)
			if tt.token != nil {
				tt.token(&token)
			}
			if tt.ask == (enrol.Ask{}) {
				tt.ask = aBox
			}
			r.registry.set(func(g *registry) { g.broken = tt.broken })
			defer r.registry.set(func(g *registry) { g.broken = nil })
			dir := t.TempDir()
			_, err := enrol.Enrol(t.Context(), token, dir, tt.ask, wire.DefaultDialConfig())
			// ErrUnavailable is not final: all servers are asked, and each error is kept.
			if !errors.Is(err, tt.want) {
				t.Errorf("err = %v, want %v", err, tt.want)
			}
			if _, err := enrol.OpenStore(dir); !errors.Is(err, enrol.ErrNotEnrolled) {
				t.Errorf("the folder: %v, want ErrNotEnrolled", err)
			}
		})
	}
}

func TestALostReplyCostsNothing(t *testing.T) {
	var lose atomic.Bool
	r := newRegion(t, options{wrap: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if lose.Load() {
				next.ServeHTTP(httptest.NewRecorder(), req)
				panic(http.ErrAbortHandler)
			}
			next.ServeHTTP(w, req)
		})
	}})
	token, dir := r.token(t, nil), t.TempDir()
	lose.Store(true)
	if _, err := enrol.Enrol(t.Context(), token, dir, aBox, wire.DefaultDialConfig()); err == nil {
		t.Fatal("a lost reply was no error")
	}
	lose.Store(false)
	r.registry.mu.Lock()
	had := r.registry.nodes[identity.Identity{Region: r.registry.region, Role: identity.Box, Name: "b1", School: "0690001A"}]
	r.registry.mu.Unlock()
	s, err := enrol.Enrol(t.Context(), token, dir, aBox, wire.DefaultDialConfig())
	if err != nil {
		t.Fatal(err)
	}
	if key := identity.KeyOf(s.Certificate()); had.key != key {
		t.Errorf("enrolled with key %s first, then %s", had.key, key)
	}
	// Somebody who overheard the token is too late.
	if _, err := enrol.Enrol(t.Context(), token, t.TempDir(), aBox, wire.DefaultDialConfig()); !errors.Is(err, enrol.ErrTokenUsed) {
		t.Errorf("another box with the token: %v, want ErrTokenUsed", err)
	}
}

// After each file of an enrolment that was cut off, the same call goes on.
func TestAnEnrolmentCutOffAnywhereGoesOn(t *testing.T) {
	r := newRegion(t, options{})
	token, dir := r.token(t, nil), t.TempDir()
	whole, err := enrol.Enrol(t.Context(), token, dir, aBox, wire.DefaultDialConfig())
	if err != nil {
		t.Fatal(err)
	}
	states := map[string]map[string]string{ // what there is: file -> name it has by then
		"the key":                       {"key.pem": "key.pending.pem"},
		"the key and the region":        {"key.pem": "key.pending.pem", "region.json": "region.json"},
		"all, the key still as pending": {"key.pem": "key.pending.pem", "region.json": "region.json", "cert.pem": "cert.pem"},
	}
	for name, files := range states {
		t.Run(name, func(t *testing.T) {
			cut := t.TempDir()
			for from, to := range files {
				b, err := os.ReadFile(filepath.Join(dir, from))
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(cut, to), b, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			s, err := enrol.Enrol(t.Context(), token, cut, aBox, wire.DefaultDialConfig())
			if err != nil {
				t.Fatal(err)
			}
			if s.Identity() != whole.Identity() || identity.KeyOf(s.Certificate()) != identity.KeyOf(whole.Certificate()) {
				t.Errorf("went on as %s with another key", s.Identity())
			}
			if _, err := enrol.OpenStore(cut); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestReplacingKeepsTheOldUntilTheNewIsThere(t *testing.T) {
	r := newRegion(t, options{})
	dir := t.TempDir()
	old, err := enrol.Enrol(t.Context(), r.token(t, nil), dir, aBox, wire.DefaultDialConfig())
	if err != nil {
		t.Fatal(err)
	}
	ask := enrol.Ask{Role: identity.Box, Name: "b2", Replace: true}
	bad := r.token(t, func(rec *enrol.TokenRecord) { rec.Uses = 0 })
	if _, err := enrol.Enrol(t.Context(), bad, dir, ask, wire.DefaultDialConfig()); !errors.Is(err, enrol.ErrTokenUsed) {
		t.Fatal(err)
	}
	if s, err := enrol.OpenStore(dir); err != nil || s.Identity() != old.Identity() {
		t.Errorf("after a refusal: %v", err)
	}
	s, err := enrol.Enrol(t.Context(), r.token(t, nil), dir, ask, wire.DefaultDialConfig())
	if err != nil {
		t.Fatal(err)
	}
	if s.Identity().Name != "b2" || identity.KeyOf(s.Certificate()) == identity.KeyOf(old.Certificate()) {
		t.Errorf("replaced by %s", s.Identity())
	}
	if _, err := enrol.OpenStore(dir); err != nil {
		t.Error(err)
	}
}

func TestADamagedFolderSaysSo(t *testing.T) {
	r := newRegion(t, options{})
	for _, file := range []string{"key.pem", "cert.pem", "region.json"} {
		for name, damage := range map[string][]byte{"empty": {}, "garbage": []byte("garbage"), "huge": make([]byte, 1<<20)} {
			t.Run(file+" "+name, func(t *testing.T) {
				dir := t.TempDir()
				token := r.token(t, func(rec *enrol.TokenRecord) { rec.Uses = 1000 })
				ask := aBox
				ask.Name = identity.Name(strings.ReplaceAll("b-"+file+"-"+name, ".", "-"))
				if _, err := enrol.Enrol(t.Context(), token, dir, ask, wire.DefaultDialConfig()); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, file), damage, 0o600); err != nil {
					t.Fatal(err)
				}
				_, err := enrol.OpenStore(dir)
				if err == nil || errors.Is(err, enrol.ErrNotEnrolled) || !strings.Contains(err.Error(), dir) {
					t.Errorf("err = %v, want one about %s", err, file)
				}
			})
		}
	}
}

func TestFoundingTwiceIsRefused(t *testing.T) {
	dir := t.TempDir()
	servers := []wire.Target{{Name: "s1", Address: "127.0.0.1:1"}}
	if _, err := enrol.Found(dir, identity.NewRegion(), "s1", servers, time.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := enrol.Found(dir, identity.NewRegion(), "s1", servers, time.Now()); !errors.Is(err, enrol.ErrEnrolled) {
		t.Errorf("err = %v, want ErrEnrolled", err)
	}
}

func TestServersAreRemembered(t *testing.T) {
	dir := t.TempDir()
	s, err := enrol.Found(dir, identity.NewRegion(), "s1", []wire.Target{{Name: "s1", Address: "127.0.0.1:1"}}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	want := []wire.Target{{Name: "s1", Address: "127.0.0.1:1"}, {Name: "s2", Address: "127.0.0.1:2"}}
	if err := s.SetServers(want); err != nil {
		t.Fatal(err)
	}
	if s, err = enrol.OpenStore(dir); err != nil || len(s.Servers()) != 2 || s.Servers()[1] != want[1] {
		t.Errorf("servers %v, %v", s.Servers(), err)
	}
	if err := s.SetServers(nil); err == nil {
		t.Error("no servers at all were accepted")
	}
}
