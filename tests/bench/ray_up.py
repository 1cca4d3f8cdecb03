# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user would take instead: Ray's own cluster launcher, with its local provider, on the same bare hosts."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import tarfile
import time
from pathlib import Path

from tests.bed import image, wheelhouse
from tests.bed.bed import BedError
from tests.bed.cluster import Cluster
from tests.bed.containers import address
from tests.bed.engine import client, install
from tests.bed.execution import answer
from tests.bench.exporter import ray_python
from tests.bench.figure import Figure

NAME = "rayops-bench"
WHEELS, ENVIRONMENT = "/opt/wheels", "/opt/ray-up"
UP_SECONDS = 600
# Where the launcher remembers its nodes. It must not know any on bare hosts.
STATE = f"/tmp/ray/cluster-{NAME}"
# Says when so many nodes are ALIVE, and in which session.
WAIT = """
import json, os, sys, time
from ray._raylet import GcsClient
from ray.core.generated.gcs_pb2 import GcsNodeInfo
deadline = time.time() + 180
while time.time() < deadline:
    try:
        nodes = GcsClient(address=sys.argv[1]).get_all_node_info(timeout=3).values()
        alive = {node.node_manager_address for node in nodes if node.state == GcsNodeInfo.ALIVE}
    except Exception:
        alive = set()
    if len(alive) == int(sys.argv[2]):
        print(json.dumps({"at": time.time(), "session": os.path.basename(os.readlink("/tmp/ray/session_latest"))}))
        sys.exit()
    time.sleep(0.1)
sys.exit(f"only {sorted(alive)} are ALIVE")
"""


def ray_up(cluster: Cluster, _storage: str, _repeat: int) -> list[Figure]:
    """From bare hosts to all nodes ALIVE, and the same command again with nothing to do."""
    fresh = Figure("ray-up", "ray up, bare hosts -> every node ALIVE")
    again = Figure("ray-up-again", "ray up again, nothing to do -> every node ALIVE")
    try:
        prepare(cluster)
        first = run(cluster, fresh)
        fresh.note = "pip from wheels that are on the hosts already; nothing is verified, no service survives a reboot"
        second = run(cluster, again)
        kept = first == second
        again.note = "the session is the same" if kept else "another session: every job and actor is lost"
    except BedError as error:
        for figure in (fresh, again):
            figure.failed = "" if figure.values else str(error)
    return [fresh, again]


def prepare(cluster: Cluster) -> None:
    """What is not measured: the launcher needs rsync, and the wheels lie on each host."""
    if not shutil.which("rsync"):
        install("rsync")
    wheels = wheelhouse.ensure(image.PYTHON[cluster.bed.image], cluster.bed.wheels)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for wheel in wheels.glob("*.whl"):
            archive.add(wheel, f"{Path(WHEELS).name}/{wheel.name}")
    for name in cluster.names:
        cluster.sh(name, "apt-get update -qq && apt-get install -qq -y rsync < /dev/null")
        client().containers.get(cluster.container(name)).put_archive(str(Path(WHEELS).parent), packed.getvalue())
    for suffix in (".state", ".lock"):
        Path(STATE + suffix).unlink(missing_ok=True)


def configuration(cluster: Cluster) -> dict[str, object]:
    """As the launcher's page has it, with an environment of its own for Ray and the bed's small object store."""
    ray = f"{ENVIRONMENT}/bin/ray"
    store = "--object-store-memory=268435456"
    return {
        "cluster_name": NAME,
        "provider": {
            "type": "local",
            "head_ip": address(cluster.bed, cluster.head),
            "worker_ips": [address(cluster.bed, name) for name in cluster.workers],
        },
        "auth": {"ssh_user": "root", "ssh_private_key": str(cluster.bed.ssh_key)},
        "min_workers": len(cluster.workers),
        "max_workers": len(cluster.workers),
        "setup_commands": [
            f"test -x {ray} || python3 -m venv {ENVIRONMENT}",
            f"{ENVIRONMENT}/bin/pip install --no-index --find-links {WHEELS} '{wheelhouse.requirements()[0]}'",
        ],
        # With the autoscaler of today, version 2, one of two workers never starts.
        "head_start_ray_commands": [
            f"{ray} stop",
            f"RAY_enable_autoscaler_v2=0 {ray} start --head --port=6379 {store} "
            "--autoscaling-config=~/ray_bootstrap_config.yaml",
        ],
        "worker_start_ray_commands": [f"{ray} stop", f"{ray} start --address=$RAY_HEAD_IP:6379 {store}"],
    }


def run(cluster: Cluster, figure: Figure) -> str:
    """Run the command and wait for all nodes. Returns the session."""
    file = cluster.bed.state / "ray-up.yaml"
    file.write_text(json.dumps(configuration(cluster)), encoding="utf-8")
    began = time.time()
    launcher = subprocess.run(
        [ray_python().with_name("ray"), "up", "--yes", "--no-config-cache", file], stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=UP_SECONDS, check=False,
    )
    if launcher.returncode:
        raise BedError(f"ray up ended with {launcher.returncode}: {(launcher.stdout + launcher.stderr)[-2000:]}")
    nodes = str(len(cluster.names))
    whole = json.loads(answer(
        cluster.container(cluster.head), f"{ENVIRONMENT}/bin/python", "-c", WAIT, cluster.gcs, nodes))
    figure.values.append(whole["at"] - began)
    return str(whole["session"])
