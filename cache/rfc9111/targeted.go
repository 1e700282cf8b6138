package rfc9111

import "strings"

// parseTargeted reads a targeted field: a Dictionary of RFC 9651 whose members
// are cache directives (RFC 9213 section 2.1). A field that is empty or not a
// Dictionary is to be ignored as if it were not there.
//
// So is one in which a time is no Integer: an origin that cannot write the time
// it wants is better served by the Cache-Control beside it. A directive that
// forbids counts with any value but a false Boolean. Parameters and unknown
// members are ignored.
func parseTargeted(lines []string) (ResponseDirectives, bool) {
	text := lines[0]
	if len(lines) > 1 {
		text = strings.Join(lines, ", ") // RFC 9651 section 4.2
	}
	var d ResponseDirectives
	sound, members := true, 0
	ok := eachMember(text, func(key string, v sfValue) {
		members++
		switch key {
		case "max-age":
			sound = v.delta(&d.MaxAge) && sound
		case "s-maxage":
			sound = v.delta(&d.SMaxage) && sound
		case "stale-while-revalidate":
			sound = v.delta(&d.StaleWhileRevalidate) && sound
		case "stale-if-error":
			sound = v.delta(&d.StaleIfError) && sound
		case "no-cache":
			d.NoCache, d.NoCacheFields = v.fields()
		case "private":
			d.Private, d.PrivateFields = v.fields()
		case "no-store":
			d.NoStore = !v.isFalse()
		case "must-revalidate":
			d.MustRevalidate = !v.isFalse()
		case "proxy-revalidate":
			d.ProxyRevalidate = !v.isFalse()
		case "must-understand":
			d.MustUnderstand = v.isTrue() // it can lift no-store
		case "public":
			d.Public = v.isTrue()
		case "immutable":
			d.Immutable = v.isTrue()
		case "no-transform":
			d.NoTransform = !v.isFalse()
		}
	})
	return d, ok && sound && members > 0
}

// delta takes an Integer for a time. The last of several members of one name
// counts, as in every Dictionary.
func (v sfValue) delta(to *Delta) bool {
	if v.kind != sfInteger || v.text[0] == '-' {
		return false
	}
	*to = Delta{}
	to.set(v.text)
	return true
}

// fields reads the value of no-cache or private: a Boolean, or a String with
// a list of field names.
func (v sfValue) fields() (whole bool, names []string) {
	switch {
	case v.isFalse():
		return false, nil
	case v.kind == sfString || v.kind == sfToken:
		qualify(&whole, &names, v.text, true)
		return whole, names
	}
	return true, nil
}

func (v sfValue) isTrue() bool  { return v.kind == sfBoolean && v.text == "1" }
func (v sfValue) isFalse() bool { return v.kind == sfBoolean && v.text == "0" }
