package main

import (
	"strings"
	"testing"
	"time"

	"preau/node/explain"
)

// TestWhatIsStoredIsSaidWithUntilWhen, and no more than there is to say.
func TestWhatIsStoredIsSaidWithUntilWhen(t *testing.T) {
	of := time.Date(2026, 11, 23, 9, 0, 0, 0, time.Local)
	for name, test := range map[string]struct {
		stored explain.Stored
		says   []string
	}{
		"nothing": {explain.Stored{State: "nothing"}, []string{"nothing yet"}},
		"fresh": {
			explain.Stored{State: "fresh", Status: 200, Bytes: 70, Whole: true, Of: of, FreshUntil: of.Add(time.Minute), OfflineUntil: of.Add(24 * time.Hour)},
			[]string{"fresh until 2026-11-23 09:01:00", "70 bytes", "without the line until 2026-11-24 09:00:00"},
		},
		"stale": {
			explain.Stored{State: "stale", Status: 200, Bytes: -1, Of: of, FreshUntil: of},
			[]string{"stale since 2026-11-23 09:00:00", "not all of it here", "never without the site"},
		},
	} {
		text := explainText(explain.Answer{Action: "share", Stored: &test.stored})
		for _, want := range test.says {
			if !strings.Contains(text, want) {
				t.Errorf("%s: %q is not in %s", name, want, text)
			}
		}
		if strings.Contains(text, "-1 bytes") {
			t.Errorf("%s: %s", name, text)
		}
	}
}
