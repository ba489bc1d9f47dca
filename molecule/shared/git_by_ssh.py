# SPDX-License-Identifier: GPL-3.0-or-later
"""A git server that is reached by SSH, on a server of a scenario: an sshd of its own on the loopback, for one account, and repositories that tests write."""
from __future__ import annotations

import base64
import io
import pathlib
import subprocess
import tarfile

HOME, USER, PORT = "/srv/gitsource", "gitsource", 2022
START = f"""
id {USER} >/dev/null 2>&1 || useradd --system --home-dir {HOME} --shell /usr/bin/git-shell {USER}
usermod -p '*' {USER}
install -d -m 755 {HOME}
test -e {HOME}/host_key || ssh-keygen -q -t ed25519 -N '' -f {HOME}/host_key
touch {HOME}/allowed
cat >{HOME}/sshd_config <<'EOT'
Port {PORT}
ListenAddress 127.0.0.1
HostKey {HOME}/host_key
AuthorizedKeysFile {HOME}/allowed
AllowUsers {USER}
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
PidFile none
EOT
install -d /run/sshd
systemctl is-active --quiet gitsource || systemd-run --quiet --collect --unit=gitsource /usr/sbin/sshd -D -e -f {HOME}/sshd_config
"""


def url(name: str) -> str:
    """Return the URL of a repository, as the server itself reaches it."""
    return f"ssh://{USER}@127.0.0.1:{PORT}{HOME}/{name}.git"


class GitBySsh:
    """The git server of a scenario's server."""

    def __init__(self, server):
        self.server = server
        server.inside(START)
        server.until(lambda: server.inside(f"ss -tlnH 'sport = :{PORT}'"), 20, "the git server")

    def allow(self, *public: str) -> None:
        """Let these public keys read, and no others."""
        text = base64.b64encode("".join(f"{line}\n" for line in public).encode()).decode()
        self.server.inside(f"echo {text} | base64 -d >{HOME}/allowed")

    def push(self, name: str, files: dict[str, str]) -> str:
        """Make a repository's main branch hold these files and nothing else, as a new commit; return the commit."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as tar:
            for path, text in files.items():
                member = tarfile.TarInfo(path)
                member.size = len(text.encode())
                tar.addfile(member, io.BytesIO(text.encode()))
        git = f"git -c safe.directory='*' -c user.name=test -c user.email=test@example.com --git-dir={HOME}/{name}.git"
        self.server.inside(f"""set -e
test -d {HOME}/{name}.git || git init --quiet --bare --initial-branch=main {HOME}/{name}.git
work=$(mktemp -d)
echo {base64.b64encode(packed.getvalue()).decode()} | base64 -d | tar -xz -C $work
{git} --work-tree=$work add --all
{git} --work-tree=$work commit --quiet --allow-empty -m change
rm -r $work
chown -R {USER}: {HOME}/{name}.git""")
        return self.server.inside(f"{git} rev-parse main")


def made_key(path: pathlib.Path) -> str:
    """Return the public half of the private key at a path of this machine, which is made when it is not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "deploys", "-f", path], check=True)
    return " ".join(path.with_suffix(".pub").read_text().split()[:2])
