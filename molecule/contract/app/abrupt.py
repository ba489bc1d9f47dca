"""A server that ends at once when it is told to: whatever is under way is cut off. Each request takes `?s=` seconds."""
import http.server
import os
import time
import urllib.parse


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        seconds = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query).get("s", ["0"])[0]
        time.sleep(float(seconds))
        body = os.environ["RELEASE"].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


http.server.ThreadingHTTPServer(("", int(os.environ.get("PORT", "3000"))), Handler).serve_forever()
