package auth_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"preau/node/auth"
	"preau/node/auth/authtest"
)

func roles(r ...string) map[string]any { return map[string]any{"roles": r, "name": "Anne Martin"} }

func TestATeacherSignsIn(t *testing.T) {
	t.Parallel()
	p := authtest.New(t)
	p.Behave(authtest.Behaviour{Claims: roles("teacher")})
	b := newBox(t, p)
	u := newBrowser(t)
	first := u.get(b.tls.URL+"/teach/lessons?week=3").must(t, http.StatusSeeOther)
	if first.to != b.tls.URL+"/sign-in?return="+url.QueryEscape("/teach/lessons?week=3") {
		t.Fatalf("sent to %s", first.to)
	}
	u.get(first.to).must(t, http.StatusOK, "Continue with the ministry’s account", "/sign-in/go?return=")
	u.follow(b.tls.URL+"/sign-in/go?return="+url.QueryEscape("/teach/lessons?week=3")).must(t, http.StatusOK, `in: true "Anne Martin" [teacher] strong=false`)
	u.get(b.tls.URL+"/school/").must(t, http.StatusForbidden, "not for your role")
	if disk := onDisk(t, b.dir); strings.Contains(disk, u.session(b.tls.URL)) || strings.Contains(disk, "127.0.0.1") {
		t.Errorf("a secret or an address lies on the disk:\n%s", disk)
	}
	list, err := b.auth.Actions(10)
	if err != nil || len(list) != 0 {
		t.Errorf("a teacher's sign-in is written down: %v, %v", list, err)
	}
}

func TestTheCookieIsForThisHostAlone(t *testing.T) {
	t.Parallel()
	p := authtest.New(t)
	p.Behave(authtest.Behaviour{Claims: roles("teacher")})
	b := newBox(t, p)
	for name, at := range map[string]string{"TLS": b.tls.URL, "plain": b.http.URL} {
		t.Run(name, func(t *testing.T) {
			u := newBrowser(t)
			a := u.get(u.get(u.get(at+"/sign-in/go").to).to).must(t, http.StatusSeeOther)
			cookies := strings.Join(a.header.Values("Set-Cookie"), "\n")
			want := "__Host-preau="
			if name == "plain" {
				want = "preau="
			}
			found := false
			for c := range strings.SplitSeq(cookies, "\n") {
				if !strings.HasPrefix(c, want) {
					continue
				}
				found = true
				if !strings.Contains(c, "; HttpOnly") || !strings.Contains(c, "; SameSite=Lax") || !strings.Contains(c, "; Path=/;") ||
					strings.Contains(c, "Domain") || strings.Contains(c, "; Secure") != (name == "TLS") {
					t.Errorf("%q", c)
				}
			}
			if !found {
				t.Errorf("no %s in %q", want, cookies)
			}
			if a.header.Get("Cache-Control") != "no-store" {
				t.Errorf("kept: %q", a.header.Get("Cache-Control"))
			}
		})
	}
}

func TestAnAdminNeedsASecondFactor(t *testing.T) {
	t.Parallel()
	p := authtest.New(t)
	b := newBox(t, p)
	for name, tt := range map[string]struct {
		claims, strong map[string]any
		visits         int
		school, it     int
	}{
		"with one at once":        {map[string]any{"roles": "school", "amr": []string{"pwd", "mfa"}}, nil, 1, 200, 403},
		"with one when asked":     {roles("school"), map[string]any{"acr": "strong"}, 2, 200, 403},
		"the region's IT":         {roles("it", "teacher"), map[string]any{"acr": "strong"}, 2, 200, 200},
		"another proof is no one": {map[string]any{"roles": "it", "acr": "weak", "amr": []string{"pwd"}}, nil, 2, 403, 403},
		"none at all":             {roles("school"), nil, 2, 403, 403},
	} {
		t.Run(name, func(t *testing.T) {
			p.Behave(authtest.Behaviour{Claims: tt.claims, Strong: tt.strong})
			before := len(p.Asked())
			u := newBrowser(t)
			last := u.follow(b.tls.URL + "/sign-in/go")
			if visits := len(p.Asked()) - before; visits != tt.visits {
				t.Errorf("%d visits of the provider, want %d", visits, tt.visits)
			}
			if tt.school == 403 {
				last.must(t, http.StatusOK, "You are signed in as a teacher", "Confirm with a second factor", `href="/teach/"`)
			}
			u.get(b.tls.URL+"/teach/").must(t, http.StatusOK)
			for path, status := range map[string]int{"/school/": tt.school, "/it/": tt.it} {
				a := u.get(b.tls.URL + path)
				if a.status != status {
					t.Errorf("%s: %d, want %d", path, a.status, status)
				}
				if tt.school == 403 && tt.claims["roles"] != nil && path == "/school/" {
					a.must(t, http.StatusForbidden, "A second factor is needed", "/sign-in/go?return=%2Fschool%2F&strong=1")
				}
			}
		})
	}
	list, err := b.auth.Actions(10)
	if err != nil || len(list) != 3 || list[0].Action != "sign in" || list[0].Subject != "oidc:anne" {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestWhoHasNoRoleIsNotSignedIn(t *testing.T) {
	t.Parallel()
	p := authtest.New(t)
	b := newBox(t, p, func(c *auth.Config) { c.SchoolClaim, c.Schools = "uai", []string{"0690001A"} })
	for name, tt := range map[string]struct {
		claims map[string]any
		in     bool
	}{
		"a pupil":                    {map[string]any{"roles": "pupil", "uai": "0690001A"}, false},
		"nobody in particular":       {map[string]any{"uai": "0690001A"}, false},
		"a teacher of another":       {map[string]any{"roles": "teacher", "uai": "0690002B"}, false},
		"a teacher of nowhere":       {map[string]any{"roles": "teacher"}, false},
		"a claim of another kind":    {map[string]any{"roles": map[string]any{"teacher": true}, "uai": "0690001A"}, false},
		"a teacher of here as well":  {map[string]any{"roles": "teacher", "uai": []string{"0690002B", "0690001A"}}, true},
		"the region's IT, of nobody": {map[string]any{"roles": "it"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			p.Behave(authtest.Behaviour{Claims: tt.claims})
			u := newBrowser(t)
			a := u.follow(b.tls.URL + "/sign-in/go")
			if in := u.session(b.tls.URL) != ""; in != tt.in {
				t.Errorf("signed in: %v\n%s", in, a.body)
			}
			if !tt.in {
				a.must(t, http.StatusForbidden, "no role in this school", "has kept nothing")
			}
		})
	}
}

func TestAWayBackIsUsedOnceAndByOneBrowser(t *testing.T) {
	t.Parallel()
	p := authtest.New(t)
	p.Behave(authtest.Behaviour{Claims: roles("teacher")})
	b := newBox(t, p)
	u, thief := newBrowser(t), newBrowser(t)
	way := u.get(u.get(b.tls.URL + "/sign-in/go").to).to
	thief.get(b.tls.URL + "/sign-in/go") // has a cookie of its own
	thief.get(way).must(t, http.StatusBadRequest, "not valid any more")
	twice := way + "&state=" + url.QueryEscape("x")
	u.get(twice).must(t, http.StatusBadRequest, "not valid any more")
	u.get(way).must(t, http.StatusSeeOther)
	if u.session(b.tls.URL) == "" || thief.session(b.tls.URL) != "" {
		t.Error("the wrong one is signed in")
	}
	other := newBrowser(t)
	other.http.Jar = u.http.Jar
	other.get(way).must(t, http.StatusBadRequest, "not valid any more")

	// Two tabs at once.
	u = newBrowser(t)
	one, two := u.get(u.get(b.tls.URL+"/sign-in/go?return=/teach/1").to).to, u.get(u.get(b.tls.URL+"/sign-in/go?return=/teach/2").to).to
	if a := u.get(two).must(t, http.StatusSeeOther); a.to != b.tls.URL+"/teach/2" {
		t.Errorf("sent to %s", a.to)
	}
	u.get(one).must(t, http.StatusBadRequest, "Begin again")

	// A restart in the middle.
	u = newBrowser(t)
	way = u.get(u.get(b.tls.URL + "/sign-in/go").to).to
	b.restart()
	u.get(way).must(t, http.StatusBadRequest, "Begin again")
}

func TestASignInThatComesToNothingSaysWhy(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		b      authtest.Behaviour
		status int
		en, fr string
	}{
		"refused":     {authtest.Behaviour{Error: "access_denied"}, 403, "The sign-in was refused", "La connexion a été refusée"},
		"not done":    {authtest.Behaviour{Error: "login_required"}, 403, "wants to see you", "veut vous voir"},
		"busy":        {authtest.Behaviour{Error: "server_error"}, 503, "does not answer", "ne répond pas"},
		"forged":      {authtest.Behaviour{Algorithm: "other"}, 502, "not valid", "pas valable"},
		"of 2001":     {authtest.Behaviour{Date: time.Unix(1e9, 0)}, 503, "clock is wrong", "horloge de la boîte est fausse"},
		"out of date": {authtest.Behaviour{Claims: map[string]any{"exp": 5}}, 502, "not valid", "pas valable"},
	} {
		t.Run(name, func(t *testing.T) {
			p := authtest.New(t)
			p.Behave(tt.b)
			b := newBox(t, p)
			for _, lang := range []string{"en", "fr"} {
				u := newBrowser(t)
				// The provider's way back has no language in it; the browser's is German.
				u.lang = "de"
				text := map[string]string{"en": tt.en, "fr": tt.fr}[lang]
				u.follow(b.tls.URL+"/"+lang+"/sign-in/go").must(t, tt.status, text, `lang="`+lang+`"`, `href="/`+lang+`/sign-in"`)
				if u.session(b.tls.URL) != "" {
					t.Error("signed in all the same")
				}
			}
			if name == "of 2001" && !strings.Contains(b.log.String(), time.Now().UTC().Format("it says 2006-01-02")) {
				t.Errorf("the log does not say what the clock says:\n%s", b.log.String())
			}
		})
	}
}

func TestAProviderThatIsAwayKeepsNobodyOut(t *testing.T) {
	t.Parallel()
	p := authtest.New(t)
	p.Behave(authtest.Behaviour{Claims: roles("teacher")})
	b := newBox(t, p)
	in, out := newBrowser(t), newBrowser(t)
	in.follow(b.tls.URL+"/sign-in/go").must(t, http.StatusOK)
	p.Behave(authtest.Behaviour{Broken: http.StatusBadGateway})
	b.line.cut.Store(true)
	b.restart()
	in.get(b.tls.URL+"/teach/").must(t, http.StatusOK)
	out.get(b.tls.URL+"/sign-in/go").must(t, http.StatusServiceUnavailable, "does not answer", "use a badge")
	out.get(b.tls.URL+"/sign-in").must(t, http.StatusOK, "The line is cut", "Enter a badge code")
	out.get(b.tls.URL+"/").must(t, http.StatusOK, "in: false")
}

func TestSigningOut(t *testing.T) {
	t.Parallel()
	p := authtest.New(t)
	p.Behave(authtest.Behaviour{Claims: roles("teacher")})
	b := newBox(t, p)
	u, tablet, other := newBrowser(t), newBrowser(t), newBrowser(t)
	for _, each := range []*browser{u, tablet} {
		each.follow(b.tls.URL+"/sign-in/go").must(t, http.StatusOK)
	}
	p.Behave(authtest.Behaviour{Claims: map[string]any{"sub": "paul", "roles": "teacher"}})
	other.follow(b.tls.URL+"/sign-in/go").must(t, http.StatusOK)
	page := u.get(b.tls.URL+"/sign-out").must(t, http.StatusOK, "Anne Martin", "Sign out everywhere")
	u.post(b.tls.URL+"/sign-out", url.Values{"token": {other.get(b.tls.URL + "/").token(t)}}).must(t, http.StatusForbidden, "not accepted")
	done := u.post(b.tls.URL+"/sign-out", url.Values{"token": {page.token(t)}}).must(t, http.StatusSeeOther)
	u.get(done.to).must(t, http.StatusOK, "You are signed out", p.URL+"/end?client_id=box&post_logout_redirect_uri="+url.QueryEscape(b.tls.URL+"/"))
	u.get(b.tls.URL+"/").must(t, http.StatusOK, "in: false")
	tablet.get(b.tls.URL+"/teach/").must(t, http.StatusOK)

	u.follow(b.tls.URL + "/sign-in/go")
	p.Behave(authtest.Behaviour{Claims: roles("teacher")})
	u.follow(b.tls.URL + "/sign-in/go")
	stolen := tablet.session(b.tls.URL)
	u.post(b.tls.URL+"/sign-out", url.Values{"token": {u.get(b.tls.URL + "/sign-out").token(t)}, "everywhere": {"1"}}).must(t, http.StatusSeeOther)
	b.restart()
	tablet.get(b.tls.URL+"/").must(t, http.StatusOK, "in: false")
	newBrowser(t).get(b.tls.URL+"/", "Cookie", "__Host-preau="+stolen).must(t, http.StatusOK, "in: false")
	other.get(b.tls.URL+"/teach/").must(t, http.StatusOK, "in: true")
}

func TestAFormMustComeFromAPageOfTheBox(t *testing.T) {
	t.Parallel()
	p := authtest.New(t)
	p.Behave(authtest.Behaviour{Claims: roles("teacher")})
	b := newBox(t, p)
	u, other := newBrowser(t), newBrowser(t)
	u.follow(b.tls.URL + "/sign-in/go")
	other.follow(b.tls.URL + "/sign-in/go")
	token, theirs := u.get(b.tls.URL+"/teach/").token(t), other.get(b.tls.URL+"/teach/").token(t)
	at := b.tls.URL + "/teach/add"
	for name, tt := range map[string]struct {
		address string
		form    url.Values
		fields  []string
		want    int
	}{
		"with its token":             {at, url.Values{"token": {token}}, nil, 200},
		"by a script":                {at, nil, []string{auth.TokenHeader, token}, 200},
		"a file, with its token":     {at + "?token=" + token, nil, []string{"Content-Type", "multipart/form-data; boundary=x"}, 200},
		"without a token":            {at, url.Values{}, nil, 403},
		"with somebody else's":       {at, url.Values{"token": {theirs}}, nil, 403},
		"a script with none":         {at, nil, nil, 403},
		"a form with it in the URL":  {at + "?token=" + token, url.Values{}, nil, 403},
		"from another site":          {at, url.Values{"token": {token}}, []string{"Sec-Fetch-Site", "cross-site"}, 403},
		"from another, an old one":   {at, url.Values{"token": {token}}, []string{"Sec-Fetch-Site", "", "Origin", "https://evil.example.org"}, 403},
		"from a neighbouring domain": {at, url.Values{"token": {token}}, []string{"Sec-Fetch-Site", "same-site"}, 403},
	} {
		if a := u.post(tt.address, tt.form, tt.fields...); a.status != tt.want {
			t.Errorf("%s: %d, want %d\n%s", name, a.status, tt.want, a.body)
		}
	}
	newBrowser(t).post(at, url.Values{"token": {token}}).must(t, http.StatusUnauthorized, "not signed in any more")
	if n := testutil.CollectAndCount(b.reg, "preau_auth_forms_refused_total"); n != 1 {
		t.Errorf("%d", n)
	}
	newBrowser(t).post(b.tls.URL+"/claim", url.Values{"code": {"x"}}, "Sec-Fetch-Site", "cross-site").must(t, http.StatusForbidden, "not accepted")
}

func TestAScriptIsNotSentToAPage(t *testing.T) {
	t.Parallel()
	b := newBox(t, nil)
	u := newBrowser(t)
	a := u.get(b.tls.URL+"/teach/live", "Sec-Fetch-Mode", "cors", "Accept", "text/event-stream").must(t, http.StatusUnauthorized)
	if strings.Contains(a.body, "<html") {
		t.Errorf("a page: %s", a.body)
	}
}

func TestOverPlainHTTPNobodySignsIn(t *testing.T) {
	t.Parallel()
	p := authtest.New(t)
	p.Behave(authtest.Behaviour{Claims: roles("teacher")})
	b := newBox(t, p)
	code, _ := b.auth.Claim()
	u := newBrowser(t)
	u.follow(b.tls.URL + "/sign-in/go")
	id := u.session(b.tls.URL)
	over := func(home string) func(method, path string, form url.Values) answer {
		b.home = home
		return func(method, path string, form url.Values) answer { return fromAfar(t, b, method, path, form, id) }
	}
	none, some := over(""), over("https://school-1.example.org")
	_ = none
	some(http.MethodGet, "/", nil).must(t, 200, "in: false")
	some(http.MethodGet, "/sign-in?return=/teach/", nil).must(t, 200, "not protected here", "https://school-1.example.org/sign-in?return=%2Fteach%2F")
	if a := some(http.MethodGet, "/sign-in/go?return=/teach/", nil).must(t, 303); a.to != "https://school-1.example.org/sign-in/go?return=%2Fteach%2F" {
		t.Errorf("sent to %s", a.to)
	}
	some(http.MethodGet, "/claim", nil).must(t, 403, "https://school-1.example.org/claim")
	some(http.MethodPost, "/claim", url.Values{"code": {code}}).must(t, 403, "https://school-1.example.org/claim")
	some(http.MethodGet, auth.BadgePath("x"), nil).must(t, 403, "https://school-1.example.org/sign-in/badge?code=x")
	if _, open := b.auth.Claim(); !open {
		t.Error("claimed over plain HTTP")
	}
	none = over("")
	none(http.MethodGet, "/sign-in", nil).must(t, 200, "no secure address yet")
	none(http.MethodGet, "/sign-in/go", nil).must(t, 403, "no secure address yet")
	none(http.MethodGet, "/claim", nil).must(t, 403, "no secure address yet")
	b.cfg.PlainSignIn = true
	b.restart()
	none = over("")
	none(http.MethodGet, "/sign-in/go", nil).must(t, 303)
	none(http.MethodGet, "/claim", nil).must(t, 200)
	if !strings.Contains(b.log.String(), "plain_sign_in is for trials only") {
		t.Error("nobody is warned")
	}
}

func TestAtAnotherAddressOneIsLedHome(t *testing.T) {
	t.Parallel()
	p := authtest.New(t)
	b := newBox(t, p)
	b.home = "https://school-1.example.org/"
	if a := newBrowser(t).get(b.tls.URL+"/fr/sign-in/go?return=/fr/teach/&strong=1").must(t, 303); a.to != "https://school-1.example.org/fr/sign-in/go?return=%2Ffr%2Fteach%2F&strong=1" {
		t.Errorf("sent to %s", a.to)
	}
	b.home = b.tls.URL
	if a := newBrowser(t).get(b.tls.URL+"/sign-in/go").must(t, 303); !strings.HasPrefix(a.to, p.URL) {
		t.Errorf("sent to %s", a.to)
	}
}

func TestWhoTriesTooOftenWaits(t *testing.T) {
	t.Parallel()
	p := authtest.New(t)
	b := newBox(t, p)
	u := newBrowser(t)
	for range 20 {
		u.get(b.tls.URL+"/sign-in/go").must(t, 303)
	}
	a := u.get(b.tls.URL+"/sign-in/go").must(t, http.StatusTooManyRequests, "Too many tries", "Try again in 10 seconds")
	if a.header.Get("Retry-After") != "10" {
		t.Errorf("%v", a.header)
	}
}

func TestMetricsAreAsTheyShouldBe(t *testing.T) {
	t.Parallel()
	p := authtest.New(t)
	p.Behave(authtest.Behaviour{Claims: roles("teacher")})
	b := newBox(t, p)
	newBrowser(t).follow(b.tls.URL + "/sign-in/go")
	problems, err := testutil.GatherAndLint(b.reg)
	if err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
	want := "# HELP preau_auth_sessions Browsers that are signed in.\n# TYPE preau_auth_sessions gauge\npreau_auth_sessions 1\n" +
		"# HELP preau_auth_sign_ins_total Sign-ins by provider, badge or claim code, and what became of them.\n# TYPE preau_auth_sign_ins_total counter\n" +
		"preau_auth_sign_ins_total{how=\"provider\",result=\"in\"} 1\n"
	if err := testutil.GatherAndCompare(b.reg, strings.NewReader(want), "preau_auth_sessions", "preau_auth_sign_ins_total"); err != nil {
		t.Error(err)
	}
}
