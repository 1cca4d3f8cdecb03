"""Remove a cluster's keys from Redis. Arguments: host:port, namespace, user name. Input: the line of its password."""
import sys

from ray._private.gcs_utils import cleanup_redis_storage

address, namespace, username = sys.argv[1:]
password = sys.stdin.read().strip().partition("=")[2]
host, _colon, port = address.rpartition(":")
if not cleanup_redis_storage(host, int(port), password, False, namespace, username):
    sys.exit(f"Redis at {address} did not remove the keys of {namespace}.")
