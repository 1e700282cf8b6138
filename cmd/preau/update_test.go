package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	updating "preau/node/update"
)

func TestAPlanIsMadeOfPackages(t *testing.T) {
	t.Chdir(t.TempDir())
	for name, text := range map[string]string{
		"preau_1.1_amd64.deb": "one", "preau_1.2+3.gabc_amd64.deb": "two", "preau_1.2+3.gabc_arm64.deb": "three",
		"settings": "[[site]]\nname = \"films\"\n", "other.deb": "four",
	} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var out, errs bytes.Buffer
	args := []string{"update", "plan", "preau_1.1_amd64.deb", "preau_1.2+3.gabc_amd64.deb", "preau_1.2+3.gabc_arm64.deb", "--percent", "0", "--school", "0690001A", "--hours", "any", "--settings", "settings"}
	if code := run(t.Context(), args, &out, &errs); code != exitOK {
		t.Fatalf("exit code %d: %s", code, &errs)
	}
	p, err := updating.ParsePlan(out.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	c := updating.Choose(p, updating.Who{School: "0690001A", Arch: "arm64"}, "1.1", nil)
	if !c.Take || c.To.ID != "preau_1.2-3.gabc_arm64.deb" || c.To.Size != 5 || p.Serial == 0 || len(p.Settings) != 1 {
		t.Errorf("%+v of %+v", c, p)
	}
	if c := updating.Choose(p, updating.Who{School: "0690002B", Arch: "arm64"}, "1.1", nil); c.Take {
		t.Errorf("another school is in it: %+v", c)
	}
	for line, want := range map[string]string{
		"update plan other.deb":                            "not called like a package of ours",
		"update plan preau_1.1_amd64.deb --to 2.0":         `no [[package]] of version "2.0"`,
		"update plan preau_1.1_amd64.deb --hours late":     `"late" is not a span of the day`,
		"update plan preau_1.1_amd64.deb --settings none":  "none",
		"update run --hours late":                          `--hours: "late" is not a span`,
		"box --config x --settings y":                      "--settings is for --check",
		"update plan preau_1.1_amd64.deb --percent=101":    "write 0 to 100",
		"update status --folder nowhere":                   "nothing has looked for updates here yet",
		"update now --folder nowhere --steady 1h":          "the first must be shorter",
		"update now --folder nowhere --admin nowhere":      "write host:port",
		"update plan preau_1.1_amd64.deb --serial hundred": "expected a valid 64 bit int",
		"update plan": "at least one [[ring]] with a version, or [[settings]]",
		"update plan --settings settings --percent 5": "name the packages too",
		"update settings --hours late":                `--hours: "late" is not a span`,
		"update settings --wait=-1s":                  "--wait: ",
	} {
		var errs bytes.Buffer
		if code := run(t.Context(), strings.Fields(line), &out, &errs); code == exitOK || !strings.Contains(errs.String(), want) {
			t.Errorf("preau %s: exit code %d, want %q in:\n%s", line, code, want, &errs)
		}
	}
}

func TestAPlanCanHaveSettingsAlone(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("sites.toml", []byte("[[site]]\nname = \"films\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for hours, rings := range map[string]int{"": 0, "--hours=any": 1} {
		var out, errs bytes.Buffer
		if code := run(t.Context(), strings.Fields("update plan --settings sites.toml "+hours), &out, &errs); code != exitOK {
			t.Fatalf("exit code %d: %s", code, &errs)
		}
		p, err := updating.ParsePlan(out.Bytes())
		if err != nil || len(p.Ring) != rings || len(p.Settings) != 1 || !strings.Contains(p.Settings[0].Text, "films") {
			t.Errorf("%q: %+v, %v", hours, p, err)
		}
		if c := updating.Choose(p, updating.Who{Arch: "amd64"}, "1.0", nil); c.Take || c.Wanted != "" {
			t.Errorf("%q: a version is wanted: %+v", hours, c)
		}
	}
	image := updating.Told{Version: "v1.0", Text: "the region's settings are in place", At: time.Now()}
	if text := toldText(image, time.Now()); strings.Contains(text, "wanted") || !strings.Contains(text, "v1.0") {
		t.Errorf("an image says\n%s", text)
	}
}

func TestABoxSaysWhichVersionDidItNoGood(t *testing.T) {
	now := time.Now()
	told := &updating.Told{Version: "1.0", Wanted: "2.0", Text: "2.0 was tried here", At: now, Refused: []updating.Refused{{Version: "2.0", Why: "no answer", At: now}}}
	s := boxStatus{Update: told}
	if wrong := boxProblems(s, now); len(wrong) != 1 || !strings.Contains(wrong[0], "2.0 here, which was tried and given up: no answer") {
		t.Errorf("it says %q", wrong)
	}
	if text := boxText(s, now); !strings.Contains(text, "\nUpdate: 2.0 was tried here (now)\n") {
		t.Errorf("it says\n%s", text)
	}
	if text := toldText(*told, now); !strings.Contains(text, "  ! 2.0 was given up now: no answer\n") {
		t.Errorf("it says\n%s", text)
	}
}
