package shelf

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

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
		Pinned: "gardé", Other: "Autres", More: "La suite de la liste",
		units: [4]string{"octets", "Ko", "Mo", "Go"}, point: ",",
	},
	"en": {
		Lang: "en", Title: "Resources of the region", Intro: "These documents are published for schools. Those on this box open even without the line.",
		Empty: "Nothing is published at the moment.", Here: "on this box", Partly: "partly on this box", NotYet: "not yet on this box",
		Pinned: "kept", Other: "Others", More: "More of the list",
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
	items, next, err := s.listing(r.Context(), r.URL.Query().Get("after"), say)
	if err != nil {
		s.log.WarnContext(r.Context(), "what is published can't be listed", "err", err)
		s.refuse(w, r, http.StatusServiceUnavailable)
		return
	}
	if next != "" {
		next = Prefix + "?" + url.Values{"after": {next}}.Encode()
	}
	var b bytes.Buffer
	if accepts(r, "application/json") {
		h.Set("Content-Type", "application/json")
		err = json.NewEncoder(&b).Encode(page{Items: items, More: next != "", Next: next})
	} else {
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Language", say.Lang)
		h.Set("Content-Security-Policy", listPolicy)
		err = listTemplate.Execute(&b, struct {
			words
			Style       template.CSS
			Collections []collection
			Next        string
		}{say, template.CSS(listStyle), byCollection(items, say.Other), next})
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

// page is a part of the list as scripts see it.
type page struct {
	Items []listed `json:"items"`
	More  bool     `json:"more"`
	Next  string   `json:"next,omitempty"` // where the rest is
}

// listing describes the items after a position, those of one page in the order
// of people's words, and tells the position of the next page.
func (s *Shelf) listing(ctx context.Context, after string, say words) (out []listed, next string, err error) {
	items, next, err := s.cat.Page(ctx, after, s.cfg.Page)
	if err != nil {
		return nil, "", err
	}
	slices.SortFunc(items, func(a, b Item) int {
		return cmp.Or(cmp.Compare(a.Collection, b.Collection), cmp.Compare(a.Title, b.Title), cmp.Compare(a.ID, b.ID))
	})
	out = make([]listed, 0, len(items))
	for _, it := range items {
		if it.validateWords() != nil {
			continue
		}
		l := listed{
			ID: it.ID, Collection: it.Collection, Title: cmp.Or(it.Title, it.Filename), Path: it.Path(), ContentType: it.ContentType,
			Language: it.Language, Licence: it.Licence, Bytes: it.Length, State: "absent",
			SHA256: it.SHA256.String(), Modified: it.ModTime, Size: say.size(it.Length), Where: say.NotYet,
		}
		if state, err := s.StateOf(it); err == nil {
			l.HeldBytes, l.Pinned = state.Held, state.Pinned
			switch {
			case state.Complete:
				l.State, l.Where = "complete", say.Here
			case state.Held > 0:
				l.State, l.Where = "partial", say.Partly
			}
		}
		out = append(out, l)
	}
	return out, next, nil
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
	h.Set("Content-Length", strconv.Itoa(len(text)+1)) // the handler may go on after it
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
