package teach_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"preau/cache/page"
	"preau/node/lesson"
	"preau/node/portal/teach"
	"preau/node/upload"
)

// fields is a form as a browser sends it.
func fields(pairs ...string) url.Values {
	f := url.Values{"do": {"save"}, "title": {"L’eau"}, "class": {"6e B"}, "day": {"2026-11-24"}, "clock": {"10:30"}, "token": {"token-1"}}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i] == "item" {
			f.Add("item", pairs[i+1])
			continue
		}
		f.Set(pairs[i], pairs[i+1])
	}
	return f
}

func TestALessonIsPreparedChangedAndDeleted(t *testing.T) {
	w := newWorld(t)
	got := w.ask(http.MethodPost, "/en/teach/new", fields("links", "https://nuage.example/s/AbC\r\n\r\n https://tube.example/w/film https://nuage.example/s/AbC", "item", "published:atlas", "item", "nonsense", "item", "link:x"))
	to := got.Header().Get("Location")
	if got.Code != http.StatusSeeOther || !strings.HasPrefix(to, "/en/teach/l/") {
		t.Fatalf("%d %q %s", got.Code, to, got.Body)
	}
	list := w.store.List()
	if len(list) != 1 {
		t.Fatalf("%+v", list)
	}
	l := list[0]
	want := []lesson.Item{{Kind: lesson.Link, URL: "https://nuage.example/s/AbC"}, {Kind: lesson.Link, URL: "https://tube.example/w/film"}, {Kind: lesson.Published, ID: "atlas", Title: atlas.Title}}
	if l.Title != "L’eau" || l.Class != "6e B" || l.By != "ada" || !l.Date.Equal(time.Date(2026, 11, 24, 10, 30, 0, 0, time.Local)) || !reflect.DeepEqual(l.Items, want) {
		t.Errorf("%+v", l)
	}
	form := w.ask(http.MethodGet, to+"/edit", nil).Body.String()
	for _, part := range []string{`value="L’eau"`, "https://nuage.example/s/AbC\nhttps://tube.example/w/film</textarea>", `value="published:atlas" checked`, `value="1 box"`, "Atlas &lt;du&gt; monde"} {
		if !strings.Contains(form, part) {
			t.Errorf("the form lacks %q:\n%s", part, form)
		}
	}
	if got := w.ask(http.MethodPost, to+"/edit", fields("title", "Two", "seen", "1 box")); got.Code != http.StatusSeeOther {
		t.Fatalf("%d %s", got.Code, got.Body)
	}
	// Somebody else had the form open all the while.
	got = w.ask(http.MethodPost, to+"/edit", fields("title", "Three", "seen", "1 box"))
	if l, err := w.store.Get(l.ID); got.Code != http.StatusConflict || err != nil || l.Title != "Two" || !strings.Contains(got.Body.String(), `value="2 box"`) || !strings.Contains(got.Body.String(), `value="Three"`) {
		t.Errorf("%d %+v %v", got.Code, l, err)
	}
	if got := w.ask(http.MethodPost, to+"/edit", fields("title", "Three", "seen", "2 box")); got.Code != http.StatusSeeOther {
		t.Errorf("%d", got.Code)
	}
	if got := w.ask(http.MethodGet, to+"/delete", nil); got.Code != http.StatusOK || len(w.store.List()) != 1 {
		t.Errorf("to look at the question deletes: %d", got.Code)
	}
	if got := w.ask(http.MethodPost, to+"/delete", fields()); got.Code != http.StatusSeeOther || len(w.store.List()) != 0 {
		t.Errorf("%d", got.Code)
	}
	for _, path := range []string{to, to + "/edit", to + "/show", to + "/live", to + "/delete", "/teach/elsewhere"} {
		if got := w.ask(http.MethodGet, path, nil); got.Code != http.StatusNotFound {
			t.Errorf("%s: %d", path, got.Code)
		}
	}
	if want := []string{"ada lesson saved L’eau", "ada lesson saved Two", "ada lesson saved Three", "ada lesson deleted Three"}; !reflect.DeepEqual(w.log, want) {
		t.Errorf("%q", w.log)
	}
}

// A lesson is its author's; the school's admins may mend it, and others copy it.
func TestALessonIsItsAuthors(t *testing.T) {
	w := newWorld(t)
	to := w.ask(http.MethodPost, "/en/teach/new", fields("links", "https://nuage.example/s/AbC", "item", "published:atlas")).Header().Get("Location")
	id := w.store.List()[0].ID
	buttons := func(who string) (change, copies bool) {
		body := w.ask(http.MethodGet, to, nil, "Who", who).Body.String()
		return strings.Contains(body, to+`/edit"`) && strings.Contains(body, to+`/delete"`), strings.Contains(body, "/en/teach/new?copy="+id)
	}
	for who, may := range map[string]bool{"ada": true, "admin": true, "grace": false} {
		if change, copies := buttons(who); change != may || copies == may {
			t.Errorf("%s may change: %v, and copy: %v", who, change, copies)
		}
		want := map[bool]int{true: http.StatusOK, false: http.StatusForbidden}[may]
		for _, path := range []string{"/edit", "/delete"} {
			if got := w.ask(http.MethodGet, to+path, nil, "Who", who); got.Code != want {
				t.Errorf("%s%s: %d, want %d", who, path, got.Code, want)
			}
		}
	}
	for _, path := range []string{"/edit", "/delete"} {
		got := w.ask(http.MethodPost, to+path, fields("title", "Hers", "seen", "1 box"), "Who", "grace")
		if l, err := w.store.Get(id); got.Code != http.StatusForbidden || err != nil || l.Title != "L’eau" || !strings.Contains(got.Body.String(), "?copy="+id) {
			t.Errorf("%s: %d, %+v %v", path, got.Code, l, err)
		}
	}
	form := w.ask(http.MethodGet, "/en/teach/new?copy="+id, nil, "Who", "grace").Body.String()
	for _, part := range []string{`value="L’eau"`, "https://nuage.example/s/AbC</textarea>", `value="published:atlas" checked`, `action="/en/teach/new"`} {
		if !strings.Contains(form, part) {
			t.Errorf("the copy lacks %q", part)
		}
	}
	if got := w.ask(http.MethodPost, to+"/edit", fields("title", "Mended", "seen", "1 box"), "Who", "admin"); got.Code != http.StatusSeeOther {
		t.Errorf("%d", got.Code)
	}
	if l, err := w.store.Get(id); err != nil || l.Title != "Mended" || l.By != "ada" {
		t.Errorf("%+v, %v", l, err)
	}
}

func TestWhatIsWrongIsSaidAndNothingTypedIsLost(t *testing.T) {
	w := newWorld(t)
	for claim, form := range map[string]url.Values{
		"no title":     fields("title", "  "),
		"a long title": fields("title", strings.Repeat("é", 101)),
		"no day":       fields("day", "tomorrow"),
		"a long link":  fields("links", "https://a.example/"+strings.Repeat("x", 3000)),
		"too many":     fields("links", manyLinks(70)),
		"an odd year":  fields("day", "9999-01-01"),
	} {
		form.Set("class", "CM2 <b>")
		got := w.ask(http.MethodPost, "/teach/new", form)
		if got.Code != http.StatusUnprocessableEntity || !strings.Contains(got.Body.String(), `role="alert"`) || !strings.Contains(got.Body.String(), "CM2 &lt;b&gt;") {
			t.Errorf("%s: %d", claim, got.Code)
		}
	}
	if got := w.ask(http.MethodPost, "/teach/new", fields("links", strings.Repeat("x", 300<<10))); got.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("a form without end: %d", got.Code)
	}
	if len(w.store.List()) != 0 {
		t.Errorf("%+v", w.store.List())
	}
}

func manyLinks(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "https://a.example/%d\n", i)
	}
	return b.String()
}

func TestTheCatalogueIsSearchedWithoutLosingTheForm(t *testing.T) {
	w := newWorld(t)
	got := w.ask(http.MethodPost, "/teach/new", fields("do", "find", "q", "atlas", "title", "", "links", "https://a.example/"))
	body := got.Body.String()
	if got.Code != http.StatusOK || !strings.Contains(body, `value="published:atlas">`) || !strings.Contains(body, "https://a.example/</textarea>") || strings.Contains(body, "aria-invalid") {
		t.Errorf("%d %s", got.Code, body)
	}
	// What is chosen already is not offered again.
	body = w.ask(http.MethodPost, "/teach/new", fields("do", "find", "q", "atlas", "item", "published:atlas")).Body.String()
	if strings.Count(body, `value="published:atlas"`) != 1 || !strings.Contains(body, "checked") {
		t.Error(body)
	}
	if body := w.ask(http.MethodPost, "/en/teach/new", fields("do", "find", "q", "zzz")).Body.String(); !strings.Contains(body, "Nothing matches") {
		t.Error(body)
	}
	if body := w.ask(http.MethodGet, "/teach/new?with=published:atlas", nil).Body.String(); !strings.Contains(body, `value="published:atlas" checked`) {
		t.Error(body)
	}
}

func TestLightsHaveWordsAndTimes(t *testing.T) {
	w := newWorld(t)
	l := w.story(t)
	body := w.ask(http.MethodGet, "/en/teach/l/"+l.ID, nil).Body.String()
	for _, want := range []string{"Ready</span>", "Arriving</span>", "Waiting</span>", "Cannot be kept</span>", "The link asks for a password", "Nothing is fetched ahead", "Ready at ", `value="35"`, "L’évaporation", "84 MB", `href="/o/nuage/s/AbC/download"`, "1 of 5 ready, 2 cannot be kept", l.Code} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %q:\n%s", want, body)
		}
	}
	if strings.Contains(body, `href="javascript`) {
		t.Error("a script is a link")
	}
	if list := w.ask(http.MethodGet, "/teach/", nil).Body.String(); !strings.Contains(list, "1 sur 5 prêts, 2 impossibles à garder") {
		t.Error(list)
	}
	show := w.ask(http.MethodGet, "/teach/l/"+l.ID+"/show", nil).Body.String()
	for _, want := range []string{`src="/l/` + l.Code + `.svg"`, "example.com/l/", l.Code} {
		if !strings.Contains(show, want) {
			t.Errorf("the wall lacks %q", want)
		}
	}
}

func TestNobodyIsThereWithoutSigningIn(t *testing.T) {
	w := newWorld(t)
	l := w.story(t)
	for _, path := range []string{"/teach/", "/teach/new", "/teach/files", "/teach/files/live", "/teach/l/" + l.ID, "/teach/l/" + l.ID + "/delete", teach.UploadPrefix} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			got := w.ask(method, path, nil, "Who", "", "Tus-Resumable", "1.0.0")
			if got.Code != http.StatusUnauthorized && got.Code != http.StatusMethodNotAllowed || strings.Contains(got.Body.String(), l.Title) {
				t.Errorf("%s %s: %d", method, path, got.Code)
			}
		}
	}
}

func TestAFileComesInAndIsShownAtEachStep(t *testing.T) {
	w := newWorld(t)
	b64 := base64.StdEncoding.EncodeToString
	tus := []string{"Tus-Resumable", "1.0.0"}
	got := w.ask(http.MethodPost, teach.UploadPrefix, nil, append(tus, "Upload-Length", "10", "Upload-Metadata", "filename "+b64([]byte("carte.pdf"))+",title "+b64([]byte("La <carte>")))...)
	at := got.Header().Get("Location")
	if got.Code != http.StatusCreated {
		t.Fatalf("%d %s", got.Code, got.Body)
	}
	if body := w.ask(http.MethodGet, "/en/teach/files", nil).Body.String(); !strings.Contains(body, "La &lt;carte&gt;") || !strings.Contains(body, "0 bytes / 10 bytes") || !strings.Contains(body, `data-token="token-1"`) {
		t.Error(body)
	}
	if body := w.ask(http.MethodGet, "/teach/files", nil, "Who", "bob").Body.String(); strings.Contains(body, "carte") {
		t.Error("bob sees it too")
	}
	id := at[strings.LastIndexByte(at, '/')+1:]
	for i, who := range []string{"bob", "ada"} {
		got := w.ask(http.MethodPost, "/en/teach/files/remove", url.Values{"id": {id}}, "Who", who)
		if left := len(w.uploads.List("ada")); got.Code != http.StatusSeeOther || left != 1-i {
			t.Errorf("%s removes it: %d, %d are left", who, got.Code, left)
		}
	}
	w.files.mu.Lock()
	w.files.has = []teach.File{
		{ID: "d-1", Filename: "a.pdf", Path: "/see/d/d-1", State: teach.OnBox}, {ID: "d-2", Filename: "b.pdf", Path: "/see/d/d-2", State: teach.InRegion}, {ID: "d-3", Title: "C", Filename: "c.pdf", Path: "/see/d/d-3", State: teach.Safe},
	}
	w.files.mu.Unlock()
	body := w.ask(http.MethodGet, "/en/teach/files", nil).Body.String()
	for text, n := range map[string]int{"mark here": 6, "mark away": 3, `href="/en/see/d/d-`: 3} {
		if strings.Count(body, text) != n {
			t.Errorf("%q is there %d times, want %d", text, strings.Count(body, text), n)
		}
	}
	if at == "" || !strings.Contains(w.ask(http.MethodGet, "/teach/new", nil).Body.String(), `value="deposit:d-3"`) {
		t.Error("a file of the school is not offered for lessons")
	}
}

// Pages load nothing from elsewhere and run nothing that stands in them; forms
// have the token; what has to be named has a name.
func TestPagesKeepToTheirPolicy(t *testing.T) {
	w := newWorld(t)
	l := w.story(t)
	w.files.has = []teach.File{{ID: "d-1", Filename: "a.pdf", Path: "/see/d/d-1"}}
	for _, lang := range []page.Lang{page.French, page.English} {
		for _, path := range []string{"/teach/", "/teach/new", "/teach/files", "/teach/l/" + l.ID, "/teach/l/" + l.ID + "/edit", "/teach/l/" + l.ID + "/show", "/teach/l/" + l.ID + "/delete"} {
			path = "/" + string(lang) + path
			got := w.ask(http.MethodGet, path, nil)
			h := got.Header()
			if got.Code != http.StatusOK || h.Get("Content-Language") != string(lang) || h.Get("Cache-Control") != "no-store" || len(h["Set-Cookie"]) > 0 {
				t.Errorf("%s: %d %v", path, got.Code, h)
			}
			if csp := h.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
				t.Errorf("%s: %s", path, csp)
			}
			ids, labelled, headings := map[string]bool{}, map[string]bool{}, 0
			all := nodes(t, got.Body.String())
			for _, n := range all {
				if to, ok := attr(n, "for"); ok {
					labelled[to] = true
				}
			}
			for _, n := range all {
				if id, ok := attr(n, "id"); ok {
					if ids[id] {
						t.Errorf("%s: two have the id %q", path, id)
					}
					ids[id] = true
				}
				if n.Data == "h1" {
					headings++
				}
				for _, a := range n.Attr {
					if a.Key == "style" || strings.HasPrefix(a.Key, "on") {
						t.Errorf("%s: <%s> has %s", path, n.Data, a.Key)
					}
					if (a.Key == "src" || a.Key == "action" || a.Key == "href" && n.Data == "link") && !strings.HasPrefix(a.Val, "/") {
						t.Errorf("%s: <%s %s=%q>", path, n.Data, a.Key, a.Val)
					}
				}
				src, _ := attr(n, "src")
				if (n.Data == "script" || n.Data == "style") && (src == "" || n.FirstChild != nil) {
					t.Errorf("%s: a <%s> stands in the page", path, n.Data)
				}
				if src != "" || n.Data == "link" {
					to, _ := attr(n, "href")
					if got := w.ask(http.MethodGet, src+to, nil); got.Code != http.StatusOK {
						t.Errorf("%s: %s%s: %d", path, src, to, got.Code)
					}
				}
				id, _ := attr(n, "id")
				kind, _ := attr(n, "type")
				_, named := attr(n, "aria-label")
				if (n.Data == "input" || n.Data == "textarea" || n.Data == "select") && kind != "hidden" && kind != "checkbox" && !named && !labelled[id] && !inLabel(n) {
					t.Errorf("%s: a field has no name: %v", path, n.Attr)
				}
				if method, _ := attr(n, "method"); n.Data == "form" && method == "post" && !strings.Contains(got.Body.String(), `name="token" value="token-1"`) {
					t.Errorf("%s: a form has no token", path)
				}
			}
			if headings != 1 {
				t.Errorf("%s: %d main headings", path, headings)
			}
		}
	}
}

func inLabel(n *html.Node) bool {
	for up := range n.Ancestors() {
		if up.Data == "label" {
			return true
		}
	}
	return false
}

func TestWordsAreComplete(t *testing.T) {
	for name, w := range map[string]reflect.Value{"fr": reflect.ValueOf(teach.WordsIn.French), "en": reflect.ValueOf(teach.WordsIn.English)} {
		for i := range w.NumField() {
			if w.Field(i).IsZero() {
				t.Errorf("%s lacks %s", name, w.Type().Field(i).Name)
			}
		}
	}
	fr, en := teach.WordsIn.French, teach.WordsIn.English
	for _, r := range upload.Reasons() {
		if fr.Reasons[r] == "" || en.Reasons[r] == "" {
			t.Errorf("no words for %q", r)
		}
	}
	if len(fr.Licences) != len(en.Licences) {
		t.Error("the licences differ")
	}
	a, b := reflect.ValueOf(fr), reflect.ValueOf(en)
	for i := range a.NumField() {
		if x, ok := reflect.TypeAssert[string](a.Field(i)); ok && strings.Count(x, "%") != strings.Count(b.Field(i).String(), "%") {
			t.Errorf("%s: %q and %q", a.Type().Field(i).Name, x, b.Field(i).String())
		}
	}
}
