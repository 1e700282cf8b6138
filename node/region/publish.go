package region

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"preau/cache/block"
	"preau/node/control"
	"preau/replication/catalogue"
	"preau/replication/hold"
)

// newID is a name for something that has none of its own.
func newID(prefix string) string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return prefix + "-" + hex.EncodeToString(b[:])
}

// publish commits what a publisher has brought, once its bytes are on most of
// the servers: what the catalogue names is kept whatever one server does.
func (g *Region) publish(r *http.Request) (any, error) {
	q, err := decode[control.Publication](r)
	if err != nil {
		return nil, err
	}
	res, digests, err := g.resource(r, q)
	if err != nil {
		return nil, err
	}
	need := g.majority()
	if err := g.replicator.Ensure(r.Context(), digests, need); err != nil {
		return nil, err
	}
	collection, err := g.collectionOps(q)
	if err != nil {
		return nil, err
	}
	op, err := catalogue.NewPut(res)
	if err != nil {
		return nil, invalid("%w", err)
	}
	done, err := g.do(r, res.ID, append(collection, op)...)
	done.Copies = need
	done.URL = "/r/" + res.ID + "/" + url.PathEscape(res.Filename)
	return done, err
}

// resource checks a publication, and lists the blocks that must be held.
func (g *Region) resource(r *http.Request, q control.Publication) (catalogue.Resource, []block.Digest, error) {
	var zero catalogue.Resource
	sum, err := block.ParseDigest(q.SHA256)
	if err != nil {
		return zero, nil, invalid("sha256: %w", err)
	}
	audience, err := schools(q.Schools)
	if err != nil {
		return zero, nil, err
	}
	res := catalogue.Resource{
		ID: q.ID, Collection: q.Collection, Title: q.Title, Filename: q.Filename, ContentType: q.ContentType,
		Description: q.Description, Language: q.Language, Level: q.Level, Licence: q.Licence, Length: q.Length,
		SHA256: sum, Modified: q.Modified.UTC(), Expires: q.Expires.UTC(), Audience: audience,
	}
	if res.ID == "" {
		// The same file in the same collection is the same resource.
		name := block.Sum([]byte(q.Collection + "\x00" + q.Filename + "\x00" + q.SHA256))
		res.ID = "r-" + name.String()[:20]
	}
	var digests []block.Digest
	switch {
	case q.Manifest != "":
		if res.Manifest, err = block.ParseDigest(q.Manifest); err != nil {
			return zero, nil, invalid("manifest: %w", err)
		}
		if digests, err = g.manifest(r, res.Manifest, q); err != nil {
			return zero, nil, err
		}
		res.Listed = q.Listed
		digests = append(slices.Clip(digests), res.Manifest)
	case q.Listed:
		return zero, nil, invalid("the blocks' lengths are to be listed, and no manifest is named")
	default:
		for i, text := range q.Blocks {
			d, err := block.ParseDigest(text)
			if err != nil {
				return zero, nil, invalid("blocks[%d]: %w", i, err)
			}
			digests = append(digests, d)
		}
		res.Blocks = slices.Clip(digests)
	}
	if q.Manifest == "" && len(digests) != block.NumBlocks(q.Length) {
		return zero, nil, invalid("%d bytes are %d blocks, and %d are named", q.Length, block.NumBlocks(q.Length), len(digests))
	}
	return res, digests, nil
}

// manifest reads a list of blocks that the publisher has brought, in either form.
func (g *Region) manifest(r *http.Request, d block.Digest, q control.Publication) ([]block.Digest, error) {
	raw, err := g.readBlock(r.Context(), d)
	if err != nil {
		return nil, invalid("the manifest %s is not here: put it like any block first (%w)", d, err)
	}
	entries, err := hold.DecodeList(raw, q.Length)
	if err != nil {
		return nil, invalid("manifest: %w", err)
	}
	for i, e := range entries {
		if !q.Listed && e.Length != block.BlockLen(q.Length, i) {
			return nil, invalid("manifest: it tells the blocks' lengths, which is to be said")
		}
	}
	return hold.Digests(entries), nil
}

// collectionOps makes the collection, and has every box keep it, if asked to.
func (g *Region) collectionOps(q control.Publication) ([]catalogue.Op, error) {
	var ops []catalogue.Op
	if q.Collection == "" {
		return nil, invalid("say which collection the file belongs to")
	}
	_, there, err := get[catalogue.Collection](g, catalogue.KindCollection, q.Collection)
	if err != nil {
		return nil, err
	}
	if !there {
		title := q.CollectionTitle
		if title == "" {
			title = strings.ReplaceAll(q.Collection, "-", " ")
		}
		op, err := catalogue.NewPut(catalogue.Collection{ID: q.Collection, Title: title})
		if err != nil {
			return nil, invalid("%w", err)
		}
		ops = append(ops, op)
	}
	if q.Subscribe {
		s := catalogue.Subscription{ID: "all." + q.Collection, Collection: q.Collection}
		op, err := catalogue.NewPut(s)
		if err != nil {
			return nil, invalid("%w", err)
		}
		ops = append(ops, op)
	}
	return ops, nil
}

func (g *Region) unpublish(r *http.Request) (any, error) {
	id := r.PathValue("id")
	purge := catalogue.Purge{ID: newID("purge"), Scope: catalogue.ScopeResource, Target: id, By: by(r)}
	done, err := g.put(r, purge)
	done.ID = id
	return done, err
}

// majority is how many servers must hold a block before it is published.
func (g *Region) majority() int {
	voters := 0
	for _, s := range g.node.Servers() {
		if s.Voter {
			voters++
		}
	}
	return voters/2 + 1
}

var errNoRegion = errors.New("this server has not heard of its own region yet")
