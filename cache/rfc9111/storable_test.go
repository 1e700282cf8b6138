package rfc9111_test

import (
	"net/http"
	"net/url"
	"testing"

	"preau/cache/rfc9111"
)

func mustURL(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestRFC9111_3_StoringResponses(t *testing.T) {
	tests := map[string]struct {
		method string
		req    http.Header
		status int
		h      http.Header
		want   rfc9111.Reason
	}{
		"nothing at all":                 {h: headers(), want: rfc9111.ReasonNothingToReuse},
		"max-age":                        {h: headers("Cache-Control", "max-age=60"), want: rfc9111.ReasonStored},
		"max-age=0":                      {h: headers("Cache-Control", "max-age=0"), want: rfc9111.ReasonNothingToReuse},
		"max-age=0 and a validator":      {h: headers("Cache-Control", "max-age=0", "ETag", `"a"`), want: rfc9111.ReasonStored},
		"max-age=0 and swr":              {h: headers("Cache-Control", "max-age=0, stale-while-revalidate=9"), want: rfc9111.ReasonStored},
		"max-age=0 and sie":              {h: headers("Cache-Control", "max-age=0, stale-if-error=9"), want: rfc9111.ReasonStored},
		"only a validator":               {h: headers("ETag", `"a"`), want: rfc9111.ReasonStored},
		"only a weak validator":          {h: headers("ETag", `W/"a"`), want: rfc9111.ReasonStored},
		"only a date of change":          {h: headers("Last-Modified", at(-5)), want: rfc9111.ReasonStored},
		"only a bad date of change":      {h: headers("Last-Modified", "yesterday"), want: rfc9111.ReasonNothingToReuse},
		"no-store":                       {h: headers("Cache-Control", "no-store, max-age=60", "Expires", at(60)), want: rfc9111.ReasonNoStore},
		"no-store in mixed case":         {h: headers("Cache-Control", "No-StOrE"), want: rfc9111.ReasonNoStore},
		"no-store behind an open quote":  {h: headers("Cache-Control", `max-age=60, x="y, no-store`), want: rfc9111.ReasonNoStore},
		"request no-store":               {req: headers("Cache-Control", "no-store"), h: headers("Cache-Control", "max-age=60"), want: rfc9111.ReasonRequestNoStore},
		"private":                        {h: headers("Cache-Control", "private, max-age=60"), want: rfc9111.ReasonPrivate},
		"private with fields":            {h: headers("Cache-Control", `private="set-cookie", max-age=60`), want: rfc9111.ReasonStored},
		"no-cache and a validator":       {h: headers("Cache-Control", "no-cache", "ETag", `"a"`), want: rfc9111.ReasonStored},
		"no-cache alone":                 {h: headers("Cache-Control", "no-cache, max-age=60"), want: rfc9111.ReasonNothingToReuse},
		"authorised":                     {req: headers("Authorization", "x"), h: headers("Expires", at(60)), want: rfc9111.ReasonAuthorization},
		"authorised, max-age":            {req: headers("Authorization", "x"), h: headers("Cache-Control", "max-age=60"), want: rfc9111.ReasonAuthorization},
		"authorised, public":             {req: headers("Authorization", "x"), h: headers("Cache-Control", "max-age=60, public"), want: rfc9111.ReasonStored},
		"authorised, must-revalidate":    {req: headers("Authorization", "x"), h: headers("Cache-Control", "max-age=60, must-revalidate"), want: rfc9111.ReasonStored},
		"authorised, s-maxage":           {req: headers("Authorization", "x"), h: headers("Cache-Control", "s-maxage=60"), want: rfc9111.ReasonStored},
		"authorised, proxy-revalidate":   {req: headers("Authorization", "x"), h: headers("Cache-Control", "max-age=60, proxy-revalidate"), want: rfc9111.ReasonAuthorization},
		"authorised, open quote":         {req: headers("Authorization", "x"), h: headers("Cache-Control", `public, x="`, "ETag", `"a"`), want: rfc9111.ReasonAuthorization},
		"set-cookie":                     {h: headers("Cache-Control", "max-age=60", "Set-Cookie", "a=b"), want: rfc9111.ReasonStored},
		"request with cookie":            {req: headers("Cookie", "a=b"), h: headers("Cache-Control", "max-age=60"), want: rfc9111.ReasonStored},
		"vary star":                      {h: headers("Cache-Control", "max-age=60", "Vary", "Foo, *"), want: rfc9111.ReasonVaryAny},
		"interim":                        {status: 103, h: headers("Cache-Control", "max-age=60"), want: rfc9111.ReasonStatus},
		"no status at all":               {status: 999, h: headers("Cache-Control", "max-age=60"), want: rfc9111.ReasonStatus},
		"304 is never stored itself":     {status: 304, h: headers("Cache-Control", "max-age=60"), want: rfc9111.ReasonStatus},
		"416 is about its range":         {status: 416, h: headers("Cache-Control", "max-age=60"), want: rfc9111.ReasonStatus},
		"412 is about its precondition":  {status: 412, h: headers("Cache-Control", "max-age=60"), want: rfc9111.ReasonStatus},
		"201 without freshness":          {status: 201, h: headers("ETag", `"a"`), want: rfc9111.ReasonNotCacheable},
		"403 without freshness":          {status: 403, h: headers("Last-Modified", at(-5)), want: rfc9111.ReasonNotCacheable},
		"599 without freshness":          {status: 599, h: headers("Last-Modified", at(-5)), want: rfc9111.ReasonNotCacheable},
		"599 public":                     {status: 599, h: headers("Last-Modified", at(-86400), "Date", at(0), "Cache-Control", "public"), want: rfc9111.ReasonStored},
		"299 with freshness":             {status: 299, h: headers("Cache-Control", "max-age=60"), want: rfc9111.ReasonStored},
		"503 with freshness":             {status: 503, h: headers("Expires", at(60)), want: rfc9111.ReasonStored},
		"404 with a validator":           {status: 404, h: headers("ETag", `"a"`), want: rfc9111.ReasonStored},
		"must-understand 599":            {status: 599, h: headers("Cache-Control", "max-age=60, must-understand"), want: rfc9111.ReasonNotUnderstood},
		"must-understand 599, no-store":  {status: 599, h: headers("Cache-Control", "max-age=60, no-store, must-understand"), want: rfc9111.ReasonNotUnderstood},
		"must-understand lifts no-store": {h: headers("Cache-Control", "max-age=60, no-store, must-understand"), want: rfc9111.ReasonStored},
		"but not behind an open quote":   {h: headers("Cache-Control", `max-age=60, no-store, must-understand, x="`), want: rfc9111.ReasonNoStore},
		"206":                            {status: 206, h: headers("Cache-Control", "max-age=60", "Content-Range", "bytes 4-9/10"), want: rfc9111.ReasonStored},
		"206 of unknown length":          {status: 206, h: headers("Cache-Control", "max-age=60", "Content-Range", "bytes 4-9/*"), want: rfc9111.ReasonStored},
		"206 in several parts":           {status: 206, h: headers("Cache-Control", "max-age=60", "Content-Type", "multipart/byteranges"), want: rfc9111.ReasonPartial},
		"206 of another unit":            {status: 206, h: headers("Cache-Control", "max-age=60", "Content-Range", "lines 4-9/10"), want: rfc9111.ReasonPartial},
		"206 that lies":                  {status: 206, h: headers("Cache-Control", "max-age=60", "Content-Range", "bytes 4-10/10"), want: rfc9111.ReasonPartial},
		"head":                           {method: "HEAD", h: headers("Cache-Control", "max-age=60"), want: rfc9111.ReasonMethod},
		"put":                            {method: "PUT", h: headers("Cache-Control", "max-age=60"), want: rfc9111.ReasonMethod},
		"post":                           {method: "POST", h: headers("Cache-Control", "max-age=60"), want: rfc9111.ReasonMethod},
		"post that answers for itself":   {method: "POST", h: headers("Expires", at(60), "Content-Location", "/a?b=c"), want: rfc9111.ReasonStored},
		"post, absolute":                 {method: "POST", h: headers("Expires", at(60), "Content-Location", "https://school.example:443/a?b=c"), want: rfc9111.ReasonStored},
		"post, elsewhere":                {method: "POST", h: headers("Expires", at(60), "Content-Location", "/a?b=d"), want: rfc9111.ReasonMethod},
		"post, another host":             {method: "POST", h: headers("Expires", at(60), "Content-Location", "//other.example/a?b=c"), want: rfc9111.ReasonMethod},
		"post, only a guess":             {method: "POST", h: headers("Last-Modified", at(-60), "Content-Location", "/a?b=c"), want: rfc9111.ReasonMethod},
		"post, 206":                      {method: "POST", status: 206, h: headers("Expires", at(60), "Content-Location", "/a?b=c", "Content-Range", "bytes 0-1/2"), want: rfc9111.ReasonPartial},
		"targeted private":               {h: headers("CDN-Cache-Control", "private", "Cache-Control", "max-age=60", "Expires", at(60)), want: rfc9111.ReasonPrivate},
		"targeted no-store":              {h: headers("CDN-Cache-Control", "no-store", "Cache-Control", "max-age=60", "Expires", at(60)), want: rfc9111.ReasonNoStore},
		"targeted no-cache":              {h: headers("CDN-Cache-Control", "no-cache", "Cache-Control", "max-age=60", "Expires", at(60)), want: rfc9111.ReasonNothingToReuse},
		"targeted over no-store":         {h: headers("CDN-Cache-Control", "max-age=60", "Cache-Control", "no-store"), want: rfc9111.ReasonStored},
		"targeted of the wrong type":     {h: headers("CDN-Cache-Control", `max-age="60"`, "Cache-Control", "no-store"), want: rfc9111.ReasonNoStore},
		"targeted that is no dictionary": {h: headers("CDN-Cache-Control", "max-age=60, &&&&&", "Cache-Control", "no-store"), want: rfc9111.ReasonNoStore},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			req := rfc9111.Request{Method: "GET", URL: mustURL(t, "https://school.example/a?b=c"), Header: tt.req}
			if tt.method != "" {
				req.Method = tt.method
			}
			resp := rfc9111.Response{Status: 200, Header: tt.h, RequestTime: epoch, ResponseTime: epoch}
			if tt.status != 0 {
				resp.Status = tt.status
			}
			got := rfc9111.Storable(req, resp, rfc9111.DefaultRules())
			if got.Reason != tt.want || got.Store != (tt.want == rfc9111.ReasonStored) {
				t.Errorf("Storable = %+v, want %s", got, tt.want)
			}
		})
	}
}

func TestByTheLetterNothingIsTargeted(t *testing.T) {
	resp := ok200("CDN-Cache-Control", "max-age=60", "Cache-Control", "no-store")
	got := rfc9111.Storable(rfc9111.Request{Method: "GET"}, resp, rfc9111.Rules{})
	if got.Store {
		t.Errorf("a targeted field nobody asked to honour: %+v", got)
	}
}

func TestPostWithoutURLIsNotStored(t *testing.T) {
	resp := ok200("Expires", at(60), "Content-Location", "/a")
	if got := rfc9111.Storable(rfc9111.Request{Method: "POST"}, resp, rfc9111.Rules{}); got.Store {
		t.Errorf("Storable = %+v", got)
	}
}
