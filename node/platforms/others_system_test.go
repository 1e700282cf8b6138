//go:build system

package platforms_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"preau/node/platforms"
)

// kept is a folder in which npm's packages stay from one run to the next.
func kept(t *testing.T) string {
	t.Helper()
	dir, err := os.UserCacheDir()
	if err != nil {
		return t.TempDir()
	}
	return filepath.Join(dir, "preau-tests")
}

// TestTheEtherpadIsARealOne, and what is for members is for members.
func TestTheEtherpadIsARealOne(t *testing.T) {
	e, err := platforms.StartEtherpad(t.Context(), t.TempDir(), kept(t), 0, marker)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Stop(); err != nil {
			t.Error(err)
		}
	})
	for _, test := range []struct {
		path, cookie string
		status       int
		says         string
	}{
		{"/p/" + e.Pads[platforms.Ann], "", 200, "<html"},
		{"/p/" + e.Pads[platforms.Ann] + "/export/txt", "", 200, "Bonjour à tous"},
		{"/p/" + e.ReadOnly[platforms.Ann] + "/export/txt", "", 200, "Bonjour à tous"},
		{"/p/" + e.Groups[platforms.Ann] + "/export/txt", "", 403, ""},
		{"/p/" + e.Groups[platforms.Ann] + "/export/txt", e.Sessions[platforms.Bob], 403, ""},
		{"/p/" + e.Groups[platforms.Ann] + "/export/txt", e.Sessions[platforms.Ann], 200, marker(platforms.Ann)},
		{"/static/css/pad.css", "", 200, ""},
		{"/locales.json", "", 200, ""},
	} {
		resp, text := get(t, e.URL+test.path, test.cookie)
		if resp.StatusCode != test.status || !strings.Contains(text, test.says) {
			t.Errorf("%s: %d %.200s, want %d and %q", test.path, resp.StatusCode, text, test.status, test.says)
		}
	}
}

// TestTheKiwixIsARealOne, whose tags change when it restarts and whose text does
// not.
func TestTheKiwixIsARealOne(t *testing.T) {
	k, err := platforms.StartKiwix(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Stop(); err != nil {
			t.Error(err)
		}
	})
	before, text := get(t, k.URL+k.Book+"/"+k.Pages[3], "")
	if before.StatusCode != 200 || !strings.Contains(text, "Chapitre 3") {
		t.Fatalf("%d %.200s", before.StatusCode, text)
	}
	if err := k.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	after, again := get(t, k.URL+k.Book+"/"+k.Pages[3], "")
	if after.StatusCode != 200 || again != text || before.Header.Get("Etag") == after.Header.Get("Etag") {
		t.Errorf("%d, the same text: %v, tags %q and %q", after.StatusCode, again == text, before.Header.Get("Etag"), after.Header.Get("Etag"))
	}
}
