# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whom the ports of a host let in, by what they answer to the first words of gRPC.

A program of the standard library alone: ``python3 tests/doors.py [--as CERTIFICATE KEY | --plain] ADDRESS:PORT...``
prints JSON, what each has answered: ``grpc``, ``http`` (another server, without TLS), or why nothing was.
"""

from __future__ import annotations

import argparse
import json
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor

# HTTP/2, and that there are no settings; a server of it answers with its own, a frame of type 4.
_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
_SETTINGS = 4
_SECONDS = 5.0


def answer(address: str, port: int, context: ssl.SSLContext | None) -> str:
    """What a port answers; without a context to who speaks no TLS."""
    try:
        with socket.create_connection((address, port), timeout=_SECONDS) as plain:
            if context is None:
                return _said(plain)
            with context.wrap_socket(plain) as secret:
                # With TLS 1.3 a server says no only after the client's last word.
                return _said(secret)
    except ssl.SSLError as error:
        return f"refused: {error.reason or error}"
    except (ConnectionError, TimeoutError) as error:
        return f"refused: {type(error).__name__}"


def _said(connection: socket.socket) -> str:
    connection.sendall(_HELLO)
    words = connection.recv(9)
    if words.startswith(b"HTTP/1"):
        return "http"
    if len(words) >= 4 and words[3] == _SETTINGS:
        return "grpc"
    return f"refused: {words[:5].hex() or 'closed'}"


def context_of(certificate: str = "", key: str = "") -> ssl.SSLContext:
    """A client that trusts whoever it meets, with a certificate or none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    if certificate:
        context.load_cert_chain(certificate, key)
    return context


def answers(doors: list[str], context: ssl.SSLContext | None) -> dict[str, str]:
    """What each of some ADDRESS:PORT answers."""
    def ask(door: str) -> str:
        address, _colon, port = door.rpartition(":")
        return answer(address.strip("[]"), int(port), context)

    with ThreadPoolExecutor(16) as pool:
        return dict(zip(doors, pool.map(ask, doors)))


def main() -> None:
    parser = argparse.ArgumentParser(description="Say whom ports let in.")
    parser.add_argument("doors", nargs="+", metavar="ADDRESS:PORT")
    parser.add_argument("--as", nargs=2, default=["", ""], dest="files", metavar=("CERTIFICATE", "KEY"))
    parser.add_argument("--plain", action="store_true", help="speak no TLS")
    parsed = parser.parse_args()
    print(json.dumps(answers(parsed.doors, None if parsed.plain else context_of(*parsed.files))))


if __name__ == "__main__":
    main()
