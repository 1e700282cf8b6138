package page

import "net/http"

// Notice tells people why they don't get what they asked for.
type Notice struct {
	Title  string // what is the matter, without a full stop
	Text   string // what that means here, if there is more to say
	Advice string // what to do about it
	Links  []Link // where to go from here
}

// Link leads on from a notice. To is a path, or empty for the same page again.
type Link struct{ To, Label string }

var notice = Must(`{{template "notice" .}}`)

// Write answers r: with a page for people, and in plain text for all others.
func (n Notice) Write(w http.ResponseWriter, r *http.Request, status int, lang Lang) {
	if Asked(r, "text/html") != "" && notice.Write(w, r, Answer{status, lang, n.Title, n}) == nil {
		return
	}
	n.Plain(w, r, status, lang)
}

// Plain answers r in plain text, without the advice.
func (n Notice) Plain(w http.ResponseWriter, r *http.Request, status int, lang Lang) {
	send(w, r, status, lang, "text/plain; charset=utf-8", []byte(n.String()+"\n"))
}

// String is the matter in a sentence or two.
func (n Notice) String() string {
	if n.Text == "" {
		return n.Title + "."
	}
	return n.Title + ". " + n.Text
}
