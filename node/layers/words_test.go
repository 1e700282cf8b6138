package layers_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// foreign are words that tell of the place where a file was written instead of
// what it is for. They are put together here so that this file has none.
var foreign = []string{
	"/work" + "/", "../sha" + "red", "proxy.gol" + "ang.org", "TO" + "DO:", "FIX" + "ME", "claude" + "." + "ai", "chat" + "gpt",
}

func TestFilesSpeakOfTheProjectOnly(t *testing.T) {
	looked := 0
	err := filepath.WalkDir("../..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if name := entry.Name(); name == ".git" || name == "bin" || name == "node_modules" {
				return fs.SkipDir
			}
			return nil
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if !entry.Type().IsRegular() || info.Size() > 1<<20 {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if bytes.IndexByte(text, 0) >= 0 {
			return nil // pictures and the like
		}
		looked++
		for _, word := range foreign {
			if i := strings.Index(strings.ToLower(string(text)), strings.ToLower(word)); i >= 0 {
				t.Errorf("%s:%d has %q", path, 1+bytes.Count(text[:i], []byte("\n")), word)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if looked < 20 {
		t.Errorf("looked at %d files only", looked)
	}
}
