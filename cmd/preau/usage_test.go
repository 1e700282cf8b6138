package main

import (
	"os"
	"strings"
	"testing"
)

// TestMistakesAreNamed gives command lines that are wrong, each with what must
// be said of it.
func TestMistakesAreNamed(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv(operatorVariable, "nowhere")
	for name, content := range map[string]string{
		"a.txt": "a", "b.txt": "b", "empty.txt": "",
		"wrong/server.toml": "data = \"d\"\nlistne = \"127.0.0.1:4433\"\n",
		"right/server.toml": "data = \"elsewhere\"\nlisten = \"127.0.0.1:4433\"\n",
	} {
		if dir, _, ok := strings.Cut(name, "/"); ok {
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for line, want := range map[string]string{
		"region":      `expected one of "init"`,
		"region init": "--data DIR --listen ADDR",
		"region init --data r --listen 80 --advertise x":             `preau region init: --advertise: "x" is not an address with a port`,
		"region init --data r --listen :4433":                        `--advertise: is missing, and ":4433" does not tell others where to find this server`,
		"region run":                                                 "say which server: --data DIR",
		"region run --data r":                                        "server.toml is missing: is r the folder that preau region init or preau region join made?",
		"region run --config f --data r":                             "--config says it all",
		"region run --data wrong":                                    "server.toml:2: listne: unknown key: did you mean listen?",
		"region run --data right --admin 9999 --budget 1MiB":         "--budget: 1MiB is too small",
		"region join hello --data r --listen 127.0.0.1:1 --server s": "the token is mistyped",
		"region join PREAU1-AAAA --data r --listen 127.0.0.1:1":      "missing flags: --server=NAME",
		"region token":                                               "--school CODE for a box, --server, --operator or --central",
		"region token --server --operator":                           "--server and --operator can't be used together",
		"region policy --hours 8-9":                                  `--hours: "8-9" is not a span of the day: write it like 22:00-06:00`,
		"region reset --data right --listen x":                       `--listen: "x" is not an address with a port`,
		"boxes --as here":                                            "not enrolled: here holds no identity",
		"boxes --state asleep":                                       `must be one of "connected"`,
		"list cups":                                                  `must be one of "collections","resources"`,
		"purge":                                                      "say exactly one thing to purge",
		"purge /a --all --site library":                              "say exactly one thing to purge",
		"purge --all":                                                "say of which site: --site NAME",
		"publish a.txt":                                              "missing flags: --collection=ID",
		"publish none.txt --collection c":                            "none.txt: no such file",
		"publish empty.txt --collection c":                           "empty.txt is empty",
		"publish . --collection c":                                   ". is no file",
		"publish a.txt b.txt --collection c --title t":               "--title and --id are for one file: publish 2 files apart",
		"publish a.txt --collection c --expires soon":                `"soon" is not a time: write it like 2026-09-01`,
		"pin":                             "say what to pin: --resource ID or --collection ID",
		"pin --resource r --collection c": "can't be used together",
		"pin --resource r --from 2026-09-02 --until 2026-09-01": "the pin would end before it begins",
		"revoke x --role king":      `must be one of "box","server","operator"`,
		"enrol":                     "missing flags: --token=TOKEN",
		"enrol --token PREAU1-AAAA": "say where the box's folder is: --data DIR",
		"enrol --token hello --data box --name lib": "the token is mistyped",
		"status --region nowhere --as right":        "right holds no identity",
	} {
		t.Run(line, func(t *testing.T) {
			s := do(t, strings.Fields(line)...)
			s.want(t, exitUsage, want, "Try: preau ")
			if s.out != "" {
				t.Errorf("stdout %q", s.out)
			}
		})
	}
	for _, dir := range []string{"r", "box", "operator"} {
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("a mistake has made %s", dir)
		}
	}
	do(t, "region", "run", "--data", "right", "--admin", "127.0.0.1:9999", "--check").want(t, exitOK, "a region's server on 127.0.0.1:4433, in right.")
	do(t, "region", "run", "--data", "right").want(t, exitFailed, "right is not the folder of a region's server: make one with preau region init")
}

// TestEveryCommandTeaches looks for an example in the help of each.
func TestEveryCommandTeaches(t *testing.T) {
	for _, command := range []string{
		"region", "region init", "region run", "region join", "region token", "region policy", "region lead", "region remove",
		"region recover", "region reset", "region config", "enrol", "status", "boxes", "locate", "list", "publish", "unpublish", "pin", "unpin",
		"purge", "revoke", "readmit",
	} {
		t.Run(command, func(t *testing.T) {
			do(t, append(strings.Fields(command), "--help")...).want(t, exitOK, "Usage: preau "+command, "\n    preau "+command)
		})
	}
}
