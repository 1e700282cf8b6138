package rfc9111_test

import (
	"net/http"
	"testing"

	"preau/cache/rfc9111"
)

func TestRFC9111_4_3_2_ReceivedValidation(t *testing.T) {
	tag := ok200("ETag", `"abcdef"`, "Last-Modified", at(-3000), "Date", at(0))
	weak := ok200("ETag", `W/"abcdef"`)
	bare := ok200("ETag", `abcdef`)
	plain := ok200("Date", at(0))
	dated := ok200("Last-Modified", at(-3000), "Date", at(0))
	missing := tag
	missing.Status = 404
	tests := map[string]struct {
		method string
		req    http.Header
		stored rfc9111.Response
		want   int
	}{
		"nothing asked":              {req: headers(), stored: tag},
		"same tag":                   {req: headers("If-None-Match", `"abcdef"`), stored: tag, want: 304},
		"same tag, head":             {method: "HEAD", req: headers("If-None-Match", `"abcdef"`), stored: tag, want: 304},
		"same tag, post":             {method: "POST", req: headers("If-None-Match", `"abcdef"`), stored: tag},
		"same tag of a 404":          {req: headers("If-None-Match", `"abcdef"`), stored: missing},
		"another tag":                {req: headers("If-None-Match", `"x"`), stored: tag},
		"no tag stored":              {req: headers("If-None-Match", `"x"`), stored: plain},
		"weak against strong":        {req: headers("If-None-Match", `W/"abcdef"`), stored: tag, want: 304},
		"strong against weak":        {req: headers("If-None-Match", `"abcdef"`), stored: weak, want: 304},
		"first of three":             {req: headers("If-None-Match", `"abcdef", "1", "2"`), stored: tag, want: 304},
		"second of three":            {req: headers("If-None-Match", `"1","abcdef","2"`), stored: tag, want: 304},
		"last of three":              {req: headers("If-None-Match", `"1", "2" , "abcdef"`), stored: tag, want: 304},
		"second line":                {req: headers("If-None-Match", `"1"`, "If-None-Match", `, "abcdef"`), stored: tag, want: 304},
		"comma in a tag":             {req: headers("If-None-Match", `"a, "abcdef`), stored: tag},
		"star":                       {req: headers("If-None-Match", `*`), stored: plain, want: 304},
		"star among tags":            {req: headers("If-None-Match", `"1", *`), stored: tag},
		"tag before date":            {req: headers("If-None-Match", `"abcdef"`, "If-Modified-Since", at(-9000)), stored: tag, want: 304},
		"tag before date, no match":  {req: headers("If-None-Match", `"x"`, "If-Modified-Since", at(0)), stored: tag},
		"quoted against unquoted":    {req: headers("If-None-Match", `"abcdef"`), stored: bare},
		"unquoted against quoted":    {req: headers("If-None-Match", `abcdef`), stored: tag},
		"unquoted against unquoted":  {req: headers("If-None-Match", `abcdef`), stored: bare, want: 304},
		"lower-case weakness":        {req: headers("If-None-Match", `w/"abcdef"`), stored: ok200("ETag", `w/"abcdef"`), want: 304},
		"weakness without a slash":   {req: headers("If-None-Match", `W"abcdef"`), stored: ok200("ETag", `W"abcdef"`), want: 304},
		"tag outside ASCII":          {req: headers("If-None-Match", `"abcdefü"`), stored: ok200("ETag", `"abcdefü"`), want: 304},
		"same date":                  {req: headers("If-Modified-Since", at(-3000)), stored: dated, want: 304},
		"later date":                 {req: headers("If-Modified-Since", at(-2000)), stored: dated, want: 304},
		"earlier date":               {req: headers("If-Modified-Since", at(-3001)), stored: dated},
		"rfc850 date":                {req: headers("If-Modified-Since", "Sunday, 22-Nov-26 10:10:00 GMT"), stored: dated, want: 304},
		"not a date":                 {req: headers("If-Modified-Since", "0"), stored: dated},
		"two dates":                  {req: headers("If-Modified-Since", at(0), "If-Modified-Since", at(0)), stored: dated},
		"no change date, by Date":    {req: headers("If-Modified-Since", at(0)), stored: plain, want: 304},
		"no change date, older":      {req: headers("If-Modified-Since", at(-1)), stored: plain},
		"no date at all, by receipt": {req: headers("If-Modified-Since", at(0)), stored: ok200(), want: 304},
		"if-match is not for us":     {req: headers("If-Match", `"other"`), stored: tag},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			method := tt.method
			if method == "" {
				method = "GET"
			}
			if got := rfc9111.Preconditions(method, tt.req, tt.stored); got != tt.want {
				t.Errorf("Preconditions(%v) = %d, want %d", tt.req, got, tt.want)
			}
		})
	}
}

func TestRFC9111_4_3_2_OnlyTheOriginJudges(t *testing.T) {
	for _, tt := range []struct {
		req  http.Header
		want bool
	}{
		{headers("If-Match", "*"), true},
		{headers("If-Unmodified-Since", at(0)), true},
		{headers("If-None-Match", "*", "If-Modified-Since", at(0), "If-Range", `"a"`), false},
	} {
		if got := rfc9111.NeedsOrigin(tt.req); got != tt.want {
			t.Errorf("NeedsOrigin(%v) = %v", tt.req, got)
		}
	}
}

func TestRFC9110_13_1_5_IfRange(t *testing.T) {
	strong := ok200("ETag", `"a"`, "Last-Modified", at(-3000), "Date", at(0))
	dated := ok200("Last-Modified", at(-60), "Date", at(0))
	recent := ok200("Last-Modified", at(-1), "Date", at(0))
	tests := map[string]struct {
		req    http.Header
		stored rfc9111.Response
		want   bool
	}{
		"none":                    {headers(), strong, true},
		"same strong tag":         {headers("If-Range", `"a"`), strong, true},
		"another tag":             {headers("If-Range", `"b"`), strong, false},
		"weak tag":                {headers("If-Range", `W/"a"`), strong, false},
		"weak tags":               {headers("If-Range", `W/"a"`), ok200("ETag", `W/"a"`), false},
		"unquoted tags":           {headers("If-Range", `a`), ok200("ETag", `a`), false},
		"tag, none stored":        {headers("If-Range", `"a"`), dated, false},
		"same date":               {headers("If-Range", at(-60)), dated, true},
		"same date, also tagged":  {headers("If-Range", at(-3000)), strong, true},
		"later date":              {headers("If-Range", at(0)), dated, false},
		"earlier date":            {headers("If-Range", at(-61)), dated, false},
		"same date, too recent":   {headers("If-Range", at(-1)), recent, false},
		"same date, when unknown": {headers("If-Range", at(-60)), ok200("Last-Modified", at(-60)), false},
		"nonsense":                {headers("If-Range", "x y"), strong, false},
		"two lines":               {headers("If-Range", `"a"`, "If-Range", `"a"`), strong, false},
		"list":                    {headers("If-Range", `"a", "b"`), strong, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := rfc9111.IfRange(tt.req, tt.stored); got != tt.want {
				t.Errorf("IfRange(%v) = %v", tt.req, got)
			}
		})
	}
}
