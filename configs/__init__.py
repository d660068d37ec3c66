"""Recipes: one Python file each, whose `get_config()` returns a locked `ml_collections.ConfigDict`."""
