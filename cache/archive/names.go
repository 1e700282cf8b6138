package archive

import (
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	// maxName bounds a name in bytes: what Linux takes for a whole path.
	maxName = 4096
	// maxDepth bounds how many folders are within one another.
	maxDepth = 32
	// maxNames bounds the sum of all names in bytes.
	maxNames = 8 << 20
)

// Errors do not tell names: a folder may be one that only those may know of who
// have its link, and errors are logged.
var errBoth = errors.New("its name is both a file's and a folder's")

// names gives each path the one that it has in the archive. It is used in the
// order of the paths, so that the outcome is the same everywhere.
type names struct {
	entries map[string]bool   // paths of entries, without the slash at a folder's end, and whether it is a file
	folders map[string]string // folders' paths and what they are in the archive
	taken   map[string]int    // folded paths in the archive and the last number given to others
}

func newNames() *names {
	return &names{
		entries: map[string]bool{},
		folders: map[string]string{"": ""},
		taken:   map[string]int{},
	}
}

// add checks an entry's name and returns the one that it has in the archive.
func (n *names) add(name string) (string, error) {
	if err := check(name); err != nil {
		return "", err
	}
	whole, folder := strings.CutSuffix(name, "/")
	if _, twice := n.entries[whole]; twice {
		return "", errors.New("there are two of its name")
	}
	n.entries[whole] = !folder
	if folder {
		return n.folder(whole)
	}
	if _, both := n.folders[whole]; both {
		return "", errBoth
	}
	dir, base := path.Split(whole)
	dir, err := n.folder(strings.TrimSuffix(dir, "/"))
	if err != nil {
		return "", err
	}
	base = portable(base)
	ext := path.Ext(base)
	if ext == base {
		ext = "" // .profile
	}
	return n.free(dir, strings.TrimSuffix(base, ext), ext), nil
}

// folder returns what a folder is called in the archive, with the slash.
func (n *names) folder(dir string) (string, error) {
	if name, ok := n.folders[dir]; ok {
		return name, nil
	}
	if n.entries[dir] {
		return "", errBoth
	}
	parent, base := path.Split(dir)
	parent, err := n.folder(strings.TrimSuffix(parent, "/"))
	if err != nil {
		return "", err
	}
	n.folders[dir] = n.free(parent, portable(base), "") + "/"
	return n.folders[dir], nil
}

// free returns a path that no other has, nor one that differs from it in letter
// case only, which for Windows and macOS is the same.
func (n *names) free(dir, base, ext string) string {
	first := dir + folded(base+ext) // a folder has but one name
	last, taken := n.taken[first]
	if !taken {
		n.taken[first] = 1
		return dir + base + ext
	}
	for i := last + 1; ; i++ {
		name := base + " (" + strconv.Itoa(i) + ")" + ext
		key := dir + folded(name)
		if _, taken := n.taken[key]; !taken {
			n.taken[first], n.taken[key] = i, 1
			return dir + name
		}
	}
}

func folded(s string) string { return strings.ToLower(strings.ToUpper(s)) }

// check refuses what is no path of a file within a folder.
func check(name string) error {
	switch {
	case name == "":
		return errors.New("it has no name")
	case len(name) > maxName:
		return fmt.Errorf("its name has %d bytes: there may be %d", len(name), maxName)
	case !utf8.ValidString(name):
		return errors.New("its name is not UTF-8")
	case strings.ContainsRune(name, 0):
		return errors.New("its name has a zero byte")
	}
	whole := strings.TrimSuffix(name, "/")
	if strings.Count(whole, "/") > maxDepth {
		return fmt.Errorf("it is more than %d folders deep", maxDepth)
	}
	for part := range strings.SplitSeq(whole, "/") {
		if part == "" || part == "." || part == ".." {
			return errors.New("its name does not lead to a file in the folder")
		}
	}
	return nil
}

// portable replaces in a part of a path what Windows does not allow there. The
// backslash is among it: in an archive it would be a separator to some.
func portable(part string) string {
	part = strings.Map(func(r rune) rune {
		switch r {
		case '\\', ':', '*', '?', '"', '<', '>', '|', 0x7f:
			return '_'
		}
		if r < ' ' {
			return '_'
		}
		return r
	}, part)
	if c := part[len(part)-1]; c == '.' || c == ' ' {
		part = part[:len(part)-1] + "_"
	}
	stem, _, _ := strings.Cut(part, ".")
	if device(strings.ToUpper(strings.TrimRight(stem, " "))) {
		part = "_" + part
	}
	return part
}

// device reports whether Windows takes a name for one of its devices, whatever
// follows its first dot.
func device(name string) bool {
	switch name {
	case "CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$":
		return true
	}
	if len(name) < 4 || name[:3] != "COM" && name[:3] != "LPT" {
		return false
	}
	switch name[3:] {
	case "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "¹", "²", "³":
		return true
	}
	return false
}
