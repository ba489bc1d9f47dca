# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that an edge serves of a hostile app's uploads: links, pipes and ranges. All of this held in the reviews."""
import json

import pytest
from neighbours import HOSTILE

LINKS = {"passwd": "/etc/passwd", "shadow": "/etc/shadow", "root": "/", "edge": "/opt/quayside/edge", "neighbour": "/opt/victim/shared/media/photo.txt",
         "ledger": "/opt/victim/ledger.jsonl", "up": "../../../victim/live/release.json", "proc": "/proc/self/environ", "settings": "/etc/nginx/nginx.conf"}


def media(box, source: str) -> str:
    """Run Python in the hostile app, in its folder of uploads; return its output."""
    return box.run(f"import json, os\nos.chdir(os.environ['MEDIA_ROOT'])\n{source}")


@pytest.mark.parametrize("name", LINKS)
def test_a_link_among_the_uploads_is_not_followed(box, name):
    """What held: links to files of the host, of the edge and of the neighbour, as a file and as a folder on the way."""
    media(box, f"os.path.lexists('evil-{name}') and os.remove('evil-{name}')\nos.symlink({LINKS[name]!r}, 'evil-{name}')")
    try:
        answers = [box.ask(f"/media/evil-{name}{rest}", HOSTILE) for rest in ("", "/", "/passwd", "/etc/passwd", "/nginx/nginx.conf")]
    finally:
        media(box, f"os.remove('evil-{name}')")
    assert {answer.status for answer in answers} <= {403, 404}, answers


def test_what_is_no_file_does_not_hold_the_edge(box):
    """What held: a pipe and a socket among the uploads."""
    media(box, "import socket\nfor name in ('pipe', 'sock'):\n    os.path.lexists(name) and os.remove(name)\nos.mkfifo('pipe', 0o644)\n"
               "socket.socket(socket.AF_UNIX).bind('sock')")
    try:
        answers = [box.ask(f"/media/{name}", HOSTILE, timeout=10) for name in ("pipe", "sock") for _number in range(8)]
        assert box.well()
    finally:
        media(box, "os.remove('pipe'), os.remove('sock')")
    assert 200 not in {answer.status for answer in answers}


@pytest.mark.parametrize("value", [
    "bytes=" + ",".join(["0-"] * 500), "bytes=" + ",".join(f"{number}-" for number in range(400)), "bytes=5-1", "bytes=-99999999999999999999",
    "bytes=18446744073709551615-", "bytes=0-0,-1,1-1", "lines=0-1"])
def test_a_range_costs_no_more_than_the_file(box, value):
    """What held: many, overlapping, turned and huge ranges."""
    media(box, "open('file.txt', 'w').write('x' * 10000); os.chmod('file.txt', 0o644)")
    answer = box.ask("/media/file.txt", HOSTILE, headers=[("Range", value)])
    assert answer.status in (200, 206, 400, 416)
    assert len(answer.body) < 200_000
    assert b"x" * 10 in answer.body or answer.status in (206, 400, 416)


def test_uploads_are_served_at_all(box):
    """What the tests above would pass without."""
    media(box, "open('plain.txt', 'w').write('plain'); os.chmod('plain.txt', 0o644)")
    assert box.ask("/media/plain.txt", HOSTILE).body == b"plain"
    assert json.loads(media(box, "print(json.dumps(os.listdir()))"))
