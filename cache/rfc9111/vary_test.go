package rfc9111_test

import (
	"net/http"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"preau/cache/rfc9111"
)

func TestRFC9110_12_5_5_VaryFields(t *testing.T) {
	tests := map[string]struct {
		lines []string
		names []string
		star  bool
	}{
		"none":                {},
		"empty":               {lines: []string{""}},
		"one":                 {lines: []string{"foo"}, names: []string{"Foo"}},
		"sorted, once each":   {lines: []string{"Foo, accept-ENCODING", "foo"}, names: []string{"Accept-Encoding", "Foo"}},
		"star":                {lines: []string{"*"}, star: true},
		"star star":           {lines: []string{"*, *"}, star: true},
		"star star on lines":  {lines: []string{"*", "*"}, star: true},
		"empty star":          {lines: []string{", *"}, star: true},
		"empty star on lines": {lines: []string{"", "*"}, star: true},
		"star and a field":    {lines: []string{"*, Foo"}, star: true},
		"a field and star":    {lines: []string{"Foo, *"}, star: true},
		"not a field name":    {lines: []string{"Foo Bar"}, star: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h := http.Header{}
			if tt.lines != nil {
				h["Vary"] = tt.lines
			}
			names, star := rfc9111.VaryFields(h)
			if !slices.Equal(names, tt.names) || star != tt.star {
				t.Errorf("VaryFields(%q) = %q, %v", tt.lines, names, star)
			}
		})
	}
}

func TestRFC9111_4_1_VaryKey(t *testing.T) {
	tests := map[string]struct {
		names []string
		a, b  http.Header
		same  bool
	}{
		"equal":                     {[]string{"Foo"}, headers("Foo", "1"), headers("Foo", "1"), true},
		"different":                 {[]string{"Foo"}, headers("Foo", "1"), headers("Foo", "2"), false},
		"others do not count":       {[]string{"Foo"}, headers("Foo", "1", "Other", "2"), headers("Foo", "1", "Other", "3"), true},
		"absent from one":           {[]string{"Foo"}, headers(), headers("Foo", "1"), false},
		"absent from both":          {[]string{"Bar", "Foo"}, headers("Foo", "1"), headers("Foo", "1"), true},
		"absent is not empty":       {[]string{"Foo"}, headers(), headers("Foo", ""), false},
		"one of two":                {[]string{"Bar", "Foo"}, headers("Bar", "a", "Foo", "1"), headers("Bar", "b", "Foo", "1"), false},
		"values do not run over":    {[]string{"Bar", "Foo"}, headers("Bar", "a\nFoo 1 1"), headers("Bar", "a", "Foo", "1"), false},
		"lines are one list":        {[]string{"Foo"}, headers("Foo", "1, 2"), headers("Foo", "1", "Foo", "2"), true},
		"white space in a list":     {[]string{"Foo"}, headers("Foo", "1,2"), headers("Foo", " 1, 2 "), true},
		"white space inside":        {[]string{"Foo"}, headers("Foo", "1 2"), headers("Foo", "12"), false},
		"order of an unknown list":  {[]string{"Foo"}, headers("Foo", "1, 2"), headers("Foo", "2, 1"), false},
		"case of an unknown field":  {[]string{"Foo"}, headers("Foo", "a"), headers("Foo", "A"), false},
		"comma in quotes":           {[]string{"Foo"}, headers("Foo", `"a, b"`), headers("Foo", `"a,b"`), false},
		"empty members":             {[]string{"Foo"}, headers("Foo", "a,,b"), headers("Foo", "a,b"), false},
		"trailing comma":            {[]string{"Foo"}, headers("Foo", "a,"), headers("Foo", "a"), false},
		"cookies are no list":       {[]string{"Cookie"}, headers("Cookie", "a=1, 2"), headers("Cookie", "a=1,2"), false},
		"cookie lines":              {[]string{"Cookie"}, headers("Cookie", "a=1", "Cookie", "b=2"), headers("Cookie", "a=1,b=2"), false},
		"origin":                    {[]string{"Origin"}, headers("Origin", "https://a.example"), headers("Origin", "https://a.example "), true},
		"language order":            {[]string{"Accept-Language"}, headers("Accept-Language", "en, de"), headers("Accept-Language", "de, en"), true},
		"language case":             {[]string{"Accept-Language"}, headers("Accept-Language", "en, de"), headers("Accept-Language", "eN, De"), true},
		"language white space":      {[]string{"Accept-Language"}, headers("Accept-Language", "en, de"), headers("Accept-Language", " en ,   de"), true},
		"language weight in full":   {[]string{"Accept-Language"}, headers("Accept-Language", "fr, de;q=0.5"), headers("Accept-Language", "de ; q=0.500,,fr;q=1.0"), true},
		"language weight":           {[]string{"Accept-Language"}, headers("Accept-Language", "en;q=0.5, de"), headers("Accept-Language", "en, de;q=0.5"), false},
		"language not wanted":       {[]string{"Accept-Language"}, headers("Accept-Language", "en;q=0"), headers("Accept-Language", "en"), false},
		"language nonsense":         {[]string{"Accept-Language"}, headers("Accept-Language", "en;q=2, de"), headers("Accept-Language", "de, en;q=2"), false},
		"encoding order":            {[]string{"Accept-Encoding"}, headers("Accept-Encoding", "gzip, br"), headers("Accept-Encoding", "br", "Accept-Encoding", "GZIP"), true},
		"encoding none":             {[]string{"Accept-Encoding"}, headers("Accept-Encoding", ""), headers(), false},
		"media type order":          {[]string{"Accept"}, headers("Accept", "text/html, image/*;q=0.8"), headers("Accept", "image/*;q=0.8,Text/HTML"), true},
		"media type parameter":      {[]string{"Accept"}, headers("Accept", "text/html;level=1"), headers("Accept", "text/html"), false},
		"parameter's name and case": {[]string{"Accept"}, headers("Accept", "text/html; Level=A;q=0.1"), headers("Accept", "text/html;level=A;q=0.10"), true},
		"parameter's value":         {[]string{"Accept"}, headers("Accept", "text/html;level=A"), headers("Accept", "text/html;level=a"), false},
		"quoted parameter":          {[]string{"Accept"}, headers("Accept", `a/b;c=", x"`), headers("Accept", `a/b;c=",x"`), false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			a, b := rfc9111.VaryKey(tt.names, tt.a), rfc9111.VaryKey(tt.names, tt.b)
			if (a == b) != tt.same {
				t.Errorf("keys %q and %q, want equal: %v", a, b, tt.same)
			}
		})
	}
}

func TestNoVaryNoKey(t *testing.T) {
	if k := rfc9111.VaryKey(nil, headers("Foo", "1")); k != "" {
		t.Errorf("key of nothing = %q", k)
	}
}

// A list that names more languages than anyone does is still a key.
func TestLongPreferencesAreKeys(t *testing.T) {
	long := ""
	for range 200 {
		long += "fr, "
	}
	names := []string{"Accept-Language"}
	if rfc9111.VaryKey(names, headers("Accept-Language", long)) == rfc9111.VaryKey(names, headers("Accept-Language", long+"de")) {
		t.Error("two lists, one key")
	}
}

func TestPreferencesKeepTheirKeyWhenShuffled(t *testing.T) {
	member := rapid.StringMatching(`[a-z]{1,3}(-[A-Z]{2})?(;q=0\.[1-9])?`)
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOfN(member, 1, 8).Draw(t, "list")
		mixed := rapid.Permutation(list).Draw(t, "mixed")
		names := []string{"Accept-Language"}
		if a, b := rfc9111.VaryKey(names, http.Header{"Accept-Language": list}), rfc9111.VaryKey(names, http.Header{"Accept-Language": mixed}); a != b {
			t.Fatalf("%q for %q, %q for %q", a, list, b, mixed)
		}
	})
}
