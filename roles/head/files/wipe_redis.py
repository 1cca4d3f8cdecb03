"""Remove a cluster's keys from Redis. Arguments: host:port, namespace, user name, the file with the password."""
import sys

from ray._private.gcs_utils import cleanup_redis_storage

address, namespace, username, password_file = sys.argv[1:]
with open(password_file, encoding="utf-8") as stream:
    password = stream.read().strip().partition("=")[2]
host, _colon, port = address.rpartition(":")
if not cleanup_redis_storage(host, int(port), password, False, namespace, username):
    sys.exit(f"Redis at {address} did not remove the keys of {namespace}.")
