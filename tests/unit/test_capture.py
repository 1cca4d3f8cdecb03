# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The capture that is to prove that no secret travels finds one that does."""

from __future__ import annotations

import base64
import os
import random
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.capture import Capture, Stream, capturing, spellings, streams

SECRET = "s3cret+of/the=cluster"
OTHER = "another-one-that-stays"
# A call with the token as Ray's clients send it, in the metadata of gRPC, to a server that knows no method.
GRPC = """
import sys
from concurrent.futures import ThreadPoolExecutor
import grpc
server = grpc.server(ThreadPoolExecutor(1))
port = server.add_insecure_port("127.0.0.1:0")
server.start()
with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
    for _again in range(2):
        try:
            channel.unary_unary("/a.B/C")(b"", metadata=[("authorization", "Bearer " + sys.argv[1])], timeout=10)
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error
print(port)
"""


def segment(number: int, data: bytes = b"", flags: int = 16, port: int = 40000) -> bytes:
    """A packet from a client to port 80."""
    tcp = struct.pack("!HHIIBBHHH", port, 80, number % (1 << 32), 0, 5 << 4, flags, 0, 0, 0) + data
    addresses = bytes((10, 0, 0, 1, 10, 0, 0, 2))
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0, 64, 6, 0) + addresses
    return bytes(12) + b"\x08\x00" + ip + tcp


def said(*frames: bytes) -> Stream:
    (stream,) = streams(iter(frames))
    return stream


def test_what_was_cut_and_came_in_any_order_is_put_together() -> None:
    text, start = SECRET.encode(), (1 << 32) - 5
    begin = segment(start - 1, flags=2)
    parts = [segment(start + place, text[place:place + 3]) for place in range(0, len(text), 3)]
    random.Random(1).shuffle(parts)
    # Some twice, as after a loss, and one that has more than what is lost.
    stream = said(begin, *parts, *parts[:2], segment(start, text[:5]))
    assert (stream.data, stream.gaps, stream.opened) == (text, 0, True)
    assert Capture([stream]).find({"token": SECRET}) == ["token in 10.0.0.1:40000 -> 10.0.0.2:80"]


def test_a_gap_is_told_and_makes_nothing_up() -> None:
    text = SECRET.encode()
    stream = said(segment(99, flags=2), segment(100, text[:8]), segment(109, text[9:]))
    assert stream.gaps == 1 and text[:8] in stream.data and text[9:] in stream.data
    assert not Capture([stream]).find({"token": SECRET})


def test_a_connection_that_was_there_before_is_read_from_where_it_is() -> None:
    stream = said(segment(5000, b"x" + SECRET.encode()), segment(4990, b"0123456789"))
    assert stream.data == b"0123456789x" + SECRET.encode() and not stream.opened and not stream.gaps


def test_the_same_ports_again_are_another_connection() -> None:
    frames = segment(0, flags=2), segment(1, b"one"), segment(70000, flags=2), segment(70001, b"two")
    first, second = streams(iter(frames))
    assert (first.data, second.data) == (b"one", b"two")


def test_padding_and_parts_of_packets_are_nothing() -> None:
    short = segment(1, b"") + b"padding-of-ethernet"
    part = bytearray(segment(1, SECRET.encode()))
    part[20:22] = b"\x00\x05"
    assert [stream.data for stream in streams(iter((short, bytes(part))))] == [b""]


@pytest.mark.parametrize("before", range(3))
def test_a_login_is_found_whatever_stands_before_it(before: int) -> None:
    login = base64.b64encode(b"admin"[:before] + b":" + SECRET.encode() + b"!")
    assert any(spelling in login for spelling in spellings(SECRET))


def test_what_would_be_found_by_chance_is_refused() -> None:
    with pytest.raises(ValueError, match="8 characters"):
        spellings("ray")


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="root alone may capture packets")


@pytest.fixture
def server() -> Iterator[Callable[[bytes, bytes], int]]:
    """Ask a server for something, and get an answer; returns its port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        def serve(answer: bytes) -> None:
            connection = listening.accept()[0]
            with connection:
                connection.recv(1 << 20)
                connection.sendall(answer)

        def ask(question: bytes, answer: bytes) -> int:
            thread = threading.Thread(target=serve, args=(answer,))
            thread.start()
            with socket.create_connection(listening.getsockname()) as connection:
                connection.sendall(question)
                while connection.recv(1 << 20):
                    pass
            thread.join()
            return int(listening.getsockname()[1])

        yield ask


@needs_root
def test_a_secret_is_found_in_both_directions(server: Callable[[bytes, bytes], int]) -> None:
    with capturing(loopback=True) as capture:
        port = server(f"GET /?token={SECRET} HTTP/1.1\r\n\r\n".encode(), b"x" * 3_000_000 + SECRET.encode())
        server(b"hello", base64.b64encode(f"user:{SECRET}".encode()))
    assert capture.lost == 0
    found = capture.find({"token": SECRET, "password": OTHER})
    assert len(found) == 3 and all(line.startswith("token in 127.0.0.1:") for line in found), found
    assert sum(line.endswith(f"-> 127.0.0.1:{port}") for line in found) == 1
    assert {stream.gaps for stream in capture.said(port)} == {0} and len(capture.said(port)) == 4
    assert SECRET not in "".join(found)


@needs_root
def test_what_a_host_says_to_itself_is_left_out_unless_it_is_wished(server: Callable[[bytes, bytes], int]) -> None:
    with capturing() as capture:
        port = server(SECRET.encode(), b"")
    assert not capture.said(port) and capture.lost == 0


@needs_root
def test_a_token_in_the_metadata_of_a_call_is_found() -> None:
    """gRPC names a header that it has sent before by a number, and may write text in bits of its own."""
    python = os.environ.get("RAYOPS_TEST_RAY_ENVIRONMENT", "") + "/bin/python"
    if not os.path.exists(python):
        pytest.skip("RAYOPS_TEST_RAY_ENVIRONMENT names no environment with Ray")
    token = "0123456789abcdef" * 4
    with capturing(loopback=True) as capture:
        call = subprocess.run([python, "-c", GRPC, token], capture_output=True, check=True, timeout=60)
    assert any(line.endswith(f":{int(call.stdout)}") for line in capture.find({"token": token}))


@needs_root
def test_a_namespace_of_another_is_captured() -> None:
    """As a container has one."""
    hello = f"import socket; socket.socket(type=socket.SOCK_DGRAM).sendto({SECRET.encode()!r}, ('127.0.0.1', 9))"
    shell = f'ip link set lo up && echo up && read -r go && exec {sys.executable} -c "{hello}"'
    command = ["unshare", "--net", "sh", "-c", shell]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin and child.stdout and child.stdout.readline() == b"up\n"
        with capturing(child.pid, loopback=True) as capture:
            child.stdin.write(b"go\n")
            child.stdin.close()
            child.wait(timeout=20)
    # One packet, seen as it goes and as it comes.
    assert {stream.target for stream in capture.streams if SECRET.encode() in stream.data} == {("127.0.0.1", 9)}
