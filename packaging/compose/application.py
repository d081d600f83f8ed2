"""The smallest application that logs people in: any name is let in as user 1, and every page shows the headers."""

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Application(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, text, **fields):
        body = text.encode()
        self.send_response(status)
        for name, value in {"content-type": "text/html; charset=utf-8", **fields}.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path.startswith("/login"):
            return self.answer(200, "<form method=post><button>Log in as user 1</button></form>")
        lines = (f"{name}: {value}" for name, value in self.headers.items() if name.lower().startswith("x-context-"))
        text = "<br>".join(line.replace("<", "&lt;") for line in lines)
        self.answer(200, f"{text}<form method=post action=/logout><button>Log out</button></form>")

    def do_POST(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        directive = 'create;user="1"' if self.path.startswith("/login") else "end"
        self.answer(303, "", location="/", countersign_session=directive)


ThreadingHTTPServer(("0.0.0.0", int(os.environ.get("APPLICATION_PORT", "5000"))), Application).serve_forever()
