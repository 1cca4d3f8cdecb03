# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command: ``python3 -m tests.serving`` makes .cache/serving. It ends with 3 where the wheels cannot be had."""

import sys

from docker.errors import DockerException

from tests.bed.bed import BedError

from . import environment

UNAVAILABLE = 3

if __name__ == "__main__":
    try:
        environment.ensure()
    except environment.UnavailableError as error:
        print(f"serving: no model is served here: {error}", file=sys.stderr)
        sys.exit(UNAVAILABLE)
    except (BedError, DockerException) as error:
        print(f"serving: {error}", file=sys.stderr)
        sys.exit(1)
