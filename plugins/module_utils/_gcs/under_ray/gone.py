# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tell the GCS that this host's former node has ended, before the host's next node starts.

A raylet that was killed, or whose host lost power, cannot say so. The GCS finds it out after 15 s and more; until then
it has two nodes on one port, and takes the new one for the one that does not answer: a placement group that it tries to
place there, as for a model over several nodes, then waits for ever (Ray 2.60).

The unit of a worker runs this file alone, as Ray's user and under the Python of Ray's environment. A GCS that does not
answer is no reason not to start: nothing is waited for.
"""

from __future__ import annotations

import argparse
import signal
import socket
import sys

SECONDS = 10  # for all of it
ANSWER = 3  # seconds that the GCS has for each answer
ALIVE, UNEXPECTED_TERMINATION = 0, 2  # gcs.proto GcsNodeState, common.proto NodeDeathInfo.Reason


def say_gone(address: str, ip: str, port: int) -> list[str]:
    """Unregister every node that is alive on this address and port, where this host has none any more.

    :returns: their ids.
    """
    from ray._private.grpc_utils import init_grpc_channel
    from ray._raylet import GcsClient
    from ray.core.generated.common_pb2 import NodeDeathInfo
    from ray.core.generated.gcs_service_pb2 import UnregisterNodeRequest
    from ray.core.generated.gcs_service_pb2_grpc import NodeInfoGcsServiceStub

    nodes = GcsClient(address=address).get_all_node_info(timeout=ANSWER).values()
    former = [node.node_id for node in nodes
              if node.state == ALIVE and (node.node_manager_address, node.node_manager_port) == (ip, port)]
    death = NodeDeathInfo(reason=UNEXPECTED_TERMINATION, reason_message="Its processes ended by themselves.")
    if former:
        with init_grpc_channel(address) as channel:
            service = NodeInfoGcsServiceStub(channel)
            for node_id in former:
                service.UnregisterNode(UnregisterNodeRequest(node_id=node_id, node_death_info=death), timeout=ANSWER)
    return [node_id.hex() for node_id in former]


def main() -> None:
    parser = argparse.ArgumentParser(description="Tell the GCS that this host's former node has ended.")
    parser.add_argument("--address", required=True, help="of the GCS")
    parser.add_argument("--ip", required=True, help="of the node")
    parser.add_argument("--port", type=int, required=True, help="of its raylet")
    options = parser.parse_args()
    signal.alarm(SECONDS)
    host, _colon, port = options.address.rpartition(":")
    try:
        # GcsClient itself needs 40 s to notice that nobody listens.
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER).close()
        found = say_gone(options.address, options.ip, options.port)
    except Exception as error:
        sys.stdout.write(f"The GCS was not told that this host's former node has ended: {error}\n")
        return
    for node_id in found:
        sys.stdout.write(f"Told the GCS that the node {node_id} has ended.\n")


if __name__ == "__main__":
    main()
