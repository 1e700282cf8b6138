package school

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"preau/cache/page"
	"preau/cache/page/pagetest"
	"preau/node/portal/look"
	"preau/node/usage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestWordsAreComplete(t *testing.T) {
	t.Parallel()
	pagetest.Complete(t, words, "Version")
}

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.Local)

// healthy is a box with which all is well.
func healthy() State {
	return State{
		Now:   noon,
		Box:   Box{Name: "box-a", School: "0690001A", Region: "Lyon", Version: "1", Enrolled: true, Server: "s1", Since: noon.Add(-time.Hour), Certificate: noon.AddDate(0, 3, 0)},
		Sites: []Site{{"cloud", true, time.Time{}}, {"tube", true, time.Time{}}},
		Disk:  Disk{Used: 12e9, Budget: 40e9}, Held: 312, Pooled: true,
		Neighbours: []Neighbour{{Name: "box-b", There: true, Free: 1e9, Given: 2e6, Taken: 3e6}},
	}
}

func TestWhatIsSaidOfABox(t *testing.T) {
	t.Parallel()
	since := noon.Add(-2*time.Hour - 48*time.Minute)
	tests := map[string]struct {
		change func(s *State)
		level  string // of the first sentence
		says   string // by it
		fr     string
	}{
		"all is well":  {func(*State) {}, good, "The line works. 312 resources stay available", "312 ressources restent disponibles"},
		"one resource": {func(s *State) { s.Held = 1 }, good, "1 resource stays", "1 ressource reste"},
		"none":         {func(s *State) { s.Held = 0 }, good, "0 resources stay", "0 ressource reste"},
		"the line is cut": {func(s *State) {
			s.Box.Server = ""
			s.Sites = []Site{{"cloud", false, since.Add(time.Minute)}, {"tube", false, since}}
		}, bad, "The line has been cut since 09:12. 312 resources stay available", "coupée depuis 09:12."},
		"since yesterday": {func(s *State) {
			s.Box.Server = ""
			s.Sites = []Site{{"cloud", false, since.AddDate(0, 0, -1)}}
		}, bad, "since Sunday 22 November 2026, 09:12", "dimanche 22 novembre 2026, 09:12"},
		"one site is away":         {func(s *State) { s.Sites[0].Up = false }, warn, "a site does not answer: cloud", "un site ne répond pas : cloud"},
		"sites away, region there": {func(s *State) { s.Sites[0].Up, s.Sites[1].Up = false, false }, warn, "cloud, tube", "cloud, tube"},
		"the region is away":       {func(s *State) { s.Box.Server = "" }, warn, "The region does not answer", "La région ne répond pas"},
		"no part in the region":    {func(s *State) { s.Box.Problem = "revoked" }, bad, "can’t take part", "ne peut pas se joindre"},
		"not enrolled":             {func(s *State) { s.Box = Box{Version: "1"} }, info, "belongs to no region", "n’appartient à aucune région"},
		"a certificate lapses":     {func(s *State) { s.Box.Certificate = noon.AddDate(0, 0, 9) }, warn, "lapses on Wednesday 2 December 2026", "expire le mercredi 2 décembre 2026"},
		"a certificate lapsed":     {func(s *State) { s.Box.Certificate = noon.AddDate(0, 0, -1) }, bad, "has lapsed", "a expiré"},
		"the disk is full":         {func(s *State) { s.Disk.Full = true }, bad, "disk is full", "disque est plein"},
		"the disk is locked":       {func(s *State) { s.Box.WithoutDisk = "tpm" }, bad, "locked by another main board", "verrouillé par une autre carte mère"},
		"the disk is dead":         {func(s *State) { s.Box.WithoutDisk = "disk" }, bad, "can’t be read", "ne peut pas être lu"},
		"a version was given up":   {func(s *State) { s.Box.GivenUp = []string{"1.2.0"} }, warn, "The update 1.2.0 did not start well", "La mise à jour 1.2.0 n’a pas bien démarré"},
		"files wait":               {func(s *State) { s.Deposits = Deposits{Count: 3, Bytes: 12e8} }, info, "3 files that were added here (1.2 GB) are not", "3 fichiers ajoutés ici (1,2 Go)"},
		"nothing can be added":     {func(s *State) { s.Deposits.Closed = true }, warn, "Nothing can be added", "Rien ne peut être ajouté"},
		"alone":                    {func(s *State) { s.Neighbours = nil }, info, "the only box", "la seule boîte"},
		"a neighbour is ill":       {func(s *State) { s.Neighbours[0].Problem = "sent other bytes" }, warn, "has a problem", "a un problème"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := healthy()
			tt.change(&s)
			for lang, says := range map[page.Lang]string{page.English: tt.says, page.French: tt.fr} {
				all := tell(s, lang)
				if first := all[0]; first.Level != tt.level || !strings.Contains(first.Text, says) {
					t.Errorf("it says %+v", first)
				}
				for _, one := range all {
					if strings.Contains(one.Text, "%!") || look.Icon(one.Icon) == "" {
						t.Errorf("broken: %+v", one)
					}
				}
			}
		})
	}
}

// pages are the admin's pages of a box, as a browser gets them.
func pages(t *testing.T, s State, bins []usage.Bin, binsErr error, actions func(int) ([]Action, error)) http.Handler {
	t.Helper()
	live := look.NewLive(4)
	t.Cleanup(live.Close)
	p, err := New(Sources{
		State:   func(context.Context) State { return s },
		Bins:    func(time.Time, time.Time) ([]usage.Bin, error) { return bins, binsErr },
		Actions: actions,
	}, live, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return look.In(look.House{}, look.Spoken(p))
}

func get(t *testing.T, h http.Handler, path string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
	r.Header.Set("Accept", "text/html")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// day is a day of quarters with some of them used.
func day(used map[int]usage.Totals) (out []usage.Bin) {
	from := time.Date(2026, 11, 23, 0, 0, 0, 0, time.Local)
	for i := range quarters {
		out = append(out, usage.Bin{From: from.Add(time.Duration(i) * usage.Quarter), Totals: used[i]})
	}
	return out
}

func TestThePageOfABox(t *testing.T) {
	t.Parallel()
	s := healthy()
	s.Lessons = []Lesson{{Title: "Les <volcans>", Class: "5e B", Path: "/teach/lessons/1", At: noon.Add(time.Hour), Ready: 3, Coming: 1, Cannot: 1}}
	s.Deposits = Deposits{Count: 1, Bytes: 10, First: []Deposit{{Title: "Carte", Bytes: 10, At: noon, InRegion: true, Waiting: page.Both[string]{French: "le centre est loin", English: "the centre is away"}}}}
	s.Background = Background{Rate: 1e6, Hours: []Hours{{From: 22 * 60, To: 6 * 60}}}
	h := pages(t, s, day(map[int]usage.Totals{32: {Line: 2e8, Sent: 3e9}, 33: {Line: 1e6, Sent: 4e9}}), nil, nil)
	for path, wants := range map[string][]string{
		"/en/school/":                {"How the box is", "Les &lt;volcans&gt;", "8:00–9:00", "6.8 GB", "97 %", "in the region", "box-b", `class="bar-of-day"`, `class="budget"`, "Tinted", `data-live="/en/school/live"`, "the centre is away"},
		"/fr/school/":                {"L’état de la boîte", "8 h–9 h", "6,8 Go", "97 %", "dans la région", "le centre est loin", "5e B"},
		"/en/school/?day=2026-11-21": {"Saturday 21 November 2026", "Day after"},
		"/en/school/?day=2030-01-01": {"Monday 23 November 2026"},
		"/en/school/?day=nonsense":   {"Monday 23 November 2026"},
		"/en/school/log":             {"Log of actions", "Nothing has been noted"},
	} {
		w := get(t, h, path)
		body := w.Body.String()
		if w.Code != http.StatusOK || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %v", path, w.Code, w.Header())
		}
		for _, want := range wants {
			if !strings.Contains(body, want) {
				t.Errorf("%s does not say %q", path, want)
			}
		}
		if inline := regexp.MustCompile(`(?i)\sstyle=|<script(?:\s[^>]*)?>[^<]|\son[a-z]+=`).FindString(body); inline != "" {
			t.Errorf("%s has what the policy forbids: %q", path, inline)
		}
	}
	if w := get(t, h, "/en/school/nothing"); w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), "no such page") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestWithoutFiguresThePageIsThere(t *testing.T) {
	t.Parallel()
	w := get(t, pages(t, healthy(), nil, errors.New("no disk"), nil), "/en/school/")
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "Nothing came over the line") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestTheLogOfActions(t *testing.T) {
	t.Parallel()
	h := pages(t, healthy(), nil, nil, func(int) ([]Action, error) {
		return []Action{{noon, "Ada <admin>", page.Both[string]{French: "badge de Grace", English: "badge for Grace"}}}, nil
	})
	if w := get(t, h, "/en/school/log"); !strings.Contains(w.Body.String(), "Ada &lt;admin&gt;") || !strings.Contains(w.Body.String(), "badge for Grace") {
		t.Errorf("%s", w.Body)
	}
	h = pages(t, healthy(), nil, nil, func(int) ([]Action, error) { return nil, errors.New("damaged") })
	if w := get(t, h, "/en/school/log"); w.Code != http.StatusServiceUnavailable {
		t.Errorf("%d", w.Code)
	}
}

func TestWhatChangesIsStreamed(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(pages(t, healthy(), nil, nil, nil))
	t.Cleanup(server.Close)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/en/school/live", nil)
	if err != nil {
		t.Fatal(err)
	}
	client := server.Client()
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		cancel()
		_ = resp.Body.Close()
		client.CloseIdleConnections()
	}()
	var got strings.Builder
	for buf := make([]byte, 4096); !strings.Contains(got.String(), `id="boxes"`); {
		n, err := resp.Body.Read(buf)
		got.Write(buf[:n])
		if err != nil {
			t.Fatal(err, got.String())
		}
	}
	if !strings.Contains(got.String(), `id="state"`) || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Error(got.String())
	}
}

func TestADayIsDrawn(t *testing.T) {
	t.Parallel()
	d := draw(noon.Add(-12*time.Hour), noon.Add(-12*time.Hour), day(map[int]usage.Totals{0: {Line: 1}, 95: {Line: 9e8, Sent: 1}}),
		Background{Rate: 1e6, Hours: []Hours{{60, 120}, {1380, 60}, {5, 5}}}, page.French)
	switch {
	case len(d.Bars) != 2 || d.Bars[0].Height != 1 || d.Bars[1].Height != chartHeight || d.Bars[1].X+d.Bars[1].Width > chartWidth:
		t.Errorf("bars: %+v", d.Bars)
	case d.Budget != 0: // 1 MB/s for a quarter of an hour is 900 MB
		t.Errorf("the budget is drawn at %v", d.Budget)
	case len(d.Allowed) != 3 || d.Allowed[1].X != 1380*chartWidth/1440.0 || d.Allowed[2].Width != 40:
		t.Errorf("bands: %+v", d.Allowed)
	case d.Percent != 0 || d.Next != "" || d.Previous != "2026-11-22" || len(d.Rows) != 2:
		t.Errorf("%+v", d)
	}
	// A day of 25 hours, when clocks go back.
	long := append(day(nil), day(map[int]usage.Totals{0: {Line: 5}})[:4]...)
	if d := draw(noon, noon, long, Background{}, page.English); len(d.Bars) != 0 || len(d.Rows) != 1 || d.Rows[0].From != "24:00–25:00" {
		t.Errorf("%+v", d)
	}
}
