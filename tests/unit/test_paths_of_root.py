# SPDX-License-Identifier: GPL-3.0-or-later
"""Root opens, copies, links, removes and changes what lies below an app's root by ``contained`` alone.

A file below is named here with the reason why its own calls are safe; a new file, or a new call in a file that has none, fails this test.
"""
import ast
import pathlib

import pytest

PLUGINS = pathlib.Path(__file__).parents[2] / "plugins"
CALLS = {
    "os": {"open", "chown", "chmod", "lchown", "link", "symlink", "rename", "renames", "replace", "unlink", "remove", "mkdir", "makedirs", "rmdir",
           "removedirs", "walk", "fwalk", "listdir", "scandir", "truncate", "utime", "mkfifo", "mknod"},
    "shutil": {"copy", "copy2", "copyfile", "copymode", "copystat", "copytree", "move", "rmtree", "chown", "make_archive", "unpack_archive"},
    "glob": {"glob", "iglob"},
    "tarfile": {"open"},
    "": {"open"},
}
PROGRAMS = {"cp", "mv", "rm", "ln", "chown", "chmod", "install", "rsync", "tar"}
# What runs as the app's user or in its container, and so has no rights that the app has not.
AS_APP = "runs as the app's user"
ROOTS = "touches folders of root's alone, outside of any app"
FILES = {
    "module_utils/contained.py": "is the one place",
    "module_utils/apt_lock.py": "asks for the locks of apt, and reads /proc",
    "modules/apt_lock.py": "installs a package of the system",
    "module_utils/django_probe.py": AS_APP,
    "module_utils/sqlite_copy.py": AS_APP,
    "module_utils/fill_tree.py": AS_APP,
    "module_utils/git_mirror.py": "runs as an account of git's own",
    "module_utils/ssh_agent.py": "runs as an account of git's own",
    "module_utils/source.py": "opens by descriptor",
    "module_utils/host.py": "reads /proc/meminfo",
    "module_utils/lock.py": "opens the lock, which lies in the app's root, a folder of root's",
    "module_utils/releases.py": "opens the ledger and the records, which lie in folders of root's",
    "module_utils/static_files.py": "removes empty folders of the pool by descriptor",
    "module_utils/foreign.py": "looks for the sockets of PostgreSQL in /run",
    "module_utils/image_archive.py": "opens an archive that was sent to a folder of root's, by O_NOFOLLOW, and reads it by that descriptor alone",
    "module_utils/ports.py": "opens its lock in /etc/quayside",
    "module_utils/progress.py": "opens its file in /run, in a folder of root alone",
    "module_utils/supervisor.py": "reads records and units of releases, and writes below /run, all in folders of root's",
    "module_utils/image_prune.py": "reads the records of releases, which lie in folders of root's",
}
OUTSIDE = {  # /etc, /run, /var and folders of its own in /tmp
    "module_utils": {"acme_reach", "certificate_copies", "config_files", "doctor_facts", "ssh_session", "traefik_store",
                     "preflight"},
    "modules": {"config_files", "docker_daemon", "docker_firewall", "edge_logins", "firewall", "listeners", "nginx_config",
                "release", "self_signed", "ssh_server", "traefik_certificates", "traefik_routes"},
}
FILES.update({f"{folder}/{name}.py": ROOTS for folder, names in OUTSIDE.items() for name in names})


def calls(path: pathlib.Path) -> list[str]:
    """Return the calls in a file that touch a path by its name, as ``line: call``."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            target = node.func
            words = ast.unparse(target).split(".") if isinstance(target, (ast.Attribute, ast.Name)) else []
            module, name = words if len(words) == 2 else ("", words[0]) if len(words) == 1 else ("", "")
            if name in CALLS.get(module, ()):
                found.append(f"{node.lineno}: {'.'.join(words)}")
        if isinstance(node, ast.List) and node.elts and isinstance(node.elts[0], ast.Constant) and node.elts[0].value in PROGRAMS:
            found.append(f"{node.lineno}: {node.elts[0].value}")
    return found


TOUCHING = {str(path.relative_to(PLUGINS)): calls(path) for folder in ("module_utils", "modules") for path in sorted((PLUGINS / folder).glob("*.py"))}
# Programs that run as the app's user, in the sandbox of a build.
OF_THE_APP = {"module_utils/runtime_systemd.py": ["cp"]}


@pytest.mark.parametrize("name", sorted(TOUCHING))
def test_no_code_of_roots_touches_a_path_by_its_name(name):
    found = [call for call in TOUCHING[name] if call.split(": ")[1] not in OF_THE_APP.get(name, [])]
    assert not found or name in FILES, f"use contained instead, or say in FILES why not: {found}"


def test_the_list_names_no_file_that_needs_it_no_more():
    assert sorted(name for name in FILES if not TOUCHING.get(name)) == []


@pytest.mark.parametrize("code", ["os.chown(p, 0, 0)", "open(p)", "shutil.rmtree(p)", 'run(["cp", "-r", a, b])', "glob.glob(p)"])
def test_it_finds(code, tmp_path):
    (tmp_path / "x.py").write_text(code)
    assert len(calls(tmp_path / "x.py")) == 1
