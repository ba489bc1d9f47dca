# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the modules that work on an app have in common."""
from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  app:
    description:
      - The app, with all that follows from its description, as the filter P(quayside.django.app#filter) returns it. It holds no secret.
    type: dict
    required: true
notes:
  - Runs as root on the host (C(become)); nothing of the app itself runs as root.
"""

