"""A backend which believes the gateway's signed assertion and nothing else."""

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt

ISSUER, AUDIENCE = os.environ["ISSUER"], os.environ["AUDIENCE"]
KEYS = jwt.PyJWKClient(os.environ["JWKS_URL"], timeout=5, cooldown_duration=1)


def verify(headers):
    [assertion] = headers.get_all("X-Doorward-Assertion", [])
    token = jwt.decode_complete(
        assertion,
        KEYS.get_signing_key_from_jwt(assertion),
        algorithms=["ES256", "EdDSA"],
        issuer=ISSUER,
        audience=AUDIENCE,
        leeway=5,
        options={"require": ["exp", "iat", "sub"], "strict_aud": True},
    )
    header, claims = token["header"], token["payload"]
    # PyJWT itself would read the string "4102444800" as a time.
    if header.get("typ") != "doorward-assertion+jwt" or not isinstance(claims["exp"], int):
        raise jwt.InvalidTokenError
    return claims


class Handler(BaseHTTPRequestHandler):
    def answer(self):
        # Closing on an unread body can reset the connection before the answer is read.
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            status, answer = 200, verify(self.headers)
        except Exception:  # Whatever went wrong, the caller is not known.
            status, answer = 401, {"error": "no valid assertion"}
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = answer


host, port = os.environ["LISTEN"].rsplit(":", 1)
server = ThreadingHTTPServer((host, int(port)), Handler)
print(f"listening on {host}:{server.server_port}", flush=True)
server.serve_forever()
