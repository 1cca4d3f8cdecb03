#!/bin/sh
# The demo: what a user types, on the bed named demo. With the name of a model that the bed declares, a question to it, too.
set -eu
state=.cache/bed/demo
model=${1:-}

echo "demo: ansible-playbook site.yml -i $state/huawei_ecs.yml"
set -a
# shellcheck source=/dev/null
. "./$state/environment"
set +a
ansible-playbook site.yml -i "$state/huawei_ecs.yml"

head=$(python3 -m tests.bed address demo head)
monitor=$(python3 -m tests.bed address demo monitor)
if [ -n "$model" ]; then
  ask="curl --noproxy '*' -fsS -H \"Authorization: Bearer \$(docker exec bed-demo-head cat /etc/ray/serve_api_key)\" \
-H 'Content-Type: application/json' \
-d '{\"model\": \"$model\", \"max_tokens\": 16, \"messages\": [{\"role\": \"user\", \"content\": \"hello world\"}]}' \
http://$head:8000/$model/v1/chat/completions"
  printf '\nThe model %s runs on both workers, with random weights: what it answers has no sense.\n  %s\n\n' "$model" "$ask"
  sh -c "$ask"
  echo
fi
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
