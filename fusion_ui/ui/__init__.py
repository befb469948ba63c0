"""The page: layout, wiring and drawing. No mathematics lives here."""
