package box

import (
	"cmp"
	_ "embed"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"preau/cache/page"
	"preau/node/control"
	"preau/replication/central"
	"preau/replication/outbox"
)

var (
	//go:embed deposit_item.html
	itemSource string
	//go:embed deposits.html
	depositsSource string
	//go:embed deposit.html
	depositSource string

	depositsFrame = page.Must(itemSource + depositsSource)
	depositFrame  = page.Must(itemSource + depositSource)
)

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
	h.Set("Vary", page.Vary)
	if t.after > 0 {
		h.Set("Retry-After", strconv.Itoa(t.after))
	}
	lang := page.Language(r)
	text := page.Both[string]{French: t.fr, English: t.en}.In(lang)
	if !wantsPage(r) {
		writeJSON(w, r, t.status, control.Failure{Code: t.code, Detail: text})
		return
	}
	say := depositTongues.In(lang)
	page.Notice{Title: say.Refused, Text: text, Links: []page.Link{{To: depositPrefix, Label: say.All}}}.Write(w, r, t.status, lang)
}

// depositWords are what people are told of deposits, in one language.
type depositWords struct {
	Title, Intro, Empty, More, Reason, Refused, All, Gone, One, Again string

	where     map[outbox.State]string
	said      map[outbox.State]string // of one that was just added
	part, day string
	// of a deposit that is on this box and another one
	twice, saidTwice, from string
}

var depositTongues = page.Both[depositWords]{
	French: depositWords{
		Title: "Fichiers déposés dans cette école", Empty: "Rien n’a été déposé pour le moment.", More: "La suite de la liste",
		Intro: "Ce que cette école a déposé. Chaque fichier part vers la région, puis vers le centre, dès que la ligne le permet.", Reason: "En attente :",
		Refused: "Ce n’est pas possible", All: "Les fichiers déposés", Gone: "plus sur cette boîte",
		One: "Fichier déposé", Again: "Où en est-il maintenant ?",
		where: map[outbox.State]string{outbox.OnBox: "sur cette boîte", outbox.InRegion: "dans la région", outbox.InCentral: "au centre"},
		said: map[outbox.State]string{
			outbox.OnBox:     "Le fichier est gardé sur cette boîte, et toute l’école peut l’ouvrir. Il part vers la région, puis vers le centre, dès que la ligne le permet ; il n’y a rien d’autre à faire.",
			outbox.InRegion:  "Le fichier est gardé par les serveurs de la région et part vers le centre. Il n’y a rien d’autre à faire.",
			outbox.InCentral: "Le fichier est arrivé : le centre le garde.",
		},
		part: " (%d %%)", day: "02/01/2006 15:04",
		twice: "sur deux boîtes de l’école", from: "déposé sur ",
		saidTwice: "Le fichier est gardé sur deux boîtes de l’école, et toute l’école peut l’ouvrir. Il part vers la région, puis vers le centre, dès que la ligne le permet ; il n’y a rien d’autre à faire.",
	},
	English: depositWords{
		Title: "Files added in this school", Empty: "Nothing has been added yet.", More: "More of the list",
		Intro: "What this school has added. Each file goes to the region and then to the centre as soon as the line allows.", Reason: "Waiting:",
		Refused: "This is not possible", All: "The files added", Gone: "not on this box any more",
		One: "File added", Again: "How far is it now?",
		where: map[outbox.State]string{outbox.OnBox: "on this box", outbox.InRegion: "in the region", outbox.InCentral: "in the centre"},
		said: map[outbox.State]string{
			outbox.OnBox:     "The file is kept on this box, and the whole school can open it. It goes to the region and then to the centre as soon as the line allows; nothing else has to be done.",
			outbox.InRegion:  "The region’s servers keep the file, and it is on its way to the centre. Nothing else has to be done.",
			outbox.InCentral: "The file has arrived: the centre keeps it.",
		},
		part: " (%d%%)", day: "2006-01-02 15:04",
		twice: "on two boxes of the school", from: "added on ",
		saidTwice: "The file is kept on two boxes of the school, and the whole school can open it. It goes to the region and then to the centre as soon as the line allows; nothing else has to be done.",
	},
}

// waitingFrench are the reasons to wait that a box and its region give most
// often. Others stay as they are: the region may be of another version.
var waitingFrench = map[string]string{
	"this box belongs to no region yet":                     "cette boîte n’appartient encore à aucune région",
	"the region can't be reached now; it goes on by itself": "la région n’est pas joignable pour le moment ; l’envoi reprendra de lui-même",
	"the region can't be reached":                           "la région n’est pas joignable",
	"the region's servers can't reach the centre":           "les serveurs de la région n’atteignent pas le centre",
	central.WhyFull:    "le stockage du centre est plein ou son quota est atteint : le ministère doit y faire de la place ou relever le quota ; l’envoi reprendra alors de lui-même",
	central.WhyDenied:  "le stockage du centre refuse les clés de la passerelle : le ministère doit débloquer son compte ou mettre des clés valables dans son fichier de clés ; l’envoi reprendra alors de lui-même",
	central.WhyStalled: "le stockage du centre ne prend rien pour le moment, car il est plein, en pause ou arrêté : le ministère doit l’examiner (ceph status) ; l’envoi reprendra alors de lui-même",
	"the region's servers are looking for a part of the file": "les serveurs de la région cherchent une partie du fichier",
}

// depositItem is a deposit in words.
type depositItem struct {
	listedDeposit
	Name, Size, When, Machine, Where string
	Reason, Why, WhyLang             string
}

func wordsFor(d listedDeposit, lang page.Lang) depositItem {
	say := depositTongues.In(lang)
	it := depositItem{
		listedDeposit: d, Name: cmp.Or(d.Title, d.Filename), Size: page.Size(d.Length, lang), When: d.At.Local().Format(say.day),
		Machine: d.At.Format(time.RFC3339), Where: say.where[d.State], Reason: say.Reason, Why: d.Waiting, WhyLang: string(page.English),
	}
	if d.State == outbox.OnBox && d.Copies > 1 {
		it.Where = say.twice
	}
	if d.State == outbox.OnBox && d.Sent > 0 && d.Sent < d.Length {
		it.Where += fmt.Sprintf(say.part, d.Sent*100/d.Length)
	}
	if !d.Here {
		it.Where += " · " + say.Gone
	}
	if d.From != "" {
		it.Where += " · " + say.from + d.From
	}
	if why, ok := waitingFrench[d.Waiting]; ok && lang == page.French {
		it.Why, it.WhyLang = why, string(page.French)
	}
	return it
}

func writeDepositPage(w http.ResponseWriter, r *http.Request, list depositList) {
	lang := page.Language(r)
	items := make([]depositItem, 0, len(list.Deposits))
	for _, d := range list.Deposits {
		items = append(items, wordsFor(d, lang))
	}
	say := depositTongues.In(lang)
	showDeposits(w, r, depositsFrame, lang, say.Title, struct {
		depositWords
		Items []depositItem
		Next  string
	}{say, items, list.Next})
}

// writeOnePage tells how far one deposit is. It leads to itself again rather than
// move by itself, which would take readers away from where they are.
func writeOnePage(w http.ResponseWriter, r *http.Request, d listedDeposit) {
	lang := page.Language(r)
	say := depositTongues.In(lang)
	said := say.said[d.State]
	if d.State == outbox.OnBox && d.Copies > 1 {
		said = say.saidTwice
	}
	showDeposits(w, r, depositFrame, lang, say.One, struct {
		depositWords
		Said, Self, Up string
		Item           depositItem
	}{say, said, statePath(d.ID), depositPrefix, wordsFor(d, lang)})
}

func showDeposits(w http.ResponseWriter, r *http.Request, frame *page.Frame, lang page.Lang, title string, body any) {
	if err := frame.Write(w, r, page.Answer{Status: http.StatusOK, Lang: lang, Title: title, Body: body}); err != nil { // of values that always can be shown
		refuseDeposit(w, r, depositFailed)
	}
}

// wantsPage reports whether a person with a browser asks.
func wantsPage(r *http.Request) bool {
	return page.Asked(r, "text/html", "application/json") == "text/html"
}
