package platformtest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// master is the playlist of all renditions. The sound alone, where there is such
// a file, is the sound of all of them.
func (v *Video) master(base, token string) []byte {
	var b strings.Builder
	groups := ""
	b.WriteString("#EXTM3U\n#EXT-X-VERSION:7\n")
	for _, lang := range v.Captions {
		fmt.Fprintf(&b, "#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID=\"subtitles\",NAME=%q,DEFAULT=NO,AUTOSELECT=NO,FORCED=NO,LANGUAGE=%q,URI=\"%s-caption-%s.m3u8%s\"\n", lang, lang, base, lang, token)
		groups = ",SUBTITLES=\"subtitles\""
	}
	if v.has("0") {
		fmt.Fprintf(&b, "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio\",NAME=\"Audio\",AUTOSELECT=YES,DEFAULT=YES,URI=\"%s-0.m3u8%s\"\n", base, token)
		groups = ",AUDIO=\"audio\"" + groups
	}
	for _, h := range v.Heights {
		if h > 0 {
			fmt.Fprintf(&b, "#EXT-X-STREAM-INF:BANDWIDTH=%d,RESOLUTION=%dx%d%s\n%s-%d.m3u8%s\n", h*2000, h*16/9, h, groups, base, h, token)
		}
	}
	return []byte(b.String())
}

// allSums is the file with the sums of all renditions' segments.
func (v *Video) allSums(base string) []byte {
	all := map[string]map[string]string{}
	for _, h := range v.Heights {
		file := fmt.Sprintf("%s-%d-fragmented.mp4", base, h)
		all[file] = v.sums(file)
	}
	b, err := json.Marshal(all)
	if err != nil {
		return nil
	}
	return b
}

// fragmented is the one file that holds all segments of a rendition, and where
// each begins.
func (v *Video) fragmented(name string) (data []byte, starts []int) {
	if v.Data != nil {
		return v.Data(name)
	}
	seed := uint64(sha256.Sum256([]byte(v.UUID + name))[0])
	data = Noise(initSize, seed)
	for i := range v.Pieces {
		starts = append(starts, len(data))
		data = append(data, Noise(v.Piece+13*i, seed+uint64(i)+1)...)
	}
	return data, append(starts, len(data))
}

// sums are the SHA-256 of all segments, by the bytes that they are.
func (v *Video) sums(name string) map[string]string {
	data, starts := v.fragmented(name)
	out := map[string]string{}
	for i := range len(starts) - 1 {
		sum := sha256.Sum256(data[starts[i]:starts[i+1]])
		out[fmt.Sprintf("%d-%d", starts[i], starts[i+1]-1)] = hex.EncodeToString(sum[:])
	}
	return out
}

// has reports whether there is a rendition of that height.
func (v *Video) has(height string) bool {
	for _, h := range v.Heights {
		if strconv.Itoa(h) == height {
			return true
		}
	}
	return false
}

// playlist is that of one rendition: byte ranges of one file.
func (v *Video) playlist(base, height, token string) []byte {
	name := base + "-" + height + "-fragmented.mp4"
	_, starts := v.fragmented(name)
	var b strings.Builder
	length := v.Length
	if length == 0 {
		length = 4
	}
	fmt.Fprintf(&b, "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:%d\n#EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-MAP:URI=\"%s%s\",BYTERANGE=\"%d@0\"\n", int(length+0.999), name, token, starts[0])
	for i := range len(starts) - 1 {
		fmt.Fprintf(&b, "#EXTINF:%.6f,\n#EXT-X-BYTERANGE:%d@%d\n%s%s\n", length, starts[i+1]-starts[i], starts[i], name, token)
	}
	b.WriteString("#EXT-X-ENDLIST\n")
	return []byte(b.String())
}
