package look

import (
	"mime"
	"strings"

	"preau/cache/page"
)

// Sort is what people call a kind of file.
type Sort int

// The sorts of files that people tell apart.
const (
	Other Sort = iota
	Document
	Picture
	Audio
	Video
	Text
	Web
	Archive
)

// Kind is the sort of a media type.
func Kind(contentType string) Sort {
	t, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return Other
	}
	main, sub, _ := strings.Cut(t, "/")
	switch {
	case t == "text/html", t == "application/xhtml+xml":
		return Web
	case t == "application/vnd.apple.mpegurl", t == "application/x-mpegurl":
		return Video
	case main == "image":
		return Picture
	case main == "audio":
		return Audio
	case main == "video":
		return Video
	case main == "text":
		return Text
	case t == "application/pdf", t == "application/msword", t == "application/rtf", t == "application/epub+zip",
		strings.HasPrefix(sub, "vnd.oasis.opendocument"), strings.HasPrefix(sub, "vnd.openxmlformats"), strings.HasPrefix(sub, "vnd.ms-"):
		return Document
	case strings.Contains(sub, "zip"), strings.Contains(sub, "tar"), strings.Contains(sub, "compressed"):
		return Archive
	}
	return Other
}

// Icon is the name of an icon for the sort.
func (s Sort) Icon() string {
	return [...]string{"file", "document", "picture", "audio", "video", "document", "globe", "archive"}[s]
}

var sortNames = page.Both[[8]string]{
	French:  [8]string{"Fichier", "Document", "Image", "Son", "Vidéo", "Texte", "Page", "Archive"},
	English: [8]string{"File", "Document", "Picture", "Sound", "Video", "Text", "Web page", "Archive"},
}

// Name is the sort in words.
func (s Sort) Name(l page.Lang) string { return sortNames.In(l)[s] }

// Class is the sort in style sheets.
func (s Sort) Class() string {
	return [...]string{"other", "document", "picture", "audio", "video", "text", "web", "archive"}[s]
}
