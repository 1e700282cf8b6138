package teach_test

import (
	"bufio"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"preau/node/lesson"
)

// events reads the messages of a stream.
func events(t *testing.T, url string) func() string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Who", "ada")
	client := &http.Client{Transport: &http.Transport{}}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		resp.Body.Close()
		client.CloseIdleConnections()
	})
	lines := bufio.NewScanner(resp.Body)
	return func() string {
		var b strings.Builder
		for lines.Scan() {
			data, ok := strings.CutPrefix(lines.Text(), "data: ")
			if ok {
				b.WriteString(data + "\n")
			} else if b.Len() > 0 {
				return b.String()
			}
		}
		t.Fatalf("the stream ended: %v", lines.Err())
		return ""
	}
}

func TestALessonsPageFollowsItsLights(t *testing.T) {
	w := newWorld(t)
	l := w.story(t)
	server := httptest.NewServer(w)
	t.Cleanup(server.Close)
	next := events(t, server.URL+"/en/teach/l/"+l.ID+"/live")
	first := next()
	if !strings.Contains(first, `id="lesson-items"`) || !strings.Contains(first, `value="35"`) || strings.Contains(first, "<html") {
		t.Errorf("%s", first)
	}
	w.lights.set("https://tube.example/w/film", lesson.State{Light: lesson.Arriving, Bytes: 84_000_000, Have: 42_000_000})
	if second := next(); !strings.Contains(second, `value="50"`) || !strings.Contains(second, "Arriving") {
		t.Errorf("%s", second)
	}
	w.lights.set("https://tube.example/w/film", lesson.State{Light: lesson.Ready, Bytes: 84_000_000, Have: 84_000_000})
	if third := next(); !strings.Contains(third, "2 of 5 ready") {
		t.Errorf("%s", third)
	}
}

func TestThePageOfFilesFollowsWhatComesIn(t *testing.T) {
	w := newWorld(t)
	server := httptest.NewServer(w)
	t.Cleanup(server.Close)
	next := events(t, server.URL+"/teach/files/live")
	if first := next(); !strings.Contains(first, `id="added"`) {
		t.Errorf("%s", first)
	}
	w.ask(http.MethodPost, "/teach/files/up/", nil, "Tus-Resumable", "1.0.0", "Upload-Length", "10", "Upload-Metadata", "filename YS5wZGY=")
	if second := next(); !strings.Contains(second, "a.pdf") {
		t.Errorf("%s", second)
	}
}
