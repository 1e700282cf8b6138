package explain

import (
	"fmt"
	"net/url"
	"strings"

	"preau/node/front"
)

// find is the site that a URL is of, and the path as the site's profile sees it:
// without the path that the configuration puts before all of them.
func find(sites []front.Site, u *url.URL) (front.Site, string, error) {
	path := u.EscapedPath()
	if rest, ok := strings.CutPrefix(path, "/o/"); ok {
		name, rest, _ := strings.Cut(rest, "/")
		for _, s := range sites {
			if s.Name == name {
				return s, "/" + rest, nil
			}
		}
	}
	if u.Host == "" {
		if len(sites) == 1 {
			return sites[0], path, nil
		}
		return front.Site{}, "", fmt.Errorf("%w: a path alone does not say of which; write the whole address, or /o/NAME%s", ErrNoSite, path)
	}
	for _, s := range sites {
		up, err := s.UpstreamURL()
		if err != nil {
			return front.Site{}, "", fmt.Errorf("site %s: %w", s.Name, err)
		}
		base := strings.TrimSuffix(up.EscapedPath(), "/")
		if rest, ok := strings.CutPrefix(path, base); ok && strings.EqualFold(up.Host, u.Host) && (rest == "" || rest[0] == '/') {
			if rest == "" {
				rest = "/"
			}
			return s, rest, nil
		}
	}
	// The box under one of the site's names.
	var below, others *front.Site
	for i, s := range sites {
		for _, host := range s.Hosts {
			name, wild := strings.CutPrefix(host, "*.")
			switch {
			case strings.EqualFold(host, u.Hostname()):
				return s, path, nil
			case wild && strings.HasSuffix(strings.ToLower(u.Hostname()), "."+name):
				below = &sites[i]
			case host == "*":
				others = &sites[i]
			}
		}
	}
	switch {
	case below != nil:
		return *below, path, nil
	case others != nil:
		return *others, path, nil
	}
	return front.Site{}, "", fmt.Errorf("%w (%s)", ErrNoSite, u.Host)
}
