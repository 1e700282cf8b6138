package tube_test

import (
	"bytes"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"

	"preau/cache/profile/platformtest"
)

// opens are what opens private videos to the two persons whom the platform knows.
func opens(s *school) []string {
	var all []string
	for _, user := range []string{platformtest.Ann, platformtest.Bob} {
		for _, way := range s.tube.Ways(user) {
			if q, err := url.ParseQuery(way.Query); err == nil {
				all = append(all, q.Get("videoFileToken"))
			}
			for _, values := range way.Header {
				all = append(all, strings.TrimPrefix(values[0], "Bearer "))
			}
		}
	}
	var out []string
	for _, v := range all {
		if len(v) > 12 { // no cookie of a counter
			out = append(out, v)
		}
	}
	return out
}

func TestWhatOpensAPrivateVideoIsNowhereKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { nowhereKept(t) })
}

func nowhereKept(t *testing.T) {
	t.Helper()
	s := newSchool(t, 0)
	defer s.close()
	served := 0
	for _, user := range []string{platformtest.Ann, platformtest.Bob, platformtest.Ann} {
		for _, place := range s.tube.Places(user) {
			for _, way := range s.tube.Ways(user) {
				target := place
				if way.Query != "" {
					sep := "?"
					if strings.Contains(place, "?") {
						sep = "&"
					}
					target += sep + way.Query
				}
				var header []string
				for name, values := range way.Header {
					header = append(header, name, values[0])
				}
				for _, more := range [][]string{nil, {"Range", "bytes=1400-2000"}} {
					a := s.get(target, append(more, header...)...)
					if strings.Contains(place, "/private/") && a.status < 300 {
						served++
						if cs := a.header.Get("Cache-Status"); !strings.Contains(cs, "peertube-private") && !strings.Contains(cs, "shared-") && !strings.Contains(cs, "peertube-object-proxy") {
							t.Errorf("%s was not passed: %q", place, cs)
						}
					}
				}
			}
		}
	}
	if served < 20 {
		t.Fatalf("only %d answers were of private videos", served)
	}
	page := s.offline()
	metrics := s.metrics()
	s.close()

	secrets := append(opens(s), s.tube.Secrets()...)
	private, unlisted := s.tube.UUID("private"), s.tube.UUID("unlisted")
	look := func(where string, b []byte) {
		for _, secret := range secrets {
			if bytes.Contains(b, []byte(secret)) || bytes.Contains(b, []byte(url.QueryEscape(secret))) {
				t.Errorf("%s holds %q", where, secret)
			}
		}
		for _, what := range []string{"videoFileToken", private, s.tube.Files(private)} {
			if bytes.Contains(b, []byte(what)) {
				t.Errorf("%s holds %q", where, what)
			}
		}
	}
	look("the log", []byte(s.log.String()))
	look("what is counted", []byte(s.told.String()))
	look("the metrics", []byte(metrics))
	files(t, s.dir, look)
	for _, where := range []struct{ name, text string }{{"the log", s.log.String()}, {"what is counted", s.told.String()}, {"the metrics", metrics}, {"the list of what is here", page}} {
		for _, id := range []string{unlisted, s.tube.Files(unlisted), s.tube.UUID("public")} {
			if strings.Contains(where.text, id) {
				t.Errorf("%s holds %q", where.name, id)
			}
		}
	}
	if !strings.Contains(s.told.String(), "false") {
		t.Error("nothing was counted")
	}
}

// offline is the page that a device sees while there is no line.
func (s *school) offline() string {
	s.t.Helper()
	s.line.down.Store(true)
	defer s.line.down.Store(false)
	a := s.get("/w/none", "Accept", "text/html")
	if a.status < http.StatusInternalServerError || a.body.Len() == 0 {
		s.t.Errorf("without a line: %d", a.status)
	}
	return a.body.String()
}
