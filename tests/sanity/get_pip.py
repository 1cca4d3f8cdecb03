# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lets ansible-test make its virtual environments where only a package index can be reached.

ansible-test downloads get-pip.py from a host of its own, which a site with a proxy or a mirror does not reach. When
that fails, this script puts such a file into ansible-test's cache: it runs pip's wheel, which installs itself.
"""

from __future__ import annotations

import subprocess
import sys
import types
import urllib.request
from pathlib import Path

STAND_IN = """import os, runpy, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "{wheel}"))
options = [option for option in sys.argv[1:] if option not in ("--no-setuptools", "--no-wheel")]
sys.argv = ["pip", "install", *options]
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""


def main() -> None:
    version = wanted_version()
    cache = Path.home() / ".ansible" / "test" / "cache"
    script = cache / f"get_pip_{version.replace('.', '_')}.py"
    if script.exists() or download_works(f"https://ci-files.testing.ansible.com/ansible-test/get-pip-{version}.py"):
        return
    cache.mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
                    "--only-binary=:all:", "--dest", str(cache), f"pip=={version}"], check=True)
    script.write_text(STAND_IN.format(wheel=f"pip-{version}-py3-none-any.whl"), encoding="utf-8")


def wanted_version() -> str:
    """The version of pip that this ansible-test asks for."""
    from ansible_test._internal.python_requirements import get_venv_packages

    return get_venv_packages(types.SimpleNamespace(version=".".join(map(str, sys.version_info[:2]))))["pip"]


def download_works(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status == 200
    except OSError:
        return False


if __name__ == "__main__":
    main()
