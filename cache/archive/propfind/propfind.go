// Package propfind reads what a WebDAV server says is in a folder: the
// multistatus body (RFC 4918 section 13) that answers a PROPFIND.
//
// It takes the properties that a listing of files needs, of any server, and
// leaves out all others. What it reads comes from outside, so that bytes,
// items, depth and texts are bounded, and a document with a DOCTYPE is refused,
// whose entities (RFC 4918 section 20.6) no WebDAV server needs.
//
// It asks nobody anything, and whether the items lie in the folder that was
// asked for is for its caller to see, with Below.
package propfind

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Bounds of what is read.
const (
	// itemBytes and restBytes bound the document: so much for each item that there
	// may be, and for the rest.
	itemBytes = 8 << 10
	restBytes = 64 << 10
	// maxDepth bounds elements within elements: those of the standard have 7.
	maxDepth = 32
	// maxText bounds the text of a property.
	maxText = 8 << 10
)

// ErrMalformed reports that what was read is no multistatus that a WebDAV server
// sends.
var ErrMalformed = errors.New("no multistatus of a WebDAV server")

// ErrTooMany reports that there are more items, or bytes, than were to be read.
var ErrTooMany = errors.New("a folder with too much in it")

// Item is a file or a folder.
type Item struct {
	// Path is where it is, escaped, as the server sent it: an absolute path. If
	// the server sent a whole URL, its scheme and host are left out.
	Path   string
	Folder bool
	Size   int64 // -1 if it is not said, or is no number
	// Modified is zero and ETag empty if they are not said, or are none. ETag is
	// as it came, with its quotes and W/.
	Modified time.Time
	ETag     string

	segments []string // of the path, unescaped
}

// Parse reads the items of a multistatus, at most limit. Items that the server
// says are not found are left out; any other status of an item that is no
// success is an error, for then the listing is not whole.
func Parse(r io.Reader, limit int) ([]Item, error) {
	if limit <= 0 {
		return nil, fmt.Errorf("read a listing of at most %d items", limit)
	}
	in := &input{r: r, left: int64(limit)*itemBytes + restBytes}
	p := &parser{d: xml.NewDecoder(in), limit: limit}
	err := p.document()
	switch {
	case err == nil:
		return p.items, nil
	case in.err != nil:
		err = in.err
	case !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrTooMany):
		err = fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return nil, fmt.Errorf("read multistatus: %w", err)
}

// input bounds what is read, and remembers an error of reading, which the
// decoder would mix with those of the document.
type input struct {
	r    io.Reader
	left int64
	err  error
}

func (i *input) Read(p []byte) (int, error) {
	if i.left <= 0 {
		i.err = ErrTooMany
		return 0, i.err
	}
	n, err := i.r.Read(p[:min(int64(len(p)), i.left)])
	i.left -= int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		i.err = err
	}
	return n, err
}

// parser reads one document. An element's reader is called after its start and
// returns after its end.
type parser struct {
	d     *xml.Decoder
	depth int
	limit int
	items []Item
}

const dav = "DAV:"

func (p *parser) document() error {
	for {
		start, text, err := p.next()
		switch {
		case err != nil:
			return err
		case start != nil && start.Name == (xml.Name{Space: dav, Local: "multistatus"}):
			return p.children(p.multistatus)
		case start != nil:
			return fmt.Errorf("%w: it begins with <%s>", ErrMalformed, clip(start.Name.Local))
		case strings.Trim(text, " \t\r\n\ufeff") != "":
			return fmt.Errorf("%w: it begins with text", ErrMalformed)
		}
	}
}

// next returns an element's start, or text; neither at an element's end.
func (p *parser) next() (start *xml.StartElement, text string, err error) {
	for {
		token, err := p.d.Token()
		if err != nil {
			return nil, "", err
		}
		switch t := token.(type) {
		case xml.StartElement:
			if p.depth++; p.depth > maxDepth {
				return nil, "", fmt.Errorf("%w: more than %d elements deep", ErrMalformed, maxDepth)
			}
			return &t, "", nil
		case xml.EndElement:
			p.depth--
			return nil, "", nil
		case xml.CharData:
			return nil, string(t), nil
		case xml.Directive:
			return nil, "", fmt.Errorf("%w: a document type", ErrMalformed)
		}
	}
}

// children calls each for the elements within the one that has begun, up to its
// end. What each does not read itself is left out.
func (p *parser) children(each func(name string) error) error {
	for within := p.depth; ; {
		start, _, err := p.next()
		switch {
		case err != nil:
			return err
		case p.depth < within:
			return nil
		case start == nil || start.Name.Space != dav || p.depth != within+1:
		default:
			if err := each(start.Name.Local); err != nil {
				return err
			}
		}
	}
}

// text returns the text of the element that has begun, without that of elements
// in it.
func (p *parser) text() (string, error) {
	var b strings.Builder
	for within := p.depth; ; {
		_, text, err := p.next()
		switch {
		case err != nil:
			return "", err
		case p.depth < within:
			return strings.TrimSpace(b.String()), nil
		case p.depth == within:
			if b.WriteString(text); b.Len() > maxText {
				return "", fmt.Errorf("%w: a text of more than %d bytes", ErrMalformed, maxText)
			}
		}
	}
}

func (p *parser) multistatus(name string) error {
	if name != "response" {
		return nil
	}
	item, found, err := p.response()
	if err != nil || !found {
		return err
	}
	if len(p.items) == p.limit {
		return ErrTooMany
	}
	p.items = append(p.items, item)
	return nil
}

// response reads about one item (RFC 4918 section 14.24).
func (p *parser) response() (item Item, found bool, err error) {
	item, found = Item{Size: -1}, true
	var hrefs int
	err = p.children(func(name string) error {
		switch name {
		case "href":
			text, err := p.text()
			if err != nil {
				return err
			}
			hrefs++
			return item.place(text)
		case "status":
			status, err := p.status()
			switch {
			case err != nil:
				return err
			case status == http.StatusNotFound, status == http.StatusGone:
				found = false
			case status/100 != 2:
				// Such as 507: there are more, which are not listed.
				return fmt.Errorf("%w: an item with status %d", ErrMalformed, status)
			}
		case "propstat":
			return p.propstat(&item)
		}
		return nil
	})
	if err == nil && hrefs != 1 {
		err = fmt.Errorf("%w: an item with %d addresses", ErrMalformed, hrefs)
	}
	return item, found, err
}

// propstat reads properties that have a status in common, which may come after
// them, and takes those of success (section 14.22).
func (p *parser) propstat(item *Item) error {
	was, status := *item, 0
	err := p.children(func(name string) (err error) {
		switch name {
		case "prop":
			return p.children(func(name string) error { return p.property(item, name) })
		case "status":
			status, err = p.status()
		}
		return err
	})
	if status != http.StatusOK {
		*item = was
	}
	return err
}

// property reads one property (section 15).
func (p *parser) property(item *Item, name string) error {
	if name == "resourcetype" {
		return p.children(func(name string) error {
			item.Folder = item.Folder || name == "collection"
			return nil
		})
	}
	switch name {
	case "getcontentlength", "getlastmodified", "getetag":
	default:
		return nil
	}
	text, err := p.text()
	if err != nil {
		return err
	}
	switch name {
	case "getcontentlength":
		item.Size = number(text)
	case "getlastmodified":
		item.Modified = date(text)
	case "getetag":
		item.ETag = tag(text)
	}
	return nil
}

// status reads a status line (section 14.28).
func (p *parser) status() (int, error) {
	text, err := p.text()
	if err != nil {
		return 0, err
	}
	version, rest, _ := strings.Cut(text, " ")
	code, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	status := number(code)
	if !strings.HasPrefix(version, "HTTP/") || status < 100 || status > 599 {
		return 0, fmt.Errorf("%w: a status line %q", ErrMalformed, clip(text))
	}
	return int(status), nil
}

// number returns -1 for what is no number.
func number(s string) int64 {
	if strings.Trim(s, "0123456789") != "" {
		return -1
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// tag returns nothing for what no field can hold (RFC 9110 section 8.8.3). Tags
// without quotes, which some servers have in listings, are taken.
func tag(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return ""
	}
	return s
}

// date takes HTTP's dates, and those with a numeric zone that PHP makes.
func date(s string) time.Time {
	t, err := http.ParseTime(s)
	if err != nil {
		t, err = time.Parse(time.RFC1123Z, s)
	}
	if err != nil {
		return time.Time{}
	}
	return t.UTC()
}

// clip makes what came from outside fit for a message.
func clip(s string) string { return s[:min(len(s), 40)] }
