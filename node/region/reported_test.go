package region

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"preau/node/control"
)

func TestWhatIsReportedOfABoxIsRemembered(t *testing.T) {
	file := filepath.Join(t.TempDir(), "reported.json")
	now := time.Unix(1_800_000_000, 0).UTC()
	var s reported
	if err := s.open(file, now); err != nil {
		t.Fatal(err)
	}
	report := func(by string, times int, at time.Time) control.Report {
		return control.Report{By: by, Why: "altered", Times: times, At: at}
	}
	for _, c := range []struct {
		name string
		box  string
		r    control.Report
		news bool
	}{
		{"the first", "lab", report("hall", 1, now), true},
		{"the same once more", "lab", report("hall", 2, now.Add(time.Second)), false},
		{"later", "lab", report("hall", 2, now.Add(time.Hour)), true},
		{"by one that was started again", "lab", report("hall", 1, now.Add(2*time.Hour)), true},
		{"by another", "lab", report("library", 1, now.Add(time.Hour)), true},
		{"of another", "hall", report("lab", 1, now), true},
	} {
		if news := s.note(c.box, c.r, now.Add(2*time.Hour)); news != c.news {
			t.Errorf("%s: news = %v", c.name, news)
		}
	}
	if err := s.keep(); err != nil {
		t.Fatal(err)
	}
	var again reported
	if err := again.open(file, now.Add(2*time.Hour)); err != nil {
		t.Fatal(err)
	}
	want := []control.Report{report("hall", 2, now.Add(2*time.Hour)), report("library", 1, now.Add(time.Hour))}
	all := map[string]presence{"s1": {Reports: again.all(now.Add(2 * time.Hour))}}
	if diff := cmp.Diff(want, reportsOf("lab", now.Add(-time.Hour), all)); diff != "" {
		t.Error(diff)
	}
	// What another server was told later goes first, and a box that was enrolled
	// anew is another machine.
	all["s2"] = presence{Reports: map[string][]control.Report{"lab": {report("library", 3, now.Add(3*time.Hour))}}}
	want = []control.Report{report("library", 3, now.Add(3*time.Hour)), report("hall", 2, now.Add(2*time.Hour))}
	if diff := cmp.Diff(want, reportsOf("lab", now, all)); diff != "" {
		t.Error(diff)
	}
	if got := reportsOf("lab", now.Add(3*time.Hour), all); len(got) > 0 {
		t.Errorf("after it was enrolled anew: %+v", got)
	}
	if got := again.all(now.Add(reportsFor + 90*time.Minute)); len(got) != 1 || len(got["lab"]) != 1 {
		t.Errorf("after a month: %+v", got)
	}
}

func TestReportsAreBounded(t *testing.T) {
	s := reported{of: map[string]map[string]control.Report{}}
	now := time.Unix(1_800_000_000, 0)
	for i := range reportsMost + 10 {
		box := fmt.Sprintf("box-%d", i/2)
		if s.of[box] == nil {
			s.of[box] = map[string]control.Report{}
		}
		by := fmt.Sprintf("by-%d", i%2)
		s.of[box][by] = control.Report{By: by, Times: 1, At: now.Add(time.Duration(i) * time.Millisecond)}
	}
	s.note("box-x", control.Report{By: "by-0", Times: 1, At: now.Add(time.Hour)}, now)
	all, n := s.all(now), 0
	for _, by := range all {
		n += len(by)
	}
	if n != reportsMost || all["box-0"] != nil || all["box-x"] == nil {
		t.Errorf("%d are remembered, the first of them too: %v", n, all["box-0"] != nil)
	}
}

func TestABrokenFileOfReportsIsBegunAnew(t *testing.T) {
	file := filepath.Join(t.TempDir(), "reported.json")
	if err := os.WriteFile(file, []byte(`{"lab":`), 0o600); err != nil {
		t.Fatal(err)
	}
	var s reported
	if err := s.open(file, time.Now()); err == nil {
		t.Error("nobody is told")
	}
	if !s.note("lab", control.Report{By: "hall", Times: 1, At: time.Now()}, time.Now()) {
		t.Error("it takes nothing more")
	}
	if err := s.keep(); err != nil {
		t.Error(err)
	}
}
