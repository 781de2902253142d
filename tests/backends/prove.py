"""Holds a sample backend against forged assertions: `prove.py -- COMMAND [ARGUMENT...]`.

Starts a JWKS server and the command, sends it good and bad assertions, and fails unless
every good one is answered 200 with its claims and every bad one 401 with nothing leaked.
Needs the packages in python/requirements.txt.
"""

import base64
import hashlib
import hmac
import http.client
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils

ISSUER, AUDIENCE, TYP = "https://gate.example", "sample", "doorward-assertion+jwt"
HEADER = "X-Doorward-Assertion"
READY, DEADLINE = "listening on ", 20


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Key:
    def __init__(self, alg, kid):
        self.alg, self.kid = alg, kid
        is_ec = alg == "ES256"
        self.private = ec.generate_private_key(ec.SECP256R1()) if is_ec else ed25519.Ed25519PrivateKey.generate()
        self.public = self.private.public_key()

    def sign(self, message):
        if self.alg == "EdDSA":
            return self.private.sign(message)
        r, s = utils.decode_dss_signature(self.sign_der(message))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    def sign_der(self, message):
        return self.private.sign(message, ec.ECDSA(hashes.SHA256()))

    def pem(self):
        return self.public.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def jwk(self):
        jwk = {"kid": self.kid, "alg": self.alg, "use": "sig"}
        if self.alg == "EdDSA":
            raw = self.public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
            return jwk | {"kty": "OKP", "crv": "Ed25519", "x": b64(raw)}
        point = self.public.public_numbers()
        x, y = (b64(n.to_bytes(32, "big")) for n in (point.x, point.y))
        return jwk | {"kty": "EC", "crv": "P-256", "x": x, "y": y}


def token(header, claims, sign):
    """A compact JWS; a value of None leaves its member out."""
    parts = [{k: v for k, v in part.items() if v is not None} for part in (header, claims)]
    message = ".".join(b64(json.dumps(part, separators=(",", ":")).encode()) for part in parts)
    return f"{message}.{b64(sign(message.encode()))}"


def good_claims(**changes):
    now = int(time.time())
    return {
        "iss": ISSUER, "aud": AUDIENCE, "sub": "u_7f3a", "iat": now, "exp": now + 60,
        "jti": uuid.uuid4().hex, "sid": "s_19c2", "acr": "password+totp", "amr": ["pwd", "otp"],
        "auth_time": now - 30, "account": "anna", "sub_user": "anna+ci", "roles": ["admin"],
        "groups": ["ops", "dév"], "verification": "verified",
    } | changes  # fmt: skip


def good_token(key, header=None, **changes):
    header = {"alg": key.alg, "typ": TYP, "kid": key.kid} | (header or {})
    return token(header, good_claims(**changes), key.sign)


class Jwks:
    """A JWKS endpoint which can be down, change its keys, and count its readers."""

    def __init__(self, keys):
        self.keys, self.up, self.hits = keys, True, 0
        jwks = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                jwks.hits += 1
                body = json.dumps({"keys": [key.jwk() for key in jwks.keys]}).encode()
                self.send_response(200 if jwks.up else 500)
                self.send_header("Content-Type", "application/jwk-set+json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/.doorward/jwks.json"
        # A backend may hang up on a fetch; that is its affair.
        self.server.handle_error = lambda *_: None
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


class Backend:
    def __init__(self, command, **settings):
        here = "127.0.0.1"
        settings = {"LISTEN": f"{here}:0", "NO_PROXY": here, "no_proxy": here} | settings
        env = {k: v for k, v in os.environ.items() if k not in ("ISSUER", "AUDIENCE", "JWKS_URL")}
        # A group of its own, so that a wrapper such as `cargo run` takes its child along.
        self.process = subprocess.Popen(
            command, env=env | settings, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True, start_new_session=True,
        )  # fmt: skip
        self.lines = queue.Queue()
        threading.Thread(target=self.read, daemon=True).start()
        self.address = None

    def read(self):
        for line in self.process.stdout:
            self.lines.put(line.strip())
        self.lines.put(None)

    def ready(self):
        """Whether it came up; it may say other things first."""
        try:
            while (line := self.lines.get(timeout=DEADLINE)) is not None:
                if line.startswith(READY):
                    self.address = line.removeprefix(READY)
                    return True
        except queue.Empty:
            pass
        return False

    def ask(self, *assertions, method="GET", body=None):
        connection = http.client.HTTPConnection(self.address, timeout=DEADLINE)
        try:
            connection.putrequest(method, "/any/path?x=1")
            for assertion in assertions:
                connection.putheader(HEADER, assertion)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            response = connection.getresponse()
            return response.status, response.getheader("Content-Type", ""), response.read().decode()
        except (OSError, http.client.HTTPException) as error:
            return 0, "", repr(error)
        finally:
            connection.close()

    def stop(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()


class Proof:
    def __init__(self, backend):
        self.backend, self.passed, self.failed = backend, 0, 0

    def check(self, name, fault):
        print(f"{'FAIL' if fault else 'ok  '} {name}{f': {fault}' if fault else ''}", flush=True)
        self.passed, self.failed = self.passed + (not fault), self.failed + bool(fault)

    def accepts(self, name, assertion, **request):
        self.check(name, accepted(self.backend.ask(assertion, **request), assertion))

    def refuses(self, name, *assertions, statuses=(401,)):
        self.check(name, refused(self.backend.ask(*assertions), assertions, statuses))

    def comes_to_accept(self, name, make):
        """Libraries wait a while between two fetches, so this asks until the deadline."""
        until = time.monotonic() + DEADLINE
        while True:
            assertion = make()
            fault = accepted(self.backend.ask(assertion), assertion)
            if not fault or time.monotonic() > until:
                return self.check(name, fault)
            time.sleep(0.1)


def accepted(answer, assertion):
    status, kind, body = answer
    if status != 200:
        return f"status {status} {body[:80]}"
    if not kind.startswith("application/json"):
        return f"content type {kind!r}"
    if json.loads(body) != json.loads(unb64(assertion.split(".")[1])):
        return f"other claims: {body}"
    return None


def refused(answer, assertions, statuses):
    status, kind, body = answer
    if status not in statuses:
        return f"status {status} {body[:80]}"
    if not kind.startswith("application/json"):
        return f"content type {kind!r}"
    told = json.loads(body)
    if list(told) != ["error"] or not isinstance(told["error"], str):
        return f"body {body}"
    if any(part in body for a in assertions for part in a.split(".") if len(part) > 8):
        return "the token is in the body"
    return None


def flip(assertion, part):
    parts = assertion.split(".")
    data = bytearray(unb64(parts[part]))
    data[len(data) // 2] ^= 1
    parts[part] = b64(bytes(data))
    return ".".join(parts)


def hs256(secret):
    return lambda message: hmac.new(secret, message, hashlib.sha256).digest()


def prove(proof, jwks, es, ed):
    now = int(time.time())
    refuses = proof.refuses

    jwks.up = False
    refuses("keys cannot be fetched", good_token(es), statuses=(401, 503))
    jwks.up = True
    proof.comes_to_accept("keys can be fetched again", lambda: good_token(es))
    proof.accepts("good ES256", good_token(es))
    proof.accepts("good EdDSA", good_token(ed))
    proof.accepts("good, POST with a body", good_token(es), method="POST", body=b"x" * 65536)
    proof.accepts("good, without the optional sub_user", good_token(es, sub_user=None))

    refuses("no assertion")
    refuses("two assertions", good_token(es), good_token(es))
    for name, garbage in {
        "empty": "", "a word": "garbage", "dots": "..", "four parts": good_token(es) + ".e30",
        "not JSON": f"{b64(b'{')}.{b64(b'{')}.{b64(b'x' * 64)}",
        "deep JSON": f"{b64(b'[' * 9000)}.e30.{b64(b'x' * 64)}",
        "bytes beyond ASCII": "ÿ.ÿ.ÿ",
    }.items():  # fmt: skip
        refuses(f"garbage, {name}", garbage)

    for alg in ("none", "None", "NONE"):
        header = {"alg": alg, "typ": TYP, "kid": es.kid}
        refuses(f"alg {alg}, no signature", token(header, good_claims(), lambda _: b""))
        refuses(f"alg {alg}, good signature", token(header, good_claims(), es.sign))
    for key in (es, ed):
        header = {"alg": "HS256", "typ": TYP, "kid": key.kid}
        for name, secret in {
            "PEM": key.pem(), "trimmed PEM": key.pem().strip(), "x": unb64(key.jwk()["x"]),
            "JWK": json.dumps(key.jwk()).encode(), "empty secret": b"",
        }.items():  # fmt: skip
            refuses(f"HS256 with the {key.alg} key's {name}", token(header, good_claims(), hs256(secret)))
    refuses("ES256 naming the EdDSA key", good_token(es, {"kid": ed.kid}))
    refuses("EdDSA naming the ES256 key", good_token(ed, {"kid": es.kid}))
    refuses("ES256 signature called EdDSA", good_token(es, {"alg": "EdDSA"}))
    refuses("ES256 signature called ES384", good_token(es, {"alg": "ES384"}))
    refuses("no alg", good_token(es, {"alg": None}))

    for key in (es, ed):
        thief = Key(key.alg, key.kid)
        refuses(f"{key.alg} by another key with the same kid", good_token(thief))
        refuses(f"{key.alg} by another key, in the header", good_token(thief, {"jwk": thief.jwk()}))
        refuses(f"{key.alg} by another key, without kid", good_token(thief, {"kid": None}))
        refuses(f"{key.alg} by another key, unknown kid", good_token(Key(key.alg, "k-unknown")))
        for part, name in enumerate(("header", "claims", "signature")):
            refuses(f"{key.alg} with a flipped bit in the {name}", flip(good_token(key), part))
        refuses(f"{key.alg} without signature", good_token(key).rpartition(".")[0] + ".")
        refuses(f"{key.alg} with a cut signature", good_token(key)[:-8])
    refuses("ES256 with zero signature", token({"alg": "ES256", "typ": TYP, "kid": es.kid}, good_claims(), lambda _: bytes(64)))
    refuses("ES256 signature as DER", token({"alg": "ES256", "typ": TYP, "kid": es.kid}, good_claims(), es.sign_der))
    one, other = good_token(es), good_token(es, sub="u_0000")
    refuses("claims of one, signature of another", one.rpartition(".")[0] + "." + other.rpartition(".")[2])

    for name, header in {
        "wrong typ": {"typ": "JWT"}, "no typ": {"typ": None}, "typ as media type": {"typ": f"application/{TYP}"},
        "typ in capitals": {"typ": TYP.upper()}, "typ prefix": {"typ": "doorward-assertion"},
    }.items():  # fmt: skip
        refuses(name, good_token(es, header))
    for name, changes in {
        "expired": {"iat": now - 300, "exp": now - 10},
        "exp long past": {"iat": 1, "exp": 2},
        "exp missing": {"exp": None},
        "exp as string": {"exp": str(now + 60)},
        "exp as word": {"exp": "never"},
        "exp as list": {"exp": [now + 60]},
        "exp as true": {"exp": True},
        "iat missing": {"iat": None},
        "sub missing": {"sub": None},
        "wrong audience": {"aud": "other"},
        "audience prefix": {"aud": AUDIENCE[:-1]},
        "audience extended": {"aud": AUDIENCE + "s"},
        "audience in capitals": {"aud": AUDIENCE.upper()},
        "audience missing": {"aud": None},
        "audience empty": {"aud": ""},
        "audience list of others": {"aud": ["other", "another"]},
        "wrong issuer": {"iss": "https://gate.example.net"},
        "issuer prefix": {"iss": ISSUER[:-1]},
        "issuer with a slash": {"iss": ISSUER + "/"},
        "issuer missing": {"iss": None},
        "nbf in the future": {"nbf": now + 120},
    }.items():
        refuses(name, good_token(es, **changes))
    proof.accepts("good ES256 after all that", good_token(es))

    before, started = jwks.hits, time.monotonic()
    with ThreadPoolExecutor(10) as pool:
        strange = [good_token(Key("ES256", uuid.uuid4().hex)) for _ in range(50)]
        statuses = {answer[0] for answer in pool.map(proof.backend.ask, strange)}
    hits, seconds = jwks.hits - before, time.monotonic() - started
    proof.check(
        "50 made-up kids do not cost 50 fetches",
        None if hits <= 2 + 2 * seconds and hits < 50 else f"{hits} in {seconds:.1f} s",
    )
    proof.check(
        "50 made-up kids are refused, each",
        None if statuses == {401} else f"statuses {statuses}",
    )

    fresh = Key("ES256", "k-fresh")
    jwks.keys = [es, ed, fresh]
    proof.comes_to_accept("rotation, a new key is found", lambda: good_token(fresh))
    proof.accepts("rotation, the old key still counts", good_token(es))
    newest = Key("EdDSA", "k-newest")
    jwks.keys = [fresh, newest]
    proof.comes_to_accept("rotation, another new key is found", lambda: good_token(newest))
    refuses("rotation, a withdrawn key counts no more", good_token(es))


def main():
    command = sys.argv[1:]
    command = command[1:] if command[:1] == ["--"] else command
    if not command:
        sys.exit(__doc__)
    es, ed = Key("ES256", "k-es"), Key("EdDSA", "k-ed")
    jwks = Jwks([es, ed])
    settings = {"ISSUER": ISSUER, "AUDIENCE": AUDIENCE, "JWKS_URL": jwks.url}
    proof = Proof(None)
    for name in ("ISSUER", "AUDIENCE"):
        backend = Backend(command, **{k: v for k, v in settings.items() if k != name})
        try:
            proof.check(f"does not start without {name}", "it listens" if backend.ready() else None)
        finally:
            backend.stop()

    jwks.up = False
    backend = proof.backend = Backend(command, **settings)
    try:
        if backend.ready():
            prove(proof, jwks, es, ed)
        else:
            proof.check("starts", f"no line {READY!r} within {DEADLINE} s")
    finally:
        backend.stop()
    print(f"{proof.passed} passed, {proof.failed} failed")
    sys.exit(1 if proof.failed else 0)


if __name__ == "__main__":
    main()
