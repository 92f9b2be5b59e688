"""The console: a page on the operator's own machine that shows a deployed stack, and does what the commands do.

Each module named after a page holds its views. What they do is in `cutout.operations`, as for the commands.
"""
