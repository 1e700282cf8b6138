package auth_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/node/auth"
)

// fromAfar asks as a device on the network would, over plain HTTP.
func fromAfar(t *testing.T, b *box, method, path string, form url.Values, id string) answer {
	t.Helper()
	return ask(t, *b.now.Load(), method, "http://school-1.local"+path, form, id)
}

func ask(t *testing.T, h http.Handler, method, address string, form url.Values, id string) answer {
	t.Helper()
	r := httptest.NewRequest(method, address, strings.NewReader(form.Encode()))
	r.RemoteAddr = "192.0.2.7:4000"
	r.Header.Set("Accept", "text/html")
	r.Header.Set("Accept-Language", "en")
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	r.AddCookie(&http.Cookie{Name: "preau", Value: id})
	if r.TLS != nil {
		r.Header.Set("Cookie", "__Host-preau="+id)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return answer{status: w.Code, header: w.Header(), body: w.Body.String(), to: w.Header().Get("Location")}
}

// pass lets time pass; in a bubble it takes none.
func pass(d time.Duration) { <-time.After(d) }

func TestANewBoxIsClaimedOnce(t *testing.T) {
	t.Parallel()
	b := newBox(t, nil)
	u := newBrowser(t)
	code, open := b.auth.Claim()
	if !open {
		t.Fatal("no code")
	}
	u.get(b.tls.URL+"/sign-in").must(t, 200, "Nobody looks after this box yet", `href="/claim"`, "not connected to any sign-in service")
	u.get(b.tls.URL+"/claim").must(t, 200, "8 letters and digits")
	u.post(b.tls.URL+"/claim", url.Values{"code": {"AAAA-AAAA"}}).must(t, 403, "That is not the code", `aria-invalid="true"`)
	if a := u.post(b.tls.URL+"/claim", url.Values{"code": {strings.ToLower(code)}}).must(t, 303); a.to != b.tls.URL+"/school/" {
		t.Errorf("sent to %s", a.to)
	}
	u.get(b.tls.URL+"/school/").must(t, 200, `in: true "The school’s admin" [teacher school] strong=true`)
	u.get(b.tls.URL+"/it/").must(t, 403)
	u.get(b.tls.URL+"/fr/sign-out").must(t, 200, "Responsable de l’école", "Se déconnecter partout")
	for range 2 {
		newBrowser(t).post(b.tls.URL+"/claim", url.Values{"code": {code}}).must(t, 410, "claimed already")
		newBrowser(t).get(b.tls.URL+"/claim").must(t, 410, "claimed already")
		b.restart()
		u.get(b.tls.URL+"/school/").must(t, 200)
	}
	list, err := b.auth.Actions(9)
	if err != nil || len(list) != 1 || list[0].Action != "claim the box" || list[0].Role != "school" {
		t.Errorf("%+v %v", list, err)
	}
	again, err := b.auth.Reclaim(t.Context())
	if err != nil || again == code {
		t.Errorf("%q %v", again, err)
	}
	newBrowser(t).post(b.tls.URL+"/claim", url.Values{"code": {again}}).must(t, 303)
}

func TestTheClaimCodeIsShownOnce(t *testing.T) {
	t.Parallel()
	b := newBox(t, nil)
	code, _ := b.auth.Claim()
	run := func() {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- b.auth.Run(ctx) }()
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	run()
	b.restart()
	run()
	if n := strings.Count(b.log.String(), code); n != 1 {
		t.Errorf("%d times:\n%s", n, b.log.String())
	}
	if now, open := b.auth.Claim(); now != code || !open {
		t.Errorf("it can't be shown again: %q", now)
	}
}

func TestGuessingTheClaimCodeTakesForEver(t *testing.T) {
	t.Parallel()
	b := newBox(t, nil)
	code, _ := b.auth.Claim()
	synctest.Test(t, func(t *testing.T) {
		h := *b.now.Load()
		try := func(code, from string) answer {
			r := httptest.NewRequest(http.MethodPost, "https://box.local/claim", strings.NewReader(url.Values{"code": {code}}.Encode()))
			r.RemoteAddr = from
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.Header.Set("Accept", "text/html")
			r.Header.Set("Accept-Language", "en")
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			return answer{status: w.Code, header: w.Header(), body: w.Body.String()}
		}
		for i := range 5 {
			try("AAAA-AAAA", "192.0.2."+string(rune('1'+i))+":1").must(t, 403)
		}
		a := try(code, "192.0.2.99:1").must(t, 429, "Try again in 30 seconds")
		if a.header.Get("Retry-After") != "30" {
			t.Errorf("%v", a.header)
		}
		pass(30 * time.Second)
		try("AAAA-AAAA", "192.0.2.99:1").must(t, 403)
		try(code, "192.0.2.98:1").must(t, 429, "Try again in 1 min")
		pass(24 * time.Hour)
		tries := 0
		for range 24 * 6 {
			if try("AAAA-AAAA", "192.0.2.99:1").status == 403 {
				tries++
			}
			pass(10 * time.Minute)
		}
		if tries > 40 {
			t.Errorf("%d tries in a day", tries)
		}
		pass(time.Hour)
		try(code, "192.0.2.99:1").must(t, 303)
	})
}

func TestABadgeSignsATeacherInWithNoLine(t *testing.T) {
	t.Parallel()
	b := newBox(t, nil)
	b.line.cut.Store(true)
	admin := auth.Person{Subject: "claim", Name: "Admin", Roles: []auth.Role{auth.Teacher, auth.School}}
	until := time.Now().AddDate(0, 6, 0)
	made, code, err := b.auth.MakeBadge(t.Context(), admin, "Anne Martin", until)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.auth.MakeBadge(t.Context(), admin, "Anne", time.Now().AddDate(2, 0, 0)); !errors.Is(err, auth.ErrBadgeUntil) {
		t.Errorf("%v", err)
	}
	u, late := newBrowser(t), newBrowser(t)
	link := b.tls.URL + auth.BadgePath(code)
	for range 3 { // as readers of QR codes and messengers do
		newBrowser(t).get(link).must(t, 200, code)
	}
	u.post(b.tls.URL+"/sign-in/badge", url.Values{"code": {"2222-2222-2222-2222"}}).must(t, 403, "not valid, was used, or is too old")
	if a := u.post(b.tls.URL+"/sign-in/badge", url.Values{"code": {code}, "return": {"//evil.example.org"}}).must(t, 303); a.to != b.tls.URL+"/teach/" {
		t.Errorf("sent to %s", a.to)
	}
	u.get(b.tls.URL+"/teach/").must(t, 200, `in: true "Anne Martin" [teacher] strong=false`)
	u.get(b.tls.URL+"/school/").must(t, 403)
	late.post(b.tls.URL+"/sign-in/badge", url.Values{"code": {code}}).must(t, 403)
	b.restart()
	u.get(b.tls.URL+"/teach/").must(t, 200)
	if strings.Contains(onDisk(t, b.dir), code) {
		t.Error("the code lies on the disk")
	}

	_, fresh, err := b.auth.RenewBadge(t.Context(), admin, made.ID)
	if err != nil {
		t.Fatal(err)
	}
	u.get(b.tls.URL+"/").must(t, 200, "in: false")
	late.post(b.tls.URL+"/sign-in/badge", url.Values{"code": {fresh}, "return": {"/teach/x"}}).must(t, 303)
	late.get(b.tls.URL+"/teach/").must(t, 200)
	if err := b.auth.RevokeBadge(t.Context(), admin, made.ID); err != nil {
		t.Fatal(err)
	}
	late.get(b.tls.URL+"/").must(t, 200, "in: false")
	_, last, err := b.auth.MakeBadge(t.Context(), admin, "Paul", until)
	if err != nil {
		t.Fatal(err)
	}
	u.post(b.tls.URL+"/sign-in/badge", url.Values{"code": {last}}).must(t, 303)
	u.get(b.tls.URL+"/sign-in").must(t, 200, "You are signed in already", "Paul", "<small>teacher</small>")
	list, err := b.auth.Actions(9)
	var did []string
	for _, a := range list {
		did = append(did, a.Action)
	}
	if want := "use badge, make badge, revoke badge, use badge, renew badge, use badge, make badge"; err != nil || strings.Join(did, ", ") != want {
		t.Errorf("%v %v, want %s", did, err, want)
	}
	if list := b.auth.Badges(); len(list) != 2 || list[1].Revoked.IsZero() || list[1].By != "Admin" {
		t.Errorf("%+v", list)
	}
	// A badge that the box knows nothing of any more is none.
	if err := os.Remove(filepath.Join(b.dir, "badges")); err != nil {
		t.Fatal(err)
	}
	b.restart()
	u.get(b.tls.URL+"/").must(t, 200, "in: false")
}

func TestBadgeCodesCantBeTriedOut(t *testing.T) {
	t.Parallel()
	b := newBox(t, nil)
	u := newBrowser(t)
	for range 10 {
		u.post(b.tls.URL+"/sign-in/badge", url.Values{"code": {"x"}}).must(t, 403)
	}
	u.post(b.tls.URL+"/sign-in/badge", url.Values{"code": {"x"}}).must(t, 429)
}

func TestSessionsGoOnWhileTheLineIsCutAndEndAfterwards(t *testing.T) {
	t.Parallel()
	b := newBox(t, nil)
	code, _ := b.auth.Claim()
	synctest.Test(t, func(t *testing.T) {
		h := *b.now.Load()
		a := ask(t, h, http.MethodPost, "https://box.local/claim", url.Values{"code": {code}}, "")
		id := (&http.Response{Header: a.header}).Cookies()[0].Value
		in := func() bool {
			return strings.Contains(ask(t, h, http.MethodGet, "https://box.local/", nil, id).body, "in: true")
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- b.auth.Run(ctx) }()
		if pass(90 * time.Minute); !in() {
			t.Fatal("out after 90 minutes")
		}
		b.line.cut.Store(true)
		for day := range 3 {
			if pass(24 * time.Hour); !in() {
				t.Fatalf("out after %d days without a line", day+1)
			}
		}
		b.line.cut.Store(false)
		if pass(10 * time.Minute); !in() {
			t.Error("out as soon as the line is back")
		}
		if pass(10 * time.Minute); in() {
			t.Error("in for ever")
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	if files, err := os.ReadDir(filepath.Join(b.dir, "sessions")); err != nil || len(files) != 0 {
		t.Errorf("left on the disk: %v %v", files, err)
	}
}

func TestACookieFromElsewhereIsNobodys(t *testing.T) {
	t.Parallel()
	b := newBox(t, nil)
	code, _ := b.auth.Claim()
	u := newBrowser(t)
	u.post(b.tls.URL+"/claim", url.Values{"code": {code}}).must(t, 303)
	id := u.session(b.tls.URL)
	for name, cookie := range map[string]string{
		"of plain HTTP": "preau=" + id, "twice": "__Host-preau=" + id + "; __Host-preau=" + id, "another": "__Host-preau=" + strings.Repeat("A", 43),
		"long": "__Host-preau=" + strings.Repeat("A", 5000), "nothing": "__Host-preau=", "junk": "=;;;__Host-preau",
	} {
		newBrowser(t).get(b.tls.URL+"/", "Cookie", cookie).must(t, 200, "in: false")
		_ = name
	}
	newBrowser(t).get(b.tls.URL+"/", "Cookie", "__Host-preau="+id).must(t, 200, "in: true")
}

// What a page costs more for knowing who looks at it.
func BenchmarkWho(b *testing.B) {
	a, err := auth.New(auth.DefaultConfig(), auth.Parts{Dir: b.TempDir()}, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		b.Fatal(err)
	}
	code, _ := a.Claim()
	r := httptest.NewRequest(http.MethodPost, "https://box.local/claim", strings.NewReader(url.Values{"code": {code}}.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	a.Handler().ServeHTTP(w, r)
	if w.Code != http.StatusSeeOther {
		b.Fatal(w.Code)
	}
	in, out := httptest.NewRequest(http.MethodGet, "https://box.local/", http.NoBody), httptest.NewRequest(http.MethodGet, "https://box.local/", http.NoBody)
	in.AddCookie(w.Result().Cookies()[0])
	for name, r := range map[string]*http.Request{"a pupil": out, "an admin": in} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, ok := a.Who(r); ok != (r == in) {
					b.Fatal(ok)
				}
			}
		})
	}
}
