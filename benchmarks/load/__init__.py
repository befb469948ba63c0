"""Many simultaneous visitors of one server, over HTTP as browsers do it."""
