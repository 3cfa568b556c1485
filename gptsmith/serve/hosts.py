"""Host names: which ones a server answers to."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


class AllowedHosts:
    """The names that a server bound to `host` answers to, `more` included; any address too if others can reach it."""

    def __init__(self, host: str, more: Iterable[str] = ()) -> None:
        self._given = frozenset(name.lower() for name in more)
        self._names, self._is_loopback = own_names(host, self._given), is_loopback(host)

    def allows_origin(self, origin: str, host: str) -> bool:
        """Whether a page of this origin may send requests to us, who were called by `host`: our own page, or one whose
        name was given. Behind a proxy the page's origin has the name that people know, and `host` may be another."""
        try:
            parts = urlsplit(origin)
            return bool(parts.netloc) and (parts.netloc == host or parts.hostname in self._given)
        except ValueError:
            return False

    def allows(self, header: str) -> bool:
        """Whether a Host header names this server."""
        name = host_name(header)
        return name in self._names or (not self._is_loopback and is_address(name))


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that is bound to `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def own_names(host: str, more: Iterable[str]) -> frozenset[str]:
    """The names that a server answers to. Any page can give a name of its own to an address of ours, so that
    a browser takes both for one place; a name that is not one of these is not answered."""
    names = {*LOOPBACK_NAMES, host.lower(), *(name.lower() for name in more)}
    if not is_loopback(host):
        machine = socket.gethostname().lower()
        names |= {machine, f"{machine}.local"}
    return frozenset(names)


def host_name(host: str) -> str:
    """The name in a Host header, without its port: `::1` of `[::1]:8000`."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def is_address(name: str) -> bool:
    """Whether a name is an address, which no page can make its own."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
