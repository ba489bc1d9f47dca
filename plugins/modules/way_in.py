#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: way_in
short_description: Find out by which user and port a host can be reached now
version_added: 0.1.0
author:
  - The quayside.django authors (@quayside)
description:
  - An inventory says how a host is reached once it is set up, for example as C(deploy) at port 7822. A new host knows
    neither. This logs in by the declared way, and where that fails by those that new hosts have.
  - It runs on the controller and logs in by the C(ssh) connection plugin with all its settings (key, arguments, jump hosts),
    so that the tasks after it find the connection open.
  - It sets nothing. Take its answer with M(ansible.builtin.set_fact), because facts of modules may not set connection
    variables. C(tasks_from=way_in) of the role C(quayside.django.base) does.
  - A host that is not reached by ssh (C(docker), C(local)) is left alone.
options:
  user:
    description: The declared user. Default is what the connection plugin would take, that is C(ansible_user).
    type: str
  port:
    description: The declared port. Default is what the connection plugin would take, that is C(ansible_port).
    type: int
  bootstrap_users:
    description: Users that a new host may know, tried before O(user) at each further port.
    type: list
    elements: str
    default: []
  ports:
    description: Ports to try besides O(port).
    type: list
    elements: int
    default: [22]
  only:
    description: Try the declared way only.
    type: bool
    default: false
  fresh:
    description: Make a new connection, whatever connections are open.
    type: bool
    default: false
  sudo:
    description: A way counts only where C(sudo -n true) works too.
    type: bool
    default: false
  accept_new:
    description:
      - Write down the host key of a port that was never seen, unless the ssh arguments or C(host_key_checking) say how to treat
        such keys. For a host that is known already and gets another port.
    type: bool
    default: false
  connect_timeout:
    description: Seconds for one connection.
    type: int
    default: 5
  timeout:
    description: Seconds to wait for a host of which no port answers, or that says it is still starting.
    type: int
    default: 60
attributes:
  check_mode:
    description: It changes nothing, and so does the same in check mode.
    support: full
  diff_mode:
    description: It changes nothing.
    support: none
seealso:
  - module: ansible.builtin.wait_for_connection
    description: Waits for one way only.
"""

EXAMPLES = r"""
- name: The way in is known
  quayside.django.way_in:
    bootstrap_users: [root, debian, ubuntu, admin]
  register: way

- name: The rest of the play takes that way
  ansible.builtin.set_fact:
    ansible_user: "{{ way.user }}"
    ansible_port: "{{ way.port }}"
  when: way.moved

- name: A new login as deploy works at the new port, and may use sudo
  quayside.django.way_in:
    user: deploy
    port: 7822
    only: true
    fresh: true
    sudo: true
    timeout: 5
"""

RETURN = r"""
user:
  description: The user that got in. Null where ssh chooses it.
  type: str
  returned: when a way was found
port:
  description: The port. Null where ssh chooses it.
  type: int
  returned: when a way was found
moved:
  description: Whether that is another way than the declared one.
  type: bool
  returned: when a way was found
declared:
  description: The O(user) and O(port) that were to be tried first.
  type: dict
  returned: always
uid:
  description: The numeric user on the host.
  type: int
  returned: when a way was found
sudo:
  description: Whether the host has a sudo command.
  type: bool
  returned: when a way was found
client:
  description: The address that the host sees the controller at.
  type: str
  returned: when a way was found
server:
  description: The address of the host that was connected to, as the host sees it.
  type: str
  returned: when a way was found
server_port:
  description: The port that was connected to, as the host sees it.
  type: int
  returned: when a way was found
tried:
  description: The ways that failed, each with ssh's answer.
  type: list
  elements: str
  returned: always
"""
