package teach

// WordsIn are all words.
var WordsIn = words
