# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import socket

import pytest
from ansible_collections.quayside.django.plugins.module_utils import redis_client


@pytest.fixture
def talk(tmp_path):
    """Return a function that connects to a server which answers with given bytes, and the bytes that it has got."""
    path, got = str(tmp_path / "redis.sock"), []
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen(1)

    def connect(answer: bytes):
        client = redis_client.Redis(path, timeout=5)
        link, _address = server.accept()
        link.sendall(answer)
        got.append(link)
        return client
    yield connect, got
    server.close()


@pytest.mark.parametrize(("sent", "answer"), [
    (b"+OK\r\n", "OK"),
    (b":42\r\n", 42),
    (b"$-1\r\n", None),
    (b"$5\r\na\r\nbc\r\n", "a\r\nbc"),
    (b"*3\r\n$1\r\na\r\n:1\r\n*1\r\n+x\r\n", ["a", 1, ["x"]]),
    (b"*-1\r\n", None),
])
def test_answers(talk, sent, answer):
    assert talk[0](sent).ask("PING") == answer


def test_words_go_over_with_their_lengths_in_bytes(talk):
    client = talk[0](b"+OK\r\n")
    client.ask("AUTH", "pä ss\r\n")
    assert talk[1][0].recv(100) == b"*2\r\n$4\r\nAUTH\r\n$8\r\np\xc3\xa4 ss\r\n\r\n"


def test_a_refusal_names_no_password(talk):
    client = talk[0](b"-WRONGPASS invalid username-password pair\r\n" * 2)
    with pytest.raises(redis_client.RedisError) as refused:
        client.log_in(["first-password", "other-password"])
    assert "password of" not in str(refused.value) and "first-password" not in str(refused.value)
    assert "WRONGPASS" in str(refused.value)


def test_the_first_password_that_is_taken_counts(talk):
    assert talk[0](b"-WRONGPASS x\r\n+OK\r\n").log_in(["one", "two"]) == "two"


def test_the_hashes_of_a_user(talk):
    assert talk[0](b"*4\r\n$5\r\nflags\r\n*1\r\n+on\r\n$9\r\npasswords\r\n*1\r\n$2\r\nab\r\n").hashes() == ["ab"]


def test_a_closed_connection_is_told(talk):
    client = talk[0](b"")
    talk[1][0].close()
    with pytest.raises(redis_client.RedisError):
        client.ask("PING")
