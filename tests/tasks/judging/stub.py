"""A chat endpoint on this machine: answers from a list, and remembers what it was asked."""

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Stub:
    """`replies`: a text, or a status (int), or raw bytes, in the order in which they are given; the last repeats."""

    replies: list[str | int | bytes]
    base_url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)


@contextmanager
def serve(replies: Sequence[str | int | bytes], model: str = "judge-1") -> Iterator[Stub]:
    """A Stub that listens while the block runs."""
    stub = Stub(list(replies))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            stub.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            stub.keys.append(self.headers["Authorization"])
            stub.paths.append(self.path)
            reply = stub.replies.pop(0) if len(stub.replies) > 1 else stub.replies[0]
            body = reply if isinstance(reply, bytes) else json.dumps(
                {"model": model, "choices": [{"message": {"role": "assistant", "content": reply}}]}
            ).encode()  # fmt: skip
            self.send_response(reply if isinstance(reply, int) else 200)
            self.end_headers()
            self.wfile.write(b"no" if isinstance(reply, int) else body)

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stub.base_url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
