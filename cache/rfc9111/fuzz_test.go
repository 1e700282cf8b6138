package rfc9111_test

import (
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"preau/cache/rfc9111"
)

func asciiLower(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

func FuzzCacheControl(f *testing.F) {
	for _, s := range []string{"", "max-age=3600, public", `private="set-cookie, x", no-cache="a"`, `x="a\", b`, "max-age=99999999999", "No-Store", `max-age="1`, "s-maxage=0,,,=,"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		parse := func(lines ...string) rfc9111.ResponseDirectives {
			return rfc9111.ParseResponseDirectives(http.Header{"Cache-Control": lines}, rfc9111.Rules{})
		}
		d := parse(s)
		for _, v := range []rfc9111.Delta{d.MaxAge, d.SMaxage, d.StaleIfError, d.StaleWhileRevalidate} {
			if v.D < 0 || v.D > 1<<31*time.Second || v.D != 0 && !(v.Set && v.Valid) {
				t.Errorf("%q: delta %+v", s, v)
			}
		}
		if lower := parse(asciiLower(s)); strings.ToValidUTF8(s, "") == s && !reflect.DeepEqual(lower, d) {
			t.Errorf("%q: case counts: %+v, %+v", s, d, lower)
		}
		// Nothing on one line hides what another one forbids.
		if with := parse(s, "no-store, private"); !with.NoStore || !with.Private {
			t.Errorf("%q hides a restriction on the next line", s)
		}
		if strings.Count(s, "no-store") == 1 && strings.HasSuffix(s, ",no-store") && d.Malformed && !d.NoStore {
			t.Errorf("%q: an open quote hides no-store", s)
		}
		r := rfc9111.ParseRequestDirectives(http.Header{"Cache-Control": {s}})
		if r.MaxAge != d.MaxAge || r.NoStore != d.NoStore {
			t.Errorf("%q: request and response disagree", s)
		}
	})
}

func FuzzTargeted(f *testing.F) {
	for _, s := range []string{"", "max-age=60", `private="a, b";x=1, no-cache=?0`, `a=(1 "x");q, b=:aGk=:, c=@1, d=%"%c3%bc", e=*t`, "max-age=1.5", "a=1,", "max-age=10000, &&&&&", `a="\"\\"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		parse := func(lines ...string) rfc9111.ResponseDirectives {
			h := http.Header{"Cache-Control": {"no-transform"}, "Cdn-Cache-Control": lines}
			return rfc9111.ParseResponseDirectives(h, rfc9111.DefaultRules())
		}
		d := parse(s)
		if d.Targeted == "" {
			if want := parse(); !reflect.DeepEqual(d, want) {
				t.Errorf("%q is ignored and counts: %+v", s, d)
			}
			return
		}
		// A Dictionary stays one with another member, and is none with a mistake.
		if more := parse(s, "no-store"); !more.NoStore || more.Targeted == "" {
			t.Errorf("%q with a member more: %+v", s, more)
		}
		if less := parse(s, "&"); less.Targeted != "" {
			t.Errorf("%q with a mistake counts: %+v", s, less)
		}
		if d.MaxAge.D < 0 || d.MaxAge.Set != d.MaxAge.Valid {
			t.Errorf("%q: max-age %+v", s, d.MaxAge)
		}
	})
}

func FuzzRange(f *testing.F) {
	for _, s := range []string{"bytes=0-1", "bytes=-5", "bytes=5-", "bytes=0-0,2-3,1-1", "bytes=99999999999999999999-", "bytes=-0", "bytes=,", "lines=1-2"} {
		f.Add(s, int64(10))
	}
	f.Fuzz(func(t *testing.T, s string, size int64) {
		spans, err := rfc9111.ParseRange(s, size)
		specs, specErr := rfc9111.ParseRangeSpecs(s)
		if specErr != nil && err == nil {
			t.Errorf("ParseRange(%q) = %v, ParseRangeSpecs fails: %v", s, spans, specErr)
		}
		if (err == nil) != (len(spans) > 0) || len(spans) > 16 || len(specs) > 16 {
			t.Errorf("ParseRange(%q) = %v, %v", s, spans, err)
		}
		slices.SortFunc(spans, func(a, b rfc9111.Span) int { return int(min(1, max(-1, a.Off-b.Off))) })
		end := int64(-1)
		for _, p := range spans {
			if p.Len <= 0 || p.Off <= end || p.End() > size || p.End() < p.Off {
				t.Errorf("ParseRange(%q, %d) = %v", s, size, spans)
			}
			end = p.End()
		}
		// What each spec means alone is covered by the whole.
		for _, spec := range specs {
			one, ok := spec.Resolve(size)
			if size < 0 || !ok {
				continue
			}
			if !slices.ContainsFunc(spans, func(p rfc9111.Span) bool { return p.Off <= one.Off && one.End() <= p.End() }) {
				t.Errorf("ParseRange(%q, %d) = %v lacks %v", s, size, spans, one)
			}
		}
	})
}

func FuzzContentRange(f *testing.F) {
	for _, s := range []string{"bytes 4-9/10", "bytes 0-0/*", "bytes */10", "bytes 9-4/10", "bytes 1-2/2", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		off, last, total, err := rfc9111.ParseContentRange(s)
		if err != nil {
			return
		}
		text := fmt.Sprintf("bytes %d-%d/%d", off, last, total)
		switch {
		case off == -1 && last == -1 && total >= 0:
			text = fmt.Sprintf("bytes */%d", total)
		case off < 0 || last < off || total >= 0 && last >= total || total < -1:
			t.Fatalf("ParseContentRange(%q) = %d-%d/%d", s, off, last, total)
		case total == -1:
			text = fmt.Sprintf("bytes %d-%d/*", off, last)
		}
		o, l, n, err := rfc9111.ParseContentRange(text)
		if err != nil || o != off || l != last || n != total {
			t.Errorf("%q, written again as %q, reads %d-%d/%d, %v", s, text, o, l, n, err)
		}
	})
}

func FuzzDate(f *testing.F) {
	for _, s := range []string{"Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994", "0", "-1", "Sat, 31 Dec 2016 23:59:60 GMT", "Wednesday, 29-Feb-00 00:00:00 GMT"} {
		f.Add(s, int64(1.8e9))
	}
	f.Fuzz(func(t *testing.T, s string, unix int64) {
		now := time.Unix(unix%(1<<36), 0)
		got, ok := rfc9111.ParseTime(s, now)
		if !ok {
			if !got.IsZero() {
				t.Errorf("ParseTime(%q) = %v although it is no date", s, got)
			}
			return
		}
		if y := got.Year(); y < 0 || y > 10000 {
			t.Errorf("ParseTime(%q) = %v", s, got)
		}
		if again, ok := rfc9111.ParseTime(got.Format(http.TimeFormat), now); got.Year() < 10000 && (!ok || !again.Equal(got)) {
			t.Errorf("ParseTime(%q) = %v, written again %v", s, got, again)
		}
	})
}

func FuzzVary(f *testing.F) {
	for _, s := range [][2]string{{"Accept-Encoding, Foo", "gzip, br;q=0.5"}, {"*", "a"}, {"foo,,FOO", `"a, b", c`}, {"Cookie", "a=1, 2"}, {"Accept", `text/html;level="1"`}} {
		f.Add(s[0], s[1], "en")
	}
	f.Fuzz(func(t *testing.T, vary, a, b string) {
		names, star := rfc9111.VaryFields(http.Header{"Vary": {vary}})
		if star && names != nil || !slices.IsSorted(names) || len(slices.Compact(slices.Clone(names))) != len(names) {
			t.Errorf("VaryFields(%q) = %q, %v", vary, names, star)
		}
		both, _ := rfc9111.VaryFields(http.Header{"Vary": strings.Split(vary, ",")})
		if !star && !slices.Equal(both, names) {
			t.Errorf("VaryFields(%q) = %q, on lines %q", vary, names, both)
		}
		names = []string{"Accept", "Accept-Language", "Cookie", "Foo"}
		key := func(lines ...string) string {
			h := http.Header{}
			for _, n := range names {
				h[n] = lines
			}
			return rfc9111.VaryKey(names, h)
		}
		if key(a) != key(a) || key(a) == key() { //nolint:staticcheck // twice the same, or it is no key
			t.Errorf("key of %q is not its own", a)
		}
		// Lines and one list are the same, unless a quote or a field that is no
		// list makes them another text.
		names = []string{"Accept-Language", "Foo"}
		if !strings.ContainsAny(a+b, `"\`) && key(a, b) != key(a+" , "+b) {
			t.Errorf("%q and %q: %q on lines, %q in one", a, b, key(a, b), key(a+" , "+b))
		}
	})
}

func FuzzEntityTags(f *testing.F) {
	for _, s := range [][2]string{{`"a", W/"b", c`, `"a"`}, {"*", `W/"x"`}, {`"a`, `"`}, {`W/`, `W/""`}, {",,", "a"}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, list, tag string) {
		stored := ok200()
		stored.Header["Etag"] = []string{tag}
		asked := rfc9111.ConditionalHeader(stored.Header)
		own := asked.Get("If-None-Match")
		got := rfc9111.Preconditions("GET", http.Header{"If-None-Match": {list}}, stored)
		if got != 0 && got != 304 || own == "" && got == 304 && strings.Trim(list, " \t") != "*" {
			t.Errorf("%q against %q = %d", list, tag, got)
		}
		if own == "" {
			return
		}
		// What we ask with is answered by what we hold, alone or beside others.
		for _, lines := range [][]string{{own}, {list, own}} {
			if rfc9111.Preconditions("GET", http.Header{"If-None-Match": lines}, stored) != 304 {
				t.Errorf("%q does not match %q", lines, tag)
			}
		}
		if v, ok := rfc9111.StrongValidator(stored); ok {
			if !rfc9111.IfRange(http.Header{"If-Range": {v}}, stored) {
				t.Errorf("If-Range: %s does not match %q", v, tag)
			}
			if v[0] != '"' {
				t.Errorf("%s passes for a strong tag", v)
			}
		}
	})
}

func FuzzDecide(f *testing.F) {
	f.Add("max-age=60, stale-while-revalidate=5", "max-stale=3", "12", "Sun, 06 Nov 2050 08:49:37 GMT", int64(9))
	f.Add("no-cache", "", "x", "0", int64(-5))
	f.Add("s-maxage=1", "no-cache", "99999999999", "", int64(1)<<60)
	f.Fuzz(func(t *testing.T, cc, req, age, expires string, after int64) {
		stored := ok200()
		stored.Header["Cache-Control"], stored.Header["Age"], stored.Header["Expires"] = []string{cc}, []string{age}, []string{expires}
		reqHeader := http.Header{"Cache-Control": {req}}
		now := epoch.Add(time.Duration(after))
		d := rfc9111.Decide(reqHeader, stored, now, rfc9111.DefaultRules())
		says := rfc9111.ParseResponseDirectives(stored.Header, rfc9111.Rules{})
		if d.Age < 0 {
			t.Errorf("age %v", d.Age)
		}
		if d.Use == rfc9111.Fresh && d.TTL <= 0 || d.Use > rfc9111.Fresh && d.TTL > 0 {
			t.Errorf("%v with %v to live", d.Use, d.TTL)
		}
		if says.NoCache && (d.Use != rfc9111.Validate || d.MayServe(rfc9111.Disconnected, now)) {
			t.Error("no-cache is served without validation")
		}
		if (says.MustRevalidate || says.ProxyRevalidate || says.SMaxage.Set) && d.TTL <= 0 && (d.Use != rfc9111.Validate || d.MayServe(rfc9111.ServerError, now)) {
			t.Error("stale although that is forbidden")
		}
		if (d.Use == rfc9111.Validate) != (d.Fwd() != "") {
			t.Errorf("%v goes forward because %q", d.Use, d.Fwd())
		}
		if v := rfc9111.Storable(rfc9111.Request{Method: "GET", Header: reqHeader}, stored, rfc9111.DefaultRules()); says.NoStore && !says.MustUnderstand && v.Store {
			t.Error("no-store is stored")
		}
	})
}

func FuzzCacheStatus(f *testing.F) {
	f.Add("preau", "key", "detail", "miss")
	f.Add("a b", "\"\\", "é\n", "x, y")
	f.Fuzz(func(t *testing.T, name, key, detail, fwd string) {
		got := rfc9111.CacheStatus{Fwd: fwd, Key: key, Detail: detail}.Member(name)
		for _, c := range []byte(got) {
			if c < 0x20 || c > 0x7e {
				t.Fatalf("Member = %q", got)
			}
		}
	})
}
