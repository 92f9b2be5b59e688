"""A function that prints without end."""

import sys


def handle(event: object, context: object) -> object:
    while True:
        sys.stdout.write("x" * 100 + "\n")
