package identity_test

import (
	"crypto/x509"
	"errors"
	"net"
	"net/url"
	"strings"
	"testing"

	"preau/replication/identity"
)

const r = "0123456789abcdef"

func TestParse(t *testing.T) {
	tests := map[string]identity.Identity{
		"preau://" + r + "/box/library-1?school=0690001A": {Region: r, Role: identity.Box, Name: "library-1", School: "0690001A"},
		"preau://" + r + "/server/s1":                     {Region: r, Role: identity.Server, Name: "s1"},
		"preau://" + r + "/operator/ada":                  {Region: r, Role: identity.Operator, Name: "ada"},
		"preau://" + r + "/central/c":                     {Region: r, Role: identity.Central, Name: "c"},
	}
	for text, want := range tests {
		got, err := identity.Parse(text)
		if err != nil || got != want {
			t.Errorf("Parse(%q) = %+v, %v", text, got, err)
		}
		if want.String() != text || want.URI().String() != text {
			t.Errorf("%+v is written as %q and %q, want %q", want, want.String(), want.URI(), text)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, text := range []string{
		"", "preau://", "preau://" + r, "preau://" + r + "/box", "preau://" + r + "/box/b1", // a box without a school
		"https://" + r + "/server/s1", "PREAU://" + r + "/server/s1", "preau:" + r + "/server/s1",
		"preau://0123456789ABCDEF/server/s1", "preau://0123/server/s1", "preau://" + r + "0/server/s1",
		"preau://" + r + ":80/server/s1", "preau://u@" + r + "/server/s1",
		"preau://" + r + "/root/s1", "preau://" + r + "/Server/s1", "preau://" + r + "/server/", "preau://" + r + "/server/s1/",
		"preau://" + r + "/server/s1?", "preau://" + r + "/server/s1?school=", "preau://" + r + "/server/s1?school=0690001A",
		"preau://" + r + "/server/s1#", "preau://" + r + "/server/S1", "preau://" + r + "/server/-s1", "preau://" + r + "/server/s1-",
		"preau://" + r + "/server/%73erver", "preau://" + r + "/server/é",
		"preau://" + r + "/box/b1?school=0690001a", "preau://" + r + "/box/b1?school=069001A", "preau://" + r + "/box/b1?school=06900011",
		"preau://" + r + "/box/b1?school=0690001A&school=0690002A", "preau://" + r + "/box/b1?x=1&school=0690001A",
		"preau://" + r + "/server/" + strings.Repeat("a", 41), "preau://" + r + "/server/" + strings.Repeat("a", 1<<20),
	} {
		if id, err := identity.Parse(text); !errors.Is(err, identity.ErrInvalid) {
			t.Errorf("Parse(%.60q) = %+v, %v, want ErrInvalid", text, id, err)
		}
	}
}

func TestFromCertificateRefusesASecondName(t *testing.T) {
	uri := func(s string) *url.URL {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	good := uri("preau://" + r + "/box/b1?school=0690001A")
	id, err := identity.FromCertificate(&x509.Certificate{URIs: []*url.URL{good}})
	if err != nil || id.Name != "b1" || id.School != "0690001A" {
		t.Errorf("got %+v, %v", id, err)
	}
	tests := map[string]*x509.Certificate{
		"no name":     {},
		"two URIs":    {URIs: []*url.URL{good, good}},
		"a host":      {URIs: []*url.URL{good}, DNSNames: []string{"example.org"}},
		"an address":  {URIs: []*url.URL{good}, IPAddresses: []net.IP{{127, 0, 0, 1}}},
		"an e-mail":   {URIs: []*url.URL{good}, EmailAddresses: []string{"a@example.org"}},
		"another URI": {URIs: []*url.URL{uri("https://example.org/")}},
		"escaped":     {URIs: []*url.URL{uri("preau://" + r + "/%62ox/b1?school=0690001A")}},
	}
	for name, cert := range tests {
		if id, err := identity.FromCertificate(cert); !errors.Is(err, identity.ErrInvalid) {
			t.Errorf("%s: %+v, %v, want ErrInvalid", name, id, err)
		}
	}
}

func TestParseSchool(t *testing.T) {
	tests := map[string]identity.School{
		"0690001A": "0690001A", "0690001a": "0690001A", "9999999Z": "9999999Z",
		"": "", "0690001": "", "0690001AA": "", "069000AA": "", "06900010": "", "0690001[": "", "0690001{": "", "0690001!": "",
	}
	for text, want := range tests {
		if got, err := identity.ParseSchool(text); got != want || (err == nil) != (want != "") {
			t.Errorf("ParseSchool(%q) = %q, %v", text, got, err)
		}
	}
}

func TestNewRegionsDiffer(t *testing.T) {
	a, b := identity.NewRegion(), identity.NewRegion()
	if _, err := identity.ParseRegion(string(a)); err != nil || a == b {
		t.Errorf("regions %s and %s, %v", a, b, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("preau://" + r + "/box/library-1?school=0690001A")
	f.Add("preau://" + r + "/server/s1")
	f.Add("preau://" + r + "/server/s1?school=")
	f.Fuzz(func(t *testing.T, text string) {
		id, err := identity.Parse(text)
		if err != nil {
			if !id.IsZero() {
				t.Errorf("an error and %+v", id)
			}
			return
		}
		// There is one way to write an identity, and a URL means the same.
		if id.String() != text {
			t.Errorf("%q is read as what is written %q", text, id)
		}
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := identity.FromCertificate(&x509.Certificate{URIs: []*url.URL{u}}); err != nil || again != id {
			t.Errorf("by way of a certificate: %+v, %v", again, err)
		}
	})
}
