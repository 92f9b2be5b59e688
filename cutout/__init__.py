"""The `cutout` command: what a person runs on a laptop."""
