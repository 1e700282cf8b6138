//go:build system && linux

package browser_test

import (
	"testing"

	"preau/node/webtest"
)

// slowPhone has Lighthouse judge what pupils open most.
func (s *school) slowPhone(t *testing.T, code string) {
	t.Helper()
	const least = 95
	paths := []string{"/fr/", "/fr/c/", "/fr/find?q=volcan"}
	if code != "" {
		paths = append(paths, "/fr/l/"+code)
	}
	var said struct {
		Scores []struct {
			Path                                         string
			Performance, Accessibility, Practices, Times int
			Slower, Index                                float64
			Short                                        []string
		}
	}
	node(t, "lighthouse.mjs", map[string]any{
		"base": s.base, "lighthouse": webtest.Installed(t, webtest.Lighthouse), "least": least,
		"paths": paths,
	}, &said)
	if len(said.Scores) != len(paths) {
		t.Fatalf("%d pages were judged", len(said.Scores))
	}
	for _, p := range said.Scores {
		t.Logf("%s: performance %d, accessibility %d, best practices %d, at time %d, slowed down %.1f times (index %.0f)", p.Path, p.Performance, p.Accessibility, p.Practices, p.Times, p.Slower, p.Index)
		if p.Performance < least || p.Accessibility < least || p.Practices < least {
			t.Errorf("%s: performance %d, accessibility %d, best practices %d: %q", p.Path, p.Performance, p.Accessibility, p.Practices, p.Short)
		}
	}
}
