package provision

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"preau/cache/page"
	"preau/node/obs"
)

// Step is how far the box is on its way into its region.
type Step string

// The steps.
const (
	Waiting   Step = "waiting"   // for a file
	Mistake   Step = "mistake"   // the file that is there can't be used
	Asking    Step = "asking"    // the region, with the token
	Unreached Step = "unreached" // the region does not answer yet
	Refused   Step = "refused"   // the region said no
	Done      Step = "done"
)

// The steps of a box whose disk does not open, and that has been somebody.
const (
	Returning Step = "returning" // the region is told, and an operator must agree
	Untold    Step = "untold"    // no server of the region could be told yet
	Outdated  Step = "outdated"  // no server of the region can take a box back
	Rejected  Step = "rejected"  // the region takes this one not back
)

// State is what people and programs are told.
type State struct {
	Step     Step     `json:"step"`
	File     string   `json:"file,omitempty"` // that is meant
	Problems []string `json:"problems,omitempty"`
	Box      string   `json:"box"`
	Address  string   `json:"address,omitempty"` // of the page
	Degraded string   `json:"degraded,omitempty"`
	// Code is for the school and an operator of the region to compare.
	Code string `json:"code,omitempty"`
	// Used: there is a file, and its token was used.
	Used bool `json:"used,omitempty"`
	// Pass is of the web sites that pass meanwhile, if any should.
	Pass *PassState `json:"pass,omitempty"`
}

// tell brings the page and the screen up to date.
func (p *Provision) tell(f found, s State) {
	switch s.Step {
	case Waiting, Returning, Untold, Outdated, Rejected:
		// Somebody stands there with a stick: that goes first.
		if len(f.problems) > 0 {
			s = State{Step: Mistake, Problems: f.problems, Code: s.Code}
		}
		s.Used = f.used && s.Step == Waiting
	default:
	}
	s.File, s.Box, s.Degraded, s.Pass = f.path, p.name(), p.degraded(), p.passState()
	if all := p.parts.Addresses(); len(all) > 0 {
		s.Address = "http://" + all[0] + "/"
	}
	p.state.Store(&s)
	code, _ := p.claim.Code()
	text := screen(s, code)
	if text == p.shown {
		return
	}
	p.shown = text
	if s.Address != "" && s.Step != Done {
		if qr, err := p.parts.QR(s.Address); err == nil {
			text += "\n" + qr
		}
	}
	// A screen that nobody has plugged in is no reason to stop.
	_, _ = fmt.Fprint(p.parts.Console, text)
}

// screen is a state as the box's screen shows it, in both languages.
func screen(s State, code string) string {
	var b strings.Builder
	b.WriteString("\n")
	for _, lang := range []page.Lang{page.French, page.English} {
		n := notice(s, lang)
		fmt.Fprintf(&b, "  %s.\n", n.Title)
		for _, line := range []string{n.Text, n.Advice} {
			if line != "" {
				fmt.Fprintf(&b, "  %s\n", line)
			}
		}
		b.WriteString("\n")
	}
	for _, problem := range s.Problems {
		fmt.Fprintf(&b, "      %s\n", problem)
	}
	if s.Address != "" {
		fmt.Fprintf(&b, "\n      %s\n", s.Address)
	}
	if code != "" {
		fmt.Fprintf(&b, "\n  %s\n  %s\n\n      %s\n", wordsIn(page.French).code, wordsIn(page.English).code, code)
	}
	return b.String()
}

var frame = page.Must(`{{template "notice" .Notice}}{{with .Problems}}<ul>{{range .}}<li>{{.}}</li>{{end}}</ul>{{end}}<p>{{.Box}}</p>`)

// pageHandler answers everything with how far the box is. It never shows the
// claim code: whoever stands before the box's screen may claim it, and not
// whoever is on its network.
func (p *Provision) pageHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		lang, s := page.Language(r), *p.state.Load()
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Refresh", "10")
		n := notice(s, lang)
		say := wordsIn(lang)
		if page.Asked(r, "text/html") != "" {
			body := struct {
				Notice   page.Notice
				Problems []string
				Box      string
			}{n, s.Problems, fmt.Sprintf(say.box, s.Box) + " " + say.where}
			if frame.Write(w, r, page.Answer{Status: http.StatusServiceUnavailable, Lang: lang, Title: n.Title, Body: body}) == nil {
				return
			}
		}
		n.Plain(w, r, http.StatusServiceUnavailable, lang)
	})
}

// problem is the state in a line, for operators.
func (s State) problem() string {
	parts := append([]string{notice(s, page.English).Title}, s.Problems...)
	if s.Code != "" {
		parts = append(parts, "its code is "+s.Code)
	}
	return strings.Join(parts, ": ")
}

// statusHandler says the same to programs, in the form in which a box does.
func (p *Provision) statusHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		s := *p.state.Load()
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		json.NewEncoder(w).Encode(struct { //nolint:errcheck // nobody to tell
			Version   string `json:"version"`
			Problem   string `json:"problem"`
			Provision State  `json:"provision"`
		}{obs.ReadBuild().Version, s.problem(), s})
	})
}
