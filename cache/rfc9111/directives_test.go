package rfc9111_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"preau/cache/rfc9111"
)

func secs(n int) rfc9111.Delta {
	return rfc9111.Delta{D: time.Duration(n) * time.Second, Set: true, Valid: true}
}

var unreadable = rfc9111.Delta{Set: true}

func TestRFC9111_5_2_2_ResponseDirectives(t *testing.T) {
	type d = rfc9111.ResponseDirectives
	tests := map[string]struct {
		lines []string
		want  d
	}{
		"none":                       {nil, d{}},
		"empty":                      {[]string{""}, d{}},
		"max-age":                    {[]string{"max-age=3600"}, d{MaxAge: secs(3600)}},
		"case does not count":        {[]string{"MaX-aGe=3600, No-StOrE"}, d{MaxAge: secs(3600), NoStore: true}},
		"unknown ones are skipped":   {[]string{"foobar, max-age=3600, x=y"}, d{MaxAge: secs(3600)}},
		"quoted":                     {[]string{`max-age="3600"`}, d{MaxAge: secs(3600)}},
		"quoted with a backslash":    {[]string{`max-age="3\600"`}, d{MaxAge: secs(3600)}},
		"single quotes":              {[]string{"max-age='3600'"}, d{MaxAge: unreadable}},
		"leading zeros":              {[]string{"max-age=003600"}, d{MaxAge: secs(3600)}},
		"decimal":                    {[]string{"max-age=3600.0"}, d{MaxAge: unreadable}},
		"negative":                   {[]string{"max-age=-3600"}, d{MaxAge: unreadable}},
		"leading letter":             {[]string{"max-age=a3600"}, d{MaxAge: unreadable}},
		"trailing letter":            {[]string{"max-age=3600a"}, d{MaxAge: unreadable}},
		"no argument":                {[]string{"max-age"}, d{MaxAge: unreadable}},
		"empty argument":             {[]string{"max-age="}, d{MaxAge: unreadable}},
		"space before equals":        {[]string{"max-age =3600"}, d{}},
		"space after equals":         {[]string{"max-age= 3600"}, d{MaxAge: unreadable}},
		"greatest 31-bit":            {[]string{"max-age=2147483647"}, d{MaxAge: secs(2147483647)}},
		"greatest there is":          {[]string{"max-age=2147483648"}, d{MaxAge: secs(2147483648)}},
		"too great":                  {[]string{"max-age=99999999999999999999999999"}, d{MaxAge: secs(2147483648)}},
		"first of two counts":        {[]string{"max-age=1, max-age=1800"}, d{MaxAge: secs(1)}},
		"first of two lines counts":  {[]string{"max-age=1800", "max-age=1"}, d{MaxAge: secs(1800)}},
		"inside quotes":              {[]string{`extension="max-age=3600", max-age=1`}, d{MaxAge: secs(1)}},
		"inside quotes, after":       {[]string{`max-age=1, extension="a, max-age=3600"`}, d{MaxAge: secs(1)}},
		"quote inside quotes":        {[]string{`x="\", no-store, ", public`}, d{Public: true}},
		"open quote hides nothing":   {[]string{`x="a, no-store`}, d{NoStore: true, Malformed: true}},
		"open quote permits nothing": {[]string{`public, stale-if-error=9, x="a`}, d{Malformed: true}},
		"private":                    {[]string{"private"}, d{Private: true}},
		"private with fields":        {[]string{`private="set-cookie, X-a"`}, d{PrivateFields: []string{"Set-Cookie", "X-A"}}},
		"private with a token":       {[]string{"private=x-a"}, d{PrivateFields: []string{"X-A"}}},
		"private with nothing":       {[]string{`private=""`}, d{Private: true}},
		"private with nonsense":      {[]string{`private="a b"`}, d{Private: true}},
		"private both ways":          {[]string{`private="a"`, "private"}, d{Private: true, PrivateFields: []string{"A"}}},
		"no-cache with fields":       {[]string{`no-cache="a"`, "max-age=5"}, d{NoCacheFields: []string{"A"}, MaxAge: secs(5)}},
		"no-store with an argument":  {[]string{"no-store=1"}, d{NoStore: true}},
		"the rest": {[]string{"s-maxage=7,no-cache,must-revalidate , proxy-revalidate,\tmust-understand,immutable,no-transform," +
			"stale-while-revalidate=8,stale-if-error=9"}, d{
			SMaxage: secs(7), NoCache: true, MustRevalidate: true, ProxyRevalidate: true, MustUnderstand: true, Immutable: true,
			NoTransform: true, StaleWhileRevalidate: secs(8), StaleIfError: secs(9),
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h := http.Header{}
			if tt.lines != nil {
				h["Cache-Control"] = tt.lines
			}
			got := rfc9111.ParseResponseDirectives(h, rfc9111.Rules{})
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("%q (-want +got):\n%s", tt.lines, diff)
			}
		})
	}
}

func TestRFC9111_5_2_1_RequestDirectives(t *testing.T) {
	type d = rfc9111.RequestDirectives
	tests := map[string]struct {
		h    http.Header
		want d
	}{
		"nothing":        {nil, d{}},
		"all":            {http.Header{"Cache-Control": {"max-age=1, max-stale=2, min-fresh=3, stale-if-error=4"}}, d{MaxAge: secs(1), MaxStale: secs(2), MinFresh: secs(3), StaleIfError: secs(4)}},
		"flags":          {http.Header{"Cache-Control": {"no-cache", "no-store, no-transform, Only-If-Cached"}}, d{NoCache: true, NoStore: true, NoTransform: true, OnlyIfCached: true}},
		"any staleness":  {http.Header{"Cache-Control": {"max-stale"}}, d{MaxStaleAny: true}},
		"bad staleness":  {http.Header{"Cache-Control": {"max-stale=x"}}, d{MaxStale: unreadable}},
		"pragma":         {http.Header{"Pragma": {"foo, No-Cache"}}, d{NoCache: true}},
		"other pragma":   {http.Header{"Pragma": {"unrecognised-extension"}}, d{}},
		"pragma and cc":  {http.Header{"Pragma": {"no-cache"}, "Cache-Control": {"max-age=5"}}, d{MaxAge: secs(5)}},
		"unknown in cc":  {http.Header{"Pragma": {"no-cache"}, "Cache-Control": {"nothing-to-see-here"}}, d{}},
		"decimal is bad": {http.Header{"Cache-Control": {"min-fresh=1.5"}}, d{MinFresh: unreadable}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, rfc9111.ParseRequestDirectives(tt.h)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestRFC9213_TargetedFields(t *testing.T) {
	type d = rfc9111.ResponseDirectives
	const cdn = "Cdn-Cache-Control"
	ignored := d{NoStore: true} // what the Cache-Control beside it says
	tests := map[string]struct {
		lines []string
		want  d
	}{
		"max-age":                   {[]string{"max-age=3600"}, d{MaxAge: secs(3600), Targeted: cdn}},
		"greater than 31 bits":      {[]string{"max-age=99999999999"}, d{MaxAge: secs(2147483648), Targeted: cdn}},
		"zero":                      {[]string{"max-age=0"}, d{MaxAge: secs(0), Targeted: cdn}},
		"extension":                 {[]string{"foobar, max-age=3600"}, d{MaxAge: secs(3600), Targeted: cdn}},
		"extensions of every type":  {[]string{`a=1.5;p=1, b=(1 "x" tok;q), c=:aGk=:, d=@1659578233, e=%"f%c3%bc", f=*t/x, g=?0, h="\"", public`}, d{Public: true, Targeted: cdn}},
		"inner list of nothing":     {[]string{`a=( ), public;x=?1;y`}, d{Public: true, Targeted: cdn}},
		"parameters are ignored":    {[]string{"max-age=60;ext=1"}, d{MaxAge: secs(60), Targeted: cdn}},
		"lines are joined":          {[]string{"max-age=60", "private"}, d{MaxAge: secs(60), Private: true, Targeted: cdn}},
		"the last of two counts":    {[]string{"max-age=60, max-age=70"}, d{MaxAge: secs(70), Targeted: cdn}},
		"no-store":                  {[]string{"no-store"}, d{NoStore: true, Targeted: cdn}},
		"not no-store":              {[]string{"no-store=?0, max-age=1"}, d{MaxAge: secs(1), Targeted: cdn}},
		"no-store with a number":    {[]string{"no-store=1"}, d{NoStore: true, Targeted: cdn}},
		"public with a number":      {[]string{"public=1"}, d{Targeted: cdn}},
		"private with fields":       {[]string{`private="a, b"`}, d{PrivateFields: []string{"A", "B"}, Targeted: cdn}},
		"private with a number":     {[]string{"private=7"}, d{Private: true, Targeted: cdn}},
		"not private":               {[]string{"private=?0"}, d{Targeted: cdn}},
		"the rest":                  {[]string{"s-maxage=1, no-cache, must-revalidate, proxy-revalidate, must-understand, immutable, no-transform, stale-while-revalidate=2, stale-if-error=3"}, d{SMaxage: secs(1), NoCache: true, MustRevalidate: true, ProxyRevalidate: true, MustUnderstand: true, Immutable: true, NoTransform: true, StaleWhileRevalidate: secs(2), StaleIfError: secs(3), Targeted: cdn}},
		"absent":                    {nil, ignored},
		"empty":                     {[]string{""}, ignored},
		"only spaces":               {[]string{"  "}, ignored},
		"unknown type":              {[]string{"max-age=10000, &&&&&"}, ignored},
		"wrong type":                {[]string{`max-age="10000"`}, ignored},
		"decimal":                   {[]string{"max-age=10000.0"}, ignored},
		"negative":                  {[]string{"max-age=-1"}, ignored},
		"no value":                  {[]string{"max-age"}, ignored},
		"sixteen digits":            {[]string{"max-age=1000000000000000"}, ignored},
		"upper case":                {[]string{"MaX-aGe=3600"}, ignored},
		"space before equals":       {[]string{"max-age =100"}, ignored},
		"space after equals":        {[]string{"max-age= 100"}, ignored},
		"trailing comma":            {[]string{"max-age=100,"}, ignored},
		"two commas":                {[]string{"a,,b"}, ignored},
		"no comma":                  {[]string{"a b"}, ignored},
		"string without end":        {[]string{`a="x`}, ignored},
		"string with a bad escape":  {[]string{`a="\x"`}, ignored},
		"string outside ASCII":      {[]string{`a="é"`}, ignored},
		"bad boolean":               {[]string{"a=?2"}, ignored},
		"bad bytes":                 {[]string{"a=:é:"}, ignored},
		"bytes without end":         {[]string{"a=:aGk="}, ignored},
		"bad date":                  {[]string{"a=@1.5"}, ignored},
		"bad display string":        {[]string{`a=%"%C3"`}, ignored},
		"display without end":       {[]string{`a=%"x`}, ignored},
		"inner list without end":    {[]string{"a=(1 2"}, ignored},
		"inner list without spaces": {[]string{`a=("x""y")`}, ignored},
		"bad parameter":             {[]string{"a;=1"}, ignored},
		"missing parameter value":   {[]string{"a;b="}, ignored},
		"lonely minus":              {[]string{"a=-"}, ignored},
		"four decimals":             {[]string{"a=1.2345"}, ignored},
		"no decimals":               {[]string{"a=1."}, ignored},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h := http.Header{"Cache-Control": {"no-store"}}
			if tt.lines != nil {
				h[cdn] = tt.lines
			}
			if diff := cmp.Diff(tt.want, rfc9111.ParseResponseDirectives(h, rfc9111.DefaultRules())); diff != "" {
				t.Errorf("%q (-want +got):\n%s", tt.lines, diff)
			}
		})
	}
}

func TestRFC9213_2_2_TargetList(t *testing.T) {
	h := http.Header{"Preau-Cache-Control": {"max-age=1"}, "Cdn-Cache-Control": {"max-age=2"}, "Cache-Control": {"max-age=3"}}
	tests := map[string]struct {
		targets []string
		want    rfc9111.Delta
	}{
		"no list":             {nil, secs(3)},
		"one":                 {[]string{"CDN-Cache-Control"}, secs(2)},
		"most specific first": {[]string{"Preau-Cache-Control", "CDN-Cache-Control"}, secs(1)},
		"an absent one":       {[]string{"Other-Cache-Control", "CDN-Cache-Control"}, secs(2)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := rfc9111.ParseResponseDirectives(h, rfc9111.Rules{Targeted: tt.targets})
			if got.MaxAge != tt.want {
				t.Errorf("max-age = %v, want %v", got.MaxAge, tt.want)
			}
		})
	}
}
