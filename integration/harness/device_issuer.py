"""An OpenID provider with the device flow (RFC 8628) over HTTPS, as small as it can be."""

from __future__ import annotations

import json
import secrets
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from .certificates import self_signed
from .issuer import Issuer

CLIENT = "psql"
DISCOVERY = "/.well-known/openid-configuration"
GRANT = "urn:ietf:params:oauth:grant-type:device_code"


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        issuer = self.server.issuer
        if self.path != DISCOVERY:
            return self._answer(404, {"error": "not_found"})
        return self._answer(200, issuer.document())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        form = {name: values[0] for name, values in parse_qs(body).items()}
        answer = self.server.issuer.answer(self.path, form)
        self._answer(400 if "error" in answer else 200, answer)

    def _answer(self, status: int, answer: dict[str, Any]) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    issuer: DeviceIssuer


class DeviceIssuer:
    """`approve` is what the person does in the browser. `tokens` signs, under this issuer's name."""

    def __init__(self, folder: Path) -> None:
        pair = self_signed("127.0.0.1")
        self.authority = folder / "issuer.crt"
        self.authority.write_bytes(pair.certificate)
        key = folder / "issuer.key"
        key.write_bytes(pair.key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.authority, key)
        self._http = _Server(("127.0.0.1", 0), _Handler)
        self._http.issuer = self
        self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
        self.name = f"https://127.0.0.1:{self._http.server_address[1]}"
        self.tokens = Issuer(name=self.name)
        self.scopes: list[str] = []
        self._codes: dict[str, str] = {}
        self._approved: dict[str, str] = {}
        self._lock = threading.Lock()
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    def document(self) -> dict[str, Any]:
        return {
            "issuer": self.name,
            "device_authorization_endpoint": f"{self.name}/device",
            "token_endpoint": f"{self.name}/token",
            "jwks_uri": self.tokens.jwks_url,
            "response_types_supported": ["none"],
            "grant_types_supported": [GRANT],
        }

    def answer(self, path: str, form: dict[str, str]) -> dict[str, Any]:
        """To a form that a client has sent."""
        if form.get("client_id") != CLIENT:
            return {"error": "invalid_client"}
        with self._lock:
            if path == "/device":
                return self._begin(form.get("scope", ""))
            if path == "/token" and form.get("grant_type") == GRANT:
                return self._token(form.get("device_code", ""))
        return {"error": "invalid_request"}

    def _begin(self, scope: str) -> dict[str, Any]:
        device, user = secrets.token_urlsafe(16), secrets.token_hex(4).upper()
        self._codes[device] = user
        self.scopes.append(scope)
        page = f"{self.name}/activate"
        return {
            "device_code": device,
            "user_code": user,
            "verification_uri": page,
            "expires_in": 60,
            "interval": 0,
        }

    def _token(self, device: str) -> dict[str, Any]:
        code = self._codes.get(device)
        if code is None:
            return {"error": "invalid_grant"}
        if code not in self._approved:
            return {"error": "authorization_pending"}
        del self._codes[device]
        return {"access_token": self.tokens.token(self._approved.pop(code)), "token_type": "Bearer"}

    def waiting(self) -> list[str]:
        """The codes that nobody has approved yet."""
        with self._lock:
            return [code for code in self._codes.values() if code not in self._approved]

    def approve(self, code: str, subject: str) -> None:
        with self._lock:
            self._approved[code] = subject

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self.tokens.close()
