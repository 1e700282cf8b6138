package lesson_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"preau/node/lesson"
)

// near is the LAN of a school: each box answers by its handler.
type near map[string]*lesson.Store

type asking struct {
	near near
	own  string
}

func (a asking) Boxes() (names []string) {
	for name := range a.near {
		if name != a.own {
			names = append(names, name)
		}
	}
	return append(names, "away")
}

func (a asking) Lessons(ctx context.Context, box string, have []lesson.Stamp) ([]lesson.Lesson, error) {
	return lesson.Ask(ctx, a, "http://"+box+"/", have)
}

func (a asking) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	if s := a.near[r.URL.Host]; s != nil {
		s.Near().ServeHTTP(w, r)
	} else {
		http.NotFound(w, r)
	}
	return w.Result(), nil
}

func TestBoxesOfASchoolTellEachOtherTheirLessons(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lan := near{}
		for _, name := range []string{"a", "b", "c"} {
			lan[name] = open(t, t.TempDir(), name)
		}
		ctx, stop := context.WithCancel(t.Context())
		for name, s := range lan {
			go func() {
				if err := s.Exchange(ctx, asking{lan, name}); err != nil {
					t.Error(err)
				}
			}()
		}
		l, err := lan["a"].Create(lesson.Lesson{Title: "L’eau", Date: time.Now()})
		if err != nil {
			t.Fatal(err)
		}
		<-time.After(31 * time.Second)
		got, err := lan["c"].ByCode(l.Code)
		if err != nil || got.Title != l.Title {
			t.Fatalf("%+v %v", got, err)
		}
		if err := lan["b"].Delete(l.ID); err != nil {
			t.Fatal(err)
		}
		<-time.After(31 * time.Second)
		for name, s := range lan {
			if list := s.List(); len(list) != 0 {
				t.Errorf("%s still has %+v", name, list)
			}
		}
		stop()
		synctest.Wait()
	})
}

func TestWhatOtherBoxesAskIsBounded(t *testing.T) {
	s := open(t, t.TempDir(), "a")
	for claim, test := range map[string]struct {
		method, body string
		status       int
	}{
		"nothing is had":   {"POST", "[]", 200},
		"the wrong method": {"GET", "", 405},
		"no JSON":          {"POST", "{", 400},
		"too many":         {"POST", "[" + strings.Repeat("{},", 4000) + "{}]", 400},
		"too much":         {"POST", `"` + strings.Repeat("x", 1<<20) + `"`, 413},
	} {
		w := httptest.NewRecorder()
		s.Near().ServeHTTP(w, httptest.NewRequest(test.method, "/", strings.NewReader(test.body)))
		if w.Code != test.status {
			t.Errorf("%s: %d", claim, w.Code)
		}
	}
	for claim, body := range map[string]string{"no JSON": "{", "too long": strings.Repeat(" ", 4<<20+1) + "[]", "too many": "[" + strings.Repeat("{},", 4000) + "{}]"} {
		way := answers(body)
		if _, err := lesson.Ask(t.Context(), way, "http://b/", nil); err == nil {
			t.Errorf("%s was taken", claim)
		}
	}
}

type answers string

func (a answers) RoundTrip(*http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	_, _ = w.Write([]byte(a))
	return w.Result(), nil
}
