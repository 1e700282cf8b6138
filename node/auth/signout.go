package auth

import (
	"net/http"

	"preau/node/auth/session"
	"preau/node/portal/look"
)

func (a *Auth) askSignOut(w http.ResponseWriter, r *http.Request) {
	who := a.Shown(r)
	if who == nil {
		seeOther(w, look.Path(r, outPath))
		return
	}
	a.present(w, r, pages.signOut, http.StatusOK, a.words(r).SignOut, struct{ Name, Token, Action string }{who.Name, who.Token, look.Path(r, signOutPath)})
}

// signOut ends this session, or all of the same person.
func (a *Auth) signOut(w http.ResponseWriter, r *http.Request) {
	s, id, ok := a.find(r)
	if ok {
		if !brings(w, r, id) {
			a.refuseForm(w, r)
			return
		}
		err := a.sessions.End(id)
		if r.PostFormValue("everywhere") != "" {
			_, err = a.sessions.EndAll(func(other session.Session) bool { return other.Subject == s.Subject && other.Kind == s.Kind })
		}
		if err != nil {
			a.log.WarnContext(r.Context(), "a session that has ended can't be removed yet", "err", err)
		}
	}
	if way := a.safety(r); way != unsafe {
		name, _ := names(way)
		setCookie(w, way, name, notSaved, 0)
	}
	to := look.Path(r, outPath)
	if ok && s.Kind == "provider" {
		to = with(to, "from", "provider")
	}
	seeOther(w, to)
}

// signedOut says so, and leads to the provider's own sign-out: on a computer that
// is shared the next one would else be signed in there still. It is a link, for
// the policy of our pages lets no form lead elsewhere.
func (a *Auth) signedOut(w http.ResponseWriter, r *http.Request) {
	p := struct{ Provider, In string }{"", look.Path(r, signInPath)}
	if a.provider != nil && r.URL.Query().Get("from") == "provider" && properHost(r.Host) {
		p.Provider, _ = a.provider.EndSession(origin(r) + "/")
	}
	a.present(w, r, pages.signedOut, http.StatusOK, a.words(r).SignedOut, p)
}

// SignOutEverywhere ends all sessions of somebody, for an admin who was told of a
// lost tablet.
func (a *Auth) SignOutEverywhere(r *http.Request, by Person, subject string) error {
	_, err := a.sessions.EndAll(func(s session.Session) bool { return s.Subject == subject })
	a.Log(r.Context(), by, "sign out everywhere", subject)
	return err
}
