package school

import (
	"errors"
	"html/template"
	"net/http"
	"strings"
	"time"

	"preau/node/portal/look"
)

// Badge is what lets a teacher sign in without line and provider.
type Badge struct {
	ID, Name, By     string
	Made, Until      time.Time
	Waiting          bool // nobody has used its code yet
	Revoked, Expired bool
}

// Badges makes badges and ends them, in the name of who sent a request. Its
// methods may be called concurrently.
type Badges interface {
	List() []Badge
	// Make and Renew return a code, which is given only this once, and the address
	// that a QR code of it leads to. Errors of Make: ErrName, ErrUntil, ErrFull; of
	// Renew and Revoke: ErrNoBadge.
	Make(r *http.Request, name string, until time.Time) (Badge, Code, error)
	Renew(r *http.Request, id string) (Badge, Code, error)
	Revoke(r *http.Request, id string) error
	// Token goes into the forms that do these.
	Token(r *http.Request) string
}

// Code is a badge's code as it is written, and its address.
type Code struct{ Text, Address string }

// Errors of badges.
var (
	ErrName    = errors.New("a badge needs another name")
	ErrUntil   = errors.New("a badge can't last until then")
	ErrFull    = errors.New("there are too many badges")
	ErrNoBadge = errors.New("there is no such badge")
)

const (
	badgesPath = Prefix + "badges"
	// usual is how long a badge lasts if nobody says: to the end of a school year.
	usual   = 300 * 24 * time.Hour
	maxForm = 16 << 10
)

var (
	badgesPage = look.Must("badges.html", files)
	codePage   = look.Must("code.html", files)
)

func (p *Pages) addBadges() {
	p.mux.HandleFunc("GET "+badgesPath, func(w http.ResponseWriter, r *http.Request) { p.showBadges(w, r, http.StatusOK, "", nil) })
	p.mux.HandleFunc("POST "+badgesPath, p.makeBadge)
	p.mux.HandleFunc("POST "+badgesPath+"/{id}/renew", func(w http.ResponseWriter, r *http.Request) {
		b, code, err := p.src.Badges.Renew(r, r.PathValue("id"))
		p.showCode(w, r, b, code, err)
	})
	p.mux.HandleFunc("POST "+badgesPath+"/{id}/revoke", func(w http.ResponseWriter, r *http.Request) {
		if err := p.src.Badges.Revoke(r, r.PathValue("id")); err != nil {
			p.refuseBadge(w, r, err)
			return
		}
		http.Redirect(w, r, look.Path(r, badgesPath), http.StatusSeeOther)
	})
}

type badgesView struct {
	All         []Badge
	Token       string
	Name, Until string // as they were typed
	Wrong       string
	Soonest     string
	Latest      string
}

func (p *Pages) showBadges(w http.ResponseWriter, r *http.Request, status int, wrong string, was *badgesView) {
	say := words.In(look.Lang(r))
	now := time.Now()
	v := badgesView{Until: now.Add(usual).Format(time.DateOnly)}
	if was != nil {
		v = *was
	}
	v.All, v.Token, v.Wrong = p.src.Badges.List(), p.src.Badges.Token(r), wrong
	v.Soonest, v.Latest = now.AddDate(0, 0, 1).Format(time.DateOnly), now.AddDate(1, 0, 0).Format(time.DateOnly)
	made := look.Page{
		Title: say.BadgesTitle, Lead: say.BadgesLead, Status: status, Private: true, Words: say,
		Crumbs: []look.Crumb{{To: Prefix, Label: say.Title}}, Body: v,
	}
	if err := badgesPage.Write(w, r, made); err != nil {
		p.fail(w, r, err)
	}
}

func (p *Pages) makeBadge(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	name, typed := strings.TrimSpace(r.PostFormValue("name")), r.PostFormValue("until")
	was := &badgesView{Name: name, Until: typed}
	say := words.In(look.Lang(r))
	until, err := time.ParseInLocation(time.DateOnly, typed, time.Local)
	if err != nil {
		p.showBadges(w, r, http.StatusUnprocessableEntity, say.BadgeUntil, was)
		return
	}
	b, code, err := p.src.Badges.Make(r, name, until.AddDate(0, 0, 1)) // to the end of that day
	switch {
	case errors.Is(err, ErrName):
		p.showBadges(w, r, http.StatusUnprocessableEntity, say.BadgeName, was)
	case errors.Is(err, ErrUntil):
		p.showBadges(w, r, http.StatusUnprocessableEntity, say.BadgeUntil, was)
	case errors.Is(err, ErrFull):
		p.showBadges(w, r, http.StatusConflict, say.BadgesFull, was)
	default:
		p.showCode(w, r, b, code, err)
	}
}

func (p *Pages) refuseBadge(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, ErrNoBadge) {
		look.Fail(w, r, http.StatusNotFound, words.In(look.Lang(r)).missing())
		return
	}
	p.fail(w, r, err)
}

// showCode shows a code, once, to be printed or photographed.
func (p *Pages) showCode(w http.ResponseWriter, r *http.Request, b Badge, code Code, err error) {
	var drawn template.HTML
	if err == nil && code.Address != "" {
		drawn, err = look.QR(code.Address)
	}
	if err != nil {
		p.refuseBadge(w, r, err)
		return
	}
	say := words.In(look.Lang(r))
	made := look.Page{
		Title: say.CodeTitle, Private: true, Words: say,
		Crumbs: []look.Crumb{{To: Prefix, Label: say.Title}, {To: badgesPath, Label: say.BadgesTitle}},
		Body: struct {
			Badge
			Code
			QR template.HTML
		}{b, code, drawn},
	}
	if err := codePage.Write(w, r, made); err != nil {
		p.fail(w, r, err)
	}
}
