package page_test

import (
	"net/http"
	"strings"
	"testing"

	"preau/cache/page"
)

func languageOf(fields ...string) page.Lang {
	return page.Language(&http.Request{Header: http.Header{"Accept-Language": fields}})
}

func TestLanguage(t *testing.T) {
	tests := map[string]struct {
		fields []string
		want   page.Lang
	}{
		"no field":                      {nil, "fr"},
		"nothing said":                  {[]string{""}, "fr"},
		"French":                        {[]string{"fr-FR,fr;q=0.9,en;q=0.8"}, "fr"},
		"English":                       {[]string{"en-GB,en;q=0.9"}, "en"},
		"English before French":         {[]string{"en, fr"}, "en"},
		"French before English":         {[]string{"fr, en"}, "fr"},
		"English better than French":    {[]string{"fr;q=0.5, en;q=0.7"}, "en"},
		"the best of several":           {[]string{"fr;q=0.1, en;q=0.5, fr-CA;q=0.9"}, "fr"},
		"neither":                       {[]string{"de"}, "fr"},
		"neither, then English":         {[]string{"ar, en;q=0.1"}, "en"},
		"in capitals":                   {[]string{"EN-us;Q=0.9, FR;Q=0.1"}, "en"},
		"with spaces":                   {[]string{" \ten ; q = 0.9 , fr;q=0.8 "}, "en"},
		"in two lines":                  {[]string{"fr;q=0.3", "en;q=0.4"}, "en"},
		"French refused":                {[]string{"fr;q=0"}, "en"},
		"French refused, others liked":  {[]string{"fr;q=0, *"}, "en"},
		"French refused, English not":   {[]string{"fr;q=0, en;q=0.1"}, "en"},
		"English refused":               {[]string{"en;q=0"}, "fr"},
		"both refused":                  {[]string{"fr;q=0, en;q=0.000"}, "fr"},
		"whatever":                      {[]string{"*"}, "fr"},
		"whatever but French, a little": {[]string{"*;q=0.8, fr;q=0.2"}, "en"},
		"what is named goes first":      {[]string{"*, en"}, "en"},
		"a weight beyond one":           {[]string{"en;q=7, fr;q=0.1"}, "fr"},
		"a weight below nothing":        {[]string{"en;q=-1, fr;q=0.1"}, "fr"},
		"a weight that is no number":    {[]string{"en;q=NaN, en;q=, en;q=x, fr;q=0.1"}, "fr"},
		"a refusal that can't be read":  {[]string{"fr;q=none"}, "fr"},
		"other parameters":              {[]string{"en;level=1;q=0.9, fr;q=0.5"}, "en"},
		"words that begin alike":        {[]string{"eng, french, fro;q=1, enm"}, "fr"},
		"only commas":                   {[]string{",,;,q=1,"}, "fr"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := languageOf(tt.fields...); got != tt.want {
				t.Errorf("%q: %s, want %s", tt.fields, got, tt.want)
			}
		})
	}
}

func TestBoth(t *testing.T) {
	both := page.Both[string]{French: "oui", English: "yes"}
	for lang, want := range map[page.Lang]string{page.French: "oui", page.English: "yes", "de": "oui"} {
		if got := both.In(lang); got != want {
			t.Errorf("%s: %q", lang, got)
		}
	}
}

func FuzzLanguage(f *testing.F) {
	for _, s := range []string{"", "fr-FR,fr;q=0.9,en;q=0.8", "en", "fr;q=0, *", "en;q=1.000;q=0", "*;q=0.5,en-GB;q=0.7", ";;=,q=", "de;q=\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, field string) {
		got := languageOf(field)
		if got != page.French && got != page.English {
			t.Fatalf("%q: %q", field, got)
		}
		if !strings.ContainsAny(field, "eE*") && !strings.ContainsAny(field, "fF") && got != page.French {
			t.Errorf("%q says nothing of French or English and gets %s", field, got)
		}
		// What means the same gets the same.
		for name, same := range map[string][]string{
			"in lines":                strings.Split(field, ","),
			"in capitals":             {capitals(field)},
			"after another language":  {"de, " + field},
			"before another language": {field, "de;q=0.9"},
			"said twice":              {field, field},
		} {
			if now := languageOf(same...); now != got {
				t.Errorf("%q: %s, %s: %s", field, got, name, now)
			}
		}
	})
}

// capitals leaves alone what is not ASCII: no language tag has it.
func capitals(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'a' <= c && c <= 'z' {
			b[i] = c - 'a' + 'A'
		}
	}
	return string(b)
}
