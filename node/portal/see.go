package portal

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"path"
	"slices"
	"strings"

	"preau/cache/page"
	"preau/node/portal/look"
)

const (
	// bigPicture is the size from which a picture is not shown unasked.
	bigPicture = 6_000_000
	// beginning is how much of a text is shown.
	beginning  = 64 << 10
	mostOthers = 6
	mostTracks = 8
)

var (
	seePage    = look.Must("pages/see.html", files, "pages/parts.html")
	streamPage = look.Must("pages/stream.html", files)
)

// track is captions of a film.
type track struct {
	Path, Lang, Label string
}

type seeBody struct {
	row
	Show     string // the sort of preview: picture, audio, video, pdf, text; empty for none
	Tracks   []track
	Text     string
	Cut      bool // of it there is more
	TextLang string
	Big      bool
	Tongue   string // the thing's language in words
	StageIn  string // where it is kept, in words
	Long     string // whether it can be had, in a sentence
	Down     bool   // it can't
	Others   []row
	CPath    string
}

// see is the page on one thing.
func (p *Portal) see(w http.ResponseWriter, r *http.Request) {
	kind := Kind(r.PathValue("kind"))
	was, ok := p.library.get(kind, r.PathValue("id"))
	if !ok {
		p.fail(w, r, http.StatusNotFound)
		return
	}
	src := p.parts.Published
	if kind == Added {
		src = p.parts.Added
	}
	e, err := src.Look(r.Context(), *was)
	switch {
	case errors.Is(err, ErrGone):
		p.fail(w, r, http.StatusGone)
		return
	case errors.Is(err, ErrNone):
		p.fail(w, r, http.StatusNotFound)
		return
	case err != nil:
		p.log.WarnContext(r.Context(), "a thing of the portal can't be looked up", "kind", string(kind), "err", err)
		p.fail(w, r, http.StatusServiceUnavailable)
		return
	}
	p.answer(w, r, "see", seePage, func(context.Context) look.Page {
		lang := look.Lang(r)
		say := sayings.In(lang)
		can := p.reachNow()
		b := seeBody{row: can.row(&e, lang), CPath: "/c/" + segment(e.Collection)}
		p.preview(r, &b)
		b.Tongue = cmp.Or(say.Languages[mainTag(e.Language)], e.Language)
		b.StageIn = say.Stages[e.Stage]
		b.Long, b.Down = can.inWords(&e, lang)
		name := cmp.Or(e.Collection, say.NoCollection)
		if c := p.library.now().byName[e.Collection]; c != nil {
			b.Others = can.rows(beside(c, &e), lang)
			for i := range b.Others {
				b.Others[i].Where = ""
			}
		}
		return look.Page{
			Title: e.Name(), Bare: true, Body: b, Words: say,
			Crumbs: []look.Crumb{{To: "/c/", Label: say.Collections}, {To: b.CPath, Label: name}},
		}
	})
}

// inWords says in a sentence whether a thing can be opened now.
func (can reach) inWords(e *Entry, lang page.Lang) (text string, down bool) {
	say := sayings.In(lang)
	switch {
	case e.Whole():
		return say.WholeLong, false
	case !can[e.Kind]:
		return say.AwayDown, true
	case e.Held > 0:
		return say.PartlyLong, false
	}
	return say.AwayLong, false
}

// preview is what is shown of a thing on its page.
func (p *Portal) preview(r *http.Request, b *seeBody) {
	e := b.Entry
	switch sort := e.Sort(); {
	case sort == look.Picture && e.Bytes > bigPicture:
		b.Big = true
	case sort == look.Picture:
		b.Show = "picture"
	case sort == look.Audio, sort == look.Video && !isPlaylist(e.ContentType):
		b.Show = sort.Class()
		b.Tracks = p.tracks(e, look.Lang(r))
	case strings.HasPrefix(e.ContentType, "application/pdf"):
		b.Show = "pdf"
	case sort == look.Text && e.Whole():
		if text, ok := p.beginningOf(r, e); ok {
			b.Show, b.Text, b.Cut, b.TextLang = "text", text, e.Bytes > beginning, e.Lang()
		}
	}
}

func isPlaylist(kind string) bool { return strings.Contains(strings.ToLower(kind), "mpegurl") }

// tracks are the captions that lie beside a film: film.vtt, film.fr.vtt.
func (p *Portal) tracks(e *Entry, lang page.Lang) []track {
	c := p.library.now().byName[e.Collection]
	if c == nil {
		return nil
	}
	say := sayings.In(lang)
	stem := strings.TrimSuffix(e.Filename, path.Ext(e.Filename))
	var out []track
	for _, o := range c.captions {
		tag, ok := strings.CutPrefix(strings.TrimSuffix(o.Filename, captionsEnd), stem)
		if !ok || tag != "" && tag[0] != '.' || len(out) == mostTracks {
			continue
		}
		tag = strings.TrimPrefix(tag, ".")
		tongue := cmp.Or(tag, o.Lang(), e.Lang(), string(lang))
		out = append(out, track{Path: o.Path(), Lang: tongue, Label: cmp.Or(say.Languages[mainTag(tongue)], tongue)})
	}
	// Those in the reader's own language are on from the start.
	slices.SortStableFunc(out, func(a, b track) int {
		return btoi(mainTag(a.Lang) != string(lang)) - btoi(mainTag(b.Lang) != string(lang))
	})
	return out
}

// mainTag is the language of a language tag.
func mainTag(tag string) string {
	tag, _, _ = strings.Cut(tag, "-")
	return strings.ToLower(tag)
}

// beside are the things that come after one in its collection, and then those
// from its beginning.
func beside(c *collection, e *Entry) []*Entry {
	at := slices.IndexFunc(c.Entries, func(o *Entry) bool { return o.ID == e.ID && o.Kind == e.Kind })
	var out []*Entry
	for i := 1; i < len(c.Entries) && len(out) < mostOthers; i++ {
		out = append(out, c.Entries[(at+i+len(c.Entries))%len(c.Entries)])
	}
	return out
}

// seeStream is the page on a stream of a site that comes in pieces.
func (p *Portal) seeStream(w http.ResponseWriter, r *http.Request) {
	at := strings.TrimPrefix(r.URL.EscapedPath(), "/see")
	if !strings.HasSuffix(strings.ToLower(r.URL.Path), ".m3u8") || p.parts.Sites == nil {
		p.fail(w, r, http.StatusNotFound)
		return
	}
	query := r.URL.Query()
	code, back := query.Get("lesson"), ""
	query.Del("lesson")
	if len(query) > 0 {
		at += "?" + query.Encode()
	}
	say := sayings.In(look.Lang(r))
	title := say.Stream
	var crumbs []look.Crumb
	if l, ok := p.lessonOf(code); ok {
		back = "/l/" + l.Code
		crumbs = []look.Crumb{{To: back, Label: l.Title}}
		for _, it := range l.Items {
			if it.Stream == at {
				title = it.Title
			}
		}
	}
	p.answer(w, r, "see", streamPage, func(context.Context) look.Page {
		return look.Page{
			Title: title, Crumbs: crumbs, Streams: true, Words: say,
			// The whole of it, on this page alone: what its light build lacks is sound
			// that comes apart from the picture, and captions.
			Scripts: []string{assets.Asset("hls.min.js"), assets.Asset("play.js")},
			Body:    struct{ Stream, Back string }{at, back},
		}
	})
}
