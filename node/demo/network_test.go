package demo_test

import (
	"bytes"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"preau/node/demo"
)

// withNetwork runs a demonstration with a real box, its region and the centre.
func withNetwork(t *testing.T, data string) *running {
	t.Helper()
	return start(t, func(c *demo.Config) {
		c.Data, c.NewBox = data, demo.RealBox
		c.Beyond = &demo.Beyond{Region: "127.0.0.1:0", Centre: "127.0.0.1:0", Admin: "127.0.0.1:0"}
	})
}

// patient is enough for a machine that is busy with other tests.
const patient = 3 * time.Minute

// see waits for a state of the region and the centre.
func (r *running) see(t *testing.T, what string, want func(*demo.Network) bool) *demo.Network {
	t.Helper()
	return r.watch(t, patient, what, func(st demo.State) bool {
		if st.Beyond.Phase == "failed" {
			t.Fatalf("waiting for %s: %s", what, st.Beyond.Problem)
		}
		return want(st.Beyond)
	}).Beyond
}

func (r *running) press(t *testing.T, path, form string) {
	t.Helper()
	if code := r.post(t, path, form); code != http.StatusNoContent {
		t.Fatalf("%s %s: status %d", path, form, code)
	}
}

func document(n *demo.Network, title string) demo.Document {
	for _, d := range n.Documents {
		if d.Title == title {
			return d
		}
	}
	return demo.Document{}
}

func deposit(n *demo.Network, title string) demo.Deposit {
	for _, d := range n.Deposits {
		if d.Title == title {
			return d
		}
	}
	return demo.Deposit{}
}

// inBucket looks for a file with these bytes in the folder of a bucket.
func inBucket(t *testing.T, data, bucket, text string) bool {
	t.Helper()
	found := false
	err := filepath.WalkDir(filepath.Join(data, "buckets", "buckets", bucket), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		found = found || bytes.HasPrefix(raw, []byte(text))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestDocumentsComeDownAndDepositsGoUpLineOrNoLine(t *testing.T) {
	data := t.TempDir()
	r := withNetwork(t, data)
	ready := r.see(t, "the region", func(n *demo.Network) bool { return n.Phase == "ready" && n.Linked })
	if !strings.Contains(ready.PutLine, "preau central put ") || !strings.Contains(ready.PutLine, " --bucket lessons --admin 127.0.0.1:") || !strings.Contains(ready.AddLine, "preau deposit ") || !strings.Contains(ready.ClaimLine, "preau claim") {
		t.Errorf("lines to copy: %q, %q, %q", ready.PutLine, ready.AddLine, ready.ClaimLine)
	}
	_, page := r.get(t, r.page+"/?lang=fr")
	door := regexp.MustCompile(`href="(http://preau\.localhost:[^"]+)"`).FindStringSubmatch(page)
	if door == nil {
		t.Fatal("the page does not lead to the box's own pages")
	}
	if res, body := r.get(t, door[1]); res.StatusCode != http.StatusOK || !strings.Contains(body, `<html lang="fr"`) || !strings.Contains(body, `href="/fr/sign-in`) {
		t.Errorf("the box's own pages: status %d, %.2000q", res.StatusCode, body)
	}
	reads := func(path, word string) string {
		t.Helper()
		res, body := r.get(t, r.box+path, "Accept", "text/html")
		if res.StatusCode != http.StatusOK || !strings.Contains(body, word) {
			t.Errorf("%s: status %d, %.100q", path, res.StatusCode, body)
		}
		return body
	}

	r.press(t, "/document", "lang=en")
	got := r.see(t, "the first document", func(n *demo.Network) bool { return document(n, "Sheet 1").State == "complete" })
	reads(document(got, "Sheet 1").Path, "Sheet 1")
	reads("/r/", "Sheet 1")

	r.press(t, "/line", "do=silent")
	r.press(t, "/document", "lang=fr")
	r.press(t, "/deposit", "lang=en")
	cut := r.see(t, "the second document in the region", func(n *demo.Network) bool { return document(n, "Fiche 2").Region && deposit(n, "Work 1").ID != "" })
	if d := document(cut, "Fiche 2"); d.State == "complete" {
		t.Errorf("with the line cut the box has %+v", d)
	}
	added := deposit(cut, "Work 1")
	if added.State != "box" {
		t.Errorf("with the line cut the deposit is at %q", added.State)
	}
	work := reads(added.Path, "Work 1") // for the whole school all the same
	if inBucket(t, data, "preau-deposits", work) {
		t.Error("with the line cut it is in the centre")
	}

	r.press(t, "/line", "do=heal")
	got = r.see(t, "both at the other end", func(n *demo.Network) bool {
		return document(n, "Fiche 2").State == "complete" && deposit(n, "Work 1").State == "central"
	})
	reads(document(got, "Fiche 2").Path, "Fiche 2")
	if !inBucket(t, data, "preau-deposits", work) {
		t.Error("the centre has it, and it is not in the bucket's folder")
	}
	for _, step := range []string{"centre  has “Fiche 2”", "region  knows “Fiche 2”", "box     has “Fiche 2”", "box     has “Work 1”, which", "region  has “Work 1”", "centre  has “Work 1”"} {
		if !strings.Contains(r.out.String(), step) {
			t.Errorf("the terminal does not say %q:\n%s", step, r.out)
		}
	}

	r.client.CloseIdleConnections() // the box that is emptied waits for nobody
	r.press(t, "/empty", "")
	reads(added.Path, "Work 1") // what was added is no cache
	got = r.see(t, "the documents to come again", func(n *demo.Network) bool {
		return document(n, "Sheet 1").State == "complete" && document(n, "Fiche 2").State == "complete"
	})
	reads(document(got, "Sheet 1").Path, "Sheet 1")
	if err := r.stop(); err != nil {
		t.Error(err)
	}
}

func TestAFolderThatIsKeptHoldsTheRegionToo(t *testing.T) {
	if testing.Short() {
		t.Skip("a longer one: make test-system runs it")
	}
	data := t.TempDir()
	for _, lang := range []string{"en", "fr"} {
		r := withNetwork(t, data)
		r.see(t, "the region", func(n *demo.Network) bool { return n.Phase == "ready" })
		r.press(t, "/deposit", "lang="+lang)
		r.press(t, "/document", "lang="+lang)
		r.see(t, "all of it", func(n *demo.Network) bool {
			return len(n.Documents) == 1 && n.Documents[0].State == "complete" && n.Deposits[0].State == "central"
		})
		r.press(t, "/empty", "") // the next run finds the box in another folder
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
		if lang == "fr" && !inBucket(t, data, "preau-deposits", "Work 1") {
			t.Error("the first run's deposit is gone")
		}
	}
}

func TestItEndsWhileTheRegionIsStarting(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	r := start(t, func(c *demo.Config) {
		c.Beyond = &demo.Beyond{Region: "127.0.0.1:0", Centre: "127.0.0.1:0", Admin: "127.0.0.1:0"}
	})
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	if list, err := os.ReadDir(tmp); err != nil || len(list) != 0 {
		t.Errorf("%v %v are left", list, err)
	}
}

func TestWithoutARegionTheRestGoesOn(t *testing.T) {
	data := t.TempDir()
	if err := os.WriteFile(filepath.Join(data, "region"), nil, 0o600); err != nil { // where a folder is to be
		t.Fatal(err)
	}
	r := start(t, func(c *demo.Config) {
		c.Data = data
		c.Beyond = &demo.Beyond{Region: "127.0.0.1:0", Centre: "127.0.0.1:0", Admin: "127.0.0.1:0"}
	})
	st := r.watch(t, patient, "the failure", func(st demo.State) bool { return st.Beyond.Phase == "failed" })
	if !strings.Contains(st.Beyond.Problem, "region") {
		t.Errorf("the page says %q", st.Beyond.Problem)
	}
	await(t, "the terminal's line", func() bool { return strings.Contains(r.out.String(), "the rest goes on without it") })
	if code := r.post(t, "/document", "lang=en"); code != http.StatusConflict {
		t.Errorf("a document where there is no centre: status %d", code)
	}
	r.press(t, "/line", "do=refuse")
	r.press(t, "/line", "do=heal")
	if res, _ := r.get(t, r.box+"/en/poem"); res.StatusCode != http.StatusOK {
		t.Errorf("the library: status %d", res.StatusCode)
	}
	if res, body := r.get(t, r.page, "Accept-Language", "fr"); res.StatusCode != http.StatusOK || !strings.Contains(body, "La région et le centre") {
		t.Errorf("the page: status %d", res.StatusCode)
	}
}
