"""The `infoprune` command. Results go to stdout, progress and errors to stderr."""

from infoprune.cli.main import main as main
