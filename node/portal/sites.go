package portal

import (
	"context"
	"net/http"
	"path"
	"strings"
	"time"

	"preau/node/portal/look"
)

const (
	// sitesFor is how long it is remembered what is stored of sites: to list it
	// takes a look at the disk.
	sitesFor  = 10 * time.Second
	mostPages = 30 // of one site
)

var sitesPage = look.Must("pages/sites.html", files, "pages/parts.html")

// seenSites is the sites as they were seen last.
type seenSites struct {
	sites []Site
	until time.Time
}

func (p *Portal) sitesNow(ctx context.Context) []Site {
	if seen := p.sites.Load(); seen != nil && time.Now().Before(seen.until) {
		return seen.sites
	}
	seen := &seenSites{sites: p.parts.Sites.Sites(ctx), until: time.Now().Add(sitesFor)}
	p.sites.Store(seen)
	return seen.sites
}

// siteRow is something of a site on its page.
type siteRow struct {
	SitePage
	Name, Link, Class, Icon, Mark, MarkText string
}

func (p *Portal) sitesPage(w http.ResponseWriter, r *http.Request) {
	if p.parts.Sites == nil {
		p.lost(w, r)
		return
	}
	p.answer(w, r, "sites", sitesPage, func(ctx context.Context) look.Page {
		say := sayings.In(look.Lang(r))
		type one struct {
			Site
			Rows []siteRow
		}
		var body []one
		for _, s := range p.sitesNow(ctx) {
			o := one{Site: s}
			for _, held := range s.Pages[:min(mostPages, len(s.Pages))] {
				row := siteRow{SitePage: held, Name: nameOf(held.Path), Link: "/o/" + s.Name + held.Path, Mark: "part", MarkText: say.Partly}
				if held.Whole {
					row.Mark, row.MarkText = "here", say.Whole
				}
				sort := look.Kind(held.Type)
				row.Class, row.Icon = sort.Class(), sort.Icon()
				o.Rows = append(o.Rows, row)
			}
			body = append(body, o)
		}
		return look.Page{Title: say.Sites, Lead: say.SitesLead, Body: body, Words: say}
	})
}

// nameOf is what a path is called in a list.
func nameOf(at string) string {
	at, _, _ = strings.Cut(at, "?")
	name := path.Base(strings.TrimSuffix(at, "/"))
	if name == "." || name == "/" {
		return "/"
	}
	return name
}
