package update

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// KeyFile is where the key lies that a box was installed with.
const KeyFile = "/etc/preau/update.gpg"

// GPG verifies with gpgv, which Debian keeps well and apt uses too. It knows the
// keys in one file and no others.
type GPG struct {
	Key string // of gpg --export, not armored
}

// Verify returns the text that one of the keys has signed, and nothing of what
// stands around it.
func (g GPG) Verify(ctx context.Context, signed []byte) ([]byte, error) {
	raw, err := os.ReadFile(g.Key)
	if err != nil {
		return nil, fmt.Errorf("the key that signs updates can't be read; it is installed with the box: %w", err)
	}
	if bytes.HasPrefix(raw, []byte("-----BEGIN")) {
		return nil, fmt.Errorf("%s is armored: make it with gpg --export KEY, without --armor", g.Key)
	}
	key, err := filepath.Abs(g.Key) // gpgv looks for others in a folder of its own
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "preau-verify-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // in the system's folder for such things
	in, out := filepath.Join(dir, "signed.asc"), filepath.Join(dir, "text")
	if err := os.WriteFile(in, signed, 0o600); err != nil {
		return nil, err
	}
	c := exec.CommandContext(ctx, "gpgv", "--weak-digest", "SHA1", "--keyring", key, "--output", out, in)
	c.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + dir, "LC_ALL=C"}
	said, err := c.CombinedOutput()
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		return nil, fmt.Errorf("it is not signed by the key in %s: %s", g.Key, oneLine(string(said)))
	} else if err != nil {
		return nil, fmt.Errorf("run gpgv: %w", err)
	}
	return os.ReadFile(out)
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
