package auth

import (
	"net/url"
	"slices"
	"strings"
	"time"

	"preau/node/auth/provider"
	"preau/node/auth/session"
	"preau/node/config"
)

// Config is how people sign in to a box.
type Config struct {
	Issuer           string          `toml:"issuer" doc:"The address of the OpenID Connect provider at which teachers and admins sign in, such as \"https://login.example.org/realms/school\". The provider must know this box's address with /sign-in/return as an address to come back to, and with / as one to come back to after signing out. Empty: only badges and the claim code sign anybody in."`
	ClientID         string          `toml:"client_id" doc:"What the provider calls this box, or all boxes."`
	ClientSecretFile string          `toml:"client_secret_file" doc:"A file with the client's secret. Empty: a public client, which has none and is protected by PKCE alone."`
	Scopes           []string        `toml:"scopes" doc:"What is asked of the provider. openid must be among them."`
	RolesClaim       string          `toml:"roles_claim" doc:"The claim that has a person's roles: its name, or the way to it, as in \"realm_access.roles\"."`
	Teacher          []string        `toml:"teacher" doc:"Values of that claim that make a teacher."`
	School           []string        `toml:"school" doc:"Values that make a school's admin, with a second factor."`
	IT               []string        `toml:"it" doc:"Values that make somebody of the region's IT, with a second factor."`
	SchoolClaim      string          `toml:"school_claim" doc:"The claim that has the codes of a person's schools. Empty: teachers and admins of any school may sign in here, which is right only where the provider lets in nobody else's."`
	Schools          []string        `toml:"schools" doc:"The codes, in that claim, of the schools whose teachers and admins may sign in here, such as [\"0690001A\"]."`
	ACR              []string        `toml:"acr" doc:"Values of acr that prove a second factor; they are asked for where one is needed. Empty: none proves it."`
	AMR              []string        `toml:"amr" doc:"Values of amr that prove a second factor (RFC 8176)."`
	Idle             config.Duration `toml:"idle" doc:"How long somebody stays signed in who does nothing."`
	Session          config.Duration `toml:"session" doc:"How long somebody stays signed in at all."`
	Prolonged        config.Duration `toml:"prolonged" doc:"How long sessions go on while the line is cut, when nobody could sign in again."`
	PlainSignIn      bool            `toml:"plain_sign_in" doc:"Whether people can sign in over plain HTTP, where everybody on the network can read along. For trials only: without it that works on the box itself alone, and elsewhere its secure address is shown."`
}

// DefaultConfig lets nobody in but by badge or claim code.
func DefaultConfig() Config {
	return Config{
		Scopes: []string{"openid", "profile"}, RolesClaim: "roles", Teacher: []string{"teacher"}, School: []string{"school"}, IT: []string{"it"},
		Schools: []string{}, ACR: []string{}, AMR: []string{"mfa"},
		Idle: config.Duration(2 * time.Hour), Session: config.Duration(12 * time.Hour), Prolonged: config.Duration(7 * config.Day),
	}
}

// Enabled says whether there is a provider.
func (c Config) Enabled() bool { return c.Issuer != "" }

// Bounds of how long people stay signed in.
const (
	shortest    = 5 * time.Minute
	longestUse  = 24 * time.Hour
	longestCut  = 7 * config.Day
	badgeUnused = 30 * config.Day
)

// Check finds every mistake, under keys that begin with under.
func (c Config) Check(p *config.Problems, under string) {
	key := func(k string) string { return under + "." + k }
	c.checkProvider(p, key)
	for _, d := range []struct {
		key      string
		d        config.Duration
		from, to time.Duration
	}{
		{"idle", c.Idle, shortest, c.Session.Std()}, {"session", c.Session, shortest, longestUse}, {"prolonged", c.Prolonged, 0, longestCut},
	} {
		if d.d.Std() < d.from || d.d.Std() > d.to {
			p.Addf(key(d.key), "%s is out of range: write from %s to %s", d.d, config.Duration(d.from), config.Duration(d.to))
		}
	}
}

func (c Config) checkProvider(p *config.Problems, key func(string) string) {
	if !c.Enabled() {
		if c.ClientID != "" || c.ClientSecretFile != "" {
			p.Addf(key("issuer"), `is missing: write the provider's address, like "https://login.example.org"`)
		}
		return
	}
	if !issuer(c.Issuer) {
		p.Addf(key("issuer"), `%q is no provider's address: write it like "https://login.example.org/realms/school", without ? and #`, c.Issuer)
	}
	if c.ClientID == "" {
		p.Addf(key("client_id"), "is missing: write what the provider calls this box")
	}
	if !slices.Contains(c.Scopes, "openid") {
		p.Addf(key("scopes"), `lack "openid", without which the provider does not say who somebody is`)
	}
	for i, s := range c.Scopes {
		if s == "" || strings.ContainsAny(s, " \t\"\\") {
			p.Addf(config.Item(key("scopes"), i), "%q is no scope: write each by itself", s)
		}
	}
	if c.RolesClaim == "" {
		p.Addf(key("roles_claim"), "is missing: write which claim has people's roles")
	}
	if len(c.Teacher)+len(c.School)+len(c.IT) == 0 {
		p.Addf(key("teacher"), "is empty, as school and it are: nobody could sign in")
	}
	roles := map[string]string{}
	for _, list := range []struct {
		key    string
		values []string
	}{{"teacher", c.Teacher}, {"school", c.School}, {"it", c.IT}} {
		for i, v := range list.values {
			if other := roles[v]; v == "" || other != "" && other != list.key {
				p.Addf(config.Item(key(list.key), i), "%q is empty or makes another role already: each value makes one role", v)
			}
			roles[v] = list.key
		}
	}
	if len(c.School)+len(c.IT) > 0 && len(c.ACR)+len(c.AMR) == 0 {
		p.Addf(key("acr"), "is empty, as amr is: no second factor could be proven, and nobody be a school's admin or IT")
	}
	if slices.Contains(c.ACR, "") || slices.Contains(c.AMR, "") {
		p.Addf(key("acr"), `has an empty value here or in amr: who says nothing of a second factor would have one`)
	}
	if (c.SchoolClaim == "") != (len(c.Schools) == 0) {
		p.Addf(key("schools"), "goes together with school_claim: write both, or neither")
	}
}

// issuer reports whether text names a provider (OpenID Connect Discovery §2). A
// plain one is for tests on one machine.
func issuer(text string) bool {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.HasSuffix(text, "?") || strings.HasSuffix(text, "#") {
		return false
	}
	local := u.Hostname() == "localhost" || u.Hostname() == "127.0.0.1" || u.Hostname() == "::1"
	return u.Scheme == "https" || u.Scheme == "http" && local
}

func (c Config) validate() error {
	var p config.Problems
	c.Check(&p, "auth")
	return p.Err()
}

func (c Config) rules() session.Rules {
	return session.Rules{Idle: c.Idle.Std(), Length: c.Session.Std(), Prolonged: c.Prolonged.Std(), BadgeIdle: badgeUnused}
}

// needs are the claims without which nobody can be judged.
func (c Config) needs() []string {
	needs := []string{c.RolesClaim}
	if c.SchoolClaim != "" {
		needs = append(needs, c.SchoolClaim)
	}
	return needs
}

// Role is what somebody is to a school. Each includes those before it.
type Role string

// The roles, from the least.
const (
	Teacher Role = "teacher"
	School  Role = "school" // the school's admin
	IT      Role = "it"     // of the region
)

func ladder() []Role { return []Role{Teacher, School, IT} }

// upTo is a role with all that it includes.
func upTo(r Role) []Role { return ladder()[:1+slices.Index(ladder(), r)] }

// judge gives somebody roles by what the provider says. held are those that a
// second factor would add: without it everybody is a teacher at most.
func (c Config) judge(id provider.Identity) (given, held []Role, strong bool) {
	strong = slices.Contains(c.ACR, id.ACR) || slices.ContainsFunc(id.AMR, func(m string) bool { return slices.Contains(c.AMR, m) })
	has := func(claim string, values []string) bool {
		v, ok := provider.Claim(id.Claims, claim)
		return ok && slices.ContainsFunc(provider.Texts(v), func(s string) bool { return slices.Contains(values, s) })
	}
	here := c.SchoolClaim == "" || has(c.SchoolClaim, c.Schools)
	var top Role
	switch {
	case has(c.RolesClaim, c.IT):
		top = IT
	case here && has(c.RolesClaim, c.School):
		top = School
	case here && has(c.RolesClaim, c.Teacher):
		top = Teacher
	default:
		return nil, nil, strong
	}
	all := upTo(top)
	if strong {
		return all, nil, true
	}
	return all[:1], all[1:], false
}
