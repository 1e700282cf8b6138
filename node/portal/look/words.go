package look

import "preau/cache/page"

// Words are what the frame says, in one language.
type Words struct {
	Skip, Places, Search, SearchHint, Find, Here, Language, Home, SignedIn string
	About                                                                  string
}

var frameWords = page.Both[Words]{
	French: Words{
		Skip: "Aller au contenu", Places: "Rubriques", Search: "Chercher sur la boîte", SearchHint: "Chercher un document, une vidéo…", Find: "Chercher",
		Here: "Vous êtes ici", Language: "Langue", Home: "Accueil", SignedIn: "Connecté :",
		About: "Ces pages viennent de la boîte de l’école. Elles ne gardent aucun cookie et ne vous suivent pas.",
	},
	English: Words{
		Skip: "Skip to content", Places: "Sections", Search: "Search this box", SearchHint: "Find a document, a video…", Find: "Search",
		Here: "You are here", Language: "Language", Home: "Home", SignedIn: "Signed in:",
		About: "These pages come from the school’s own box. They keep no cookie and do not follow you.",
	},
}
