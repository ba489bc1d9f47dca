# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the templates of edges need to judge a request; each filter is documented in the .yml file of its name."""
from __future__ import annotations

from ansible_collections.quayside.django.plugins.module_utils import request_headers, request_paths


class FilterModule:
    def filters(self) -> dict:
        return {
            "path_spelled": request_paths.spelled,
            "path_resembling": request_paths.resembling,
            "spoofed_headers": lambda passed: [name for name in request_headers.SPOOFED if name.lower() not in {other.lower() for other in passed}],
        }
