package lesson

import (
	"bytes"
	"context"
	"errors"
	"regexp"
	"strings"

	"golang.org/x/net/html"
)

// Bounds of what a page brings along.
const (
	mostAssets  = 200
	assetsBytes = 64 << 20
	mostCSS     = 100 // references in one style sheet
)

// page brings what a page shows: the pictures, styles and scripts of its own site.
// The page is ready without them, if need be.
func (j *job) page(ctx context.Context, place Place, doc []byte) error {
	title, refs := pageRefs(doc)
	if text(title, 4*maxText) {
		j.out.title = title
	}
	began, partly, rest := j.done, false, false
	seen := map[string]bool{}
	todo := make([]Place, 0, len(refs))
	add := func(base Place, ref string) {
		at, ok := j.p.parts.Sites.from(base, ref)
		if u := at.URL(); ok && !seen[u] && len(seen) < mostAssets {
			seen[u] = true
			todo = append(todo, at)
		} else if !ok {
			partly = true // of another site: not there without the line
		}
	}
	for _, ref := range refs {
		add(place, ref)
	}
	for len(todo) > 0 {
		next := todo[0]
		todo = todo[1:]
		if j.done-began > assetsBytes {
			partly = true
			break
		}
		a, err := j.need(ctx, next, true)
		c, isCause := errors.AsType[*cause](err)
		switch {
		case errors.Is(err, errLater):
			rest = true
		case isCause && c.light == Cannot, errors.Is(err, errTooBig), errors.Is(err, errEndless):
			partly = true
		case err != nil:
			return err
		case strings.HasPrefix(a.header.Get("Content-Type"), "text/css"):
			for _, ref := range styleRefs(a.document) {
				add(next, ref)
			}
		}
	}
	j.rest = rest
	if partly {
		j.out.reason = ReasonPartly
	}
	return nil
}

// pageRefs finds a page's title and what it loads.
func pageRefs(doc []byte) (title string, refs []string) {
	z := html.NewTokenizer(bytes.NewReader(doc))
	inTitle, inStyle := false, false
	base := ""
	for len(refs) < 4*mostAssets {
		switch z.Next() {
		case html.ErrorToken:
			return strings.Join(strings.Fields(title), " "), refs
		case html.TextToken:
			switch {
			case inTitle && title == "":
				title = string(z.Text())
			case inStyle:
				refs = append(refs, styleRefs(z.Text())...)
			}
		case html.EndTagToken:
			inTitle, inStyle = false, false
		case html.StartTagToken, html.SelfClosingTagToken:
			t := z.Token()
			inTitle, inStyle = t.Data == "title", t.Data == "style"
			at := map[string]string{}
			for _, a := range t.Attr {
				at[a.Key] = a.Val
			}
			if t.Data == "base" && base == "" {
				base = at["href"]
				if base != "" && base != "/" {
					return title, nil // its addresses mean something else than here
				}
			}
			refs = append(refs, tagRefs(t.Data, at)...)
		}
	}
	return title, refs
}

// tagRefs is what one tag loads.
func tagRefs(tag string, at map[string]string) (refs []string) {
	add := func(ref string) {
		if ref = strings.TrimSpace(ref); ref != "" && !strings.HasPrefix(ref, "data:") && !strings.HasPrefix(ref, "#") && !strings.HasPrefix(ref, "blob:") {
			refs = append(refs, ref)
		}
	}
	switch tag {
	case "img", "source", "video", "audio", "track", "input", "embed":
		add(at["src"])
		add(at["poster"])
		for candidate := range strings.SplitSeq(at["srcset"], ",") {
			ref, _, _ := strings.Cut(strings.TrimSpace(candidate), " ")
			add(ref)
		}
	case "script":
		add(at["src"])
	case "link":
		for rel := range strings.FieldsSeq(strings.ToLower(at["rel"])) {
			switch rel {
			case "stylesheet", "icon", "apple-touch-icon", "modulepreload", "manifest":
				add(at["href"])
			}
		}
	}
	return append(refs, styleRefs([]byte(at["style"]))...)
}

var cssRef = regexp.MustCompile(`(?i)url\(\s*(?:"([^"\n]*)"|'([^'\n]*)'|([^)"'\s]*))\s*\)|@import\s+(?:"([^"\n]*)"|'([^'\n]*)')`)

// styleRefs is what a style sheet loads.
func styleRefs(css []byte) (refs []string) {
	for _, m := range cssRef.FindAllSubmatch(css, mostCSS) {
		for _, ref := range m[1:] {
			if s := strings.TrimSpace(string(ref)); s != "" && !strings.HasPrefix(s, "data:") && !strings.HasPrefix(s, "#") {
				refs = append(refs, s)
			}
		}
	}
	return refs
}
