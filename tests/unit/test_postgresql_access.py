# SPDX-License-Identifier: GPL-3.0-or-later
"""Databases that left the inventory: their apps may run on, and keep the way to them."""
import pathlib

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.quayside.django.plugins.module_utils import postgresql_access

CLUSTERS = '[{"port": "5432"}]\n'
RULES = 'local all postgres peer\nlocal "shop" +"shop" scram-sha-256\nlocal "old" +"old_role" scram-sha-256\nlocal "own" own peer\n'
OLD = [{"name": "old", "user": "old_role"}]
CASES = [
    ("of an app that is gone", f"{CLUSTERS}=====\n{RULES}=====\npostgres\nshop\nold\nown\n", ["shop"], OLD),
    ("of one whose database was dropped", f"{CLUSTERS}=====\n{RULES}=====\npostgres\nshop\n", ["shop"], []),
    ("of one that is in the list", f"{CLUSTERS}=====\n{RULES}=====\npostgres\nshop\nold\n", ["shop", "old"], []),
    ("when the server does not answer", f"{CLUSTERS}=====\n{RULES}=====\n", ["shop"], OLD),
    ("on a bare host", "", ["shop"], []),
    ("without rules", f"{CLUSTERS}=====\n=====\npostgres\n", ["shop"], []),
]


@pytest.mark.parametrize(("found", "listed", "kept"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_access(found, listed, kept):
    assert postgresql_access.kept(found, [{"name": name} for name in listed]) == kept


@pytest.mark.parametrize("found", [f"{CLUSTERS}=====\n{RULES}=====\npostgres\nold\n", f"{CLUSTERS}=====\n=====\n", CLUSTERS.strip()])
def test_the_role_finds_its_cluster_in_what_it_has_looked_up(found):
    loader = DataLoader()
    variables = loader.load_from_file(str(pathlib.Path(__file__).parents[2] / "roles/postgresql/vars/main.yml"), trusted_as_template=True)
    templar = Templar(loader, variables={**variables, "__postgresql_found": {"stdout": found}})
    assert templar.template(variables["__postgresql_cluster"]) == {"port": "5432"}
