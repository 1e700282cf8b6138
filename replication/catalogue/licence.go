package catalogue

import "strings"

// A deposit's licence stands at the end of its description: the encoding has no
// field for it, and every server and box that there is carries a description
// whole. Whoever shows or delivers a deposit takes it apart.
const (
	licenceMark = "Licence : "
	licenceGap  = " · "
	maxLicence  = 200
	// mostBefore leaves room for a licence in what a description may have on all
	// its ways.
	mostBefore = 3700
)

// WithLicence is a description that a licence is written at the end of.
func WithLicence(description, licence string) string {
	if licence = strings.Join(strings.Fields(licence), " "); licence == "" || len(licence) > maxLicence {
		return description
	}
	if len(description) > mostBefore {
		description = strings.ToValidUTF8(description[:mostBefore], "")
	}
	if description = strings.TrimSpace(description); description == "" {
		return licenceMark + licence
	}
	return description + licenceGap + licenceMark + licence
}

// TakeLicence takes a description and the licence at its end apart; there may be
// none.
func TakeLicence(description string) (text, licence string) {
	licence = description
	if i := strings.LastIndex(description, licenceGap+licenceMark); i >= 0 {
		text, licence = description[:i], description[i+len(licenceGap):]
	}
	licence, ok := strings.CutPrefix(licence, licenceMark)
	if !ok || strings.TrimSpace(licence) == "" || len(licence) > maxLicence {
		return description, ""
	}
	return text, licence
}
