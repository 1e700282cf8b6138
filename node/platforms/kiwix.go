package platforms

import (
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Kiwix is a kiwix-serve with one book.
type Kiwix struct {
	URL   string // without a slash at its end
	Book  string // path of the book, without a slash at its end
	Pages []string

	dir    string
	binary string
	port   int
	all    []*process
}

// StartKiwix makes a book in dir, which must be there, and serves it. Stop ends
// it.
func StartKiwix(ctx context.Context, dir string) (*Kiwix, error) {
	writer, err := tool("zimwriterfs", "zim-tools")
	if err != nil {
		return nil, err
	}
	binary, err := tool("kiwix-serve", "kiwix-tools")
	if err != nil {
		return nil, err
	}
	port, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	k := &Kiwix{URL: "http://127.0.0.1:" + strconv.Itoa(port), dir: dir, binary: binary, port: port}
	if err := k.write(ctx, writer); err != nil {
		return nil, fmt.Errorf("write a book: %w", err)
	}
	if err := k.serve(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start kiwix-serve: %w", err), k.Stop())
	}
	return k, nil
}

// write makes the book of a folder of pages.
func (k *Kiwix) write(ctx context.Context, writer string) error {
	from := filepath.Join(k.dir, "book")
	if err := os.MkdirAll(from, 0o755); err != nil {
		return err
	}
	var links strings.Builder
	for n := range 10 {
		name := fmt.Sprintf("page-%d.html", n)
		text := strings.Repeat(fmt.Sprintf("<p>Chapitre %d : ce que l'on voit au musée.</p>\n", n), 500)
		if err := os.WriteFile(filepath.Join(from, name), []byte("<!DOCTYPE html><html><head><title>Chapitre "+strconv.Itoa(n)+"</title></head><body>"+text+"</body></html>"), 0o600); err != nil {
			return err
		}
		fmt.Fprintf(&links, "<a href=%q>%s</a>\n", name, name)
		k.Pages = append(k.Pages, name)
	}
	if err := os.WriteFile(filepath.Join(from, "index.html"), []byte("<!DOCTYPE html><html><head><title>Livre</title></head><body>"+links.String()+"</body></html>"), 0o600); err != nil {
		return err
	}
	icon, err := os.Create(filepath.Join(from, "icon.png"))
	if err != nil {
		return err
	}
	picture := image.NewRGBA(image.Rect(0, 0, 48, 48))
	for i := range 48 {
		picture.Set(i, i, color.RGBA{R: 200, A: 255})
	}
	if err := errors.Join(png.Encode(icon, picture), icon.Close()); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, writer, "--welcome=index.html", "--illustration=icon.png", "--language=fra", "--name=livre", "--title=Livre",
		"--description=Un livre pour les essais", "--creator=classe", "--publisher=classe", "--withoutFTIndex", from, filepath.Join(k.dir, "livre.zim"))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

func (k *Kiwix) serve(ctx context.Context) error {
	p, err := start(k.dir, "kiwix", nil, k.binary, "--address=127.0.0.1", "--port="+strconv.Itoa(k.port), "--threads=4", filepath.Join(k.dir, "livre.zim"))
	if err != nil {
		return err
	}
	k.all = append(k.all, p)
	ctx, cancel := context.WithTimeoutCause(ctx, 2*time.Minute, errors.New("kiwix-serve is not up after two minutes"))
	defer cancel()
	k.Book = "/livre/A"
	return until(ctx, k.all, func(ctx context.Context) error {
		return status(ctx, client(nil), k.URL+k.Book+"/index.html", http.StatusOK)
	})
}

// Restart ends it and starts it again: its entity tags are others then.
func (k *Kiwix) Restart(ctx context.Context) error {
	if err := k.Stop(); err != nil {
		return err
	}
	return k.serve(ctx)
}

// Stop ends it.
func (k *Kiwix) Stop() error {
	err := stopAll(k.all)
	k.all = nil
	return err
}
