package portal

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"rsc.io/qr"

	"preau/cache/page"
	"preau/node/portal/look"
)

var (
	lessonPage = look.Must("pages/lesson.html", files, "pages/parts.html")
	codePage   = look.Must("pages/code.html", files)
)

// mostCode bounds what is looked up as a code.
const mostCode = 20

// lessonOf finds a lesson by what was typed as its code.
func (p *Portal) lessonOf(code string) (Lesson, bool) {
	code = strings.ToUpper(strings.ReplaceAll(strings.TrimSpace(code), " ", ""))
	if p.parts.Lessons == nil || code == "" || len(code) > mostCode {
		return Lesson{}, false
	}
	return p.parts.Lessons.ByCode(code)
}

// lessonRow is an item of a lesson on its page.
type lessonRow struct {
	LessonItem
	Link    string // a path of the portal
	Out     string // an address elsewhere
	Host    string // of that
	Class   string
	Icon    string
	State   string
	Because string
}

func (p *Portal) lesson(w http.ResponseWriter, r *http.Request) {
	code := r.PathValue("code")
	if short, ok := strings.CutSuffix(code, ".svg"); ok {
		p.lessonCode(w, r, short, false)
		return
	}
	if short, ok := strings.CutSuffix(code, ".png"); ok {
		p.lessonCode(w, r, short, true)
		return
	}
	l, ok := p.lessonOf(code)
	if !ok {
		p.writeCode(w, r, code)
		return
	}
	p.answer(w, r, "lesson", lessonPage, func(context.Context) look.Page {
		lang := look.Lang(r)
		say := sayings.In(lang)
		type body struct {
			lessonCard
			Rows []lessonRow
			Line lineBody
		}
		b := body{lessonCard: lessonCardOf(l, say), Line: p.lineNow(lang)}
		for _, it := range l.Items {
			b.Rows = append(b.Rows, p.lessonRow(l, it, lang))
		}
		return look.Page{Title: l.Title, Bare: true, Body: b, Words: say, Scripts: nil}
	})
}

func (p *Portal) lessonRow(l Lesson, it LessonItem, lang page.Lang) lessonRow {
	out := lessonRow{LessonItem: it, State: sayings.In(lang).LightNames[it.Light], Because: it.Why.In(lang)}
	sort := look.Kind(it.Type)
	switch {
	case it.Kind != "":
		out.Link = "/see/" + string(it.Kind) + "/" + url.PathEscape(it.ID)
		if e, ok := p.library.get(it.Kind, it.ID); ok {
			sort = e.Sort()
			if out.Title == "" {
				out.Title = e.Name()
			}
			if out.Bytes == 0 {
				out.Bytes = e.Bytes
			}
		}
	case strings.HasPrefix(it.Stream, "/o/"):
		u, err := url.Parse(it.Stream)
		if err == nil {
			q := u.Query()
			q.Set("lesson", l.Code)
			out.Link = "/see" + u.EscapedPath() + "?" + q.Encode()
		}
		sort = look.Video
	case strings.HasPrefix(it.To, "/") && !strings.HasPrefix(it.To, "//"):
		out.Link = it.To
		if it.Type == "" {
			sort = look.Web
		}
	default:
		if u, err := url.Parse(it.To); err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" {
			out.Out, out.Host = u.String(), u.Hostname()
		}
		if it.Type == "" {
			sort = look.Web
		}
	}
	if out.Title == "" {
		out.Title = it.To
	}
	out.Class, out.Icon = sort.Class(), sort.Icon()
	return out
}

// askCode is where a code is typed.
func (p *Portal) askCode(w http.ResponseWriter, r *http.Request) {
	if p.parts.Lessons == nil {
		p.lost(w, r)
		return
	}
	code := r.URL.Query().Get("code")
	if l, ok := p.lessonOf(code); ok {
		http.Redirect(w, r, look.Path(r, "/l/"+url.PathEscape(l.Code)), http.StatusSeeOther)
		return
	}
	p.writeCode(w, r, code)
}

// writeCode asks for a code, again if one was given that is none.
func (p *Portal) writeCode(w http.ResponseWriter, r *http.Request, code string) {
	if p.parts.Lessons == nil {
		p.lost(w, r)
		return
	}
	status := http.StatusOK
	if code != "" {
		status = http.StatusNotFound
	}
	say := sayings.In(look.Lang(r))
	if len(code) > mostCode {
		code = strings.ToValidUTF8(code[:mostCode], "")
	}
	err := codePage.Write(w, r, look.Page{Title: say.CodeTitle, Status: status, Words: say, Body: code})
	if err != nil {
		p.log.ErrorContext(r.Context(), "a page can't be made", "page", "code", "err", err)
		p.fail(w, r, http.StatusInternalServerError)
	}
}

// lessonCode draws a lesson's address as a QR code.
func (p *Portal) lessonCode(w http.ResponseWriter, r *http.Request, code string, png bool) {
	l, ok := p.lessonOf(code)
	host := r.Host
	if !ok || !hostname(host) {
		p.fail(w, r, http.StatusNotFound)
		return
	}
	scheme := "http://"
	if r.TLS != nil {
		scheme = "https://"
	}
	drawn, err := qr.Encode(scheme+host+"/l/"+url.PathEscape(l.Code), qr.M)
	if err != nil {
		p.fail(w, r, http.StatusNotFound)
		return
	}
	h := w.Header()
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Content-Type-Options", "nosniff")
	body := []byte(look.SVG(drawn))
	h.Set("Content-Type", "image/svg+xml")
	if png {
		body = drawn.PNG()
		h.Set("Content-Type", "image/png")
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // nobody to tell
	}
}

// hostname reports a Host that may stand in an address.
func hostname(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = host
	}
	return name != "" && len(host) < 256 && !strings.ContainsFunc(host, func(c rune) bool {
		return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.ContainsRune(".-:[]", c))
	})
}
