package school

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"preau/node/portal/look"
	"preau/node/usage"
)

// register is a school's badges.
type register struct {
	all  []Badge
	fail error
	done []string
}

func (g *register) List() []Badge              { return g.all }
func (g *register) Token(*http.Request) string { return "form-token" }

func (g *register) Make(_ *http.Request, name string, until time.Time) (Badge, Code, error) {
	g.done = append(g.done, "make "+name+" "+until.Format(time.DateOnly))
	return Badge{ID: "1", Name: name, Until: until}, Code{"ABCD-EFGH", "https://box.example.org/sign-in/badge?code=ABCD-EFGH"}, g.fail
}

func (g *register) Renew(_ *http.Request, id string) (Badge, Code, error) {
	g.done = append(g.done, "renew "+id)
	return Badge{ID: id, Name: "Ada"}, Code{Text: "IJKL-MNOP"}, g.fail
}

func (g *register) Revoke(_ *http.Request, id string) error {
	g.done = append(g.done, "revoke "+id)
	return g.fail
}

// desk is the badges' pages, and what a browser sends there.
func desk(t *testing.T, g *register) func(method, path string, form url.Values) *httptest.ResponseRecorder {
	t.Helper()
	live := look.NewLive(1)
	t.Cleanup(live.Close)
	p, err := New(Sources{
		State: func(context.Context) State { return healthy() }, Badges: g,
		Bins: func(time.Time, time.Time) ([]usage.Bin, error) { return nil, nil },
	}, live, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	h := look.In(look.House{}, look.Spoken(p))
	return func(method, path string, form url.Values) *httptest.ResponseRecorder {
		t.Helper()
		r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(form.Encode()))
		r.Header.Set("Accept", "text/html")
		if form != nil {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
}

func says(t *testing.T, w *httptest.ResponseRecorder, status int, texts ...string) {
	t.Helper()
	if w.Code != status {
		t.Errorf("%d, not %d: %s", w.Code, status, w.Body)
	}
	for _, text := range texts {
		if !strings.Contains(w.Body.String(), text) {
			t.Errorf("it does not say %q", text)
		}
	}
}

func TestBadgesAreMadeAndEnded(t *testing.T) {
	t.Parallel()
	g := &register{all: []Badge{
		{ID: "1", Name: "Ada", By: "Grace", Until: noon, Waiting: true},
		{ID: "2", Name: "Emmy", Until: noon}, {ID: "3", Name: "Sophie", Until: noon, Revoked: true}, {ID: "4", Name: "Marie", Until: noon, Expired: true},
	}}
	do := desk(t, g)
	w := do(http.MethodGet, "/en/school/badges", nil)
	says(t, w, 200, "not used yet", "in use", "revoked", "ended", "made by Grace", `value="form-token"`, `action="/en/school/badges/2/revoke"`)
	for _, path := range []string{"/badges/3/revoke", "/badges/4/renew"} {
		if strings.Contains(w.Body.String(), path) {
			t.Errorf("what has ended can be ended: %s", path)
		}
	}
	says(t, do(http.MethodGet, "/en/school/", nil), 200, "/en/school/badges")

	w = do(http.MethodPost, "/en/school/badges", url.Values{"name": {" Rosalind "}, "until": {"2027-01-31"}})
	says(t, w, 200, "Rosalind", "ABCD-EFGH", "<svg", "shown once")
	if w.Header().Get("Cache-Control") != "no-store" {
		t.Error("a code may be stored")
	}
	says(t, do(http.MethodPost, "/fr/school/badges/1/renew", url.Values{}), 200, "IJKL-MNOP")
	if w := do(http.MethodPost, "/fr/school/badges/1/revoke", url.Values{}); w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/fr/school/badges" {
		t.Errorf("%d %q", w.Code, w.Header().Get("Location"))
	}
	if got := strings.Join(g.done, ", "); got != "make Rosalind 2027-02-01, renew 1, revoke 1" {
		t.Errorf("done: %s", got)
	}
}

func TestABadgeThatCanNotBeMadeSaysWhy(t *testing.T) {
	t.Parallel()
	for fail, tt := range map[error]struct {
		status int
		says   string
	}{
		ErrName: {422, "at most 80 letters"}, ErrUntil: {422, "within a year"}, ErrFull: {409, "too many badges"}, errors.New("disk"): {500, "could not be made"},
	} {
		do := desk(t, &register{fail: fail})
		says(t, do(http.MethodPost, "/en/school/badges", url.Values{"name": {"Ada"}, "until": {"2027-01-31"}}), tt.status, tt.says)
	}
	do := desk(t, &register{fail: ErrNoBadge})
	says(t, do(http.MethodPost, "/en/school/badges", url.Values{"name": {"Ada"}, "until": {"tomorrow"}}), 422, "within a year", `value="Ada"`)
	says(t, do(http.MethodPost, "/en/school/badges/9/renew", url.Values{}), 404)
	says(t, do(http.MethodPost, "/en/school/badges/9/revoke", url.Values{}), 404)
}
