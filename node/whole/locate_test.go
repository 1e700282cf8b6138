package whole_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"preau/node/central"
	"preau/node/control"
	"preau/node/front"
	"preau/node/listen"
	"preau/node/locate"
)

const boxDomain = "boxes.example.net"

// certified gives a box its public name, and a listener with a certificate for it
// that the returned pool vouches for.
func certified(t *testing.T, s *school) *x509.CertPool {
	t.Helper()
	name := s.name + "." + boxDomain
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	files := listen.Certificate{Cert: filepath.Join(t.TempDir(), "crt"), Key: filepath.Join(t.TempDir(), "key")}
	for file, block := range map[string]*pem.Block{files.Cert: {Type: "CERTIFICATE", Bytes: der}, files.Key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.cfg.Public.Name = name
	s.cfg.Listen = append(s.cfg.Listen, listen.Config{Address: freeAddress(t), Certificate: []listen.Certificate{files}})
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return pool
}

// noFollowing is a device that goes nowhere by itself.
var noFollowing = &http.Client{Timeout: time.Minute, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// sentTo is where a device is sent that asks at an address for a URL, by way of a
// proxy or not.
func sentTo(t *testing.T, at, u, forwarded string) (string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+at+locate.Path+"?u="+url.QueryEscape(u), http.NoBody)
	if err != nil {
		return "", err
	}
	if forwarded != "" {
		req.Header.Set("X-Forwarded-For", forwarded)
	}
	resp, err := noFollowing.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusFound {
		return "", fmt.Errorf("%s answers %s", at, resp.Status)
	}
	return resp.Header.Get("Location"), nil
}

func TestDevicesAreSentToTheirSchoolsBoxAndNeverNowhere(t *testing.T) {
	t.Parallel()
	quick(t)
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=600")
		_, _ = io.WriteString(w, "lesson at "+r.URL.RequestURI())
	}))
	t.Cleanup(origin.Close)
	var site front.Site
	site.SetDefaults()
	site.Name, site.Upstream = "lessons", origin.URL
	u := origin.URL + "/6e/a%20b.pdf?x=1&y=2"

	// The region knows schools by their boxes' connections and tells the centre
	// IT's list; the centre's devices come by way of a proxy.
	list := filepath.Join(t.TempDir(), "networks")
	if err := os.WriteFile(list, []byte("0690001A 203.0.113.0/28\n0690009Z 203.0.113.64/28\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := configOf(t, site)
	cfg.Central.Address = freeAddress(t)
	cfg.Locate.Domain, cfg.Locate.Networks = boxDomain, list
	cfg.Locate.Listen = []listen.Config{{Address: freeAddress(t)}}
	_, operator := founded(t, cfg)
	g := enrolledGateway(t, operator, cfg.Central.Address)
	g.cfg.Locate.Domain, g.cfg.Locate.TrustedProxies = "example.net", []string{"127.0.0.0/8"}
	g.cfg.Locate.Listen = []listen.Config{{Address: freeAddress(t)}}
	g.cfg.Locate.Site = []locate.Site{{Name: site.Name, Upstream: site.Upstream}}
	g.run(t)
	atRegion, atCentre := cfg.Locate.Listen[0].Address, g.cfg.Locate.Listen[0].Address

	a := enrol(t, operator, "box-a", "0690001A", site)
	roots := certified(t, a)
	secure := a.cfg.Listen[1].Address
	_, port, err := net.SplitHostPort(secure)
	if err != nil {
		t.Fatal(err)
	}
	onBox := "https://box-a." + boxDomain + ":" + port + "/o/lessons/6e/a%20b.pdf?x=1&y=2"
	leads := func(at, from, want string) {
		t.Helper()
		eventually(t, func() error {
			got, err := sentTo(t, at, u, from)
			if err == nil && got != want {
				err = fmt.Errorf("devices are sent to %s, want %s", got, want)
			}
			return err
		})
	}
	leads(atRegion, "", u) // before there is a box
	a.run(t)
	leads(atRegion, "", onBox)
	leads(atCentre, "203.0.113.5", onBox)
	leads(atCentre, "198.51.100.1", u)
	leads(atCentre, "203.0.113.70", u) // a school without a box

	// A device that follows it gets there, by the name's certificate.
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, secure)
		},
	}}
	t.Cleanup(client.CloseIdleConnections)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, onBox, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err := resp.Body.Close(); err != nil {
		t.Error(err)
	}
	if want := "lesson at /6e/a%20b.pdf?x=1&y=2"; err != nil || string(body) != want {
		t.Errorf("on the box there is %q, %v; want %q", body, err, want)
	}

	// Operators see the same, and why.
	answer, err := operator.Locate(t.Context(), u, "203.0.113.5")
	if err != nil || answer.Box != "box-a" || !answer.Listed || answer.To != onBox {
		t.Errorf("operators are told %+v, %v", answer, err)
	}
	if s := a.box.Status(t.Context()); s.Public == nil || !s.Public.Announced || s.Public.Until.IsZero() {
		t.Errorf("the box says of its name %+v", s.Public)
	}

	// A box of another school behind the same address: nobody can tell which of
	// the two a device is in, but for IT's list.
	b := enrol(t, operator, "box-b", "0690002B", site)
	certified(t, b)
	b.run(t)
	leads(atRegion, "", u)
	leads(atCentre, "203.0.113.5", onBox)
	b.end(t)
	leads(atRegion, "", onBox)
	// A box with a name that is not its own is sent nobody.
	thief := enrol(t, operator, "box-c", "0690001A", site)
	certified(t, thief)
	thief.cfg.Public.Name = a.cfg.Public.Name
	thief.cfg.Listen[1].Certificate = a.cfg.Listen[1].Certificate
	thief.run(t)
	eventually(t, func() error {
		if s := thief.box.Status(t.Context()); s.Public == nil || s.Public.Announced || s.Public.Why != "that is not this box's name: it can be called box-c."+boxDomain+" and nothing else" {
			return fmt.Errorf("a box with another's name: %+v", s.Public)
		}
		return nil
	})
	leads(atRegion, "", onBox)

	a.end(t)
	leads(atRegion, "", u)
	leads(atCentre, "203.0.113.5", u)
}

// enrolledGateway is a gateway of the operator's region that does not run yet.
func enrolledGateway(t *testing.T, operator *control.Client, at string) *gateway {
	t.Helper()
	var token control.Token
	eventually(t, func() (err error) {
		token, err = operator.Token(t.Context(), control.TokenRequest{Role: "central"})
		return err
	})
	g := &gateway{cfg: central.DefaultConfig()}
	g.cfg.Data, g.cfg.Directory, g.cfg.Listen, g.cfg.Admin.Listen = t.TempDir(), filepath.Join(t.TempDir(), "buckets"), at, freeAddress(t)
	g.cfg.Buckets, g.cfg.MakeThem = []string{"lecons"}, true
	id, err := control.RegionOf(token.Token)
	if err != nil {
		t.Fatal(err)
	}
	_, err = control.Enrol(t.Context(), control.Enrolment{Token: token.Token, Role: "central", Name: "central", Dir: central.RegionDir(g.cfg.Data, id)})
	if err != nil {
		t.Fatal(err)
	}
	return g
}
