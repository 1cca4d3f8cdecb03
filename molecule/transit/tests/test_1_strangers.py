# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From bare hosts to a cluster that lets no stranger in: to no port, to no page, and not without a certificate."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.bed.bed import ROOT
from tests.bed.certificates import Signer
from tests.bed.cluster import TLS, Cluster
from tests.bed.outside import Outside
from tests.long import long

SCAN, DOORS = ROOT / "tests" / "nft.py", ROOT / "tests" / "doors.py"
SSH, PROXY = 22, 443
# What speaks HTTP, which Ray has no TLS for: the pages and metrics, and the agents on their own hosts.
HTTP = {8265, 6384, 6385, 52365, 44217, 44227}
PLACE = "/root/foreign"


def test_a_second_run_changes_nothing(cluster: Cluster) -> None:
    before = cluster.pids()
    run = cluster.site().must_succeed()
    assert run.changed == 0, run.output
    assert cluster.pids() == before


def test_only_ssh_and_the_proxy_answer_a_stranger(
    cluster: Cluster, hosts: dict[str, str], stranger: Outside
) -> None:
    """All 65,535 ports of each host, from the same network."""
    with ThreadPoolExecutor(2) as pool:
        found = dict(zip(hosts, pool.map(lambda host: ports(stranger.run(SCAN, host)), hosts.values()), strict=True))
    with_proxy = (cluster.head, "monitor")
    assert found == {name: {SSH, PROXY} if name in with_proxy else {SSH} for name in hosts}
    # The same look from one of the cluster's hosts sees what is there.
    seen = ports(cluster.sh("worker-1", f"python3 - {hosts[cluster.head]}", stdin=SCAN.read_text(encoding="utf-8")))
    assert {SSH, PROXY, 6379, 6381, 6382, 8265, 10001} <= seen


def ports(text: str) -> set[int]:
    return set(map(int, text.split()))


@pytest.fixture(scope="module")
def doors(cluster: Cluster) -> dict[str, list[str]]:
    """Where processes of Ray's user listen on each node, as ADDRESS:PORT."""
    found = {}
    for name in cluster.names:
        # With whose they are: verify has left a listener of nobody's with a port of Ray's, which ends by itself.
        own = set(cluster.sh(name, "pgrep -u ray").split())
        listed = (line.split() for line in cluster.sh(name, "ss -Hltnp").splitlines())
        places = (words[3].replace("0.0.0.0:", "127.0.0.1:") for words in listed
                  if own & set(re.findall(r"pid=(\d+)", words[-1])))
        found[name] = sorted({place.replace("*:", "127.0.0.1:") for place in places})
    return found


def answers(cluster: Cluster, name: str, doors: list[str], *arguments: str) -> dict[int, str]:
    """What the ports of a node answer, asked on the node itself: there is no firewall in between."""
    done = cluster.sh(name, " ".join(("python3", "-", *arguments, *doors)), stdin=DOORS.read_text(encoding="utf-8"))
    return {int(door.rpartition(":")[2]): said for door, said in json.loads(done).items()}


def test_a_certificate_of_the_clusters_is_let_in(cluster: Cluster, doors: dict[str, list[str]]) -> None:
    """To all of Ray's ports but those that speak HTTP: so the next tests look at what is there."""
    files = "--as", TLS["RAY_TLS_SERVER_CERT"], TLS["RAY_TLS_SERVER_KEY"]
    for name in cluster.names:
        said = answers(cluster, name, doors[name], *files)
        grpc = {port for port, words in said.items() if words == "grpc"}
        assert set(said) - grpc <= HTTP, said
        assert grpc >= ({6379, 10001} if name == cluster.head else set()) | {6381, 6382, 6383}, said


@pytest.mark.parametrize("who", ["plain", "nobody", "foreign", "expired"])
def test_whoever_has_none_is_refused_on_every_port(
    cluster: Cluster, doors: dict[str, list[str]], signer: Signer, who: str
) -> None:
    files = {"foreign": lambda: Signer.foreign().files(["worker-1"], 90),
             "expired": lambda: signer.files(["worker-1"], -0.1, -0.9)}
    for name in cluster.names:
        arguments = {"plain": ["--plain"], "nobody": []}.get(who, ["--as", f"{PLACE}.pem", f"{PLACE}.key"])
        if who in files:
            certificate, key = files[who]()
            cluster.sh(name, f"cat > {PLACE}.pem", stdin=certificate)
            cluster.sh(name, f"umask 077; cat > {PLACE}.key", stdin=key)
        said = answers(cluster, name, doors[name], *arguments)
        cluster.sh(name, f"rm -f {PLACE}.pem {PLACE}.key")
        assert {port for port, words in said.items() if not words.startswith("refused")} <= HTTP, said
        assert sum(words.startswith("refused") for words in said.values()) >= 3, said


def test_the_pages_ask_for_a_login(cluster: Cluster, page: Callable) -> None:
    for host, path in ((cluster.head, "/api/version"), ("monitor", "/prometheus/api/v1/targets"),
                       ("monitor", "/alertmanager/api/v2/status")):
        assert page(host, known=False).ask(path)[0] == 401, path
        assert page(host).ask(path)[0] == 200, path


def test_who_logged_in_needs_no_token_and_sees_none(cluster: Cluster, page: Callable) -> None:
    token = cluster.sh(cluster.head, "cat /etc/ray/auth_token")
    for path in ("/", "/nodes?view=summary", "/api/jobs/"):
        status, headers, text = page(cluster.head).ask(path)
        assert status == 200 and token not in headers + text, path
        assert "set-cookie" not in headers.lower() and "bearer" not in headers.lower()


def test_check_mode_shows_the_rules(cluster: Cluster) -> None:
    clients = json.dumps({"ray_firewall_clients": ["10.20.0.0/16"]})
    run = cluster.play("rayops.cluster.firewall", "--check", "--diff", "--extra-vars", clients).must_succeed()
    assert "10.20.0.0/16" in run.output
    assert "10.20" not in cluster.sh(cluster.head, "nft list table inet rayops")


@long
def test_users_of_a_network_reach_what_is_theirs(
    cluster: Cluster, hosts: dict[str, str], stranger: Outside
) -> None:
    """The dashboard and the port of clients, and nothing else; then no longer."""
    clients = json.dumps({"ray_firewall_clients": [stranger.address]})
    cluster.play("rayops.cluster.firewall", "--extra-vars", clients).must_succeed()
    assert ports(stranger.run(SCAN, hosts[cluster.head])) == {SSH, PROXY, 8265, 10001}
    cluster.play("rayops.cluster.firewall").must_succeed()
    assert stranger.run(DOORS, f"{hosts[cluster.head]}:8265").count("refused") == 1
