package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"preau/node/control"
)

type publishCmd struct {
	Files []string `arg:"" name:"file" help:"Files to publish."`

	Collection      string   `required:"" placeholder:"ID" help:"The collection that they belong to: letters, digits and . _ -. It is made if it is new."`
	CollectionTitle string   `placeholder:"TEXT" help:"What people call it, if it is new."`
	Title           string   `placeholder:"TEXT" help:"What people call the file, if there is one only (default: its name)."`
	Description     string   `placeholder:"TEXT" help:"A sentence or two about it."`
	Language        string   `placeholder:"TAG" help:"Its language, such as fr."`
	Level           string   `placeholder:"TEXT" help:"For which class, such as 6e."`
	Licence         string   `placeholder:"TEXT" help:"Under which licence, such as CC-BY-4.0."`
	School          []string `placeholder:"CODE" help:"Only these schools may see it (default: all)."`
	Expires         moment   `placeholder:"TIME" help:"When boxes drop it, such as 2026-09-01."`
	ID              string   `placeholder:"ID" help:"The resource's id, if there is one file only; an old one is replaced (default: made from the content)."`
	Subscribe       bool     `negatable:"" default:"true" help:"Have all boxes fetch the whole collection ahead, each when it may. Without it they fetch what is asked for or pinned."`

	operatorFlags
}

func (publishCmd) Help() string {
	return `A file is published once most of the region's servers have it. Only what they lack is sent, so after a cut the same command goes on where it was.

    preau publish film.mp4 --collection maths-6e --title "Les fractions"
    preau publish *.pdf --collection annales --collection-title "Annales du brevet" --licence CC-BY-4.0
    preau publish test.pdf --collection tests --school 0690001A --no-subscribe --expires 2026-07-01` + operatorHelp
}

// publishedFile is one file for scripts.
type publishedFile struct {
	File string `json:"file"`
	Size int64  `json:"size"`
	control.Done
}

func (c publishCmd) Run(ctx context.Context, to streams) error {
	if len(c.Files) > 1 && (c.Title != "" || c.ID != "") {
		return usage("--title and --id are for one file: publish %s apart", some(len(c.Files), "file", "files"))
	}
	for _, file := range c.Files {
		if err := publishable(file); err != nil {
			return usageError{err}
		}
	}
	return c.with(ctx, to, 0, func(ctx context.Context, ask *control.Client) error {
		all := []publishedFile{}
		for _, file := range c.Files {
			done, err := c.one(ctx, to, ask, file)
			if err != nil {
				return errors.Join(fmt.Errorf("%s: %w", file, err), c.print(to, all))
			}
			all = append(all, done)
			if !c.JSON {
				if err := to.printf("%s is published as %s in %s: %s on %s, index %s. On every box: %s\n", file, done.ID, c.Collection,
					size(done.Size), some(done.Copies, "server", "servers"), count(done.Index), done.URL); err != nil {
					return err
				}
			}
		}
		return c.print(to, all)
	})
}

func (c publishCmd) print(to streams, all []publishedFile) error {
	if !c.JSON {
		return nil
	}
	return to.json(all)
}

func publishable(file string) error {
	info, err := os.Stat(file)
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is no file", file)
	case info.Size() == 0:
		return fmt.Errorf("%s is empty", file)
	}
	return nil
}

func (c publishCmd) one(ctx context.Context, to streams, ask *control.Client, file string) (_ publishedFile, err error) {
	f, err := os.Open(file)
	if err != nil {
		return publishedFile{}, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return publishedFile{}, err
	}
	name := filepath.Base(file)
	p := control.Publication{
		ID: c.ID, Collection: c.Collection, CollectionTitle: c.CollectionTitle, Title: c.Title, Filename: name,
		Description: c.Description, Language: c.Language, Level: c.Level, Licence: c.Licence,
		Modified: info.ModTime().UTC(), Expires: c.Expires.Time, Schools: c.School, Subscribe: c.Subscribe,
	}
	if p.Title == "" {
		p.Title = strings.TrimSuffix(name, filepath.Ext(name))
	}
	if p.ContentType, err = contentType(name, f); err != nil {
		return publishedFile{}, err
	}
	line := newMeter(to.err)
	defer line.clear()
	line.show("%s: looking at it", name)
	done, err := ask.Publish(ctx, f, info.Size(), p, func(done, total int64) {
		line.show("%s: %d %% of %s are in the region", name, done*100/max(total, 1), size(total))
	})
	return publishedFile{File: file, Size: info.Size(), Done: done}, err
}

// contentType tells what a file is by its name, or by how it begins.
func contentType(name string, r io.ReaderAt) (string, error) {
	if t := mime.TypeByExtension(strings.ToLower(filepath.Ext(name))); t != "" {
		return t, nil
	}
	head := make([]byte, 512)
	n, err := r.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read file: %w", err)
	}
	return http.DetectContentType(head[:n]), nil
}
