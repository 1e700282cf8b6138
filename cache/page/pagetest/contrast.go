// Package pagetest looks at the colours of pages in tests: whether words can be
// read. It knows no page, and draws nothing.
package pagetest

import (
	"math"
	"regexp"
	"strconv"
	"testing"
)

var colour = regexp.MustCompile(`--([a-z]+):#([0-9a-f]{6})\b`)

// Colours are the colours of a style, by the names of their variables.
type Colours map[string]float64 // their relative luminance

// ColoursOf reads them.
func ColoursOf(t *testing.T, style string) Colours {
	t.Helper()
	of := Colours{}
	for _, m := range colour.FindAllStringSubmatch(style, -1) {
		of[m[1]] = luminance(t, m[2])
	}
	return of
}

// Contrast has two colours differ as much as least, as WCAG 2.2 reckons contrast.
func (c Colours) Contrast(t *testing.T, ink, paper string, least float64) {
	t.Helper()
	a, okA := c[ink]
	b, okB := c[paper]
	if !okA || !okB {
		t.Fatalf("there is no %s or no %s", ink, paper)
	}
	if got := (max(a, b) + 0.05) / (min(a, b) + 0.05); got < least {
		t.Errorf("%s on %s has a contrast of %.2f, want %.1f", ink, paper, got, least)
	}
}

// luminance is the relative luminance of a colour, as WCAG 2.2 defines it.
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
