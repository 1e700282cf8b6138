//go:build appliance && linux

package ansible_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
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
	from := packages(t)
	n := newNetwork(t)
	const box, watch, password = "10.99.0.31", "10.99.0.32", "a password of the test"
	n.boot(t, "alone", box)
	n.boot(t, "watch1", watch)
	n.await(t, box)
	n.await(t, watch)
	cert, key := certificate(t, watch)
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	hosts := filepath.Join(t.TempDir(), "hosts.yml")
	text := fmt.Sprintf(`---
all:
  vars:
    ansible_user: root
    ansible_ssh_private_key_file: %[1]s
    ansible_ssh_common_args: %[2]s
    package_file: %[3]s/preau_1.0.0_amd64.deb
    monitoring_password: %[4]s
    monitoring_password_hash: %[5]s
    monitoring_certificate: %[6]s
    monitoring_ca: %[6]s
    monitoring_key: |
      %[7]s
  children:
    box:
      hosts:
        alone:
          ansible_host: %[8]s
          box_secrets: {acme-eab: "kid secret"}
          box_settings:
            budget: 128MiB
            site: [{name: library, upstream: "http://127.0.0.1:1", hosts: ["*"]}]
    monitoring:
      hosts:
        watch1: {ansible_host: %[9]s}
`, n.key, strings.Join(n.options(), " "), from, password, hash, cert, strings.ReplaceAll(key, "\n", "\n      "), box, watch)
	if err := os.WriteFile(hosts, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	play := func() string {
		t.Helper()
		c := exec.CommandContext(t.Context(), "ip", "netns", "exec", n.space, "ansible-playbook", "-vv", "-i", hosts, "site.yml")
		c.Env = append(os.Environ(), "ANSIBLE_CONFIG=ansible.cfg", "ANSIBLE_NOCOLOR=1")
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("site.yml: %v\n%s", err, out)
		}
		for _, secret := range []string{password, "kid secret", "BEGIN PRIVATE KEY"} {
			if strings.Contains(string(out), secret) {
				t.Errorf("Ansible prints the secret %q", secret)
			}
		}
		return string(out)
	}
	play()
	if got, err := n.on(t, box, "stat -c '%U %a' /etc/credstore/preau.acme-eab"); err != nil || got != "root 600\n" {
		t.Errorf("the secret is %q, %v", got, err)
	}
	ask := "curl -sk --max-time 10 https://127.0.0.1:9443/api/v1/query?query=preau_build_info"
	if out, err := n.on(t, watch, ask); err != nil || strings.Contains(out, "preau_build_info") || !strings.Contains(out, "Unauthorized") {
		t.Errorf("Prometheus answers those who say no password: %v\n%s", err, out)
	}
	// The agent reads every 30 seconds.
	var out string
	for end := time.Now().Add(3 * time.Minute); ; {
		if out, err = n.on(t, watch, ask+" -u 'preau:"+password+"'"); err == nil && strings.Contains(out, `"instance":"alone"`) {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("no figure of the box has come: %v\n%s", err, out)
		}
		select {
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		case <-time.After(time.Second):
		}
	}
	if out, err := n.on(t, watch, "curl -sk --max-time 10 https://127.0.0.1:9443/api/v1/rules -u 'preau:"+password+"'"); err != nil || !strings.Contains(out, "PreauDiskFull") {
		t.Errorf("Prometheus has no alerts: %v\n%.500s", err, out)
	}
	for _, m := range recap.FindAllStringSubmatch(play(), -1) {
		if m[3] != "0" {
			t.Errorf("a second run has changed %s", m[1])
		}
	}
}
