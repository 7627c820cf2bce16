"""Files, folders, globs and URLs become documents; what cannot be read is reported under its path."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from analect.errors import InputError, NotFoundError
from analect.protocols import Reader, Source
from analect.readers.html import HtmlReader
from analect.readers.markdown import MarkdownReader
from analect.readers.text import TextReader
from analect.sources import DOCUMENT_LIMIT
from analect.sources.files import FilesSource
from analect.types import Document, ReadFailure

READERS: dict[str, Reader] = {".md": MarkdownReader(), ".txt": TextReader(), ".html": HtmlReader()}


def source_of(uri: str | Path, **options: Any) -> FilesSource:
    return FilesSource(str(uri), reader_for=options.pop("reader_for", READERS.get), **options)


def read(uri: str | Path, **options: Any) -> tuple[list[Document], list[ReadFailure]]:
    outcomes = list(source_of(uri, **options).read())
    return (
        [each for each in outcomes if isinstance(each, Document)],
        [each for each in outcomes if isinstance(each, ReadFailure)],
    )


def ids(uri: str | Path, **options: Any) -> list[str]:
    found, failures = read(uri, **options)
    assert failures == []
    return [each.id for each in found]


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    """Make files below a folder: path → content."""

    def write(files: dict[str, str | bytes]) -> Path:
        root = tmp_path / "root"
        for name, content in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return root

    return write


Make = Callable[..., Path]


def test_it_is_a_source(make: Make) -> None:
    assert isinstance(source_of(make({"a.md": "x"})), Source)


def test_a_folder_gives_its_files_in_the_order_of_their_paths(make: Make) -> None:
    root = make({"b.md": "b", "a/z.md": "az", "a/b/c.txt": "abc", "a.md": "a", "a-1.md": "a1"})
    found, failures = read(root)
    assert failures == []
    assert [each.id for each in found] == ["a-1.md", "a.md", "a/b/c.txt", "a/z.md", "b.md"]
    assert [each.id for each in found] == sorted(each.id for each in found)
    assert found[2] == Document(id="a/b/c.txt", text="abc", source=str(root), uri=str(root / "a/b/c.txt"))
    source = source_of(root)
    assert (source.name, source.roots, source.total()) == (str(root), (str(root),), 5)


def test_a_file_has_its_name_for_id_and_covers_itself_only(make: Make) -> None:
    root = make({"sub/a.md": "# T\n\nx", "sub/b.md": "y"})
    (document,) = read(root / "sub/a.md", name="mine")[0]
    assert (document.id, document.source, document.uri, document.title) == ("a.md", "mine", str(root / "sub/a.md"), "T")
    source = source_of(root / "sub/a.md")
    assert (source.name, source.roots, source.total()) == (str(root / "sub/a.md"), (str(root / "sub/a.md"),), 1)


def test_a_relative_path_is_named_by_its_absolute_one(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make({"sub/a.md": "x"})
    monkeypatch.chdir(root / "sub")
    assert source_of("../sub/./").name == str(root / "sub")
    assert read("a.md")[0][0].uri == str(root / "sub/a.md")


def test_hidden_files_are_left_out_unless_named(make: Make) -> None:
    root = make({".a.md": "x", ".b/c.md": "x", "d.md": "x"})
    assert ids(root) == ["d.md"]
    assert ids(root / ".a.md") == [".a.md"]
    assert ids(root / ".b") == ["c.md"]


def test_gitignore_counts_at_every_level(make: Make) -> None:
    root = make(
        {
            ".gitignore": "*.log\nbuild/\n/top.txt\n\n# comment\n!\n",
            "a.log": "x",
            "top.txt": "x",
            "sub/top.txt": "kept",
            "sub/.gitignore": "!keep.log\nlocal.md\n",
            "sub/keep.log": "kept",
            "sub/other.log": "x",
            "sub/local.md": "x",
            "local.md": "kept",
            "sub/build/x.md": "x",
            "build/.gitignore": "!*\n",
            "build/x.md": "x",
        }
    )
    assert ids(root) == ["local.md", "sub/keep.log", "sub/top.txt"]


def test_gitignore_above_counts_up_to_the_top_of_the_repository(make: Make) -> None:
    files = {".gitignore": "*.txt", "repo/.gitignore": "secret*\nout/\n", "repo/docs/.gitignore": "*.tmp"}
    root = make(files | {f"repo/docs/x/{name}": "x" for name in ("a.txt", "secret.md", "b.tmp", "out/c.md", "d.md")})
    x = root / "repo/docs/x"
    assert len(ids(x)) == 5, "no repository, no rules from above"
    (root / "repo/.git").mkdir()
    assert ids(x) == ["a.txt", "d.md"]
    assert ids(x / "out") == ["c.md"], "what is named on purpose is read"


def test_links_to_folders_are_followed_but_not_in_circles(make: Make) -> None:
    root = make({"a/x.md": "x"})
    (root / "a/up").symlink_to(root)
    (root / "b").symlink_to(root / "a")
    (root / "c.md").symlink_to(root / "a/x.md")
    assert ids(root) == ["a/x.md", "b/x.md", "c.md"]


def test_each_thing_that_cannot_be_read_is_a_failure(make: Make) -> None:
    root = make(
        {
            "empty.md": "",
            "blank.md": " \n",
            "bad.txt": b"\xff\xfea",
            "p.pdf": "%PDF-1.4\n",
            "bin": b"\x00\x01",
            "ok.md": "x",
        }
    )
    (root / "gone.md").symlink_to(root / "nowhere")
    (root / "loop.md").symlink_to(root / "loop.md")
    os.mkfifo(root / "pipe.md")
    found, failures = read(root)
    assert [each.id for each in found] == ["ok.md"]
    assert {Path(each.uri).name: each.error for each in failures} == {
        "bad.txt": "byte 0x61 at offset 2 is not utf-16: save the file as UTF-8",
        "bin": "no reader for files without a suffix that are not UTF-8 text: convert it, or leave it out",
        "blank.md": "no text found in 2 bytes: the file holds white space only",
        "empty.md": "is empty: there is nothing to read",
        "gone.md": "cannot be read: No such file or directory",
        "loop.md": "cannot be read: Too many levels of symbolic links",
        "p.pdf": "no reader for '.pdf' files: convert it, or leave it out",
        "pipe.md": "is neither a file nor a folder: only those can be read",
    }
    assert {each.uri for each in failures} == {str(path) for path in root.iterdir()} - {str(root / "ok.md")}
    assert {each.source for each in failures} == {str(root)}


def test_text_of_an_unknown_kind_is_read_as_text(make: Make) -> None:
    long = "é" * 50_000
    root = make({"Makefile": "all:", "x.rst": "Title", "y.PY": long, "z.MD": "# T"})
    found, failures = read(root)
    assert failures == []
    assert [(each.id, each.title) for each in found] == [
        ("Makefile", None),
        ("x.rst", None),
        ("y.PY", None),
        ("z.MD", "T"),
    ]
    assert found[2].text == long


def test_without_a_reader_of_text_nothing_is_guessed(make: Make) -> None:
    _, failures = read(make({"x.rst": "Title"}), reader_for=lambda suffix: None)
    assert failures[0].error.startswith("no reader for '.rst' files")


def test_a_document_beyond_the_limit_is_a_failure(make: Make) -> None:
    root = make({"a.txt": "x", "b.txt": "x"})
    with (root / "a.txt").open("wb") as file:
        file.truncate(DOCUMENT_LIMIT + 1)
    found, failures = read(root)
    assert [each.id for each in found] == ["b.txt"]
    assert failures[0].error == "has 67,108,865 bytes, the limit of a document is 67,108,864: split it"


def test_a_name_that_is_not_utf8_is_a_failure(make: Make) -> None:
    root = make({"a.md": "x"})
    (root / os.fsdecode(b"b\xff.md")).write_text("x")
    found, failures = read(root)
    assert [each.id for each in found] == ["a.md"]
    assert "its name is not UTF-8" in failures[0].error
    failures[0].uri.encode()


READ_AS_NOBODY = """
import sys
from analect.readers.text import TextReader
from analect.sources.files import FilesSource
for each in FilesSource(sys.argv[1], reader_for=lambda suffix: TextReader()).read():
    print(type(each).__name__, each.uri, getattr(each, "error", ""), sep="|")
"""
DROPPED = "-dac_override,-dac_read_search"  # what lets root read everything


@pytest.mark.skipif(sys.platform == "win32", reason="no Unix permissions on Windows")
def test_what_may_not_be_read_is_a_failure(make: Make) -> None:
    root = make({"a.txt": "x", "no.txt": "x", "shut/b.txt": "x", "rules/.gitignore": "c.txt", "rules/c.txt": "x"})
    for name in ("no.txt", "shut", "rules/.gitignore"):
        (root / name).chmod(0)
    drop = ["setpriv", f"--bounding-set={DROPPED}", f"--inh-caps={DROPPED}"] if os.geteuid() == 0 else []
    command = [*drop, sys.executable, "-c", READ_AS_NOBODY, str(root)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    finally:
        (root / "shut").chmod(0o700)
    assert done.stdout.splitlines() == [
        f"Document|{root}/a.txt|",
        f"ReadFailure|{root}/no.txt|cannot be read: Permission denied",
        f"ReadFailure|{root}/rules/.gitignore|cannot be read, so what to leave out is not known: Permission denied",
        f"Document|{root}/rules/c.txt|",
        f"ReadFailure|{root}/shut|cannot be listed: Permission denied",
    ]


@pytest.mark.parametrize("uri", ["", "  ", "a\0b"])
def test_a_uri_that_names_nothing_is_refused(uri: str) -> None:
    with pytest.raises(InputError, match="names nothing to read"):
        source_of(uri)


def test_what_is_not_there_is_refused_at_once(make: Make) -> None:
    root = make({"a.md": "x"})
    for missing in ("b.md", "*.txt", "none/*.md", "a.md/*.md"):
        with pytest.raises(NotFoundError, match="check the pa"):
            source_of(root / missing)
    source = source_of(root / "a.md")
    (root / "a.md").unlink()
    with pytest.raises(NotFoundError):
        next(source.read())
    assert ids(root) == [], "an empty folder is no error"


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.md", ["a.md"]),
        ("**/*.md", ["a.md", "s/b.md", "s/t/c.md"]),
        ("s/*", ["b.md", "n.txt"]),
        ("s/**", ["b.md", "n.txt", "t/c.md"]),
        ("?/**/[cn].*", ["s/n.txt", "s/t/c.md"]),
        ("*/t/*.md", ["s/t/c.md"]),
        ("**/t/**/*.md", ["s/t/c.md"]),
    ],
)
def test_a_glob_gives_what_matches_below_its_fixed_part(make: Make, pattern: str, expected: list[str]) -> None:
    root = make(dict.fromkeys(("a.md", "s/b.md", "s/n.txt", "s/t/c.md", ".h/d.md", "s/.e.md", "skip/t/f.md"), "x"))
    (root / ".gitignore").write_text("skip\n")
    assert ids(f"{root}/{pattern}") == expected
    assert source_of(f"{root}/{pattern}").total() == len(expected)


def test_the_roots_of_a_glob_never_cover_what_another_pattern_gave(make: Make) -> None:
    root = make({"a.md": "x", "s/b.md": "x", "n.txt": "x"})
    own = source_of(f"{root}/**/*.md")
    assert (own.name, own.roots) == (f"{root}/**/*.md", (str(root),))
    shared = source_of(f"{root}/**/*.md", name="docs")
    assert shared.roots == (str(root / "a.md"), str(root / "s/b.md"))


def test_a_file_with_the_name_of_a_glob_is_that_file(make: Make) -> None:
    root = make({"[a].md": "x", "a.md": "y"})
    assert ids(root / "[a].md") == ["[a].md"]


def test_tables_in_a_folder_give_records(make: Make) -> None:
    root = make({"a.md": "x", "p.csv": "k,t\nr1,one\nr2,two\n", "q.json": '[{"k": "r3", "t": "three"}]', "z.CSV": ""})
    found, failures = read(root, id="k", text="{t}!")
    assert [(each.id, each.uri, each.text, each.record) for each in found] == [
        ("a.md", f"{root}/a.md", "x", False),
        ("r1", f"{root}/p.csv#r1", "one!", True),
        ("r2", f"{root}/p.csv#r2", "two!", True),
        ("r3", f"{root}/q.json#r3", "three!", True),
    ]
    assert {each.source for each in found} == {str(root)}
    assert [(each.uri, each.error) for each in failures] == [(f"{root}/z.CSV", "is empty: there is nothing to read")]


def test_a_missing_field_ends_a_single_table_and_fails_one_of_many(make: Make) -> None:
    root = make({"a.csv": "u\nx\n", "b.csv": "t\nx\n"})
    with pytest.raises(InputError, match="no record has a field 't'"):
        next(source_of(root / "a.csv", text="{t}").read())
    found, failures = read(root, text="{t}")
    assert [each.text for each in found] == ["x"]
    assert [(each.uri, each.error) for each in failures] == [
        (f"{root}/a.csv", "no record has a field 't': there is 'u'")
    ]


def test_a_reader_of_its_own_comes_before_the_table(make: Make) -> None:
    root = make({"a.json": '[{"t": "x"}]'})
    (document,) = read(root, reader_for={".json": TextReader()}.get)[0]
    assert (document.id, document.text, document.record) == ("a.json", '[{"t": "x"}]', False)


PAGES: dict[str, tuple[int, dict[str, str], bytes]] = {
    "/page": (200, {"Content-Type": "text/html"}, b"<title>T</title><p>hello"),
    "/latin": (200, {"Content-Type": "text/html; charset=iso-8859-1"}, b"<p>caf\xe9 cr\xe8me"),
    "/gr%C3%B6%C3%9Fe.txt?q=%C3%A9": (200, {"Content-Type": "text/plain"}, b"umlaut"),
    "/raw/readme.md?x=1": (200, {"Content-Type": "text/plain; charset=utf-8"}, b"# Head"),
    "/plain": (200, {"Content-Type": "text/plain"}, b"plain"),
    "/untyped.md": (200, {}, b"# Untyped"),
    "/t": (200, {"Content-Type": "text/csv"}, b"id,t\n1,x\n2,y\n"),
    "/file.pdf": (200, {"Content-Type": "application/pdf"}, b"%PDF\0"),
    "/empty.md": (200, {}, b""),
    "/zip.md": (200, {"Content-Encoding": "gzip"}, b"\x1f\x8b"),
    "/moved": (302, {"Location": "/page"}, b""),
    "/to-file": (302, {"Location": "file:///etc/passwd"}, b""),
    "/to-ftp": (302, {"Location": "ftp://127.0.0.1/x"}, b""),
    "/circle": (302, {"Location": "/circle"}, b""),
    "/gone": (404, {}, b"<p>secret body"),
    "/broken": (500, {}, b"<p>secret body"),
    "/short.txt": (200, {"Content-Length": "999"}, b"only this"),
}


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    agents: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            agents.append(self.headers["User-Agent"])
            if self.path == "/big.txt":
                self.send_response(200)
                self.end_headers()
                for _ in range(80):
                    try:
                        self.wfile.write(b"x" * (1 << 20))
                    except OSError:
                        return
                return
            status, headers, body = PAGES[self.path]
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
    assert all(agent and agent.startswith("analect/") for agent in agents)


@pytest.mark.parametrize(
    ("path", "text", "title"),
    [
        ("/page", "hello", "T"),
        ("/moved", "hello", "T"),
        ("/latin", "café crème", None),
        ("/größe.txt?q=é", "umlaut", None),
        ("/raw/readme.md?x=1", "# Head", "Head"),
        ("/plain", "plain", None),
        ("/untyped.md", "# Untyped", "Untyped"),
    ],
)
def test_a_url_is_read_by_its_content_type_then_its_suffix(site: str, path: str, text: str, title: str | None) -> None:
    url = site + path
    source = source_of(url)
    assert (source.name, source.roots, source.total()) == (url, (url,), 1)
    (document,) = read(url)[0]
    assert (document.id, document.uri, document.source) == (url, url, url)
    assert (document.text.strip(), document.title) == (text, title)


def test_a_table_from_a_url_gives_records(site: str) -> None:
    found, failures = read(f"{site}/t")
    assert failures == []
    assert [(each.id, each.uri, each.text) for each in found] == [
        ("1", f"{site}/t#1", "t: x"),
        ("2", f"{site}/t#2", "t: y"),
    ]


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/broken", "cannot be fetched: the server answers 500 Internal Server Error"),
        ("/file.pdf", "no reader for '.pdf' files: convert it, or leave it out"),
        ("/empty.md", "is empty: there is nothing to read"),
        ("/zip.md", "cannot be read: the server sends it as 'gzip', which was not asked for"),
        ("/short.txt", "broke off after 9 of 999 bytes: try again"),
        ("/big.txt", "has more than 67,108,864 bytes, the limit: fetch and split it yourself"),
        (
            "/to-file",
            "cannot be fetched: the server answers 302 Found, "
            "a redirect in a circle or to what is neither http nor https",
        ),
        ("/to-ftp", "cannot be fetched: the server redirects to 'ftp://127.0.0.1/x', which is neither http nor https"),
    ],
)
def test_a_url_that_cannot_be_read_is_a_failure(site: str, path: str, error: str) -> None:
    assert read(site + path) == ([], [ReadFailure(site + path, site + path, error)])


def test_a_url_that_redirects_to_itself_is_a_failure(site: str) -> None:
    (failure,) = read(f"{site}/circle")[1]
    assert "the server answers 302" in failure.error
    assert "\n" not in failure.error


def test_a_page_that_is_not_there_is_refused(site: str) -> None:
    with pytest.raises(NotFoundError, match=r"/gone is not there: the server answers 404 Not Found$"):
        next(source_of(f"{site}/gone").read())


def test_a_refused_connection_is_a_failure() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        url = f"http://127.0.0.1:{server.server_port}/x"
    assert read(url)[1] == [ReadFailure(url, url, "cannot be fetched: Connection refused")]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://host/x", "only http and https can, not 'ftp'"),
        ("file:///etc/passwd", "only http and https can, not 'file'"),
        ("ftp://me:secret@host/x", "names a user"),
        ("s3://bucket/x", "only http and https can, not 's3'"),
        ("http:///x", "names no host"),
        ("https://me:secret@host/x", "the URL of 'host' names a user"),
        ("http://[::1/x", "is no URL"),
    ],
)
def test_urls_of_other_kinds_are_refused_at_once(url: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        source_of(url)
    assert "secret" not in str(caught.value)
