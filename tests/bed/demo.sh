#!/bin/sh
# The demo: what a user types, on the bed named demo.
set -eu
state=.cache/bed/demo

echo "demo: ansible-playbook site.yml -i $state/huawei_ecs.yml"
set -a
# shellcheck source=/dev/null
. "./$state/environment"
set +a
ansible-playbook site.yml -i "$state/huawei_ecs.yml"

head=$(python3 -m tests.bed address demo head)
cat <<END

The cluster runs.
  Dashboard   http://$head:8265  (from this machine)
  Its token   docker exec bed-demo-head cat /etc/ray/auth_token
Try next, in a shell with its environment:  set -a; . $state/environment; set +a; PATH=\$PWD/.cache/venv/bin:\$PATH
  ansible-playbook site.yml -i $state/huawei_ecs.yml                     again: nothing changes
  docker exec bed-demo-worker-1 pkill -9 raylet                          then again: it is mended
  ansible-playbook rayops.cluster.status -i $state/huawei_ecs.yml
  make clean                                                             removes everything
END
