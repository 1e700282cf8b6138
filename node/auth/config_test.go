package auth_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"preau/node/auth"
	"preau/node/config"
)

func TestConfigsThatAreWrongAreSaid(t *testing.T) {
	right := auth.DefaultConfig()
	right.Issuer, right.ClientID = "https://login.example.org/realms/school", "box"
	for name, tt := range map[string]struct {
		change func(*auth.Config)
		keys   []string
	}{
		"right":                       {func(*auth.Config) {}, nil},
		"no provider":                 {func(c *auth.Config) { c.Issuer, c.ClientID = "", "" }, nil},
		"a provider on this machine":  {func(c *auth.Config) { c.Issuer = "http://127.0.0.1:9000" }, nil},
		"a client of no provider":     {func(c *auth.Config) { c.Issuer = "" }, []string{"auth.issuer"}},
		"a plain provider":            {func(c *auth.Config) { c.Issuer = "http://login.example.org" }, []string{"auth.issuer"}},
		"a provider with a question":  {func(c *auth.Config) { c.Issuer = "https://login.example.org/?a=b" }, []string{"auth.issuer"}},
		"no address at all":           {func(c *auth.Config) { c.Issuer = "login.example.org" }, []string{"auth.issuer"}},
		"no client":                   {func(c *auth.Config) { c.ClientID = "" }, []string{"auth.client_id"}},
		"no openid":                   {func(c *auth.Config) { c.Scopes = []string{"profile"} }, []string{"auth.scopes"}},
		"two scopes in one":           {func(c *auth.Config) { c.Scopes = []string{"openid", "a b"} }, []string{"auth.scopes[2]"}},
		"no claim":                    {func(c *auth.Config) { c.RolesClaim = "" }, []string{"auth.roles_claim"}},
		"nobody":                      {func(c *auth.Config) { c.Teacher, c.School, c.IT = nil, nil, nil }, []string{"auth.teacher"}},
		"a value for two roles":       {func(c *auth.Config) { c.IT = []string{"x", "school"} }, []string{"auth.it[2]"}},
		"an empty value":              {func(c *auth.Config) { c.Teacher = []string{""} }, []string{"auth.teacher[1]"}},
		"no proof of a second factor": {func(c *auth.Config) { c.AMR = nil }, []string{"auth.acr"}},
		"an empty proof":              {func(c *auth.Config) { c.ACR = []string{""} }, []string{"auth.acr"}},
		"teachers alone need none":    {func(c *auth.Config) { c.AMR, c.School, c.IT = nil, nil, nil }, nil},
		"schools without a claim":     {func(c *auth.Config) { c.Schools = []string{"0690001A"} }, []string{"auth.schools"}},
		"a claim without schools":     {func(c *auth.Config) { c.SchoolClaim = "uai" }, []string{"auth.schools"}},
		"a very long session":         {func(c *auth.Config) { c.Session = config.Duration(25 * time.Hour) }, []string{"auth.session"}},
		"idle for longer than that":   {func(c *auth.Config) { c.Idle = config.Duration(13 * time.Hour) }, []string{"auth.idle"}},
		"prolonged for ever":          {func(c *auth.Config) { c.Prolonged = config.Duration(8 * config.Day) }, []string{"auth.prolonged"}},
	} {
		cfg := right
		cfg.Scopes, cfg.IT = slices.Clone(right.Scopes), slices.Clone(right.IT)
		tt.change(&cfg)
		var p config.Problems
		cfg.Check(&p, "auth")
		var keys []string
		for _, err := range config.List(p.Err()) {
			var problem *config.Problem
			if ok := asProblem(err, &problem); ok {
				keys = append(keys, problem.Key)
			}
		}
		if !slices.Equal(keys, tt.keys) {
			t.Errorf("%s: %v, want %v", name, p.Err(), tt.keys)
		}
	}
}

func asProblem(err error, into **config.Problem) bool {
	p, ok := err.(*config.Problem) //nolint:errorlint // as config.List gives them
	*into = p
	return ok
}

func TestEveryKeyIsExplained(t *testing.T) {
	for f := range reflect.TypeFor[auth.Config]().Fields() {
		if f.Tag.Get("toml") == "" || !strings.HasSuffix(f.Tag.Get("doc"), ".") {
			t.Errorf("%s: toml %q, doc %q", f.Name, f.Tag.Get("toml"), f.Tag.Get("doc"))
		}
	}
}
