package profile

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Fragment is a run of bytes of a file and their SHA-256.
type Fragment struct {
	From, To int64 // To is behind the last
	Sum      [32]byte
}

// Fragmented is a file that players read by fragments, of each of which its
// platform says the SHA-256 in another file.
type Fragmented struct {
	// Folder is where both lie, escaped, with its slash at the end, and Name what
	// the file is called in it.
	Folder, Name string
	// Asks is what says how the other is called: its name cannot be told from the
	// file's. Anybody may ask for it.
	Asks Target
}

// Bounds of what is believed of sums: a film of a day in fragments of a second.
const (
	mostFragments = 100_000
	mostFiles     = 64
)

var errSums = errors.New("that is no list of the sums of fragments")

// FragmentedFile says whether what a plan shares is such a file. PeerTube has
// them for the one file of each rendition of a streaming playlist; not for its
// first bytes, which are before the first fragment, nor for web videos.
func FragmentedFile(p Plan) (Fragmented, bool) {
	if p.Do != Share || p.Name != "peertube-video" || len(p.Targets) == 0 {
		return Fragmented{}, false
	}
	path := p.Targets[0].Path
	cut := strings.LastIndexByte(path, '/') + 1
	folder, name := path[:cut], path[cut:]
	rest, ok := strings.CutPrefix(folder, "/static/streaming-playlists/hls/")
	id, end, slash := strings.Cut(rest, "/")
	if !ok || !slash || end != "" || len(id) != 36 || !hasIdentifier(id) || !hasIdentifier(name) || !strings.HasSuffix(name, "-fragmented.mp4") {
		return Fragmented{}, false
	}
	return Fragmented{Folder: folder, Name: name, Asks: Target{Path: "/api/v1/videos/" + id}}, true
}

// SumsAt finds in the answer to Asks where the sums are. Only a file of the same
// folder is believed to have them: what is elsewhere is another site's.
func (f Fragmented) SumsAt(answer []byte) (Target, bool) {
	var video struct {
		StreamingPlaylists []struct {
			SegmentsSha256URL string `json:"segmentsSha256Url"`
		} `json:"streamingPlaylists"`
	}
	if err := json.Unmarshal(answer, &video); err != nil {
		return Target{}, false
	}
	for _, list := range video.StreamingPlaylists {
		u, err := url.Parse(list.SegmentsSha256URL)
		if err != nil {
			continue
		}
		// The platform's own paths may begin elsewhere on the site.
		at := strings.LastIndex(u.EscapedPath(), f.Folder)
		if at < 0 {
			continue
		}
		name := u.EscapedPath()[at+len(f.Folder):]
		if len(name) == 36+len("-segments-sha256.json") && hasIdentifier(name) && strings.HasSuffix(name, "-segments-sha256.json") {
			return Target{Path: f.Folder + name}, true
		}
	}
	return Target{}, false
}

// ParseSums reads the sums of the fragments of each file: {"FILE": {"FROM-LAST":
// "SHA-256 in hexadecimal"}}. Fragments come out in their order; where some
// overlap or can't be read, nothing of it is believed.
func ParseSums(b []byte) (map[string][]Fragment, error) {
	var all map[string]map[string]string
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, fmt.Errorf("%w: %w", errSums, err)
	}
	if len(all) > mostFiles {
		return nil, fmt.Errorf("%w: it has %d files", errSums, len(all))
	}
	out := make(map[string][]Fragment, len(all))
	for name, spans := range all {
		if len(spans) > mostFragments {
			return nil, fmt.Errorf("%w: a file has %d fragments", errSums, len(spans))
		}
		list := make([]Fragment, 0, len(spans))
		for span, sum := range spans {
			f, err := fragment(span, sum)
			if err != nil {
				return nil, err
			}
			list = append(list, f)
		}
		slices.SortFunc(list, func(a, b Fragment) int {
			switch {
			case a.From < b.From:
				return -1
			case a.From > b.From:
				return 1
			}
			return 0
		})
		for i := 1; i < len(list); i++ {
			if list[i].From < list[i-1].To {
				return nil, fmt.Errorf("%w: two fragments overlap at byte %d", errSums, list[i].From)
			}
		}
		out[name] = list
	}
	return out, nil
}

func fragment(span, sum string) (f Fragment, err error) {
	from, last, ok := strings.Cut(span, "-")
	first, err1 := strconv.ParseUint(from, 10, 62)
	end, err2 := strconv.ParseUint(last, 10, 62)
	if !ok || err1 != nil || err2 != nil || end < first {
		return f, fmt.Errorf("%w: %.40q is no range of bytes", errSums, span)
	}
	b, err := hex.DecodeString(sum)
	if err != nil || len(b) != len(f.Sum) {
		return f, fmt.Errorf("%w: the sum of a range is no SHA-256", errSums)
	}
	f.From, f.To = int64(first), int64(end)+1
	copy(f.Sum[:], b)
	return f, nil
}
