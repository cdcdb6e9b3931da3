"""The device flow (RFC 8628) as a client: prints the token that a person approved in the meantime.

Started by libpq through `flow.c`, which says in the environment where the issuer is and what to ask it for.
"""

from __future__ import annotations

import json
import os
import ssl
import sys
import time
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

GRANT = "urn:ietf:params:oauth:grant-type:device_code"
CLIENT = os.environ["OAUTH_CLIENT_ID"]
TRUST = ssl.create_default_context(cafile=os.environ["OAUTH_AUTHORITY"])


def ask(url: str, **form: str) -> dict[str, Any]:
    request = Request(url, urlencode(form).encode() if form else None)
    try:
        with urlopen(request, timeout=10, context=TRUST) as answer:
            return json.load(answer)
    except HTTPError as error:
        return json.load(error)


def main() -> None:
    document = ask(os.environ["OAUTH_DISCOVERY_URL"])
    device = ask(document["device_authorization_endpoint"], client_id=CLIENT, scope=os.environ["OAUTH_SCOPE"])
    print(f"Visit {device['verification_uri']} and enter {device['user_code']}", file=sys.stderr)
    until = time.monotonic() + device["expires_in"]
    while time.monotonic() < until:
        answer = ask(
            document["token_endpoint"], client_id=CLIENT, device_code=device["device_code"], grant_type=GRANT
        )
        if token := answer.get("access_token"):
            print(token)
            return
        if answer["error"] != "authorization_pending":
            sys.exit(answer["error"])
        time.sleep(device["interval"] or 0.05)
    sys.exit("nobody approved")


main()
