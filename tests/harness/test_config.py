"""Configs: every layer, every type, every mistake (P8, P9)."""

import json
import math
from datetime import timedelta
from pathlib import Path

import pytest
import tomlkit
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pushforward._errors import ConfigError
from pushforward.experiments import REGISTRY
from pushforward.harness.config import describe, fields, flat, group_of
from pushforward.harness.experiment import find
from pushforward.harness.files import dump

TOY = find(str(Path(__file__).with_name("toy_experiment.py")), {})
KNOWN = dict(fields(TOY.module.Config))
HEADER = {"version": "0.1.0", "experiment": "toy_experiment", "preset": "smoke", "format": 1}


def refused(*overrides, **layers):
    with pytest.raises(ConfigError) as caught:
        TOY.resolve(overrides=list(overrides), **layers)
    return str(caught.value)


def value(key, text):
    plain = TOY.resolve(overrides=[f"{key}={text}"]).config
    for part in key.split("."):
        plain = getattr(plain, part)
    return plain


def test_layers_in_order(tmp_path):
    file = tmp_path / "c.toml"
    file.write_text("seed = 5\n[fit]\nrate = 0.5\n")
    assert TOY.resolve().config.fit.steps == 50
    assert TOY.resolve().preset == "laptop"
    r = TOY.resolve(file=file, overrides=["preset=smoke", "seed=6", "simulate.kind=fancy"])
    assert (r.config.seed, r.config.fit.rate, r.config.fit.steps) == (6, 0.5, 20)
    assert r.config.simulate.kind == "fancy"
    assert r.changed == ("fit.rate", "seed", "simulate.kind")


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("seed", "1e4", 10000),
        ("seed", "1_000", 1000),
        ("seed", "9223372036854775807", 2**63 - 1),
        ("fit.rate", ".5", 0.5),
        ("fit.rate", "1.", 1.0),
        ("fit.rate", "1e-3", 1e-3),
        ("fit.rate", "1", 1.0),
        ("fit.schedule_steps", "none", None),
        ("fit.schedule_steps", "7", 7),
        ("x64", "true", True),
        ("simulate.shape", "[4, 4]", (4, 4)),
        ("simulate.shape", "4,4", (4, 4)),
        ("simulate.shape", "4", (4,)),
        ("simulate.pair", "3,.5", (3, 0.5)),
        ("simulate.names", "p,q", ("p", "q")),
        ("simulate.names", '["p, q"]', ("p, q",)),
        ("simulate.names", "1,2.0", ("1", "2.0")),
        ("simulate.names", "true,none", ("true", "none")),
        ("simulate.span", "06:30:00", timedelta(hours=6, minutes=30)),
        ("simulate.where", "2020-01-01", Path("2020-01-01")),
        ("simulate.where", "none", None),
        ("simulate.ceiling", "inf", math.inf),
        ("simulate.every", "auto", "auto"),
        ("simulate.every", "5", 5),
        ("text", "2020-01-01", "2020-01-01"),
        ("text", "true", "true"),
        ("text", "a=b", "a=b"),
        ("text", "", ""),
    ],
)
def test_the_type_of_the_field_reads_the_characters(key, text, expected):
    found = value(key, text)
    assert found == expected
    assert type(found) is type(expected)


BAD = {
    "seed=-1": "seed = -1: must be an integer in [0, 9223372036854775807]",
    "seed=9223372036854775808": "must be an integer in [0,",
    "seed=1.5": "seed = 1.5: must be an integer",
    "seed=nan": "seed = nan: must be",
    "seed=inf": "seed = inf: must be",
    "seed=": 'seed = "": must be',
    "seed=true": "seed = true: must be an integer",
    'seed="1"': 'seed = "1": must be an integer',
    "seed=[1]": "seed = [1]: must be an integer",
    "seed={a=1}": "must be an integer",
    "seed.a=1": "has no key 'seed.a'",
    "x64=yes": 'x64 = "yes": must be true or false',
    "x64=1": "x64 = 1: must be true or false",
    "fit.rate=0": "fit.rate = 0: must be a number in (0, 1]",
    "fit.rate=nan": "must be a number in (0, 1]",
    "fit.rate=-inf": "must be a number in (0, 1]",
    "fit.rate=1e400": "must be a number in (0, 1]",
    "fit.rate=0.1.2": "must be a number in (0, 1]",
    "fit.steps=13": "fit.steps must not be 13",
    "fit.steps=0": "fit.steps = 0: must be an integer in [1, 1000]",
    "fit=3": 'fit = "3": is a group; its keys are fit.steps',
    "fit.schedule_steps=zero": "must be an integer in [1, 1000] or none",
    "simulate.ceiling=nan": "must be a number > 0",
    "simulate.shape=[]": "a list of entries (at least 1)",
    "simulate.shape=a,b": "must be a list of entries",
    "simulate.shape=4.5": "each an integer",
    "simulate.pair=1": "must be a list of 2 entries",
    "simulate.pair=1,2,3": "must be a list of 2 entries",
    "simulate.pair=0,1": "simulate.pair = [0, 1]: must be",
    "simulate.span=six": "must be a time span such as 06:00:00",
    "simulate.every=never": "must be an integer or one of auto",
    "simulate.kind=simple": "must be one of plain, fancy",
    "simulate.step_sise=1": "has no key 'simulate.step_sise'",
    "step=3": "Did you mean 'fit.steps'?",
    "preset=papr": "has the presets smoke, laptop",
    "preset=": "",
    "zz": "write key=value",
    "=3": "write key=value",
    "": "write key=value",
    "\udcff=1": "has no key",
    "text=\udcff": "must be text",
    "a.b.c.d.e.f.g.h=1": "has no key",
    "é=1": "has no key 'é'",
    "fit..rate=1": "has no key",
    "\x1b[31m=1": "has no key",
    "seed=" + "9" * 4000: "must be an integer",
    "text=" + "x" * 5000: "at most 4096 bytes",
    "text=" + "x" * 500: "text = ",
    "seed=" + "[" * 2000: "must be an integer",
}


@pytest.mark.parametrize("override", [b for b in BAD if b != "preset="])
def test_a_mistake_is_named(override):
    message = refused(override)
    assert BAD[override] in message
    key = override.partition("=")[0]
    assert not key.isprintable() or not key or key in message


def test_all_mistakes_at_once_with_their_lines(tmp_path):
    file = tmp_path / "bad.toml"
    file.write_text('seed = "a"\n# no\n[fit]\nsteps = 0\nbtch = 3\n[simulate]\nshape = ["q"]\n')
    message = refused("x64=perhaps", "seed=1", "seed=2", file=file)
    for part in (
        '"seed" is given twice',
        f"fit.steps = 0: must be an integer in [1, 1000] ({file}, line 4)",
        f"no key 'fit.btch'. Did you mean 'fit.rate'? ({file}, line 5)",
        f"({file}, line 7)",
        "x64 =",
    ):
        assert part in message


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("c.yaml", b"seed: 1", "YAML is not read"),
        ("c.yml", b"seed: 1", "show toy_experiment --toml"),
        ("c.toml", b"seed = ", "not readable as TOML"),
        ("c.toml", b"\xff\xfe", "not UTF-8"),
        ("c.toml", b"seed = 1\nseed = 2", "Cannot overwrite a value"),
        ("c.toml", b"seed = 1\n" * 200_000, "at most 1000000 are read"),
        ("c.toml", b"a = " + b"[" * 5000, "nested too deeply"),
        ("c.toml", b"a = " + b"[" * 12 + b"]" * 12, "nested deeper than 8"),
        ("c.toml", b"[simulate]\nshape = [" + b"1," * 10_001 + b"]", "at most 10000 are read"),
        ("c.toml", b"[pushforward]\nformat = 99", "newer version"),
        ("c.toml", b"[pushforward]\nexperiment = 'other'", 'config of "other"'),
        ("c.toml", b"pushforward = 3", "must be a table"),
        ("c.toml", b"seed = 2020-01-01", "must be an integer"),
        ("c.toml", b"[unknown]", "no key 'unknown'"),
        ("c.toml", b"fit = 'a'", "is a group"),
        ("c.toml", b"seed = 1" + b"0" * 5000, "not readable as TOML"),
        ("c.json", b"[1]", "must be a table of keys"),
        ("c.json", b"{", "not readable as JSON"),
        ("c.json", b'{"seed": NaN}', "seed = nan"),
        ("c.json", b'{"seed": 1e999}', "seed = inf"),
        ("c.json", b'{"a":' * 5000, "nested too deeply"),
        ("c.json", b'{"seed": null}', "must be an integer"),
        ("c.json", b'{"": 1}', "has no key ''"),
    ],
)
def test_bad_files(tmp_path, name, content, words):
    file = tmp_path / name
    file.write_bytes(content)
    assert words in refused(file=file)


def test_absent_files(tmp_path):
    assert "No such file" in refused(file=tmp_path / "none.toml")
    assert "directory" in refused(file=tmp_path).lower()
    assert "null" in refused(file=Path("a\0b")).lower()


def test_preset_of_the_file_and_the_command_must_agree(tmp_path):
    file = tmp_path / "c.toml"
    file.write_text(dump(TOY.resolve(overrides=["preset=smoke"]).config, header=HEADER))
    assert TOY.resolve(file=file).preset == "smoke"
    assert TOY.resolve(file=file, overrides=["preset=smoke"]).preset == "smoke"
    assert "holds every key" in refused("preset=laptop", file=file)


def test_a_file_of_an_older_version(tmp_path):
    file = tmp_path / "c.toml"
    text = dump(TOY.resolve().config, header={**HEADER, "version": "0.0.1", "preset": "laptop"})
    file.write_text(text.replace("rate = 0.1\n", "gone = 3\n"))
    message = refused(file=file)
    assert "fit.rate: missing" in message
    assert "no key 'fit.gone'" in message
    assert "--accept-defaults" in message
    assert TOY.resolve(file=file, accept_defaults=True).config == TOY.resolve().config


def test_every_cut_of_a_valid_file(tmp_path):
    text = dump(TOY.resolve().config, header=HEADER, comments=True)
    file = tmp_path / "c.toml"
    for end in range(0, len(text), 10):
        file.write_text(text[:end])
        message = _outcome(file=file)
        assert not message or str(file) in message


# ------------------------------------------------------------------------------ by hypothesis

KEYS = st.sampled_from([*KNOWN, "preset", "fit", "simulate"]) | st.text(max_size=20)
junk = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats()
    | st.text(max_size=30)
    | st.dates()
    | st.timedeltas(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
quick = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def _outcome(**layers):
    """Resolve, never to a nan, or return the words of a refusal; nothing else may happen."""
    try:
        config = TOY.resolve(**layers).config
    except ConfigError as error:
        return str(error) or "refused without a word"
    assert all(not (isinstance(v, float) and math.isnan(v)) for v in flat(config).values())
    return ""


@quick
@given(st.lists(st.tuples(KEYS, st.text(max_size=40) | junk.map(str)), max_size=5))
def test_any_overrides_resolve_or_are_refused(items):
    message = _outcome(overrides=[f"{key}={text}" for key, text in items])
    assert "without a word" not in message


@quick
@given(tree=st.dictionaries(KEYS, junk, max_size=6))
def test_any_tree_resolves_or_is_refused(tmp_path, tree):
    file = tmp_path / "c.json"
    file.write_text(json.dumps(tree, default=str))
    assert "without a word" not in _outcome(file=file)


@quick
@given(st.binary(max_size=300))
def test_any_bytes_resolve_or_are_refused(tmp_path, data):
    file = tmp_path / "c.toml"
    file.write_bytes(data)
    assert "without a word" not in _outcome(file=file)


@st.composite
def valid(draw):
    text = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)
    steps = draw(st.integers(1, 1000).filter(lambda n: n != 13))
    ceiling = st.floats(0, exclude_min=True, allow_nan=False)
    tree = {
        "seed": draw(st.integers(0, 2**63 - 1)),
        "x64": draw(st.booleans()),
        "text": draw(text),
        "bias": draw(st.floats(-1, 1)),
        "fit": {
            "steps": steps,
            "schedule_steps": draw(st.none() | st.integers(1, 1000)),
            "rate": draw(st.floats(0, 1, exclude_min=True)),
        },
        "simulate": {
            "shape": draw(st.lists(st.integers(), min_size=1, max_size=5)),
            "pair": [draw(st.integers(1, 10**9)), draw(st.floats(allow_nan=False, width=32))],
            "names": draw(st.lists(text, max_size=4)),
            "span": timedelta(seconds=draw(st.integers(-(10**6), 10**6))),
            "where": draw(st.none() | st.just("a/b c.txt")),
            "ceiling": draw(ceiling),
            "every": draw(st.just("auto") | st.integers()),
            "kind": draw(st.sampled_from(["plain", "fancy"])),
        },
    }
    if math.isinf(tree["simulate"]["pair"][1]):
        tree["simulate"]["pair"][1] = 0.5
    return TOY.module.Config.model_validate(tree)


@quick
@given(config=valid(), comments=st.booleans())
def test_dump_and_load_is_the_identity(tmp_path, config, comments):
    file = tmp_path / "c.toml"
    text = dump(config, header=HEADER, comments=comments)
    file.write_text(text, encoding="utf-8", newline="")
    loaded = TOY.resolve(file=file).config
    assert loaded == config
    assert dump(loaded, header=HEADER, comments=comments) == text


@quick
@given(config=valid())
def test_typed_overrides_are_the_identity(config):
    items = []
    for key, plain in flat(config).items():
        if isinstance(plain, list):
            plain = tomlkit.item(plain).as_string()
        items.append(f"{key}={str(plain).lower() if isinstance(plain, bool) else plain}")
    items = [item for item in items if len(item.encode()) < 4096]
    assert TOY.resolve(overrides=["preset=smoke", *items]).config == config


def test_presets_round_trip(tmp_path):
    for preset in TOY.module.PRESETS:
        config = TOY.resolve(overrides=[f"preset={preset}"]).config
        file = tmp_path / "c.toml"
        file.write_text(dump(config, header={**HEADER, "preset": preset}))
        assert TOY.resolve(file=file).config == config


# -------------------------------------------------------------------- all registered experiments


EXPERIMENTS = [TOY, *(find(name, REGISTRY) for name in REGISTRY)]


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda e: e.name)
def test_every_key_is_documented_and_bounded(experiment):
    for key, field in fields(experiment.module.Config):
        assert field.description, f"{key} has no description"
        words = describe(field)
        unbounded = words.split(" or ")[0] in ("an integer", "a number")
        assert not unbounded or "one of" in words, f"{key} has no range"
    assert not {"preset", "pushforward"} & set(experiment.module.Config.model_fields)


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda e: e.name)
def test_one_override_leaves_every_other_key_as_it_was(experiment):
    for preset in experiment.module.PRESETS:
        chosen = f"preset={preset}"
        resolved = experiment.resolve(overrides=[chosen])
        assert resolved.preset == preset
        before = flat(resolved.config)
        for key, value in before.items():
            text = str(value).lower() if isinstance(value, bool) else str(value)
            other = experiment.resolve(overrides=[chosen, f"{key}={text}"])
            assert flat(other.config) == before, key
            assert other.changed == (key,)


def test_one_override_of_a_group_in_words():
    config = find("selftest", REGISTRY).resolve(overrides=["fit.steps=10"]).config
    assert (config.fit.steps, config.fit.optimiser, config.fit.batch) == (10, "adamw", 64)


def test_a_value_is_complained_of_once():
    gauge = find("gauge-u1-2d", REGISTRY)
    with pytest.raises(ConfigError) as caught:
        gauge.resolve(overrides=["beta=0,-1"])
    assert len(str(caught.value).splitlines()) == 1


def test_configs_are_frozen_and_strict():
    config = TOY.resolve().config
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 3
    with pytest.raises(ValueError, match="integer"):
        TOY.module.Config(seed="1")
    with pytest.raises(ValueError, match="not permitted"):
        TOY.module.Config(sed=1)
    assert hash(config) == hash(TOY.resolve().config)
    assert group_of(TOY.module.Config.model_fields["fit"]) is TOY.module.Fit
