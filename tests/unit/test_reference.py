"""docs/reference.md and the other generated files."""

import inspect
import re
from enum import StrEnum
from pathlib import Path

import pytest

import generate
import reference
import tables
from agentjob_api import names, notices, phases, reasons, spec, status
from agentjob_api.phases import ALLOWED, Phase
from agentjob_operator import manifests, metrics
from agentjob_operator.metrics import FailuresByNamespace, Metrics, QueueByNamespace, StoreAge
from agentjob_operator.settings import LimitsSettings, RunnerSettings
from agentjob_operator.slots import Queue
from agentjob_program import health
from agentjob_runner import options
from measures import measures
from members import constant_docs, member_docs
from worlds import T0, job

ENUMS = [
    value
    for module in (notices, phases, reasons, spec, status)
    for value in vars(module).values()
    if isinstance(value, type) and issubclass(value, StrEnum) and value is not StrEnum
]


class Undocumented(StrEnum):
    """A member without a docstring."""

    SAID = "said"
    """This one has one."""
    UNSAID = "unsaid"


def test_the_generated_files_are_up_to_date() -> None:
    assert generate.outdated(generate.ROOT) == [], "run `make generate` and commit what it writes"


def test_a_generated_file_that_was_changed_or_is_missing_is_named(tmp_path: Path) -> None:
    for name in generate.GENERATED:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    generate.write(tmp_path)
    assert generate.outdated(tmp_path) == []
    (tmp_path / "docs/reference.md").write_text("edited by hand")
    (tmp_path / "charts/agentjob/values.yaml").unlink()
    assert generate.outdated(tmp_path) == ["charts/agentjob/values.yaml", "docs/reference.md"]


@pytest.mark.parametrize("enum", ENUMS)
def test_each_member_of_an_enum_says_what_it_means(enum: type[StrEnum]) -> None:
    assert list(member_docs(enum)) == [member.value for member in enum]


def test_a_member_without_a_docstring_is_named() -> None:
    with pytest.raises(LookupError, match="Undocumented has no docstring under UNSAID"):
        member_docs(Undocumented)


def test_a_constant_is_explained_by_the_string_under_it() -> None:
    assert constant_docs(names)[names.LABEL_ATTEMPT] == (
        "On a runner Pod: the number of its attempt, to select and show Pods by; the operator goes by the Pod's name."
    )


def test_the_diagram_shows_exactly_the_allowed_ways_between_phases() -> None:
    diagram = reference.page().partition("stateDiagram-v2\n")[2].partition("```")[0]
    arrows = {tuple(line.strip().split(" --> ")) for line in diagram.splitlines()}
    allowed = {(phase.value, following.value) for phase in Phase for following in ALLOWED[phase]}
    assert {arrow for arrow in arrows if "[*]" not in arrow} == allowed
    assert ("[*]", "Pending") in arrows


def test_each_metric_of_the_operator_is_listed() -> None:
    found = Metrics(dict, lambda: 0.0, lambda: True)
    found.registry.register(QueueByNamespace(Queue(LimitsSettings()), (), lambda: True, lambda: T0))
    found.registry.register(FailuresByNamespace({}, (), lambda: True))
    found.registry.register(StoreAge(dict))
    families = found.registry.collect()
    registered = {family.name for family in families if family.name.startswith("agentjob_")}
    assert {measure.name.removesuffix("_total") for measure in measures(metrics)} == registered


def test_each_variable_of_the_agent_is_listed() -> None:
    model = {"modelBaseURL": "http://model", "modelApiKeySecret": {"name": "model", "key": "key"}}
    settings = RunnerSettings.model_validate({"image": "runner:1", **model})
    [agent] = manifests.pod(job(), 1, settings)["spec"]["containers"]
    given = {variable["name"] for variable in agent["env"]}

    assert set(reference.ENVIRONMENT) == given | set(options.added({}))


def test_each_route_of_the_operator_is_told() -> None:
    page = reference.page()
    routes = re.findall(r'web\.get\("(.+?)"', inspect.getsource(health))
    assert routes
    assert all(f"`{route}`" in page for route in routes)


def test_a_metric_says_its_labels() -> None:
    [attempts] = [measure for measure in measures(metrics) if measure.name == "agentjob_attempts_total"]
    assert (attempts.kind, attempts.labels) == ("counter", ("namespace", "reason"))
    assert attempts.meaning.endswith(".")


@pytest.mark.parametrize(
    ("schema", "kind", "bounds", "default"),
    [
        pytest.param(
            {"type": "integer", "minimum": 1, "maximum": 10_000, "default": 5},
            "integer",
            "1 to 10,000",
            "`5`",
            id="a number with both bounds",
        ),
        pytest.param({"type": "string", "maxLength": 9}, "string", "≤ 9 characters", "", id="a string with one"),
        pytest.param({"type": "string", "format": "date-time"}, "time", "", "", id="a time"),
        pytest.param(
            {"type": "array", "items": {"type": "string", "minLength": 1}, "maxItems": 3},
            "list of string",
            "≤ 3 items, each ≥ 1 characters",
            "",
            id="a list says its items' bounds",
        ),
        pytest.param({"type": "string", "enum": ["a", "b"], "default": "a"}, "`a` or `b`", "", '`"a"`', id="an enum"),
        pytest.param(
            {"x-kubernetes-int-or-string": True, "pattern": "…", "minimum": 0}, "quantity", "", "", id="a quantity"
        ),
        pytest.param(
            {"type": "object", "properties": {"a": {"type": "string"}}, "default": {}},
            "object",
            "",
            "",
            id="an object leaves the defaults to its fields",
        ),
        pytest.param(
            {"type": "object", "additionalProperties": {"type": ["string", "integer"]}},
            "map of string or integer",
            "",
            "",
            id="a map of two types",
        ),
    ],
)
def test_a_schema_is_shown_as_a_person_would_write_it(
    schema: tables.Schema, kind: str, bounds: str, default: str
) -> None:
    assert (tables.kind(schema), tables.bounds(schema), tables.default(schema)) == (kind, bounds, default)


def test_fields_within_maps_and_lists_have_a_path_of_their_own() -> None:
    leaf = {"type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"]}
    schema = {
        "properties": {
            "list": {"type": "array", "items": leaf},
            "map": {"type": "object", "additionalProperties": leaf},
        }
    }
    assert [(field.path, field.required) for field in tables.fields(schema)] == [
        ("list", False),
        ("list[].x", True),
        ("map", False),
        ("map.*.x", True),
    ]


def test_a_cell_cannot_break_its_table() -> None:
    assert tables.table(("a",), [("x|y\nz",)]) == "| a |\n| --- |\n| x\\|y z |"
