package listen_test

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net/http"
	"sync/atomic"
	"testing"

	"preau/node/listen"
)

func TestAListenerWithItsOwnCertificatesNeedsNoneAtTheStart(t *testing.T) {
	var own atomic.Pointer[tls.Certificate]
	cfg := listen.Config{Address: "127.0.0.1:0", Own: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		if c := own.Load(); c != nil {
			return c, nil
		}
		return nil, errors.New("there is none yet")
	}}
	addr, _, stop := start(t, cfg, func(http.ResponseWriter, *http.Request) {})
	defer stop()
	if conn, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, ServerName: "a.example"}); err == nil {
		t.Errorf("without a certificate it shows %v", conn.ConnectionState().PeerCertificates)
		conn.Close()
	}
	files := newPair(t, t.TempDir(), "own", "a.example")
	cert, err := tls.LoadX509KeyPair(files.Cert, files.Key)
	if err != nil {
		t.Fatal(err)
	}
	own.Store(&cert)
	if got := shown(t, addr, "a.example"); got != "own" {
		t.Errorf("with one it shows %q", got)
	}
}

func TestOwnCertificatesGoBeforeFiles(t *testing.T) {
	file, mine := newPair(t, t.TempDir(), "file", "b.example"), newPair(t, t.TempDir(), "own", "a.example")
	cert, err := tls.LoadX509KeyPair(mine.Cert, mine.Key)
	if err != nil {
		t.Fatal(err)
	}
	cfg := listen.Config{
		Address: "127.0.0.1:0", Certificate: []listen.Certificate{file},
		Own: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &cert, nil },
	}
	addr, _, stop := start(t, cfg, func(http.ResponseWriter, *http.Request) {})
	defer stop()
	for name, want := range map[string]string{"a.example": "own", "b.example": "file"} {
		if got := shown(t, addr, name); got != want {
			t.Errorf("%s is shown %q, want %q", name, got, want)
		}
	}
	s, err := listen.New(t.Context(), cfg, http.NotFoundHandler(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for name, want := range map[string]string{"a.example": "own", "b.example": "file", "c.example": ""} {
		leaf, ok := s.Leaf(name)
		if ok != (want != "") || ok && leaf.Subject.CommonName != want {
			t.Errorf("the certificate for %s is %v, want %q", name, leaf, want)
		}
	}
}
