package platformtest

import (
	"bytes"
	"crypto/subtle"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Share is a public link of Nextcloud to a file (Data) or a folder (Files, by
// their paths in it).
type Share struct {
	Token, Name string
	Data        []byte
	Files       map[string][]byte
	Password    string
	Hidden      bool      // downloads are hidden
	Limit       int       // downloads that are left, 0 for no limit
	Expires     time.Time // or never
	Modified    time.Time
	downloads   int
}

func (s *Share) folder() bool { return s.Files != nil }

// Share adds a share.
func (n *Nextcloud) Share(s Share) {
	if s.Modified.IsZero() {
		s.Modified = n.now().Add(-40 * 24 * time.Hour).Truncate(time.Second)
	}
	n.secretly(s.Token)
	if s.Password != "" {
		n.secretly(s.Password)
	}
	n.do(func() { n.shares[s.Token] = &s })
}

// Change changes a share.
func (n *Nextcloud) Change(token string, fn func(*Share)) {
	n.do(func() {
		if s := n.shares[token]; s != nil {
			next := *s
			next.Files = maps.Clone(s.Files)
			fn(&next)
			next.Modified = n.clock().Truncate(time.Second)
			n.shares[token] = &next
		}
	})
}

// Delete ends a share.
func (n *Nextcloud) Delete(token string) {
	n.do(func() {
		if s := n.shares[token]; s != nil {
			n.deleted[token] = s
			delete(n.shares, token)
		}
	})
}

// Restore shares again what was deleted, under the same token.
func (n *Nextcloud) Restore(token string) {
	n.do(func() {
		if s := n.deleted[token]; s != nil {
			n.shares[token] = s
			delete(n.deleted, token)
		}
	})
}

// find returns the share of a token that has not expired.
func (n *Nextcloud) find(token string) (s *Share) {
	n.do(func() {
		if s = n.shares[token]; s != nil && !s.Expires.IsZero() && !n.clock().Before(s.Expires) {
			s = nil
		}
	})
	return s
}

// Shares are all links there ever were, and whether each opens something for
// who has nothing but it.
func (n *Nextcloud) Shares() map[string]bool {
	out := map[string]bool{}
	n.do(func() {
		for token := range n.deleted {
			out[token] = false
		}
		for token, s := range n.shares {
			out[token] = s.Password == "" && (s.Expires.IsZero() || n.clock().Before(s.Expires))
		}
	})
	return out
}

// Has reports whether a file of a share without a password is just that.
func (n *Nextcloud) Has(data []byte) (has bool) {
	n.do(func() {
		for _, s := range n.shares {
			has = has || s.Password == "" && bytes.Equal(s.Data, data)
			for _, f := range s.Files {
				has = has || s.Password == "" && bytes.Equal(f, data)
			}
		}
	})
	return has
}

// downloaded counts a download; the last one deletes the share.
func (n *Nextcloud) downloaded(s *Share) {
	n.do(func() {
		if s.Limit == 0 {
			return
		}
		if s.downloads++; s.downloads >= s.Limit {
			delete(n.shares, s.Token)
		}
	})
}

// opened reports whether the password of s was entered, and by whom.
func (n *Nextcloud) opened(r *http.Request, se *session, s *Share) (who, by string, ok bool) {
	if s.Password == "" {
		return "", "", true
	}
	n.do(func() { ok = se.user != "" && !se.in && (se.open == nil || se.open[s.Token]) || se.open[s.Token] })
	if ok {
		return strings.TrimSpace(se.user), "cookie", true
	}
	if user, password, given := r.BasicAuth(); given && subtle.ConstantTimeCompare([]byte(password), []byte(s.Password)) == 1 {
		if !slices.Contains(known, user) {
			user = "guest"
		}
		return user, "basic", true
	}
	return "", "", false
}
