//go:build system

package whole_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"preau/node/front"
	"preau/node/listen"
	"preau/node/names"
	"preau/node/names/pebbletest"
)

// hookZone is a zone that a region's command writes: a file of what it was told.
func hookZone(t *testing.T) (command []string, text func(name string) (string, bool), told func() string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "zone")
	read := func() string {
		raw, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
		return string(raw)
	}
	return []string{"/bin/sh", "-c", `echo "$@" >> '` + file + `'`, "hook"}, func(name string) (value string, ok bool) {
		lines := bufio.NewScanner(strings.NewReader(read()))
		for lines.Scan() {
			if words := strings.Fields(lines.Text()); len(words) == 3 && words[1] == name {
				value, ok = words[2], words[0] == "present"
			}
		}
		return value, ok
	}, read
}

// A box gets the certificate for its public name by way of its region's DNS, and
// devices are sent to it; with no authority and no region it starts with it again.
func TestABoxGetsItsNamesCertificateThroughItsRegion(t *testing.T) {
	t.Parallel()
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=600")
		_, _ = io.WriteString(w, "lesson at "+r.URL.RequestURI())
	}))
	t.Cleanup(origin.Close)
	var site front.Site
	site.SetDefaults()
	site.Name, site.Upstream, site.Hosts = "lessons", origin.URL, []string{"lessons.box-a." + boxDomain}
	command, text, told := hookZone(t)
	authority := pebbletest.Start(t, text)

	cfg := configOf(t, site)
	cfg.Locate.Domain, cfg.Locate.Listen = boxDomain, []listen.Config{{Address: freeAddress(t)}}
	cfg.Names.Command, cfg.Names.Settle = command, 0
	server, operator := founded(t, cfg)
	a := enrol(t, operator, "box-a", "0690001A", site)
	a.cfg.Public = names.Config{Name: "box-a." + boxDomain, ACME: names.ACME{
		Listen: freeAddress(t), Directory: authority.Directory, CAFile: authority.CAFile, Challenge: names.DNS01,
	}}
	a.run(t)
	_, port, err := net.SplitHostPort(a.cfg.Public.ACME.Listen)
	if err != nil {
		t.Fatal(err)
	}
	// The site has a name of its own on the box.
	want := "https://lessons.box-a." + boxDomain + ":" + port + "/6e/a?x=1"
	eventually(t, func() error {
		got, err := sentTo(t, cfg.Locate.Listen[0].Address, origin.URL+"/6e/a?x=1", "")
		if err == nil && got != want {
			err = fmt.Errorf("devices are sent to %s, want %s; the box says %+v", got, want, a.box.Status(t.Context()).Public)
		}
		return err
	})
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{
		// The test's certificates last for seconds, and the next may be late.
		TLSClientConfig: &tls.Config{RootCAs: authority.Roots, ServerName: "lessons.box-a." + boxDomain},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, a.cfg.Public.ACME.Listen)
		},
		DisableKeepAlives: true,
	}}
	eventually(t, func() error {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, want, http.NoBody)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err == nil && string(body) != "lesson at /6e/a?x=1" {
			err = fmt.Errorf("on the box there is %q", body)
		}
		return err
	})
	if text := told(); strings.Count(text, "present _acme-challenge.box-a."+boxDomain+" ") < 1 || strings.Count(text, "present _acme-challenge.lessons.box-a."+boxDomain+" ") < 1 {
		t.Errorf("the region's command was told %q", text)
	}

	// Nothing of this keeps a box from starting.
	a.end(t)
	authority.Stop()
	server.end(t)
	a.run(t)
	if s := a.box.Status(t.Context()).Public; s == nil || s.Until.IsZero() {
		t.Errorf("without an authority and a region the box begins with %+v", s)
	}
	if err := a.serves(t, "/o/lessons/6e/a?x=1", []byte("lesson at /6e/a?x=1")); err != nil {
		t.Error(err)
	}
	conn, err := (&tls.Dialer{Config: &tls.Config{RootCAs: authority.Roots, InsecureSkipVerify: true, ServerName: "box-a." + boxDomain}}).DialContext(t.Context(), "tcp", a.cfg.Public.ACME.Listen)
	if err != nil {
		t.Errorf("HTTPS without an authority: %v", err)
	} else {
		conn.Close()
	}
}
