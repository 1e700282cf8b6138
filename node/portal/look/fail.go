package look

import (
	"embed"
	"net/http"

	"preau/cache/page"
)

//go:embed fail.html
var failFiles embed.FS

var failPage = Must("fail.html", failFiles)

// Fail answers r with a page that says kindly what is the matter and what to do
// about it, and programs in plain text. The notice's links are paths of the
// portal, as for Path.
func Fail(w http.ResponseWriter, r *http.Request, status int, n page.Notice) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	for i := range n.Links {
		if n.Links[i].To != "" {
			n.Links[i].To = Path(r, n.Links[i].To)
		}
	}
	icon := "lost"
	if status >= http.StatusInternalServerError {
		icon = "rain"
	}
	if page.Asked(r, "text/html") != "" && failPage.Write(w, r, Page{Title: n.Title, Status: status, Bare: true, Body: struct {
		page.Notice
		Icon string
	}{n, icon}}) == nil {
		return
	}
	n.Plain(w, r, status, Lang(r))
}
