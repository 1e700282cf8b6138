package library

// sheets are the PDFs, by path.
func sheets() map[string]sheet {
	const fr, en = "Prénom : ........................................     Date : ....................", "Name: ........................................     Date: ...................."
	return map[string]sheet{
		"/sheets/eau.pdf": {"Le cycle de l’eau", fr,
			"Un bocal, de l’eau chaude, une assiette et des glaçons : voilà une météo de poche.",
			[]string{"Matériel : un bocal en verre, deux verres d’eau chaude (avec un adulte), une assiette, six glaçons.", "Verse l’eau chaude, pose l’assiette sur le bocal et les glaçons sur l’assiette. Attends cinq minutes sans toucher."},
			[]string{"Que vois-tu sous l’assiette ?", "D’où vient cette eau ? Quel chemin a-t-elle fait ?", "Dans la nature, qu’est-ce qui joue le rôle de l’eau chaude ? et celui des glaçons ?"}},
		"/sheets/water.pdf": {"The water cycle", en,
			"A jar, hot water, a plate and ice cubes: that is a weather of your own.",
			[]string{"You need: a glass jar, two glasses of hot water (with an adult), a plate, six ice cubes.", "Pour in the hot water, put the plate on the jar and the ice on the plate. Wait five minutes and touch nothing."},
			[]string{"What do you see under the plate?", "Where did that water come from? Which way did it go?", "In nature, what does the hot water stand for? And the ice cubes?"}},
		"/sheets/volcan.pdf": {"Les volcans", fr,
			"Regarde la coupe du volcan, puis réponds avec tes mots.",
			[]string{"Rappel : le magma est la roche fondue sous la terre ; la lave est le magma sorti, qui a perdu ses gaz."},
			[]string{"Nomme trois parties du volcan.", "Une lave épaisse est plus dangereuse qu’une lave fluide. Pourquoi ?", "Pourquoi cultive-t-on souvent au pied des volcans ?"}},
		"/sheets/volcano.pdf": {"Volcanoes", en,
			"Look at the volcano cut open, then answer in your own words.",
			[]string{"Remember: magma is molten rock below the ground; lava is magma that came out and lost its gases."},
			[]string{"Name three parts of the volcano.", "Thick lava is more dangerous than runny lava. Why?", "Why do people often farm at the foot of volcanoes?"}},
		"/sheets/geometrie.pdf": {"La rosace et l’hexagone", fr,
			"Avec un compas et une règle. Garde toujours le même écartement.",
			[]string{"Trace un cercle de 5 cm de rayon, puis six arcs. Relie les six points, puis un point sur deux."},
			[]string{"Combien mesure chaque côté de l’hexagone ? Comment le sais-tu ?", "Combien mesure chaque angle du triangle ?", "Où se croisent les trois axes de symétrie du triangle ?"}},
		"/sheets/geometry.pdf": {"The rosette and the hexagon", en,
			"With compasses and a ruler. Always keep the same opening.",
			[]string{"Draw a circle with a radius of 5 cm, then six arcs. Join the six points, then every other point."},
			[]string{"How long is each side of the hexagon? How do you know?", "How large is each angle of the triangle?", "Where do the triangle’s three axes of symmetry meet?"}},
	}
}
