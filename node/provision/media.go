package provision

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"preau/node/config"
	"preau/node/keep"
)

// maxFile is more than any provisioning file has.
const maxFile = 64 << 10

// found is what a look at the media showed.
type found struct {
	path     string   // of the file, if there is one
	problems []string // why it can't be used
	fresh    bool     // its settings were taken
	used     bool     // there is nothing but a file whose token was used
}

// paths are the files that are there, in the order in which they count.
func (p *Provision) paths() []string {
	var out []string
	for _, pattern := range p.cfg.Media {
		list, err := filepath.Glob(pattern)
		if err != nil {
			continue // New has checked the pattern
		}
		out = append(out, list...)
	}
	return out
}

// look reads the first sound file, keeps what is new in it and only then uses it.
// Without a sound file it says what is wrong with the first.
func (p *Provision) look() found {
	var first found
	for _, path := range p.paths() {
		s, err := readFile(path)
		if err == nil && s.Token == "" {
			p.lookAtNetwork(s.Network)
			if s.used {
				// We have wiped it ourselves: nobody has made a mistake.
				if first.path == "" {
					first = found{path: path, used: true}
				}
				continue
			}
			err = errors.New(filepath.Base(path) + ": " + noToken)
		}
		if err != nil {
			if len(first.problems) == 0 {
				first = found{path: path, problems: lines(err)}
			}
			continue
		}
		if s.same(p.kept.Settings) {
			return found{path: path}
		}
		next := kept{Settings: s, From: path, Own: p.kept.Own}
		if err := keep.Write(p.cfg.State, next); err != nil {
			return found{path: path, problems: []string{fmt.Sprintf("what it says can't be kept on the box's disk: %v", err)}}
		}
		p.kept = next
		p.log.Info("read a provisioning file", "file", path)
		p.setNetwork()
		return found{path: path, fresh: true}
	}
	// What was read earlier counts on, whatever lies there now.
	if p.kept.Settings.Token != "" {
		return found{}
	}
	return first
}

// lookAtNetwork sets the network as a file says whose token was used: a box that
// has lost its disk goes on where it was.
func (p *Provision) lookAtNetwork(n Network) {
	if p.kept.Settings.Token != "" || n.file() == p.kept.Settings.Network.file() {
		return
	}
	p.kept.Settings.Network = n
	if err := keep.Write(p.cfg.State, p.kept); err != nil {
		p.log.Warn("the box's address can't be kept: the next start reads it again", "err", err)
	}
	p.setNetwork()
}

func readFile(path string) (Settings, error) {
	f, err := os.Open(path)
	if err != nil {
		return Settings{}, fmt.Errorf("it can't be read: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return Settings{}, fmt.Errorf("it can't be read: %w", err)
	}
	if len(text) > maxFile {
		return Settings{}, fmt.Errorf("%s has more than %d KiB: it is no provisioning file", filepath.Base(path), maxFile>>10)
	}
	return parse(filepath.Base(path), text)
}

// lines are an error's mistakes, one each.
func lines(err error) []string {
	var out []string
	for _, one := range config.List(err) {
		out = append(out, strings.Join(strings.Fields(one.Error()), " "))
	}
	return out
}

// wipe takes a token out of a file that has it, and adds a note. It writes over
// the very bytes first, so that nothing of it stays in a corner of the stick. A
// file from which it can't be taken is removed.
func wipe(path, token, note string) error {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	at := bytes.Index(text, []byte(token))
	if at < 0 {
		// Written with line breaks or escapes, or not there.
		if s, err := readFile(path); err != nil || s.Token != token {
			return nil //nolint:nilerr // a file that can't be read as one has no token of ours
		}
		return os.Remove(path)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	blanks := []byte(strings.Repeat(" ", len(token)))
	for ; at >= 0 && err == nil; at = bytes.Index(text, []byte(token)) {
		copy(text[at:], blanks)
		_, err = f.WriteAt(blanks, int64(at))
	}
	if err == nil {
		_, err = f.WriteAt([]byte("\n"+note+"\n"), int64(len(text)))
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
