# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What goes over a host's network, and whether a secret does: packets, put together to what was said.

As a program it writes the packets of its network namespace to a file, as tcpdump would, without a package of it:
``python3 tests/capture.py FILE`` until its input ends. Linux and root.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

# Of linux/if_packet.h and linux/if_ether.h, which Python has no names for.
_ALL, _STATISTICS, _PACKET = 3, 6, 263
# The kernel keeps so much for a capture that is not quick enough.
_BUFFER = 128 << 20
# Larger than any packet: the kernel hands out what a card would have cut.
_MOST = 256 << 10
_HEADER = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, _MOST, 1)
_IPV4, _IPV6, _TCP, _UDP, _SYN = 0x0800, 0x86DD, 6, 17, 2
# The names by which a TLS connection begins: its first record, a handshake.
_TLS = b"\x16\x03"


@dataclass(frozen=True)
class Stream:
    """One direction of a connection, or a datagram.

    source, target: address and port. opened: its beginning is among what was captured. gaps: how many pieces are not.
    """

    source: tuple[str, int]
    target: tuple[str, int]
    data: bytes
    opened: bool = True
    gaps: int = 0

    @property
    def is_tls(self) -> bool:
        return self.data.startswith(_TLS)

    def __str__(self) -> str:
        return f"{self.source[0]}:{self.source[1]} -> {self.target[0]}:{self.target[1]}"


@dataclass
class Capture:
    """What was captured. lost: how many packets the kernel could not keep: with any, nothing is proved."""

    streams: list[Stream] = field(default_factory=list)
    lost: int = 0

    def find(self, secrets: Mapping[str, str]) -> list[str]:
        """Where a secret went over the network, by its name: it is not shown.

        It is looked for as it stands, in a URL, in hexadecimal and in base64. What is compressed is not looked into.
        """
        looks = {name: spellings(secret) for name, secret in secrets.items()}
        return sorted({f"{name} in {stream}" for stream in self.streams
                       for name, texts in looks.items() if any(text in stream.data for text in texts)})

    def said(self, port: int, opened: bool = True) -> list[Stream]:
        """What was said to a port, or by who listens there, from its beginning unless that does not matter."""
        return [stream for stream in self.streams
                if port in (stream.source[1], stream.target[1]) and stream.data and (stream.opened or not opened)]


def spellings(secret: str) -> set[bytes]:
    """A secret as it may be written."""
    raw = secret.encode()
    if len(raw) < 8:
        raise ValueError("a secret of fewer than 8 characters is found by chance")
    found = {raw, urllib.parse.quote(secret, safe="").encode(), raw.hex().encode()}
    for before in range(3):
        # Without its ends, which hold bits of what stands beside it.
        text = base64.b64encode(b"\0" * before + raw)[0 if before == 0 else 4:]
        whole = text[:-4] if (before + len(raw)) % 3 else text
        found |= {whole, whole.replace(b"+", b"-").replace(b"/", b"_")}
    return found


@contextmanager
def capturing(pid: int = 0, loopback: bool = False) -> Iterator[Capture]:
    """Capture for the time of a context; what was said is there at its end.

    :arg pid: a process in whose network namespace, such as that of a container; 0 for this one's.
    :arg loopback: whether also what a host says to itself.
    """
    capture = Capture()
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "packets.pcap")
        own = [sys.executable, "-I", __file__, str(file), *(["lo"] if loopback else [])]
        command = [*(["nsenter", f"--net=/proc/{pid}/ns/net"] if pid else []), *own]
        # In a session of its own: an interrupted test run lets it end as well.
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) as child:
            assert child.stdin and child.stdout
            if child.stdout.readline() != b"ready\n":
                raise RuntimeError("no packets can be captured, which root alone may")
            try:
                yield capture
            finally:
                # What was sent is captured a moment later.
                time.sleep(0.2)
                child.stdin.close()
                capture.lost = int(child.stdout.readline() or -1)
        capture.streams = list(streams(packets(file)))


def packets(file: Path) -> Iterator[bytes]:
    """The packets of a file, with their Ethernet headers."""
    with file.open("rb") as stream:
        if stream.read(len(_HEADER)) != _HEADER:
            raise ValueError(f"{file} is not one that this program wrote")
        while len(head := stream.read(16)) == 16:
            yield stream.read(struct.unpack("<IIII", head)[2])


@dataclass
class _Half:
    """One direction while it is put together. start: the number of its first byte, as TCP counts."""

    start: int
    opened: bool
    pieces: dict[int, bytes] = field(default_factory=dict)
    last: int = 0

    def add(self, number: int, data: bytes) -> None:
        # TCP's numbers begin anew after 4 GB.
        place = self.last + ((number - self.start - self.last + (1 << 31)) % (1 << 32)) - (1 << 31)
        if len(data) > len(self.pieces.get(place, b"")):
            self.pieces[place] = data
        self.last = max(self.last, place)

    def whole(self) -> tuple[bytes, int]:
        """All that was said, in order, and how many gaps it has."""
        found, gaps = bytearray(), 0
        end = min(self.pieces, default=0) if not self.opened else 0
        for place, data in sorted(self.pieces.items()):
            if place > end:
                gaps += 1
                # Of two ends nothing is made that neither has.
                found += b"\0"
                end = place
            if place + len(data) > end:
                found += data[end - place:]
                end = place + len(data)
        return bytes(found), gaps


def streams(frames: Iterator[bytes]) -> Iterator[Stream]:
    """What packets were to say."""
    halves: dict[tuple[tuple[str, int], tuple[str, int]], _Half] = {}
    for frame in frames:
        source, target, protocol, rest = _addressed(frame)
        if protocol == _UDP and len(rest) >= 8:
            ports = struct.unpack("!HH", rest[:4])
            yield Stream((source, ports[0]), (target, ports[1]), rest[8:])
        if protocol != _TCP or len(rest) < 20:
            continue
        first, second, number, _answer, offset, flags = struct.unpack("!HHIIBB", rest[:14])
        ends, data = ((source, first), (target, second)), rest[(offset >> 4) * 4:]
        half = halves.get(ends)
        if flags & _SYN and (half is None or half.start != (number + 1) % (1 << 32)):
            # The same ports may be another connection's.
            if half:
                yield _stream(ends, half)
            half = halves[ends] = _Half((number + 1) % (1 << 32), True)
        if half is None:
            half = halves[ends] = _Half(number, False)
        if data and not flags & _SYN:
            half.add(number, data)
    for ends, half in halves.items():
        yield _stream(ends, half)


def _stream(ends: tuple[tuple[str, int], tuple[str, int]], half: _Half) -> Stream:
    data, gaps = half.whole()
    return Stream(*ends, data, half.opened, gaps)


def _addressed(frame: bytes) -> tuple[str, str, int, bytes]:
    """Source, target, protocol and content of a packet; protocol 0 for what is not IP or is a part of a packet."""
    nothing = "", "", 0, b""
    kind = int.from_bytes(frame[12:14], "big")
    if kind == _IPV4 and len(frame) >= 34:
        length, parts = struct.unpack("!2xH2xH", frame[14:22])
        if parts & 0x1FFF:
            return nothing
        begin = 14 + (frame[14] & 15) * 4
        # What is larger than 64 KB has no length. Behind a short one is padding.
        content = frame[begin:14 + length] if length else frame[begin:]
        return str(ipaddress.IPv4Address(frame[26:30])), str(ipaddress.IPv4Address(frame[30:34])), frame[23], content
    if kind == _IPV6 and len(frame) >= 54:
        length = int.from_bytes(frame[18:20], "big")
        content = frame[54:54 + length] if length else frame[54:]
        return str(ipaddress.IPv6Address(frame[22:38])), str(ipaddress.IPv6Address(frame[38:54])), frame[20], content
    return nothing


def _write(path: str, loopback: bool) -> None:
    """Write packets to a file until the input ends; the last line of output is how many were lost."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL)) as source, open(path, "wb") as target:
        # Above the limit of the host, which root may.
        source.setsockopt(socket.SOL_SOCKET, getattr(socket, "SO_RCVBUFFORCE", 33), _BUFFER)
        target.write(_HEADER)
        print("ready", flush=True)
        ended = False
        while True:
            ready = select.select([source.fileno(), *([] if ended else [0])], [], [], 0 if ended else None)[0]
            if source.fileno() in ready:
                packet, (interface, *_rest) = source.recvfrom(_MOST)
                if loopback or interface != "lo":
                    seconds, part = divmod(time.time_ns() // 1000, 1_000_000)
                    target.write(struct.pack("<IIII", seconds, part, len(packet), len(packet)) + packet)
            elif ended:
                break
            elif not os.read(0, 1):
                ended = True
        statistics = source.getsockopt(_PACKET, _STATISTICS, 8)
    print(json.dumps(struct.unpack("II", statistics)[1]), flush=True)


if __name__ == "__main__":
    _write(sys.argv[1], "lo" in sys.argv[2:])
