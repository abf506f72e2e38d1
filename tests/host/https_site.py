"""An HTTPS server on loopback, with the broker's certificate of a PKI folder, that answers as it is told to."""

import http.server
import ssl
import threading
from contextlib import contextmanager


@contextmanager
def https_server(folder, answers):
    """Its address, what it was asked so far, and its CA. `answers`: statuses, or what returns one, of which the last is repeated."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            asked.append((self.command, self.path, dict(self.headers), body))
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
            self.send_response(answer() if callable(answer) else answer)
            self.send_header("Location", "https://elsewhere.example/")
            self.end_headers()

        do_GET = do_POST  # noqa: N815

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "broker.pem", folder / "broker.key")
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"https://localhost:{server.server_port}", asked, folder / "root.pem"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
