package images_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestARaspberrysSlotsAreAsLarge: a version that does not fit the other's slot can
// never be installed. What makes the slot on the board is the appliance's.
func TestARaspberrysSlotsAreAsLarge(t *testing.T) {
	want := settings(t, "raspberry/repart/11-root.conf")
	for _, slot := range []string{"11-root.conf", "21-root-b.conf"} {
		got := settings(t, filepath.Join(own, "usr/lib/repart.d", slot))
		for _, key := range []string{"SizeMinBytes", "SizeMaxBytes"} {
			if got[key] != want[key] || want[key] != want["SizeMinBytes"] || want[key] == "" {
				t.Errorf("%s: %s=%s, and the image is made with %s", slot, key, got[key], want[key])
			}
		}
	}
	if label := settings(t, "raspberry/repart/00-esp.conf")["Label"]; label != settings(t, "appliance/mkosi.repart/00-esp.conf")["Label"] {
		t.Errorf("the boot partition is called %s, and is mounted by another name", label)
	}
}

// TestABoardsScriptsSpeakOfTheSameFiles: U-Boot reads what the system writes.
func TestABoardsScriptsSpeakOfTheSameFiles(t *testing.T) {
	texts := map[string]string{}
	for _, name := range []string{"boot/boot.cmd", "extra/usr/lib/preau/trial", "extra/usr/lib/preau/healthy", "extra/usr/lib/systemd/system/systemd-sysupdate-reboot.service.d/preau.conf"} {
		text, err := os.ReadFile(filepath.Join("raspberry", name))
		if err != nil {
			t.Fatal(err)
		}
		texts[name] = string(text)
		if !strings.Contains(texts[name], "trial.env") || !strings.Contains(texts[name], "try3") {
			t.Errorf("%s knows no trial or no last try", name)
		}
	}
	for _, file := range []string{"good.env", "good.new", "try1", "try2"} {
		for _, name := range []string{"boot/boot.cmd", "extra/usr/lib/preau/healthy"} {
			if !strings.Contains(texts[name], file) {
				t.Errorf("%s does not know %s", name, file)
			}
		}
	}
	// After what writes the update, not when it begins.
	if unit := settings(t, "raspberry/extra/usr/lib/systemd/system/systemd-sysupdate.service.d/raspberry.conf"); unit["Type"] != "oneshot" || unit["ExecStartPost"] != "/usr/lib/preau/trial" {
		t.Errorf("a version is put on trial by %v", unit)
	}
	kernel := settings(t, "raspberry/extra/usr/lib/sysupdate.d/80-kernel.transfer")
	initrd := settings(t, "raspberry/extra/usr/lib/sysupdate.d/70-initrd.transfer")
	for _, name := range []string{kernel["MatchPattern"], initrd["MatchPattern"]} {
		_, kind, _ := strings.Cut(name, "@v")
		if !strings.Contains(texts["boot/boot.cmd"], "preau_${preau_version}"+kind) {
			t.Errorf("updates bring %s, which U-Boot does not look for", name)
		}
	}
	if !strings.Contains(texts["boot/boot.cmd"], "root=PARTLABEL=preau_${preau_version}") || settings(t, "raspberry/extra/usr/lib/sysupdate.d/60-root.transfer")["MatchPattern"] != "preau_@v" {
		t.Error("the system's partition has one name for U-Boot and another for updates")
	}
}
