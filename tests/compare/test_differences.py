from __future__ import annotations

from run_factory import ENVIRONMENT, make_record, make_run

from kbench.compare.differences import environment_differences


def fields(old: dict[str, object], new: dict[str, object]) -> list[tuple[str, str, str, bool]]:
    found = environment_differences(
        make_run([make_record()], environment=old), make_run([make_record()], environment=new)
    )
    return [(each.field, each.old, each.new, each.decisive) for each in found]


def test_equal_keys_are_equal() -> None:
    assert fields(ENVIRONMENT, ENVIRONMENT | {"python": "3.12"}) == []


def test_fields_are_named() -> None:
    new = ENVIRONMENT | {
        "key": "x", "torch": "2.12", "nvcc": None, "machine": ENVIRONMENT["machine"] | {"cores": 32},
    }  # fmt: skip
    assert fields(ENVIRONMENT, new) == [
        ("machine.cores", "16", "32", True),
        ("torch", "2.11.0", "2.12", True),
        ("nvcc", "13.0", "none", False),
    ]


def test_another_cpu_of_the_same_name_is_another_machine_unless_one_run_does_not_say() -> None:
    machine = ENVIRONMENT["machine"]
    old = ENVIRONMENT | {"machine": machine | {"cpu_id": "family 25, model 1"}}
    new = ENVIRONMENT | {"key": "x", "machine": machine | {"cpu_id": "family 26, model 2"}}
    assert fields(old, new) == [("machine.cpu_id", "family 25, model 1", "family 26, model 2", True)]
    assert fields(ENVIRONMENT, new) == [("machine.cpu_id", "none", "family 26, model 2", False)]


def test_a_gpu_that_is_gone_is_one_difference() -> None:
    found = fields(ENVIRONMENT, ENVIRONMENT | {"key": "x", "gpu": None})
    assert [(name, new, decisive) for name, _, new, decisive in found] == [("gpu", "none", True)]
    assert "NVIDIA H200" in found[0][1]


def test_a_key_that_differs_by_nothing_visible_is_decisive() -> None:
    assert fields(ENVIRONMENT, ENVIRONMENT | {"key": "x"}) == [("environment_key", "abc123", "x", True)]


def test_bare_records_are_compared_by_their_keys() -> None:
    assert fields({}, {}) == []
    assert fields({}, ENVIRONMENT) == []
    assert fields({}, ENVIRONMENT | {"key": "x"}) == [("environment_key", "abc123", "x", True)]


def test_a_key_missing_on_one_side_counts_as_different() -> None:
    old = make_run([make_record(environment_key="")], environment={})
    found = environment_differences(old, make_run([make_record()]))
    assert [(each.old, each.new) for each in found] == [("unknown", "abc123")]


def test_schemas_are_compared() -> None:
    old = make_run([make_record(schema_version=0)])
    found = environment_differences(old, make_run([make_record()]))
    assert [(each.field, each.decisive) for each in found] == [("schema", False)]
