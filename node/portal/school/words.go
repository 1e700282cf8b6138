package school

import (
	"preau/cache/page"
)

// Words are what these pages say, in one language.
type Words struct {
	Title, LogTitle, LogLead, LogLink, NoActions, ActionAt, ActionWho, ActionWhat string

	Now, NoSites, LineUp, LineCut, LineCutSince, LineAdvice, SitesDown string
	Held                                                               [2]string
	RegionProblem, NoRegion, NoRegionAdvice, RegionAway, RegionAdvice  string
	RegionThere                                                        string
	Lapsed, LapsesSoon, LapsedAdvice                                   string
	DiskFull, DiskAdvice, DiskUsed                                     string
	DiskLocked, DiskUnread, NoDiskAdvice, GivenUp, GivenUpAdvice       string
	DepositsClosed, NoDeposits, DepositsSafe                           string
	Deposits                                                           [2]string
	NeighbourTrouble, Alone                                            string
	Others                                                             [2]string

	Line, LineFrom, Top, Budget, Allowed, Previous, Next, Hour, Crossed, Got, Nothing string
	Table, Saved, Method, SavedNothing, Numbers, Of                                   string

	Lessons, NoLessons, NewLesson, Colon, Ready, Coming, Cannot        string
	Added, Waiting, InRegion, OnBox, File, Size, Since, Where, Nowhere string
	Boxes, BoxName, Free, Given, Taken, There, Away, Leaving, Status   string
	BadgesLink, About, ThisBox, School, Region, Version                string

	BadgesTitle, BadgesLead, BadgesAll, NoBadges, BadgeNew, BadgeWho, BadgeEnd, BadgeMake          string
	BadgeRevoked, BadgeExpired, BadgeWaiting, BadgeUsed, BadgeTo, BadgeBy, BadgeRenew, BadgeRevoke string
	BadgeName, BadgeUntil, BadgesFull, CodeTitle, CodeOnce, CodeHow, CodeType                      string

	Missing, MissingText, Unread, UnreadText, Broken, BrokenText, Back string
}

var words = page.Both[Words]{
	French: Words{
		Title: "L’état de la boîte", LogTitle: "Journal des actions", LogLead: "Ce qui a été décidé sur cette boîte, et par qui. Rien de ce que font les élèves n’y figure.",
		LogLink: "Journal des actions", NoActions: "Rien n’a encore été noté.", ActionAt: "Quand", ActionWho: "Qui", ActionWhat: "Quoi",
		Now: "En ce moment", NoSites: "Aucun site n’est confié à cette boîte.", LineUp: "La ligne fonctionne.",
		LineCut: "La ligne est coupée.", LineCutSince: "La ligne est coupée depuis %s.", LineAdvice: "Ce qui est sur la boîte reste disponible pour tous. Ce qu’on ajoute attend ici et partira tout seul quand la ligne reviendra.",
		SitesDown:     "La ligne fonctionne, mais un site ne répond pas : %s.",
		Held:          [2]string{"%d ressource reste disponible sans la ligne.", "%d ressources restent disponibles sans la ligne."},
		RegionProblem: "La boîte ne peut pas se joindre à sa région.", NoRegion: "La boîte n’appartient à aucune région.", NoRegionAdvice: "Le service informatique de la région l’inscrit avec la commande « preau enrol ».",
		RegionAway: "La région ne répond pas.", RegionAdvice: "La boîte continue avec ce qu’elle a, et réessaie toute seule.", RegionThere: "La boîte suit sa région depuis %s.",
		Lapsed: "Le certificat de la boîte a expiré.", LapsesSoon: "Le certificat de la boîte expire le %s.", LapsedAdvice: "Prévenez le service informatique de la région.",
		DiskFull: "Le disque est plein : la boîte ne garde plus rien de nouveau.", DiskAdvice: "Les pages continuent de passer par la ligne. Prévenez le service informatique de la région.", DiskUsed: "La boîte garde %s, sur %s au plus.",
		DiskLocked: "Le disque de la boîte est verrouillé par une autre carte mère : elle tourne sans lui, et n’a rien effacé.", DiskUnread: "Le disque de la boîte ne peut pas être lu : elle tourne sans lui.",
		NoDiskAdvice: "Ce qu’on ajoute maintenant est perdu si la boîte s’éteint avant de l’avoir transmis. Prévenez le service informatique de la région.",
		GivenUp:      "La mise à jour %s n’a pas bien démarré : la boîte est revenue d’elle-même à la version d’avant.", GivenUpAdvice: "Rien n’est perdu. Prévenez le service informatique de la région.",
		DepositsClosed: "Rien ne peut être ajouté sur la boîte pour le moment.", NoDeposits: "Tout ce qui a été ajouté ici est à l’abri dans le stockage central.", DepositsSafe: "Rien ne se perd : la boîte garde chaque fichier jusqu’à ce qu’il soit à l’abri.",
		Deposits:         [2]string{"%d fichier ajouté ici (%%s) n’est pas encore au stockage central.", "%d fichiers ajoutés ici (%%s) ne sont pas encore au stockage central."},
		NeighbourTrouble: "Une autre boîte de l’école a un problème.", Alone: "C’est la seule boîte allumée dans l’école.",
		Others: [2]string{"%d autre boîte de l’école travaille avec celle-ci.", "%d autres boîtes de l’école travaillent avec celle-ci."},
		Line:   "La ligne au fil de la journée", LineFrom: "Ce qui a traversé la ligne par quart d’heure.", Top: "en haut :", Budget: "Trait pointillé : ce que le service informatique permet de télécharger à l’avance.", Allowed: "Fond coloré : les heures permises pour cela.",
		Previous: "Jour précédent", Next: "Jour suivant", Hour: "Heure", Crossed: "Par la ligne", Got: "Reçu par les appareils", Nothing: "Rien n’a traversé la ligne ce jour-là.",
		Table: "Les mêmes chiffres, heure par heure", Saved: "Épargné à la ligne", Method: "Calcul : ce que les appareils ont reçu, moins tout ce qui a traversé la ligne, téléchargements à l’avance compris. Seuls des octets sont comptés, jamais qui les demande.",
		SavedNothing: "Rien ce jour-là.", Numbers: "En chiffres", Of: "sur",
		Lessons: "Cours à venir", NoLessons: "Aucun cours n’est préparé.", NewLesson: "Préparer un cours", Colon: " :", Ready: "prêts", Coming: "en route", Cannot: "impossibles",
		Added: "Ajouté ici, en route vers le stockage central", Waiting: "Attend", InRegion: "dans la région", OnBox: "sur la boîte", File: "Fichier", Size: "Taille", Since: "Depuis", Where: "Où", Nowhere: "Tout est arrivé.",
		Boxes: "Les autres boîtes de l’école", BoxName: "Boîte", Free: "Place libre", Given: "Donné", Taken: "Reçu", There: "là", Away: "absente", Leaving: "s’en va", Status: "État",
		BadgesLink: "Badges des enseignants", About: "Cette boîte", ThisBox: "Nom", School: "École", Region: "Région", Version: "Version",
		BadgesTitle: "Badges des enseignants", BadgesLead: "Un badge permet à un enseignant de se connecter même sans la ligne et sans le compte du ministère.", BadgesAll: "Les badges", NoBadges: "Aucun badge n’a été fait.",
		BadgeNew: "Nouveau badge", BadgeWho: "Nom de l’enseignant", BadgeEnd: "Dernier jour", BadgeMake: "Faire le badge",
		BadgeRevoked: "révoqué", BadgeExpired: "terminé", BadgeWaiting: "pas encore utilisé", BadgeUsed: "en service", BadgeTo: "jusqu’au", BadgeBy: "fait par", BadgeRenew: "Nouveau code", BadgeRevoke: "Révoquer",
		BadgeName: "Écrivez un nom d’au plus 80 lettres.", BadgeUntil: "Choisissez un jour à venir, dans un an au plus.", BadgesFull: "Il y a trop de badges : révoquez-en qui ne servent plus.",
		CodeTitle: "Le code du badge", CodeOnce: "Ce code n’est montré qu’une fois, et ne sert qu’une fois : donnez-le tout de suite à cette personne.", CodeHow: "Sur sa tablette ou son ordinateur, elle lit le code QR, ou ouvre la page « Se connecter » de cette boîte et y tape le code. L’appareil reste connecté ensuite.",
		CodeType: "Sur sa tablette ou son ordinateur, elle ouvre la page « Se connecter » de cette boîte et y tape le code. L’appareil reste connecté ensuite.",
		Missing:  "Cette page n’existe pas", MissingText: "L’adresse ne mène à rien sur cette boîte.", Unread: "Le journal ne peut pas être lu", UnreadText: "Le disque de la boîte ne le rend pas. Le journal de la machine dit pourquoi.",
		Broken: "La page n’a pas pu être faite", BrokenText: "C’est une erreur de la boîte. Son journal dit laquelle.", Back: "L’état de la boîte",
	},
	English: Words{
		Title: "How the box is", LogTitle: "Log of actions", LogLead: "What was decided on this box, and by whom. Nothing that pupils do is in it.",
		LogLink: "Log of actions", NoActions: "Nothing has been noted yet.", ActionAt: "When", ActionWho: "Who", ActionWhat: "What",
		Now: "Right now", NoSites: "This box has no web sites to look after.", LineUp: "The line works.",
		LineCut: "The line is cut.", LineCutSince: "The line has been cut since %s.", LineAdvice: "What is on the box stays there for everybody. What is added waits here and leaves by itself when the line is back.",
		SitesDown:     "The line works, but a site does not answer: %s.",
		Held:          [2]string{"%d resource stays available without the line.", "%d resources stay available without the line."},
		RegionProblem: "The box can’t take part in its region.", NoRegion: "The box belongs to no region.", NoRegionAdvice: "The region’s IT enrols it with the command “preau enrol”.",
		RegionAway: "The region does not answer.", RegionAdvice: "The box goes on with what it has, and tries again by itself.", RegionThere: "The box has followed its region since %s.",
		Lapsed: "The box’s certificate has lapsed.", LapsesSoon: "The box’s certificate lapses on %s.", LapsedAdvice: "Tell the region’s IT.",
		DiskFull: "The disk is full: the box keeps nothing new.", DiskAdvice: "Pages still come over the line. Tell the region’s IT.", DiskUsed: "The box keeps %s, of %s at most.",
		DiskLocked: "The box’s disk is locked by another main board: it runs without it, and has deleted nothing.", DiskUnread: "The box’s disk can’t be read: it runs without it.",
		NoDiskAdvice: "What is added now is lost if the box is switched off before it has passed it on. Tell the region’s IT.",
		GivenUp:      "The update %s did not start well: the box has gone back to the version before by itself.", GivenUpAdvice: "Nothing is lost. Tell the region’s IT.",
		DepositsClosed: "Nothing can be added on the box for now.", NoDeposits: "All that was added here is safe in the central store.", DepositsSafe: "Nothing is lost: the box keeps each file until it is safe.",
		Deposits:         [2]string{"%d file that was added here (%%s) is not in the central store yet.", "%d files that were added here (%%s) are not in the central store yet."},
		NeighbourTrouble: "Another box of the school has a problem.", Alone: "This is the only box that is on in the school.",
		Others: [2]string{"%d other box of the school works together with this one.", "%d other boxes of the school work together with this one."},
		Line:   "The line over the day", LineFrom: "What came over the line in each quarter of an hour.", Top: "top edge:", Budget: "Dotted line: what IT allows to be fetched ahead.", Allowed: "Tinted: the hours in which that is allowed.",
		Previous: "Day before", Next: "Day after", Hour: "Hour", Crossed: "Over the line", Got: "Sent to devices", Nothing: "Nothing came over the line on that day.",
		Table: "The same figures, hour by hour", Saved: "Spared the line", Method: "How it is reckoned: what devices got, less all that came over the line, what was fetched ahead among it. Only bytes are counted, never who asks.",
		SavedNothing: "Nothing on that day.", Numbers: "In figures", Of: "of",
		Lessons: "Lessons to come", NoLessons: "No lesson is prepared.", NewLesson: "Prepare a lesson", Colon: ":", Ready: "ready", Coming: "arriving", Cannot: "can’t be kept",
		Added: "Added here, on the way to the central store", Waiting: "Waits", InRegion: "in the region", OnBox: "on the box", File: "File", Size: "Size", Since: "Since", Where: "Where", Nowhere: "All has arrived.",
		Boxes: "The school’s other boxes", BoxName: "Box", Free: "Free room", Given: "Given", Taken: "Taken", There: "there", Away: "away", Leaving: "leaving", Status: "State",
		BadgesLink: "Teachers’ badges", About: "This box", ThisBox: "Name", School: "School", Region: "Region", Version: "Version",
		BadgesTitle: "Teachers’ badges", BadgesLead: "With a badge a teacher can sign in without the line and without the ministry’s account.", BadgesAll: "The badges", NoBadges: "No badge has been made.",
		BadgeNew: "New badge", BadgeWho: "The teacher’s name", BadgeEnd: "Last day", BadgeMake: "Make the badge",
		BadgeRevoked: "revoked", BadgeExpired: "ended", BadgeWaiting: "not used yet", BadgeUsed: "in use", BadgeTo: "until", BadgeBy: "made by", BadgeRenew: "New code", BadgeRevoke: "Revoke",
		BadgeName: "Write a name of at most 80 letters.", BadgeUntil: "Choose a day to come, within a year.", BadgesFull: "There are too many badges: revoke some that are not in use.",
		CodeTitle: "The badge’s code", CodeOnce: "This code is shown once, and works once: give it to that person now.", CodeHow: "On their tablet or computer they read the QR code, or open this box’s page “Sign in” and type the code. The device stays signed in from then on.",
		CodeType: "On their tablet or computer they open this box’s page “Sign in” and type the code. The device stays signed in from then on.",
		Missing:  "There is no such page", MissingText: "The address leads nowhere on this box.", Unread: "The log can’t be read", UnreadText: "The box’s disk does not give it. The machine’s log says why.",
		Broken: "The page could not be made", BrokenText: "That is a fault of the box. Its log says which.", Back: "How the box is",
	},
}

func (w Words) missing() page.Notice { return w.notice(w.Missing, w.MissingText) }
func (w Words) unread() page.Notice  { return w.notice(w.Unread, w.UnreadText) }
func (w Words) broken() page.Notice  { return w.notice(w.Broken, w.BrokenText) }

func (w Words) notice(title, text string) page.Notice {
	return page.Notice{Title: title, Text: text, Links: []page.Link{{To: Prefix, Label: w.Back}}}
}
