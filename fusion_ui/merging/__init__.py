"""From a recipe to merged weights: the recipe, the slots, and the only loop over parameters."""
