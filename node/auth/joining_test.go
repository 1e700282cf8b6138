package auth_test

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"preau/node/auth"
	"preau/node/auth/authtest"
)

// badge makes one, and signs a browser in by it.
func (b *box) badge(u *browser, name string, more ...string) auth.Badge {
	b.t.Helper()
	made, code, err := b.auth.MakeBadge(b.t.Context(), auth.Person{Name: "Admin"}, name, time.Now().AddDate(0, 6, 0))
	if err != nil {
		b.t.Fatal(err)
	}
	form := url.Values{"code": {code}}
	for i := 0; i+1 < len(more); i += 2 {
		form.Set(more[i], more[i+1])
	}
	u.post(b.tls.URL+"/sign-in/badge", form).must(b.t, 303)
	return made
}

var joinLink = regexp.MustCompile(`href="(/sign-in/join\?token=[\w-]+)"`)

// as is who signs in at the provider from now on.
func as(p *authtest.Provider, subject string) {
	p.Behave(authtest.Behaviour{Claims: map[string]any{"sub": subject, "roles": "teacher", "name": "Anne Martin"}})
}

func TestABadgeAndAnAccountBecomeOnePerson(t *testing.T) {
	t.Parallel()
	p := authtest.New(t)
	as(p, "anne")
	b := newBox(t, p)
	u, thief := newBrowser(t), newBrowser(t)
	made := b.badge(u, "Mme Martin")
	u.get(b.tls.URL+"/teach/").must(t, 200, "by=badge:"+made.ID)
	m := joinLink.FindStringSubmatch(u.get(b.tls.URL+"/sign-in").must(t, 200, "Join my ministry’s account").body)
	if m == nil {
		t.Fatal("nothing leads to the account")
	}
	// Only the box's own page joins, in the browser that has the badge.
	u.get(b.tls.URL+"/sign-in/join").must(t, 403)
	u.get(b.tls.URL+"/sign-in/join?token="+u.get(b.tls.URL+"/").token(t)).must(t, 403)
	thief.get(b.tls.URL+m[1]).must(t, 403)
	b.badge(thief, "M. Vol")
	thief.get(b.tls.URL+m[1]).must(t, 403)
	if len(b.joined) != 0 {
		t.Fatalf("joined %v", b.joined)
	}
	u.follow(b.tls.URL+m[1]).must(t, 200, "It is the same person", "Mme Martin", "Anne Martin")
	asked := p.Asked()
	if last := asked[len(asked)-1]; last.Get("prompt") != "login" || last.Get("acr_values") != "" {
		t.Errorf("whoever is signed in at the provider was joined: %v", last)
	}
	for range 2 {
		// By the badge, and by the account in another browser.
		u.get(b.tls.URL+"/teach/").must(t, 200, `"Mme Martin" [teacher]`, "by=oidc:anne")
		other := newBrowser(t)
		other.follow(b.tls.URL+"/sign-in/go").must(t, 200, "by=oidc:anne")
		if joined := b.auth.Joined(); len(joined) != 1 || joined["badge:"+made.ID] != "oidc:anne" {
			t.Errorf("%v", joined)
		}
		b.restart()
	}
	if want := []string{"badge:" + made.ID + " oidc:anne"}; !slices.Equal(b.joined, want) {
		t.Errorf("told of %v, want %v", b.joined, want)
	}
	if page := u.get(b.tls.URL+"/sign-in").must(t, 200).body; joinLink.MatchString(page) {
		t.Error("it can be joined again")
	}
	thief.get(b.tls.URL+"/teach/").must(t, 200, "by=badge:")
	list, err := b.auth.Actions(9)
	if err != nil || !slices.ContainsFunc(list, func(a auth.Action) bool { return a.Action == "join badge" && a.Subject == "oidc:anne" }) {
		t.Errorf("it is not in the log: %+v %v", list, err)
	}
	// A badge that has ended is still its owner's: what was written by it stays theirs.
	if err := b.auth.RevokeBadge(t.Context(), auth.Person{}, made.ID); err != nil {
		t.Fatal(err)
	}
	if b.auth.Joined()["badge:"+made.ID] != "oidc:anne" {
		t.Error("forgotten")
	}
}

func TestACodeIsJoinedToTheAccountThatEntersIt(t *testing.T) {
	t.Parallel()
	p := authtest.New(t)
	as(p, "anne")
	b := newBox(t, p)
	u := newBrowser(t)
	newBrowser(t).get(b.tls.URL+"/sign-in/badge").must(t, 200)
	u.follow(b.tls.URL+"/sign-in/go").must(t, 200, "by=oidc:anne")
	page := u.get(b.tls.URL+"/sign-in/badge").must(t, 200, "This badge is mine", "Anne Martin")
	// Without the page's token, as a site below /o/ would send it, nothing is used up.
	_, code, err := b.auth.MakeBadge(t.Context(), auth.Person{}, "Mme Martin", time.Now().AddDate(0, 1, 0))
	if err != nil {
		t.Fatal(err)
	}
	u.post(b.tls.URL+"/sign-in/badge", url.Values{"code": {code}, "mine": {"1"}}).must(t, 403)
	newBrowser(t).post(b.tls.URL+"/sign-in/badge", url.Values{"code": {code}, "mine": {"1"}}).must(t, 403)
	u.post(b.tls.URL+"/sign-in/badge", url.Values{"code": {code}, "mine": {"1"}, "token": {page.token(t)}}).must(t, 303)
	u.get(b.tls.URL+"/teach/").must(t, 200, `"Mme Martin"`, "by=oidc:anne")

	// Nobody is joined who does not say so: a class's computer has had others.
	shared := newBrowser(t)
	shared.follow(b.tls.URL+"/sign-in/go").must(t, 200, "by=oidc:anne")
	b.badge(shared, "M. Paul")
	shared.get(b.tls.URL+"/teach/").must(t, 200, "by=badge:")
	if len(b.joined) != 1 {
		t.Errorf("joined %v", b.joined)
	}
}

func TestABadgeIsOnePersons(t *testing.T) {
	t.Parallel()
	p := authtest.New(t)
	as(p, "anne")
	b := newBox(t, p)
	u := newBrowser(t)
	made := b.badge(u, "Mme Martin")
	link := b.tls.URL + joinLink.FindStringSubmatch(u.get(b.tls.URL + "/sign-in").body)[1]
	u.follow(link).must(t, 200, "It is the same person")
	u.follow(link).must(t, 200, "It is the same person") // a page that is loaded again
	as(p, "paul")
	u.follow(link).must(t, 409, "joined to another account")
	if got := b.auth.Joined(); len(got) != 1 || got["badge:"+made.ID] != "oidc:anne" {
		t.Errorf("%v", got)
	}
	// While the provider was asked, the admin has ended the badge.
	as(p, "anne")
	v := newBrowser(t)
	late := b.badge(v, "M. Paul")
	to := v.get(b.tls.URL+joinLink.FindStringSubmatch(v.get(b.tls.URL + "/sign-in").body)[1]).must(t, 303).to
	if err := b.auth.RevokeBadge(t.Context(), auth.Person{}, late.ID); err != nil {
		t.Fatal(err)
	}
	v.follow(to).must(t, 400)
	if n := len(b.auth.Joined()); n != 1 {
		t.Errorf("%d joined", n)
	}
	if strings.Contains(b.log.String(), "panic") {
		t.Error(b.log.String())
	}
}
