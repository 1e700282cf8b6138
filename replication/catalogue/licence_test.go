package catalogue_test

import (
	"strings"
	"testing"

	"preau/replication/catalogue"
)

func TestALicenceIsTakenOutAsItWasPutIn(t *testing.T) {
	for name, tt := range map[string]struct{ text, licence, want, got string }{
		"both":            {"Un conte.\nEn deux lignes.", "CC BY 4.0", "Un conte.\nEn deux lignes.", "CC BY 4.0"},
		"only a licence":  {"", "CC0 1.0", "", "CC0 1.0"},
		"only words":      {"Un conte.", "", "Un conte.", ""},
		"neither":         {"", "", "", ""},
		"several lines":   {"a", " CC\nBY ", "a", "CC BY"},
		"an endless one":  {"a", strings.Repeat("x", 201), "a", ""},
		"a long text":     {strings.Repeat("é", 1999), "CC0", strings.Repeat("é", 1850), "CC0"},
		"words about one": {"La licence : à voir", "", "La licence : à voir", ""},
	} {
		text, licence := catalogue.TakeLicence(catalogue.WithLicence(tt.text, tt.licence))
		if text != tt.want || licence != tt.got {
			t.Errorf("%s: %q and %q, want %q and %q", name, text, licence, tt.want, tt.got)
		}
	}
	if text, licence := catalogue.TakeLicence("Licence :  "); licence != "" || text != "Licence :  " {
		t.Errorf("an empty one is one: %q, %q", text, licence)
	}
}

func FuzzTakeLicence(f *testing.F) {
	f.Add("Un conte. · Licence : CC BY", "CC0")
	f.Add("\n", "")
	f.Fuzz(func(t *testing.T, text, licence string) {
		rest, _ := catalogue.TakeLicence(text)
		if !strings.HasPrefix(text, rest) {
			t.Errorf("%q is no beginning of %q", rest, text)
		}
		if _, got := catalogue.TakeLicence(catalogue.WithLicence(rest, licence)); got != "" && got != strings.Join(strings.Fields(licence), " ") && !strings.HasSuffix(rest, got) {
			t.Errorf("%q became %q", licence, got)
		}
	})
}
