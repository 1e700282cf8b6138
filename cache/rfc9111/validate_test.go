package rfc9111_test

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"preau/cache/rfc9111"
)

func TestRFC9111_4_3_1_SendingValidation(t *testing.T) {
	tests := map[string]struct{ stored, want http.Header }{
		"nothing":       {headers(), headers()},
		"strong tag":    {headers("ETag", `"a"`), headers("If-None-Match", `"a"`)},
		"weak tag":      {headers("ETag", ` W/"a"`), headers("If-None-Match", `W/"a"`)},
		"both":          {headers("ETag", `"a"`, "Last-Modified", at(-9)), headers("If-None-Match", `"a"`, "If-Modified-Since", at(-9))},
		"unquoted tag":  {headers("ETag", `a`), headers("If-None-Match", `a`)},
		"star as a tag": {headers("ETag", `*`), headers()},
		"list as a tag": {headers("ETag", `a, b`), headers()},
		"two tags":      {headers("ETag", `"a"`, "ETag", `"b"`), headers()},
		"empty tag":     {headers("ETag", ``), headers()},
		"no date":       {headers("Last-Modified", "0"), headers()},
		"old date form": {headers("Last-Modified", "Sunday, 06-Nov-94 08:49:37 GMT"), headers("If-Modified-Since", "Sunday, 06-Nov-94 08:49:37 GMT")},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, rfc9111.ConditionalHeader(tt.stored)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestRFC9110_8_8_2_2_StrongValidator(t *testing.T) {
	tests := map[string]struct {
		stored rfc9111.Response
		want   string
		ok     bool
	}{
		"strong tag":              {ok200("ETag", `"a"`), `"a"`, true},
		"strong date":             {ok200("Last-Modified", at(-60), "Date", at(0)), at(-60), true},
		"date too recent":         {ok200("Last-Modified", at(-1), "Date", at(0)), "", false},
		"date without Date":       {ok200("Last-Modified", at(-60)), "", false},
		"weak tag, strong date":   {ok200("ETag", `W/"a"`, "Last-Modified", at(-60), "Date", at(0)), "", false},
		"bad tag, strong date":    {ok200("ETag", `a`, "Last-Modified", at(-60), "Date", at(0)), "", false},
		"none":                    {ok200("Date", at(0)), "", false},
		"several dates of change": {ok200("Last-Modified", at(-60), "Last-Modified", at(-61), "Date", at(0)), "", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, ok := rfc9111.StrongValidator(tt.stored)
			if ok != tt.ok || ok && got != tt.want {
				t.Errorf("StrongValidator = %q, %v, want %q, %v", got, ok, tt.want, tt.ok)
			}
		})
	}
}

func TestRFC9111_4_3_4_WhichResponseA304IsAbout(t *testing.T) {
	tests := map[string]struct {
		stored, fresh http.Header
		want          bool
	}{
		"same tag":                    {headers("ETag", `"a"`), headers("ETag", `"a"`), true},
		"another tag":                 {headers("ETag", `"a"`), headers("ETag", `"b"`), false},
		"another tag, same date":      {headers("ETag", `"a"`, "Last-Modified", at(-9)), headers("ETag", `"b"`, "Last-Modified", at(-9)), false},
		"same tag, another date":      {headers("ETag", `"a"`, "Last-Modified", at(-9)), headers("ETag", `"a"`, "Last-Modified", at(-8)), true},
		"tag made weak":               {headers("ETag", `"a"`), headers("ETag", `W/"a"`), true},
		"tag made strong":             {headers("ETag", `W/"a"`), headers("ETag", `"a"`), true},
		"same date":                   {headers("Last-Modified", at(-9)), headers("Last-Modified", at(-9)), true},
		"another date":                {headers("Last-Modified", at(-9)), headers("Last-Modified", at(-8)), false},
		"no validator in the 304":     {headers("ETag", `"a"`, "Last-Modified", at(-9)), headers(), true},
		"no validator anywhere":       {headers(), headers(), true},
		"a tag for what had none":     {headers(), headers("ETag", `"a"`), false},
		"a tag for what had the date": {headers("Last-Modified", at(-9)), headers("ETag", `"a"`, "Last-Modified", at(-9)), true},
		"a date for what had a tag":   {headers("ETag", `"a"`), headers("Last-Modified", at(-9)), false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := rfc9111.Same304(tt.stored, tt.fresh); got != tt.want {
				t.Errorf("Same304 = %v", got)
			}
		})
	}
}

func TestRFC9111_3_2_UpdatingStoredHeaders(t *testing.T) {
	tests := map[string]struct{ stored, fresh, want http.Header }{
		"kept":                 {headers("Test-Header", "a"), headers(), headers("Test-Header", "a", "Date", at(0))},
		"replaced":             {headers("Test-Header", "a"), headers("Test-Header", "b"), headers("Test-Header", "b", "Date", at(0))},
		"lines replaced":       {headers("X", "a", "X", "b"), headers("X", "c"), headers("X", "c", "Date", at(0))},
		"added":                {headers(), headers("Content-Foo", "b"), headers("Content-Foo", "b", "Date", at(0))},
		"freshness":            {headers("Cache-Control", "max-age=1", "Expires", at(1)), headers("Cache-Control", "max-age=3600"), headers("Cache-Control", "max-age=3600", "Expires", at(1), "Date", at(0))},
		"type":                 {headers("Content-Type", "text/plain"), headers("Content-Type", "text/plain;charset=utf-8"), headers("Content-Type", "text/plain;charset=utf-8", "Date", at(0))},
		"length stays":         {headers("Content-Length", "5"), headers("Content-Length", "10"), headers("Content-Length", "5", "Date", at(0))},
		"length is not added":  {headers(), headers("Content-Length", "0"), headers("Date", at(0))},
		"coding stays":         {headers("Content-Encoding", "gzip"), headers("Content-Encoding", "br"), headers("Content-Encoding", "gzip", "Date", at(0))},
		"coding is not added":  {headers(), headers("Content-Encoding", "br"), headers("Date", at(0))},
		"range stays":          {headers("Content-Range", "bytes 0-1/2"), headers("Content-Range", "bytes 0-0/1"), headers("Content-Range", "bytes 0-1/2", "Date", at(0))},
		"weak tag stays":       {headers("ETag", `W/"a"`), headers("ETag", `"a"`), headers("ETag", `W/"a"`, "Date", at(0))},
		"tag is added":         {headers("Last-Modified", at(-9)), headers("ETag", `"a"`), headers("Last-Modified", at(-9), "ETag", `"a"`, "Date", at(0))},
		"cookie":               {headers("Set-Cookie", "a=b"), headers("Set-Cookie", "a=c"), headers("Set-Cookie", "a=c", "Date", at(0))},
		"old age goes":         {headers("Age", "500", "Date", at(-500)), headers("Date", at(-3)), headers("Date", at(-3))},
		"new age comes":        {headers("Age", "500"), headers("Age", "2", "Date", at(-3)), headers("Age", "2", "Date", at(-3))},
		"the connection's own": {headers(), headers("Connection", "x, close", "X", "1", "Keep-Alive", "5", "Transfer-Encoding", "chunked"), headers("Date", at(0))},
		"newly private":        {headers("X", "1", "Y", "2"), headers("Cache-Control", `private="x"`), headers("Y", "2", "Cache-Control", `private="x"`, "Date", at(0))},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			before := tt.stored.Clone()
			fresh := rfc9111.Response{Status: 304, Header: tt.fresh, ResponseTime: epoch}
			got := rfc9111.Update304(tt.stored, fresh, rfc9111.DefaultRules())
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(before, tt.stored); diff != "" {
				t.Errorf("the stored header was changed:\n%s", diff)
			}
		})
	}
}

func TestA304FreshensEvenNothing(t *testing.T) {
	got := rfc9111.Update304(nil, rfc9111.Response{Status: 304}, rfc9111.Rules{})
	if got == nil || len(got) != 0 {
		t.Errorf("Update304(nil) = %v", got)
	}
}

func TestRFC9111_4_3_5_FreshenedByHEAD(t *testing.T) {
	tests := map[string]struct {
		storedStatus, headStatus int
		stored, head             http.Header
		effect                   rfc9111.HeadEffect
	}{
		"no validators":         {200, 200, headers("Template-A", "1"), headers("Template-A", "2"), rfc9111.HeadUpdates},
		"same tag":              {200, 200, headers("ETag", `"a"`), headers("ETag", `"a"`), rfc9111.HeadUpdates},
		"another tag":           {200, 200, headers("ETag", `"a"`), headers("ETag", `"b"`), rfc9111.HeadInvalidates},
		"a new tag":             {200, 200, headers(), headers("ETag", `"b"`), rfc9111.HeadInvalidates},
		"same date":             {200, 200, headers("Last-Modified", at(-9)), headers("Last-Modified", at(-9)), rfc9111.HeadUpdates},
		"another date":          {200, 200, headers("Last-Modified", at(-9)), headers("Last-Modified", at(-8)), rfc9111.HeadInvalidates},
		"same length":           {200, 200, headers("Content-Length", "5"), headers("Content-Length", "5"), rfc9111.HeadUpdates},
		"another length":        {200, 200, headers("Content-Length", "5"), headers("Content-Length", "6"), rfc9111.HeadInvalidates},
		"length of one only":    {200, 200, headers(), headers("Content-Length", "6"), rfc9111.HeadUpdates},
		"gone":                  {200, 410, headers(), headers("Template-A", "2"), rfc9111.HeadIgnored},
		"not modified":          {200, 304, headers(), headers("Template-A", "2"), rfc9111.HeadIgnored},
		"something else stored": {404, 200, headers(), headers(), rfc9111.HeadIgnored},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			stored := rfc9111.Response{Status: tt.storedStatus, Header: tt.stored, ResponseTime: epoch}
			head := rfc9111.Response{Status: tt.headStatus, Header: tt.head, ResponseTime: epoch}
			h, effect := rfc9111.UpdateHEAD(stored, head, rfc9111.Rules{})
			if effect != tt.effect || (h != nil) != (effect == rfc9111.HeadUpdates) {
				t.Fatalf("UpdateHEAD = %v, %d, want %d", h, effect, tt.effect)
			}
			if v := tt.head.Get("Template-A"); h != nil && h.Get("Template-A") != v {
				t.Errorf("Template-A = %q, want %q", h.Get("Template-A"), v)
			}
		})
	}
}
