"""`python -m infoprune` is the `infoprune` command."""

from infoprune.cli import main

raise SystemExit(main())
