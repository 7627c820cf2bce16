"""A model hub on 127.0.0.1 that speaks what `huggingface_hub` asks for: one revision, its files, their ETags."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

REVISION = "0123456789abcdef0123456789abcdef01234567"


@contextmanager
def hub(repositories: dict[str, Path]) -> Iterator[str]:
    """Serve folders under repository names; give the endpoint."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.answer(body=True)

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def answer(self, *, body: bool) -> None:
            path = unquote(urlsplit(self.path).path).lstrip("/")
            for name, folder in repositories.items():
                files = {
                    each.relative_to(folder).as_posix(): each for each in sorted(folder.rglob("*")) if each.is_file()
                }
                if path in (f"api/models/{name}", f"api/models/{name}/revision/main"):
                    siblings = [{"rfilename": file} for file in files]
                    self.send(json.dumps({"id": name, "sha": REVISION, "siblings": siblings}).encode(), body=body)
                    return
                if path.startswith(f"api/models/{name}/tree/"):
                    tree = [
                        {"type": "file", "path": file, "size": each.stat().st_size, "oid": _etag(each)}
                        for file, each in files.items()
                    ]
                    self.send(json.dumps(tree).encode(), body=body)
                    return
                file = path.removeprefix(f"{name}/resolve/{REVISION}/")
                if file != path and file in files:
                    self.send(files[file].read_bytes(), body=body, etag=_etag(files[file]))
                    return
            self.send(b'{"error": "Repository not found"}', body=body, status=404, code="RepoNotFound")

        def send(self, data: bytes, *, body: bool, status: int = 200, etag: str = "", code: str = "") -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("X-Repo-Commit", REVISION)
            if etag:
                self.send_header("ETag", f'"{etag}"')
            if code:
                self.send_header("X-Error-Code", code)
            self.end_headers()
            if body:
                self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _etag(path: Path) -> str:
    return hashlib.sha1(path.read_bytes()).hexdigest()
