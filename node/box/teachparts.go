package box

import (
	"context"
	"errors"
	"fmt"
	"io"

	"preau/node/lesson"
	"preau/node/portal"
	"preau/node/portal/teach"
	"preau/node/upload"
	"preau/replication/catalogue"
	"preau/replication/outbox"
)

// lessonLibrary finds things for lessons among all that pupils see.
type lessonLibrary struct{ box *Box }

func foundOf(e portal.Entry) teach.Found {
	f := teach.Found{Kind: lesson.Published, ID: e.ID, Title: e.Name(), ContentType: e.ContentType, Bytes: e.Bytes, Where: e.Collection}
	if e.Kind == portal.Added {
		f.Kind = lesson.Deposit
	}
	return f
}

// Find implements teach.Library.
func (l lessonLibrary) Find(query string, n int) (out []teach.Found) {
	for _, e := range l.box.portal.Find(query, n) {
		out = append(out, foundOf(e))
	}
	return out
}

// Named implements teach.Library.
func (l lessonLibrary) Named(kind lesson.Kind, id string) (teach.Found, bool) {
	of := portal.Published
	if kind == lesson.Deposit {
		of = portal.Added
	}
	e, ok := l.box.portal.Thing(of, id)
	return foundOf(e), ok
}

// teachFiles are the files that were added, as teachers see them.
type teachFiles struct{ deposits *deposits }

// Files implements teach.Files.
func (f teachFiles) Files(n int) (out []teach.File) {
	_, box, leave, ok := f.deposits.use(context.Background())
	if !ok {
		return nil
	}
	defer leave()
	stage := map[outbox.State]teach.Stage{outbox.OnBox: teach.OnBox, outbox.InRegion: teach.InRegion, outbox.InCentral: teach.Safe}
	for _, d := range box.all() {
		if len(out) == n {
			break
		}
		out = append(out, teach.File{
			ID: d.ID, Title: d.Title, Filename: d.Filename, ContentType: d.ContentType, Path: addedEntry(d).See(),
			Bytes: d.Length, At: d.At, State: stage[d.State],
		})
	}
	return out
}

// Watch implements teach.Files.
func (f teachFiles) Watch() (changed <-chan struct{}, stop func()) { return addedThings(f).Watch() }

// uploadTo hands files that came in piece by piece to the deposits.
type uploadTo struct{ deposits *deposits }

// Add implements upload.Outbox.
func (u uploadTo) Add(ctx context.Context, m upload.Meta, length int64, r io.Reader) (string, error) {
	ctx, box, leave, ok := u.deposits.use(ctx)
	if !ok {
		return "", errStopping
	}
	defer leave()
	words := outbox.Words{Filename: m.Filename, ContentType: m.ContentType, Title: m.Title, Description: catalogue.WithLicence(m.Description, m.Licence), Collection: m.Collection}
	d, err := u.deposits.keep(ctx, box, r, length, words)
	switch {
	case errors.Is(err, outbox.ErrFull), errors.Is(err, errTryAgain):
		return "", fmt.Errorf("%w: %w", upload.ErrNoRoom, err)
	case errors.Is(err, outbox.ErrTooLarge), errors.Is(err, outbox.ErrName):
		return "", fmt.Errorf("%w: %w", upload.ErrRefused, err)
	case err != nil:
		return "", err
	}
	return d.ID, nil
}

// Like implements upload.Outbox.
func (u uploadTo) Like(ctx context.Context, filename string, length int64) (out []upload.Kept, err error) {
	_, box, leave, ok := u.deposits.use(ctx)
	if !ok {
		return nil, errStopping
	}
	defer leave()
	for _, d := range box.List() {
		if d.Filename == filename && d.Length == length {
			out = append(out, upload.Kept{ID: d.ID, SHA256: d.SHA256})
		}
	}
	return out, nil
}

// Room implements upload.Outbox.
func (u uploadTo) Room(ctx context.Context) int64 {
	_, box, leave, ok := u.deposits.use(ctx)
	if !ok {
		return -1
	}
	defer leave()
	return box.Room()
}
