//go:build system && linux

package browser_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestASchool has one school for all that people do with its box, in turn: a box,
// a region and a provider of accounts take longer to start than to use.
func TestASchool(t *testing.T) {
	t.Parallel()
	s := openSchool(t)
	var said struct {
		Steps, Judged, Wrong []string
		Code, Course         string
		Teacher, Admin       json.RawMessage
	}
	job := func() map[string]any {
		return map[string]any{"base": s.base, "provider": s.provider}
	}
	t.Run("the admin, the teacher, the pupil and a cut line", func(t *testing.T) {
		j := job()
		j["control"], j["claim"], j["article"], j["today"] = s.line(t), s.claim(t), article, time.Now().Format(time.DateOnly)
		j["worksheet"] = s.file(t, "fiche.pdf", worksheet("Les parties d'un volcan"))
		j["photo"] = s.file(t, "maquette.svg", []byte(drawing))
		j["links"], j["ready"] = []string{"http://blog.example.org/volcan.html", "https://ailleurs.example/interdit"}, 3
		node(t, "stories.mjs", j, &said)
		t.Log(strings.Join(said.Steps, "; "))
		// What the page said of the centre is so: the one was added with the line, the
		// other without.
		if err := s.inCentre(map[string][]byte{"fiche.pdf": worksheet("Les parties d'un volcan"), "maquette.svg": []byte(drawing)}); err != nil {
			t.Error(err)
		}
		if len(said.Steps) < 15 {
			t.Errorf("the stories have %d steps only: %q", len(said.Steps), said.Steps)
		}
		for _, what := range said.Wrong {
			t.Error(what)
		}
	})
	t.Run("every page can be used by all", func(t *testing.T) {
		if said.Code == "" {
			t.Skip("there was no course to see")
		}
		j := job()
		j["teacher"], j["admin"], j["course"] = said.Teacher, said.Admin, said.Course
		var found struct {
			Pages         int
			Judged, Wrong []string
		}
		node(t, "crawl.mjs", j, &found)
		t.Logf("%d pages: %s", found.Pages, strings.Join(found.Judged, " "))
		for _, what := range found.Wrong {
			t.Error(what)
		}
		for _, lang := range []string{"/fr", "/en"} {
			for _, page := range []string{
				"/", "/c/", "/c/Fran%C3%A7ais", "/find", "/l/", "/l/" + said.Code, "/sites", "/nowhere", "/claim", "/sign-in", "/sign-in/badge", "/sign-out",
				"/teach/", "/teach/new", "/teach/files", said.Course[3:], said.Course[3:] + "/edit", said.Course[3:] + "/show", said.Course[3:] + "/delete",
				"/school/", "/school/badges", "/school/log",
			} {
				if !slices.Contains(found.Judged, lang+page) {
					t.Errorf("no link led to %s", lang+page)
				}
			}
		}
	})
	t.Run("a slow phone", func(t *testing.T) { s.slowPhone(t, said.Code) })
	t.Run("a large file", s.largeFile)
}
