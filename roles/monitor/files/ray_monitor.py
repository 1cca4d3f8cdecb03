# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""ray-monitor, the exporter of a Ray cluster: ``python -I ray_monitor.py /etc/ray/monitor.yaml``.

A scrape never waits for Ray: the cluster is read by a child process at an interval (ray_monitor_reader), and what it
says is rendered once (ray_monitor_metrics). The Python is that of Ray's environment. Exit status: 0 after SIGTERM,
2 for a config that cannot work, 1 for all else.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any

import yaml

# With -I, Python does not look beside the program, which is where root put the rest of it.
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from ray_monitor_metrics import ClusterMetrics, Families, declared_metrics
from ray_monitor_reader import Reader, ReadingError

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
CERTIFICATE_INTERVAL = 60
CERTIFICATE_SECONDS = 5
# Who has them made for months needs some weeks; a node's own is due when a run of site.yml has left it as it is.
CERTIFICATE_DAYS = 21
# A model is asked for a token so often, and given up after so long.
MODEL_INTERVAL, MODEL_SECONDS = 30, 20
CLIENT_SECONDS = 10
HOST_PORT = re.compile(r"[^\s/]+:\d{1,5}")


def log(text: str) -> None:
    sys.stderr.write(f"ray-monitor: {text}\n")
    sys.stderr.flush()


def one_line(text: str) -> str:
    return " ".join(text.split())[:300]


# The config


class ConfigError(Exception):
    """What is wrong with the config, as a clause."""


def a_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


# What a value must be, in words, and the test of it.
RULES = {
    "cluster_name": ("a name", lambda value: isinstance(value, str) and value),
    "address": (
        "host:port, for example demo-head:6379", lambda value: isinstance(value, str) and HOST_PORT.fullmatch(value)
    ),
    "dashboard_url": (
        "a URL, for example http://demo-head:8265", lambda value: re.match(r"https?://[^/\s]", str(value))
    ),
    "auth_token_path": ("a path, or null without a token", lambda value: value is None or isinstance(value, str)),
    "tls_directory": ("a path, or null without TLS", lambda value: value is None or isinstance(value, str)),
    "renew_days": ("a number of days", a_number),
    "gcs_storage": ("rocksdb, redis or memory", lambda value: value in ("rocksdb", "redis", "memory")),
    "listen": ("{address: .., port: ..}", lambda value: isinstance(value, dict)),
    "interval": ("a number of seconds above 0", lambda value: a_number(value) and value > 0),
    "timeout": ("a number of seconds above 0", lambda value: a_number(value) and value > 0),
    "nodes": ("a mapping of node names", lambda value: isinstance(value, dict)),
    "certificates": ("a list", lambda value: isinstance(value, list)),
    "models": ("{file: .., program: ..}", lambda value: isinstance(value, dict)),
    "first_token_limit": ("a number of seconds above 0", lambda value: a_number(value) and value > 0),
}
MODELS_RULES = {
    name: ("an absolute path", lambda value: isinstance(value, str) and value[:1] == "/")
    for name in ("file", "program")
}
LISTEN_RULES = {
    "address": ("an IP address of this host", lambda value: isinstance(value, str) and value),
    "port": ("a port, 0 to 65535", lambda value: a_number(value) and 0 <= value <= 65535),
}
NODE_RULES = {
    "pool": ("a name", lambda value: isinstance(value, str) and value),
    "gpus": ("a number", lambda value: a_number(value) and value >= 0),
    "npus": ("a number", lambda value: a_number(value) and value >= 0),
    "tls": ("host:port", lambda value: isinstance(value, str) and HOST_PORT.fullmatch(value)),
}


def check(values: Any, rules: dict[str, Any], place: str = "", optional: tuple[str, ...] = ()) -> None:
    """Raise ConfigError for the first value that breaks its rule, lacks one or is missing."""
    if not isinstance(values, dict):
        raise ConfigError(f"{place.rstrip('.') or 'the file'} must be a mapping with the keys {', '.join(rules)}")
    for key in values:
        if key not in rules:
            raise ConfigError(f"{place}{key} is unknown; the keys are {', '.join(rules)}")
    for key, (words, test) in rules.items():
        if key not in values:
            if key not in optional:
                raise ConfigError(f"{place}{key} is missing; it must be {words}")
        elif not test(values[key]):
            raise ConfigError(f"{place}{key} must be {words}, not {values[key]!r}")


def load(path: str) -> dict[str, Any]:
    """Read and check the config. Raises ConfigError."""
    try:
        with open(path, encoding="utf-8") as file:
            config: dict[str, Any] = yaml.safe_load(file)
    except OSError as error:
        raise ConfigError(f"it cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"it is not YAML: {' '.join(str(error).split())}") from error
    check(config, RULES)
    check(config["listen"], LISTEN_RULES, "listen.")
    check(config["models"], MODELS_RULES, "models.")
    for name, node in config["nodes"].items():
        check(node, NODE_RULES, f"nodes.{name}.", optional=("gpus", "npus", "tls"))
    for certificate in config["certificates"]:
        if not (isinstance(certificate, str) and (certificate[:1] == "/" or HOST_PORT.fullmatch(certificate))):
            raise ConfigError(f"certificates must be absolute paths of PEM files or host:port, not {certificate!r}")
    check_token(config["auth_token_path"])
    return config


def check_token(path: str | None) -> None:
    try:
        if path and not open(path, encoding="utf-8").read().strip():
            raise ConfigError(f"the token file {path} (auth_token_path) is empty")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not text"
        raise ConfigError(f"the token file {path} (auth_token_path) cannot be read: {why}") from error


# The certificates


def expiry(certificate: str, own: str | None = None) -> float:
    """When a PEM file, or what listens at host:port, expires, as a timestamp. Of a chain the earliest counts.

    own: the directory of this host's certificate, for who asks for one, as the nodes do.
    """
    try:
        from cryptography import x509
    except ImportError:
        raise ValueError("this Python has no module cryptography") from None
    if certificate.startswith("/"):
        with open(certificate, "rb") as file:
            chain = x509.load_pem_x509_certificates(file.read())
        return min(link.not_valid_after_utc.timestamp() for link in chain)
    host, _colon, port = certificate.rpartition(":")
    context = ssl.create_default_context()
    # An expired certificate, or one of an own authority, is to be read as well.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if own:
        context.load_cert_chain(f"{own}/node.pem", f"{own}/node.key")
        context.set_alpn_protocols(["h2"])
    with socket.create_connection((host.strip("[]"), int(port)), timeout=CERTIFICATE_SECONDS) as plain:
        with context.wrap_socket(plain, server_hostname=host.strip("[]")) as connection:
            found = x509.load_der_x509_certificate(connection.getpeercert(binary_form=True) or b"")
    return found.not_valid_after_utc.timestamp()


class Certificates:
    """The expiry of each certificate, looked up in a thread of its own: a host may not answer."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.expiries: dict[str, float | None] = {}
        # Of the nodes that speak TLS: what they have read, which may be older than the file. One that is down is told
        # of as a node.
        self.nodes = {node["tls"] for node in config["nodes"].values() if "tls" in node} - set(config["certificates"])
        self.own: str | None = config["tls_directory"]
        self.days = dict.fromkeys(self.nodes, max(config["renew_days"] - 1, 1))
        self.days.update(dict.fromkeys(config["certificates"], CERTIFICATE_DAYS))
        if self.days:
            threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        troubles: dict[str, str] = {}
        while True:
            for name in self.days:
                trouble = ""
                try:
                    self.expiries[name] = expiry(name, self.own if name in self.nodes else None)
                except Exception as error:  # Whatever it is: the others are to be watched all the same.
                    self.expiries[name] = None
                    trouble = one_line(getattr(error, "strerror", None) or str(error))
                if trouble != troubles.get(name, ""):
                    log(f"the certificate {name} cannot be read: {trouble}" if trouble else f"{name} can be read again")
                troubles[name] = trouble
            time.sleep(CERTIFICATE_INTERVAL)

    def add_to(self, families: Families) -> None:
        found = dict(self.expiries)
        families.gauge(
            "ray_certificate_expiry_timestamp_seconds", "When the certificate expires.", ["certificate"],
            [([name], moment) for name, moment in found.items() if moment is not None],
        )
        families.gauge(
            "ray_certificate_warning_seconds", "How long before that it is to be renewed.", ["certificate"],
            [([name], self.days[name] * 86400) for name in found],
        )
        families.gauge(
            "ray_certificate_readable", "1 if the certificate could be read.", ["certificate"],
            [([name], moment is not None) for name, moment in found.items() if name not in self.nodes],
        )


# The models


class Models:
    """Whether each declared model answers, asked in a thread of its own, by the program that all ask with.

    file: what is declared, which role serve writes and this process only reads; where it is not there, no model is.
    """

    def __init__(self, file: str, program: str) -> None:
        self.file = file
        self.command = [sys.executable, "-I", program, "--config", file, "--timeout", str(MODEL_SECONDS)]
        self.declared: list[dict[str, Any]] = []
        self.answers: dict[str, dict[str, Any]] = {}
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        told = ""
        while True:
            began = time.monotonic()
            try:
                self.declared = self._read()
                self.answers = self._ask() if any(model["replicas"] for model in self.declared) else {}
                silent = [(name, answer) for name, answer in self.answers.items() if not answer["answered"]]
                words = [f"the model {name} does not answer: {one_line(answer['error'])}" for name, answer in silent]
            except Exception as error:  # Whatever it is: nobody else would say that no model is asked any more.
                self.answers = {model["name"]: {"answered": False} for model in self.declared if model["replicas"]}
                words = [f"the models cannot be asked: {one_line(getattr(error, 'strerror', None) or str(error))}"]
            if told != "; ".join(words):
                told = "; ".join(words)
                log(told or "all models answer")
            time.sleep(max(1.0, began + MODEL_INTERVAL - time.monotonic()))

    def _read(self) -> list[dict[str, Any]]:
        try:
            with open(self.file, encoding="utf-8") as file:
                models: list[dict[str, Any]] = yaml.safe_load(file)["models"]
        except FileNotFoundError:
            return []
        return models

    def _ask(self) -> dict[str, dict[str, Any]]:
        done = subprocess.run(
            self.command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
            timeout=2 * MODEL_SECONDS,
        )
        if done.returncode and not done.stdout.strip():
            raise ValueError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "it ended without a word")
        return {answer["name"]: answer for answer in json.loads(done.stdout)}

    def add_to(self, families: Families) -> None:
        declared, answers = self.declared, self.answers
        families.gauge(
            "ray_model_replicas_declared", "Replicas that are declared for the model, or the least of them.",
            ["model", "engine"], [([model["name"], model["engine"]], model["replicas"]) for model in declared],
        )
        families.gauge(
            "ray_model_answering", "1 if a token of the model came back at the last attempt.", ["model"],
            [([name], bool(answer["answered"])) for name, answer in answers.items()],
        )
        families.gauge(
            "ray_model_token_seconds", "How long that took.", ["model"],
            [([name], answer["seconds"]) for name, answer in answers.items() if answer["answered"]],
        )

    def targets(self) -> bytes:
        """The vLLM servers that are no part of Ray, as Prometheus's http_sd_configs wants them."""
        found = [
            {"targets": model["metrics"], "labels": {"model": model["name"]}}
            for model in self.declared if model.get("metrics")
        ]
        return json.dumps(found).encode()


# The readings


@dataclass(frozen=True)
class Reading:
    """A reading that succeeded: the text of its metrics, where Ray's own are, and when it ended."""

    text: bytes
    targets: bytes
    seconds: float
    timestamp: float
    ended: float  # by time.monotonic()


def targets(reading: dict[str, Any]) -> bytes:
    """Where Ray shows its metrics, as Prometheus wants it. The dashboard says the same, to who shows it the token."""
    nodes = [f"[{node['ip']}]:{node['metrics_port']}" if ":" in node["ip"] else f"{node['ip']}:{node['metrics_port']}"
             for node in reading["status"]["nodes"] if node["state"] != "DEAD" and node["metrics_port"]]
    return json.dumps([{"targets": nodes + (reading["metrics_addresses"] or []), "labels": {}}]).encode()


class Monitor:
    """Reads the cluster again and again, and says what /metrics answers."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.reader = Reader(config)
        self.metrics = ClusterMetrics(config)
        self.certificates = Certificates(config)
        self.models = Models(**config["models"])
        self.declared = declared_metrics(config["nodes"]).text()
        self.fresh_seconds = 2 * config["interval"] + config["timeout"]
        self.last: Reading | None = None
        self.outcomes = {"ok": 0, "failed": 0}
        self.good = self.reachable = False
        self.troubles: dict[str, str] = {}

    def run(self) -> None:
        """Never returns. An error that nobody foresaw ends the process: better none than an exporter that stands."""
        try:
            while True:
                began = time.monotonic()
                self.read()
                time.sleep(max(0.0, began + self.config["interval"] - time.monotonic()))
        except BaseException:
            sys.excepthook(*sys.exc_info())
            self.end(1)

    def end(self, status: int) -> None:
        self.reader.end()
        os._exit(status)

    def read(self) -> None:
        try:
            reading = self.reader.read()
        except ReadingError as error:
            # Once, not at each reading; but a GCS that is back and refuses is another matter than one that is gone.
            if self.good or not self.outcomes["failed"] or error.reachable != self.reachable:
                log(f"the cluster is lost: {error}")
            self.good, self.reachable = False, error.reachable
            self.outcomes["failed"] += 1
            return
        text = self.metrics.families(reading).text()
        self.last = Reading(text, targets(reading), reading["seconds"], time.time(), time.monotonic())
        if not self.good:
            log(f"the cluster answers: {reading['status']['summary']}")
        for name, trouble in reading["troubles"].items():
            if name not in self.troubles:
                log(f"{name} cannot be read: {trouble}")
        self.troubles = reading["troubles"]
        self.good = self.reachable = True
        self.outcomes["ok"] += 1

    def text(self) -> bytes:
        """The exposition. Nothing in it waits for anything."""
        last, families = self.last, Families()
        age = time.monotonic() - last.ended if last else 0.0
        up = bool(self.good and last and age <= self.fresh_seconds)
        families.value("ray_up", "1 while the last reading of the cluster succeeded and is fresh.", up)
        families.value("ray_gcs_reachable", "1 if the GCS answered at the last attempt.", self.reachable)
        if last:
            families.value("ray_monitor_reading_age_seconds", "Age of the last good reading.", age)
            text = "Time of the last good reading."
            families.value("ray_monitor_last_reading_timestamp_seconds", text, last.timestamp)
            text = "How long the last good reading took."
            families.value("ray_monitor_reading_duration_seconds", text, last.seconds)
        samples = [([outcome], number) for outcome, number in self.outcomes.items()]
        families.counter("ray_monitor_readings_total", "Readings by outcome.", ["outcome"], samples)
        self.certificates.add_to(families)
        self.models.add_to(families)
        text = "Seconds to the first token above which an alert comes."
        families.value("ray_model_first_token_limit_seconds", text, self.config["first_token_limit"])
        return families.text() + self.declared + (last.text if up and last else b"")


# The server


class Server(ThreadingTCPServer):
    """Not HTTPServer: that asks the DNS for the name of its own address, which may take its time."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: str, port: int, monitor: Monitor) -> None:
        self.monitor = monitor
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        super().__init__((address, port), Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """GET /metrics, GET /ray-targets, GET /vllm-targets and GET /-/healthy."""

    server: Server
    timeout = CLIENT_SECONDS

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self.reply(200, CONTENT_TYPE, self.server.monitor.text())
        elif path == "/ray-targets":
            last = self.server.monitor.last
            # Prometheus goes on with what it knew.
            self.reply(200 if last else 503, "application/json", last.targets if last else b"[]")
        elif path == "/vllm-targets":
            self.reply(200, "application/json", self.server.monitor.models.targets())
        elif path == "/-/healthy":
            self.reply(200, "text/plain", b"ray-monitor is healthy.\n")
        else:
            self.reply(404, "text/plain", b"The metrics are at /metrics.\n")

    def reply(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: Any) -> None:
        """A scrape is no news."""


def main() -> int:
    if len(sys.argv) != 2:
        log("give the config as the only argument: ray_monitor.py /etc/ray/monitor.yaml")
        return 2
    try:
        config = load(sys.argv[1])
    except ConfigError as error:
        log(f"{sys.argv[1]}: {error}.")
        return 2
    monitor = Monitor(config)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: monitor.end(0))
    listen = config["listen"]
    try:
        server = Server(listen["address"], listen["port"], monitor)
    except OSError as error:
        log(f"cannot listen on {listen['address']}:{listen['port']}: {error.strerror}.")
        return 1
    log(f"listens on {listen['address']}:{server.server_address[1]} for the cluster at {config['address']}")
    threading.Thread(target=monitor.run, daemon=True).start()
    server.serve_forever(poll_interval=60)
    return 0


if __name__ == "__main__":
    sys.exit(main())
