package look

import "html/template"

// shapes are the icons: strokes in a square of 24, in the colour of the words
// beside them.
var shapes = map[string]string{
	// The box's own: a roof over the yard, and rain beside it.
	"preau":    `<path d="M2.5 11 12 4l9.5 7"/><path d="M5.5 9v11M18.5 9v11M3.5 20h17"/><path d="M10 20v-3.2a2 2 0 0 1 4 0V20"/>`,
	"home":     `<path d="m3 11 9-7 9 7"/><path d="M5.5 9.5V20h13V9.5"/><path d="M10 20v-5h4v5"/>`,
	"search":   `<circle cx="11" cy="11" r="6.5"/><path d="m16 16 5 5"/>`,
	"lesson":   `<path d="M3.5 5h17v11h-17z"/><path d="M8 20.5 12 16l4 4.5M7.5 9h9M7.5 12h5"/>`,
	"folder":   `<path d="M3 6.5a1.5 1.5 0 0 1 1.5-1.5h4.2l2.3 2.5h8.5A1.5 1.5 0 0 1 21 9v8.5a1.5 1.5 0 0 1-1.5 1.5h-15A1.5 1.5 0 0 1 3 17.5z"/>`,
	"file":     `<path d="M6 3h8l4.5 4.5V21H6z"/><path d="M14 3v4.5h4.5"/>`,
	"document": `<path d="M6 3h8l4.5 4.5V21H6z"/><path d="M14 3v4.5h4.5M9 12h6.500M9 15h6.500M9 18h4"/>`,
	"picture":  `<rect x="3" y="4.500" width="18" height="15" rx="2"/><circle cx="8.500" cy="9.500" r="1.600"/><path d="m3.500 17 5-4.500 3.500 3 3.500-4 5 5"/>`,
	"audio":    `<path d="M9 17.500V6l11-2.500V15"/><circle cx="6.500" cy="17.500" r="2.500"/><circle cx="17.500" cy="15" r="2.500"/>`,
	"video":    `<rect x="3" y="5" width="18" height="14" rx="2.500"/><path d="m10 9 5.500 3-5.500 3z"/>`,
	"archive":  `<path d="M4 8.500h16V20H4zM3 4.500h18v4H3zM10 12h4"/>`,
	"link":     `<path d="M10 14a4 4 0 0 0 5.800.2l3-3a4 4 0 0 0-5.700-5.700L11.500 7"/><path d="M14 10a4 4 0 0 0-5.800-.2l-3 3a4 4 0 0 0 5.700 5.700l1.600-1.500"/>`,
	"globe":    `<circle cx="12" cy="12" r="9"/><path d="M3 12h18M12 3c3 3 3.500 6 3.500 9s-.5 6-3.500 9c-3-3-3.500-6-3.500-9S9 6 12 3z"/>`,
	"check":    `<path d="m4.500 12.500 5 5 10-11"/>`,
	"here":     `<circle cx="12" cy="12" r="9"/><path d="m7.500 12.500 3 3 6-6.500"/>`,
	"part":     `<circle cx="12" cy="12" r="9"/><path d="M12 3a9 9 0 0 1 0 18z" fill="currentColor"/>`,
	"away":     `<path d="M7 18.500a4.500 4.500 0 0 1-.6-8.960 6 6 0 0 1 11.500 1.600A3.700 3.700 0 0 1 17.500 18.500z"/>`,
	"download": `<path d="M12 4v11m-4.500-4L12 15.500 16.500 11M4.500 20h15"/>`,
	"upload":   `<path d="M12 16V5M7.500 9 12 4.500 16.500 9M4.500 20h15"/>`,
	"person":   `<circle cx="12" cy="8" r="4"/><path d="M4.500 20.500c1-4 4-6 7.500-6s6.500 2 7.500 6"/>`,
	"people":   `<circle cx="9" cy="8.500" r="3.500"/><path d="M2.500 20c.8-3.600 3.300-5.500 6.500-5.500s5.700 1.900 6.500 5.500M15.500 5.300a3.500 3.500 0 0 1 0 6.400M18 15c1.900.9 3 2.600 3.500 5"/>`,
	"school":   `<path d="m3 10 9-6 9 6M5 9v11h14V9"/><path d="M10 20v-5h4v5M12 4V2M8.500 12h.01M15.500 12h.01"/>`,
	"add":      `<path d="M12 5v14M5 12h14"/>`,
	"edit":     `<path d="m4 20 1-4.500L16.500 4l3.500 3.500L8.500 19z"/><path d="m14 6.500 3.500 3.500"/>`,
	"trash":    `<path d="M4.500 7h15M9.500 7V4h5v3M6.500 7l1 13.500h9l1-13.500M10 11v6M14 11v6"/>`,
	"close":    `<path d="m6 6 12 12M18 6 6 18"/>`,
	"next":     `<path d="m9 5 7 7-7 7"/>`,
	"clock":    `<circle cx="12" cy="12" r="9"/><path d="M12 7v5.500l3.500 2"/>`,
	"wait":     `<path d="M7 3h10M7 21h10M8 3v3.500c0 3 4 4 4 5.500s-4 2.500-4 5.500V21M16 3v3.500c0 3-4 4-4 5.500s4 2.500 4 5.500V21"/>`,
	"no":       `<circle cx="12" cy="12" r="9"/><path d="m8.500 8.500 7 7M15.500 8.500l-7 7"/>`,
	"warning":  `<path d="M12 4 2.500 20h19z"/><path d="M12 10v4.500M12 17.300v.1"/>`,
	"key":      `<circle cx="8" cy="15.500" r="4.500"/><path d="m11.500 12 8-8M16 7.500l3 3"/>`,
	"print":    `<path d="M7 9V3.500h10V9M7 17H4V9h16v8h-3"/><path d="M7 14h10v6.500H7z"/>`,
	"sun":      `<circle cx="12" cy="12" r="4"/><path d="M12 2.500v2.500M12 19v2.500M2.500 12H5M19 12h2.500M5.300 5.300 7 7M17 17l1.700 1.700M5.300 18.700 7 17M17 7l1.700-1.700"/>`,
	"rain":     `<path d="M7 15a4.500 4.500 0 0 1-.6-8.960 6 6 0 0 1 11.500 1.600A3.700 3.700 0 0 1 17.500 15z"/><path d="m8.500 18-1 3M13 18l-1 3M17.500 18l-1 3"/>`,
	"lost":     `<circle cx="12" cy="12" r="9"/><path d="m15.500 8.500-2 5-5 2 2-5z"/>`,
	"shelf":    `<path d="M4 4h4v16H4zM8 6.500h4V20H8zM13 7l3.800-1 3.700 13.500-3.800 1z"/>`,
	"plug":     `<path d="M9 3v5M15 3v5M6 8h12v3.500a6 6 0 0 1-12 0zM12 17.500V21"/>`,
}

// Icon is a small picture to stand beside words, which say all that it does.
// There is none for a name that is not known.
func Icon(name string) template.HTML {
	d, ok := shapes[name]
	if !ok {
		return ""
	}
	return template.HTML(`<svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">` + d + `</svg>`)
}

// IconOf is the icon for a media type.
func IconOf(contentType string) string { return Kind(contentType).Icon() }
