package upload_test

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path"
	"strings"
	"syscall"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"log/slog"

	"preau/node/upload"
)

func TestAFileArrivesInPiecesAndGoesIntoTheOutboxOnce(t *testing.T) {
	box, cfg := newShelf(), config(t.TempDir())
	s, body := open(t, cfg, box), noise(1, 300<<10)
	at := create(t, s, "carte.pdf", len(body))
	for from := 0; from < len(body); from += 100 << 10 {
		w := patch(s, at, int64(from), bytes.NewReader(body[from:min(from+100<<10, len(body))]))
		if w.Code != http.StatusNoContent || w.Header().Get("Tus-Resumable") != "1.0.0" {
			t.Fatalf("PATCH at %d: %d %s", from, w.Code, w.Body)
		}
	}
	for range 2 {
		upload.HandOn(s, t.Context())
		only(t, box, "carte.pdf", body)
		// A client that has not heard the last answer is not to begin anew.
		if n := offset(t, s, at); n != int64(len(body)) {
			t.Errorf("the offset of what is kept is %d", n)
		}
		s = open(t, cfg, box)
	}
	if got := box.all()[0]; got.Title != "La carte.pdf" {
		t.Errorf("%+v", got.Meta)
	}
	if _, err := os.Stat(s.File(path.Base(at))); !os.IsNotExist(err) {
		t.Errorf("its bytes are still here: %v", err)
	}
	var st upload.Status
	if err := json.Unmarshal(call(s, http.MethodGet, at, http.NoBody, "Tus-Resumable", "").Body.Bytes(), &st); err != nil || !st.Whole || st.Deposit != "d-0" || st.Reason != "" {
		t.Errorf("%+v, %v", st, err)
	}
}

func TestAnEmptyFileIsWholeAtOnce(t *testing.T) {
	box := newShelf()
	s := open(t, config(t.TempDir()), box)
	at := create(t, s, "vide.txt", 0)
	upload.HandOn(s, t.Context())
	only(t, box, "vide.txt", nil)
	if n := offset(t, s, at); n != 0 {
		t.Errorf("%d", n)
	}
}

func TestWhatTheProtocolAsksFor(t *testing.T) {
	s := open(t, config(t.TempDir()), newShelf())
	at := create(t, s, "a", 10)
	if w := patch(s, at, 0, strings.NewReader("0123")); w.Header().Get("Upload-Offset") != "4" || w.Header().Get("Upload-Expires") == "" {
		t.Fatalf("%d %v", w.Code, w.Header())
	}
	sha := func(text string) string {
		h := sha1.Sum([]byte(text))
		return "sha1 " + base64.StdEncoding.EncodeToString(h[:])
	}
	sha256 := func(text string) string {
		h := sha256.Sum256([]byte(text))
		return "sha256 " + base64.StdEncoding.EncodeToString(h[:])
	}
	name := metadata("filename", "x")
	const piece = "application/offset+octet-stream"
	for claim, test := range map[string]struct {
		method, path, body string
		fields             []string
		status             int
		reason             upload.Reason
	}{
		"options":              {"OPTIONS", prefix, "", []string{"Tus-Resumable", "", "Who", ""}, 204, ""},
		"no version":           {"HEAD", at, "", []string{"Tus-Resumable", ""}, 412, upload.ReasonRequest},
		"another version":      {"POST", prefix, "", []string{"Tus-Resumable", "0.2.2"}, 412, upload.ReasonRequest},
		"nobody":               {"HEAD", at, "", []string{"Who", ""}, 401, upload.ReasonForbid},
		"somebody else":        {"HEAD", at, "", []string{"Who", "bob"}, 404, upload.ReasonUnknown},
		"somebody else's file": {"DELETE", at, "", []string{"Who", "bob"}, 404, upload.ReasonUnknown},
		"no such upload":       {"HEAD", prefix + strings.Repeat("0", 32), "", nil, 404, upload.ReasonUnknown},
		"no id":                {"HEAD", prefix + "../../etc", "", nil, 404, upload.ReasonUnknown},
		"elsewhere":            {"POST", "/other/", "", nil, 404, upload.ReasonUnknown},
		"no length":            {"POST", prefix, "", []string{"Upload-Metadata", name}, 400, upload.ReasonRequest},
		"length later":         {"POST", prefix, "", []string{"Upload-Defer-Length", "1", "Upload-Metadata", name}, 400, upload.ReasonRequest},
		"negative length":      {"POST", prefix, "", []string{"Upload-Length", "-1", "Upload-Metadata", name}, 400, upload.ReasonRequest},
		"bytes at once":        {"POST", prefix, "x", []string{"Upload-Length", "1", "Upload-Metadata", name}, 400, upload.ReasonRequest},
		"no name":              {"POST", prefix, "", []string{"Upload-Length", "1"}, 400, upload.ReasonName},
		"a path for a name":    {"POST", prefix, "", []string{"Upload-Length", "1", "Upload-Metadata", metadata("filename", "../x")}, 400, upload.ReasonName},
		"no base64":            {"POST", prefix, "", []string{"Upload-Length", "1", "Upload-Metadata", "filename ###"}, 400, upload.ReasonRequest},
		"too large":            {"POST", prefix, "", []string{"Upload-Length", "9000000000", "Upload-Metadata", name}, 413, upload.ReasonSize},
		"wrong method":         {"PUT", at, "", nil, 405, upload.ReasonRequest},
		"wrong method of all":  {"DELETE", prefix, "", nil, 405, upload.ReasonRequest},
		"no type":              {"PATCH", at, "4", []string{"Upload-Offset", "4"}, 415, upload.ReasonRequest},
		"no offset":            {"PATCH", at, "4", []string{"Content-Type", piece}, 400, upload.ReasonRequest},
		"wrong offset":         {"PATCH", at, "4", []string{"Content-Type", piece, "Upload-Offset", "3"}, 409, upload.ReasonOffset},
		"more than the rest":   {"PATCH", at, "4567890", []string{"Content-Type", piece, "Upload-Offset", "4"}, 413, upload.ReasonSize},
		"a strange sum":        {"PATCH", at, "4", []string{"Content-Type", piece, "Upload-Offset", "4", "Upload-Checksum", "md5 AAAA"}, 400, upload.ReasonRequest},
		"half a sum":           {"PATCH", at, "4", []string{"Content-Type", piece, "Upload-Offset", "4", "Upload-Checksum", "sha1 AAAA"}, 400, upload.ReasonRequest},
		"a wrong sum":          {"PATCH", at, "4", []string{"Content-Type", piece, "Upload-Offset", "4", "Upload-Checksum", sha("5")}, 460, upload.ReasonChecksum},
		"a wrong long sum":     {"PATCH", at, "4", []string{"Content-Type", piece, "Upload-Offset", "4", "Upload-Checksum", sha256("5")}, 460, upload.ReasonChecksum},
	} {
		w := call(s, test.method, test.path, strings.NewReader(test.body), test.fields...)
		if w.Code != test.status || w.Header().Get("Preau-Reason") != string(test.reason) {
			t.Errorf("%s: %d %q, want %d %q", claim, w.Code, w.Header().Get("Preau-Reason"), test.status, test.reason)
		}
		if n := offset(t, s, at); n != 4 {
			t.Fatalf("%s: the offset is %d", claim, n)
		}
	}
	if w := patch(s, at, 4, strings.NewReader("45"), "Upload-Checksum", sha("45")); w.Code != 204 {
		t.Errorf("a right sum: %d", w.Code)
	}
	if w := patch(s, at, 6, strings.NewReader("67"), "Upload-Checksum", sha256("67")); w.Code != 204 {
		t.Errorf("a right long sum: %d", w.Code)
	}
	w := call(s, "POST", at, strings.NewReader("89"), "X-HTTP-Method-Override", "PATCH", "Content-Type", piece, "Upload-Offset", "8")
	if w.Code != 204 || w.Header().Get("Upload-Offset") != "10" {
		t.Errorf("with the method in a field: %d %v", w.Code, w.Header())
	}
}

func TestWhatIsRemovedIsGone(t *testing.T) {
	cfg := config(t.TempDir())
	s := open(t, cfg, newShelf())
	at := create(t, s, "a", 10)
	patch(s, at, 0, strings.NewReader("01234"))
	if w := call(s, http.MethodDelete, at, http.NoBody); w.Code != http.StatusNoContent {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	other := create(t, s, "b", 10)
	for i, who := range []string{"bob", "ada"} {
		if err := s.Remove(t.Context(), who, path.Base(other)); err != nil || len(s.List("ada")) != 1-i {
			t.Errorf("%s removes it: %v, %+v", who, err, s.List("ada"))
		}
	}
	for _, s := range []*upload.Server{s, open(t, cfg, newShelf())} {
		if w := call(s, http.MethodHead, at, http.NoBody); w.Code != http.StatusNotFound {
			t.Errorf("%d", w.Code)
		}
		if list := s.List("ada"); len(list) != 0 {
			t.Errorf("%+v", list)
		}
	}
}

func TestRoomIsLookedAtBeforeTheFirstByte(t *testing.T) {
	for claim, test := range map[string]struct {
		change func(*upload.Config, *shelf)
		free   int64
		status int
		reason upload.Reason
	}{
		"there is room":         {func(*upload.Config, *shelf) {}, 1 << 30, 201, ""},
		"for it and its copy":   {func(*upload.Config, *shelf) {}, 2300, 201, ""},
		"not for its copy":      {func(*upload.Config, *shelf) {}, 2299, 507, upload.ReasonDisk},
		"the rest is kept free": {func(c *upload.Config, _ *shelf) { c.Reserve = 1 }, 2300, 507, upload.ReasonDisk},
		"the budget is met":     {func(c *upload.Config, _ *shelf) { c.Budget = 1500 }, 1 << 30, 201, ""},
		"the budget is used":    {func(c *upload.Config, _ *shelf) { c.Budget = 1499 }, 1 << 30, 507, upload.ReasonBudget},
		"the outbox is full":    {func(_ *upload.Config, b *shelf) { b.room = 1499 }, 1 << 30, 507, upload.ReasonBudget},
		"too many of one":       {func(c *upload.Config, _ *shelf) { c.MostEach = 1 }, 1 << 30, 429, upload.ReasonCount},
		"too many of all":       {func(c *upload.Config, _ *shelf) { c.Most = 1 }, 1 << 30, 429, upload.ReasonCount},
	} {
		cfg, box := config(t.TempDir()), newShelf()
		test.change(&cfg, box)
		s := open(t, cfg, box)
		at := create(t, s, "first", 500)
		patch(s, at, 0, bytes.NewReader(make([]byte, 200)))
		s.SetFree(func() (int64, error) { return test.free, nil })
		w := call(s, http.MethodPost, prefix, http.NoBody, "Upload-Length", "1000", "Upload-Metadata", metadata("filename", "second"))
		if w.Code != test.status || w.Header().Get("Preau-Reason") != string(test.reason) {
			t.Errorf("%s: %d %q, want %d %q", claim, w.Code, w.Header().Get("Preau-Reason"), test.status, test.reason)
		}
	}
}

func TestADiskThatFillsUpKeepsWhatCame(t *testing.T) {
	s, body := open(t, config(t.TempDir()), newShelf()), noise(3, 1<<20)
	at := create(t, s, "a", len(body))
	n := 0
	s.SetStep(func(step string) error {
		if n++; step == "write" && n > 1 {
			return syscall.ENOSPC
		}
		return nil
	})
	w := patch(s, at, 0, bytes.NewReader(body))
	if w.Code != http.StatusInsufficientStorage || w.Header().Get("Preau-Reason") != string(upload.ReasonDisk) {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	s.SetStep(func(string) error { return nil })
	from := offset(t, s, at)
	if from == 0 || from == int64(len(body)) {
		t.Errorf("the offset is %d", from)
	}
	s.SetFree(func() (int64, error) { return -1, nil })
	if w := patch(s, at, from, bytes.NewReader(body[from:])); w.Code != http.StatusInsufficientStorage {
		t.Errorf("with no room that may be used: %d", w.Code)
	}
	s.SetFree(func() (int64, error) { return 1 << 40, nil })
	from = offset(t, s, at)
	if w := patch(s, at, from, bytes.NewReader(body[from:])); w.Code != http.StatusNoContent {
		t.Errorf("with room again: %d", w.Code)
	}
}

func TestWhatTheOutboxDoesNotTakeWaitsAndSaysWhy(t *testing.T) {
	box, cfg := newShelf(), config(t.TempDir())
	s := open(t, cfg, box)
	at := create(t, s, "a", 3)
	patch(s, at, 0, strings.NewReader("abc"))
	for err, reason := range map[error]upload.Reason{upload.ErrNoRoom: upload.ReasonBudget, upload.ErrRefused: upload.ReasonRefused, errors.New("odd"): upload.ReasonFailed} {
		box.set(err)
		s = open(t, cfg, box) // at once, and not when its turn comes again
		upload.HandOn(s, t.Context())
		if list := s.List("ada"); len(list) != 1 || !list[0].Whole || list[0].Reason != reason || list[0].Deposit != "" {
			t.Errorf("%v: %+v", err, list)
		}
	}
	box.set(nil)
	s = open(t, cfg, box)
	upload.HandOn(s, t.Context())
	only(t, box, "a", []byte("abc"))
	if list := s.List("ada"); len(list) != 1 || list[0].Reason != "" || list[0].Deposit == "" {
		t.Errorf("%+v", list)
	}
	if list := s.List("bob"); len(list) != 0 {
		t.Errorf("bob sees %+v", list)
	}
}

func TestTwoFilesThatAreTheSameAreTwo(t *testing.T) {
	box := newShelf()
	s := open(t, config(t.TempDir()), box)
	for range 2 {
		patch(s, create(t, s, "a", 3), 0, strings.NewReader("abc"))
	}
	upload.HandOn(s, t.Context())
	if n := len(box.all()); n != 2 {
		t.Errorf("there are %d", n)
	}
}

func TestAConfigSaysAllThatIsWrong(t *testing.T) {
	err := upload.Config{Prefix: "up", Budget: -1}.Validate()
	for _, want := range []string{"dir", "prefix", "max_size", "budget", "expiry"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v lacks %s", err, want)
		}
	}
	if err := config("x").Validate(); err != nil {
		t.Error(err)
	}
	if _, err := upload.New(upload.Config{}, newShelf(), slog.New(slog.DiscardHandler), prometheus.NewRegistry()); err == nil {
		t.Error("an empty one was taken")
	}
}

func TestMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	if _, err := upload.New(config(t.TempDir()), newShelf(), slog.New(slog.DiscardHandler), reg); err != nil {
		t.Fatal(err)
	}
	problems, err := testutil.GatherAndLint(reg)
	if err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
}

func TestUploadsFollowTheirOwner(t *testing.T) {
	cfg := config(t.TempDir())
	s := open(t, cfg, newShelf())
	body := noise(9, 1000)
	at := create(t, s, "film.mp4", len(body))
	if w := patch(s, at, 0, bytes.NewReader(body[:400])); w.Code != http.StatusNoContent {
		t.Fatal(w.Code)
	}
	for range 2 {
		if err := s.Adopt(t.Context(), "ada", "anne"); err != nil {
			t.Fatal(err)
		}
	}
	s = open(t, cfg, newShelf())
	if list := s.List("anne"); len(list) != 1 || list[0].Offset != 400 || len(s.List("ada")) != 0 {
		t.Fatalf("%+v, and left behind %+v", list, s.List("ada"))
	}
	if w := call(s, http.MethodHead, at, http.NoBody); w.Code != http.StatusNotFound {
		t.Errorf("by the name before: %d", w.Code)
	}
	if w := patch(s, at, 400, bytes.NewReader(body[400:]), "Who", "anne"); w.Code != http.StatusNoContent {
		t.Errorf("it can't go on: %d %s", w.Code, w.Body)
	}
}
