package lesson

import "preau/cache/page"

// Light is how an item stands.
type Light string

// The lights. Ready is told of what is whole on the box and of nothing else.
const (
	Ready    Light = "ready"
	Arriving Light = "arriving" // it is being fetched
	Waiting  Light = "waiting"  // it will be, as soon as the reason is past
	Cannot   Light = "cannot"   // it won't be here without the line
)

// Reason is why an item stands as it does; "" needs none.
type Reason string

// The reasons.
const (
	ReasonLine     Reason = "line-down" // it arrives when the line is back
	ReasonHours    Reason = "hours"     // nothing may be fetched ahead at this hour
	ReasonTalking  Reason = "talking"   // people talk over the line
	ReasonQueue    Reason = "queue"     // others come first
	ReasonTrouble  Reason = "trouble"   // the site does not answer as it should; it is tried again
	ReasonStorage  Reason = "storage"   // the box has nowhere to keep it for the moment
	ReasonPartly   Reason = "partly"    // ready, but for some of its pictures or styles
	ReasonSpace    Reason = "too-big"   // more than the box may keep
	ReasonPassword Reason = "password"
	ReasonPrivate  Reason = "private" // it is somebody's own
	ReasonLive     Reason = "live"
	ReasonCounted  Reason = "counted" // its owner counts downloads
	ReasonHidden   Reason = "hidden"  // its owner hides the download
	ReasonGone     Reason = "gone"
	ReasonNotSite  Reason = "not-listed"
	ReasonNoLink   Reason = "no-link" // that is no web address
	ReasonNever    Reason = "never-stored"
)

// Reasons are all of them.
func Reasons() []Reason {
	return []Reason{
		ReasonLine, ReasonHours, ReasonTalking, ReasonQueue, ReasonTrouble, ReasonStorage, ReasonPartly, ReasonSpace, ReasonPassword, ReasonPrivate,
		ReasonLive, ReasonCounted, ReasonHidden, ReasonGone, ReasonNotSite, ReasonNoLink, ReasonNever,
	}
}

// Lights are all of them.
func Lights() []Light { return []Light{Ready, Arriving, Waiting, Cannot} }

// Words say the light in a word or two.
func (l Light) Words(lang page.Lang) string { return lightWords[l].In(lang) }

// Words say the reason, and what to do about it where there is something.
func (r Reason) Words(lang page.Lang) string { return reasonWords[r].In(lang) }

var lightWords = map[Light]page.Both[string]{
	Ready:    {French: "Prêt", English: "Ready"},
	Arriving: {French: "En train d’arriver", English: "Arriving"},
	Waiting:  {French: "En attente", English: "Waiting"},
	Cannot:   {French: "Ne peut pas être gardé", English: "Cannot be kept"},
}

var reasonWords = map[Reason]page.Both[string]{
	ReasonLine:     {French: "La ligne est coupée. Il arrivera dès qu’elle sera revenue.", English: "The line is down. It will arrive as soon as it is back."},
	ReasonHours:    {French: "Rien n’est téléchargé d’avance à cette heure-ci : la ligne est pour la classe.", English: "Nothing is fetched ahead at this hour: the line is for the class."},
	ReasonTalking:  {French: "Quelqu’un est en visioconférence. La suite viendra après.", English: "Somebody is in a video call. The rest will come afterwards."},
	ReasonQueue:    {French: "D’autres documents arrivent avant celui-ci.", English: "Other documents arrive before this one."},
	ReasonTrouble:  {French: "Le site ne répond pas bien. La boîte réessaie.", English: "The site does not answer well. The box tries again."},
	ReasonStorage:  {French: "Le disque de la boîte n’est pas prêt. La boîte réessaie.", English: "The box’s disk is not ready. The box tries again."},
	ReasonPartly:   {French: "Quelques images ou styles de la page peuvent manquer sans ligne.", English: "Some pictures or styles of the page may be missing without the line."},
	ReasonSpace:    {French: "Trop volumineux pour la place qui reste sur la boîte. Choisissez une partie, ou demandez plus de place.", English: "Too big for the room left on the box. Pick a part of it, or ask for more room."},
	ReasonPassword: {French: "Le lien demande un mot de passe. Partagez-le sans mot de passe, ou ajoutez le fichier à la boîte.", English: "The link asks for a password. Share it without one, or add the file to the box."},
	ReasonPrivate:  {French: "Cette page dépend de la personne connectée. Faites un lien public, ou ajoutez le fichier à la boîte.", English: "This page depends on who is signed in. Make a public link, or add the file to the box."},
	ReasonLive:     {French: "C’est en direct : il faut la ligne au moment du cours.", English: "It is live: the line is needed during the lesson."},
	ReasonCounted:  {French: "Le nombre de téléchargements du lien est limité. Retirez cette limite, ou ajoutez le fichier à la boîte.", English: "The link’s downloads are limited in number. Remove the limit, or add the file to the box."},
	ReasonHidden:   {French: "Le partage interdit le téléchargement. Autorisez-le, ou ajoutez le fichier à la boîte.", English: "The share does not allow downloads. Allow them, or add the file to the box."},
	ReasonGone:     {French: "Le lien ne mène plus à rien. Vérifiez-le.", English: "The link leads nowhere any more. Check it."},
	ReasonNotSite:  {French: "Ce site ne fait pas partie de ceux que la boîte connaît.", English: "This site is not one of those that the box knows."},
	ReasonNoLink:   {French: "Ce n’est pas une adresse web.", English: "This is not a web address."},
	ReasonNever:    {French: "Ce site ne permet pas d’en garder une copie.", English: "This site does not allow a copy to be kept."},
}
