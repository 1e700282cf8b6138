package update_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"preau/node/update"
)

// set is an entry of a plan.
func set(text string, more ...string) string {
	return fmt.Sprintf("[[settings]]\ntext = '''\n%s\n'''\n%s\n", text, strings.Join(more, "\n"))
}

func TestARegionsSettingsReachTheBoxesThatTheyAreFor(t *testing.T) {
	m := newMachine(t, "1.0")
	m.publish(1, set("everybody")+set("its school", `schools = ["0690001a"]`)+set("another", `schools = ["0690002B"]`)+set("by name", `boxes = ["box-a"]`)+ring("1.0"), "1.0")
	if told, err := m.run(t, update.Options{}); err != nil || told.Problem != "" || m.settings != "everybody\nits school\nby name\n" || m.restarts != 1 {
		t.Fatalf("settings %q, %+v, %v", m.settings, told, err)
	}
	if _, err := m.run(t, update.Options{}); err != nil || m.restarts != 1 {
		t.Errorf("the same settings have the box restarted: %v", err)
	}
	// By day they wait, like an update.
	m.now = m.now.Add(10 * time.Hour)
	m.publish(2, set("others")+ring("1.0"), "1.0")
	if _, err := m.run(t, update.Options{}); err != nil || m.restarts != 1 {
		t.Errorf("they are applied by day: %v", err)
	}
	if _, err := m.run(t, update.Options{AnyTime: true}); err != nil || m.settings != "others\n" {
		t.Errorf("settings %q, %v", m.settings, err)
	}
	// Taken back by the region: none are left.
	m.publish(3, ring("1.0"), "1.0")
	if _, err := m.run(t, update.Options{AnyTime: true}); err != nil || m.settings != "" {
		t.Errorf("settings %q, %v", m.settings, err)
	}
}

func TestSettingsThatAreBadLeaveThoseBefore(t *testing.T) {
	for text, want := range map[string]string{"wrong": "unknown key", "deadly": "was not well"} {
		m := newMachine(t, "1.0")
		m.publish(1, set("good")+ring("1.0"), "1.0")
		if _, err := m.run(t, update.Options{}); err != nil || m.settings != "good\n" {
			t.Fatalf("settings %q, %v", m.settings, err)
		}
		m.publish(2, set(text)+ring("1.0"), "1.0")
		for range 2 {
			told, err := m.run(t, update.Options{})
			if err != nil || m.settings != "good\n" || m.runs != "1.0" || !strings.Contains(told.Trouble(), want) {
				t.Errorf("%s: settings %q, version %s, %+v, %v", text, m.settings, m.runs, told, err)
			}
		}
		before := m.restarts
		if _, err := m.run(t, update.Options{}); err != nil || m.restarts != before {
			t.Errorf("%s: they are tried again: %v", text, err)
		}
		m.publish(3, set("better")+ring("1.0"), "1.0")
		if told, err := m.run(t, update.Options{}); err != nil || m.settings != "better\n" || told.Trouble() != "" {
			t.Errorf("%s: settings %q, %+v, %v", text, m.settings, told, err)
		}
	}
}

func TestSettingsGoOnAfterAPowerCut(t *testing.T) {
	for text, want := range map[string]string{"new": "new\n", "deadly": "good\n"} {
		m := newMachine(t, "1.0")
		m.publish(1, set("good")+ring("1.0"), "1.0")
		if _, err := m.run(t, update.Options{}); err != nil {
			t.Fatal(err)
		}
		m.publish(2, set(text)+ring("1.0"), "1.0")
		m.cutAtRestart = 2
		if _, err := m.run(t, update.Options{}); err == nil {
			t.Fatal("the power was not cut")
		}
		if told, err := m.run(t, update.Options{}); err != nil || m.settings != want || m.runs != "1.0" {
			t.Errorf("%s: settings %q, version %s, %+v, %v", text, m.settings, m.runs, told, err)
		}
	}
}

// alone is a run that takes settings alone: there are no packages.
func (m *machine) alone(t *testing.T, o update.Options) (update.Told, error) {
	t.Helper()
	m.imaged = true
	return m.with(t, func(u *update.Updater, ctx context.Context) (update.Told, error) { return u.RunSettings(ctx, o) })
}

func TestAMachineWithAnImageTakesSettingsAlone(t *testing.T) {
	m := newMachine(t, "1.0")
	keep := filepath.Join(t.TempDir(), "plan")
	o := update.Options{First: true, Copy: keep}
	told, err := m.alone(t, o)
	if err != nil || told.Problem != "" || !strings.HasPrefix(told.Text, "no plan") || m.restarts != 0 {
		t.Fatalf("nothing is published: %+v, %v", told, err)
	}
	// The first are taken by day too; the version of the same plan is nothing to it.
	m.now = m.now.Add(10 * time.Hour)
	m.publish(1, set("first")+set("another", `schools = ["0690002B"]`)+ring("2.0"), "1.0", "2.0")
	told, err = m.alone(t, o)
	if err != nil || told.Problem != "" || m.settings != "first\n" || m.installed != "1.0" || told.Wanted != "" || told.Version != "v1.0" {
		t.Fatalf("settings %q, %+v, %v", m.settings, told, err)
	}
	if kept, err := os.ReadFile(keep); err != nil || string(kept) != string(m.published[update.PlanID]) {
		t.Errorf("the plan is not kept as it was signed: %q, %v", kept, err)
	}
	text, err := update.SettingsIn(t.Context(), m.verify, m.published[update.PlanID], update.Who{Region: "r", School: "0690001A", Box: "box-a"})
	if err != nil || text != "first\n" {
		t.Errorf("the plan sets %q, %v", text, err)
	}
	// Later ones wait for the hours, which a plan without versions can say too.
	m.publish(2, set("second"))
	before := m.restarts
	if told, err = m.alone(t, o); err != nil || m.restarts != before || !strings.Contains(told.Text, "wait") {
		t.Errorf("settings %q, %+v, %v", m.settings, told, err)
	}
	if kept, _ := os.ReadFile(keep); !strings.Contains(string(kept), "first") {
		t.Errorf("a plan is kept that is not in place: %q", kept)
	}
	m.publish(3, set("second")+"[[ring]]\nhours = [\"any\"]\n")
	if told, err = m.alone(t, o); err != nil || m.settings != "second\n" {
		t.Errorf("settings %q, %+v, %v", m.settings, told, err)
	}
	// Bad ones leave those before, and the plan that is kept.
	m.publish(4, set("deadly")+"[[ring]]\nhours = [\"any\"]\n")
	told, err = m.alone(t, o)
	if kept, _ := os.ReadFile(keep); err != nil || m.settings != "second\n" || !strings.Contains(told.Problem, "was not well") || !strings.Contains(string(kept), "second") {
		t.Errorf("settings %q, %+v, %v, kept %q", m.settings, told, err, kept)
	}
	// A plan that is older, or not signed, is none.
	for what, publish := range map[string]func(){
		"old":        func() { m.publish(1, set("first")) },
		"not signed": func() { m.published[update.PlanID] = []byte("serial = 9\n" + set("theirs")) },
	} {
		publish()
		if told, err := m.alone(t, o); err == nil || told.Problem == "" || m.settings != "second\n" {
			t.Errorf("%s: settings %q, %+v, %v", what, m.settings, told, err)
		}
	}
	if _, err := update.SettingsIn(t.Context(), m.verify, []byte("serial = 9\n"+set("theirs")), update.Who{}); err == nil {
		t.Error("a plan that nobody signed sets something")
	}
}

// A box that was enrolled a moment ago hears of the plan a little later.
func TestTheFirstPlanIsWaitedFor(t *testing.T) {
	m := newMachine(t, "1.0")
	m.imaged = true
	told, err := m.with(t, func(u *update.Updater, ctx context.Context) (update.Told, error) {
		time.AfterFunc(time.Minute, func() {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.publish(1, set("first"))
		})
		return u.RunSettings(ctx, update.Options{First: true, Wait: 5 * time.Minute})
	})
	if err != nil || m.settings != "first\n" {
		t.Errorf("settings %q, %+v, %v", m.settings, told, err)
	}
}

func TestSettingsAloneGoOnAfterAPowerCut(t *testing.T) {
	m := newMachine(t, "1.0")
	m.publish(1, set("good"))
	m.cutAtRestart = 1
	if _, err := m.alone(t, update.Options{First: true}); err == nil {
		t.Fatal("the power was not cut")
	}
	if told, err := m.alone(t, update.Options{First: true}); err != nil || m.settings != "good\n" || told.Problem != "" {
		t.Errorf("settings %q, %+v, %v", m.settings, told, err)
	}
}

// What another region's plan sets is nothing here, and its number is not remembered.
func TestAnotherRegionsPlanSetsNothing(t *testing.T) {
	m := newMachine(t, "1.0")
	m.publish(7, "region = \"elsewhere\"\n"+set("theirs"))
	for what, run := range map[string]func() (update.Told, error){
		"alone":         func() (update.Told, error) { return m.alone(t, update.Options{First: true}) },
		"with packages": func() (update.Told, error) { m.imaged = false; return m.run(t, update.Options{AnyTime: true}) },
	} {
		if told, err := run(); err != nil || m.restarts != 0 || !strings.Contains(told.Text, "is for region elsewhere") {
			t.Errorf("%s: %+v, %v", what, told, err)
		}
	}
	if _, err := update.SettingsIn(t.Context(), m.verify, m.published[update.PlanID], update.Who{Region: "r"}); err == nil {
		t.Error("it is taken from a file")
	}
	m.publish(1, set("ours"))
	if told, err := m.alone(t, update.Options{First: true}); err != nil || m.settings != "ours\n" {
		t.Errorf("settings %q, %+v, %v", m.settings, told, err)
	}
}

// Where the copy can't be kept the settings count all the same, and it is told.
func TestSettingsCountWithoutTheirCopy(t *testing.T) {
	m := newMachine(t, "1.0")
	m.publish(1, set("good"))
	told, err := m.alone(t, update.Options{First: true, Copy: filepath.Join(t.TempDir(), "none", "plan")})
	if err != nil || m.settings != "good\n" || !strings.Contains(told.Problem, "can't be kept") {
		t.Errorf("settings %q, %+v, %v", m.settings, told, err)
	}
}

// A plan of settings alone leaves the version of boxes that have packages.
func TestAPlanOfSettingsAloneChangesNoVersion(t *testing.T) {
	m := newMachine(t, "1.0")
	m.publish(1, set("good"))
	told, err := m.run(t, update.Options{})
	if err != nil || told.Trouble() != "" || m.installed != "1.0" || m.settings != "good\n" || !strings.Contains(told.Text, "settings alone") {
		t.Errorf("settings %q, %+v, %v", m.settings, told, err)
	}
}
