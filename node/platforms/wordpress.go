package platforms

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"text/template"
	"time"
)

// Where Debian's packages put WordPress, and the theme that is used here.
const (
	wordpressCode  = "/usr/share/wordpress"
	wordpressTheme = "/usr/share/wordpress/wp-content/themes/twentytwentyone"
)

var (
	//go:embed wordpress-setup.php
	wordpressSetup []byte
	//go:embed wordpress-nginx.conf
	wordpressNginx string
	//go:embed wordpress-config.php
	wordpressConfig string
	//go:embed wordpress-fpm.conf
	wordpressFPM string

	wordpressFiles = map[string]*template.Template{
		"nginx.conf":        template.Must(template.New("nginx").Parse(wordpressNginx)),
		"www/wp-config.php": template.Must(template.New("config").Parse(wordpressConfig)),
		"fpm.conf":          template.Must(template.New("fpm").Parse(wordpressFPM)),
	}
)

// WordPress is a WordPress behind nginx with posts, drafts and comments. All
// that is for one of its users only has the user's marker in it.
type WordPress struct {
	URL string // without a slash at its end
	WordPressContent

	dir   string
	jars  map[string]http.CookieJar
	nonce string // of who writes for everybody
	all   []*process
}

// WordPressContent is what is in it. Maps are by user.
type WordPressContent struct {
	Post      string            `json:"post"`      // path of a post for everybody, with comments
	Page      string            `json:"page"`      // path of a page for everybody
	Protected map[string]string `json:"protected"` // path of a post with that user's marker, behind the user's password
	Passwords map[string]string `json:"passwords"` // of Protected
	Private   map[string]string `json:"private"`   // path of a post that only its author sees
	Drafts    map[string]string `json:"drafts"`    // target of the preview of a draft
	PostID    int               `json:"post_id"`
	Media     string            `json:"media"` // path of a picture
}

// WordPressPassword is each user's, for logging in.
func WordPressPassword(user string) string { return "pass-" + user + "-word-1789" }

// StartWordPress starts one in dir, which must be there; its path should be
// short, because the database's socket is below it. marker says what marks what
// is a user's own. Stop ends it.
func StartWordPress(ctx context.Context, dir string, marker func(user string) string) (*WordPress, error) {
	tools, err := wordpressTools()
	if err != nil {
		return nil, err
	}
	port, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	w := &WordPress{URL: "http://127.0.0.1:" + strconv.Itoa(port), dir: dir, jars: map[string]http.CookieJar{}}
	if err := w.up(ctx, tools, port, marker); err != nil {
		return nil, errors.Join(fmt.Errorf("start WordPress: %w", err), w.Stop())
	}
	return w, nil
}

// wordpressTools finds the programs: mariadb-install-db, mariadbd, php, php-fpm, nginx.
func wordpressTools() (map[string]string, error) {
	found := map[string]string{}
	for name, debian := range map[string]string{
		"mariadb-install-db": "mariadb-server", "mariadbd": "mariadb-server", "php": "php-cli", "nginx": "nginx-light",
	} {
		path, err := tool(name, debian)
		if err != nil {
			return nil, err
		}
		found[name] = path
	}
	for _, dir := range sbin {
		// The program's name ends in PHP's version.
		if all, err := filepath.Glob(filepath.Join(dir, "php-fpm*")); err == nil && len(all) > 0 {
			found["php-fpm"] = all[len(all)-1]
			break
		}
	}
	if found["php-fpm"] == "" {
		return nil, &Missing{"php-fpm", "apt-get install php-fpm php-mysql"}
	}
	for path, debian := range map[string]string{wordpressCode: "wordpress", wordpressTheme: "wordpress-theme-twentytwentyone"} {
		if _, err := os.Stat(path); err != nil {
			return nil, &Missing{path, "apt-get install " + debian}
		}
	}
	return found, nil
}

func (w *WordPress) up(ctx context.Context, tools map[string]string, port int, marker func(string) string) error {
	if err := w.files(port); err != nil {
		return err
	}
	data, socket := filepath.Join(w.dir, "db"), filepath.Join(w.dir, "db.sock")
	args := []string{"--no-defaults", "--datadir=" + data}
	if os.Getuid() == 0 {
		args = append(args, "--user=root")
	}
	install := exec.CommandContext(ctx, tools["mariadb-install-db"], append(args, "--auth-root-authentication-method=normal", "--skip-test-db")...)
	if out, err := install.CombinedOutput(); err != nil {
		return fmt.Errorf("make the database: %w: %s", err, out)
	}
	run := func(name string, argv ...string) error {
		p, err := start(w.dir, name, nil, argv...)
		if err == nil {
			w.all = append(w.all, p)
		}
		return err
	}
	// What is lost with the machine may be lost with it.
	err := run("mariadbd", append([]string{tools["mariadbd"]}, append(args, "--socket="+socket, "--skip-networking",
		"--pid-file="+filepath.Join(w.dir, "db.pid"), "--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0", "--innodb-buffer-pool-size=64M", "--performance-schema=off")...)...)
	if err != nil {
		return err
	}
	fpm := []string{tools["php-fpm"], "--nodaemonize", "--fpm-config", filepath.Join(w.dir, "fpm.conf")}
	if os.Getuid() == 0 {
		fpm = append(fpm, "--allow-to-run-as-root")
	}
	if err := run("php-fpm", fpm...); err != nil {
		return err
	}
	if err := run("nginx", tools["nginx"], "-p", w.dir, "-e", filepath.Join(w.dir, "nginx-error.log"), "-c", filepath.Join(w.dir, "nginx.conf")); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, 2*time.Minute, errors.New("WordPress is not up after two minutes"))
	defer cancel()
	if err := until(ctx, w.all, func(ctx context.Context) error { return w.setUp(ctx, tools["php"], marker) }); err != nil {
		return err
	}
	if err := until(ctx, w.all, func(ctx context.Context) error { return status(ctx, client(nil), w.URL+"/", http.StatusOK) }); err != nil {
		return err
	}
	return errors.Join(w.login(ctx, Ann), w.login(ctx, Bob))
}

// files lays the web server's root and all configuration out.
func (w *WordPress) files(port int) error {
	root := filepath.Join(w.dir, "www")
	if err := os.CopyFS(root, os.DirFS(wordpressCode)); err != nil {
		return fmt.Errorf("copy WordPress: %w", err)
	}
	for path, t := range wordpressFiles {
		f, err := os.OpenFile(filepath.Join(w.dir, path), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
		if err != nil {
			return err
		}
		err = t.Execute(f, struct {
			Dir, URL string
			Port     int
			Root     bool
		}{w.dir, w.URL, port, os.Getuid() == 0})
		if err := errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("write %s: %w", path, err)
		}
	}
	return os.WriteFile(filepath.Join(w.dir, "setup.php"), wordpressSetup, 0o600)
}

// setUp installs the blog and writes its posts, and learns where they are.
func (w *WordPress) setUp(ctx context.Context, php string, marker func(string) string) error {
	ask := map[string]any{}
	for _, user := range []string{Ann, Bob} {
		ask[user] = map[string]string{"marker": marker(user), "password": WordPressPassword(user), "secret": "open-" + user + "-1789"}
	}
	in, err := json.Marshal(ask)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, php, "-d", "display_errors=stderr", filepath.Join(w.dir, "setup.php"), filepath.Join(w.dir, "www"), w.URL)
	cmd.Stdin = strings.NewReader(string(in))
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("set up: %w: %s%s", err, said.String(), out)
	}
	if err := json.Unmarshal(out, &w.WordPressContent); err != nil {
		return fmt.Errorf("set up: %w: %s%s", err, said.String(), out)
	}
	return nil
}

// login logs a user in, as a browser does.
func (w *WordPress) login(ctx context.Context, user string) error {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return err
	}
	w.jars[user] = jar
	if err := status(ctx, client(jar), w.URL+"/wp-login.php", http.StatusOK); err != nil { // it sets the cookie that it tries browsers with
		return err
	}
	_, err = w.post(ctx, jar, "/wp-login.php", url.Values{"log": {user}, "pwd": {WordPressPassword(user)}, "rememberme": {"forever"}, "testcookie": {"1"}})
	if err != nil {
		return fmt.Errorf("log %s in: %w", user, err)
	}
	if !strings.Contains(cookies(jar, w.URL), "wordpress_logged_in_") {
		return fmt.Errorf("log %s in: there is no cookie for it", user)
	}
	return nil
}

// Cookies is the Cookie field of a user who is logged in.
func (w *WordPress) Cookies(user string) string { return cookies(w.jars[user], w.URL) }

// Unlock gives the password of a post, and returns the Cookie field by which it
// is open afterwards.
func (w *WordPress) Unlock(ctx context.Context, password string) (string, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return "", err
	}
	_, err = w.post(ctx, jar, "/wp-login.php?action=postpass", url.Values{"post_password": {password}})
	if err != nil {
		return "", fmt.Errorf("unlock a post: %w", err)
	}
	return cookies(jar, w.URL), nil
}

// Comment writes a comment that waits for a moderator. It returns the Cookie
// field of its author, who is remembered by it or else has none, and the target
// at which the author sees the comment.
func (w *WordPress) Comment(ctx context.Context, author, text string, remembered bool) (cookie, target string, err error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return "", "", err
	}
	form := url.Values{"author": {author}, "email": {author + "@school.example"}, "comment": {text}, "comment_post_ID": {strconv.Itoa(w.PostID)}}
	if remembered {
		form.Set("wp-comment-cookies-consent", "yes")
	}
	location, err := w.post(ctx, jar, "/wp-comments-post.php", form)
	if err != nil {
		return "", "", fmt.Errorf("write a comment: %w", err)
	}
	to, err := url.Parse(location)
	if err != nil {
		return "", "", fmt.Errorf("write a comment: %w", err)
	}
	return cookies(jar, w.URL), to.RequestURI(), nil
}

// Nonce is the one that a user's pages have for the programming interface.
func (w *WordPress) Nonce(ctx context.Context, user string) (string, error) {
	c := client(w.jars[user])
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.URL+"/wp-admin/admin-ajax.php?action=rest-nonce", http.NoBody)
	if err != nil {
		return "", err
	}
	resp, err := c.Do(req)
	if err != nil {
		return "", err
	}
	text, err := readAll(resp)
	if err != nil || resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("ask for a nonce: %d %s: %w", resp.StatusCode, text, err)
	}
	return strings.TrimSpace(string(text)), nil
}

// post sends a form as a browser does, and returns where WordPress sends the
// browser then.
func (w *WordPress) post(ctx context.Context, jar http.CookieJar, path string, form url.Values) (to string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.URL+path, strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Referer", w.URL+"/") // where it sends the user back to
	resp, err := client(jar).Do(req)
	if err != nil {
		return "", err
	}
	text, err := readAll(resp)
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusFound {
		return "", fmt.Errorf("%s answers %d: %.300s", path, resp.StatusCode, text)
	}
	return resp.Header.Get("Location"), nil
}

// head is the user who writes for everybody.
const head = "direction"

// Edit changes the post for everybody, as its author does: fields are those of
// WordPress's programming interface.
func (w *WordPress) Edit(ctx context.Context, fields map[string]any) error {
	if w.nonce == "" {
		if err := w.login(ctx, head); err != nil {
			return err
		}
		nonce, err := w.Nonce(ctx, head)
		if err != nil {
			return err
		}
		w.nonce = nonce
	}
	body, err := json.Marshal(fields)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.URL+"/wp-json/wp/v2/posts/"+strconv.Itoa(w.PostID), strings.NewReader(string(body)))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Wp-Nonce", w.nonce)
	resp, err := client(w.jars[head]).Do(req)
	if err != nil {
		return err
	}
	text, err := readAll(resp)
	if err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("edit a post: %d %.300s: %w", resp.StatusCode, text, err)
	}
	return nil
}

// Stop ends it and all of its programs.
func (w *WordPress) Stop() error { return stopAll(w.all) }
