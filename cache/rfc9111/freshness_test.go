package rfc9111_test

import (
	"net/http"
	"testing"
	"time"

	"pgregory.net/rapid"

	"preau/cache/rfc9111"
)

// at writes a date so many seconds from the epoch of these tests.
func at(seconds int) string {
	return epoch.Add(time.Duration(seconds) * time.Second).Format(http.TimeFormat)
}

// headers pairs names and values.
func headers(kv ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(kv); i += 2 {
		h.Add(kv[i], kv[i+1])
	}
	return h
}

// ok200 is a response received at the epoch.
func ok200(kv ...string) rfc9111.Response {
	return rfc9111.Response{Status: 200, Header: headers(kv...), RequestTime: epoch, ResponseTime: epoch}
}

func TestRFC9111_4_2_1_FreshnessLifetime(t *testing.T) {
	heuristic := rfc9111.Rules{HeuristicFraction: 0.1, HeuristicMax: time.Hour}
	tests := map[string]struct {
		resp  rfc9111.Response
		rules rfc9111.Rules
		want  time.Duration
		from  rfc9111.Source
	}{
		"nothing":                    {resp: ok200()},
		"max-age":                    {resp: ok200("Cache-Control", "max-age=60"), want: time.Minute, from: rfc9111.SourceMaxAge},
		"max-age over past expires":  {resp: ok200("Cache-Control", "max-age=60", "Expires", at(-7200), "Date", at(0)), want: time.Minute, from: rfc9111.SourceMaxAge},
		"max-age over bad expires":   {resp: ok200("Cache-Control", "max-age=60", "Expires", "0"), want: time.Minute, from: rfc9111.SourceMaxAge},
		"max-age=0 over expires":     {resp: ok200("Cache-Control", "max-age=0", "Expires", at(3600)), from: rfc9111.SourceMaxAge},
		"bad max-age over expires":   {resp: ok200("Cache-Control", "max-age=1.5", "Expires", at(3600)), from: rfc9111.SourceMaxAge},
		"s-maxage over max-age":      {resp: ok200("Cache-Control", "max-age=3600, s-maxage=1"), want: time.Second, from: rfc9111.SourceSMaxage},
		"long s-maxage over zero":    {resp: ok200("Cache-Control", "max-age=0, s-maxage=60", "Expires", at(-10)), want: time.Minute, from: rfc9111.SourceSMaxage},
		"bad s-maxage over max-age":  {resp: ok200("Cache-Control", "max-age=60, s-maxage=x"), from: rfc9111.SourceSMaxage},
		"expires":                    {resp: ok200("Expires", at(60), "Date", at(0)), want: time.Minute, from: rfc9111.SourceExpires},
		"expires now":                {resp: ok200("Expires", at(0), "Date", at(0)), from: rfc9111.SourceExpires},
		"expires before a fast date": {resp: ok200("Expires", at(300), "Date", at(400)), from: rfc9111.SourceExpires},
		"expires with a slow date":   {resp: ok200("Expires", at(10), "Date", at(-10)), want: 20 * time.Second, from: rfc9111.SourceExpires},
		"expires without date":       {resp: ok200("Expires", at(10)), want: 10 * time.Second, from: rfc9111.SourceExpires},
		"expires with a bad date":    {resp: ok200("Expires", at(10), "Date", "foo"), want: 10 * time.Second, from: rfc9111.SourceExpires},
		"expires rfc850":             {resp: ok200("Expires", "Sunday, 22-Nov-26 11:01:00 GMT", "Date", at(0)), want: time.Minute, from: rfc9111.SourceExpires},
		"expires twice the same":     {resp: ok200("Expires", at(60), "Expires", at(60)), want: time.Minute, from: rfc9111.SourceExpires},
		"expires twice":              {resp: ok200("Expires", at(60), "Expires", at(61)), from: rfc9111.SourceExpires},
		"expires in 2286":            {resp: ok200("Expires", "Sun, 21 Nov 2286 04:46:39 GMT", "Date", at(0)), want: 1 << 31 * time.Second, from: rfc9111.SourceExpires},
		"expires in 9999":            {resp: ok200("Expires", "Fri, 31 Dec 9999 23:59:59 GMT", "Date", at(0)), want: 1 << 31 * time.Second, from: rfc9111.SourceExpires},
		"no heuristic by the letter": {resp: ok200("Last-Modified", at(-100), "Date", at(0))},
		"heuristic":                  {resp: ok200("Last-Modified", at(-100), "Date", at(0)), rules: heuristic, want: 10 * time.Second, from: rfc9111.SourceHeuristic},
		"heuristic, bounded":         {resp: ok200("Last-Modified", at(-864000), "Date", at(0)), rules: heuristic, want: time.Hour, from: rfc9111.SourceHeuristic},
		"heuristic, no validator":    {resp: ok200("Date", at(0)), rules: heuristic},
		"heuristic, future":          {resp: ok200("Last-Modified", at(10), "Date", at(0)), rules: heuristic},
		"heuristic, but explicit":    {resp: ok200("Last-Modified", at(-100), "Cache-Control", "max-age=1"), rules: heuristic, want: time.Second, from: rfc9111.SourceMaxAge},
		"heuristic, but expired":     {resp: ok200("Last-Modified", at(-100), "Expires", "0"), rules: heuristic, from: rfc9111.SourceExpires},
		"open quote":                 {resp: ok200("Cache-Control", `max-age=60, x="`, "Expires", at(60))},
		"targeted over expires":      {resp: ok200("CDN-Cache-Control", "no-cache", "Expires", at(60)), rules: rfc9111.DefaultRules()},
		"targeted over max-age":      {resp: ok200("CDN-Cache-Control", "max-age=1", "Cache-Control", "max-age=60"), rules: rfc9111.DefaultRules(), want: time.Second, from: rfc9111.SourceMaxAge},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, from := tt.resp.FreshnessLifetime(tt.rules)
			if got != tt.want || from != tt.from {
				t.Errorf("lifetime = %v by %v, want %v by %v", got, from, tt.want, tt.from)
			}
		})
	}
}

func TestRFC9111_4_2_2_HeuristicStatuses(t *testing.T) {
	rules := rfc9111.DefaultRules()
	allowed := map[int]bool{200: true, 203: true, 204: true, 206: true, 300: true, 301: true, 308: true, 404: true, 405: true, 410: true, 414: true, 501: true}
	for status := 200; status < 600; status++ {
		resp := ok200("Last-Modified", at(-86400), "Date", at(0))
		resp.Status = status
		if life, _ := resp.FreshnessLifetime(rules); life > 0 != allowed[status] {
			t.Errorf("%d: lifetime %v, want some: %v", status, life, allowed[status])
		}
		resp.Header.Set("Cache-Control", "public")
		if life, _ := resp.FreshnessLifetime(rules); life <= 0 {
			t.Errorf("%d with public: no lifetime", status)
		}
	}
}

func TestRFC9111_4_2_3_Age(t *testing.T) {
	tests := map[string]struct {
		h    http.Header
		sent time.Time
		want time.Duration // ten seconds after receipt
	}{
		"nothing":                   {h: headers(), want: 10 * time.Second},
		"age":                       {h: headers("Age", "30"), want: 40 * time.Second},
		"apparent age":              {h: headers("Date", at(-7200)), want: 7210 * time.Second},
		"fast date":                 {h: headers("Date", at(500)), want: 10 * time.Second},
		"bad date":                  {h: headers("Date", "foo"), want: 10 * time.Second},
		"greater of the two":        {h: headers("Date", at(-10), "Age", "25"), want: 35 * time.Second},
		"delay counts":              {h: headers("Age", "30"), sent: epoch.Add(-5 * time.Second), want: 45 * time.Second},
		"clock set back meanwhile":  {h: headers("Age", "30"), sent: epoch.Add(time.Hour), want: 40 * time.Second},
		"unknown delay":             {h: headers("Age", "30"), sent: time.Time{}, want: 40 * time.Second},
		"not a number":              {h: headers("Age", "abc"), want: 10 * time.Second},
		"negative":                  {h: headers("Age", "-7200"), want: 10 * time.Second},
		"decimal":                   {h: headers("Age", "7200.0"), want: 10 * time.Second},
		"parameter":                 {h: headers("Age", "7200;foo=bar"), want: 10 * time.Second},
		"31 bits":                   {h: headers("Age", "2147483647"), want: (2147483647 + 10) * time.Second},
		"overflow":                  {h: headers("Age", "99999999999999999999"), want: (1<<31 + 10) * time.Second},
		"first of a list":           {h: headers("Age", "7200, 0"), want: 7210 * time.Second},
		"first of a list, the less": {h: headers("Age", "0, 7200"), want: 10 * time.Second},
		"first of two lines":        {h: headers("Age", "7200", "Age", "0"), want: 7210 * time.Second},
		"two equal lines":           {h: headers("Age", "3600", "Age", "3600"), want: 3610 * time.Second},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := rfc9111.Response{Status: 200, Header: tt.h, RequestTime: tt.sent, ResponseTime: epoch}
			if got := r.CurrentAge(epoch.Add(10 * time.Second)); got != tt.want {
				t.Errorf("age = %v, want %v", got, tt.want)
			}
		})
	}
}

func TestAgeNeverOverflowsOrGoesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := rfc9111.Response{
			Header:       headers("Age", rapid.StringMatching(`[0-9]{1,22}`).Draw(t, "age"), "Date", at(rapid.IntRange(-1e9, 1e9).Draw(t, "date"))),
			RequestTime:  epoch.Add(-time.Duration(rapid.Int64Range(0, 1<<62).Draw(t, "delay"))),
			ResponseTime: epoch,
		}
		a := rapid.Int64Range(-1<<62, 1<<62).Draw(t, "a")
		b := rapid.Int64Range(a, 1<<62).Draw(t, "b")
		before, after := r.CurrentAge(epoch.Add(time.Duration(a))), r.CurrentAge(epoch.Add(time.Duration(b)))
		if before < 0 || after < before {
			t.Fatalf("age %v, later %v", before, after)
		}
	})
}
