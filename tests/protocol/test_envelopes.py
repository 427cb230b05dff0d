"""The codec: what goes onto the wire comes back the same, and nothing hostile does harm."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bkg_workbench.errors import ProtocolError
from bkg_workbench.protocol.envelopes import (
    MAX_DEPTH,
    NULL,
    AnyEnvelope,
    Caller,
    Cancel,
    Chunk,
    Config,
    Error,
    Event,
    Health,
    Log,
    Progress,
    Register,
    Request,
    Response,
    Telemetry,
    UnknownType,
    Welcome,
    decode,
    encode,
    raw,
    value,
)

quick = settings(deadline=None, max_examples=60)
thorough = settings(deadline=None, max_examples=200)

# -- strategies -----------------------------------------------------------------------------------
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
numbers = st.floats(allow_nan=False, allow_infinity=False)
whole = st.integers(-(2**70), 2**70)
values = st.recursive(
    st.none() | st.booleans() | whole | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(texts, values, max_size=3)
raws = values.map(raw)
names = st.from_regex(r"[a-z][a-z0-9_-]{0,31}", fullmatch=True)
ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=64)
counts = st.integers(0, 2**53 - 1)


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


ENVELOPES: dict[type, st.SearchStrategy[Any]] = {
    Register: st.builds(
        Register,
        plugin=names,
        port=st.integers(0, 65_535) | st.just("internal"),
        capabilities=st.lists(texts, max_size=3),
        config_schema=maybe(objects),
        meta=maybe(objects),
        token=maybe(texts),
    ),
    Health: st.builds(
        Health,
        plugin=names,
        status=st.sampled_from(["up", "degraded", "down"]),
        detail=maybe(texts),
    ),
    Log: st.builds(
        Log, plugin=names, level=texts, message=texts, timestamp=maybe(counts | numbers | texts)
    ),
    Telemetry: st.builds(
        Telemetry,
        plugin=names,
        cpu=maybe(st.floats(0, 1e9)),
        mem_bytes=maybe(st.floats(0, 1e18)),
        numbers=st.dictionaries(
            texts.filter(
                lambda name: name not in ("type", "plugin", "cpu", "mem_bytes", "numbers")
            ),
            numbers | st.integers(-(2**70), 2**70),
            max_size=3,
        ),
    ),
    Request: st.builds(
        Request,
        request_id=ids,
        capability=texts,
        payload=raws,
        token=maybe(texts),
        stream=st.booleans(),
        deadline_ms=maybe(counts),
        traceparent=maybe(texts),
        caller=maybe(st.builds(Caller, name=texts, user=maybe(texts), scopes=st.tuples(texts))),
    ),
    Response: st.builds(
        Response,
        request_id=ids,
        success=st.booleans(),
        data=raws,
        error=maybe(texts),
        code=maybe(texts),
        detail=values,
    ),
    Welcome: st.builds(
        Welcome,
        protocol=counts,
        heartbeat_seconds=numbers,
        settings=maybe(objects),
        instance=maybe(texts),
    ),
    Chunk: st.builds(Chunk, request_id=ids, seq=counts, data=raws),
    Progress: st.builds(
        Progress, request_id=ids, value=numbers, total=maybe(numbers), message=maybe(texts)
    ),
    Cancel: st.builds(Cancel, request_id=ids),
    Config: st.builds(Config, request_id=ids, settings=objects, version=counts),
    Event: st.builds(Event, subscription=texts, seq=counts, topic=texts, data=raws),
    Error: st.builds(Error, code=texts, error=texts, detail=values),
}
anything = st.one_of(*ENVELOPES.values())


def refused(frame: bytes) -> ProtocolError:
    with pytest.raises(ProtocolError) as caught:
        decode(frame)
    return caught.value


def request(payload: bytes) -> bytes:
    return b'{"type":"request","requestId":"1","capability":"a.b","payload":' + payload + b"}"


def nested(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


# -- round trips ----------------------------------------------------------------------------------
def test_every_envelope_has_a_strategy_here() -> None:
    assert set(ENVELOPES) == set(AnyEnvelope.__args__)


@quick
@given(anything)
def test_what_is_encoded_is_decoded_the_same(envelope: AnyEnvelope) -> None:
    again = decode(encode(envelope))
    assert again == envelope
    assert encode(again) == encode(envelope)


@quick
@given(anything)
def test_a_frame_is_one_json_object_named_by_its_type(envelope: AnyEnvelope) -> None:
    frame = encode(envelope)
    assert json.loads(frame)["type"] == type(envelope).kind
    assert json.loads(frame)["type"] == type(envelope).__name__.lower()


def test_names_are_camel_case_on_the_wire_and_nowhere_in_python() -> None:
    for kind in ENVELOPES:
        for field in msgspec.structs.fields(kind):
            assert re.fullmatch(r"[a-z]+(_[a-z]+)*", field.name)
            # The seed's one exception.
            words = field.encode_name if field.name != "mem_bytes" else "memBytes"
            assert re.fullmatch(r"[a-z]+([A-Z][a-z]+)*", words)
    wire = json.loads(encode(Request(request_id="1", capability="a.b", deadline_ms=5)))
    assert wire == {"type": "request", "requestId": "1", "capability": "a.b", "deadlineMs": 5}
    assert b'"mem_bytes":7.0' in encode(Telemetry(plugin="a", mem_bytes=7.0))


def test_fields_that_a_peer_of_a_later_version_adds_are_ignored() -> None:
    frame = b'{"requestId":"1","nope":{"a":[1]},"type":"cancel","__proto__":{"x":1}}'
    assert decode(frame) == Cancel(request_id="1")


def test_a_payload_stays_undecoded_byte_for_byte() -> None:
    payload = b'{ "b" : 1,\n"a":[1.0, 1e2,"\\u00e9"] }'
    got = decode(request(payload))
    assert isinstance(got, Request)
    assert bytes(got.payload) == payload
    assert payload in encode(got)


WIRE_NAMES = sorted({f.encode_name for kind in ENVELOPES for f in msgspec.structs.fields(kind)})


# -- whatever comes -------------------------------------------------------------------------------
def judge(frame: bytes) -> None:
    """Only the two errors that the docstring names, and what is accepted can be sent on."""
    try:
        envelope = decode(frame)
    except ProtocolError as error:
        str(error).encode()  # it can be shown
    else:
        assert decode(encode(envelope)) == envelope


@thorough
@given(st.binary(max_size=200))
@example(b"")
@example(b"\xff\xfe{}")
def test_no_bytes_raise_anything_else(frame: bytes) -> None:
    judge(frame)


@thorough
@given(
    st.fixed_dictionaries(
        {"type": st.sampled_from(sorted(k.kind for k in ENVELOPES)) | values},
        optional=dict.fromkeys(WIRE_NAMES, values | ids | names),
    )
)
@pytest.mark.row("J8")
def test_no_object_of_wrong_fields_raises_anything_else(fields: dict[str, Any]) -> None:
    judge(json.dumps(fields).encode())


@thorough
@given(anything, st.data())
@pytest.mark.row("J8")
def test_no_damage_to_a_frame_raises_anything_else(envelope: AnyEnvelope, data: Any) -> None:
    frame = encode(envelope)
    at = data.draw(st.integers(0, len(frame) - 1))
    damage = data.draw(st.sampled_from([b"", b"[", b"}", b'"', b"\\", b"\xff", b"0", b"NaN", b","]))
    judge(frame[:at] + damage + frame[at + 1 :])


@quick
@given(values)
def test_no_value_raises_anything_else_on_its_way_out(data: Any) -> None:
    assert raw(raw(data)) == raw(data)
    again = value(raw(data))
    assert again == data or json.dumps(again) == json.dumps(data)


@pytest.mark.parametrize("bad", [object(), {(1, 2): 3}, "\ud800", {"\udfff": 1}, 1j])
def test_a_value_without_a_json_form_is_refused(bad: Any) -> None:
    with pytest.raises(ProtocolError):
        raw(bad)
    with pytest.raises(ProtocolError):
        encode(Config(request_id="1", settings={"x": bad}, version=1))


def test_a_value_without_a_number_is_null_and_never_nan() -> None:
    assert bytes(raw([float("nan"), float("inf")])) == b"[null,null]"


# -- depth ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "frame",
    [
        lambda levels: request(nested(levels)),
        lambda levels: request(b'{"a":' * levels + b"1" + b"}" * levels),
        lambda levels: request(b'[{"a":1},' + nested(levels - 1) + b"]"),
        lambda levels: b'{"type":"cancel","requestId":"1","x":' + nested(levels) + b"}",
        lambda levels: b'{"type":"error","code":"a","error":"b","detail":' + nested(levels) + b"}",
    ],
    ids=["payload", "objects", "beside", "unknown field", "decoded field"],
)
@pytest.mark.row("J1")
def test_32_levels_are_accepted_and_33_are_not(frame: Any) -> None:
    decode(frame(MAX_DEPTH - 1))
    assert "deeper than 32" in str(refused(frame(MAX_DEPTH)))


@pytest.mark.parametrize(
    "text",
    [b"[" * 99, b"{" * 99, b'\\"' + b"[" * 99, b"\\\\", b'\\\\\\"' + b"{[" * 50, b"]}" * 50],
)
def test_brackets_in_strings_are_no_levels(text: bytes) -> None:
    payload = b'{"' + text + b'":["' + text + b'"],"x":"' + b"[" * 99 + b'"}'
    got = decode(request(payload))
    assert isinstance(got, Request)
    assert json.loads(bytes(got.payload)) == value(got.payload)


def test_many_brackets_side_by_side_are_not_deep() -> None:
    decode(request(b"[" + b"{}," * 10_000 + b"[[]]]"))


@pytest.mark.parametrize(
    "frame",
    [
        b"[" * 100_000,
        request(b"[" * 100_000),
        request(nested(500)),
        b"{" * 40 + b'"' + b'\\"' * 30_000,  # quadratic, were the strings found one by one
        b"[" * 40 + b'"' * 60_000,
        b"[" * 40 + b"\\" * 60_000,
    ],
)
@pytest.mark.timeout(5)
@pytest.mark.row("J1")
def test_hostile_nesting_is_refused_at_once(frame: bytes) -> None:
    refused(frame)


def test_what_a_peer_would_refuse_as_too_deep_is_refused_where_it_is_made() -> None:
    def deep(levels: int) -> Any:
        inner: Any = 1
        for _ in range(levels):
            inner = [inner]
        return inner

    decode(encode(Request(request_id="1", capability="a.b", payload=raw(deep(MAX_DEPTH - 1)))))
    with pytest.raises(ProtocolError, match="deeper than 31"):
        raw(deep(MAX_DEPTH))
    with pytest.raises(ProtocolError):
        raw(deep(100_000))


# -- numbers --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "number",
    [
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"1e400",
        b"-1e400",
        b"1E+400",
        b"1e0400",
        b"9" * 250 + b"e99",
        b"9." + b"9" * 400 + b"e309",
        b"9" * 309 + b".0",
        b"9" * 4301,
        b"-" + b"9" * 4301,
        b"01",
        b"1.",
        b".5",
        b"+1",
        b"0x10",
        b"1_000",
        b"--1",
    ],
)
@pytest.mark.parametrize("place", [b"%b", b"[1, %b]", b'{"a": %b}', b"[\n%b\n]"])
@pytest.mark.row("J2")
def test_a_number_that_is_none_never_passes(number: bytes, place: bytes) -> None:
    payload = place.replace(b"%b", number)
    refused(request(payload))
    refused(b'{"type":"error","code":"a","error":"b","detail":' + payload + b"}")
    with pytest.raises(ProtocolError):
        value(msgspec.Raw(payload))


@pytest.mark.parametrize(
    ("number", "exact"),
    [
        (b"-0", 0),
        (b"-0.0", -0.0),
        (b"18446744073709551616", 2**64),
        (b"-18446744073709551617", -(2**64) - 1),
        (b"9" * 400, 10**400 - 1),
        (b"1e308", 1e308),
        (b"1e-400", 0.0),
        (b"0." + b"0" * 400 + b"1", 0.0),
        (b"123456789e20", 123456789e20),
    ],
)
@pytest.mark.row("J2")
def test_a_number_that_passes_is_exact_and_finite(number: bytes, exact: float) -> None:
    got = decode(request(number))
    assert isinstance(got, Request)
    assert value(got.payload) == exact


@pytest.mark.parametrize(
    ("frame", "field"),
    [
        (b'{"type":"chunk","requestId":"1","seq":9007199254740992}', "seq"),
        (b'{"type":"chunk","requestId":"1","seq":-1}', "seq"),
        (b'{"type":"chunk","requestId":"1","seq":true}', "seq"),
        (b'{"type":"chunk","requestId":"1","seq":0.5}', "seq"),
        (b'{"type":"progress","requestId":"1","value":"1"}', "value"),
        (
            b'{"type":"request","requestId":"1","capability":"a.b","deadlineMs":18446744073709551616}',
            "deadlineMs",
        ),
        (b'{"type":"register","plugin":"a","port":65536,"capabilities":[]}', "port"),
        (b'{"type":"register","plugin":"a","port":-1,"capabilities":[]}', "port"),
        (b'{"type":"register","plugin":"a","port":"http","capabilities":[]}', "port"),
    ],
)
def test_a_number_outside_a_fields_bounds_names_the_field(frame: bytes, field: str) -> None:
    assert refused(frame).facts["field"] == field


# -- text -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "text",
    [
        *[rb'"\ud800"', rb'"\udc00\ud800"', rb'"\ud800x"', rb'"\x41"', rb'"\u12g4"'],
        *[b'"\x00"', b'"\n"', b'"\xff"', b'"\xed\xa0\x80"', b'"\xc0\xaf"', b'"open'],
    ],
)
@pytest.mark.row("J4", "J5")
def test_text_that_is_none_never_passes(text: bytes) -> None:
    refused(request(text))
    refused(request(b"[{" + text + b":1}]"))
    refused(b'{"type":"log","plugin":"a","level":"info","message":' + text + b"}")
    refused(b'{"type":"cancel","requestId":"1","unknown":' + text + b"}")


def test_characters_beyond_16_bits_pass_in_both_forms() -> None:
    frame = rb'{"type":"log","plugin":"a","level":"info","message":"\ud83d\ude00' + "😀".encode()
    assert decode(frame + b'"}') == Log(plugin="a", level="info", message="😀😀")


@pytest.mark.parametrize(
    "frame",
    [
        b"\xef\xbb\xbf" + request(b"1"),
        request(b"1") + b"x",
        request(b"1") + request(b"2"),
        request(b"1") + b"\x00",
        request(b"1,"),
        b"1",
        b'"request"',
        b"null",
        b"true",
        b"[]",
        b"[" + request(b"1") + b"]",
        b"{}",
        b"",
        b" ",
        b"\x00",
        "{}".encode("utf-16"),
    ],
)
@pytest.mark.row("J6")
def test_only_one_json_object_is_a_frame(frame: bytes) -> None:
    refused(frame)


def test_space_around_the_object_is_harmless() -> None:
    assert decode(b' {"type":"cancel",\r\n\t"requestId":"1"}\n') == Cancel(request_id="1")


# -- keys and types -------------------------------------------------------------------------------
@pytest.mark.row("J3")
def test_of_duplicate_keys_the_last_counts() -> None:
    assert decode(b'{"type":"cancel","requestId":"1","requestId":"2"}') == Cancel(request_id="2")
    got = decode(request(b'{"a":1,"a":2}'))
    assert isinstance(got, Request)
    assert value(got.payload) == {"a": 2}


def test_an_envelope_of_two_types_is_refused() -> None:
    """No reader may take it for the one where another takes it for the other."""
    refused(b'{"type":"cancel","requestId":"1","type":"chunk","seq":1}')


@pytest.mark.parametrize("kind", ["nope", "__proto__", "", "Request", "registered", "x" * 5000])
@pytest.mark.row("J14")
def test_a_type_of_another_version_is_told_apart(kind: str) -> None:
    with pytest.raises(UnknownType) as caught:
        decode(json.dumps({"type": kind, "x": 1}).encode())
    assert caught.value.facts["type"] == kind


@pytest.mark.parametrize("kind", [b"5", b"null", b'["a"]', b'{"a":1}', b"true"])
def test_a_type_that_is_no_string_is_a_bad_message(kind: bytes) -> None:
    error = refused(b'{"type":' + kind + b"}")
    assert not isinstance(error, UnknownType)
    assert error.facts["field"] == "type"


REQUIRED = [
    (kind, field) for kind in ENVELOPES for field in msgspec.structs.fields(kind) if field.required
]
WORKING: dict[type, dict[str, Any]] = {
    Register: {"plugin": "a", "port": 1, "capabilities": []},
    Health: {"plugin": "a", "status": "up"},
    Log: {"plugin": "a", "level": "info", "message": "x"},
    Telemetry: {"plugin": "a"},
    Request: {"requestId": "1", "capability": "a.b"},
    Response: {"requestId": "1", "success": True},
    Welcome: {"protocol": 1, "heartbeatSeconds": 10},
    Chunk: {"requestId": "1", "seq": 0},
    Progress: {"requestId": "1", "value": 1},
    Cancel: {"requestId": "1"},
    Config: {"requestId": "1", "settings": {}, "version": 1},
    Event: {"subscription": "s1", "seq": 0, "topic": "state"},
    Error: {"code": "x", "error": "y"},
}


@pytest.mark.parametrize(
    ("kind", "field"), REQUIRED, ids=[f"{k.__name__}-{f.name}" for k, f in REQUIRED]
)
@pytest.mark.row("J8")
def test_a_missing_or_wrong_field_is_named(kind: type, field: msgspec.structs.FieldInfo) -> None:
    fields = {"type": kind.kind, **WORKING[kind]}  # type: ignore[attr-defined]
    decode(json.dumps(fields).encode())
    wire = field.encode_name
    missing = refused(json.dumps({k: v for k, v in fields.items() if k != wire}).encode())
    assert missing.facts["field"] == wire
    assert f"`{wire}`" in str(missing)
    wrong = refused(json.dumps({**fields, wire: [[]]}).encode())
    assert str(wrong.facts["field"]).startswith(wire)
    assert wire in str(wrong)


@pytest.mark.parametrize(
    "name",
    [
        *["__proto__", "constructor ", "", "..", "a/b", "A", "-a", "1a", "a" * 33, "a\n", "a\x00"],
        *["__class__", "toString", "ａ", "a.b", " a"],
    ],
)
@pytest.mark.row("J7")
def test_a_hostile_plugin_name_is_refused(name: str) -> None:
    for fields in (
        {"type": "register", "plugin": name, "port": 1, "capabilities": []},
        {"type": "health", "plugin": name, "status": "up"},
        {"type": "telemetry", "plugin": name},
    ):
        assert refused(json.dumps(fields).encode()).facts["field"] == "plugin"


@pytest.mark.parametrize("request_id", ["", "x" * 65, 5, None, ["1"], {"a": 1}, True])
@pytest.mark.row("J10")
def test_a_request_id_is_a_short_string(request_id: Any) -> None:
    for kind in (Request, Response, Chunk, Progress, Cancel, Config):
        fields = {**WORKING[kind], "type": kind.kind, "requestId": request_id}
        assert refused(json.dumps(fields).encode()).facts["field"] == "requestId"


def test_a_register_lists_at_most_64_capabilities() -> None:
    fields: dict[str, Any] = {"type": "register", **WORKING[Register]}
    decode(json.dumps({**fields, "capabilities": ["a.b"] * 64}).encode())
    error = refused(json.dumps({**fields, "capabilities": ["a.b"] * 65}).encode())
    assert error.facts["field"] == "capabilities"


@pytest.mark.parametrize(
    ("meta", "protocol"),
    [(None, 0), ({}, 0), ({"protocol": 1}, 1), ({"protocol": 7}, 7)]
    + [({"protocol": bad}, 0) for bad in (True, "1", 1.0, None, [1])],
)
def test_a_peers_protocol_is_a_whole_number_or_none(meta: Any, protocol: int) -> None:
    register = Register(plugin="a", port=1, capabilities=[], meta=meta)
    assert register.protocol == protocol


# -- logs and telemetry ---------------------------------------------------------------------------
@pytest.mark.parametrize("level", ["warning", "WARN", "fatal", "", "🔥"])
def test_a_log_of_another_level_is_kept(level: str) -> None:
    fields = {"type": "log", "plugin": "a", "level": level, "message": "x"}
    assert decode(json.dumps(fields).encode()) == Log(plugin="a", level=level, message="x")


@pytest.mark.parametrize("stamp", [0, -5, 2**60, 1.5, "2026-01-01T00:00:00Z", "garbage", None])
@pytest.mark.row("J11")
def test_a_logs_timestamp_is_data(stamp: Any) -> None:
    fields = {"type": "log", "plugin": "a", "level": "info", "message": "x", "timestamp": stamp}
    got = decode(json.dumps(fields).encode())
    assert isinstance(got, Log)
    assert got.timestamp == stamp


def telemetry(**fields: Any) -> Telemetry:
    got = decode(json.dumps({"type": "telemetry", "plugin": "a", **fields}).encode())
    assert isinstance(got, Telemetry)
    return got


@pytest.mark.row("J13")
def test_telemetry_takes_any_further_number_and_nothing_else() -> None:
    got = telemetry(
        cpu=1, mem_bytes=2**40, models_loaded=2, heat=-1.5,
        flag=True, name="x", nothing=None, many=[1], inner={"a": 1}, numbers={"a": 1},
    )  # fmt: skip
    assert got == Telemetry(
        plugin="a", cpu=1.0, mem_bytes=2.0**40, numbers={"models_loaded": 2, "heat": -1.5}
    )


@pytest.mark.row("J13")
def test_telemetry_that_no_chart_can_hold_is_dropped() -> None:
    assert telemetry(huge=10**309, low=-(10**309), fine=10**300).numbers == {"fine": 10**300}


@pytest.mark.parametrize("field", ["cpu", "mem_bytes"])
@pytest.mark.parametrize("bad", [-1, "12", True, [1], 10**400])
def test_telemetry_of_no_sense_names_the_field(field: str, bad: Any) -> None:
    error = refused(json.dumps({"type": "telemetry", "plugin": "a", field: bad}).encode())
    assert error.facts["field"] == field


def test_every_envelope_knows_its_name_on_the_wire() -> None:
    assert {kind.kind for kind in ENVELOPES} == {kind.__name__.lower() for kind in ENVELOPES}
    assert Cancel(request_id="1").kind == "cancel"
    assert raw(None) == NULL
