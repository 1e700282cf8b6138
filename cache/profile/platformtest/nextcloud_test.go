package platformtest_test

import (
	"encoding/xml"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"preau/cache/profile/platformtest"
)

// ask asks an emulator; header is pairs of name and value.
func ask(h http.Handler, method, target string, header ...string) *http.Response {
	r := httptest.NewRequest(method, "http://platform.example"+target, http.NoBody)
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

// row is a line of a table of what a platform sends.
type row struct {
	target string
	header []string // of the request
	method string   // GET for none
	status int
	fields []string // name and value; "*" for any and "-" for none
	setsC  int      // Set-Cookie lines
	body   string   // part of it
}

func check(t *testing.T, h http.Handler, rows map[string]row) {
	t.Helper()
	for name, tt := range rows {
		t.Run(name, func(t *testing.T) {
			if tt.method == "" {
				tt.method = http.MethodGet
			}
			resp := ask(h, tt.method, tt.target, tt.header...)
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != tt.status || len(resp.Header["Set-Cookie"]) != tt.setsC || !strings.Contains(string(body), tt.body) {
				t.Errorf("status %d, %d cookies, body %.300q", resp.StatusCode, len(resp.Header["Set-Cookie"]), body)
			}
			for i := 0; i < len(tt.fields); i += 2 {
				got, want := strings.Join(resp.Header[tt.fields[i]], ", "), tt.fields[i+1]
				switch {
				case want == "*" && got != "", want == "-" && got == "", want == "weak" && strings.HasPrefix(got, `W/"`),
					want == "strong" && strings.HasPrefix(got, `"`), strings.HasPrefix(want, "…") && strings.HasSuffix(got, want[len("…"):]):
				case got != want:
					t.Errorf("%s = %q, want %q", tt.fields[i], got, want)
				}
			}
		})
	}
}

// cookieOf is the Cookie field of one of a user's ways.
func cookieOf(t *testing.T, p platformtest.Platform, name string) string {
	t.Helper()
	for _, w := range p.Ways(platformtest.Ann) {
		if w.Name == name {
			return w.Header.Get("Cookie")
		}
	}
	t.Fatalf("no way %q", name)
	return ""
}

func authOf(t *testing.T, p platformtest.Platform, name string) string {
	t.Helper()
	for _, w := range p.Ways(platformtest.Ann) {
		if w.Name == name {
			return w.Header.Get("Authorization")
		}
	}
	t.Fatalf("no way %q", name)
	return ""
}

const pages = "no-cache, no-store, must-revalidate"

func TestNextcloud29SendsWhatItWasSeenToSend(t *testing.T) {
	n := platformtest.NewNextcloud(29)
	n.SetGuesses(0)
	file, folder, locked := n.Token("file"), n.Token("folder"), n.Token("locked")
	mine := platformtest.Marker(platformtest.Ann)
	login, guest, password := cookieOf(t, n, "login"), cookieOf(t, n, "guest session"), authOf(t, n, "basic")
	check(t, n, map[string]row{
		"share page":                 {"/s/" + file, nil, "", 200, []string{"Cache-Control", pages, "Etag", "-", "Last-Modified", "-"}, 4, `name="hideDownload" value="false"`},
		"page of a hidden one":       {"/s/" + n.Token("hidden"), nil, "", 200, nil, 4, `name="hideDownload" value="true"`},
		"page of a counted one":      {"/s/" + n.Token("counted"), nil, "", 200, nil, 4, "initial-state-files_downloadlimit-download_limit"},
		"page for who is logged in":  {"/s/" + file, []string{"Cookie", login}, "", 200, []string{"X-Private", mine}, 0, mine},
		"download":                   {"/s/" + file + "/download", nil, "", 200, []string{"Cache-Control", "must-revalidate, post-check=0, pre-check=0", "Expires", "0", "Etag", "-", "Last-Modified", "-", "Accept-Ranges", "-"}, 4, ""},
		"download, a range":          {"/index.php/s/" + file + "/download", []string{"Range", "bytes=5-9"}, "", 206, []string{"Accept-Ranges", "bytes", "Content-Length", "5"}, 4, ""},
		"download, several":          {"/s/" + file + "/download", []string{"Range", "bytes=5-9,20-29"}, "", 206, nil, 4, "--"},
		"download, past the end":     {"/s/" + file + "/download", []string{"Range", "bytes=999999-"}, "", 200, nil, 4, ""},
		"download with a secret":     {"/s/" + file + "/download?downloadStartSecret=abc", nil, "", 200, nil, 5, ""},
		"download of one":            {"/s/" + folder + "/download?path=/sub&files=b.txt", nil, "", 200, []string{"Content-Length", "50"}, 4, ""},
		"download of a folder":       {"/s/" + folder + "/download", []string{"Range", "bytes=0-1"}, "", 200, []string{"Content-Length", "-", "Accept-Ranges", "bytes", "Expires", "0", "Pragma", "public", "Last-Modified", "*", "Etag", "-"}, 4, "PK"},
		"public DAV":                 {"/public.php/dav/files/" + file, nil, "", 200, []string{"Cache-Control", "-", "Etag", "strong", "Last-Modified", "*", "Accept-Ranges", "-"}, 4, ""},
		"public DAV, a range":        {"/public.php/dav/files/" + folder + "/a.txt", []string{"Range", "bytes=-5"}, "", 206, []string{"Accept-Ranges", "-", "Content-Range", "bytes 895-899/900"}, 4, ""},
		"public DAV, several":        {"/public.php/dav/files/" + folder + "/a.txt", []string{"Range", "bytes=0-1,5-6"}, "", 200, nil, 4, ""},
		"public DAV, past the end":   {"/public.php/dav/files/" + folder + "/a.txt", []string{"Range", "bytes=9999-"}, "", 416, nil, 4, ""},
		"public DAV, no such file":   {"/public.php/dav/files/" + folder + "/z.txt", nil, "", 404, nil, 4, `Sabre\DAV\Exception\NotFound`},
		"public DAV, a folder":       {"/public.php/dav/files/" + folder, nil, "", 200, []string{"Etag", "-", "Content-Type", "text/html; charset=UTF-8"}, 4, "WebDAV interface"},
		"public DAV, unknown":        {"/public.php/dav/files/never", nil, "", 503, []string{"Cache-Control", "-", "Retry-After", "-"}, 4, `<s:exception>Sabre\DAV\Exception\ServiceUnavailable`},
		"public DAV, locked":         {"/public.php/dav/files/" + locked + "/notes.ods", nil, "", 401, nil, 4, ""},
		"public DAV, opened":         {"/public.php/dav/files/" + locked + "/notes.ods", []string{"Cookie", guest}, "", 200, []string{"X-Private", mine}, 0, mine},
		"public DAV, no strict":      {"/public.php/dav/files/" + file, []string{"Cookie", cookieOf(t, n, "login without strict")}, "", 412, nil, 0, "Strict Cookie"},
		"public DAV, others' cookie": {"/public.php/dav/files/" + file, []string{"Cookie", "_ga=1"}, "", 200, nil, 4, ""},
		"locked, page":               {"/s/" + locked, nil, "", 303, []string{"Location", "http://platform.example/index.php/s/" + locked + "/authenticate/showShare", "Cache-Control", pages}, 4, ""},
		"locked, opened":             {"/s/" + locked, []string{"Cookie", guest}, "", 200, []string{"X-Private", mine}, 0, mine},
		"legacy":                     {"/public.php/webdav", nil, "", 401, nil, 4, ""},
		"legacy, with the token":     {"/public.php/webdav", []string{"Authorization", basicOf(file, "")}, "", 200, []string{"Etag", "strong", "Cache-Control", "-"}, 4, ""},
		"own file by cookie":         {"/remote.php/dav/files/ann/lettre.txt", []string{"Cookie", login}, "", 200, []string{"Etag", "strong", "Last-Modified", "*", "Cache-Control", "-", "Vary", "-", "X-Private", mine}, 0, mine},
		"own file by password":       {"/remote.php/dav/files/ann/lettre.txt", []string{"Authorization", password}, "", 200, []string{"X-Private", mine}, 5, mine},
		"own file by nobody":         {"/remote.php/dav/files/ann/lettre.txt", nil, "", 401, nil, 4, ""},
		"another's file":             {"/remote.php/dav/files/bob/lettre.txt", []string{"Cookie", login}, "", 404, nil, 0, ""},
		"preview":                    {"/s/" + file + "/preview", nil, "", 200, []string{"Cache-Control", "private, max-age=86400, must-revalidate", "Etag", "strong", "Last-Modified", "…+0000", "Expires", "…+0000"}, 4, ""},
		"public preview":             {"/index.php/apps/files_sharing/publicpreview/" + folder + "?file=/a.txt&x=9", nil, "", 200, []string{"Cache-Control", "private, max-age=86400, must-revalidate"}, 4, ""},
		"preview, hidden":            {"/s/" + n.Token("hidden") + "/preview", []string{"x-nc-preview", "true"}, "", 200, []string{"Cache-Control", "private, max-age=900, must-revalidate"}, 4, ""},
		"avatar":                     {"/index.php/avatar/ann/64", []string{"Cookie", login}, "", 200, []string{"Cache-Control", "private, max-age=86400, immutable"}, 0, mine},
		"theming":                    {"/index.php/apps/theming/theme/default.css", nil, "", 200, []string{"Cache-Control", "private, max-age=86400, must-revalidate", "Etag", "-"}, 4, ""},
		"script with v":              {"/dist/core-main.js?v=a", nil, "", 200, []string{"Cache-Control", "public, max-age=15778463, immutable", "Etag", "strong"}, 0, ""},
		"script, gzip":               {"/dist/core-main.js?v=a", []string{"Accept-Encoding", "gzip"}, "", 200, []string{"Vary", "Accept-Encoding", "Etag", "weak", "Content-Encoding", "gzip"}, 0, ""},
		"script":                     {"/dist/core-main.js", nil, "", 200, []string{"Cache-Control", "public, max-age=15778463"}, 0, ""},
		"ttf":                        {"/core/fonts/a.ttf", nil, "", 200, []string{"Cache-Control", "-"}, 0, ""},
		"woff2":                      {"/core/fonts/a.woff2", nil, "", 200, []string{"Cache-Control", "max-age=604800"}, 0, ""},
		"status.php":                 {"/status.php", nil, "", 200, []string{"Cache-Control", "-"}, 4, "installed"},
		"login":                      {"/login", nil, "", 200, []string{"Cache-Control", pages}, 4, ""},
		"ocs":                        {"/ocs/v2.php/cloud/user", []string{"Cookie", login}, "", 200, []string{"Cache-Control", pages, "Etag", "strong"}, 0, mine},
		"files":                      {"/apps/files/", []string{"Cookie", login}, "", 200, []string{"Cache-Control", pages}, 0, mine},
		"files, not logged in":       {"/apps/files/", nil, "", 303, nil, 4, ""},
	})
	if n.Zips() != 1 {
		t.Errorf("%d zips were counted", n.Zips())
	}
	tag := ask(n, http.MethodGet, "/public.php/dav/files/"+file).Header.Get("ETag")
	if resp := ask(n, http.MethodGet, "/public.php/dav/files/"+file, "If-None-Match", tag); resp.StatusCode != http.StatusNotModified {
		t.Errorf("If-None-Match: %d", resp.StatusCode)
	}
	if resp := ask(n, http.MethodGet, "/public.php/dav/files/"+file, "If-Range", tag, "Range", "bytes=1-2"); resp.StatusCode != http.StatusPartialContent {
		t.Errorf("If-Range: %d", resp.StatusCode)
	}
}

func basicOf(user, password string) string {
	r := http.Request{Header: http.Header{}}
	r.SetBasicAuth(user, password)
	return r.Header.Get("Authorization")
}

func TestNextcloud31LeadsDownloadsToDAV(t *testing.T) {
	n := platformtest.NewNextcloud(31)
	n.SetGuesses(0)
	file, folder := n.Token("file"), n.Token("folder")
	dav := "http://platform.example/public.php/dav/files/"
	check(t, n, map[string]row{
		"page":             {"/s/" + file, nil, "", 200, []string{"Cache-Control", pages}, 4, "initial-state-core-public-page-menu"},
		"download":         {"/s/" + file + "/download", nil, "", 303, []string{"Location", dav + file + "/?accept=zip"}, 4, ""},
		"download of some": {"/s/" + folder + "/download?path=/sub&files=b.txt", nil, "", 303, []string{"Location", dav + folder + "/sub?accept=zip&files=%5B%22b.txt%22%5D"}, 4, ""},
		"a file as zip":    {"/public.php/dav/files/" + file + "/?accept=zip", nil, "", 200, []string{"Etag", "strong"}, 4, ""},
		"a folder as zip":  {"/public.php/dav/files/" + folder + "/?accept=zip", nil, "", 200, []string{"Etag", "-"}, 4, "PK"},
		"HEAD":             {"/public.php/dav/files/" + file, nil, http.MethodHead, 401, nil, 4, ""},
		"PROPFIND":         {"/public.php/dav/files/" + folder, []string{"Depth", "1"}, "PROPFIND", 401, nil, 4, ""},
		"HEAD by script":   {"/public.php/dav/files/" + file, []string{"X-Requested-With", "XMLHttpRequest"}, http.MethodHead, 200, []string{"Etag", "strong"}, 4, ""},
		"unknown":          {"/public.php/dav/files/never", nil, "", 404, nil, 4, `Sabre\DAV\Exception\NotFound`},
	})
}

func TestPropfindListsAFolder(t *testing.T) {
	n := platformtest.NewNextcloud(31)
	folder := n.Token("folder")
	list := func(path, depth string) (hrefs []string) {
		resp := ask(n, "PROPFIND", path, "Depth", depth, "X-Requested-With", "XMLHttpRequest")
		var got struct {
			Response []struct {
				Href string `xml:"href"`
				Tag  string `xml:"propstat>prop>getetag"`
				Size string `xml:"propstat>prop>getcontentlength"`
				Date string `xml:"propstat>prop>getlastmodified"`
			} `xml:"response"`
		}
		if err := xml.NewDecoder(resp.Body).Decode(&got); err != nil || resp.StatusCode != http.StatusMultiStatus {
			t.Fatalf("%s: %d, %v", path, resp.StatusCode, err)
		}
		for _, r := range got.Response {
			if _, err := http.ParseTime(r.Date); err != nil || r.Tag == "" || (r.Size == "") != strings.HasSuffix(r.Href, "/") {
				t.Errorf("%+v", r)
			}
			file := ask(n, http.MethodGet, r.Href)
			if r.Size != "" && file.Header.Get("ETag") != r.Tag {
				t.Errorf("%s: tag %s, listed %s", r.Href, file.Header.Get("ETag"), r.Tag)
			}
			hrefs = append(hrefs, strings.TrimPrefix(r.Href, "/public.php/dav/files/"+folder))
		}
		slices.Sort(hrefs)
		return hrefs
	}
	root := "/public.php/dav/files/" + folder
	for _, tt := range []struct {
		path, depth string
		want        []string
	}{
		{root, "1", []string{"/", "/%C3%A9%20%C3%A0.txt", "/a.txt", "/film.mp4", "/sub/"}},
		{root, "0", []string{"/"}},
		{root + "/sub", "1", []string{"/sub/", "/sub/b.txt", "/sub/deep/"}},
		{root + "/a.txt", "1", []string{"/a.txt"}},
	} {
		if got := list(tt.path, tt.depth); !slices.Equal(got, tt.want) {
			t.Errorf("%s, %s: %q", tt.path, tt.depth, got)
		}
	}
}

func TestSharesEnd(t *testing.T) {
	n := platformtest.NewNextcloud(29)
	n.SetGuesses(0)
	n.Share(platformtest.Share{Token: "Two", Name: "x", Data: []byte("x"), Limit: 2})
	var now time.Time
	n.SetClock(func() time.Time { return now })
	now = time.Now()
	status := func(path string) int { return ask(n, http.MethodGet, path).StatusCode }
	gone := func(token string) bool {
		return status("/s/"+token) == 404 && status("/s/"+token+"/download") == 404 && status("/s/"+token+"/preview") == 404 && status("/public.php/dav/files/"+token) == 503
	}
	if status("/public.php/dav/files/Two") != 200 || ask(n, http.MethodHead, "/s/Two/download").StatusCode != 200 || !gone("Two") {
		t.Error("two downloads of two were no end")
	}
	brief := n.Token("brief")
	if gone(brief) {
		t.Error("gone before its time")
	}
	now = now.Add(2 * time.Hour)
	if !gone(brief) {
		t.Error("it did not expire")
	}
	n.Delete(n.Token("file"))
	if !gone(n.Token("file")) {
		t.Error("a deleted share is there")
	}
	n.Restore(n.Token("file"))
	if gone(n.Token("file")) {
		t.Error("a share that was restored is not there")
	}
	n.SetMaintenance(true)
	resp := ask(n, http.MethodGet, "/public.php/dav/files/"+n.Token("file"))
	if body, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != 503 || !strings.Contains(string(body), `OCA\DAV\Exception\ServerMaintenanceMode`) || resp.Header.Get("Retry-After") != "" {
		t.Errorf("maintenance: %d, %s", resp.StatusCode, body)
	}
	if resp := ask(n, http.MethodGet, "/s/"+n.Token("file")); resp.StatusCode != 503 || resp.Header.Get("X-Nextcloud-Maintenance-Mode") != "1" || resp.Header.Get("Retry-After") != "120" {
		t.Errorf("maintenance: %d, %v", resp.StatusCode, resp.Header)
	}
}

func TestWhoGuessesIsSentAway(t *testing.T) {
	n := platformtest.NewNextcloud(29)
	now := time.Now()
	n.SetClock(func() time.Time { return now })
	for range 10 {
		if got := ask(n, http.MethodGet, "/s/wrong").StatusCode; got != 404 {
			t.Fatalf("status %d", got)
		}
	}
	if got := ask(n, http.MethodGet, "/s/"+n.Token("file")).StatusCode; got != 429 {
		t.Errorf("after ten guesses: %d", got)
	}
	now = now.Add(time.Hour)
	if got := ask(n, http.MethodGet, "/s/"+n.Token("file")).StatusCode; got != 200 {
		t.Errorf("an hour later: %d", got)
	}
}

func TestAPasswordOpensAShareForItsSession(t *testing.T) {
	n := platformtest.NewNextcloud(29)
	locked := n.Token("locked")
	var password string
	n.Change(locked, func(s *platformtest.Share) { password = s.Password })
	enter := func(word string) *http.Response {
		r := httptest.NewRequest(http.MethodPost, "/index.php/s/"+locked+"/authenticate/showShare", strings.NewReader("password="+word))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		n.ServeHTTP(w, r)
		return w.Result()
	}
	if resp := enter("wrong"); resp.StatusCode != 200 {
		t.Errorf("wrong: %d", resp.StatusCode)
	}
	resp := enter(password)
	cookies := resp.Cookies()
	if resp.StatusCode != http.StatusSeeOther || len(cookies) == 0 {
		t.Fatalf("status %d, %v", resp.StatusCode, resp.Header)
	}
	session := cookies[len(cookies)-1]
	in := session.Name + "=" + session.Value + "; nc_sameSiteCookiestrict=true"
	opened := ask(n, http.MethodGet, "/s/"+locked+"/download?path=/&files=notes.ods", "Cookie", in)
	if opened.StatusCode != 200 || opened.Header.Get(platformtest.Private) == "" {
		t.Errorf("opened: %d, %v", opened.StatusCode, opened.Header)
	}
	if got := ask(n, http.MethodGet, "/s/"+locked+"/download").StatusCode; got != http.StatusSeeOther {
		t.Errorf("without the session: %d", got)
	}
}
