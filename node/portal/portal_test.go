package portal_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"preau/node/portal"
	"preau/node/portal/look"
	"preau/node/portal/portaltest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open makes a portal over a world and runs it until the test ends.
func open(t *testing.T, w *portaltest.World, change ...func(*portal.Config, *portal.Parts)) *portal.Portal {
	t.Helper()
	cfg, parts := portal.DefaultConfig(), w.Parts()
	cfg.Title = "École des Tilleuls"
	for _, c := range change {
		c(&cfg, &parts)
	}
	p, err := portal.New(cfg, parts, slog.New(slog.NewTextHandler(t.Output(), nil)), prometheus.NewPedanticRegistry())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	portaltest.Ready(t, p)
	return p
}

// get asks as a browser does; fields are names and values in turn.
func get(t *testing.T, h http.Handler, path string, fields ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
	r.Host = "preau.local"
	r.Header.Set("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
	for i := 0; i+1 < len(fields); i += 2 {
		r.Header.Set(fields[i], fields[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func read(t *testing.T, resp *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestWhatPagesSay(t *testing.T) {
	w := portaltest.New(false)
	p := open(t, w)
	tests := []struct {
		path   string
		status int
		has    []string
		lacks  []string
	}{
		{"/", 200, []string{"<h1>Bonjour !</h1>", "Les volcans", "6e B", "Mathématiques", "Photo de la sortie au jardin", `href="/o/blog/"`, "La ligne fonctionne.", "Autres documents"}, []string{".vtt"}},
		{"/en/", 200, []string{"<h1>Hello!</h1>", "The line works.", `href="/en/l/KMRTA"`, `href="/en/c/Math%C3%A9matiques"`, `action="/en/find"`}, []string{`href="/c/`, "Bonjour"}},
		{"/c/", 200, []string{"Classe de 6e B", "Tout hors ligne", "2 documents"}, nil},
		{"/c/Math%C3%A9matiques", 200, []string{"<h1>Mathématiques</h1>", "7 documents", "Disponible hors ligne", "Arrive à la demande"}, nil},
		{"/c/-", 200, []string{"<h1>Autres documents</h1>", "Charte du numérique"}, nil},
		{"/c/none", 404, []string{"<h1>Cette page n’existe pas ici</h1>"}, nil},
		{"/find?q=L%27EAU+cycle", 200, []string{"1 résultat pour « L&#39;EAU cycle »", "Le cycle de l’eau"}, nil},
		{"/find?q=volcan", 200, []string{"2 résultats", "Un volcan se réveille"}, []string{".vtt"}},
		{"/find?q=%3Cb%3Ezz", 200, []string{"Rien ne correspond à « &lt;b&gt;zz »", "Vérifiez l’orthographe"}, []string{"<b>"}},
		{"/find", 200, []string{"Écrivez un ou plusieurs mots"}, nil},
		{"/see/r/res-000", 200, []string{"<h1 lang=\"fr\">Le cycle de l’eau</h1>", "Télécharger", "2,4 Mo", `href="/r/res-000/cycle-eau.pdf?download"`, "<iframe", "Académie", "CC BY-SA 4.0"}, nil},
		{"/see/r/res-001", 200, []string{"<video", `srclang="fr" label="français" default`, `srclang="en" label="anglais"`}, []string{"<iframe"}},
		{"/en/see/r/res-001", 200, []string{`srclang="en" label="English" default`, "84 MB"}, nil},
		{"/see/r/res-004", 200, []string{`<img src="/r/res-004/coupe.png" alt="Coupe d’un volcan"`}, nil},
		{"/see/r/res-005", 200, []string{"En partie hors ligne", "le reste arrive par la ligne"}, nil},
		{"/see/r/res-013", 200, []string{"C’était un matin d’automne", "<pre"}, nil},
		{"/see/r/res-017", 200, []string{"<audio", "anglais"}, nil},
		{"/see/d/dep-001", 200, []string{"Ajouté dans l’école", "à l’académie", "Ajouté le"}, nil},
		{"/see/r/none", 404, nil, nil},
		{"/see/x/res-000", 404, nil, nil},
		{"/l/KMRTA", 200, []string{"<h1>Les volcans</h1>", `class="light arriving"`, "En route", "prêt vers 09:40", "en direct", `href="https://radio.example/direct" rel="noreferrer"`, `href="/see/o/tube/static/streaming-playlists/hls/film/master.m3u8?lesson=KMRTA"`, `href="/o/blog/volcans/"`}, nil},
		{"/l/kmrta", 200, []string{"<h1>Les volcans</h1>"}, nil},
		{"/l/QQQQQ", 404, []string{"Aucun cours ne porte ce code", `value="QQQQQ"`}, nil},
		{"/l/", 200, []string{"Code du cours"}, []string{"Aucun cours"}},
		{"/see/o/tube/static/streaming-playlists/hls/film/master.m3u8?lesson=KMRTA&token=1", 200, []string{`data-stream="/o/tube/static/streaming-playlists/hls/film/master.m3u8?token=1"`, "hls.min."}, nil},
		{"/see/o/tube/static/streaming-playlists/hls/film/master.m3u8?lesson=KMRTA", 200, []string{"<h1>Film : l’éruption de 2021</h1>"}, nil},
		{"/see/o/tube/film.mp4", 404, nil, nil},
		{"/sites", 200, []string{"blog", `href="/o/blog/volcans/"`, "Rien de ce site"}, nil},
		{"/nowhere", 404, []string{"Retour à l’accueil"}, nil},
	}
	for _, tt := range tests {
		resp := get(t, p, tt.path)
		body := read(t, resp)
		if resp.StatusCode != tt.status {
			t.Errorf("%s: %d, want %d", tt.path, resp.StatusCode, tt.status)
		}
		for _, want := range tt.has {
			if !strings.Contains(body, want) {
				t.Errorf("%s lacks %q", tt.path, want)
			}
		}
		for _, no := range tt.lacks {
			if strings.Contains(body, no) {
				t.Errorf("%s has %q", tt.path, no)
			}
		}
	}
}

func TestTheFirstPageIsSmall(t *testing.T) {
	const budget = 60 << 10
	w := portaltest.New(false)
	w.Crowd(900, 70)
	p := open(t, w)
	for _, coding := range []string{"gzip", "identity"} {
		seen, total := map[string]bool{}, 0
		var load func(path string)
		load = func(path string) {
			if seen[path] {
				return
			}
			seen[path] = true
			resp := get(t, p, path, "Accept-Encoding", coding)
			if resp.StatusCode != http.StatusOK {
				t.Errorf("%s: %d", path, resp.StatusCode)
			}
			raw := read(t, resp)
			total += len(raw)
			if resp.Header.Get("Content-Encoding") == "gzip" {
				z, err := gzip.NewReader(strings.NewReader(raw))
				if err != nil {
					t.Fatal(err)
				}
				plain, err := io.ReadAll(z)
				if err != nil {
					t.Fatal(err)
				}
				raw = string(plain)
			}
			if path == "/" {
				for _, part := range parse(t, raw).loads {
					load(part)
				}
			}
		}
		load("/")
		t.Logf("%s: %d files, %d bytes", coding, len(seen), total)
		if total > budget || len(seen) < 4 {
			t.Errorf("in %s the first page takes %d bytes in %d files, want %d at most", coding, total, len(seen), budget)
		}
	}
}

func TestAPageIsNotSentAgain(t *testing.T) {
	p := open(t, portaltest.New(false))
	first := get(t, p, "/")
	tag := first.Header.Get("Etag")
	again := get(t, p, "/", "If-None-Match", tag)
	if tag == "" || again.StatusCode != http.StatusNotModified || read(t, again) != "" {
		t.Errorf("%q: %d", tag, again.StatusCode)
	}
	if en := get(t, p, "/", "If-None-Match", tag, "Accept-Language", "en"); en.StatusCode != http.StatusOK {
		t.Errorf("in the other language: %d", en.StatusCode)
	}
}

func TestTheLibraryFollowsWhatThereIs(t *testing.T) {
	w := portaltest.New(false)
	p := open(t, w)
	finds := func(q string) bool {
		return strings.Contains(read(t, get(t, p, "/find?q="+url.QueryEscape(q)+"&fresh="+time.Now().Format("150405.000000"))), "résultat")
	}
	w.Add(portal.Entry{Kind: portal.Added, ID: "new-1", Title: "Une girafe au zoo", Filename: "girafe.jpg", ContentType: "image/jpeg", Bytes: 10, Held: 10, At: time.Now()})
	portaltest.Until(t, func() bool { return finds("girafe") })
	if resp := get(t, p, "/see/d/new-1"); resp.StatusCode != http.StatusOK {
		t.Errorf("its page: %d", resp.StatusCode)
	}
	w.Remove(portal.Added, "new-1")
	if resp := get(t, p, "/see/d/new-1?now"); resp.StatusCode != http.StatusGone && resp.StatusCode != http.StatusNotFound {
		t.Errorf("the page on what was taken away: %d", resp.StatusCode)
	}
	portaltest.Until(t, func() bool { return !finds("girafe") })
}

// What the region has changed is looked at by itself: nobody lists a million things
// anew for one.
func TestTheCatalogueIsFollowedOneByOne(t *testing.T) {
	w := portaltest.New(false)
	p := open(t, w)
	find := func(q string) string {
		return read(t, get(t, p, "/find?q="+url.QueryEscape(q)+"&fresh="+time.Now().Format("150405.000000")))
	}
	lists := w.Lists()
	w.Add(portal.Entry{
		Kind: portal.Published, ID: "res-new", Title: "Le tapir", Filename: "t-01.pdf", Description: "Un mammifère d’Amérique, à l’étude en forêt.", Level: "CE2",
		ContentType: "application/pdf", Bytes: 10_000, At: time.Now(),
	})
	portaltest.Until(t, func() bool { return strings.Contains(find("mammifere etude CE2"), "Le tapir") })
	if body := find("tapir"); !strings.Contains(body, "Arrive à la demande") || !strings.Contains(body, "<span>CE2</span>") {
		t.Error("it is not said that it can be had, or for whom it is")
	}
	if body := read(t, get(t, p, "/see/r/res-new")); !strings.Contains(body, "<dt>Niveau</dt><dd>CE2</dd>") {
		t.Error("its page does not say for whom it is")
	}
	w.Fetched(portal.Published, "res-new")
	portaltest.Until(t, func() bool { return strings.Contains(find("tapir"), "Disponible hors ligne") })
	w.Remove(portal.Published, "res-new")
	portaltest.Until(t, func() bool { return strings.Contains(find("tapir"), "Rien ne correspond") })
	if got := w.Lists(); got != lists {
		t.Errorf("all there is was listed %d times more", got-lists)
	}
}

// What can't be fetched is not offered as if it could; what is here comes first.
func TestWhileTheRegionIsAwayWhatIsHereComesFirst(t *testing.T) {
	w := portaltest.New(false)
	p := open(t, w)
	up := parse(t, read(t, get(t, p, "/find?q=calcul+mental")))
	w.Leave()
	body := read(t, get(t, p, "/find?q=calcul+mental&x"))
	now, later, parted := strings.Cut(body, "quand l’académie sera de nouveau joignable")
	if !parted || strings.Contains(body, "Arrive à la demande") || !strings.Contains(body, "3 résultats") {
		t.Errorf("what can't be had is not told apart: %s", body)
	}
	if strings.Contains(now, "Pas encore ici") || strings.Contains(later, "Disponible hors ligne") || up.count["ul.items>li"] != 3 {
		t.Error("what is here and what is not are mixed")
	}
	if body := read(t, get(t, p, "/en/see/r/res-018")); !strings.Contains(body, "it will open when the line is back") {
		t.Error("the page of a thing that can't be had does not say so")
	}
	if body := read(t, get(t, p, "/find?q=jahreszeiten&x")); !strings.Contains(body, "<details open>") || strings.Contains(body, "Vérifiez l’orthographe") {
		t.Error("the only thing that is found is hidden")
	}
}

func TestASourceThatFailsTakesNothingAway(t *testing.T) {
	w := portaltest.New(false)
	p := open(t, w)
	w.Fail(true)
	w.Add(portal.Entry{Kind: portal.Added, ID: "new-2", Title: "Encore", Filename: "x.pdf", ContentType: "application/pdf"}) // has it read again
	if resp := get(t, p, "/see/r/res-000"); resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("%d", resp.StatusCode)
	}
	if body := read(t, get(t, p, "/c/?x")); !strings.Contains(body, "Mathématiques") {
		t.Error("what was known is gone")
	}
	w.Fail(false)
	w.Add(portal.Entry{Kind: portal.Added, ID: "new-3", Title: "Encore", Filename: "y.pdf", ContentType: "application/pdf"})
	portaltest.Until(t, func() bool { return get(t, p, "/see/d/new-2").StatusCode == http.StatusOK })
}

func TestMoreThanTheLibraryMayHave(t *testing.T) {
	w := portaltest.New(false)
	w.Crowd(1200, 70)
	p := open(t, w, func(c *portal.Config, _ *portal.Parts) { c.Most = 500 })
	for _, path := range []string{"/en/", "/en/c/", "/en/find?q=document"} {
		if body := read(t, get(t, p, path)); !strings.Contains(body, "There are more documents than these pages show") {
			t.Errorf("%s does not say that there is more", path)
		}
	}
	if body := read(t, get(t, p, "/find?q=girafe+jardin+sortie")); strings.Contains(body, "1 résultat") {
		t.Error("what is not there is found")
	}
	if body := read(t, get(t, p, "/find?q=sortie+jardin")); !strings.Contains(body, "1 résultat") {
		t.Error("what the school has added itself is pushed out")
	}
}

func TestLongCollectionsHavePages(t *testing.T) {
	w := portaltest.New(true)
	w.Crowd(8*120, 8)
	p := open(t, w)
	first := parse(t, read(t, get(t, p, "/c/Collection%207")))
	second := parse(t, read(t, get(t, p, "/c/Collection%207?page=2")))
	last := parse(t, read(t, get(t, p, "/c/Collection%207?page=99")))
	for name, n := range map[string][2]int{"first": {first.count["ul.items>li"], 50}, "second": {second.count["ul.items>li"], 50}, "last": {last.count["ul.items>li"], 20}} {
		if n[0] != n[1] {
			t.Errorf("the %s page has %d, want %d", name, n[0], n[1])
		}
	}
	if !first.has("/c/Collection%207?page=2") || !second.has("/c/Collection%207") || !second.has("/c/Collection%207?page=3") || last.has("/c/Collection%207?page=4") {
		t.Errorf("links: %v\n%v\n%v", first.links, second.links, last.links)
	}
	if resp := get(t, p, "/c/Collection%207?page=-1"); resp.StatusCode != http.StatusOK {
		t.Errorf("a page that can't be: %d", resp.StatusCode)
	}
}

func TestACutLineIsSaid(t *testing.T) {
	w := portaltest.New(false)
	p := open(t, w)
	now := time.Now()
	morning := time.Date(now.Year(), now.Month(), now.Day(), 0, 0, 1, 0, time.Local)
	for name, tt := range map[string]struct {
		at   time.Time
		want string
	}{
		"today":  {morning, "La ligne est coupée depuis 00:00"},
		"before": {time.Date(2026, 3, 1, 9, 0, 0, 0, time.Local), "La ligne est coupée depuis le dimanche 1er mars 2026"},
	} {
		w.Cut(tt.at)
		if body := read(t, get(t, p, "/?"+name)); !strings.Contains(body, tt.want) {
			t.Errorf("%s: the home page lacks %q", name, tt.want)
		}
	}
	if body := read(t, get(t, p, "/see/r/res-005")); !strings.Contains(body, "la ligne est coupée : il pourra") {
		t.Error("a thing that can't be had does not say so")
	}
	if body := read(t, get(t, p, "/see/r/res-000")); strings.Contains(body, "coupée") {
		t.Error("a thing that is here speaks of the line")
	}
}

func TestThePageIsToldWhenTheLineGoes(t *testing.T) {
	w := portaltest.New(false)
	p := open(t, w)
	s := httptest.NewServer(p)
	defer s.Close()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/en/live/line", nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got := resp.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Fatal(got)
	}
	wait := func(words string) {
		t.Helper()
		var seen bytes.Buffer
		b := make([]byte, 1)
		for !strings.Contains(seen.String(), words) {
			if _, err := resp.Body.Read(b); err != nil {
				t.Fatalf("%v, after %q", err, seen.String())
			}
			seen.Write(b)
		}
	}
	wait("The line works.")
	w.Cut(time.Now())
	wait("The line has been down since")
}

func TestOthersPagesAreMounted(t *testing.T) {
	person := &look.Person{Name: "Une professeure", Role: "teacher"}
	signedIn := func(r *http.Request) *look.Person {
		if r.Header.Get("Cookie") != "" {
			return person
		}
		return nil
	}
	p := open(t, portaltest.New(false), func(_ *portal.Config, parts *portal.Parts) {
		parts.Person = signedIn
		parts.Places = func(r *http.Request) []look.NavItem {
			return []look.NavItem{{To: "/teach/", Label: "T " + string(look.Lang(r)), Icon: "edit"}}
		}
		parts.Mounted = map[string]http.Handler{"/teach/": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, "mounted ", r.URL.Path, " ", look.Path(r, "/x"))
		})}
	})
	if got := read(t, get(t, p, "/en/teach/new")); got != "mounted /teach/new /en/x" {
		t.Errorf("%q", got)
	}
	pupil := get(t, p, "/en/")
	if body := read(t, pupil); !strings.Contains(body, `href="/en/teach/"`) || strings.Contains(body, "Une professeure") {
		t.Error("the pupil's home page has no way to the teachers' pages, or a person")
	}
	teacher := get(t, p, "/en/", "Cookie", "a=b")
	if body := read(t, teacher); !strings.Contains(body, "Une professeure") || teacher.Header.Get("Cache-Control") != "no-store" {
		t.Error("a page for a person is kept, or is not theirs")
	}
	if body := read(t, get(t, p, "/en/")); strings.Contains(body, "Une professeure") {
		t.Error("the next pupil sees who was signed in")
	}
}

func TestALessonsCode(t *testing.T) {
	p := open(t, portaltest.New(false))
	for path, want := range map[string]string{"/l/kmrta.svg": "image/svg+xml", "/l/KMRTA.png": "image/png"} {
		if resp := get(t, p, path); resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != want {
			t.Errorf("%s: %d %s", path, resp.StatusCode, resp.Header.Get("Content-Type"))
		}
	}
	for _, path := range []string{"/l/NONE.svg", "/l/.png"} {
		if resp := get(t, p, path); resp.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %d", path, resp.StatusCode)
		}
	}
	if resp := get(t, p, "/en/l/?code=kmr+ta"); resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") != "/en/l/KMRTA" {
		t.Errorf("%d %s", resp.StatusCode, resp.Header.Get("Location"))
	}
	none := open(t, portaltest.New(false), func(_ *portal.Config, parts *portal.Parts) { parts.Lessons = nil })
	for _, path := range []string{"/l/", "/l/KMRTA", "/l/KMRTA.svg"} {
		if resp := get(t, none, path); resp.StatusCode != http.StatusNotFound {
			t.Errorf("where there are no lessons, %s: %d", path, resp.StatusCode)
		}
	}
}

func TestAPortalOfNothing(t *testing.T) {
	p := open(t, portaltest.New(true), func(_ *portal.Config, parts *portal.Parts) {
		*parts = portal.Parts{Files: parts.Files}
	})
	for path, want := range map[string]int{"/": 200, "/c/": 200, "/find?q=x": 200, "/sites": 404, "/live/line": 404, "/see/r/x": 404, "/see/o/a/b.m3u8": 404} {
		if resp := get(t, p, path); resp.StatusCode != want {
			t.Errorf("%s: %d, want %d", path, resp.StatusCode, want)
		}
	}
	if body := read(t, get(t, p, "/")); !strings.Contains(body, "La boîte est encore vide") {
		t.Error("an empty box does not say what to do")
	}
}

func TestConfig(t *testing.T) {
	for name, tt := range map[string]struct {
		cfg  portal.Config
		fine bool
	}{
		"the default":  {portal.DefaultConfig(), true},
		"no title":     {portal.Config{Enabled: true, Most: 1}, false},
		"a long title": {portal.Config{Enabled: true, Title: strings.Repeat("é", 61), Most: 1}, false},
		"nothing kept": {portal.Config{Enabled: true, Title: "É"}, false},
		"not there":    {portal.Config{}, true},
	} {
		if err := tt.cfg.Validate(); (err == nil) != tt.fine {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := portal.New(portal.DefaultConfig(), portal.Parts{}, slog.New(slog.DiscardHandler), prometheus.NewRegistry()); err == nil {
		t.Error("a portal without files is made")
	}
}
