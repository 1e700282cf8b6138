package notify

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
)

// mostAnswer is how much of an answer is read.
const mostAnswer = 64 << 10

// Admin asks a program's face for operators how the program is, over the network
// as anybody else would: that answers only while the program really runs.
type Admin struct {
	base   string
	client *http.Client
}

// NewAdmin makes one for the face at address. An address that means all of the
// machine's is asked on loopback.
func NewAdmin(address string) (*Admin, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("address %q: write host:port, such as 127.0.0.1:9190", address)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
		if ip != nil && ip.To4() == nil {
			host = "::1"
		}
	}
	return &Admin{
		base: "http://" + net.JoinHostPort(host, port),
		// A connection for each question: one that was kept could be alive while
		// no new one is taken. No proxy stands between a program and itself.
		client: &http.Client{
			Transport: &http.Transport{DisableKeepAlives: true, DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext},
			CheckRedirect: func(*http.Request, []*http.Request) error {
				return http.ErrUseLastResponse
			},
		},
	}, nil
}

// Alive is nil if the program answers.
func (a *Admin) Alive(ctx context.Context) error {
	status, _, err := a.get(ctx, "/healthz")
	if err != nil {
		return err
	}
	if status != http.StatusOK {
		return fmt.Errorf("%s/healthz answers %d", a.base, status)
	}
	return nil
}

// Ready is nil if the program does all its work, and otherwise says what is
// amiss.
func (a *Admin) Ready(ctx context.Context) error {
	status, body, err := a.get(ctx, "/readyz")
	if err != nil {
		return err
	}
	if status == http.StatusOK {
		return nil
	}
	var said struct {
		Checks map[string]string `json:"checks"`
	}
	if err := json.Unmarshal(body, &said); err != nil {
		return fmt.Errorf("%s/readyz answers %d", a.base, status)
	}
	var amiss []string
	for name, text := range said.Checks {
		if text != "ok" {
			amiss = append(amiss, name+": "+text)
		}
	}
	slices.Sort(amiss)
	return fmt.Errorf("not ready: %s", strings.Join(amiss, "; "))
}

// State is Ready in a line.
func (a *Admin) State(ctx context.Context) string {
	if err := a.Ready(ctx); err != nil {
		return err.Error()
	}
	return "ready"
}

func (a *Admin) get(ctx context.Context, path string) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.base+path, nil)
	if err != nil {
		return 0, nil, err
	}
	resp, err := a.client.Do(req)
	if err != nil {
		return 0, nil, err // it names the address
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, mostAnswer))
	if err != nil {
		return 0, nil, fmt.Errorf("read what %s%s answers: %w", a.base, path, err)
	}
	return resp.StatusCode, body, nil
}
