package look_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"preau/node/portal/look"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// watch opens a stream and returns its lines.
func watch(t *testing.T, h http.Handler) (*http.Response, *bufio.Reader) {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{}}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		resp.Body.Close()
		client.CloseIdleConnections()
	})
	return resp, bufio.NewReader(resp.Body)
}

func TestEachPartIsOneMessage(t *testing.T) {
	live := look.NewLive(2)
	defer live.Close()
	parts := make(chan string, 3)
	parts <- "<p id=\"a\">one\ntwo</p>"
	parts <- "data: x\r\n\r\ndata: y"
	_, lines := watch(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		live.Serve(w, r, func(ctx context.Context) ([]byte, error) {
			select {
			case p := <-parts:
				return []byte(p), nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		})
	}))
	var got strings.Builder
	want := "retry: 5000\n\ndata: <p id=\"a\">one\ndata: two</p>\n\ndata: data: x\ndata: \ndata: data: y\n\n"
	for got.Len() < len(want) {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		got.WriteString(line)
	}
	if got.String() != want {
		t.Errorf("%q, want %q", got.String(), want)
	}
}

func TestStreamsEndWithTheBox(t *testing.T) {
	live := look.NewLive(1)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		live.Serve(w, r, func(ctx context.Context) ([]byte, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
	})
	resp, lines := watch(t, h)
	if _, err := lines.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if many := get(t, h, "/"); many.Code != http.StatusServiceUnavailable || many.Header().Get("Retry-After") == "" {
		t.Errorf("one stream too many: %d", many.Code)
	}
	live.Close()
	if _, err := io.Copy(io.Discard, lines); err != nil {
		t.Errorf("the stream does not end well: %v", err)
	}
	if resp.StatusCode != http.StatusOK {
		t.Error(resp.StatusCode)
	}
	if late := get(t, h, "/"); late.Code != http.StatusServiceUnavailable {
		t.Errorf("a stream after the end: %d", late.Code)
	}
}

func TestAStreamEndsWhenThereIsNothingMore(t *testing.T) {
	live := look.NewLive(1)
	defer live.Close()
	_, lines := watch(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		live.Serve(w, r, func(context.Context) ([]byte, error) { return nil, errors.New("that was all") })
	}))
	if _, err := io.Copy(io.Discard, lines); err != nil {
		t.Error(err)
	}
}
