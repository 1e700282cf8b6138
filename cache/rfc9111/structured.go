package rfc9111

import "encoding/base64"

// Structured fields (RFC 9651), as far as a cache needs them: a Dictionary is
// checked in full, and the bare value of each member is handed out. Parameters
// and inner lists are checked and dropped.

type sfKind uint8

const (
	sfInteger sfKind = iota + 1
	sfDecimal
	sfString
	sfToken
	sfBytes
	sfBoolean
	sfDate
	sfDisplay
	sfInnerList
)

// sfValue is a bare item. text is the content of a String, the digits of an
// Integer, "1" or "0" for a Boolean, the text as it stands for the others.
type sfValue struct {
	kind sfKind
	text string
}

// eachMember calls f for every member of a Dictionary in order (RFC 9651
// section 4.2.2) and reports whether all of s is one. f may have been called
// for the members before the mistake.
func eachMember(s string, f func(key string, v sfValue)) bool {
	p := sfParser{s: s}
	p.skip(isSP)
	for p.i < len(p.s) {
		key, ok := p.key()
		if !ok {
			return false
		}
		v := sfValue{kind: sfBoolean, text: "1"}
		if p.take('=') {
			if v, ok = p.itemOrInnerList(); !ok {
				return false
			}
		}
		if !p.parameters() {
			return false
		}
		f(key, v)
		p.skip(isOWS)
		if p.i == len(p.s) {
			return true
		}
		if !p.take(',') {
			return false
		}
		p.skip(isOWS)
		if p.i == len(p.s) { // a trailing comma
			return false
		}
	}
	return true
}

type sfParser struct {
	s string
	i int
}

func isSP(c byte) bool { return c == ' ' }

func (p *sfParser) skip(class func(byte) bool) {
	for p.i < len(p.s) && class(p.s[p.i]) {
		p.i++
	}
}

func (p *sfParser) take(c byte) bool {
	if p.i < len(p.s) && p.s[p.i] == c {
		p.i++
		return true
	}
	return false
}

func isLower(c byte) bool { return 'a' <= c && c <= 'z' }
func isDigit(c byte) bool { return '0' <= c && c <= '9' }
func isAlpha(c byte) bool { return isLower(lower(c)) }

func isKeyChar(c byte) bool {
	return isLower(c) || isDigit(c) || c == '_' || c == '-' || c == '.' || c == '*'
}

// key reads a key (RFC 9651 section 4.2.3.3): lower case only.
func (p *sfParser) key() (string, bool) {
	start := p.i
	if p.i == len(p.s) || !isLower(p.s[p.i]) && p.s[p.i] != '*' {
		return "", false
	}
	p.skip(isKeyChar)
	return p.s[start:p.i], true
}

func (p *sfParser) parameters() bool {
	for p.take(';') {
		p.skip(isSP)
		if _, ok := p.key(); !ok {
			return false
		}
		if p.take('=') {
			if _, ok := p.bareItem(); !ok {
				return false
			}
		}
	}
	return true
}

func (p *sfParser) itemOrInnerList() (sfValue, bool) {
	if !p.take('(') {
		return p.bareItem() // its parameters are read by the caller
	}
	for p.i < len(p.s) {
		p.skip(isSP)
		if p.take(')') {
			return sfValue{kind: sfInnerList}, true
		}
		if _, ok := p.bareItem(); !ok || !p.parameters() {
			return sfValue{}, false
		}
		if p.i == len(p.s) || p.s[p.i] != ' ' && p.s[p.i] != ')' {
			return sfValue{}, false
		}
	}
	return sfValue{}, false
}

// bareItem reads one item without its parameters (RFC 9651 section 4.2.3.1).
func (p *sfParser) bareItem() (sfValue, bool) {
	if p.i == len(p.s) {
		return sfValue{}, false
	}
	switch c := p.s[p.i]; {
	case c == '-' || isDigit(c):
		return p.number()
	case c == '"':
		return p.text()
	case c == '*' || isAlpha(c):
		start := p.i
		p.skip(func(c byte) bool { return isTokenChar(c) || c == ':' || c == '/' })
		return sfValue{kind: sfToken, text: p.s[start:p.i]}, true
	case c == ':':
		return p.bytes()
	case c == '?':
		p.i++
		if p.take('1') {
			return sfValue{kind: sfBoolean, text: "1"}, true
		}
		return sfValue{kind: sfBoolean, text: "0"}, p.take('0')
	case c == '@':
		p.i++
		v, ok := p.number()
		return sfValue{kind: sfDate, text: v.text}, ok && v.kind == sfInteger
	case c == '%':
		return p.display()
	}
	return sfValue{}, false
}

// number reads an Integer of up to 15 digits, or a Decimal with up to 12
// before and 3 behind the point (RFC 9651 section 4.2.4).
func (p *sfParser) number() (sfValue, bool) {
	start := p.i
	p.take('-')
	first := p.i
	p.skip(isDigit)
	whole := p.i - first
	if whole == 0 {
		return sfValue{}, false
	}
	if !p.take('.') {
		return sfValue{kind: sfInteger, text: p.s[start:p.i]}, whole <= 15
	}
	first = p.i
	p.skip(isDigit)
	part := p.i - first
	return sfValue{kind: sfDecimal, text: p.s[start:p.i]}, whole <= 12 && part >= 1 && part <= 3
}

func (p *sfParser) text() (sfValue, bool) {
	p.i++
	start := p.i
	for ; p.i < len(p.s); p.i++ {
		switch c := p.s[p.i]; {
		case c == '"':
			p.i++
			return sfValue{kind: sfString, text: unquote(p.s[start : p.i-1])}, true
		case c == '\\':
			p.i++
			if p.i == len(p.s) || p.s[p.i] != '"' && p.s[p.i] != '\\' {
				return sfValue{}, false
			}
		case c < 0x20 || c > 0x7e:
			return sfValue{}, false
		}
	}
	return sfValue{}, false
}

func (p *sfParser) bytes() (sfValue, bool) {
	p.i++
	start := p.i
	p.skip(func(c byte) bool { return c != ':' })
	text := p.s[start:p.i]
	if !p.take(':') {
		return sfValue{}, false
	}
	if _, err := base64.StdEncoding.DecodeString(text); err != nil {
		// Padding may be left out (RFC 9651 section 4.2.7).
		if _, err := base64.RawStdEncoding.DecodeString(text); err != nil {
			return sfValue{}, false
		}
	}
	return sfValue{kind: sfBytes, text: text}, true
}

// display checks a Display String (RFC 9651 section 4.2.10) for its form; what
// it says does not matter to a cache.
func (p *sfParser) display() (sfValue, bool) {
	p.i++
	if !p.take('"') {
		return sfValue{}, false
	}
	start := p.i
	for ; p.i < len(p.s); p.i++ {
		switch c := p.s[p.i]; {
		case c == '"':
			p.i++
			return sfValue{kind: sfDisplay, text: p.s[start : p.i-1]}, true
		case c == '%':
			if p.i+2 >= len(p.s) || !isLowerHex(p.s[p.i+1]) || !isLowerHex(p.s[p.i+2]) {
				return sfValue{}, false
			}
			p.i += 2
		case c < 0x20 || c > 0x7e:
			return sfValue{}, false
		}
	}
	return sfValue{}, false
}

func isLowerHex(c byte) bool { return isDigit(c) || 'a' <= c && c <= 'f' }
