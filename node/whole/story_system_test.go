//go:build system && linux

package whole_test

import (
	"testing"
	"time"

	"preau/node/control"
)

// during gives a command and kills the machine while it runs.
func (w *world) during(t *testing.T, victim *machine, within time.Duration, args ...string) answer {
	t.Helper()
	said := make(chan answer, 1)
	go func() { said <- w.ask(args...) }()
	wait := time.Duration(w.rng.Int64N(int64(within)))
	select {
	case <-time.After(wait):
	case a := <-said: // quicker than the test
		victim.kill(t)
		return a
	}
	victim.kill(t)
	a := <-said
	t.Logf("%s was killed %v into %v: exit code %d", victim.name, wait, args[0], a.code)
	return a
}

// What the README tells a stranger to do, with a leader that is killed each
// time that it matters.
func TestTheStoryOfTheReadme(t *testing.T) {
	t.Parallel()
	w := three(t, seeded(t), "box-a", "box-b")
	short, long := w.bytes(300<<10), w.bytes(9<<20+77)
	first := w.publish(t, "atlas.pdf", "lessons", short)

	dead := w.leader(t)
	film := w.file(t, "film.mp4", long)
	if a := w.during(t, dead, 400*time.Millisecond, "publish", film, "--collection", "lessons"); a.code != 0 && !again(a) {
		t.Errorf("publish: %v", a)
	}
	second := w.publish(t, "film.mp4", "lessons", long) // the same, once more
	for _, b := range w.boxes {
		within(t, 2*time.Minute, func() error { return w.has(b, first.URL, short) })
		within(t, 2*time.Minute, func() error { return w.has(b, second.URL, long) })
	}
	dead.run(t)
	w.healthy(t, 3)

	dead = w.leader(t)
	a := w.during(t, dead, 150*time.Millisecond, "purge", "--collection", "lessons")
	if again(a) { // it is done already if the region knows of no such collection
		within(t, 90*time.Second, func() error {
			if a = w.ask("purge", "--collection", "lessons"); again(a) {
				return a
			}
			return nil
		})
	}
	var purge struct {
		control.Done
		Progress *control.Progress `json:"progress"`
	}
	switch a.code {
	case 0:
		if err := decode(a, &purge); err != nil {
			t.Error(err)
		} else if p := purge.Progress; p == nil || p.Confirmed != p.Connected || p.Known != 2 {
			t.Errorf("progress %+v", p)
		}
	case 4:
		says(t, a, 4, "there is no collection")
	default:
		t.Errorf("purge: %v", a)
	}
	// A box that has lost two servers within seconds takes them all for lost, and
	// comes back within a minute.
	for _, b := range w.boxes {
		for _, path := range []string{first.URL, second.URL} {
			within(t, 2*time.Minute, func() error { return w.lacks(b, path) })
		}
	}
	dead.run(t)

	for _, m := range append(w.servers, w.boxes...) {
		m.kill(t)
	}
	for _, b := range w.boxes { // with no region at all
		b.run(t)
		w.answers(t, b)
		for _, path := range []string{first.URL, second.URL} {
			if err := w.lacks(b, path); err != nil {
				t.Errorf("before it hears of its region: %v", err)
			}
		}
	}
	for _, s := range w.servers {
		s.run(t)
	}
	w.healthy(t, 3)
	w.agree(t, w.servers...)
	for _, b := range w.boxes {
		for _, path := range []string{first.URL, second.URL} {
			if err := w.lacks(b, path); err != nil {
				t.Error(err)
			}
		}
	}
	third := w.publish(t, "after.pdf", "lessons", short)
	for _, b := range w.boxes {
		within(t, 2*time.Minute, func() error { return w.has(b, third.URL, short) })
	}
}
