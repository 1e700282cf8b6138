package edge

import (
	"bytes"
	"strings"
	"testing"
)

// film is a multivariant playlist as PeerTube writes it.
const film = `#EXTM3U
#EXT-X-VERSION:3

#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="subtitles",NAME="Français",DEFAULT=NO,AUTOSELECT=NO,FORCED=NO,LANGUAGE="fr",URI="c-fr.m3u8"

#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="Audio",AUTOSELECT=YES,DEFAULT=YES,URI="a-0.m3u8"

#EXT-X-STREAM-INF:BANDWIDTH=300000,RESOLUTION=426x240,FRAME-RATE=25,CODECS="avc1.64000d,mp4a.40.2",AUDIO="audio",SUBTITLES="subtitles"
a-240.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=900000,RESOLUTION=854x480,FRAME-RATE=25,CODECS="avc1.64001e,mp4a.40.2",AUDIO="audio",SUBTITLES="subtitles"
a-480.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=2000000,RESOLUTION=1280x720,FRAME-RATE=25,CODECS="avc1.64001f,mp4a.40.2",AUDIO="audio",SUBTITLES="subtitles"
a-720.m3u8
`

func TestOneRenditionIsTheNearestAtOrBelow(t *testing.T) {
	for height, want := range map[int]string{1: "a-240", 240: "a-240", 479: "a-240", 480: "a-480", 719: "a-480", 720: "a-720", 4320: "a-720"} {
		out, ok := oneRendition([]byte(film), height)
		if !ok || strings.Count(string(out), "#EXT-X-STREAM-INF") != 1 || !strings.Contains(string(out), "\n"+want+".m3u8\n") {
			t.Errorf("at %d: %v\n%s", height, ok, out)
		}
		if !strings.Contains(string(out), "TYPE=SUBTITLES") || !strings.Contains(string(out), "TYPE=AUDIO") || !strings.HasPrefix(string(out), "#EXTM3U\n#EXT-X-VERSION:3\n") {
			t.Errorf("at %d something else is gone:\n%s", height, out)
		}
		if again, ok := oneRendition(out, height); ok {
			t.Errorf("what has one was rewritten:\n%s", again)
		}
	}
}

func TestOneRenditionKeepsWhatItGoesWith(t *testing.T) {
	const head = "#EXTM3U\n"
	stream := func(attrs, uri string) string { return "#EXT-X-STREAM-INF:" + attrs + "\n" + uri + "\n" }
	low, high := stream("BANDWIDTH=1,RESOLUTION=640x360,AUDIO=\"lo\"", "l"), stream("BANDWIDTH=9,RESOLUTION=1280x720,AUDIO=\"hi\"", "h")
	for name, test := range map[string]struct{ in, want string }{
		"its own sound": {
			head + "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"lo\",URI=\"a\"\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"hi\",URI=\"b\"\n" + low + high,
			head + "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"lo\",URI=\"a\"\n" + low,
		},
		"captions that it does not name": {
			head + "#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID=\"s\",URI=\"s\"\n" + low + high,
			head + "#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID=\"s\",URI=\"s\"\n" + low,
		},
		"no other views": {
			head + "#EXT-X-MEDIA:TYPE=VIDEO,GROUP-ID=\"v\",URI=\"v\"\n" + low + high, head + low,
		},
		"no pictures for seeking": {
			head + low + high + "#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=1,URI=\"i\"\n#EXT-X-INDEPENDENT-SEGMENTS\n", head + low + "#EXT-X-INDEPENDENT-SEGMENTS\n",
		},
		"another way to the same": {
			head + low + high + stream("BANDWIDTH=1,RESOLUTION=640x360,AUDIO=\"lo\"", "spare"), head + low + stream("BANDWIDTH=1,RESOLUTION=640x360,AUDIO=\"lo\"", "spare"),
		},
		"an upright film by its width": {
			head + stream("BANDWIDTH=1,RESOLUTION=360x640", "l") + stream("BANDWIDTH=2,RESOLUTION=720x1280", "h"), head + stream("BANDWIDTH=1,RESOLUTION=360x640", "l"),
		},
		"the fewest bits of one height": {
			head + stream("BANDWIDTH=5,RESOLUTION=640x360", "5") + stream("BANDWIDTH=4,RESOLUTION=640x360", "4"), head + stream("BANDWIDTH=4,RESOLUTION=640x360", "4"),
		},
		"lines that end with CR LF": {
			strings.ReplaceAll(head+low+high, "\n", "\r\n"), head + low,
		},
		"a comma in quotes": {
			head + stream("BANDWIDTH=1,CODECS=\"a,RESOLUTION=9x9\",RESOLUTION=640x360", "l") + high, head + stream("BANDWIDTH=1,CODECS=\"a,RESOLUTION=9x9\",RESOLUTION=640x360", "l"),
		},
	} {
		if out, ok := oneRendition([]byte(test.in), 480); !ok || string(out) != test.want {
			t.Errorf("%s: %v\n%s", name, ok, out)
		}
	}
}

func TestWhatIsNoChoiceIsLeftAsItIs(t *testing.T) {
	const one = "#EXT-X-STREAM-INF:BANDWIDTH=1,RESOLUTION=640x360\na\n"
	for name, in := range map[string]string{
		"nothing": "", "no playlist": "<html>", "no first line": one + one, "one rendition": "#EXTM3U\n" + one,
		"sound alone":          "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\na\n#EXT-X-STREAM-INF:BANDWIDTH=2\nb\n",
		"a playlist of media":  "#EXTM3U\n#EXTINF:4,\na.ts\n#EXTINF:4,\nb.ts\n",
		"a tag without a URI":  "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=2,RESOLUTION=1280x720\n" + one,
		"no URI at the end":    "#EXTM3U\n" + one + "#EXT-X-STREAM-INF:BANDWIDTH=2,RESOLUTION=1280x720\n",
		"a URI without a tag":  "#EXTM3U\nb\n" + one + "#EXT-X-STREAM-INF:BANDWIDTH=2,RESOLUTION=1280x720\nb\n",
		"a name twice":         "#EXTM3U\n" + one + "#EXT-X-STREAM-INF:BANDWIDTH=2,BANDWIDTH=2,RESOLUTION=1280x720\nb\n",
		"a string without end": "#EXTM3U\n" + one + "#EXT-X-STREAM-INF:BANDWIDTH=2,CODECS=\"a\nb\n",
		"no text":              "#EXTM3U\n\xff\n" + one + "#EXT-X-STREAM-INF:BANDWIDTH=2,RESOLUTION=1280x720\nb\n",
	} {
		if out, ok := oneRendition([]byte(in), 480); ok {
			t.Errorf("%s was rewritten:\n%s", name, out)
		}
	}
}

func FuzzOneRendition(f *testing.F) {
	f.Add([]byte(film), 480)
	f.Add([]byte("#EXTM3U\r\n#EXT-X-STREAM-INF:BANDWIDTH=1,RESOLUTION=1x1\r\n\r\n#c\r\na"), 0)
	f.Add([]byte("#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\nx"), 1)
	f.Fuzz(func(t *testing.T, in []byte, height int) {
		out, ok := oneRendition(in, height)
		if !ok {
			return
		}
		if len(out) >= len(in) || !bytes.HasPrefix(out, []byte("#EXTM3U\n")) {
			t.Errorf("%q became %q", in, out)
		}
		lines := splitLines(in)
		at := 0
		for _, line := range splitLines(out) { // nothing is made up, and nothing changes places
			for at < len(lines) && lines[at] != line {
				at++
			}
			if at++; at > len(lines) {
				t.Fatalf("%q became %q", in, out)
			}
		}
		if all, ok := variants(splitLines(out)); !ok || len(all) == 0 {
			t.Errorf("%q became %q, which has no variant", in, out)
		}
		if _, again := oneRendition(out, height); again {
			t.Errorf("%q became %q, which becomes another", in, out)
		}
	})
}
