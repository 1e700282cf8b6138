package auth

import "preau/cache/page"

// words are all that the pages say, in one language.
type words struct {
	Home, Nameless, Admin string

	Roles roleWords

	SignIn    signInWords
	Held      heldWords
	SignOut   signOutWords
	SignedOut signedOutWords
	Claim     codeWords
	Badge     badgeWords
	Joined    joinedWords
	Unsafe    unsafeWords
}

type heading struct{ Title, Lead string }

func (h heading) head() (title, lead string) { return h.Title, h.Lead }

type roleWords struct{ Teacher, School, IT string }

func (w roleWords) of(r Role) string {
	switch r {
	case School:
		return w.School
	case IT:
		return w.IT
	}
	return w.Teacher
}

type signInWords struct {
	heading
	Already, SignOut, Account, AccountText, Cut, NoAccount, BadgeTitle, BadgeText, Badge, ClaimText, Claim, Unsafe, UnsafeText, ToSecure, Pupils string
	JoinText, Join                                                                                                                               string
}

type heldWords struct {
	heading
	Text, Again, On string
}

type signOutWords struct {
	heading
	Here, Everywhere, EverywhereText string
}

type signedOutWords struct {
	heading
	ProviderText, Provider, In string
}

type codeWords struct {
	heading
	Label, Hint, Send, Wrong string
}

type badgeWords struct {
	codeWords
	Mine string
}

type joinedWords struct {
	heading
	Badge, Account, Text, On string
}

type unsafeWords struct {
	heading
	To string
}

var said = page.Both[words]{
	French: words{
		Home: "Accueil", Nameless: "Sans nom", Admin: "Responsable de l’école",
		Roles: roleWords{Teacher: "enseignant", School: "responsable de l’école", IT: "informatique de la région"},
		SignIn: signInWords{
			heading: heading{"Se connecter", "Pour les enseignants et les responsables de l’école. Les élèves n’en ont pas besoin."},
			Already: "Vous êtes déjà connecté :", SignOut: "Se déconnecter",
			Account: "Continuer avec le compte académique", AccountText: "Vous allez sur la page de connexion du ministère, puis vous revenez ici.",
			Cut:        "La ligne est coupée : la connexion avec le compte académique ne marche pas en ce moment. Un badge marche.",
			NoAccount:  "Cette boîte n’est reliée à aucun service de connexion. Un badge marche.",
			BadgeTitle: "Avec un badge", BadgeText: "Le responsable de l’école vous a donné un code sur papier. Il marche aussi sans internet.", Badge: "Entrer un code de badge",
			ClaimText: "Cette boîte n’a pas encore de responsable.", Claim: "Prendre en charge la boîte",
			Unsafe: "Ici, la connexion n’est pas protégée", UnsafeText: "Sur cette adresse, d’autres pourraient lire ce que vous envoyez. La boîte n’a pas encore d’adresse sécurisée : demandez au service informatique.",
			ToSecure: "Aller à l’adresse sécurisée de la boîte", Pupils: "Les élèves n’ont pas besoin de se connecter.",
			JoinText: "Vous avez aussi un compte académique ? Reliez-le à ce badge, une fois pour toutes : vos cours seront à vous avec l’un comme avec l’autre.", Join: "Relier mon compte académique",
		},
		Held: heldWords{
			heading: heading{"Vous êtes connecté comme enseignant", "Pour gérer la boîte, il faut une deuxième preuve que c’est bien vous."},
			Text:    "Le service de connexion n’a pas confirmé de second facteur (un code, une clé ou une application). Tout ce que peut faire un enseignant vous est ouvert.",
			Again:   "Confirmer avec un second facteur", On: "Continuer comme enseignant",
		},
		SignOut: signOutWords{
			heading: heading{"Se déconnecter", ""},
			Here:    "Se déconnecter ici", Everywhere: "Se déconnecter partout", EverywhereText: "Partout : aussi sur vos autres appareils, par exemple une tablette perdue.",
		},
		SignedOut: signedOutWords{
			heading:      heading{"Vous êtes déconnecté", "La boîte a oublié cette connexion."},
			ProviderText: "Sur un ordinateur partagé, déconnectez-vous aussi du compte académique : sinon la personne suivante pourrait s’en servir.",
			Provider:     "Se déconnecter du compte académique", In: "Se connecter à nouveau",
		},
		Claim: codeWords{
			heading: heading{"Prendre en charge la boîte", "Le code est affiché sur l’écran de la boîte, ou donné par le service informatique."},
			Label:   "Code", Hint: "8 lettres et chiffres, par exemple KX4P-7TNB", Send: "Devenir responsable", Wrong: "Ce n’est pas le bon code. Vérifiez chaque lettre.",
		},
		Badge: badgeWords{codeWords: codeWords{
			heading: heading{"Se connecter avec un badge", "Le code ne sert qu’une fois : ensuite c’est cet appareil qui est connecté. Faites-le sur votre appareil, pas sur celui d’une classe."},
			Label:   "Code du badge", Hint: "16 lettres et chiffres, par exemple KX4P-7TNB-2WQM-H9RC", Send: "Se connecter sur cet appareil", Wrong: "Ce code n’est pas valable, a déjà servi ou est périmé. Demandez-en un nouveau au responsable de l’école.",
		}, Mine: "Ce badge est le mien : ce que je prépare avec lui est aussi à moi,",
		},
		Joined: joinedWords{
			heading: heading{"C’est la même personne", "Vos cours sont à vous avec le badge comme avec le compte."},
			Badge:   "Badge :", Account: "Compte :", Text: "Si ce compte n’est pas le vôtre, dites-le tout de suite au responsable de l’école : il peut révoquer ce badge et vous en faire un autre.", On: "Mes cours",
		},
		Unsafe: unsafeWords{heading{"Continuez à l’adresse sécurisée", "Sur cette adresse, d’autres pourraient lire ce que vous envoyez."}, "Aller à l’adresse sécurisée de la boîte"},
	},
	English: words{
		Home: "Home", Nameless: "No name", Admin: "The school’s admin",
		Roles: roleWords{Teacher: "teacher", School: "the school’s admin", IT: "the region’s IT"},
		SignIn: signInWords{
			heading: heading{"Sign in", "For teachers and those who look after the school’s box. Pupils do not need to."},
			Already: "You are signed in already:", SignOut: "Sign out",
			Account: "Continue with the ministry’s account", AccountText: "You go to the ministry’s sign-in page and come back here.",
			Cut:        "The line is cut: signing in with the ministry’s account does not work now. A badge does.",
			NoAccount:  "This box is not connected to any sign-in service. A badge works.",
			BadgeTitle: "With a badge", BadgeText: "The school’s admin has given you a code on paper. It works without internet, too.", Badge: "Enter a badge code",
			ClaimText: "Nobody looks after this box yet.", Claim: "Claim the box",
			Unsafe: "Signing in is not protected here", UnsafeText: "At this address others could read what you send. The box has no secure address yet: ask your IT service.",
			ToSecure: "Go to the box’s secure address", Pupils: "Pupils do not need to sign in.",
			JoinText: "Do you have a ministry’s account, too? Join it to this badge, once and for all: your lessons will be yours with either.", Join: "Join my ministry’s account",
		},
		Held: heldWords{
			heading: heading{"You are signed in as a teacher", "To look after the box takes a second proof that it is you."},
			Text:    "The sign-in service did not confirm a second factor (a code, a key or an app). Everything that a teacher can do is open to you.",
			Again:   "Confirm with a second factor", On: "Continue as a teacher",
		},
		SignOut: signOutWords{
			heading: heading{"Sign out", ""},
			Here:    "Sign out here", Everywhere: "Sign out everywhere", EverywhereText: "Everywhere: on your other devices too, such as a tablet that was lost.",
		},
		SignedOut: signedOutWords{
			heading:      heading{"You are signed out", "The box has forgotten this session."},
			ProviderText: "On a shared computer sign out of the ministry’s account as well: the next person could use it otherwise.",
			Provider:     "Sign out of the ministry’s account", In: "Sign in again",
		},
		Claim: codeWords{
			heading: heading{"Claim the box", "The code is on the box’s screen, or comes from your IT service."},
			Label:   "Code", Hint: "8 letters and digits, such as KX4P-7TNB", Send: "Become the admin", Wrong: "That is not the code. Check each letter.",
		},
		Badge: badgeWords{codeWords: codeWords{
			heading: heading{"Sign in with a badge", "The code works once: from then on this device is signed in. Do it on your own device, not on one of a class."},
			Label:   "Badge code", Hint: "16 letters and digits, such as KX4P-7TNB-2WQM-H9RC", Send: "Sign in on this device", Wrong: "This code is not valid, was used, or is too old. Ask the school’s admin for a new one.",
		}, Mine: "This badge is mine: what I prepare with it is mine too, as",
		},
		Joined: joinedWords{
			heading: heading{"It is the same person", "Your lessons are yours with the badge as with the account."},
			Badge:   "Badge:", Account: "Account:", Text: "If this account is not yours, tell the school’s admin at once, who can revoke this badge and make you another.", On: "My lessons",
		},
		Unsafe: unsafeWords{heading{"Go on at the secure address", "At this address others could read what you send."}, "Go to the box’s secure address"},
	},
}

// told are the pages that say why something did not work.
var told = struct {
	out, role, factor, form, often, unsafe, noProvider, stale, noRole, away, clock, denied, login, untrue, claimed, disk, owned, elsewhere page.Both[page.Notice]
}{
	out: page.Both[page.Notice]{
		French:  page.Notice{Title: "Vous n’êtes plus connecté", Text: "Rien n’a été changé.", Advice: "Connectez-vous, puis recommencez. Ce que vous aviez écrit est peut-être encore sur la page précédente."},
		English: page.Notice{Title: "You are not signed in any more", Text: "Nothing was changed.", Advice: "Sign in and do it again. What you had written may still be on the page before."},
	},
	role: page.Both[page.Notice]{
		French:  page.Notice{Title: "Cette page n’est pas pour votre rôle", Text: "Vous êtes connecté, mais votre compte n’a pas ce droit dans cette école.", Advice: "Si vous pensez que c’est une erreur, demandez au responsable de l’école."},
		English: page.Notice{Title: "This page is not for your role", Text: "You are signed in, but your account does not have this right in this school.", Advice: "If you think that is a mistake, ask the school’s admin."},
	},
	factor: page.Both[page.Notice]{
		French:  page.Notice{Title: "Il faut un second facteur", Text: "Pour gérer la boîte, il faut une deuxième preuve que c’est bien vous : un code, une clé ou une application.", Advice: "Connectez-vous à nouveau avec votre second facteur."},
		English: page.Notice{Title: "A second factor is needed", Text: "To look after the box takes a second proof that it is you: a code, a key or an app.", Advice: "Sign in again with your second factor."},
	},
	form: page.Both[page.Notice]{
		French:  page.Notice{Title: "Ce formulaire n’a pas été accepté", Text: "Il est trop ancien, ou il ne vient pas d’une page de cette boîte. Rien n’a été changé.", Advice: "Retournez à la page, rechargez-la et recommencez."},
		English: page.Notice{Title: "This form was not accepted", Text: "It is too old, or did not come from a page of this box. Nothing was changed.", Advice: "Go back to the page, load it again, and try once more."},
	},
	often: page.Both[page.Notice]{
		French:  page.Notice{Title: "Trop d’essais", Text: "La boîte attend un peu avant d’en accepter d’autres."},
		English: page.Notice{Title: "Too many tries", Text: "The box waits a little before it takes more."},
	},
	unsafe: page.Both[page.Notice]{
		French:  page.Notice{Title: "Ici, la connexion n’est pas protégée", Text: "Sur cette adresse, d’autres pourraient lire ce que vous envoyez. La boîte n’a pas encore d’adresse sécurisée.", Advice: "Demandez au service informatique. Sans connexion, tout le reste de la boîte reste ouvert."},
		English: page.Notice{Title: "Signing in is not protected here", Text: "At this address others could read what you send. The box has no secure address yet.", Advice: "Ask your IT service. All else on the box is open without signing in."},
	},
	noProvider: page.Both[page.Notice]{
		French:  page.Notice{Title: "Aucun service de connexion", Text: "Cette boîte n’est reliée à aucun service de connexion.", Advice: "Utilisez un badge, ou demandez au service informatique."},
		English: page.Notice{Title: "No sign-in service", Text: "This box is not connected to any sign-in service.", Advice: "Use a badge, or ask your IT service."},
	},
	stale: page.Both[page.Notice]{
		French:  page.Notice{Title: "Cette connexion n’est plus valable", Text: "Elle a trop duré, a déjà servi, ou a été commencée dans un autre navigateur.", Advice: "Recommencez : cela prend un instant."},
		English: page.Notice{Title: "This sign-in is not valid any more", Text: "It took too long, was used already, or began in another browser.", Advice: "Begin again: it takes a moment."},
	},
	noRole: page.Both[page.Notice]{
		French:  page.Notice{Title: "Votre compte n’a pas de rôle dans cette école", Text: "La connexion a marché, mais le service de connexion ne dit pas que vous êtes enseignant ou responsable ici. La boîte n’a rien gardé.", Advice: "Les élèves n’ont pas besoin de se connecter. Si vous enseignez ici, demandez au responsable de l’école."},
		English: page.Notice{Title: "Your account has no role in this school", Text: "Signing in worked, but the sign-in service does not say that you teach here or look after the box. The box has kept nothing.", Advice: "Pupils do not need to sign in. If you teach here, ask the school’s admin."},
	},
	away: page.Both[page.Notice]{
		French:  page.Notice{Title: "Le service de connexion ne répond pas", Text: "La ligne est peut-être coupée. Ceux qui sont déjà connectés le restent.", Advice: "Réessayez dans quelques minutes, ou utilisez un badge : il marche sans internet."},
		English: page.Notice{Title: "The sign-in service does not answer", Text: "The line may be cut. Those who are signed in already stay so.", Advice: "Try again in a few minutes, or use a badge: it works without internet."},
	},
	clock: page.Both[page.Notice]{
		French:  page.Notice{Title: "L’horloge de la boîte est fausse", Text: "À cause de cela, la connexion ne peut pas être vérifiée.", Advice: "Attendez que la boîte se mette à l’heure (quelques minutes avec internet), ou prévenez le service informatique. Un badge marche."},
		English: page.Notice{Title: "The box’s clock is wrong", Text: "Because of that the sign-in can’t be checked.", Advice: "Wait until the box has the time (a few minutes with internet), or tell your IT service. A badge works."},
	},
	denied: page.Both[page.Notice]{
		French:  page.Notice{Title: "La connexion a été refusée", Text: "Vous l’avez annulée, ou le service de connexion ne l’a pas acceptée.", Advice: "Vous pouvez recommencer."},
		English: page.Notice{Title: "The sign-in was refused", Text: "You cancelled it, or the sign-in service did not allow it.", Advice: "You can begin again."},
	},
	login: page.Both[page.Notice]{
		French:  page.Notice{Title: "Le service de connexion veut vous voir", Text: "Il demande que vous vous connectiez d’abord chez lui.", Advice: "Recommencez et suivez ses pages jusqu’au bout."},
		English: page.Notice{Title: "The sign-in service wants to see you", Text: "It asks that you sign in there first.", Advice: "Begin again and follow its pages to the end."},
	},
	untrue: page.Both[page.Notice]{
		French:  page.Notice{Title: "La réponse du service de connexion n’est pas valable", Text: "Pour votre sécurité, la boîte ne l’accepte pas.", Advice: "Recommencez. Si cela se répète, prévenez le service informatique."},
		English: page.Notice{Title: "The sign-in service’s answer is not valid", Text: "For your safety the box does not accept it.", Advice: "Begin again. If it happens again, tell your IT service."},
	},
	claimed: page.Both[page.Notice]{
		French:  page.Notice{Title: "Cette boîte a déjà un responsable", Text: "Le code n’a servi qu’une fois.", Advice: "Si ce n’était pas vous, prévenez tout de suite le service informatique : il peut afficher un nouveau code."},
		English: page.Notice{Title: "This box is claimed already", Text: "The code worked once.", Advice: "If that was not you, tell your IT service at once: it can have a new code shown."},
	},
	disk: page.Both[page.Notice]{
		French:  page.Notice{Title: "La boîte ne peut rien écrire", Text: "Son disque est plein ou abîmé. Le code reste valable.", Advice: "Prévenez le service informatique."},
		English: page.Notice{Title: "The box can’t write anything down", Text: "Its disk is full or damaged. The code is still valid.", Advice: "Tell your IT service."},
	},
	owned: page.Both[page.Notice]{
		French:  page.Notice{Title: "Ce badge est relié à un autre compte", Text: "Un badge est à une seule personne. Rien n’a été changé.", Advice: "Si c’est une erreur, demandez au responsable de l’école de révoquer ce badge et de vous en faire un autre."},
		English: page.Notice{Title: "This badge is joined to another account", Text: "A badge is one person’s. Nothing was changed.", Advice: "If that is a mistake, ask the school’s admin to revoke this badge and to make you another."},
	},
	elsewhere: page.Both[page.Notice]{
		French:  page.Notice{Title: "Ce n’est pas possible à cette adresse", Text: "Le service de connexion ne connaît la boîte que par son adresse sécurisée, et votre badge est connecté ici.", Advice: "Demandez un nouveau code au responsable de l’école, entrez-le à l’adresse sécurisée, puis reliez votre compte."},
		English: page.Notice{Title: "That does not work at this address", Text: "The sign-in service knows the box by its secure address only, and your badge is signed in here.", Advice: "Ask the school’s admin for a new code, enter it at the secure address, then join your account."},
	},
}
