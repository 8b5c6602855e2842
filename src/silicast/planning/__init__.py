"""Choosing a deployment: the space of layouts, the best of them, two chips compared."""
