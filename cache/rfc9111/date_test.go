package rfc9111_test

import (
	"net/http"
	"testing"
	"time"

	"pgregory.net/rapid"

	"preau/cache/rfc9111"
)

func TestRFC9110_5_6_7_Dates(t *testing.T) {
	utc := func(y int, m time.Month, d, h, min, s int) time.Time {
		return time.Date(y, m, d, h, min, s, 0, time.UTC)
	}
	tests := map[string]struct {
		in   string
		want time.Time // zero: not a date
	}{
		"fixdate":                 {"Sun, 06 Nov 1994 08:49:37 GMT", utc(1994, 11, 6, 8, 49, 37)},
		"white space around":      {" Sun, 06 Nov 1994 08:49:37 GMT\t", utc(1994, 11, 6, 8, 49, 37)},
		"rfc850 of the past":      {"Sunday, 06-Nov-94 08:49:37 GMT", utc(1994, 11, 6, 8, 49, 37)},
		"rfc850 of the future":    {"Thursday, 18-Aug-50 02:01:18 GMT", utc(2050, 8, 18, 2, 1, 18)},
		"rfc850 fifty years on":   {"Sunday, 22-Nov-76 11:00:00 GMT", utc(2076, 11, 22, 11, 0, 0)},
		"rfc850 and a second":     {"Sunday, 22-Nov-76 11:00:01 GMT", utc(1976, 11, 22, 11, 0, 1)},
		"asctime one digit":       {"Sun Nov  6 08:49:37 1994", utc(1994, 11, 6, 8, 49, 37)},
		"asctime two digits":      {"Thu Aug 18 02:01:18 2050", utc(2050, 8, 18, 2, 1, 18)},
		"day in capitals":         {"THU, 18 Aug 2050 02:01:18 GMT", utc(2050, 8, 18, 2, 1, 18)},
		"month in capitals":       {"Thu, 18 AUG 2050 02:01:18 GMT", utc(2050, 8, 18, 2, 1, 18)},
		"zone in mixed case":      {"Thu, 18 Aug 2050 02:01:18 gMT", utc(2050, 8, 18, 2, 1, 18)},
		"beyond 32 bits":          {"Tue, 19 Jan 2038 14:14:08 GMT", utc(2038, 1, 19, 14, 14, 8)},
		"far future":              {"Sun, 21 Nov 2286 04:46:39 GMT", utc(2286, 11, 21, 4, 46, 39)},
		"leap day":                {"Thu, 29 Feb 2024 00:00:00 GMT", utc(2024, 2, 29, 0, 0, 0)},
		"leap second":             {"Sat, 31 Dec 2016 23:59:60 GMT", utc(2017, 1, 1, 0, 0, 0)},
		"empty":                   {"", time.Time{}},
		"zero":                    {"0", time.Time{}},
		"minus one":               {"-1", time.Time{}},
		"UTC":                     {"Thu, 18 Aug 2050 02:01:18 UTC", time.Time{}},
		"another zone":            {"Thu, 18 Aug 2050 02:01:18 AEST", time.Time{}},
		"offset":                  {"Thu, 18 Aug 2050 02:01:18 +0000", time.Time{}},
		"two-digit year":          {"Thu, 18 Aug 50 02:01:18 GMT", time.Time{}},
		"no comma":                {"Thu 18 Aug 2050 02:01:18 GMT", time.Time{}},
		"two spaces":              {"Thu, 18  Aug  2050 02:01:18 GMT", time.Time{}},
		"dashes and four digits":  {"Thu, 18-Aug-2050 02:01:18 GMT", time.Time{}},
		"full stops in the time":  {"Thu, 18 Aug 2050 02.01.18 GMT", time.Time{}},
		"one-digit hour":          {"Thu, 18 Aug 2050 2:01:18 GMT", time.Time{}},
		"two dates":               {"Thu, 18 Aug 2050 02:01:18 GMT, Thu, 18 Aug 2050 02:01:19 GMT", time.Time{}},
		"no such day":             {"Thu, 30 Feb 2050 02:01:18 GMT", time.Time{}},
		"day zero":                {"Thu, 00 Feb 2050 02:01:18 GMT", time.Time{}},
		"no such month":           {"Thu, 18 Aoû 2050 02:01:18 GM", time.Time{}},
		"no such hour":            {"Thu, 18 Aug 2050 24:01:18 GMT", time.Time{}},
		"no such minute":          {"Thu, 18 Aug 2050 02:60:18 GMT", time.Time{}},
		"no such second":          {"Thu, 18 Aug 2050 02:01:61 GMT", time.Time{}},
		"no such weekday":         {"Jeu, 18 Aug 2050 02:01:18 GMT", time.Time{}},
		"short weekday in rfc850": {"Thu, 18-Aug-50 02:01:18 GMT", time.Time{}},
		"asctime with a zone":     {"Thu Aug  8 02:01:18 2050 GMT", time.Time{}},
		"sign in the year":        {"Thu, 18 Aug +050 02:01:18 GMT", time.Time{}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, ok := rfc9111.ParseTime(tt.in, epoch)
			if ok != !tt.want.IsZero() || !got.Equal(tt.want) {
				t.Errorf("ParseTime(%q) = %v, %v, want %v", tt.in, got, ok, tt.want)
			}
		})
	}
}

func TestRFC850DateNeedsNoClock(t *testing.T) {
	got, ok := rfc9111.ParseTime("Sunday, 06-Nov-94 08:49:37 GMT", time.Time{})
	if want := time.Date(1994, 11, 6, 8, 49, 37, 0, time.UTC); !ok || !got.Equal(want) {
		t.Errorf("without a clock = %v, %v, want %v", got, ok, want)
	}
	got, ok = rfc9111.ParseTime("Thursday, 18-Aug-50 02:01:18 GMT", time.Time{})
	if want := time.Date(2050, 8, 18, 2, 1, 18, 0, time.UTC); !ok || !got.Equal(want) {
		t.Errorf("without a clock = %v, %v, want %v", got, ok, want)
	}
}

func TestEveryDateWeWriteCanBeRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := time.Unix(rapid.Int64Range(0, 4e10).Draw(t, "unix"), 0).UTC()
		for _, layout := range []string{http.TimeFormat, time.ANSIC} {
			got, ok := rfc9111.ParseTime(at.Format(layout), epoch)
			if at.Year() <= 9999 && (!ok || !got.Equal(at)) {
				t.Fatalf("ParseTime(%q) = %v, %v", at.Format(layout), got, ok)
			}
		}
		// Two digits are enough within fifty years of now.
		near := epoch.Add(time.Duration(rapid.Int64Range(-49*365*24, 49*365*24).Draw(t, "hours")) * time.Hour)
		text := near.Format("Monday, 02-Jan-06 15:04:05 GMT")
		if got, ok := rfc9111.ParseTime(text, epoch); !ok || !got.Equal(near) {
			t.Fatalf("ParseTime(%q) = %v, %v, want %v", text, got, ok, near)
		}
	})
}
