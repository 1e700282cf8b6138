package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"preau/node/control"
)

var update = flag.Bool("update", false, "write the files in testdata/golden anew")

// golden compares text with a file.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", "golden", name+".txt")
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is now\n%s\nwant\n%s\n(go test ./cmd/preau -run Rendered -update, if that is right)", name, got, want)
	}
}

var renderedAt = time.Date(2026, 9, 1, 8, 0, 0, 0, time.UTC)

func healthyRegion() control.Status {
	return control.Status{
		Region: "0123456789abcdef", Name: "Académie de Lyon", Epoch: 1, Index: 12345, Leader: "s1", Term: 4, Voters: 3, Quorum: true,
		Servers: []control.Server{
			{Name: "s1", Address: "192.0.2.11:4433", State: "leader", Voter: true, Applied: 12345, Boxes: 1500, Version: "1.2.3", HeldBytes: 5 << 30, Clock: renderedAt},
			{Name: "s2", Address: "192.0.2.12:4433", State: "follower", Voter: true, Applied: 12344, Lag: 1, Boxes: 1431, Version: "1.2.3", HeldBytes: 5 << 30, Clock: renderedAt.Add(time.Second)},
			{Name: "s3", Address: "192.0.2.13:4433", State: "follower", Voter: true, Applied: 12345, Version: "1.2.2", HeldBytes: 0, Clock: renderedAt},
		},
		Boxes:  control.Tally{Known: 2941, Connected: 2931, Behind: 12, Away: 9, Lapsed: 2, Revoked: 1},
		Counts: map[string]int64{"servers": 3, "boxes": 2941, "collections": 1, "resources": 1200, "policies": 1, "pins": 0},
	}
}

func degradedRegion() control.Status {
	s := healthyRegion()
	s.Leader, s.Quorum, s.Boxes = "", false, control.Tally{}
	s.Servers[0] = control.Server{Name: "s1", Address: "192.0.2.11:4433", State: "unreachable", Voter: true, Problem: "connection refused"}
	s.Servers[1].Lag, s.Servers[1].State, s.Servers[1].Problem = 4000, "candidate", "the disk is full"
	s.Servers[2].Clock = renderedAt.Add(3 * time.Hour)
	s.Servers[2].Voter = false
	s.Voters = 2
	s.Counts = nil
	return s
}

// followingRegion is a region with a centre.
func followingRegion() control.Status {
	s := healthyRegion()
	ago := func(d time.Duration) time.Time { return renderedAt.Add(-d) }
	s.Centre = control.Centre{
		Follows: true, Address: "central.example:4433", Server: "s1", Connected: true, Since: ago(3 * time.Hour), Asked: ago(12 * time.Second), Synced: ago(12 * time.Second),
		Buckets: []control.Bucket{{Name: "lecons", Synced: ago(12 * time.Second)}, {Name: "films", Synced: ago(2 * time.Second)}},
	}
	s.Servers[0].Paths = []control.Path{
		{To: "central", Address: "central.example:4433", Transport: "quic", Chosen: "race", RTT: 0.0214, Loss: 0.0031, Goodput: 12 << 20, Lanes: "tcp 2, quic 4", Used: ago(12 * time.Second)},
		{To: "s2", Address: "192.0.2.12:4433", Transport: "tcp", Chosen: "config", RTT: 0.00042, Used: renderedAt},
	}
	s.Servers[1].Paths = []control.Path{
		{To: "central", Address: "central.example:4433", Transport: "tcp", Chosen: "memory", Used: ago(time.Hour), Failed: ago(time.Minute), Reason: "dial tcp 192.0.2.99:4433: connect: no route to host"},
	}
	return s
}

// cutRegion has lost its centre.
func cutRegion() control.Status {
	s := followingRegion()
	s.Centre.Connected, s.Centre.Since, s.Centre.Reason = false, renderedAt.Add(-20*time.Minute), "connection refused"
	s.Centre.Behind, s.Centre.Buckets[0].Behind, s.Centre.Synced = 12, 12, renderedAt.Add(-25*time.Minute)
	s.Waiting = control.Waiting{Count: 3, Bytes: 12 << 20, Oldest: renderedAt.Add(-18 * time.Minute), Reason: "the centre can't be reached"}
	s.Servers[0].Paths = nil
	return s
}

func TestRenderedTexts(t *testing.T) {
	ago := func(d time.Duration) time.Time { return renderedAt.Add(-d) }
	boxes := []control.Box{
		{Name: "lib-1", School: "0690001A", Connected: true, Server: "s1", Index: 12345, Seen: ago(time.Minute), Enrolled: ago(90 * 24 * time.Hour), Version: "1.2.3", State: "connected"},
		{Name: "lib-2", School: "0690001A", Server: "s1", Index: 900, Seen: ago(5 * 24 * time.Hour), Enrolled: ago(91 * 24 * time.Hour), State: "away"},
		{Name: "gym", School: "0690002B", Enrolled: ago(time.Hour), State: "revoked"},
	}
	policies := []control.Policy{
		{KAnonymity: 5, AllowLapsed: true},
		{School: "0690001A", PrefetchRate: 500_000, PrefetchHours: []control.Hours{{From: 22 * 60, To: 6 * 60}, {From: 12 * 60, To: 13*60 + 30}}, Lease: 14 * 24 * time.Hour, PrefetchPopular: 2 << 30},
	}
	resources := []control.Record{
		{Kind: "resource", ID: "r-1", Index: 12, At: ago(2 * time.Hour), Value: map[string]any{
			"collection": "maths", "title": "Les fractions\x1b[2J", "filename": "f.mp4", "length": float64(30_000_000), "audience": nil, "expires": "0001-01-01T00:00:00Z"}},
		{Kind: "resource", ID: "r-2", Index: 13, At: ago(time.Hour), Value: map[string]any{
			"collection": "maths", "title": strings.Repeat("long ", 20), "filename": "g.pdf", "length": float64(5), "audience": []any{"0690001A", "0690002B"}, "expires": "2026-10-01T00:00:00Z"}},
	}
	purges := []control.Record{{Kind: "purge", ID: "purge-1", Index: 20, At: renderedAt, Value: map[string]any{"scope": float64(2), "site": "library", "by": "operator/ann"}}}
	ask := control.Return{Code: "ABCD-EFGH-JKLM", Name: "lib-2-k7qd", Why: "tpm", Since: renderedAt.Add(-5 * time.Minute), Seen: renderedAt}
	asking := []control.Box{
		{Name: "lib-1", School: "0690001A", State: "connected", Connected: true, Server: "s1", Index: 12345, Enrolled: renderedAt.Add(-90 * 24 * time.Hour), Returns: []control.Return{ask}},
		{Name: "lib-2", School: "0690001A", State: "asking", Index: 900, Seen: renderedAt.Add(-time.Hour), Enrolled: renderedAt.Add(-91 * 24 * time.Hour), Returns: []control.Return{ask}},
		{Name: "gym", School: "0690002B", State: "asking", Enrolled: renderedAt.Add(-time.Hour), Returns: []control.Return{
			{Code: "ABCD-EFGH-JKLM", Why: "disk", Since: renderedAt.Add(-time.Minute)}, {Code: "MLKJ-HGFE-DCBA", Why: "empty", Since: renderedAt.Add(-time.Second)},
		}},
	}
	golden(t, "status", statusText(healthyRegion()))
	golden(t, "status-degraded", statusText(degradedRegion()))
	golden(t, "status-centre", statusText(followingRegion()))
	golden(t, "status-centre-away", statusText(cutRegion()))
	early := healthyRegion()
	early.Centre = control.Centre{Follows: true, Address: "central.example:4433", Server: "s1"}
	early.Waiting = control.Waiting{Count: 1, Bytes: 5, Oldest: renderedAt.Add(time.Second)}
	golden(t, "status-centre-early", statusText(early))
	locked := healthyRegion()
	locked.Boxes.Asking = 1
	golden(t, "status-asking", statusText(locked))
	golden(t, "boxes", boxesText(boxes, 3, 12345, renderedAt))
	golden(t, "boxes-asking", boxesText(asking, 3, 12345, renderedAt))
	golden(t, "policy", policyTable(policies))
	golden(t, "list-resources", listText("resources", resources, 99, renderedAt))
	golden(t, "list-purges", listText("purges", purges, 99, renderedAt))
	golden(t, "list-none", listText("pins", nil, 99, renderedAt))
	var tokens strings.Builder
	for _, role := range []string{"box", "server", "operator"} {
		tok := control.Token{Token: "PREAU1-ABC", Role: role, Expires: renderedAt.Add(7 * 24 * time.Hour)}
		if role == "box" {
			tok.School = "0690001A"
		}
		// The day is in the zone of the machine; the rest is the same everywhere.
		tokens.WriteString(strings.ReplaceAll(tokenText(tok, renderedAt), tok.Expires.Local().Format("2 January 2006, 15:04"), "DAY"))
	}
	golden(t, "token", tokens.String())
	var progress []string
	for _, p := range []control.Progress{
		{Confirmed: 812, Connected: 2940, Known: 3000}, {Confirmed: 1, Connected: 1, Known: 1}, {Known: 1},
		{Confirmed: 2, Connected: 9, Known: 9, Silent: []string{"s2"}, Waiting: []string{"a", "b", "c", "d", "e", "f", "g"}},
	} {
		progress = append(progress, progressText(p)+waitingText(p)+"\n")
	}
	golden(t, "progress", strings.Join(progress, ""))
}

func TestHealthyIsWithoutProblems(t *testing.T) {
	if got := problems(healthyRegion()); len(got) != 0 {
		t.Errorf("problems of a healthy region: %q", got)
	}
	one := control.Status{Leader: "s1", Quorum: true, Voters: 1, Servers: []control.Server{{Name: "s1", State: "leader", Voter: true}}}
	if got := problems(one); len(got) != 0 || len(remarks(one)) != 1 {
		t.Errorf("problems of a server alone: %q; remarks %q", got, remarks(one))
	}
}

func TestACentreThatIsAwayIsAProblem(t *testing.T) {
	want := []string{"the centre central.example:4433 can't be reached (connection refused)"}
	if got := problems(cutRegion()); !slices.Equal(got, want) {
		t.Errorf("problems: %q", got)
	}
	notAsked := cutRegion()
	notAsked.Centre.Since = time.Time{}
	for name, s := range map[string]control.Status{"connected": followingRegion(), "not asked yet": notAsked} {
		if got := problems(s); len(got) != 0 {
			t.Errorf("%s: problems %q", name, got)
		}
	}
}

func TestBoxesAreChosen(t *testing.T) {
	all := []control.Box{{Name: "a", School: "0690001A", State: "away"}, {Name: "b", School: "0690001A", State: "lapsed"}, {Name: "c", School: "0690002B", State: "away"},
		{Name: "d", School: "0690002B", State: "connected", Returns: []control.Return{{Code: "ABCD-EFGH-JKLM"}}}, {Name: "e", School: "0690002B", State: "asking"}}
	for _, tt := range []struct {
		state, school []string
		want          string
	}{
		{nil, nil, "abcde"}, {[]string{"away"}, nil, "ac"}, {[]string{"asking"}, nil, "de"}, {nil, []string{"0690001a"}, "ab"}, {[]string{"lapsed"}, []string{"0690002B"}, ""},
	} {
		got := ""
		for _, b := range (boxesCmd{State: tt.state, School: tt.school}).filter(all) {
			got += b.Name
		}
		if got != tt.want {
			t.Errorf("%v of %v: %q, want %q", tt.state, tt.school, got, tt.want)
		}
	}
}

func TestHours(t *testing.T) {
	got, err := parseHours([]string{"22:00-06:00", "12:15-24:00"})
	if want := []control.Hours{{From: 1320, To: 360}, {From: 735, To: 1440}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("hours %v, %v; want %v", got, err, want)
	}
	for _, wrong := range [][]string{{"8"}, {"08:00-25:00"}, {"08:00-08:00"}, {"any", "08:00-09:00"}} {
		if got, err := parseHours(wrong); err == nil {
			t.Errorf("%q was read as %v", wrong, got)
		}
	}
	if got, err := parseHours([]string{"any"}); err != nil || len(got) != 0 {
		t.Errorf("any = %v, %v", got, err)
	}
}

func TestMeterShowsOneLineOnATerminalOnly(t *testing.T) {
	var b bytes.Buffer
	m := newMeter(&b)
	m.show("half")
	m.clear()
	if b.Len() != 0 {
		t.Errorf("written away from a terminal: %q", b.String())
	}
	m.live = true
	m.show("%d %%", 50)
	m.show("too soon")
	m.clear()
	m.clear()
	if got, want := b.String(), "\r50 %\x1b[K\r\x1b[K"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
