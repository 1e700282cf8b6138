package update_test

import (
	"fmt"
	"math"
	"os/exec"
	"strings"
	"testing"
	"time"

	"preau/node/update"
)

func TestVersionsAreOrderedAsDpkgOrdersThem(t *testing.T) {
	rising := []string{"0~git20260101.abc", "0.9", "1.0~rc1", "1.0~rc2", "1.0~rc10", "1.0", "1.0a", "1.0+3.gabc", "1.0+12.gabc", "1.0+dirty", "1.0.1", "1.2", "1.10", "2", "10"}
	for i, a := range rising {
		for j, b := range rising {
			want := min(max(i-j, -1), 1)
			if got := update.Compare(a, b); got != want {
				t.Errorf("Compare(%s, %s) = %d, want %d", a, b, got, want)
			}
		}
	}
	if got := update.Compare("1.001", "1.1"); got != 0 {
		t.Errorf("zeros in front count: %d", got)
	}
}

func FuzzCompare(f *testing.F) {
	f.Add("1.0~rc1", "1.0")
	f.Add("1.0+5.gabc", "1.0a")
	dpkg, _ := exec.LookPath("dpkg") // without it, only the order is looked at
	f.Fuzz(func(t *testing.T, a, b string) {
		c := update.Compare(a, b)
		if update.Compare(b, a) != -c || update.Compare(a, a) != 0 {
			t.Fatalf("%q and %q have no order", a, b)
		}
		plain := func(s string) bool {
			return s != "" && s[0] >= '0' && s[0] <= '9' && strings.Trim(s, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.+~") == ""
		}
		if dpkg == "" || !plain(a) || !plain(b) {
			return
		}
		op := map[int]string{-1: "lt", 0: "eq", 1: "gt"}[c]
		if err := exec.CommandContext(t.Context(), dpkg, "--compare-versions", a, op, b).Run(); err != nil {
			t.Errorf("dpkg does not say that %q %s %q", a, op, b)
		}
	})
}

// sum is a SHA-256 that is told from others by its first digit.
func sum(c string) string { return c + strings.Repeat("0", 63) }

func packageText(version, arch, sum string) string {
	return fmt.Sprintf("[[package]]\nversion = %q\narch = %q\nid = \"preau_%s_%s.deb\"\nsha256 = %q\nsize = 100\n", version, arch, version, arch, sum)
}

func mustPlan(t *testing.T, text string) update.Plan {
	t.Helper()
	p, err := update.ParsePlan([]byte(text + packageText("1.0", "amd64", sum("1")) + packageText("2.0", "amd64", sum("2")) + packageText("3.0", "arm64", sum("3"))))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestAPlanSaysAllThatIsWrongWithIt(t *testing.T) {
	_, err := update.ParsePlan([]byte(`[[ring]]
version = "2.0"
percent = 101
hours = ["late"]
[[package]]
version = "../2"
arch = "vax"
id = "a/b"
sha256 = "00"
size = 0
`))
	for _, want := range []string{"serial", "ring[1].version", "ring[1].percent", "ring[1].hours", `"../2" is no version`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("nothing is said of %s: %v", want, err)
		}
	}
	for name, text := range map[string]string{
		"unknown key":    "serial = 1\nnovelty = 1\n[[ring]]\nversion = \"1.0\"\n" + packageText("1.0", "amd64", sum("1")),
		"no ring":        "serial = 1\n" + packageText("1.0", "amd64", sum("1")),
		"twice":          "serial = 1\n[[ring]]\nversion = \"1.0\"\n" + packageText("1.0", "amd64", sum("1")) + packageText("1.0", "amd64", sum("2")),
		"no digest":      "serial = 1\n[[ring]]\nversion = \"1.0\"\n" + packageText("1.0", "amd64", "1"),
		"capital digits": "serial = 1\n[[ring]]\nversion = \"1.0\"\n" + packageText("1.0", "amd64", sum("A")),
		"an epoch":       "serial = 1\n[[ring]]\nversion = \"1:1.0\"\n" + packageText("1:1.0", "amd64", sum("1")),
	} {
		if _, err := update.ParsePlan([]byte(text)); err == nil {
			t.Errorf("%s: the plan is taken", name)
		}
	}
}

func FuzzParsePlan(f *testing.F) {
	f.Add([]byte("serial = 1\n[[ring]]\nversion = \"1.0\"\npercent = nan\n" + packageText("1.0", "amd64", sum("1"))))
	f.Add([]byte("serial = 1\n[[ring]]\nversion = \"1.0\"\nschools = [\"A\"]\nback = true\nhours = [\"22:00-06:00\"]\n" + packageText("1.0", "amd64", sum("1"))))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := update.ParsePlan(text)
		if err != nil {
			return
		}
		c := update.Choose(p, update.Who{Region: p.Region, School: "A", Box: "b", Arch: "amd64"}, "0.5", nil)
		if c.Take && (len(c.To.SHA256) != 64 || c.To.Size <= 0 || strings.ContainsAny(c.To.ID+c.To.Version, "/\x00")) {
			t.Errorf("%+v is taken", c.To)
		}
	})
}

func TestWhatAPlanMeansForABox(t *testing.T) {
	all := "serial = 1\n[[ring]]\nversion = \"2.0\"\n"
	box := update.Who{Region: "r", School: "0690001A", Box: "box-a", Arch: "amd64"}
	arm := box
	arm.Arch = "arm64"
	for name, tt := range map[string]struct {
		plan      string
		who       update.Who
		installed string
		refused   []update.Refused
		take      string // the version, or nothing
		why       string
	}{
		"a newer one":                    {plan: all, who: box, installed: "1.0", take: "2.0"},
		"the same":                       {plan: all, who: box, installed: "2.0", why: "has the version"},
		"an older one":                   {plan: all, who: box, installed: "2.1", why: "older"},
		"an older one, said":             {plan: all + "back = true\n", who: box, installed: "2.1", take: "2.0"},
		"tried before":                   {plan: all, who: box, installed: "1.0", refused: []update.Refused{{Version: "2.0", SHA256: sum("2"), Why: "no answer"}}, why: "given up: no answer"},
		"tried before, built anew":       {plan: all, who: box, installed: "1.0", refused: []update.Refused{{Version: "2.0", SHA256: sum("9")}}, take: "2.0"},
		"another machine":                {plan: all, who: arm, installed: "1.0", why: "no package of 2.0 for arm64"},
		"another region":                 {plan: "serial = 1\nregion = \"q\"\n[[ring]]\nversion = \"2.0\"\n", who: box, installed: "1.0", why: "for region q"},
		"another school":                 {plan: all + "schools = [\"0690002B\"]\n", who: box, installed: "1.0", why: "nothing for this box"},
		"its school, in small letters":   {plan: all + "schools = [\"0690001a\"]\n", who: box, installed: "1.0", take: "2.0"},
		"by name":                        {plan: all + "boxes = [\"box-a\"]\n", who: box, installed: "1.0", take: "2.0"},
		"no share":                       {plan: all + "percent = 0\n", who: box, installed: "1.0", why: "nothing for this box"},
		"no share, but its school":       {plan: all + "percent = 0\nschools = [\"0690001A\"]\n", who: box, installed: "1.0", take: "2.0"},
		"the whole share":                {plan: all + "percent = 100\n", who: box, installed: "1.0", take: "2.0"},
		"the first ring counts":          {plan: all + "schools = [\"0690001A\"]\n[[ring]]\nversion = \"1.0\"\n", who: box, installed: "1.0", take: "2.0"},
		"the ring after it, for others":  {plan: all + "schools = [\"0690002B\"]\n[[ring]]\nversion = \"1.0\"\n", who: box, installed: "0.9", take: "1.0"},
		"what runs is not among them":    {plan: all, who: box, installed: "1.5", take: "2.0"},
		"a candidate is before its own":  {plan: all, who: box, installed: "2.0~rc1", take: "2.0"},
		"what came after it stays there": {plan: all, who: box, installed: "2.0+1.gabc", why: "older"},
	} {
		t.Run(name, func(t *testing.T) {
			c := update.Choose(mustPlan(t, tt.plan), tt.who, tt.installed, tt.refused)
			got := ""
			if c.Take {
				got = c.To.Version
				if c.From.Version != tt.installed {
					t.Errorf("the way back is to %q", c.From.Version)
				}
			}
			if got != tt.take || !strings.Contains(c.Why, tt.why) {
				t.Errorf("it takes %q (%s), want %q (%s)", got, c.Why, tt.take, tt.why)
			}
		})
	}
}

func TestAShareGrowsAndIsAsLargeAsItSays(t *testing.T) {
	const boxes = 3000
	before := map[string]bool{}
	for _, percent := range []float64{1, 10, 50, 100} {
		p := mustPlan(t, fmt.Sprintf("serial = 1\n[[ring]]\nversion = \"2.0\"\npercent = %v\n", percent))
		now := map[string]bool{}
		for i := range boxes {
			w := update.Who{Region: "r", School: "s", Box: fmt.Sprintf("box-%d", i), Arch: "amd64"}
			if update.Choose(p, w, "1.0", nil).Take {
				now[w.Box] = true
			}
		}
		want := boxes * percent / 100
		if off := math.Abs(float64(len(now)) - want); off > 4*math.Sqrt(want) {
			t.Errorf("%v %% of %d boxes are %d", percent, boxes, len(now))
		}
		for b := range before {
			if !now[b] {
				t.Errorf("%s had the version at a smaller share, and not at %v %%", b, percent)
			}
		}
		before = now
	}
}

func TestHours(t *testing.T) {
	for text, at := range map[string]map[string]bool{
		"01:00-05:00": {"00:59": false, "01:00": true, "04:59": true, "05:00": false},
		"22:00-06:00": {"21:59": false, "22:00": true, "00:00": true, "05:59": true, "06:00": false},
		"20:00-24:00": {"23:59": true, "00:00": false},
		"any":         {"12:00": true},
	} {
		for clock, want := range at {
			now, err := time.Parse("15:04", clock)
			if err != nil {
				t.Fatal(err)
			}
			spans, err := update.ParseHours([]string{text})
			if err != nil {
				t.Fatal(err)
			}
			if got := update.Within(spans, now); got != want {
				t.Errorf("%s in %s: %v", clock, text, got)
			}
		}
	}
	for _, bad := range []string{"", "1-2", "05:00-05:00", "25:00-26:00", "05:00"} {
		if _, err := update.ParseHours([]string{bad}); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	if _, err := update.ParseHours([]string{"any", "01:00-02:00"}); err == nil {
		t.Error("any and a span are taken together")
	}
}
