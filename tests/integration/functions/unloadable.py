"""A function whose module cannot be imported."""

raise RuntimeError("told not to load")
