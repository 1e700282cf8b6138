//go:build appliance && linux

package ansible_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"preau/images/hosttest"
)

// certificate makes one for an address that vouches for itself. It returns the
// file, and the key's text.
func certificate(t *testing.T, address string) (file, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	it := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "watch"}, IPAddresses: []net.IP{net.ParseIP(address)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, it, it, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "watch.crt")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}))
}

// TestABoxWithoutARegionSendsItsFigures sets up a box that stands in front of one
// site, and who watches it.
func TestABoxWithoutARegionSendsItsFigures(t *testing.T) {
	t.Parallel()
	from := hosttest.Packages(t)
	const box, watch, password = "10.99.0.31", "10.99.0.32", "a pass$word of the test"
	s := newStage(t, map[string]string{"alone": box, "watch1": watch})
	// As Grafana's package leaves it.
	s.hosts["watch1"].Must(t, "groupadd", "--system", "grafana")
	cert, key := certificate(t, watch)
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	hosts := filepath.Join(t.TempDir(), "hosts.yml")
	text := fmt.Sprintf(`---
all:
  vars:
%[1]s    package_file: %[2]s/preau_1.0.0_amd64.deb
    monitoring_password: %[3]s
    monitoring_password_hash: %[4]s
    monitoring_certificate: %[5]s
    monitoring_ca: %[5]s
    monitoring_grafana_dashboards: /var/lib/grafana/preau
    monitoring_key: |
      %[6]s
  children:
    box:
      hosts:
        alone:
          ansible_host: %[7]s
          box_secrets: {acme-eab: "kid secret"}
          box_settings:
            budget: 128MiB
            site: [{name: library, upstream: "http://127.0.0.1:1", hosts: ["*"]}]
    monitoring:
      hosts:
        watch1: {ansible_host: %[8]s}
`, s.connection(), from, password, hash, cert, strings.ReplaceAll(key, "\n", "\n      "), box, watch)
	if err := os.WriteFile(hosts, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	play := func() string {
		t.Helper()
		out := s.must(t, "ansible-playbook -vv -i "+hosts+" site.yml")
		for _, secret := range []string{password, "kid secret", "BEGIN PRIVATE KEY"} {
			if strings.Contains(out, secret) {
				t.Errorf("Ansible prints the secret %q", secret)
			}
		}
		return out
	}
	play()
	if got, err := s.hosts["alone"].Run(t, "stat", "-c", "%U %a", "/etc/credstore/preau.acme-eab"); err != nil || got != "root 600\n" {
		t.Errorf("the secret is %q, %v", got, err)
	}
	w := s.hosts["watch1"]
	ask := func(path string, more ...string) (string, error) {
		return w.Run(t, append([]string{"curl", "-sk", "--max-time", "10", "https://127.0.0.1:9443/api/v1/" + path}, more...)...)
	}
	if out, err := ask("query?query=preau_build_info"); err != nil || strings.Contains(out, "preau_build_info") || !strings.Contains(out, "Unauthorized") {
		t.Errorf("Prometheus answers those who say no password: %v\n%s", err, out)
	}
	// The agent reads every 30 seconds.
	hosttest.Within(t, 3*time.Minute, func() error {
		out, err := ask("query?query=preau_build_info", "-u", "preau:"+password)
		if err != nil || !strings.Contains(out, `"instance":"alone"`) {
			return fmt.Errorf("no figure of the box has come: %w: %s", err, out)
		}
		return nil
	})
	if out, err := ask("rules", "-u", "preau:"+password); err != nil || !strings.Contains(out, "PreauDiskFull") {
		t.Errorf("Prometheus has no alerts: %v\n%.500s", err, out)
	}
	grafana(t, w, password)
	nothingNew(t, play())
}

// grafana reads what was written for Grafana, as Grafana would: what it is to ask
// answers, and what it is to show is there.
func grafana(t *testing.T, w *hosttest.Host, password string) {
	t.Helper()
	for _, name := range []string{"box", "region", "fleet"} {
		var dashboard struct{ Title string }
		if err := json.Unmarshal([]byte(w.Read(t, "/var/lib/grafana/preau/preau-"+name+".json")), &dashboard); err != nil || dashboard.Title == "" {
			t.Errorf("the dashboard %s is %+v, %v", name, dashboard, err)
		}
	}
	if text := w.Read(t, "/etc/grafana/provisioning/dashboards/preau.yml"); !strings.Contains(text, `options: {path: "/var/lib/grafana/preau"}`) {
		t.Errorf("Grafana is not told where they are:\n%s", text)
	}
	const file = "/etc/grafana/provisioning/datasources/preau.yml"
	if got := w.Must(t, "stat", "-c", "%U %G %a", file); got != "root grafana 640\n" {
		t.Errorf("the password for Prometheus is %s", got)
	}
	const print = `import json, sys, yaml; print(json.dumps(yaml.safe_load(sys.stdin)["datasources"][0]))`
	c := exec.CommandContext(t.Context(), "python3", "-c", print) // it has YAML, for Ansible
	c.Stdin = strings.NewReader(w.Read(t, file))
	out, err := c.Output()
	if err != nil {
		t.Fatalf("what Grafana is to ask is no YAML: %v\n%s", err, out)
	}
	var source struct {
		URL, BasicAuthUser string
		SecureJSONData     struct{ BasicAuthPassword, TLSCACert string }
	}
	if err := json.Unmarshal(out, &source); err != nil {
		t.Fatal(err)
	}
	w.Write(t, "/root/ca.crt", source.SecureJSONData.TLSCACert)
	user := source.BasicAuthUser + ":" + strings.ReplaceAll(source.SecureJSONData.BasicAuthPassword, "$$", "$")
	if want := "preau:" + password; user != want {
		t.Errorf("Grafana would say %q, not %q", user, want)
	}
	if out, err := w.Run(t, "curl", "-s", "--max-time", "10", "--cacert", "/root/ca.crt", "-u", user, source.URL+"/api/v1/query?query=preau_build_info"); err != nil || !strings.Contains(out, `"instance":"alone"`) {
		t.Errorf("Grafana would see nothing at %s: %v\n%s", source.URL, err, out)
	}
}
