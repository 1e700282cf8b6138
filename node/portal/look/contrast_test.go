package look

import (
	"strings"
	"testing"

	"preau/cache/page/pagetest"
)

// Words can be read on both kinds of screen: 4.5 is what WCAG 2.2 asks for
// (1.4.3), and 3 for what is no words (1.4.11). Class rooms have sun: the main
// ones get 7.
func TestContrast(t *testing.T) {
	raw, err := static.ReadFile("static/base.css")
	if err != nil {
		t.Fatal(err)
	}
	style := string(raw)
	_, rest, ok := strings.Cut(style, "prefers-color-scheme:dark")
	if !ok {
		t.Fatal("there are no colours for dark screens")
	}
	light, _, _ := strings.Cut(style, "@media")
	dark, _, _ := strings.Cut(rest, "}}")
	for name, part := range map[string]string{"light": light, "dark": dark} {
		of := pagetest.ColoursOf(t, part)
		for _, tt := range []struct {
			ink, paper string
			least      float64
		}{
			{"ink", "paper", 7}, {"ink", "card", 7}, {"ink", "tint", 7}, {"soft", "paper", 4.5}, {"soft", "card", 4.5}, {"soft", "tint", 4.5}, {"ink", "greybg", 4.5},
			{"accent", "paper", 4.5}, {"accent", "card", 4.5}, {"accent", "tint", 4.5}, {"deep", "paper", 4.5}, {"deep", "tint", 4.5},
			{"onaccent", "accent", 4.5}, {"onaccent", "deep", 4.5}, {"onbar", "bar", 4.5}, {"sun", "bar", 3},
			{"good", "goodbg", 4.5}, {"warn", "warnbg", 4.5}, {"bad", "badbg", 4.5}, {"info", "infobg", 4.5},
			{"good", "card", 4.5}, {"good", "paper", 4.5}, {"good", "tint", 4.5}, {"info", "card", 4.5}, {"info", "tint", 4.5}, {"bad", "paper", 4.5},
			{"red", "redbg", 3}, {"purple", "purplebg", 3}, {"ochre", "ochrebg", 3}, {"blue", "bluebg", 3}, {"green", "greenbg", 3}, {"teal", "tealbg", 3}, {"grey", "greybg", 3},
		} {
			t.Run(name+" "+tt.ink+" on "+tt.paper, func(t *testing.T) { of.Contrast(t, tt.ink, tt.paper, tt.least) })
		}
	}
	if !strings.Contains(style, ":focus-visible{outline:3px solid var(--accent)") {
		t.Error("what has the focus is not seen")
	}
}
