package box

import (
	"errors"
	"net/http"
	"time"

	"preau/cache/page"
	"preau/node/auth"
	schoolpages "preau/node/portal/school"
)

// badgeDesk makes badges in the name of who is signed in.
type badgeDesk struct{ staff *staff }

func badgeOf(b auth.Badge) schoolpages.Badge {
	now := time.Now()
	return schoolpages.Badge{
		ID: b.ID, Name: b.Name, By: b.By, Made: b.Made, Until: b.Until,
		Waiting: b.Used.IsZero(), Revoked: !b.Revoked.IsZero(), Expired: !b.Live(now) && b.Revoked.IsZero(),
	}
}

// List implements schoolpages.Badges.
func (d badgeDesk) List() []schoolpages.Badge {
	all := d.staff.auth.Badges()
	out := make([]schoolpages.Badge, len(all))
	for i, b := range all {
		out[i] = badgeOf(b)
	}
	return out
}

// Make implements schoolpages.Badges.
func (d badgeDesk) Make(r *http.Request, name string, until time.Time) (schoolpages.Badge, schoolpages.Code, error) {
	by, _ := d.staff.auth.Who(r) // nobody comes here without
	return d.code(d.staff.auth.MakeBadge(r.Context(), by, name, until))
}

// Renew implements schoolpages.Badges.
func (d badgeDesk) Renew(r *http.Request, id string) (schoolpages.Badge, schoolpages.Code, error) {
	by, _ := d.staff.auth.Who(r)
	return d.code(d.staff.auth.RenewBadge(r.Context(), by, id))
}

// code is a new code with the address that a QR code of it says; without a secure
// address there is none.
func (d badgeDesk) code(b auth.Badge, code string, err error) (schoolpages.Badge, schoolpages.Code, error) {
	c := schoolpages.Code{Text: code}
	if home := d.staff.box.home(); home != "" {
		c.Address = home + auth.BadgePath(code)
	}
	return badgeOf(b), c, wordFor(err)
}

// Revoke implements schoolpages.Badges.
func (d badgeDesk) Revoke(r *http.Request, id string) error {
	by, _ := d.staff.auth.Who(r)
	return wordFor(d.staff.auth.RevokeBadge(r.Context(), by, id))
}

// Token implements schoolpages.Badges.
func (d badgeDesk) Token(r *http.Request) string { return d.staff.auth.Token(r) }

// wordFor is an error as the pages know it.
func wordFor(err error) error {
	for _, pair := range [][2]error{
		{auth.ErrBadgeName, schoolpages.ErrName}, {auth.ErrBadgeUntil, schoolpages.ErrUntil},
		{auth.ErrBadgesFull, schoolpages.ErrFull}, {auth.ErrNoBadge, schoolpages.ErrNoBadge},
	} {
		if errors.Is(err, pair[0]) {
			return errors.Join(pair[1], err)
		}
	}
	return err
}

// deeds are the actions that are logged, in French; in English they are as they
// are logged.
var deeds = map[string]string{
	"make badge": "badge fait", "renew badge": "nouveau code de badge", "revoke badge": "badge révoqué", "make a new claim code": "nouveau code de prise en main",
	"claim the box": "prise en main de la boîte", "sign in": "connexion", "use badge": "badge utilisé", "join badge": "badge relié à un compte", "sign out everywhere": "déconnexion de tous les appareils", "make lesson": "cours préparé", "change lesson": "cours modifié", "delete lesson": "cours supprimé", "add file": "fichier ajouté",
}

// deed is an action in words.
func deed(a auth.Action) page.Both[string] {
	out := page.Both[string]{French: a.Action, English: a.Action}
	if fr, ok := deeds[a.Action]; ok {
		out.French = fr
	}
	if a.What != "" {
		out.French += " : " + a.What
		out.English += ": " + a.What
	}
	return out
}
