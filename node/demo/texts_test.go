package demo

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestBothLanguagesSayEverything(t *testing.T) {
	fr, en := french(), english()
	holes := regexp.MustCompile(`\{\w+\}|%[.\d]*[a-z]`)
	for k, v := range en {
		if fr[k] == "" || v == "" {
			t.Errorf("%s is missing in a language", k)
		}
		a, b := holes.FindAllString(v, -1), holes.FindAllString(fr[k], -1)
		if !strings.Contains(v, "%") { // places by name may stand in any order
			slices.Sort(a)
			slices.Sort(b)
		}
		if !slices.Equal(a, b) {
			t.Errorf("%s has the places %v in English and %v in French", k, a, b)
		}
	}
	for k := range fr {
		if en[k] == "" {
			t.Errorf("%s is missing in English", k)
		}
	}
}

func TestThePageUsesOnlyTextsThatExist(t *testing.T) {
	en := english()
	for file, pattern := range map[string]string{
		"page/index.html": `index \$t "([a-z-]+)"`,
		"page/app.js":     `(?:text\["|say\("|\["(?:good|warm)", "|\[\["|, \[")([a-z]+-[a-z-]*[a-z])"`,
	} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		found := regexp.MustCompile(pattern).FindAllStringSubmatch(string(b), -1)
		if len(found) < 15 {
			t.Errorf("%s: only %d texts found", file, len(found))
		}
		for _, m := range found {
			if en[m[1]] == "" {
				t.Errorf("%s asks for %q", file, m[1])
			}
		}
	}
	for _, o := range []string{"waiting", "reading", "ok", "left", "truncated", "wrong", "error"} {
		if en["out-"+o] == "" {
			t.Errorf("no word for a device that is %s", o)
		}
	}
}
