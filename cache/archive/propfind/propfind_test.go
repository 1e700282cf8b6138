package propfind_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"preau/cache/archive/propfind"
)

var changed = time.Date(2026, 11, 20, 8, 15, 31, 0, time.UTC)

// nextcloud is what Nextcloud 29 answers about a shared folder: its own
// namespaces, a propstat for what it has and one for what it has not.
const nextcloud = `<?xml version="1.0"?>
<d:multistatus xmlns:d="DAV:" xmlns:s="http://sabredav.org/ns" xmlns:oc="http://owncloud.org/ns" xmlns:nc="http://nextcloud.org/ns"><d:response><d:href>/public.php/dav/files/kS2bTqPn7xYwZmA/</d:href><d:propstat><d:prop><d:getlastmodified>Fri, 20 Nov 2026 08:15:31 GMT</d:getlastmodified><d:resourcetype><d:collection/></d:resourcetype><d:quota-used-bytes>300000</d:quota-used-bytes><d:getetag>&quot;6a1f0c3d9be42&quot;</d:getetag><oc:size>300000</oc:size></d:prop><d:status>HTTP/1.1 200 OK</d:status></d:propstat><d:propstat><d:prop><d:getcontentlength/><d:getcontenttype/></d:prop><d:status>HTTP/1.1 404 Not Found</d:status></d:propstat></d:response><d:response><d:href>/public.php/dav/files/kS2bTqPn7xYwZmA/Sch%c3%a9ma%20%281%29.svg</d:href><d:propstat><d:prop><d:getlastmodified>Fri, 20 Nov 2026 08:15:31 GMT</d:getlastmodified><d:getcontentlength>200000</d:getcontentlength><d:resourcetype/><d:getetag>&quot;9d41e02b77c1f6aa&quot;</d:getetag><d:getcontenttype>image/svg+xml</d:getcontenttype><nc:has-preview>true</nc:has-preview><oc:checksums><oc:checksum>SHA1:aa MD5:bb</oc:checksum></oc:checksums></d:prop><d:status>HTTP/1.1 200 OK</d:status></d:propstat><d:propstat><d:prop><d:quota-used-bytes/><d:quota-available-bytes/></d:prop><d:status>HTTP/1.1 404 Not Found</d:status></d:propstat></d:response><d:response><d:href>/public.php/dav/files/kS2bTqPn7xYwZmA/%c3%89l%c3%a8ves/</d:href><d:propstat><d:prop><d:getlastmodified>Fri, 20 Nov 2026 08:15:31 GMT</d:getlastmodified><d:resourcetype><d:collection/></d:resourcetype><d:getetag>&quot;6a1f0c3d9be43&quot;</d:getetag></d:prop><d:status>HTTP/1.1 200 OK</d:status></d:propstat></d:response></d:multistatus>
`

// apache is the form of mod_dav: the namespace at each element, a prefix for
// properties of its own, whole lines.
const apache = `<?xml version="1.0" encoding="utf-8"?>
<D:multistatus xmlns:D="DAV:" xmlns:ns0="DAV:">
<D:response xmlns:lp1="DAV:" xmlns:lp2="http://apache.org/dav/props/">
<D:href>/cours/</D:href>
<D:propstat>
<D:prop>
<lp1:resourcetype><D:collection/></lp1:resourcetype>
<lp1:getlastmodified>Fri, 20 Nov 2026 08:15:31 GMT</lp1:getlastmodified>
<lp1:getetag>"1000-5f"</lp1:getetag>
</D:prop>
<D:status>HTTP/1.1 200 OK</D:status>
</D:propstat>
</D:response>
<D:response xmlns:lp1="DAV:" xmlns:lp2="http://apache.org/dav/props/">
<D:href>/cours/plan.odt</D:href>
<D:propstat>
<D:prop>
<lp1:resourcetype/>
<lp1:getcontentlength>12</lp1:getcontentlength>
<lp1:getlastmodified>Fri, 20 Nov 2026 08:15:31 GMT</lp1:getlastmodified>
<lp1:getetag>W/"c-5f"</lp1:getetag>
<lp2:executable>F</lp2:executable>
</D:prop>
<D:status>HTTP/1.1 200 OK</D:status>
</D:propstat>
</D:response>
</D:multistatus>
`

func TestListingsOfServersAreRead(t *testing.T) {
	tests := map[string]struct {
		document string
		want     []propfind.Item
	}{
		"Nextcloud": {nextcloud, []propfind.Item{
			{Path: "/public.php/dav/files/kS2bTqPn7xYwZmA/", Folder: true, Size: -1, Modified: changed, ETag: `"6a1f0c3d9be42"`},
			{Path: "/public.php/dav/files/kS2bTqPn7xYwZmA/Sch%c3%a9ma%20%281%29.svg", Size: 200_000, Modified: changed, ETag: `"9d41e02b77c1f6aa"`},
			{Path: "/public.php/dav/files/kS2bTqPn7xYwZmA/%c3%89l%c3%a8ves/", Folder: true, Size: -1, Modified: changed, ETag: `"6a1f0c3d9be43"`},
		}},
		"Apache": {apache, []propfind.Item{
			{Path: "/cours/", Folder: true, Size: -1, Modified: changed, ETag: `"1000-5f"`},
			{Path: "/cours/plan.odt", Size: 12, Modified: changed, ETag: `W/"c-5f"`},
		}},
		"nothing": {multistatus(), nil},
		"a whole URL": {
			multistatus(`<href>https://nuage.example/a%20b</href>`, ok(`<getcontentlength>1</getcontentlength>`)),
			[]propfind.Item{{Path: "/a%20b", Size: 1}},
		},
		"no properties": {
			multistatus(`<href>/a</href>`),
			[]propfind.Item{{Path: "/a", Size: -1}},
		},
		"properties that are refused": {
			multistatus(`<href>/a</href><propstat><prop><getcontentlength>5</getcontentlength><resourcetype><collection/></resourcetype></prop><status>HTTP/1.1 403 Forbidden</status></propstat>`, ok(`<getetag>"x"</getetag>`)),
			[]propfind.Item{{Path: "/a", Size: -1, ETag: `"x"`}},
		},
		"properties without a status": {
			multistatus(`<href>/a</href><propstat><prop><getcontentlength>5</getcontentlength></prop></propstat>`),
			[]propfind.Item{{Path: "/a", Size: -1}},
		},
		"values that are none": {
			multistatus(`<href>/a</href>`, ok(`<getcontentlength>-5</getcontentlength><getlastmodified>yesterday</getlastmodified><getetag>"a`+"\n"+`b"</getetag>`)),
			[]propfind.Item{{Path: "/a", Size: -1}},
		},
		"a size beyond all": {
			multistatus(`<href>/a</href>`, ok(`<getcontentlength>9223372036854775808</getcontentlength>`)),
			[]propfind.Item{{Path: "/a", Size: -1}},
		},
		"a date as PHP has it": {
			multistatus(`<href>/a</href>`, ok(`<getlastmodified>Fri, 20 Nov 2026 09:15:31 +0100</getlastmodified>`)),
			[]propfind.Item{{Path: "/a", Size: -1, Modified: changed}},
		},
		"an item that is gone": {
			multistatus(`<href>/a</href><status>HTTP/1.1 404 Not Found</status>`, `</response><response><href>/b</href>`),
			[]propfind.Item{{Path: "/b", Size: -1}},
		},
		"properties of another namespace": {
			multistatus(`<href>/a</href>`, ok(`<x:getcontentlength xmlns:x="urn:x">7</x:getcontentlength><x:resourcetype xmlns:x="urn:x"><collection/></x:resourcetype>`)),
			[]propfind.Item{{Path: "/a", Size: -1}},
		},
		"a property within a property": {
			multistatus(`<href>/a</href>`, ok(`<other><getcontentlength>7</getcontentlength></other>`)),
			[]propfind.Item{{Path: "/a", Size: -1}},
		},
		"comments and sections": {
			multistatus(`<href><!-- x -->/a<![CDATA[b]]></href>`, ok(`<getcontentlength> 7 </getcontentlength>`)),
			[]propfind.Item{{Path: "/ab", Size: 7}},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			for _, r := range []io.Reader{strings.NewReader(tt.document), iotest.OneByteReader(strings.NewReader("\ufeff" + tt.document))} {
				got, err := propfind.Parse(r, 3)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(tt.want, got, cmpopts.IgnoreUnexported(propfind.Item{}), cmpopts.EquateEmpty()); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

// multistatus is a document with one response.
func multistatus(parts ...string) string {
	if len(parts) == 0 {
		return `<multistatus xmlns="DAV:"/>`
	}
	return `<multistatus xmlns="DAV:"><response>` + strings.Join(parts, "") + `</response></multistatus>`
}

// ok is a propstat of properties that there are.
func ok(properties string) string {
	return `<propstat><prop>` + properties + `</prop><status>HTTP/1.1 200 OK</status></propstat>`
}

func TestWhatIsNoListingIsRefused(t *testing.T) {
	tests := map[string]string{
		"nothing":             "",
		"text":                "Not Found",
		"a page":              "<!DOCTYPE html><html><body>Connexion</body></html>",
		"an error":            `<d:error xmlns:d="DAV:" xmlns:s="http://sabredav.org/ns"><s:exception>Sabre\DAV\Exception\ServiceUnavailable</s:exception></d:error>`,
		"another namespace":   `<multistatus/>`,
		"cut":                 nextcloud[:len(nextcloud)/2],
		"cut before its end":  strings.TrimSuffix(nextcloud, "</d:multistatus>\n"),
		"wrong nesting":       `<multistatus xmlns="DAV:"><response></multistatus></response>`,
		"another encoding":    `<?xml version="1.0" encoding="iso-8859-1"?>` + multistatus(),
		"bytes that are none": multistatus("<href>/\xff</href>"),
		"an unknown entity":   multistatus("<href>/&file;</href>"),
		"entities of its own": `<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;">]>` + multistatus("<href>/&b;</href>"),
		"an outer entity":     `<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>` + multistatus("<href>/&a;</href>"),
		"a late doctype":      `<multistatus xmlns="DAV:"><!DOCTYPE x></multistatus>`,
		"depth":               `<multistatus xmlns="DAV:">` + strings.Repeat("<a>", 40) + strings.Repeat("</a>", 40) + `</multistatus>`,
		"a long text":         multistatus("<href>/" + strings.Repeat("a", 9000) + "</href>"),
		"no address":          multistatus(ok("")),
		"two addresses":       multistatus("<href>/a</href><href>/b</href>"),
		"more not listed":     multistatus("<href>/a</href><status>HTTP/1.1 507 Insufficient Storage</status>"),
		"no status":           multistatus("<href>/a</href><status>OK</status>"),
		"an odd status":       multistatus("<href>/a</href>", `<propstat><status>HTTP/1.1 99999999999</status></propstat>`),
	}
	for _, href := range []string{
		"", "a", "a/b", "../a", "/a/../b", "/%2e%2e/b", "/a/./b", "/a//b", "/a%2Fb", "/a%00b", "/a%ff", "/a%zz", "/a?b", "/a#b", "mailto:x", "https://x",
	} {
		tests["the address "+href] = multistatus("<href>" + href + "</href>")
	}
	for name, document := range tests {
		if items, err := propfind.Parse(strings.NewReader(document), 10); !errors.Is(err, propfind.ErrMalformed) {
			t.Errorf("%s: %v, %v", name, items, err)
		}
	}
}

func TestMoreThanWasToBeReadIsRefused(t *testing.T) {
	item := func(i int) string { return fmt.Sprintf("<response><href>/%d</href></response>", i) }
	var b strings.Builder
	for i := range 11 {
		b.WriteString(item(i))
	}
	for name, document := range map[string]string{
		"items":         `<multistatus xmlns="DAV:">` + b.String() + `</multistatus>`,
		"text":          `<multistatus xmlns="DAV:">` + strings.Repeat(" ", 1<<20),
		"an attribute":  `<multistatus xmlns="DAV:" a="` + strings.Repeat("a", 1<<20),
		"a name":        `<` + strings.Repeat("a", 1<<20),
		"a comment":     `<multistatus xmlns="DAV:"><!--` + strings.Repeat("a", 1<<20),
		"empty strange": `<multistatus xmlns="DAV:">` + strings.Repeat("<a/>", 1<<18),
	} {
		if items, err := propfind.Parse(strings.NewReader(document), 10); !errors.Is(err, propfind.ErrTooMany) {
			t.Errorf("%s: %d items, %v", name, len(items), err)
		}
	}
	if _, err := propfind.Parse(strings.NewReader(multistatus()), 0); err == nil {
		t.Error("a listing of nothing is read")
	}
	ten := `<multistatus xmlns="DAV:">` + strings.TrimSuffix(b.String(), item(10)) + `</multistatus>`
	if items, err := propfind.Parse(strings.NewReader(ten), 10); err != nil || len(items) != 10 {
		t.Errorf("as many as may be: %d items, %v", len(items), err)
	}
}

func TestALineThatBreaksIsNoFaultOfTheDocument(t *testing.T) {
	down := errors.New("the line is down")
	r := io.MultiReader(strings.NewReader(nextcloud[:500]), iotest.ErrReader(down))
	if _, err := propfind.Parse(r, 10); !errors.Is(err, down) || errors.Is(err, propfind.ErrMalformed) {
		t.Error(err)
	}
}

func TestItemsAreComparedUnescaped(t *testing.T) {
	items, err := propfind.Parse(strings.NewReader(nextcloud), 10)
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string][]string{
		"/public.php/dav/files/kS2bTqPn7xYwZmA":             {"", "Schéma (1).svg", "Élèves"},
		"/public.php/dav/files/kS2bTqPn7xYwZmA/":            {"", "Schéma (1).svg", "Élèves"},
		"/public.php/dav/files/kS2bTqPn7xYw%5AmA/":          {"", "Schéma (1).svg", "Élèves"},
		"/public.php/dav/files":                             {"kS2bTqPn7xYwZmA", "kS2bTqPn7xYwZmA/Schéma (1).svg", "kS2bTqPn7xYwZmA/Élèves"},
		"/public.php/dav/files/kS2bTqPn7xYwZm":              {"-", "-", "-"},
		"/public.php/dav/files/kS2bTqPn7xYwZmA/%C3%89leves": {"-", "-", "-"},
		"/public.php/dav/files/kS2bTqPn7xYwZmA/Élèves":      {"-", "-", ""},
		"/public.php/dav/files/kS2bTqPn7xYwZmA/%zz":         {"-", "-", "-"},
	}
	for folder, want := range tests {
		for i, item := range items {
			got, ok := item.Below(folder)
			if !ok {
				got = "-"
			}
			if got != want[i] {
				t.Errorf("%s is %q in %s, want %q", item.Path, got, folder, want[i])
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(nextcloud)
	f.Add(apache)
	f.Add(multistatus("<href>/a</href><status>HTTP/1.1 507 Insufficient Storage</status>"))
	f.Add(multistatus(`<href>https://x/a%20b</href>`, ok(`<getcontentlength>1</getcontentlength>`)))
	f.Fuzz(func(t *testing.T, document string) {
		items, err := propfind.Parse(strings.NewReader(document), 4)
		if err != nil {
			if len(items) > 0 || !errors.Is(err, propfind.ErrMalformed) && !errors.Is(err, propfind.ErrTooMany) {
				t.Fatal(len(items), err)
			}
			return
		}
		if len(items) > 4 {
			t.Fatal(len(items))
		}
		for _, i := range items {
			name, ok := i.Below("/")
			if !ok || !strings.HasPrefix(i.Path, "/") || i.Size < -1 || strings.Contains("/"+name+"/", "/../") || name != "" && strings.Contains("/"+name+"/", "//") {
				t.Errorf("%+v is %q", i, name)
			}
		}
	})
}
