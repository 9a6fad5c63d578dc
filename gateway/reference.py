"""The OpenAPI document as one HTML page to read: no script in it, and nothing from elsewhere."""

import base64
import hashlib
import re
from collections.abc import Iterable
from html import escape
from importlib.resources import files
from itertools import groupby
from string import Template
from typing import Any

Json = dict[str, Any]

_TEMPLATE = "web/docs.html"
_STYLE = re.compile(r"<style>(.*?)</style>", re.DOTALL)
_CODE = re.compile(r"`([^`]+)`")
_LIMITS = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "minLength": "{} characters or more",
    "maxLength": "up to {} characters",
    "minItems": "{} items or more",
    "maxItems": "up to {} items",
    "pattern": "matches {}",
    "default": "default {}",
}


def page(document: Json) -> str:
    template = files("gateway").joinpath(_TEMPLATE).read_text(encoding="utf-8")
    schemas: Json = document["components"]["schemas"]
    return Template(template).substitute(
        title=escape(document["info"]["title"]),
        introduction=_prose(document["info"]["description"]),
        credentials=_prose(document["components"]["securitySchemes"]["bearer"]["description"]),
        problems=_prose(document["components"]["responses"]["Problem"]["description"]),
        navigation="\n".join(_link(tag) for tag in document["tags"]),
        resources="\n".join(_resource(document, tag) for tag in document["tags"]),
        schemas="\n".join(_named_schema(name, schemas[name]) for name in sorted(schemas)),
    )


def content_security_policy(html: str) -> str:
    """Nothing but the page's own styles, known by their hash."""
    styles = [base64.b64encode(hashlib.sha256(s.encode()).digest()) for s in _STYLE.findall(html)]
    allowed = " ".join(f"'sha256-{digest.decode()}'" for digest in styles)
    return (
        f"default-src 'none'; style-src {allowed}; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )


def _link(tag: Json) -> str:
    name = escape(tag["name"])
    return f'<li><a href="#{name}">{name.capitalize()}</a></li>'


def _resource(document: Json, tag: Json) -> str:
    operations = [
        _operation(document, method, path, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if tag["name"] in operation["tags"]
    ]
    name = escape(tag["name"])
    return (
        f'<section aria-labelledby="{name}"><h2 id="{name}">{name.capitalize()}</h2>'
        f"{_prose(tag['description'])}{''.join(operations)}</section>"
    )


def _operation(document: Json, method: str, path: str, operation: Json) -> str:
    answers = (
        _answer(document, status, response)
        for status, response in operation["responses"].items()
        if "$ref" not in response  # those that all operations share are told once, as problems
    )
    return (
        f'<details id="{escape(operation["operationId"])}"><summary>'
        f'<span class="method {method}">{method.upper()}</span> '
        f'<h3><code>{escape(path)}</code></h3> <span class="what">{escape(operation["summary"])}'
        f"</span></summary><div>{_prose(operation['description'])}"
        f"{_parameters(document, operation['parameters'])}{_body(document, operation)}"
        f"<h4>Answers</h4><dl>{''.join(answers)}</dl></div></details>"
    )


def _resolved(document: Json, found: Json) -> Json:
    if "$ref" not in found:
        return found
    for step in found["$ref"].removeprefix("#/").split("/"):
        document = document[step]
    return document


def _parameters(document: Json, parameters: list[Json]) -> str:
    resolved = [_resolved(document, parameter) for parameter in parameters]
    rows = (
        (
            f"{_code(found['name'])} <small>{escape(found['in'])}</small>",
            found["required"],
            found["schema"],
            found.get("description", ""),
        )
        for found in resolved
    )
    return f"<h4>Parameters</h4>{_table(rows)}" if resolved else ""


def _body(document: Json, operation: Json) -> str:
    if "requestBody" not in operation:
        return ""
    return f"<h4>Body</h4>{_contents(document, operation['requestBody']['content'])}"


def _answer(document: Json, status: str, response: Json) -> str:
    content = _contents(document, response.get("content", {}))
    return f"<dt>{_code(status)}</dt><dd>{_prose(response['description'])}{content}</dd>"


def _contents(document: Json, content: Json) -> str:
    return "".join(
        f"<p><small>{escape(media)}</small> {_shape(document, found.get('schema', {}))}"
        for media, found in content.items()
    )


def _shape(document: Json, schema: Json) -> str:
    """What follows the name of a content type: the type's name and its fields."""
    if not schema:
        return "</p>"
    if "contentSchema" in schema:
        return f"{_text(schema['description'])} {_shape(document, schema['contentSchema'])}"
    if "properties" in schema:
        return f"object</p>{_fields(schema)}"
    return f"{_type(schema)}</p>{_fields(_resolved(document, schema))}"


def _fields(schema: Json) -> str:
    required = schema.get("required", [])
    rows = [
        (_code(name), name in required, of, of.get("description", ""))
        for name, of in schema.get("properties", {}).items()
    ]
    return _table(rows) if rows else ""


def _named_schema(name: str, schema: Json) -> str:
    described = _prose(schema["description"]) if "description" in schema else ""
    content = _fields(schema) or f"<p>{_type(schema)}</p>"
    anchor = escape(name)
    return (
        f'<section aria-labelledby="schema-{anchor}"><h3 id="schema-{anchor}">{anchor}</h3>'
        f"{described}{content}</section>"
    )


def _table(rows: Iterable[tuple[str, bool, Json, str]]) -> str:
    """Of name (HTML), whether it is required, schema, and description."""
    lines = "".join(
        f'<tr><th scope="row">{name}</th><td>{"required" if required else ""}</td>'
        f"<td>{_type(schema)}</td><td>{_text(description)} {_limits(schema)}</td></tr>"
        for name, required, schema, description in rows
    )
    head = "".join(f'<th scope="col">{title}</th>' for title in ("Name", "", "Type", "Notes"))
    return (
        '<div class="wide" tabindex="0" role="region" aria-label="Fields">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>"
    )


def _type(schema: Json) -> str:
    match schema:
        case {"$ref": str(ref)}:
            name = escape(ref.rpartition("/")[2])
            return f'<a href="#schema-{name}">{name}</a>'
        case {"anyOf": list(options)}:
            return " or ".join(_type(option) for option in options)
        case {"enum": list(values)}:
            return ", ".join(_code(value) for value in values)
        case {"type": "array", "items": dict(items)}:
            return f"list of {_type(items)}"
        case {"type": "object", "additionalProperties": dict(values)}:
            return f"object of {_type(values)}"
        case {"type": str(kind)}:
            return f"{escape(kind)} {escape(schema.get('format', ''))}".strip()
        case _:
            return "any"


def _limits(schema: Json) -> str:
    options = [schema, *schema.get("anyOf", [])]
    said = (
        text.format(_code(option[name]))
        for option in options
        for name, text in _LIMITS.items()
        if option.get(name) is not None
    )
    return "; ".join(said)


def _prose(text: str) -> str:
    blocks = (list(block.split("\n")) for block in text.split("\n\n"))
    return "".join(_block(block) for block in blocks)


def _block(lines: list[str]) -> str:
    kinds = groupby(lines, key=lambda line: line.startswith("- "))
    return "".join(
        f"<ul>{''.join(f'<li>{_text(line[2:])}</li>' for line in group)}</ul>"
        if is_list
        else f"<p>{_text(' '.join(group))}</p>"
        for is_list, group in kinds
    )


def _text(text: str) -> str:
    return _CODE.sub(r"<code>\1</code>", escape(text))


def _code(value: object) -> str:
    return f"<code>{escape(str(value))}</code>"
