package update_test

import (
	"fmt"
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
