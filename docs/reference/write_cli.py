"""Writes the help of every command into cli.md, from the command line itself."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).with_name("cli.md")
COMMANDS = (
    *("", "add", "search", "ask", "delete", "status", "estimate", "doctor", "eval", "vector", "embed"),
    *("models", "models list", "models pull", "models test", "ledger stats", "ledger verify", "ledger prune"),
    *("serve", "conform"),
)
BETWEEN = re.compile(r"(<!-- help: [^\n]*-->\n).*(<!-- end of help -->)", re.DOTALL)


def helps() -> str:
    """Return the help of every command, as Markdown."""
    parts = []
    for command in COMMANDS:
        run = [sys.executable, "-m", "analect", *command.split(), "--help"]
        done = subprocess.run(run, capture_output=True, text=True, check=True, env={"COLUMNS": "90", "NO_COLOR": "1"})
        parts.append(f"\n## analect {command}".rstrip() + f"\n\n```text\n{done.stdout.strip()}\n```\n")
    return "".join(parts)


def page_with_help(page: str) -> str:
    """Return the page with its help brought up to date."""
    return BETWEEN.sub(lambda found: found[1] + helps() + "\n" + found[2], page)


if __name__ == "__main__":
    PAGE.write_text(page_with_help(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
