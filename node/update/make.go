package update

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Describe is what a plan says of a package's file. Version and architecture are in
// its name, for whoever plans need not have dpkg; each box compares them with what
// is in the file.
func Describe(file string) (Package, error) {
	id := filepath.Base(file)
	part := strings.Split(strings.TrimSuffix(id, ".deb"), "_")
	if len(part) != 3 || part[0] != "preau" || !strings.HasSuffix(id, ".deb") {
		return Package{}, fmt.Errorf("%s is not called like a package of ours: preau_VERSION_ARCHITECTURE.deb", file)
	}
	f, err := os.Open(file)
	if err != nil {
		return Package{}, err
	}
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err = errors.Join(err, f.Close()); err != nil {
		return Package{}, err
	}
	k := Package{Version: part[1], Arch: part[2], ID: id, SHA256: hex.EncodeToString(h.Sum(nil)), Size: n}
	// The id under which it is published has no sign that a version may have.
	k.ID = strings.NewReplacer("+", "-", "~", "-").Replace(id)
	if err := k.fault(); err != nil {
		return Package{}, fmt.Errorf("%s: %w", file, err)
	}
	return k, nil
}

// Text is the plan as it is signed.
func (p Plan) Text() []byte {
	var b strings.Builder
	line := func(key string, value any) { fmt.Fprintf(&b, "%s = %v\n", key, value) }
	list := func(key string, all []string) {
		if len(all) == 0 {
			return
		}
		var quoted []string
		for _, s := range all {
			quoted = append(quoted, strconv.Quote(s))
		}
		line(key, "["+strings.Join(quoted, ", ")+"]")
	}
	line("serial", p.Serial)
	if p.Region != "" {
		line("region", strconv.Quote(p.Region))
	}
	for _, s := range p.Settings {
		b.WriteString("\n[[settings]]\n")
		list("schools", s.Schools)
		list("boxes", s.Boxes)
		line("text", "'''\n"+strings.TrimSpace(s.Text)+"\n'''")
	}
	for _, r := range p.Ring {
		b.WriteString("\n[[ring]]\n")
		if r.Version != "" {
			line("version", strconv.Quote(r.Version))
		}
		list("schools", r.Schools)
		list("boxes", r.Boxes)
		if r.Percent != nil {
			line("percent", strconv.FormatFloat(*r.Percent, 'f', -1, 64))
		}
		if r.Back {
			line("back", true)
		}
		list("hours", r.Hours)
	}
	for _, k := range p.Package {
		b.WriteString("\n[[package]]\n")
		line("version", strconv.Quote(k.Version))
		line("arch", strconv.Quote(k.Arch))
		line("id", strconv.Quote(k.ID))
		line("sha256", strconv.Quote(k.SHA256))
		line("size", k.Size)
	}
	return []byte(b.String())
}
