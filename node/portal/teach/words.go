package teach

import (
	"preau/cache/page"
	"preau/node/upload"
)

// Words are what these pages say, in one language. Those with a % are for numbers.
type Words struct {
	Lessons, Hello, NewLesson, Coming, Past, NoLessons, NoLessonsHint                   string
	Empty, SomeCannot, OneCannot, SomeReady, AllReady                                   string
	ReadyAt, ReadyOn, Progress                                                          string
	Show, Edit, Copy, Delete, PupilsPage, Items, NoItems                                string
	ShowLead, ShowOr, ShowCode, Print, Back                                             string
	DeleteTitle, DeleteHint, DeleteNow, Keep                                            string
	NewTitle, EditTitle, Title, TitleHint, Class, ClassHint, Day, Clock                 string
	Links, LinksHint, Picked, PickedHint, Search, SearchHint, Find, Found, NoneFound    string
	Recent, Save, Optional                                                              string
	NeedTitle, TooLong, NeedDate, TooMany, BadLink, Invalid, Changed, Full              string
	Files, FilesLead, Drop, DropHint, Choose, Resumable, NeedScript, NoUploads          string
	FileTitle, Licence, Send, SendAll, Pause, Resume, Remove, Sent, Tidy, Waiting, Left string
	Sending, Added, NoFiles, Storing, GoOn, JoinText, Join                              string
	SignIn, Lost, NoLesson, NotYours, Broken, NotSaved, BadForm, NotRemoved             notice
	Steps                                                                               [3]string
	Licences                                                                            []licence
	Reasons                                                                             map[upload.Reason]string
}

var words = page.Both[Words]{French: french, English: english}

var french = Words{
	Lessons: "Mes cours", Hello: "Bonjour %s. Préparez un cours : la boîte va chercher les documents d’avance et vous dit ce qui sera prêt.",
	NewLesson: "Préparer un cours", Coming: "À venir", Past: "Passés", NoLessons: "Aucun cours n’est encore préparé.",
	NoLessonsHint: "Collez quelques liens, choisissez un jour : la boîte s’occupe du reste.",
	Empty:         "Vide", SomeCannot: "%d sur %d prêts, %d impossibles à garder", OneCannot: "%d sur %d prêts, 1 impossible à garder", SomeReady: "%d sur %d prêts", AllReady: "Tout est prêt",
	ReadyAt: "Prêt à %s", ReadyOn: "Prêt %s à %s", Progress: "Avancement",
	Show: "Montrer à la classe", Edit: "Modifier", Copy: "En faire mon cours", Delete: "Supprimer", PupilsPage: "Voir comme les élèves", Items: "Documents de ce cours",
	NoItems: "Ce cours n’a encore aucun document.", ShowLead: "Scannez ce code avec une tablette", ShowOr: "ou tapez cette adresse :", ShowCode: "Code du cours",
	Print: "Pour l’imprimer, utilisez la fonction d’impression du navigateur.", Back: "Retour au cours",
	DeleteTitle: "Supprimer ce cours ?", DeleteHint: "Son adresse et son code ne mèneront plus à rien. Les fichiers ajoutés à la boîte y restent.", DeleteNow: "Supprimer le cours", Keep: "Le garder",
	NewTitle: "Préparer un cours", EditTitle: "Modifier le cours", Title: "Titre", TitleHint: "Par exemple : Le cycle de l’eau", Class: "Classe", ClassHint: "Par exemple : 6e B",
	Day: "Jour du cours", Clock: "Heure", Links: "Liens", LinksHint: "Un par ligne : partage Nuage, vidéo Tubes, page d’un blog… Collez-les tels quels.",
	Picked: "Documents choisis", PickedHint: "Décochez ce qui ne doit plus en faire partie.",
	Search: "Chercher sur la boîte", SearchHint: "Titre, sujet ou nom de fichier", Find: "Chercher", Found: "Résultats : cochez ce qui convient", NoneFound: "Rien ne correspond. Essayez avec un autre mot.",
	Recent: "Ajoutés à l’école récemment", Save: "Enregistrer le cours", Optional: "facultatif",
	NeedTitle: "Donnez un titre au cours.", TooLong: "Cent caractères au plus.", NeedDate: "Choisissez un jour et une heure.", TooMany: "Au plus %d documents par cours.", BadLink: "Un des liens est trop long ou contient des caractères impossibles.",
	Invalid: "Le cours n’est pas encore enregistré : corrigez ce qui est marqué.", Changed: "Quelqu’un a modifié ce cours entre-temps. Enregistrez de nouveau pour remplacer sa version par la vôtre.",
	Full:  "La boîte a trop de cours. Supprimez d’anciens cours, puis réessayez.",
	Files: "Ajouter des fichiers", FilesLead: "Ils sont aussitôt disponibles pour la classe, avec ou sans ligne, puis mis en sécurité dans la région et au ministère.",
	Drop: "Déposez des fichiers ici", DropHint: "ou", Choose: "Choisir des fichiers", Resumable: "Plusieurs gigaoctets sont possibles. Après une coupure, une page rechargée ou une batterie vide, choisissez le même fichier : l’envoi reprend où il en était.",
	NeedScript: "Pour envoyer des fichiers, autorisez JavaScript dans ce navigateur.", NoUploads: "Cette boîte n’accepte pas de fichiers pour le moment.",
	FileTitle: "Titre", Licence: "Qui peut le réutiliser ?", Send: "Envoyer", SendAll: "Tout envoyer", Pause: "Suspendre", Resume: "Reprendre", Remove: "Retirer", Sent: "Arrivé sur la boîte", Tidy: "C’est bon", Waiting: "Connexion perdue. L’envoi reprendra tout seul.",
	Left: "envoyés", Sending: "En cours d’envoi", Added: "Sur la boîte", NoFiles: "Aucun fichier n’a encore été ajouté.", Storing: "Arrivé en entier, en cours de rangement.", GoOn: "Envoi interrompu ? Choisissez le même fichier pour le reprendre.",
	JoinText: "Vous êtes connecté avec un badge. Si vous avez aussi un compte académique, reliez-les : vos cours seront à vous avec l’un comme avec l’autre.", Join: "Relier mon compte",
	SignIn:     notice{Title: "Cette page est pour les enseignants", Text: "Vous n’êtes pas connecté.", Links: []page.Link{{To: "/sign-in", Label: "Se connecter"}}},
	Lost:       notice{Title: "Cette page n’existe pas", Advice: "Vérifiez l’adresse, ou revenez à vos cours.", Links: []page.Link{{To: Prefix, Label: "Mes cours"}}},
	NoLesson:   notice{Title: "Ce cours n’existe pas, ou plus", Advice: "Il a peut-être été supprimé.", Links: []page.Link{{To: Prefix, Label: "Mes cours"}}},
	NotYours:   notice{Title: "Ce cours est à quelqu’un d’autre", Text: "Seuls la personne qui l’a préparé et l’admin de l’école peuvent le modifier.", Advice: "Partez de lui pour faire le vôtre.", Links: []page.Link{{To: Prefix, Label: "Mes cours"}}},
	Broken:     notice{Title: "La page n’a pas pu être préparée", Advice: "Réessayez dans un moment. Si cela continue, prévenez la personne qui s’occupe de la boîte.", Links: []page.Link{{Label: "Réessayer"}}},
	NotSaved:   notice{Title: "Le cours n’a pas pu être enregistré", Text: "Le disque de la boîte ne répond pas comme il faut.", Advice: "Réessayez dans un moment. Si cela continue, prévenez la personne qui s’occupe de la boîte.", Links: []page.Link{{To: Prefix, Label: "Mes cours"}}},
	NotRemoved: notice{Title: "Le fichier n’a pas pu être retiré", Advice: "Réessayez dans un moment.", Links: []page.Link{{To: Prefix + "files", Label: "Ajouter des fichiers"}}},
	BadForm:    notice{Title: "Le formulaire est trop long", Advice: "Répartissez les documents sur plusieurs cours.", Links: []page.Link{{To: Prefix, Label: "Mes cours"}}},
	Steps:      [3]string{"Sur la boîte", "Dans la région", "En sécurité au ministère"},
	Licences: []licence{
		{"", "Je ne sais pas : pour notre école seulement"}, {"CC BY 4.0", "Tout le monde, en citant l’auteur (CC BY)"},
		{"CC BY-NC-SA 4.0", "Tout le monde, sans en faire commerce (CC BY-NC-SA)"}, {"CC0 1.0", "Tout le monde, sans condition (CC0)"},
	},
	Reasons: map[upload.Reason]string{
		upload.ReasonSize: "Ce fichier est trop grand : 8 Go au plus.", upload.ReasonBudget: "La place prévue pour les fichiers de l’école est pleine. Il attend, ou demandez plus de place.",
		upload.ReasonDisk: "Le disque de la boîte est plein. Prévenez la personne qui s’en occupe.", upload.ReasonCount: "Trop d’envois sont en cours. Terminez-en ou retirez-en d’abord.",
		upload.ReasonName: "Ce nom de fichier n’est pas possible. Renommez-le.", upload.ReasonRequest: "Le navigateur et la boîte ne se comprennent pas. Rechargez la page.",
		upload.ReasonOffset: "L’envoi reprend là où il en était.", upload.ReasonChecksum: "Un morceau est arrivé abîmé. Il est renvoyé.", upload.ReasonBusy: "Ce fichier est déjà envoyé par une autre fenêtre.",
		upload.ReasonBroken: "La connexion a été coupée. L’envoi reprendra.", upload.ReasonUnknown: "La boîte ne connaît plus cet envoi. Choisissez de nouveau le fichier.",
		upload.ReasonForbid: "Vous n’êtes plus connecté. Rechargez la page pour vous reconnecter.", upload.ReasonRefused: "La boîte ne peut pas garder ce fichier tel quel.",
		upload.ReasonFailed: "La boîte a un problème. Elle réessaie.",
	},
}

var english = Words{
	Lessons: "My lessons", Hello: "Hello %s. Prepare a lesson: the box fetches its documents ahead and tells you what will be ready.",
	NewLesson: "Prepare a lesson", Coming: "To come", Past: "Past", NoLessons: "No lesson is prepared yet.",
	NoLessonsHint: "Paste a few links, pick a day: the box does the rest.",
	Empty:         "Empty", SomeCannot: "%d of %d ready, %d cannot be kept", OneCannot: "%d of %d ready, 1 cannot be kept", SomeReady: "%d of %d ready", AllReady: "Everything is ready",
	ReadyAt: "Ready at %s", ReadyOn: "Ready on %s at %s", Progress: "Progress",
	Show: "Show the class", Edit: "Edit", Copy: "Make it a lesson of mine", Delete: "Delete", PupilsPage: "See it as pupils do", Items: "Documents of this lesson",
	NoItems: "This lesson has no documents yet.", ShowLead: "Scan this code with a tablet", ShowOr: "or type this address:", ShowCode: "Lesson code",
	Print: "To have it on paper, print this page from your browser.", Back: "Back to the lesson",
	DeleteTitle: "Delete this lesson?", DeleteHint: "Its address and its code will lead nowhere. Files added to the box stay there.", DeleteNow: "Delete the lesson", Keep: "Keep it",
	NewTitle: "Prepare a lesson", EditTitle: "Edit the lesson", Title: "Title", TitleHint: "For example: The water cycle", Class: "Class", ClassHint: "For example: Year 7 B",
	Day: "Day of the lesson", Clock: "Time", Links: "Links", LinksHint: "One on each line: a Nuage share, a Tubes video, a blog page… Paste them as they are.",
	Picked: "Chosen documents", PickedHint: "Untick what is no longer part of it.",
	Search: "Search this box", SearchHint: "Title, subject or file name", Find: "Search", Found: "Results: tick what suits", NoneFound: "Nothing matches. Try another word.",
	Recent: "Added in the school lately", Save: "Save the lesson", Optional: "optional",
	NeedTitle: "Give the lesson a title.", TooLong: "A hundred characters at most.", NeedDate: "Pick a day and a time.", TooMany: "At most %d documents in a lesson.", BadLink: "One of the links is too long, or has characters that no link can have.",
	Invalid: "The lesson is not saved yet: correct what is marked.", Changed: "Somebody changed this lesson meanwhile. Save again to put your version in place of theirs.",
	Full:  "The box has too many lessons. Delete old ones, then try again.",
	Files: "Add files", FilesLead: "They are there for the class at once, with or without the line, and are then brought to safety in the region and at the ministry.",
	Drop: "Drop files here", DropHint: "or", Choose: "Choose files", Resumable: "Several gigabytes are fine. After a lost connection, a page that was loaded again or an empty battery, choose the same file: it goes on from where it was.",
	NeedScript: "To send files, allow JavaScript in this browser.", NoUploads: "This box takes no files for the moment.",
	FileTitle: "Title", Licence: "Who may use it again?", Send: "Send", SendAll: "Send all", Pause: "Pause", Resume: "Go on", Remove: "Remove", Sent: "Arrived on the box", Tidy: "Done", Waiting: "The connection is lost. It goes on by itself.",
	Left: "sent", Sending: "On their way", Added: "On the box", NoFiles: "No file was added yet.", Storing: "All of it has arrived and is being put away.", GoOn: "Was it interrupted? Choose the same file to go on.",
	JoinText: "You are signed in with a badge. If you have a ministry’s account too, join them: your lessons will be yours with either.", Join: "Join my account",
	SignIn:     notice{Title: "This page is for teachers", Text: "You are not signed in.", Links: []page.Link{{To: "/sign-in", Label: "Sign in"}}},
	Lost:       notice{Title: "There is no such page", Advice: "Check the address, or go back to your lessons.", Links: []page.Link{{To: Prefix, Label: "My lessons"}}},
	NoLesson:   notice{Title: "There is no such lesson, or no more", Advice: "It may have been deleted.", Links: []page.Link{{To: Prefix, Label: "My lessons"}}},
	NotYours:   notice{Title: "This lesson is somebody else’s", Text: "Only who prepared it and the school’s admin can change it.", Advice: "Use it as a start for one of yours.", Links: []page.Link{{To: Prefix, Label: "My lessons"}}},
	Broken:     notice{Title: "The page could not be made", Advice: "Try again in a while. If it goes on, tell whoever looks after the box.", Links: []page.Link{{Label: "Try again"}}},
	NotSaved:   notice{Title: "The lesson could not be saved", Text: "The box’s disk does not answer as it should.", Advice: "Try again in a while. If it goes on, tell whoever looks after the box.", Links: []page.Link{{To: Prefix, Label: "My lessons"}}},
	NotRemoved: notice{Title: "The file could not be removed", Advice: "Try again in a while.", Links: []page.Link{{To: Prefix + "files", Label: "Add files"}}},
	BadForm:    notice{Title: "The form is too long", Advice: "Spread the documents over several lessons.", Links: []page.Link{{To: Prefix, Label: "My lessons"}}},
	Steps:      [3]string{"On the box", "In the region", "Safe at the ministry"},
	Licences: []licence{
		{"", "I do not know: for our school only"}, {"CC BY 4.0", "Everybody, naming the author (CC BY)"},
		{"CC BY-NC-SA 4.0", "Everybody, but not for business (CC BY-NC-SA)"}, {"CC0 1.0", "Everybody, without conditions (CC0)"},
	},
	Reasons: map[upload.Reason]string{
		upload.ReasonSize: "This file is too large: 8 GB at most.", upload.ReasonBudget: "The room set aside for the school’s files is used up. It waits, or ask for more room.",
		upload.ReasonDisk: "The box’s disk is full. Tell whoever looks after it.", upload.ReasonCount: "Too many files are on their way. Finish or remove some first.",
		upload.ReasonName: "No file can have that name. Rename it.", upload.ReasonRequest: "The browser and the box do not understand each other. Load the page again.",
		upload.ReasonOffset: "It goes on from where it was.", upload.ReasonChecksum: "A piece arrived damaged. It is sent again.", upload.ReasonBusy: "Another window sends this file already.",
		upload.ReasonBroken: "The connection was cut. It will go on.", upload.ReasonUnknown: "The box no longer knows this file. Choose it again.",
		upload.ReasonForbid: "You are no longer signed in. Load the page again to sign in.", upload.ReasonRefused: "The box cannot keep this file as it is.",
		upload.ReasonFailed: "The box has a trouble of its own. It tries again.",
	},
}
