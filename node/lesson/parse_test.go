package lesson_test

import (
	"slices"
	"strings"
	"testing"

	"preau/node/front"
	"preau/node/lesson"
)

func TestTheSizeOfAVideoIsTheLargestThatIsSmallEnough(t *testing.T) {
	for _, test := range []struct {
		heights []int
		want    int
	}{
		{nil, -1}, {[]int{720}, 0}, {[]int{1080, 720, 480, 240}, 2}, {[]int{240, 360}, 1}, {[]int{0, 720}, 1}, {[]int{1080, 0, 720}, 2}, {[]int{0}, 0},
	} {
		if got := lesson.Choose(test.heights, 480); got != test.want {
			t.Errorf("of %v: %d, want %d", test.heights, got, test.want)
		}
	}
}

func TestWhatAPageLoadsIsFound(t *testing.T) {
	title, refs := lesson.PageRefs([]byte(`<title> A
		b</title><link rel="preload stylesheet" href=a.css><link rel=canonical href=no><a href=no><img src="b.png" srcset="c.png 1x, d.png 2x">
		<div style="background:url('e.png')"><style>@import "f.css"; p{background:url(g.png)}</style><script src=h.js></script><video src=i.mp4 poster=j.jpg></video><img src="data:image/png;base64,AA">`))
	want := []string{"a.css", "b.png", "c.png", "d.png", "e.png", "f.css", "g.png", "h.js", "i.mp4", "j.jpg"}
	if title != "A b" || !slices.Equal(refs, want) {
		t.Errorf("%q %q", title, refs)
	}
	if _, refs := lesson.PageRefs([]byte(`<base href="https://a.example/"><img src="a.png">`)); len(refs) != 0 {
		t.Errorf("with another base: %q", refs)
	}
}

func TestAddressesOfPagesAreKnown(t *testing.T) {
	for path, want := range map[string]string{"/w/abcdefgh": "abcdefgh", "/videos/watch/0b1c-2d/": "0b1c-2d", "/videos/embed/abcdefgh": "abcdefgh", "/w/p/abcdefgh": "", "/w/": "", "/w/abcdefgh;threadId=1": "abcdefgh"} {
		if got := lesson.WatchID(path); got != want {
			t.Errorf("%s: %q", path, got)
		}
	}
	for path, want := range map[string]string{"/s/abc": "abc", "/index.php/s/abc/": "abc", "/s/abc/download": "", "/s/": "", "/apps/files": ""} {
		if got := lesson.SharePage(path); got != want {
			t.Errorf("%s: %q", path, got)
		}
	}
}

func TestPlaylists(t *testing.T) {
	others, files, ends, err := lesson.ParsePlaylist([]byte("#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"x,y\",URI=\"s.m3u8\"\n#EXT-X-STREAM-INF:BANDWIDTH=1,AUDIO=\"a\"\nv.m3u8\n"))
	if err != nil || !slices.Equal(others, []string{"v.m3u8", "s.m3u8"}) || len(files) != 0 || ends {
		t.Errorf("%q %q %t %v", others, files, ends, err)
	}
	others, files, ends, err = lesson.ParsePlaylist([]byte("#EXTM3U\r\n#EXT-X-MAP:URI=\"a.mp4\",BYTERANGE=\"1@0\"\r\n#EXTINF:4,\r\n#EXT-X-BYTERANGE:1@1\r\na.mp4\r\n#EXTINF:4,\r\nb.mp4\r\n#EXT-X-ENDLIST\r\n"))
	if err != nil || len(others) != 0 || !slices.Equal(files, []string{"a.mp4", "b.mp4"}) || !ends {
		t.Errorf("%q %q %t %v", others, files, ends, err)
	}
	for _, bad := range []string{"", "<html>", "#EXTM3U\n" + strings.Repeat("x", 70<<10)} {
		if _, _, _, err := lesson.ParsePlaylist([]byte(bad)); err == nil {
			t.Errorf("%.20q is a playlist", bad)
		}
	}
}

func FuzzPlaylist(f *testing.F) {
	f.Add([]byte("#EXTM3U\n#EXT-X-STREAM-INF:A=\"b\",RESOLUTION=1x2\nv\n#EXT-X-KEY:URI=\"k\"\nx\n#EXT-X-ENDLIST"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		_, files, _, err := lesson.ParsePlaylist(raw)
		if err != nil {
			return
		}
		for i, name := range files {
			if name == "" || slices.Contains(files[:i], name) {
				t.Errorf("%q is there twice, or empty", name)
			}
		}
	})
}

func FuzzPage(f *testing.F) {
	f.Add([]byte(`<title>a<img srcset="a b, c d" style="x:url(y)">`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if _, refs := lesson.PageRefs(raw); len(refs) > 2000 {
			t.Errorf("%d", len(refs))
		}
	})
}

// FuzzLink looks for links that lead out of the sites that there are.
func FuzzLink(f *testing.F) {
	var sites []front.Site
	for _, up := range []string{"https://cloud.example.org/base", "https://tube.example.org"} {
		var site front.Site
		site.SetDefaults()
		site.Name, site.Upstream = strings.Split(up[8:], ".")[0], up
		sites = append(sites, site)
	}
	known, err := lesson.NewSites(sites)
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{"https://cloud.example.org/base/a?b", "tube.example.org", "/o/cloud/x", "/o/cloud", "https://tube.example.org/%2e%2e/x", "//x", "https://cloud.example.org/basement"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, link string) {
		p, err := known.Find(link)
		if err != nil {
			return
		}
		if p.Site != "cloud" && p.Site != "tube" || !strings.HasPrefix(p.Path, "/o/"+p.Site+"/") || strings.Contains(p.Path, "/../") {
			t.Errorf("%q leads to %+v", link, p)
		}
	})
}

func TestALinkIsWrittenInMoreThanOneWay(t *testing.T) {
	var site front.Site
	site.SetDefaults()
	site.Name, site.Upstream, site.Hosts = "cloud", "https://cloud.example.org/base", []string{"cloud.school.example"}
	other := site
	other.Name, other.Upstream, other.Hosts, other.PreserveHost = "blogs", "https://blogs.example.org", []string{"*.blogs.school.example"}, true
	sites, err := lesson.NewSites([]front.Site{site, other})
	if err != nil {
		t.Fatal(err)
	}
	for link, want := range map[string]string{
		"https://cloud.example.org/base/a%20b?c=d": "/o/cloud/a%20b?c=d",
		"cloud.example.org/base":                   "/o/cloud/",
		" https://CLOUD.example.org/base/ ":        "/o/cloud/",
		"https://cloud.school.example/a":           "/o/cloud/a",
		"http://10.0.0.1/o/cloud/a":                "/o/cloud/a",
		"https://maths.blogs.school.example/a":     "//maths.blogs.school.example/a",
		"https://blogs.example.org/a":              "/o/blogs/a",
	} {
		if p, err := sites.Find(link); err != nil || p.URL() != want {
			t.Errorf("%q: %q, %v, want %q", link, p.URL(), err, want)
		}
	}
	for _, link := range []string{"", "https://cloud.example.org/basement", "javascript:alert(1)", "mailto:a@b"} {
		if p, err := sites.Find(link); err == nil {
			t.Errorf("%q: %+v", link, p)
		}
	}
}
