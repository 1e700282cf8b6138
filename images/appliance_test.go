package images_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"preau/node/box"
	"preau/node/config"
)

// own is where the appliance's own files are.
const own = "appliance/mkosi.extra"

// settings reads lines KEY=VALUE; of a key that stands twice the last counts.
func settings(t *testing.T, file string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(key, "#") {
			out[key] = value
		}
	}
	return out
}

// TestSlotsOfBothVersionsAreAsLarge: a version that does not fit the other's slot
// can never be installed.
func TestSlotsOfBothVersionsAreAsLarge(t *testing.T) {
	for made, slots := range map[string][]string{
		"10-root-verity.conf": {"10-root-verity.conf", "20-root-verity-b.conf"},
		"11-root.conf":        {"11-root.conf", "21-root-b.conf"},
	} {
		want := settings(t, filepath.Join("appliance/mkosi.repart", made))
		for _, slot := range slots {
			got := settings(t, filepath.Join(own, "usr/lib/repart.d", slot))
			for _, key := range []string{"Type", "SizeMinBytes", "SizeMaxBytes"} {
				if got[key] != want[key] || want[key] == "" {
					t.Errorf("%s: %s=%s, and the image is made with %s", slot, key, got[key], want[key])
				}
			}
			if want["SizeMinBytes"] != want["SizeMaxBytes"] {
				t.Errorf("%s may have several sizes", made)
			}
		}
	}
}

func TestTheApplianceWaitsForNoNetworkAndLetsNobodyIn(t *testing.T) {
	err := filepath.WalkDir(own, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Type()&fs.ModeSymlink != 0 {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(text)) {
			if !strings.HasPrefix(line, "#") && strings.Contains(line, "network-online") {
				t.Errorf("%s: %s", path, line)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	// Whatever could show a login or a shell.
	for _, unit := range []string{"getty@.service", "serial-getty@.service", "console-getty.service", "autovt@.service", "getty.target", "debug-shell.service", "ctrl-alt-del.target"} {
		if to, err := os.Readlink(filepath.Join(own, "etc/systemd/system", unit)); err != nil || to != "/dev/null" {
			t.Errorf("%s is not masked: %q, %v", unit, to, err)
		}
	}
	for _, dir := range []string{own, "appliance/mkosi.images/initrd/mkosi.extra"} {
		if s := settings(t, filepath.Join(dir, "usr/lib/systemd/system/emergency.service.d/preau.conf")); !strings.Contains(s["ExecStart"], "reboot") {
			t.Errorf("%s: an emergency does %q", dir, s["ExecStart"])
		}
	}
}

// TestWhatIsEnabledIsThere: systemd passes over a name that it does not know.
func TestWhatIsEnabledIsThere(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(own, "usr/lib/systemd/system-preset/00-preau.preset"))
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for line := range strings.Lines(string(text)) {
		unit, ok := strings.CutPrefix(strings.TrimSpace(line), "enable preau-")
		if !ok {
			continue
		}
		found++
		in := filepath.Join(own, "usr/lib/systemd/system", "preau-"+unit)
		if unit == "box.service" {
			in = "debian/preau-box.service"
		}
		if s := settings(t, in); s["WantedBy"] == "" {
			t.Errorf("%s is enabled and nothing wants it", in)
		}
	}
	if found < 5 || !strings.HasSuffix(string(text), "disable *\n") {
		t.Errorf("%d of our own units are enabled:\n%s", found, text)
	}
}

func TestTheAppliancesSettingsLackOnlyItsRegion(t *testing.T) {
	_, err := box.LoadConfig(filepath.Join(own, "etc/preau/box.toml"), box.Profiles())
	for _, one := range config.List(err) {
		if problem := new(config.Problem); !errors.As(one, &problem) || problem.Key != "site" {
			t.Errorf("box.toml: %v", one)
		}
	}
}
