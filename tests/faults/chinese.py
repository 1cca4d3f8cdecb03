# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables of faults in Chinese. What has no translation here stays English, and a unit test names it."""

from __future__ import annotations

import re

PHRASES = {
    "fault": "故障",
    "what the cluster does": "集群如何应对",
    "serves again": "恢复服务",
    "promise": "承诺",
    "no twin left": "旧节点已放弃",
    "longest wait: counter, task": "最长等待：计数器、任务",
    "answers lost": "丢失的应答",
    "what `site.yml` then says": "随后 `site.yml` 的结果",
    "what the model does": "模型如何应对",
    "longest without a token": "最长无 token 时间",
    "requests lost": "丢失的请求",
    "No row yet: the next `make faults` writes them.": "尚无数据：下一次 `make faults` 会写入。",
    "it goes on, and so do the workers' proxies; Serve's controller finds its replicas again":
        "模型继续服务，工作节点上的代理也继续运行；Serve 控制器重新找到其副本",
    "the model's replica killed": "模型的副本被杀死",
    "Serve starts another one": "Serve 启动另一个副本",
    "its ranks end; Serve starts it anew as soon as the node is back":
        "各 rank 结束；节点恢复后，Serve 立即重新启动模型",
    "a variable of the workers changed, and `site.yml` run": "修改工作节点的一个变量，并执行 `site.yml`",
    "both workers are drained and restart together, once; the run ends with a token":
        "两个工作节点排空后一起重启一次；模型返回 token 后执行才结束",
    "`engine: vllm`, pipeline parallel: raylet of the other stage's worker killed":
        "`engine: vllm`，流水线并行：另一阶段所在工作节点的 raylet 被杀死",
    "it answers nothing, and may say that it is healthy; no token comes back, and the watchdog restarts its unit":
        "模型不再应答，却可能报告自身健康；没有 token 返回，看门狗重启其单元",
    "systemd starts the node again, under a new id; tasks and actors that ran there start again on any node":
        "systemd 以新的 ID 重新启动节点；原来在其上运行的任务和 actor 在任意节点上重新开始",
    "systemd starts the head again, which reads its state back; the workers' nodes, tasks and actors go on":
        "systemd 重新启动头节点，头节点读回状态；工作节点及其任务和 actor 继续运行",
    "Redis down for 60 s, and back": "Redis 停止 60 s 后恢复",
    "the GCS ends and is started again until Redis answers; running nodes and their tasks go on meanwhile":
        "GCS 结束并反复启动，直到 Redis 应答；在此期间正在运行的节点及其任务继续运行",
    "Redis stopped and disabled": "Redis 被停止并禁用",
    "tasks go on on the workers, and nothing else; `site.yml` starts Redis, and the head follows":
        "工作节点上的任务继续运行，除此之外都不可用；`site.yml` 启动 Redis，头节点随之恢复",
    "worker cut off the network for 90 s, and back": "工作节点断网 90 s 后恢复",
    "the GCS gives the node up after 15 to 30 s and starts its work elsewhere; back on the network, "
    "the node starts anew":
        "GCS 在 15 到 30 s 后放弃该节点，并在其他节点上重新开始其工作；网络恢复后，节点重新启动",
    "worker: the head cannot open connections to it for 90 s": "工作节点：头节点无法连接它达 90 s",
    "the node is ALIVE for half a minute, is given up and starts anew, again and again; `verify` and `recover` "
    "name the ports": "节点保持 ALIVE 半分钟，被放弃后重新启动，如此反复；`verify` 和 `recover` 指出端口",
    "the workers cannot reach each other for 60 s": "工作节点之间无法连通达 60 s",
    "nothing: both reach the head, and calls between them wait; `verify` and `recover` name the ports":
        "无需应对：两者都能连通头节点，它们之间的调用会等待；`verify` 和 `recover` 指出端口",
    "worker: power off, and on again": "工作节点：断电后重新上电",
    "the unit starts with the host": "单元随主机启动",
    "head: power off, and on again": "头节点：断电后重新上电",
    "the unit starts with the host and reads its state back; the workers wait for it":
        "单元随主机启动并读回状态；工作节点等待头节点",
    "worker: `/etc/hosts` written anew, as cloud-init does it at boot, and its node started anew":
        "工作节点：`/etc/hosts` 被重新写入（cloud-init 在启动时会这样做），并重启其节点",
    "`ray-hosts` puts the head's name back, and the node finds the head":
        "`ray-hosts` 恢复头节点的名称，节点找到头节点",
    "head: its RocksDB damaged, and its gcs_server killed": "头节点：RocksDB 损坏，并杀死 gcs_server",
    "the head ends again and again; `site.yml` and `recover` name the database; with a backup put back "
    "(`replace_head`) the workers' nodes, tasks and actors go on":
        "头节点反复结束；`site.yml` 和 `recover` 指出该数据库；恢复备份（`replace_head`）后，"
        "工作节点及其任务和 actor 继续运行",
    "worker: the disk of `/var/lib/ray` full, then freed": "工作节点：`/var/lib/ray` 所在磁盘写满，然后释放",
    "the node goes on: its tasks run, its logs stop, and no object is spilled":
        "节点继续运行：任务照常执行，日志停止写入，对象不再溢出",
    "worker: `/dev/shm` full, then freed": "工作节点：`/dev/shm` 写满，然后释放",
    "small results do not need it; the node goes on": "较小的结果不需要它；节点继续运行",
    "worker: clock an hour ahead, its node started anew, and right again":
        "工作节点：时钟快一小时，节点重新启动，然后校正时钟",
    "nothing: Ray compares no clocks of two hosts": "无需应对：Ray 不比较两台主机的时钟",
    "worker: a wrong token in `/etc/ray/auth_token`, and its unit restarted":
        "工作节点：`/etc/ray/auth_token` 中的令牌有误，并重启其单元",
    "the head refuses the node; `site.yml` names the file and writes it again":
        "头节点拒绝该节点；`site.yml` 指出该文件并重新写入",
    "worker: a second head started by hand": "工作节点：手工启动了第二个头节点",
    "it is a cluster of its own, and takes the worker's memory; `site.yml` names it and ends it":
        "它是另一个独立的集群，并占用该工作节点的内存；`site.yml` 指出并结束它",
    "what the run had begun goes on or stays as it is; the next run finishes it":
        "该次执行已开始的操作继续进行或保持原样；下一次执行会将其完成",
}
PATTERNS = {
    r"worker: (.+) killed": r"工作节点：\1 被杀死",
    r"head: (.+) killed": r"头节点：\1 被杀死",
    r"`site\.yml` killed in the role (\w+), by Ctrl-C, then by SIGKILL":
        r"`site.yml` 在执行角色 \1 时被终止，先用 Ctrl-C，再用 SIGKILL",
    r"(\d+) changed: (.+)": r"\1 处变更：\2",
    r"(\d+) changed": r"\1 处变更",
    r"(\d+) of (\d+)": r"\2 个中的 \1 个",
    r"(\d+) s, no request lost": r"\1 s，不丢失请求",
    r"fails after (\d+) s, and says what to do": r"\1 s 后失败，并说明处理方法",
    r"at once": "立即",
    r"never": "未恢复",
}


def phrase(english: str) -> str:
    """A cell of the table. Figures, and what has no translation, stay."""
    if english in PHRASES:
        return PHRASES[english]
    fitting = ((pattern, chinese) for pattern, chinese in PATTERNS.items() if re.fullmatch(pattern, english))
    return next((re.sub(pattern, chinese, english) for pattern, chinese in fitting), english)


def table(english: str) -> str:
    """A whole table, as Markdown, or the sentence that stands for one."""
    return "".join(f"{row(line)}\n" for line in english.splitlines())


def row(line: str) -> str:
    if not line.startswith("| "):
        return phrase(line)
    return f"| {' | '.join(map(phrase, line[2:-2].split(' | ')))} |"
