package provision

import (
	"path/filepath"
	"strings"

	"preau/cache/page"
)

// words is what people are told, in one language.
type words struct {
	titles map[Step]string
	advice map[Step]string
	// file says which file is meant.
	file string
	// degraded is why the box runs without its disk.
	degraded map[string]string
	passes   string // web sites pass meanwhile
	used     string // the file's token was used
	back     string // what is compared before the box is taken back
	code     string // what the code below it is for
	box      string // what the box is called
	where    string // where the code is
}

func wordsIn(lang page.Lang) words { return said.In(lang) }

var said = page.Both[words]{
	French: words{
		titles: map[Step]string{
			Waiting:   "Cette boîte attend sa clé USB",
			Mistake:   "Le fichier de la clé USB ne peut pas servir",
			Asking:    "La boîte se présente à sa région",
			Unreached: "La région ne répond pas encore",
			Refused:   "La région refuse cette invitation",
			Done:      "La boîte est prête",
			Returning: "Cette boîte demande à reprendre sa place",
			Untold:    "Cette boîte ne peut pas encore prévenir sa région",
			Outdated:  "Cette boîte attend une nouvelle clé USB",
			Rejected:  "La région ne reprend pas cette boîte",
		},
		advice: map[Step]string{
			Waiting:   "Branchez la clé préparée par votre région : elle contient le fichier preau.toml. Rien d’autre n’est à faire.",
			Mistake:   "Corrigez le fichier sur un ordinateur, puis rebranchez la clé. Rien n’est perdu.",
			Asking:    "Cela prend quelques secondes. La clé peut déjà être retirée.",
			Unreached: "Vérifiez le câble réseau. La boîte réessaie toute seule, et la clé peut être retirée.",
			Refused:   "Demandez une nouvelle invitation à votre région, écrivez-la dans preau.toml, et rebranchez la clé.",
			Done:      "Elle démarre. La clé peut être retirée.",
			Returning: "Sa région est prévenue, et va vous appeler : lisez-lui alors ce code, elle reprend la boîte si c’est le même chez elle. Une clé USB avec une nouvelle invitation convient aussi.",
			Untold:    "Vérifiez le câble réseau. La boîte réessaie toute seule. Une clé USB avec une nouvelle invitation convient aussi.",
			Outdated:  "Demandez une nouvelle invitation à votre région, et branchez la clé. Les serveurs de la région ne savent pas encore reprendre une boîte à distance.",
			Rejected:  "Demandez une nouvelle invitation à votre région, écrivez-la dans preau.toml sur une clé USB, et branchez-la.",
		},
		file: "Fichier : ",
		degraded: map[string]string{
			"tpm":  "Le disque de cette boîte est verrouillé par une autre carte mère : elle tourne sans lui, et n’a rien effacé.",
			"disk": "Le disque de cette boîte ne peut pas être lu : elle tourne sans lui.",
		},
		passes: "En attendant, les sites web de l’école passent.",
		used:   "L’invitation de ce fichier a déjà servi : il en faut une nouvelle.",
		back:   "Code à comparer avec la région : ",
		code:   "Code pour devenir responsable de cette boîte, une fois qu’elle est prête :",
		box:    "Cette boîte s’appelle %s.",
		where:  "Le code pour en devenir responsable est affiché sur son écran.",
	},
	English: words{
		titles: map[Step]string{
			Waiting:   "This box waits for its USB stick",
			Mistake:   "The file on the USB stick can’t be used",
			Asking:    "The box introduces itself to its region",
			Unreached: "The region does not answer yet",
			Refused:   "The region refuses this invitation",
			Done:      "The box is ready",
			Returning: "This box asks for its place back",
			Untold:    "This box can’t tell its region yet",
			Outdated:  "This box waits for a new USB stick",
			Rejected:  "The region does not take this box back",
		},
		advice: map[Step]string{
			Waiting:   "Plug in the stick that your region has prepared: it has the file preau.toml. Nothing else is to be done.",
			Mistake:   "Correct the file on a computer, and plug the stick in again. Nothing is lost.",
			Asking:    "This takes some seconds. The stick can be pulled out already.",
			Unreached: "Check the network cable. The box tries again by itself, and the stick can be pulled out.",
			Refused:   "Ask your region for a new invitation, write it into preau.toml, and plug the stick in again.",
			Done:      "It starts. The stick can be pulled out.",
			Returning: "Its region has been told, and will call you: read out this code then, and it takes the box back if it has the same. A USB stick with a new invitation does it too.",
			Untold:    "Check the network cable. The box tries again by itself. A USB stick with a new invitation does it too.",
			Outdated:  "Ask your region for a new invitation, and plug in the stick. The region’s servers can’t take a box back from afar yet.",
			Rejected:  "Ask your region for a new invitation, write it into preau.toml on a USB stick, and plug it in.",
		},
		file: "File: ",
		degraded: map[string]string{
			"tpm":  "The disk of this box is locked by another main board: it runs without it, and has deleted nothing.",
			"disk": "The disk of this box can’t be read: it runs without it.",
		},
		passes: "Meanwhile the school’s web sites pass.",
		used:   "The invitation in this file was used already: a new one is needed.",
		back:   "Code to compare with the region: ",
		code:   "Code to become responsible for this box, once it is ready:",
		box:    "This box is called %s.",
		where:  "The code to become responsible for it is on its screen.",
	},
}

// notice is a state in words.
func notice(s State, lang page.Lang) page.Notice {
	say := wordsIn(lang)
	var text []string
	if why := say.degraded[s.Degraded]; why != "" {
		text = append(text, why)
	}
	if s.Pass != nil && s.Pass.Up && s.Step != Done {
		text = append(text, say.passes)
	}
	if s.File != "" && (s.Step == Mistake || s.Used) {
		text = append(text, say.file+filepath.Base(s.File))
		if s.Used {
			text[len(text)-1] += ". " + say.used
		}
	}
	if s.Code != "" {
		text = append(text, say.back+s.Code+".")
	}
	return page.Notice{Title: say.titles[s.Step], Text: strings.Join(text, " "), Advice: say.advice[s.Step]}
}
