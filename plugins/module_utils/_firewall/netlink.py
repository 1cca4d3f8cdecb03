# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The kernel's own way to remove a table, for a host whose program nft is gone (linux/netfilter/nf_tables.h)."""

from __future__ import annotations

import os
import socket
import struct

_NETLINK_NETFILTER = 12
_NFNL_SUBSYS_NFTABLES = 10
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_DELTABLE = _NFNL_SUBSYS_NFTABLES << 8 | 2
_REQUEST, _ACK = 1, 4
_TABLE_NAME = 1
_NFPROTO_INET = 1
_ERROR = 2


def delete_table(name: str) -> None:
    """Remove a table of the family inet, in a transaction of its own.

    :raises OSError: there is none (ENOENT), this process may not (EPERM), or the kernel has no nf_tables.
    """
    text = name.encode() + b"\0"
    attribute = struct.pack("=HH", 4 + len(text), _TABLE_NAME) + text.ljust((len(text) + 3) & ~3, b"\0")
    batch = struct.pack("!BBH", 0, 0, _NFNL_SUBSYS_NFTABLES)
    removal = struct.pack("!BBH", _NFPROTO_INET, 0, 0) + attribute
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as kernel:
        kernel.settimeout(10)
        kernel.send(
            _message(_BATCH_BEGIN, _REQUEST, 1, batch) + _message(_DELTABLE, _REQUEST | _ACK, 2, removal)
            + _message(_BATCH_END, _REQUEST, 3, batch))
        answer = kernel.recv(1 << 16)
    _size, kind = struct.unpack_from("=IH", answer)
    code = -struct.unpack_from("=i", answer, 16)[0] if kind == _ERROR else 0
    if code:
        raise OSError(code, os.strerror(code))


def _message(kind: int, flags: int, number: int, content: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(content), kind, flags, number, 0) + content
