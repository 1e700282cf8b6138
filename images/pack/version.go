package main

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

var (
	described = regexp.MustCompile(`^v?(\d[0-9A-Za-z.]*)(?:-((?:alpha|beta|rc)[0-9.]*))?(?:-(\d+)-g([0-9a-f]+))?(-dirty)?$`)
	hash      = regexp.MustCompile(`^([0-9a-f]{7,40})(-dirty)?$`)
	debian    = regexp.MustCompile(`^\d[0-9A-Za-z.+~]*$`)
)

// debVersion makes a version of a Debian package from what git describe says. A
// candidate is before its release (~), and what came after a release after it
// (+). Without any release there is the day. There is never a hyphen: a Debian
// revision would be somebody else's work.
func debVersion(version string, day time.Time) (string, error) {
	out := ""
	if m := hash.FindStringSubmatch(version); m != nil {
		out = "0~git" + day.UTC().Format("20060102150405") + "." + m[1] + strings.ReplaceAll(m[2], "-", "+")
	} else if m := described.FindStringSubmatch(version); m != nil {
		out = m[1]
		if m[2] != "" {
			out += "~" + m[2]
		}
		if m[3] != "" {
			out += "+" + m[3] + ".g" + m[4]
		}
		out += strings.ReplaceAll(m[5], "-", "+")
	}
	if !debian.MatchString(out) {
		return "", fmt.Errorf("version %q is none that git describe says: write it like v1.2.3", version)
	}
	return out, nil
}
