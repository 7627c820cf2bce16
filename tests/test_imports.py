"""`import analect` loads numpy and the standard library, nothing heavier."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_import_loads_numpy_and_the_standard_library_only() -> None:
    code = (
        "import sys; before = set(sys.modules); from analect import *; "
        "print(sorted({name.partition('.')[0] for name in set(sys.modules) - before}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    loaded = set(eval(done.stdout))
    assert {name for name in loaded if name not in sys.stdlib_module_names} <= {"analect", "numpy"}


def test_nothing_happens_at_import(tmp_path: Path) -> None:
    """No file, thread or environment read of our own at import of any module."""
    code = (
        "import importlib, os, pkgutil, threading, analect\n"
        "for module in pkgutil.walk_packages(analect.__path__, 'analect.'):\n"
        "    if not module.name.endswith('__main__'):\n"
        "        importlib.import_module(module.name)\n"
        "print(threading.active_count(), os.listdir('.'))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120, cwd=tmp_path
    )
    assert done.stdout.strip() == "1 []"


def test_every_public_name_is_documented() -> None:
    import analect

    assert [name for name in analect.__all__ if not getattr(analect, name).__doc__] == []
