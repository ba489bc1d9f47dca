# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs inside an app's Python, not in Ansible's: tells what the settings of a release are, and which variables they read. It changes nothing.

Usage: ``python - manage.py config.settings '["NAMES", "TO LOOK FOR"]' 'SQL'`` with this file on stdin; the statement
finds invalid indexes. One line on stdout begins with MARK, with JSON;
all other output is the project's own. No value of a variable and no secret setting is told.
"""
from __future__ import annotations

import ast
import json
import os
import re
import shutil
import sys
import traceback

MARK = "\x1equayside "
PLAIN = ("ALLOWED_HOSTS", "CSRF_TRUSTED_ORIGINS", "SECURE_PROXY_SSL_HEADER", "SECURE_SSL_REDIRECT", "SECURE_REDIRECT_EXEMPT", "STATIC_ROOT", "STATIC_URL",
         "MEDIA_ROOT", "MEDIA_URL", "DEBUG", "USE_X_FORWARDED_HOST", "SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE", "MIDDLEWARE", "INSTALLED_APPS")
CODE = (".py", ".sh", ".js", ".ts", ".mjs", ".cjs", ".mts", ".jsx", ".tsx", ".vue", ".svelte", ".astro", ".cfg", ".ini", ".toml")
SKIPPED = {"node_modules", "venv", ".venv", "static", "staticfiles", "media", "site-packages", "__pycache__", "dist", "build"}
MOST_FILES, MOST_BYTES = 4000, 512 * 1024
DEFAULT_NAMES = {"db": "DATABASE_URL", "db_url": "DATABASE_URL", "cache": "CACHE_URL", "cache_url": "CACHE_URL", "email": "EMAIL_URL",
                 "email_url": "EMAIL_URL", "search_url": "SEARCH_URL", "dj_db_url": "DATABASE_URL", "dj_cache_url": "CACHE_URL", "dj_email_url": "EMAIL_URL"}
TYPES = {"str", "bool", "int", "float", "list", "dict", "tuple", "bytes"}
LIBRARIES = {"os": "os", "environ": "library", "environs": "library", "decouple": "decouple"}
FROM = {("os", "environ"): "environ", ("os", "getenv"): "get", ("environ", "Env"): "Env", ("environ", "FileAwareEnv"): "Env", ("environs", "Env"): "Env",
        ("environs", "FileAwareEnv"): "Env", ("decouple", "config"): "config", ("decouple", "AutoConfig"): "Config", ("decouple", "Config"): "Config"}


class Reader(ast.NodeVisitor):
    """Finds the variables that a module of Python reads while it is imported: by os, django-environ, environs, decouple and pydantic-settings.

    ``reads``: dicts of name, required (an import without it fails), guarded (only on some way through the code) and where; ``patterns``:
    regular expressions of names that are put together.
    """

    def __init__(self, root, path, known=None):
        self.root, self.path = root, path
        self.modules = {} if known is None else known
        self.modules[path] = self
        self.names, self.scheme, self.reads, self.patterns = {}, {}, [], []
        self.guarded, self.prefix, self.function = False, "", None
        self.imports = []  # (path of another module of the project, whether it is imported on some way through the code only)
        try:
            with open(path, encoding="utf-8") as file:
                self.visit(ast.parse(file.read()))
        except (OSError, SyntaxError, ValueError):
            pass

    # What a name or an expression is

    def kind(self, node):
        """Return what an expression is: os, environ, get, Env, env, method, config, Config, a helper (a dict), or None."""
        if isinstance(node, ast.Name):
            return self.names.get(node.id)
        if isinstance(node, ast.Attribute):
            what = self.kind(node.value)
            if what == "os":
                return {"environ": "environ", "getenv": "get"}.get(node.attr)
            if what == "environ" and node.attr in ("get", "pop", "setdefault"):
                return "get"
            if what == "library" and node.attr in ("Env", "FileAwareEnv"):
                return "Env"
            if what == "decouple":
                return {"config": "config", "AutoConfig": "Config", "Config": "Config"}.get(node.attr)
            if what == "env":
                return "method"
            if isinstance(what, dict) and "members" in what:
                return what["members"].get(node.attr)
        if isinstance(node, ast.Call):
            return {"Env": "env", "Config": "config"}.get(self.kind(node.func)) if not isinstance(self.kind(node.func), dict) else None
        return None

    def other(self, module, level):
        """Return the Reader of a module of the project, None for any other."""
        folder = os.path.dirname(self.path)
        for _step in range(level - 1):
            folder = os.path.dirname(folder)
        base = os.path.join(folder if level else self.root, *(module or "").split("."))
        for path in (base + ".py", os.path.join(base, "__init__.py")):
            if os.path.isfile(path):
                self.imports.append((path, self.guarded or self.function is not None))
                return self.modules.get(path) or Reader(self.root, path, self.modules)
        return None

    def visit_Import(self, node):
        for name in node.names:
            bound = name.asname or name.name.split(".")[0]
            if name.name in LIBRARIES:
                self.names[bound] = LIBRARIES[name.name]
            else:
                other = self.other(name.name, 0)
                if other is not None and name.asname:
                    self.names[bound] = {"members": other.names}

    def visit_ImportFrom(self, node):
        other = None
        if not node.level and node.module in LIBRARIES:
            for name in node.names:
                self.names[name.asname or name.name] = FROM.get((node.module, name.name))
            return
        other = self.other(node.module, node.level)
        for name in node.names:
            if other is not None and name.name == "*":
                self.names.update(other.names)
                self.scheme.update(other.scheme)
            elif other is not None and name.name in other.names:
                self.names[name.asname or name.name] = other.names[name.name]
                self.scheme.update(other.scheme)
            else:
                inner = self.other(".".join(part for part in (node.module, name.name) if part), node.level)
                if inner is not None:
                    self.names[name.asname or name.name] = {"members": inner.names}

    def visit_Assign(self, node):
        self.generic_visit(node)
        what = self.kind(node.value)
        if what:
            for target in node.targets:
                if isinstance(target, ast.Name):
                    self.names[target.id] = what
            if what == "env" and isinstance(node.value, ast.Call):
                for keyword in node.value.keywords:
                    if keyword.arg:
                        self.scheme[keyword.arg] = isinstance(keyword.value, ast.Tuple) and len(keyword.value.elts) > 1

    def visit_AnnAssign(self, node):
        self.generic_visit(node)
        if node.value is not None and self.kind(node.value) and isinstance(node.target, ast.Name):
            self.names[node.target.id] = self.kind(node.value)

    # What is read

    def note(self, node, required, line):
        """Remember that a name is read."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            where = "%s:%d" % (os.path.relpath(self.path, self.root), line)
            needed = required and not self.guarded
            self.reads.append({"name": self.prefix + node.value, "required": needed, "guarded": required and self.guarded, "where": where})
        elif isinstance(node, ast.JoinedStr):
            parts = [re.escape(part.value) if isinstance(part, ast.Constant) else ".*" for part in node.values]
            self.patterns.append(re.escape(self.prefix) + "".join(parts))
        elif isinstance(node, ast.BinOp) and isinstance(node.left, ast.Constant) and isinstance(node.left.value, str):
            self.patterns.append(re.escape(self.prefix + node.left.value.split("%")[0]) + ".*")
        elif isinstance(node, ast.Name) and self.function is not None and node.id in self.function["arguments"]:
            self.function["reads"].append((self.function["arguments"].index(node.id), required and not self.guarded))

    def visit_Subscript(self, node):
        self.generic_visit(node)
        if self.kind(node.value) in ("environ", "env") and isinstance(node.ctx, ast.Load):
            inner = node.slice
            self.note(getattr(inner, "value", inner) if type(inner).__name__ == "Index" else inner, True, node.lineno)

    def visit_Compare(self, node):
        self.generic_visit(node)
        if isinstance(node.ops[0], (ast.In, ast.NotIn)) and self.kind(node.comparators[0]) == "environ":
            self.note(node.left, False, node.lineno)

    def visit_Call(self, node):
        self.generic_visit(node)
        what = self.kind(node.func)
        keywords = {keyword.arg: keyword.value for keyword in node.keywords}
        default = "default" in keywords or len(node.args) > 1
        if what == "get" and node.args:
            self.note(node.args[0], False, node.lineno)
        elif what in ("env", "config", "method") and (node.args or "var" in keywords or "name" in keywords):
            name = node.args[0] if node.args else keywords.get("var") or keywords.get("name")
            cast = what == "env" and len(node.args) > 1 and isinstance(node.args[1], ast.Name) and node.args[1].id in TYPES
            if what == "method" and node.func.attr in ("read_env", "prefixed", "seal", "dump", "url_parse", "read_envfile"):
                return
            known = isinstance(name, ast.Constant) and self.scheme.get(name.value)
            self.note(name, not known and ("default" not in keywords if cast else not default), node.lineno)
        elif what == "method" and node.func.attr in DEFAULT_NAMES:
            self.note(ast.Constant(DEFAULT_NAMES[node.func.attr]), not default, node.lineno)
        elif isinstance(what, dict) and "reads" in what:
            for number, required in what["reads"]:
                given = node.args[number] if number < len(node.args) else keywords.get(what["arguments"][number])
                more = len(node.args) + len(node.keywords) > 1
                if given is not None:
                    self.note(given, required and not more, node.lineno)

    # On which way through the code

    def under(self, nodes, guarded):
        """Visit nodes that are reached on some ways only, when ``guarded``."""
        before, self.guarded = self.guarded, self.guarded or guarded
        for node in nodes:
            self.visit(node)
        self.guarded = before

    def visit_If(self, node):
        self.visit(node.test)
        self.under(node.body + node.orelse, True)

    def visit_IfExp(self, node):
        self.visit(node.test)
        self.under([node.body, node.orelse], True)

    def visit_BoolOp(self, node):
        self.visit(node.values[0])
        self.under(node.values[1:], True)

    def visit_While(self, node):
        self.under([node.test] + node.body + node.orelse, True)

    def visit_Match(self, node):
        self.visit(node.subject)
        self.under(node.cases, True)

    def visit_Try(self, node):
        # Who catches the error only to say it in other words needs the variable all the same.
        told = bool(node.handlers) and all(isinstance(handler.body[-1], ast.Raise) for handler in node.handlers)
        self.under(node.body, bool(node.handlers) and not told)
        self.under(node.handlers, True)
        self.under(node.orelse + node.finalbody, False)

    def visit_With(self, node):
        before = self.prefix
        for item in node.items:
            call = item.context_expr
            if isinstance(call, ast.Call) and self.kind(call.func) == "method" and call.func.attr == "prefixed" and call.args \
                    and isinstance(call.args[0], ast.Constant):
                self.prefix += str(call.args[0].value)
            else:
                self.visit(item)
        self.under(node.body, False)
        self.prefix = before

    def visit_FunctionDef(self, node):
        # Of a function that takes the name, each call is a read; what it reads itself is read when somebody calls it.
        before = self.function, self.guarded, dict(self.names)
        arguments = [one.arg for one in node.args.args]
        self.function = {"arguments": arguments, "reads": []}
        self.guarded = False
        count = len(self.reads)
        for inner in node.body:
            self.visit(inner)
        for one in self.reads[count:]:
            one.update(guarded=one["required"] or one["guarded"], required=False)
        made = self.function
        self.function, self.guarded, self.names = before
        if made["reads"]:
            self.names[node.name] = made

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_ClassDef(self, node):
        bases = [base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "") for base in node.bases]
        if any(name.endswith("BaseSettings") for name in bases):
            self.fields(node)
        else:
            self.generic_visit(node)

    def fields(self, node):
        """Read the fields of a class of pydantic-settings."""
        prefix = ""
        for inner in ast.walk(node):
            pairs = [(keyword.arg, keyword.value) for keyword in getattr(inner, "keywords", [])] if isinstance(inner, ast.Call) else []
            pairs += [(target.id, inner.value) for target in inner.targets if isinstance(target, ast.Name)] if isinstance(inner, ast.Assign) else []
            pairs += [(getattr(key, "value", ""), value) for key, value in zip(inner.keys, inner.values)] if isinstance(inner, ast.Dict) else []
            prefix = next((value.value for name, value in pairs if name == "env_prefix" and isinstance(value, ast.Constant)), prefix)
        for field in node.body:
            if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name) or field.target.id.startswith("_") \
                    or field.target.id == "model_config" or "ClassVar" in ast.dump(field.annotation):
                continue
            name, required = (prefix + field.target.id).upper(), field.value is None
            if isinstance(field.value, ast.Call):
                keywords = {keyword.arg: keyword.value for keyword in field.value.keywords}
                empty = not field.value.args or (isinstance(field.value.args[0], ast.Constant) and field.value.args[0].value is Ellipsis)
                required = empty and not {"default", "default_factory"} & set(keywords)
                for key in ("validation_alias", "alias", "env"):
                    if key in keywords:
                        constant = isinstance(keywords[key], ast.Constant) and isinstance(keywords[key].value, str)
                        name, required = (keywords[key].value.upper(), required) if constant else (name, False)
            self.note(ast.Constant(name), required, field.lineno)


def reads_of(root, module):
    """Return (reads, patterns) of a settings module and all modules of the project that it imports."""
    base = os.path.join(root, *module.split("."))
    path = next((one for one in (base + ".py", os.path.join(base, "__init__.py")) if os.path.isfile(one)), "")
    if not path:
        return [], []
    known = {}
    Reader(root, path, known)
    always = always_imported(known, path)
    reads = [one if reader.path in always else dict(one, required=False, guarded=one["required"] or one["guarded"])
             for reader in known.values() for one in reader.reads]
    return reads, sorted({pattern for reader in known.values() for pattern in reader.patterns})


def always_imported(known, first):
    """Return the paths of the modules that an import of the first always imports too, of Readers by their path."""
    found, todo = set(), [first]
    while todo:
        path = todo.pop()
        if path not in found and path in known:
            found.add(path)
            todo += [other for other, guarded in known[path].imports if not guarded]
    return found


def mentioned(root, wanted, programs=()):
    """Return which of the names stand anywhere in the project's code or in the programs, and the names that files such as .env set."""
    left, own, files = set(wanted), set(), 0
    for name in (".env", "settings.ini"):
        own |= set(re.findall(r"^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=", text_of(os.path.join(root, name)), re.MULTILINE))
    # A start script lies beside the project or anywhere in an image.
    paths = [path for name in programs for path in (os.path.join(root, name), shutil.which(name) or "") if os.path.isfile(path)]
    for base, folders, names in os.walk(root):
        folders[:] = [folder for folder in folders if folder not in SKIPPED and not folder.startswith(".")]
        paths += [os.path.join(base, name) for name in names if name.endswith(CODE) or name in ("Dockerfile", "Procfile") or "." not in name]
    for path in paths:
        if not left or files >= MOST_FILES:
            break
        if path.endswith(CODE) or os.path.basename(path) in ("Dockerfile", "Procfile") or text_of(path, 2) == "#!":
            files += 1
            words = set(re.findall(r"[A-Za-z_][A-Za-z0-9_]*", text_of(path)))
            lower = {word.upper() for word in words}
            left -= {one for one in left if one in words or one.upper() in lower}
    return sorted(set(wanted) - left), sorted(own)


def text_of(path, size=MOST_BYTES):
    """Return the beginning of a file, an empty text where it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(size)
    except OSError:
        return ""


def settings_of():
    """Return the settings that matter, fit for JSON."""
    from django.conf import settings

    found = {}
    for name in PLAIN:
        value = getattr(settings, name, None)
        found[name] = value if isinstance(value, (bool, int)) or value is None else [str(one) for one in value] \
            if isinstance(value, (list, tuple, set)) else str(value)
    for name, alias in (("media_in_files", "default"), ("static_in_files", "staticfiles")):
        try:
            from django.core.files.storage import FileSystemStorage

            try:
                from django.core.files.storage import storages

                storage = storages[alias]
            except ImportError:  # before Django 4.2
                from django.contrib.staticfiles.storage import staticfiles_storage
                from django.core.files.storage import default_storage

                storage = staticfiles_storage if alias == "staticfiles" else default_storage
            inner = getattr(storage, "_wrapped", storage)
            found[name] = isinstance(inner, FileSystemStorage)
        except Exception:  # a storage that cannot be made has no folder that could be compared
            found[name] = False
    return found


def checks_of():
    """Return what manage.py check --deploy finds, without what the settings silence."""
    from django.core import checks

    return [{"id": one.id or "none", "level": one.level, "message": str(one.msg), "hint": str(one.hint or ""), "object": str(one.obj or "")}
            for one in checks.run_checks(include_deployment_checks=True) if not one.is_silenced()]


def database_of():
    """Return what the default database says of its connections, and the migrations that are not applied."""
    from django.db import connections

    os.environ.setdefault("PGCONNECT_TIMEOUT", "5")
    connection = connections["default"]
    found = {"vendor": connection.vendor}
    try:
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute(
                    "select current_setting('max_connections')::int, current_setting('superuser_reserved_connections')::int,"
                    " (select count(*) from pg_stat_activity where datid is not null),"
                    " (select count(*) from pg_stat_activity where usename = current_user),"
                    " (select rolconnlimit from pg_roles where rolname = current_user),"
                    " (select datconnlimit from pg_database where datname = current_database())")
                keys = ("max", "reserved", "used", "own", "role_limit", "database_limit")
                found.update(zip(keys, cursor.fetchone()))
                found["used"], found["own"] = found["used"] - 1, found["own"] - 1  # without this one
                cursor.execute(sys.argv[4])
                found["invalid_indexes"] = [list(row) for row in cursor.fetchall()]
        from django.db.migrations.executor import MigrationExecutor

        executor = MigrationExecutor(connection)
        found["unapplied"] = ["%s.%s" % (one.app_label, one.name) for one, _back in executor.migration_plan(executor.loader.graph.leaf_nodes())]
    except Exception as error:
        found["error"] = "%s: %s" % (type(error).__name__, str(error).strip().splitlines()[0] if str(error).strip() else "")
    finally:
        connections.close_all()
    return found


def why(root):
    """Return the last error in a line, with the line of the project that it came from."""
    kind, error, trace = sys.exc_info()
    frames = [frame for frame in traceback.extract_tb(trace) if frame.filename.startswith(root + os.sep)]
    place = " (%s:%d)" % (os.path.relpath(frames[-1].filename, root), frames[-1].lineno) if frames else ""
    text = (str(error).strip().splitlines() or [""])[0]
    return "%s: %s%s" % (kind.__name__, text, place)


def main():
    manage, module, wanted = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    root = os.path.dirname(os.path.abspath(manage))
    sys.path.insert(0, root)
    names = sorted(os.environ)
    reads, patterns = reads_of(root, module)
    programs = json.loads(sys.argv[5])
    top = sys.argv[6] if len(sys.argv) > 6 else root  # the code of a monorepo stands beside the folder of manage.py too
    found, own = mentioned(top, wanted, programs)
    if top != root:
        own = sorted({*own, *mentioned(root, [])[1]})
    answer = {"names": names, "reads": reads, "patterns": patterns, "mentioned": found, "own": own, "root": root}
    try:
        import django

        django.setup()
        answer.update(django=django.get_version(), settings=settings_of())
    except BaseException:  # whatever the project raises, it does not start
        answer["error"] = why(root)
    else:
        for name, ask in (("checks", checks_of), ("database", database_of)):
            try:
                answer[name] = ask()
            except BaseException:  # a check of the project may raise anything
                answer[name + "_error"] = why(root)
    sys.stdout.write("\n" + MARK + json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
