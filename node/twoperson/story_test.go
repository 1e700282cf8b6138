package twoperson_test

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"preau/cache/object"
	"preau/cache/profile"
	"preau/cache/profile/platformtest"
)

// The persons: two users, and one who is nobody.
var persons = []string{platformtest.Ann, platformtest.Bob, ""}

// request is one that a person makes, as it was drawn: numbers that the world
// makes something of when its time has come.
type request struct {
	Who    int
	Whose  int // at whose places
	Place  int
	Way    int
	Face   int
	Method string
	Tweak  int
	Range  int
	Cond   int
	Cache  int
	Accept int
	Replay bool // with what another's address has in its query
}

// step is something that happens: requests (several at once), or something else.
type step struct {
	Requests []request
	Event    string
	Number   int
}

// The ways in which a request can be a little different.
var (
	methods = []string{"GET", "GET", "GET", "GET", "GET", "GET", "GET", "HEAD", "HEAD", "POST", "PROPFIND", "OPTIONS"}
	ranges  = []string{"", "", "", "", "", "bytes=0-99", "bytes=100-", "bytes=-50", "bytes=0-0,10-20", "bytes=999999-", "bytes=1500-4000"}
	caches  = []string{"", "", "", "", "max-age=0", "no-cache", "max-stale", "only-if-cached", "max-stale, only-if-cached", "no-store"}
	accepts = []string{"", "", "text/html", "*/*", "text/event-stream", "application/zip"}
	tweaks  = []func(string) string{
		same, same, same, same, same, same, same, same, same, same, same, same,
		func(p string) string { return p + "/" },
		func(p string) string { return "/" + p },
		func(p string) string { return "/index.php" + p },
		func(p string) string { return strings.Replace(p, "/", "//", 2) },
		func(p string) string { return strings.ToUpper(p[:min(4, len(p))]) + p[min(4, len(p)):] },
		func(p string) string { return p + ";x=.css" },
		func(p string) string { return p + "/x.css" },
		func(p string) string { return p + "%2F..%2Fx.js" },
		func(p string) string { return "/core/.." + p },
		func(p string) string { return "/static%2F.." + p },
		func(p string) string { return "/o/site" + p },
		func(p string) string {
			if len(p) < 3 {
				return p
			}
			return p[:2] + fmt.Sprintf("%%%02X", p[2]) + p[3:]
		},
		func(p string) string { return p + "%00.css" },
		func(p string) string { return p + "?" },
	}
)

func same(p string) string { return p }

// drawRequest draws one request.
func drawRequest(t *rapid.T, who int, near *request) request {
	r := request{
		Who: who, Whose: rapid.IntRange(0, 1).Draw(t, "whose"), Place: rapid.IntRange(0, 199).Draw(t, "place"), Way: rapid.IntRange(0, 19).Draw(t, "way"),
		Method: rapid.SampledFrom(methods).Draw(t, "method"), Tweak: rapid.IntRange(0, len(tweaks)-1).Draw(t, "tweak"), Range: rapid.IntRange(0, len(ranges)-1).Draw(t, "range"),
		Cond: rapid.IntRange(0, 5).Draw(t, "condition"), Cache: rapid.IntRange(0, len(caches)-1).Draw(t, "cache"), Accept: rapid.IntRange(0, len(accepts)-1).Draw(t, "accept"),
		Face: max(0, rapid.IntRange(-3, 2).Draw(t, "face")),
	}
	if near == nil {
		return r
	}
	// Mostly it is about what the other asked for.
	if rapid.IntRange(0, 9).Draw(t, "near") > 0 {
		r.Whose, r.Place = near.Whose, near.Place
		if rapid.Bool().Draw(t, "the same address") {
			r.Tweak = near.Tweak
		}
		r.Replay = rapid.IntRange(0, 3).Draw(t, "replay") == 0
	}
	return r
}

// events are what may happen between the two. A restart or a pause takes as long
// as a hundred requests.
var events = []string{
	"", "", "", "", "", "", "", "", "cut", "cut", "cut", "cut", "cut", "reboot", "outdate", "happening", "happening", "happening", "wait", "wait",
}

// waits are how long a pause is. Time costs: the store does not sleep in it.
var waits = []time.Duration{
	time.Second, time.Second, 5 * time.Second, 5 * time.Second, 20 * time.Second, 70 * time.Second, 70 * time.Second, 70 * time.Second, 130 * time.Second,
	time.Second, 5 * time.Second, 20 * time.Second, 70 * time.Second, 130 * time.Second, time.Second, 5 * time.Second, 11 * time.Minute,
}

// spot is a place and a way of a user's where the answer is that user's own.
type spot struct{ place, way int }

// spots finds those of each user.
func spots(p platformtest.Platform) (out [2][]spot) {
	for who, user := range persons[:2] {
		ways := p.Ways(user)
		for i, place := range p.Places(user) {
			for j, way := range ways {
				r, err := incoming(http.MethodGet, place+with(place, way.Query))
				if err != nil {
					continue
				}
				maps.Copy(r.Header, way.Header)
				if ownOf(serve(p, r)) {
					out[who] = append(out[who], spot{i, j})
				}
			}
		}
	}
	return out
}

// ownOf reports whether an answer is somebody's own, other than by a session that
// was just begun.
func ownOf(w *responder) bool {
	return slices.ContainsFunc(platformtest.Markers(append([]byte(headerText(w.sent)), w.body.Bytes()...)), func(m string) bool {
		return !strings.Contains(m, "-session-") && !strings.HasPrefix(m, "only-for-entered")
	})
}

// with adds to the query of a target.
func with(target, query string) string {
	switch {
	case query == "":
		return ""
	case strings.Contains(target, "?"):
		return "&" + query
	}
	return "?" + query
}

// drawPair draws what person A does, what happens, and what person B does then.
// Two times out of three A begins with something that is A's own.
func drawPair(t *rapid.T, own [2][]spot) []step {
	a := rapid.IntRange(0, 1).Draw(t, "A")
	b := (a + rapid.IntRange(1, 2).Draw(t, "B")) % 3
	first := drawRequest(t, a, nil)
	if len(own[a]) > 0 && rapid.IntRange(0, 2).Draw(t, "own") > 0 {
		at := rapid.SampledFrom(own[a]).Draw(t, "spot")
		first.Whose, first.Place, first.Way, first.Tweak, first.Face = a, at.place, at.way, 0, 0
		if rapid.Bool().Draw(t, "simply") {
			first.Method, first.Range, first.Cond, first.Cache, first.Accept = http.MethodGet, 0, 0, 0, 0
		}
	}
	var story []step
	if rapid.IntRange(0, 7).Draw(t, "begins offline") > 0 {
		story = append(story, step{Event: "mend"})
	}
	story = append(story, step{Requests: []request{first}})
	for range rapid.IntRange(0, 2).Draw(t, "more of A") {
		story = append(story, step{Requests: []request{drawRequest(t, a, &first)}})
	}
	event := rapid.SampledFrom(events).Draw(t, "event")
	if event != "" {
		story = append(story, step{Event: event, Number: rapid.IntRange(0, 30).Draw(t, "number")})
	}
	for range rapid.IntRange(1, 3).Draw(t, "of B") {
		next := step{Requests: []request{drawRequest(t, b, &first)}}
		if rapid.IntRange(0, 4).Draw(t, "together") == 0 { // with A, at the same time
			next.Requests = append(next.Requests, drawRequest(t, a, &next.Requests[0]))
		}
		story = append(story, next)
	}
	return story
}

// teller tells a story in a world and judges what is served.
type teller struct {
	*world
	started time.Time
	settle  func()            // waits for what goes on in the background
	waits   []time.Duration   // how long a pause may be
	tag     map[string]string // the last entity tag of an address

	mu       sync.Mutex
	sessions map[string]bool
	told     []string // what was done, for whoever reads a failure
	wrong    []string
	counts   map[string]int
	changed  bool            // something at the platform: what was right may be old
	dead     map[string]bool // links that the cache has heard to be dead; changed between requests only
}

func newTeller(w *world) *teller {
	return &teller{world: w, started: time.Now(), settle: synctest.Wait, waits: waits, tag: map[string]string{}, sessions: map[string]bool{}, counts: map[string]int{}, dead: map[string]bool{}}
}

func (s *teller) say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told = append(s.told, fmt.Sprintf("%9s ", time.Since(s.started).Round(time.Millisecond))+fmt.Sprintf(format, args...))
}

func (s *teller) fail(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wrong = append(s.wrong, fmt.Sprintf(format, args...))
}

// tell has a step happen.
func (s *teller) tell(st step) error {
	if len(st.Requests) > 0 {
		s.settle() // what was answered to a fetch in the background has been heard
		s.hear()
		var all sync.WaitGroup
		for _, r := range st.Requests {
			made, may := s.make(r)
			if made != nil {
				all.Go(func() { s.judge(r, made, may, serve(s.faces[r.Face], made)) })
			}
		}
		all.Wait()
		return nil
	}
	s.say("%s %d", st.Event, st.Number)
	switch st.Event {
	case "cut":
		s.line.cut(true)
	case "mend":
		s.line.cut(false)
	case "reboot":
		return s.reboot()
	case "outdate":
		return s.outdate()
	case "happening":
		if all := s.p.Happenings(); len(all) > 0 {
			h := all[st.Number%len(all)]
			s.say("%s", h.Name)
			h.Do()
			s.changed = true
		}
	case "wait":
		<-time.After(s.waits[st.Number%len(s.waits)])
	}
	return nil
}

// outdate makes all that is stored doubtful, as a write at the site would.
func (s *teller) outdate() error {
	done := map[object.Key]bool{} // most places are both persons'
	outdate := func(path, query string) error {
		k := s.store.Key("site", path, query)
		if done[k] {
			return nil
		}
		done[k] = true
		_, err := s.store.Objects().Invalidate(context.Background(), k)
		return err
	}
	for _, user := range persons[:2] {
		for _, place := range s.p.Places(user) {
			path, query, _ := strings.Cut(place, "?")
			if err := outdate(path, query); err != nil {
				return err
			}
			for _, t := range s.profile.Request(profile.Request{Method: http.MethodGet, Path: path, Query: query, Header: http.Header{}}).Targets {
				if err := outdate(t.Path, t.Query); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// make makes the request that was drawn, and says whose markers may be in the
// answer: those of whoever it says asks.
func (s *teller) make(r request) (*http.Request, []string) {
	places := s.p.Places(persons[r.Whose])
	target := places[r.Place%len(places)]
	path, query, _ := strings.Cut(target, "?")
	path = tweaks[r.Tweak](path)
	path, more, _ := strings.Cut(path, "?")
	var may []string
	var way platformtest.Way
	if r.Face != 1 && persons[r.Who] != "" {
		ways := s.p.Ways(persons[r.Who])
		way = ways[r.Way%len(ways)]
		may = append(way.Also, persons[r.Who])
	}
	if r.Replay {
		// The address as another had it: what its query opens, it opens to all.
		other := persons[r.Whose]
		if w := s.p.Ways(other); len(w) > 0 {
			if q := w[r.Way%len(w)].Query; q != "" {
				way.Query, may = q, append(may, other)
			}
		}
	}
	full := query
	for _, q := range []string{way.Query, more} {
		if q != "" && full != "" {
			full += "&"
		}
		full += q
	}
	u := path
	if full != "" || strings.HasSuffix(u, "?") {
		u += "?" + full
	}
	made, err := incoming(r.Method, u)
	if err != nil {
		return nil, nil
	}
	for name, values := range way.Header {
		made.Header[name] = slices.Clone(values)
	}
	set := func(name, value string) {
		if value != "" {
			made.Header.Set(name, value)
		}
	}
	set("Range", ranges[r.Range])
	set("Cache-Control", caches[r.Cache])
	set("Accept", accepts[r.Accept])
	s.mu.Lock()
	tag := s.tag[path]
	s.mu.Unlock()
	switch {
	case r.Cond == 1 && tag != "":
		set("If-None-Match", tag)
	case r.Cond == 2:
		set("If-Modified-Since", time.Now().UTC().Format(http.TimeFormat))
	case r.Cond == 3 && tag != "" && ranges[r.Range] != "":
		set("If-Range", tag)
	case r.Cond == 4:
		set("If-None-Match", "*")
	case r.Cond == 5:
		set("Accept-Encoding", "gzip")
	}
	if r.Method == http.MethodPost {
		made.Header.Set("Content-Length", "0")
	}
	s.say("%s (%s) %s %s at %d %v", orNobody(persons[r.Who]), way.Name, r.Method, u, r.Face, slices.Sorted(maps.Keys(made.Header)))
	return made, may
}

func orNobody(who string) string {
	if who == "" {
		return "nobody"
	}
	return who
}

// incoming makes a request as a server reads one.
func incoming(method, target string) (r *http.Request, err error) {
	defer func() {
		if e := recover(); e != nil { // httptest: what no server would read
			r, err = nil, fmt.Errorf("%v", e)
		}
	}()
	r = httptest.NewRequest(method, target, http.NoBody)
	r.Host, r.RemoteAddr = "box.example", "10.0.0.7:1"
	return r, nil
}
