# SPDX-License-Identifier: GPL-3.0-or-later
"""A host without containers: what answers is what was declared, and whatever differs is found and named."""
import pytest
from conftest import after, firewall, judged, listening


@pytest.mark.proves("0.40", "1.37", "1.39", "2.58", "3.13")
def test_the_declared_ports_answer_and_no_others_on_both_families(web):
    run, said = judged(web)
    assert run.count("changed") == 0
    six = web.local["lab_addresses6"][web.name]
    for address in (web.address, six):
        assert f"at {address} from the controller" in said
    assert said.count("tcp 80 443 7822") == 2


def test_all_ports_are_asked_where_that_is_wanted(web):
    _run, said = judged(web, exposure_ports="all")
    assert said.count("tcp 80 443 7822") == 2


def test_check_mode_asks_and_changes_nothing(web):
    run, said = judged(web, "--check", "--diff")
    assert run.count("changed") == 0
    assert said.count("tcp 80 443 7822") == 2


def test_a_stray_program_behind_an_opened_port_is_named_with_its_process_and_what_to_type(web):
    with listening(web, 9090) as unit, after(web, "ufw allow 9090/tcp", "ufw delete allow 9090/tcp"):
        pid = web.inside(f"systemctl show -P MainPID {unit}")
        run, said = judged(web, ok=False)
    assert run.rc != 0
    assert f"extra: tcp 9090: it answers, and nobody declared it; python3 (process {pid}, {unit}) listens at [::]:9090" in said
    assert f"systemctl disable --now {unit}" in said
    assert "base_firewall_extra_rules: [{port: [9090]}]" in said
    assert f"at {web.local['lab_addresses6'][web.name]} from the controller" in said.partition("tcp 9090")[2].partition("Next")[0]


def test_a_stray_program_behind_the_firewall_is_no_finding(web):
    with listening(web, 9090):
        judged(web)


def test_a_rule_that_nobody_declared_is_found_though_nothing_listens(web):
    with after(web, "ufw allow 9091/tcp", "ufw delete allow 9091/tcp"):
        run, said = judged(web, ok=False)
    assert run.rc != 0
    assert "extra: the rule ufw allow 9091/tcp: nobody declared it" in said
    assert "ufw --force delete allow 9091/tcp" in said


def test_a_hole_for_ipv6_alone_is_found(web):
    with listening(web, 9191, how="only"), after(web, "ip6tables -I INPUT -p tcp --dport 9191 -j ACCEPT", "ip6tables -D INPUT -p tcp --dport 9191 -j ACCEPT"):
        run, said = judged(web, ok=False)
    assert run.rc != 0
    finding = said.partition("extra: tcp 9191")[2].partition("Next")[0]
    assert web.local["lab_addresses6"][web.name] in finding
    assert web.address not in finding


def test_a_dead_ipv6_is_missing(web):
    with after(web, "ip6tables -I INPUT ! -i lo -j DROP", "ip6tables -D INPUT ! -i lo -j DROP"):
        run, said = judged(web, ok=False)
    assert run.rc != 0
    assert f"missing: all of {web.local['lab_addresses6'][web.name]}: nothing at all answers there" in said


def test_a_stopped_edge_is_missing(web):
    with after(web, "systemctl stop nginx", "systemctl start nginx"):
        run, said = judged(web, ok=False)
    assert run.rc != 0
    for port in (80, 443):
        assert f"missing: tcp {port}: nothing listens there" in said


def test_an_edge_that_listens_on_ipv4_alone_is_missing_on_ipv6(web):
    with after(web, "systemctl stop nginx", "systemctl start nginx"), listening(web, 80, "0.0.0.0"), listening(web, 443):
        run, said = judged(web, ok=False)
    assert run.rc != 0
    finding = said.partition("missing: tcp 80")[2].partition("Next")[0]
    assert web.local["lab_addresses6"][web.name] in finding
    assert web.address not in finding
    assert "missing: tcp 443" not in said


def test_a_firewall_that_is_off_is_found_and_what_it_kept_closed(web):
    with listening(web, 9090), after(web, "ufw disable", "ufw --force enable"):
        run, said = judged(web, ok=False)
    assert run.rc != 0
    assert "open: the host's firewall: UFW is off. Next: ansible-playbook quayside.django.site" in said
    assert "open: ports that nobody declared: they are not filtered" in said
    assert "extra: tcp 9090: it answers, and nobody declared it" in said
    judged(web)


def test_a_stray_udp_service_is_found_by_its_answer(web):
    with listening(web, 5555, proto="udp"), after(web, "iptables -I INPUT -p udp --dport 5555 -j ACCEPT", "iptables -D INPUT -p udp --dport 5555 -j ACCEPT"):
        run, said = judged(web, ok=False)
    assert run.rc != 0
    assert "extra: udp 5555: it answers, and nobody declared it; python3" in said


def test_a_stray_udp_service_that_never_answers_is_found_by_the_rule_that_lets_it(web):
    with listening(web, 5556, proto="udp", how="mute"), after(web, "ufw allow 5556/udp", "ufw delete allow 5556/udp"):
        run, said = judged(web, ok=False)
    assert run.rc != 0
    assert "extra: the rule ufw allow 5556/udp" in said


def test_a_declared_udp_service_has_to_be_there(web):
    rules = [{"port": [5557], "proto": "udp", "comment": "the tunnel"}]
    firewall(web, base_firewall_extra_rules=rules)
    try:
        run, said = judged(web, ok=False, base_firewall_extra_rules=rules)
        with listening(web, 5557, proto="udp", how="mute"):
            judged(web, base_firewall_extra_rules=rules)
        judged(web, base_firewall_extra_rules=rules, exposure_silent=["5557/udp"])
    finally:
        firewall(web)
    assert run.rc != 0
    assert "missing: udp 5557: nothing listens there" in said
    assert "start the tunnel" in said


def test_a_road_that_lets_only_ssh_through_is_said_in_one_finding(web):
    drop = "raw -{} PREROUTING -p tcp -m multiport --dports 80,443 -j DROP"
    tables = "iptables -t {0}; ip6tables -t {0}"
    with after(web, tables.format(drop.format("I")), tables.format(drop.format("D"))):
        run, said = judged(web, ok=False)
    assert run.rc != 0
    assert "missing: tcp 80, tcp 443: the host listens and lets in, and something on the road drops it" in said
    assert "a firewall of the provider, or one before the controller that lets out only port 7822" in said
    assert "exposure_from" in said


def test_a_machine_that_cannot_ask_fails_alone_and_warns_after_site(web):
    run, said = judged(web, ok=False, exposure_controller=False)
    assert run.rc != 0
    assert "No machine could ask this host's ports" in said
    run = web.play("site", "-e", '{"exposure_controller": false}')
    assert "No machine could ask this host's ports" in " ".join(run.out.split())


@pytest.mark.proves("0.40")
def test_site_ends_with_it_and_can_leave_it(web):
    hole = "iptables -{} INPUT -p tcp --dport 9090 -j ACCEPT"
    with listening(web, 9090), after(web, hole.format("I"), hole.format("D")):
        failed = web.play("site", ok=False)
        rehearsed = web.play("site", "--check")
        left = web.play("site", "--check", "-e", "exposure_check=false")
    assert failed.rc != 0
    assert "extra: tcp 9090" in failed.out
    assert failed.count("changed") == 0
    assert "extra: tcp 9090" in rehearsed.out
    assert "What was asked, and what answered" in rehearsed.out
    assert "extra: tcp 9090" not in left.out
