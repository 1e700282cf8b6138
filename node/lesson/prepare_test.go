package lesson_test

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"preau/cache/upstream"
	"preau/node/lesson"
)

func TestEachLinkGetsItsLightAndTheReason(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	cloud, tube, blog, plain := s.servers["cloud"].URL, s.servers["tube"].URL, s.servers["blog"].URL, s.servers["plain"].URL
	id := s.tube.UUID("public")
	share := func(name string) string { return cloud + "/s/" + s.cloud.Token(name) }
	tests := []struct {
		link   string
		light  lesson.Light
		reason lesson.Reason
		title  string
	}{
		{share("file"), lesson.Ready, "", ""},
		{cloud + "/index.php/s/" + s.cloud.Token("folder") + "/", lesson.Ready, "", ""},
		{share("file") + "/download", lesson.Ready, "", ""},
		{share("locked"), lesson.Cannot, lesson.ReasonPassword, ""},
		{share("hidden"), lesson.Cannot, lesson.ReasonHidden, ""},
		{share("counted"), lesson.Cannot, lesson.ReasonCounted, ""},
		{cloud + "/s/TkNeverThere123", lesson.Cannot, lesson.ReasonGone, ""},
		{cloud + "/remote.php/dav/files/ann/a.pdf", lesson.Cannot, lesson.ReasonPrivate, ""},
		{tube + "/w/public-1", lesson.Ready, "", "Le cycle de l’eau"},
		{tube + "/videos/watch/public-1", lesson.Ready, "", "Le cycle de l’eau"},
		{tube + "/static/streaming-playlists/hls/" + id + "/" + s.tube.Files(id) + "-master.m3u8", lesson.Ready, "", ""},
		{tube + "/static/web-videos/" + s.tube.Files(id) + "-720.mp4", lesson.Ready, "", ""},
		{tube + "/w/live-1", lesson.Cannot, lesson.ReasonLive, "Le cycle de l’eau"},
		{tube + "/w/private-1", lesson.Cannot, lesson.ReasonPrivate, "Le cycle de l’eau"},
		{tube + "/w/locked-1", lesson.Cannot, lesson.ReasonPassword, ""},
		{tube + "/w/nothing-1", lesson.Cannot, lesson.ReasonGone, ""},
		{blog + "/2026/11/sortie/", lesson.Ready, "", "La sortie"},
		{blog + "/elsewhere/", lesson.Ready, lesson.ReasonPartly, "Ailleurs"},
		{blog + "/never/", lesson.Cannot, lesson.ReasonGone, ""},
		{blog + "/wp-admin/", lesson.Cannot, lesson.ReasonGone, ""},
		{s.servers["meet"].URL + "/http-bind", lesson.Cannot, lesson.ReasonLive, ""},
		{plain + "/here", lesson.Ready, "", ""},
		{strings.TrimPrefix(plain, "http://") + "/there", lesson.Ready, "", ""},
		{"/o/plain/here", lesson.Ready, "", ""},
		{plain + "/moved", lesson.Ready, "", ""},
		{plain + "/away", lesson.Cannot, lesson.ReasonNotSite, ""},
		{plain + "/round", lesson.Waiting, lesson.ReasonTrouble, ""},
		{plain + "/login", lesson.Cannot, lesson.ReasonPrivate, ""},
		{plain + "/private", lesson.Cannot, lesson.ReasonPrivate, ""},
		{plain + "/no-store", lesson.Cannot, lesson.ReasonNever, ""},
		{plain + "/forbidden", lesson.Cannot, lesson.ReasonPrivate, ""},
		{plain + "/gone", lesson.Cannot, lesson.ReasonGone, ""},
		{plain + "/trouble", lesson.Waiting, lesson.ReasonTrouble, ""},
		{plain + "/big", lesson.Ready, "", ""},
		{"https://elsewhere.example/a", lesson.Cannot, lesson.ReasonNotSite, ""},
		{"ftp://elsewhere.example/a", lesson.Cannot, lesson.ReasonNoLink, ""},
		{plain + "/../etc", lesson.Cannot, lesson.ReasonNoLink, ""},
	}
	var links []string
	for _, test := range tests {
		links = append(links, test.link)
	}
	l := s.create(links...)
	p := s.prepares(nil)
	states := until(t, p, l, settled)
	for i, test := range tests {
		st := states[i]
		if st.Light != test.light || st.Reason != test.reason || test.title != "" && st.Title != test.title {
			t.Errorf("%s: %s %q %q, want %s %q %q", test.link, st.Light, st.Reason, st.Title, test.light, test.reason, test.title)
		}
		if st.Light == lesson.Ready && (st.Bytes <= 0 || st.Have != st.Bytes) {
			t.Errorf("%s is ready with %d of %d bytes", test.link, st.Have, st.Bytes)
		}
	}
	if got := states[8]; !got.Video || !strings.HasSuffix(got.URL, "-480.m3u8") || states[11].Video {
		t.Errorf("videos: %+v", got)
	}
	if len(s.pins.all()) < 15 {
		t.Errorf("kept is %+v", s.pins.all())
	}
	// Nothing but the sites is reached any more: what is said to be ready is.
	for _, server := range s.servers {
		server.CloseClientConnections()
		server.Close()
	}
	for i, test := range tests {
		if st := states[i]; st.Light == lesson.Ready {
			if status, body := s.device(st.URL); status != 200 && status != 302 || body == "" {
				t.Errorf("%s is ready, and without the line %s is %d", test.link, st.URL, status)
			}
		}
	}
	for _, path := range []string{"/wp-content/uploads/a.png", "/wp-content/uploads/b.png", "/wp-content/uploads/c.png", "/wp-content/themes/x/style.css?ver=1", "/wp-includes/js/a.js"} {
		if status, _ := s.device("/o/blog" + path); status != 200 {
			t.Errorf("%s of the page: %d", path, status)
		}
	}
	hls := "/o/tube/static/streaming-playlists/hls/" + id + "/" + s.tube.Files(id)
	for name, want := range map[string]int{"-480-fragmented.mp4": 200, "-480.m3u8": 200, "-master.m3u8": 200} {
		if status, _ := s.device(hls + name); status != want {
			t.Errorf("%s: %d, want %d", name, status, want)
		}
	}
	if status, _ := s.device(hls + "-720-fragmented.mp4"); status == 200 {
		t.Error("two sizes of a video were brought")
	}
}

func TestWhatIsTooBigForTheBoxIsNotBegun(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	s.pins.room = 1 << 20
	l := s.create(s.servers["plain"].URL+"/big", s.servers["plain"].URL+"/here")
	states := until(t, s.prepares(nil), l, settled)
	if states[0].Light != lesson.Cannot || states[0].Reason != lesson.ReasonSpace || states[1].Light != lesson.Ready {
		t.Errorf("%+v", states)
	}
}

func TestOutsideTheHoursOnlyALookIsTaken(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	s.line.set(func() { s.line.open = false })
	l := s.create(s.servers["plain"].URL+"/big", s.servers["plain"].URL+"/here", "https://elsewhere.example/")
	p := s.prepares(nil)
	states := until(t, p, l, func(all []lesson.State) bool {
		return all[0].Reason == lesson.ReasonHours && all[0].Bytes >= 0 && all[1].Light == lesson.Ready && all[2].Light == lesson.Cannot
	})
	if st := states[0]; st.Light != lesson.Waiting || st.Bytes != bigLength || !st.ReadyAt.IsZero() {
		t.Errorf("%+v", st)
	}
	s.line.set(func() { s.line.open, s.line.talking = true, true })
	until(t, p, l, func(all []lesson.State) bool { return all[0].Reason == lesson.ReasonTalking })
	s.line.set(func() { s.line.talking = false })
	until(t, p, l, func(all []lesson.State) bool { return all[0].Light == lesson.Ready && all[0].Have == bigLength })
	s.line.set(func() {
		if s.line.waited < bigLength/2 {
			t.Errorf("%d bytes were counted against the rate", s.line.waited)
		}
	})
}

// begunAtPace is a lesson's large file of which 512 KiB have come, and no more may.
func begunAtPace(t *testing.T) (*school, *lesson.Preparer, lesson.Lesson) {
	t.Helper()
	s := newSchool(t)
	s.line.set(func() {
		s.line.rate, s.line.most, s.line.more, s.line.over = 100_000, 512<<10, make(chan struct{}), make(chan struct{})
	})
	l := s.create(s.servers["plain"].URL + "/big")
	p := s.prepares(nil)
	select {
	case <-s.line.over:
	case <-time.After(time.Minute):
		t.Fatalf("nothing comes at a pace: %+v", p.States(l))
	}
	s.line.set(func() {
		if s.line.waited > s.line.most+256<<10 {
			t.Errorf("%d bytes came at once", s.line.waited)
		}
	})
	if st := p.States(l)[0]; st.Light == lesson.Ready || st.Have >= bigLength {
		t.Errorf("it stands at %+v", st)
	}
	return s, p, l
}

func TestWhatIsFetchedAheadComesAtTheLinesRate(t *testing.T) {
	t.Parallel()
	s, p, l := begunAtPace(t)
	close(s.line.more)
	until(t, p, l, settled)
	s.line.set(func() {
		if s.line.waited < bigLength/2 || s.line.waited > bigLength+1<<20 {
			t.Errorf("%d bytes were counted against the rate, of %d", s.line.waited, bigLength)
		}
	})
}

// A pupil who opens what is on its way for a lesson waits for no rate.
func TestWhatAPupilAsksForIsFetchedAtOnce(t *testing.T) {
	t.Parallel()
	s, p, l := begunAtPace(t)
	if status, body := s.device("/o/plain/big"); status != http.StatusOK || len(body) != bigLength {
		t.Errorf("%d, %d bytes", status, len(body))
	}
	close(s.line.more) // only now could it have come for the lesson
	until(t, p, l, settled)
}

// What another box fetches can't be held back here, so it is asked for in parts.
// haltingWriter sends so many bytes, and the rest once it may.
type haltingWriter struct {
	http.ResponseWriter
	room int
	may  <-chan struct{}
	ctx  context.Context //nolint:containedctx // of the one request that it answers
}

func (w *haltingWriter) Write(p []byte) (n int, err error) {
	if len(p) > w.room {
		if n, err = w.ResponseWriter.Write(p[:w.room]); err != nil {
			return n, err
		}
		http.NewResponseController(w.ResponseWriter).Flush() //nolint:errcheck // a server that has gone is told by Write
		select {
		case <-w.may:
			w.room = math.MaxInt
		case <-w.ctx.Done():
			return n, w.ctx.Err()
		}
	}
	w.room -= len(p) - n
	m, err := w.ResponseWriter.Write(p[n:])
	return n + m, err
}

func TestWhatNoPaceHoldsBackComesInBursts(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	var asked atomic.Int32
	bring := make(chan struct{})
	s.box = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/big") && asked.Add(1) == 2 {
			close(bring)
		}
		s.front.Handler().ServeHTTP(w, r.WithContext(upstream.WithPace(r.Context(), nil)))
	})
	// What a look has begun the cache may finish by itself, and nothing is left to
	// count: so the site is slow until it is more than a look.
	s.servers["plain"].Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		plain(&haltingWriter{w, 512 << 10, bring, r.Context()}, r)
	})
	s.line.set(func() { s.line.rate = 1000 })
	l := s.create(s.servers["plain"].URL + "/big")
	p := s.prepares(func(c *lesson.Config) { c.Burst, c.Apart = 1<<20, 10*time.Millisecond })
	until(t, p, l, settled)
	s.line.set(func() {
		// So soon after one another bursts may have the cache finish by itself.
		if s.line.waited < 1<<20 || s.line.waited > 2*bigLength {
			t.Errorf("%d bytes were counted against the rate, of %d", s.line.waited, bigLength)
		}
	})
	for _, server := range s.servers {
		server.CloseClientConnections()
		server.Close()
	}
	if status, body := s.device("/o/plain/big"); status != 200 || len(body) != bigLength {
		t.Errorf("%d, %d bytes", status, len(body))
	}
}

func TestWithTheLineDownItArrivesWhenThatIsBack(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	s.line.set(func() { s.line.state = func(string) bool { return false } })
	s.servers["plain"].Close()
	l := s.create(s.servers["plain"].URL + "/here")
	states := until(t, s.prepares(nil), l, settled)
	if states[0].Light != lesson.Waiting || states[0].Reason != lesson.ReasonLine || !states[0].ReadyAt.IsZero() {
		t.Errorf("%+v", states)
	}
}

func TestWhatIsNoMoreShowsBeforeTheLesson(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	l := s.create(s.servers["cloud"].URL + "/s/" + s.cloud.Token("file"))
	p := s.prepares(func(c *lesson.Config) { c.Soon = 10 * time.Millisecond })
	until(t, p, l, settled)
	s.cloud.Delete(s.cloud.Token("file"))
	until(t, p, l, func(all []lesson.State) bool {
		return all[0].Light == lesson.Cannot && all[0].Reason == lesson.ReasonGone
	})
	if kept := s.pins.all(); len(kept) != 0 {
		t.Errorf("kept is %+v", kept)
	}
}

func TestFilesOfTheBoxAndTheCatalogueHaveLightsToo(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	l, err := s.store.Create(lesson.Lesson{Title: "L’eau", Date: time.Now(), Items: []lesson.Item{
		{Kind: lesson.Published, ID: "atlas"}, {Kind: lesson.Published, ID: "never"}, {Kind: lesson.Deposit, ID: "d-1"}, {Kind: lesson.Deposit, ID: "d-2"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	states := until(t, s.prepares(nil), l, settled)
	for i, want := range []lesson.State{
		{Light: lesson.Ready, Bytes: 10, Have: 10, Title: "Atlas", Type: "application/pdf", URL: "/r/atlas/atlas.pdf"},
		{Light: lesson.Cannot, Reason: lesson.ReasonGone, Bytes: -1},
		{Light: lesson.Ready, Bytes: 5, Have: 5, Title: "Carte", URL: "/d/d-1/carte.pdf"},
		{Light: lesson.Cannot, Reason: lesson.ReasonGone, Bytes: -1},
	} {
		if states[i] != want {
			t.Errorf("%d: %+v, want %+v", i, states[i], want)
		}
	}
}

func TestLessonsThatArePastNeedNothing(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	p := s.prepares(nil)
	l := s.create(s.servers["plain"].URL + "/here")
	until(t, p, l, settled)
	if len(s.pins.all()) != 1 {
		t.Errorf("%+v", s.pins.all())
	}
	old := l
	old.Date = time.Now().Add(-25 * time.Hour)
	if _, err := s.store.Update(old, l.Version); err != nil {
		t.Fatal(err)
	}
	until(t, p, l, func(all []lesson.State) bool { return all[0].Light == lesson.Waiting && len(s.pins.all()) == 0 })
}

func TestTheTimeIsToldOnlyIfItFollowsFromWhatWasMeasured(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	var links []string
	for i := range 3 {
		links = append(links, fmt.Sprint(s.servers["plain"].URL, "/big?", i))
	}
	p := s.prepares(nil)
	first := s.create(links[0])
	until(t, p, first, settled) // the line's speed is known now
	opens := time.Now().Add(4 * time.Hour).Truncate(time.Second)
	s.line.set(func() { s.line.open, s.line.change, s.line.rate = false, opens, bigLength/60 })
	l := s.create(links[1], links[2])
	states := until(t, p, l, func(all []lesson.State) bool { return !all[0].ReadyAt.IsZero() && !all[1].ReadyAt.IsZero() })
	for i, least := range []time.Duration{50 * time.Second, 105 * time.Second} { // a minute each, less what came with the look
		if after := states[i].ReadyAt.Sub(opens); after < least || after > least+20*time.Second {
			t.Errorf("%d is to be ready %v after the opening: %+v", i, after, states[i])
		}
	}
	s.line.set(func() { s.line.change = time.Time{} })
	for i, st := range p.States(l) {
		if !st.ReadyAt.IsZero() {
			t.Errorf("%d is to be ready at %v, and nobody knows when it may begin", i, st.ReadyAt)
		}
	}
}
