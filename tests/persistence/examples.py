"""An example of any type that messages are made of, so that none is forgotten as they grow."""

from enum import Enum
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from msgspec import Struct
from msgspec.structs import fields

_PLAIN: dict[Any, Any] = {
    str: "Köln \N{CIRCUS TENT}",
    int: (1 << 53) + 1,
    bytes: b"\x00\xff",
    bool: True,
    float: 0.1,
    object: "anything",
}


def alternatives(union: Any) -> tuple[Any, ...]:
    """What a value of this type may be; the type alone where it is no union."""
    return get_args(union) if get_origin(union) in (Union, UnionType) else (union,)


def example(kind: Any) -> Any:
    """With everything in it that may be there, and the last of each list of choices."""
    if kind in _PLAIN:
        return _PLAIN[kind]
    if get_origin(kind) in (Union, UnionType):
        return example(next(one for one in get_args(kind) if one is not NoneType))
    if get_origin(kind) in (tuple, list):
        inner = get_args(kind)[0]
        return get_origin(kind)([example(inner), example(inner)])
    if get_origin(kind) is dict:
        key, value = get_args(kind)
        return {example(key): example(value)}
    if issubclass(kind, Enum):
        return list(kind)[-1]
    assert issubclass(kind, Struct), kind
    hints = get_type_hints(kind)
    return kind(**{field.name: example(hints[field.name]) for field in fields(kind)})
