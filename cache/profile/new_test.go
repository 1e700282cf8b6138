package profile

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"preau/cache/rfc9111"
)

func TestAnUnknownProfileIsRefusedWithTheNamesThereAre(t *testing.T) {
	_, err := New("owncloud", Adjust{})
	if err == nil {
		t.Fatal("it was made")
	}
	for _, name := range []string{"rfc9111", "nextcloud", "peertube", "etherpad", "discourse", "wordpress", "jitsi", "kiwix", "s3-public"} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%v does not name %s", err, name)
		}
	}
	if got := strings.Join(Names(), " "); got != "rfc9111 nextcloud peertube etherpad discourse wordpress jitsi kiwix s3-public" {
		t.Errorf("names: %s", got)
	}
}

func TestAdjustmentsThatCouldNotMeanWhatTheySayAreRefused(t *testing.T) {
	for _, a := range []Adjust{
		{Pass: []string{""}}, {Pass: []string{"a/b"}}, {Share: []string{"/a?b"}}, {Share: []string{"/a#b"}}, {Share: []string{"/a b"}}, {Share: []string{"/a\n"}},
		{Pass: []string{"/" + strings.Repeat("a", 2000)}}, {Pass: []string{"/" + strings.Repeat("*a", 20)}}, {Pass: make([]string, 1000)},
		{FreshMax: -1}, {IgnoreCookies: []string{"*"}}, {IgnoreCookies: []string{""}}, {IgnoreCookies: []string{"a=b"}}, {IgnoreCookies: []string{"a b"}}, {IgnoreCookies: make([]string, 1000)},
	} {
		if _, err := New("wordpress", a); err == nil {
			t.Errorf("%+v is taken", a)
		}
	}
}

func TestAnOperatorPassesAndSharesPaths(t *testing.T) {
	a := Adjust{Pass: []string{"/core/*"}, Share: []string{"/apps/openly/*", "/remote.php/*"}}
	for _, name := range Names() {
		p := made(t, name, a)
		for target, want := range map[string]string{
			"/core/js/a.js?v=1":          "operator-pass",
			"/CORE/js/a.js":              "operator-pass",
			"/apps/openly/list":          "operator-share",
			"/apps/openly/../../secret":  "",
			"/apps/openly/x?token=1":     "",
			"/remote.php/dav/files/me/f": "",
		} {
			plan := p.Request(get(target))
			if want != "" && plan.Name != want {
				if name == "wordpress" || name == "kiwix" || name == "s3-public" || want == "operator-pass" || want == "operator-share" {
					t.Errorf("%s: %s by %s, want %s", name, target, plan.Name, want)
				}
			}
			if want == "" && plan.Name == "operator-share" && (name == "nextcloud" || !strings.HasPrefix(target, "/remote.php")) {
				t.Errorf("%s: %s is shared by the operator", name, target)
			}
		}
		plan := p.Request(get("/apps/openly/list", "Cookie", "a=b"))
		if plan.Do == Share {
			got := p.Response(get("/apps/openly/list"), plan, Response{Status: 200, Header: header("Cache-Control: public, max-age=9, s-maxage=7\n")})
			if got.Effect != Keep || got.Header.Get(Field) != "max-age=7, must-revalidate, public" {
				t.Errorf("%s: %d %s", name, got.Effect, got.Header.Get(Field))
			}
			if got := p.Response(get("/apps/openly/list"), plan, Response{Status: 200, Header: header("Cache-Control: private\n")}); got.Effect != Own {
				t.Errorf("%s: what is private is kept", name)
			}
		}
	}
	p := made(t, "rfc9111", a)
	if plan := p.Request(ask4("POST", "/apps/openly/list")); plan.Do != ByRFC9111 {
		t.Errorf("a POST is shared: %+v", plan)
	}
}

func TestNothingIsFreshForLongerThanTheOperatorLets(t *testing.T) {
	a := Adjust{FreshMax: 30 * time.Second}
	for _, c := range []struct{ profile, ask, fields, field string }{
		{"nextcloud", davTarget, "Etag: \"a\"", "max-age=30, stale-if-error=1209600, lease=1209600"},
		{"nextcloud", "/core/a.js?v=1", "Cache-Control: public, max-age=900, immutable", "max-age=30, stale-if-error=2592000, public, lease=2592000"},
		{"rfc9111", "/a", "Cache-Control: private, max-age=900", "max-age=30, private"},
		{"rfc9111", "/a", "Cache-Control: max-age=900, no-store", "max-age=30, no-store"},
		{"rfc9111", "/a", "Cache-Control: max-age=20", ""},
		{"rfc9111", "/a", "Cache-Control: s-maxage=900", "max-age=30, must-revalidate"},
	} {
		p := made(t, c.profile, a)
		req := get(c.ask)
		got := p.Response(req, p.Request(req), Response{Status: 200, Header: header(c.fields)})
		if got.Effect != Keep || got.Header.Get(Field) != c.field {
			t.Errorf("%s %s: %q, want %q", c.ask, c.fields, got.Header.Get(Field), c.field)
		}
	}
}

func TestNothingIsFreshByGuessworkForLongerThanTheOperatorLets(t *testing.T) {
	p := made(t, "rfc9111", Adjust{FreshMax: 30 * time.Second})
	req := get("/a")
	kept := p.Response(req, p.Request(req), Response{Status: 200, Header: header("Date: Mon, 10 Aug 2026 10:00:00 GMT\nLast-Modified: Mon, 03 Aug 2026 10:00:00 GMT")}).Header
	life, source := rfc9111.Response{Status: 200, Header: kept}.FreshnessLifetime(p.Rules(rfc9111.DefaultRules(), kept))
	if life != 30*time.Second || source != rfc9111.SourceHeuristic {
		t.Errorf("fresh for %v by %v", life, source)
	}
}

func TestTheOperatorsCookiesSayNothingOfWhoAsks(t *testing.T) {
	p := made(t, "wordpress", Adjust{IgnoreCookies: []string{"bandeau_*"}})
	if plan := p.Request(get("/", "Cookie", "bandeau_vu=1; _ga=2")); plan.Do != Share {
		t.Errorf("%+v", plan)
	}
	if plan := p.Request(get("/", "Cookie", "bandeau=1")); plan.Do != Pass {
		t.Errorf("%+v", plan)
	}
}

func TestALeaseEndsWhatTheOperatorAllowsForASiteThatIsDown(t *testing.T) {
	p := made(t, "nextcloud", Adjust{})
	base := rfc9111.DefaultRules()
	req := get(davTarget)
	kept := p.Response(req, p.Request(req), Response{Status: 200, Header: header("Etag: \"a\"")}).Header
	rules := p.Rules(base, kept)
	if rules.StaleWhenDown != 14*day || rules.StaleOnError != day || !slices.Equal(rules.Targeted, []string{Field, "Cdn-Cache-Control"}) {
		t.Errorf("%+v", rules)
	}
	at := time.Date(2026, 8, 10, 10, 0, 0, 0, time.UTC)
	stored := rfc9111.Response{Status: 200, Header: kept, RequestTime: at, ResponseTime: at}
	for after, want := range map[time.Duration]bool{50 * time.Second: true, hour: true, 13 * day: true, 15 * day: false} {
		d := rfc9111.Decide(http.Header{}, stored, at.Add(after), rules)
		if got := d.MayServe(rfc9111.Disconnected, at.Add(after)); got != want {
			t.Errorf("after %v: served %v", after, got)
		}
		if fresh := d.Use == rfc9111.Fresh; fresh != (after < minute) {
			t.Errorf("after %v: %v", after, d.Use)
		}
	}
	if rules := p.Rules(base, http.Header{}); !slices.Equal(rules.Targeted, base.Targeted) || rules.StaleWhenDown != base.StaleWhenDown {
		t.Errorf("without a field: %+v", rules)
	}
	short := base
	short.StaleWhenDown, short.Targeted = time.Hour, []string{"preau-cache-control", "A"}
	if rules := p.Rules(short, kept); rules.StaleWhenDown != time.Hour || !slices.Equal(rules.Targeted, []string{Field, "A"}) {
		t.Errorf("%+v", rules)
	}
}

func TestAForeignPlanKeepsNothing(t *testing.T) {
	p := made(t, "nextcloud", Adjust{})
	if got := p.Response(get("/x"), Plan{Do: Share, Rule: Rule{Name: "peertube-video"}}, Response{Status: 200}); got.Effect != Own {
		t.Errorf("%+v", got)
	}
	if got := p.Probed(Plan{}, 200, nil, nil); got.Effect != Keep || got.For <= 0 {
		t.Errorf("%+v", got)
	}
}

func TestConferencesAreLive(t *testing.T) {
	p := made(t, "jitsi", Adjust{})
	for target, want := range map[string]bool{"/http-bind": true, "/t/http-bind": true, "/xmpp-websocket?x=1": true, "/colibri-ws/a/b": true, "/room": false, "/libs/a.js?v=1": false} {
		for _, method := range []string{"GET", "POST"} {
			if plan := p.Request(ask4(method, target, "Upgrade", "websocket")); plan.Live != want || plan.Do != Pass {
				t.Errorf("%s %s: %+v", method, target, plan)
			}
		}
	}
	if plan := p.Request(get("/Maths4B")); plan.Listed || plan.Do != Pass {
		t.Errorf("a room: %+v", plan)
	}
}

func TestAPadsNameIsItsKey(t *testing.T) {
	p := made(t, "etherpad", Adjust{})
	for _, target := range []string{"/p/cours", "/p/cours/export/txt", "/p/cours/4/export/html", "/p/cours/timeslider"} {
		if plan := p.Request(get(target)); plan.Capability != "cours" || plan.Listed {
			t.Errorf("%s: %+v", target, plan)
		}
	}
}

func TestAWeakTagGivesWayToTheDateOfAVideo(t *testing.T) {
	p := made(t, "peertube", Adjust{})
	req := get("/static/web-videos/" + file + "-720.mp4")
	for tag, want := range map[string]string{`W/"1"`: "", `"1"`: `"1"`} {
		got := p.Response(req, p.Request(req), Response{Status: 200, Header: http.Header{"Etag": {tag}, "Last-Modified": {"Mon, 03 Aug 2026 10:00:00 GMT"}, "Date": {"Mon, 10 Aug 2026 10:00:00 GMT"}}})
		if v := got.Header.Get("Etag"); v != want {
			t.Errorf("%s becomes %q", tag, v)
		}
		at := time.Date(2026, 8, 10, 10, 0, 0, 0, time.UTC)
		if v, ok := rfc9111.StrongValidator(rfc9111.Response{Status: 200, Header: got.Header, ResponseTime: at}); !ok {
			t.Errorf("%s: pieces cannot be joined by %q", tag, v)
		}
	}
	got := p.Response(req, p.Request(req), Response{Status: 200, Header: http.Header{"Etag": {`W/"1"`}}})
	if v := got.Header.Get("Etag"); v != `W/"1"` {
		t.Errorf("without a date %q is left", v)
	}
}

func TestFieldsThatTheSiteKeepsBackAreNotStored(t *testing.T) {
	p := made(t, "kiwix", Adjust{})
	req := get("/a/b")
	got := p.Response(req, p.Request(req), Response{Status: 200, Header: header("Cache-Control: max-age=9, private=\"X-Who, Etag\", no-cache=\"X-What\"\nX-Who: me\nX-What: this\nEtag: \"a\"\nX-Other: o\n")})
	if got.Effect != Keep || got.Header.Get("X-Who")+got.Header.Get("X-What") != "" || got.Header.Get("Etag") == "" || got.Header.Get("X-Other") == "" {
		t.Errorf("%+v", got)
	}
}

func TestADeadLinkIsHeardOfInWhateverIsPassed(t *testing.T) {
	p := made(t, "nextcloud", Adjust{})
	for _, c := range []struct {
		ask  Request
		body string
		want Effect
	}{
		{get("/s/"+tk, "Authorization", "Basic x"), "", Gone},
		{ask4("POST", "/s/"+tk), "", Own},
		{ask4("HEAD", "/s/"+tk+"?x=1"), "", Own},
		{get(davTarget+"/a", "Authorization", "Basic x"), gone503, Gone},
		{get(davTarget+"/a", "Authorization", "Basic x"), "", Own},
	} {
		status := 404
		if c.body != "" {
			status = 503
		}
		if got := p.Response(c.ask, p.Request(c.ask), Response{Status: status, Beginning: []byte(c.body)}); got.Effect != c.want {
			t.Errorf("%s %s: %+v", c.ask.Method, c.ask.Path, got)
		}
	}
}

func TestASharedRequestSaysNothingOfWhoAsks(t *testing.T) {
	h := plain("Cookie", "a=b", "Authorization", "x", "Requesttoken", "y", "X-Amz-Security-Token", "z", "X-Amz-Server-Side-Encryption-Customer-Key", "k", "Range", "bytes=0-1")
	Anonymise(h)
	for _, name := range []string{"Cookie", "Authorization", "Requesttoken", "X-Amz-Security-Token", "X-Amz-Server-Side-Encryption-Customer-Key"} {
		if h.Get(name) != "" {
			t.Errorf("%s is left", name)
		}
	}
	if h.Get("Range") == "" || h.Get("User-Agent") == "" {
		t.Errorf("%v", h)
	}
}

func TestOnlyAFailingPublicDAVIsReadInto(t *testing.T) {
	p := made(t, "nextcloud", Adjust{})
	if p.Reads(200, nil) != 0 || p.Reads(404, nil) != 0 || p.Reads(503, nil) != 4096 || made(t, "kiwix", Adjust{}).Reads(503, nil) != 0 {
		t.Error("reads what it need not")
	}
}
