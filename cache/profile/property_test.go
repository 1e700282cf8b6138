package profile

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"path"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"preau/cache/rfc9111"
)

// private are paths that are nobody's but the asker's, for each platform, in
// lower case.
var private = map[string][]string{
	"nextcloud": {"/remote.php", "/public.php/webdav", "/ocs", "/login", "/settings", "/core/preview", "/avatar", "/csrftoken", "/status.php", "/apps/theming/background", "/push"},
	"peertube": {"/api", "/object-storage-proxy", "/static/web-videos/private", "/static/streaming-playlists/hls/private", "/download/user-exports",
		"/download/original-video-files", "/download/videos/generate"},
	"etherpad":  {"/socket.io", "/api", "/admin", "/stats", "/health"},
	"discourse": {"/secure-uploads", "/secure-media-uploads", "/message-bus", "/session", "/admin", "/u", "/login"},
	"wordpress": {"/wp-admin", "/wp-login.php", "/wp-json", "/xmlrpc.php", "/wp-cron.php"},
	"jitsi":     {"/http-bind", "/xmpp-websocket", "/colibri-ws", "/colibri-relay-ws", "/_api"},
	"kiwix":     {"/search", "/catalog", "/suggest"},
}

// readings are what different servers make of one path: as it is, decoded once
// and twice, without parameters, with dot segments and empty ones taken out, in
// lower case.
func readings(escaped string, php bool) []string {
	list := []string{escaped}
	for range 2 {
		for _, s := range slices.Clone(list) {
			if d, err := url.PathUnescape(s); err == nil {
				list = append(list, d)
			}
		}
	}
	for _, s := range slices.Clone(list) {
		list = append(list, strings.ReplaceAll(s, `\`, "/"))
		if before, _, cut := strings.Cut(s, "\x00"); cut {
			list = append(list, before)
		}
		var parts []string
		for part := range strings.SplitSeq(s, "/") {
			part, _, _ = strings.Cut(part, ";")
			parts = append(parts, part)
		}
		list = append(list, strings.Join(parts, "/"))
	}
	for _, s := range slices.Clone(list) {
		list = append(list, path.Clean("/"+s))
		if php { // a front controller
			list = append(list, path.Clean("/"+strings.TrimPrefix(path.Clean("/"+s), "/index.php/")))
		}
	}
	for i, s := range list {
		list[i] = strings.ToLower(s)
	}
	return list
}

func leadsToPrivate(name, escaped string) string {
	for _, reading := range readings(escaped, name == "nextcloud" || name == "wordpress") {
		if under(reading, private[name]...) {
			return reading
		}
	}
	return ""
}

// drawRequest makes requests out of parts of what the tables ask for, and of
// what people try who want to be let in.
func drawRequest(t *rapid.T, name string) Request {
	tricks := []string{"..", ".", "", "%2e%2e", "%2E", "%2f", "%5c", "\\", ";x=1", "%00", "%252e%252e", "a%2fb", "private", "PRIVATE", "remote.php", "REMOTE.PHP", "index.php",
		"wp-admin", "wp-login.php", "api", "session", "ocs", "%72emote.php", "dav", "files", "webdav", "login", "http-bind", tk, vid, "a.js", "a.txt", "é", "%C3%A9", "%ff"}
	rows := tables[name].asked
	from := rows[rapid.IntRange(0, len(rows)-1).Draw(t, "row")].ask
	r := Request{Method: from.Method, Path: from.Path, Query: from.Query, Header: from.Header.Clone()}
	parts := strings.Split(r.Path, "/")
	for range rapid.IntRange(0, 4).Draw(t, "changes") {
		i := rapid.IntRange(0, len(parts)).Draw(t, "at")
		trick := rapid.SampledFrom(tricks).Draw(t, "trick")
		switch rapid.IntRange(0, 3).Draw(t, "how") {
		case 0:
			parts = slices.Insert(parts, i, trick)
		case 1:
			if i < len(parts) {
				parts[i] = trick
			}
		case 2:
			if i < len(parts) {
				parts[i] += trick
			}
		case 3:
			if i < len(parts) {
				parts[i] = strings.ToUpper(parts[i])
			}
		}
	}
	r.Path = strings.Join(parts, "/")
	query := []string{"", "accept=zip", "path=/../x", "files=..", "files=%5B%22a%22%5D", "videoFileToken=1", "v=1", "ver=1", "path=%2F..%2Fx", "files=%5B%22../x%22%5D",
		"downloadStartSecret=a", "preview=true", "files=a%2Fb", "path=a//b", "a=b;c", "%74oken=x", "X-Amz-Signature=1", "files=%00"}
	for range rapid.IntRange(0, 2).Draw(t, "queries") {
		r.Query = strings.Trim(r.Query+"&"+rapid.SampledFrom(query).Draw(t, "query"), "&")
	}
	if rapid.Bool().Draw(t, "cookie") {
		r.Header.Add("Cookie", rapid.SampledFrom([]string{session, "_ga=1", "wordpress_logged_in_1=x", "_t=1"}).Draw(t, "which"))
	}
	if rapid.IntRange(0, 9).Draw(t, "authorized") == 0 {
		r.Header.Set("Authorization", "Bearer x")
	}
	if rapid.IntRange(0, 9).Draw(t, "head") == 0 {
		r.Method = http.MethodHead
	}
	return r
}

func drawResponse(t *rapid.T, targets int) Response {
	r := Response{
		Status: rapid.SampledFrom([]int{200, 200, 200, 204, 206, 207, 301, 303, 304, 401, 403, 404, 410, 412, 416, 429, 500, 503}).Draw(t, "status"),
		Header: http.Header{"Date": {"Mon, 10 Aug 2026 10:00:00 GMT"}},
		Target: rapid.IntRange(0, max(0, targets-1)).Draw(t, "target"),
	}
	for _, line := range [][]string{
		{"Set-Cookie", "a=b", "c=d; Max-Age=3"},
		{"Cache-Control", "private", "no-store", "public, max-age=60", "max-age=5, s-maxage=9", "no-cache=\"Set-Cookie, X-A\", max-age=9", "private=\"X-A\", max-age=9", "max-age=\"", "no-store, no-cache, must-revalidate",
			"public, max-age=99999999999, immutable", "max-age=3, stale-while-revalidate=7, stale-if-error=8", "no-cache, must-revalidate, max-age=0"},
		{"Expires", "0", "Thu, 19 Nov 1981 08:52:00 GMT", "Tue, 11 Aug 2026 10:00:00 +0000"},
		{"Etag", `"a"`, `W/"a"`},
		{"Last-Modified", "Mon, 03 Aug 2026 10:00:00 GMT", "Mon, 03 Aug 2026 10:00:00 +0000", "x"},
		{"Vary", "Accept-Encoding", "Cookie", "*", "Authorization"},
		{"Content-Type", "text/html; charset=utf-8", "image/png", "application/xml"},
		{"X-A", "1"},
		{"Content-Length", "12"},
		{Field, "max-age=999999999, public"},
	} {
		if i := rapid.IntRange(-2, len(line)-2).Draw(t, line[0]); i >= 0 {
			r.Header.Add(line[0], line[i+1])
		}
	}
	if r.Status == 503 {
		r.Beginning = []byte(rapid.SampledFrom([]string{"", gone503, maintenance, other503}).Draw(t, "body"))
	}
	return r
}

func TestNoPathTrickMakesOfWhatIsPrivateSomethingShared(t *testing.T) {
	for _, name := range Names()[1:] {
		for _, a := range []Adjust{{}, {Share: []string{"*"}}} {
			p := made(t, name, a)
			t.Run(fmt.Sprintf("%s, %d patterns", name, len(a.Share)), func(t *testing.T) {
				rapid.Check(t, func(t *rapid.T) { checkPlan(t, p, drawRequest(t, name)) })
			})
		}
	}
}

// failer is what tests of all kinds have.
type failer interface {
	Fatalf(format string, args ...any)
}

func checkPlan(t failer, p *Profile, r Request) {
	plan := p.Request(r)
	explained, steps := p.Explain(r)
	if !reflect.DeepEqual(plan, explained) || len(steps) == 0 || !steps[len(steps)-1].Applies || steps[len(steps)-1].Rule != plan.Rule {
		t.Fatalf("%+v: planned %+v, explained %+v by %+v", r, plan, explained, steps)
	}
	if plan.Do == Pass {
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead || len(r.Header["Authorization"]) > 0 {
		t.Fatalf("%+v is not passed but %+v", r, plan)
	}
	asked := slices.Clone(plan.Targets)
	if plan.Folder != nil {
		asked = append(asked, plan.Folder.List, plan.Folder.Otherwise)
	}
	for _, target := range append(asked, Target{Path: r.Path}) {
		if reading := leadsToPrivate(p.Name(), target.Path); reading != "" {
			t.Fatalf("%s?%s is shared by %s as %s, which may be read as %s", r.Path, r.Query, plan.Name, target.Path, reading)
		}
		if target.Path == "" || target.Path[0] != '/' || strings.ContainsAny(target.Path+target.Query, " \r\n\x00") {
			t.Fatalf("%+v asks for %q", r, target)
		}
		if u, err := url.ParseRequestURI(target.Path); err != nil || u.RawQuery != "" {
			t.Fatalf("%+v asks for %q: %v", r, target, err)
		}
	}
	if plan.Capability != "" && plan.Listed {
		t.Fatalf("%+v is listed", r)
	}
	for _, c := range plan.Cookies {
		if strings.ContainsAny(c, "\r\n\x00") {
			t.Fatalf("%+v sets %q", r, c)
		}
	}
}

func TestAnAnswerMeansTheSameWhenItComesAgainFromACache(t *testing.T) {
	for _, name := range Names() {
		for _, bound := range []time.Duration{0, 10 * time.Second} {
			p := made(t, name, Adjust{FreshMax: bound})
			t.Run(fmt.Sprintf("%s %v", name, bound), func(t *testing.T) {
				rapid.Check(t, func(t *rapid.T) {
					req := drawRequest(t, name)
					plan := p.Request(req)
					checkAnswer(t, p, req, plan, drawResponse(t, len(plan.Targets)), bound)
				})
			})
		}
	}
}

func checkAnswer(t failer, p *Profile, req Request, plan Plan, r Response, bound time.Duration) {
	before := maps.Clone(r.Header)
	first := p.Response(req, plan, r)
	if !reflect.DeepEqual(before, r.Header) {
		t.Fatalf("the answer's header was changed: %v to %v", before, r.Header)
	}
	if first.Name == "" || first.Why == "" || first.For < 0 {
		t.Fatalf("%+v", first)
	}
	if first.Effect != Keep {
		return
	}
	if plan.Do == Pass {
		t.Fatalf("what is passed is kept: %+v", first)
	}
	if plan.Do != ByRFC9111 {
		if len(first.Header["Set-Cookie"]) > 0 {
			t.Fatalf("cookies are kept: %v", first.Header)
		}
		success := r.Status == 200 || r.Status == 206 || r.Status == 304 || r.Status == 207
		if success == (first.Header.Get(Field) == "no-store") || first.Header.Get(Field) == "" {
			t.Fatalf("%d is kept with %q", r.Status, first.Header.Get(Field))
		}
	}
	rules := p.Rules(rfc9111.DefaultRules(), first.Header)
	if d := rfc9111.ParseResponseDirectives(first.Header, rules); first.Header.Get(Field) != "" && d.Targeted != Field {
		t.Fatalf("%q is not understood", first.Header.Get(Field))
	}
	if life, _ := (rfc9111.Response{Status: 200, Header: first.Header, ResponseTime: time.Date(2026, 8, 10, 10, 0, 0, 0, time.UTC)}).FreshnessLifetime(rules); bound > 0 && r.Status < 300 && life > bound && first.Header.Get(Field) != "" {
		t.Fatalf("fresh for %v: %q", life, first.Header.Get(Field))
	}
	again := p.Response(req, plan, Response{Status: r.Status, Header: first.Header, Beginning: r.Beginning, Target: r.Target})
	if !reflect.DeepEqual(first, again) {
		t.Fatalf("%v\nfirst %+v\nagain %+v", r.Header, first, again)
	}
}

func TestAProfileMayBeAskedByManyAtOnce(t *testing.T) {
	for _, name := range Names() {
		p := made(t, name, Adjust{FreshMax: hour, Pass: []string{"/x*"}, Share: []string{"/y*"}})
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for _, r := range tables[name].asked {
					plan := p.Request(r.ask)
					p.Response(r.ask, plan, Response{Status: 200, Header: http.Header{"Cache-Control": {"public, max-age=9"}}})
				}
			})
		}
		all.Wait()
	}
}

func FuzzRequestsAndAnswersAreJudgedSafely(f *testing.F) {
	for _, s := range []string{"/s/" + tk + "/download?path=/a&files=b", "/public.php/dav/files/" + tk + "/..;/x", "//remote.php/dav", "/%2e%2e/remote.php", "/PUBLIC.php/webdav/a", "/a\x00b", "/static/web-videos/private/x.mp4"} {
		path, query, _ := strings.Cut(s, "?")
		f.Add(path, query, "a=b", 200, "public", "Cookie")
		f.Add(path, query, "", 503, "no-store", "")
	}
	var all []*Profile
	for _, name := range Names() {
		p, err := New(name, Adjust{Share: []string{"/extra/*"}})
		if err != nil {
			f.Fatal(err)
		}
		all = append(all, p)
	}
	f.Fuzz(func(t *testing.T, path, query, cookie string, status int, control, vary string) {
		r := Request{Method: "GET", Path: path, Query: query, Header: http.Header{"Cookie": {cookie}}}
		for _, p := range all {
			plan := p.Request(r)
			if p.Name() != "rfc9111" {
				checkPlan(t, p, r)
			}
			checkAnswer(t, p, r, plan, Response{Status: status, Header: http.Header{"Cache-Control": {control}, "Vary": {vary}, "Set-Cookie": {cookie}}, Beginning: []byte(control)}, 0)
		}
	})
}
