package box

import (
	"cmp"
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"preau/cache/shelf"
	"preau/node/config"
	"preau/node/follow"
	"preau/node/front"
	"preau/node/listen"
	"preau/node/obs"
	"preau/node/portal"
	"preau/node/upload"
)

// opened is a box that is made and not run, with its door's handler.
func openedBoxWith(t *testing.T, change func(*Config)) *Box {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Data, cfg.Budget, cfg.Admin.Listen, cfg.Public.Name = t.TempDir(), 64*config.MiB, "127.0.0.1:0", "box-1.example.org"
	cfg.Listen = []listen.Config{{Address: "127.0.0.1:0"}}
	change(&cfg)
	log, err := obs.NewLogger(t.Output(), obs.DefaultLog())
	if err != nil {
		t.Fatal(err)
	}
	b, err := New(t.Context(), cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return b
}

func siteOf(upstream string, hosts ...string) front.Site {
	var s front.Site
	s.SetDefaults()
	s.Name, s.Upstream, s.Hosts, s.PrivateAddresses = "library", upstream, hosts, true
	return s
}

// askBox asks under a host name and returns the status and the body.
func askBox(t *testing.T, b *Box, host, path string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+b.Addrs()[0].String()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = host
	r.Header.Set("Accept", "text/html")
	r.Header.Set("Accept-Language", "fr")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

const siteSays = "the site itself"

func site(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, siteSays) }))
	t.Cleanup(s.Close)
	return s.URL
}

func TestWhereThePortalIs(t *testing.T) {
	upstream := site(t)
	tests := map[string]struct {
		hosts   []string
		enabled bool
		portal  map[string]bool // by host name: the portal is at /
	}{
		"a site of its own name": {[]string{"library.example"}, true, map[string]bool{
			"library.example": false, "preau.local": true, "BOX-1.example.org:80": true, "192.0.2.7": true, "other.example": true,
		}},
		"a site of all names": {[]string{"*"}, true, map[string]bool{
			"library.example": false, "preau.local:8080": true, "preau.localhost:8081": true, "localhost": false, "school-7.local.": true, "box-1.example.org": true, "192.0.2.7": false, "local": false,
		}},
		"no portal": {[]string{"library.example"}, false, map[string]bool{"preau.local": false, "library.example": false}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := openedBoxWith(t, func(c *Config) {
				c.Portal.Enabled, c.Portal.Title, c.Site = tt.enabled, "École des Tilleuls", []front.Site{siteOf(upstream, tt.hosts...)}
			})
			for host, want := range tt.portal {
				_, body := askBox(t, b, host, "/")
				if got := strings.Contains(body, "École des Tilleuls"); got != want {
					t.Errorf("%s: the portal: %v, want %v", host, got, want)
				}
			}
			if !tt.enabled {
				return
			}
			if _, body := askBox(t, b, "preau.local", "/o/library/x"); body != siteSays {
				t.Errorf("a site below /o/ on the box's own name: %q", body)
			}
			if status, body := askBox(t, b, "preau.local", "/sites"); status != http.StatusOK || !strings.Contains(body, `href="/o/library/"`) {
				t.Errorf("the list of sites: %d", status)
			}
			if status, body := askBox(t, b, "preau.local", "/d/"); status != http.StatusOK || !strings.Contains(body, "<h1>") {
				t.Errorf("the list of deposits: %d", status)
			}
		})
	}
}

// A pupil whose site is away is led to what is here.
func TestASiteThatIsAwayLeadsHome(t *testing.T) {
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	b := openedBoxWith(t, func(c *Config) { c.Site = []front.Site{siteOf(gone.URL, "library.example")} })
	const link = `<a href="/">Voir ce qui est sur la boîte`
	if status, body := askBox(t, b, "preau.local", "/o/library/x"); status != http.StatusGatewayTimeout || !strings.Contains(body, link) {
		t.Errorf("on the box's own name: %d %s", status, body)
	}
	// The first page of the site's own host is the site's. This box has neither a
	// secure address nor neighbours, and so no name that is sure to lead to it.
	if status, body := askBox(t, b, "library.example", "/x"); status != http.StatusGatewayTimeout || strings.Contains(body, "Voir ce qui est") {
		t.Errorf("on the site's name: %d %s", status, body)
	}
}

func TestThePortalShowsWhatWasAdded(t *testing.T) {
	b := openedBoxWith(t, func(c *Config) { c.Site = []front.Site{siteOf(site(t), "library.example")} })
	_, box, leave, ok := b.deposits.use(t.Context())
	if !ok {
		t.Fatal("nothing can be added")
	}
	text := "C’était un matin d’automne."
	leave()
	id, err := uploadTo{b.deposits}.Add(t.Context(), upload.Meta{
		Filename: "conte.txt", ContentType: "text/plain; charset=utf-8", Title: "Un conte d’été", Description: "À lire à deux.", Collection: "CM2/A", Licence: "CC BY-NC-SA 4.0",
	}, int64(len(text)), strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	d, err := box.Look(id)
	if err != nil {
		t.Fatal(err)
	}
	if got := addedEntry(d); got.Licence != "CC BY-NC-SA 4.0" || got.Description != "À lire à deux." {
		t.Errorf("it says %q, under the licence %q", got.Description, got.Licence)
	}
	until(t, func() bool {
		_, body := askBox(t, b, "preau.local", "/")
		return strings.Contains(body, "Un conte d’été")
	})
	for path, want := range map[string]string{
		"/find?q=conte+ete": `href="/see/d/` + d.ID + `"`, "/c/CM2%2FA": "Un conte d’été", "/see/d/" + d.ID: text, "/d/" + d.ID + "/conte.txt": text,
	} {
		if status, body := askBox(t, b, "preau.local", path); status != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%s: %d, without %q", path, status, want)
		}
	}
	if status, _ := askBox(t, b, "preau.local", "/see/d/none"); status != http.StatusNotFound {
		t.Errorf("a deposit that is not there: %d", status)
	}
}

// until waits for something that will be so in a moment.
func until(t *testing.T, so func() bool) {
	t.Helper()
	over := time.Now().Add(time.Minute)
	for !so() {
		if time.Now().After(over) {
			t.Fatal("it is not so after a minute")
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// library is what is published, in the order of its ids; since is what has changed
// of it since the mark 1.
type library struct {
	books  map[string]follow.Listed
	gone   map[string]error
	since  []string
	server string
}

func (l *library) Catalogue(_ context.Context, after string, most int) (list []follow.Listed, next string, err error) {
	for _, id := range slices.Sorted(maps.Keys(l.books)) {
		switch {
		case id <= after:
		case len(list) == min(most, 3):
			return list, list[2].ID, nil
		default:
			list = append(list, l.books[id])
		}
	}
	return list, "", nil
}

func (l *library) Listed(id string) (follow.Listed, error) {
	if b, ok := l.books[id]; ok {
		return b, nil
	}
	return follow.Listed{}, cmp.Or(l.gone[id], shelf.ErrUnknown)
}

func (l *library) Published() (changed <-chan struct{}, stop func()) { return nil, func() {} }

func (l *library) PublishedSince(mark uint64) (ids []string, now uint64, known bool) {
	return l.since, 2, mark == 1
}

func (l *library) Connected() (server string, since time.Time) { return l.server, time.Time{} }

func TestWhatIsPublishedIsReadFromTheCatalogue(t *testing.T) {
	books := &library{books: map[string]follow.Listed{}, gone: map[string]error{"res-7": shelf.ErrGone, "res-8": errors.New("the disk")}, since: []string{"res-1"}}
	for i := range 7 {
		id := "res-" + strconv.Itoa(i)
		books.books[id] = follow.Listed{Held: 4, Item: shelf.Item{
			ID: id, Collection: "L’été", Title: "Livre " + strconv.Itoa(i), Filename: "un livre, n° " + strconv.Itoa(i) + ".pdf", ContentType: "application/pdf", Length: 9,
			Description: "Un conte.\nLong.", Language: "fr", Level: "CM2", Licence: "CC0", ModTime: time.Unix(1e9, 0).UTC(),
		}}
	}
	things := publishedThings{func() published { return books }}
	var all []portal.Entry
	after, parts := "", 0
	for {
		entries, next, err := things.List(t.Context(), after)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, entries...)
		parts++
		if after = next; next == "" {
			break
		}
	}
	if len(all) != 7 || parts != 3 {
		t.Fatalf("%d things in %d parts", len(all), parts)
	}
	want := portal.Entry{
		Kind: portal.Published, ID: "res-6", Title: "Livre 6", Filename: "un livre, n° 6.pdf", Description: "Un conte.\nLong.", Collection: "L’été", ContentType: "application/pdf",
		Language: "fr", Level: "CM2", Licence: "CC0", Bytes: 9, Held: 4, At: time.Unix(1e9, 0).UTC(),
	}
	if all[6] != want {
		t.Errorf("%+v\nwant %+v", all[6], want)
	}
	for name, tt := range map[string]struct {
		was portal.Entry
		err error
	}{
		"there":         {all[0], nil},
		"taken back":    {portal.Entry{ID: "res-9", Title: "Livre 9"}, portal.ErrGone},
		"expired":       {portal.Entry{ID: "res-7"}, portal.ErrGone},
		"never there":   {portal.Entry{ID: "res-9"}, portal.ErrNone},
		"not to be had": {portal.Entry{ID: "res-8"}, books.gone["res-8"]},
	} {
		if got, err := things.Look(t.Context(), tt.was); !errors.Is(err, tt.err) || got != tt.was {
			t.Errorf("%s: %v, want %v", name, err, tt.err)
		}
	}
	if ids, now, known := things.Since(1); len(ids) != 1 || now != 2 || !known {
		t.Errorf("%v %d %v", ids, now, known)
	}
	if things.Reach() {
		t.Error("a region that is away is within reach")
	}
	if books.server = "s1"; !things.Reach() {
		t.Error("a region that is there is out of reach")
	}
}

func TestBeforeTheRegionIsKnownNothingIsPublished(t *testing.T) {
	things := publishedThings{(&membership{}).catalogue}
	if entries, next, err := things.List(t.Context(), ""); len(entries) != 0 || next != "" || err != nil {
		t.Errorf("%v %q %v", entries, next, err)
	}
	if _, err := things.Look(t.Context(), portal.Entry{ID: "x"}); !errors.Is(err, portal.ErrNone) {
		t.Error(err)
	}
	if c, stop := things.Watch(); c != nil || things.Reach() {
		t.Error("it is watched, or within reach")
	} else {
		stop()
	}
}

// Sites that nobody asks say nothing of a line that is cut: when the region is
// gone they are asked, and what they said before does not count for long.
func TestSitesAreAskedWhenTheRegionIsGone(t *testing.T) {
	at := func(h int) time.Time { return time.Date(2026, 11, 23, h, 0, 0, 0, time.UTC) }
	for name, tt := range map[string]struct {
		server  string
		since   time.Time
		follows bool
		want    time.Time // zero: nobody is asked
	}{
		"no region":      {"", time.Time{}, false, time.Time{}},
		"there":          {"s1", at(8), true, time.Time{}},
		"gone":           {"", at(9), true, at(9)},
		"not met as yet": {"", time.Time{}, true, at(7)},
	} {
		var asked time.Time
		l := &lines{
			states: func() []front.SiteState { return nil }, doubt: func(since time.Time) { asked = since }, began: at(7),
			connected: func() (string, time.Time, bool) { return tt.server, tt.since, tt.follows },
		}
		if got := l.Line(); got.Up != (tt.server != "") || got.Known != !tt.since.IsZero() {
			t.Errorf("%s: %+v", name, got)
		}
		if !asked.Equal(tt.want) {
			t.Errorf("%s: asked for news since %v, want %v", name, asked, tt.want)
		}
	}
}

func TestTheLineInWords(t *testing.T) {
	at := func(h int) time.Time { return time.Date(2026, 11, 23, h, 0, 0, 0, time.UTC) }
	tests := map[string]struct {
		sites []front.SiteState
		known bool
		up    bool
		since time.Time
	}{
		"no site":                     {nil, false, false, time.Time{}},
		"all up":                      {[]front.SiteState{{Up: true, Since: at(8)}, {Up: true, Since: at(9)}}, true, true, at(9)},
		"one down":                    {[]front.SiteState{{Since: at(8)}, {Up: true, Since: at(7)}}, true, true, at(7)},
		"all down, since the last":    {[]front.SiteState{{Since: at(9)}, {Since: at(10)}, {Since: at(8)}}, true, false, at(10)},
		"one that was not asked":      {[]front.SiteState{{Up: true}}, true, true, time.Time{}},
		"down for who knows how long": {[]front.SiteState{{}}, true, false, time.Time{}},
	}
	for name, tt := range tests {
		l := &lines{states: func() []front.SiteState { return tt.sites }, connected: (&membership{}).connected}
		if got := l.Line(); got.Known != tt.known || got.Up != tt.up || !got.Since.Equal(tt.since) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
