"""The files under a folder: sorted, without hidden ones, and without what `.gitignore` files leave out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from pathspec import GitIgnoreSpec
from pathspec.patterns.gitignore import GitIgnorePatternError
from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

EVERYTHING = ("**",)
"""The pattern that every file matches."""

_Identity = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Unlisted:
    """A folder whose files are not known, or a `.gitignore` whose rules are not."""

    path: str
    error: str


@dataclass(frozen=True, slots=True)
class _Rules:
    """The patterns of one `.gitignore`, for the paths below its folder."""

    folder: str
    spec: GitIgnoreSpec


@dataclass(frozen=True, slots=True)
class _Step:
    path: str
    is_folder: bool
    rules: tuple[_Rules, ...]
    above: tuple[_Identity, ...]
    states: frozenset[int]


def walk(root: str, *, pattern: Sequence[str] = EVERYTHING) -> Iterator[str | Unlisted]:
    """Yield the path of each file under `root` that matches `pattern`, in the order of their relative paths.

    `pattern` is a glob divided at its slashes; `**` matches any number of folders. Links to folders are followed, but
    not back into a folder they stand in. When `root` itself is ignored by a `.gitignore` above it, it was named on
    purpose: the rules from above are then left aside.
    """
    states = _closure({0}, pattern)
    steps = [_Step(root, True, _rules_above(Path(root)), (), states)]
    while steps:
        step = steps.pop()
        if not step.is_folder:
            yield step.path
            continue
        try:
            inside = list(_inside(step, pattern))
        except OSError as error:
            yield Unlisted(step.path, f"cannot be listed: {error.strerror or error}")
            continue
        yield from (each for each in inside if isinstance(each, Unlisted))
        children = [each for each in inside if isinstance(each, _Step)]
        # With its slash a folder sorts where its files belong: "a.md" < "a/b.md".
        steps += sorted(children, key=lambda child: child.path + "/" * child.is_folder, reverse=True)


def _inside(step: _Step, pattern: Sequence[str]) -> Iterator[_Step | Unlisted]:
    folder = Path(step.path)
    found = folder.stat()
    identity = (found.st_dev, found.st_ino)
    if identity in step.above:
        return
    rules, unread = _with_rules_of(folder, rules=step.rules)
    if unread is not None:
        yield unread
    with os.scandir(step.path) as entries:
        for entry in entries:
            states = _advance(step.states, name=entry.name, pattern=pattern)
            if entry.name.startswith(".") or not states:
                continue
            is_folder = _is_folder(entry)
            if not is_folder and len(pattern) not in states:
                continue
            if not _is_ignored(entry.path, is_folder=is_folder, rules=rules):
                yield _Step(entry.path, is_folder, rules, (*step.above, identity), states)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads nowhere: reading it as a file will say why
        return False


def _closure(states: set[int], pattern: Sequence[str]) -> frozenset[int]:
    """Return the places in the pattern that are reached without another name: `**` may match nothing."""
    reached = set(states)
    for place in range(len(pattern)):
        if place in reached and pattern[place] == "**":
            reached.add(place + 1)
    return frozenset(reached)


def _advance(states: frozenset[int], *, name: str, pattern: Sequence[str]) -> frozenset[int]:
    """Return the places in the pattern that can be reached by one more name; none: nothing below can match."""
    reached: set[int] = set()
    for place in states:
        if place == len(pattern):
            continue
        if pattern[place] == "**":
            reached.add(place)
        elif fnmatchcase(name, pattern[place]):
            reached.add(place + 1)
    return _closure(reached, pattern)


def _rules_above(root: Path) -> tuple[_Rules, ...]:
    """Return the rules that hold for `root` from the folders above it, up to the top of its repository."""
    above: list[Path] = []
    for folder in (root, *root.parents):
        if (folder / ".git").exists():
            break
        above.insert(0, folder.parent)
    else:
        return ()  # not in a repository
    rules: tuple[_Rules, ...] = ()
    for folder, inner in zip(above, (*above[1:], root), strict=True):
        rules, _ = _with_rules_of(folder, rules=rules)
        if _is_ignored(str(inner), is_folder=True, rules=rules):
            return ()
    return rules


def _with_rules_of(folder: Path, *, rules: tuple[_Rules, ...]) -> tuple[tuple[_Rules, ...], Unlisted | None]:
    path = folder / ".gitignore"
    try:
        lines = path.read_bytes().decode("utf-8", "surrogateescape").splitlines()
    except (FileNotFoundError, IsADirectoryError):
        return rules, None
    except OSError as error:
        return rules, Unlisted(str(path), f"cannot be read, so what to leave out is not known: {error.strerror}")
    patterns = [pattern for line in lines for pattern in _patterns(line)]
    return (*rules, _Rules(str(folder), GitIgnoreSpec(patterns))), None


def _patterns(line: str) -> Sequence[GitIgnoreSpecPattern]:
    try:
        return GitIgnoreSpec.from_lines([line]).patterns
    except GitIgnorePatternError:
        return ()  # git passes over what is no pattern, too


def _is_ignored(path: str, *, is_folder: bool, rules: tuple[_Rules, ...]) -> bool:
    """Return what the nearest `.gitignore` with an opinion says."""
    for each in reversed(rules):
        relative = path[len(each.folder) :].replace(os.sep, "/").lstrip("/") + "/" * is_folder
        if (verdict := each.spec.check_file(relative).include) is not None:
            return verdict
    return False
