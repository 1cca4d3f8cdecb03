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
monitor=$(python3 -m tests.bed address demo monitor)
cat <<END

The cluster runs. From this machine:
  Dashboard      http://$head:8265
  Its token      docker exec bed-demo-head cat /etc/ray/auth_token
  At a glance    http://$monitor:9090/consoles/ray.html
  Prometheus     http://$monitor:9090/classic/targets
  Alertmanager   http://$monitor:9093
Try next, in a shell with its environment:  set -a; . $state/environment; set +a; PATH=\$PWD/.cache/venv/bin:\$PATH
  ansible-playbook site.yml -i $state/huawei_ecs.yml                     again: nothing changes
  docker exec bed-demo-worker-1 pkill -9 raylet                          then again: it is mended
  ansible-playbook rayops.cluster.status -i $state/huawei_ecs.yml
  make clean                                                             removes everything
END
