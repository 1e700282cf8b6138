package front_test

import (
	"strings"
	"testing"
	"time"

	"preau/node/config"
	"preau/node/front"
)

func site(change func(*front.Site)) front.Site {
	var s front.Site
	s.SetDefaults()
	s.Name, s.Upstream = "cloud", "https://cloud.example.org"
	change(&s)
	return s
}

func TestARenditionIsAHeightOfAFilm(t *testing.T) {
	for _, test := range []struct {
		profile, rendition string
		ok                 bool
	}{
		{"peertube", "", true},
		{"peertube", "480p", true},
		{"peertube", "2160p", true},
		{"rfc9111", "", true},
		{"rfc9111", "480p", false},
		{"peertube", "480", false},
		{"peertube", "0p", false},
		{"peertube", "48000p", false},
		{"peertube", "best", false},
	} {
		var s front.Site
		s.SetDefaults()
		s.Name, s.Upstream, s.Profile, s.Rendition = "tube", "https://tube.example.org", test.profile, test.rendition
		var p config.Problems
		front.ValidateSites(&p, []front.Site{s}, front.Profiles(), nil)
		if err := p.Err(); (err == nil) != test.ok {
			t.Errorf("%s, %q: %v", test.profile, test.rendition, err)
		}
		if test.ok && test.rendition != "" && s.Height() < 480 {
			t.Errorf("%q is %d", test.rendition, s.Height())
		}
	}
}

// TestWhatAnOperatorChangesInAProfileIsChecked looks for the key and for what to
// do about it.
func TestWhatAnOperatorChangesInAProfileIsChecked(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*front.Site)
		key    string // empty: nothing is wrong
		says   string
	}{
		"as it is": {func(*front.Site) {}, "", ""},
		"everything": {func(s *front.Site) {
			s.Profile, s.Pass, s.Share, s.IgnoreCookies = "wordpress", []string{"/app/*"}, []string{"/media/*"}, []string{"_pk_*"}
			s.FreshMax = config.Duration(time.Hour)
		}, "", ""},
		"standard, more":   {func(s *front.Site) { s.Share = []string{"/media/*"} }, "", ""},
		"no such profile":  {func(s *front.Site) { s.Profile = "moodle" }, "site[1].profile", "nextcloud"},
		"no path":          {func(s *front.Site) { s.Pass = []string{"/a", "app"} }, "site[1].pass[2]", "/app/*"},
		"a query":          {func(s *front.Site) { s.Share = []string{"/a?b"} }, "site[1].share[1]", "query"},
		"every cookie":     {func(s *front.Site) { s.IgnoreCookies = []string{"*"} }, "site[1].ignore_cookies[1]", "_pk_*"},
		"negative":         {func(s *front.Site) { s.FreshMax = -1 }, "site[1].fresh_max", "0s"},
		"too many of them": {func(s *front.Site) { s.Pass = make([]string, 501) }, "site[1].profile", "fewer"},
	} {
		t.Run(name, func(t *testing.T) {
			var p config.Problems
			front.ValidateSites(&p, []front.Site{site(c.change)}, front.Profiles(), nil)
			err := p.Err()
			if c.key == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.key) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("says %v, want %s and %q", err, c.key, c.says)
			}
		})
	}
}
