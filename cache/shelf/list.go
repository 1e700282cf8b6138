package shelf

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"html/template"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// mostListed bounds the items on one page.
const mostListed = 5000

//go:embed list.html
var listSource string

//go:embed list.css
var listStyle string

var listTemplate = template.Must(template.New("list").Parse(listSource))

var listPolicy = func() string {
	sum := sha256.Sum256([]byte(listStyle))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
}()

// words are what pages say, in one language.
type words struct {
	Lang, Title, Intro, Empty, Here, Partly, NotYet, Pinned, Other, More string
	units                                                                [4]string
	point                                                                string
}

var pageWords = map[string]words{
	"fr": {
		Lang: "fr", Title: "Ressources de l’académie", Intro: "Ces documents sont publiés pour les écoles. Ceux qui sont sur cette boîte s’ouvrent même sans ligne.",
		Empty: "Rien n’est publié pour le moment.", Here: "sur cette boîte", Partly: "en partie sur cette boîte", NotYet: "pas encore sur cette boîte",
		Pinned: "gardé", Other: "Autres", More: "La liste est plus longue que cette page.",
		units: [4]string{"octets", "Ko", "Mo", "Go"}, point: ",",
	},
	"en": {
		Lang: "en", Title: "Resources of the region", Intro: "These documents are published for schools. Those on this box open even without the line.",
		Empty: "Nothing is published at the moment.", Here: "on this box", Partly: "partly on this box", NotYet: "not yet on this box",
		Pinned: "kept", Other: "Others", More: "The list is longer than this page.",
		units: [4]string{"bytes", "KB", "MB", "GB"}, point: ".",
	},
}

var troubles = map[string]map[int]string{
	"fr": {
		http.StatusNotFound: "Ce document n’existe pas ici.", http.StatusGone: "Ce document n’est plus publié.",
		http.StatusGatewayTimeout: "Ce document n’est pas encore sur la boîte de l’école, et la ligne ne permet pas de le chercher maintenant. Réessayez plus tard.",
		0:                         "Ce document ne peut pas être envoyé maintenant.",
	},
	"en": {
		http.StatusNotFound: "There is no such document here.", http.StatusGone: "This document is no longer published.",
		http.StatusGatewayTimeout: "This document is not yet on the school’s box, and the line does not let it be fetched now. Try again later.",
		0:                         "This document cannot be sent now.",
	},
}

// listed is one item as people and scripts see it.
type listed struct {
	ID          string    `json:"id"`
	Collection  string    `json:"collection"`
	Title       string    `json:"title"`
	Path        string    `json:"path"`
	ContentType string    `json:"content_type"`
	Language    string    `json:"language,omitempty"`
	Licence     string    `json:"licence,omitempty"`
	Bytes       int64     `json:"bytes"`
	HeldBytes   int64     `json:"held_bytes"`
	State       string    `json:"state"` // absent, partial, complete
	Pinned      bool      `json:"pinned"`
	SHA256      string    `json:"sha256"`
	Modified    time.Time `json:"modified,omitzero"`

	Size, Where string `json:"-"`
}

type collection struct {
	Name  string
	Items []listed
}

func (s *Shelf) serveList(w http.ResponseWriter, r *http.Request) {
	s.metrics.requests.WithLabelValues(resultList).Inc()
	h := w.Header()
	h.Set("Vary", "Accept, Accept-Language")
	say := pageWords[languageOf(r)]
	items, more := s.listing(say)
	var b bytes.Buffer
	var err error
	if accepts(r, "application/json") {
		h.Set("Content-Type", "application/json")
		err = json.NewEncoder(&b).Encode(map[string]any{"items": items, "more": more})
	} else {
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Language", say.Lang)
		h.Set("Content-Security-Policy", listPolicy)
		err = listTemplate.Execute(&b, struct {
			words
			Style       template.CSS
			Collections []collection
			Long        bool
		}{say, template.CSS(listStyle), byCollection(items, say.Other), more})
	}
	if err != nil {
		s.log.WarnContext(r.Context(), "the list can't be made", "err", err)
		s.refuse(w, r, http.StatusInternalServerError)
		return
	}
	h.Set("Content-Length", strconv.Itoa(b.Len()))
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		_, _ = w.Write(b.Bytes()) // nobody to tell
	}
}

// listing describes the items in the order of the page.
func (s *Shelf) listing(say words) (out []listed, more bool) {
	s.mu.RLock()
	entries := make([]entry, 0, len(s.items))
	for _, e := range s.items {
		entries = append(entries, *e)
	}
	s.mu.RUnlock()
	slices.SortFunc(entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.Collection, b.Collection), cmp.Compare(a.Title, b.Title), cmp.Compare(a.ID, b.ID))
	})
	more = len(entries) > mostListed
	entries = entries[:min(len(entries), mostListed)]
	st := s.store()
	out = make([]listed, 0, len(entries))
	for _, e := range entries {
		l := listed{
			ID: e.ID, Collection: e.Collection, Title: cmp.Or(e.Title, e.Filename), Path: e.Path(), ContentType: e.ContentType,
			Language: e.Language, Licence: e.Licence, Bytes: e.Length, State: "absent", Pinned: e.pinned,
			SHA256: e.SHA256.String(), Modified: e.ModTime, Size: say.size(e.Length), Where: say.NotYet,
		}
		if st != nil {
			if state, err := s.state(st, e); err == nil {
				l.HeldBytes = state.Held
				switch {
				case state.Complete:
					l.State, l.Where = "complete", say.Here
				case state.Held > 0:
					l.State, l.Where = "partial", say.Partly
				}
			}
		}
		out = append(out, l)
	}
	return out, more
}

func byCollection(items []listed, other string) []collection {
	var out []collection
	for _, l := range items {
		name := cmp.Or(l.Collection, other)
		if len(out) == 0 || out[len(out)-1].Name != name {
			out = append(out, collection{Name: name})
		}
		c := &out[len(out)-1]
		c.Items = append(c.Items, l)
	}
	return out
}

// size writes a number of bytes as people read it.
func (w words) size(n int64) string {
	unit, v := 0, float64(n)
	for v >= 1000 && unit < len(w.units)-1 {
		v /= 1000
		unit++
	}
	digits := 0
	if unit > 0 && v < 10 {
		digits = 1
	}
	return strings.Replace(strconv.FormatFloat(v, 'f', digits, 64), ".", w.point, 1) + " " + w.units[unit]
}

func writeTrouble(w http.ResponseWriter, r *http.Request, status int) {
	text, ok := troubles[languageOf(r)][status]
	if !ok {
		text = troubles[languageOf(r)][0]
	}
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write([]byte(text + "\n")) // nobody to tell
	}
}

func accepts(r *http.Request, kind string) bool {
	for _, v := range r.Header.Values("Accept") {
		for item := range strings.SplitSeq(v, ",") {
			name, _, _ := strings.Cut(item, ";")
			switch strings.ToLower(strings.TrimSpace(name)) {
			case kind:
				return true
			case "text/html":
				return false // people first
			}
		}
	}
	return false
}

// languageOf picks French or English by Accept-Language (RFC 9110 §12.5.4).
func languageOf(r *http.Request) string {
	best, lang := 0.0, "fr"
	for item := range strings.SplitSeq(r.Header.Get("Accept-Language"), ",") {
		tag, params, _ := strings.Cut(strings.TrimSpace(item), ";")
		main, _, _ := strings.Cut(strings.ToLower(strings.TrimSpace(tag)), "-")
		q := 1.0
		if v, ok := strings.CutPrefix(strings.TrimSpace(params), "q="); ok {
			q, _ = strconv.ParseFloat(v, 64) //nolint:errcheck // what is no number counts as 0
		}
		if (main == "fr" || main == "en") && q > best {
			best, lang = q, main
		}
	}
	return lang
}
