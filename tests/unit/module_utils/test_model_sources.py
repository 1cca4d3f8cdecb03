# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What ray_models may say, and who gets a model."""

from __future__ import annotations

import pytest

from ansible_collections.rayops.cluster.plugins.module_utils._serving import models
from ansible_collections.rayops.cluster.plugins.module_utils._serving.sources import Source, read, sums_of

R1 = {"path": "/srv/models/r1", "share": "/mnt/r1"}
DIGEST = "0123456789abcdef" * 4


@pytest.mark.parametrize(("entry", "said"), [
    ("r1", "ray_models[0] is no dictionary: write {path: /srv/models/deepseek-r1, share: /mnt/models/deepseek-r1}."),
    ({**R1, "shar": "x"}, "ray_models[0]: shar is no key of it: did you mean share?"),
    ({**R1, "owner": "x"}, "ray_models[0]: owner is no key of it: use path, source, share, checksums, pools."),
    ({"path": 1, "share": "/mnt"}, "ray_models[0]: path is not text: write it so, or leave it out."),
    ({"share": "/mnt"}, "ray_models[0]: path is no directory's absolute path: write one such as "
                        "/srv/models/deepseek-r1."),
    ({"path": "//", "share": "/mnt"}, "ray_models[0]: path is no directory's absolute path: write one such as "
                                      "/srv/models/deepseek-r1."),
    ({"path": "/srv/../etc", "share": "/mnt"}, "ray_models[0]: path is no directory's absolute path: write one such as "
                                               "/srv/models/deepseek-r1."),
    ({"path": "/srv/r1", "share": "mnt"}, "ray_models[0]: share is no directory's absolute path: write one such as "
                                          "/srv/models/deepseek-r1."),
    ({**R1, "pools": "h20"}, "ray_models[0]: pools is no list of names: write [h20], or leave it out."),
    ({**R1, "source": "r1"}, "ray_models[0]: source and share are both set: leave one of them out."),
    ({"path": "/srv/r1"}, "ray_models[0]: set source, a directory on the controller, share, one that the hosts have "
                          "mounted, or checksums: what is used where it lies, and is not checked, needs no entry."),
    ({"path": "/mnt/r1/copy", "share": "/mnt/r1"},
     "ray_models[0]: path and share lie in one another: to use the model where it lies, leave share out; to copy it, "
     "give path a directory on the hosts' own disk."),
])
def test_what_is_refused(entry, said):
    assert read([entry]) == ([], [said])


@pytest.mark.parametrize("other", ["/srv/models/r1", "/srv/models/r1/", "/srv/models", "/srv/models/r1/a"])
def test_two_that_meet(other):
    (problem,) = read([R1, {"path": other, "source": "r1"}])[1]
    assert problem.endswith(": give each model a directory of its own, none within another.")


def test_what_is_read():
    entries = [{"path": "/srv/models/r1/", "source": "~/r1", "pools": ["h20"]},
               {"path": "/mnt/v3", "share": "", "checksums": "v3.sha256"}]
    assert read(entries) == ([Source("/srv/models/r1", source="~/r1", pools=("h20",)),
                              Source("/mnt/v3", checksums="v3.sha256")], [])


@pytest.mark.parametrize(("own", "served", "gets"), [
    # The pools that it names; else those of the models that use it; else all.
    (("h20",), [], {"h20"}),
    (("h20",), [{"name": "a", "path": "/srv/models/r1", "pool": "a100"}], {"h20"}),
    ((), [{"name": "a", "path": "/srv/models/r1/", "pool": "a100"}], {"a100"}),
    ((), [{"name": "a", "path": "/srv/models/r1/sub", "pool": "a100"}], {"a100"}),
    ((), [{"name": "a", "path": "/srv/models/r1"}], {"h20", "a100", ""}),
    ((), [{"name": "a", "path": "/srv/models/r10", "pool": "a100"}], {"h20", "a100", ""}),
    ((), [{"name": "a", "repository": "a/b", "pool": "a100"}], {"h20", "a100", ""}),
])
def test_who_gets_it(own, served, gets):
    known, problems = models.read(served)
    assert problems == []
    source = Source("/srv/models/r1", share="/mnt/r1", pools=own)
    assert {pool for pool in ("h20", "a100", "") if source.is_for([pool] if pool else [], known)} == gets


def test_checksums_as_sha256sum_writes_them():
    text = f"# a comment\n{DIGEST}  config.json\n{DIGEST.upper()} *./inference/model.py\n\n"
    assert sums_of(text) == {"config.json": DIGEST, "inference/model.py": DIGEST}


@pytest.mark.parametrize("line", [
    "config.json", f"{DIGEST}config.json", f"{DIGEST[:40]}  config.json", f"{DIGEST}  /etc/passwd",
    f"{DIGEST}  ../config.json", f"{DIGEST}  a/../../b", f"\\{DIGEST}  a\\nb", f"{DIGEST}  .rayops-incoming/a",
    f"{DIGEST}  a\x1bb",
])
def test_checksums_that_name_something_else(line):
    with pytest.raises(ValueError, match="^line 2 is not as sha256sum writes it: write 64 hexadecimal digits"):
        sums_of(f"{DIGEST}  config.json\n{line}\n")
    with pytest.raises(ValueError, match="^it names 0 files"):
        sums_of("")
