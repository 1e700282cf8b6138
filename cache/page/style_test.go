package page_test

import (
	"math"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var colours = regexp.MustCompile(`--([a-z]+):#([0-9a-f]{6})`)

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
		of := map[string]float64{}
		for _, m := range colours.FindAllStringSubmatch(part, -1) {
			of[m[1]] = luminance(t, m[2])
		}
		for ink, least := range map[string]float64{"ink": 7, "soft": 5.5, "accent": 5.5} {
			if of[ink] == 0 || of["paper"] == 0 {
				t.Fatalf("%s: %v", name, of)
			}
			brighter, darker := max(of[ink], of["paper"]), min(of[ink], of["paper"])
			if got := (brighter + 0.05) / (darker + 0.05); got < least {
				t.Errorf("%s: %s on paper has a contrast of %.2f, want %.1f", name, ink, got, least)
			}
		}
	}
	if !strings.Contains(style, "a:focus-visible{outline:3px solid var(--accent)") || strings.Contains(style, "outline:none") || strings.Contains(style, "outline:0") {
		t.Error("what has the focus is not seen")
	}
}

// luminance is the relative luminance of a colour, as WCAG defines it.
func luminance(t *testing.T, hex string) float64 {
	t.Helper()
	rgb, err := strconv.ParseUint(hex, 16, 32)
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for i, share := range []float64{0.2126, 0.7152, 0.0722} {
		v := float64(rgb>>(16-8*i)&0xff) / 255
		if v <= 0.04045 {
			v /= 12.92
		} else {
			v = math.Pow((v+0.055)/1.055, 2.4)
		}
		sum += share * v
	}
	return sum
}
