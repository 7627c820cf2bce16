"""Opens many connections to a server at once, holds them until told to go on, and tells what each was answered.

Run as a program of its own, `crowd.py PORT CONNECTIONS`: so many open files are more than a test may take for itself.
"""

from __future__ import annotations

import json
import resource
import socket
import sys
from collections import Counter
from contextlib import suppress

ASK = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"


def answer_of(connection: socket.socket) -> str:
    """Return "200" and the like; politely refused is "503 retry-after"."""
    parts = []
    try:
        while part := connection.recv(4096):
            parts.append(part)
    except OSError as error:
        return f"{type(error).__name__} after {len(b''.join(parts))} bytes"
    head = b"".join(parts).partition(b"\r\n\r\n")[0].decode("latin-1")
    status = head[9:12] or "closed without a word"
    return f"{status} retry-after" if "\r\nretry-after: " in head else status


def main(port: int, count: int) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # An address has no more than some 28,000 ports to call from: take several, for machines with fewer.
    connections = [
        socket.create_connection(("127.0.0.1", port), timeout=60, source_address=(f"127.0.0.{2 + number % 4}", 0))
        for number in range(count)
    ]
    print(len(connections), flush=True)
    sys.stdin.readline()
    answers: Counter[str] = Counter()
    for connection in connections:
        with suppress(OSError):  # refused long since: the answer lies there all the same
            connection.sendall(ASK)
        answers[answer_of(connection)] += 1
    print(json.dumps(answers), flush=True)
    for connection in connections:
        connection.close()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
