package lesson

// Pure parts, for their own tests.
var (
	Choose    = choose
	PageRefs  = pageRefs
	StyleRefs = styleRefs
	WatchID   = watchID
	SharePage = sharePage
)

// ParsePlaylist reads a playlist: its variants and media, its files, and whether
// it ends.
func ParsePlaylist(raw []byte) (others, files []string, ends bool, err error) {
	p, err := parsePlaylist(raw)
	for _, v := range p.variants {
		others = append(others, v.uri)
	}
	for _, m := range p.media {
		others = append(others, m.uri)
	}
	return others, p.files, p.ends, err
}
