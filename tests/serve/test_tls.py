"""HTTPS by a certificate and its key."""

from __future__ import annotations

import http.client
import json
import ssl
from pathlib import Path

import pytest
from openai import DefaultHttpxClient, OpenAI

import gptsmith
from gptsmith.base.errors import UserError

CERTIFICATES = Path(__file__).parent / "certificates"
"""A certificate for localhost that is its own authority, and its key."""
CERTIFICATE, KEY = CERTIFICATES / "certificate.pem", CERTIFICATES / "key.pem"


def test_a_server_with_a_certificate_speaks_https_alone(runs: Path) -> None:
    known = ssl.create_default_context(cafile=str(CERTIFICATE))
    with (
        gptsmith.serve(
            runs / "chat", port=0, device="cpu", tls_certificate=CERTIFICATE, tls_key=KEY, background=True
        ) as server,
        OpenAI(base_url=f"{server.address}/v1", api_key="none", http_client=DefaultHttpxClient(verify=known)) as client,
    ):
        assert server.address.startswith("https://127.0.0.1:")
        parts = client.completions.create(model="chat", prompt="The", max_tokens=5, stream=True)
        assert "".join(part.choices[0].text for part in parts)
        port = int(server.address.rpartition(":")[2])
        stranger = http.client.HTTPSConnection("127.0.0.1", port)
        with pytest.raises(ssl.SSLCertVerificationError):
            stranger.request("GET", "/health")
        stranger.close()
        page = http.client.HTTPSConnection("localhost", port, context=known)
        headers = {"Origin": f"https://localhost:{port}", "Content-Type": "application/json"}
        page.request("POST", "/tokenize", json.dumps({"prompt": "a"}), headers)
        assert page.getresponse().status == 200  # the page's own origin is known
        page.close()
        plain = http.client.HTTPConnection("127.0.0.1", port)
        plain.request("GET", "/health")
        with pytest.raises((http.client.HTTPException, OSError)):
            plain.getresponse()
        plain.close()


@pytest.mark.parametrize(
    ("certificate", "key", "said"),
    [
        (CERTIFICATE, None, "give --tls-key FILE too"),
        (None, KEY, "give --tls-certificate FILE too"),
        (CERTIFICATE, CERTIFICATE, "are no certificate and its key"),
        (KEY, KEY, "are no certificate and its key"),
        (CERTIFICATE, CERTIFICATES / "none.pem", "--tls-key .*none.pem cannot be read: No such file"),
        (CERTIFICATES, KEY, "--tls-certificate .* cannot be read"),
    ],
)
def test_files_that_do_not_do_are_refused_before_anything_is_loaded(
    certificate: Path | None, key: Path | None, said: str
) -> None:
    with pytest.raises(UserError, match=said):
        gptsmith.serve("nowhere", port=0, tls_certificate=certificate, tls_key=key)
