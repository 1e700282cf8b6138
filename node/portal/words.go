package portal

import (
	"net/http"

	"preau/cache/page"
)

// saying is what the portal says, in one language.
type saying struct {
	Home, Collections, Sites, AllCollections, ToHome, Again string
	Hello, HelloLead, SearchLabel, SearchHint, Search       string
	// The line. Down has a place for the time or the day.
	LineUp, LineDown, LineDownAt, LineDownDay, LineUnknown string
	Today, NoLesson, NoLessonHint, Code, CodeHint, Open    string
	Collection, NoCollection, Lately, Shelves, MoreLately  string
	EmptyTitle, EmptyHint, Reading                         string
	Whole, Partly, Away, OnRequest                         string
	WholeLong, PartlyLong, AwayLong, AwayDown              string
	One, Many, HereOf, HereAll                             string // with places for numbers
	LeftOut                                                string
	// The search.
	Found, FoundOne, FoundFirst, Nothing, NothingHint, AskHint, FoundTitle string
	LaterOne, LaterMany                                                    string // what can't be fetched now
	// One thing.
	Download, OpenIt, About, Type, Size, Language, Licence, Level, AddedOn, PublishedOn, In, Stage, Origin string
	FromRegion, FromSchool, Preview, Others, BigPicture, Beginning, PDFHint, Sorry, Captions               string
	Stages                                                                                                 map[string]string
	// Lessons.
	Lesson, For, Items, NoItems, Lights, ReadyAll, ReadySome, QR, QRHint, CodeTitle, CodeLabel, CodeGo, CodeWrong string
	LightNames                                                                                                    map[Light]string
	Elsewhere                                                                                                     string
	// Sites.
	SitesLead, SiteUp, SiteDown, NoSites, NoSitesHint, Kept, Visit, KeptNone string
	Next, Previous, PageOf, Stream                                           string
	Languages                                                                map[string]string
}

var sayings = page.Both[saying]{
	French: saying{
		Home: "Accueil", Collections: "Collections", Sites: "Sites", AllCollections: "Toutes les collections", ToHome: "Retour à l’accueil", Again: "Réessayer",
		Hello: "Bonjour !", HelloLead: "Tout ce qui porte la marque verte est déjà dans l’école et s’ouvre vite, même sans internet.",
		SearchLabel: "Que cherchez-vous ?", SearchHint: "volcan, fractions, cycle de l’eau…", Search: "Chercher",
		LineUp: "La ligne fonctionne.", LineDown: "La ligne est coupée : tout ce qui porte la marque verte s’ouvre quand même.",
		LineDownAt:  "La ligne est coupée depuis %s : tout ce qui porte la marque verte s’ouvre quand même.",
		LineDownDay: "La ligne est coupée depuis le %s : tout ce qui porte la marque verte s’ouvre quand même.",
		LineUnknown: "On ne sait pas encore si la ligne fonctionne.",
		Today:       "Aujourd’hui en classe", NoLesson: "Aucun cours n’est prévu aujourd’hui.",
		NoLessonHint: "Un professeur vous a donné un code ?", Code: "Entrer le code", CodeHint: "Un code de cours ?", Open: "Ouvrir",
		Collection: "Collection", NoCollection: "Autres documents", Lately: "Arrivé récemment", Shelves: "Collections", MoreLately: "Tout voir",
		EmptyTitle: "La boîte est encore vide", EmptyHint: "Les documents arrivent dès que l’académie ou un professeur en ajoute. Revenez dans un moment.", Reading: "La boîte vient de démarrer et range ses étagères. Rechargez la page dans un instant.",
		Whole: "Disponible hors ligne", Partly: "En partie hors ligne", Away: "Pas encore ici", OnRequest: "Arrive à la demande",
		WholeLong: "Disponible même sans internet.", PartlyLong: "Une partie est déjà sur la boîte ; le reste arrive par la ligne à l’ouverture.", AwayLong: "La boîte va le chercher quand on l’ouvre ; ensuite il y reste.",
		AwayDown: "Ce document n’est pas encore sur la boîte et la ligne est coupée : il pourra s’ouvrir quand elle reviendra.",
		One:      "1 document", Many: "%d documents", HereOf: "%d hors ligne", HereAll: "Tout hors ligne",
		LeftOut: "Il y a plus de documents que ces pages n’en montrent : les premiers seulement sont ici. Les autres restent dans la liste complète.",
		Found:   "%d résultats pour « %s »", FoundOne: "1 résultat pour « %s »", FoundFirst: "Voici les %d premiers.", Nothing: "Rien ne correspond à « %s »",
		NothingHint: "Vérifiez l’orthographe, essayez avec moins de mots, ou parcourez les collections.", AskHint: "Écrivez un ou plusieurs mots. Les accents et les majuscules ne comptent pas.", FoundTitle: "Recherche",
		LaterOne: "1 autre, quand l’académie sera de nouveau joignable", LaterMany: "%d autres, quand l’académie sera de nouveau joignable",
		Download: "Télécharger", OpenIt: "Ouvrir", About: "À propos", Type: "Nature", Size: "Taille", Language: "Langue", Licence: "Licence", Level: "Niveau", AddedOn: "Ajouté le", PublishedOn: "Publié le", In: "Collection", Stage: "Où il est gardé", Origin: "Origine",
		FromRegion: "Académie", FromSchool: "Ajouté dans l’école", Preview: "Aperçu", Others: "Dans la même collection", BigPicture: "Cette image est grande : elle ne s’affiche que si on l’ouvre.", Beginning: "Le début seulement : ouvrez le document pour lire la suite.",
		PDFHint: "Le document s’ouvre dans le lecteur de l’appareil.", Sorry: "Cette vidéo ne peut pas être lue ici maintenant. Réessayez plus tard, ou ouvrez-la sur un autre appareil.", Captions: "Sous-titres",
		Stages: map[string]string{"box": "sur la boîte de l’école", "region": "à l’académie", "centre": "en sûreté au centre"},
		Lesson: "Cours", For: "Pour", Items: "Documents du cours", NoItems: "Ce cours n’a pas encore de document.", Lights: "État",
		ReadyAll: "Tout est prêt.", ReadySome: "%d sur %d prêts.", QR: "Code QR du cours", QRHint: "Code du cours",
		CodeTitle: "Ouvrir un cours", CodeLabel: "Code du cours", CodeGo: "Ouvrir le cours", CodeWrong: "Aucun cours ne porte ce code. Vérifiez chaque lettre, ou demandez au professeur.",
		LightNames: map[Light]string{Ready: "Prêt", Arriving: "En route", Waiting: "En attente", Cannot: "Pas ici"},
		Elsewhere:  "sur internet",
		SitesLead:  "Ces sites passent par la boîte : ce que la classe a déjà ouvert y reste.", SiteUp: "joignable", SiteDown: "injoignable en ce moment", NoSites: "Aucun site ne passe par cette boîte", NoSitesHint: "La personne qui s’occupe de l’informatique de l’école peut en ajouter.",
		Kept: "Déjà sur la boîte", Visit: "Visiter", KeptNone: "Rien de ce site n’est encore sur la boîte.",
		Next: "Suite", Previous: "Précédent", PageOf: "Page %d sur %d", Stream: "Vidéo",
		Languages: map[string]string{"fr": "français", "en": "anglais", "de": "allemand", "es": "espagnol", "it": "italien", "pt": "portugais", "ar": "arabe", "la": "latin", "br": "breton", "oc": "occitan", "eu": "basque", "co": "corse", "zh": "chinois", "ru": "russe"},
	},
	English: saying{
		Home: "Home", Collections: "Collections", Sites: "Sites", AllCollections: "All collections", ToHome: "Back to the home page", Again: "Try again",
		Hello: "Hello!", HelloLead: "Everything with the green mark is already in the school and opens fast, even without the internet.",
		SearchLabel: "What are you looking for?", SearchHint: "volcano, fractions, water cycle…", Search: "Search",
		LineUp: "The line works.", LineDown: "The line is down: everything with the green mark still opens.",
		LineDownAt:  "The line has been down since %s: everything with the green mark still opens.",
		LineDownDay: "The line has been down since %s: everything with the green mark still opens.",
		LineUnknown: "It is not known yet whether the line works.",
		Today:       "In class today", NoLesson: "No lesson is planned for today.",
		NoLessonHint: "Did your teacher give you a code?", Code: "Enter the code", CodeHint: "A lesson code?", Open: "Open",
		Collection: "Collection", NoCollection: "Other documents", Lately: "New here", Shelves: "Collections", MoreLately: "See all",
		EmptyTitle: "The box is still empty", EmptyHint: "Documents arrive as soon as the region or a teacher adds some. Come back in a while.", Reading: "The box has just started and is filling its shelves. Reload the page in a moment.",
		Whole: "Available offline", Partly: "Partly offline", Away: "Not here yet", OnRequest: "Arrives on request",
		WholeLong: "Available even without the internet.", PartlyLong: "Part of it is on the box already; the rest comes over the line when it is opened.", AwayLong: "The box fetches it when somebody opens it; it stays from then on.",
		AwayDown: "This document is not yet on the box and the line is down: it will open when the line is back.",
		One:      "1 document", Many: "%d documents", HereOf: "%d offline", HereAll: "All offline",
		LeftOut: "There are more documents than these pages show: only the first ones are here. The others are in the complete list.",
		Found:   "%d results for “%s”", FoundOne: "1 result for “%s”", FoundFirst: "Here are the first %d.", Nothing: "Nothing matches “%s”",
		NothingHint: "Check the spelling, try fewer words, or look through the collections.", AskHint: "Type one or more words. Accents and capitals make no difference.", FoundTitle: "Search",
		LaterOne: "1 more, once the region can be reached again", LaterMany: "%d more, once the region can be reached again",
		Download: "Download", OpenIt: "Open", About: "About", Type: "Kind", Size: "Size", Language: "Language", Licence: "Licence", Level: "Level", AddedOn: "Added on", PublishedOn: "Published on", In: "Collection", Stage: "Where it is kept", Origin: "From",
		FromRegion: "The region", FromSchool: "Added in the school", Preview: "Preview", Others: "In the same collection", BigPicture: "This picture is large: it is shown only when it is opened.", Beginning: "Only the beginning: open the document to read on.",
		PDFHint: "The document opens in the device’s own reader.", Sorry: "This video cannot be played here now. Try again later, or open it on another device.", Captions: "Captions",
		Stages: map[string]string{"box": "on the school’s box", "region": "in the region", "centre": "safe in the centre"},
		Lesson: "Lesson", For: "For", Items: "Documents of the lesson", NoItems: "This lesson has no document yet.", Lights: "State",
		ReadyAll: "Everything is ready.", ReadySome: "%d of %d ready.", QR: "QR code of the lesson", QRHint: "Lesson code",
		CodeTitle: "Open a lesson", CodeLabel: "Lesson code", CodeGo: "Open the lesson", CodeWrong: "No lesson has this code. Check each letter, or ask your teacher.",
		LightNames: map[Light]string{Ready: "Ready", Arriving: "On its way", Waiting: "Waiting", Cannot: "Not here"},
		Elsewhere:  "on the internet",
		SitesLead:  "These sites go through the box: what the class has opened once stays here.", SiteUp: "within reach", SiteDown: "out of reach at the moment", NoSites: "No site goes through this box", NoSitesHint: "The person who looks after the school’s computers can add some.",
		Kept: "Already on the box", Visit: "Visit", KeptNone: "Nothing of this site is on the box yet.",
		Next: "Next", Previous: "Previous", PageOf: "Page %d of %d", Stream: "Video",
		Languages: map[string]string{"fr": "French", "en": "English", "de": "German", "es": "Spanish", "it": "Italian", "pt": "Portuguese", "ar": "Arabic", "la": "Latin", "br": "Breton", "oc": "Occitan", "eu": "Basque", "co": "Corsican", "zh": "Chinese", "ru": "Russian"},
	},
}

// troubles are what is said for a status; 0 is any other.
var troubles = map[int]page.Both[page.Notice]{
	http.StatusNotFound: {
		French:  page.Notice{Title: "Cette page n’existe pas ici", Text: "L’adresse est peut-être incomplète, ou ce qui s’y trouvait a changé de place.", Advice: "Cherchez avec la barre en haut, ou repartez de l’accueil."},
		English: page.Notice{Title: "There is no such page here", Text: "The address may be cut short, or what was there has moved.", Advice: "Use the search at the top, or start again from the home page."},
	},
	http.StatusGone: {
		French:  page.Notice{Title: "Ce document n’est plus là", Text: "Il a été retiré par ceux qui l’avaient publié.", Advice: "Une version plus récente est peut-être dans la même collection."},
		English: page.Notice{Title: "This document is no longer here", Text: "It was taken back by those who had published it.", Advice: "There may be a newer one in the same collection."},
	},
	http.StatusMethodNotAllowed: {
		French:  page.Notice{Title: "Cette page ne fait que montrer", Advice: "Repartez de l’accueil."},
		English: page.Notice{Title: "This page only shows things", Advice: "Start again from the home page."},
	},
	0: {
		French:  page.Notice{Title: "La page ne peut pas être affichée maintenant", Text: "Rien n’est cassé sur votre appareil.", Advice: "Réessayez dans un moment. Si cela continue, prévenez la personne qui s’occupe de l’informatique de l’école."},
		English: page.Notice{Title: "This page cannot be shown now", Text: "Nothing is wrong with your device.", Advice: "Try again in a while. If it goes on, tell the person who looks after the school’s computers."},
	},
}
