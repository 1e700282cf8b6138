package edge

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"html"
	"io"
	"net/http"
	"strings"
	"time"

	xhtml "golang.org/x/net/html"

	"preau/cache/object"
	"preau/cache/page"
	"preau/cache/rfc9111"
)

// mostDated bounds the pages that are shown with their date; what is larger is
// sent as it is.
const mostDated = 4 << 20

// dates reports whether the person who asks should see on the page itself that
// it is an old copy: where the plan says so, for a device that opens a page (and
// not for a script that fetches a piece of one), as long as neither side forbids
// it. Everybody else is told in the fields alone.
func (x *exchange) dates(o *object.Object, cs rfc9111.CacheStatus, result string) bool {
	if !x.device || !x.shared || !x.plan.Dated || !cs.Hit || result != resultStale || cs.Detail == sourceLocal && x.lineUp() {
		return false
	}
	dest := x.plan.r.Header.Get("Sec-Fetch-Dest")
	kind, _, _ := strings.Cut(o.Header.Get("Content-Type"), ";")
	return o.Status == http.StatusOK && !o.Fragment && o.Length <= mostDated && wantsPage(x.plan.r) && (dest == "" || dest == "document") &&
		strings.EqualFold(strings.TrimSpace(kind), "text/html") && !untouchable(x.r.Header, o.Header)
}

// serveDated sends a page that can't be had anew with a line above it that says
// so, and of when it is. What the site sent is stored and goes to other boxes as
// it is; what is sent here says that it was changed on the way (203, RFC 9110
// sections 7.7 and 15.3.4), has a strong entity tag of its own, and is to be asked
// for again each time, so that nobody keeps it once the site is back. false means
// that nothing was sent.
func (x *exchange) serveDated(o *object.Object, cs rfc9111.CacheStatus, result string) bool {
	if !x.dates(o, cs, result) {
		return false
	}
	text, ok := x.whole(o)
	if !ok {
		return false
	}
	now := time.Now()
	lang := page.Language(x.plan.r)
	// A Date has whole seconds: what a clock that is being set right adds must not
	// make another minute of it, and so another entity tag.
	of := now.Add(-response(o).CurrentAge(now)).Round(time.Second)
	text, ok = withNotice(text, notice(lang, of, x.lineUp()))
	if !ok {
		return false
	}
	sum := sha256.Sum256(text)
	h := x.w.Header()
	for _, name := range []string{
		"Last-Modified", "Expires", "Content-Encoding", "Content-Range", "Accept-Ranges", "Content-Md5", "Digest", "Content-Digest", "Repr-Digest",
	} {
		h.Del(name)
	}
	h.Set("Etag", `"offline-`+hex.EncodeToString(sum[:12])+`"`)
	h.Set("Cache-Control", "no-cache")
	h.Add("Vary", "Accept, Accept-Language, Sec-Fetch-Dest")
	if cs.Detail == sourceLocal {
		cs.Detail = "offline"
	}
	rfc9111.AppendCacheStatus(h, Name, cs)
	x.sendMade(o, text, http.StatusNonAuthoritativeInfo, result, sourceLocal, "Content-Type", "Content-Language")
	return true
}

// whole reads a stored page, if all of it is here and in a coding that can be
// read.
func (x *exchange) whole(o *object.Object) ([]byte, bool) {
	body, err := x.store.Body(o, x.lazySource(o))
	if err != nil {
		return nil, false // told by who tries the same to send it as it is
	}
	defer body.Release()
	if !body.Holds(0, -1) {
		return nil, false
	}
	reader := body.NewReader(0, -1)
	defer reader.Close()
	var b bytes.Buffer
	if _, err := reader.CopyTo(x.r.Context(), &b); err != nil {
		return nil, false
	}
	switch strings.ToLower(o.Header.Get("Content-Encoding")) {
	case "", "identity":
		return b.Bytes(), b.Len() <= mostDated
	case "gzip":
		z, err := gzip.NewReader(&b)
		if err != nil {
			return nil, false
		}
		text, err := io.ReadAll(io.LimitReader(z, mostDated+1))
		return text, err == nil && len(text) <= mostDated
	}
	return nil, false
}

// withNotice puts a notice at the beginning of a page's body; false if the page
// does not say where that is.
func withNotice(text []byte, notice string) ([]byte, bool) {
	z := xhtml.NewTokenizer(bytes.NewReader(text))
	at := 0
	for {
		switch z.Next() {
		case xhtml.ErrorToken:
			return nil, false
		case xhtml.StartTagToken:
			at += len(z.Raw())
			if name, _ := z.TagName(); string(name) == "body" {
				out := make([]byte, 0, len(text)+len(notice))
				out = append(append(out, text[:at]...), notice...)
				return append(out, text[at:]...), true
			}
		default:
			at += len(z.Raw())
		}
	}
}

// noticeLook makes the notice be seen. A page whose own policy forbids styles
// shows it as a plain line.
const noticeLook = "all:initial;display:block;box-sizing:border-box;position:relative;z-index:2147483647;width:100%;margin:0;padding:12px 16px;" +
	"background:#fff4cf;color:#3a2c00;border-bottom:2px solid #b8860b;font:16px/1.5 system-ui,sans-serif;text-align:left"

// notice is what is said above an old copy: of when it is, and why. It is written
// in ASCII, so that it reads the same in whatever the page is encoded.
func notice(lang page.Lang, of time.Time, up bool) string {
	say := page.Both[string]{
		French:  "Copie hors ligne. Cette page est telle qu’elle était le %s. La ligne de l’école vers ce site est coupée en ce moment.",
		English: "Offline copy. This page is as it was on %s. The school’s line to this site is down at the moment.",
	}
	if up {
		say = page.Both[string]{
			French:  "Copie conservée. Cette page est telle qu’elle était le %s. Le site lui-même ne répond pas en ce moment.",
			English: "Kept copy. This page is as it was on %s. The site itself does not answer at the moment.",
		}
	}
	text := fmt.Sprintf(say.In(lang), dateIn(lang, of.Local()))
	var b strings.Builder
	fmt.Fprintf(&b, `<div role="status" lang="%s" data-preau="offline" style="%s">`, lang, noticeLook)
	for _, c := range html.EscapeString(text) {
		if c < 0x80 {
			b.WriteRune(c)
		} else {
			fmt.Fprintf(&b, "&#%d;", c)
		}
	}
	b.WriteString("</div>")
	return b.String()
}

var (
	frenchDays   = [...]string{"dimanche", "lundi", "mardi", "mercredi", "jeudi", "vendredi", "samedi"}
	frenchMonths = [...]string{"janvier", "février", "mars", "avril", "mai", "juin", "juillet", "août", "septembre", "octobre", "novembre", "décembre"}
)

// dateIn writes a date and time as people do.
func dateIn(lang page.Lang, t time.Time) string {
	if lang == page.English {
		return t.Format("Monday 2 January 2006 at 15:04")
	}
	day := fmt.Sprint(t.Day())
	if t.Day() == 1 {
		day = "1er"
	}
	return fmt.Sprintf("%s %s %s %d à %d h %02d", frenchDays[t.Weekday()], day, frenchMonths[t.Month()-1], t.Year(), t.Hour(), t.Minute())
}
