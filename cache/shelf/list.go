package shelf

import (
	"bytes"
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"preau/cache/page"
)

//go:embed list.html
var listSource string

var listFrame = page.Must(listSource)

// words are what the list says, in one language.
type words struct {
	Title, Intro, Empty, Here, Partly, NotYet, Other, More string
}

var listWords = page.Both[words]{
	French: words{
		Title: "Ressources de l’académie", Intro: "Ces documents sont publiés pour les écoles. Ceux qui sont sur cette boîte s’ouvrent même sans ligne.",
		Empty: "Rien n’est publié pour le moment.", Here: "sur cette boîte", Partly: "en partie sur cette boîte", NotYet: "pas encore sur cette boîte",
		Other: "Autres", More: "La suite de la liste",
	},
	English: words{
		Title: "Resources of the region", Intro: "These documents are published for schools. Those on this box open even without the line.",
		Empty: "Nothing is published at the moment.", Here: "on this box", Partly: "partly on this box", NotYet: "not yet on this box",
		Other: "Others", More: "More of the list",
	},
}

// links lead on from a trouble; again is of those that pass.
type links struct{ all, again page.Link }

var troubleLinks = page.Both[links]{
	French:  links{all: page.Link{To: Prefix, Label: "Toutes les ressources"}, again: page.Link{Label: "Réessayer"}},
	English: links{all: page.Link{To: Prefix, Label: "All resources"}, again: page.Link{Label: "Try again"}},
}

// troubles are what is said for a status; 0 is any other.
var troubles = map[int]page.Both[page.Notice]{
	http.StatusNotFound: {
		French:  page.Notice{Title: "Ce document n’existe pas ici", Advice: "L’adresse est peut-être incomplète : cherchez-le dans la liste."},
		English: page.Notice{Title: "There is no such document here", Advice: "The address may be cut short: look for it in the list."},
	},
	http.StatusGone: {
		French:  page.Notice{Title: "Ce document n’est plus publié", Advice: "Une version plus récente est peut-être dans la liste."},
		English: page.Notice{Title: "This document is no longer published", Advice: "There may be a newer one in the list."},
	},
	http.StatusGatewayTimeout: {
		French: page.Notice{
			Title:  "Ce document n’est pas encore sur la boîte de l’école",
			Text:   "La ligne ne permet pas de le chercher maintenant.",
			Advice: "Réessayez plus tard. Rien n’est cassé sur votre appareil.",
		},
		English: page.Notice{
			Title:  "This document is not yet on the school’s box",
			Text:   "The line does not let it be fetched now.",
			Advice: "Try again later. Nothing is wrong with your device.",
		},
	},
	0: {
		French: page.Notice{
			Title:  "Ceci ne peut pas être envoyé maintenant",
			Advice: "Réessayez dans un moment. Si cela continue, signalez-le à la personne qui s’occupe de l’informatique de l’école.",
		},
		English: page.Notice{
			Title:  "This cannot be sent now",
			Advice: "Try again in a while. If it goes on, tell the person who looks after the school’s computers.",
		},
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

// Hreflang is the language that a link can name: just one.
func (l listed) Hreflang() string {
	if strings.ContainsAny(l.Language, ", ") {
		return ""
	}
	return l.Language
}

type collection struct {
	Name  string
	Items []listed
}

func (s *Shelf) serveList(w http.ResponseWriter, r *http.Request) {
	s.metrics.requests.WithLabelValues(resultList).Inc()
	h := w.Header()
	h.Set("Vary", page.Vary)
	lang := page.Language(r)
	say := listWords.In(lang)
	items, next, err := s.listing(r.Context(), r.URL.Query().Get("after"), lang)
	if err != nil {
		s.log.WarnContext(r.Context(), "what is published can't be listed", "err", err)
		s.refuse(w, r, http.StatusServiceUnavailable)
		return
	}
	if next != "" {
		next = Prefix + "?" + url.Values{"after": {next}}.Encode()
	}
	if page.Asked(r, "text/html", "application/json") != "application/json" { // people first
		err = listFrame.Write(w, r, page.Answer{Status: http.StatusOK, Lang: lang, Title: say.Title, Body: struct {
			words
			Collections []collection
			Next        string
		}{say, byCollection(items, say.Other), next}})
		if err != nil {
			s.log.WarnContext(r.Context(), "the list can't be made", "err", err)
			s.refuse(w, r, http.StatusInternalServerError)
		}
		return
	}
	var b bytes.Buffer
	if err := json.NewEncoder(&b).Encode(part{Items: items, More: next != "", Next: next}); err != nil {
		s.log.WarnContext(r.Context(), "the list can't be made", "err", err)
		s.refuse(w, r, http.StatusInternalServerError)
		return
	}
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(b.Len()))
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		_, _ = w.Write(b.Bytes()) // nobody to tell
	}
}

// part is a part of the list as scripts see it.
type part struct {
	Items []listed `json:"items"`
	More  bool     `json:"more"`
	Next  string   `json:"next,omitempty"` // where the rest is
}

// listing describes the items after a position, those of one page in the order
// of people's words, and tells the position of the next page.
func (s *Shelf) listing(ctx context.Context, after string, lang page.Lang) (out []listed, next string, err error) {
	items, next, err := s.cat.Page(ctx, after, s.cfg.Page)
	if err != nil {
		return nil, "", err
	}
	slices.SortFunc(items, func(a, b Item) int {
		return cmp.Or(cmp.Compare(a.Collection, b.Collection), cmp.Compare(a.Title, b.Title), cmp.Compare(a.ID, b.ID))
	})
	say := listWords.In(lang)
	out = make([]listed, 0, len(items))
	for _, it := range items {
		if it.validateWords() != nil {
			continue
		}
		l := listed{
			ID: it.ID, Collection: it.Collection, Title: cmp.Or(it.Title, it.Filename), Path: it.Path(), ContentType: it.ContentType,
			Language: it.Language, Licence: it.Licence, Bytes: it.Length, State: "absent",
			SHA256: it.SHA256.String(), Modified: it.ModTime, Size: page.Size(it.Length, lang), Where: say.NotYet,
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

func writeTrouble(w http.ResponseWriter, r *http.Request, status int) {
	lang := page.Language(r)
	both, ok := troubles[status]
	if !ok {
		both = troubles[0]
	}
	say, to := both.In(lang), troubleLinks.In(lang)
	if status >= http.StatusInternalServerError {
		say.Links = append(say.Links, to.again)
	}
	say.Links = append(say.Links, to.all)
	w.Header().Set("Cache-Control", "no-store")
	say.Write(w, r, status, lang)
}
