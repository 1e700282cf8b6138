package box

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWhatTheMachineSaysIsTold(t *testing.T) {
	dir := t.TempDir()
	for _, nothing := range []string{"", dir, filepath.Join(dir, "missing")} {
		if m := machine(nothing); m != nil {
			t.Errorf("%q says %+v", nothing, m)
		}
	}
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "without-disk"), []byte("tpm\n"), 0o644), os.WriteFile(filepath.Join(dir, "given-up"), []byte("1.2.0\n1.3.0\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&Machine{WithoutDisk: "tpm", GivenUp: []string{"1.2.0", "1.3.0"}}, machine(dir)); diff != "" {
		t.Error(diff)
	}
}
