package update

// Within is within, for its table.
var Within = within
