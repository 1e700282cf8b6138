package library

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"maps"
	"mime"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
	"time"
)

//go:embed files
var files embed.FS

// changed is when the library was last changed: the same for everybody, so
// that a page kept yesterday is still right today.
var changed = time.Date(2026, time.September, 1, 8, 0, 0, 0, time.UTC)

// How long a copy may be used without asking. The library shows each kind.
const (
	cachePage  = "public, max-age=60, stale-while-revalidate=600, stale-if-error=86400"
	cacheFile  = "public, max-age=86400"
	cacheCheck = "public, max-age=5, must-revalidate"
	cacheNever = "no-store"
)

// Item is something in the library that a person may look for.
type Item struct {
	Path, French, English string
	// Class says that it is worth a whole class's while.
	Class bool
}

// Title is the item's name in "fr" or "en".
func (i Item) Title(lang string) string {
	if lang == "fr" {
		return i.French
	}
	return i.English
}

// Items lists what the library has, the large things first.
func Items() []Item {
	return []Item{
		{"/packs/lesson-12.bin", "Paquet de cours, 12 Mo", "Lesson pack, 12 MB", true},
		{"/packs/lesson-50.bin", "Grand paquet, 50 Mo", "Large pack, 50 MB", true},
		{"/film/water-cycle.mp4", "Film : le cycle de l’eau", "Film: the water cycle", true},
		{"/atlas.zip", "Atlas : images et fiches", "Atlas: pictures and sheets", true},
		{"/pictures/island.png", "Carte de l’île", "Map of the island", true},
		{"/sheets/eau.pdf", "Fiche : le cycle de l’eau", "Sheet: the water cycle (French)", true},
		{"/sheets/water.pdf", "Fiche : le cycle de l’eau (anglais)", "Sheet: the water cycle", false},
		{"/sheets/volcan.pdf", "Fiche : les volcans", "Sheet: volcanoes (French)", false},
		{"/sheets/volcano.pdf", "Fiche : les volcans (anglais)", "Sheet: volcanoes", false},
		{"/sheets/geometrie.pdf", "Fiche : la rosace", "Sheet: the rosette (French)", false},
		{"/sheets/geometry.pdf", "Fiche : la rosace (anglais)", "Sheet: the rosette", false},
		{"/pictures/fractal.png", "Une fractale", "A fractal", false},
		{"/pictures/rosette.png", "Une rosace", "A rosette", false},
		{"/", "Accueil de la bibliothèque", "The library’s front page", false},
	}
}

// PageTitles has the title of every page by its path, in the page's own language.
func PageTitles() map[string]string {
	titles := map[string]string{}
	names, err := fs.Glob(files, "files/*/*.html")
	if err != nil {
		return titles // the pattern above is a right one
	}
	for _, name := range names {
		text, err := files.ReadFile(name)
		if err != nil {
			continue // it was listed a moment ago and is part of the program
		}
		p := strings.TrimSuffix(strings.TrimPrefix(name, "files"), ".html")
		titles[strings.TrimSuffix(p, "index")] = heading(string(text))
	}
	return titles
}

// heading is a page's h1.
func heading(text string) string {
	_, text, _ = strings.Cut(text, "<h1>")
	text, _, _ = strings.Cut(text, "</h1>")
	return text
}

// Library answers as the origin server.
type Library struct {
	mux *http.ServeMux
	now func() time.Time
}

// New makes the library's pages ready. now tells the time for the page that shows it.
func New(now func() time.Time) (*Library, error) {
	l := &Library{mux: http.NewServeMux(), now: now}
	if err := l.pages(); err != nil {
		return nil, err
	}
	made := map[string]func() ([]byte, error){}
	for p, s := range sheets() {
		made[p] = func() ([]byte, error) { return s.pdf(), nil }
	}
	for p, draw := range pictures() {
		made[p] = sync.OnceValues(draw)
	}
	for p, make := range made {
		l.add(p, cacheFile, make)
	}
	l.add("/atlas.zip", cacheFile, sync.OnceValues(func() ([]byte, error) { return atlas(made) }))
	for p, name := range map[string]string{
		"/style.css": "style.css", "/pictures/water.svg": "water.svg", "/pictures/volcano.svg": "volcano.svg",
		"/pictures/geometry.svg": "geometry.svg", "/pictures/preau.svg": "preau.svg",
		"/film/water-cycle.mp4": "water-cycle.mp4", "/film/water-cycle.fr.vtt": "water-cycle.fr.vtt", "/film/water-cycle.en.vtt": "water-cycle.en.vtt",
	} {
		b, err := files.ReadFile("files/" + name)
		if err != nil {
			return nil, fmt.Errorf("library: %w", err)
		}
		l.add(p, cacheFile, func() ([]byte, error) { return b, nil })
	}
	for p, size := range map[string]int64{"/packs/lesson-12.bin": 12_000_000, "/packs/lesson-50.bin": 50_000_000} {
		l.mux.HandleFunc("GET "+p, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/octet-stream")
			w.Header().Set("Cache-Control", cacheFile)
			w.Header().Set("Etag", fmt.Sprintf(`"pack-%d-1"`, size))
			http.ServeContent(w, r, "", changed, &pack{seed: uint64(size), size: size})
		})
	}
	return l, nil
}

// ServeHTTP implements [http.Handler].
func (l *Library) ServeHTTP(w http.ResponseWriter, r *http.Request) { l.mux.ServeHTTP(w, r) }

// add serves one body with a strong validator and its digest.
func (l *Library) add(p, cache string, body func() ([]byte, error)) {
	kind := mime.TypeByExtension(path.Ext(p))
	switch path.Ext(p) { // the machine's own tables differ
	case ".vtt":
		kind = "text/vtt; charset=utf-8"
	case ".mp4":
		kind = "video/mp4"
	case ".zip":
		kind = "application/zip"
	}
	l.mux.HandleFunc("GET "+p, func(w http.ResponseWriter, r *http.Request) {
		b, err := body()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		serve(w, r, kind, cache, b)
	})
}

func serve(w http.ResponseWriter, r *http.Request, kind, cache string, b []byte) {
	sum := sha256.Sum256(b)
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("Cache-Control", cache)
	h.Set("Etag", `"`+hex.EncodeToString(sum[:8])+`"`)
	h.Set("Repr-Digest", "sha-256=:"+base64.StdEncoding.EncodeToString(sum[:])+":") // RFC 9530 §3
	h.Set("Content-Security-Policy", "default-src 'self'; object-src 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	http.ServeContent(w, r, "", changed, bytes.NewReader(b))
}

var layout = template.Must(template.New("page").Parse(`<!doctype html>
<html lang="{{.Lang}}"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>{{.Title}}</title><link rel="stylesheet" href="/style.css"><link rel="icon" href="/pictures/preau.svg" type="image/svg+xml"></head>
<body><header><b>{{if eq .Lang "fr"}}La petite bibliothèque{{else}}The little library{{end}}</b>
<a href="/{{.Lang}}/">{{if eq .Lang "fr"}}Accueil{{else}}Front page{{end}}</a>
<a href="/{{.Other}}/{{.Name}}" lang="{{.Other}}" hreflang="{{.Other}}">{{if eq .Lang "fr"}}English{{else}}Français{{end}}</a></header>
<main>{{.Body}}</main>
<footer>{{if eq .Lang "fr"}}Pages d’exemple, faites pour la démonstration de Préau.{{else}}Sample pages, made for the Préau demonstration.{{end}}</footer></body></html>
`))

type page struct {
	Lang, Other, Name, Title string
	Body                     template.HTML
}

func (p page) render() ([]byte, error) {
	p.Other = map[string]string{"fr": "en", "en": "fr"}[p.Lang]
	p.Title = heading(string(p.Body))
	var b bytes.Buffer
	if err := layout.Execute(&b, p); err != nil {
		return nil, fmt.Errorf("library: page %s: %w", p.Name, err)
	}
	return b.Bytes(), nil
}

func (l *Library) pages() error {
	const html = "text/html; charset=utf-8"
	front := map[string][]byte{}
	for _, lang := range []string{"fr", "en"} {
		entries, err := fs.ReadDir(files, "files/"+lang)
		if err != nil {
			return fmt.Errorf("library: %w", err)
		}
		for _, e := range entries {
			name := strings.TrimSuffix(e.Name(), ".html")
			text, err := files.ReadFile("files/" + lang + "/" + e.Name())
			if err != nil {
				return fmt.Errorf("library: %w", err)
			}
			p, cache := "/"+lang+"/"+name, cachePage
			switch name {
			case "index":
				p, name = "/"+lang+"/{$}", ""
			case "menu":
				cache = cacheCheck
			}
			b, err := page{Lang: lang, Name: name, Body: template.HTML(text)}.render()
			if err != nil {
				return err
			}
			if name == "" {
				front[lang] = b
			}
			l.mux.HandleFunc("GET "+p, func(w http.ResponseWriter, r *http.Request) { serve(w, r, html, cache, b) })
		}
		l.mux.HandleFunc("GET /"+lang+"/time", func(w http.ResponseWriter, _ *http.Request) { l.time(w, lang) })
	}
	l.mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Vary", "Accept-Language")
		lang := "fr"
		if first, _, _ := strings.Cut(strings.ToLower(r.Header.Get("Accept-Language")), ","); strings.HasPrefix(first, "en") {
			lang = "en"
		}
		serve(w, r, html, cachePage, front[lang])
	})
	return nil
}

// time is the page that must never be kept.
func (l *Library) time(w http.ResponseWriter, lang string) {
	text := "<h1>The time at the library</h1><p class=\"lead\">It is <b>%s</b>. This page is <code>no-store</code>: it comes over the line each time, and is gone when the line is.</p>"
	if lang == "fr" {
		text = "<h1>L’heure à la bibliothèque</h1><p class=\"lead\">Il est <b>%s</b>. Cette page est <code>no-store</code> : elle passe par la ligne à chaque fois, et disparaît avec elle.</p>"
	}
	b, err := page{Lang: lang, Name: "time", Body: template.HTML(fmt.Sprintf(text, l.now().Format("15:04:05")))}.render()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", cacheNever)
	if _, err := io.Copy(w, bytes.NewReader(b)); err != nil {
		return // the reader left
	}
}

// atlas is a real ZIP of all pictures and sheets, in the order of their names:
// the same bytes at every start.
func atlas(all map[string]func() ([]byte, error)) ([]byte, error) {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, p := range slices.Sorted(maps.Keys(all)) {
		body, err := all[p]()
		if err != nil {
			return nil, err
		}
		f, err := z.CreateHeader(&zip.FileHeader{Name: strings.TrimPrefix(p, "/"), Method: zip.Store, Modified: changed})
		if err != nil {
			return nil, fmt.Errorf("library: atlas: %w", err)
		}
		if _, err := f.Write(body); err != nil {
			return nil, fmt.Errorf("library: atlas: %w", err)
		}
	}
	if err := z.Close(); err != nil {
		return nil, fmt.Errorf("library: atlas: %w", err)
	}
	return b.Bytes(), nil
}
