package catalogue

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"preau/cache/block"
	"preau/replication/identity"
)

// What is written here is part of version 1 of the encoding, as are the texts:
// they are kept with the results of commands. Nothing may be left to a library
// whose judgement could change, such as a table of characters or a parser of
// media types.

const (
	maxBy       = 128 // bytes of the name of who asks
	maxLine     = 512 // of a short text
	maxFilename = 255
	maxKey      = 1024 // of an object of the centre
	maxHints    = 400
	maxSealed   = 16 << 10
	maxSites    = 64
	maxSpans    = 48
	maxVersion  = 64 // of the text that names a program's version
	byHand      = "it is counted, and can't be put by hand"
)

// first is the first of faults that is one.
func first(faults ...string) string {
	for _, f := range faults {
		if f != "" {
			return f
		}
	}
	return ""
}

func unless(ok bool, fault string) string {
	if ok {
		return ""
	}
	return fault
}

// line looks at one line of text.
func line(what, s string, least, most int) string {
	return text(what, s, least, most, "")
}

// lines looks at text that may have several lines.
func lines(what, s string) string { return text(what, s, 0, MaxTextBytes, "\n\t") }

func text(what, s string, least, most int, controls string) string {
	switch {
	case len(s) < least:
		return what + " is missing"
	case len(s) > most:
		return fmt.Sprintf("%s has %d bytes, the most is %d", what, len(s), most)
	case !utf8.ValidString(s):
		return what + " is not valid UTF-8"
	}
	for _, r := range s {
		if (r < ' ' || r >= 0x7f && r < 0xa0) && !strings.ContainsRune(controls, r) {
			return what + " has control characters"
		}
	}
	return ""
}

// when looks at times, which may be missing.
func when(times ...time.Time) string {
	for _, t := range times {
		if y := t.Year(); !t.IsZero() && (y < 1970 || y > 9999) {
			return "a time is out of range"
		}
	}
	return ""
}

func isIDByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-'
}

// id looks at an id that its maker was free to choose.
func id(what, s string) string {
	switch {
	case s == "":
		return what + " is missing"
	case len(s) > MaxIDBytes:
		return fmt.Sprintf("%s has %d bytes, the most is %d", what, len(s), MaxIDBytes)
	}
	for i := range len(s) {
		if !isIDByte(s[i]) {
			return what + " may have letters, digits and . _ - only"
		}
	}
	return ""
}

func optionalID(what, s string) string {
	if s == "" {
		return ""
	}
	return id(what, s)
}

func name(s string) string {
	_, err := identity.ParseName(s)
	return unless(err == nil, "the name must have 1 to 40 of a-z, 0-9 and -, with no - at either end")
}

func role(r identity.Role) string {
	_, err := identity.ParseRole(string(r))
	return unless(err == nil, "the role must be server, box, operator or central")
}

func school(s identity.School) string {
	p, err := identity.ParseSchool(string(s))
	return unless(err == nil && p == s, "a school's code must have 7 digits and a capital letter")
}

func optionalSchool(s identity.School) string {
	if s == "" {
		return ""
	}
	return school(s)
}

func schools(list []identity.School) string {
	if len(list) > MaxAudience {
		return fmt.Sprintf("it names %d schools, the most is %d: make it for all", len(list), MaxAudience)
	}
	for _, s := range list {
		if f := school(s); f != "" {
			return f
		}
	}
	return ""
}

// address looks at host:port.
func address(s string) string {
	const fault = "the address must be host:port"
	cut := strings.LastIndexByte(s, ':')
	if cut < 1 || len(s) > 300 {
		return fault
	}
	host, port := s[:cut], s[cut+1:]
	if h, ok := strings.CutPrefix(host, "["); ok {
		if host, ok = strings.CutSuffix(h, "]"); !ok || strings.Trim(host, "0123456789abcdefABCDEF:.") != "" || host == "" {
			return fault
		}
	} else if f := id("", host); f != "" {
		return fault
	}
	n := 0
	for i := range len(port) {
		if port[i] < '0' || port[i] > '9' || i > 4 {
			return fault
		}
		n = 10*n + int(port[i]-'0')
	}
	return unless(n > 0 && n < 1<<16 && port[0] != '0', fault)
}

// filename looks at the name that a device will save a file under.
func filename(s string) string {
	return first(
		line("the filename", s, 1, maxFilename),
		unless(!strings.ContainsAny(s, `/\`), "the filename has a slash"),
		unless(s != "." && s != "..", "the filename names a folder"),
	)
}

// mediaType looks at a content type as far as it is safe in a header.
func mediaType(s string) string {
	const fault = "the content type must be type/subtype, in ASCII"
	slash := strings.IndexByte(s, '/')
	if slash < 1 || slash == len(s)-1 || len(s) > 256 {
		return fault
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return fault
		}
	}
	return ""
}

// popular looks at the key of something that was asked for.
func popular(key string) string {
	const fault = `a popularity key must be "r/ID", "o/SITE/PATH" or "m/" and 16 hexadecimal digits`
	if f := line("a popularity key", key, 1, MaxIDBytes); f != "" {
		return f
	}
	switch rest := key[min(2, len(key)):]; key[:min(2, len(key))] {
	case "r/":
		return unless(id("", rest) == "", fault)
	case "m/":
		return unless(len(rest) == 16 && strings.Trim(rest, "0123456789abcdef") == "", fault)
	case "o/":
		site, _, ok := strings.Cut(rest, "/")
		return unless(ok && id("", site) == "", fault)
	}
	return fault
}

func (f Region) fault() string {
	_, err := identity.ParseRegion(string(f.ID))
	return first(
		unless(err == nil, "the region's id must have 16 hexadecimal digits"),
		line("the region's name", f.Name, 0, maxLine),
		unless(len(f.CA) <= maxSealed, "the certificate is too long"),
	)
}

func (f Server) fault() string {
	fault := first(name(f.Name), address(f.Address), unless(len(f.Sites) <= maxSites, "it has too many sites"))
	for _, s := range f.Sites {
		fault = first(fault, id("a site", s))
	}
	return fault
}

func (f SchoolEntry) fault() string {
	return first(school(f.Code), line("the school's name", f.Name, 0, maxLine))
}

func (f Box) fault() string {
	return first(
		name(f.Name), school(f.School),
		unless(f.SPKI != [32]byte{}, "the key is missing"),
		unless(!f.Enrolled.IsZero(), "the time of enrolment is missing"), when(f.Enrolled),
	)
}

func (f Revocation) fault() string {
	return first(role(f.Role), name(f.Name), optionalSchool(f.School), lines("the reason", f.Reason))
}

func (f Policy) fault() string {
	fault := first(
		optionalSchool(f.School),
		unless(f.PrefetchRate >= 0 && f.LeaseSeconds >= 0 && f.KAnonymity >= 0 && f.PrefetchPopular >= 0, "a setting is below zero"),
		unless(len(f.PrefetchHours) <= maxSpans, "it has too many spans of hours"),
	)
	for _, h := range f.PrefetchHours {
		ok := h.From >= 0 && h.From <= 24*60 && h.To >= 0 && h.To <= 24*60
		fault = first(fault, unless(ok, "hours are counted in minutes from 0 to 1440"))
	}
	return fault
}

func (f Collection) fault() string {
	return first(id("the id", f.ID), line("the title", f.Title, 0, MaxTextBytes), schools(f.Audience))
}

func (f Resource) fault() string {
	return first(
		id("the id", f.ID),
		id("the collection", f.Collection),
		line("the title", f.Title, 0, MaxTextBytes),
		filename(f.Filename),
		mediaType(f.ContentType),
		lines("the description", f.Description),
		line("the language", f.Language, 0, maxLine),
		line("the level", f.Level, 0, maxLine),
		line("the licence", f.Licence, 0, maxLine),
		schools(f.Audience), when(f.Modified, f.Expires),
		f.bodyFault(),
		line("the bucket", f.Bucket, 0, maxLine), line("the key", f.Key, 0, maxKey), line("the ETag", f.ETag, 0, maxLine),
		unless((f.Bucket == "") == (f.Key == ""), "a bucket needs a key, and a key a bucket"),
	)
}

// bodyFault looks at what names the bytes of the file.
func (f Resource) bodyFault() string {
	if f.Length < 0 || f.Length > block.MaxBlocks*block.Size {
		return "the length can't be"
	}
	if f.SHA256.IsZero() {
		return "the digest is missing"
	}
	if f.Listed {
		return unless(f.Length > 0 && len(f.Blocks) == 0 && !f.Manifest.IsZero(), "a body whose blocks are listed must have a manifest, and a length")
	}
	n := (f.Length + block.Size - 1) / block.Size
	if n > MaxInlineBlocks {
		return first(
			unless(len(f.Blocks) == 0, fmt.Sprintf("a body of more than %d blocks must have a manifest instead", MaxInlineBlocks)),
			unless(!f.Manifest.IsZero(), "the manifest is missing"),
		)
	}
	if !f.Manifest.IsZero() {
		return fmt.Sprintf("a body of up to %d blocks must have no manifest", MaxInlineBlocks)
	}
	if int64(len(f.Blocks)) != n {
		return fmt.Sprintf("a body of %d bytes has %d blocks, not %d", f.Length, n, len(f.Blocks))
	}
	for _, d := range f.Blocks {
		if d.IsZero() {
			return "a block's digest is missing"
		}
	}
	return unless(n != 1 || f.Blocks[0] == f.SHA256, "the only block has another digest than the body")
}

func (f Subscription) fault() string {
	return first(id("the id", f.ID), optionalSchool(f.School), id("the collection", f.Collection))
}

func (f Pin) fault() string {
	return first(
		id("the id", f.ID),
		unless((f.Resource == "") != (f.Collection == ""), "a pin must name a resource or a collection, and not both"),
		optionalID("the resource", f.Resource), optionalID("the collection", f.Collection),
		schools(f.Schools), when(f.From, f.Until),
		unless(f.From.IsZero() || f.Until.IsZero() || f.From.Before(f.Until), "it ends before it begins"),
	)
}

func (f Purge) fault() string {
	marked, aimed := f.Mark != [8]byte{}, f.Target != ""
	fault := first(id("the id", f.ID), lines("the reason", f.Reason), line("who asked", f.By, 0, maxBy))
	switch f.Scope {
	case ScopeExact, ScopePrefix, ScopeTag:
		return first(fault, id("the site", f.Site), unless(marked && !aimed, "such a purge must have a site and a mark, and nothing else"))
	case ScopeSite:
		return first(fault, id("the site", f.Site), unless(!marked && !aimed, "such a purge must have a site, and nothing else"))
	case ScopeResource, ScopeCollection:
		return first(fault, id("the target", f.Target), unless(!marked && f.Site == "", "such a purge must have a target, and nothing else"))
	}
	return first(fault, "it has no scope")
}

func (f Hints) fault() string {
	fault := unless(len(f.Keys) <= maxHints, fmt.Sprintf("it has %d hints, the most is %d", len(f.Keys), maxHints))
	for _, h := range f.Keys {
		fault = first(fault, popular(h.Key))
	}
	return fault
}

func (f Authority) fault() string {
	return unless(len(f.CA) <= maxSealed && len(f.Sealed) <= maxSealed && len(f.Sealed) > 0, "the sealed key is missing, or too long")
}

func (f Token) fault() string {
	return first(
		id("the id", f.ID), role(f.Role), optionalSchool(f.School),
		unless((f.Role == identity.Box) == (f.School != ""), "a token must name a school if it is for a box, and only then"),
		unless(f.SecretHash != [32]byte{}, "the secret is missing"),
		unless(!f.NotAfter.IsZero(), "it must end some time"), when(f.NotAfter),
	)
}

func (f Popularity) fault() string { return first(popular(f.Key), when(f.At)) }

func (f Contact) fault() string {
	return first(name(f.Box), line("the version", f.Version, 0, maxVersion), when(f.At))
}
