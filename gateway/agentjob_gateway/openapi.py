"""The API's description (OpenAPI 3.1), made of the table of routes and the types, and a page that a person can read."""

from collections.abc import Iterable, Mapping
from html import escape
from importlib.metadata import version
from typing import Any, Final

from aiohttp import web
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from agentjob_gateway.routes import Parameter, Route
from agentjob_gateway.shapes import ProblemBody

Schema = dict[str, Any]

_REFS: Final = "#/components/schemas/{model}"
_PROBLEMS: Final[Mapping[str, str]] = {
    "400": "The request cannot be read.",
    "401": "No credential, or none that holds.",
    "403": "The credential does not go so far.",
    "404": "There is no such job, or it is not the caller's.",
    "406": "The answer cannot be given in the form that was asked for.",
    "409": "There is a job of that name.",
    "413": "The body is too large.",
    "422": "The request was read and makes no sense; the words are the API server's own where it was asked.",
    "429": "A limit of the caller's is reached; Retry-After says when to come back.",
    "503": "The cluster cannot be asked at the moment; Retry-After says when to come back.",
}


def document(routes: Iterable[Route]) -> Schema:
    """The description of these routes."""
    table = tuple(routes)
    paths: dict[str, Schema] = {}
    for route in table:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "AgentJob",
            "version": version("agentjob"),
            "description": "Run Claude agents as Kubernetes jobs: submit, watch, cancel.",
        },
        "security": [{"key": []}],
        "paths": paths,
        "components": {
            "schemas": _schemas(table),
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key, or a Kubernetes bearer token where the installation accepts them.",
                },
                "ticket": {"type": "apiKey", "in": "query", "name": "ticket", "description": "Leave for one job."},
            },
        },
    }


def _operation(route: Route) -> Schema:
    words = [word for word in route.path.split("/") if word and not word.startswith("{")]
    found: Schema = {
        "operationId": "_".join((route.method.lower(), *words)),
        "summary": route.summary,
        "parameters": [_parameter(parameter) for parameter in route.parameters if parameter.name != "ticket"],
        "responses": {
            **{str(status): _answer(answer) for status, answer in route.answers.items()},
            **{status: _problem(meaning) for status, meaning in _PROBLEMS.items()},
        },
    }
    if route.body is not None:
        found["requestBody"] = {"required": route.needs_body, "content": _json(route.body)}
    if route.takes_ticket:
        found["security"] = [{"key": []}, {"ticket": []}]
    return found


def _parameter(parameter: Parameter) -> Schema:
    return {
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.place == "path",
        "description": parameter.meaning,
        "schema": dict(parameter.schema),
    }


def _answer(answer: type[BaseModel] | str) -> Schema:
    if not isinstance(answer, str):
        return {"description": _summary(answer), "content": _json(answer)}
    if answer.startswith("Server-sent events"):
        return {"description": answer, "content": {"text/event-stream": {"schema": {"type": "string"}}}}
    return {"description": answer}


def _problem(meaning: str) -> Schema:
    return {"description": meaning, "content": _json(ProblemBody, "application/problem+json")}


def _json(shape: type[BaseModel], kind: str = "application/json") -> Schema:
    return {kind: {"schema": {"$ref": _REFS.format(model=shape.__name__)}}}


def _summary(shape: type[BaseModel]) -> str:
    return (shape.__doc__ or "").partition("\n")[0]


def _schemas(routes: Iterable[Route]) -> Schema:
    """Every shape that occurs, by name. Rules that only the API server can check are left out."""
    shapes: set[type[BaseModel]] = {ProblemBody}
    for route in routes:
        shapes |= {answer for answer in route.answers.values() if not isinstance(answer, str)}
        shapes |= {route.body} if route.body is not None else set()
    ordered = sorted(shapes, key=lambda shape: shape.__name__)
    _, found = models_json_schema([(shape, "validation") for shape in ordered], ref_template=_REFS)
    return {name: _plain(definition) for name, definition in found["$defs"].items()}


def _plain(node: Schema) -> Schema:
    """A schema without Kubernetes' own words."""
    return {name: _plain_value(value) for name, value in node.items() if not name.startswith("x-kubernetes-")}


def _plain_value(value: object) -> object:
    if isinstance(value, list):
        return [_plain_value(item) for item in value]
    return _plain(value) if isinstance(value, dict) else value


def page(description: Schema) -> str:
    """The description as a page of plain HTML: nothing in it is fetched from anywhere."""
    sections = "".join(
        _section(method.upper(), path, operation)
        for path, methods in description["paths"].items()
        for method, operation in methods.items()
    )
    shapes = "".join(_shape(name, schema) for name, schema in description["components"]["schemas"].items())
    return _PAGE.format(title=description["info"]["title"], sections=sections, shapes=shapes)


def _section(method: str, path: str, operation: Schema) -> str:
    body = operation.get("requestBody", {}).get("content", {})
    rows = [(given["name"], given["in"], given["description"]) for given in operation["parameters"]]
    rows += [("body", kind, _link(content["schema"])) for kind, content in body.items()]
    answers = [
        (status, answer["description"], " ".join(_link(each["schema"]) for each in answer.get("content", {}).values()))
        for status, answer in operation["responses"].items()
        if status < "300"
    ]
    title = f"<code>{method} {escape(path)}</code> {escape(operation['summary'])}"
    return f"<section><h2>{title}</h2>{_table(rows)}{_table(answers)}</section>"


def _shape(name: str, schema: Schema) -> str:
    rows = [
        (field, _kind(found), escape(found.get("description", "")))
        for field, found in schema.get("properties", {}).items()
    ]
    words = " or ".join(f"<code>{escape(str(value))}</code>" for value in schema.get("enum", ()))
    meaning = escape(schema.get("description", ""))
    return f'<section id="{name}"><h3>{name}</h3><p>{meaning} {words}</p>{_table(rows)}</section>'


def _kind(schema: Schema) -> str:
    if "anyOf" in schema:
        return " or ".join(_kind(option) for option in schema["anyOf"])
    if "items" in schema:
        return f"list of {_kind(schema['items'])}"
    return _link(schema)


def _link(schema: Schema) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f'<a href="#{name}">{name}</a>'
    return escape(str(schema.get("type", schema.get("const", "any"))))


def _table(rows: Iterable[tuple[str, str, str]]) -> str:
    body = "".join(f"<tr><td><code>{name}</code></td><td>{kind}</td><td>{what}</td></tr>" for name, kind, what in rows)
    return f"<table>{body}</table>" if body else ""


_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1b1b1f; }}
h1, h2, h3 {{ line-height: 1.2; }} h2 {{ font-size: 1.1rem; margin-top: 2.5rem; }} a {{ color: #1a56c4; }}
table {{ border-collapse: collapse; width: 100%; margin: .5rem 0; }}
td {{ border-top: 1px solid #ddd; padding: .3rem .6rem .3rem 0; vertical-align: top; }}
code {{ font: 0.9em ui-monospace, monospace; background: #f3f3f6; padding: .1em .3em; border-radius: 3px; }}
</style></head><body><h1>{title}</h1>
<p>Every route takes <code>Authorization: Bearer KEY</code>.
The same for programs: <a href="/openapi.json">openapi.json</a>.</p>
{sections}<h2>Shapes</h2>{shapes}</body></html>
"""


def routes(described: Iterable[Route]) -> tuple[Route, ...]:
    """The two routes that show the description of these."""
    description = document(described)
    text = page(description)

    async def get_openapi(_: web.Request) -> web.Response:
        return web.json_response(description)

    async def get_docs(_: web.Request) -> web.Response:
        return web.Response(text=text, content_type="text/html")

    shown = {200: "The description."}
    summary = "This description"
    return (
        Route(method="GET", path="/openapi.json", handler=get_openapi, summary=summary, answers=shown, is_open=True),
        Route(method="GET", path="/docs", handler=get_docs, summary=summary, answers=shown, is_open=True),
    )
