package demo

import "strings"

// texts is every sentence that a person reads, in "fr" or "en". Keys with a
// dash before their last word are of one family; the page's script uses those
// that it needs by name.
func texts(lang string) map[string]string {
	if lang != "fr" {
		return english()
	}
	// French puts a space before these signs, where no line may break.
	space := strings.NewReplacer(" :", "\u00a0:", " ;", "\u00a0;", " ?", "\u00a0?", " !", "\u00a0!", "« ", "«\u00a0", " »", "\u00a0»")
	t := french()
	for k, v := range t {
		t[k] = space.Replace(v)
	}
	return t
}

func english() map[string]string {
	return map[string]string{
		"welcome": `
  Préau: a school in one window.

  Page      http://%s
  Library   http://%s/   (through the box)

  To try:
    1. open the page and press "Let the class download"
    2. press "Cut the line", then read on in the library
    3. or, in another terminal:
       preau class http://%s/packs/lesson-12.bin --devices 35

  Ctrl-C ends it and leaves nothing behind.
`,
		"goodbye":         "Goodbye: everything is stopped and put away.",
		"port-page":       "%s is taken by another program: the page is on http://%s instead",
		"port-box":        "%s is taken by another program: the box is on http://%s instead",
		"class-begins":    "class   %d devices download %s",
		"class-ended":     "class   %d of %d right, the slowest in %.1f s; LAN %s, line %s; without a box it would have taken %.0f s",
		"line-cut-silent": "line    cut: bytes vanish, nobody is told",
		"line-cut-refuse": "line    cut: connections are refused",
		"line-healed":     "line    restored",
		"line-rate":       "line    now %.1f Mbit/s",
		"box-emptied":     "box     emptied",

		"title":          "Préau, live",
		"tagline":        "A class downloads once.",
		"intro":          "A small library sits at the far end of a slow line. In the school, a box keeps what passes through it. Let a class of 35 download, and watch the line.",
		"skip":           "Skip to the buttons",
		"language":       "Language",
		"switch":         "Français",
		"switch-lang":    "fr",
		"live-on":        "live",
		"live-off":       "the demonstration has stopped, or cannot be reached",
		"no-script":      "The figures on this page move with JavaScript. The buttons work without it: load the page again to see what changed.",
		"scene":          "The school's devices, the box, the slow line and the library",
		"scene-class":    "class",
		"scene-box":      "box",
		"scene-line":     "the line",
		"scene-library":  "library",
		"scene-lan":      "in the school",
		"open-library":   "Open the library through the box",
		"opens":          "the small library, at",
		"lan-bytes":      "delivered in the school",
		"wan-bytes":      "crossed the line",
		"hits":           "answered from the box",
		"ratio":          "for each byte of the line",
		"do-class":       "Let the class download",
		"class-title":    "The class",
		"class-lead":     "35 devices, each with its own connection, download the same file at the same time. Every byte is checked.",
		"class-file":     "File",
		"class-run":      "The class is downloading…",
		"class-again":    "Do it again: this time the box has it.",
		"class-none":     "No class has downloaded yet.",
		"class-device":   "Device",
		"class-seconds":  "Seconds",
		"class-read":     "Read",
		"class-state":    "Body",
		"class-verdict":  "{ok} of {all} bodies right",
		"class-fast":     "the slowest device in {max} s",
		"class-first":    "first bytes after {first} s (median)",
		"class-figures":  "{lan} delivered, {wan} over the line",
		"class-once":     "Without Préau the file would have crossed the line {n} times: {without} (computed for {rate}).",
		"class-kept":     "Nothing but a few header bytes crossed the line: the box had it.",
		"class-trouble":  "Not everyone got the body: {error}",
		"class-table":    "Every device",
		"out-waiting":    "waits",
		"out-reading":    "reads",
		"out-ok":         "right",
		"out-left":       "left",
		"out-truncated":  "broken off",
		"out-wrong":      "wrong",
		"out-error":      "nothing",
		"line-title":     "The line",
		"line-lead":      "Cut it and go on reading: what the box keeps stays there. What must be checked says so honestly.",
		"line-up":        "The line is up.",
		"line-silent":    "The line is cut: bytes vanish.",
		"line-refuse":    "The line is cut: connections are refused.",
		"do-silent":      "Cut the line",
		"do-refuse":      "Cut it hard (refuse)",
		"do-heal":        "Restore the line",
		"line-speed":     "Speed",
		"do-rate":        "Set",
		"line-seen":      "The box sees it so:",
		"site-up":        "reachable",
		"site-down":      "out of reach",
		"chart-title":    "The last two minutes",
		"chart-desc":     "Megabits a second, on a scale where each line is ten times the one below: what was delivered in the school, and what crossed the line.",
		"chart-lan":      "in the school",
		"chart-wan":      "over the line",
		"chart-table":    "The same as a table",
		"chart-ago":      "Seconds ago",
		"chart-now":      "now",
		"held-title":     "What the box keeps",
		"held-lead":      "These open with the line cut, too.",
		"held-none":      "Nothing yet. Let the class download, or read in the library.",
		"held-name":      "What",
		"held-type":      "Kind",
		"held-size":      "Size",
		"held-state":     "State",
		"held-fresh":     "fresh",
		"held-stale":     "to be checked",
		"held-part":      "in part",
		"held-of":        "{n} objects, {bytes} of {budget}",
		"fills-title":    "Being fetched",
		"fills-readers":  "{n} reading",
		"do-empty":       "Empty the box",
		"count-title":    "How it answered",
		"count-hits":     "from the box",
		"count-miss":     "fetched",
		"count-joined":   "joined a fetch",
		"count-stale":    "stale, said so",
		"count-passed":   "passed through",
		"said-cut":       "The line is cut.",
		"said-healed":    "The line is restored.",
		"said-empty":     "The box is empty.",
		"said-class":     "The class has finished: {ok} of {all} bodies right.",
		"said-failed":    "That did not work: {error}",
		"foot":           "Everything here runs in one program on this machine. Nothing leaves it, and Ctrl-C in the terminal removes it all.",
		"unit-decimal":   ".",
		"unit-byte":      "B",
		"unit-colon":     ": ",
		"unit-per-s":     "Mbit/s",
		"unit-minutes":   "{m} min {s} s",
		"unit-seconds":   "{s} s",
		"unit-unlimited": "no limit",
	}
}

func french() map[string]string {
	return map[string]string{
		"welcome": `
  Préau : une école dans une fenêtre.

  Page           http://%s
  Bibliothèque   http://%s/   (à travers la boîte)

  À essayer :
    1. ouvrez la page et appuyez sur « Lancer la classe »
    2. appuyez sur « Couper la ligne », puis continuez à lire
    3. ou, dans un autre terminal :
       preau class http://%s/packs/lesson-12.bin --devices 35

  Ctrl-C arrête tout et ne laisse rien.
`,
		"goodbye":         "Au revoir : tout est arrêté et rangé.",
		"port-page":       "%s est pris par un autre programme : la page est sur http://%s",
		"port-box":        "%s est pris par un autre programme : la boîte est sur http://%s",
		"class-begins":    "classe  %d appareils téléchargent %s",
		"class-ended":     "classe  %d sur %d justes, le plus lent en %.1f s ; réseau local %s, ligne %s ; sans boîte : %.0f s",
		"line-cut-silent": "ligne   coupée : les octets disparaissent, personne n'est prévenu",
		"line-cut-refuse": "ligne   coupée : les connexions sont refusées",
		"line-healed":     "ligne   rétablie",
		"line-rate":       "ligne   maintenant %.1f Mbit/s",
		"box-emptied":     "boîte   vidée",

		"title":          "Préau, en direct",
		"tagline":        "La classe télécharge une seule fois.",
		"intro":          "Une petite bibliothèque est au bout d’une ligne lente. Dans l’école, une boîte garde ce qui passe par elle. Lancez une classe de 35, et regardez la ligne.",
		"skip":           "Aller aux boutons",
		"language":       "Langue",
		"switch":         "English",
		"switch-lang":    "en",
		"live-on":        "en direct",
		"live-off":       "la démonstration est arrêtée, ou injoignable",
		"no-script":      "Les chiffres de cette page bougent avec JavaScript. Les boutons marchent sans : rechargez la page pour voir ce qui a changé.",
		"scene":          "Les appareils de l’école, la boîte, la ligne lente et la bibliothèque",
		"scene-class":    "classe",
		"scene-box":      "boîte",
		"scene-line":     "la ligne",
		"scene-library":  "bibliothèque",
		"scene-lan":      "dans l’école",
		"open-library":   "Ouvrir la bibliothèque à travers la boîte",
		"opens":          "la petite bibliothèque, à l’adresse",
		"lan-bytes":      "livrés dans l’école",
		"wan-bytes":      "passés par la ligne",
		"hits":           "réponses données par la boîte",
		"ratio":          "pour chaque octet de la ligne",
		"do-class":       "Lancer la classe",
		"class-title":    "La classe",
		"class-lead":     "35 appareils, chacun avec sa connexion, téléchargent le même fichier en même temps. Chaque octet est vérifié.",
		"class-file":     "Fichier",
		"class-run":      "La classe télécharge…",
		"class-again":    "Recommencez : cette fois, la boîte l’a déjà.",
		"class-none":     "Aucune classe n’a encore téléchargé.",
		"class-device":   "Appareil",
		"class-seconds":  "Secondes",
		"class-read":     "Lu",
		"class-state":    "Contenu",
		"class-verdict":  "{ok} contenus justes sur {all}",
		"class-fast":     "le plus lent en {max} s",
		"class-first":    "premiers octets après {first} s (médiane)",
		"class-figures":  "{lan} livrés, {wan} par la ligne",
		"class-once":     "Sans Préau, le fichier serait passé {n} fois par la ligne : {without} (calculé pour {rate}).",
		"class-kept":     "Presque rien n’est passé par la ligne : la boîte l’avait.",
		"class-trouble":  "Tout le monde n’a pas tout reçu : {error}",
		"class-table":    "Chaque appareil",
		"out-waiting":    "attend",
		"out-reading":    "lit",
		"out-ok":         "juste",
		"out-left":       "parti",
		"out-truncated":  "interrompu",
		"out-wrong":      "faux",
		"out-error":      "rien",
		"line-title":     "La ligne",
		"line-lead":      "Coupez-la et continuez à lire : ce que la boîte garde reste là. Ce qui doit être vérifié le dit franchement.",
		"line-up":        "La ligne fonctionne.",
		"line-silent":    "La ligne est coupée : les octets disparaissent.",
		"line-refuse":    "La ligne est coupée : les connexions sont refusées.",
		"do-silent":      "Couper la ligne",
		"do-refuse":      "Couper net (refus)",
		"do-heal":        "Rétablir la ligne",
		"line-speed":     "Débit",
		"do-rate":        "Régler",
		"line-seen":      "La boîte la voit ainsi :",
		"site-up":        "joignable",
		"site-down":      "injoignable",
		"chart-title":    "Les deux dernières minutes",
		"chart-desc":     "En mégabits par seconde ; chaque trait vaut dix fois celui du dessous : ce qui a été livré dans l’école, et ce qui est passé par la ligne.",
		"chart-lan":      "dans l’école",
		"chart-wan":      "par la ligne",
		"chart-table":    "La même chose en tableau",
		"chart-ago":      "Il y a (secondes)",
		"chart-now":      "maintenant",
		"held-title":     "Ce que garde la boîte",
		"held-lead":      "Tout cela s’ouvre aussi quand la ligne est coupée.",
		"held-none":      "Rien encore. Lancez la classe, ou lisez dans la bibliothèque.",
		"held-name":      "Quoi",
		"held-type":      "Genre",
		"held-size":      "Taille",
		"held-state":     "État",
		"held-fresh":     "frais",
		"held-stale":     "à vérifier",
		"held-part":      "en partie",
		"held-of":        "{n} objets, {bytes} sur {budget}",
		"fills-title":    "En cours de téléchargement",
		"fills-readers":  "{n} lisent",
		"do-empty":       "Vider la boîte",
		"count-title":    "Ses réponses",
		"count-hits":     "gardées",
		"count-miss":     "cherchées",
		"count-joined":   "groupées",
		"count-stale":    "périmées, et dites telles",
		"count-passed":   "transmises",
		"said-cut":       "La ligne est coupée.",
		"said-healed":    "La ligne est rétablie.",
		"said-empty":     "La boîte est vide.",
		"said-class":     "La classe a fini : {ok} contenus justes sur {all}.",
		"said-failed":    "Cela n’a pas marché : {error}",
		"foot":           "Tout tourne ici dans un seul programme, sur cette machine. Rien n’en sort, et Ctrl-C dans le terminal efface tout.",
		"unit-decimal":   ",",
		"unit-byte":      "o",
		"unit-colon":     " : ",
		"unit-per-s":     "Mbit/s",
		"unit-minutes":   "{m} min {s} s",
		"unit-seconds":   "{s} s",
		"unit-unlimited": "sans limite",
	}
}
