package update_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"preau/node/update"
)

// has reports which packages and programs are in the machine's folder.
func (m *machine) has(t *testing.T) (debs int, program bool) {
	t.Helper()
	all, err := os.ReadDir(m.folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		if strings.HasSuffix(e.Name(), ".deb") {
			debs++
		}
		program = program || strings.HasPrefix(e.Name(), "program")
	}
	return debs, program
}

func TestAnUpdateIsTakenAndTheVersionBeforeKept(t *testing.T) {
	m := newMachine(t, "1.0")
	m.publish(1, ring("2.0"), "1.0", "2.0")
	told, err := m.run(t, update.Options{})
	if err != nil || m.runs != "2.0" || told.Version != "2.0" || told.Problem != "" {
		t.Fatalf("version %s runs: %+v, %v", m.runs, told, err)
	}
	if debs, program := m.has(t); debs != 2 || program {
		t.Errorf("%d packages are kept, a program: %v", debs, program)
	}
	if read, err := update.Read(m.folder); err != nil || read.Text != told.Text || read.Wanted != "2.0" {
		t.Errorf("what is told is %+v, %v", read, err)
	}
	// The next one needs no way back from the region: it is here.
	delete(m.published, "preau_2.0_amd64.deb")
	m.publish(2, ring("3.0"), "3.0")
	if told, err = m.run(t, update.Options{}); err != nil || m.runs != "3.0" {
		t.Fatalf("version %s runs: %+v, %v", m.runs, told, err)
	}
	if debs, _ := m.has(t); debs != 2 {
		t.Errorf("%d packages are kept", debs)
	}
	// By hand it goes back, and stays there.
	if told, err = m.with(t, func(u *update.Updater, ctx context.Context) (update.Told, error) { return u.Back(ctx) }); err != nil || m.runs != "2.0" {
		t.Fatalf("version %s runs: %+v, %v", m.runs, told, err)
	}
	if told, err = m.run(t, update.Options{}); err != nil || m.runs != "2.0" || !strings.Contains(told.Text, "by hand") {
		t.Errorf("version %s runs: %+v, %v", m.runs, told, err)
	}
	if told, err = m.run(t, update.Options{Again: true}); err != nil || m.runs != "3.0" {
		t.Errorf("version %s runs, when it is to be tried again: %+v, %v", m.runs, told, err)
	}
}

func TestAVersionThatIsNotWellIsTakenBackForGood(t *testing.T) {
	for _, bad := range []string{"2.0.bad", "2.0.lame"} {
		m := newMachine(t, "1.0")
		m.publish(1, ring(bad), "1.0", bad)
		told, err := m.run(t, update.Options{})
		if err != nil || m.runs != "1.0" || m.installed != "1.0" {
			t.Fatalf("version %s runs: %+v, %v", m.runs, told, err)
		}
		if !strings.Contains(told.Problem, bad+" did not do well here") || len(told.Refused) != 1 {
			t.Errorf("it says %+v", told)
		}
		steps := m.steps
		if told, err = m.run(t, update.Options{}); err != nil || m.steps != steps || !strings.Contains(told.Text, "given up") || len(told.Refused) != 1 {
			t.Errorf("it is tried again: %+v, %v", told, err)
		}
		m.publish(2, ring("2.1"), "1.0", "2.1")
		if told, err = m.run(t, update.Options{}); err != nil || m.runs != "2.1" {
			t.Errorf("the next one is not taken: %+v, %v", told, err)
		}
	}
}

func TestWhatIsNotTaken(t *testing.T) {
	for name, tt := range map[string]struct {
		do   func(m *machine)
		want string
		fine bool // it is no problem
	}{
		"another's signature": {do: func(m *machine) { m.published[update.PlanID] = []byte("bad:" + string(m.published[update.PlanID][5:])) }, want: "not believed"},
		"a plan that is none": {do: func(m *machine) { m.published[update.PlanID] = []byte("good:serial = 9\n") }, want: "can't be used"},
		"no plan":             {do: func(m *machine) { delete(m.published, update.PlanID) }, want: "no plan", fine: true},
		"another package than the signed one": {do: func(m *machine) {
			m.published["preau_2.0_amd64.deb"] = []byte("2.1")
		}, want: "is not what the plan says"},
		"a package that is no longer than its half": {do: func(m *machine) { m.published["preau_2.0_amd64.deb"] = []byte("2.") }, want: "is not what the plan says"},
		"a package that can't be had":               {do: func(m *machine) { delete(m.published, "preau_2.0_amd64.deb") }, want: "not published", fine: true},
		"no way back":                               {do: func(m *machine) { m.publish(1, ring("2.0"), "2.0") }, want: "no way back"},
		"not at this hour":                          {do: func(m *machine) { m.publish(1, ring("2.0", `hours = ["03:00-04:00"]`), "1.0", "2.0") }, want: "waits for [03:00-04:00]", fine: true},
		"in no region":                              {do: func(m *machine) { m.standing.Region = "" }, want: "belongs to no region"},
		"with the box down":                         {do: func(m *machine) { m.runs = "bad" }, want: "no box answers"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t, "1.0")
			m.publish(1, ring("2.0"), "1.0", "2.0")
			tt.do(m)
			told, err := m.run(t, update.Options{})
			if m.installed != "1.0" || m.steps != 0 {
				t.Fatalf("version %s is installed", m.installed)
			}
			if text := told.Text + told.Problem; !strings.Contains(text, tt.want) || (err == nil) != tt.fine || (told.Problem == "") != tt.fine {
				t.Errorf("it says %+v, %v; want %q", told, err, tt.want)
			}
		})
	}
}

func TestAnOldPlanIsNotTakenAgain(t *testing.T) {
	m := newMachine(t, "1.0")
	m.publish(5, ring("1.0"), "1.0", "2.0")
	old := m.published[update.PlanID]
	m.publish(6, ring("2.0"), "1.0", "2.0")
	if _, err := m.run(t, update.Options{}); err != nil || m.runs != "2.0" {
		t.Fatalf("version %s, %v", m.runs, err)
	}
	back := m.published[update.PlanID]
	m.published[update.PlanID] = old
	if told, err := m.run(t, update.Options{}); err == nil || !strings.Contains(told.Problem, "an old one") {
		t.Errorf("it says %+v, %v", told, err)
	}
	m.published[update.PlanID] = back
	m.publish(7, ring("1.0"), "1.0", "2.0")
	if told, err := m.run(t, update.Options{}); err != nil || m.runs != "2.0" || !strings.Contains(told.Text, "older") {
		t.Errorf("it goes back without being told: %+v, %v", told, err)
	}
	m.publish(8, ring("1.0", "back = true"), "1.0", "2.0")
	if told, err := m.run(t, update.Options{}); err != nil || m.runs != "1.0" || told.Problem != "" {
		t.Errorf("version %s: %+v, %v", m.runs, told, err)
	}
}

// TestAPowerCutInAnyStepEndsWhereItWouldHave: with a good and a bad version.
func TestAPowerCutInAnyStepEndsWhereItWouldHave(t *testing.T) {
	for to, want := range map[string]string{"2.0": "2.0", "2.0.bad": "1.0"} {
		for at := 1; ; at++ {
			m := newMachine(t, "1.0")
			m.publish(1, ring(to), "1.0", to)
			m.cutAt = at
			_, err := m.run(t, update.Options{})
			if m.steps < at {
				if at < 2 {
					t.Fatalf("dpkg did nothing: %v", err)
				}
				break // all of its steps were cut in
			}
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%s, cut in step %d: %v", to, at, err)
			}
			if _, program := m.has(t); !program {
				t.Errorf("%s, cut in step %d: no copy of the program is there to go on", to, at)
			}
			m.now = m.now.Add(12 * 3600e9) // at whatever hour
			if told, err := m.run(t, update.Options{}); err != nil || m.runs != want || m.installed != want || !m.whole {
				t.Errorf("%s, cut in step %d: version %s runs, %s is installed, whole: %v; %+v, %v", to, at, m.runs, m.installed, m.whole, told, err)
			}
			if _, program := m.has(t); program {
				t.Errorf("%s, cut in step %d: the copy of the program is left", to, at)
			}
		}
	}
}

func TestTwoRunsAtOnceAreRefused(t *testing.T) {
	m := newMachine(t, "1.0")
	m.publish(1, ring("2.0"), "1.0", "2.0")
	if _, err := m.with(t, func(*update.Updater, context.Context) (update.Told, error) {
		cfg := update.DefaultConfig()
		cfg.Folder = m.folder
		other, err := update.New(cfg, update.Parts{}, quiet)
		if err == nil {
			return update.Told{}, errors.Join(errors.New("a second run began"), other.Close())
		}
		return update.Told{}, nil
	}); err != nil {
		t.Error(err)
	}
}

func TestADamagedStateIsToldAndNothingIsDone(t *testing.T) {
	m := newMachine(t, "1.0")
	if err := os.WriteFile(filepath.Join(m.folder, "state"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := update.DefaultConfig()
	cfg.Folder = m.folder
	if _, err := update.New(cfg, update.Parts{}, quiet); err == nil || !strings.Contains(err.Error(), "remove") {
		t.Errorf("it says %v", err)
	}
}
