package look

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"preau/cache/page"
)

// House is whose portal it is.
type House struct {
	Title string // of the portal, "Préau" if empty
	// Nav gives the main places, and Person who is signed in, nil for nobody.
	// Either may be nil itself.
	Nav    func(r *http.Request) []NavItem
	Person func(r *http.Request) *Person
}

type (
	houseKey  struct{}
	spokenKey struct{}
)

// In makes all pages that next writes pages of a house.
func In(h House, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), houseKey{}, h)))
	})
}

func houseOf(r *http.Request) House {
	h, ok := r.Context().Value(houseKey{}).(House)
	if !ok || h.Title == "" {
		h.Title = "Préau"
	}
	return h
}

// spoken is the language of an answer, and the prefix that keeps it.
type spoken struct {
	lang   page.Lang
	prefix string
}

func spokenOf(r *http.Request) spoken {
	if s, ok := r.Context().Value(spokenKey{}).(spoken); ok {
		return s
	}
	return spoken{lang: page.Language(r)}
}

// Spoken takes the language off a path that begins with it, /en/find, so that
// next sees /find; all links that are made by Path keep it. Without one the
// language is the browser's choice. Whoever asks the request for its
// language (page.Language) gets the same answer.
func Spoken(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		lang, rest, ok := cutLanguage(r.URL.Path)
		if !ok {
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), spokenKey{}, spoken{lang: page.Language(r)})))
			return
		}
		if rest == "" {
			to := url.URL{Path: r.URL.Path + "/", RawQuery: r.URL.RawQuery}
			http.Redirect(w, r, to.String(), http.StatusMovedPermanently)
			return
		}
		in := r.Clone(context.WithValue(r.Context(), spokenKey{}, spoken{lang, "/" + string(lang)}))
		in.URL.Path = rest
		if in.URL.RawPath != "" {
			in.URL.RawPath = strings.TrimPrefix(in.URL.RawPath, "/"+string(lang))
		}
		in.Header.Set("Accept-Language", string(lang))
		next.ServeHTTP(w, in)
	})
}

// cutLanguage takes a language off a path.
func cutLanguage(path string) (lang page.Lang, rest string, ok bool) {
	for _, l := range []page.Lang{page.French, page.English} {
		if rest, ok := strings.CutPrefix(path, "/"+string(l)); ok && (rest == "" || rest[0] == '/') {
			return l, rest, true
		}
	}
	return "", path, false
}

// Lang is the language of the answer to r.
func Lang(r *http.Request) page.Lang { return spokenOf(r).lang }

// Path is a path of the portal in the language that was chosen by the address,
// for redirects and for links that no template makes.
func Path(r *http.Request, p string) string { return spokenOf(r).prefix + p }
