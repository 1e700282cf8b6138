// Package portaltest is a school's box with something on it, for tests of the
// portal's pages: what a region might have published, what teachers might have
// added, today's lessons, sites, and a line that can be cut. It holds no real
// person's name and is for tests only.
package portaltest

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/png"
	"net/http"
	"strings"
	"sync"
	"time"

	"preau/cache/page"
	"preau/node/portal"
)

// World is what a portal shows. Its methods may be called concurrently.
type World struct {
	mu      sync.Mutex
	things  map[portal.Kind][]portal.Entry
	lessons []portal.Lesson
	line    portal.LineState
	changed map[portal.Kind][]chan struct{}
	news    []string // ids of what has changed of what is published
	lists   int      // how often the beginning of that was listed
	away    bool     // the region can't be reached
	failing bool
}

// Now is a time on the day of the world's lessons.
func Now() time.Time { return time.Now() }

// New is a box in the middle of a school year. It is empty if it is to be.
func New(empty bool) *World {
	w := &World{things: map[portal.Kind][]portal.Entry{}, changed: map[portal.Kind][]chan struct{}{}}
	w.line = portal.LineState{Known: true, Up: true, Since: Now().Add(-5 * time.Hour)}
	if empty {
		return w
	}
	at := time.Date(2026, 9, 1, 8, 0, 0, 0, time.Local)
	add := func(kind portal.Kind, collection, title, filename, contentType string, size int64, held float64, more ...func(*portal.Entry)) {
		n := len(w.things[kind])
		at = at.Add(19*time.Hour + 7*time.Minute)
		e := portal.Entry{
			Kind: kind, ID: fmt.Sprintf("%s-%03d", map[portal.Kind]string{portal.Published: "res", portal.Added: "dep"}[kind], n), Title: title, Filename: filename,
			Collection: collection, ContentType: contentType, Bytes: size, Held: int64(held * float64(size)), At: at, Language: "fr", Licence: "CC BY-SA 4.0",
		}
		for _, m := range more {
			m(&e)
		}
		w.things[kind] = append(w.things[kind], e)
	}
	text := func(s string) func(*portal.Entry) { return func(e *portal.Entry) { e.Description = s } }
	in := func(s string) func(*portal.Entry) { return func(e *portal.Entry) { e.Language = s } }
	stage := func(s string) func(*portal.Entry) { return func(e *portal.Entry) { e.Stage = s } }
	const r, d = portal.Published, portal.Added
	add(r, "Sciences de la vie et de la Terre", "Le cycle de l’eau", "cycle-eau.pdf", "application/pdf", 2_400_000, 1, text("De la mer aux nuages, des nuages à la rivière : un schéma à compléter et sa correction."))
	add(r, "Sciences de la vie et de la Terre", "Un volcan se réveille", "volcan.mp4", "video/mp4", 84_000_000, 1, text("Six minutes au bord du cratère, avec des sous-titres."))
	add(r, "Sciences de la vie et de la Terre", "", "volcan.fr.vtt", "text/vtt", 4_100, 1)
	add(r, "Sciences de la vie et de la Terre", "", "volcan.en.vtt", "text/vtt", 3_900, 1, in("en"))
	add(r, "Sciences de la vie et de la Terre", "Coupe d’un volcan", "coupe.png", "image/png", 640, 1)
	add(r, "Sciences de la vie et de la Terre", "La photosynthèse en images", "photosynthese.odp", "application/vnd.oasis.opendocument.presentation", 12_800_000, 0.4)
	for i, title := range []string{"Les fractions, pas à pas", "Proportionnalité : dix problèmes", "Calcul mental, série 1", "Calcul mental, série 2", "Calcul mental, série 10", "Le théorème de Pythagore", "Symétrie axiale"} {
		add(r, "Mathématiques", title, fmt.Sprintf("maths-%d.pdf", i+1), "application/pdf", int64(300_000+91_000*i), float64((i+1)%3&1))
	}
	for i, title := range []string{"La Chèvre de monsieur Seguin", "Fables choisies", "Le Petit Chaperon rouge", "Poèmes pour l’automne"} {
		add(r, "Lectures", title, fmt.Sprintf("lecture-%d.txt", i+1), "text/plain; charset=utf-8", 2_600, 1)
	}
	add(r, "Langues vivantes", "At the market: a dialogue", "market.mp3", "audio/mpeg", 3_200_000, 1, in("en-GB"), text("Two voices, slow and clear."))
	add(r, "Langues vivantes", "Die Jahreszeiten", "jahreszeiten.pdf", "application/pdf", 880_000, 0, in("de"))
	add(r, "Langues vivantes", "مرحبا بالعالم", "arabe.pdf", "application/pdf", 540_000, 1, in("ar"))
	add(r, "Histoire et géographie", "Carte des fleuves de France", "fleuves.png", "image/png", 640, 1)
	add(r, "Histoire et géographie", "La Révolution en dix dates", "revolution.odt", "application/vnd.oasis.opendocument.text", 410_000, 1)
	add(r, "Éducation musicale", "Rythmes du monde", "rythmes.zip", "application/zip", 154_000_000, 0)
	add(r, "Éducation aux médias", "Vérifier une information", "info.html", "text/html", 38_000, 1)
	add(r, "", "Charte du numérique", "charte.pdf", "application/pdf", 120_000, 1)
	add(d, "Classe de 6e B", "Plan de travail de la semaine", "plan-de-travail.pdf", "application/pdf", 210_000, 1, stage("centre"))
	add(d, "Classe de 6e B", "Photo de la sortie au jardin", "sortie.png", "image/png", 640, 1, stage("region"), text("Le potager, le premier lundi d’octobre."))
	add(d, "Sciences de la vie et de la Terre", "Fiche d’expérience : l’eau qui bout", "fiche.odt", "application/vnd.oasis.opendocument.text", 96_000, 1, stage("box"))
	now := Now()
	day := time.Date(now.Year(), now.Month(), now.Day(), 0, 0, 0, 0, time.Local)
	both := func(fr, en string) page.Both[string] { return page.Both[string]{French: fr, English: en} }
	w.lessons = []portal.Lesson{
		{Code: "KMRTA", Title: "Les volcans", Class: "6e B", Date: day.Add(10 * time.Hour), Items: []portal.LessonItem{
			{Title: "Un volcan se réveille", Kind: r, ID: "res-001", Light: portal.Ready},
			{Title: "Coupe d’un volcan", Kind: r, ID: "res-004", Light: portal.Ready},
			{Title: "Film : l’éruption de 2021", Stream: "/o/tube/static/streaming-playlists/hls/film/master.m3u8", To: "/o/tube/w/film", Light: portal.Arriving, Bytes: 61_000_000, Why: both("prêt vers 09:40", "ready at about 09:40")},
			{Title: "Le blog de la classe", To: "/o/blog/volcans/", Light: portal.Ready},
			{Title: "Une émission en direct", To: "https://radio.example/direct", Light: portal.Cannot, Why: both("en direct : ne peut pas être gardé", "live: cannot be kept")},
		}},
		{Code: "PDQXW", Title: "Calcul mental", Class: "CM2", Date: day.Add(14*time.Hour + 30*time.Minute), Items: []portal.LessonItem{{Title: "Série 1", Kind: r, ID: "res-008", Light: portal.Ready}}},
	}
	return w
}

// Crowd adds n published things in as many collections as are named.
func (w *World) Crowd(n, collections int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range n {
		w.things[portal.Published] = append(w.things[portal.Published], portal.Entry{
			Kind: portal.Published, ID: fmt.Sprintf("many-%06d", i), Title: fmt.Sprintf("Document %d", i), Filename: fmt.Sprintf("d%d.pdf", i),
			Collection: fmt.Sprintf("Collection %d", i%collections), ContentType: "application/pdf", Bytes: int64(1000 + i), Held: int64(1000 + i), At: time.Unix(int64(1.6e9)+int64(i), 0),
		})
	}
}

// Cut cuts the line at a time, or mends it for the zero time.
func (w *World) Cut(at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.line = portal.LineState{Known: true, Up: at.IsZero(), Since: at}
}

// Fail has the sources fail from now on, or no more.
func (w *World) Fail(on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failing = on
}

// Add adds a thing, and tells those who watch.
func (w *World) Add(e portal.Entry) {
	w.change(e.Kind, e.ID, func(all []portal.Entry) []portal.Entry { return append(all, e) })
}

// Remove takes a thing away, and tells those who watch.
func (w *World) Remove(kind portal.Kind, id string) {
	w.change(kind, id, func(all []portal.Entry) []portal.Entry {
		var left []portal.Entry
		for _, e := range all {
			if e.ID != id {
				left = append(left, e)
			}
		}
		return left
	})
}

// Fetched notes that a thing is on the box whole now, and tells those who watch.
func (w *World) Fetched(kind portal.Kind, id string) {
	w.change(kind, id, func(all []portal.Entry) []portal.Entry {
		for i := range all {
			if all[i].ID == id {
				all[i].Held = all[i].Bytes
			}
		}
		return all
	})
}

// Leave has the region out of reach from now on.
func (w *World) Leave() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.away = true
}

// Lists is how often what is published was listed from its beginning.
func (w *World) Lists() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lists
}

func (w *World) change(kind portal.Kind, id string, how func([]portal.Entry) []portal.Entry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if kind == portal.Published {
		w.news = append(w.news, id)
	}
	w.things[kind] = how(w.things[kind])
	for _, c := range w.changed[kind] {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// Parts is the world as a portal is given it.
func (w *World) Parts() portal.Parts {
	return portal.Parts{
		Published: catalogue{source{w, portal.Published}}, Added: source{w, portal.Added}, Lessons: w, Sites: w, Line: w, Files: http.HandlerFunc(w.file),
	}
}

type source struct {
	w    *World
	kind portal.Kind
}

// catalogue is a source that tells what has changed, and whether the rest can be
// fetched.
type catalogue struct{ source }

// Since implements portal.Teller.
func (c catalogue) Since(mark uint64) (ids []string, now uint64, known bool) {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	now = uint64(len(c.w.news)) + 1
	if mark == 0 {
		return nil, now, false
	}
	return append([]string(nil), c.w.news[mark-1:]...), now, true
}

// Reach implements portal.Reacher.
func (c catalogue) Reach() bool {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	return c.w.line.Up && !c.w.away
}

// listed is how many things one part of a list has.
const listed = 7

// List implements portal.Source.
func (s source) List(_ context.Context, after string) (entries []portal.Entry, next string, err error) {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	if s.w.failing {
		return nil, "", fmt.Errorf("the world of %s fails", s.kind)
	}
	if s.kind == portal.Published && after == "" {
		s.w.lists++
	}
	all := s.w.things[s.kind]
	from := 0
	for i, e := range all {
		if e.ID == after {
			from = i + 1
		}
	}
	most := listed
	if len(all) > 1000 {
		most = 1000
	}
	to := min(from+most, len(all))
	if to < len(all) {
		next = all[to-1].ID
	}
	return append([]portal.Entry(nil), all[from:to]...), next, nil
}

// Look implements portal.Source.
func (s source) Look(_ context.Context, was portal.Entry) (portal.Entry, error) {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	if s.w.failing {
		return was, fmt.Errorf("the world of %s fails", s.kind)
	}
	for _, e := range s.w.things[s.kind] {
		if e.ID == was.ID {
			return e, nil
		}
	}
	return was, portal.ErrGone
}

// Watch implements portal.Watcher.
func (s source) Watch() (changed <-chan struct{}, stop func()) {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	c := make(chan struct{}, 1)
	s.w.changed[s.kind] = append(s.w.changed[s.kind], c)
	return c, func() {}
}

// Today implements portal.Lessons.
func (w *World) Today(time.Time) []portal.Lesson {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lessons
}

// ByCode implements portal.Lessons.
func (w *World) ByCode(code string) (portal.Lesson, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range w.lessons {
		if strings.EqualFold(l.Code, code) {
			return l, true
		}
	}
	return portal.Lesson{}, false
}

// Sites implements portal.Sites.
func (w *World) Sites(context.Context) []portal.Site {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.things) == 0 {
		return nil
	}
	return []portal.Site{
		{Name: "blog", Up: w.line.Up, Pages: []portal.SitePage{{Path: "/volcans/", Type: "text/html", Bytes: 18_000, Whole: true}, {Path: "/cm2/poesie.pdf", Type: "application/pdf", Bytes: 230_000}}},
		{Name: "tube", Up: w.line.Up},
	}
}

// Line implements portal.Line.
func (w *World) Line() portal.LineState {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.line
}

// file serves what things hold: enough of it to be shown.
func (w *World) file(rw http.ResponseWriter, r *http.Request) {
	name := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	kind, body := "text/html; charset=utf-8", []byte("<!doctype html><html lang=fr><title>"+name+"</title><h1>Ici</h1>")
	switch {
	case strings.HasSuffix(name, ".png"):
		kind, body = "image/png", drawing()
	case strings.HasSuffix(name, ".txt"):
		kind, body = "text/plain; charset=utf-8", []byte(strings.Repeat("C’était un matin d’automne, et la cour sentait la pluie.\n", 45))
	case strings.HasSuffix(name, ".vtt"):
		kind, body = "text/vtt", []byte("WEBVTT\n\n00:00.000 --> 00:05.000\nLe volcan dort.\n")
	case strings.HasSuffix(name, ".pdf"):
		kind, body = "application/pdf", []byte("%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj 2 0 obj<</Type/Pages/Kids[]/Count 0>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n")
	case strings.HasSuffix(name, ".mp4"), strings.HasSuffix(name, ".mp3"), strings.HasSuffix(name, ".m3u8"):
		kind, body = "application/octet-stream", nil
	}
	rw.Header().Set("Content-Type", kind)
	http.ServeContent(rw, r, "", time.Time{}, bytes.NewReader(body))
}

// drawing is a small picture.
func drawing() []byte {
	img := image.NewGray(image.Rect(0, 0, 320, 180))
	for i := range img.Pix {
		img.Pix[i] = byte(70 + i%320/3 - i/320/4)
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		return nil // in memory nothing fails
	}
	return b.Bytes()
}
