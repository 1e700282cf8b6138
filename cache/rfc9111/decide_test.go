package rfc9111_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"preau/cache/rfc9111"
)

func TestRFC9111_4_ConstructingResponses(t *testing.T) {
	tests := map[string]struct {
		cc, age string // of the stored response, received 10 s ago
		etc     []string
		req     string // the request's Cache-Control
		use     rfc9111.Use
		reason  rfc9111.Reason
		must    bool
		fwd     string
	}{
		"fresh":                            {cc: "max-age=11", use: rfc9111.Fresh, reason: rfc9111.ReasonFresh},
		"as old as its lifetime":           {cc: "max-age=10", reason: rfc9111.ReasonStale, fwd: "stale"},
		"older by its age":                 {cc: "max-age=3600", age: "7200", reason: rfc9111.ReasonStale, fwd: "stale"},
		"older by its date":                {cc: "max-age=3600", etc: []string{"Date", at(-7200)}, reason: rfc9111.ReasonStale, fwd: "stale"},
		"fresh, must-revalidate":           {cc: "max-age=60, must-revalidate", use: rfc9111.Fresh, reason: rfc9111.ReasonFresh},
		"stale, must-revalidate":           {cc: "max-age=2, must-revalidate", reason: rfc9111.ReasonStale, must: true, fwd: "stale"},
		"stale, proxy-revalidate":          {cc: "max-age=2, proxy-revalidate", reason: rfc9111.ReasonStale, must: true, fwd: "stale"},
		"stale, s-maxage":                  {cc: "s-maxage=2", reason: rfc9111.ReasonStale, must: true, fwd: "stale"},
		"stale, s-maxage and swr":          {cc: "s-maxage=2, stale-while-revalidate=60", reason: rfc9111.ReasonStale, must: true, fwd: "stale"},
		"no-cache":                         {cc: "max-age=60, no-cache", reason: rfc9111.ReasonNoCache, must: true, fwd: "stale"},
		"no-cache with fields":             {cc: `max-age=60, no-cache="x"`, use: rfc9111.Fresh, reason: rfc9111.ReasonFresh},
		"no-cache and max-stale":           {cc: "max-age=60, no-cache", req: "max-stale", reason: rfc9111.ReasonNoCache, must: true, fwd: "stale"},
		"swr":                              {cc: "max-age=1, stale-while-revalidate=9", use: rfc9111.StaleWhileRevalidate, reason: rfc9111.ReasonStaleWhileRevalidate},
		"swr, window over":                 {cc: "max-age=1, stale-while-revalidate=8", reason: rfc9111.ReasonStale, fwd: "stale"},
		"swr, must-revalidate":             {cc: "max-age=1, stale-while-revalidate=9, must-revalidate", reason: rfc9111.ReasonStale, must: true, fwd: "stale"},
		"swr, client wants no older":       {cc: "max-age=1, stale-while-revalidate=9", req: "max-age=5", reason: rfc9111.ReasonStale, fwd: "stale"},
		"swr, client wants it fresh":       {cc: "max-age=1, stale-while-revalidate=9", req: "min-fresh=1", reason: rfc9111.ReasonStale, fwd: "stale"},
		"request no-cache":                 {cc: "max-age=60", req: "no-cache", reason: rfc9111.ReasonRequestNoCache, must: true, fwd: "request"},
		"request no-cache, stale":          {cc: "max-age=6", req: "no-cache", reason: rfc9111.ReasonRequestNoCache, must: true, fwd: "stale"},
		"request no-store":                 {cc: "max-age=60", req: "no-store", use: rfc9111.Fresh, reason: rfc9111.ReasonFresh},
		"request max-age=0":                {cc: "max-age=60", req: "max-age=0", reason: rfc9111.ReasonRequestMaxAge, fwd: "request"},
		"request max-age too little":       {cc: "max-age=60", req: "max-age=9", reason: rfc9111.ReasonRequestMaxAge, fwd: "request"},
		"request max-age enough":           {cc: "max-age=60", req: "max-age=10", use: rfc9111.Fresh, reason: rfc9111.ReasonFresh},
		"request max-age of nonsense":      {cc: "max-age=60", req: "max-age=x", use: rfc9111.Fresh, reason: rfc9111.ReasonFresh},
		"immutable, reload":                {cc: "max-age=60, immutable", req: "max-age=0", use: rfc9111.Fresh, reason: rfc9111.ReasonFresh},
		"immutable, forced reload":         {cc: "max-age=60, immutable", req: "no-cache", reason: rfc9111.ReasonRequestNoCache, must: true, fwd: "request"},
		"immutable, but stale":             {cc: "max-age=6, immutable", req: "max-age=0", reason: rfc9111.ReasonStale, fwd: "stale"},
		"request min-fresh":                {cc: "max-age=60", req: "min-fresh=50", use: rfc9111.Fresh, reason: rfc9111.ReasonFresh},
		"request min-fresh, not enough":    {cc: "max-age=60", req: "min-fresh=51", reason: rfc9111.ReasonRequestMinFresh, fwd: "request"},
		"request max-stale":                {cc: "max-age=1", req: "max-stale=9", use: rfc9111.StaleAllowed, reason: rfc9111.ReasonMaxStale},
		"request max-stale, not enough":    {cc: "max-age=1", req: "max-stale=8", reason: rfc9111.ReasonStale, fwd: "stale"},
		"request max-stale of any age":     {cc: "max-age=1", age: "9999", req: "max-stale", use: rfc9111.StaleAllowed, reason: rfc9111.ReasonMaxStale},
		"request max-stale of nonsense":    {cc: "max-age=1", req: "max-stale=x", reason: rfc9111.ReasonStale, fwd: "stale"},
		"max-stale, must-revalidate":       {cc: "max-age=1, must-revalidate", req: "max-stale", reason: rfc9111.ReasonStale, must: true, fwd: "stale"},
		"max-stale, s-maxage":              {cc: "s-maxage=1", req: "max-stale", reason: rfc9111.ReasonStale, must: true, fwd: "stale"},
		"max-age and max-stale":            {cc: "max-age=1", req: "max-age=5, max-stale=60", use: rfc9111.StaleAllowed, reason: rfc9111.ReasonMaxStale},
		"nothing but a validator":          {etc: []string{"ETag", `"a"`}, reason: rfc9111.ReasonStale, fwd: "stale"},
		"a guess":                          {etc: []string{"Last-Modified", at(-86400), "Date", at(0)}, use: rfc9111.Fresh, reason: rfc9111.ReasonFresh},
		"targeted no-cache":                {cc: "max-age=60", etc: []string{"CDN-Cache-Control", "no-cache"}, reason: rfc9111.ReasonNoCache, must: true, fwd: "stale"},
		"targeted over must-revalidate":    {cc: "max-age=0, must-revalidate", etc: []string{"CDN-Cache-Control", "max-age=60"}, use: rfc9111.Fresh, reason: rfc9111.ReasonFresh},
		"open quote grants nothing":        {cc: `max-age=60, stale-while-revalidate=60, x="`, reason: rfc9111.ReasonStale, fwd: "stale"},
		"response pragma means nothing":    {cc: "max-age=60", etc: []string{"Pragma", "no-cache"}, use: rfc9111.Fresh, reason: rfc9111.ReasonFresh},
		"unreadable freshness means stale": {cc: "max-age=3600.0", reason: rfc9111.ReasonStale, fwd: "stale"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			stored := ok200(tt.etc...)
			if tt.cc != "" {
				stored.Header.Set("Cache-Control", tt.cc)
			}
			if tt.age != "" {
				stored.Header.Set("Age", tt.age)
			}
			req := headers()
			if tt.req != "" {
				req.Set("Cache-Control", tt.req)
			}
			d := rfc9111.Decide(req, stored, epoch.Add(10*time.Second), rfc9111.DefaultRules())
			if d.Use != tt.use || d.Reason != tt.reason || d.MustValidate != tt.must || d.Fwd() != tt.fwd {
				t.Errorf("got %v because %s, must validate %v, fwd %q; want %v because %s, %v, %q",
					d.Use, d.Reason, d.MustValidate, d.Fwd(), tt.use, tt.reason, tt.must, tt.fwd)
			}
		})
	}
}

func TestRFC9111_4_2_4_StaleWhenTheOriginFails(t *testing.T) {
	const day = 24 * time.Hour
	contract := rfc9111.Rules{StaleWhenDown: 30 * day, StaleOnError: day}
	tests := map[string]struct {
		cc, req    string
		rules      rfc9111.Rules
		down, errs time.Duration // after receipt; negative: never
	}{
		"no contract":                      {cc: "max-age=60", down: time.Minute, errs: time.Minute},
		"refused":                          {cc: "max-age=60", rules: rfc9111.Rules{StaleWhenDown: -1, StaleOnError: -1}, down: time.Minute, errs: time.Minute},
		"contract":                         {cc: "max-age=60", rules: contract, down: 30*day + time.Minute, errs: day + time.Minute},
		"never fresh":                      {cc: "max-age=0", rules: contract, down: 30 * day, errs: day},
		"stale-if-error":                   {cc: "max-age=60, stale-if-error=60", down: 2 * time.Minute, errs: 2 * time.Minute},
		"stale-if-error, longer":           {cc: "max-age=60, stale-if-error=172800", rules: contract, down: 30*day + time.Minute, errs: 2*day + time.Minute},
		"stale-if-error of the client":     {cc: "max-age=60", req: "stale-if-error=60", down: 2 * time.Minute, errs: 2 * time.Minute},
		"must-revalidate":                  {cc: "max-age=60, must-revalidate, stale-if-error=60", rules: contract, down: time.Minute, errs: time.Minute},
		"s-maxage":                         {cc: "s-maxage=60", rules: contract, down: time.Minute, errs: time.Minute},
		"must-revalidate against a client": {cc: "max-age=0, must-revalidate", req: "stale-if-error=60, max-stale", rules: contract, down: -1, errs: -1},
		"no-cache":                         {cc: "max-age=60, no-cache, stale-if-error=60", rules: contract, down: -1, errs: -1},
		"a reload":                         {cc: "max-age=60", req: "max-age=0", rules: contract, down: 30*day + time.Minute, errs: day + time.Minute},
		"a forced reload":                  {cc: "max-age=60", req: "no-cache", rules: contract, down: -1, errs: -1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			req := headers()
			if tt.req != "" {
				req.Set("Cache-Control", tt.req)
			}
			may := func(f rfc9111.Failure, after time.Duration) bool {
				now := epoch.Add(after)
				return rfc9111.Decide(req, ok200("Cache-Control", tt.cc), now, tt.rules).MayServe(f, now)
			}
			for _, c := range []struct {
				f     rfc9111.Failure
				until time.Duration
			}{{rfc9111.Disconnected, tt.down}, {rfc9111.ServerError, tt.errs}} {
				if c.until < 0 {
					if may(c.f, 0) || may(c.f, time.Hour) {
						t.Errorf("failure %d: served, must never be", c.f)
					}
					continue
				}
				if !may(c.f, c.until-time.Second) {
					t.Errorf("failure %d: not served just before %v", c.f, c.until)
				}
				if may(c.f, c.until) {
					t.Errorf("failure %d: served at %v", c.f, c.until)
				}
			}
		})
	}
}

func TestRFC5861_4_ErrorStatuses(t *testing.T) {
	for status := 100; status < 600; status++ {
		want := status == 500 || status == 502 || status == 503 || status == 504
		if rfc9111.FailureStatus(status) != want {
			t.Errorf("FailureStatus(%d) = %v", status, !want)
		}
	}
}

func TestOnlyIfCachedIsHandedOn(t *testing.T) {
	d := rfc9111.Decide(headers("Cache-Control", "only-if-cached"), ok200("Cache-Control", "max-age=1"), epoch.Add(time.Minute), rfc9111.Rules{})
	if !d.OnlyIfCached || d.Use != rfc9111.Validate {
		t.Errorf("decision %+v: want a stale response for a client that wants nothing else", d)
	}
}

// Whatever the fields say, nothing is served that its directives forbid, and
// nothing becomes usable again by waiting.
func TestDecisionsKeepTheirPromises(t *testing.T) {
	directive := rapid.SampledFrom([]string{"max-age=5", "max-age=0", "s-maxage=7", "no-cache", "must-revalidate", "proxy-revalidate",
		"stale-while-revalidate=9", "stale-if-error=20", "immutable", "public", `no-cache="x"`, "max-age=x", `x="`})
	wish := rapid.SampledFrom([]string{"max-age=3", "max-age=0", "max-stale=4", "max-stale", "min-fresh=2", "no-cache", "stale-if-error=30"})
	rapid.Check(t, func(t *rapid.T) {
		stored, req := ok200(), headers()
		for _, d := range rapid.SliceOfN(directive, 0, 4).Draw(t, "cc") {
			stored.Header.Add("Cache-Control", d)
		}
		for _, d := range rapid.SliceOfN(wish, 0, 3).Draw(t, "req") {
			req.Add("Cache-Control", d)
		}
		rules := rfc9111.Rules{StaleWhenDown: time.Duration(rapid.IntRange(-1, 30).Draw(t, "down")) * time.Second}
		says := rfc9111.ParseResponseDirectives(stored.Header, rules)
		usable, servable := true, true
		for s := range 60 {
			now := epoch.Add(time.Duration(s) * time.Second)
			d := rfc9111.Decide(req, stored, now, rules)
			stale := d.TTL <= 0
			forbidden := says.NoCache || stale && (says.MustRevalidate || says.ProxyRevalidate || says.SMaxage.Set)
			if forbidden && (d.Use != rfc9111.Validate || !d.MustValidate) {
				t.Fatalf("after %d s: %v although forbidden", s, d.Use)
			}
			if (d.Use == rfc9111.Fresh) == stale && d.Use != rfc9111.Validate {
				t.Fatalf("after %d s: %v with a time to live of %v", s, d.Use, d.TTL)
			}
			may := d.MayServe(rfc9111.Disconnected, now)
			if d.MustValidate && may {
				t.Fatalf("after %d s: must be validated and may be served", s)
			}
			if d.Use != rfc9111.Validate && !usable || may && !servable {
				t.Fatalf("after %d s: usable again", s)
			}
			usable, servable = d.Use != rfc9111.Validate, may
		}
	})
}

func TestAnOldErrorStandsInForNothing(t *testing.T) {
	stored := ok200("Cache-Control", "max-age=60")
	stored.Status = 503
	now := epoch.Add(time.Hour)
	d := rfc9111.Decide(nil, stored, now, rfc9111.DefaultRules())
	if d.MayServe(rfc9111.Disconnected, now) || d.MayServe(rfc9111.ServerError, now) {
		t.Errorf("a stored 503 may be served until %v and %v", d.DownUntil, d.ErrorUntil)
	}
}
