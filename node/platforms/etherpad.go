package platforms

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// EtherpadVersion is the newest that a package registry has.
const EtherpadVersion = "1.8.14"

// etherpadKey is for the interface by which pads are made.
const etherpadKey = "key-of-the-tests-1789"

// Etherpad is an Etherpad with pads. All that is for one of its users only has
// the user's marker in it.
type Etherpad struct {
	URL string // without a slash at its end

	Pads     map[string]string // by user: the name of a pad of that user's, which opens it
	ReadOnly map[string]string // the read-only name of that
	Groups   map[string]string // the name of a pad that only that user may see, with the marker
	Sessions map[string]string // the Cookie field of who may

	all []*process
}

// EtherpadLimit is how many exports one address may have in ninety seconds, or 0
// for any number.
type EtherpadLimit int

// StartEtherpad starts one in dir, which must be there. The program itself is
// installed by npm into the folder cache and stays there. marker says what marks
// what is a user's own. Stop ends it.
func StartEtherpad(ctx context.Context, dir, cache string, limit EtherpadLimit, marker func(user string) string) (*Etherpad, error) {
	node, err := tool("node", "nodejs")
	if err != nil {
		return nil, err
	}
	base, err := installEtherpad(ctx, cache)
	if err != nil {
		return nil, err
	}
	port, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	e := &Etherpad{
		URL: "http://127.0.0.1:" + strconv.Itoa(port), Pads: map[string]string{}, ReadOnly: map[string]string{}, Groups: map[string]string{}, Sessions: map[string]string{},
	}
	if err := e.up(ctx, dir, node, base, port, limit, marker); err != nil {
		return nil, errors.Join(fmt.Errorf("start Etherpad: %w", err), e.Stop())
	}
	return e, nil
}

// installEtherpad has npm install the program, if it is not there, and lays it
// out as Etherpad wants to find itself: in a folder src, beside what it needs.
func installEtherpad(ctx context.Context, cache string) (base string, err error) {
	base = filepath.Join(cache, "etherpad-"+EtherpadVersion)
	if _, err := os.Stat(filepath.Join(base, "src", "node", "server.js")); err == nil {
		return base, nil
	}
	npm, err := tool("npm", "npm")
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	// Made beside its place, so that a half of it is never taken for the whole.
	half, err := os.MkdirTemp(cache, "etherpad-")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(half)) }()
	// A database's driver that it can do without would come from no registry.
	if err := os.WriteFile(filepath.Join(half, "package.json"), []byte(`{"private":true,"overrides":{"sqlite3":"5.1.7"}}`), 0o600); err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock", "--omit=optional", "--omit=dev", "ep_etherpad-lite@"+EtherpadVersion)
	cmd.Dir = half
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm install ep_etherpad-lite@%s: %w: %s", EtherpadVersion, err, out)
	}
	modules := filepath.Join(half, "node_modules")
	bin := filepath.Join(modules, ".bin", "npm")
	err = errors.Join(
		os.Rename(filepath.Join(modules, "ep_etherpad-lite"), filepath.Join(half, "src")),
		os.Symlink(filepath.Join("..", "src"), filepath.Join(modules, "ep_etherpad-lite")),
		os.Remove(bin), // a link to a program that stays
	)
	if err != nil {
		return "", err
	}
	// It asks npm which plugins there are, and the npm that it brings refuses to
	// look into a tree that another version has made.
	says := `#!/bin/sh
if [ "$1" = --version ]; then echo 6.14.13; exit; fi
cd "$(dirname "$0")/../.." && echo '{"dependencies":{"ep_etherpad-lite":{"version":"` + EtherpadVersion + `","path":"'"$PWD"'/node_modules/ep_etherpad-lite"}}}'
`
	if err := os.WriteFile(bin, []byte(says), 0o700); err != nil { //nolint:gosec // it is a program
		return "", err
	}
	if err := os.Rename(half, base); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	return base, nil
}

func (e *Etherpad) up(ctx context.Context, dir, node, base string, port int, limit EtherpadLimit, marker func(string) string) error {
	most := int(limit)
	if most == 0 {
		most = 1 << 30
	}
	settings, err := json.Marshal(map[string]any{
		"title": "Etherpad", "ip": "127.0.0.1", "port": port, "dbType": "dirty", "dbSettings": map[string]string{"filename": filepath.Join(dir, "pads.db")},
		"defaultPadText": "", "minify": false, "maxAge": 21600, "loglevel": "WARN", "updateServer": "",
		"importExportRateLimiting": map[string]int{"windowMs": 90000, "max": most},
		"users":                    map[string]any{},
	})
	if err != nil {
		return err
	}
	file, key, session := filepath.Join(dir, "settings.json"), filepath.Join(dir, "apikey"), filepath.Join(dir, "sessionkey")
	err = errors.Join(os.WriteFile(file, settings, 0o600), os.WriteFile(key, []byte(etherpadKey), 0o600), os.WriteFile(session, []byte("for the tests"), 0o600))
	if err != nil {
		return err
	}
	p, err := start(dir, "etherpad", []string{"NODE_ENV=production"}, node, filepath.Join(base, "src", "node", "server.js"), "--settings", file, "--apikey", key, "--sessionkey", session)
	if err != nil {
		return err
	}
	e.all = append(e.all, p)
	ctx, cancel := context.WithTimeoutCause(ctx, 2*time.Minute, errors.New("Etherpad is not up after two minutes"))
	defer cancel()
	if err := until(ctx, e.all, func(ctx context.Context) error { return status(ctx, client(nil), e.URL+"/", http.StatusOK) }); err != nil {
		return err
	}
	for _, user := range []string{Ann, Bob} {
		if err := e.pads(ctx, user, marker(user)); err != nil {
			return err
		}
	}
	return nil
}

// pads makes what belongs to a user.
func (e *Etherpad) pads(ctx context.Context, user, marker string) error {
	e.Pads[user] = "classe-" + user + "-c1a55e"
	var made struct {
		AuthorID, GroupID, SessionID, PadID, ReadOnlyID string
	}
	until := strconv.FormatInt(time.Now().Add(24*time.Hour).Unix(), 10)
	for _, call := range []struct {
		name string
		with func() url.Values
	}{
		{"createPad", func() url.Values { return url.Values{"padID": {e.Pads[user]}, "text": {"Bonjour"}} }},
		{"setText", func() url.Values { return url.Values{"padID": {e.Pads[user]}, "text": {"Bonjour à tous"}} }},
		{"getReadOnlyID", func() url.Values { return url.Values{"padID": {e.Pads[user]}} }},
		{"createAuthor", func() url.Values { return url.Values{"name": {marker}} }},
		{"createGroup", func() url.Values { return nil }},
		{"createGroupPad", func() url.Values {
			return url.Values{"groupID": {made.GroupID}, "padName": {"notes"}, "text": {marker}}
		}},
		{"createSession", func() url.Values {
			return url.Values{"groupID": {made.GroupID}, "authorID": {made.AuthorID}, "validUntil": {until}}
		}},
	} {
		if err := e.Call(ctx, call.name, call.with(), &made); err != nil {
			return err
		}
	}
	e.ReadOnly[user], e.Groups[user], e.Sessions[user] = made.ReadOnlyID, made.PadID, "sessionID="+made.SessionID
	return nil
}

// Write gives the pad of a user another text, which is another revision.
func (e *Etherpad) Write(ctx context.Context, user, text string) error {
	return e.Call(ctx, "setText", url.Values{"padID": {e.Pads[user]}, "text": {text}}, nil)
}

// Call calls the interface for programs. into gets the answer's data, unless it
// is nil.
func (e *Etherpad) Call(ctx context.Context, name string, with url.Values, into any) error {
	form := url.Values{"apikey": {etherpadKey}}
	maps.Copy(form, with)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.URL+"/api/1.2.14/"+name, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := client(nil).Do(req)
	if err != nil {
		return err
	}
	text, err := readAll(resp)
	if err != nil {
		return err
	}
	answer := struct {
		Code    int
		Message string
		Data    json.RawMessage
	}{}
	if err := json.Unmarshal(text, &answer); err != nil || answer.Code != 0 {
		return fmt.Errorf("%s: %d: %.300s", name, resp.StatusCode, text)
	}
	if into == nil || bytes.Equal(answer.Data, []byte("null")) {
		return nil
	}
	return json.Unmarshal(answer.Data, into)
}

// Stop ends it.
func (e *Etherpad) Stop() error { return stopAll(e.all) }
