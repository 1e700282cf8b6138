// Package mirror knows where this machine's own Debian comes from, for what is made
// of Debian on it. It names no server of its own choice.
package mirror

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os/exec"
	"strings"
)

// errNone says what to do.
var errNone = errors.New("this machine's apt names no mirror of Debian: say which, such as http://HOST/debian")

// Own is the address of the mirror that apt uses here, without a slash at its end.
func Own(ctx context.Context) (string, error) {
	c := exec.CommandContext(ctx, "apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages")
	var said bytes.Buffer
	c.Stderr = &said
	out, err := c.Output()
	if err != nil {
		return "", fmt.Errorf("%w (apt-get: %w: %s)", errNone, err, strings.TrimSpace(said.String()))
	}
	return first(string(out))
}

// first is the first address that has Debian itself, and not its security updates.
func first(list string) (string, error) {
	for line := range strings.Lines(list) {
		at := strings.TrimRight(strings.TrimSpace(line), "/")
		if u, err := url.Parse(at); err == nil && u.Host != "" && strings.HasSuffix(u.Path, "/debian") {
			return at, nil
		}
	}
	return "", errNone
}
