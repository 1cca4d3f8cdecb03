# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The test bed: hosts with systemd in containers, reached over SSH like any other host.

``python3 -m tests.bed up NAME`` makes one, ``down NAME`` removes it, ``list`` shows all.
``prepare`` makes what they share, so that several can then be made at once.
Only Python's ``docker`` package and Debian's own packages are used.
"""
