"""Who is asked for a capability, and what a plug-in may serve at all."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bkg_workbench.errors import CapabilityNotFound, CapabilityUnavailable
from bkg_workbench.protocol.routing import Provider, choose, conflicts

providers = st.lists(
    st.builds(
        Provider,
        plugin=st.sampled_from("abcdef"),
        live=st.booleans(),
        coming=st.booleans(),
        healthy=st.booleans(),
        in_flight=st.integers(0, 3),
    ),
    max_size=6,
    unique_by=lambda p: p.plugin,
)


def test_nobody_declares_it() -> None:
    with pytest.raises(CapabilityNotFound, match=r"llm\.chat"):
        choose("llm.chat", [])


def test_it_is_declared_but_nobody_is_up() -> None:
    with pytest.raises(CapabilityUnavailable) as caught:
        choose("llm.chat", [Provider("b", live=False), Provider("a", live=False)])
    assert caught.value.facts["plugins"] == ["a", "b"]
    assert "a, b" in str(caught.value)


def test_one_that_is_coming_is_waited_for() -> None:
    assert choose("a.b", [Provider("a", live=False, coming=True)]) is None


def test_one_that_is_live_is_asked_though_another_is_coming() -> None:
    live = Provider("b", live=True, in_flight=200)
    assert choose("a.b", [Provider("a", live=False, coming=True), live]) is live


def test_a_healthy_one_before_a_degraded_one_then_the_least_busy_then_by_name() -> None:
    degraded = Provider("a", live=True, healthy=False)
    busy = Provider("b", live=True, in_flight=9)
    idle = Provider("d", live=True, in_flight=2)
    also_idle = Provider("c", live=True, in_flight=2)
    assert choose("a.b", [degraded, busy, idle]) is idle
    assert choose("a.b", [degraded, busy]) is busy
    assert choose("a.b", [degraded]) is degraded
    assert choose("a.b", [idle, also_idle]) is also_idle


@settings(deadline=None)
@given(providers, st.randoms())
def test_the_choice_is_the_best_there_is_in_whatever_order_they_come(
    given_ones: list[Provider], random: st.DataObject
) -> None:
    def judged(ones: list[Provider]) -> Provider | str | None:
        try:
            return choose("a.b", ones)
        except (CapabilityNotFound, CapabilityUnavailable) as error:
            return error.code

    chosen = judged(given_ones)
    shuffled = list(given_ones)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert judged(shuffled) == chosen
    live = [p for p in given_ones if p.live]
    if isinstance(chosen, Provider):
        assert chosen.live
        assert chosen.healthy or not any(p.healthy for p in live)
        rivals = [p for p in live if p.healthy == chosen.healthy]
        assert chosen.in_flight == min(p.in_flight for p in rivals)
    elif chosen is None:
        assert not live
        assert any(p.coming for p in given_ones)
    elif chosen == "capability_not_found":
        assert not given_ones
    else:
        assert not any(p.live or p.coming for p in given_ones)


def test_what_is_registered_but_not_declared_is_a_conflict() -> None:
    assert conflicts("goose", ["goose.run", "llm.chat"], ["goose.run", "goose.stop"]) == (
        ("goose.run",),
        ("llm.chat",),
    )


def test_nobody_serves_the_hosts_own_and_only_apikeys_serves_auth() -> None:
    names = ["host.stop", "auth.login", "author.write", "hosting.x"]
    assert conflicts("goose", names, names) == (
        ("author.write", "hosting.x"),
        ("host.stop", "auth.login"),
    )
    assert conflicts("apikeys", names, names)[1] == ("host.stop",)


def test_a_capability_registered_twice_counts_once_and_order_is_kept() -> None:
    assert conflicts("a", ["b.y", "a.x", "b.y", "c.z", "c.z"], ["a.x", "b.y"]) == (
        ("b.y", "a.x"),
        ("c.z",),
    )
