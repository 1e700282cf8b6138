package listen

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

const (
	watchEvery = 5 * time.Second // a change is seen within this, busy or not
	askEvery   = time.Second     // and at the first handshake after this
)

// certificates keeps the pairs of one listener. A pair that cannot be loaded
// after a change leaves the one before in use: half of a renewal is written
// before the other half, and a school is not to be locked out by a typing error.
type certificates struct {
	log *slog.Logger
	own func(*tls.ClientHelloInfo) (*tls.Certificate, error) // nil: files only

	mu    sync.Mutex
	pairs []*pair
	asked time.Time
}

type pair struct {
	files  Certificate
	loaded *tls.Certificate
	seen   signature // of the files as last looked at, good or bad
}

// signature changes when either file does. It is taken before the files are
// read: a write in between makes the next one differ.
type signature struct{ cert, key stamp }

type stamp struct {
	modified time.Time
	size     int64
}

func loadCertificates(files []Certificate, own func(*tls.ClientHelloInfo) (*tls.Certificate, error), log *slog.Logger) (*certificates, error) {
	c := &certificates{log: log, own: own, asked: time.Now()}
	var errs []error
	for _, f := range files {
		p := &pair{files: f}
		if _, err := p.refresh(); err != nil {
			errs = append(errs, err)
			continue
		}
		c.pairs = append(c.pairs, p)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return c, nil
}

// refresh loads the pair if its files changed since it last looked.
func (p *pair) refresh() (changed bool, err error) {
	var now signature
	if now.cert, err = stampOf(p.files.Cert); err != nil {
		return false, fmt.Errorf("certificate: %w", err)
	}
	if now.key, err = stampOf(p.files.Key); err != nil {
		return false, fmt.Errorf("certificate key: %w", err)
	}
	if now == p.seen {
		return false, nil
	}
	p.seen = now
	loaded, err := tls.LoadX509KeyPair(p.files.Cert, p.files.Key)
	if err != nil {
		return true, fmt.Errorf("load certificate %s with key %s: %w", p.files.Cert, p.files.Key, err)
	}
	p.loaded = &loaded
	return true, nil
}

func stampOf(path string) (stamp, error) {
	info, err := os.Stat(path)
	if err != nil {
		return stamp{}, err
	}
	return stamp{info.ModTime(), info.Size()}, nil
}

// choose is tls.Config's GetCertificate: the first pair that fits the name and
// the algorithms of the client, else the first, so that the client's own error
// tells what name it was shown.
func (c *certificates) choose(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	var none error
	if c.own != nil {
		cert, err := c.own(hello)
		if err == nil && (len(c.pairs) == 0 || hello.SupportsCertificate(cert) == nil) {
			return cert, nil
		}
		none = err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.pairs) == 0 {
		return nil, none
	}
	if now := time.Now(); now.Sub(c.asked) >= askEvery {
		c.refresh(now)
	}
	for _, p := range c.pairs {
		if hello.SupportsCertificate(p.loaded) == nil {
			return p.loaded, nil
		}
	}
	return c.pairs[0].loaded, nil
}

// leaf is the certificate for a name, run out or not: the one that lasts longest,
// if there are several.
func (c *certificates) leaf(name string) (best *x509.Certificate, ok bool) {
	var all []*tls.Certificate
	if c.own != nil {
		if cert, err := c.own(&tls.ClientHelloInfo{ServerName: name}); err == nil {
			all = append(all, cert)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.pairs {
		all = append(all, p.loaded)
	}
	for _, cert := range all {
		if l := cert.Leaf; l != nil && l.VerifyHostname(name) == nil && (best == nil || l.NotAfter.After(best.NotAfter)) {
			best = l
		}
	}
	return best, best != nil
}

// watch looks at the files until ctx ends, so that a broken renewal is in the
// log even while nobody connects.
func (c *certificates) watch(ctx context.Context) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			c.mu.Lock()
			c.refresh(now)
			c.mu.Unlock()
		}
	}
}

// refresh looks at all pairs; the caller holds mu.
func (c *certificates) refresh(now time.Time) {
	c.asked = now
	for _, p := range c.pairs {
		had := p.loaded
		changed, err := p.refresh()
		switch {
		case err != nil && changed:
			c.log.Error("new certificate is unusable, the old one stays in use", "file", p.files.Cert, "err", err)
		case err != nil:
			c.log.Debug("certificate files are missing, the loaded ones stay in use", "file", p.files.Cert, "err", err)
		case p.loaded != had:
			c.log.Info("certificate reloaded", "file", p.files.Cert, "until", until(p.loaded))
		}
	}
}

func until(cert *tls.Certificate) time.Time {
	if cert.Leaf == nil {
		return time.Time{}
	}
	return cert.Leaf.NotAfter
}
