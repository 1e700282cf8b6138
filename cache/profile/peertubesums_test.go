package profile

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

const sum = "08e9fd55b0a6ab2fa9a1e0c2a2a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3"

func planOf(t *testing.T, path string) Plan {
	t.Helper()
	p, err := New("peertube", Adjust{})
	if err != nil {
		t.Fatal(err)
	}
	return p.Request(Request{Method: http.MethodGet, Path: path, Header: http.Header{}})
}

func TestOnlyTheFileOfARenditionIsFragmented(t *testing.T) {
	const id, name = "9c9de5e8-0a1e-484a-b099-e80766180a6d", "1b9bd9c0-2f0e-4f5f-9ee6-1c4f7f5b1a11"
	hls := "/static/streaming-playlists/hls/" + id + "/"
	for path, want := range map[string]bool{
		hls + name + "-720-fragmented.mp4":           true,
		hls + name + "-0-fragmented.mp4":             true,
		hls + name + "-720.m3u8":                     false,
		hls + name + "-segments-sha256.json":         false,
		hls + "0-000001.mp4":                         false,
		hls + "more/" + name + "-720-fragmented.mp4": false,
		"/static/streaming-playlists/hls/private/" + id + "/" + name + "-720-fragmented.mp4": false,
		"/static/streaming-playlists/hls/" + id + "-x/" + name + "-720-fragmented.mp4":       false,
		"/static/web-videos/" + name + "-720.mp4":                                            false,
		"/download/streaming-playlists/hls/videos/" + name + "-720-fragmented.mp4":           false,
	} {
		f, ok := FragmentedFile(planOf(t, path))
		if ok != want {
			t.Errorf("%s: %v, want %v", path, ok, want)
		}
		if ok && (f.Folder+f.Name != path || f.Asks.Path != "/api/v1/videos/"+id) {
			t.Errorf("%s: %+v", path, f)
		}
	}
}

func TestSumsAreBelievedFromTheSameFolderOnly(t *testing.T) {
	const id = "9c9de5e8-0a1e-484a-b099-e80766180a6d"
	f := Fragmented{Folder: "/static/streaming-playlists/hls/" + id + "/", Name: "x"}
	name := id + "-segments-sha256.json"
	for url, want := range map[string]string{
		"https://tube.example.org" + f.Folder + name:                                 f.Folder + name,
		"https://example.org/tube" + f.Folder + name:                                 f.Folder + name,
		"https://objects.example.org/bucket/hls/" + id + "/" + name:                  "",
		"https://tube.example.org" + f.Folder + "segments-sha256.json":               "",
		"https://tube.example.org" + f.Folder + "../" + name:                         "",
		"https://tube.example.org" + f.Folder + id + "/../../x-segments-sha256.json": "",
		"https://tube.example.org" + f.Folder + name + "?videoFileToken=1":           f.Folder + name,
		"://": "",
		"":    "",
	} {
		b, err := json.Marshal(map[string]any{"streamingPlaylists": []any{map[string]string{"segmentsSha256Url": url}}})
		if err != nil {
			t.Fatal(err)
		}
		got, ok := f.SumsAt(b)
		if got.Path != want || got.Query != "" || ok != (want != "") {
			t.Errorf("%s: %q, %v; want %q", url, got.Path, ok, want)
		}
	}
	for _, none := range []string{"", "[]", "{}", `{"streamingPlaylists":[]}`, `{"streamingPlaylists":null}`, "<html>"} {
		if got, ok := f.SumsAt([]byte(none)); ok {
			t.Errorf("%q: %v", none, got)
		}
	}
}

func TestSumsOutOfOrderComeInOrder(t *testing.T) {
	got, err := ParseSums(fmt.Appendf(nil, `{"a.mp4":{"500-999":%q,"1377-128042":%q,"1000-1376":%q},"b.mp4":{}}`, sum, sum, sum))
	if err != nil || len(got) != 2 || len(got["a.mp4"]) != 3 || len(got["b.mp4"]) != 0 {
		t.Fatalf("%v, %v", got, err)
	}
	last := got["a.mp4"][2]
	if last.From != 1377 || last.To != 128043 || last.Sum[0] != 0x08 || last.Sum[31] != 0xc3 {
		t.Errorf("%+v", last)
	}
}

func TestSumsThatCanNotBeReadAreNotBelieved(t *testing.T) {
	for _, s := range []string{
		"", "null x", "[]", `{"a":[]}`, `{"a":{"1-2":"12"}}`, `{"a":{"2-1":"` + sum + `"}}`, `{"a":{"-1-2":"` + sum + `"}}`, `{"a":{"1":"` + sum + `"}}`,
		`{"a":{"0-10":"` + sum + `","10-20":"` + sum + `"}}`, `{"a":{"0-10":"` + sum + `","00-5":"` + sum + `"}}`,
		`{"a":{"0-99999999999999999999":"` + sum + `"}}`, `{"a":{"0-1":"` + strings.Repeat("z", 64) + `"}}`, `{"a":{"0- 1":"` + sum + `"}}`,
	} {
		if got, err := ParseSums([]byte(s)); err == nil {
			t.Errorf("%s: %v", s, got)
		}
	}
}

func FuzzParseSums(f *testing.F) {
	f.Add([]byte(`{"a.mp4":{"0-9":"` + sum + `","10-20":"` + sum + `"}}`))
	f.Add([]byte(`{"a":{"1-0":""}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := ParseSums(b)
		if err != nil {
			return
		}
		for name, list := range all {
			var end int64
			for _, fr := range list {
				if fr.From < end || fr.To <= fr.From {
					t.Errorf("%q: %+v behind %d", name, fr, end)
				}
				end = fr.To
			}
		}
	})
}

func FuzzSumsAt(f *testing.F) {
	fr := Fragmented{Folder: "/static/streaming-playlists/hls/9c9de5e8-0a1e-484a-b099-e80766180a6d/"}
	f.Add([]byte(`{"streamingPlaylists":[{"segmentsSha256Url":"https://a` + fr.Folder + `9c9de5e8-0a1e-484a-b099-e80766180a6d-segments-sha256.json"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		at, ok := fr.SumsAt(b)
		if ok && (!strings.HasPrefix(at.Path, fr.Folder) || strings.Contains(at.Path[len(fr.Folder):], "/")) {
			t.Errorf("%q", at.Path)
		}
	})
}
