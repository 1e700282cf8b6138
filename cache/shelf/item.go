package shelf

import (
	"errors"
	"fmt"
	"mime"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"preau/cache/block"
)

// Bounds of what an item may say.
const (
	maxID   = 128
	maxText = 500
	maxName = 255
)

// Item is one published resource: what people are told of it, and the manifest
// of its bytes.
type Item struct {
	ID          string // letters, digits and ".-_"; in links, so for ever
	Collection  string
	Title       string
	Filename    string
	ContentType string
	Length      int64
	SHA256      block.Digest
	Blocks      []block.Digest // of block.Size each; empty where List has to be asked for
	List        block.Digest   // names the list of blocks of an item that comes without
	// Listed: the list tells how long each block is, and Pieces are what it says.
	Listed   bool
	Pieces   []Piece
	Language string // of the content, as in Content-Language; may be empty
	Licence  string // may be empty
	// Description and Level are for whoever lists items otherwise than here; they
	// may be empty.
	Description, Level string

	ModTime time.Time
	Expires time.Time // zero: never
}

// Piece is one block of an item that is not cut every block.Size.
type Piece struct {
	Digest block.Digest
	Length int // 1 to block.Size
}

// Validate reports every mistake at once.
func (it Item) Validate() error { return errors.Join(it.validateWords(), it.validateBlocks()) }

// validateWords looks at all but the blocks.
func (it Item) validateWords() error {
	var errs []error
	bad := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }
	if !ValidID(it.ID) {
		bad("id: %q is not 1 to %d letters, digits, dots, dashes and underscores", it.ID, maxID)
	}
	for name, s := range map[string]string{"collection": it.Collection, "title": it.Title, "licence": it.Licence} {
		if !text(s, maxText) {
			bad("%s: is too long or holds control characters", name)
		}
	}
	if it.Filename == "" || it.Filename == "." || it.Filename == ".." || strings.ContainsAny(it.Filename, `/\`) || !text(it.Filename, maxName) {
		bad("filename: %q is no name of a file", it.Filename)
	}
	if _, _, err := mime.ParseMediaType(it.ContentType); err != nil || !text(it.ContentType, maxName) {
		bad("content_type: %q is no media type", it.ContentType)
	}
	if !language(it.Language) {
		bad("language: %q is no list of language tags", it.Language)
	}
	if it.Length < 0 {
		bad("length: %d is less than nothing", it.Length)
	}
	switch {
	case it.SHA256.IsZero():
		bad("sha256: must be given")
	case it.Length == 0 && it.SHA256 != block.Sum(nil):
		bad("sha256: is not that of nothing")
	}
	return errors.Join(errs...)
}

func (it Item) validateBlocks() error {
	if it.Listed {
		return it.validatePieces()
	}
	var errs []error
	bad := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }
	if it.Length < 0 || len(it.Blocks) != block.NumBlocks(it.Length) || len(it.Blocks) > block.MaxBlocks {
		bad("blocks: there are %d for %d bytes", len(it.Blocks), it.Length)
	}
	for _, d := range it.Blocks {
		if d.IsZero() {
			bad("blocks: one has no digest")
			break
		}
	}
	if len(it.Blocks) == 1 && it.Blocks[0] != it.SHA256 {
		bad("sha256: is not that of the blocks")
	}
	return errors.Join(errs...)
}

func (it Item) validatePieces() error {
	if it.List.IsZero() || it.Length <= 0 || len(it.Blocks) > 0 || len(it.Pieces) > block.MaxBlocks {
		return fmt.Errorf("blocks: %d bytes with %d blocks and a list %s can't be", it.Length, len(it.Pieces), it.List)
	}
	left := it.Length
	for i, p := range it.Pieces {
		if p.Digest.IsZero() || p.Length < 1 || p.Length > block.Size || int64(p.Length) > left {
			return fmt.Errorf("blocks: block %d has no digest, or not %d bytes", i, p.Length)
		}
		left -= int64(p.Length)
	}
	if left != 0 {
		return fmt.Errorf("blocks: they lack %d bytes", left)
	}
	if len(it.Pieces) == 1 && it.Pieces[0].Digest != it.SHA256 {
		return errors.New("sha256: is not that of the blocks")
	}
	return nil
}

// list is the list by which the item is kept, zero for one in blocks of
// block.Size.
func (it Item) list() block.Digest {
	if it.Listed {
		return it.List
	}
	return block.Digest{}
}

// ValidID reports whether s may name an item.
func ValidID(s string) bool {
	if s == "" || len(s) > maxID || s == "." || s == ".." {
		return false
	}
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '-', c == '_':
		default:
			return false
		}
	}
	return true
}

func text(s string, most int) bool {
	return len(s) <= most && utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

func language(s string) bool {
	for _, c := range []byte(s) {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == ',' || c == ' ') {
			return false
		}
	}
	return len(s) <= maxName
}

// Path is where the item is served.
func (it Item) Path() string { return Prefix + it.ID + "/" + url.PathEscape(it.Filename) }

// etag is the item's strong validator: its bytes' own digest.
func (it Item) etag() string { return `"` + it.SHA256.String() + `"` }
