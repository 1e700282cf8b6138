package box

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"strconv"
	"strings"
	"time"

	"preau/node/control"
	"preau/replication/outbox"
)

//go:embed deposits.html
var depositSource string

//go:embed deposits.css
var depositStyle string

var depositTemplate = template.Must(template.New("deposits").Parse(depositSource))

var depositPolicy = func() string {
	sum := sha256.Sum256([]byte(depositStyle))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
}()

// trouble is why something about a deposit was not done: for programs, and for
// people in French and English.
type trouble struct {
	status int
	code   string
	fr, en string
	after  int // seconds until another try may do; 0: none will
}

var (
	badRequest    = trouble{400, "bad_request", "La demande ne peut pas être lue.", "The request can’t be read.", 0}
	badName       = trouble{400, "bad_name", "Ce nom de fichier ne convient pas : choisissez-en un sans / ni \\, d’au plus 255 octets.", "The file can’t have that name: choose one without / and \\, of at most 255 bytes.", 0}
	badForm       = trouble{400, "bad_form", "Le formulaire ne convient pas : envoyez multipart/form-data, les mots d’abord, puis le fichier dans le champ « file ».", "The form will not do: send multipart/form-data, the words first and then the file in the field “file”.", 0}
	badEncoding   = trouble{415, "bad_encoding", "Envoyez le fichier tel quel, sans Content-Encoding.", "Send the file as it is, without Content-Encoding.", 0}
	badMethod     = trouble{405, "bad_method", "Cette méthode n’existe pas ici.", "There is no such method here.", 0}
	notAllowed    = trouble{401, "not_allowed", "Pour déposer un fichier il faut le jeton de cette boîte (Authorization: Bearer). Il est dans le fichier deposits/token de ses données : demandez-le à qui s’en occupe.", "To add a file show this box’s token (Authorization: Bearer). It is in the file deposits/token of its data folder: ask whoever looks after the box.", 0}
	turnedOff     = trouble{403, "disabled", "Cette boîte ne prend pas de dépôts.", "Nothing can be added on this box.", 0}
	noDeposit     = trouble{404, "not_found", "Ce dépôt n’existe pas sur cette boîte.", "There is no such deposit on this box.", 0}
	givenUp       = trouble{410, "given_up", "Ce fichier n’est plus sur cette boîte ; le centre le garde.", "This file is not on this box any more; the centre keeps it.", 0}
	cameShort     = trouble{408, "short", "Le fichier n’est pas arrivé en entier et n’est pas gardé : envoyez-le encore une fois.", "The file did not arrive whole and is not kept: send it again.", 1}
	tooLarge      = trouble{413, "too_large", "Le fichier est trop grand : un dépôt a au plus 8 Gio.", "The file is too large: a deposit has at most 8 GiB.", 0}
	noRoom        = trouble{507, "full", "La boîte n’a plus de place pour des dépôts. Elle en fera dès que le centre garde ceux d’avant ; sinon il lui faut un disque ou un budget plus grand.", "The box has no room left for deposits. It makes some as soon as the centre keeps those that wait; else it needs a larger disk or budget.", 0}
	makingRoom    = trouble{503, "making_room", "La boîte fait de la place : envoyez le fichier encore une fois dans un moment.", "The box is making room: send the file again in a moment.", 5}
	tooBusy       = trouble{503, "busy", "Trop de fichiers arrivent en même temps : essayez dans un moment.", "Too many files come in at once: try again in a moment.", 10}
	notOpen       = trouble{503, "not_open", "Les dépôts ne sont pas possibles pour le moment : le disque de la boîte n’a pas de place, ou le dossier des dépôts ne peut pas être ouvert. Son journal dit pourquoi.", "Deposits are not possible at the moment: the box’s disk has no room, or the folder of deposits can’t be opened. Its log says why.", 30}
	depositFailed = trouble{500, "internal", "Le fichier n’a pas pu être gardé. Le journal de la boîte dit pourquoi.", "The file could not be kept. The box’s log says why.", 0}
)

// refuseDeposit says why not: to programs in JSON, and to people in words.
func refuseDeposit(w http.ResponseWriter, r *http.Request, t trouble) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Vary", "Accept, Accept-Language")
	if t.after > 0 {
		h.Set("Retry-After", strconv.Itoa(t.after))
	}
	text := t.en
	if tongueOf(r) == "fr" {
		text = t.fr
	}
	if wantsPage(r) {
		send(w, r, t.status, "text/plain; charset=utf-8", []byte(text+"\n"))
		return
	}
	writeJSON(w, r, t.status, control.Failure{Code: t.code, Detail: text})
}

// depositWords are what the list says, in one language.
type depositWords struct {
	Lang, Title, Intro, Empty, More, Reason string
	where                                   map[outbox.State]string
	units                                   [4]string
	point, day                              string
}

var depositTongues = map[string]depositWords{
	"fr": {
		Lang: "fr", Title: "Fichiers déposés dans cette école", Empty: "Rien n’a été déposé pour le moment.", More: "La suite de la liste",
		Intro: "Ce que cette école a déposé. Chaque fichier part vers la région, puis vers le centre, dès que la ligne le permet.", Reason: "En attente :",
		where: map[outbox.State]string{outbox.OnBox: "sur cette boîte", outbox.InRegion: "dans la région", outbox.InCentral: "au centre"},
		units: [4]string{"octets", "Ko", "Mo", "Go"}, point: ",", day: "02/01/2006 15:04",
	},
	"en": {
		Lang: "en", Title: "Files added in this school", Empty: "Nothing has been added yet.", More: "More of the list",
		Intro: "What this school has added. Each file goes to the region and then to the centre as soon as the line allows.", Reason: "Waiting:",
		where: map[outbox.State]string{outbox.OnBox: "on this box", outbox.InRegion: "in the region", outbox.InCentral: "in the centre"},
		units: [4]string{"bytes", "KB", "MB", "GB"}, point: ".", day: "2006-01-02 15:04",
	},
}

type depositItem struct {
	listedDeposit
	Name, Size, When, Machine, Where string
}

func writeDepositPage(w http.ResponseWriter, r *http.Request, page depositList) {
	say := depositTongues[tongueOf(r)]
	items := make([]depositItem, 0, len(page.Deposits))
	for _, d := range page.Deposits {
		it := depositItem{
			listedDeposit: d, Name: cmp.Or(d.Title, d.Filename), Size: say.size(d.Length), When: d.At.Local().Format(say.day),
			Machine: d.At.Format(time.RFC3339), Where: say.where[d.State],
		}
		if d.State == outbox.OnBox && d.Sent > 0 && d.Sent < d.Length {
			it.Where += fmt.Sprintf(" (%d %%)", d.Sent*100/d.Length)
		}
		items = append(items, it)
	}
	var b bytes.Buffer
	err := depositTemplate.Execute(&b, struct {
		depositWords
		Style template.CSS
		Items []depositItem
		Next  string
	}{say, template.CSS(depositStyle), items, page.Next})
	if err != nil { // of values that always can be shown
		refuseDeposit(w, r, depositFailed)
		return
	}
	w.Header().Set("Content-Language", say.Lang)
	w.Header().Set("Content-Security-Policy", depositPolicy)
	send(w, r, http.StatusOK, "text/html; charset=utf-8", b.Bytes())
}

// size writes a number of bytes as people read it.
func (w depositWords) size(n int64) string {
	unit, v := 0, float64(n)
	for v >= 1000 && unit < len(w.units)-1 {
		v /= 1000
		unit++
	}
	digits := 0
	if unit > 0 && v < 10 {
		digits = 1
	}
	return strings.Replace(strconv.FormatFloat(v, 'f', digits, 64), ".", w.point, 1) + " " + w.units[unit]
}

// wantsPage reports whether a person with a browser asks.
func wantsPage(r *http.Request) bool {
	for _, v := range r.Header.Values("Accept") {
		for item := range strings.SplitSeq(v, ",") {
			kind, _, _ := strings.Cut(item, ";")
			switch strings.ToLower(strings.TrimSpace(kind)) {
			case "text/html":
				return true
			case "application/json":
				return false
			}
		}
	}
	return false
}

// tongueOf picks French or English by Accept-Language (RFC 9110 §12.5.4).
func tongueOf(r *http.Request) string {
	best, lang := 0.0, "fr"
	for item := range strings.SplitSeq(r.Header.Get("Accept-Language"), ",") {
		tag, params, _ := strings.Cut(strings.TrimSpace(item), ";")
		main, _, _ := strings.Cut(strings.ToLower(strings.TrimSpace(tag)), "-")
		q := 1.0
		if v, ok := strings.CutPrefix(strings.TrimSpace(params), "q="); ok {
			var err error
			if q, err = strconv.ParseFloat(v, 64); err != nil {
				q = 0
			}
		}
		if (main == "fr" || main == "en") && q > best {
			best, lang = q, main
		}
	}
	return lang
}
