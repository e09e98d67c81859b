"""Passwords of storages stand nowhere."""

import pytest

from nas.runs.secrets import masked, masked_arguments, masked_config

URL, MASKED = "postgresql+psycopg://me:{}@host:5432/name", "postgresql+psycopg://me:***@host:5432/name"


@pytest.mark.parametrize("password", ["secret", "p@ss", "p@s:s/w@rd", "%40", "a b", "$(x)"])
def test_the_whole_password_is_masked(password: str) -> None:
    assert masked(URL.format(password)) == MASKED


@pytest.mark.parametrize("parameter", ["password", "sslpassword", "PASSWD"])
def test_a_password_in_the_query_is_masked(parameter: str) -> None:
    assert masked(f"mysql+pymysql://host/name?{parameter}=a@b&c=d") == f"mysql+pymysql://host/name?{parameter}=***&c=d"


@pytest.mark.parametrize(
    "url", ["sqlite:////tmp/a@b/study.db", "journal:/tmp/x@y", "postgresql+psycopg://me@host/name", "nonsense", "a:b@c"]
)
def test_urls_without_a_password_stay_as_they_are(url: str) -> None:
    assert masked(url) == url


def test_in_arguments_and_configs() -> None:
    url = URL.format("p@ss")
    assert masked_arguments(["seed=1", f"sweep.storage={url}", f"++sweep.storage={url}", "name=a:b@c"]) == [
        "seed=1", f"sweep.storage={MASKED}", f"++sweep.storage={MASKED}", "name=a:b@c",
    ]  # fmt: skip
    config = {"seed": 1, "sweep": {"storage": url, "trials": 3}}
    assert masked_config(config) == {"seed": 1, "sweep": {"storage": MASKED, "trials": 3}}
    assert config["sweep"] == {"storage": url, "trials": 3}
    for without in ({"seed": 1}, {"sweep": {"storage": None}}, {"sweep": 3}):
        assert masked_config(without) == without
