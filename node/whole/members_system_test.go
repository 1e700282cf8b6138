//go:build system && linux

package whole_test

import (
	"path/filepath"
	"testing"
	"time"
)

// TestWrongTurnsAreExplained takes the wrong turns that people take when they
// put a region together.
func TestWrongTurnsAreExplained(t *testing.T) {
	t.Parallel()
	rng := seeded(t)
	w := three(t, rng)
	s1, s2, s3 := w.servers[0], w.servers[1], w.servers[2]
	other := found(t, rng, filepath.Join(t.TempDir(), "s1"))
	other.servers[0].run(t)
	box := w.box(t, "box-a", "0690001A")
	used := w.token(t, "--school", "0690001A")
	says(t, command(w.ctx, "enrol", "--token", used, "--data", filepath.Join(w.dir, "box-b"), "--name", "box-b"), 0)
	foreign := other.token(t, "--server")
	fresh := func(name string) []string {
		return []string{"--data", filepath.Join(w.dir, name), "--listen", freeAddress(t), "--server", name}
	}
	join := func(token string, rest []string) answer {
		return command(w.ctx, append([]string{"region", "join", token}, rest...)...)
	}
	into := func(s *machine) []string {
		return []string{"--data", s.data, "--listen", s.address, "--server", s.name}
	}

	tests := []struct {
		name  string
		said  answer
		code  int
		words []string
	}{
		{
			"a second init in the same folder", command(w.ctx, append([]string{"region", "init"}, into(s1)...)...),
			4, []string{"belongs to a region already", "preau region run", "choose another folder"},
		},
		{
			"an init where a server has joined", command(w.ctx, append([]string{"region", "init"}, into(s2)...)...),
			4, []string{"belongs to a region already", "s2"},
		},
		{
			"joining twice", join(w.token(t, "--server"), into(s2)),
			4, []string{"belongs to a region already", "preau region run"},
		},
		{
			"joining where the region was founded", join(w.token(t, "--server"), into(s1)),
			4, []string{"belongs to a region already", "preau region run"},
		},
		{
			"joining another region from the same folder", join(foreign, into(s2)),
			4, []string{"belongs to a region already"},
		},
		{
			"a name that is taken", join(w.token(t, "--server"), append(fresh("s8"), "--server", "s2")),
			4, []string{"another machine has this name already", "--server"},
		},
		{"a box's token for a server", join(w.token(t, "--school", "0690001A"), fresh("s9")), 4, []string{"another role", "preau region token"}},
		{"a token cut off", join(foreign[:len(foreign)-9], fresh("s9")), 2, []string{"PREAU1-"}},
		{"a token that is none", join("hello", fresh("s9")), 2, []string{"from PREAU1-"}},
		{
			"a token used twice", command(w.ctx, "enrol", "--token", used, "--data", filepath.Join(w.dir, "box-c"), "--name", "box-c"),
			4, []string{"was used already", "preau region token"},
		},
		{
			"a token of another region",
			command(w.ctx, "enrol", "--token", other.token(t, "--school", "0690001A"), "--data", filepath.Join(w.dir, "box-d"),
				"--name", "box-d", "--region", s2.address, "--timeout", "10s"),
			0, nil, // the servers that the token names are asked next
		},
		{
			"a token of another region, on a box of this one",
			command(w.ctx, "enrol", "--token", other.token(t, "--school", "0690001A"), "--data", box.data, "--name", "box-a"),
			4, []string{"--replace"},
		},
		{
			"an operator who asks another region", command(w.ctx, "status", "--as", w.operator, "--region", other.servers[0].address),
			4, []string{"is not a server of region", other.servers[0].address},
		},
		{"a server that is no server", command(w.ctx, "region", "run", "--data", w.dir), 2, []string{"preau region init", "preau region join"}},
		{"a folder that is in use", command(w.ctx, s1.args...), 1, []string{"in use", s1.data}},
		{"removing a stranger", w.ask("region", "remove", "s7"), 4, []string{"no server", "s7", "preau status"}},
		{"leading by a stranger", w.ask("region", "lead", "s7"), 4, []string{"s7"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Logf("%d: %s", tt.said.code, tt.said.err)
			says(t, tt.said, tt.code, tt.words...)
		})
	}
	w.healthy(t, 3)

	t.Run("removing a server", func(t *testing.T) {
		leads := w.leader(t)
		says(t, w.ask("region", "remove", leads.name), 4, "preau region lead")
		if leads == s3 {
			w.insist(t, &struct{}{}, "region", "lead", "s1")
		}
		w.insist(t, &struct{}{}, "region", "remove", "s3")
		content := w.bytes(10_000)
		file := w.publish(t, "after.pdf", "lessons", content)
		within(t, 2*time.Minute, func() error { return w.has(box, file.URL, content) })
		h, err := w.status()
		if err != nil || len(h.Servers) != 2 {
			t.Errorf("%+v, %v", h.Servers, err)
		}
		t.Logf("the removed one says: %s", s3.tail())
		s3.kill(t)
		s3.run(t)
		time.Sleep(5 * time.Second) // it must not come back, so there is nothing to wait for
		if h, err := w.status(); err != nil || len(h.Servers) != 2 {
			t.Errorf("it has come back: %+v, %v", h.Servers, err)
		}
		t.Logf("and then: %s", s3.tail())
		s3.kill(t)
		says(t, w.ask("region", "remove", "s3"), 4, "no server")
		w.servers = w.servers[:2]

		says(t, join(w.token(t, "--server"), append(fresh("s3-new"), "--server", "s3")), 4, "preau readmit")
		w.insist(t, &struct{}{}, "readmit", "s3", "--role", "server")
		w.dir = t.TempDir()
		w.join(t, "s3")
		w.healthy(t, 3)
	})
}
