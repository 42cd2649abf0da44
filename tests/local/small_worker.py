"""A worker as small as can be, for the supervisor's tests: serves `/readyz`, and does what `SMALL_*` says."""

import http.server
import os
import signal
import sys


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if os.environ["SMALL_READY"] == "yes" else 503)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Keep the log to what the tests look for."""


def leave(*_: object) -> None:
    print("leaving in order", flush=True)  # noqa: T201
    sys.exit(0)


def main() -> None:
    print(f"worker says {os.environ['SMALL_WORD']}", flush=True)  # noqa: T201
    if "SMALL_EXIT" in os.environ:
        sys.exit(int(os.environ["SMALL_EXIT"]))
    signal.signal(signal.SIGTERM, signal.SIG_IGN if "SMALL_STUBBORN" in os.environ else leave)
    http.server.HTTPServer(("127.0.0.1", int(os.environ["CHAT_HTTP_PORT"])), Handler).serve_forever()


if __name__ == "__main__":
    main()
