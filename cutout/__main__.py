"""The `cutout` command."""

import typer

app = typer.Typer(no_args_is_help=True, help=__doc__)


def main() -> None:
    app()


if __name__ == "__main__":
    main()
