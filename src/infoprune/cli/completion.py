"""Shell completion as a static script: starting Python at every Tab would take seconds."""

from __future__ import annotations

import argparse

from infoprune.cli.output import Result

SCRIPT = """# bash completion for infoprune; in zsh, run `autoload bashcompinit && bashcompinit` first
_infoprune() {{
    local words
    case "${{COMP_WORDS[1]}}" in
{cases}
        *) words="{verbs}" ;;
    esac
    [ "$COMP_CWORD" -eq 1 ] && words="{verbs}"
    COMPREPLY=($(compgen -W "$words" -- "${{COMP_WORDS[COMP_CWORD]}}"))
    [ ${{#COMPREPLY[@]}} -eq 0 ] && COMPREPLY=($(compgen -f -- "${{COMP_WORDS[COMP_CWORD]}}"))
}}
complete -F _infoprune infoprune"""


def completion_command(arguments: argparse.Namespace) -> Result:
    verbs = next(a for a in arguments.parser._actions if isinstance(a, argparse._SubParsersAction)).choices
    cases = "\n".join(f'        {name}) words="{" ".join(_words(verb))}" ;;' for name, verb in verbs.items())
    script = SCRIPT.format(cases=cases, verbs=" ".join(verbs))
    return Result(script, {"bash": script})


def _words(verb: argparse.ArgumentParser) -> list[str]:
    options = [option for action in verb._actions for option in action.option_strings if option.startswith("--")]
    choices = [str(c) for action in verb._actions for c in action.choices or ()]
    return options + choices
