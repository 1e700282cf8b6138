package main

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain makes this test binary behave as preau when a script calls it so.
// noBoxHere is where no box answers, whatever else runs on this machine.
const noBoxHere = "127.0.0.1:1"

func TestMain(m *testing.M) {
	// Some test or other may have a box where one is looked for by itself.
	if err := os.Setenv(boxVariable, noBoxHere); err != nil {
		panic(err)
	}
	testscript.Main(m, map[string]func(){"preau": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			// The race detector has each command wait a second before it ends.
			e.Setenv("GORACE", "atexit_sleep_ms=0")
			e.Setenv(boxVariable, noBoxHere)
			return nil
		},
	})
}
