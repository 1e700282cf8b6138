package auth

import (
	"crypto/sha256"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"preau/cache/page"
	"preau/node/auth/provider"
)

func TestLocal(t *testing.T) {
	for path, right := range map[string]bool{
		"/": true, "/teach/": true, "/teach/lessons?week=3#x": true, "/fr/teach/": true, "/c/%C3%A9t%C3%A9": true, "/find?q=https://example.org": true, "/sign": true,
		"": false, "teach/": false, "//evil.example.org": false, "///evil.example.org": false, "/\\evil.example.org": false, "\\\\evil.example.org": false,
		"https://evil.example.org": false, "http:/evil": false, "javascript:alert(1)": false, "/\t/evil.example.org": false, "/a\nb": false, "/a b": false, "/é": false,
		"/a\x00": false, "/%": false, "/sign-in": false, "/sign-in/go?return=/": false, "/fr/sign-out": false, "/en/claim": false, "/claim/x": false,
		"/" + strings.Repeat("a", 2000): false,
	} {
		if got := local(path); (got != "") != right || got != path && got != "" {
			t.Errorf("%q: %q", path, got)
		}
	}
}

func FuzzLocal(f *testing.F) {
	for _, s := range []string{"/", "//a", "/\\a", "/.//a", "/..//a", "/%2f/a", "/a?b#c", "/fr//a", "/@a", "/:a"} {
		f.Add(s)
	}
	base, err := url.Parse("https://box.example.org/sign-in/return")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, path string) {
		got := local(path)
		if got == "" {
			return
		}
		u, err := base.Parse(got)
		if err != nil || u.Scheme != "https" || u.Host != "box.example.org" {
			t.Errorf("%q leads to %v (%v)", path, u, err)
		}
		// As browsers do, which are more generous than RFC 3986.
		lax := strings.NewReplacer("\\", "/", "\t", "", "\n", "", "\r", "").Replace(got)
		if strings.HasPrefix(lax, "//") || !strings.HasPrefix(lax, "/") {
			t.Errorf("%q leads elsewhere", path)
		}
	})
}

func FuzzJudge(f *testing.F) {
	f.Add("roles", "school", "mfa", "gold")
	f.Add("realm_access.roles", "it", "", "")
	f.Fuzz(func(t *testing.T, claim, value, amr, acr string) {
		c := DefaultConfig()
		c.RolesClaim, c.ACR = claim, []string{"gold"}
		id := provider.Identity{Claims: map[string]any{claim: []any{value, 3, nil}}, ACR: acr, AMR: []string{amr}}
		given, held, strong := c.judge(id)
		if strong != (acr == "gold" || amr == "mfa") {
			t.Errorf("strong with %q and %q: %v", acr, amr, strong)
		}
		if !strong && len(given) > 1 || strong && len(held) > 0 {
			t.Errorf("strong %v: %v and %v", strong, given, held)
		}
		if known := value == "teacher" || value == "school" || value == "it"; known != (len(given) > 0) {
			t.Errorf("%q makes %v", value, given)
		}
	})
}

func TestEverythingIsSaidInBothLanguages(t *testing.T) {
	var walk func(name string, fr, en reflect.Value)
	count := 0
	walk = func(name string, fr, en reflect.Value) {
		switch fr.Kind() {
		case reflect.Struct:
			for i := range fr.NumField() {
				walk(name+"."+fr.Type().Field(i).Name, fr.Field(i), en.Field(i))
			}
		case reflect.String:
			count++
			mayLack := strings.HasSuffix(name, "SignOut.heading.Lead") || strings.HasSuffix(name, "often.Advice")
			if (fr.String() == "" || en.String() == "") && !mayLack {
				t.Errorf("%s is not said", name)
			}
			if fr.String() != "" && fr.String() == en.String() && fr.String() != "Code" {
				t.Errorf("%s is the same in both: %q", name, fr)
			}
		default:
		}
	}
	walk("said", reflect.ValueOf(said.French), reflect.ValueOf(said.English))
	notices := reflect.ValueOf(told)
	for i := range notices.NumField() {
		name := notices.Type().Field(i).Name
		walk(name, notices.Field(i).FieldByName("French"), notices.Field(i).FieldByName("English"))
	}
	if count < 80 {
		t.Errorf("looked at %d texts only", count)
	}
	for _, l := range []page.Lang{page.French, page.English} {
		if waiting(30, l) == waiting(60, l) || !strings.Contains(waiting(3600, l), "60") {
			t.Errorf("%s: %q", l, waiting(3600, l))
		}
	}
}

func TestAnAttemptIsTakenOnce(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	table := newAttempts()
	mine := attempt{Attempt: provider.Attempt{State: "s"}, browser: sha256.Sum256([]byte("mine")), back: "/x"}
	table.add(mine, now)
	if _, ok := table.take("s", "theirs", now); ok {
		t.Error("by another browser")
	}
	if _, ok := table.take("", "mine", now); ok {
		t.Error("without a state")
	}
	if got, ok := table.take("s", "mine", now); !ok || got.back != "/x" {
		t.Errorf("%+v %v", got, ok)
	}
	if _, ok := table.take("s", "mine", now); ok {
		t.Error("twice")
	}
	table.add(mine, now)
	if _, ok := table.take("s", "mine", now.Add(attemptExpires)); ok {
		t.Error("too late")
	}
}

func TestAttemptsAreBounded(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	table := newAttempts()
	for i := range maxAttempts + 100 {
		a := attempt{}
		a.State = strings.Repeat("x", i+1)
		table.add(a, now.Add(time.Duration(i)*time.Millisecond))
	}
	if len(table.byState) != maxAttempts {
		t.Errorf("%d", len(table.byState))
	}
	if _, ok := table.byState["x"]; ok {
		t.Error("the oldest is still there")
	}
	table.add(attempt{Attempt: provider.Attempt{State: "y"}}, now.Add(time.Hour))
	if len(table.byState) != 1 {
		t.Errorf("%d, of which one is not over", len(table.byState))
	}
}
