package locate

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"preau/cache/page"
)

// Locator answers devices. All methods may be called concurrently.
type Locator struct {
	sites   *Sites
	table   *Table
	proxies []netip.Prefix
	answers *prometheus.CounterVec
	origins *prometheus.CounterVec
}

// New makes a locator of what cfg says, which has been checked, and of the sites
// that the server has besides.
func New(cfg Config, besides []Site, table *Table, reg prometheus.Registerer) (*Locator, error) {
	sites, err := NewSites(slices.Concat(besides, cfg.Site))
	if err != nil {
		return nil, fmt.Errorf("locate: %w", err)
	}
	l := &Locator{
		sites: sites, table: table,
		answers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "preau_locate_answers_total", Help: "Answers to devices that asked for their school's box, by what they were.",
		}, []string{"answer"}),
		origins: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "preau_locate_origin_total", Help: "Devices that were sent to the site itself, by why.",
		}, []string{"why"}),
	}
	for _, text := range cfg.TrustedProxies {
		p, err := prefixOf(text)
		if err != nil {
			return nil, fmt.Errorf("locate: trusted proxy %q: %w", text, err)
		}
		l.proxies = append(l.proxies, p)
	}
	for _, c := range []prometheus.Collector{l.answers, l.origins} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics of locate: %w", err)
		}
	}
	for _, answer := range []string{toBox, toOrigin, refused} {
		l.answers.WithLabelValues(answer)
	}
	for _, why := range []string{WhyUnknown, WhyShared, WhyNever, WhyNoBox} {
		l.origins.WithLabelValues(why)
	}
	return l, nil
}

// What an answer is.
const (
	toBox    = "box"
	toOrigin = "origin"
	refused  = "refused"
)

// Answer is what a device is answered, and why.
type Answer struct {
	Answer string `json:"answer"` // box, origin or refused
	To     string `json:"to,omitempty"`
	Why    string `json:"why,omitempty"` // no box, or refused
	Site   string `json:"site,omitempty"`
	School string `json:"school,omitempty"`
	Listed bool   `json:"listed,omitempty"` // the school's, by IT's list
	Box    string `json:"box,omitempty"`
}

// Ask says what somebody from an address is answered who asks for a URL.
func (l *Locator) Ask(raw string, from netip.Addr, now time.Time) Answer {
	target, err := l.sites.Parse(raw)
	if err != nil {
		return Answer{Answer: refused, Why: err.Error()}
	}
	f := l.table.Find(from, target.Site, target.base+target.path, now)
	a := Answer{Answer: toOrigin, To: target.Origin(), Why: f.Why, Site: target.Site, School: f.School, Listed: f.Listed}
	if f.Box != nil {
		a.Answer, a.To, a.Box = toBox, target.On(f.Box.Announcement), f.Box.Name
	}
	return a
}

// ServeHTTP implements http.Handler for the listeners that devices reach.
func (l *Locator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	// Whoever asks next may come from another school.
	h.Set("Cache-Control", "private, no-store")
	switch {
	case r.URL.Path != Path:
		http.Error(w, "There is nothing here but "+Path+"?u=URL.", http.StatusNotFound)
		return
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		h.Set("Allow", "GET, HEAD")
		http.Error(w, "This can only be asked for with GET.", http.StatusMethodNotAllowed)
		return
	}
	a := Answer{Answer: refused}
	if raw, ok := asked(r.URL.RawQuery); ok {
		a = l.Ask(raw, l.client(r), time.Now())
	}
	l.answers.WithLabelValues(a.Answer).Inc()
	if a.Answer == refused {
		lang := page.Language(r)
		refusal.In(lang).Write(w, r, http.StatusBadRequest, lang)
		return
	}
	if a.Answer == toOrigin {
		l.origins.WithLabelValues(a.Why).Inc()
	}
	h.Set("Location", a.To)
	h.Set("Content-Length", "0")
	w.WriteHeader(http.StatusFound)
}

var refusal = page.Both[page.Notice]{
	French: page.Notice{
		Title:  "Ce lien ne mène à aucun des sites proposés ici",
		Text:   "Il est incomplet ou mal recopié, ou bien son site n’est pas dans la liste de l’établissement.",
		Advice: "Ouvrez l’adresse du site elle-même. Si le lien vient d’une page de cours, signalez-le à la personne qui l’a préparée.",
	},
	English: page.Notice{
		Title:  "This link leads to none of the sites offered here",
		Text:   "It is incomplete or was copied wrongly, or its site is not on the list.",
		Advice: "Open the address of the site itself. If the link comes from a lesson, tell whoever prepared it.",
	},
}

// asked reads the one parameter. A URL that was pasted without being escaped
// ends at its first &, and the rest would be lost in silence.
func asked(query string) (string, bool) {
	if len(query) > 3*maxURL {
		return "", false
	}
	values, err := url.ParseQuery(query)
	if err != nil || len(values) != 1 || len(values["u"]) != 1 {
		return "", false
	}
	return values["u"][0], true
}

// client is the address that a request comes from: as the connection tells, or
// the last one in X-Forwarded-For that is no proxy of ours, if the connection is
// from such a proxy. The zero Addr is nobody's.
func (l *Locator) client(r *http.Request) netip.Addr {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	from := at.Addr().Unmap().WithZone("")
	if !l.trusted(from) {
		return from
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		a, err := netip.ParseAddr(strings.TrimSpace(hop))
		if err != nil {
			return netip.Addr{}
		}
		if a = a.Unmap().WithZone(""); !l.trusted(a) {
			return a
		}
	}
	return netip.Addr{}
}

func (l *Locator) trusted(a netip.Addr) bool {
	return slices.ContainsFunc(l.proxies, func(p netip.Prefix) bool { return p.Contains(a) })
}

// Explain answers an operator's question: ?u=URL&from=ADDRESS.
func (l *Locator) Explain(query url.Values, now time.Time) (Answer, error) {
	from := netip.Addr{}
	if text := query.Get("from"); text != "" {
		var err error
		if from, err = netip.ParseAddr(text); err != nil {
			return Answer{}, errors.New("from is no address, like 192.0.2.7")
		}
	}
	return l.Ask(query.Get("u"), from, now), nil
}

// Operators answers the same over HTTP, on a face for operators.
func (l *Locator) Operators() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a, err := l.Explain(r.URL.Query(), time.Now())
		w.Header().Set("Cache-Control", "no-store")
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(a); err != nil {
			return // nobody reads it
		}
	})
}
