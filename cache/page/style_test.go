package page_test

import (
	"net/http"
	"strings"
	"testing"

	"preau/cache/page/pagetest"
)

// Words can be read on both kinds of screen: WCAG 2.2 asks for a contrast of
// 4.5 (1.4.3) and for 3 where it is a frame or the mark of what has the focus
// (1.4.11); words get 7 here where they can, as class rooms have sun.
func TestContrast(t *testing.T) {
	style := styleOf(t, write(t, http.MethodGet, usual).Body.String())
	_, dark, ok := strings.Cut(style, "prefers-color-scheme:dark")
	if !ok {
		t.Fatal("there are no colours for dark screens")
	}
	light, _, _ := strings.Cut(style, "@media")
	dark, _, _ = strings.Cut(dark, "}}")
	for name, part := range map[string]string{"light": light, "dark": dark} {
		t.Run(name, func(t *testing.T) {
			of := pagetest.ColoursOf(t, part)
			for ink, least := range map[string]float64{"ink": 7, "soft": 5.5, "accent": 5.5} {
				of.Contrast(t, ink, "paper", least)
			}
		})
	}
	if !strings.Contains(style, "a:focus-visible{outline:3px solid var(--accent)") || strings.Contains(style, "outline:none") || strings.Contains(style, "outline:0") {
		t.Error("what has the focus is not seen")
	}
}
